//! What commands read and write: nothing that is read is written, nothing is replaced unasked, pipes do as files, and
//! what is ended leaves nothing. Nothing here needs more than the Rust toolchain.
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::noise;
use crate::common::programs::{self, command, judge, said};
use flatbake::flatcar::vendor::Vendors;
use rustix::process::{Pid, Signal, kill_process};

const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/testdata/sample/flatcar_sample.bin.bz2"
);

fn flatbake(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = programs::flatbake();
    command.current_dir(dir).args(arguments);
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    flatbake(dir, arguments).output().unwrap()
}

fn accepted(dir: &Path, arguments: &[&str]) -> Output {
    let output = run(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    output
}

fn refused(dir: &Path, arguments: &[&str], says: &str) {
    let output = run(dir, arguments);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{arguments:?}: {}",
        said(&output)
    );
    assert!(
        said(&output).contains(says),
        "{arguments:?}: {}",
        said(&output)
    );
}

/// Runs it with `bytes` coming through a pipe.
fn piped(dir: &Path, arguments: &[&str], bytes: &[u8]) -> Output {
    let mut command = flatbake(dir, arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap()
    })
}

/// A disk of 3 MiB with a hole in its middle.
fn disk() -> Vec<u8> {
    let mut disk = noise(1, 3 << 20);
    disk[1 << 20..2 << 20].fill(0);
    disk
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .collect()
}

#[test]
fn what_is_read_is_never_written() {
    let dir = crate::common::scratch_dir();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("disk.raw"), disk()).unwrap();
    fs::create_dir(path("folder")).unwrap();
    symlink("disk.raw", path("link.raw")).unwrap();
    fs::hard_link(path("disk.raw"), path("hard.raw")).unwrap();
    let ways = [
        "disk.raw",
        "link.raw",
        "hard.raw",
        "folder/../disk.raw",
        "./disk.raw",
    ];
    for from in ways {
        for to in ways {
            refused(
                dir.path(),
                &["convert", from, to, "--overwrite"],
                "is read by this run",
            );
        }
    }
    refused(
        dir.path(),
        &[
            "convert",
            "disk.raw",
            "new.img",
            "--also",
            "hard.raw",
            "--overwrite",
        ],
        "is read by this run",
    );
    let mut redirected = flatbake(dir.path(), &["convert", "-", "link.raw", "--overwrite"]);
    let output = redirected
        .stdin(File::open(path("disk.raw")).unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.code() == Some(2) && said(&output).contains("is read by this run"),
        "{}",
        said(&output)
    );

    fs::copy(SAMPLE, path("flatcar.bin.bz2")).unwrap();
    fs::hard_link(path("flatcar.bin.bz2"), path("os-release")).unwrap();
    for (to, flag) in [
        ("flatcar.bin.bz2", "--overwrite"),
        ("flatcar.bin.bz2", "--force"),
        (".", "--overwrite"),
    ] {
        let get = ["get", "flatcar.bin.bz2", "usr:/lib/os-release", to, flag];
        refused(dir.path(), &get, "is read by this run");
    }
    let left = [
        "disk.raw",
        "flatcar.bin.bz2",
        "folder",
        "hard.raw",
        "link.raw",
        "os-release",
    ];
    assert_eq!(names(dir.path()), left);
    assert!(fs::read(path("disk.raw")).unwrap() == disk());
    assert_eq!(
        fs::read(path("flatcar.bin.bz2")).unwrap(),
        fs::read(SAMPLE).unwrap()
    );
}

#[test]
fn files_that_an_image_refers_to_are_not_written() {
    let Some(qemu_img) = judge("qemu-img") else {
        return;
    };
    let dir = crate::common::scratch_dir();
    fs::write(dir.path().join("base.raw"), disk()).unwrap();
    let create = [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "base.raw",
        "-F",
        "raw",
        "top.qcow2",
    ];
    assert!(
        command(&qemu_img)
            .current_dir(dir.path())
            .args(create)
            .status()
            .unwrap()
            .success()
    );
    let convert = [
        "convert",
        "top.qcow2",
        "base.raw",
        "--allow-external",
        "--overwrite",
    ];
    refused(dir.path(), &convert, "is read by this run");
    accepted(
        dir.path(),
        &["convert", "top.qcow2", "other.raw", "--allow-external"],
    );
    assert!(fs::read(dir.path().join("other.raw")).unwrap() == disk());
}

