//! Laying out the new filesystem: every address is known, and everything is known to fit, before a byte is written.
//!
//! Trees describe each other and themselves (the extent tree has an item for each of its own blocks), so sizes are found
//! by trying: lay out with the sizes of the last try, build all items, look whether the sizes have come out the same.

use super::super::chunk::group;
use super::super::key::object;
use super::super::superblock::incompat;
use super::BtrfsEditor;
use super::items::{Context, tree_items};
use super::model::{Content, SpanBody};
use super::pack::Shape;
use super::source::{Item, Profiles, compat_ro};
use super::space::{Needs, Space};
use super::trees::{self, Block, Root};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, ErrorKind, Result};

/// Tries until sizes must have settled; three or four are usual.
const TRIES: usize = 40;

/// One tree, ready to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub id: u64,
    pub items: Vec<Item>,
    pub shape: Shape,
    /// The address of each block, in the order of [`Shape::levels`].
    pub blocks: Vec<u64>,
}

/// The new filesystem.
#[derive(Debug)]
pub(super) struct Layout {
    pub space: Space,
    pub trees: Vec<Planned>,
    /// Address and number of each extent that is used, ascending.
    pub extents: Vec<(u64, usize)>,
    /// Bytes of data and tree blocks.
    pub bytes_used: u64,
    profiles: Profiles,
}

impl Layout {
    /// What content could still be added.
    pub(super) fn free_bytes(&self) -> u64 {
        self.space.free_for_content(self.profiles)
    }

    /// Where the root of a tree lies, with its level.
    pub(super) fn root(&self, id: u64) -> Option<(u64, u8)> {
        let planned = self.trees.iter().find(|planned| planned.id == id)?;
        Some((*planned.blocks.last()?, planned.shape.root_level()))
    }
}

impl BtrfsEditor {
    /// Lays out the filesystem as it is now; [`ErrorKind::NoSpace`] where it does not fit the device.
    pub(super) fn layout(&self) -> Result<Layout> {
        match self.try_layout(false) {
            Err(error) if error.kind() == ErrorKind::NoSpace => self.try_layout(true),
            outcome => outcome,
        }
    }

    fn try_layout(&self, all: bool) -> Result<Layout> {
        let ids = self.tree_ids();
        let nodesize = to_usize(self.store.volume.superblock.nodesize.into())?;
        let mut shapes = vec![Shape::empty(); ids.len()];
        for _ in 0..TRIES {
            let layout = self.lay_out(&ids, &shapes, all)?;
            let found: Vec<Shape> = layout
                .trees
                .iter()
                .map(|planned| Shape::new(&planned.items, nodesize))
                .collect::<Result<_>>()?;
            if found == shapes {
                return if layout.space.has_reserve() {
                    Ok(layout)
                } else {
                    Err(layout.space.no_space())
                };
            }
            shapes = found;
        }
        Err(Error::internal("the sizes of btrfs trees do not settle"))
    }

    /// The trees of the new filesystem in the order of their blocks; the chunk tree lies apart from the others.
    fn tree_ids(&self) -> Vec<u64> {
        let fixed = [
            object::FS_TREE,
            object::CSUM_TREE,
            object::UUID_TREE,
            object::DATA_RELOC_TREE,
            object::DEV_TREE,
        ];
        let growing = [
            object::EXTENT_TREE,
            object::FREE_SPACE_TREE,
            object::BLOCK_GROUP_TREE,
        ];
        let mut ids: Vec<u64> = fixed
            .into_iter()
            .chain(growing)
            .filter(|&id| self.carried.has_root(id))
            .collect();
        ids.extend([object::ROOT_TREE, object::CHUNK_TREE]);
        ids
    }

    /// One try: everything gets its address as if trees had these shapes.
    fn lay_out(&self, ids: &[u64], shapes: &[Shape], all: bool) -> Result<Layout> {
        let superblock = &self.store.volume.superblock;
        let nodesize = u64::from(superblock.nodesize);
        let live = self.live_extents();
        let size = |number: &usize| {
            self.store
                .extents
                .get(*number)
                .map_or(0, |extent| extent.disk_bytes)
        };
        let blocks: u64 = shapes.iter().map(|shape| to_u64(shape.blocks())).sum();
        let needs = Needs::new(live.iter().map(size).sum(), blocks * nodesize, superblock);
        let mut space = Space::plan(superblock, self.carried.profiles, needs, all)?;
        let mut extents = Vec::with_capacity(live.len());
        for number in live {
            extents.push((space.allocate(group::DATA, size(&number))?, number));
        }
        extents.sort_unstable();
        let mut trees = Vec::new();
        for (&id, shape) in ids.iter().zip(shapes) {
            let kind = if id == object::CHUNK_TREE {
                group::SYSTEM
            } else {
                group::METADATA
            };
            let blocks = (0..shape.blocks())
                .map(|_| space.allocate(kind, nodesize))
                .collect::<Result<_>>()?;
            trees.push(Planned {
                id,
                items: Vec::new(),
                shape: shape.clone(),
                blocks,
            });
        }
        let mut layout = Layout {
            space,
            trees,
            extents,
            bytes_used: needs.data + needs.metadata,
            profiles: self.carried.profiles,
        };
        for at in 0..layout.trees.len() {
            let id = layout.trees[at].id;
            layout.trees[at].items = self.items_of(id, &layout)?;
        }
        Ok(layout)
    }

