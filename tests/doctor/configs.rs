//! What the configs on OEM come to: files that Ignition wrote, and at which it would stop.

use std::fs;
use std::path::{Path, PathBuf};

use super::repair::{check, differing, plant, text};
use crate::common::programs::{flatbake, raw_sample, success};
use crate::common::scratch_dir;

/// Two files, a link, a unit, and a user whose home has files of the release.
const CONFIG: &str = r#"{
  "ignition": {"version": "3.3.0"},
  "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA core"]}]},
  "storage": {
    "files": [
      {"path": "/etc/one", "contents": {"source": "data:,one%0A"}},
      {"path": "/etc/two", "overwrite": true, "contents": {"source": "data:,two%0A"}}
    ],
    "links": [{"path": "/etc/three", "target": "one"}]
  },
  "systemd": {"units": [{"name": "a.service", "contents": "[Service]\nExecStart=/usr/bin/true\n"}]}
}"#;

/// Puts files with these contents on ROOT, and the config on OEM.
fn with_files(dir: &Path, files: &[(&str, &str)], more: &[&str]) -> PathBuf {
    let file = |number: usize, content: &str| {
        let file = dir.join(format!("file-{number}"));
        fs::write(&file, content).unwrap();
        text(&file)
    };
    let mut arguments = vec![
        "--oem-file".to_owned(),
        format!("{}:/config.ign", file(0, CONFIG)),
    ];
    for (number, (path, content)) in files.iter().enumerate() {
        arguments.push("--root-file".to_owned());
        arguments.push(format!("{}:{path}", file(number + 1, content)));
    }
    arguments.extend(more.iter().map(|&word| word.to_owned()));
    plant(dir, &arguments)
}

/// The findings with one of these codes, as `SEVERITY CODE PATH`.
fn told(image: &Path, more: &[&str], of: &str) -> Vec<String> {
    let (_, document) = check(image, more);
    let word = |told: &serde_json::Value| {
        let [severity, code] = ["severity", "code"].map(|field| told[field].as_str().unwrap());
        let path = told["values"]["path"].as_str().unwrap_or_default();
        format!("{severity} {code} {path}").trim().to_owned()
    };
    let all = document[of].as_array().unwrap().iter().map(word);
    all.filter(|told| told.contains(" ignition-")).collect()
}

const WRITTEN: [(&str, &str); 4] = [
    ("/etc/one", "one\n"),
    ("/etc/two", "two\n"),
    (
        "/etc/systemd/system/a.service",
        "[Service]\nExecStart=/usr/bin/true\n",
    ),
    // Another's.
    ("/etc/four", "one\n"),
];
const BOOTED: [&str; 2] = ["--remove", "boot:/flatcar/first_boot"];

#[test]
fn a_config_that_would_stop_ignition_is_told_before_the_first_boot() {
    let dir = scratch_dir();
    let sound = with_files(dir.path(), &[("/etc/two", "else\n")], &[]);
    assert_eq!(told(&sound, &[], "symptoms"), [""; 0]);
    assert_eq!(check(&sound, &[]).0, Some(0));
    let stopping = with_files(dir.path(), &[("/etc/one", "one\n")], &[]);
    assert_eq!(told(&stopping, &[], "symptoms"), ["error ignition-stops"]);
    assert_eq!(check(&stopping, &[]).0, Some(9));
}

#[test]
fn what_ignition_wrote_is_told_and_goes_so_that_it_can_run_again() {
    let dir = scratch_dir();
    let booted = with_files(dir.path(), &WRITTEN, &BOOTED);
    let wrote = [
        "note ignition-wrote /etc/one",
        "note ignition-wrote /etc/two",
    ];
    assert_eq!(told(&booted, &[], "symptoms"), wrote);
    let out = dir.path().join("fixed.img");
    let fix = ["--fix", "-o", &text(&out)];
    assert_eq!(told(&booted, &fix, "left"), [""; 0]);
    // What is left is what the config does not make, and the unit, which Ignition writes over.
    assert_eq!(
        differing(&raw_sample(), &out),
        [
            "1 null",
            "1:/flatcar/first_boot",
            "6 null",
            "6:/config.ign",
            "9 null",
            "9:/etc",
            "9:/etc/four",
            "9:/etc/systemd",
            "9:/etc/systemd/system",
            "9:/etc/systemd/system/a.service",
        ]
    );
    // Nor does a bake keep it.
    let baked = dir.path().join("baked.img");
    let mut bake = flatbake();
    bake.args(["bake", "--image", &text(&booted), "-o", &text(&baked)]);
    success(bake.arg("--generalize"));
    assert_eq!(told(&baked, &[], "symptoms"), [""; 0]);
}

#[test]
fn what_was_changed_since_stays_and_is_told_when_it_stops_ignition() {
    let dir = scratch_dir();
    let booted = with_files(dir.path(), &[("/etc/one", "changed\n")], &BOOTED);
    assert_eq!(told(&booted, &[], "symptoms"), [""; 0]);
    let out = text(&dir.path().join("fixed.img"));
    let fix = ["--fix", "-o", &out];
    assert_eq!(told(&booted, &fix, "left"), ["error ignition-stops"]);
}

#[test]
fn accounts_that_ignition_made_stay_unless_it_is_asked_that_they_go() {
    let dir = scratch_dir();
    let keys = "/home/core/.ssh/authorized_keys.d/ignition";
    let booted = with_files(dir.path(), &[(keys, "ssh-ed25519 AAAA core\n")], &BOOTED);
    assert_eq!(told(&booted, &[], "symptoms"), [""; 0]);
    let out = text(&dir.path().join("fixed.img"));
    let (_, document) = check(&booted, &["--fix", "-o", &out]);
    let left = document["left"].to_string();
    assert!(
        left.contains(keys) && left.contains("account-left"),
        "{left}"
    );
}
