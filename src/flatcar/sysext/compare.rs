//! What merging an extension does to what the image has in /usr and /opt.
//!
//! systemd-sysext puts extensions over the image's own folders as layers of an overlay. There, a folder of an upper layer
//! joins with that of a lower one but keeps its own owner and mode, and all else of an upper layer hides what lies below
//! it. What an extension only adds does no harm and is not told.

use super::class::Class;
use super::usr_view::UsrView;
use crate::bytes::to_usize;
use crate::error::{Result, ResultExt};
use crate::finding::{Few, Finding, code};
use crate::fs::{ByPath, Entry, FileSystem, FileType, FsPath, Metadata, walk};

/// Prefixes of attributes that overlayfs reads from its layers.
const OVERLAY_ATTRIBUTES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// The attribute of a folder that hides all that lower layers have in it, and its value.
const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");
/// Others may write.
const OTHERS_WRITE: u32 = 0o002;
/// Only owners may remove entries of such a folder.
const STICKY: u32 = 0o1000;
/// Bits of a mode that say who may do what.
const PERMISSIONS: u32 = 0o777;
/// Bytes of two files that are compared at a time.
const COMPARE_BYTES: u64 = 64 << 10;

/// What an image has in the folders that extensions are merged into.
pub struct HostTree {
    usr: Option<UsrView>,
    root: Option<Box<dyn FileSystem>>,
}

impl HostTree {
    /// The filesystems of USR, which is mounted at `/usr`, and of ROOT, which holds `/opt`. One that is missing counts as
    /// empty.
    pub fn new(usr: Option<Box<dyn FileSystem>>, root: Option<Box<dyn FileSystem>>) -> Self {
        Self {
            usr: usr.map(UsrView::new),
            root,
        }
    }

    /// The trees of it, that of `/usr` first.
    pub fn layers(&self) -> Vec<&dyn FileSystem> {
        let usr = self.usr.as_ref().map(|usr| usr as &dyn FileSystem);
        usr.into_iter().chain(self.root.as_deref()).collect()
    }

    /// The filesystem that `path` lies on.
    fn tree_of(&self, path: &FsPath) -> Option<&dyn FileSystem> {
        match path.components().next() {
            Some(b"usr") => self.usr.as_ref().map(|usr| usr as &dyn FileSystem),
            Some(b"opt") => self.root.as_deref(),
            _ => None,
        }
    }
}

impl std::fmt::Debug for HostTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTree")
            .field("usr", &self.usr.is_some())
            .field("root", &self.root.is_some())
            .finish()
    }
}

/// What merging `extension` into `host` would take from the image, or change of it.
///
/// `known` are folders about which a finding speaks already.
///
/// # Errors
/// Those of reading either side.
pub fn compare(
    extension: &dyn FileSystem,
    host: &HostTree,
    known: &[FsPath],
) -> Result<Vec<Finding>> {
    compare_as(Class::Sysext, extension, host, known)
}

/// The same for an extension of a class. Of `/etc`, which is put together when a machine boots, a host has nothing.
///
/// # Errors
/// Those of reading either side.
pub fn compare_as(
    class: Class,
    extension: &dyn FileSystem,
    host: &HostTree,
    known: &[FsPath],
) -> Result<Vec<Finding>> {
    let mut comparison = Comparison {
        class,
        extension,
        host,
        known,
        new: None,
        found: Found::default(),
    };
    walk(extension, &FsPath::root(), &mut |entry| {
        comparison.visit(&entry)
    })?;
    Ok(comparison.found.into_findings())
}

/// Paths that two extensions both have with different content, so that one hides the other's.
///
/// # Errors
/// Those of reading either of them.
pub fn shared_paths(extension: &dyn FileSystem, other: &dyn FileSystem) -> Result<Few> {
    shared_paths_as(Class::Sysext, extension, other)
}

