//! Ignition configs.
#![no_main]

use flatbake::document::{json_text, parse_json};
use flatbake::flatcar::ignition::{CheckOptions, check};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let options = CheckOptions {
        name: "config.ign",
        ..CheckOptions::default()
    };
    check(input, &options);
    // What is read is read again from what is written of it.
    if let Some(node) = std::str::from_utf8(input).ok().and_then(|text| parse_json(text).ok()) {
        let text = json_text(&node, true);
        let again = parse_json(&text).expect("JSON was written");
        assert_eq!(json_text(&again, true), text);
    }
});
