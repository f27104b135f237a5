//! What a filesystem is made of at the least, which says on which disks it can be used.

use super::{FsKind, probe};
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_usize};
use crate::error::Result;

/// Bytes from the start of a device that hold the first superblock of every filesystem that is looked at.
const HEAD_BYTES: u64 = (64 << 10) + 4096;

/// The smallest unit in bytes in which the filesystem on `device` is read, where it is one that is known and has such a
/// unit: no disk with larger sectors can hold it. FAT: `BPB_BytsPerSec`; ext2 to ext4: the block size; btrfs: `sectorsize`.
pub fn unit_bytes(device: &dyn BlockDevice) -> Result<Option<(FsKind, u32)>> {
    let Some(kind) = probe(device)? else {
        return Ok(None);
    };
    let mut head = vec![0; to_usize(HEAD_BYTES.min(device.size()))?];
    device.read_at(0, &mut head)?;
    let fields = Fields::new("superblock", &head);
    let unit = match kind {
        FsKind::Fat => u32::from(fields.le16(11)?),
        FsKind::Ext4 => 1024u32.checked_shl(fields.le32(1024 + 24)?).unwrap_or(0),
        FsKind::Btrfs => fields.le32((64 << 10) + 0x90)?,
        _ => return Ok(None),
    };
    Ok(Some((kind, unit)))
}
