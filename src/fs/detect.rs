//! Which filesystem a device holds, told by its magic numbers.

use std::sync::Arc;

use super::{FileSystem, FsKind, erofs, squashfs};
use crate::block::BlockDevice;
use crate::error::{Error, Result};

type Device = Arc<dyn BlockDevice>;

/// A filesystem that can be told from its first bytes and opened for reading.
struct Format {
    kind: FsKind,
    probe: fn(&dyn BlockDevice) -> Result<bool>,
    open: fn(Device) -> Result<Box<dyn FileSystem>>,
}

/// All that are known, the longest magic numbers first. A new reader is one more row.
const FORMATS: &[Format] = &[
    Format {
        kind: FsKind::Squashfs,
        probe: squashfs::probe,
        open: |device| Ok(Box::new(squashfs::Squashfs::open(device)?)),
    },
    Format { kind: FsKind::Erofs, probe: erofs::probe, open: |device| Ok(Box::new(erofs::Erofs::open(device)?)) },
];

/// The filesystem that begins at the start of `device`, if it is one that can be read.
pub fn probe(device: &dyn BlockDevice) -> Result<Option<FsKind>> {
    Ok(find(device)?.map(|format| format.kind))
}

/// Opens the filesystem on `device` for reading. One that is not known is [`crate::ErrorKind::Unsupported`].
pub fn open(device: Device) -> Result<Box<dyn FileSystem>> {
    match find(&device)? {
        Some(format) => (format.open)(device),
        None => {
            let known: Vec<String> = FORMATS.iter().map(|format| format.kind.to_string()).collect();
            Err(Error::unsupported("no filesystem that is known begins here")
                .with_hint(format!("{} can be read", known.join(", "))))
        }
    }
}

fn find(device: &dyn BlockDevice) -> Result<Option<&'static Format>> {
    for format in FORMATS {
        if (format.probe)(device)? {
            return Ok(Some(format));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
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
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.hint().unwrap().contains("squashfs, erofs"));
    }
}
