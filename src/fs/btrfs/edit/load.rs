//! The source's tree, read once from its first item to its last, and checked to be one tree.

use std::collections::BTreeMap;

use super::super::dir;
use super::super::extent::{Body, Compression, DiskExtent, FileExtent};
use super::super::inode::{Inode, Reference, flag};
use super::super::key::{Key, kind, object};
use super::super::tree::{Cursor, TreeRoot};
use super::super::volume::Volume;
use super::model::{
    Child, Content, Directory, FIRST_INDEX, INODES_MAX, Node, Span, SpanBody, Tree,
};
use super::store::{Extent, Origin, PLAIN_MAX};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::FileType;

/// Items of one tree that are taken into memory, about eight for each inode.
const ITEMS_MAX: usize = 8 * INODES_MAX;
/// Bytes of these items: names, attributes and inline contents are held in memory, and once more while trees are built.
const BYTES_MAX: usize = 256 << 20;

/// Reads the subvolume `root`.
pub(super) fn load(volume: &Volume, root: &TreeRoot) -> Result<(Tree, Vec<Extent>)> {
    let mut loader = Loader::default();
    let mut cursor = Cursor::seek(volume, root, Key::new(0, 0, 0))?;
    let mut count = 0;
    let mut bytes = 0;
    while let Some((key, item)) = cursor.item() {
        loader
            .item(key, item, volume)
            .at(|| format!("item {key}"))?;
        count += 1;
        bytes += item.len();
        if count > ITEMS_MAX || bytes > BYTES_MAX {
            return Err(Error::unsupported(format!(
                "editing a btrfs tree of more than {ITEMS_MAX} items or {BYTES_MAX} bytes"
            ))
            .because(Reason::Limit));
        }
        cursor.advance()?;
    }
    let extents = loader.place_extents()?;
    let tree = loader
        .into_tree()
        .map_err(|error| error.with_hint("repair it with 'btrfs check' first"))?;
    Ok((tree, extents))
}

/// A reference of a file to an extent of the source, before extents are cut anew.
struct ExtentUse {
    inode: u64,
    file_offset: u64,
    disk: DiskExtent,
    ram_bytes: u64,
    compression: Compression,
    prealloc: bool,
    checksums: bool,
    generation: u64,
}

#[derive(Default)]
struct Loader {
    nodes: BTreeMap<u64, Node>,
    references: Vec<ExtentUse>,
    /// Entries found by index, to be compared with those found by name.
    indexed: usize,
}

impl Loader {
    fn item(&mut self, key: Key, item: &[u8], volume: &Volume) -> Result<()> {
        // Orphan items name inodes without names, which are left out; inode number caches are not used any more.
        if key.objectid == object::ORPHAN || key.objectid == object::FREE_INO {
            return Ok(());
        }
        match key.kind {
            kind::INODE_ITEM => self.inode(key.objectid, item),
            kind::INODE_REF => self.references(key, item),
            kind::INODE_EXTREF => self.extended_references(key.objectid, item),
            kind::XATTR_ITEM => {
                let node = self.node(key.objectid)?;
                for entry in dir::parse_all(item)? {
                    node.xattrs.insert(entry.name.to_vec(), entry.data.to_vec());
                }
                Ok(())
            }
            kind::DIR_ITEM => self.entries(key.objectid, item),
            kind::DIR_INDEX => self.index(key, item),
            kind::EXTENT_DATA => self.extent(key, item, volume),
            other => Err(Error::unsupported(format!(
                "editing a btrfs filesystem with items of type {other}"
            ))),
        }
    }

    fn node(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes
            .get_mut(&number)
            .ok_or_else(|| Error::corrupt(format!("inode {number} is missing")))
    }

