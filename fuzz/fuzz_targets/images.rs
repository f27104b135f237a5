//! Disk images: any bytes, told apart, opened and read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| flatbake_fuzz::images::open_image(input));
