//! What independent programs find in a partition.

mod btrfs;
mod ext4;
mod fat;

pub use btrfs::btrfs_tree;
pub use ext4::ext4_tree;
pub use fat::fat_tree;

use super::region::Region;
use super::tree::Tree;
use std::path::Path;

/// The tree of partition `number` by the tool for its filesystem: `"ext4"`, `"btrfs"` or `"fat"`.
pub fn partition_tree(image: &Path, number: u32, filesystem: &str) -> Option<Tree> {
    let region = Region::partition(image, number)?;
    match filesystem {
        "ext4" => ext4_tree(&region),
        "btrfs" => btrfs_tree(&region),
        "fat" => fat_tree(&region),
        _ => panic!("no lister for {filesystem}"),
    }
}
