//! The device as the trees see it: logical addresses, verified blocks, a small cache of nodes.

use std::sync::Arc;

use super::chunk::ChunkMap;
use super::key::{Key, kind, object};
use super::node::{LEVELS, Node};
use super::root::RootItem;
use super::superblock::{self, Superblock};
use super::tree::{Cursor, TreeRoot};
use crate::block::BlockDevice;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::cache::Cache;

/// Bytes of tree blocks kept: enough for all inner nodes of a tree with a million items.
const CACHE_BYTES: usize = 4 << 20;

/// An opened device: superblock, chunks, node cache.
#[derive(Debug)]
pub(super) struct Volume {
    pub device: Arc<dyn BlockDevice>,
    pub superblock: Superblock,
    pub chunks: ChunkMap,
    cache: Cache<Node>,
}

impl Volume {
    /// Reads the superblock and the chunk tree.
    pub(super) fn open(device: Arc<dyn BlockDevice>) -> Result<Self> {
        let superblock = superblock::read(&*device)?;
        let chunks = ChunkMap::from_superblock(&superblock)?;
        let mut volume = Self::unread(device, superblock, chunks);
        volume.read_chunk_tree().at(|| "chunk tree".to_owned())?;
        Ok(volume)
    }

    /// One of which nothing is read, as there is nothing in it yet.
    pub(super) fn unread(
        device: Arc<dyn BlockDevice>,
        superblock: Superblock,
        chunks: ChunkMap,
    ) -> Self {
        Self {
            device,
            superblock,
            chunks,
            cache: Cache::new(CACHE_BYTES),
        }
    }

    fn read_chunk_tree(&mut self) -> Result<()> {
        let mut found = Vec::new();
        let root = self.chunk_root();
        let mut cursor = Cursor::seek(
            self,
            &root,
            Key::new(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM, 0),
        )?;
        while let Some((key, item)) = cursor.item() {
            if !key.is(object::FIRST_CHUNK_TREE, kind::CHUNK_ITEM) {
                break;
            }
            found.push((key, item.to_vec()));
            cursor.advance()?;
        }
        let mut chunks = ChunkMap::from_superblock(&self.superblock)?;
        for (key, item) in found {
            chunks.add(key, &item, &self.superblock)?;
        }
        self.chunks = chunks;
        Ok(())
    }

    pub(super) fn chunk_root(&self) -> TreeRoot {
        TreeRoot {
            id: object::CHUNK_TREE,
            bytenr: self.superblock.chunk_root,
            generation: self.superblock.chunk_root_generation,
            level: self.superblock.chunk_root_level,
        }
    }

    pub(super) fn root_tree(&self) -> TreeRoot {
        TreeRoot {
            id: object::ROOT_TREE,
            bytenr: self.superblock.root,
            generation: self.superblock.generation,
            level: self.superblock.root_level,
        }
    }

    /// Fills `buf` from a logical address, trying one copy after the other until `check` accepts what it holds.
    pub(super) fn read_checked(
        &self,
        logical: u64,
        buf: &mut [u8],
        check: impl Fn(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let copies = self.chunks.locate(logical, to_u64(buf.len()))?;
        let mut outcome = Err(Error::internal("a chunk has at least one copy"));
        for physical in copies {
            outcome = self.device.read_at(physical, buf).and_then(|()| check(buf));
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The tree block at the logical address `bytenr`, its checksum and structure verified.
    pub(super) fn node(&self, bytenr: u64) -> Result<Arc<Node>> {
        let nodesize = to_usize(self.superblock.nodesize.into())?;
        self.cache.get_or_make(bytenr, || {
            let mut bytes = vec![0; nodesize];
            let node = self
                .read_checked(bytenr, &mut bytes, |bytes| {
                    let csum_type = self.superblock.csum_type;
                    if csum_type.matches_block(bytes) {
                        return Ok(());
                    }
                    Err(
                        Error::corrupt(format!("{csum_type} checksum does not match"))
                            .because(Reason::Checksum),
                    )
                })
                .and_then(|()| Node::parse(bytes, bytenr, &self.superblock))
                .at(|| format!("tree block {bytenr}"))?;
            Ok((node, nodesize))
        })
    }

    /// A tree's root from its root item.
    pub(super) fn tree(&self, id: u64) -> Result<TreeRoot> {
        self.find_tree(id)?
            .ok_or_else(|| Error::corrupt(format!("the root tree has no tree {id}")))
    }

    /// A tree's root, `None` where the filesystem has no such tree.
    pub(super) fn find_tree(&self, id: u64) -> Result<Option<TreeRoot>> {
        let cursor = Cursor::seek_back(
            self,
            &self.root_tree(),
            Key::new(id, kind::ROOT_ITEM, u64::MAX),
        )?;
        let Some((_, item)) = cursor.item().filter(|(key, _)| key.is(id, kind::ROOT_ITEM)) else {
            return Ok(None);
        };
        let item = RootItem::padded(item.to_vec())?;
        let root = TreeRoot {
            id,
            bytenr: item.bytenr(),
            generation: item.generation(),
            level: item.level(),
        };
        if root.level >= LEVELS || root.generation > self.superblock.generation {
            return Err(Error::corrupt(format!(
                "root item of tree {id}: level {}, generation {}",
                root.level, root.generation
            )));
        }
        Ok(Some(root))
    }
}
