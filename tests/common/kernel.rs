//! The kernel as a judge of filesystems that are only read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::programs::command;
use super::tree::{Tree, host_tree};

/// The tree that the kernel finds; `None` where this is not root, or without loop devices or the filesystem. `dir`
/// has room for the place where it is mounted.
pub fn kernel_tree(image: &Path, filesystem: &str, dir: &Path) -> Option<Tree> {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            // A child process that another test is just starting can hold the image open for a moment.
            let unmounted = (0..50).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                command(Path::new("umount"))
                    .arg(&self.0)
                    .output()
                    .is_ok_and(|output| output.status.success())
            });
            assert!(unmounted, "{} stays mounted", self.0.display());
        }
    }
    let at = dir.join("mounted");
    fs::create_dir_all(&at).unwrap();
    let is_root = fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    let mut mount = command(Path::new("mount"));
    mount
        .args(["-t", filesystem, "-o", "loop,ro"])
        .arg(image)
        .arg(&at);
    if !is_root || !mount.output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: the kernel does not mount {filesystem} here");
        return None;
    }
    let _mounted = Mounted(at.clone());
    Some(host_tree(&at))
}
