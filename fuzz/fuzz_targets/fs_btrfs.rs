//! btrfs: damage of sound volumes with good checksums, read through and opened for editing.
#![no_main]

use std::sync::LazyLock;

use flatbake::fs::btrfs::Btrfs;
use flatbake_fuzz::device::Layer;
use flatbake_fuzz::volumes::{Volume, btrfs, select};
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

static VOLUMES: LazyLock<Vec<Volume>> = LazyLock::new(btrfs);

fuzz_target!(|input: &[u8]| {
    let Some((volume, patches)) = select(&VOLUMES, input) else {
        return;
    };
    let layer = volume.changed(patches);
    match Btrfs::open(layer.clone()) {
        Ok(fs) => reading::read_everything(&fs, 1 << 20),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    let target = Layer::new(&volume.base);
    let edited = Btrfs::edit(layer, target, &std::env::temp_dir());
    blames_the_input(&edited);
});
