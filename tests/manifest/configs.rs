//! Ignition configs of manifests are checked as those of flags are, wherever they stand.

use std::fs;
use std::path::Path;

use flatbake::{Error, ErrorKind};

use crate::manifest::{context, folder, load_text};

/// The error of a bake with this text behind the image.
fn refused(dir: &Path, text: &str) -> Error {
    let text = format!("image: flatcar_sample.bin.bz2\n{text}\noutputs: [a.img]\n");
    let manifest = load_text(dir, "m.yaml", &text).unwrap();
    manifest
        .request
        .prepare(&context())
        .map(|_| ())
        .unwrap_err()
}

#[test]
fn a_butane_file_is_translated_wherever_it_stands() {
    let dir = folder();
    let butane = "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: a}]}\n";
    for name in ["config.bu", "config.txt", "config.ign"] {
        fs::write(dir.path().join(name), butane).unwrap();
    }
    fs::write(dir.path().join("empty.yaml"), "").unwrap();
    for (text, place, word) in [
        (
            "config_ign: config.bu",
            "m.yaml:2:13: config.bu:3:26",
            "ignition-path",
        ),
        (
            "base_ign: config.txt",
            "m.yaml:2:11: config.txt:3:26",
            "ignition-path",
        ),
        (
            "config_ign: config.ign",
            "m.yaml:2:13: config.ign:3:26",
            "ignition-path",
        ),
        (
            "config_ign: empty.yaml",
            "m.yaml:2:13: empty.yaml:1:1",
            "config-syntax",
        ),
        (
            "config_ign: {variant: fcos, version: 1.1.0}",
            "m.yaml:2:13",
            "butane-variant",
        ),
        (
            "config_ign: |\n  variant: flatcar\n  version: 0.1.0",
            "m.yaml:3:3: config.ign:2:10",
            "butane-version",
        ),
        (
            "config_ign: '{variant: flatcar}'",
            "m.yaml:2:13",
            "butane-version",
        ),
        (
            "variants: [{name: a, config_ign: config.bu}]",
            "m.yaml:2:34",
            "ignition-path",
        ),
    ] {
        let error = refused(dir.path(), text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error:?}");
        let finding = error
            .findings()
            .first()
            .unwrap_or_else(|| panic!("{text}: {error:?}"));
        assert_eq!(finding.code().word, word, "{text}: {error:?}");
        let shown = finding.to_string();
        let shown = shown.replace(&format!("{}/", dir.path().display()), "");
        assert!(shown.contains(place), "{text}: {shown}");
    }
}

#[test]
fn what_ignition_would_refuse_is_told_with_its_place() {
    let dir = folder();
    for (text, says) in [
        ("config_ign: {a: 1}", "ignition.version"),
        ("config_ign: {ignition: {version: 3}}", "ignition.version"),
        ("config_ign: '{'", "not JSON"),
        ("config_ign: note.txt", "not JSON"),
    ] {
        let error = refused(dir.path(), text);
        assert!(
            error.to_string().contains("m.yaml:2:13") && error.to_string().contains(says),
            "{text}: {error:?}"
        );
    }
}
