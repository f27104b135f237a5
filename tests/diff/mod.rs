//! `flatbake diff` and `flatbake du`: what differs is told, all of it and nothing else.

mod changes;
mod du;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::programs::{flatbake, judges, must_run, raw_sample, said, success};
use crate::common::region::copy_file;
use crate::common::{longer, scratch_dir};

/// The exit code where something differs, and its JSON.
fn differs(a: &str, b: &str, more: &[&str]) -> Value {
    let output = command(a, b, more).output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["same"], false);
    document
}

fn same(a: &str, b: &str, more: &[&str]) {
    let output = command(a, b, more).output().unwrap();
    assert!(output.status.success(), "{a} {b}: {}", said(&output));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["same"], true);
}

fn command(a: &str, b: &str, more: &[&str]) -> Command {
    let mut command = flatbake();
    command.args(["diff", a, b, "--json"]).args(more);
    command
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_image_is_the_same_in_every_format() {
    let dir = scratch_dir();
    let raw = text(&raw_sample());
    let names = [
        "a.qcow2",
        "a.vmdk",
        "a.vhd",
        "a.vhdx",
        "a.vdi",
        "a.hdd",
        "a.img.gz",
        "a.img.zst",
    ];
    for name in names {
        let file = text(&dir.path().join(name));
        success(flatbake().args(["convert", &raw, &file]));
        same(&raw, &file, &["--no-cache"]);
        same(&file, &raw, &["--no-cache", "--content"]);
    }
}

#[test]
fn one_flipped_byte_anywhere_is_shown() {
    let dir = scratch_dir();
    let raw = text(&raw_sample());
    let copy = dir.path().join("flipped.img");
    copy_file(&raw_sample(), &copy);
    let flipped = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&copy)
        .unwrap();
    let size = flipped.metadata().unwrap().len();
    // Boot code, MBR, both copies of the table, between partitions, and anywhere.
    let mut places = vec![
        0,
        441,
        500,
        512 + 60,
        1024 + 70,
        40 * 512,
        size - 10,
        size - 600,
    ];
    let mut seed = 15u64;
    for _ in 0..longer(12) {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        places.push((seed >> 20) % size);
    }
    for place in places {
        let mut byte = [0];
        flipped.read_exact_at(&mut byte, place).unwrap();
        flipped.write_all_at(&[byte[0] ^ 0x10], place).unwrap();
        let document = differs(&raw, &text(&copy), &[]);
        let told = document["disk"].to_string();
        assert!(
            told.contains(&format!("\"offset\":{place}")) || told.contains("\"number\""),
            "{place}: {told}"
        );
        flipped.write_all_at(&byte, place).unwrap();
    }
    same(&raw, &text(&copy), &[]);
}

#[test]
fn a_partition_is_compared_with_a_folder_and_an_archive_of_its_files() {
    let dir = scratch_dir();
    let raw = text(&raw_sample());
    let folder = dir.path().join("usr");
    success(flatbake().args(["get", &raw, "usr:/", &text(&folder)]));
    let usr = format!("{raw}:usr");
    // Files of an ordinary user belong to that user, and who unpacks gives no attributes of btrfs.
    let ignored = ["--ignore", "owners,xattrs,times"];
    same(&usr, &text(&folder), &ignored);
    if judges(&["tar"]) {
        let archive = text(&dir.path().join("usr.tar.gz"));
        must_run("tar", ["-C", &text(&folder), "-czf", &archive, "."]);
        same(&usr, &archive, &ignored);
        same(&text(&folder), &archive, &["--ignore", "times"]);
    }
    fs::write(folder.join("new"), "text").unwrap();
    let document = differs(&usr, &text(&folder), &ignored);
    let entries = document["files"]["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (
            &entries[0]["path"],
            &entries[0]["change"],
            &entries[0]["bytes"]
        ),
        (&"/new".into(), &"added".into(), &4.into())
    );
}

#[test]
fn a_disk_and_a_tree_are_refused_with_what_to_write_instead() {
    let dir = scratch_dir();
    let raw = text(&raw_sample());
    let output = command(&raw, &text(dir.path()), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains(":root"), "{}", said(&output));
    let output = command(&format!("{raw}:nothere"), &raw, &[])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}

#[test]
fn the_lines_of_texts_are_what_patch_applies() {
    if !judges(&["patch"]) {
        return;
    }
    let dir = scratch_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir(&old).unwrap();
    fs::create_dir(&new).unwrap();
    let pairs = [
        ("one", "a\nb\nc\n", "a\nB\nc\n"),
        ("two", "", "new\n"),
        ("three", "gone\nkept\n", "kept"),
        (
            "unit.service",
            "[Unit]\nA=1\n[Service]\n",
            "[Unit]\nA=2\n[Service]\nX=y\n",
        ),
    ];
    for (name, before, after) in pairs {
        fs::write(old.join(name), before).unwrap();
        fs::write(new.join(name), after).unwrap();
    }
    let document = differs(
        &text(&old),
        &text(&new),
        &["--content", "--ignore", "times"],
    );
    for entry in document["files"]["entries"].as_array().unwrap() {
        let name = entry["path"].as_str().unwrap().trim_start_matches('/');
        let patch = dir.path().join("patch");
        fs::write(
            &patch,
            format!("--- a\n+++ b\n{}", entry["text"].as_str().unwrap()),
        )
        .unwrap();
        must_run("patch", ["-s", &text(&old.join(name)), &text(&patch)]);
        assert_eq!(
            fs::read(old.join(name)).unwrap(),
            fs::read(new.join(name)).unwrap()
        );
    }
}

#[test]
fn what_an_ignition_config_says_is_compared_and_not_how_it_is_written() {
    let dir = scratch_dir();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::create_dir(&old).unwrap();
    fs::create_dir(&new).unwrap();
    fs::write(
        old.join("config.ign"),
        r#"{"b":1,"ignition":{"version":"3.3.0"}}"#,
    )
    .unwrap();
    fs::write(
        new.join("config.ign"),
        r#"{"ignition":{"version":"3.4.0"},"b":1}"#,
    )
    .unwrap();
    let document = differs(
        &text(&old),
        &text(&new),
        &["--content", "--ignore", "times"],
    );
    let text = document["files"]["entries"][0]["text"].as_str().unwrap();
    let changed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(['-', '+']))
        .collect();
    assert_eq!(
        changed,
        ["-    \"version\": \"3.3.0\"", "+    \"version\": \"3.4.0\""]
    );
}
