//! A disk put together from pieces of its image file: the part of reading that all formats have in common.
//!
//! ```text
//!   guest   | zero  | stored    | packed  | below   | stored  |
//!               │       │           │         │
//!               │   bytes of the    │     the image that this one
//!             nothing  file     a unit,   is based on, or zeroes
//!             is read           unpacked
//! ```
//!
//! A format says what lies at an offset ([`Map::piece_at`]) and how to unpack a unit; [`Mapped`] makes a device of that.

use std::fmt::Debug;
use std::sync::Arc;

use super::units::Units;
use crate::block::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::{ByteSize, to_u64, to_usize};
use crate::error::{Error, Reason, Result};

/// The largest disk an image may claim: what VHDX allows. The sum of any two offsets below fits into 64 bits.
const MAX_VIRTUAL: u64 = 64 << 40;

/// Memory for unpacked units of one image.
const UNITS_BUDGET: usize = 16 << 20;

/// How many pieces one extent gathers: far enough that walking a disk takes few calls, near enough that one is cheap.
const MAX_PIECES: usize = 4096;

/// What lies at an offset of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// Zeroes, stored nowhere.
    Zero,
    /// Bytes of the storage, from this offset.
    Stored(u64),
    /// Part of a unit that begins at byte `unit` of the disk; `entry` tells the format where it is.
    Packed { unit: u64, entry: u64 },
    /// What the image below has at the same offset.
    Below,
}

/// Where a format puts the bytes of a disk.
pub(super) trait Map: Debug + Send + Sync {
    /// Size of the disk in bytes.
    fn size(&self) -> u64;

    /// What lies at `offset` (below the size), and for how many bytes (never 0).
    fn piece_at(&self, offset: u64) -> Result<(Piece, u64)>;

    /// What [`Piece::Stored`] counts from.
    fn storage(&self) -> &dyn BlockDevice;

    /// The image below, where [`Piece::Below`] occurs.
    fn below(&self) -> Option<&Below> {
        None
    }

    /// The largest unit in bytes.
    fn unit_bytes(&self) -> usize {
        1
    }

    /// Unpacks a unit: as many bytes as the disk has in it.
    fn unpack(&self, unit: u64, _entry: u64) -> Result<Vec<u8>> {
        Err(Error::internal(format!(
            "the unit at {unit} is in a format without compression"
        )))
    }
}

/// A disk image that another one is based on. Beyond its end it reads as zeroes.
#[derive(Debug, Clone)]
pub(super) struct Below {
    device: Arc<dyn BlockDevice>,
    /// Where in it the disk above begins.
    start: u64,
}

impl Below {
    pub fn new(device: Arc<dyn BlockDevice>, start: u64) -> Self {
        Self { device, start }
    }

    /// The same image, for a disk that begins `offset` bytes further on.
    pub fn from(&self, offset: u64) -> Self {
        Self {
            device: Arc::clone(&self.device),
            start: self.start.saturating_add(offset),
        }
    }

    /// Bytes that there are from `offset`, at most `len`.
    fn available(&self, offset: u64, len: u64) -> u64 {
        self.device
            .size()
            .saturating_sub(self.start.saturating_add(offset))
            .min(len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (data, zeroes) = buf.split_at_mut(to_usize(self.available(offset, to_u64(buf.len())))?);
        zeroes.fill(0);
        if data.is_empty() {
            Ok(())
        } else {
            self.device.read_at(self.start + offset, data)
        }
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        let available = self.available(offset, len);
        if available == 0 {
            return Ok(Extent {
                kind: ExtentKind::Zero,
                len,
            });
        }
        let extent = self.device.extent_at(self.start + offset)?;
        Ok(Extent {
            len: extent.len.min(available),
            ..extent
        })
    }
}

/// A [`Map`] as a device.
#[derive(Debug)]
pub(super) struct Mapped<M> {
    map: M,
    units: Units<Vec<u8>>,
}

impl<M: Map> Mapped<M> {
    /// A device over `map`; a disk that is larger than any format has is refused.
    pub fn new(map: M) -> Result<Self> {
        check_size(map.size())?;
        let units = Units::new(UNITS_BUDGET, map.unit_bytes());
        Ok(Self { map, units })
    }

