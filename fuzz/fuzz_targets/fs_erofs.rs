//! EROFS: any bytes, read through. The superblock's checksum is taken as not being there.
#![no_main]

use flatbake::MemoryDevice;
use flatbake::fs::erofs::Erofs;
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

/// The byte of `feature_compat` with `EROFS_FEATURE_COMPAT_SB_CHKSUM`.
const FEATURE_COMPAT: usize = 1024 + 8;

fuzz_target!(|input: &[u8]| {
    let mut bytes = input.to_vec();
    if let Some(byte) = bytes.get_mut(FEATURE_COMPAT) {
        *byte &= !1;
    }
    match Erofs::open(MemoryDevice::new(bytes)) {
        Ok(fs) => reading::read_everything(&fs, 1 << 20),
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
});
