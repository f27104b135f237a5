//! The items of the file tree, made from the tree in memory.

use std::collections::BTreeMap;

use super::super::checksum::{name_hash, raw_crc32c};
use super::super::dir::{DirItem, XATTR_TYPE};
use super::super::extent::{Body, Compression, DiskExtent, FileExtent};
use super::super::inode::{REF_LEN, Reference};
use super::super::key::{Key, kind, object};
use super::model::{Content, Directory, Node, Span, SpanBody, Tree};
use super::source::Item;
use super::store::{Extent, Origin};
use crate::bytes::to_u64;
use crate::error::{Error, Result};
use crate::fs::FileType;

/// What the items depend on besides the tree.
pub(super) struct Context<'a> {
    pub extents: &'a [Extent],
    /// The address of each extent.
    pub addresses: &'a [u64],
    pub sectorsize: u64,
    /// Whether holes are simply left out.
    pub no_holes: bool,
    /// Whether references may overflow into extended ones.
    pub extended_refs: bool,
    /// Bytes of data an item can have.
    pub item_max: usize,
}

/// All items in the order of their keys.
pub(super) fn tree_items(tree: &Tree, context: &Context<'_>) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (number, node) in tree.iter() {
        context.inode(number, node, &mut items)?;
    }
    Ok(items)
}

