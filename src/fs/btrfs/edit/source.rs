//! What else a rebuilt filesystem takes over from its source, and what keeps it from being rebuilt.

use super::super::chunk::group;
use super::super::key::{Key, kind, object};
use super::super::root::RootItem;
use super::super::superblock::incompat;
use super::super::tree::Cursor;
use super::super::volume::Volume;
use super::on_disk::DevReplaceItem;
use crate::bytes::to_usize;
use crate::error::{Error, Reason, Result, ResultExt};

/// Items taken over as they are; a filesystem without subvolumes has about ten.
const ITEMS_MAX: usize = 1000;

/// Compatible features of which writers must know (`BTRFS_FEATURE_COMPAT_RO_*`).
pub(super) mod compat_ro {
    pub const FREE_SPACE_TREE: u64 = 1 << 0;
    pub const FREE_SPACE_TREE_VALID: u64 = 1 << 1;
    pub const BLOCK_GROUP_TREE: u64 = 1 << 3;
    pub const KNOWN: u64 = FREE_SPACE_TREE | FREE_SPACE_TREE_VALID | BLOCK_GROUP_TREE;
}

/// An item with its key.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub key: Key,
    pub data: Vec<u8>,
}

/// What the new filesystem takes over besides the tree of files.
#[derive(Debug)]
pub(super) struct Carried {
    /// Items of the root tree that are not roots: its directory, which names the default subvolume.
    pub root_tree: Vec<Item>,
    /// Root items by tree, padded to full length.
    pub roots: Vec<Item>,
    /// All items of the tree of subvolume UUIDs.
    pub uuid_tree: Vec<Item>,
    /// The root directory of the tree for data relocation.
    pub data_reloc: Vec<Item>,
    /// Error counters of the device.
    pub dev_stats: Vec<Item>,
    pub chunk_tree_uuid: [u8; 16],
    /// Profile bits of system, metadata and data chunks.
    pub profiles: Profiles,
}

/// [`group::DUP`] or 0 for each type of block group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profiles {
    pub system: u64,
    pub metadata: u64,
    pub data: u64,
}

impl Carried {
    /// Reads it; refuses, by name, what cannot be carried over.
    pub(super) fn load(volume: &Volume) -> Result<Self> {
        check_features(volume)?;
        let mut carried = Self {
            root_tree: Vec::new(),
            roots: Vec::new(),
            uuid_tree: Vec::new(),
            data_reloc: Vec::new(),
            dev_stats: Vec::new(),
            chunk_tree_uuid: volume.node(volume.superblock.chunk_root)?.chunk_tree_uuid,
            profiles: profiles(volume),
        };
        carried
            .root_items(volume)
            .and_then(|()| carried.check_roots(volume))
            .at(|| "root tree".to_owned())?;
        if carried.has_root(object::UUID_TREE) {
            carried.uuid_tree = items(volume, object::UUID_TREE)?;
        }
        if carried.has_root(object::DATA_RELOC_TREE) {
            carried.data_reloc = items(volume, object::DATA_RELOC_TREE)?;
            carried
                .data_reloc
                .retain(|item| item.key.objectid == object::FIRST_FREE);
        }
        carried
            .device_items(volume)
            .at(|| "device tree".to_owned())?;
        Ok(carried)
    }

    pub(super) fn has_root(&self, id: u64) -> bool {
        self.roots.iter().any(|item| item.key.objectid == id)
    }

    /// Every tree that the features call for is there once, and no other.
    fn check_roots(&mut self, volume: &Volume) -> Result<()> {
        let has = |feature| volume.superblock.compat_ro_flags & feature != 0;
        let free_space = has(compat_ro::FREE_SPACE_TREE);
        let block_groups = has(compat_ro::BLOCK_GROUP_TREE);
        self.roots.retain(|item| match item.key.objectid {
            object::FREE_SPACE_TREE => free_space,
            object::BLOCK_GROUP_TREE => block_groups,
            _ => true,
        });
        for (id, needed) in [
            (object::EXTENT_TREE, true),
            (object::DEV_TREE, true),
            (object::FS_TREE, true),
            (object::CSUM_TREE, true),
            (object::UUID_TREE, false),
            (object::DATA_RELOC_TREE, false),
            (object::FREE_SPACE_TREE, free_space),
            (object::BLOCK_GROUP_TREE, block_groups),
        ] {
            let count = self
                .roots
                .iter()
                .filter(|item| item.key.objectid == id)
                .count();
            if count > 1 || (needed && count == 0) {
                return Err(Error::corrupt(format!("{count} roots of tree {id}")));
            }
        }
        Ok(())
    }

    fn root_items(&mut self, volume: &Volume) -> Result<()> {
        let mut cursor = Cursor::seek(volume, &volume.root_tree(), Key::new(0, 0, 0))?;
        while let Some((key, data)) = cursor.item() {
            let item = Item {
                key,
                data: data.to_vec(),
            };
            match key.kind {
                kind::ROOT_ITEM => self.root_item(item)?,
                kind::TEMPORARY_ITEM => {
                    return Err(Error::unsupported(
                        "editing a btrfs filesystem with an unfinished balance",
                    ));
                }
                _ if key.objectid == object::ROOT_TREE_DIR || key.objectid == object::FS_TREE => {
                    self.root_tree.push(item)
                }
                // The free space cache v1, which the kernel makes anew; orphans of it.
                _ => {}
            }
            if self.root_tree.len() > ITEMS_MAX {
                return Err(Error::unsupported(
                    "editing a btrfs filesystem with so many items in its root tree",
                ));
            }
            cursor.advance()?;
        }
        Ok(())
    }

