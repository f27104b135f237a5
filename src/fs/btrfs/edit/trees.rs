//! The items of all trees but the file tree: extents with their back references, checksums, chunks, device extents,
//! free space, roots.

use super::super::checksum::raw_crc32c;
use super::super::chunk::group;
use super::super::key::{Key, kind, object};
use super::super::node::{HEADER_LEN, ITEM_LEN};
use super::super::root::RootItem;
use super::super::superblock::{DevItemOnDisk, Superblock};
use super::model::{Content, SpanBody, Tree};
use super::on_disk::{
    BlockGroupItem, DevExtent, ExtentDataRef, ExtentItem, FreeSpaceInfo, InlineDataRef, InlineRef,
};
use super::source::{Carried, Item};
use super::space::Space;
use super::store::Extent;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};

/// `BTRFS_EXTENT_FLAG_DATA` and `BTRFS_EXTENT_FLAG_TREE_BLOCK`.
const FLAG_DATA: u64 = 1;
const FLAG_TREE_BLOCK: u64 = 2;
/// Bytes of an extent item before its references, and of a reference in it.
const EXTENT_LEN: usize = ExtentItem::<&[u8]>::SIZE;
const INLINE_REF_LEN: usize = InlineDataRef::<&[u8]>::SIZE;

/// A block of a tree as the extent tree knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub bytenr: u64,
    pub level: u8,
    pub tree: u64,
}

/// Extent items of data; `addresses` are those of the extents, `None` where one is not used.
pub(super) fn data_items(
    tree: &Tree,
    extents: &[Extent],
    addresses: &[Option<u64>],
    nodesize: usize,
) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut references = references(tree);
    references.sort_unstable();
    for of_one in references.chunk_by(|a, b| a.0 == b.0) {
        let Some(&(number, ..)) = of_one.first() else {
            continue;
        };
        let (extent, address) = extents
            .get(number)
            .zip(addresses.get(number).copied().flatten())
            .ok_or_else(|| Error::internal("an extent without an address"))?;
        data_extent(extent, address, of_one, nodesize, &mut items)?;
    }
    Ok(items)
}

/// Extent items of tree blocks.
pub(super) fn block_items(blocks: &[Block], generation: u64) -> Vec<Item> {
    let mut items = Vec::new();
    for block in blocks {
        let mut owner = InlineRef::blank();
        owner.set_ref_type(kind::TREE_BLOCK_REF);
        owner.set_offset(block.tree);
        let mut data = extent_item(1, generation, FLAG_TREE_BLOCK);
        data.extend(owner.into_inner());
        items.push(Item {
            key: Key::new(block.bytenr, kind::METADATA_ITEM, block.level.into()),
            data,
        });
    }
    items
}

/// An extent item without its references.
fn extent_item(refs: u64, generation: u64, flags: u64) -> Vec<u8> {
    let mut item = ExtentItem::zeroed();
    item.set_refs(refs);
    item.set_generation(generation);
    item.set_flags(flags);
    item.into_inner()
}

/// Which inode refers to which extent: extent number, inode, and where in the file the extent would begin.
fn references(tree: &Tree) -> Vec<(usize, u64, u64)> {
    let mut references = Vec::new();
    for (inode, node) in tree.iter() {
        if let Content::Extents(spans) = &node.content {
            for span in spans {
                if let SpanBody::Extent { number, skip } = &span.body {
                    // May lie before the file's beginning; the format lets it wrap.
                    references.push((*number, inode, span.offset.wrapping_sub(*skip)));
                }
            }
        }
    }
    references
}

