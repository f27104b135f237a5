//! Walking a tree: from the root down to an item, then from item to item in the order of keys.
//!
//! Every step down checks what the pointer promised: level one less, generation, first key, owner, and that all keys
//! stay below the next pointer's. So a walk ends: keys only grow, levels only shrink.

use std::sync::Arc;

use super::key::{Key, object};
use super::node::Node;
use super::volume::Volume;
use crate::error::{Error, Result, ResultExt};

/// Where a tree begins, as its root item or the superblock tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct TreeRoot {
    /// The tree's object id, which is the owner its blocks name.
    pub id: u64,
    pub bytenr: u64,
    pub generation: u64,
    pub level: u8,
}

/// What a block must be, from what points to it.
struct Expected {
    generation: u64,
    level: u8,
    first: Option<Key>,
    /// All keys are below this.
    end: Option<Key>,
}

/// A position in a tree: on an item, or behind the last one.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    volume: &'a Volume,
    tree: u64,
    /// From the root to a leaf, with the slot taken in each.
    path: Vec<(Arc<Node>, usize)>,
}

impl<'a> Cursor<'a> {
    /// On the first item whose key is `key` or greater.
    pub(super) fn seek(volume: &'a Volume, root: &TreeRoot, key: Key) -> Result<Self> {
        let mut cursor = Self::descend(volume, root, key)?;
        let leaf_end = match cursor.path.last_mut() {
            Some((leaf, slot)) => {
                *slot = leaf.keys().partition_point(|&other| other < key);
                *slot == leaf.keys().len()
            }
            None => false,
        };
        if leaf_end {
            cursor.next_leaf()?;
        }
        Ok(cursor)
    }

    /// On the last item whose key is `key` or less; where there is none, on the first item.
    pub(super) fn seek_back(volume: &'a Volume, root: &TreeRoot, key: Key) -> Result<Self> {
        Self::descend(volume, root, key)
    }

    /// Follows the last pointers and item that are not beyond `key`.
    fn descend(volume: &'a Volume, root: &TreeRoot, key: Key) -> Result<Self> {
        let mut cursor = Self {
            volume,
            tree: root.id,
            path: Vec::new(),
        };
        let mut expected = Expected {
            generation: root.generation,
            level: root.level,
            first: None,
            end: None,
        };
        let mut bytenr = root.bytenr;
        loop {
            let node = cursor.load(bytenr, &expected)?;
            let slot = node
                .keys()
                .partition_point(|&other| other <= key)
                .saturating_sub(1);
            cursor.path.push((node, slot));
            match cursor.below(&expected)? {
                Some((child, next)) => (bytenr, expected) = (child, next),
                None => return Ok(cursor),
            }
        }
    }

    /// What the current slot of the lowest node points to; `None` for a leaf. `of` is what that node had to be.
    fn below(&self, of: &Expected) -> Result<Option<(u64, Expected)>> {
        let Some((node, slot)) = self.path.last().filter(|(node, _)| node.level > 0) else {
            return Ok(None);
        };
        let pointer = node
            .pointer(*slot)
            .ok_or_else(|| Error::internal("a slot beyond a node's end"))?;
        let expected = Expected {
            generation: pointer.generation,
            level: node.level - 1,
            first: node.keys().get(*slot).copied(),
            end: node.keys().get(slot + 1).copied().or(of.end),
        };
        Ok(Some((pointer.bytenr, expected)))
    }

    fn load(&self, bytenr: u64, expected: &Expected) -> Result<Arc<Node>> {
        let node = self.volume.node(bytenr)?;
        self.verify(&node, expected)
            .at(|| format!("tree block {bytenr} of tree {}", self.tree))?;
        Ok(node)
    }

    fn verify(&self, node: &Node, expected: &Expected) -> Result<()> {
        if node.level != expected.level || node.generation != expected.generation {
            return Err(Error::corrupt(format!(
                "level {} and generation {}, expected are {} and {}",
                node.level, node.generation, expected.level, expected.generation
            )));
        }
        // Snapshots share blocks, which keep the subvolume they were written for as their owner.
        if node.owner != self.tree && !(is_subvolume(node.owner) && is_subvolume(self.tree)) {
            return Err(Error::corrupt(format!("belongs to tree {}", node.owner)));
        }
        if expected
            .first
            .is_some_and(|first| node.keys().first() != Some(&first))
        {
            return Err(Error::corrupt(
                "its first key is not the one that its parent names",
            ));
        }
        if expected
            .end
            .zip(node.keys().last())
            .is_some_and(|(end, &last)| last >= end)
        {
            return Err(Error::corrupt(
                "it has keys that belong into the next block",
            ));
        }
        Ok(())
    }

    /// The item at the position; `None` behind the last one.
    pub(super) fn item(&self) -> Option<(Key, &[u8])> {
        let (leaf, slot) = self.path.last()?;
        leaf.item(*slot)
    }

    /// Goes to the next item.
    pub(super) fn advance(&mut self) -> Result<()> {
        let Some((leaf, slot)) = self.path.last_mut() else {
            return Ok(());
        };
        *slot += 1;
        if *slot < leaf.keys().len() {
            Ok(())
        } else {
            self.next_leaf()
        }
    }

    /// Goes to the first item of the next leaf; without one, behind the last item.
    fn next_leaf(&mut self) -> Result<()> {
        self.path.pop();
        while let Some((node, slot)) = self.path.last_mut() {
            *slot += 1;
            if *slot < node.keys().len() {
                return self.first_leaf_below();
            }
            self.path.pop();
        }
        Ok(())
    }

    fn first_leaf_below(&mut self) -> Result<()> {
        let end = self
            .path
            .iter()
            .rev()
            .skip(1)
            .find_map(|(node, slot)| node.keys().get(slot + 1))
            .copied();
        let mut expected = Expected {
            generation: 0,
            level: 0,
            first: None,
            end,
        };
        while let Some((bytenr, next)) = self.below(&expected)? {
            let node = self.load(bytenr, &next)?;
            self.path.push((node, 0));
            expected = next;
        }
        Ok(())
    }
}

/// Whether a tree id is a subvolume's.
fn is_subvolume(id: u64) -> bool {
    id == object::FS_TREE || (object::FIRST_FREE..=object::LAST_FREE).contains(&id)
}
