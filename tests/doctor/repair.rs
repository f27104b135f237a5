//! `flatbake check --fix` and `bake --generalize`, on images that other programs planted traces in.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::ON_ROOT;
use crate::common::flatcar::{Recipe, flatcar_copy};
use crate::common::judges::{btrfs_clean, ext4_clean, fat_clean, gpt_clean};
use crate::common::programs::{flatbake, judges, must_run, raw_sample, said, success};
use crate::common::region::{Region, copy_file};
use crate::common::scratch_dir;

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Plants by the sample's own editor, whose work other tests have judged.
pub(super) fn plant(dir: &Path, arguments: &[String]) -> PathBuf {
    let image = dir.join("planted.img");
    let mut bake = flatbake();
    bake.args(["bake", "--image", &text(&raw_sample()), "-o", &text(&image)]);
    bake.args(["--overwrite", "--force"]).args(arguments);
    success(&mut bake);
    image
}

pub(super) fn check(image: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let output = flatbake()
        .args(["check", &text(image), "--json"])
        .args(more)
        .output()
        .unwrap();
    let document = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        document.unwrap_or_else(|_| panic!("{}", said(&output))),
    )
}

/// What differs but for times: `PART:/PATH` of entries, and what of the disk.
pub(super) fn differing(a: &Path, b: &Path) -> Vec<String> {
    let output = flatbake()
        .args(["diff", &text(a), &text(b), "--ignore", "times", "--json"])
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let disk = &document["disk"];
    let mut found = Vec::new();
    for field in disk["fields"].as_array().unwrap() {
        found.push(field["name"].to_string());
    }
    for partition in disk["partitions"].as_array().unwrap() {
        found.push(format!("{} {}", partition["number"], partition["bytes"]));
        for entry in partition["files"]["entries"]
            .as_array()
            .into_iter()
            .flatten()
        {
            found.push(format!(
                "{}:{}",
                partition["number"],
                entry["path"].as_str().unwrap()
            ));
        }
    }
    if !disk["outside"].is_null() {
        found.push(disk["outside"].to_string());
    }
    found
}

pub(super) fn assert_judged(image: &Path) {
    gpt_clean(image).unwrap();
    let at = |number| Region::partition(image, number);
    if let (Some(esp), Some(oem), Some(root)) = (at(1), at(6), at(9)) {
        fat_clean(&esp).unwrap();
        btrfs_clean(&oem).unwrap();
        ext4_clean(&root).unwrap();
    }
}

