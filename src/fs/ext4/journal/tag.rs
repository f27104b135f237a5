//! Descriptor blocks: tags that say where the blocks behind them belong (`journal_block_tag_s`, `…_tag3_s`).

use super::on_disk::{BlockHeader, ShortTag, Tag3, TagHigh, Tail};
use super::{INCOMPAT_64BIT, INCOMPAT_CSUM_V2, INCOMPAT_CSUM_V3, Journal};
use crate::error::Result;
use crate::fs::ext4::halves::join32;

/// `JBD2_FLAG_ESCAPE`, `…_SAME_UUID`, `…_LAST_TAG`
const ESCAPE: u32 = 1;
const SAME_UUID: u32 = 2;
const LAST: u32 = 8;
/// Bytes of a block header; tags begin behind it.
const BLOCK_HEADER: usize = BlockHeader::<&[u8]>::SIZE;
/// Bytes of the checksum at the end of descriptors and revoke blocks.
pub(super) const TAIL: usize = Tail::<&[u8]>::SIZE;

/// Where one block of the log belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    /// Block of the filesystem.
    pub block: u64,
    pub escaped: bool,
    /// Checksum of the block in the log, low half only in version 2; 0 without.
    pub checksum: u32,
}

/// How a journal stores tags.
#[derive(Clone, Copy)]
struct Layout {
    version_3: bool,
    version_2: bool,
    wide: bool,
}

impl Layout {
    fn of(journal: &Journal<'_>) -> Self {
        Self {
            version_3: journal.incompat & INCOMPAT_CSUM_V3 != 0,
            version_2: journal.incompat & INCOMPAT_CSUM_V2 != 0,
            wide: journal.incompat & INCOMPAT_64BIT != 0,
        }
    }

    /// Bytes of a tag; those of version 2 have two that nobody uses.
    fn size(self) -> usize {
        if self.version_3 {
            return Tag3::<&[u8]>::SIZE;
        }
        let unused = if self.version_2 { 2 } else { 0 };
        let high = if self.wide { TagHigh::<&[u8]>::SIZE } else { 0 };
        ShortTag::<&[u8]>::SIZE + high + unused
    }

    /// The tag at `at`, and its flags.
    fn read(self, bytes: &[u8], at: usize) -> Result<(Tag, u32)> {
        if self.version_3 {
            let tag = Tag3::at(bytes, at)?;
            let high = if self.wide { tag.t_blocknr_high() } else { 0 };
            let found = Tag {
                block: join32(tag.t_blocknr(), high),
                escaped: tag.t_flags() & ESCAPE != 0,
                checksum: tag.t_checksum(),
            };
            return Ok((found, tag.t_flags()));
        }
        let tag = ShortTag::at(bytes, at)?;
        let high = if self.wide {
            TagHigh::at(bytes, at + ShortTag::<&[u8]>::SIZE)?.t_blocknr_high()
        } else {
            0
        };
        let flags = u32::from(tag.t_flags());
        let found = Tag {
            block: join32(tag.t_blocknr(), high),
            escaped: flags & ESCAPE != 0,
            checksum: if self.version_2 {
                tag.t_checksum().into()
            } else {
                0
            },
        };
        Ok((found, flags))
    }
}

/// The tags of a descriptor block, at most one for each eight bytes.
pub(super) fn parse(journal: &Journal<'_>, bytes: &[u8]) -> Result<Vec<Tag>> {
    let layout = Layout::of(journal);
    let end = bytes.len() - if journal.has_checksums() { TAIL } else { 0 };
    let mut tags = Vec::new();
    let mut at = BLOCK_HEADER;
    while at + layout.size() <= end {
        let (tag, flags) = layout.read(bytes, at)?;
        tags.push(tag);
        at += layout.size() + if flags & SAME_UUID == 0 { 16 } else { 0 };
        if flags & LAST != 0 {
            break;
        }
    }
    Ok(tags)
}
