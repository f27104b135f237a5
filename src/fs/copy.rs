//! Copies a tree from one filesystem into another.

use std::collections::HashMap;
use std::io::{self, Read};

use super::{
    Attributes, ByPath, Entry, FileContent, FileRead, FileSystem, FileSystemMut, FileType, FsKind,
    FsPath, Metadata, MetadataChange, Stretch, Timestamp, walk,
};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::progress::Progress;

/// The unit in which zeroes become holes, and bytes read at once.
const CHUNK: u64 = 64 << 10;
/// Stretches of one file that are told apart; further ones are joined with the zeroes between them.
const STRETCHES_MAX: usize = 1 << 16;

/// What [`copy_tree`] copies, to where, and how it treats what it meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The directory of the source whose entries are copied; its root by default.
    pub from: FsPath,
    /// The directory of the target that they are copied into, which must exist; its root by default.
    pub to: FsPath,
    /// Later times (seconds since 1970) become this one.
    pub latest_time: Option<i64>,
    /// Owner and group of all that is copied; `None` keeps those of the source.
    pub owner: Option<(u32, u32)>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            from: FsPath::root(),
            to: FsPath::root(),
            latest_time: None,
            owner: None,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copied {
    /// Directories without the top one.
    pub directories: u64,
    /// Regular files, each counted once.
    pub files: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Further names of what was copied.
    pub hard_links: u64,
    /// Devices, fifos and sockets.
    pub nodes: u64,
    /// Bytes of the files with their holes.
    pub bytes: u64,
    /// Entries whose extended attributes the target cannot keep.
    pub lost_xattrs: u64,
}

/// Copies all that `is_wanted` of `source` into `target`; the directory that is copied into gets the attributes of the
/// one that is copied. What is below a directory that is not wanted is left out with it.
///
/// Modes, owners, times, extended attributes, hard links, devices and holes come along, as far as the target has them:
/// FAT keeps names, content and times, and refuses links and devices. Directories that are there keep what is in them;
/// files are replaced; anything else in the way is an error. `progress` is advanced by the bytes of files.
pub fn copy_tree(
    source: &dyn FileSystem,
    target: &mut dyn FileSystemMut,
    options: &CopyOptions,
    is_wanted: &mut dyn FnMut(&Entry) -> Result<bool>,
    progress: &dyn Progress,
) -> Result<Copied> {
    let mut job = Job {
        source,
        target,
        options,
        progress,
        linked: HashMap::new(),
        times: Vec::new(),
        copied: Copied::default(),
    };
    let mut left_out: Option<FsPath> = None;
    walk(source, &options.from, &mut |entry| {
        if left_out
            .as_ref()
            .is_some_and(|above| entry.path.starts_with(above))
        {
            return Ok(());
        }
        if !is_wanted(&entry)? {
            left_out = Some(entry.path);
            return Ok(());
        }
        let place = moved(&entry.path, &options.from, &options.to)?;
        let copy = job.copy(&entry.path, &entry.metadata, &place);
        copy.at(|| entry.path.to_string())?;
        Ok(())
    })?;
    job.set_times()?;
    Ok(job.copied)
}

/// Where `path`, which is below `from`, is below `to`.
fn moved(path: &FsPath, from: &FsPath, to: &FsPath) -> Result<FsPath> {
    let skip = from.components().count();
    let mut place = to.clone();
    for name in path.components().skip(skip) {
        place = place.join(name)?;
    }
    Ok(place)
}

struct Job<'a> {
    source: &'a dyn FileSystem,
    target: &'a mut dyn FileSystemMut,
    options: &'a CopyOptions,
    progress: &'a dyn Progress,
    /// Where entries with several names went first, by their inode.
    linked: HashMap<u64, FsPath>,
    /// Times of directories, to be set when nothing is written into them any more.
    times: Vec<(FsPath, Timestamp)>,
    copied: Copied,
}