/// The same for two extensions of a class.
///
/// # Errors
/// Those of reading either of them.
pub fn shared_paths_as(
    class: Class,
    extension: &dyn FileSystem,
    other: &dyn FileSystem,
) -> Result<Few> {
    let mut shared = Few::default();
    let mut new = None;
    walk(extension, &FsPath::root(), &mut |entry| {
        if !is_merged(class, &entry.path) || is_below(&entry.path, new.as_ref()) {
            return Ok(());
        }
        let ours = &entry.metadata;
        match (other.find_metadata(&entry.path)?, ours.file_type) {
            (None, FileType::Directory) => new = Some(entry.path),
            (None, _) => {}
            (Some(theirs), FileType::Directory) if theirs.file_type == FileType::Directory => {}
            (Some(theirs), _) => {
                if !is_same(extension, ours, other, &theirs, &entry.path)? {
                    shared.add(&entry.path);
                }
                if ours.file_type == FileType::Directory {
                    new = Some(entry.path);
                }
            }
        }
        Ok(())
    })?;
    Ok(shared)
}

/// Paths by what happens there.
#[derive(Default)]
struct Found {
    hidden: Few,
    deleted: Few,
    closed: Few,
    owners: Few,
    replaced: Few,
    marks: Few,
    writable: Few,
}

impl Found {
    fn into_findings(self) -> Vec<Finding> {
        let all = [
            (code::SYSEXT_HIDES, self.hidden),
            (code::SYSEXT_DELETES, self.deleted),
            (code::SYSEXT_CLOSES, self.closed),
            (code::SYSEXT_OWNER, self.owners),
            (code::SYSEXT_REPLACES, self.replaced),
            (code::SYSEXT_OVERLAY_MARKS, self.marks),
            (code::SYSEXT_WRITABLE, self.writable),
        ];
        let told = all.into_iter().filter(|(_, paths)| !paths.is_empty());
        told.map(|(code, paths)| Finding::new(code).with("paths", paths))
            .collect()
    }
}

struct Comparison<'a> {
    class: Class,
    extension: &'a dyn FileSystem,
    host: &'a HostTree,
    known: &'a [FsPath],
    /// The folder last met of which the image has nothing, or nothing that joins with it.
    new: Option<FsPath>,
    found: Found,
}

impl Comparison<'_> {
    fn visit(&mut self, entry: &Entry) -> Result<()> {
        let Entry {
            path,
            metadata: ours,
            ..
        } = entry;
        if !is_merged(self.class, path) {
            return Ok(());
        }
        let theirs = match self.host.tree_of(path) {
            Some(tree) if !is_below(path, self.new.as_ref()) => tree.find_metadata(path)?,
            _ => None,
        };
        if is_whiteout(ours) {
            match theirs {
                Some(_) => self.found.deleted.add(path),
                None => self.found.marks.add(format_args!("{path} (a whiteout)")),
            }
            return Ok(());
        }
        self.attributes(entry, theirs.as_ref())?;
        let is_sticky = ours.file_type == FileType::Directory && ours.mode & STICKY != 0;
        if ours.file_type != FileType::Symlink && ours.mode & OTHERS_WRITE != 0 && !is_sticky {
            self.found.writable.add(path);
        }
        match theirs {
            Some(theirs) => self.met(path, ours, &theirs),
            None => {
                self.note_new(path, ours);
                Ok(())
            }
        }
    }

    /// Something that the image has too.
    fn met(&mut self, path: &FsPath, ours: &Metadata, theirs: &Metadata) -> Result<()> {
        match (ours.file_type, theirs.file_type) {
            (FileType::Directory, FileType::Directory) => self.folders(path, ours, theirs),
            (FileType::Directory, _) | (_, FileType::Directory) => {
                if !self.known.contains(path) {
                    let over = word(ours.file_type);
                    let below = word(theirs.file_type);
                    self.found
                        .hidden
                        .add(format_args!("{path} ({over} over {below})"));
                }
                self.note_new(path, ours);
            }
            _ => {
                let Some(tree) = self.host.tree_of(path) else {
                    return Ok(());
                };
                if !is_same(self.extension, ours, tree, theirs, path)? {
                    self.found.replaced.add(path);
                }
            }
        }
        Ok(())
    }

    fn folders(&mut self, path: &FsPath, ours: &Metadata, theirs: &Metadata) {
        if (ours.uid, ours.gid) != (theirs.uid, theirs.gid) {
            let new = (ours.uid, ours.gid);
            let old = (theirs.uid, theirs.gid);
            self.found.owners.add(format_args!(
                "{path} ({}:{}, not {}:{})",
                new.0, new.1, old.0, old.1
            ));
        }
        let new = ours.mode & PERMISSIONS;
        let old = theirs.mode & PERMISSIONS;
        if old & !new != 0 {
            self.found
                .closed
                .add(format_args!("{path} ({new:04o}, not {old:04o})"));
        }
    }

    /// Nothing below a folder that is new can meet what the image has.
    fn note_new(&mut self, path: &FsPath, ours: &Metadata) {
        if ours.file_type == FileType::Directory && !is_below(path, self.new.as_ref()) {
            self.new = Some(path.clone());
        }
    }

    /// Attributes that mean something to overlayfs.
    fn attributes(&mut self, entry: &Entry, theirs: Option<&Metadata>) -> Result<()> {
        let Entry {
            path,
            node,
            metadata: ours,
        } = entry;
        for xattr in self.extension.xattrs(*node).at(|| path.to_string())? {
            if !OVERLAY_ATTRIBUTES
                .iter()
                .any(|prefix| xattr.name.starts_with(prefix))
            {
                continue;
            }
            let is_opaque = ours.file_type == FileType::Directory
                && (&xattr.name[..], &xattr.value[..]) == OPAQUE;
            if is_opaque && theirs.is_some_and(|theirs| theirs.file_type == FileType::Directory) {
                self.found.deleted.add(format_args!("all in {path}"));
            } else {
                self.found
                    .marks
                    .add(format_args!("{path} ({})", xattr.name.escape_ascii()));
            }
        }
        Ok(())
    }
}