#[test]
fn nothing_is_replaced_unasked_and_nothing_read_before() {
    let dir = crate::common::scratch_dir();
    let path = |name: &str| dir.path().join(name);
    for name in ["out.raw", "out-flat.vmdk", "os-release", "flatbake.1"] {
        fs::write(path(name), "mine").unwrap();
    }
    fs::create_dir(path("empty")).unwrap();
    symlink("nowhere", path("link.raw")).unwrap();
    let before = names(dir.path());
    for arguments in [
        &["convert", "missing.raw", "out.raw"][..],
        &["convert", "missing.raw", "link.raw"],
        &[
            "convert",
            "missing.raw",
            "out.vmdk",
            "--format",
            "vmdk_flat",
        ],
        &["convert", "missing.raw", "new.img", "--also", "out.raw"],
        &["get", "missing.raw", "usr:/lib/os-release", "out.raw"],
        &["get", SAMPLE, "usr:/lib/os-release", "."],
        &["man", "."],
    ] {
        refused(dir.path(), arguments, "exists already");
        refused(dir.path(), arguments, "--overwrite");
    }
    assert_eq!(names(dir.path()), before);
    assert!(before.iter().all(
        |name| fs::read(path(name)).is_ok_and(|bytes| bytes == b"mine") || !path(name).is_file()
    ));
    accepted(dir.path(), &["man", ".", "--overwrite"]);
    assert!(
        fs::read_to_string(path("flatbake.1"))
            .unwrap()
            .contains(".TH")
    );
    accepted(
        dir.path(),
        &["get", SAMPLE, "usr:/lib/os-release", ".", "--overwrite"],
    );
    assert!(
        fs::read_to_string(path("os-release"))
            .unwrap()
            .contains("ID=flatcar")
    );
    accepted(dir.path(), &["get", SAMPLE, "boot:/flatcar", "empty"]);
    accepted(dir.path(), &["convert", SAMPLE, "out.raw", "--overwrite"]);
    assert!(fs::metadata(path("out.raw")).unwrap().len() > 1 << 20);
}

#[test]
fn a_pipe_gets_what_a_file_gets() {
    let dir = crate::common::scratch_dir();
    fs::write(dir.path().join("disk.raw"), disk()).unwrap();
    for (name, arguments) in [
        ("out.raw", &[][..]),
        ("out.raw.zst", &["--compress", "zst:1"]),
        ("out.qcow2", &["--format", "qcow2"]),
        ("out.vhd", &["--format", "vhd", "--timestamp", "1700000000"]),
        ("out.vhd.gz", &["--format", "vhd_fixed", "--compress", "gz"]),
    ] {
        accepted(
            dir.path(),
            &[&["convert", "disk.raw", name], arguments].concat(),
        );
        let output = accepted(
            dir.path(),
            &[&["convert", "disk.raw", "-", "--sha256"], arguments].concat(),
        );
        let file = fs::read(dir.path().join(name)).unwrap();
        assert!(
            output.stdout == file,
            "{name}: {} bytes",
            output.stdout.len()
        );
        let sum = crate::common::tree::sha256(&file[..]);
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains(&format!("{sum}  -")),
            "{name}"
        );
    }
    assert!(!dir.path().join("-").exists());
}

#[test]
fn an_image_may_come_through_a_pipe() {
    let dir = crate::common::scratch_dir();
    let disk = disk();
    let output = piped(dir.path(), &["convert", "-", "out.raw"], &disk);
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::read(dir.path().join("out.raw")).unwrap() == disk);
    let sample = fs::read(SAMPLE).unwrap();
    let through = |arguments: &[&str]| {
        let output = piped(dir.path(), arguments, &sample);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let info: serde_json::Value = serde_json::from_str(&through(&["info", "-", "--json"])).unwrap();
    assert_eq!(
        (&info["image"], &info["compression"]),
        (&"standard input".into(), &"bzip2".into())
    );
    assert_eq!(info["file_bytes"], sample.len());
    assert!(through(&["inspect", "-"]).contains("EFI-SYSTEM"));
    assert!(through(&["ls", "-", "root"]).contains("lost+found"));
    assert!(through(&["cat", "-", "usr:/lib/os-release"]).contains("ID=flatcar"));
    through(&["get", "-", "usr:/lib/os-release", "from-pipe"]);
    let mut redirected = flatbake(dir.path(), &["get", "-", "usr:/lib/os-release", "-"]);
    let output = redirected
        .stdin(File::open(SAMPLE).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        output.stdout,
        fs::read(dir.path().join("from-pipe")).unwrap()
    );
    let nothing = piped(dir.path(), &["ls", "-", "root"], b"");
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        said(&nothing).contains("standard input"),
        "{}",
        said(&nothing)
    );
    let external = piped(dir.path(), &["info", "-", "--allow-external"], b"");
    assert!(
        said(&external).contains("--allow-external"),
        "{}",
        said(&external)
    );
}

