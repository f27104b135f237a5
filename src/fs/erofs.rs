//! EROFS through the crate `erofs-rs`, which reads our devices in place.
//!
//! The crate has two interfaces to an image: one hands out slices of memory (mapped or loaded as a whole), one awaits
//! reads into a buffer. `Device` implements the second: its reads are done at once, so every future of the crate is
//! ready when it is first polled and `ready` needs no executor. Nothing is mapped or loaded.
//!
//! What the crate leaves open is added here: the superblock's checksum, bounds on directories and symlinks, directories
//! that form a tree, listings kept so that paths are found without reading directories again, and a buffer that unpacks
//! an extent once for many small reads. Listing a directory makes the crate find it from the root; a directory with very
//! many subdirectories (tens of thousands) is therefore walked slowly, one with very many files is not.

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use erofs_rs::r#async::{EroFS, File};
use erofs_rs::backend::AsyncImage;
use erofs_rs::types::{Inode, MAGIC_NUMBER, SUPER_BLOCK_OFFSET};

use super::cache::Cache;
use super::interned::Interned;
use super::{
    Capacity, DirEntry, FileRead, FileSystem, FileType, FsKind, FsPath, Metadata, Node, Timestamp, Xattr, check_within,
};
use crate::block::BlockDevice;
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Result, ResultExt, from_io};

/// Largest directory that is read, in bytes; half a million entries take about this much.
const DIRECTORY_MAX: u64 = 16 << 20;
/// Longest target of a symlink (`PATH_MAX` of Linux).
const SYMLINK_MAX: u64 = 4096;
/// Memory for directory listings that were read lately.
const LISTING_CACHE_BYTES: usize = 32 << 20;
/// First size of a file's buffer; it grows while reads fill it, since then extents are longer.
const BUFFER_MIN: usize = 64 << 10;
/// The longest extent there can be when unpacked (`Z_EROFS_PCLUSTER_MAX_DSIZE` of the kernel).
const BUFFER_MAX: usize = 12 << 20;
/// The superblock holds a checksum (`EROFS_FEATURE_COMPAT_SB_CHKSUM`).
const COMPAT_SB_CHKSUM: u32 = 1;
/// Block sizes of the kernel: 512 bytes to 64 KiB.
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;

/// Whether an EROFS superblock lies 1024 bytes into the device.
pub fn probe(device: &dyn BlockDevice) -> Result<bool> {
    let mut magic = [0; 4];
    if device.size() < SUPER_BLOCK_OFFSET + 4 {
        return Ok(false);
    }
    device.read_at(SUPER_BLOCK_OFFSET, &mut magic)?;
    Ok(u32::from_le_bytes(magic) == MAGIC_NUMBER)
}

/// A block device as the crate wants to read it.
#[derive(Debug)]
struct Device<D>(D);

impl<D: BlockDevice> AsyncImage for Device<D> {
    async fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> erofs_rs::Result<()> {
        Ok(self.0.read_at(offset, buf).map_err(std::io::Error::from)?)
    }
}

/// The result of a future that never waits.
fn ready<T>(future: impl Future<Output = erofs_rs::Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(convert),
        Poll::Pending => Err(Error::internal("a read of an EROFS image waits for something")),
    }
}

fn convert(error: erofs_rs::Error) -> Error {
    use erofs_rs::Error as E;
    match error {
        E::Io(error) => from_io("reading an EROFS image", error),
        E::PathNotFound(_) => Error::not_found("no such file or directory"),
        E::NotSupported(_) => Error::unsupported(error.to_string()),
        error => Error::corrupt(error.to_string()),
    }
}

/// A directory's entries, sorted by name.
#[derive(Debug)]
struct Listing(Vec<(Vec<u8>, Inode)>);

/// An open EROFS.
#[derive(Debug)]
pub struct Erofs<D: BlockDevice> {
    fs: EroFS<Device<D>>,
    root: Inode,
    listings: Cache<Listing>,
    nodes: Interned,
}

impl<D: BlockDevice> Erofs<D> {
    /// Opens the EROFS on `device`, which may be longer than the filesystem.
    pub fn open(device: D) -> Result<Self> {
        check_superblock(&device).at(|| "EROFS superblock")?;
        let size = device.size();
        let fs = ready(EroFS::new(Device(device)))?;
        let superblock = fs.super_block();
        let stated = superblock.block_count().saturating_mul(1 << superblock.blk_size_bits);
        if stated > size {
            return Err(Error::corrupt(format!("EROFS of {stated} bytes on a device of {size}"))
                .with_hint("the file is cut short: fetch it again and compare its checksum"));
        }
        let root = ready(fs.get_inode(superblock.root_inode_id())).at(|| "root inode")?;
        if !root.is_dir() {
            return Err(Error::corrupt("the root of the EROFS is not a directory"));
        }
        Ok(Self { fs, root, listings: Cache::new(LISTING_CACHE_BYTES), nodes: Interned::new() })
    }

