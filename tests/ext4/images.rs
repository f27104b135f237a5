//! Images made by mke2fs, as Flatcar makes its ROOT.

use std::path::Path;

use crate::support::judge;

/// Feature sets (`mke2fs -O`): Flatcar's, newer e2fsprogs', without checksums, with the old descriptor checksums.
pub const FEATURES: &[&str] = &["", "metadata_csum_seed,orphan_file", "^metadata_csum", "^metadata_csum,uninit_bg"];

/// A filesystem of `mib` MiB holding what lies below `tree`.
pub fn mke2fs(image: &Path, mib: u64, features: &str, tree: Option<&Path>, more: &[&str]) {
    std::fs::File::create(image).unwrap().set_len(mib << 20).unwrap();
    let mut command = judge("mke2fs").unwrap();
    command.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-i", "4096", "-I", "256", "-L", "ROOT"]);
    command.args(["-U", "12345678-1234-1234-1234-123456789abc"]);
    command.args(["-E", "hash_seed=87654321-4321-4321-4321-cba987654321,lazy_itable_init=1"]);
    command.env("E2FSPROGS_FAKE_TIME", "1700000000");
    if !features.is_empty() {
        command.args(["-O", features]);
    }
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    let output = command.args(more).arg(image).output().unwrap();
    assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
}

/// A small tree of the host to start from.
pub fn tree(folder: &Path) {
    std::fs::create_dir_all(folder.join("etc/deep/er")).unwrap();
    std::fs::write(folder.join("etc/hostname"), "localhost\n").unwrap();
    std::fs::write(folder.join("etc/big"), vec![b'b'; 300_000]).unwrap();
    std::fs::hard_link(folder.join("etc/hostname"), folder.join("etc/alias")).unwrap();
    std::os::unix::fs::symlink("hostname", folder.join("etc/link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(90), folder.join("etc/long-link")).unwrap();
}

/// Turns directories of more than one block into hash trees, as the kernel would have made them.
pub fn index_directories(image: &Path) {
    let output = judge("e2fsck").unwrap().args(["-fyD"]).arg(image).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code <= 1), "{}", String::from_utf8_lossy(&output.stdout));
}
