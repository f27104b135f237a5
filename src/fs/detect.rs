//! Which filesystem a device holds, told by its magic numbers.

use std::path::Path;
use std::sync::Arc;

use super::{FileSystem, FileSystemMut, FsKind, btrfs, erofs, ext4, fat, squashfs};
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::error::{Error, ErrorKind, Result};

type Device = Arc<dyn BlockDevice>;

/// A filesystem that can be told from its first bytes and opened for reading.
struct Format {
    kind: FsKind,
    probe: fn(&dyn BlockDevice) -> Result<bool>,
    open: fn(Device) -> Result<Box<dyn FileSystem>>,
}

/// All that are known, the longest magic numbers first: FAT's is the weakest. A new reader is one more row.
const FORMATS: &[Format] = &[
    Format { kind: FsKind::Btrfs, probe: btrfs::probe, open: |device| Ok(Box::new(btrfs::Btrfs::open(device)?)) },
    Format {
        kind: FsKind::Squashfs,
        probe: squashfs::probe,
        open: |device| Ok(Box::new(squashfs::Squashfs::open(device)?)),
    },
    Format { kind: FsKind::Erofs, probe: erofs::probe, open: |device| Ok(Box::new(erofs::Erofs::open(device)?)) },
    Format {
        kind: FsKind::Ext4,
        probe: |device| Ok(ext4::probe(device)),
        open: |device| Ok(Box::new(ext4::Ext4::open_read_only(device)?)),
    },
    Format { kind: FsKind::Fat, probe: probe_fat, open: |device| Ok(Box::new(fat::Fat::open_read_only(device)?)) },
];

/// The message of an error that says that no known filesystem is there.
const UNFORMATTED: &str = "no filesystem that is known begins here";

/// The filesystem that begins at the start of `device`, if it is one that can be read.
pub fn probe(device: &dyn BlockDevice) -> Result<Option<FsKind>> {
    Ok(find(device)?.map(|format| format.kind))
}

/// Opens the filesystem on `device` for reading. One that is not known is [`ErrorKind::Unsupported`], which
/// [`is_unformatted`] tells from other things that are not supported.
pub fn open(device: Device) -> Result<Box<dyn FileSystem>> {
    (find(&device)?.ok_or_else(unformatted)?.open)(device)
}

/// Opens the filesystem on `target` for editing.
///
/// `source` shows the same bytes as `target` does now and never changes; filesystems that are built anew read from it
/// while they write to `target`. `temp_dir` takes unlinked temporary files.
pub fn edit(source: Device, target: Arc<dyn BlockDeviceMut>, temp_dir: &Path) -> Result<Box<dyn FileSystemMut>> {
    let _ = temp_dir;
    match probe(&source)?.ok_or_else(unformatted)? {
        FsKind::Ext4 => Ok(Box::new(ext4::Ext4::open(target)?)),
        FsKind::Fat => Ok(Box::new(fat::Fat::open(target)?)),
        kind => Err(Error::unsupported(format!("{kind} filesystems cannot be edited yet"))),
    }
}

/// Whether an error of [`open`] says that there is no known filesystem, rather than that one is damaged.
pub fn is_unformatted(error: &Error) -> bool {
    error.kind() == ErrorKind::Unsupported && error.message() == UNFORMATTED
}

fn unformatted() -> Error {
    let known: Vec<String> = FORMATS.iter().map(|format| format.kind.to_string()).collect();
    Error::unsupported(UNFORMATTED).with_hint(format!("{} can be read", known.join(", ")))
}

fn find(device: &dyn BlockDevice) -> Result<Option<&'static Format>> {
    for format in FORMATS {
        if (format.probe)(device)? {
            return Ok(Some(format));
        }
    }
    Ok(None)
}

/// FAT is told from its first sector.
fn probe_fat(device: &dyn BlockDevice) -> Result<bool> {
    let mut sector = [0; 512];
    if device.size() < 512 {
        return Ok(false);
    }
    device.read_at(0, &mut sector)?;
    Ok(fat::probe(&sector))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;

    #[test]
    fn magic_numbers_decide() {
        let mut bytes = vec![0; 4096];
        let kind = |bytes: &[u8]| probe(&MemoryDevice::new(bytes.to_vec())).unwrap();
        assert_eq!(kind(&bytes), None);
        assert_eq!(kind(&[]), None);
        bytes[..4].copy_from_slice(b"hsqs");
        assert_eq!(kind(&bytes), Some(FsKind::Squashfs));
        bytes[0] = 0;
        bytes[1024..1028].copy_from_slice(&0xe0f5_e1e2u32.to_le_bytes());
        assert_eq!(kind(&bytes), Some(FsKind::Erofs));
        let error = open(Arc::new(MemoryDevice::new(vec![0; 4096]))).err().unwrap();
        assert!(is_unformatted(&error) && error.hint().unwrap().contains("squashfs, erofs"));
    }
}
