//! Inline data: short content in the inode itself, the rest in the attribute `system.data`.
//!
//! ```text
//!   i_block: 60 bytes │ system.data: the rest
//!   directory: parent's inode number │ records … 56 bytes │ records …
//! ```

use super::dir;
use super::inode::Inode;
use super::raw_inode::I_BLOCK_SIZE;
use super::superblock::ensure;
use super::xattr::{self, Value};
use crate::bytes::{structure, to_u64, to_usize};
use crate::error::Result;

structure! {
    /// What stands in front of the records of a directory.
    struct Head: "inline directory", Little, 4 {
        /// Inode number of the parent.
        0 => parent: u32,
    }
}

/// Where the records of a directory begin (`EXT4_INLINE_DOTDOT_SIZE`).
const RECORDS: usize = Head::<&[u8]>::SIZE;

/// The content, `i_size` bytes.
pub(super) fn content(inode: &Inode) -> Result<Vec<u8>> {
    let mut content = inode.block().to_vec();
    let mut attributes = Vec::new();
    xattr::parse_area(inode.xattr_area(), &mut attributes)?;
    for attribute in attributes
        .into_iter()
        .filter(xattr::Attribute::is_inline_data)
    {
        if let Value::Bytes(rest) = attribute.value {
            content.extend(rest);
        }
    }
    let ino = inode.ino;
    // Zeroes at the end need not be stored.
    ensure(
        inode.size <= to_u64(content.len().max(I_BLOCK_SIZE)),
        || {
            format!(
                "inode {ino} has {} bytes but stores {}",
                inode.size,
                content.len()
            )
        },
    )?;
    content.truncate(to_usize(inode.size)?);
    Ok(content)
}

/// The parent of an inline directory.
pub(super) fn parent(inode: &Inode) -> Result<u32> {
    Ok(Head::over(inode.block())?.parent())
}

/// Calls `visit` for each record of an inline directory; `.` and `..` have none.
pub(super) fn for_each(
    inode: &Inode,
    visit: &mut dyn FnMut(dir::Record<'_>) -> Result<bool>,
) -> Result<()> {
    let content = content(inode)?;
    let split = I_BLOCK_SIZE.min(content.len());
    let ino = inode.ino;
    ensure(split >= RECORDS, || {
        format!("inline directory {ino} is too short")
    })?;
    if dir::for_each(&content[RECORDS..split], visit)? {
        dir::for_each(&content[split..], visit)?;
    }
    Ok(())
}