    fn directory(&mut self, number: u64) -> Result<&mut Directory> {
        match &mut self.node(number)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Error::corrupt(format!(
                "inode {number} has entries and is no directory"
            ))),
        }
    }

    fn inode(&mut self, number: u64, item: &[u8]) -> Result<()> {
        let inode = Inode::parse(item)?;
        if inode.flags & flag::READ_ONLY_FEATURES != 0 {
            return Err(Error::unsupported(
                "editing a btrfs filesystem that holds fs-verity files",
            ));
        }
        let content = match inode.file_type()? {
            FileType::Directory => Content::Directory(Directory {
                children: BTreeMap::new(),
                next_index: FIRST_INDEX,
            }),
            FileType::File | FileType::Symlink => Content::Extents(Vec::new()),
            _ => Content::None,
        };
        if self.nodes.len() >= INODES_MAX {
            return Err(Error::unsupported(format!(
                "editing a btrfs filesystem with more than {INODES_MAX} inodes"
            ))
            .because(Reason::Limit));
        }
        self.nodes.insert(
            number,
            Node {
                inode,
                names: BTreeMap::new(),
                xattrs: BTreeMap::new(),
                content,
            },
        );
        Ok(())
    }

    fn references(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let mut rest = item;
        while !rest.is_empty() {
            let (reference, behind) = Reference::split_first(rest)?;
            self.name(key.objectid, key.offset, reference)?;
            rest = behind;
        }
        Ok(())
    }

    fn extended_references(&mut self, number: u64, item: &[u8]) -> Result<()> {
        let mut rest = item;
        while !rest.is_empty() {
            let (parent, reference, behind) = Reference::split_first_extended(rest)?;
            self.name(number, parent, reference)?;
            rest = behind;
        }
        Ok(())
    }

    fn name(&mut self, number: u64, parent: u64, reference: Reference<'_>) -> Result<()> {
        // The root directory calls itself "..".
        if number == object::FIRST_FREE && parent == number {
            return Ok(());
        }
        if self
            .node(number)?
            .names
            .insert((parent, reference.index), reference.name.to_vec())
            .is_some()
        {
            return Err(Error::corrupt("two names with one index"));
        }
        Ok(())
    }

    fn entries(&mut self, number: u64, item: &[u8]) -> Result<()> {
        for entry in dir::parse_all(item)? {
            entry.check_entry()?;
            if entry.is_subvolume() {
                return Err(Error::unsupported(
                    "editing a btrfs filesystem with several subvolumes",
                )
                .with_hint("delete its snapshots and subvolumes first"));
            }
            let inode = entry.location.objectid;
            let file_type = entry.file_type()?;
            // The index is not known yet; 0 marks that, no entry has it.
            let child = Child {
                inode,
                file_type,
                index: 0,
                transid: entry.transid,
            };
            if self
                .directory(number)?
                .children
                .insert(entry.name.to_vec(), child)
                .is_some()
            {
                return Err(Error::corrupt(format!(
                    "two entries are called '{}'",
                    entry.name.escape_ascii()
                )));
            }
        }
        Ok(())
    }

    fn index(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let entries = dir::parse_all(item)?;
        let directory = self.directory(key.objectid)?;
        let found = entries
            .first()
            .and_then(|entry| Some((entry, directory.children.get_mut(entry.name)?)));
        match found {
            Some((entry, child))
                if entries.len() == 1
                    && child.index == 0
                    && key.offset >= FIRST_INDEX
                    && key.offset < u64::MAX
                    && child.inode == entry.location.objectid =>
            {
                child.index = key.offset;
                directory.next_index = key.offset + 1;
                self.indexed += 1;
                Ok(())
            }
            _ => Err(Error::corrupt("names and indexes of a directory differ")),
        }
    }

    fn extent(&mut self, key: Key, item: &[u8], volume: &Volume) -> Result<()> {
        let extent = FileExtent::parse(item, volume.superblock.sectorsize)?;
        let node = self.node(key.objectid)?;
        let checksums = node.inode.flags & flag::NODATASUM == 0;
        let Content::Extents(spans) = &mut node.content else {
            return Err(Error::corrupt(
                "content of an inode that is neither a file nor a symlink",
            ));
        };
        if extent.len() == 0
            || key
                .offset
                .checked_add(extent.len())
                .is_none_or(|end| i64::try_from(end).is_err())
        {
            return Err(Error::corrupt(format!(
                "an extent of {} bytes",
                extent.len()
            )));
        }
        let (disk, prealloc) = match extent.body {
            Body::Hole { .. } => return Ok(()),
            Body::Inline(data) => {
                let body = SpanBody::Inline {
                    generation: extent.generation,
                    compression: extent.compression,
                    data: data.to_vec(),
                };
                spans.push(Span {
                    offset: key.offset,
                    len: extent.ram_bytes,
                    body,
                });
                return Ok(());
            }
            Body::Disk(disk) => (disk, false),
            Body::Prealloc(disk) => (disk, true),
        };
        if prealloc && extent.compression != Compression::None {
            return Err(Error::corrupt("a preallocated extent that is compressed"));
        }
        volume
            .chunks
            .locate(disk.disk_bytenr, disk.disk_num_bytes)
            .map(drop)?;
        self.references.push(ExtentUse {
            inode: key.objectid,
            file_offset: key.offset,
            disk,
            ram_bytes: extent.ram_bytes,
            compression: extent.compression,
            prealloc,
            checksums,
            generation: extent.generation,
        });
        Ok(())
    }

    /// Turns references into extents and spans. Compressed extents stay whole; of others only what some file refers to
    /// is kept, in pieces of at most [`PLAIN_MAX`].
    fn place_extents(&mut self) -> Result<Vec<Extent>> {
        let references = std::mem::take(&mut self.references);
        let mut extents = Vec::new();
        let mut whole = BTreeMap::new();
        let pieces = Pieces::new(&references);
        let mut plain = BTreeMap::new();
        let mut spent = 0;
        for reference in &references {
            let Content::Extents(spans) = &mut self.node(reference.inode)?.content else {
                continue;
            };
            if reference.compression != Compression::None {
                let number = *whole
                    .entry((reference.disk.disk_bytenr, reference.checksums))
                    .or_insert_with(|| {
                        extents.push(reference.extent(
                            reference.disk.disk_bytenr,
                            reference.disk.disk_num_bytes,
                            reference.ram_bytes,
                        ));
                        extents.len() - 1
                    });
                if extents
                    .get(number)
                    .is_none_or(|extent: &Extent| extent.ram_bytes != reference.ram_bytes)
                {
                    return Err(Error::corrupt(format!(
                        "extent {} has two lengths",
                        reference.disk.disk_bytenr
                    )));
                }
                let body = SpanBody::Extent {
                    number,
                    skip: reference.disk.offset,
                };
                spans.push(Span {
                    offset: reference.file_offset,
                    len: reference.disk.num_bytes,
                    body,
                });
                continue;
            }
            for (start, end) in pieces.of(reference) {
                let number = *plain.entry((reference.class(), start)).or_insert_with(|| {
                    extents.push(reference.extent(start, end - start, end - start));
                    extents.len() - 1
                });
                spent += 1;
                if spent > ITEMS_MAX {
                    return Err(Error::unsupported(format!(
                        "editing a btrfs filesystem with more than {ITEMS_MAX} extents"
                    ))
                    .because(Reason::Limit));
                }
                let from = start.max(reference.start());
                let to = end.min(reference.end());
                let offset = reference.file_offset + (from - reference.start());
                spans.push(Span {
                    offset,
                    len: to - from,
                    body: SpanBody::Extent {
                        number,
                        skip: from - start,
                    },
                });
            }
        }
        self.check_spans()?;
        Ok(extents)
    }

    fn check_spans(&mut self) -> Result<()> {
        for (number, node) in &mut self.nodes {
            if let Content::Extents(spans) = &mut node.content {
                spans.sort_by_key(|span| span.offset);
                if spans
                    .windows(2)
                    .any(|pair| pair[0].offset + pair[0].len > pair[1].offset)
                {
                    return Err(Error::corrupt(format!("extents of inode {number} overlap")));
                }
            }
        }
        Ok(())
    }

    /// Leaves out inodes without names and checks that names and entries are the same, from the root down.
    fn into_tree(mut self) -> Result<Tree> {
        self.nodes
            .retain(|&number, node| number == object::FIRST_FREE || !node.names.is_empty());
        let names: usize = self.nodes.values().map(|node| node.names.len()).sum();
        if names != self.indexed {
            return Err(Error::corrupt(format!(
                "{names} names of inodes, {} entries in directories",
                self.indexed
            )));
        }
        for (&number, node) in &self.nodes {
            for (&(parent, index), name) in &node.names {
                let child = match self.nodes.get(&parent).map(|node| &node.content) {
                    Some(Content::Directory(directory)) => directory.children.get(name),
                    _ => None,
                };
                let same = child.is_some_and(|child| {
                    child.inode == number
                        && child.index == index
                        && Ok(child.file_type) == node.inode.file_type().map_err(|_| ())
                });
                if !same {
                    return Err(Error::corrupt(format!(
                        "inode {number} has a name that its directory {parent} does not know"
                    )));
                }
            }
        }
        self.check_directories()?;
        Ok(Tree::new(self.nodes))
    }

    /// Every directory has one name and is reached from the root.
    fn check_directories(&self) -> Result<()> {
        let mut reached = 0;
        let mut todo = vec![object::FIRST_FREE];
        while let Some(number) = todo.pop() {
            reached += 1;
            let Some(Node {
                content: Content::Directory(directory),
                names,
                ..
            }) = self.nodes.get(&number)
            else {
                return Err(Error::corrupt(format!("inode {number} is not a directory")));
            };
            if names.len() > 1 || (number == object::FIRST_FREE && !names.is_empty()) {
                return Err(Error::corrupt(format!(
                    "directory inode {number} has several names"
                )));
            }
            todo.extend(
                directory
                    .children
                    .values()
                    .filter(|child| child.file_type == FileType::Directory)
                    .map(|child| child.inode),
            );
        }
        let all = self
            .nodes
            .values()
            .filter(|node| matches!(node.content, Content::Directory(_)))
            .count();
        if reached != all {
            return Err(Error::corrupt("directories that lead to themselves"));
        }
        Ok(())
    }
}

