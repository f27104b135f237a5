//! What a superblock says must be understood before anything is read (`feature_incompat`), and what may be passed over.

use crate::error::{Error, Reason, Result};

/// The superblock holds a checksum (`EROFS_FEATURE_COMPAT_SB_CHKSUM`).
pub(super) const COMPAT_SB_CHKSUM: u32 = 0x01;
/// Inodes hold the time of the last change of content (`EROFS_FEATURE_COMPAT_MTIME`).
pub(super) const COMPAT_MTIME: u32 = 0x02;
/// Long prefixes of attribute names lie on the device even where there is a packed inode
/// (`EROFS_FEATURE_COMPAT_PLAIN_XATTR_PFX`).
pub(super) const COMPAT_PLAIN_XATTR_PFX: u32 = 0x10;

/// Packed data ends where its block ends and has zeroes before it (`EROFS_FEATURE_INCOMPAT_ZERO_PADDING`).
pub(super) const ZERO_PADDING: u32 = 0x01;
/// Compressors are configured behind the superblock, and packed data may be longer than a block
/// (`EROFS_FEATURE_INCOMPAT_COMPR_CFGS`, `EROFS_FEATURE_INCOMPAT_BIG_PCLUSTER`).
pub(super) const COMPR_CFGS: u32 = 0x02;
/// Files of chunks (`EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`).
pub(super) const CHUNKED_FILE: u32 = 0x04;
/// There are further devices, or a second compressor for a file (`EROFS_FEATURE_INCOMPAT_DEVICE_TABLE`,
/// `EROFS_FEATURE_INCOMPAT_COMPR_HEAD2`).
pub(super) const DEVICE_TABLE: u32 = 0x08;
/// Ends of files share one hidden file, and equal data is stored once (`EROFS_FEATURE_INCOMPAT_FRAGMENTS`,
/// `EROFS_FEATURE_INCOMPAT_DEDUPE`).
pub(super) const FRAGMENTS: u32 = 0x20;

/// What is known: the above, ends of files packed beside their inodes (0x10), and long prefixes of attribute names (0x40).
const KNOWN: u32 = 0x7f;
/// Names of bits that are not known here.
const NAMES: [(u32, &str); 2] = [(0x80, "48bit"), (0x100, "metabox")];

/// An error that names the features that are not known, if there are any.
pub(super) fn check_incompat(features: u32) -> Result<()> {
    let unknown = features & !KNOWN;
    if unknown == 0 {
        return Ok(());
    }
    let mut names: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| unknown & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    let named = NAMES.iter().fold(0, |all, (bit, _)| all | bit);
    let number = format!("{:#x}", unknown & !named);
    if unknown & !named != 0 {
        names.push(&number);
    }
    Err(
        Error::unsupported(format!("EROFS with the features {}", names.join(", ")))
            .because(Reason::Feature)
            .with_hint("pack it again without them: what mkfs.erofs writes by default is read"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_are_not_known_are_named() {
        check_incompat(0).unwrap();
        check_incompat(KNOWN).unwrap();
        for (features, said) in [
            (0x80, "features 48bit"),
            (0x17f, "features metabox"),
            (0x1280, "features 48bit, 0x1200"),
        ] {
            let error = check_incompat(features).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
            assert!(error.to_string().ends_with(said), "{error}");
        }
    }
}
