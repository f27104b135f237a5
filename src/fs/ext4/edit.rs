//! Editing: requests are checked here, carried out by the engine, and given their final inode fields here again.
//!
//! ```text
//!   check path, attributes, space ──▶ engine ──▶ owner, mode, times of the entry ──▶ parent's times put back
//! ```

use std::io::Read;

use fs_ext4::Filesystem;
use fs_ext4::error::Result as EngineResult;

use super::engine::{self, Editor};
use super::inode::{self, Inode, Time};
use super::superblock::Superblock;
use super::{Ext4, xattr};
use crate::block::BlockDeviceMut;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, ResultExt, from_io};
use crate::fs::{Attributes, FileSystem, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp, Xattr};

/// Bytes of a file that are handed to the engine at a time: one contiguous run where there is one.
const CHUNK: usize = 8 << 20;
/// Longest symlink target that lies in the inode.
const FAST_SYMLINK_MAX: usize = 59;
/// Largest major number (`ext4`'s 12 bits) and minor number (20 bits).
const DEVICE_MAX: (u32, u32) = (0xFFF, 0xF_FFFF);

/// A name to be put into, or taken from, a directory.
struct Place<'a> {
    parent: Inode,
    name: &'a [u8],
    /// The inode that has the name now.
    existing: Option<Inode>,
}