#[test]
fn all_that_can_be_taken_away_at_once_leaves_the_fresh_image() {
    let dir = scratch_dir();
    let note = dir.path().join("note");
    fs::write(&note, "planted\n").unwrap();
    let kept = [
        "/root/.ssh/id_ed25519",
        "/var/lib/flatcar-install/user_data",
        "/var/lib/docker/",
        "/etc/docker/",
        "/root/.docker/",
        "/var/lib/kubelet/",
        "/etc/kubernetes/",
        "/var/lib/etcd/",
        "/var/lib/tailscale/",
        "/etc/wireguard/",
        "/etc/iscsi/",
        "/run/",
        "/tmp/",
    ];
    let mut arguments = Vec::new();
    for (at, _) in ON_ROOT {
        if !kept.iter().any(|kept| at.starts_with(kept)) {
            arguments.push("--root-file".to_owned());
            arguments.push(format!("{}:{at}", text(&note)));
        }
    }
    let planted = plant(dir.path(), &arguments);
    let (code, document) = check(&planted, &[]);
    assert_eq!((code, &document["booted"]), (Some(9), &true.into()));

    // Accounts stay unless it is asked for that they go.
    let fixed = dir.path().join("fixed.img");
    let (code, document) = check(&planted, &["--fix", "-o", &text(&fixed)]);
    assert_eq!(code, Some(9));
    let left: Vec<&str> = document["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|told| told["code"].as_str().unwrap())
        .filter(|code| *code != "reset-deletes")
        .collect();
    assert!(!left.is_empty());
    assert!(
        left.iter().all(|code| code.starts_with("account-")),
        "{left:?}"
    );

    let all = [
        "--fix",
        "--remove-accounts",
        "--overwrite",
        "-o",
        &text(&fixed),
    ];
    let (code, document) = check(&planted, &all);
    assert_eq!(code, Some(0), "{document}");
    assert_eq!(differing(&raw_sample(), &fixed), [""; 0]);
    assert_judged(&fixed);
}

#[test]
fn what_other_programs_changed_is_brought_back() {
    let dir = scratch_dir();
    let Some(fresh) = flatcar_copy(&Recipe::small(), dir.path()) else {
        return;
    };
    if !judges(&["sgdisk", "debugfs", "mdel"]) {
        return;
    }
    let planted = dir.path().join("booted.img");
    let fixed = dir.path().join("fixed.img");
    let change = |what: &dyn Fn(&Path)| {
        copy_file(&fresh, &planted);
        what(&planted);
        let (code, document) = check(&planted, &[]);
        assert_eq!(code, Some(9), "{document}");
        let (code, document) = check(&planted, &["--fix", "--overwrite", "-o", &text(&fixed)]);
        assert_eq!(code, Some(0), "{document}");
        assert_judged(&fixed);
        differing(&fresh, &fixed)
    };
    let guid = |image: &Path| {
        must_run(
            "sgdisk",
            ["-U", "11111111-2222-4333-8444-555555555555", &text(image)],
        );
    };
    assert_eq!(change(&guid), [""; 0]);
    let tries = |image: &Path| {
        must_run("sgdisk", ["-A", "3:set:52", &text(image)]);
    };
    assert_eq!(change(&tries), [""; 0]);
    let flag = |image: &Path| {
        let esp = Region::partition(image, 1).unwrap();
        edited(&esp, |file| {
            must_run("mdel", ["-i", &text(file), "::/flatcar/first_boot"]);
        });
    };
    // Nothing reads the text of the flag.
    assert_eq!(change(&flag), ["1 null", "1:/flatcar/first_boot"]);
    let machine_id = |image: &Path| {
        let id = dir.path().join("id");
        fs::write(&id, "0123456789abcdef0123456789abcdef\n").unwrap();
        let root = Region::partition(image, 9).unwrap();
        edited(&root, |file| {
            must_run("debugfs", ["-w", "-R", "mkdir etc", &text(file)]);
            let write = format!("write {} etc/machine-id", text(&id));
            must_run("debugfs", ["-w", "-R", &write, &text(file)]);
        });
    };
    assert_eq!(change(&machine_id), [""; 0]);
}

#[test]
fn where_root_was_last_mounted_is_a_note() {
    let dir = scratch_dir();
    let Some(image) = flatcar_copy(&Recipe::small(), dir.path()) else {
        return;
    };
    if !judges(&["debugfs"]) {
        return;
    }
    for (at, told) in [("/mnt", 0), ("/sysroot", 1), ("/", 1)] {
        let root = Region::partition(&image, 9).unwrap();
        edited(&root, |file| {
            let set = format!("set_super_value last_mounted {at}");
            must_run("debugfs", ["-w", "-R", &set, &text(file)]);
        });
        let (code, document) = check(&image, &[]);
        assert_eq!((code, &document["booted"]), (Some(0), &false.into()));
        let symptoms = document["symptoms"].as_array().unwrap();
        assert_eq!(symptoms.len(), told, "{document}");
        for symptom in symptoms {
            assert_eq!(symptom["code"], "root-mounted");
            assert_eq!(symptom["values"]["at"], at);
        }
    }
}

/// Lets a program change a partition's bytes in a file of their own.
fn edited(region: &Region, change: impl FnOnce(&Path)) {
    let bytes = region.with_file(|file| {
        change(file);
        fs::read(file).unwrap()
    });
    region.write(0, &bytes);
}

#[test]
fn a_booted_base_is_refused_unless_it_is_made_general_or_forced() {
    let dir = scratch_dir();
    let removed = ["--remove", "boot:/flatcar/first_boot"].map(str::to_owned);
    let planted = text(&plant(dir.path(), &removed));
    let out = text(&dir.path().join("out.img"));
    let bake = |more: &[&str]| {
        let file = format!("{}:/etc/motd", text(&dir.path().join("note")));
        fs::write(dir.path().join("note"), "x").unwrap();
        let mut bake = flatbake();
        bake.args(["bake", "--image", &planted, "-o", &out, "--overwrite"]);
        bake.args(["--root-file", &file]).args(more);
        bake.output().unwrap()
    };
    let refused = bake(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("--generalize"),
        "{}",
        said(&refused)
    );
    assert!(bake(&["--force"]).status.success());
    let made = bake(&["--generalize"]);
    assert!(made.status.success(), "{}", said(&made));
    let listed = success(flatbake().args(["ls", &out, "boot:/flatcar"])).stdout;
    assert!(String::from_utf8(listed).unwrap().contains("first_boot"));
    let said_of = bake(&["--remove-accounts"]);
    assert_eq!(said_of.status.code(), Some(2));
}

#[test]
fn inspect_has_a_line_of_it() {
    let dir = scratch_dir();
    let inspect = |image: &Path| {
        String::from_utf8(success(flatbake().args(["inspect", &text(image)])).stdout).unwrap()
    };
    let line = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("booted:"));
        line.unwrap().to_owned()
    };
    assert!(line(&inspect(&raw_sample())).ends_with(" no"));
    let removed = ["--remove", "boot:/flatcar/first_boot"].map(str::to_owned);
    let planted = plant(dir.path(), &removed);
    assert!(line(&inspect(&planted)).contains("yes: 1 traces"));
}
