//! What lies under a FAT volume: a device that is read only, or one that is edited.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hadris_storage::{BlockIndex, BlockSize};

use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// Unit of the driver's requests. FAT sectors are multiples of it.
const BLOCK_LEN: usize = 512;
/// Blocks kept in memory: 8 MiB hold the table of a 1 GiB ESP and its directories.
const KEPT_MAX: usize = 16_384;

/// The device of a volume, [`ReadOnly`] or [`Editable`].
pub trait Medium: BlockDevice + sealed::Sealed {
    /// Whether it takes writes.
    const WRITABLE: bool;

    /// Writes all of `buf` at `offset`.
    fn put(&self, offset: u64, buf: &[u8]) -> Result<()>;
}

mod sealed {
    pub trait Sealed {}
}

/// A device that a volume only reads.
#[derive(Debug)]
pub struct ReadOnly<D>(pub(super) D);

/// A device that a volume reads and writes.
#[derive(Debug)]
pub struct Editable<D>(pub(super) D);

macro_rules! reads {
    ($($medium:ident),*) => {$(
        impl<D> sealed::Sealed for $medium<D> {}
        impl<D: BlockDevice> BlockDevice for $medium<D> {
            fn size(&self) -> u64 {
                self.0.size()
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
                self.0.read_at(offset, buf)
            }
            fn extent_at(&self, offset: u64) -> Result<crate::block::Extent> {
                self.0.extent_at(offset)
            }
        }
    )*};
}
reads!(ReadOnly, Editable);

impl<D: BlockDevice> Medium for ReadOnly<D> {
    const WRITABLE: bool = false;

    fn put(&self, _offset: u64, _buf: &[u8]) -> Result<()> {
        Err(Error::internal("a write to a FAT volume that was opened for reading"))
    }
}

impl<D: BlockDeviceMut> Medium for Editable<D> {
    const WRITABLE: bool = true;

    fn put(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.0.write_at(offset, buf)
    }
}

/// A medium with its most used blocks in memory.
///
/// Single blocks, which is how the driver reads directories and tables, are kept: it goes through a whole directory for
/// each new entry. Writes go to the medium at once.
#[derive(Debug)]
pub(super) struct Cached<M> {
    pub(super) medium: M,
    kept: Mutex<HashMap<u64, Box<[u8]>>>,
}

impl<M: Medium> Cached<M> {
    pub(super) fn new(medium: M) -> Self {
        Self { medium, kept: Mutex::default() }
    }

    // Whatever a panic elsewhere interrupted, the map holds whole blocks only.
    fn kept(&self) -> MutexGuard<'_, HashMap<u64, Box<[u8]>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a block that was just read or written; when there are too many, all others go.
    fn keep(&self, offset: u64, block: &[u8]) {
        let mut kept = self.kept();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(offset, block.into());
    }

    /// Reads whole blocks.
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if buf.len() != BLOCK_LEN {
            return self.medium.read_at(offset, buf);
        }
        if let Some(block) = self.kept().get(&offset) {
            buf.copy_from_slice(block);
            return Ok(());
        }
        self.medium.read_at(offset, buf)?;
        self.keep(offset, buf);
        Ok(())
    }

    /// Writes any bytes.
    pub(super) fn put(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.medium.put(offset, buf)?;
        if buf.len() == BLOCK_LEN && offset.is_multiple_of(to_u64(BLOCK_LEN)) {
            self.keep(offset, buf);
        } else {
            self.forget(offset, to_u64(buf.len()));
        }
        Ok(())
    }

    /// Forgets the blocks that `len` bytes at `offset` touch.
    fn forget(&self, offset: u64, len: u64) {
        let mut kept = self.kept();
        if !kept.is_empty() {
            let first = offset - offset % to_u64(BLOCK_LEN);
            (first..offset.saturating_add(len)).step_by(BLOCK_LEN).for_each(|block| drop(kept.remove(&block)));
        }
    }
}