#[test]
fn a_file_of_an_image_goes_to_a_pipe() {
    let dir = crate::common::scratch_dir();
    let got = accepted(dir.path(), &["get", SAMPLE, "usr:/lib/os-release", "-"]).stdout;
    assert_eq!(
        got,
        accepted(dir.path(), &["cat", SAMPLE, "usr:/lib/os-release"]).stdout
    );
    refused(
        dir.path(),
        &["get", SAMPLE, "boot:/flatcar", "-"],
        "is a folder",
    );
    assert!(names(dir.path()).is_empty());
    accepted(dir.path(), &["get", SAMPLE, "usr:/lib/os-release", "./-"]);
    assert_eq!(fs::read(dir.path().join("-")).unwrap(), got);
}

#[test]
fn names_of_no_disk_image_point_to_vendors_that_there_are() {
    let dir = crate::common::scratch_dir();
    for extension in [
        "ova", "ovf", "box", "iso", "tar", "tar.gz", "tgz", "zip", "cpio", "cpio.gz",
    ] {
        let output = run(
            dir.path(),
            &[
                "convert",
                "missing.raw",
                &format!("node.{extension}"),
                "--json",
            ],
        );
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = document["error"]["message"].as_str().unwrap();
        let vendor = message.rsplit(' ').next().unwrap();
        assert!(
            Vendors::builtin().find(vendor).is_ok(),
            "{extension}: {message}"
        );
    }
}

/// Starts it in the background.
fn started(dir: &Path, arguments: &[&str]) -> Child {
    let mut command = flatbake(dir, arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Random bytes between holes, far too many to be packed by xz within seconds.
fn slow_disk(path: &Path) {
    let mut file = File::create(path).unwrap();
    let bytes = noise(2, 8 << 20);
    for index in 0..32 {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, index * (64 << 20)).unwrap();
    }
    file.flush().unwrap();
}

#[test]
fn a_signal_ends_a_conversion_and_leaves_nothing() {
    let dir = crate::common::scratch_dir();
    slow_disk(&dir.path().join("disk.raw"));
    for (signal, also) in [
        (Signal::INT, &[][..]),
        (
            Signal::TERM,
            &["--also", "out.qcow2", "--also", "out.vdi.gz"],
        ),
    ] {
        let convert = [
            "convert",
            "disk.raw",
            "out.img.xz",
            "--compress",
            "xz:9",
            "--progress",
            "plain",
            "--json",
        ];
        let mut child = started(dir.path(), &[&convert[..], also].concat());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut text = String::new();
        // It has begun to write once it tells how far it is.
        stderr.read_line(&mut text).unwrap();
        send(&child, signal);
        stderr.read_to_string(&mut text).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{text}");
        assert_eq!(text.matches("cancelled").count(), 1, "{text}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["error"]["kind"], "cancelled");
        assert_eq!(names(dir.path()), ["disk.raw"]);
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_pipe() {
    let dir = crate::common::scratch_dir();
    let mut child = started(dir.path(), &["info", "-"]);
    let mut held = child.stdin.take().unwrap();
    // It takes more than a pipe holds once it reads; by then it waits for signals, too.
    held.write_all(&[0; 1 << 20]).unwrap();
    send(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    drop(held);
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let dir = crate::common::scratch_dir();
    fs::write(dir.path().join("disk.raw"), disk()).unwrap();
    let mut child = started(dir.path(), &["convert", "disk.raw", "-"]);
    // One byte has come, and nobody takes the others: it waits for good.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0]).unwrap();
    send(&child, Signal::INT);
    while child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(50));
        send(&child, Signal::INT);
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
