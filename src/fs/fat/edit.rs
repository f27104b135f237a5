//! Changing a FAT volume.
//!
//! Room is checked before anything is written. Clusters that are given up, and the rest of a file's last cluster, are
//! filled with zeroes: what was there does not leak, and the image compresses better.

use std::sync::Arc;

use super::Fat;
use super::boot::{BOOT_SECTOR, BootSector, STATE_DIRTY};
use super::device::read_vec;
use super::directory::{Directory, Room};
use super::entry::{ATTR_ARCHIVE, ATTR_DIRECTORY, DOT, DOT_DOT, Entry};
use super::geometry::{FIRST_CLUSTER, Geometry, SLOT};
use super::info::Info;
use super::names::{self, NewName};
use super::space::Space;
use super::table::{Extent, Table};
use super::time::FatTime;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::edit::{Edit, Limits};
use crate::fs::path::NAME_MAX;
use crate::fs::{Attributes, ByPath, FileContent, FileSystem, FsPath, MetadataChange, Node};

/// Bytes written at once: large enough to make contiguous writes, small enough for any machine. Whole clusters.
const CHUNK: u64 = 1 << 20;

/// What editing needs beside what reading does.
#[derive(Debug)]
pub(super) struct Editor {
    space: Space,
    /// Whether anything was changed since the last commit.
    edited: bool,
}

impl Editor {
    /// Counts the free clusters: the volume's own count may be wrong.
    pub(super) fn new(
        device: &dyn BlockDevice,
        geometry: &Geometry,
        table: &Table,
    ) -> Result<Self> {
        let free = table.cursor(device, 0).count_free()?;
        let info = geometry
            .info
            .map(|at| read_vec(device, at, BOOT_SECTOR).and_then(Info::over))
            .transpose()?;
        let hint = info
            .filter(Info::is_valid)
            .map(|info| info.nxt_free())
            .filter(|hint| geometry.has(*hint));
        Ok(Self {
            space: Space {
                free,
                hint: hint.unwrap_or(FIRST_CLUSTER),
            },
            edited: false,
        })
    }

    /// Clusters that belong to nothing.
    pub(super) fn free_clusters(&self) -> u32 {
        self.space.free
    }
}

fn time(attributes: &Attributes) -> FatTime {
    FatTime::nearest(attributes.mtime.secs)
}

fn parent_of(path: &FsPath) -> Result<FsPath> {
    path.parent()
        .ok_or_else(|| Error::internal("a path with a name has a parent"))
}

fn only_read() -> Error {
    Error::internal("the volume was opened for reading only")
}

/// The free clusters, which are about to change: from here on there is something to commit.
fn changing(editor: &mut Option<Editor>) -> Result<&mut Space> {
    let editor = editor.as_mut().ok_or_else(only_read)?;
    editor.edited = true;
    Ok(&mut editor.space)
}

impl<D: BlockDeviceMut> Fat<D> {
    /// Takes the directory at `path` out of memory, to change it there and on the device.
    fn check_out(&self, path: &FsPath) -> Result<Directory> {
        let start = self
            .directory_start(self.node_at(path)?)
            .at(|| path.to_string())?;
        let directory = self.directory(start).at(|| path.to_string())?;
        self.known().remove(start);
        Ok(Arc::unwrap_or_clone(directory))
    }

    /// Puts it back. After an error it is read anew instead.
    fn check_in(&self, directory: Directory) {
        self.known().keep(Arc::new(directory));
    }

    /// Makes sure that `content` clusters and `growth` of the directory fit, when `freed` clusters are given up before.
    fn reserve(&self, path: &FsPath, content: u64, growth: u64, freed: u64) -> Result<()> {
        let free = u64::from(self.editor.as_ref().ok_or_else(only_read)?.free_clusters()) + freed;
        if content + growth <= free {
            return Ok(());
        }
        Err(Error::no_space(format!(
            "needs {} clusters of {} bytes ({content} for content, {growth} for its directory), {free} are free",
            content + growth,
            self.geometry.cluster_bytes
        ))
        .with_hint("remove files from this partition, or write less to it")
        .at(path.to_string()))
    }

