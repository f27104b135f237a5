//! Unpacks an archive into a filesystem of an image, as `tar -x` run as root in a chroot there would.
//!
//! ```text
//!   entry /opt/app/bin/x      image: /opt -> /usr/local
//!     parent /opt/app/bin ──▶ /usr/local/app/bin     symlinks followed inside the image, missing directories made
//!     name   x            ──▶ never followed: what is there is replaced, a directory gets the entry's metadata
//! ```

use crate::archive::EXCLUDE;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use super::select::{Action, TarOptions, for_each, is_overlay_note};
use super::tar::{TarEntry, TarKind, TarReader, shown};
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Few, Finding, code};
use crate::fs::{
    Attributes, ByPath, FileContent, FileSystemMut, FileType, FsKind, FsPath, Metadata,
    MetadataChange, Timestamp,
};
use crate::progress::Progress;

mod layer;
mod places;

use self::layer::Layer;
use self::places::Places;

/// Permission bits of directories that an archive needs but does not have.
const PARENT_MODE: u32 = 0o755;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TarSummary {
    /// Entries in the archive.
    pub entries: u64,
    /// Entries left out by the options.
    pub skipped: u64,
    /// Regular files.
    pub files: u64,
    /// Directories, created or given new metadata.
    pub directories: u64,
    /// Directories created because an entry needed them.
    pub parents: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Hard links.
    pub hard_links: u64,
    /// Device nodes and fifos.
    pub nodes: u64,
    /// Entries of the image deleted by OCI whiteouts.
    pub deleted: u64,
    /// Bytes of all files with their holes.
    pub content_bytes: u64,
    /// Directories just below the destination, by the names in the archive, into which something was put or which were;
    /// empty unless the destination is the root.
    pub top_level: BTreeSet<FsPath>,
    /// What a person should know, each kind once.
    pub findings: Vec<Finding>,
}

/// Unpacks `archive` (plain, gzip, bzip2, xz or zstd) into the directory `dest` of `fs`, which is created if needed.
///
/// - `..` in a path is refused; symlinks on the way to an entry are followed inside `fs` only, absolute ones from its root.
/// - Missing parents are made with mode 0755, owner root and the time of the entry that needs them.
/// - A directory that exists keeps its entries and gets mode, owner, time and attributes of the archive's. All else that
///   exists, a symlink to a directory too, is replaced; a directory only by a directory, unless it is empty.
/// - Owners are taken by number. FAT drops modes, owners and attributes; links and device nodes are an error there.
/// - Times of directories are set last, after everything was written into them.
///
/// `progress` is advanced by the bytes of content; the caller starts and finishes the step. An error names the entry and
/// leaves `fs` half-written: it must not be committed then.
pub fn inject(
    fs: &mut dyn FileSystemMut,
    archive: impl Read,
    dest: &FsPath,
    options: &TarOptions,
    progress: &dyn Progress,
) -> Result<TarSummary> {
    let layer = options.oci_layer.then(Layer::default);
    let places = Places::default();
    let mut job = Job {
        fs,
        dest,
        options,
        progress,
        places,
        layer,
        lent: None,
        times: BTreeMap::new(),
        lost_xattrs: 0,
        foreign_xattrs: BTreeSet::new(),
        replaced_symlinks: Few::default(),
        summary: TarSummary::default(),
    };
    let outcome = for_each(archive, dest, options, |entry, action, reader| {
        job.apply(entry, action, reader)
    })?;
    job.take_back()?;
    job.set_times()?;
    let mut summary = job.summary;
    summary.entries = outcome.entries;
    summary.skipped = outcome.skipped;
    if !job.replaced_symlinks.is_empty() {
        summary.findings.push(
            Finding::new(code::ARCHIVE_SYMLINK_REPLACED).with("paths", job.replaced_symlinks),
        );
    }
    summary.findings.extend(outcome.findings);
    if job.lost_xattrs > 0 {
        summary
            .findings
            .push(Finding::new(code::ARCHIVE_XATTRS).with("count", job.lost_xattrs));
    }
    if !job.foreign_xattrs.is_empty() {
        let names: Vec<String> = job.foreign_xattrs.into_iter().collect();
        summary
            .findings
            .push(Finding::new(code::ARCHIVE_FOREIGN_XATTRS).with("names", names.join(", ")));
    }
    Ok(summary)
}

/// What the names of extended attributes begin with on Linux.
const NAMESPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system."];
/// Most names of attributes of other systems that are told.
const FOREIGN_MAX: usize = 20;

struct Job<'a> {
    fs: &'a mut dyn FileSystemMut,
    dest: &'a FsPath,
    options: &'a TarOptions,
    progress: &'a dyn Progress,
    places: Places,
    /// What this archive wrote, where it is an OCI layer.
    layer: Option<Layer>,
    /// The folder of files that are there only until the archive ends.
    lent: Option<FsPath>,
    /// Times of directories, to be set at the end.
    times: BTreeMap<FsPath, Timestamp>,
    /// Entries whose attributes FAT cannot keep.
    lost_xattrs: u64,
    /// Names of attributes in no namespace of Linux.
    foreign_xattrs: BTreeSet<String>,
    /// Symlinks whose place a directory took, with their targets.
    replaced_symlinks: Few,
    summary: TarSummary,
}

