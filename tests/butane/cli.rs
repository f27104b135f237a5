//! `flatbake butane` and `flatbake ignition check`.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::testdata;
use crate::common::programs::{feed, flatbake, said};
use crate::common::scratch_dir;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    flatbake()
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

const CONFIG: &str = "variant: flatcar\nversion: 1.0.0\nstorage: {files: [{path: /etc/a, contents: {local: a.txt}}]}\n";
const UNKNOWN_KEY: &str = "variant: flatcar\nversion: 1.0.0\nfoo: 1\n";

#[test]
fn a_config_is_translated_with_the_files_beside_it() {
    let dir = scratch_dir();
    fs::write(dir.path().join("a.bu"), CONFIG).unwrap();
    fs::write(dir.path().join("a.txt"), "x").unwrap();
    let expected = "{\"ignition\":{\"version\":\"3.3.0\"},\"storage\":{\"files\":[{\"path\":\"/etc/a\",\
                    \"contents\":{\"compression\":\"\",\"source\":\"data:,x\"}}]}}\n";
    let output = run(dir.path(), &["butane", "a.bu"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(stdout(&output), expected);
    // On standard input it lies in no folder, unless one is given.
    let mut command = flatbake();
    let output = feed(
        command.args(["butane", "-"]).current_dir(dir.path()),
        CONFIG.as_bytes(),
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("standard input:3:52: $.storage.files.0.contents.local"));
    let mut command = flatbake();
    let output = feed(
        command
            .args(["butane", "-", "-d", "."])
            .current_dir(dir.path()),
        CONFIG.as_bytes(),
    );
    assert_eq!(stdout(&output), expected, "{}", said(&output));
    // A file is written once, and never over an input.
    let output = run(dir.path(), &["butane", "a.bu", "-o", "a.ign", "--pretty"]);
    assert!(output.status.success(), "{}", said(&output));
    let written = fs::read_to_string(dir.path().join("a.ign")).unwrap();
    assert!(written.starts_with("{\n  \"ignition\": {\n"), "{written}");
    let output = run(dir.path(), &["butane", "a.bu", "-o", "a.ign"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = run(
        dir.path(),
        &["butane", "a.bu", "-o", "a.txt", "--overwrite"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(fs::read(dir.path().join("a.txt")).unwrap(), b"x");
}

#[test]
fn warnings_fail_where_that_is_asked_for() {
    let dir = scratch_dir();
    fs::write(dir.path().join("a.bu"), UNKNOWN_KEY).unwrap();
    for (arguments, code) in [
        (&["butane", "a.bu"][..], 0),
        (&["butane", "a.bu", "--strict"], 2),
        (&["butane", "a.bu", "--check"], 0),
        (&["butane", "a.bu", "--check", "--strict"], 9),
        (&["ignition", "check", "a.bu"], 0),
        (&["ignition", "check", "a.bu", "--strict"], 9),
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("a.bu:3:1: $.foo: 'foo' is no key here"),
            "{arguments:?}: {}",
            said(&output)
        );
        if code != 0 {
            assert!(!stdout(&output).contains("\"ignition\""), "{arguments:?}");
        }
    }
}

#[test]
fn a_config_is_checked_against_a_release_and_an_image() {
    let dir = scratch_dir();
    let config = r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[
        {"path":"/opt/a","contents":{"source":"oem:///grub.cfg"}},
        {"path":"/opt/b","contents":{"source":"oem:///none/here"}}]}}"#;
    fs::write(dir.path().join("a.ign"), config).unwrap();
    let image = testdata("../sample/flatcar_sample.bin.bz2");
    let arguments = [
        "ignition",
        "check",
        "a.ign",
        "--image",
        image.to_str().unwrap(),
        "--json",
    ];
    let output = run(dir.path(), &arguments);
    assert_eq!(output.status.code(), Some(9), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["kind"], "ignition");
    assert_eq!(document["version"], "3.4.0");
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.len() <= 2, "{findings:?}");
    let missing = &findings[findings.len() - 1];
    assert_eq!(missing["code"], "ignition-oem-missing");
    assert_eq!(missing["values"]["path"], "/none/here");
    assert_eq!(missing["place"][0], "a.ign:3:47");
    for (version, code) in [("3510.2.0", 9), ("4081.3.10", 0), ("4757", 0)] {
        let output = run(
            dir.path(),
            &["ignition", "check", "a.ign", "--flatcar", version],
        );
        assert_eq!(
            output.status.code(),
            Some(code),
            "{version}: {}",
            said(&output)
        );
    }
    let output = run(dir.path(), &["ignition", "check", "missing.ign", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document.to_string().contains("not-found"), "{document}");
}
