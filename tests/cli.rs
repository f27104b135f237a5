//! The command line on the bundled sample image. Nothing here needs more than the Rust toolchain.
use crate::common::programs::{self, success};
use crate::common::scratch_dir;
use crate::common::tree::sha256;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/sample")
        .join(name)
}

fn flatbake(arguments: &[&str]) -> Command {
    let mut command = programs::flatbake();
    command.args(arguments);
    command
}

fn stdout(command: &mut Command) -> Vec<u8> {
    success(command).stdout
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(stdout(&mut flatbake(arguments))).unwrap()
}

fn image() -> String {
    sample("flatcar_sample.bin.bz2")
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn inspect_tells_what_the_image_is() {
    let document: serde_json::Value =
        serde_json::from_str(&text(&["inspect", &image(), "--json"])).unwrap();
    assert_eq!(document["format"], "raw");
    assert_eq!(document["compression"], "bzip2");
    assert_eq!(document["first_boot"], true);
    assert_eq!(
        document["disk_guid"],
        "00000000-0000-0000-0000-000000000001"
    );
    assert_eq!(document["release"]["architecture"], "x86-64");
    assert_eq!(document["release"]["sysext_level"], "1.0");
    let partitions = document["partitions"].as_array().unwrap();
    let told: Vec<_> = partitions
        .iter()
        .map(|partition| {
            let kind = partition["filesystem"]["kind"].as_str().unwrap_or("-");
            (
                partition["number"].as_u64().unwrap(),
                partition["label"].as_str().unwrap(),
                kind,
            )
        })
        .collect();
    let expected = [
        (1, "EFI-SYSTEM", "vfat"),
        (2, "BIOS-BOOT", "-"),
        (3, "USR-A", "btrfs"),
        (4, "USR-B", "-"),
        (6, "OEM", "btrfs"),
        (7, "OEM-CONFIG", "-"),
        (9, "ROOT", "ext4"),
    ];
    assert_eq!(told, expected);
    assert_eq!(partitions[2]["attributes"]["priority"], 1);
    assert_eq!(partitions[2]["attributes"]["successful"], true);
    let text = text(&["inspect", &image()]);
    for word in [
        "EFI-SYSTEM",
        "vfat",
        "ROOT",
        "ext4",
        "Flatcar:",
        "first boot:",
        "priority=1",
    ] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
}

#[test]
fn ls_and_cat_read_every_partition() {
    assert!(
        text(&["ls", &image(), "boot:/flatcar"])
            .lines()
            .any(|line| line == "first_boot")
    );
    assert!(
        text(&["ls", &image(), "root"])
            .lines()
            .any(|line| line == "lost+found")
    );
    assert!(text(&["ls", &image(), "3:/lib", "-l"]).contains("os-release"));
    assert!(text(&["cat", &image(), "usr:/lib/os-release"]).contains("ID=flatcar"));
    let list: serde_json::Value =
        serde_json::from_str(&text(&["ls", &image(), "usr", "-R", "--json"])).unwrap();
    assert!(
        list.as_array()
            .unwrap()
            .iter()
            .any(|item| item["path"] == "/lib/os-release" && item["type"] == "file")
    );
    let hello = sample("hello.raw");
    let whole = text(&["ls", hello.to_str().unwrap(), "whole:/usr", "-R"]);
    assert!(
        whole.contains("/usr/lib/extension-release.d/extension-release.hello"),
        "{whole}"
    );
}

#[test]
fn wrong_places_are_named() {
    for (arguments, code, says) in [
        (vec!["ls", &image(), "root:/no/such"], 2, "/no/such"),
        (vec!["ls", &image(), "5"], 2, "1, 2, 3, 4, 6, 7, 9"),
        (vec!["cat", &image(), "root:/lost+found"], 2, "/lost+found"),
        (vec!["ls", &image(), "2"], 3, "partition 2"),
        (vec!["ls", &image(), "kitchen"], 2, "kitchen"),
    ] {
        let output = flatbake(&arguments).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn a_baked_image_can_be_read_back() {
    let dir = scratch_dir();
    let output = dir.path().join("out.img");
    let out = dir.path().join("out");
    let hello = format!("hello:{}", sample("hello.raw").display());
    text(&[
        "bake",
        "--image",
        &image(),
        "--output",
        output.to_str().unwrap(),
        &hello,
    ]);
    let output = output.to_str().unwrap();
    text(&["get", output, "root:/opt", out.to_str().unwrap()]);
    let copy = out.join("extensions/hello/hello.raw");
    assert_eq!(
        sha256(File::open(copy).unwrap()),
        sha256(File::open(sample("hello.raw")).unwrap())
    );
    let conf = text(&["cat", output, "root:/etc/sysupdate.hello.d/hello.conf"]);
    assert_eq!(conf, fs::read_to_string(sample("hello.conf")).unwrap());
    let document: serde_json::Value =
        serde_json::from_str(&text(&["inspect", output, "--json"])).unwrap();
    let sysexts = document["sysexts"].as_array().unwrap();
    let link = sysexts
        .iter()
        .find(|sysext| sysext["path"] == "/etc/extensions/hello.raw")
        .unwrap();
    assert_eq!(link["target"], "/opt/extensions/hello/hello.raw");
    assert_eq!(
        stdout(&mut flatbake(&[
            "cat",
            output,
            "root:/etc/extensions/hello.raw"
        ])),
        fs::read(sample("hello.raw")).unwrap()
    );
}

#[test]
fn json_alone_is_on_standard_output() {
    let dir = scratch_dir();
    let output = dir.path().join("out.img");
    let run = flatbake(&[
        "bake",
        "--json",
        "--image",
        &image(),
        "--output",
        output.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert!(run.status.success());
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["outputs"][0]["files"][0]["format"], "raw");
    let quiet = flatbake(&[
        "bake",
        "--quiet",
        "--overwrite",
        "--image",
        &image(),
        "--output",
        output.to_str().unwrap(),
    ])
    .output()
    .unwrap();
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty());
}

#[test]
fn failures_are_json_where_that_is_asked_for() {
    let image = image();
    for (arguments, code, kind, place, message) in [
        (
            &["info", "missing.img", "--json"][..],
            2,
            "not-found",
            vec![],
            "opening missing.img",
        ),
        (
            &["ls", &image, "root:/none", "--json"],
            2,
            "not-found",
            vec![image.as_str(), "root", "/none"],
            "no such file",
        ),
        (
            &["ls", "--json"],
            2,
            "invalid-input",
            vec![],
            "required arguments",
        ),
        (
            &["ls", &image, "root", "--json", "--huh"],
            2,
            "invalid-input",
            vec![],
            "--huh",
        ),
    ] {
        let output = flatbake(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(
            String::from_utf8(output.stderr).unwrap().contains(message),
            "{arguments:?}"
        );
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let error = &document["error"];
        assert_eq!(
            (&error["kind"], &error["exit_code"]),
            (&kind.into(), &code.into()),
            "{document}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(message),
            "{document}"
        );
        let told: Vec<_> = error["place"]
            .as_array()
            .unwrap()
            .iter()
            .map(|place| place.as_str().unwrap())
            .collect();
        assert_eq!(told, place, "{document}");
        let keys: Vec<_> = error
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys.len(), 8, "{keys:?}");
        assert!(
            error["causes"].is_array() && error["findings"].is_array(),
            "{document}"
        );
    }
    let silent = flatbake(&["info", "missing.img"]).output().unwrap();
    assert!(silent.stdout.is_empty());
}

#[test]
fn partitions_go_by_word_number_and_label() {
    let image = image();
    let listed = |part: &str| text(&["ls", &image, part]);
    for (word, number, label) in [
        ("root", "9", "ROOT"),
        ("oem", "6", "OEM"),
        ("boot", "1", "EFI-SYSTEM"),
    ] {
        assert_eq!(listed(word), listed(number));
        assert_eq!(listed(word), listed(label));
    }
    assert_eq!(listed("usr"), listed("USR-A"));
    let dir = scratch_dir();
    let baked = dir.path().join("out.img");
    let baked = baked.to_str().unwrap();
    let bake = [
        "bake",
        "--image",
        &image,
        "--output",
        baked,
        "--remove",
        "EFI-SYSTEM:/flatcar/first_boot",
    ];
    text(
        &[
            &bake[..],
            &[
                "--install-to",
                "6:/x/",
                &format!("hello:{}", sample("hello.raw").display()),
            ],
        ]
        .concat(),
    );
    assert!(!text(&["ls", baked, "boot:/flatcar"]).contains("first_boot"));
    assert!(text(&["ls", baked, "oem:/x"]).contains("hello.raw"));
    let refused = flatbake(&[
        "bake", "--image", &image, "--output", baked, "--remove", "USR-A:/x",
    ])
    .output()
    .unwrap();
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("dm-verity")
    );
}

#[test]
fn completions_know_the_words() {
    for shell in ["bash", "zsh"] {
        let script = text(&["completions", shell]);
        let colon = if shell == "zsh" { "\\:" } else { ":" };
        for word in [
            "vmdk_stream",
            "qemu_uefi",
            "zst",
            "plain",
            &format!("oem{colon}"),
            &format!("USR-A{colon}"),
        ] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
    let help = text(&["convert", "--help"]);
    assert!(!help.contains("possible values: raw"), "{help}");
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let mut command = flatbake(&["ls", &image(), "usr", "-R"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    assert!(
        child.wait().unwrap().code().is_some() && !message.contains("panicked"),
        "{message}"
    );
}
