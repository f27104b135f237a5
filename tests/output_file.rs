//! An output that is killed half-way leaves nothing behind.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flatbake::block::OutputFile;

const FOLDER: &str = "FLATBAKE_TEST_OUTPUT_FOLDER";

/// Run by the test below in a process of its own: writes half a file and waits to be killed.
#[test]
#[ignore = "run by a_killed_writer_leaves_no_file"]
fn child() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let output = OutputFile::create(&Path::new(&folder).join("disk.img")).unwrap();
    output.file().write_all(&[1; 100_000]).unwrap();
    output.file().sync_all().unwrap();
    fs::write(Path::new(&folder).join("half-way"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(60));
    output.commit().unwrap();
}

#[test]
fn a_killed_writer_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("disk.img"), b"old").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env(FOLDER, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !dir.path().join("half-way").exists() {
        assert!(started.elapsed() < Duration::from_secs(30), "the child never got half-way");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["disk.img", "half-way"]);
    assert_eq!(fs::read(dir.path().join("disk.img")).unwrap(), b"old");
}