impl<D: BlockDeviceMut> Cached<Editable<D>> {
    /// Makes `len` bytes read as zeroes.
    pub(super) fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.medium.0.write_zeroes(offset, len)?;
        self.forget(offset, len);
        Ok(())
    }
}

/// The medium as the driver wants it: numbered blocks of 512 bytes.
///
/// The free count that the volume keeps of itself (at `free_count`, in bytes from its start) reads as "unknown", which
/// makes the driver count for itself: a wrong count in an image would otherwise be believed and written back.
#[derive(Debug)]
pub(super) struct Blocks<M> {
    pub(super) device: Arc<Cached<M>>,
    pub(super) free_count: Option<u64>,
}

impl<M: Medium> Blocks<M> {
    fn offset(first: BlockIndex) -> Result<u64, hadris_io::Error<Error>> {
        let offset = first.get().checked_mul(to_u64(BLOCK_LEN));
        offset.ok_or(hadris_io::Error::new(hadris_io::ErrorKind::Corrupt, "a block number beyond any device"))
    }

    /// Overwrites the bytes of `buf`, read at `offset`, that belong to the free count.
    fn hide_free_count(&self, offset: u64, buf: &mut [u8]) {
        let Some(count) = self.free_count else { return };
        for at in count..count.saturating_add(4) {
            let index = at.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
            if let Some(byte) = index.and_then(|index| buf.get_mut(index)) {
                *byte = 0xFF;
            }
        }
    }
}

fn failed(error: Error) -> hadris_io::Error<Error> {
    hadris_io::Error::device(error, "the device failed")
}

impl<M: Medium> hadris_io::ErrorType for Blocks<M> {
    type Error = Error;
}

impl<M: Medium> hadris_storage::sync::BlockDevice for Blocks<M> {
    fn block_size(&self) -> BlockSize {
        const SIZE: BlockSize = match BlockSize::new(512) {
            Some(size) => size,
            None => panic!("512 is not 0"),
        };
        SIZE
    }

    fn block_count(&self) -> u64 {
        self.device.medium.size() / to_u64(BLOCK_LEN)
    }

    fn writable(&self) -> bool {
        M::WRITABLE
    }

    fn read_blocks(&mut self, first: BlockIndex, buf: &mut [u8]) -> Result<(), hadris_io::Error<Error>> {
        let offset = Self::offset(first)?;
        self.device.read(offset, buf).map_err(failed)?;
        self.hide_free_count(offset, buf);
        Ok(())
    }

    fn write_blocks(&mut self, first: BlockIndex, buf: &[u8]) -> Result<(), hadris_io::Error<Error>> {
        self.device.put(Self::offset(first)?, buf).map_err(failed)
    }
}

/// Turns an error of the driver into one for people.
pub(super) fn explain(error: hadris_io::Error<Error>) -> Error {
    use hadris_io::ErrorKind as K;
    let text = error.to_string();
    let kind = error.kind();
    if let Some(inner) = error.into_device_error() {
        return inner;
    }
    match kind {
        K::NotRecognized => Error::corrupt(format!("no FAT filesystem: {text}")),
        K::Corrupt | K::InvalidHandle => Error::corrupt(text).with_hint(super::check::REPAIR),
        K::NotFound | K::NotADirectory => Error::not_found(text),
        K::AlreadyExists | K::IsADirectory | K::DirectoryNotEmpty | K::InvalidInput | K::NameTooLong => {
            Error::invalid(text)
        }
        K::NoSpace => Error::no_space(text).with_hint("the directory or the volume is full; remove files from it"),
        K::Unsupported | K::LimitExceeded | K::FileTooLarge => Error::unsupported(text),
        _ => Error::internal(format!("the FAT driver: {text}")),
    }
}

/// `len` bytes at `offset`; the range is checked before memory is taken for it.
pub(super) fn read_vec(device: &dyn BlockDevice, offset: u64, len: usize) -> Result<Vec<u8>> {
    crate::block::check_range(offset, to_u64(len), device.size())?;
    let mut bytes = vec![0; len];
    device.read_at(offset, &mut bytes)?;
    Ok(bytes)
}
