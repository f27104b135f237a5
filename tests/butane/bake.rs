//! Butane where an Ignition config is taken: in flags and in manifests.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::testdata;
use crate::common::programs::{flatbake, said, success};
use crate::common::scratch_dir;

const CONFIG: &str = "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: /etc/a, mode: 0600, contents: {local: a.txt}}]}\n";
const TRANSLATION: &str = "{\"ignition\":{\"version\":\"3.4.0\"},\"storage\":{\"files\":[{\"path\":\"/etc/a\",\
                           \"contents\":{\"compression\":\"\",\"source\":\"data:,x\"},\"mode\":384}]}}";

fn folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    fs::create_dir(dir.path().join("configs")).unwrap();
    fs::write(dir.path().join("configs/a.bu"), CONFIG).unwrap();
    fs::write(dir.path().join("configs/a.txt"), "x").unwrap();
    fs::copy(
        testdata("../sample/flatcar_sample.bin.bz2"),
        dir.path().join("base.bin.bz2"),
    )
    .unwrap();
    dir
}

fn bake(folder: &Path, arguments: &[&str]) -> Output {
    flatbake()
        .args([
            "bake",
            "--image",
            "base.bin.bz2",
            "-o",
            "out.img",
            "--overwrite",
        ])
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn config_of(folder: &Path, image: &str) -> String {
    let mut command = flatbake();
    command
        .args(["cat", image, "oem:/config.ign"])
        .current_dir(folder);
    String::from_utf8(success(&mut command).stdout).unwrap()
}

#[test]
fn a_butane_file_is_translated_when_it_is_baked() {
    let dir = folder();
    let output = bake(dir.path(), &["--config-ign", "configs/a.bu"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(config_of(dir.path(), "out.img"), TRANSLATION);
    // The file beside it is an input, and no output is written over it.
    let output = flatbake()
        .args([
            "bake",
            "--image",
            "base.bin.bz2",
            "--config-ign",
            "configs/a.bu",
            "--overwrite",
        ])
        .args(["-o", "configs/a.txt", "--format", "raw"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(fs::read(dir.path().join("configs/a.txt")).unwrap(), b"x");
    // This release's Ignition reads no Butane.
    let output = bake(
        dir.path(),
        &["--config-ign", "configs/a.bu", "--keep-butane"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("Butane is not read by Ignition 2.24 of release 4593"));
}

#[test]
fn a_manifest_takes_butane_and_locks_what_it_reads() {
    let dir = folder();
    let manifest = "image: base.bin.bz2\nconfig_ign: configs/a.bu\noutputs: [node.img]\n";
    fs::write(dir.path().join("m.yaml"), manifest).unwrap();
    let mut command = flatbake();
    command
        .args(["bake", "-f", "m.yaml"])
        .current_dir(dir.path());
    success(&mut command);
    assert_eq!(config_of(dir.path(), "node.img"), TRANSLATION);
    let lock = fs::read_to_string(dir.path().join("m.lock")).unwrap();
    assert!(lock.contains("configs/a.txt"), "{lock}");
}

#[test]
fn what_no_machine_would_come_up_with_is_not_baked() {
    let dir = folder();
    let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    put(
        "bad.bu",
        "variant: flatcar\nversion: 1.1.0\nstorage: {files: [{path: a}]}\n",
    );
    put("new.ign", r#"{"ignition":{"version":"3.6.0"}}"#);
    put(
        "oem.ign",
        r#"{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/opt/a","contents":{"source":"oem:///data/a"}}]}}"#,
    );
    put("user.ign", "#cloud-config\nusers: []\n");
    put("a", "x");
    for (file, says) in [
        (
            "bad.bu",
            "bad.bu:3:26: $.storage.files.0.path: 'a' does not begin with a slash",
        ),
        (
            "new.ign",
            "specification 3.6.0 is not read by Ignition 2.24 of release 4593, which reads 3.0 to 3.5",
        ),
        ("oem.ign", "there is no file /data/a on the OEM partition"),
        (
            "user.ign",
            "this is a cloud-config, which Ignition takes for an empty config",
        ),
    ] {
        let output = bake(dir.path(), &["--config-ign", file]);
        assert_eq!(output.status.code(), Some(2), "{file}: {}", said(&output));
        assert!(said(&output).contains(says), "{file}: {}", said(&output));
    }
    // What the same bake puts on OEM is there.
    let with = ["--config-ign", "oem.ign", "--oem-file", "a:/data/a"];
    let output = bake(dir.path(), &with);
    assert!(output.status.success(), "{}", said(&output));
    // Forced, a config goes in as it is; what cannot be translated does not.
    let output = bake(dir.path(), &["--config-ign", "new.ign", "--force"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(config_of(dir.path(), "out.img").contains("3.6.0"));
    let output = bake(dir.path(), &["--config-ign", "bad.bu", "--force"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("cannot be translated"),
        "{}",
        said(&output)
    );
}
