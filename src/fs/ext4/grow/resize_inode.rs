//! The resize inode: owner of the descriptor blocks kept for growing, the backups' too.
//!
//! ```text
//!   i_block[13] ─▶ block of pointers, one for each reserved block of group 0
//!                    └─▶ that block itself: pointers to its copies in the groups with backups
//! ```

use crate::block::BlockDeviceMut;
use crate::error::{Error, Reason, Result};
use crate::fs::ext4::blockmap::{POINTER, pointers, put_pointers};
use crate::fs::ext4::raw_inode::RawInode;
use crate::fs::ext4::space::Run;
use crate::fs::ext4::superblock::ensure;
use crate::fs::ext4::{Ext4, layout};

/// `EXT4_RESIZE_INO`
const RESIZE_INO: u32 = 7;
/// The pointer of `i_block` that it uses (`EXT4_DIND_BLOCK`).
const DOUBLE_INDIRECT: usize = 13;

impl<D: BlockDeviceMut> Ext4<D> {
    /// Writes the pointers anew.
    pub(super) fn rebuild_resize_inode(&mut self) -> Result<()> {
        let superblock = &self.superblock;
        let inode = self.inode(RESIZE_INO)?;
        let top = self.resize_block(inode.block())?;
        let first = layout::descriptor_blocks(superblock);
        let copies: Vec<u32> = (1..superblock.group_count)
            .filter(|group| layout::has_superblock(superblock, *group))
            .collect();
        let start = u64::from(superblock.first_data_block) + 1;
        let number = |block: u64| {
            u32::try_from(block).map_err(|_| {
                Error::unsupported("backups beyond 2^32 blocks").because(Reason::Limit)
            })
        };
        let mut reserved = vec![0; superblock.block_bytes() / POINTER];
        for index in first..first + u32::from(superblock.reserved_gdt_blocks) {
            let block = start + u64::from(index);
            let slot = index as usize % reserved.len();
            reserved[slot] = number(block)?;
            let copy_in = |group: &u32| {
                number(block + u64::from(*group) * u64::from(superblock.blocks_per_group))
            };
            let own: Vec<u32> = copies.iter().map(copy_in).collect::<Result<_>>()?;
            self.write_pointers(block, &own)?;
        }
        self.write_pointers(top, &reserved)?;
        let count = crate::bytes::to_u64(copies.len());
        let mut raw = inode.raw;
        raw.set_blocks(
            superblock,
            1 + u64::from(superblock.reserved_gdt_blocks) * (1 + count),
        )?;
        self.put_reserved_inode(raw)
    }

    /// Empties it, where growing has used up all that it had.
    pub(super) fn drop_resize_inode(&mut self) -> Result<()> {
        let inode = self.inode(RESIZE_INO)?;
        let top = self.resize_block(inode.block())?;
        self.space
            .release(&self.store, &self.superblock, Run { start: top, len: 1 })?;
        self.put_reserved_inode(RawInode::over(vec![0; inode.raw.bytes().len()])?)
    }

    /// Fills `block` with these pointers and then zeroes.
    fn write_pointers(&self, block: u64, pointers: &[u32]) -> Result<()> {
        let mut bytes = vec![0; self.superblock.block_bytes()];
        if pointers.len() > bytes.len() / POINTER {
            return Err(Error::unsupported("more backups than pointers to them"));
        }
        put_pointers(&mut bytes, pointers);
        self.store
            .write_at(block * u64::from(self.superblock.block_size), &bytes)
    }

    fn resize_block(&self, block: &[u8]) -> Result<u64> {
        let pointer = pointers(block).nth(DOUBLE_INDIRECT).unwrap_or(0);
        ensure(self.superblock.contains(u64::from(pointer), 1), || {
            format!("the resize inode points to block {pointer}, outside the filesystem")
        })?;
        Ok(u64::from(pointer))
    }

    fn put_reserved_inode(&self, mut raw: RawInode<Vec<u8>>) -> Result<()> {
        if !raw.is_unused() {
            raw.seal(&self.superblock, RESIZE_INO);
        }
        self.store
            .write_at(self.inode_offset(RESIZE_INO)?, raw.bytes())
    }
}
