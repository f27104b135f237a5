//! The content of a file: extents looked up as they are needed, verified, decompressed.

use std::sync::{Arc, Mutex};

use super::compress::decompress;
use super::extent::{Body, Compression, DiskExtent, FileExtent};
use super::inode::{Inode, flag};
use super::key::{Key, kind, object};
use super::tree::{Cursor, TreeRoot};
use super::volume::Volume;
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::{FileRead, check_within};
use crate::lock::lock;

/// Uncompressed data is read and verified in pieces of this size, and no compressed extent is larger.
const PIECE: u64 = 128 << 10;

/// The trees that content is read through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trees {
    /// The subvolume's tree.
    pub fs: TreeRoot,
    /// The checksums of data.
    pub csum: TreeRoot,
}

/// An open file or symlink.
#[derive(Debug)]
pub(super) struct File<'a> {
    volume: &'a Volume,
    trees: Trees,
    inode: u64,
    size: u64,
    verify: bool,
    /// The compressed extent used last: its address and what it holds.
    last: Mutex<Option<(u64, Arc<Vec<u8>>)>>,
}

impl<'a> File<'a> {
    pub(super) fn new(volume: &'a Volume, trees: Trees, number: u64, inode: &Inode) -> Self {
        let verify = inode.flags & flag::NODATASUM == 0;
        Self {
            volume,
            trees,
            inode: number,
            size: inode.size,
            verify,
            last: Mutex::new(None),
        }
    }

    fn fill(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset + to_u64(buf.len());
        let key = Key::new(self.inode, kind::EXTENT_DATA, offset);
        let mut cursor = Cursor::seek_back(self.volume, &self.trees.fs, key)?;
        if cursor
            .item()
            .is_some_and(|(found, _)| found < Key::new(self.inode, kind::EXTENT_DATA, 0))
        {
            cursor.advance()?;
        }
        let mut at = offset;
        while at < end {
            let Some((key, item)) = cursor
                .item()
                .filter(|(key, _)| key.is(self.inode, kind::EXTENT_DATA))
            else {
                break;
            };
            let extent = FileExtent::parse(item, self.volume.superblock.sectorsize)
                .at(|| format!("extent at {} of inode {}", key.offset, self.inode))?;
            let extent_end = key.offset.checked_add(extent.len()).ok_or_else(|| {
                Error::corrupt(format!(
                    "inode {}: the extent at {} is too long",
                    self.inode, key.offset
                ))
            })?;
            let from = key.offset.clamp(at, end);
            let to = extent_end.clamp(at, end);
            slice(buf, at - offset, from - offset)?.fill(0);
            self.fill_from(
                &extent,
                from - key.offset.min(from),
                slice(buf, from - offset, to - offset)?,
            )
            .at(|| format!("extent at {} of inode {}", key.offset, self.inode))?;
            at = to;
            cursor.advance()?;
        }
        slice(buf, at - offset, end - offset)?.fill(0);
        Ok(())
    }

    /// Fills `out` from byte `skip` of an extent.
    fn fill_from(&self, extent: &FileExtent<'_>, skip: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        match &extent.body {
            Body::Hole { .. } | Body::Prealloc(_) => out.fill(0),
            Body::Inline(data) => {
                let held = decompress(
                    extent.compression,
                    data,
                    extent.ram_bytes,
                    self.volume.superblock.sectorsize,
                )?;
                copy(&held, skip, out)?;
            }
            Body::Disk(disk) if extent.compression == Compression::None => {
                self.read_plain(disk.disk_bytenr + disk.offset + skip, out)?;
            }
            Body::Disk(disk) => copy(&self.decompressed(extent, disk)?, disk.offset + skip, out)?,
        }
        Ok(())
    }

    fn decompressed(&self, extent: &FileExtent<'_>, disk: &DiskExtent) -> Result<Arc<Vec<u8>>> {
        let mut last = lock(&self.last);
        if let Some((bytenr, held)) = &*last
            && *bytenr == disk.disk_bytenr
            && to_u64(held.len()) == extent.ram_bytes
        {
            return Ok(held.clone());
        }
        let mut packed = vec![0; to_usize(disk.disk_num_bytes)?];
        self.volume
            .read_data(&self.trees.csum, disk.disk_bytenr, &mut packed, self.verify)?;
        let sectorsize = self.volume.superblock.sectorsize;
        let held = Arc::new(decompress(
            extent.compression,
            &packed,
            extent.ram_bytes,
            sectorsize,
        )?);
        *last = Some((disk.disk_bytenr, held.clone()));
        Ok(held)
    }

    /// Reads from any logical address, in whole sectors so that checksums can be verified.
    fn read_plain(&self, logical: u64, mut out: &mut [u8]) -> Result<()> {
        let sectorsize = u64::from(self.volume.superblock.sectorsize);
        let mut at = logical;
        while !out.is_empty() {
            let start = at - at % sectorsize;
            let wanted = to_u64(out.len()).min(PIECE - at % sectorsize);
            let (piece, rest) = out.split_at_mut(to_usize(wanted)?);
            if at == start && wanted.is_multiple_of(sectorsize) {
                self.volume
                    .read_data(&self.trees.csum, at, piece, self.verify)?;
            } else {
                let mut sectors =
                    vec![0; to_usize((at - start + wanted).next_multiple_of(sectorsize))?];
                self.volume
                    .read_data(&self.trees.csum, start, &mut sectors, self.verify)?;
                copy(&sectors, at - start, piece)?;
            }
            at += wanted;
            out = rest;
        }
        Ok(())
    }
}

