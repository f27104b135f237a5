//! Changing a FAT volume.
//!
//! Room is checked before anything is written. Clusters that are given up, and the rest of a file's last cluster, are
//! filled with zeroes: what was there does not leak, and the image compresses better.

use hadris_fs::{Extent, Name, NodeId, RenameMode, SetAttr};

use super::check;
use super::device::{Editable, explain, read_vec};
use super::{BOOT_SECTOR, Fat, boot, names};
use crate::block::BlockDeviceMut;
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::fs::{Attributes, FileContent, FileSystem, FileSystemMut, FileType, FsPath, MetadataChange};

/// Bytes written at once: large enough to make contiguous writes, small enough for any machine.
const CHUNK: u64 = 1 << 20;
/// Runs asked for at first; most files have one.
const RUNS: usize = 16;

/// All times FAT has, from the one we keep.
fn stamps(attributes: &Attributes) -> Result<SetAttr> {
    let time = names::time(attributes.mtime)?;
    Ok(SetAttr::new().with_created(time).with_modified(time).with_accessed(time))
}

fn parent_of(path: &FsPath) -> Result<FsPath> {
    path.parent().ok_or_else(|| Error::internal("a path with a name has a parent"))
}

impl<D: BlockDeviceMut> Fat<Editable<D>> {
    /// The entry at `path`, if there is one; pinned.
    fn find(&self, path: &FsPath) -> Result<Option<NodeId>> {
        match self.pin(path) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Clusters that hold `bytes`.
    fn clusters(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.geometry().cluster_size()))
    }

    /// Stretches of the device that hold the content of `node`.
    fn runs(&self, node: NodeId) -> Result<Vec<Extent>> {
        let mut runs = vec![Extent::new(0, 0); RUNS];
        loop {
            let found = self.driver().extents(node, 0, &mut runs).map_err(explain)?;
            if found < runs.len() {
                runs.truncate(found);
                return Ok(runs);
            }
            runs.resize(runs.len() * 2, Extent::new(0, 0));
        }
    }

    /// Clusters that a new entry `name` adds to `directory`.
    fn growth(&self, directory: NodeId, name: &str) -> Result<u64> {
        let mut slots = Vec::new();
        for run in self.runs(directory)? {
            slots.extend(read_vec(&self.device.medium, run.offset(), to_usize(run.len())?)?);
        }
        Ok(check::growth(&slots, names::slots(name), self.geometry().cluster_size()))
    }

    /// Makes sure that `content` clusters and a new entry at `path` fit, when `freed` clusters are given up before.
    fn reserve(&self, path: &FsPath, new_entry: bool, content: u64, freed: u64) -> Result<()> {
        let capacity = self.capacity()?;
        let free = capacity.free_bytes / capacity.block_bytes + freed;
        let mut growth = 0;
        if new_entry {
            let name = names::storable(path)?;
            // At most this much; only where that does not fit is the directory itself looked at.
            growth = self.clusters(to_u64(names::slots(name) * check::SLOT));
            if content + growth > free {
                let directory = self.pin(&parent_of(path)?)?;
                let exact = self.growth(directory, name);
                self.forget(directory);
                growth = exact?;
            }
        }
        if content + growth <= free {
            return Ok(());
        }
        Err(Error::no_space(format!(
            "needs {} clusters of {} bytes ({content} for content, {growth} for its directory), {free} are free",
            content + growth,
            capacity.block_bytes
        ))
        .with_hint("remove files from this partition, or write less to it")
        .at(path.to_string()))
    }

    /// Fills whole clusters that no longer belong to anything with zeroes.
    fn wipe(&self, runs: &[Extent]) -> Result<()> {
        let cluster = u64::from(self.geometry().cluster_size());
        for run in runs {
            let len = run.len().next_multiple_of(cluster);
            self.device.write_zeroes(run.offset(), len)?;
        }
        // The driver may hold a block of what was filled.
        self.driver().clear_cache();
        Ok(())
    }

    /// Fills the part of a file's last cluster behind its end with zeroes.
    fn wipe_slack(&self, node: NodeId, size: u64) -> Result<()> {
        let slack = size.next_multiple_of(u64::from(self.geometry().cluster_size())) - size;
        if let Some(last) = self.runs(node)?.last().filter(|_| slack != 0) {
            self.device.write_zeroes(last.end(), slack)?;
            self.driver().clear_cache();
        }
        Ok(())
    }

    /// Creates an entry in the parent of `path` with `make`; it is pinned.
    fn create(&self, path: &FsPath, attributes: &Attributes, directory: bool) -> Result<NodeId> {
        let name = Name::new(names::storable(path)?);
        let attributes = stamps(attributes)?;
        self.with(&parent_of(path)?, |driver, parent| {
            Ok(match directory {
                true => driver.mkdir(parent, name, &attributes),
                false => driver.create(parent, name, &attributes),
            })
        })?
        .map_err(explain)
        .at(|| path.to_string())
    }

    /// The empty file at `path`, pinned: a new one, or an old one without its content.
    fn empty_file(&self, path: &FsPath, attributes: &Attributes, size: u64) -> Result<NodeId> {
        let content = self.clusters(size);
        let Some(node) = self.find(path)? else {
            self.reserve(path, true, content, 0)?;
            return self.create(path, attributes, false);
        };
        let emptied = self.empty(node, path, content);
        if emptied.is_err() {
            self.forget(node);
        }
        emptied.map(|()| node)
    }

    fn empty(&self, node: NodeId, path: &FsPath, content: u64) -> Result<()> {
        let old = self.driver().stat(node).map_err(explain)?;
        if old.file_type().is_dir() {
            return Err(Error::invalid("is a directory, a file cannot replace it").at(path.to_string()));
        }
        self.reserve(path, false, content, self.clusters(old.len()))?;
        let runs = self.runs(node)?;
        self.driver().truncate(node, 0).map_err(explain)?;
        self.wipe(&runs)
    }

    /// FAT has no holes: they become zeroes.
    fn fill(&self, node: NodeId, mut content: FileContent<'_>) -> Result<()> {
        let size = content.size();
        let mut buf = vec![0; to_usize(size.min(CHUNK))?];
        while content.position() < size {
            let done = content.position();
            let len = to_usize((size - done).min(CHUNK))?;
            content.fill(&mut buf[..len])?;
            let written = self.driver().write(node, done, &buf[..len]).map_err(explain)?;
            if written != len {
                return Err(Error::internal(format!("the FAT driver wrote {written} of {len} bytes")));
            }
        }
        content.finish()
    }

    /// Removes the dirty mark that Linux leaves in the boot sector of a volume it did not unmount.
    fn clear_state(&self) -> Result<()> {
        let sector = read_vec(&self.device.medium, 0, BOOT_SECTOR)?;
        let at = boot::state_offset(&sector)?;
        match sector.get(at) {
            Some(state) if state & boot::STATE_DIRTY != 0 => {
                self.device.put(to_u64(at), &[state & !boot::STATE_DIRTY])?;
                self.driver().clear_cache();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn lacking(what: &str, path: &FsPath) -> Error {
    Error::unsupported(format!("FAT has no {what}"))
        .with_hint("put it on a partition whose filesystem has them, such as ROOT")
        .at(path.to_string())
}

impl<D: BlockDeviceMut> FileSystemMut for Fat<Editable<D>> {
    fn as_read(&self) -> &dyn FileSystem {
        self
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        self.edited = true;
        self.reserve(path, true, 1, 0)?;
        let node = self.create(path, attributes, true)?;
        self.forget(node);
        Ok(())
    }

    fn write_content(&mut self, path: &FsPath, attributes: &Attributes, content: FileContent<'_>) -> Result<()> {
        names::storable(path)?;
        let size = content.size();
        if size > u64::from(u32::MAX) {
            return Err(Error::unsupported(format!("{size} bytes, a file on FAT has at most {}", u32::MAX))
                .at(path.to_string()));
        }
        self.edited = true;
        let node = self.empty_file(path, attributes, size)?;
        let written = self.fill(node, content).and_then(|()| {
            let stamps = stamps(attributes)?;
            self.driver().setattr(node, &stamps).map_err(explain)?;
            self.wipe_slack(node, size)
        });
        self.forget(node);
        written.at(|| path.to_string())
    }

    fn symlink(&mut self, path: &FsPath, _target: &[u8], _attributes: &Attributes) -> Result<()> {
        Err(lacking("symlinks", path))
    }

    fn hard_link(&mut self, _existing: &FsPath, path: &FsPath) -> Result<()> {
        Err(lacking("hard links", path))
    }

    fn mknod(&mut self, path: &FsPath, _type: FileType, _device: (u32, u32), _attributes: &Attributes) -> Result<()> {
        Err(lacking("device nodes, fifos or sockets", path))
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        let node = self.pin(path)?;
        self.forget(node);
        // The root directory has no entry that could hold a time.
        let Some(mtime) = change.mtime.filter(|_| !path.is_root()) else { return Ok(()) };
        self.edited = true;
        let change = SetAttr::new().with_modified(names::time(mtime)?);
        self.with(path, |driver, node| driver.setattr(node, &change))
    }

    fn set_xattr(&mut self, path: &FsPath, _name: &[u8], _value: &[u8]) -> Result<()> {
        Err(lacking("extended attributes", path))
    }

    fn remove_xattr(&mut self, path: &FsPath, _name: &[u8]) -> Result<()> {
        Err(lacking("extended attributes", path))
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let new = names::storable(to)?;
        let Some(old) = from.name() else {
            return Err(Error::invalid("the root directory cannot be moved"));
        };
        let source = self.pin(from)?;
        self.forget(source);
        let mut replaced = Vec::new();
        match self.find(to)? {
            Some(target) => {
                let runs = self.runs(target);
                self.forget(target);
                if target != source {
                    if self.metadata_of(to)?.file_type == FileType::Directory {
                        return Err(Error::invalid("is a directory, it cannot be replaced").at(to.to_string()));
                    }
                    replaced = runs?;
                }
            }
            None => self.reserve(to, true, 0, 0)?,
        }
        self.edited = true;
        let (to_dir, from_dir) = (self.pin(&parent_of(to)?)?, self.pin(&parent_of(from)?)?);
        let mode = RenameMode::Replace;
        let moved = self.driver().rename(from_dir, Name::new(old), to_dir, Name::new(new), mode);
        self.forget(from_dir);
        self.forget(to_dir);
        moved.map_err(explain).at(|| format!("moving {from} to {to}"))?;
        self.wipe(&replaced)
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        let Some(name) = path.name() else {
            return Err(Error::invalid("the root directory cannot be removed"));
        };
        let node = self.pin(path)?;
        let runs = self.runs(node);
        let is_dir = self.driver().stat(node).map(|stat| stat.file_type().is_dir());
        self.forget(node);
        let (runs, is_dir) = (runs?, is_dir.map_err(explain)?);
        self.edited = true;
        self.with(&parent_of(path)?, |driver, parent| {
            Ok(match is_dir {
                true => driver.rmdir(parent, Name::new(name)),
                false => driver.unlink(parent, Name::new(name)),
            })
        })?
        .map_err(explain)
        .at(|| path.to_string())?;
        self.wipe(&runs)
    }

    fn commit(&mut self) -> Result<()> {
        if !self.edited {
            return Ok(());
        }
        // The volume was proven sound when it was opened, so it may be called clean even where it was not before.
        let mut driver = self.driver();
        driver.mark_clean().map_err(explain)?;
        driver.sync().map_err(explain)?;
        drop(driver);
        self.clear_state()?;
        self.edited = false;
        Ok(())
    }
}
