//! The [`Edit`] of a filesystem: changes to the tree in memory.

use std::collections::BTreeMap;

use super::super::extent::{Compression, INLINE_HEADER_LEN};
use super::super::inode::{Inode, flag};
use super::super::node::{HEADER_LEN, ITEM_LEN};
use super::BtrfsEditor;
use super::model::{Content, Directory, FIRST_INDEX, Node, Span, SpanBody};
use super::store::How;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::edit::{Edit, LINUX_DEVICE_MAX, LINUX_FILE_MAX, LINUX_TARGET_MAX, Limits};
use crate::fs::path::LINUX_NAME_MAX;
use crate::fs::{Attributes, FileContent, FileType, FsPath, MetadataChange};

/// The attribute that says how new files and directories below are compressed.
const COMPRESSION: &[u8] = b"btrfs.compression";

impl BtrfsEditor {
    /// Bytes of data that one item may have.
    pub(super) fn item_max(&self) -> usize {
        // A node has at most 64 KiB, which the superblock was held to.
        usize::try_from(self.store.volume.superblock.nodesize)
            .unwrap_or(0)
            .saturating_sub(HEADER_LEN + ITEM_LEN)
    }

    /// Marks the filesystem changed and returns the transaction in which it was.
    fn touch(&mut self) -> u64 {
        self.changed = true;
        self.generation()
    }

    /// Adds a new entry; compression is inherited from the directory as Linux does.
    fn create(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        attributes: &Attributes,
        content: Content,
    ) -> Result<u64> {
        let (parent, name) = self.tree.parent(path)?;
        if self.tree.children(parent)?.contains_key(name) {
            return Err(Error::invalid("exists already").because(Reason::Exists));
        }
        let generation = self.touch();
        let directory = self.tree.node(parent)?;
        let mut inode = Inode {
            generation,
            transid: generation,
            size: 0,
            nbytes: 0,
            nlink: 1,
            uid: attributes.uid,
            gid: attributes.gid,
            mode: file_type.mode_bits() | attributes.mode,
            rdev: 0,
            flags: directory.inode.flags & (flag::COMPRESS | flag::NOCOMPRESS | flag::NODATACOW),
            sequence: 0,
            atime: attributes.mtime,
            ctime: attributes.mtime,
            mtime: attributes.mtime,
            otime: attributes.mtime,
        };
        if inode.flags & flag::NODATACOW != 0 && file_type == FileType::File {
            inode.flags |= flag::NODATASUM;
        }
        let mut xattrs = BTreeMap::new();
        if let Some(value) = directory.xattrs.get(COMPRESSION)
            && matches!(file_type, FileType::File | FileType::Directory)
        {
            inode.flags = compression_flags(inode.flags, Some(value));
            xattrs.insert(COMPRESSION.to_vec(), value.clone());
        }
        let number = self.tree.insert(Node {
            inode,
            names: BTreeMap::new(),
            xattrs,
            content,
        })?;
        self.tree.link(parent, name, number, generation)?;
        Ok(number)
    }

    /// How the content of an inode with these flags is stored.
    fn how(&self, flags: u64) -> Result<How> {
        let checksums = flags & flag::NODATASUM == 0;
        let compress = checksums && flags & flag::COMPRESS != 0 && flags & flag::NOCOMPRESS == 0;
        let inline_max = self.item_max() - INLINE_HEADER_LEN;
        Ok(How {
            compress,
            checksums,
            generation: self.generation(),
            inline_max,
        })
    }

    fn set_content(&mut self, number: u64, content: FileContent<'_>) -> Result<()> {
        let size = content.size();
        let how = self.how(self.tree.node(number)?.inode.flags)?;
        let spans = self.store.add(content, how)?;
        let node = self.tree.node_mut(number)?;
        node.inode.size = size;
        node.inode.flags &= !flag::PREALLOC;
        node.content = Content::Extents(spans);
        Ok(())
    }

    fn replace(&mut self, number: u64, attributes: &Attributes) -> Result<()> {
        let transid = self.touch();
        let node = self.tree.node_mut(number)?;
        let inode = &mut node.inode;
        if inode.file_type()? != FileType::File {
            return Err(
                Error::invalid("exists already and is not a regular file").because(Reason::Exists)
            );
        }
        // Capabilities and labels were those of the old content; how it is stored stays.
        node.xattrs.retain(|name, _| name == COMPRESSION);
        inode.mode = FileType::File.mode_bits() | (attributes.mode & 0o7777);
        (inode.uid, inode.gid) = (attributes.uid, attributes.gid);
        (inode.atime, inode.ctime, inode.mtime) =
            (attributes.mtime, attributes.mtime, attributes.mtime);
        inode.transid = transid;
        Ok(())
    }

    fn rename_entry(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let (old_parent, old_name) = self.tree.parent(from)?;
        let number = self.tree.find(from)?;
        let (new_parent, new_name) = self.tree.parent(to).at(|| to.to_string())?;
        if let Some(existing) = self.tree.children(new_parent)?.get(new_name).copied() {
            // Two names of one file: nothing to do, as rename(2) has it.
            if existing.inode == number {
                return Ok(());
            }
            if existing.file_type == FileType::Directory {
                return Err(Error::invalid("exists already and is a directory")
                    .because(Reason::Exists)
                    .at(to.to_string()));
            }
            self.tree.unlink(new_parent, new_name)?;
        }
        let transid = self.touch();
        self.tree.detach(old_parent, old_name)?;
        self.tree.link(new_parent, new_name, number, transid)?;
        self.tree.node_mut(number)?.inode.transid = transid;
        Ok(())
    }

