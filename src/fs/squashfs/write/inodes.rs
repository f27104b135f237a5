//! Inodes and directory listings.

use super::super::on_disk::{
    BaseInode, DeviceInode, DirEntryHead, DirHeader, DirInode, EXTENDED, FileInode, IpcInode,
    LongDirInode, LongFileInode, NONE, SymlinkInode, XattrIndex,
};
use super::data::{Data, Laid};
use super::metadata::{MetaPlace, MetaWriter};
use super::pack::Packer;
use crate::bytes::{Order, row_of, to_u64};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::source::{Node, Part, Tree};
use crate::fs::{FileType, Timestamp};

/// Entries behind one header (`SQUASHFS_DIR_COUNT`).
const RUN_MAX: usize = 256;

/// The inode and directory tables, and what the superblock says of them.
#[derive(Debug)]
pub(super) struct Tables {
    pub inodes: Vec<u8>,
    pub directories: Vec<u8>,
    pub root: u64,
    /// Owners and groups, each once.
    pub ids: Vec<u32>,
    /// Where each inode lies, in the order of the inodes' numbers.
    pub export: Vec<u64>,
}

/// Encodes all nodes that have a name.
pub(super) fn encode(
    tree: &Tree,
    data: &Data,
    inode_packer: &mut Packer,
    directory_packer: &mut Packer,
) -> Result<Tables> {
    let nodes = &tree.nodes;
    let mut encoder = Encoder {
        nodes,
        numbers: numbers(nodes)?,
        places: vec![None; nodes.len()],
        ids: Vec::new(),
        inodes: MetaWriter::new(inode_packer),
        directories: MetaWriter::new(directory_packer),
    };
    // Directories last and backwards: one comes behind everything in it, whose places it names. Files with several names
    // may lie in directories before and behind their own.
    let is_dir = |id: &usize| nodes[*id].file_type == FileType::Directory;
    let (directories, others): (Vec<usize>, Vec<usize>) = (0..nodes.len())
        .filter(|&id| nodes[id].nlink > 0)
        .partition(is_dir);
    for id in others.into_iter().chain(directories.into_iter().rev()) {
        encoder
            .node(id, &data.laid[id])
            .at(|| format!("inode {}", encoder.numbers[id]))?;
    }
    let Encoder {
        places,
        numbers,
        ids,
        inodes,
        directories,
        ..
    } = encoder;
    let mut export: Vec<(u32, u64)> = numbers
        .iter()
        .zip(&places)
        .filter_map(|(number, place)| Some((*number, (*place)?.reference())))
        .collect();
    export.sort_unstable();
    Ok(Tables {
        inodes: inodes.finish()?.0,
        directories: directories.finish()?.0,
        root: places
            .first()
            .copied()
            .flatten()
            .map_or(0, MetaPlace::reference),
        ids,
        export: export.into_iter().map(|(_, reference)| reference).collect(),
    })
}

/// A time as squashfs stores it, from 1970 to 2106, clamped.
pub(super) fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.secs.clamp(0, u32::MAX.into())).unwrap_or(u32::MAX)
}

/// Numbers from 1 on for the nodes that have a name; 0 for the others.
fn numbers(nodes: &[Node]) -> Result<Vec<u32>> {
    let mut last = 0u32;
    let mut number = |node: &Node| {
        if node.nlink == 0 {
            return Ok(0);
        }
        last = last
            .checked_add(1)
            .ok_or_else(|| Error::unsupported("more than 2^32 entries").because(Reason::Limit))?;
        Ok(last)
    };
    nodes.iter().map(&mut number).collect()
}

struct Encoder<'a, 'p> {
    nodes: &'a [Node],
    numbers: Vec<u32>,
    places: Vec<Option<MetaPlace>>,
    ids: Vec<u32>,
    inodes: MetaWriter<'p>,
    directories: MetaWriter<'p>,
}

impl Encoder<'_, '_> {
    fn node(&mut self, id: usize, laid: &Laid) -> Result<()> {
        let node = &self.nodes[id];
        let (extended, body) = match &node.part {
            Part::Directory(_) => self.directory(id)?,
            Part::File(_, size) => file(node, *size, laid)?,
            Part::Symlink(target) => symlink(node, target)?,
            Part::Device(rdev) => {
                let mut inode = DeviceInode::zeroed();
                inode.set_nlink(node.nlink);
                inode.set_rdev(*rdev);
                with_xattrs(node, inode.into_inner())
            }
            Part::Ipc => {
                let mut inode = IpcInode::zeroed();
                inode.set_nlink(node.nlink);
                with_xattrs(node, inode.into_inner())
            }
        };
        let mut base = BaseInode::blank();
        base.set_inode_type(type_number(node.file_type) + if extended { EXTENDED } else { 0 });
        base.set_mode(node.mode);
        base.set_uid(self.id(node.uid)?);
        base.set_guid(self.id(node.gid)?);
        base.set_mtime(seconds(node.mtime));
        base.set_inode_number(self.numbers[id]);
        self.places[id] = Some(self.inodes.place()?);
        self.inodes.put(base.bytes())?;
        self.inodes.put(&body)
    }

    /// The index of an owner or group.
    fn id(&mut self, id: u32) -> Result<u16> {
        let index = self
            .ids
            .iter()
            .position(|known| *known == id)
            .unwrap_or_else(|| {
                self.ids.push(id);
                self.ids.len() - 1
            });
        u16::try_from(index).map_err(|_| {
            Error::unsupported("more than 65536 different owners and groups").because(Reason::Limit)
        })
    }

