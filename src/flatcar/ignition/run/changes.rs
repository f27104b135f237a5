//! What a rehearsal changed in the tree, and how texts differ.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::flatcar::diff::text::unified;
use crate::fs::FileType;

use super::halt::Outcome;
use super::tree::{Attributes, Content, Id, Part, ROOT, Tree};

/// Most rows that are told.
const CHANGES_MAX: usize = 100_000;
/// Directories below one another.
const DEPTH_MAX: usize = 256;
/// Largest text, in bytes, that is compared line by line.
const TEXT_MAX: u64 = 1 << 20;

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It was not there.
    Added,
    /// It was there, and something of it differs.
    Changed,
    /// It is not there any more, nor is what was below it.
    Removed,
}

/// One entry that Ignition makes, changes or removes.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Its path.
    pub path: String,
    /// What happened to it.
    pub what: What,
    /// `file`, `directory`, `symlink` or `special`; of what was there, where it is removed.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Bytes of a file, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What a symlink leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Another path of the same file, which this one is a hard link to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// What only the machine will know of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// How its text differs from what was there, as a unified diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// The content of a file, where it is known and is not the image's own.
    #[serde(skip)]
    pub content: Option<Arc<Vec<u8>>>,
}

/// Collects the changes of a tree.
pub(super) struct Collector<'t> {
    tree: &'t mut Tree,
    has_diffs: bool,
    /// Also contents that are the image's own.
    has_contents: bool,
    changes: Vec<Change>,
}

impl<'t> Collector<'t> {
    pub fn new(tree: &'t mut Tree, has_diffs: bool) -> Self {
        Self {
            tree,
            has_diffs,
            has_contents: false,
            changes: Vec::new(),
        }
    }

    /// The same with the contents of all files that changed in any way.
    pub fn with_contents(self) -> Self {
        Self {
            has_contents: true,
            ..self
        }
    }

    /// All changes, in the order of paths.
    pub fn collect(mut self) -> Outcome<Vec<Change>> {
        self.entry_changed("/", ROOT)?;
        self.directory("", ROOT, 0)?;
        Ok(self.changes)
    }

