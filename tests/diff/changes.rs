//! Bakes of many kinds: what differs from the base is what the plan says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{differs, same, text};
use crate::common::programs::{flatbake, raw_sample, success};
use crate::common::scratch_dir;

fn partition_of(number: u64) -> &'static str {
    match number {
        1 => "boot",
        6 => "oem",
        9 => "root",
        other => panic!("partition {other} is not edited"),
    }
}

/// The changes of entries by `PART:/PATH`.
fn of_diff(document: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for partition in document["disk"]["partitions"].as_array().unwrap() {
        let word = partition_of(partition["number"].as_u64().unwrap());
        for entry in partition["files"]["entries"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let path = format!("{word}:{}", entry["path"].as_str().unwrap());
            found.insert(path, entry["change"].as_str().unwrap().to_owned());
        }
    }
    found
}

/// The same by what the bake says that it did. Folders that are changed by what is put into them alone have other times
/// only, which are passed over.
fn of_plan(report: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for change in report["shared"]["changes"].as_array().unwrap() {
        let path = format!(
            "{}:{}",
            change["partition"].as_str().unwrap(),
            change["path"].as_str().unwrap()
        );
        let word = match change["action"].as_str().unwrap() {
            "remove" => "removed",
            _ if change["replaces"] == true => "changed",
            _ => "added",
        };
        found.insert(path, word.to_owned());
    }
    found
}

fn bake(dir: &Path, base: &str, arguments: &[&str]) -> (String, Value) {
    let image = text(&dir.join("baked.img"));
    let mut command = flatbake();
    command
        .current_dir(dir)
        .args([
            "bake",
            "--image",
            base,
            "-o",
            &image,
            "--overwrite",
            "--json",
            "--force",
        ])
        .args(arguments);
    let report = serde_json::from_slice(&success(&mut command).stdout).unwrap();
    (image, report)
}

#[test]
fn bakes_of_every_kind_differ_in_what_their_plans_say() {
    let dir = scratch_dir();
    let dir = dir.path();
    let base = text(&raw_sample());
    fs::write(dir.join("motd"), "hello\n").unwrap();
    fs::create_dir(dir.join("tree")).unwrap();
    fs::write(dir.join("tree/one"), "1").unwrap();
    fs::write(dir.join("tree/two"), "2").unwrap();
    fs::write(
        dir.join("config.ign"),
        r#"{"ignition":{"version":"3.3.0"}}"#,
    )
    .unwrap();
    fs::write(
        dir.join("web.service"),
        "[Service]\nExecStart=/usr/bin/true\n",
    )
    .unwrap();
    let hello = format!(
        "hello:{}/testdata/sample/hello.raw",
        env!("CARGO_MANIFEST_DIR")
    );
    let bakes: [&[&str]; 10] = [
        &["--root-file", "motd:/etc/motd"],
        &[
            "--root-file",
            "motd:/etc/motd:0600:500:500",
            "--hostname",
            "node1",
        ],
        &["--root-file", "tree:/srv/tree"],
        &["--oem-file", "motd:/motd", "--boot-file", "motd:/motd"],
        &["--root-link", "/usr/share/x:/etc/x"],
        &[&hello],
        &["--config-ign", "config.ign"],
        &["--kernel-arg", "quiet"],
        &["--unit", "web.service", "--root-size", "auto"],
        &["--remove", "boot:/flatcar/first_boot"],
    ];
    for arguments in bakes {
        let (image, report) = bake(dir, &base, arguments);
        let document = differs(&base, &image, &["--ignore", "times"]);
        let (found, planned) = (of_diff(&document), of_plan(&report));
        assert!(!planned.is_empty());
        assert_eq!(found, planned, "{arguments:?}");
        assert!(document["disk"]["outside"].is_null(), "{arguments:?}");
        assert_eq!(document["disk"]["fields"], serde_json::json!([]));
        // Without passing over anything, times of folders are all that comes on top.
        let all = differs(&base, &image, &[]);
        for (path, change) in of_diff(&all) {
            assert!(planned.contains_key(&path) || change == "changed", "{path}");
        }
        same(&image, &image, &[]);
    }
}

#[test]
fn a_larger_root_shows_in_the_table_and_the_filesystem_and_in_no_file() {
    let dir = scratch_dir();
    let base = text(&raw_sample());
    let (image, _) = bake(dir.path(), &base, &["--root-size", "256M"]);
    let document = differs(&base, &image, &["--ignore", "times"]);
    let partitions = document["disk"]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 1, "{document}");
    let names: Vec<&str> = partitions[0]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field["name"].as_str().unwrap())
        .collect();
    assert_eq!(partitions[0]["number"], 9);
    assert_eq!(names, ["bytes", "filesystem bytes"]);
    assert!(document["disk"]["outside"].is_null(), "{document}");
}

#[test]
fn release_and_sysexts_are_told_by_their_versions() {
    let dir = scratch_dir();
    let base = text(&raw_sample());
    let hello = format!(
        "hello:{}/testdata/sample/hello.raw",
        env!("CARGO_MANIFEST_DIR")
    );
    let (image, _) = bake(dir.path(), &base, &[&hello]);
    let document = differs(&base, &image, &[]);
    let meaning = document["disk"]["meaning"].as_array().unwrap();
    let sysext = meaning
        .iter()
        .find(|field| field["name"] == "sysext hello")
        .unwrap();
    assert!(sysext["a"].is_null());
    assert!(
        sysext["b"]
            .as_str()
            .unwrap()
            .contains("/opt/extensions/hello")
    );
}