    /// Writes the listing and returns the inode's body.
    fn directory(&mut self, id: usize) -> Result<(bool, Vec<u8>)> {
        let place = self.directories.place()?;
        // Three bytes stand for `.` and `..`.
        let size = short(self.listing(id)? + 3)?;
        let node = &self.nodes[id];
        // The root's parent is a number that no inode has.
        let parent = match id {
            0 => self
                .numbers
                .iter()
                .max()
                .map_or(1, |last| last.saturating_add(1)),
            _ => self.numbers[node.parent],
        };
        if let (Ok(size), None) = (u16::try_from(size), node.xattrs) {
            let mut inode = DirInode::zeroed();
            inode.set_start_block(place.block);
            inode.set_nlink(node.nlink);
            inode.set_file_size(size);
            inode.set_offset(place.offset);
            inode.set_parent_inode(parent);
            return Ok((false, inode.into_inner()));
        }
        let mut inode = LongDirInode::zeroed();
        inode.set_nlink(node.nlink);
        inode.set_file_size(size);
        inode.set_start_block(place.block);
        inode.set_parent_inode(parent);
        inode.set_offset(place.offset);
        inode.set_xattr(node.xattrs.unwrap_or(NONE));
        Ok((true, inode.into_inner()))
    }

    /// Writes the entries of a directory: runs whose inodes lie in one metadata block and have near numbers. Returns the
    /// bytes they take.
    fn listing(&mut self, id: usize) -> Result<usize> {
        let Part::Directory(entries) = &self.nodes[id].part else {
            return Err(Error::internal("not a directory"));
        };
        let place =
            |id: usize| self.places[id].ok_or_else(|| Error::internal("an inode has no place yet"));
        let mut total = 0;
        let mut rest = entries.iter().peekable();
        while let Some((name, &first)) = rest.next() {
            let block = place(first)?.block;
            let base = self.numbers[first];
            let mut run = vec![(name, first, 0i16)];
            while let Some(&(name, &id)) = rest.peek() {
                let delta = i64::from(self.numbers[id]) - i64::from(base);
                match i16::try_from(delta) {
                    Ok(delta) if place(id)?.block == block && run.len() < RUN_MAX => {
                        run.push((name, id, delta))
                    }
                    _ => break,
                }
                rest.next();
            }
            let mut header = DirHeader::zeroed();
            header.set_count(short(run.len() - 1)?);
            header.set_start_block(block);
            header.set_inode_number(base);
            let mut bytes = header.into_inner();
            for (name, id, delta) in run {
                let size = u16::try_from(name.len() - 1)
                    .map_err(|_| Error::internal("names are checked"))?;
                let mut entry = DirEntryHead::blank();
                entry.set_offset(place(id)?.offset);
                entry.set_inode_number(delta);
                entry.set_entry_type(type_number(self.nodes[id].file_type));
                entry.set_size(size);
                bytes.extend_from_slice(entry.bytes());
                bytes.extend_from_slice(name);
            }
            total += bytes.len();
            self.directories.put(&bytes)?;
        }
        Ok(total)
    }
}

/// The body of a file's inode, in the long form where a field needs it.
fn file(node: &Node, size: u64, laid: &Laid) -> Result<(bool, Vec<u8>)> {
    let (fragment, offset) = laid.fragment.unwrap_or((NONE, 0));
    let sizes = row_of(&laid.sizes, Order::Little);
    let fits = (u32::try_from(laid.start), u32::try_from(size));
    if let ((Ok(start), Ok(size)), 1, None, 0) = (fits, node.nlink, node.xattrs, laid.sparse) {
        let mut inode = FileInode::blank();
        inode.set_start_block(start);
        inode.set_fragment(fragment);
        inode.set_offset(offset);
        inode.set_file_size(size);
        return Ok((false, [inode.bytes(), &sizes].concat()));
    }
    let mut inode = LongFileInode::blank();
    inode.set_start_block(laid.start);
    inode.set_file_size(size);
    // The kernel takes the holes off the size to tell the blocks in use, and at least one byte must be left.
    inode.set_sparse(laid.sparse.min(size.saturating_sub(1)));
    inode.set_nlink(node.nlink);
    inode.set_fragment(fragment);
    inode.set_offset(offset);
    inode.set_xattr(node.xattrs.unwrap_or(NONE));
    Ok((true, [inode.bytes(), &sizes].concat()))
}

fn symlink(node: &Node, target: &[u8]) -> Result<(bool, Vec<u8>)> {
    let mut inode = SymlinkInode::blank();
    inode.set_nlink(node.nlink);
    inode.set_symlink_size(short(target.len())?);
    Ok(with_xattrs(node, [inode.bytes(), target].concat()))
}

/// The long form of symlinks, devices, pipes and sockets is the short one with an xattr index behind it.
fn with_xattrs(node: &Node, mut body: Vec<u8>) -> (bool, Vec<u8>) {
    if let Some(xattr) = node.xattrs {
        let mut index = XattrIndex::blank();
        index.set_xattr(xattr);
        body.extend_from_slice(index.bytes());
    }
    (node.xattrs.is_some(), body)
}

fn short(len: usize) -> Result<u32> {
    u32::try_from(len)
        .map_err(|_| Error::unsupported(format!("{} bytes where 32 bits count", to_u64(len))))
}

/// The number of a type in its basic form, also in directory entries.
fn type_number(file_type: FileType) -> u16 {
    match file_type {
        FileType::Directory => 1,
        FileType::File => 2,
        FileType::Symlink => 3,
        FileType::BlockDevice => 4,
        FileType::CharDevice => 5,
        FileType::Fifo => 6,
        FileType::Socket => 7,
    }
}