impl Job<'_> {
    fn copy(&mut self, path: &FsPath, metadata: &Metadata, place: &FsPath) -> Result<()> {
        let attributes = self.attributes(metadata);
        if metadata.file_type == FileType::Directory {
            self.directory(place, &attributes)?;
            return self.xattrs(path, place);
        }
        if metadata.nlink > 1 {
            if let Some(first) = self.linked.get(&metadata.inode) {
                self.target.hard_link(first, place)?;
                self.copied.hard_links += 1;
                return Ok(());
            }
            self.linked.insert(metadata.inode, place.clone());
        }
        match metadata.file_type {
            FileType::File => self.file(path, place, &attributes)?,
            FileType::Symlink => {
                let target = self.source.read_link_at(path)?;
                self.target.symlink(place, &target, &attributes)?;
                self.copied.symlinks += 1;
            }
            file_type => {
                let made = self
                    .target
                    .mknod(place, file_type, metadata.device, &attributes);
                made?;
                self.copied.nodes += 1;
            }
        }
        self.xattrs(path, place)
    }

    fn attributes(&self, metadata: &Metadata) -> Attributes {
        let (uid, gid) = self.options.owner.unwrap_or((metadata.uid, metadata.gid));
        let mtime = match self.options.latest_time {
            Some(secs) if metadata.mtime.secs >= secs => Timestamp { secs, nanos: 0 },
            _ => metadata.mtime,
        };
        Attributes {
            mode: metadata.mode,
            uid,
            gid,
            mtime,
        }
    }

    fn directory(&mut self, place: &FsPath, attributes: &Attributes) -> Result<()> {
        match self.target.find_metadata(place)? {
            None => {
                self.target.create_dir(place, attributes)?;
                self.copied.directories += 1;
            }
            Some(there) if there.file_type == FileType::Directory => {
                let change = MetadataChange {
                    mode: Some(attributes.mode),
                    uid: Some(attributes.uid),
                    gid: Some(attributes.gid),
                    mtime: None,
                };
                self.target.set_metadata(place, &change)?;
            }
            Some(_) => {
                return Err(Error::invalid("exists already and is not a directory")
                    .because(Reason::Exists)
                    .at(place.to_string()));
            }
        }
        self.times.push((place.clone(), attributes.mtime));
        Ok(())
    }

    fn file(&mut self, path: &FsPath, place: &FsPath, attributes: &Attributes) -> Result<()> {
        let file = self.source.open_at(path)?;
        let size = file.size();
        let stored = stored(&*file)?;
        let mut bytes = StretchReader {
            file: &*file,
            stored: &stored,
            done: 0,
            progress: self.progress,
        };
        let content = FileContent::sparse(size, &stored, &mut bytes)?;
        self.target.write_content(place, attributes, content)?;
        self.copied.files += 1;
        self.copied.bytes = self.copied.bytes.saturating_add(size);
        Ok(())
    }

    fn xattrs(&mut self, path: &FsPath, place: &FsPath) -> Result<()> {
        let xattrs = self.source.xattrs_at(path)?;
        if self.target.kind() == FsKind::Fat {
            self.copied.lost_xattrs += u64::from(!xattrs.is_empty());
            return Ok(());
        }
        for xattr in &xattrs {
            self.target.set_xattr(place, &xattr.name, &xattr.value)?;
        }
        Ok(())
    }

    fn set_times(&mut self) -> Result<()> {
        for (place, mtime) in std::mem::take(&mut self.times) {
            let change = MetadataChange {
                mtime: Some(mtime),
                ..MetadataChange::default()
            };
            // The root of FAT has no time.
            if !(place.is_root() && self.target.kind() == FsKind::Fat) {
                self.target.set_metadata(&place, &change)?;
            }
        }
        Ok(())
    }
}

/// The stretches of a file that are not zeroes.
fn stored(file: &dyn FileRead) -> Result<Vec<Stretch>> {
    let mut stored: Vec<Stretch> = Vec::new();
    let mut chunk = vec![0; to_usize(CHUNK.min(file.size()))?];
    let mut offset = 0;
    while offset < file.size() {
        let len = CHUNK.min(file.size() - offset);
        let bytes = &mut chunk[..to_usize(len)?];
        file.read_at(offset, bytes)?;
        if !is_zero(bytes) {
            let is_full = stored.len() >= STRETCHES_MAX;
            match stored.last_mut() {
                Some(last) if is_full || last.offset + last.len == offset => {
                    last.len = offset + len - last.offset;
                }
                _ => stored.push(Stretch { offset, len }),
            }
        }
        offset += len;
    }
    Ok(stored)
}

/// The bytes of a file's stretches, one after the other.
struct StretchReader<'a> {
    file: &'a dyn FileRead,
    stored: &'a [Stretch],
    /// Bytes read of the first stretch that is left.
    done: u64,
    progress: &'a dyn Progress,
}

impl Read for StretchReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some((stretch, later)) = self.stored.split_first() else {
            return Ok(0);
        };
        let left = stretch.len - self.done;
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.file
            .read_at(stretch.offset + self.done, &mut buf[..len])?;
        self.progress.advance(to_u64(len));
        self.done += to_u64(len);
        if self.done == stretch.len {
            self.stored = later;
            self.done = 0;
        }
        Ok(len)
    }
}
