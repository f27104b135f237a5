//! Whether a filesystem was put away properly. Nothing here writes: a journal is never replayed.

use super::features::{COMPAT_HAS_JOURNAL, INCOMPAT_RECOVER, RO_COMPAT_ORPHAN_PRESENT};
use super::superblock::{STATE_ERROR, STATE_VALID, Superblock};
use crate::bytes::Fields;
use crate::error::{Error, Result};

/// `JBD2_MAGIC_NUMBER`, big-endian on disk as all of the journal.
const JOURNAL_MAGIC: u32 = 0xC03B_3998;
/// `h_blocktype` of a journal superblock, version 1 and 2.
const JOURNAL_SUPERBLOCKS: [u32; 2] = [3, 4];
/// Bytes of the journal superblock that are looked at.
pub(super) const JOURNAL_HEAD: usize = 1024;

const HINT: &str = "it was copied while in use: boot the machine once and shut it down properly, \
                    or run e2fsck -p on the partition, then try again";

/// Refuses to read a filesystem whose journal holds changes: what lies outside it is out of date.
pub(super) fn check_readable(superblock: &Superblock) -> Result<()> {
    if superblock.feature_incompat & INCOMPAT_RECOVER == 0 {
        return Ok(());
    }
    let message = "the journal holds changes that are not in the filesystem yet (needs_recovery)";
    Err(Error::unsupported(message).with_hint(HINT))
}

/// Refuses to edit a filesystem that was in use when it was copied, or is damaged.
pub(super) fn check_editable(superblock: &Superblock) -> Result<()> {
    check_readable(superblock)?;
    let reason = if superblock.state & STATE_ERROR != 0 {
        "the kernel found errors in it (s_state)".to_owned()
    } else if superblock.state & STATE_VALID == 0 || superblock.state != STATE_VALID {
        format!("it is not marked clean (s_state is {:#x})", superblock.state)
    } else if superblock.last_orphan != 0 {
        format!("its list of deleted open files begins with inode {} (s_last_orphan)", superblock.last_orphan)
    } else if superblock.feature_ro_compat & RO_COMPAT_ORPHAN_PRESENT != 0 {
        "its orphan file is in use (orphan_present)".to_owned()
    } else if superblock.feature_compat & COMPAT_HAS_JOURNAL != 0 && superblock.journal_inum == 0 {
        "its journal is on another device".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!("the filesystem cannot be edited: {reason}")).with_hint(HINT))
}

/// Refuses a journal with anything in it; `head` is its first [`JOURNAL_HEAD`] bytes (`struct journal_superblock_s`).
pub(super) fn check_journal(head: &[u8]) -> Result<()> {
    let f = Fields::new("journal superblock", head);
    if f.be32(0)? != JOURNAL_MAGIC || !JOURNAL_SUPERBLOCKS.contains(&f.be32(4)?) {
        return Err(Error::corrupt("the journal has no valid superblock"));
    }
    let (start, errno) = (f.be32(0x1C)?, f.be32(0x20)?);
    if start == 0 && errno == 0 {
        return Ok(());
    }
    let message = format!("the journal is not empty: it begins at its block {start}, with error number {errno}");
    Err(Error::unsupported(message).with_hint(HINT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_an_empty_journal_is_taken() {
        let mut head = vec![0; JOURNAL_HEAD];
        assert_eq!(check_journal(&head).unwrap_err().kind(), ErrorKind::Corrupt);
        head[..8].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4]);
        check_journal(&head).unwrap();
        head[0x1F] = 1;
        assert_eq!(check_journal(&head).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
