//! ext4: edits judged by `e2fsck` and `debugfs`, random edits against a model, damaged images.

#![allow(clippy::unwrap_used)]

mod grow;
mod hostile;
mod images;
mod journal;
mod kernel;
mod model;
mod random;
mod recipe;
mod refused;
mod seal;
mod structures;
mod support;
