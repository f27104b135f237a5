//! `flatbake plan` and `flatbake schema`, and the lock.

use std::fs;
use std::path::Path;
use std::process::Output;

use flatbake::manifest;

use crate::common;
use crate::common::programs::{command, flatbake, judge};
use crate::manifest::folder;

fn plan(dir: &Path, arguments: &[&str]) -> Output {
    flatbake()
        .arg("plan")
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn plan_shows_the_shared_part_and_each_variant() {
    let dir = folder();
    let output = plan(dir.path(), &["-f", "plan.yaml"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let squeezed: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let at = |line: &str| {
        squeezed
            .iter()
            .position(|known| known.starts_with(line))
            .unwrap_or_else(|| panic!("{line}\n{text}"))
    };
    let places = [
        at("root create /etc/motd (0644 0:0) 40 B deletes plan.yaml:9:5"),
        at("oem create /config.ign (0644 0:0) 32 B keeps plan.yaml:18:3"),
        at("Variant node1 adds:"),
        at("root replace /etc/motd (0644 0:0) 4 B deletes plan.yaml:29:13"),
        at("Variant node2 adds:"),
        at("root create /etc/node -> two deletes plan.yaml:31:13"),
        at("Outputs:"),
        at("node1/node.img (raw, zst:3)"),
    ];
    assert!(places.is_sorted(), "{text}");
    let json = plan(dir.path(), &["-f", "plan.yaml", "--json", "--quiet"]);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["variants"][1]["name"], "node2");
    assert_eq!(report["timestamp"], 1_769_860_800);
    assert!(!dir.path().join("plan.lock").exists() && !dir.path().join("results").exists());
}

#[test]
fn a_lock_holds_until_an_input_changes() {
    let dir = folder();
    let locked = |arguments: &[&str]| {
        plan(
            dir.path(),
            &[&["-f", "plan.yaml", "--quiet"], arguments].concat(),
        )
    };
    let output = locked(&["--locked"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(stderr(&output).contains("no lock"), "{}", stderr(&output));
    assert!(locked(&["--lock"]).status.success());
    let lock = fs::read_to_string(dir.path().join("plan.lock")).unwrap();
    let names = [
        "base.ign",
        "flatcar_sample.bin.bz2",
        "grub.cfg",
        "hello.conf",
        "hello.raw",
        "note.txt",
        "tree.tar",
        "tree/a",
        "tree/sub/b",
    ];
    let document: serde_json::Value = serde_json::from_str(&lock).unwrap();
    assert_eq!(
        document["inputs"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        names
    );
    assert_eq!(
        document["inputs"]["note.txt"]["sha256"],
        common::tree::sha256(&b"note\n"[..])
    );
    assert!(locked(&["--locked"]).status.success() && locked(&["--lock"]).status.success());
    assert_eq!(
        fs::read_to_string(dir.path().join("plan.lock")).unwrap(),
        lock
    );

    fs::write(dir.path().join("note.txt"), "Note\n").unwrap();
    fs::write(dir.path().join("tree/new"), "").unwrap();
    fs::remove_file(dir.path().join("tree/a")).unwrap();
    let output = locked(&["--locked"]);
    assert_eq!(output.status.code(), Some(7));
    for says in [
        "3 inputs",
        "note.txt differs",
        "tree/new is new",
        "tree/a is gone",
    ] {
        assert!(
            stderr(&output).contains(says),
            "{says}: {}",
            stderr(&output)
        );
    }
    assert!(locked(&["--lock"]).status.success() && locked(&["--locked"]).status.success());
    fs::write(dir.path().join("plan.lock"), "{\n\"version\": }").unwrap();
    let output = locked(&["--locked"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("plan.lock:2:12"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_digest_in_the_manifest_must_hold() {
    let dir = folder();
    let hash = common::tree::sha256(fs::File::open(dir.path().join("hello.raw")).unwrap());
    let write = |hash: &str| {
        let text = format!(
            "image: flatcar_sample.bin.bz2\noutputs: [a.img]\nsysexts:\n  - {{name: hello, file: hello.raw, sha256: {hash}}}\n"
        );
        fs::write(dir.path().join("m.yaml"), text).unwrap();
    };
    write(&hash.to_uppercase());
    assert!(plan(dir.path(), &["-f", "m.yaml"]).status.success());
    write(&"1".repeat(64));
    let output = plan(dir.path(), &["-f", "m.yaml"]);
    assert_eq!(output.status.code(), Some(7));
    assert!(
        stderr(&output).contains("m.yaml:4:44") && stderr(&output).contains(&hash),
        "{}",
        stderr(&output)
    );
}

/// JSON is YAML, so that one text is judged by the schema and by the reader.
#[test]
fn the_schema_agrees_with_what_is_read() {
    let dir = folder();
    let Some(jsonschema) = judge("jsonschema") else {
        return;
    };
    let schema = dir.path().join("schema.json");
    let printed = flatbake().arg("schema").output().unwrap();
    fs::write(&schema, printed.stdout).unwrap();
    let full = r#"{"variables": {"A": "x", "N": 1, "F": "true"}, "image": {"file": "note.txt"}, "force": "${F}", "seed": 3,
        "files": [{"path": "root:/x", "content": "${A}", "uid": "${N}", "mode": "0644"}, {"path": "root:/y", "source": "tree"}],
        "sysexts": [{"name": "hello", "file": "hello.raw"}], "links": [{"path": "/l", "target": "t"}],
        "tarballs": [{"file": "tree.tar", "strip_components": 1, "owner": "0:0"}], "remove": ["boot:/x"],
        "units": [{"name": "a.service", "enabled": true}], "kernel_args": {"add": ["quiet"]}, "root_size": "6G",
        "config_ign": {"ignition": {"version": "3.3.0"}}, "base_ign": "base.ign", "timestamp": 5, "hostname": "h",
        "vendors": ["qemu", {"id": "azure"}], "outputs": ["a.img", {"file": "b.img", "format": "raw"}], "compress": "gz",
        "variants": [{"name": "n", "files": [], "kernel_args": {}}]}"#;
    for (text, is_good) in [
        (full.to_owned(), true),
        (full.replace("\"force\"", "\"farce\""), false),
        (full.replace("\"${F}\"", "\"yes\""), false),
        (full.replace("\"quiet\"", "3"), false),
        (full.replace("\"6G\"", "null"), false),
        (full.replace("\"owner\"", "\"uid\""), false),
        (full.replace("\"target\": \"t\"", ""), false),
        (full.replace("\"uid\": \"${N}\"", "\"uid\": -1"), false),
    ] {
        let path = dir.path().join("both.yaml");
        fs::write(&path, text.replace(", }", "}")).unwrap();
        let read = manifest::load(&path, &manifest::LoadOptions::default());
        assert_eq!(read.is_ok(), is_good, "{text}\n{read:?}");
        let verdict = command(&jsonschema)
            .arg("-i")
            .arg(&path)
            .arg(&schema)
            .output()
            .unwrap();
        assert_eq!(
            verdict.status.success(),
            is_good,
            "{text}\n{}",
            stderr(&verdict)
        );
    }
}
