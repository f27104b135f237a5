//! Wrong inputs: each gives its exit code, one clear message, and no output file.
use crate::common::flatcar::{Recipe, flatcar_copy, flatcar_image};
use crate::common::programs::{command, flatbake};
use crate::common::region::Region;
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A folder with an image and an output that must never appear.
struct Case {
    dir: tempfile::TempDir,
    output: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = scratch_dir();
        let output = dir.path().join("out.img");
        Self { dir, output }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a bake that must fail with `code`, and whose message must hold every one of `says`.
    fn refused(&self, image: &Path, arguments: &[&str], code: i32, says: &[&str]) {
        let before = self.listing();
        let mut command = flatbake();
        command
            .arg("bake")
            .arg("--no-cache")
            .arg("--image")
            .arg(image)
            .arg("--output")
            .arg(&self.output);
        let output = command
            .args(arguments)
            .env("TMPDIR", self.dir.path())
            .output()
            .unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        for words in says {
            assert!(
                message.contains(words),
                "'{words}' is missing in: {message}"
            );
        }
        assert_eq!(message.matches("error:").count(), 1, "{message}");
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(before, self.listing(), "something was left behind");
    }

    fn listing(&self) -> Vec<PathBuf> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn files_that_are_no_images() {
    let case = Case::new();
    let text = case.path("text");
    fs::write(&text, "just some words\n".repeat(1000)).unwrap();
    case.refused(&text, &[], 2, &["text", "partition"]);
    let empty = case.path("empty");
    File::create(&empty).unwrap();
    case.refused(&empty, &[], 2, &["empty"]);
    case.refused(&case.path("missing"), &[], 2, &["missing", "No such file"]);
    case.refused(case.dir.path(), &[], 2, &["not a regular file"]);
    for (name, magic, says) in [
        ("a.gz", &b"\x1f\x8b\x08"[..], "gzip"),
        ("a.xz", b"\xfd7zXZ\0", "xz"),
        ("a.qcow2", b"QFI\xfb\0\0\0\x03", "qcow2"),
    ] {
        let file = case.path(name);
        fs::write(&file, [magic, &[0; 4096]].concat()).unwrap();
        case.refused(&file, &[], 8, &[name, says]);
    }
}

/// What is no disk, made by the programs that make it, each with what the message says and what its hint says.
#[test]
fn files_of_other_programs_are_refused_by_name() {
    let case = Case::new();
    let dir = case.path("made");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("disk.raw"), vec![7; 5000]).unwrap();
    fs::write(dir.join("node.ovf"), "<Envelope/>").unwrap();
    fs::write(dir.join("node.vmdk"), "KDMV").unwrap();
    let config = "variant: flatcar\nversion: 1.1.0\n";
    fs::write(dir.join("node.yaml"), config).unwrap();
    for (program, arguments, made, says) in [
        (
            "tar",
            "-cf gce.tar disk.raw",
            "gce.tar",
            ["a tar archive", "disk.raw"],
        ),
        (
            "tar",
            "-czf gce.tar.gz disk.raw",
            "gce.tar.gz",
            ["a tar archive", "disk.raw"],
        ),
        (
            "tar",
            "--format=ustar -cf node.ova node.ovf node.vmdk",
            "node.ova",
            ["an OVA", "node.vmdk"],
        ),
        (
            "zip",
            "-q disk.zip disk.raw",
            "disk.zip",
            ["a zip archive", "unzip"],
        ),
        (
            "7z",
            "a -bd disk.7z disk.raw",
            "disk.7z",
            ["packed as 7z", "unpack it first"],
        ),
        (
            "xz",
            "-k --format=lzma disk.raw",
            "disk.raw.lzma",
            ["packed as lzma", "unpack it first"],
        ),
        (
            "lz4",
            "-q disk.raw disk.lz4",
            "disk.lz4",
            ["packed as lz4", "unpack it first"],
        ),
        (
            "lzop",
            "-q -o disk.lzo disk.raw",
            "disk.lzo",
            ["packed as lzop", "unpack it first"],
        ),
        (
            "ar",
            "rc disk.a disk.raw",
            "disk.a",
            ["an ar archive", "ar x"],
        ),
        (
            "qemu-img",
            "create -q -f qed disk.qed 1M",
            "disk.qed",
            ["a QED image", "qemu-img convert -f qed"],
        ),
        (
            "mkfs.ext4",
            "-q fs.img 1M",
            "fs.img",
            ["a filesystem (ext4)", "the whole disk"],
        ),
        (
            "mksquashfs",
            "disk.raw sysext.raw -quiet",
            "sysext.raw",
            ["a filesystem (squashfs)", "the whole disk"],
        ),
        (
            "cat",
            "node.yaml",
            "node.yaml",
            ["a Butane config", "give the disk image"],
        ),
    ] {
        let ran = command(Path::new(program))
            .args(arguments.split(' '))
            .current_dir(&dir)
            .output();
        let Ok(ran) = ran else {
            eprintln!("skipped: {program} is not on this machine");
            continue;
        };
        assert!(ran.status.success(), "{program} {arguments}: {ran:?}");
        case.refused(&dir.join(made), &[], 3, &[made, says[0], says[1], "hint:"]);
    }
}