impl<D: BlockDeviceMut + 'static> Ext4<D> {
    fn editor(&mut self) -> Result<&mut Editor> {
        self.editor.as_mut().ok_or_else(|| Error::invalid("the filesystem was opened for reading only"))
    }

    /// Runs one step of the engine.
    fn run<T>(&mut self, what: &str, step: impl FnOnce(&Filesystem) -> EngineResult<T>) -> Result<T> {
        self.names.get_mut().clear();
        let (device, superblock) = (self.device.clone(), self.superblock.clone());
        let editor = self.editor()?;
        step(editor.engine(&device, &superblock)?).map_err(|error| engine::translate(what, error))
    }

    /// The directory of `path` and what has its name now.
    fn place<'p>(&self, path: &'p FsPath) -> Result<Place<'p>> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Error::invalid("the root directory itself cannot be made, moved or removed"));
        };
        let parent = self.lookup(&parent)?;
        if parent.file_type != FileType::Directory {
            return Err(Error::invalid("the parent is not a directory"));
        }
        let existing = self.find(&parent, name)?.map(|ino| self.inode(ino)).transpose()?;
        Ok(Place { parent, name, existing })
    }

    /// A place where nothing is yet.
    fn new_place<'p>(&self, path: &'p FsPath) -> Result<Place<'p>> {
        let place = self.place(path)?;
        match place.existing {
            Some(_) => Err(Error::invalid("already exists").with_hint("remove it first, or choose another path")),
            None => Ok(place),
        }
    }

    /// A place where something is.
    fn old_place<'p>(&self, path: &'p FsPath) -> Result<(Place<'p>, Inode)> {
        let mut place = self.place(path)?;
        let existing = place.existing.take().ok_or_else(|| Error::not_found("no such file or directory"))?;
        Ok((place, existing))
    }

    fn check_attributes(&self, attributes: &Attributes) -> Result<()> {
        check_mode(attributes.mode)?;
        inode::check_time(self.superblock.inode_size, attributes.mtime)
    }

    /// Refuses what cannot fit before anything is written. Blocks that a directory or an extent tree grows by are not
    /// counted: there are few, and they come out of the reserve.
    fn check_space(&self, blocks: u64, inodes: u32) -> Result<()> {
        let free = Superblock::read(&self.device)?.free;
        if blocks <= free.usable_blocks() && inodes <= free.inodes {
            return Ok(());
        }
        let bytes = u64::from(self.superblock.block_size);
        Err(Error::no_space(format!(
            "{} bytes and {inodes} inodes are needed, {} bytes and {} inodes are free",
            blocks.saturating_mul(bytes),
            free.usable_blocks() * bytes,
            free.inodes
        ))
        .with_hint("use a larger ROOT partition, or bake less into it"))
    }

    /// Changes fields of an inode in place.
    fn patch(&mut self, ino: u32, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut raw = self.inode(ino)?.raw;
        change(&mut raw);
        inode::seal(&self.superblock, ino, &mut raw);
        self.run("writing an inode", |engine| engine.write_inode_raw(ino, &raw))
    }

    /// Gives an inode back the times it had.
    fn keep_times(&mut self, before: &Inode) -> Result<()> {
        let now = self.inode(before.ino)?;
        if Time::ALL.iter().all(|&which| inode::time(&now.raw, which) == inode::time(&before.raw, which)) {
            return Ok(());
        }
        self.patch(before.ino, |raw| {
            for which in Time::ALL {
                inode::set_time(raw, which, inode::time(&before.raw, which));
            }
        })
    }

    /// Gives a new or overwritten inode its attributes.
    fn finish(&mut self, ino: u32, attributes: &Attributes) -> Result<()> {
        self.patch(ino, |raw| {
            inode::set_mode(raw, attributes.mode);
            inode::set_uid(raw, attributes.uid);
            inode::set_gid(raw, attributes.gid);
            set_all_times(raw, attributes.mtime);
        })
    }

    /// Makes a new entry by `step`, given the engine, the directory's inode and the name.
    fn create(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        blocks: u64,
        step: impl FnOnce(&Filesystem, u32, &[u8]) -> EngineResult<u32>,
    ) -> Result<u32> {
        self.check_attributes(attributes)?;
        let place = self.new_place(path)?;
        self.check_space(blocks, 1)?;
        let ino = self.run("creating", |engine| step(engine, place.parent.ino, place.name))?;
        self.finish(ino, attributes)?;
        self.keep_times(&place.parent)?;
        Ok(ino)
    }

    /// Empties a regular file: content, preallocated blocks and extended attributes.
    fn clear(&mut self, path: &FsPath, inode: &Inode, xattrs: &[Xattr]) -> Result<()> {
        for attribute in xattrs {
            let (path, name) = xattr_place(path, &attribute.name)?;
            self.run("removing an extended attribute", |engine| engine.apply_removexattr(&path, &name))?;
        }
        let extents = self.extent_tree(inode)?;
        let end = extents.last().map_or(0, |last| (last.logical + last.len) * u64::from(self.superblock.block_size));
        self.run("emptying", |engine| {
            // Blocks beyond the end are only freed from within the file.
            engine.apply_truncate_ino(inode.ino, end.max(inode.size))?;
            engine.apply_truncate_ino(inode.ino, 0)
        })
    }

    /// Makes the file for `write_file`, or empties the one there is, after all checks.
    fn prepare_file(&mut self, path: &FsPath, attributes: &Attributes, blocks: u64) -> Result<u32> {
        self.check_attributes(attributes)?;
        let Some(old) = self.place(path)?.existing else {
            return self
                .create(path, attributes, blocks, |engine, parent, name| engine.apply_create_at(parent, name, 0o600));
        };
        if old.file_type != FileType::File {
            return Err(Error::invalid("exists and is not a regular file"));
        }
        let xattrs = self.inode_xattrs(&old)?;
        for attribute in &xattrs {
            xattr_place(path, &attribute.name)?;
        }
        self.check_space(blocks.saturating_sub(old.blocks(self.superblock.block_size)?), 0)?;
        self.clear(path, &old, &xattrs)?;
        Ok(old.ino)
    }

    /// Streams exactly `size` bytes into an empty file.
    fn fill(&mut self, ino: u32, size: u64, content: &mut dyn Read) -> Result<()> {
        let mut chunk = vec![0; to_usize(size.min(to_u64(CHUNK)))?];
        let mut done = 0;
        while done < size {
            let len = to_usize((size - done).min(to_u64(CHUNK)))?;
            read_exactly(content, &mut chunk[..len], done, size)?;
            self.run("writing content", |engine| engine.apply_pwrite_ino(ino, done, &chunk[..len]))?;
            done += to_u64(len);
        }
        if read_some(content, &mut [0])? != 0 {
            return Err(Error::invalid(format!("the content is longer than the {size} bytes announced")));
        }
        Ok(())
    }

    fn remove_place(&mut self, place: &Place<'_>, old: &Inode) -> Result<()> {
        let (parent, name) = (place.parent.ino, place.name);
        if old.file_type == FileType::Directory {
            if self.has_entries(old)? {
                return Err(Error::invalid("the directory is not empty").with_hint("remove its entries first"));
            }
            self.run("removing", |engine| engine.apply_rmdir_at(parent, name))?;
        } else {
            self.extent_tree_if_any(old)?;
            self.run("removing", |engine| engine.apply_unlink_at(parent, name))?;
        }
        self.keep_times(&place.parent)
    }

    /// Checks the blocks of an inode that is about to be freed.
    fn extent_tree_if_any(&self, inode: &Inode) -> Result<()> {
        if inode.has_extents() {
            self.extent_tree(inode)?;
        }
        self.inode_xattrs(inode)?;
        Ok(())
    }

    fn rename_checked(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let (source, moved) = self.old_place(from)?;
        let target = self.place(to)?;
        if to.starts_with(from) {
            return Err(Error::invalid(format!("cannot be moved to {to}, which lies inside it")));
        }
        if let Some(existing) = &target.existing {
            if existing.ino == moved.ino {
                return self.remove_place(&source, &moved);
            }
            if existing.file_type == FileType::Directory || moved.file_type == FileType::Directory {
                return Err(Error::invalid(format!("{to} exists, and one of the two is a directory")));
            }
            self.extent_tree_if_any(existing)?;
        }
        self.run("moving", |engine| {
            engine.apply_rename_at(source.parent.ino, source.name, target.parent.ino, target.name, true)
        })?;
        self.keep_times(&moved)?;
        self.keep_times(&source.parent)?;
        self.keep_times(&target.parent)
    }

    /// Changes one extended attribute by `step`, given the engine, the path and the name.
    fn change_xattr(
        &mut self,
        path: &FsPath,
        name: &[u8],
        step: impl FnOnce(&Filesystem, &str, &str) -> EngineResult<()>,
    ) -> Result<()> {
        let before = self.lookup(path)?;
        self.inode_xattrs(&before)?;
        let (text, name) = xattr_place(path, name)?;
        self.run("changing an extended attribute", |engine| step(engine, &text, &name))?;
        self.keep_times(&before)
    }

    /// Runs an edit of `path`; one that fails after its first write leaves the filesystem unfit for commit.
    fn edit<T>(&mut self, path: &FsPath, body: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.editor()?.begin();
        let result = body(self);
        if result.is_err() {
            self.editor()?.fail();
        }
        result.at(|| path.to_string())
    }
}