    /// The listing of the directory `inode`, whose path is `path`.
    fn listing(&self, path: &FsPath, inode: &Inode) -> Result<Arc<Listing>> {
        if let Some(listing) = self.listings.get(inode.id()) {
            return Ok(listing);
        }
        if !inode.is_dir() {
            return Err(Error::not_found("not a directory"));
        }
        if inode.data_size() > DIRECTORY_MAX {
            return Err(Error::unsupported(format!(
                "directory of {} bytes, at most {DIRECTORY_MAX} are read",
                inode.data_size()
            )));
        }
        let mut entries: Vec<(Vec<u8>, Inode)> = Vec::new();
        let mut cost = size_of::<Listing>();
        let mut walk = ready(self.fs.read_dir(path.as_bytes()))?;
        while let Some(entry) = ready(async { walk.next_entry().await.transpose() })? {
            let name = entry.dir_entry.file_name();
            if entries.last().is_some_and(|(last, _)| last.as_slice() >= name) {
                return Err(Error::corrupt(format!("entry '{}' is out of order", name.escape_ascii())));
            }
            cost += size_of::<(Vec<u8>, Inode)>() + name.len();
            entries.push((name.to_vec(), entry.inode));
        }
        let listing = Arc::new(Listing(entries));
        self.listings.insert(inode.id(), listing.clone(), cost);
        Ok(listing)
    }

    fn find(&self, path: &FsPath) -> Result<Inode> {
        let mut inode = self.root;
        let mut at = FsPath::root();
        for name in path.components() {
            let listing = self.listing(&at, &inode)?;
            let position = listing.0.binary_search_by(|(entry, _)| entry.as_slice().cmp(name));
            let position = position.map_err(|_| Error::not_found("no such file or directory"))?;
            let child = listing.0[position].1;
            at = at.join(name)?;
            inode = child;
        }
        Ok(inode)
    }

    /// Finds the inode of `path` and lets `get` work on it; errors name the path.
    fn with<'a, T>(&'a self, path: &FsPath, get: impl FnOnce(Inode) -> Result<T> + 'a) -> Result<T> {
        self.find(path).and_then(get).at(|| path.to_string())
    }
}

/// What the crate does not look at: the block size that the kernel allows and the checksum.
fn check_superblock(device: &dyn BlockDevice) -> Result<()> {
    let mut bytes = [0; 128];
    device.read_at(SUPER_BLOCK_OFFSET, &mut bytes)?;
    let fields = Fields::new("EROFS superblock", &bytes);
    if fields.le32(0)? != MAGIC_NUMBER {
        return Err(Error::corrupt("no EROFS: the magic number is missing"));
    }
    let block_bits = fields.u8(12)?;
    if !BLOCK_BITS.contains(&block_bits) {
        return Err(Error::unsupported(format!("block size 2^{block_bits}, 2^9 to 2^16 bytes are known")));
    }
    if fields.le32(8)? & COMPAT_SB_CHKSUM == 0 {
        return Ok(());
    }
    // The checksum reaches to the end of the block that holds the superblock.
    let block = 1u64 << block_bits;
    let mut covered = vec![0; to_usize(if block > SUPER_BLOCK_OFFSET { block - SUPER_BLOCK_OFFSET } else { block })?];
    device.read_at(SUPER_BLOCK_OFFSET, &mut covered)?;
    covered[4..8].fill(0);
    let (stored, actual) = (fields.le32(4)?, !crc32c::crc32c(&covered));
    if stored != actual {
        return Err(Error::corrupt(format!("checksum is {actual:08x}, {stored:08x} is stored")));
    }
    Ok(())
}

fn file_type(inode: &Inode) -> FileType {
    let file_type = inode.file_type();
    if file_type.is_dir() {
        FileType::Directory
    } else if file_type.is_symlink() {
        FileType::Symlink
    } else if file_type.is_char_device() {
        FileType::CharDevice
    } else if file_type.is_block_device() {
        FileType::BlockDevice
    } else if file_type.is_fifo() {
        FileType::Fifo
    } else if file_type.is_socket() {
        FileType::Socket
    } else {
        FileType::File
    }
}

impl<D: BlockDevice> FileSystem for Erofs<D> {
    fn kind(&self) -> FsKind {
        FsKind::Erofs
    }

    fn label(&self) -> Result<Vec<u8>> {
        let name = &self.fs.super_block().volume_name;
        Ok(name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec())
    }

    fn capacity(&self) -> Result<Capacity> {
        let superblock = self.fs.super_block();
        let block_bytes = 1 << superblock.blk_size_bits;
        Ok(Capacity {
            total_bytes: superblock.block_count().saturating_mul(block_bytes),
            free_bytes: 0,
            block_bytes,
            inodes: Some((superblock.inos, 0)),
        })
    }

    fn root(&self) -> Node {
        self.nodes.node(&FsPath::root())
    }

