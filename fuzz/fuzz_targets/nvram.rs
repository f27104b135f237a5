//! UEFI variables: any bytes.
#![no_main]

use flatbake::machine::missing_keys;
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| blames_the_input(&missing_keys(input)));
