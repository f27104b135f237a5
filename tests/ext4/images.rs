//! Images made by mke2fs, as Flatcar makes its ROOT.

use std::path::Path;

pub use crate::common::trees::make_etc_tree as tree;
use crate::ext4::support::judge;

/// A kind of filesystem: `mke2fs -O`, further options, and what debugfs sets in the superblock afterwards.
pub struct Set {
    pub features: &'static str,
    pub options: &'static [&'static str],
    pub settings: &'static [&'static str],
}

const fn set(features: &'static str, options: &'static [&'static str]) -> Set {
    Set {
        features,
        options,
        settings: &[],
    }
}

const fn tuned(features: &'static str, settings: &'static [&'static str]) -> Set {
    Set {
        features,
        options: &[],
        settings,
    }
}

const EXT3: &str = "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize";
const EXT2: &str = "^has_journal,^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize,^resize_inode,^large_file";

/// Flatcar's, newer e2fsprogs', older ones, and what else mke2fs can make.
pub const SETS: &[Set] = &[
    set("", &[]),
    set("metadata_csum_seed,orphan_file", &[]),
    set("^metadata_csum", &["-g", "2048"]),
    set("^metadata_csum,uninit_bg", &["-g", "4096"]),
    set("^metadata_csum,uninit_bg,^64bit", &[]),
    set("^64bit", &["-G", "4", "-g", "2048"]),
    set("^flex_bg,^resize_inode,sparse_super2", &["-g", "2048"]),
    set("meta_bg,^resize_inode", &["-g", "1024"]),
    set("large_dir,ea_inode", &["-b", "2048"]),
    set("inline_data,^sparse_super,^resize_inode", &["-g", "4096"]),
    set("", &["-b", "1024"]),
    set(EXT3, &[]),
    set(EXT3, &["-b", "1024"]),
    set(EXT2, &["-b", "1024"]),
    set(EXT2, &[]),
    set("^has_journal", &["-b", "65536"]),
    tuned("^filetype", &["def_hash_version tea"]),
    tuned("^dir_index,^ext_attr", &[]),
    tuned("", &["def_hash_version legacy", "flags 2"]),
    tuned("^metadata_csum", &["flags 2"]),
    tuned("", &["flags 0"]),
];

impl Set {
    /// Makes one of `mib` MiB holding what lies below `tree`.
    pub fn make(&self, image: &Path, mib: u64, tree: Option<&Path>) {
        mke2fs(image, mib, self.features, tree, self.options);
        if !self.settings.is_empty() {
            let script: String = self
                .settings
                .iter()
                .map(|setting| format!("ssv {setting}\n"))
                .collect();
            debugfs_write(image, &script);
            index_directories(image);
        }
    }

    /// Bytes of a block.
    pub fn block(&self) -> usize {
        let at = self.options.iter().position(|option| *option == "-b");
        at.map_or(4096, |at| self.options[at + 1].parse().unwrap())
    }

    pub fn has_journal(&self) -> bool {
        !self.features.contains("^has_journal")
    }
}

impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "-O '{}' {:?} {:?}",
            self.features, self.options, self.settings
        )
    }
}

/// A program of e2fsprogs that takes this for the time of day.
fn at_a_fixed_time(mut command: std::process::Command) -> std::process::Command {
    command
        .env("E2FSPROGS_FAKE_TIME", "1700000000")
        .env("E2FSCK_TIME", "1700000000");
    command
}

/// Has debugfs change an image.
pub fn debugfs_write(image: &Path, commands: &str) {
    let script = image.with_extension("settings");
    std::fs::write(&script, commands).unwrap();
    let output = at_a_fixed_time(judge("debugfs").unwrap())
        .arg("-w")
        .arg("-f")
        .arg(&script)
        .arg(image)
        .output()
        .unwrap();
    assert!(output.status.success());
}

/// A filesystem of `mib` MiB holding what lies below `tree`.
pub fn mke2fs(image: &Path, mib: u64, features: &str, tree: Option<&Path>, more: &[&str]) {
    std::fs::File::create(image)
        .unwrap()
        .set_len(mib << 20)
        .unwrap();
    let mut command = judge("mke2fs").unwrap();
    command.args([
        "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "4096", "-I", "256", "-L", "ROOT",
    ]);
    command.args(["-U", "12345678-1234-1234-1234-123456789abc"]);
    command.args([
        "-E",
        "hash_seed=87654321-4321-4321-4321-cba987654321,lazy_itable_init=1",
    ]);
    command.env("E2FSPROGS_FAKE_TIME", "1700000000");
    if !features.is_empty() {
        command.args(["-O", features]);
    }
    if let Some(tree) = tree {
        command.arg("-d").arg(tree);
    }
    let output = command.args(more).arg(image).output().unwrap();
    assert!(
        output.status.success(),
        "mke2fs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Turns directories of more than one block into hash trees, as the kernel would have made them.
pub fn index_directories(image: &Path) {
    let output = at_a_fixed_time(judge("e2fsck").unwrap())
        .args(["-fyD"])
        .arg(image)
        .output()
        .unwrap();
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Has e2fsck replay the journal and repair what else there is.
pub fn replayed(image: &Path) {
    let output = at_a_fixed_time(judge("e2fsck").unwrap())
        .args(["-fy"])
        .arg(image)
        .output()
        .unwrap();
    assert!(
        output.status.code().is_some_and(|code| code <= 1),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