impl<D: BlockDeviceMut + 'static> FileSystemMut for Ext4<D> {
    fn as_read(&self) -> &dyn FileSystem {
        self
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        self.edit(path, |fs| {
            fs.create(path, attributes, 1, |engine, parent, name| engine.apply_mkdir_at(parent, name, 0o700))
        })
        .map(drop)
    }

    fn write_file(&mut self, path: &FsPath, attributes: &Attributes, size: u64, content: &mut dyn Read) -> Result<()> {
        self.edit(path, |fs| {
            let ino = fs.prepare_file(path, attributes, size.div_ceil(u64::from(fs.superblock.block_size)))?;
            fs.fill(ino, size, content)?;
            fs.finish(ino, attributes)
        })
    }

    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        self.edit(path, |fs| {
            let max = fs.block_bytes()? - 1;
            if !(1..=max).contains(&target.len()) || target.contains(&0) {
                return Err(Error::invalid(format!(
                    "a symlink target has 1 to {max} bytes and no NUL byte, this one has {} bytes",
                    target.len()
                )));
            }
            let attributes = Attributes { mode: 0o777, ..attributes.clone() };
            let blocks = u64::from(target.len() > FAST_SYMLINK_MAX);
            fs.create(path, &attributes, blocks, |engine, parent, name| engine.apply_symlink_at(parent, name, target))
        })
        .map(drop)
    }

    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        self.edit(path, |fs| {
            let target = fs.lookup(existing)?;
            if target.file_type == FileType::Directory {
                return Err(Error::invalid(format!("{existing} is a directory, which cannot have a second name")));
            }
            let place = fs.new_place(path)?;
            fs.run("linking", |engine| engine.apply_link_at(target.ino, place.parent.ino, place.name))?;
            fs.keep_times(&target)?;
            fs.keep_times(&place.parent)
        })
    }

    fn mknod(&mut self, path: &FsPath, file_type: FileType, device: (u32, u32), attributes: &Attributes) -> Result<()> {
        self.edit(path, |fs| {
            let node = device_words(file_type, device)?;
            let mode = u16::try_from(file_type.mode_bits()).map_err(|_| Error::internal("a mode has 16 bits"))?;
            let ino =
                fs.create(path, attributes, 0, |engine, parent, name| engine.apply_mknod_at(parent, name, mode, 0, 0))?;
            fs.patch(ino, |raw| inode::set_device(raw, node))
        })
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        self.edit(path, |fs| {
            change.mode.map_or(Ok(()), check_mode)?;
            change.mtime.map_or(Ok(()), |mtime| inode::check_time(fs.superblock.inode_size, mtime))?;
            let ino = fs.lookup(path)?.ino;
            fs.patch(ino, |raw| {
                if let Some(mode) = change.mode {
                    inode::set_mode(raw, mode);
                }
                if let Some(uid) = change.uid {
                    inode::set_uid(raw, uid);
                }
                if let Some(gid) = change.gid {
                    inode::set_gid(raw, gid);
                }
                if let Some(mtime) = change.mtime {
                    inode::set_time(raw, Time::Modification, mtime);
                    inode::set_time(raw, Time::Change, mtime);
                }
            })
        })
    }

    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        self.edit(path, |fs| {
            let max = fs.block_bytes()?;
            if value.len() >= max {
                return Err(Error::unsupported(format!(
                    "an extended attribute of {} bytes, which must fit a block of {max}",
                    value.len()
                )));
            }
            fs.change_xattr(path, name, |engine, path, name| engine.apply_setxattr(path, name, value))
        })
    }

    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        self.edit(path, |fs| {
            let inode = fs.lookup(path)?;
            if !fs.inode_xattrs(&inode)?.iter().any(|xattr| xattr.name == name) {
                return Err(Error::not_found(format!("no extended attribute {}", String::from_utf8_lossy(name))));
            }
            fs.change_xattr(path, name, |engine, path, name| engine.apply_removexattr(path, name))
        })
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        self.edit(from, |fs| if from == to { fs.lookup(from).map(drop) } else { fs.rename_checked(from, to) })
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        self.edit(path, |fs| {
            let (place, old) = fs.old_place(path)?;
            fs.remove_place(&place, &old)
        })
    }

    fn commit(&mut self) -> Result<()> {
        self.editor()?.settle()?;
        Superblock::read(&self.device).map(drop)
    }
}

