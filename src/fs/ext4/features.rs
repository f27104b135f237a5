//! Feature words of the superblock (`s_feature_compat`, `s_feature_incompat`, `s_feature_ro_compat`) and what each
//! unknown bit means: an incompatible one stops everything, a read-only-compatible one stops edits.

use crate::error::{Error, Reason, Result};

/// `COMPAT_HAS_JOURNAL`
pub(super) const COMPAT_HAS_JOURNAL: u32 = 0x4;
/// `COMPAT_EXT_ATTR`
pub(super) const COMPAT_EXT_ATTR: u32 = 0x8;
/// `COMPAT_RESIZE_INODE`
pub(super) const COMPAT_RESIZE_INODE: u32 = 0x10;
/// `COMPAT_DIR_INDEX`
pub(super) const COMPAT_DIR_INDEX: u32 = 0x20;
/// `COMPAT_SPARSE_SUPER2`
pub(super) const COMPAT_SPARSE_SUPER2: u32 = 0x200;
/// `COMPAT_ORPHAN_FILE`
pub(super) const COMPAT_ORPHAN_FILE: u32 = 0x1000;

/// `INCOMPAT_FILETYPE`
pub(super) const INCOMPAT_FILETYPE: u32 = 0x2;
/// `INCOMPAT_RECOVER`
pub(super) const INCOMPAT_RECOVER: u32 = 0x4;
/// `INCOMPAT_META_BG`
pub(super) const INCOMPAT_META_BG: u32 = 0x10;
/// `INCOMPAT_EXTENTS`
pub(super) const INCOMPAT_EXTENTS: u32 = 0x40;
/// `INCOMPAT_64BIT`
pub(super) const INCOMPAT_64BIT: u32 = 0x80;
/// `INCOMPAT_FLEX_BG`
pub(super) const INCOMPAT_FLEX_BG: u32 = 0x200;
/// `INCOMPAT_EA_INODE`
pub(super) const INCOMPAT_EA_INODE: u32 = 0x400;
/// `INCOMPAT_CSUM_SEED`
pub(super) const INCOMPAT_CSUM_SEED: u32 = 0x2000;
/// `INCOMPAT_LARGEDIR`
pub(super) const INCOMPAT_LARGEDIR: u32 = 0x4000;
/// `INCOMPAT_INLINE_DATA`
const INCOMPAT_INLINE_DATA: u32 = 0x8000;

/// `RO_COMPAT_SPARSE_SUPER`
pub(super) const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
/// `RO_COMPAT_LARGE_FILE`
pub(super) const RO_COMPAT_LARGE_FILE: u32 = 0x2;
/// `RO_COMPAT_HUGE_FILE`
pub(super) const RO_COMPAT_HUGE_FILE: u32 = 0x8;
/// `RO_COMPAT_GDT_CSUM`, called uninit_bg by mke2fs.
pub(super) const RO_COMPAT_GDT_CSUM: u32 = 0x10;
/// `RO_COMPAT_DIR_NLINK`
pub(super) const RO_COMPAT_DIR_NLINK: u32 = 0x20;
/// `RO_COMPAT_EXTRA_ISIZE`
pub(super) const RO_COMPAT_EXTRA_ISIZE: u32 = 0x40;
/// `RO_COMPAT_BIGALLOC`: space is counted in clusters of blocks.
pub(super) const RO_COMPAT_BIGALLOC: u32 = 0x200;
/// `RO_COMPAT_METADATA_CSUM`
pub(super) const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// `RO_COMPAT_ORPHAN_PRESENT`
pub(super) const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x1_0000;

/// Incompatible features that are understood.
const INCOMPAT_KNOWN: u32 = INCOMPAT_FILETYPE
    | INCOMPAT_RECOVER
    | INCOMPAT_META_BG
    | INCOMPAT_EXTENTS
    | INCOMPAT_64BIT
    | INCOMPAT_FLEX_BG
    | INCOMPAT_EA_INODE
    | INCOMPAT_CSUM_SEED
    | INCOMPAT_LARGEDIR
    | INCOMPAT_INLINE_DATA;

/// Read-only-compatible features that edits maintain.
const RO_COMPAT_KNOWN: u32 = RO_COMPAT_SPARSE_SUPER
    | RO_COMPAT_LARGE_FILE
    | RO_COMPAT_HUGE_FILE
    | RO_COMPAT_GDT_CSUM
    | RO_COMPAT_DIR_NLINK
    | RO_COMPAT_EXTRA_ISIZE
    | RO_COMPAT_METADATA_CSUM
    | RO_COMPAT_ORPHAN_PRESENT;

/// Names of incompatible features by bit, as `dumpe2fs` prints them.
const INCOMPAT_NAMES: &[(u32, &str)] = &[
    (0x1, "compression"),
    (0x8, "journal_dev"),
    (0x100, "mmp"),
    (0x1000, "dirdata"),
    (0x1_0000, "encrypt"),
    (0x2_0000, "casefold"),
];

/// Names of read-only-compatible features by bit, as `dumpe2fs` prints them.
const RO_COMPAT_NAMES: &[(u32, &str)] = &[
    (0x4, "btree_dir"),
    (0x80, "snapshot"),
    (0x100, "quota"),
    (RO_COMPAT_BIGALLOC, "bigalloc"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
];

/// The names of `bits`, unknown ones in hexadecimal.
fn names(bits: u32, table: &[(u32, &str)]) -> String {
    let name_of = |bit: u32| {
        let known = table.iter().find(|(known, _)| *known == bit);
        known.map_or_else(
            || format!("unknown bit {bit:#x}"),
            |(_, name)| (*name).to_owned(),
        )
    };
    let set = (0..u32::BITS)
        .map(|shift| 1u32 << shift)
        .filter(|bit| bits & bit != 0);
    set.map(name_of).collect::<Vec<_>>().join(", ")
}

/// Refuses incompatible features that are not understood.
pub(super) fn check_readable(incompat: u32) -> Result<()> {
    match incompat & !INCOMPAT_KNOWN {
        0 => Ok(()),
        unknown => Err(Error::unsupported(format!(
            "the filesystem has features that cannot be read: {}",
            names(unknown, INCOMPAT_NAMES)
        ))
        .because(Reason::Feature)
        .with_hint("make it without them (mke2fs -O ^FEATURE)")),
    }
}

/// Refuses features that edits would not keep up.
pub(super) fn check_writable(ro_compat: u32) -> Result<()> {
    let unknown = ro_compat & !RO_COMPAT_KNOWN;
    if unknown == 0 {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the filesystem can be read but not edited, because of these features: {}",
        names(unknown, RO_COMPAT_NAMES)
    ))
    .because(Reason::Feature)
    .with_hint("make it without them (mke2fs -O ^FEATURE)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_features_are_named() {
        assert!(check_readable(INCOMPAT_KNOWN).is_ok() && check_writable(RO_COMPAT_KNOWN).is_ok());
        let error = check_readable(0x40 | 0x1_0000 | 0x400_0000)
            .unwrap_err()
            .to_string();
        assert!(error.contains("encrypt, unknown bit 0x4000000"), "{error}");
        let error = check_writable(0x100 | 0x2_0000).unwrap_err().to_string();
        assert!(error.contains("quota, unknown bit 0x20000"), "{error}");
    }
}