    /// Pieces of one kind in a row, at most `max_len` bytes. Units are put together only where `packed` is set.
    fn run_at(&self, offset: u64, max_len: u64, packed: bool) -> Result<(Piece, u64)> {
        let (first, mut len) = self.map.piece_at(offset)?;
        for _ in 0..MAX_PIECES {
            if len >= max_len {
                break;
            }
            let (next, next_len) = self.map.piece_at(offset + len)?;
            let same = match (first, next) {
                (Piece::Zero, Piece::Zero) | (Piece::Below, Piece::Below) => true,
                (Piece::Stored(start), Piece::Stored(at)) => start.checked_add(len) == Some(at),
                (Piece::Packed { .. }, Piece::Packed { .. }) => packed,
                _ => false,
            };
            if !same {
                break;
            }
            len += next_len;
        }
        Ok((first, len.min(max_len)))
    }

    /// Refuses bytes of the disk that lie at `at` where the file does not reach that far.
    fn check_stored(&self, offset: u64, at: u64, len: u64) -> Result<()> {
        let size = self.map.storage().size();
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Error::corrupt(format!(
                "{len} bytes at {offset} of the disk are said to lie at byte {at} of the file, which has {size}"
            ))
            .with_hint("the file is cut short: compare its size and checksum with the original's")),
        }
    }

    fn read_piece(&self, piece: Piece, offset: u64, buf: &mut [u8]) -> Result<()> {
        match (piece, self.map.below()) {
            (Piece::Stored(at), _) => {
                self.check_stored(offset, at, to_u64(buf.len()))?;
                self.map.storage().read_at(at, buf)?;
            }
            (Piece::Below, Some(below)) => below.read_at(offset, buf)?,
            (Piece::Zero | Piece::Below, _) => buf.fill(0),
            (Piece::Packed { unit, entry }, _) => {
                let bytes = self.units.get(unit, || self.map.unpack(unit, entry))?;
                let start = to_usize(offset - unit)?;
                let part = start
                    .checked_add(buf.len())
                    .and_then(|end| bytes.get(start..end));
                buf.copy_from_slice(part.ok_or_else(|| {
                    Error::corrupt(format!(
                        "the compressed data of byte {unit} of the disk is {} bytes short",
                        to_u64(start + buf.len()) - to_u64(bytes.len())
                    ))
                })?);
            }
        }
        Ok(())
    }
}

/// Refuses a disk that is larger than any format has.
pub(super) fn check_size(size: u64) -> Result<()> {
    if size > MAX_VIRTUAL {
        let size = ByteSize(size);
        let limit = ByteSize(MAX_VIRTUAL);
        return Err(Error::unsupported(format!(
            "the image claims a disk of {size}, at most {limit} are allowed"
        ))
        .because(Reason::Limit)
        .with_hint("check that the file comes from where you think it does"));
    }
    Ok(())
}

impl<M: Map> BlockDevice for Mapped<M> {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read_at(&self, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size())?;
        while !buf.is_empty() {
            let (piece, len) = self.run_at(offset, to_u64(buf.len()), false)?;
            let (part, rest) = buf.split_at_mut(to_usize(len)?);
            self.read_piece(piece, offset, part)?;
            offset += len;
            buf = rest;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size())?;
        let (piece, len) = self.run_at(offset, self.size() - offset, true)?;
        Ok(match (piece, self.map.below()) {
            (Piece::Packed { .. }, _) => Extent {
                kind: ExtentKind::Data,
                len,
            },
            (Piece::Stored(at), _) => {
                self.check_stored(offset, at, len)?;
                // What was allocated and never written is a hole of the file.
                let extent = self.map.storage().extent_at(at)?;
                Extent {
                    len: extent.len.min(len),
                    ..extent
                }
            }
            (Piece::Below, Some(below)) => below.extent_at(offset, len)?,
            (Piece::Zero | Piece::Below, _) => Extent {
                kind: ExtentKind::Zero,
                len,
            },
        })
    }
}