    /// Takes clusters, which become a chain.
    fn take(&mut self, count: u64) -> Result<Vec<Extent>> {
        changing(&mut self.editor)?.take(&mut self.table, &self.device, &self.geometry, count)
    }

    /// Gives the clusters of a chain up and fills them with zeroes.
    fn give_back(&mut self, extents: &[Extent]) -> Result<()> {
        changing(&mut self.editor)?.give_back(&mut self.table, &self.device, extents)?;
        self.wipe(extents)
    }

    fn wipe(&self, extents: &[Extent]) -> Result<()> {
        for extent in extents {
            let len = u64::from(extent.count) * u64::from(self.geometry.cluster_bytes);
            self.device
                .write_zeroes(self.geometry.cluster_start(extent.first), len)?;
        }
        Ok(())
    }

    /// Makes a directory as large as the room that was found in it says.
    fn grow(&mut self, directory: &mut Directory, room: &Room) -> Result<()> {
        if room.growth == 0 {
            return Ok(());
        }
        let extents = self.take(room.growth)?;
        self.wipe(&extents)?;
        let added = extents.first().map_or(0, |extent| extent.first);
        self.table
            .set(&self.device, directory.last_cluster(), added)?;
        for cluster in extents.into_iter().flat_map(Extent::clusters) {
            directory.grow(&self.geometry, cluster);
        }
        Ok(())
    }

    /// Writes content to the clusters that were taken for it. FAT has no holes: they become zeroes.
    fn fill(&self, extents: &[Extent], mut content: FileContent<'_>) -> Result<()> {
        let cluster = u64::from(self.geometry.cluster_bytes);
        let size = content.size().next_multiple_of(cluster);
        let mut buf = vec![0; to_usize(size.min(CHUNK))?];
        let mut zeroes = 0;
        for extent in extents {
            let mut at = self.geometry.cluster_start(extent.first);
            let end = at + u64::from(extent.count) * cluster;
            while at < end {
                if zeroes == 0 {
                    zeroes = content.skip(cluster);
                }
                if zeroes > 0 {
                    let len = zeroes.min(end - at);
                    self.device.write_zeroes(at, len)?;
                    zeroes -= len;
                    at += len;
                } else {
                    let chunk = &mut buf[..to_usize(CHUNK.min(end - at))?];
                    fill_chunk(&mut content, chunk)?;
                    self.device.write_at(at, chunk)?;
                    at += to_u64(chunk.len());
                }
            }
        }
        content.finish()
    }

    /// Writes the content of a file whose entry this is, and notes it there. It had no content, or none any more.
    fn write_new_content(&mut self, entry: &mut Entry, content: FileContent<'_>) -> Result<()> {
        let size = content.size();
        let extents = self.take(self.geometry.clusters_for(size))?;
        self.fill(&extents, content)?;
        let first = extents.first().map_or(0, |extent| extent.first);
        entry.set_first_cluster(self.geometry.kind, first);
        entry.set_file_size(u32::try_from(size).map_err(|_| Error::internal("sizes are checked"))?);
        Ok(())
    }

    /// Replaces the content of the file whose entry lies at this byte of the device.
    fn replace(
        &mut self,
        path: &FsPath,
        offset: u64,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        let mut entry = self.entry(offset)?;
        let old = self.chain(entry.first_cluster(self.geometry.kind))?;
        let wanted = self.geometry.clusters_for(content.size());
        self.reserve(path, wanted, 0, entry.clusters(&self.geometry))?;
        changing(&mut self.editor)?;
        self.give_back(&old)?;
        self.write_new_content(&mut entry, content)?;
        entry.set_attr(entry.attr() | ATTR_ARCHIVE);
        entry.stamp(time(attributes));
        self.device.write_at(offset, entry.bytes())
    }

