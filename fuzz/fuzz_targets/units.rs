//! systemd's unit files.
#![no_main]

use flatbake::flatcar::unit_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let file = unit_file::parse(&String::from_utf8_lossy(input));
    assert!(file.assignments.iter().all(|one| !one.name.is_empty() && one.line > 0));
});