    fn change(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        let number = self.tree.find(path)?;
        let transid = self.touch();
        let inode = &mut self.tree.node_mut(number)?.inode;
        if let Some(mode) = change.mode {
            inode.mode = (inode.mode & !0o7777) | mode;
        }
        inode.uid = change.uid.unwrap_or(inode.uid);
        inode.gid = change.gid.unwrap_or(inode.gid);
        inode.mtime = change.mtime.unwrap_or(inode.mtime);
        inode.transid = transid;
        Ok(())
    }

    fn change_xattr(&mut self, path: &FsPath, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        let number = self.tree.find(path)?;
        let room = self.item_max();
        if let Some(value) = value {
            let used = super::super::dir::DIR_ITEM_LEN + name.len() + value.len();
            if used > room {
                return Err(Error::invalid(format!(
                    "attribute '{}' with {} bytes: all of it has at most {room}",
                    name.escape_ascii(),
                    value.len()
                )));
            }
        }
        let transid = self.touch();
        let node = self.tree.node_mut(number)?;
        if name == COMPRESSION {
            node.inode.flags = compression_flags(node.inode.flags, value);
        }
        let old = match value {
            Some(value) => node.xattrs.insert(name.to_vec(), value.to_vec()),
            None => node.xattrs.remove(name),
        };
        if value.is_none() && old.is_none() {
            return Err(Error::not_found(format!(
                "no attribute '{}'",
                name.escape_ascii()
            )));
        }
        node.inode.transid = transid;
        Ok(())
    }

    fn remove_entry(&mut self, path: &FsPath) -> Result<()> {
        let (parent, name) = self.tree.parent(path)?;
        let number = self.tree.find(path)?;
        if let Content::Directory(directory) = &self.tree.node(number)?.content
            && !directory.children.is_empty()
        {
            return Err(Error::invalid("the directory is not empty").because(Reason::NotEmpty));
        }
        self.touch();
        self.tree.unlink(parent, name).map(drop)
    }
}

/// The flags of an inode whose compression property has this value.
fn compression_flags(flags: u64, value: Option<&[u8]>) -> u64 {
    let flags = flags & !(flag::COMPRESS | flag::NOCOMPRESS);
    match value {
        None | Some(b"") => flags,
        Some(b"no" | b"none") => flags | flag::NOCOMPRESS,
        Some(_) => flags | flag::COMPRESS,
    }
}

impl Edit for BtrfsEditor {
    fn limits(&self) -> Limits {
        let target_bytes = self
            .item_max()
            .saturating_sub(INLINE_HEADER_LEN)
            .min(LINUX_TARGET_MAX - 1);
        Limits {
            name_bytes: LINUX_NAME_MAX,
            file_bytes: LINUX_FILE_MAX,
            target_bytes: Some(target_bytes),
            hard_links: true,
            device: Some(LINUX_DEVICE_MAX),
            xattrs: true,
        }
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        let content = Content::Directory(Directory {
            children: BTreeMap::new(),
            next_index: FIRST_INDEX,
        });
        self.create(path, FileType::Directory, attributes, content)
            .map(drop)
            .at(|| path.to_string())
    }

    /// An existing file keeps its hard links, its property of compression and its time of birth.
    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        let number = match self.tree.find(path) {
            Ok(number) => self.replace(number, attributes).map(|()| number),
            Err(_) => self.create(
                path,
                FileType::File,
                attributes,
                Content::Extents(Vec::new()),
            ),
        };
        number
            .and_then(|number| self.set_content(number, content))
            .at(|| path.to_string())
    }

    /// Links have mode 0777 whatever `attributes` say, as on Linux.
    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        let body = SpanBody::Inline {
            generation: self.touch(),
            compression: Compression::None,
            data: target.to_vec(),
        };
        let span = Span {
            offset: 0,
            len: to_u64(target.len()),
            body,
        };
        let attributes = Attributes {
            mode: 0o777,
            ..attributes.clone()
        };
        let number = self
            .create(
                path,
                FileType::Symlink,
                &attributes,
                Content::Extents(vec![span]),
            )
            .at(|| path.to_string())?;
        self.tree.node_mut(number)?.inode.size = to_u64(target.len());
        Ok(())
    }

    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        let link = |editor: &mut Self| {
            let number = editor.tree.find(existing)?;
            if editor.tree.node(number)?.inode.file_type()? == FileType::Directory {
                return Err(Error::invalid("a directory cannot have a second name"));
            }
            let (parent, name) = editor.tree.parent(path).at(|| path.to_string())?;
            if editor.tree.children(parent)?.contains_key(name) {
                return Err(Error::invalid("exists already")
                    .because(Reason::Exists)
                    .at(path.to_string()));
            }
            let transid = editor.touch();
            editor.tree.link(parent, name, number, transid)?;
            editor.tree.node_mut(number)?.inode.transid = transid;
            Ok(())
        };
        link(self).at(|| existing.to_string())
    }

    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        let number = self
            .create(path, file_type, attributes, Content::None)
            .at(|| path.to_string())?;
        self.tree.node_mut(number)?.inode.rdev = u64::from(device.0) << 20 | u64::from(device.1);
        Ok(())
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        self.change(path, change).at(|| path.to_string())
    }

    /// Setting `btrfs.compression` also decides how content written from now on is stored.
    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        self.change_xattr(path, name, Some(value))
            .at(|| path.to_string())
    }

    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        self.change_xattr(path, name, None).at(|| path.to_string())
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        self.rename_entry(from, to).at(|| from.to_string())
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        self.remove_entry(path).at(|| path.to_string())
    }

    fn commit(&mut self) -> Result<()> {
        self.write()
    }
}
