//! Finding names in large directories: by the hash tree, and where there is none that can be used.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use flatbake::Result;
use flatbake::block::{BlockDevice, Extent, MemoryDevice};
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{ByPath, FileSystem};

use crate::ext4::images::mke2fs;
use crate::ext4::model::path;
use crate::ext4::support::{file_in, have_judges};

const NAMES: usize = 9_000;
/// One in so many names is looked for.
const STEP: usize = 97;

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting(MemoryDevice, AtomicU64);

impl BlockDevice for Counting {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(offset, buf)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.0.extent_at(offset)
    }
}

/// An image with a directory of many names, made by e2fsprogs.
fn image(features: &str) -> Option<Vec<u8>> {
    if !have_judges() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree/many");
    fs::create_dir_all(&tree).unwrap();
    for number in 0..NAMES {
        fs::write(tree.join(name(number)), "").unwrap();
    }
    let file = file_in(&folder, "a.img");
    mke2fs(
        &file,
        32,
        features,
        Some(&folder.path().join("tree")),
        &["-b", "1024", "-N", "10000"],
    );
    // mke2fs leaves large directories without an index; e2fsck makes one.
    let _ = crate::common::programs::run("e2fsck", ["-fyD", file.to_str().unwrap()]);
    Some(fs::read(&file).unwrap())
}

fn name(number: usize) -> String {
    format!("the-name-of-file-number-{number}")
}

/// Every name is found, by the inode that the listing has; returns the bytes read per lookup.
fn find_all(bytes: Vec<u8>) -> u64 {
    let device = Counting(MemoryDevice::new(bytes), AtomicU64::new(0));
    let fs = Ext4::open_read_only(&device).unwrap();
    let many = fs.node_at(&path("/many")).unwrap();
    let entries = fs.entries(many).unwrap();
    assert_eq!(entries.len(), NAMES);
    let before = device.1.load(Ordering::Relaxed);
    for entry in entries.iter().step_by(STEP) {
        assert_eq!(fs.lookup(many, &entry.name).unwrap(), Some(entry.node));
        assert_eq!(
            fs.lookup(many, &[&entry.name[..], b"x"].concat()).unwrap(),
            None
        );
    }
    (device.1.load(Ordering::Relaxed) - before) / (2 * (NAMES / STEP) as u64)
}

#[test]
fn a_name_costs_a_few_blocks_of_a_hash_tree() {
    for features in ["", "^metadata_csum", "large_dir"] {
        let Some(bytes) = image(features) else { return };
        let cost = find_all(bytes);
        assert!(cost < 10 * 1024, "{cost} bytes per name with {features:?}");
    }
}

#[test]
fn without_an_index_that_can_be_used_names_are_found_all_the_same() {
    let Some(bytes) = image("^metadata_csum") else {
        return;
    };
    let roots: Vec<usize> = (0..bytes.len() - 1024)
        .step_by(1024)
        .filter(|&at| {
            bytes[at + 6..at + 9] == [1, 2, b'.'] && bytes[at + 0x18..at + 0x1C] == [0; 4]
        })
        .filter(|&at| bytes[at + 0x1D] == 8 && bytes[at + 0x1C] < 3)
        .collect();
    let [root] = roots[..] else {
        panic!("one hash tree, not {}", roots.len())
    };
    // Hash version, length of the fields, levels, count above the limit, hashes out of order.
    for (at, value) in [(0x1C, 9), (0x1D, 7), (0x1E, 5), (0x23, 0xFF), (0x2B, 0xFF)] {
        let mut broken = bytes.clone();
        broken[root + at] = value;
        let cost = find_all(broken);
        assert!(
            cost > 30 * 1024,
            "byte {at:#x}: {cost} bytes per name, so the tree was used"
        );
    }
}
