//! An output that is killed half-way leaves nothing behind.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::common::programs::{spawn_test, wait_until};
use crate::common::scratch_dir;
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
    let dir = scratch_dir();
    fs::write(dir.path().join("disk.img"), b"old").unwrap();
    let mut child = spawn_test("output_file::child", FOLDER, dir.path());
    wait_until("the child gets half-way", || {
        dir.path().join("half-way").exists()
    });
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["disk.img", "half-way"]);
    assert_eq!(fs::read(dir.path().join("disk.img")).unwrap(), b"old");
}