fn set_all_times(raw: &mut [u8], time: Timestamp) {
    for which in Time::ALL {
        inode::set_time(raw, which, time);
    }
}

fn check_mode(mode: u32) -> Result<()> {
    if mode <= 0o7777 { Ok(()) } else { Err(Error::invalid(format!("mode {mode:#o} is out of range 0 to 0o7777"))) }
}

/// The path and the name of an extended attribute as the engine takes them.
fn xattr_place(path: &FsPath, name: &[u8]) -> Result<(String, String)> {
    let shown = String::from_utf8_lossy(name);
    let text = str::from_utf8(path.as_bytes()).map_err(|_| {
        Error::unsupported(format!("extended attribute {shown} of a path that is not valid UTF-8"))
            .with_hint("rename it, or leave the attribute out")
    })?;
    let known = xattr::PREFIXES.iter().any(|(_, prefix)| match name.strip_prefix(prefix.as_bytes()) {
        Some(rest) => rest.is_empty() != prefix.ends_with('.'),
        None => false,
    });
    if !known || name.len() > 255 || name.contains(&0) {
        return Err(Error::invalid(format!("'{shown}' is not a name of an extended attribute"))
            .with_hint("names begin with user., trusted., security. or system."));
    }
    let name = str::from_utf8(name).map_err(|_| Error::unsupported(format!("extended attribute name '{shown}'")))?;
    Ok((text.to_owned(), name.to_owned()))
}

/// `i_block[0..2]` of a node: the old encoding where it fits, else the new one, as the kernel writes them.
fn device_words(file_type: FileType, (major, minor): (u32, u32)) -> Result<[u32; 2]> {
    let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
    if !is_device && !matches!(file_type, FileType::Fifo | FileType::Socket) {
        return Err(Error::invalid("only devices, fifos and sockets are made as nodes"));
    }
    let max = if is_device { DEVICE_MAX } else { (0, 0) };
    if major > max.0 || minor > max.1 {
        return Err(Error::invalid(format!(
            "device number {major}:{minor} is out of range: major 0 to {}, minor 0 to {}",
            max.0, max.1
        )));
    }
    Ok(if major < 256 && minor < 256 {
        [major << 8 | minor, 0]
    } else {
        [0, minor & 0xFF | major << 8 | (minor & !0xFF) << 12]
    })
}

/// One read, tried again when interrupted.
fn read_some(content: &mut dyn Read, buf: &mut [u8]) -> Result<usize> {
    loop {
        match content.read(buf) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(|error| from_io("reading the content", error)),
        }
    }
}

/// Fills `buf` with content from byte `done` of `size`.
fn read_exactly(content: &mut dyn Read, mut buf: &mut [u8], done: u64, size: u64) -> Result<()> {
    let wanted = done + to_u64(buf.len());
    while !buf.is_empty() {
        let len = read_some(content, buf)?;
        if len == 0 {
            let got = wanted - to_u64(buf.len());
            return Err(Error::invalid(format!("the content ends after {got} of the {size} bytes announced")));
        }
        buf = &mut buf[len..];
    }
    Ok(())
}