    fn root_item(&mut self, item: Item) -> Result<()> {
        let key = item.key;
        let id = key.objectid;
        let root = RootItem::padded(item.data).at(|| format!("root item of tree {id}"))?;
        let live = root.refs() != 0;
        match id {
            object::EXTENT_TREE
            | object::DEV_TREE
            | object::FS_TREE
            | object::CSUM_TREE
            | object::UUID_TREE
            | object::FREE_SPACE_TREE
            | object::BLOCK_GROUP_TREE
            | object::DATA_RELOC_TREE => {
                let data = root.into_inner();
                self.roots.push(Item { key, data });
                Ok(())
            }
            object::QUOTA_TREE => Err(Error::unsupported("editing a btrfs filesystem with quotas")
                .with_hint("switch them off with 'btrfs quota disable' first")),
            object::FIRST_FREE..=object::LAST_FREE if live => Err(Error::unsupported(format!(
                "editing a btrfs filesystem with several subvolumes (id {id})"
            ))
            .with_hint("delete its snapshots and subvolumes first")),
            // Deleted, and not yet cleaned up.
            object::FIRST_FREE..=object::LAST_FREE => Ok(()),
            _ => Err(Error::unsupported(format!(
                "editing a btrfs filesystem with the unknown tree {id}"
            ))),
        }
    }

    fn device_items(&mut self, volume: &Volume) -> Result<()> {
        for item in items(volume, object::DEV_TREE)? {
            match item.key.kind {
                kind::PERSISTENT_ITEM => self.dev_stats.push(item),
                kind::DEV_REPLACE if is_being_replaced(&item.data) => {
                    return Err(Error::unsupported(
                        "editing a btrfs filesystem with an unfinished device replacement",
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// All items of a tree that has few.
fn items(volume: &Volume, id: u64) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut cursor = Cursor::seek(volume, &volume.tree(id)?, Key::new(0, 0, 0))?;
    while let Some((key, data)) = cursor.item() {
        if key.kind != kind::DEV_EXTENT {
            items.push(Item {
                key,
                data: data.to_vec(),
            });
        }
        if items.len() > ITEMS_MAX {
            return Err(Error::unsupported(format!(
                "editing a btrfs filesystem with so many items in tree {id}"
            )));
        }
        cursor.advance()?;
    }
    Ok(items)
}

/// Whether an item tells of a device replacement that was started or suspended. Linux ignores items that are too short.
fn is_being_replaced(item: &[u8]) -> bool {
    // BTRFS_IOCTL_DEV_REPLACE_STATE_*
    const NEVER_STARTED: u64 = 0;
    const FINISHED: u64 = 2;
    const CANCELED: u64 = 3;
    DevReplaceItem::over(item)
        .is_ok_and(|item| !matches!(item.replace_state(), NEVER_STARTED | FINISHED | CANCELED))
}

fn check_features(volume: &Volume) -> Result<()> {
    let superblock = &volume.superblock;
    let needed = incompat::MIXED_BACKREF | incompat::SKINNY_METADATA;
    if !superblock.has(needed) {
        return Err(Error::unsupported(
            "editing a btrfs filesystem of the old form (without skinny metadata)",
        )
        .with_hint("convert it with 'btrfstune -x'"));
    }
    let unknown = superblock.compat_ro_flags & !compat_ro::KNOWN;
    if unknown != 0 {
        return Err(Error::unsupported(format!(
            "editing a btrfs filesystem with the read-only features {unknown:#x}"
        ))
        .because(Reason::Feature));
    }
    if superblock.total_bytes != superblock.dev_item.total_bytes {
        return Err(Error::corrupt(format!(
            "the filesystem has {} bytes and its only device {}",
            superblock.total_bytes, superblock.dev_item.total_bytes
        )));
    }
    if superblock.generation >= u64::MAX >> 1 {
        return Err(Error::corrupt(format!(
            "generation {}",
            superblock.generation
        )));
    }
    to_usize(superblock.nodesize.into()).map(drop)
}

fn profiles(volume: &Volume) -> Profiles {
    let of = |kind: u64| {
        volume
            .chunks
            .iter()
            .filter(|(_, chunk)| chunk.flags & kind != 0)
            .fold(0, |all, (_, chunk)| all | chunk.flags)
            & group::DUP
    };
    let metadata = of(group::METADATA);
    let data = of(group::DATA);
    if volume.superblock.has(incompat::MIXED_GROUPS) {
        return Profiles {
            system: of(group::SYSTEM),
            metadata: metadata | data,
            data: metadata | data,
        };
    }
    Profiles {
        system: of(group::SYSTEM),
        metadata,
        data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_replacement_that_is_unfinished_is_seen() {
        let mut item = DevReplaceItem::zeroed();
        for (state, unfinished) in [(0, false), (1, true), (2, false), (3, false), (4, true)] {
            item.set_replace_state(state);
            assert_eq!(is_being_replaced(item.bytes()), unfinished, "{state}");
        }
        assert!(!is_being_replaced(&item.bytes()[..71]));
    }
}
