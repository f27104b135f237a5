//! Whether an image file is as long as it says.

use crate::block::BlockDevice;
use crate::error::Result;
use crate::progress::Cancel;

/// Goes through what `disk` says of its holes and its data, without reading the data: where the file of an image ends
/// before the data that its tables name, this fails, and not only when they are read.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] where something is missing, and those of reading the tables.
pub fn check_whole(disk: &dyn BlockDevice, cancel: &Cancel) -> Result<()> {
    let mut offset = 0;
    while offset < disk.size() {
        cancel.check()?;
        offset = offset.saturating_add(disk.extent_at(offset)?.len.max(1));
    }
    Ok(())
}