#[test]
fn compressed_images_that_are_damaged() {
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2");
    let good = fs::read(sample).unwrap();
    let case = Case::new();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x10;
    let damaged = [
        ("cut.bz2", good[..good.len() / 2].to_vec()),
        ("flipped.bz2", flipped),
        ("trailing.bz2", [&good[..], b"and some more"].concat()),
    ];
    for (name, bytes) in damaged {
        fs::write(case.path(name), bytes).unwrap();
        case.refused(&case.path(name), &[], 8, &[name]);
    }
}

#[test]
fn damaged_partition_tables() {
    let case = Case::new();
    let Some(image) = flatcar_copy(&Recipe::small(), case.dir.path()) else {
        return;
    };
    let disk = Region::whole(&image);
    // The primary header alone: the backup serves, with a warning.
    disk.break_byte(512 + 16);
    let mut command = flatbake();
    let output = command.arg("inspect").arg(&image).output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("warning:")
    );
    disk.break_byte(disk.len - 512 + 16);
    case.refused(
        &image,
        &[],
        8,
        &["disk.bin", "both copies of the partition table"],
    );
}

#[test]
fn a_truncated_image() {
    let case = Case::new();
    let Some(image) = flatcar_copy(&Recipe::small(), case.dir.path()) else {
        return;
    };
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(200 << 20)
        .unwrap();
    case.refused(&image, &[], 8, &["disk.bin"]);
}

#[test]
fn a_root_that_is_too_small() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let case = Case::new();
    let big = case.path("big");
    File::create(&big).unwrap().set_len(1 << 30).unwrap();
    let file = format!("{}:/big", big.display());
    case.refused(
        &image,
        &["--root-file", &file],
        4,
        &["root", "1073745920", "free", "--root-size"],
    );
    case.refused(&image, &["--boot-file", &file], 4, &["boot", "free"]);
}

#[test]
fn sysexts_that_do_not_fit() {
    let case = Case::new();
    let make = |file: &str, description: &Sysext| sysext(case.dir.path(), file, description);
    let arm = Sysext::new("hello", "arm64", Format::Squashfs);
    let other = Sysext::new("other", "x86-64", Format::Erofs);
    let level = Sysext::new("level", "x86-64", Format::Squashfs)
        .with_fields(&[("ID", "flatcar"), ("SYSEXT_LEVEL", "9.9")]);
    let mut inside = Sysext::new("inside", "x86-64", Format::Squashfs);
    inside
        .files
        .push(("usr/lib/os-release".to_owned(), b"ID=flatcar\n".to_vec()));
    let mut sbin = Sysext::new("sbin", "x86-64", Format::Squashfs);
    sbin.files
        .push(("usr/sbin/tool".to_owned(), b"#!/bin/sh\n".to_vec()));
    let made = [
        ("hello", &arm),
        ("name", &other),
        ("level", &level),
        ("inside", &inside),
        ("sbin", &sbin),
    ]
    .map(|(name, description)| Some((name, make(&format!("{name}.raw"), description)?)));
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let says = ["arm64", "other", "9.9", "os-release", "/usr/sbin"];
    for (made, says) in made.into_iter().zip(says) {
        let Some((name, file)) = made else { return };
        case.refused(
            &image,
            &[&format!("{name}:{}", file.display())],
            2,
            &[says, "--force"],
        );
    }
    let text = case.path("text.raw");
    fs::write(&text, "no filesystem").unwrap();
    case.refused(
        &image,
        &[&format!("text:{}", text.display())],
        3,
        &["text.raw"],
    );
    for (name, magic, says) in [
        (
            "packed.raw",
            &b"\x1f\x8b\x08\0"[..],
            "a file packed as gzip",
        ),
        ("zip.raw", b"PK\x03\x04", "a file packed as zip"),
        ("page.raw", b"<!DOCTYPE html>", "a web page"),
    ] {
        fs::write(case.path(name), [magic, &[0; 1024]].concat()).unwrap();
        let argument = format!("name:{}", case.path(name).display());
        case.refused(
            &image,
            &[&argument],
            3,
            &[name, says, "not a filesystem image"],
        );
    }
}

