//! ext4: edits judged by `e2fsck` and `debugfs`, random edits against a model, damaged images.

mod grow;
mod hostile;
mod images;
mod journal;
mod kernel;
mod lookup;
mod make;
mod model;
mod random;
mod recipe;
mod refused;
mod seal;
mod second_reader;
mod structures;
mod support;