    /// Writes a file that is not there yet.
    fn create(
        &mut self,
        path: &FsPath,
        directory: &mut Directory,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        let name = NewName::new(names::storable(path)?);
        let room = directory.room(&name, None)?;
        self.reserve(
            path,
            self.geometry.clusters_for(content.size()),
            room.growth,
            0,
        )?;
        self.grow(directory, &room)?;
        let mut entry = Entry::new(room.short, ATTR_ARCHIVE, time(attributes))?;
        self.write_new_content(&mut entry, content)?;
        directory.write(&self.device, &name, &room, entry)
    }

    /// What `..` of a directory in this one names: 0 for the root.
    fn as_parent(&self, directory: &Directory) -> u32 {
        if directory.start == self.root_start() {
            0
        } else {
            directory.start
        }
    }

    /// Writes the two entries with which a new directory begins.
    fn write_dots(&self, entry: &Entry, parent: u32) -> Result<()> {
        let kind = self.geometry.kind;
        let first = entry.first_cluster(kind);
        let mut dot = *entry;
        dot.set_name(DOT);
        dot.set_nt_res(0);
        let mut dot_dot = dot;
        dot_dot.set_name(DOT_DOT);
        dot_dot.set_first_cluster(kind, parent);
        let start = self.geometry.cluster_start(first);
        self.device
            .write_zeroes(start, u64::from(self.geometry.cluster_bytes))?;
        self.device
            .write_at(start, &[dot.into_inner(), dot_dot.into_inner()].concat())
    }

    /// Gives a directory that was moved another parent.
    fn set_parent(&self, first: u32, parent: u32) -> Result<()> {
        let at = self.geometry.cluster_start(first) + SLOT;
        let mut dot_dot = self.entry(at)?;
        dot_dot.set_first_cluster(self.geometry.kind, parent);
        self.device.write_at(at, dot_dot.bytes())
    }