    /// The extents that files refer to, in the order of files.
    fn live_extents(&self) -> Vec<usize> {
        let mut seen = vec![false; self.store.extents.len()];
        let mut live = Vec::new();
        for (_, node) in self.tree.iter() {
            let Content::Extents(spans) = &node.content else {
                continue;
            };
            for span in spans {
                if let SpanBody::Extent { number, .. } = span.body
                    && let Some(seen) = seen.get_mut(number)
                    && !std::mem::replace(seen, true)
                {
                    live.push(number);
                }
            }
        }
        live
    }

    fn items_of(&self, id: u64, layout: &Layout) -> Result<Vec<Item>> {
        let superblock = &self.store.volume.superblock;
        let extents = &self.store.extents;
        let mut items = match id {
            object::FS_TREE => self.file_items(layout)?,
            object::CSUM_TREE => {
                trees::checksum_items(extents, &layout.extents, &layout.space, superblock)?
            }
            object::UUID_TREE => self.carried.uuid_tree.clone(),
            object::DATA_RELOC_TREE => self.carried.data_reloc.clone(),
            object::DEV_TREE => trees::device_items(superblock, &layout.space, &self.carried),
            object::FREE_SPACE_TREE => trees::free_space_items(&layout.space)?,
            object::BLOCK_GROUP_TREE => self.block_groups(layout)?,
            object::CHUNK_TREE => trees::chunk_items(superblock, &layout.space)?,
            object::ROOT_TREE => trees::root_items(
                &self.carried,
                &roots(layout, superblock.nodesize),
                self.generation(),
                self.changed,
            )?,
            object::EXTENT_TREE => {
                let nodesize = to_usize(superblock.nodesize.into())?;
                let addresses = self.addresses(layout);
                let blocks: Vec<Block> = layout.trees.iter().flat_map(blocks).collect();
                let mut items = trees::data_items(&self.tree, extents, &addresses, nodesize)?;
                items.extend(trees::block_items(&blocks, self.generation()));
                if superblock.compat_ro_flags & compat_ro::BLOCK_GROUP_TREE == 0 {
                    items.extend(self.block_groups(layout)?);
                }
                items
            }
            other => return Err(Error::internal(format!("tree {other} is not written"))),
        };
        if !items.is_sorted_by_key(|item| item.key) {
            items.sort_by_key(|item| item.key);
        }
        Ok(items)
    }

    /// The address of each extent.
    fn addresses(&self, layout: &Layout) -> Vec<Option<u64>> {
        let mut addresses = vec![None; self.store.extents.len()];
        for &(address, number) in &layout.extents {
            if let Some(slot) = addresses.get_mut(number) {
                *slot = Some(address);
            }
        }
        addresses
    }

    fn file_items(&self, layout: &Layout) -> Result<Vec<Item>> {
        let superblock = &self.store.volume.superblock;
        let context = Context {
            extents: &self.store.extents,
            addresses: &self
                .addresses(layout)
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect::<Vec<_>>(),
            sectorsize: superblock.sectorsize.into(),
            no_holes: superblock.has(incompat::NO_HOLES),
            extended_refs: superblock.has(incompat::EXTENDED_IREF),
            item_max: self.item_max(),
        };
        tree_items(&self.tree, &context)
    }

    fn block_groups(&self, layout: &Layout) -> Result<Vec<Item>> {
        let nodesize = u64::from(self.store.volume.superblock.nodesize);
        let mut used = vec![0; layout.space.groups.len()];
        let extents = layout.extents.iter().map(|&(address, number)| {
            (
                address,
                self.store
                    .extents
                    .get(number)
                    .map_or(0, |extent| extent.disk_bytes),
            )
        });
        let blocks = layout
            .trees
            .iter()
            .flat_map(|planned| planned.blocks.iter().map(|&block| (block, nodesize)));
        for (address, len) in extents.chain(blocks) {
            let group = layout
                .space
                .groups
                .partition_point(|(start, _)| *start <= address)
                .saturating_sub(1);
            if let Some(used) = used.get_mut(group) {
                *used += len;
            }
        }
        Ok(trees::block_group_items(&layout.space, &used))
    }
}

fn blocks(planned: &Planned) -> impl Iterator<Item = Block> {
    let tree = planned.id;
    planned
        .blocks
        .iter()
        .zip(planned.shape.levels())
        .map(move |(&bytenr, level)| Block {
            bytenr,
            level,
            tree,
        })
}

fn roots(layout: &Layout, nodesize: u32) -> Vec<Root> {
    let root = |planned: &Planned| {
        let (bytenr, level) = layout.root(planned.id)?;
        let bytes_used = to_u64(planned.blocks.len()) * u64::from(nodesize);
        Some(Root {
            tree: planned.id,
            bytenr,
            level,
            bytes_used,
        })
    };
    layout.trees.iter().filter_map(root).collect()
}
