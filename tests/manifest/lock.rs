//! The lock of a manifest, and what it protects.

use std::fs;

use flatbake::ErrorKind;
use flatbake::manifest::Manifest;

use crate::common::tree::sha256;
use crate::manifest::{context, folder, load_text};

const TEXT: &str = "image: flatcar_sample.bin.bz2\nfiles:\n  - {path: root:/a, source: note.txt}\n  \
                    - {path: root:/t, source: tree}\noutputs: [a.img]\n";

fn lock(manifest: &Manifest) -> bool {
    let prepared = manifest.request.prepare(&context()).unwrap();
    manifest
        .write_lock(&prepared.inputs(&context()).unwrap())
        .unwrap()
}

/// What a locked run says.
fn locked(manifest: &Manifest) -> Result<(), String> {
    let mut request = manifest.request.clone();
    let lock = manifest.lock().map_err(|error| error.to_string())?;
    request.expected.locked = Some(manifest.locked(lock));
    request
        .prepare(&context())
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn a_lock_holds_until_an_input_changes() {
    let dir = folder();
    let path = |name: &str| dir.path().join(name);
    let manifest = load_text(dir.path(), "m.yaml", TEXT).unwrap();
    assert_eq!(manifest.lock().unwrap_err().kind(), ErrorKind::Untrusted);
    assert!(lock(&manifest) && !lock(&manifest));
    let text = fs::read_to_string(path("m.lock")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names: Vec<_> = document["inputs"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["flatcar_sample.bin.bz2", "note.txt", "tree/a", "tree/sub/b"]
    );
    assert_eq!(
        document["inputs"]["note.txt"]["sha256"],
        sha256(&b"note\n"[..])
    );
    locked(&manifest).unwrap();

    fs::write(path("note.txt"), "Note\n").unwrap();
    fs::write(path("tree/new"), "").unwrap();
    fs::remove_file(path("tree/a")).unwrap();
    let error = locked(&manifest).unwrap_err();
    for says in [
        "3 inputs",
        "note.txt differs: SHA-256",
        "tree/new is new",
        "tree/a is gone",
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
    assert!(lock(&manifest));
    locked(&manifest).unwrap();
}

#[test]
fn the_same_lock_holds_for_another_folder_and_another_text() {
    let dir = folder();
    let manifest = load_text(dir.path(), "m.yaml", TEXT).unwrap();
    assert!(lock(&manifest));
    let other = folder();
    fs::copy(dir.path().join("m.lock"), other.path().join("m.lock")).unwrap();
    let moved = load_text(other.path(), "m.yaml", &format!("hostname: other\n{TEXT}")).unwrap();
    locked(&moved).unwrap();
    // A manifest that changes while it is used is not what was read.
    fs::write(other.path().join("m.yaml"), TEXT).unwrap();
    assert!(locked(&moved).unwrap_err().contains("m.yaml differs"));
}

#[test]
fn a_damaged_lock_is_told_with_its_place() {
    let dir = folder();
    let manifest = load_text(dir.path(), "m.yaml", TEXT).unwrap();
    for (text, kind, says) in [
        ("{\n\"version\": }", ErrorKind::InvalidInput, "m.lock:2:12"),
        ("{\"version\": 1}", ErrorKind::InvalidInput, "m.lock:1:14"),
        (
            "{\"version\": 9, \"inputs\": {}}",
            ErrorKind::Unsupported,
            "version 9",
        ),
    ] {
        fs::write(dir.path().join("m.lock"), text).unwrap();
        let error = manifest.lock().unwrap_err();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.to_string().contains(says), "{text}: {error:?}");
    }
}

#[test]
fn what_a_run_reads_is_not_written() {
    let dir = folder();
    fs::write(dir.path().join("m.lock"), "").unwrap();
    for (text, says) in [
        (
            TEXT.replace("note.txt", "m.lock"),
            "m.lock is read by this run",
        ),
        (
            TEXT.replace("source: tree", "source: ."),
            "read by this run",
        ),
        (
            TEXT.replace("a.img", "{file: m.lock, format: raw}"),
            "m.lock is the name of two outputs",
        ),
        (
            TEXT.replace("a.img", "{file: m.yaml, format: raw}"),
            "m.yaml is read by this run",
        ),
        (
            TEXT.replace("a.img", "{file: our_cloud.toml, format: raw}")
                + "vendor_files: [our_cloud.toml]\n",
            "our_cloud.toml is read by this run",
        ),
        (
            TEXT.replace("a.img", "{file: note.txt, format: raw}"),
            "note.txt is read by this run",
        ),
    ] {
        let mut request = load_text(dir.path(), "m.yaml", &text).unwrap().request;
        request.policy.overwrite = true;
        let error = request.prepare(&context()).unwrap_err();
        assert!(error.to_string().contains(says), "{text}: {error:?}");
    }
    assert_eq!(fs::read(dir.path().join("note.txt")).unwrap(), b"note\n");
}

#[test]
fn a_digest_in_the_manifest_must_hold() {
    let dir = folder();
    let hash = sha256(fs::File::open(dir.path().join("hello.raw")).unwrap());
    let load = |hash: &str| {
        let text = format!(
            "image: flatcar_sample.bin.bz2\nsysexts:\n  - {{name: hello, file: hello.raw, sha256: {hash}}}\noutputs: [a.img]\n"
        );
        load_text(dir.path(), "m.yaml", &text)
            .unwrap()
            .request
            .prepare(&context())
    };
    load(&hash.to_uppercase()).unwrap();
    let error = load(&"1".repeat(64)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert!(
        error.to_string().contains("m.yaml:3:44") && error.to_string().contains(&hash),
        "{error:?}"
    );
    let text = format!(
        "image: {{file: note.txt, sha256: {hash}}}\nfiles: [{{path: root:/a, source: note.txt}}]\n"
    );
    let twice = text.clone()
        + &format!(
            "tarballs: [{{file: note.txt, sha256: {}}}]\n",
            "2".repeat(64)
        );
    load_text(dir.path(), "m.yaml", &text).unwrap();
    let error = load_text(dir.path(), "m.yaml", &twice).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("m.yaml:3:37: two digests are given"),
        "{error:?}"
    );
}
