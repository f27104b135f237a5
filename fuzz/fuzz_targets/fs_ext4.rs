//! ext4: damage of sound volumes, read through and then opened for editing, which replays journals.
#![no_main]

use std::sync::LazyLock;

use flatbake::block::BlockDevice;
use flatbake::fs::FileSystemMut;
use flatbake::fs::ext4::{Ext4, probe};
use flatbake_fuzz::volumes::{Volume, ext4, select};
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

static VOLUMES: LazyLock<Vec<Volume>> = LazyLock::new(ext4);

fuzz_target!(|input: &[u8]| {
    let Some((volume, patches)) = select(&VOLUMES, input) else {
        return;
    };
    let layer = volume.changed(patches);
    probe(&layer);
    match Ext4::open_read_only(layer.clone()) {
        Ok(fs) => reading::read_everything(&fs, 1 << 20),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    // Growth into what the device has left, and a commit, whatever the damage was.
    let edited = Ext4::open(layer.clone()).and_then(|mut fs| {
        fs.grow(layer.size())?;
        fs.commit()
    });
    blames_the_input(&edited);
});
