//! A last look at a grown filesystem, as it lies on the device: growth is checked before it is believed.

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, Result};
use crate::fs::ext4::bitmap::Bitmap;
use crate::fs::ext4::group::{BLOCK_UNINIT, Group};
use crate::fs::ext4::superblock::Superblock;
use crate::fs::ext4::{Ext4, group, layout};

impl<D: BlockDeviceMut> Ext4<D> {
    /// Reads what was written and compares it with what was meant: descriptors and their copies, the places of metadata,
    /// bitmaps, counts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] that says what differs: growing this geometry is not understood.
    pub(super) fn check_growth(&self, old: &Superblock) -> Result<()> {
        let checked = || -> Result<()> {
            let groups = group::read_all(&self.store, &self.superblock)?;
            self.check_descriptors(&groups)?;
            let zones = layout::zones(&self.superblock, &groups)?;
            self.check_bitmaps(&groups, &zones, old)
        };
        checked().map_err(|error| {
            Error::internal("the grown filesystem is not what it should be").with_source(error)
        })
    }

    fn check_descriptors(&self, groups: &[Group]) -> Result<()> {
        let superblock = &self.superblock;
        let differs = groups
            .iter()
            .zip(&self.space.groups)
            .position(|(found, meant)| found != meant);
        if let Some(group) = differs {
            return Err(Error::corrupt(format!(
                "the descriptor of group {group} is another one"
            )));
        }
        let size = u64::from(superblock.block_size);
        let mut copy = vec![0; superblock.block_bytes()];
        let mut original = copy.clone();
        for group in
            (1..superblock.group_count).filter(|group| layout::has_table(superblock, *group))
        {
            for index in 0..layout::descriptors_in_row(superblock) {
                let at = layout::group_start(superblock, group) + 1 + u64::from(index);
                self.store.read_at(at * size, &mut copy)?;
                self.store.read_at(
                    layout::descriptor_block(superblock, index, false) * size,
                    &mut original,
                )?;
                if copy != original {
                    return Err(Error::corrupt(format!(
                        "the copy of descriptor block {index} in group {group} differs"
                    )));
                }
            }
        }
        Ok(())
    }

    /// All metadata is marked as used, and in groups that changed as many blocks are free as their descriptors say.
    fn check_bitmaps(
        &self,
        groups: &[Group],
        zones: &[(u64, u64)],
        old: &Superblock,
    ) -> Result<()> {
        let superblock = &self.superblock;
        let size = u64::from(superblock.block_size);
        for (number, group) in (0..)
            .zip(groups)
            .filter(|(_, group)| group.flags & BLOCK_UNINIT == 0)
        {
            let mut bytes = vec![0; superblock.block_bytes()];
            self.store.read_at(group.block_bitmap * size, &mut bytes)?;
            let start = layout::group_start(superblock, number);
            let len = layout::group_len(superblock, number);
            let map = Bitmap::from_bytes(&bytes);
            for (first, zone) in layout::clip(zones, start, u64::from(len)) {
                let first = to_bit(first)?;
                let zone = to_bit(zone)?;
                if !map.all(first, zone, true) {
                    return Err(Error::corrupt(format!(
                        "metadata in group {number} is not marked as used"
                    )));
                }
            }
            let free = map.count_clear(len);
            if number + 1 >= old.group_count && free != group.free_blocks {
                let counted = group.free_blocks;
                return Err(Error::corrupt(format!(
                    "group {number} has {free} free blocks, and counts {counted}"
                )));
            }
        }
        Ok(())
    }
}

/// A block's number within its group.
fn to_bit(block: u64) -> Result<u32> {
    u32::try_from(block).map_err(|_| Error::internal("groups have less than 2^32 blocks"))
}