    fn lookup(&self, directory: Node, name: &[u8]) -> Result<Option<Node>> {
        let path = self.nodes.path(directory)?.join(name)?;
        match self.find(&path) {
            Ok(_) => Ok(Some(self.nodes.node(&path))),
            Err(error) if error.kind() == crate::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, directory: Node) -> Result<Vec<DirEntry>> {
        self.read_dir(&self.nodes.path(directory)?)
    }

    fn metadata(&self, node: Node) -> Result<Metadata> {
        self.metadata_of(&self.nodes.path(node)?)
    }

    fn read_link(&self, node: Node) -> Result<Vec<u8>> {
        self.read_link_of(&self.nodes.path(node)?)
    }

    fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        self.xattrs_of(&self.nodes.path(node)?)
    }

    fn open(&self, node: Node) -> Result<Box<dyn FileRead + '_>> {
        self.open_path(&self.nodes.path(node)?)
    }
}

impl<D: BlockDevice> Erofs<D> {
    fn metadata_of(&self, path: &FsPath) -> Result<Metadata> {
        self.with(path, |inode| {
            let (secs, nanos) = inode.modified_unix();
            Ok(Metadata {
                file_type: file_type(&inode),
                mode: inode.permissions().mode() & 0o7777,
                uid: inode.uid(),
                gid: inode.gid(),
                size: inode.data_size(),
                nlink: inode.nlink(),
                mtime: Timestamp { secs, nanos },
                device: inode.device().unwrap_or_default(),
                inode: inode.id(),
            })
        })
    }

    fn read_dir(&self, path: &FsPath) -> Result<Vec<DirEntry>> {
        self.with(path, |inode| {
            let listing = self.listing(path, &inode)?;
            let mut entries = Vec::new();
            for (name, inode) in &listing.0 {
                let node = self.nodes.node(&path.join(name)?);
                entries.push(DirEntry { name: name.clone(), file_type: file_type(inode), node });
            }
            Ok(entries)
        })
    }

    fn read_link_of(&self, path: &FsPath) -> Result<Vec<u8>> {
        self.with(path, |inode| {
            if !inode.is_symlink() {
                return Err(Error::invalid("not a symlink"));
            }
            if inode.data_size() > SYMLINK_MAX {
                return Err(Error::corrupt(format!("symlink target of {} bytes", inode.data_size())));
            }
            Ok(ready(self.fs.read_link_inode(inode))?.into_vec())
        })
    }

    fn open_path(&self, path: &FsPath) -> Result<Box<dyn FileRead + '_>> {
        self.with(path, |inode| {
            if !inode.is_file() {
                return Err(Error::invalid("not a regular file"));
            }
            let file = self.fs.open_inode_file(inode).map_err(convert)?;
            Ok(Box::new(OpenFile { file, buffer: Mutex::default() }) as Box<dyn FileRead>)
        })
    }

    fn xattrs_of(&self, path: &FsPath) -> Result<Vec<Xattr>> {
        self.with(path, |inode| {
            let xattrs = ready(self.fs.xattrs_inode(inode))?;
            Ok(xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect())
        })
    }
}

/// An open file with what was unpacked last.
struct OpenFile<'a, D: BlockDevice> {
    file: File<'a, Device<D>>,
    buffer: Mutex<Buffer>,
}

/// `len` bytes of the file from `start`.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: u64,
    len: usize,
}

impl Buffer {
    /// The bytes at `offset`, as far as they are here.
    fn at(&self, offset: u64) -> Option<&[u8]> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes[..self.len].get(skip..).filter(|rest| !rest.is_empty())
    }

    /// Unpacks what lies at `offset`, to the end of its extent if that fits.
    fn fill<D: BlockDevice>(&mut self, file: &File<'_, Device<D>>, offset: u64) -> Result<()> {
        if self.len == self.bytes.len() {
            let size = (self.bytes.len() * 2).clamp(BUFFER_MIN, BUFFER_MAX);
            self.bytes.resize(size, 0);
        }
        self.len = 0;
        self.start = offset;
        self.len = ready(file.read_at(&mut self.bytes, offset))?;
        if self.len == 0 {
            return Err(Error::corrupt(format!("no data at byte {offset}")));
        }
        Ok(())
    }
}

impl<D: BlockDevice> FileRead for OpenFile<'_, D> {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, offset: u64, mut buf: &mut [u8]) -> Result<()> {
        check_within(self.file.size(), offset, buf)?;
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offset = offset;
        while !buf.is_empty() {
            if buffer.at(offset).is_none() {
                buffer.fill(&self.file, offset)?;
            }
            let here = buffer.at(offset).unwrap_or_default();
            let len = here.len().min(buf.len());
            let (now, later) = buf.split_at_mut(len);
            now.copy_from_slice(&here[..len]);
            offset += to_u64(len);
            buf = later;
        }
        Ok(())
    }
}
