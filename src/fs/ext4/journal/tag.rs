//! Descriptor blocks: tags that say where the blocks behind them belong (`journal_block_tag_s`, `…_tag3_s`).

use super::{INCOMPAT_64BIT, INCOMPAT_CSUM_V2, INCOMPAT_CSUM_V3, Journal};
use crate::bytes::Fields;
use crate::error::Result;

/// `JBD2_FLAG_ESCAPE`, `…_SAME_UUID`, `…_LAST_TAG`
const ESCAPE: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;
/// Bytes of a block header; tags begin behind it.
pub(super) const BLOCK_HEADER: usize = 12;
/// Bytes of the checksum at the end of descriptors and revoke blocks.
pub(super) const TAIL: usize = 4;

/// Where one block of the log belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    /// Block of the filesystem.
    pub block: u64,
    pub escaped: bool,
    /// Checksum of the block in the log, low half only in version 2; 0 without.
    pub checksum: u32,
}

/// The tags of a descriptor block, at most one for each eight bytes.
pub(super) fn parse(journal: &Journal<'_>, bytes: &[u8]) -> Result<Vec<Tag>> {
    let f = Fields::new("journal descriptor", bytes);
    let v3 = journal.incompat & INCOMPAT_CSUM_V3 != 0;
    let v2 = journal.incompat & INCOMPAT_CSUM_V2 != 0;
    let wide = journal.incompat & INCOMPAT_64BIT != 0;
    let size = if v3 {
        16
    } else {
        8 + if v2 { 2 } else { 0 } + if wide { 4 } else { 0 }
    };
    let end = bytes.len() - if v2 || v3 { TAIL } else { 0 };
    let mut tags = Vec::new();
    let mut at = BLOCK_HEADER;
    while at + size <= end {
        let flags = if v3 {
            f.be32(at + 4)?
        } else {
            u32::from(u16::from_be_bytes(f.array(at + 6)?))
        };
        let high = if wide {
            u64::from(f.be32(at + 8)?) << 32
        } else {
            0
        };
        let checksum = match (v3, v2) {
            (true, _) => f.be32(at + 12)?,
            (_, true) => u32::from(u16::from_be_bytes(f.array(at + 4)?)),
            _ => 0,
        };
        tags.push(Tag {
            block: u64::from(f.be32(at)?) | high,
            escaped: flags & ESCAPE != 0,
            checksum,
        });
        at += size + if flags & SAME_UUID == 0 { 16 } else { 0 };
        if flags & LAST != 0 {
            break;
        }
    }
    Ok(tags)
}