impl Node {
    /// Number of hard links, as the filesystem counts them: directories have one.
    pub(super) fn nlink(&self) -> u32 {
        match self.content {
            Content::Directory(_) => 1,
            _ => u32::try_from(self.names.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Context<'_> {
    fn inode(&self, number: u64, node: &Node, items: &mut Vec<Item>) -> Result<()> {
        let mut inode = node.inode.clone();
        inode.nlink = node.nlink();
        match &node.content {
            Content::Directory(directory) => {
                // Each name counts twice, once by name and once by index.
                inode.size = directory
                    .children
                    .keys()
                    .map(|name| 2 * to_u64(name.len()))
                    .sum();
                inode.nbytes = 0;
            }
            Content::Extents(spans) => inode.nbytes = spans.iter().map(|span| span.len).sum(),
            Content::None => inode.nbytes = 0,
        }
        items.push(Item {
            key: Key::new(number, kind::INODE_ITEM, 0),
            data: inode.to_disk(),
        });
        self.names(number, node, items)?;
        hashed(
            number,
            kind::XATTR_ITEM,
            node.xattrs.iter().map(|(name, value)| DirItem {
                location: Key::new(0, 0, 0),
                transid: node.inode.generation,
                item_type: XATTR_TYPE,
                name,
                data: value,
            }),
            items,
        )?;
        match &node.content {
            Content::Directory(directory) => entries(number, directory, items)?,
            Content::Extents(spans) => self.extents(number, node, spans, items)?,
            Content::None => {}
        }
        Ok(())
    }

    fn names(&self, number: u64, node: &Node, items: &mut Vec<Item>) -> Result<()> {
        if number == object::FIRST_FREE {
            let key = Key::new(number, kind::INODE_REF, number);
            items.push(Item {
                key,
                data: Reference {
                    index: 0,
                    name: b"..",
                }
                .to_disk()?,
            });
        }
        let mut extended: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (&(parent, index), name) in &node.names {
            let key = Key::new(number, kind::INODE_REF, parent);
            let reference = Reference { index, name };
            match items.last_mut().filter(|item| item.key == key) {
                Some(item) if item.data.len() + REF_LEN + name.len() <= self.item_max => {
                    item.data.extend(reference.to_disk()?);
                }
                None => items.push(Item {
                    key,
                    data: reference.to_disk()?,
                }),
                Some(_) if self.extended_refs => {
                    // The kernel's hash of an extended reference is seeded with the lower half of the parent's number.
                    let [a, b, c, d, ..] = parent.to_le_bytes();
                    let hash = raw_crc32c(u32::from_le_bytes([a, b, c, d]), name);
                    let data = extended.entry(hash.into()).or_default();
                    data.extend(reference.to_disk_extended(parent)?);
                }
                Some(_) => {
                    return Err(Error::unsupported(format!(
                        "inode {number} has too many hard links in one directory"
                    ))
                    .with_hint(
                        "the filesystem lacks extended references ('btrfstune -r' adds them)",
                    ));
                }
            }
        }
        items.extend(extended.into_iter().map(|(hash, data)| Item {
            key: Key::new(number, kind::INODE_EXTREF, hash),
            data,
        }));
        Ok(())
    }

    fn extents(
        &self,
        number: u64,
        node: &Node,
        spans: &[Span],
        items: &mut Vec<Item>,
    ) -> Result<()> {
        let holes = !self.no_holes && node.inode.file_type()? == FileType::File;
        let mut end = 0;
        for span in spans {
            if holes {
                self.hole(number, node, end, span.offset, items);
            }
            end = (span.offset + span.len).next_multiple_of(self.sectorsize);
            let data = self.span(span)?.to_disk();
            items.push(Item {
                key: Key::new(number, kind::EXTENT_DATA, span.offset),
                data,
            });
        }
        if holes {
            self.hole(
                number,
                node,
                end,
                node.inode.size.next_multiple_of(self.sectorsize),
                items,
            );
        }
        Ok(())
    }

    fn hole(&self, number: u64, node: &Node, start: u64, end: u64, items: &mut Vec<Item>) {
        if start < end {
            let num_bytes = end - start;
            let extent = FileExtent {
                generation: node.inode.generation,
                ram_bytes: num_bytes,
                compression: Compression::None,
                body: Body::Hole { num_bytes },
            };
            items.push(Item {
                key: Key::new(number, kind::EXTENT_DATA, start),
                data: extent.to_disk(),
            });
        }
    }

    fn span<'s>(&self, span: &'s Span) -> Result<FileExtent<'s>> {
        let missing = || Error::internal("a span without an extent");
        Ok(match &span.body {
            SpanBody::Inline {
                generation,
                compression,
                data,
            } => FileExtent {
                generation: *generation,
                ram_bytes: span.len,
                compression: *compression,
                body: Body::Inline(data),
            },
            SpanBody::Extent { number, skip } => {
                let extent = self.extents.get(*number).ok_or_else(missing)?;
                let disk = DiskExtent {
                    disk_bytenr: *self.addresses.get(*number).ok_or_else(missing)?,
                    disk_num_bytes: extent.disk_bytes,
                    offset: *skip,
                    num_bytes: span.len,
                };
                FileExtent {
                    generation: extent.generation,
                    ram_bytes: extent.ram_bytes,
                    compression: extent.compression,
                    body: if extent.origin == Origin::Nothing {
                        Body::Prealloc(disk)
                    } else {
                        Body::Disk(disk)
                    },
                }
            }
        })
    }
}

/// Items by the hash of names; names with one hash share an item.
fn hashed<'a>(
    number: u64,
    kind: u8,
    entries: impl Iterator<Item = DirItem<'a>>,
    items: &mut Vec<Item>,
) -> Result<()> {
    let mut by_hash: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for entry in entries {
        by_hash
            .entry(name_hash(entry.name))
            .or_default()
            .extend(entry.to_disk()?);
    }
    items.extend(by_hash.into_iter().map(|(hash, data)| Item {
        key: Key::new(number, kind, hash),
        data,
    }));
    Ok(())
}

/// The entries of a directory, by name and by index.
fn entries(number: u64, directory: &Directory, items: &mut Vec<Item>) -> Result<()> {
    let entry = |name, child: &super::model::Child| DirItem {
        location: Key::new(child.inode, kind::INODE_ITEM, 0),
        transid: child.transid,
        item_type: child.file_type.entry_code(),
        name,
        data: &[],
    };
    hashed(
        number,
        kind::DIR_ITEM,
        directory
            .children
            .iter()
            .map(|(name, child)| entry(name, child)),
        items,
    )?;
    let mut by_index: Vec<_> = directory.children.iter().collect();
    by_index.sort_unstable_by_key(|(_, child)| child.index);
    for (name, child) in by_index {
        items.push(Item {
            key: Key::new(number, kind::DIR_INDEX, child.index),
            data: entry(name, child).to_disk()?,
        });
    }
    Ok(())
}