#[test]
fn requests_that_make_no_sense() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let case = Case::new();
    fs::write(case.path("note"), "note").unwrap();
    let note = case.path("note");
    let spec = |path: &str| format!("{}:{path}", note.display());
    let refused =
        |arguments: &[&str], code, says: &[&str]| case.refused(&image, arguments, code, says);
    refused(&["--root-file", "/no/such/file:/x"], 2, &["/no/such/file"]);
    refused(
        &["--root-file", &spec("/usr/bin/x")],
        2,
        &["/usr", "sysext"],
    );
    refused(&["--root-file", &spec("/boot")], 2, &["/boot"]);
    refused(&["--root-file", &spec("/../x")], 2, &[".."]);
    refused(
        &["--root-file", &spec("/lost+found")],
        2,
        &["is a directory"],
    );
    refused(&["--boot-file", &spec("/a?b")], 2, &["a?b"]);
    refused(
        &["--remove", "root:/nothing/there"],
        2,
        &["/nothing/there", "hint:"],
    );
    refused(&["--remove", "root:/"], 2, &["top folder"]);
    refused(&["hello:/no/such/sysext.raw"], 2, &["/no/such/sysext.raw"]);
    refused(&["--timestamp", "yesterday"], 2, &["yesterday"]);
    refused(&["--root-file", "/dev/null:/x"], 2, &["/dev/null"]);
    refused(&["--root-size", "100M"], 2, &["not shrunk", "148897792"]);
    refused(&["--root-size", "9999T"], 2, &["too large"]);
    let own = image.to_str().unwrap();
    refused(&["--root-file", &format!("{own}:/x")], 4, &["free"]);
}

#[test]
fn files_of_oem_that_nothing_would_read() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let case = Case::new();
    let yaml = case.path("bad.bu");
    let json = case.path("json.ign");
    fs::write(&yaml, "variant: flatcar").unwrap();
    fs::write(&json, "{}").unwrap();
    case.refused(
        &image,
        &["--config-ign", yaml.to_str().unwrap()],
        2,
        &["the variant flatcar has no version"],
    );
    case.refused(
        &image,
        &["--base-ign", json.to_str().unwrap()],
        2,
        &["ignition.version"],
    );
    case.refused(
        &image,
        &[
            "--oem-file",
            &format!("{}:/base/default.ign", json.display()),
        ],
        2,
        &["default.ign", "3185"],
    );
    case.refused(&image, &["--remove-kernel-arg", "quiet"], 2, &["quiet"]);
    case.refused(&image, &["--kernel-arg", "two words"], 2, &["two words"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let case = Case::new();
    let Some(image) = flatcar_copy(&Recipe::small(), case.dir.path()) else {
        return;
    };
    let bake = |output: &Path| {
        let mut command = flatbake();
        let output = command
            .arg("bake")
            .arg("--image")
            .arg(&image)
            .arg("--output")
            .arg(output)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let before = crate::common::tree::sha256(File::open(&image).unwrap());
    let (code, message) = bake(&image);
    assert!(
        code == Some(2) && message.contains("read by this run"),
        "{message}"
    );
    let (code, message) = bake(&case.path("no/such/folder/out.img"));
    assert!(
        code == Some(2) && message.contains("no/such/folder"),
        "{message}"
    );
    let (code, message) = bake(case.dir.path());
    assert!(code == Some(2), "{message}");
    // /proc takes no files, not even from root.
    let (code, message) = bake(Path::new("/proc/out.img"));
    assert!(
        matches!(code, Some(2 | 4)) && message.contains("/proc"),
        "{message}"
    );
    assert_eq!(
        before,
        crate::common::tree::sha256(File::open(&image).unwrap())
    );
}

#[test]
fn findings_become_warnings_when_forced() {
    let case = Case::new();
    let arm = Sysext::new("hello", "arm64", Format::Squashfs);
    let (Some(image), Some(file)) = (
        flatcar_image(&Recipe::small()),
        sysext(case.dir.path(), "hello.raw", &arm),
    ) else {
        return;
    };
    let mut command = flatbake();
    command
        .arg("bake")
        .arg("--force")
        .arg("--image")
        .arg(image)
        .arg("--output")
        .arg(&case.output);
    let output = command
        .arg(format!("hello:{}", file.display()))
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && message.contains("warning:") && message.contains("arm64"),
        "{message}"
    );
    assert!(case.output.exists());
}
