//! The Linux kernel as a judge, where the tests run as root and loop mounts work; skipped elsewhere.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::btrfs::fixture::{assert_clean, run, tool};
use crate::btrfs::read::same_tree;
use crate::common::programs::command;

/// The kernel refuses to mount two filesystems with one UUID, and most here are rebuilds of the same few.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Mount {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Mount {
    fn new(image: &Path, options: &str) -> Option<Self> {
        if !rustix_root() || !Path::new("/sys/fs/btrfs").exists() {
            eprintln!("skipped: no loop mounts of btrfs here");
            return None;
        }
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = TempDir::new().unwrap();
        let (ok, text) = run(command(Path::new("mount"))
            .args(["-o", options])
            .arg(image)
            .arg(folder.path()));
        assert!(ok, "mounting: {text}");
        Some(Self {
            folder,
            _alone: alone,
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let (ok, text) = run(command(Path::new("umount")).arg(self.folder.path()));
        assert!(ok || std::thread::panicking(), "{text}");
        tool("btrfs").map(|mut btrfs| run(btrfs.args(["device", "scan", "--forget"])));
    }
}

fn rustix_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The kernel shows exactly this tree.
pub fn reads(image: &Path, expected: &str) {
    let Some(mount) = Mount::new(image, "loop,ro") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/btrfs/manifest.py");
    let (ok, text) = run(command(Path::new("python3"))
        .arg(script)
        .arg(mount.folder.path()));
    assert!(ok, "{text}");
    same_tree(&text, expected);
}

/// The kernel can go on working with the filesystem, and what it leaves is clean.
pub fn changes(image: &Path) {
    let Some(mount) = Mount::new(image, "loop") else {
        return;
    };
    let top = mount.folder.path();
    fs::create_dir(top.join("by-the-kernel")).unwrap();
    for number in 0..200u32 {
        fs::write(
            top.join(format!("by-the-kernel/{number}")),
            format!("{number}\n").repeat(1000),
        )
        .unwrap();
    }
    for entry in fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap())
        .take(3)
    {
        if entry.file_type().unwrap().is_file() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    for number in (0..200u32).step_by(2) {
        fs::remove_file(top.join(format!("by-the-kernel/{number}"))).unwrap();
    }
    run(command(Path::new("sync")).arg("-f").arg(top));
    drop(mount);
    assert_clean(image, "after changes by the kernel");
}

/// The kernel can write a little and take it back, after `first` is gone: a full filesystem lets files be removed.
pub fn changes_without_harm(image: &Path, first: &str) {
    let Some(mount) = Mount::new(image, "loop") else {
        return;
    };
    fs::remove_file(mount.folder.path().join(first)).unwrap();
    run(command(Path::new("sync"))
        .arg("-f")
        .arg(mount.folder.path()));
    let file = mount.folder.path().join("by-the-kernel");
    fs::write(&file, "content\n".repeat(20_000)).unwrap();
    run(command(Path::new("sync")).arg("-f").arg(&file));
    fs::remove_file(&file).unwrap();
    drop(mount);
    assert_clean(image, "after changes by the kernel");
}
