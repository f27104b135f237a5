//! Copies of the superblock and the descriptors, for `e2fsck -b`.

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::Result;
use crate::fs::ext4::halves::low16;
use crate::fs::ext4::superblock::STATE_VALID;
use crate::fs::ext4::{Ext4, layout};

impl<D: BlockDeviceMut> Ext4<D> {
    /// Writes all copies.
    pub(super) fn write_backups(&self) -> Result<()> {
        let superblock = &self.superblock;
        let size = u64::from(superblock.block_size);
        let descriptors = layout::descriptor_blocks(superblock);
        let in_row = layout::descriptors_in_row(superblock);
        let table = self.descriptor_bytes(0..in_row)?;
        for group in
            (1..superblock.group_count).filter(|group| layout::has_superblock(superblock, *group))
        {
            let start = layout::group_start(superblock, group) * size;
            self.store.write_at(start, &self.superblock_copy(group))?;
            if layout::has_table(superblock, group) {
                self.store.write_at(start + size, &table)?;
            }
        }
        let per_block = layout::descriptors_per_block(superblock);
        for index in in_row..descriptors {
            let bytes = self.descriptor_bytes(index..index + 1)?;
            for group in [index * per_block + 1, index * per_block + per_block - 1] {
                if group < superblock.group_count {
                    let at = u64::from(layout::has_superblock(superblock, group));
                    self.store
                        .write_at((layout::group_start(superblock, group) + at) * size, &bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Descriptor blocks as just written.
    fn descriptor_bytes(&self, blocks: std::ops::Range<u32>) -> Result<Vec<u8>> {
        let size = u64::from(self.superblock.block_size);
        let mut bytes = Vec::new();
        let mut block = vec![0; self.superblock.block_bytes()];
        for index in blocks {
            self.store.read_at(
                layout::descriptor_block(&self.superblock, index, false) * size,
                &mut block,
            )?;
            bytes.extend_from_slice(&block);
        }
        Ok(bytes)
    }

    /// The superblock as a copy in `group` has it: not marked clean, as e2fsprogs writes them.
    fn superblock_copy(&self, group: u32) -> Box<[u8]> {
        let mut copy = self.superblock.on_disk.clone();
        // The field has 16 bits; e2fsprogs too stores what fits.
        copy.set_block_group_nr(low16(group));
        copy.set_state(copy.s_state() & !STATE_VALID);
        copy.seal();
        copy.into_inner()
    }
}