/// Whether `path` is one of the folders that are merged, or lies in one.
fn is_merged(class: Class, path: &FsPath) -> bool {
    path.components()
        .next()
        .is_some_and(|top| class.merged().iter().any(|merged| merged.as_bytes() == top))
}

/// Whether `path` is the folder or lies in it.
fn is_below(path: &FsPath, folder: Option<&FsPath>) -> bool {
    folder.is_some_and(|folder| path.starts_with(folder))
}

/// What overlayfs takes for the mark that a lower layer's entry is deleted.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type == FileType::CharDevice && metadata.device == (0, 0)
}

fn word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        FileType::CharDevice | FileType::BlockDevice => "a device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
    }
}

/// Whether it makes no difference which of two entries that are not both folders is seen.
fn is_same(
    one: &dyn FileSystem,
    one_metadata: &Metadata,
    other: &dyn FileSystem,
    other_metadata: &Metadata,
    path: &FsPath,
) -> Result<bool> {
    let marks = |metadata: &Metadata| {
        (
            metadata.file_type,
            metadata.uid,
            metadata.gid,
            metadata.device,
        )
    };
    if marks(one_metadata) != marks(other_metadata) {
        return Ok(false);
    }
    match one_metadata.file_type {
        FileType::Symlink => Ok(one.read_link_at(path)? == other.read_link_at(path)?),
        FileType::File
            if one_metadata.mode == other_metadata.mode
                && one_metadata.size == other_metadata.size =>
        {
            has_same_content(one, other, path)
        }
        FileType::File => Ok(false),
        _ => Ok(one_metadata.mode == other_metadata.mode),
    }
}

fn has_same_content(one: &dyn FileSystem, other: &dyn FileSystem, path: &FsPath) -> Result<bool> {
    let one = one.open_at(path)?;
    let other = other.open_at(path)?;
    if one.size() != other.size() {
        return Ok(false);
    }
    let mut buffers = [Vec::new(), Vec::new()];
    let mut offset = 0;
    while offset < one.size() {
        let len = COMPARE_BYTES.min(one.size() - offset);
        for (file, buffer) in [&one, &other].into_iter().zip(&mut buffers) {
            buffer.resize(to_usize(len)?, 0);
            file.read_at(offset, buffer).at(|| path.to_string())?;
        }
        if buffers[0] != buffers[1] {
            return Ok(false);
        }
        offset += len;
    }
    Ok(true)
}
