//! Butane configs.
#![no_main]

use flatbake::flatcar::butane::{TranslateOptions, translate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let translated = translate(input, &TranslateOptions::new("config.bu"));
    let has_errors = translated.findings.iter().any(|finding| finding.stops());
    assert_eq!(translated.json(false).is_none(), has_errors);
});
