//! Which filesystem a device holds, told by its magic numbers.

use std::path::PathBuf;
use std::sync::Arc;

use super::{FileSystem, FileSystemMut, FsKind, btrfs, erofs, ext4, fat, squashfs};
use crate::block::{BlockDevice, BlockDeviceMut, SelfDescribed};
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Reason, Result};

type Device = Arc<dyn BlockDevice>;
type Target = Arc<dyn BlockDeviceMut>;

/// A filesystem that can be told from its first bytes and opened.
struct Format {
    kind: FsKind,
    probe: fn(&dyn BlockDevice) -> Result<bool>,
    open: fn(Device) -> Result<Box<dyn FileSystem>>,
    /// Opens it for editing: what it holds, where the result goes, and how.
    edit: Option<Edit>,
}

type Edit = fn(Device, Target, &EditOptions) -> Result<Box<dyn FileSystemMut>>;

/// How a filesystem is opened for editing.
#[derive(Debug, Clone)]
pub struct EditOptions {
    /// The folder for unlinked temporary files.
    pub temp_dir: PathBuf,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal.
    pub no_replay: bool,
    /// Grow the filesystem to the size of its device first.
    pub grow: bool,
}

impl EditOptions {
    /// Journals are replayed, nothing grows; `temp_dir` takes unlinked temporary files.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            temp_dir: temp_dir.into(),
            no_replay: false,
            grow: false,
        }
    }
}

/// All that are known, the longest magic numbers first: FAT's is the weakest. A new reader is one more row.
const FORMATS: &[Format] = &[
    Format {
        kind: FsKind::Btrfs,
        probe: btrfs::probe,
        open: |device| Ok(Box::new(btrfs::Btrfs::open(device)?)),
        edit: Some(|source, target, options| {
            refuse_to_grow(FsKind::Btrfs, options)?;
            Ok(Box::new(btrfs::Btrfs::edit(
                source,
                target,
                &options.temp_dir,
            )?))
        }),
    },
    Format {
        kind: FsKind::Squashfs,
        probe: squashfs::probe,
        open: |device| Ok(Box::new(squashfs::Squashfs::open(device)?)),
        edit: None,
    },
    Format {
        kind: FsKind::Erofs,
        probe: erofs::probe,
        open: |device| Ok(Box::new(erofs::Erofs::open(device)?)),
        edit: None,
    },
    Format {
        kind: FsKind::Ext4,
        probe: |device| Ok(ext4::probe(device)),
        open: |device| Ok(Box::new(ext4::Ext4::open_read_only(device)?)),
        edit: Some(edit_ext4),
    },
    Format {
        kind: FsKind::Fat,
        probe: probe_fat,
        open: |device| Ok(Box::new(fat::Fat::open_read_only(device)?)),
        edit: Some(|_, target, options| {
            refuse_to_grow(FsKind::Fat, options)?;
            Ok(Box::new(fat::Fat::open(target)?))
        }),
    },
];

/// The filesystem that begins at the start of `device`, if it is one that can be read.
pub fn probe(device: &dyn BlockDevice) -> Result<Option<FsKind>> {
    Ok(find(device)?.map(|format| format.kind))
}

/// Opens the filesystem on `device` for reading. One that is not known is [`ErrorKind::Unsupported`], with the
/// reason [`Reason::Unformatted`].
pub fn open(device: Device) -> Result<Box<dyn FileSystem>> {
    let device: Device = Arc::new(SelfDescribed(device));
    (find(&device)?.ok_or_else(unformatted)?.open)(device)
}

/// Opens the filesystem on `target` for editing; one that can be read only is [`ErrorKind::Unsupported`].
///
/// `source` shows the same bytes as `target` does now and never changes; filesystems that are built anew read from it
/// while they write to `target`.
pub fn edit(
    source: Device,
    target: Target,
    options: &EditOptions,
) -> Result<Box<dyn FileSystemMut>> {
    let source: Device = Arc::new(SelfDescribed(source));
    let target: Target = Arc::new(SelfDescribed(target));
    let format = find(&source)?.ok_or_else(unformatted)?;
    let edit = format.edit.ok_or_else(|| not_editable(format.kind))?;
    edit(source, target, options)
}

fn edit_ext4(
    _source: Device,
    target: Target,
    options: &EditOptions,
) -> Result<Box<dyn FileSystemMut>> {
    let size = target.size();
    let recovery = if options.no_replay {
        ext4::Recovery::Refuse
    } else {
        ext4::Recovery::Replay
    };
    let mut fs = ext4::Ext4::open_with(target, recovery)?;
    if options.grow {
        fs.grow(size)?;
    }
    Ok(Box::new(fs))
}

fn refuse_to_grow(kind: FsKind, options: &EditOptions) -> Result<()> {
    match options.grow {
        true => Err(Error::unsupported(format!(
            "growing a {kind} filesystem is not supported"
        ))),
        false => Ok(()),
    }
}

fn not_editable(kind: FsKind) -> Error {
    Error::unsupported(format!("editing a {kind} filesystem is not supported"))
        .with_hint("put what you want to add on another partition, for example on ROOT")
}

fn unformatted() -> Error {
    let known: Vec<String> = FORMATS
        .iter()
        .map(|format| format.kind.to_string())
        .collect();
    Error::unsupported("no filesystem that is known begins here")
        .because(Reason::Unformatted)
        .with_hint(format!("{} can be read", known.join(", ")))
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
        let error = open(Arc::new(MemoryDevice::new(vec![0; 4096])))
            .err()
            .unwrap();
        assert!(
            error.reason() == Some(Reason::Unformatted)
                && error.hint().unwrap().contains("squashfs, erofs")
        );
    }
}
