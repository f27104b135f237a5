//! ext2 and ext4 filesystems from trees of this machine, of which nothing but the trees is in them.

use super::programs::{EPOCH, must_run};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Has `mke2fs -d` make a filesystem of `bytes` bytes in `file`. It takes over the owner, who is whoever runs the tests,
/// and when that was; so everything is given to root, and the times that no program can set on this machine are set.
pub fn make_ext(source: &Path, file: &Path, kind: &str, uuid: &str, options: &str, bytes: u64) {
    let words = format!("-q -t {kind} {options} -U {uuid} -E root_owner=0:0,hash_seed={uuid} -d");
    let words = words
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(OsStr::new);
    let kib = format!("{}k", bytes / 1024);
    must_run(
        "mke2fs",
        words.chain([source.as_os_str(), file.as_os_str(), OsStr::new(&kib)]),
    );
    let mut commands = String::new();
    settle(source, "", &mut commands);
    let script = file.with_extension("debugfs");
    fs::write(&script, commands).unwrap();
    let output = must_run(
        "debugfs",
        [
            OsStr::new("-w"),
            OsStr::new("-f"),
            script.as_os_str(),
            file.as_os_str(),
        ],
    );
    fs::remove_file(script).unwrap();
    // debugfs ends with 0 whatever happened; besides its version, stderr has nothing when all went well.
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaints
            .lines()
            .all(|line| line.starts_with("debugfs 1.")),
        "debugfs -w: {complaints}"
    );
}

/// Commands that change what is below `path` of the filesystem, which was made from `dir`.
fn settle(dir: &Path, path: &str, commands: &mut String) {
    for child in fs::read_dir(dir).unwrap() {
        let child = child.unwrap();
        let name = format!("{path}/{}", child.file_name().to_str().unwrap());
        for change in [
            "uid 0".to_owned(),
            "gid 0".to_owned(),
            format!("atime @{EPOCH}"),
            format!("ctime @{EPOCH}"),
        ] {
            commands.push_str(&format!("set_inode_field \"{name}\" {change}\n"));
        }
        if child.file_type().unwrap().is_dir() {
            settle(&child.path(), &name, commands);
        }
    }
}
