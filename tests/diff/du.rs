//! The room of trees, as other programs count it.

use serde_json::Value;

use super::text;
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::programs::{command, flatbake, judges, must_run, raw_sample, success};
use crate::common::region::Region;
use crate::common::scratch_dir;
use std::path::Path;

fn du(image: &str, place: &str, more: &[&str]) -> Value {
    let mut du = flatbake();
    du.args(["du", image, place, "--json"]).args(more);
    serde_json::from_slice(&success(&mut du).stdout).unwrap()
}

fn of<'a>(document: &'a Value, path: &str) -> &'a Value {
    document["entries"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["path"] == path)
        .unwrap_or_else(|| panic!("no {path}: {document}"))
}

#[test]
fn contents_and_entries_are_those_of_the_extracted_tree() {
    if !judges(&["find"]) {
        return;
    }
    let dir = scratch_dir();
    let raw = text(&raw_sample());
    for part in ["usr", "boot", "oem"] {
        let folder = text(&dir.path().join(part));
        success(flatbake().args(["get", &raw, &format!("{part}:/"), &folder]));
        let document = du(&raw, part, &["-d", "9"]);
        let listed = must_run("find", [folder.as_str(), "-printf", "%y %s %P\\n"]).stdout;
        let listed = String::from_utf8(listed).unwrap();
        let mut bytes = 0;
        for line in listed.lines() {
            let fields: Vec<&str> = line.splitn(3, ' ').collect();
            let size: u64 = fields[1].parse().unwrap();
            if fields[0] != "d" {
                bytes += size;
                let entry = of(&document, &format!("/{}", fields[2]));
                assert_eq!(entry["apparent_bytes"], size, "{line}");
            }
        }
        let top = of(&document, "/");
        assert_eq!(top["apparent_bytes"], bytes, "{part}");
        assert_eq!(top["entries"], listed.lines().count(), "{part}");
    }
}

#[test]
fn blocks_are_those_that_debugfs_counts() {
    let recipe = Recipe::small().with_file(9, "etc/large", &vec![7; 100_000]);
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    if !judges(&["debugfs"]) {
        return;
    }
    let document = du(&text(&image), "root", &["-d", "9", "--sort", "path"]);
    let region = Region::partition(&image, 9).unwrap();
    for path in ["/etc/large", "/boot", "/etc"] {
        let said = region.with_file(|file| {
            let mut debugfs = command(Path::new("debugfs"));
            debugfs.arg("-R").arg(format!("stat {path}")).arg(file);
            String::from_utf8(success(&mut debugfs).stdout).unwrap()
        });
        let blocks = said.split("Blockcount: ").nth(1).unwrap();
        let sectors: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
        let inner: u64 = if path == "/etc" {
            100_000u64.div_ceil(4096) * 4096
        } else {
            0
        };
        assert_eq!(
            of(&document, path)["allocated_bytes"],
            sectors * 512 + inner,
            "{path}"
        );
    }
}

#[test]
fn only_levels_that_are_asked_for_are_listed_and_the_largest_comes_first() {
    let raw = text(&raw_sample());
    let document = du(&raw, "usr", &["-d", "1"]);
    let entries = document["entries"].as_array().unwrap();
    assert_eq!(entries[0]["path"], "/");
    assert!(
        entries
            .iter()
            .all(|entry| entry["depth"].as_u64().unwrap() <= 1)
    );
    let sizes: Vec<u64> = entries
        .iter()
        .map(|entry| entry["allocated_bytes"].as_u64().unwrap())
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b));
    let file = du(&raw, "usr:/lib/os-release", &[]);
    assert_eq!(file["entries"].as_array().unwrap().len(), 1);
}
