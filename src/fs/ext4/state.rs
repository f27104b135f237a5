//! Whether a filesystem was put away properly, and what is done where it was not.

use super::features::{COMPAT_HAS_JOURNAL, INCOMPAT_RECOVER, RO_COMPAT_ORPHAN_PRESENT};
use super::superblock::{STATE_ERROR, STATE_VALID, Superblock};
use crate::error::{Error, Result};

/// What to do with a filesystem that was in use when it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recovery {
    /// Replay its journal and finish its orphans, as mounting it would.
    #[default]
    Replay,
    /// Refuse it as [`Unsupported`](crate::ErrorKind::Unsupported).
    Refuse,
}

const HINT: &str = "it was copied while in use: boot the machine once and shut it down properly, \
                    or run e2fsck -p on the partition, then try again";

/// Whether the journal holds changes: what lies outside it is out of date.
pub(super) fn needs_replay(superblock: &Superblock) -> bool {
    superblock.has_incompat(INCOMPAT_RECOVER)
}

/// Whether inodes are left to be finished.
pub(super) fn has_orphans(superblock: &Superblock) -> bool {
    superblock.last_orphan != 0 || superblock.has_ro(RO_COMPAT_ORPHAN_PRESENT)
}

/// Refuses a filesystem that was in use, where that was asked for.
pub(super) fn check_unused(superblock: &Superblock) -> Result<()> {
    let reason = if needs_replay(superblock) {
        "the journal holds changes that are not in the filesystem yet (needs_recovery)".to_owned()
    } else if superblock.last_orphan != 0 {
        format!(
            "its list of deleted open files begins with inode {} (s_last_orphan)",
            superblock.last_orphan
        )
    } else if has_orphans(superblock) {
        "its orphan file is in use (orphan_present)".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::unsupported(reason).with_hint(HINT))
}

/// Refuses to edit a filesystem that no journal can put right.
pub(super) fn check_editable(superblock: &Superblock) -> Result<()> {
    if superblock.state & STATE_ERROR != 0 {
        return Err(Error::corrupt(
            "the filesystem cannot be edited: the kernel found errors in it (s_state)",
        )
        .with_hint("repair it with e2fsck -f, or start from the image as it was released"));
    }
    let reason = if superblock.state & STATE_VALID == 0 {
        format!(
            "it is not marked clean (s_state is {:#x})",
            superblock.state
        )
    } else if superblock.has_compat(COMPAT_HAS_JOURNAL) && superblock.journal_inum == 0 {
        "its journal is on another device".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!("the filesystem cannot be edited: {reason}")).with_hint(HINT))
}

/// Refuses a journal that holds something although the superblock says it does not.
pub(super) fn check_journal((start, errno): (u32, u32)) -> Result<()> {
    if start == 0 && errno == 0 {
        return Ok(());
    }
    let message = format!(
        "the journal is not empty: it begins at its block {start}, with error number {errno}"
    );
    Err(Error::unsupported(message).with_hint(HINT))
}
