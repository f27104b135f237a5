//! The device, read in checked pieces: metadata through a cache of small blocks, packed data through one of what it
//! unpacks to.

use std::sync::Arc;

use super::UNPACKED_MAX;
use super::content::Content;
use super::decode::{Algorithm, Decoder};
use super::inode::{INODE_UNIT, Inode};
use super::superblock::Superblock;
use super::xattr::Prefix;
use crate::block::{BlockDevice, check_image_range};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::cache::Cache;

/// What metadata is read in.
const META_BYTES: u64 = 16 << 10;
/// Memory for metadata that was read lately.
const META_CACHE_BYTES: usize = 8 << 20;
/// Memory for data that was unpacked lately.
const UNPACKED_CACHE_BYTES: usize = 32 << 20;
/// The longest stream of packed data (`Z_EROFS_PCLUSTER_MAX_SIZE` of the kernel).
const STREAM_MAX: u64 = 1 << 20;

/// A stream of packed data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    /// Where it lies on the device, and its bytes there.
    pub position: u64,
    pub stream_bytes: u64,
    /// Bytes it unpacks to, as far as they are of interest.
    pub unpacked_bytes: u64,
    pub algorithm: Algorithm,
    /// It holds more than that.
    pub is_partial: bool,
}

/// An EROFS on a device.
#[derive(Debug)]
pub(super) struct Volume<D> {
    device: D,
    pub superblock: Superblock,
    /// The hidden file that holds ends of files.
    pub packed: Option<Content>,
    /// Long prefixes of attribute names.
    pub prefixes: Vec<Prefix>,
    meta: Cache<[u8]>,
    unpacked: Cache<[u8]>,
}

impl<D: BlockDevice> Volume<D> {
    pub fn open(device: D) -> Result<Self> {
        let superblock = Superblock::read(&device).at(|| "EROFS superblock")?;
        let stated = superblock.blocks.saturating_mul(superblock.block_bytes());
        let size = device.size();
        if stated > size {
            return Err(
                Error::corrupt(format!("EROFS of {stated} bytes on a device of {size}"))
                    .because(Reason::CutShort)
                    .with_hint("the file is cut short: fetch it again and compare its checksum"),
            );
        }
        let mut volume = Self {
            device,
            superblock,
            packed: None,
            prefixes: Vec::new(),
            meta: Cache::new(META_CACHE_BYTES),
            unpacked: Cache::new(UNPACKED_CACHE_BYTES),
        };
        if let Some(nid) = volume.superblock.packed_nid() {
            volume.packed = Some(volume.packed_inode(nid).at(|| "packed inode")?);
        }
        volume.prefixes =
            super::xattr::read_prefixes(&volume).at(|| "prefixes of attribute names")?;
        Ok(volume)
    }

    fn packed_inode(&self, nid: u64) -> Result<Content> {
        let inode = Inode::read(self, nid)?;
        Content::of(self, &inode)
    }

    /// Where the inode `nid` lies.
    pub fn inode_position(&self, nid: u64) -> Result<u64> {
        let start = self.superblock.meta_block << self.superblock.block_bits;
        let position = nid
            .checked_mul(INODE_UNIT)
            .and_then(|offset| start.checked_add(offset));
        position.ok_or_else(|| Error::corrupt(format!("inode {nid} lies beyond any device")))
    }

    /// Reads from the device.
    pub fn read(&self, position: u64, buf: &mut [u8]) -> Result<()> {
        self.device.read_at(position, buf)
    }

    /// Reads metadata, which is kept for a while.
    pub fn read_meta(&self, position: u64, buf: &mut [u8]) -> Result<()> {
        check_image_range(position, to_u64(buf.len()), self.device.size())?;
        let mut position = position;
        let mut rest = buf;
        while !rest.is_empty() {
            let block = self.meta_block(position / META_BYTES)?;
            let skip = to_usize(position % META_BYTES)?;
            let len = rest.len().min(block.len() - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&block[skip..skip + len]);
            position += to_u64(len);
            rest = later;
        }
        Ok(())
    }

    /// The `N` bytes of metadata at `position`.
    pub fn meta<const N: usize>(&self, position: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_meta(position, &mut bytes)?;
        Ok(bytes)
    }

    /// Metadata as it is cached; the last block ends where the device does.
    fn meta_block(&self, number: u64) -> Result<Arc<[u8]>> {
        self.meta.get_or_make(number, || {
            let start = number * META_BYTES;
            let len = to_usize((self.device.size() - start).min(META_BYTES))?;
            let mut bytes = vec![0; len];
            self.device.read_at(start, &mut bytes)?;
            Ok((bytes.into(), len))
        })
    }

    /// What a stream unpacks to, at least as many bytes as it says.
    pub fn unpack(&self, packed: &Packed) -> Result<Arc<[u8]>> {
        let wanted = packed.unpacked_bytes;
        if let Some(bytes) = self.unpacked.get(packed.position)
            && to_u64(bytes.len()) >= wanted
        {
            return Ok(bytes);
        }
        if packed.stream_bytes > STREAM_MAX || wanted > UNPACKED_MAX {
            return Err(Error::unsupported(format!(
                "{wanted} bytes packed into {}: at most {UNPACKED_MAX} in {STREAM_MAX} are known",
                packed.stream_bytes
            ))
            .because(Reason::Limit));
        }
        self.superblock.check_algorithm(packed.algorithm)?;
        let bytes = self
            .decode(packed)
            .at(|| format!("packed data at {}", packed.position))?;
        self.unpacked
            .insert(packed.position, bytes.clone(), bytes.len());
        Ok(bytes)
    }

    fn decode(&self, packed: &Packed) -> Result<Arc<[u8]>> {
        let mut stream = vec![0; to_usize(packed.stream_bytes)?];
        self.read(packed.position, &mut stream)?;
        let has_padding = self.superblock.has_zero_padding() || packed.algorithm != Algorithm::Lz4;
        let start = if has_padding {
            padding(&stream, self.superblock.block_bytes())?
        } else {
            0
        };
        let decoder = Decoder {
            algorithm: packed.algorithm,
            is_partial: packed.is_partial || !has_padding,
            lzma_dictionary: self.superblock.lzma_dictionary,
        };
        let mut output = vec![0; to_usize(packed.unpacked_bytes)?];
        decoder.decode(&stream[start..], &mut output)?;
        Ok(output.into())
    }
}

/// The zeroes before a stream, less than a block.
fn padding(stream: &[u8], block_bytes: u64) -> Result<usize> {
    let within = stream.len().min(to_usize(block_bytes)?);
    let zeroes = stream[..within].iter().position(|&byte| byte != 0);
    zeroes.ok_or_else(|| Error::corrupt("there are only zeroes"))
}
