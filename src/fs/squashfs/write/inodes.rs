//! Inodes and directory listings (`struct squashfs_*_inode` and `squashfs_dir_*` of the kernel).

use super::data::{Data, Laid};
use super::metadata::{MetaPlace, MetaWriter};
use super::pack::Packer;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::source::{Node, Part, Tree};
use crate::fs::{FileType, Timestamp};

/// Entries behind one header (`SQUASHFS_DIR_COUNT`).
const RUN_MAX: usize = 256;
/// An absent fragment or xattr index.
const NONE: u32 = u32::MAX;
/// Numbers of the extended inode types begin behind those of the basic ones.
const EXTENDED: u16 = 7;

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
            Part::Symlink(target) => {
                let body = [&word(node.nlink)[..], &word(short(target.len())?), target].concat();
                with_xattrs(node, body)
            }
            Part::Device(number) => with_xattrs(node, [word(node.nlink), word(*number)].concat()),
            Part::Ipc => with_xattrs(node, word(node.nlink).to_vec()),
        };
        let kind = type_number(node.file_type) + if extended { EXTENDED } else { 0 };
        let uid = self.id(node.uid)?;
        let gid = self.id(node.gid)?;
        let head: Vec<u8> = [kind, node.mode, uid, gid]
            .into_iter()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.places[id] = Some(self.inodes.place()?);
        self.inodes.put(&head)?;
        self.inodes.put(&word(seconds(node.mtime)))?;
        self.inodes.put(&word(self.numbers[id]))?;
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
        match (u16::try_from(size), node.xattrs) {
            (Ok(size), None) => {
                let words = [word(place.block), word(node.nlink)].concat();
                let halves = [size.to_le_bytes(), place.offset.to_le_bytes()].concat();
                Ok((false, [&words[..], &halves, &word(parent)].concat()))
            }
            _ => {
                let words = [
                    word(node.nlink),
                    word(size),
                    word(place.block),
                    word(parent),
                ]
                .concat();
                let halves = [0u16.to_le_bytes(), place.offset.to_le_bytes()].concat();
                Ok((
                    true,
                    [&words[..], &halves, &word(node.xattrs.unwrap_or(NONE))].concat(),
                ))
            }
        }
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
            let count = short(run.len() - 1)?;
            let mut bytes = [word(count), word(block), word(base)].concat();
            for (name, id, delta) in run {
                let len = u16::try_from(name.len() - 1)
                    .map_err(|_| Error::internal("names are checked"))?;
                bytes.extend_from_slice(&place(id)?.offset.to_le_bytes());
                bytes.extend_from_slice(&delta.to_le_bytes());
                bytes.extend_from_slice(&type_number(self.nodes[id].file_type).to_le_bytes());
                bytes.extend_from_slice(&len.to_le_bytes());
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
    let sizes = laid.sizes.iter().flat_map(|size| size.to_le_bytes());
    let fits = (u32::try_from(laid.start), u32::try_from(size));
    if let ((Ok(start), Ok(size)), 1, None, 0) = (fits, node.nlink, node.xattrs, laid.sparse) {
        let words = [start, fragment, offset, size];
        return Ok((
            false,
            words
                .into_iter()
                .flat_map(u32::to_le_bytes)
                .chain(sizes)
                .collect(),
        ));
    }
    // The kernel takes the holes off the size to tell the blocks in use, and at least one byte must be left.
    let longs = [laid.start, size, laid.sparse.min(size.saturating_sub(1))];
    let words = [node.nlink, fragment, offset, node.xattrs.unwrap_or(NONE)];
    let head = longs
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .chain(words.into_iter().flat_map(u32::to_le_bytes));
    Ok((true, head.chain(sizes).collect()))
}

/// The long form of symlinks, devices, pipes and sockets is the short one with an xattr index behind it.
fn with_xattrs(node: &Node, mut body: Vec<u8>) -> (bool, Vec<u8>) {
    if let Some(xattrs) = node.xattrs {
        body.extend_from_slice(&word(xattrs));
    }
    (node.xattrs.is_some(), body)
}

fn word(value: u32) -> [u8; 4] {
    value.to_le_bytes()
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
