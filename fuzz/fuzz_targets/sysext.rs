//! System extensions: any bytes, opened, inspected, and judged for a release.
#![no_main]

use std::sync::Arc;

use flatbake::flatcar::sysext::report::Inspected;
use flatbake::flatcar::sysext::{Needs, check_kernel, inspect, open_extension};
use flatbake::{MemoryDevice, OsRelease};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let device = Arc::new(MemoryDevice::new(input.to_vec()));
    match Needs::of(device.clone()) {
        Ok(needs) => {
            let release =
                OsRelease::parse(b"ID=flatcar\nVERSION_ID=4459.2.1\n").expect("a release");
            check_kernel(&needs, &release);
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    blames_the_input(&open_extension(device.clone()).and_then(|fs| inspect(&*fs)));
    blames_the_input(&Inspected::of("sample", device, &[]));
});