impl FileRead for File<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_within(self.size, offset, buf)?;
        self.fill(offset, buf)
    }
}

impl Volume {
    /// Fills `buf`, whole sectors, from the logical address of data; verifies and returns checksums if it has them.
    pub(super) fn read_data(
        &self,
        csums: &TreeRoot,
        logical: u64,
        buf: &mut [u8],
        verify: bool,
    ) -> Result<Vec<u8>> {
        if !verify {
            return self
                .read_checked(logical, buf, |_| Ok(()))
                .map(|()| Vec::new());
        }
        let sectorsize = to_usize(self.superblock.sectorsize.into())?;
        let stored = self.data_checksums(csums, logical, buf.len() / sectorsize)?;
        let csum_type = self.superblock.csum_type;
        let csum_len = self.superblock.csum_type.len();
        self.read_checked(logical, buf, |buf| {
            let mut address = logical;
            for (sector, stored) in buf.chunks(sectorsize).zip(stored.chunks(csum_len)) {
                if csum_type.compute(sector)[..csum_len] != *stored {
                    return Err(Error::corrupt(format!(
                        "{csum_type} checksum of data block {address} does not match"
                    ))
                    .because(Reason::Checksum));
                }
                address += to_u64(sectorsize);
            }
            Ok(())
        })?;
        Ok(stored)
    }

    /// The checksums of `count` data sectors from `logical`, one behind the other.
    pub(super) fn data_checksums(
        &self,
        csums: &TreeRoot,
        logical: u64,
        count: usize,
    ) -> Result<Vec<u8>> {
        let sectorsize = u64::from(self.superblock.sectorsize);
        let csum_len = self.superblock.csum_type.len();
        let mut found = Vec::with_capacity(count * csum_len);
        let mut cursor = Cursor::seek_back(
            self,
            csums,
            Key::new(object::EXTENT_CSUM, kind::EXTENT_CSUM, logical),
        )?;
        while found.len() < count * csum_len {
            let at = logical + to_u64(found.len() / csum_len) * sectorsize;
            let missing = || {
                Error::corrupt(format!("data block {at} has no checksum")).because(Reason::Checksum)
            };
            let (key, item) = cursor
                .item()
                .filter(|(key, _)| key.is(object::EXTENT_CSUM, kind::EXTENT_CSUM))
                .ok_or_else(missing)?;
            let skip = to_usize(at.checked_sub(key.offset).ok_or_else(missing)? / sectorsize)?;
            let held = skip
                .checked_mul(csum_len)
                .and_then(|from| item.get(from..))
                .filter(|held| held.len() >= csum_len);
            let held = held.ok_or_else(missing)?;
            let wanted = (count * csum_len - found.len()).min(held.len() - held.len() % csum_len);
            found.extend_from_slice(&held[..wanted]);
            cursor.advance()?;
        }
        Ok(found)
    }
}

/// Copies what an extent holds from byte `skip`; it must reach.
fn copy(held: &[u8], skip: u64, out: &mut [u8]) -> Result<()> {
    let held = Fields::new("btrfs extent", held).slice(to_usize(skip)?, out.len())?;
    out.copy_from_slice(held);
    Ok(())
}

fn slice(buf: &mut [u8], from: u64, to: u64) -> Result<&mut [u8]> {
    buf.get_mut(to_usize(from)?..to_usize(to)?)
        .ok_or_else(|| Error::internal("a part of the buffer lies inside it"))
}
