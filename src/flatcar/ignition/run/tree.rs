//! The tree that Ignition writes to: filesystems of the image, merged and mounted, with changes in memory on top.
//!
//! ```text
//!   changes in memory
//!   ─────────────────────────────────────────────
//!   ROOT        │ /etc: ROOT over the image's own │ /usr: USR, read-only │ /oem: OEM
//! ```
//!
//! Directories are read when something looks into them. Paths are walked as the kernel walks them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::fs::{FileSystem, FileType, Node};

use super::halt::{Halt, Outcome, stop};

/// Symlinks followed on one path (`MAXSYMLINKS` of Linux).
const SYMLINKS_MAX: usize = 40;
/// Largest file of the image that is read to be changed or compared.
const FILE_MAX: u64 = 64 << 20;

/// The number of an entry in its tree.
pub(super) type Id = usize;
/// The number of the root directory.
pub(super) const ROOT: Id = 0;

/// Permission bits and owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Attributes {
    /// Of what root makes.
    pub fn of_root(mode: u32) -> Self {
        Self {
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// The content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// As the image has it: number of the filesystem, node, size.
    Lower(usize, Node, u64),
    Bytes(Arc<Vec<u8>>),
    /// Only the machine will know it; why.
    Unknown(String),
}

#[derive(Debug, Clone)]
pub(super) enum Part {
    Directory(Directory),
    File(Content),
    Symlink(Vec<u8>),
    Special(FileType),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    /// The directories that are merged here, the topmost first.
    lower: Vec<(usize, Node)>,
    is_loaded: bool,
    /// Entries as the image has them, and as they are.
    pub before: BTreeMap<Vec<u8>, Id>,
    pub now: BTreeMap<Vec<u8>, Id>,
    /// Nothing can be written in it.
    is_read_only: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub attributes: Attributes,
    pub part: Part,
    /// Attributes and content before the first change.
    pub was: Option<(Attributes, Option<Content>)>,
    /// The path that another name was made of.
    pub linked: Option<String>,
}

impl Inode {
    pub fn file_type(&self) -> FileType {
        match &self.part {
            Part::Directory(_) => FileType::Directory,
            Part::File(_) => FileType::File,
            Part::Symlink(_) => FileType::Symlink,
            Part::Special(file_type) => *file_type,
        }
    }
}

/// The merged tree.
pub(super) struct Tree {
    layers: Vec<Arc<dyn FileSystem>>,
    inodes: Vec<Inode>,
}

/// Where a path leads.
struct Found {
    parent: Id,
    name: Vec<u8>,
    entry: Option<Id>,
}

impl Tree {
    /// The tree of one filesystem.
    pub fn new(root: Arc<dyn FileSystem>) -> Result<Self> {
        let mut tree = Self {
            layers: Vec::new(),
            inodes: Vec::new(),
        };
        let node = root.root();
        tree.layers.push(root);
        tree.add_lower(0, node, false)?;
        Ok(tree)
    }

    /// A tree with nothing in it.
    pub fn empty() -> Self {
        let mut tree = Self {
            layers: Vec::new(),
            inodes: Vec::new(),
        };
        tree.add(Attributes::of_root(0o755), Part::Directory(loaded(false)));
        tree
    }

    pub fn inode(&self, id: Id) -> &Inode {
        &self.inodes[id]
    }

    fn add(&mut self, attributes: Attributes, part: Part) -> Id {
        self.inodes.push(Inode {
            attributes,
            part,
            was: None,
            linked: None,
        });
        self.inodes.len() - 1
    }

    /// The entry `node` of a filesystem.
    fn add_lower(&mut self, layer: usize, node: Node, is_read_only: bool) -> Result<Id> {
        let fs = &self.layers[layer];
        let metadata = fs.metadata(node)?;
        let part = match metadata.file_type {
            FileType::Directory => Part::Directory(Directory {
                lower: vec![(layer, node)],
                is_read_only,
                ..Directory::default()
            }),
            FileType::File => Part::File(Content::Lower(layer, node, metadata.size)),
            FileType::Symlink => Part::Symlink(fs.read_link(node)?),
            other => Part::Special(other),
        };
        let attributes = Attributes {
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
        };
        Ok(self.add(attributes, part))
    }

    /// Puts what `fs` has at `path` below the directory at `to`, where the tree has one; it is made otherwise. Nothing of
    /// that counts as a change.
    pub fn overlay(&mut self, to: &str, fs: Arc<dyn FileSystem>, node: Node) -> Outcome<()> {
        let layer = self.layers.len();
        self.layers.push(fs);
        let id = match self.lookup(to)? {
            Some(id) => id,
            None => {
                let id = self.add_lower(layer, node, false)?;
                return self.place_unseen(to, id);
            }
        };
        if !matches!(self.inodes[id].part, Part::Directory(_)) {
            return stop(format!("{to} is no directory"));
        }
        Ok(self.add_below(id, layer, node)?)
    }

    /// Puts the directory `node` of a filesystem below a directory.
    fn add_below(&mut self, id: Id, layer: usize, node: Node) -> Result<()> {
        let Part::Directory(directory) = &mut self.inodes[id].part else {
            return Ok(());
        };
        if !directory.is_loaded {
            directory.lower.push((layer, node));
            return Ok(());
        }
        let is_read_only = directory.is_read_only;
        let known = directory.now.clone();
        for entry in self.layers[layer].entries(node)? {
            match known.get(&entry.name) {
                None => {
                    let new = self.add_lower(layer, entry.node, is_read_only)?;
                    if let Part::Directory(directory) = &mut self.inodes[id].part {
                        directory.before.insert(entry.name.clone(), new);
                        directory.now.insert(entry.name, new);
                    }
                }
                Some(upper) if entry.file_type == FileType::Directory => {
                    self.add_below(*upper, layer, entry.node)?;
                }
                Some(_) => {}
            }
        }
        self.drop_deleted(id);
        Ok(())
    }

    /// Takes out of a merged directory what its upper has deleted, which is there as a device.
    fn drop_deleted(&mut self, id: Id) {
        let Part::Directory(directory) = &self.inodes[id].part else {
            return;
        };
        let is_deleted = |id: &Id| {
            let part = &self.inodes[*id].part;
            matches!(part, Part::Special(FileType::CharDevice))
        };
        let mut before = directory.before.clone();
        let mut now = directory.now.clone();
        before.retain(|_, id| !is_deleted(id));
        now.retain(|_, id| !is_deleted(id));
        if let Part::Directory(directory) = &mut self.inodes[id].part {
            directory.before = before;
            directory.now = now;
        }
    }

    /// Mounts a filesystem at `to`, over what is there; the directory is made where there is none. Nothing of that counts
    /// as a change.
    pub fn mount(&mut self, to: &str, fs: Arc<dyn FileSystem>, is_read_only: bool) -> Outcome<()> {
        let node = fs.root();
        let layer = self.layers.len();
        self.layers.push(fs);
        let id = self.add_lower(layer, node, is_read_only)?;
        self.place_unseen(to, id)
    }

    /// Mounts an empty filesystem at `to`.
    pub fn mount_empty(&mut self, to: &str) -> Outcome<()> {
        if to == "/" {
            self.inodes[ROOT].part = Part::Directory(loaded(false));
            return Ok(());
        }
        let id = self.add(Attributes::of_root(0o755), Part::Directory(loaded(false)));
        self.place_unseen(to, id)
    }

    fn place_unseen(&mut self, path: &str, id: Id) -> Outcome<()> {
        let found = self.find(path)?;
        let directory = self.directory_mut(found.parent)?;
        directory.before.insert(found.name.clone(), id);
        directory.now.insert(found.name, id);
        Ok(())
    }

    /// The entries of a directory, read where they are not known yet.
    fn directory_mut(&mut self, id: Id) -> Outcome<&mut Directory> {
        self.load(id)?;
        match &mut self.inodes[id].part {
            Part::Directory(directory) => Ok(directory),
            _ => stop("not a directory"),
        }
    }

    fn load(&mut self, id: Id) -> Result<()> {
        let Part::Directory(directory) = &mut self.inodes[id].part else {
            return Ok(());
        };
        if directory.is_loaded {
            return Ok(());
        }
        directory.is_loaded = true;
        let mut lower = std::mem::take(&mut directory.lower).into_iter();
        let is_read_only = directory.is_read_only;
        if let Some((layer, node)) = lower.next() {
            let mut entries = BTreeMap::new();
            for entry in self.layers[layer].entries(node)? {
                let new = self.add_lower(layer, entry.node, is_read_only)?;
                entries.insert(entry.name, new);
            }
            if let Part::Directory(directory) = &mut self.inodes[id].part {
                directory.before.clone_from(&entries);
                directory.now = entries;
            }
        }
        for (layer, node) in lower {
            self.add_below(id, layer, node)?;
        }
        Ok(())
    }

    /// Entries of a directory by name.
    pub fn entries(&mut self, id: Id) -> Outcome<BTreeMap<Vec<u8>, Id>> {
        Ok(self.directory_mut(id)?.now.clone())
    }

    fn child(&mut self, directory: Id, name: &[u8]) -> Outcome<Option<Id>> {
        Ok(self.directory_mut(directory)?.now.get(name).copied())
    }

    /// Walks to a path; its last name is not followed.
    fn find(&mut self, path: &str) -> Outcome<Found> {
        self.find_in(path, 0)
    }

    fn find_in(&mut self, path: &str, links: usize) -> Outcome<Found> {
        let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let Some(last) = names.pop() else {
            return Ok(Found {
                parent: ROOT,
                name: b".".to_vec(),
                entry: Some(ROOT),
            });
        };
        // The directories on the way.
        let mut way = vec![ROOT];
        let mut done = String::new();
        let mut links = links;
        for (number, name) in names.iter().enumerate() {
            let at = *way.last().unwrap_or(&ROOT);
            done = format!("{done}/{name}");
            if *name == ".." {
                way.truncate(way.len().max(2) - 1);
                continue;
            }
            let child = self
                .child(at, name.as_bytes())
                .map_err(|halt| halt.at(&done))?;
            let Some(child) = child else {
                return Err(Halt::Missing(done));
            };
            match &self.inodes[child].part {
                Part::Directory(_) => way.push(child),
                Part::Symlink(target) => {
                    let target = String::from_utf8_lossy(target).into_owned();
                    if target.starts_with('/') {
                        return stop(format!(
                            "{done}: this symlink to {target} would lead Ignition into its own initrd"
                        ));
                    }
                    links += 1;
                    if links > SYMLINKS_MAX {
                        return stop(format!("{done}: too many levels of symbolic links"));
                    }
                    let above = done.rsplit_once('/').map_or("", |(above, _)| above);
                    let rest = names[number + 1..].join("/");
                    let next = format!("{above}/{target}/{rest}/{last}");
                    return self.find_in(&next, links);
                }
                _ => return stop(format!("{done}: not a directory")),
            }
        }
        let parent = *way.last().unwrap_or(&ROOT);
        let name = last.as_bytes().to_vec();
        let entry = self.child(parent, &name).map_err(|halt| halt.at(&done))?;
        Ok(Found {
            parent,
            name,
            entry,
        })
    }

    /// The entry at a path, the last name not followed; `None` where there is none.
    pub fn lookup(&mut self, path: &str) -> Outcome<Option<Id>> {
        match self.find(path) {
            Ok(found) => Ok(found.entry),
            Err(Halt::Missing(_)) => Ok(None),
            Err(halt) => Err(halt),
        }
    }

    /// The entry that a path leads to, symlinks followed; `None` where there is none.
    pub fn follow(&mut self, path: &str) -> Outcome<Option<Id>> {
        let mut path = path.to_owned();
        for _ in 0..SYMLINKS_MAX {
            let Some(id) = self.lookup(&path)? else {
                return Ok(None);
            };
            let Part::Symlink(target) = &self.inodes[id].part else {
                return Ok(Some(id));
            };
            let target = String::from_utf8_lossy(target).into_owned();
            path = beside(&path, &target);
        }
        stop(format!("{path}: too many levels of symbolic links"))
    }

    /// A path with the symlinks on its way resolved as Ignition does it before it writes: each once, by its target's
    /// text, within the system. The last name is not followed.
    pub fn joined(&mut self, path: &str) -> Outcome<String> {
        let mut names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        let last = names.pop().unwrap_or_default();
        let mut real = String::new();
        for name in names {
            let next = format!("{real}/{name}");
            let target = match self.lookup(&next)? {
                Some(id) => match &self.inodes[id].part {
                    Part::Symlink(target) => Some(String::from_utf8_lossy(target).into_owned()),
                    _ => None,
                },
                None => None,
            };
            real = match target {
                Some(target) => clean(&beside(&next, &target)),
                None => next,
            };
        }
        Ok(clean(&format!("{real}/{last}")))
    }

    fn writable(&mut self, directory: Id, path: &str) -> Outcome<()> {
        if self.directory_mut(directory)?.is_read_only {
            return stop(format!("{path}: read-only file system"));
        }
        Ok(())
    }

    /// Puts an entry where none is, or in the place of what is there.
    fn place(&mut self, path: &str, id: Id) -> Outcome<()> {
        let found = self.find(path)?;
        self.writable(found.parent, path)?;
        if found.name.len() > 255 {
            return stop(format!("{path}: file name too long"));
        }
        self.directory_mut(found.parent)?.now.insert(found.name, id);
        Ok(())
    }

    /// Makes an entry; the directory above it is there.
    pub fn create(&mut self, path: &str, attributes: Attributes, part: Part) -> Outcome<Id> {
        let id = self.add(attributes, part);
        self.place(path, id)?;
        Ok(id)
    }

    /// Makes `path` another name of `existing`, which is at `target`.
    pub fn link(&mut self, path: &str, existing: Id, target: &str) -> Outcome<()> {
        self.place(path, existing)?;
        let linked = &mut self.inodes[existing].linked;
        linked.get_or_insert_with(|| target.to_owned());
        Ok(())
    }

    /// Makes a directory and what is missing above it; what is there stays as it is.
    pub fn make_dirs(&mut self, path: &str, mode: u32) -> Outcome<()> {
        self.make_dirs_as(path, mode, None)
    }

    /// The same by a user, who may not be allowed to.
    pub fn make_dirs_as(&mut self, path: &str, mode: u32, user: Option<(u32, u32)>) -> Outcome<()> {
        let mut at = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let above = if at.is_empty() { "/" } else { &at }.to_owned();
            at = format!("{at}/{name}");
            self.check_user(&above, user, 1, &at)?;
            let found = match self.lookup(&at)? {
                Some(_) => self.follow(&at)?,
                None => None,
            };
            match found {
                Some(id) if matches!(self.inodes[id].part, Part::Directory(_)) => {}
                Some(_) => return stop(format!("{at}: not a directory")),
                None if self.lookup(&at)?.is_some() => {
                    return stop(format!("{at}: file exists, a symlink that leads nowhere"));
                }
                None => {
                    self.check_user(&above, user, 3, &at)?;
                    let (uid, gid) = user.unwrap_or((0, 0));
                    let attributes = Attributes { mode, uid, gid };
                    self.create(&at, attributes, Part::Directory(loaded(false)))?;
                }
            }
        }
        Ok(())
    }

    /// Whether a user may do what `bits` say with the entry at a path.
    pub fn check_user(
        &mut self,
        path: &str,
        user: Option<(u32, u32)>,
        bits: u32,
        what: &str,
    ) -> Outcome<()> {
        let Some((uid, gid)) = user.filter(|(uid, _)| *uid != 0) else {
            return Ok(());
        };
        let Some(id) = self.follow(path)? else {
            return Ok(());
        };
        let attributes = self.inodes[id].attributes;
        let shift = match attributes {
            attributes if attributes.uid == uid => 6,
            attributes if attributes.gid == gid => 3,
            _ => 0,
        };
        if attributes.mode >> shift & bits == bits {
            return Ok(());
        }
        stop(format!(
            "{what}: permission denied, as it is done as user {uid}, and {path} has mode {:04o} and belongs to {}:{}",
            attributes.mode, attributes.uid, attributes.gid
        ))
    }

    /// Removes an entry and all below it; nothing where there is none.
    pub fn remove(&mut self, path: &str) -> Outcome<()> {
        let found = match self.find(path) {
            Ok(found) => found,
            Err(Halt::Missing(_)) => return Ok(()),
            Err(halt) => return Err(halt),
        };
        if found.entry.is_none() {
            return Ok(());
        }
        self.writable(found.parent, path)?;
        self.directory_mut(found.parent)?.now.remove(&found.name);
        Ok(())
    }

    /// Moves an entry, over what is at `to`.
    pub fn rename(&mut self, from: &str, to: &str) -> Outcome<()> {
        let Some(id) = self.lookup(from)? else {
            return Err(Halt::Missing(from.to_owned()));
        };
        self.place(to, id)?;
        self.remove(from)
    }

    /// Takes all that was done so far for what is there before Ignition runs.
    pub fn settle(&mut self) {
        for inode in &mut self.inodes {
            inode.was = None;
            if let Part::Directory(directory) = &mut inode.part {
                directory.before.clone_from(&directory.now);
            }
        }
    }

    fn note(&mut self, id: Id) {
        let inode = &mut self.inodes[id];
        if inode.was.is_none() {
            let content = match &inode.part {
                Part::File(content) => Some(content.clone()),
                _ => None,
            };
            inode.was = Some((inode.attributes, content));
        }
    }

    /// Changes mode and owners.
    pub fn set_attributes(&mut self, id: Id, attributes: Attributes, path: &str) -> Outcome<()> {
        if self.inodes[id].attributes == attributes {
            return Ok(());
        }
        let found = self.find(path)?;
        self.writable(found.parent, path)?;
        self.note(id);
        self.inodes[id].attributes = attributes;
        Ok(())
    }

    /// Gives a regular file another content.
    pub fn set_content(&mut self, id: Id, content: Content, path: &str) -> Outcome<()> {
        let found = self.find(path)?;
        self.writable(found.parent, path)?;
        self.note(id);
        self.inodes[id].part = Part::File(content);
        Ok(())
    }

    /// The bytes of a content; `None` where only the machine will know them.
    ///
    /// # Errors
    /// A file of the image is too large to be changed in memory, or cannot be read.
    pub fn bytes(&self, content: &Content) -> Result<Option<Arc<Vec<u8>>>> {
        match content {
            Content::Bytes(bytes) => Ok(Some(Arc::clone(bytes))),
            Content::Unknown(_) => Ok(None),
            Content::Lower(layer, node, size) => {
                if *size > FILE_MAX {
                    return Err(Error::unsupported(format!(
                        "a file of {size} bytes is not read, at most {FILE_MAX} are"
                    )));
                }
                let file = self.layers[*layer].open(*node)?;
                let mut bytes = vec![0; to_usize(file.size())?];
                file.read_at(0, &mut bytes)?;
                Ok(Some(Arc::new(bytes)))
            }
        }
    }

    /// How long a content is, where that is known.
    pub fn size(&self, content: &Content) -> Option<u64> {
        match content {
            Content::Bytes(bytes) => Some(to_u64(bytes.len())),
            Content::Unknown(_) => None,
            Content::Lower(_, _, size) => Some(*size),
        }
    }

    /// The text of a regular file, symlinks followed; `None` where there is none.
    pub fn read(&mut self, path: &str) -> Outcome<Option<String>> {
        let Some(id) = self.follow(path)? else {
            return Ok(None);
        };
        let Part::File(content) = &self.inodes[id].part else {
            return Ok(None);
        };
        let bytes = self.bytes(content)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Writes a small file, in the place of what is there.
    pub fn write(&mut self, path: &str, attributes: Attributes, text: &str) -> Outcome<()> {
        let content = Content::Bytes(Arc::new(text.as_bytes().to_vec()));
        self.create(path, attributes, Part::File(content))
            .map(|_| ())
    }
}

/// A directory with nothing below it.
fn loaded(is_read_only: bool) -> Directory {
    Directory {
        is_loaded: true,
        is_read_only,
        ..Directory::default()
    }
}

/// An empty directory, to be made.
pub(super) fn new_directory() -> Part {
    Part::Directory(loaded(false))
}

/// The path that a symlink at `path` to `target` leads to.
pub(super) fn beside(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    format!("{above}/{target}")
}

/// The simplest form of an absolute path.
pub(super) fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

/// The folder of a path.
pub(super) fn folder(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((above, _)) => above,
    }
}
