//! Places for the bitmaps and the inode table of a new group: in the group or, with flex_bg, behind those of the groups
//! it lies together with, as libext2fs chooses them (`alloc_tables.c` describes the order; nothing else depends on it).

use crate::block::BlockDevice;
use crate::error::{Error, Result};
use crate::fs::ext4::layout;
use crate::fs::ext4::space::Space;
use crate::fs::ext4::superblock::Superblock;

/// The groups that a new one lies together with.
struct Flex {
    /// First block of the first and last block of the last of them.
    first: u64,
    last: u64,
    /// Groups from this one to the last.
    left: u64,
    /// Whether it is the first.
    is_first: bool,
}

impl Flex {
    fn of(superblock: &Superblock, group: u32) -> Option<Self> {
        if !layout::is_flexible(superblock) {
            return None;
        }
        let log = u32::from(superblock.log_groups_per_flex);
        let first = group >> log << log;
        let last = layout::flex_end(superblock, group) - 1;
        Some(Self {
            first: layout::group_start(superblock, first),
            last: last_block(superblock, last),
            left: u64::from(last - group) + 1,
            is_first: first == group,
        })
    }
}

fn last_block(superblock: &Superblock, group: u32) -> u64 {
    layout::group_start(superblock, group) + u64::from(layout::group_len(superblock, group)) - 1
}

/// Finds and takes places for a group's bitmaps and table.
pub(super) fn place(
    space: &mut Space,
    device: &dyn BlockDevice,
    superblock: &Superblock,
    group: u32,
) -> Result<()> {
    let mut placer = Placer {
        space,
        device,
        superblock,
        group,
    };
    let before = group
        .checked_sub(1)
        .map(|number| placer.space.groups[number as usize].clone())
        .unwrap_or_default();
    let flex = Flex::of(superblock, group);
    let table_len = superblock.inode_table_blocks();
    // Where each would lie if it went on behind that of the group before, or behind the last kind's in a first group.
    let next = |flex: &Flex, first: u64, other: u64| if flex.is_first { first } else { other };
    let block_bitmap = placer.take(
        flex.as_ref()
            .map(|f| (f, next(f, 0, before.block_bitmap + 1))),
        1,
    )?;
    let after = flex
        .as_ref()
        .map(|f| (f, next(f, block_bitmap + f.left, before.inode_bitmap + 1)));
    let inode_bitmap = placer.take(after, 1)?;
    let after = flex.as_ref().map(|f| {
        (
            f,
            next(f, inode_bitmap + f.left, before.inode_table + table_len),
        )
    });
    let inode_table = placer.take(after, table_len)?;
    let descriptor = &mut space.groups[group as usize];
    descriptor.block_bitmap = block_bitmap;
    descriptor.inode_bitmap = inode_bitmap;
    descriptor.inode_table = inode_table;
    Ok(())
}

struct Placer<'a> {
    space: &'a mut Space,
    device: &'a dyn BlockDevice,
    superblock: &'a Superblock,
    group: u32,
}

impl Placer<'_> {
    /// Takes `len` blocks for one structure; `flex` comes with the block where it is wanted, 0 for none.
    fn take(&mut self, flex: Option<(&Flex, u64)>, len: u64) -> Result<u64> {
        let own = (
            layout::group_start(self.superblock, self.group),
            last_block(self.superblock, self.group),
        );
        let found = match flex {
            None => self.find(own.0, own.1, len)?,
            Some((flex, wanted)) => {
                let start = self.flex_start(flex, wanted, len)?;
                match self.find(start, flex.last, len)? {
                    None => self.find(own.0, flex.last, len)?,
                    found => found,
                }
            }
        };
        let start = found.ok_or_else(|| {
            Error::no_space(format!(
                "no {len} blocks in a row for the tables of group {}",
                self.group
            ))
        })?;
        self.space
            .take_exactly(self.device, self.superblock, start, len)?;
        Ok(start)
    }

    /// Where to look: near the wanted block, else where there is room for all groups that are left, else for this one.
    fn flex_start(&mut self, flex: &Flex, wanted: u64, len: u64) -> Result<u64> {
        let size = (flex.left * len).min(u64::from(self.superblock.blocks_per_group) / 4);
        if wanted > 0
            && wanted < self.superblock.blocks_count
            && let Some(found) = self.find(wanted, wanted + size, len)?
        {
            return Ok(found);
        }
        for (from, len) in [(flex.first, size), (flex.first, len), (0, len)] {
            if let Some(found) = self.find(from, flex.last, len)? {
                return Ok(found);
            }
        }
        Ok(0)
    }

    /// The first of `len` free blocks in a row that begin from `from` up to before `until`.
    fn find(&mut self, from: u64, until: u64, len: u64) -> Result<Option<u64>> {
        let mut at = from.max(u64::from(self.superblock.first_data_block));
        while at < until {
            at = self
                .space
                .next_block(self.device, self.superblock, at, until, false)?;
            if at >= until {
                break;
            }
            let end = self
                .space
                .next_block(self.device, self.superblock, at, at + len, true)?;
            if end == at + len {
                return Ok((end <= self.superblock.blocks_count).then_some(at));
            }
            at = end;
        }
        Ok(None)
    }
}