    /// Whether the way to `path` leads over `node`.
    fn leads_over(&self, path: &FsPath, node: Node) -> Result<bool> {
        let mut at = self.root();
        for name in path.components() {
            match self.lookup(at, name)? {
                Some(next) if next == node => return Ok(true),
                Some(next) => at = next,
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Moves the entry with this name from one directory, `None` where both are the same, to another.
    fn move_entry(
        &mut self,
        request: &Move<'_>,
        from: &mut Option<Directory>,
        to: &mut Directory,
    ) -> Result<()> {
        let same = from.is_none();
        let source = find_item(from.as_ref().unwrap_or(to), request.old)?;
        let entry = self.entry(from.as_ref().unwrap_or(to).offset(source)?)?;
        let existing = to.find(request.new).map(|item| item.slot);
        let is_itself = same && existing == Some(source);
        if is_itself && to.has_exactly(source, request.new) {
            return Ok(());
        }
        let target = existing.filter(|_| !is_itself);
        let replaced = target
            .map(|slot| self.replaceable(request, &entry, to, slot))
            .transpose()?;
        self.write_moved(request, entry, to, target, same.then_some(source))?;
        let source_directory = from.as_mut().unwrap_or(to);
        let moved = source_directory.remove(source)?;
        source_directory.clear(&self.device, &moved)?;
        if entry.is_directory() && !same {
            self.set_parent(entry.first_cluster(self.geometry.kind), self.as_parent(to))?;
        }
        self.give_back(&replaced.unwrap_or_default())
    }

    /// Writes an entry under its new name, in the place of the one at slot `target`. Where its old one lies in the same
    /// directory, that is at slot `own`.
    fn write_moved(
        &mut self,
        request: &Move<'_>,
        mut entry: Entry,
        to: &mut Directory,
        target: Option<u32>,
        own: Option<u32>,
    ) -> Result<()> {
        let name = NewName::new(request.new);
        let cleared = target.map(|slot| to.remove(slot)).transpose()?;
        let room = to.room(&name, own).at(|| request.to.to_string())?;
        self.reserve(request.to, 0, room.growth, 0)?;
        changing(&mut self.editor)?;
        if let Some(item) = cleared {
            to.clear(&self.device, &item)?;
        }
        self.grow(to, &room)?;
        if !entry.is_directory() {
            entry.set_attr(entry.attr() | ATTR_ARCHIVE);
        }
        to.write(&self.device, &name, &room, entry)
    }

    /// The clusters of the file at `slot`, which another may replace.
    fn replaceable(
        &self,
        request: &Move<'_>,
        moved: &Entry,
        to: &Directory,
        slot: u32,
    ) -> Result<Vec<Extent>> {
        let target = self.entry(to.offset(slot)?)?;
        if target.is_directory() {
            let error = Error::invalid("is a directory, it cannot be replaced")
                .because(Reason::IsADirectory);
            return Err(error.at(request.to.to_string()));
        }
        if moved.is_directory() {
            let error =
                Error::invalid("is a file, a directory cannot replace it").because(Reason::Exists);
            return Err(error.at(request.to.to_string()));
        }
        self.chain(target.first_cluster(self.geometry.kind))
    }

    /// Sets the bit of the table that says that the volume was left in order.
    fn mark_clean(&mut self) -> Result<()> {
        let kind = self.geometry.kind;
        let entry = self.table.cursor(&self.device, 0).entry(1)?;
        if kind.clean_bit() & !entry != 0 {
            self.table.set(&self.device, 1, entry | kind.clean_bit())?;
        }
        Ok(())
    }

    /// Writes the numbers of free space where they have changed.
    fn write_info(&self) -> Result<()> {
        let (Some(at), Some(editor)) = (self.geometry.info, &self.editor) else {
            return Ok(());
        };
        let mut info = Info::over(read_vec(&self.device, at, BOOT_SECTOR)?)?;
        let new = (editor.space.free, editor.space.hint);
        if !info.is_valid() || (info.free_count(), info.nxt_free()) == new {
            return Ok(());
        }
        info.set_free_count(editor.space.free);
        info.set_nxt_free(editor.space.hint);
        self.device.write_at(at, info.bytes())
    }

    /// Removes the mark that Linux leaves in the boot sector of a volume it did not unmount, and in its copy.
    fn clear_state(&self) -> Result<()> {
        for start in [Some(0), self.geometry.backup].into_iter().flatten() {
            let boot = BootSector::over(read_vec(&self.device, start, BOOT_SECTOR)?)?;
            let (at, state) = boot.state();
            if boot.fault().is_none() && state & STATE_DIRTY != 0 {
                self.device
                    .write_at(start + to_u64(at), &[state & !STATE_DIRTY])?;
            }
        }
        Ok(())
    }
}

/// A request to move an entry.
struct Move<'a> {
    /// The name it has.
    old: &'a str,
    /// The name it gets.
    new: &'a str,
    /// The path it gets.
    to: &'a FsPath,
}

/// Fills `chunk` with content, and with zeroes behind its end.
fn fill_chunk(content: &mut FileContent<'_>, chunk: &mut [u8]) -> Result<()> {
    let left = content.size() - content.position();
    let len = to_usize(left.min(to_u64(chunk.len())))?;
    let (bytes, slack) = chunk.split_at_mut(len);
    slack.fill(0);
    content.fill(bytes)
}

fn find_item(directory: &Directory, name: &str) -> Result<u32> {
    let item = directory
        .find(name)
        .ok_or_else(|| Error::not_found("no such file or directory"))?;
    Ok(item.slot)
}

impl<D: BlockDeviceMut> Edit for Fat<D> {
    fn limits(&self) -> Limits {
        Limits {
            name_bytes: NAME_MAX,
            file_bytes: u32::MAX.into(),
            target_bytes: None,
            hard_links: false,
            device: None,
            xattrs: false,
        }
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        let name = NewName::new(names::storable(path)?);
        let mut directory = self.check_out(&parent_of(path)?)?;
        if directory.find(&name.text).is_some() {
            return Err(Error::invalid("exists already")
                .because(Reason::Exists)
                .at(path.to_string()));
        }
        let room = directory.room(&name, None).at(|| path.to_string())?;
        self.reserve(path, 1, room.growth, 0)?;
        self.grow(&mut directory, &room)?;
        let extents = self.take(1)?;
        let first = extents.first().map_or(0, |extent| extent.first);
        let mut entry = Entry::new(room.short, ATTR_DIRECTORY, time(attributes))?;
        entry.set_first_cluster(self.geometry.kind, first);
        self.write_dots(&entry, self.as_parent(&directory))?;
        directory.write(&self.device, &name, &room, entry)?;
        self.check_in(directory);
        Ok(())
    }

    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        let name = names::storable(path)?;
        let mut directory = self.check_out(&parent_of(path)?)?;
        let written = match directory.find(name) {
            Some(item) if item.is_directory => {
                Err(Error::invalid("is a directory, a file cannot replace it")
                    .because(Reason::IsADirectory))
            }
            Some(item) => {
                let offset = directory.offset(item.slot)?;
                self.replace(path, offset, attributes, content)
            }
            None => self.create(path, &mut directory, attributes, content),
        };
        written.at(|| path.to_string())?;
        self.check_in(directory);
        Ok(())
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        let node = self.node_at(path)?;
        // The root directory has no entry that could hold a time.
        let Some(mtime) = change.mtime.filter(|_| !path.is_root()) else {
            return Ok(());
        };
        changing(&mut self.editor)?;
        let mut entry = self.entry(node.get())?;
        entry.set_written(FatTime::nearest(mtime.secs));
        self.device.write_at(node.get(), entry.bytes())
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let new = names::storable(to)?;
        let old = from.name().unwrap_or_default();
        let old =
            std::str::from_utf8(old).map_err(|_| Error::not_found("no such file or directory"))?;
        let source = self.node_at(from)?;
        let to_parent = parent_of(to)?;
        if self.leads_over(&to_parent, source)? {
            return Err(Error::invalid(format!(
                "{to} lies in {from}, which cannot be moved into itself"
            )));
        }
        let from_parent = parent_of(from)?;
        let same = self.node_at(&from_parent)? == self.node_at(&to_parent)?;
        let mut source_directory = if same {
            None
        } else {
            Some(self.check_out(&from_parent)?)
        };
        let mut directory = self.check_out(&to_parent)?;
        let request = Move { old, new, to };
        self.move_entry(&request, &mut source_directory, &mut directory)
            .at(|| format!("moving {from} to {to}"))?;
        source_directory
            .into_iter()
            .for_each(|directory| self.check_in(directory));
        self.check_in(directory);
        Ok(())
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        let entry = self.entry(self.node_at(path)?.get())?;
        let first = entry.first_cluster(self.geometry.kind);
        if entry.is_directory() {
            if !self.directory(first)?.is_empty() {
                let error = Error::invalid("the directory is not empty").because(Reason::NotEmpty);
                return Err(error.at(path.to_string()));
            }
            self.known().remove(first);
        }
        let extents = self.chain(first)?;
        changing(&mut self.editor)?;
        let mut directory = self.check_out(&parent_of(path)?)?;
        let name = path
            .name()
            .and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default();
        let item = directory.remove(find_item(&directory, name)?)?;
        directory.clear(&self.device, &item)?;
        self.check_in(directory);
        self.give_back(&extents)
    }

    fn commit(&mut self) -> Result<()> {
        if !self.editor.as_ref().is_some_and(|editor| editor.edited) {
            return Ok(());
        }
        // The volume was proven sound when it was opened, so it may be called clean even where it was not before.
        self.mark_clean()?;
        self.table.flush(&self.device)?;
        self.write_info()?;
        self.clear_state()?;
        if let Some(editor) = &mut self.editor {
            editor.edited = false;
        }
        Ok(())
    }
}
