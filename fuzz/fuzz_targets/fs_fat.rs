//! FAT: damage of sound volumes, read through and checked as editors check them.
#![no_main]

use std::sync::LazyLock;

use flatbake::fs::FileSystemMut;
use flatbake::fs::fat::Fat;
use flatbake_fuzz::volumes::{Volume, fat, select};
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

static VOLUMES: LazyLock<Vec<Volume>> = LazyLock::new(fat);

fuzz_target!(|input: &[u8]| {
    let Some((volume, patches)) = select(&VOLUMES, input) else {
        return;
    };
    let layer = volume.changed(patches);
    match Fat::open_read_only(layer.clone()) {
        Ok(fs) => reading::read_everything(&fs, 1 << 20),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    blames_the_input(&Fat::open(layer).and_then(|mut fs| fs.commit()));
});