impl Job<'_> {
    fn apply<R: Read>(
        &mut self,
        entry: &TarEntry,
        action: Action,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        match action {
            Action::Skip => Ok(()),
            Action::Put(path, target) => self.put(entry, &path, target.as_ref(), reader),
            Action::Lend(path) => self.lend(entry, &path, reader),
            Action::PutOpaque(path) => self
                .put(entry, &path, None, reader)
                .and_then(|()| self.opaque(&path)),
            Action::Whiteout(path) => self.whiteout(&path),
            Action::Opaque(path) => self.opaque(&path),
        }
    }

    /// The directory that `path` means, made where it is missing.
    fn directory(&mut self, path: &FsPath, mtime: Timestamp) -> Result<FsPath> {
        let times = &mut self.times;
        let summary = &mut self.summary;
        self.places.directory(self.fs, path, &mut |fs, missing| {
            fs.create_dir(
                missing,
                &Attributes {
                    mode: PARENT_MODE,
                    uid: 0,
                    gid: 0,
                    mtime,
                },
            )?;
            times.insert(missing.clone(), mtime);
            summary.parents += 1;
            Ok(())
        })
    }

    /// The same, `None` where it is missing.
    fn existing_directory(&mut self, path: &FsPath) -> Result<Option<FsPath>> {
        let found = self.places.directory(self.fs, path, &mut |_, missing| {
            Err(Error::not_found("there is no such directory").at(missing.to_string()))
        });
        match found {
            Ok(path) => Ok(Some(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put<R: Read>(
        &mut self,
        entry: &TarEntry,
        path: &FsPath,
        target: Option<&FsPath>,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent().filter(|_| path != self.dest), path.name())
        else {
            // The destination itself is where it leads to.
            let dest = self.directory(path, entry.mtime)?;
            return self.put_directory(entry, &dest);
        };
        self.note_top_level(path, &entry.kind)?;
        let place = self.directory(&parent, entry.mtime)?.join(name)?;
        if let Some(layer) = &mut self.layer {
            layer.add(&place)?;
        }
        let attributes = self.attributes(entry);
        match &entry.kind {
            TarKind::Directory => return self.put_directory(entry, &place),
            TarKind::HardLink { target: stored } => {
                let target = target.ok_or_else(|| Error::internal("a hard link has a target"))?;
                return self.hard_link(target, stored, &place);
            }
            TarKind::File { size, sparse } => {
                self.make_room(&place)?;
                let mut stored = Advancing {
                    content: reader.content(),
                    progress: self.progress,
                };
                let content = match sparse {
                    Some(map) => FileContent::sparse(*size, map.segments(), &mut stored)?,
                    None => FileContent::whole(*size, &mut stored),
                };
                self.fs.write_content(&place, &attributes, content)?;
                self.summary.files += 1;
                self.summary.content_bytes = self.summary.content_bytes.saturating_add(*size);
            }
            TarKind::Symlink { target } => {
                self.make_room(&place)?;
                self.fs.symlink(
                    &place,
                    target,
                    &Attributes {
                        mode: 0o777,
                        ..attributes
                    },
                )?;
                self.summary.symlinks += 1;
            }
            TarKind::CharDevice(major, minor) => {
                self.node(&place, FileType::CharDevice, (*major, *minor), &attributes)?
            }
            TarKind::BlockDevice(major, minor) => {
                self.node(&place, FileType::BlockDevice, (*major, *minor), &attributes)?
            }
            TarKind::Fifo => self.node(&place, FileType::Fifo, (0, 0), &attributes)?,
        }
        self.set_xattrs(entry, &place)
    }

    /// Notes which directory just below the root an entry is in, or is.
    fn note_top_level(&mut self, path: &FsPath, kind: &TarKind) -> Result<()> {
        let mut names = path.components();
        let Some(first) = names.next().filter(|_| self.dest.is_root()) else {
            return Ok(());
        };
        if names.next().is_some() || *kind == TarKind::Directory {
            self.summary.top_level.insert(FsPath::root().join(first)?);
        }
        Ok(())
    }

    fn attributes(&self, entry: &TarEntry) -> Attributes {
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        Attributes {
            mode: entry.mode,
            uid,
            gid,
            mtime: entry.mtime,
        }
    }

    fn node(
        &mut self,
        place: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        self.make_room(place)?;
        self.fs.mknod(place, file_type, device, attributes)?;
        self.summary.nodes += 1;
        Ok(())
    }

    fn put_directory(&mut self, entry: &TarEntry, place: &FsPath) -> Result<()> {
        let attributes = self.attributes(entry);
        match self.found(place)? {
            Some(found) if found.file_type == FileType::Directory => {
                let Attributes { mode, uid, gid, .. } = attributes;
                let change = MetadataChange {
                    mode: Some(mode),
                    uid: Some(uid),
                    gid: Some(gid),
                    mtime: None,
                };
                self.fs.set_metadata(place, &change)?;
            }
            found => {
                if let Some(found) = found {
                    self.note_replaced(place, &found)?;
                    self.replace(place, &found)?;
                }
                self.fs.create_dir(place, &attributes)?;
            }
        }
        self.times.insert(place.clone(), entry.mtime);
        self.summary.directories += 1;
        self.set_xattrs(entry, place)
    }

    /// tar replaces a symlink to a directory by the directory it has, which is not always what was meant.
    fn note_replaced(&mut self, place: &FsPath, found: &Metadata) -> Result<()> {
        if found.file_type == FileType::Symlink {
            let target = shown(&self.fs.read_link_at(place)?);
            self.replaced_symlinks
                .add(format_args!("{place} -> {target}"));
        }
        Ok(())
    }

    fn hard_link(&mut self, target: &FsPath, stored: &[u8], place: &FsPath) -> Result<()> {
        let missing = || {
            Error::invalid(format!(
                "a hard link to '{}', which is neither earlier in the archive nor in the image",
                shown(stored)
            ))
            .with_hint("an entry that was left out may have been the one with the content")
            .with_setting(EXCLUDE)
        };
        let (Some(parent), Some(name)) = (target.parent(), target.name()) else {
            return Err(missing());
        };
        let existing = self
            .existing_directory(&parent)?
            .ok_or_else(missing)?
            .join(name)?;
        let metadata = self.found(&existing)?.ok_or_else(missing)?;
        if metadata.file_type == FileType::Directory {
            return Err(Error::invalid(format!(
                "a hard link to '{}', which is a directory",
                shown(stored)
            ))
            .because(Reason::IsADirectory));
        }
        if self.found(place)?.is_some_and(|found| {
            found.inode == metadata.inode && found.file_type == metadata.file_type
        }) {
            return Ok(());
        }
        if existing.starts_with(place) {
            return Err(Error::invalid(format!(
                "a hard link to '{}' in place of the directory that is in",
                shown(stored)
            )));
        }
        self.make_room(place)?;
        self.fs.hard_link(&existing, place)?;
        self.summary.hard_links += 1;
        Ok(())
    }

    fn set_xattrs(&mut self, entry: &TarEntry, place: &FsPath) -> Result<()> {
        if self.fs.kind() == FsKind::Fat {
            self.lost_xattrs += u64::from(!entry.xattrs.is_empty());
            return Ok(());
        }
        for xattr in &entry.xattrs {
            if self.layer.is_some() && is_overlay_note(&xattr.name) {
                continue;
            }
            if !NAMESPACES
                .iter()
                .any(|namespace| xattr.name.starts_with(namespace))
            {
                if self.foreign_xattrs.len() < FOREIGN_MAX {
                    self.foreign_xattrs.insert(shown(&xattr.name));
                }
                continue;
            }
            let result = self.fs.set_xattr(place, &xattr.name, &xattr.value);
            result.at(|| format!("setting the attribute {}", shown(&xattr.name)))?;
        }
        Ok(())
    }

    fn found(&self, place: &FsPath) -> Result<Option<Metadata>> {
        self.fs.find_metadata(place)
    }

    /// Removes what is at `place`, so that something that is not a directory can be created there.
    fn make_room(&mut self, place: &FsPath) -> Result<()> {
        match self.found(place)? {
            Some(found) => self.replace(place, &found),
            None => Ok(()),
        }
    }

    fn replace(&mut self, place: &FsPath, found: &Metadata) -> Result<()> {
        if found.file_type == FileType::Directory {
            if self.layer.is_some() {
                self.remove_tree(place, |_| false)?;
                return Ok(());
            }
            if !self.fs.entries_at(place)?.is_empty() {
                return Err(Error::invalid(format!(
                    "{place} is a directory with entries, only a directory can take its place"
                ))
                .because(Reason::IsADirectory)
                .with_hint("remove the directory first, or leave the entry out")
                .with_setting(EXCLUDE));
            }
            self.times.remove(place);
        }
        // Files are removed, not overwritten: their content may have other names, which keep it.
        self.places.forget(found.file_type);
        self.fs.remove(place)
    }

    /// Sets the times of directories. Those that are gone were taken off the list.
    fn set_times(&mut self) -> Result<()> {
        for (path, mtime) in &self.times {
            let change = MetadataChange {
                mtime: Some(*mtime),
                ..MetadataChange::default()
            };
            self.fs
                .set_metadata(path, &change)
                .at(|| format!("setting the time of {path}"))?;
        }
        Ok(())
    }
}

/// Tells of the content that is read.
struct Advancing<'a, R> {
    content: R,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Advancing<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.content.read(buf)?;
        self.progress.advance(to_u64(len));
        Ok(len)
    }
}
