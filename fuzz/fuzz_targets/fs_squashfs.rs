//! squashfs: any bytes, read through.
#![no_main]

use flatbake::MemoryDevice;
use flatbake::fs::squashfs::Squashfs;
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match Squashfs::open(MemoryDevice::new(input.to_vec())) {
        Ok(fs) => reading::read_everything(&fs, 1 << 20),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
});
