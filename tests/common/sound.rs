//! What a fresh Flatcar-like image must be, as the judges see it.

use super::flatcar::{Filesystem, Recipe, VERITY_HASH, os_release};
use super::judges::{btrfs_clean, ext4_clean, fat_clean, gpt_clean, gpt_json, partitions};
use super::layout::DISK_GUID;
use super::listing::{fat_tree, partition_tree};
use super::programs::{EPOCH, judges};
use super::region::Region;
use super::tree::{Kind, sha256};
use std::path::Path;

/// Everything that is true of a fresh image made after `recipe`; panics with the first thing that is not.
pub fn assert_sound(recipe: &Recipe, image: &Path) {
    gpt_clean(image).unwrap();
    if !judges(&["sfdisk", "debugfs", "btrfs", "mcopy"]) {
        return;
    }
    let table = partitions(image).unwrap();
    assert_eq!(table.len(), recipe.layout.slots.len());
    for (partition, slot) in table.iter().zip(recipe.layout.slots) {
        assert_eq!(
            (partition.number, partition.start, partition.sectors),
            (slot.number, slot.start, slot.sectors)
        );
        assert_eq!(
            (
                partition.type_guid.to_lowercase().as_str(),
                partition.label.as_str()
            ),
            (slot.type_guid, slot.label)
        );
        assert_eq!(partition.unique_guid.to_lowercase(), slot.unique_guid);
    }
    assert_eq!(
        table[2].attributes, "GUID:48,56",
        "USR-A: priority 1, successful"
    );
    assert_eq!(gpt_json(image).unwrap()["id"], DISK_GUID);
    let at = |number| Region::partition(image, number).unwrap();
    fat_clean(&at(1)).unwrap();
    ext4_clean(&at(9)).unwrap();
    match recipe.oem {
        Filesystem::Btrfs => btrfs_clean(&at(6)).unwrap(),
        Filesystem::Ext => ext4_clean(&at(6)).unwrap(),
    }
    let lister = |filesystem| {
        if filesystem == Filesystem::Btrfs {
            "btrfs"
        } else {
            "ext4"
        }
    };
    if recipe.usr == Filesystem::Btrfs {
        btrfs_clean(&at(3)).unwrap();
    }
    let usr = partition_tree(image, 3, lister(recipe.usr)).unwrap();
    assert_eq!(
        usr["lib/os-release"].sha256.as_ref().unwrap(),
        &sha256(os_release(recipe).as_bytes())
    );
    let oem = partition_tree(image, 6, lister(recipe.oem)).unwrap();
    if recipe.oem == Filesystem::Btrfs {
        assert_eq!(
            oem[""].xattrs.as_ref().unwrap()["btrfs.compression"],
            b"zlib"
        );
    }
    let root = partition_tree(image, 9, "ext4").unwrap();
    for name in ["boot", "oem", "usr"] {
        let entry = &root[name];
        assert_eq!(
            (entry.kind, entry.mode, entry.uid, entry.gid),
            (Kind::Directory, Some(0o755), Some(0), Some(0))
        );
    }
    let esp = fat_tree(&at(1)).unwrap();
    assert_eq!(esp["flatcar/first_boot"].mtime, Some((EPOCH, 0)));
    assert_eq!(
        esp["flatcar/vmlinuz-a"].size,
        Some(recipe.kernel_bytes as u64)
    );
    assert!(at(1).find(VERITY_HASH.as_bytes()).is_some());
}