    fn directory(&mut self, path: &str, id: Id, depth: usize) -> Outcome<()> {
        let Part::Directory(directory) = &self.tree.inode(id).part else {
            return Ok(());
        };
        if depth > DEPTH_MAX {
            return Ok(());
        }
        let before = directory.before.clone();
        let now = directory.now.clone();
        let names: BTreeSet<&Vec<u8>> = before.keys().chain(now.keys()).collect();
        for name in names {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            match (before.get(name), now.get(name)) {
                (None, Some(new)) => self.added(&path, *new, depth)?,
                (Some(old), None) => self.push(path, What::Removed, *old, None)?,
                (Some(old), Some(new)) if old == new => {
                    self.entry_changed(&path, *new)?;
                    self.directory(&path, *new, depth + 1)?;
                }
                (Some(old), Some(new)) => self.replaced(&path, *old, *new, depth)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn added(&mut self, path: &str, id: Id, depth: usize) -> Outcome<()> {
        self.push(path.to_owned(), What::Added, id, None)?;
        self.all_below(path, id, depth)
    }

    fn all_below(&mut self, path: &str, id: Id, depth: usize) -> Outcome<()> {
        let is_directory = matches!(self.tree.inode(id).part, Part::Directory(_));
        if !is_directory || depth > DEPTH_MAX {
            return Ok(());
        }
        for (name, id) in self.tree.entries(id)? {
            let path = format!("{path}/{}", String::from_utf8_lossy(&name));
            self.added(&path, id, depth + 1)?;
        }
        Ok(())
    }

    fn entry_changed(&mut self, path: &str, id: Id) -> Outcome<()> {
        let Some((attributes, content)) = self.tree.inode(id).was.clone() else {
            return Ok(());
        };
        let inode = self.tree.inode(id);
        let same_content = match (&inode.part, &content) {
            (Part::File(now), Some(before)) => now == before,
            _ => true,
        };
        if attributes == inode.attributes && same_content {
            return Ok(());
        }
        let before = content.filter(|_| !same_content);
        self.push(path.to_owned(), What::Changed, id, before)
    }

    fn replaced(&mut self, path: &str, old: Id, new: Id, depth: usize) -> Outcome<()> {
        if self.is_same(old, new)? {
            return Ok(());
        }
        let both = [old, new].map(|id| matches!(self.tree.inode(id).part, Part::Directory(_)));
        if both == [true, true] {
            return self.directory_replaced(path, old, new, depth);
        }
        let before = match &self.tree.inode(old).part {
            Part::File(content) => Some(content.clone()),
            _ => None,
        };
        self.push(path.to_owned(), What::Changed, new, before)?;
        self.all_below(path, new, depth)
    }

    /// A directory that was made anew.
    fn directory_replaced(&mut self, path: &str, old: Id, new: Id, depth: usize) -> Outcome<()> {
        if self.tree.inode(old).attributes != self.tree.inode(new).attributes {
            self.push(path.to_owned(), What::Changed, new, None)?;
        }
        if depth > DEPTH_MAX {
            return Ok(());
        }
        let before = self.tree.entries(old)?;
        let now = self.tree.entries(new)?;
        let names: BTreeSet<&Vec<u8>> = before.keys().chain(now.keys()).collect();
        for name in names {
            let path = format!("{path}/{}", String::from_utf8_lossy(name));
            match (before.get(name), now.get(name)) {
                (Some(old), Some(new)) => self.replaced(&path, *old, *new, depth + 1)?,
                (Some(old), None) => self.push(path, What::Removed, *old, None)?,
                (None, Some(new)) => self.added(&path, *new, depth)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn is_same(&self, old: Id, new: Id) -> Outcome<bool> {
        let attributes = |id: Id| -> Attributes { self.tree.inode(id).attributes };
        if attributes(old) != attributes(new) {
            return Ok(false);
        }
        Ok(
            match (&self.tree.inode(old).part, &self.tree.inode(new).part) {
                (Part::Symlink(old), Part::Symlink(new)) => old == new,
                (Part::File(old), Part::File(new)) => {
                    let size = self.tree.size(old);
                    size.is_some()
                        && size == self.tree.size(new)
                        && self.tree.bytes(old)? == self.tree.bytes(new)?
                }
                _ => false,
            },
        )
    }

    fn push(&mut self, path: String, what: What, id: Id, before: Option<Content>) -> Outcome<()> {
        if self.changes.len() >= CHANGES_MAX {
            return Ok(());
        }
        let inode = self.tree.inode(id).clone();
        let mut change = Change {
            path,
            what,
            kind: word(inode.file_type()),
            mode: inode.attributes.mode,
            uid: inode.attributes.uid,
            gid: inode.attributes.gid,
            size: None,
            target: None,
            same_as: None,
            unknown: None,
            diff: None,
            content: None,
        };
        match &inode.part {
            Part::Symlink(target) => {
                change.target = Some(String::from_utf8_lossy(target).into_owned());
            }
            Part::File(content) if what != What::Removed => {
                change.same_as = inode.linked.clone().filter(|linked| *linked != change.path);
                self.describe(&mut change, content, before)?;
            }
            _ => {}
        }
        self.changes.push(change);
        Ok(())
    }

    fn describe(
        &self,
        change: &mut Change,
        content: &Content,
        before: Option<Content>,
    ) -> Outcome<()> {
        change.size = self.tree.size(content);
        match content {
            Content::Unknown(why) => change.unknown = Some(why.clone()),
            Content::Bytes(bytes) => change.content = Some(Arc::clone(bytes)),
            Content::Lower(..) if self.has_contents => change.content = self.tree.bytes(content)?,
            Content::Lower(..) => {}
        }
        if self.has_diffs {
            let old = match &before {
                Some(content) => self.text(content)?,
                None => Some(String::new()),
            };
            let new = self.text(content)?;
            if let (Some(old), Some(new)) = (old, new) {
                change.diff = Some(unified(&old, &new)).filter(|diff| !diff.is_empty());
            }
        }
        Ok(())
    }

    /// A content as text, where it is one and not too long.
    fn text(&self, content: &Content) -> Outcome<Option<String>> {
        if self.tree.size(content).is_none_or(|size| size > TEXT_MAX) {
            return Ok(None);
        }
        let bytes = self.tree.bytes(content)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
        Ok(text.filter(|text| !text.contains('\0')))
    }
}

fn word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        _ => "special",
    }
}