fn data_extent(
    extent: &Extent,
    address: u64,
    references: &[(usize, u64, u64)],
    nodesize: usize,
    items: &mut Vec<Item>,
) -> Result<()> {
    let mut refs: Vec<(u64, u64, u64, u32)> = Vec::new();
    for same in references.chunk_by(|a, b| a == b) {
        let Some(&(_, inode, offset)) = same.first() else {
            continue;
        };
        let count = u32::try_from(same.len())
            .map_err(|_| Error::unsupported("an extent with four billion references"))?;
        refs.push((data_ref_hash(inode, offset), inode, offset, count));
    }
    // Linux keeps the references in an item by descending hash.
    refs.sort_unstable_by(|a, b| b.cmp(a));
    // As many as fit (BTRFS_MAX_EXTENT_ITEM_SIZE) lie in the item, the rest are items of their own.
    let room = ((nodesize - HEADER_LEN) >> 4) - ITEM_LEN;
    let (inline, keyed) = refs.split_at(refs.len().min((room - EXTENT_LEN) / INLINE_REF_LEN));
    let mut data = extent_item(to_u64(references.len()), extent.generation, FLAG_DATA);
    for &(_, inode, offset, count) in inline {
        let mut reference = InlineDataRef::blank();
        reference.set_ref_type(kind::EXTENT_DATA_REF);
        reference.set_data_ref(data_ref(inode, offset, count));
        data.extend(reference.into_inner());
    }
    items.push(Item {
        key: Key::new(address, kind::EXTENT_ITEM, extent.disk_bytes),
        data,
    });
    let mut last = None;
    for &(hash, inode, offset, count) in keyed.iter().rev() {
        // Two references with one hash: the next free number is taken.
        let at = last.map_or(hash, |last: u64| hash.max(last + 1));
        last = Some(at);
        let key = Key::new(address, kind::EXTENT_DATA_REF, at);
        items.push(Item {
            key,
            data: data_ref(inode, offset, count).to_vec(),
        });
    }
    Ok(())
}

/// A file's references to an extent.
fn data_ref(inode: u64, offset: u64, count: u32) -> [u8; ExtentDataRef::<&[u8]>::SIZE] {
    let mut reference = ExtentDataRef::blank();
    reference.set_root(object::FS_TREE);
    reference.set_objectid(inode);
    reference.set_offset(offset);
    reference.set_count(count);
    reference.into_inner()
}

/// `hash_extent_data_ref`.
fn data_ref_hash(inode: u64, offset: u64) -> u64 {
    let high = raw_crc32c(!0, &object::FS_TREE.to_le_bytes());
    let low = raw_crc32c(raw_crc32c(!0, &inode.to_le_bytes()), &offset.to_le_bytes());
    (u64::from(high) << 31) ^ u64::from(low)
}

/// Checksum items for all data that has checksums, still zero; one item for each stretch without gaps.
pub(super) fn checksum_items(
    extents: &[Extent],
    by_address: &[(u64, usize)],
    space: &Space,
    superblock: &Superblock,
) -> Result<Vec<Item>> {
    let csum_len = superblock.csum_type.len();
    let sectorsize = u64::from(superblock.sectorsize);
    // The kernel's own limit (MAX_CSUM_ITEMS).
    let most = (to_usize(superblock.nodesize.into())? - HEADER_LEN - 2 * ITEM_LEN) / csum_len - 1;
    let mut items: Vec<Item> = Vec::new();
    let mut end = 0;
    let mut group_end = 0;
    for &(address, number) in by_address {
        let extent = extents
            .get(number)
            .ok_or_else(|| Error::internal("an extent is gone"))?;
        if !extent.checksums {
            continue;
        }
        let mut at = address;
        let joins = address == end && address != group_end;
        end = address + extent.disk_bytes;
        let (start, chunk) = space.group_of(address)?;
        group_end = start + chunk.length;
        let mut fresh = !joins;
        while at < end {
            let sectors = to_usize((end - at) / sectorsize)?;
            match items
                .last_mut()
                .filter(|item| !fresh && item.data.len() < most * csum_len)
            {
                Some(item) => {
                    let more = sectors.min(most - item.data.len() / csum_len);
                    item.data.resize(item.data.len() + more * csum_len, 0);
                    at += to_u64(more) * sectorsize;
                }
                None => {
                    items.push(Item {
                        key: Key::new(object::EXTENT_CSUM, kind::EXTENT_CSUM, at),
                        data: Vec::new(),
                    });
                    fresh = false;
                }
            }
        }
    }
    Ok(items)
}

/// Block group items; `used` tells how much of each is given out.
pub(super) fn block_group_items(space: &Space, used: &[u64]) -> Vec<Item> {
    let mut items = Vec::new();
    for ((logical, chunk), &used) in space.groups.iter().zip(used) {
        let mut item = BlockGroupItem::zeroed();
        item.set_used(used);
        item.set_chunk_objectid(object::FIRST_CHUNK_TREE);
        item.set_flags(chunk.flags);
        items.push(Item {
            key: Key::new(*logical, kind::BLOCK_GROUP_ITEM, chunk.length),
            data: item.into_inner(),
        });
    }
    items
}