/// What may share an extent: its address on disk, and how it is stored.
type Class = (u64, bool, bool);

impl ExtentUse {
    fn class(&self) -> Class {
        (self.disk.disk_bytenr, self.prealloc, self.checksums)
    }

    /// Where its bytes begin on disk (uncompressed).
    fn start(&self) -> u64 {
        self.disk.disk_bytenr + self.disk.offset
    }

    fn end(&self) -> u64 {
        self.start() + self.disk.num_bytes
    }

    fn extent(&self, start: u64, disk_bytes: u64, ram_bytes: u64) -> Extent {
        Extent {
            origin: if self.prealloc {
                Origin::Nothing
            } else {
                Origin::Source(start)
            },
            disk_bytes,
            ram_bytes,
            compression: self.compression,
            checksums: self.checksums && !self.prealloc,
            generation: self.generation,
        }
    }
}

/// The stretches of uncompressed extents that files refer to.
struct Pieces(BTreeMap<Class, Vec<(u64, u64)>>);

impl Pieces {
    fn new(references: &[ExtentUse]) -> Self {
        let mut ranges: BTreeMap<Class, Vec<(u64, u64)>> = BTreeMap::new();
        for reference in references
            .iter()
            .filter(|reference| reference.compression == Compression::None)
        {
            ranges
                .entry(reference.class())
                .or_default()
                .push((reference.start(), reference.end()));
        }
        for ranges in ranges.values_mut() {
            ranges.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for &(start, end) in ranges.iter() {
                match merged.last_mut() {
                    Some(last) if start <= last.1 => last.1 = last.1.max(end),
                    _ => merged.push((start, end)),
                }
            }
            *ranges = merged;
        }
        Self(ranges)
    }

    /// The pieces that cover a reference.
    fn of(&self, reference: &ExtentUse) -> impl Iterator<Item = (u64, u64)> + use<> {
        let ranges = self
            .0
            .get(&reference.class())
            .map_or(&[][..], Vec::as_slice);
        let at = ranges.partition_point(|range| range.1 <= reference.start());
        let (start, end) = ranges.get(at).copied().unwrap_or_default();
        let mut from = start + (reference.start().saturating_sub(start)) / PLAIN_MAX * PLAIN_MAX;
        let stop = reference.end();
        std::iter::from_fn(move || {
            let piece = (from, (from + PLAIN_MAX).min(end));
            from = piece.1;
            (piece.0 < stop && piece.0 < end).then_some(piece)
        })
    }
}