/// The free space tree: of each block group, the stretches not given out.
pub(super) fn free_space_items(space: &Space) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (logical, chunk) in &space.groups {
        let end = logical + chunk.length;
        let mut free = Vec::new();
        let mut at = *logical;
        for (start, next) in space
            .given_out()
            .filter(|(start, _)| (*logical..end).contains(start))
        {
            if at < start {
                free.push((at, start - at));
            }
            at = next;
        }
        if at < end {
            free.push((at, end - at));
        }
        // No flags: stretches, not bitmaps.
        let mut info = FreeSpaceInfo::zeroed();
        let count = u32::try_from(free.len());
        info.set_extent_count(count.map_err(|_| Error::internal("a block group has few gaps"))?);
        items.push(Item {
            key: Key::new(*logical, kind::FREE_SPACE_INFO, chunk.length),
            data: info.into_inner(),
        });
        let extent = |(start, len)| Item {
            key: Key::new(start, kind::FREE_SPACE_EXTENT, len),
            data: Vec::new(),
        };
        items.extend(free.into_iter().map(extent));
    }
    Ok(items)
}

/// The device item with what its block groups take.
pub(super) fn device_item(
    superblock: &Superblock,
    space: &Space,
) -> Result<[u8; DevItemOnDisk::<&[u8]>::SIZE]> {
    let mut item = DevItemOnDisk::over(superblock.on_disk.dev_item())?;
    let used: u64 = space
        .groups
        .iter()
        .map(|(_, chunk)| chunk.length * to_u64(chunk.copies.len()))
        .sum();
    item.set_bytes_used(used);
    Ok(item.into_inner())
}

/// The chunk tree: the device, and where each block group lies on it.
pub(super) fn chunk_items(superblock: &Superblock, space: &Space) -> Result<Vec<Item>> {
    let key = Key::new(object::DEV_ITEMS, kind::DEV_ITEM, superblock.dev_item.devid);
    let mut items = vec![Item {
        key,
        data: device_item(superblock, space)?.to_vec(),
    }];
    items.extend(space.groups.iter().map(|(logical, chunk)| Item {
        key: Key::new(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM, *logical),
        data: chunk.to_disk(superblock),
    }));
    Ok(items)
}

/// The superblock's copy of the system chunks: keys with chunk items.
pub(super) fn system_chunks(superblock: &Superblock, space: &Space) -> Vec<u8> {
    let system = space
        .groups
        .iter()
        .filter(|(_, chunk)| chunk.flags & group::SYSTEM != 0);
    system
        .flat_map(|(logical, chunk)| {
            let key = Key::new(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM, *logical);
            [&key.to_disk()[..], &chunk.to_disk(superblock)].concat()
        })
        .collect()
}

/// The device tree: error counters, and which stretch of the device belongs to which block group.
pub(super) fn device_items(superblock: &Superblock, space: &Space, carried: &Carried) -> Vec<Item> {
    let mut items = carried.dev_stats.clone();
    for (logical, chunk) in &space.groups {
        for physical in &chunk.copies {
            let mut extent = DevExtent::zeroed();
            extent.set_chunk_tree(object::CHUNK_TREE);
            extent.set_chunk_objectid(object::FIRST_CHUNK_TREE);
            extent.set_chunk_offset(*logical);
            extent.set_length(chunk.length);
            extent.set_chunk_tree_uuid(carried.chunk_tree_uuid);
            items.push(Item {
                key: Key::new(superblock.dev_item.devid, kind::DEV_EXTENT, *physical),
                data: extent.into_inner(),
            });
        }
    }
    items
}

/// What a root item says of its tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    pub tree: u64,
    pub bytenr: u64,
    pub level: u8,
    pub bytes_used: u64,
}

/// The root tree: the source's items with the new places of the roots in them.
pub(super) fn root_items(
    carried: &Carried,
    roots: &[Root],
    generation: u64,
    changed: bool,
) -> Result<Vec<Item>> {
    let mut items = carried.root_tree.clone();
    for item in &carried.roots {
        let Some(root) = roots.iter().find(|root| root.tree == item.key.objectid) else {
            continue;
        };
        let mut data = RootItem::over(item.data.clone())?;
        data.set_generation(generation);
        data.set_bytenr(root.bytenr);
        data.set_bytes_used(root.bytes_used);
        data.set_level(root.level);
        data.set_generation_v2(generation);
        if root.tree == object::FS_TREE && changed {
            data.set_ctransid(generation);
        }
        items.push(Item {
            key: item.key,
            data: data.into_inner(),
        });
    }
    Ok(items)
}
