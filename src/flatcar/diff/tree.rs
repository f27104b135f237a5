//! Trees of files, entry by entry.

use std::collections::HashSet;
use std::iter::Peekable;
use std::vec::IntoIter;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::text::{TEXT_MAX, as_text, unified};
use super::{Aspect, Change, DiffOptions, Field, Fields};
use crate::bytes::{hex, to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};
use crate::fs::{DirEntry, FileRead, FileSystem, FileType, FsPath, Metadata, Node, Xattr};

/// Entries of one tree that are listed at most; further ones are counted.
pub const ENTRIES_MAX: usize = 100_000;
/// Lines of texts that are shown of one tree, in bytes.
const TEXTS_MAX: usize = 16 << 20;
/// Directories below one another; deeper trees cannot be named by a path anyway.
const DEPTH_MAX: usize = 2048;
/// Bytes of each file that are read at a time.
const CHUNK: usize = 256 << 10;
/// Longest value of an attribute that is told as it is; longer ones by their digest.
const VALUE_MAX: usize = 256;
/// What ends the name of an Ignition config.
const IGNITION: &[u8] = b".ign";

/// A tree to compare: what lies at and below `node`.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The filesystem.
    pub fs: &'a dyn FileSystem,
    /// The top of the tree.
    pub node: Node,
    /// Whether the top itself is compared, which means nothing where it is only the folder that holds the tree.
    pub with_top: bool,
}

impl std::fmt::Debug for Side<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side")
            .field("node", &self.node)
            .field("with_top", &self.with_top)
            .finish_non_exhaustive()
    }
}

impl<'a> Side<'a> {
    /// All of a filesystem.
    pub fn whole(fs: &'a dyn FileSystem) -> Self {
        Self {
            fs,
            node: fs.root(),
            with_top: true,
        }
    }
}

/// How two trees differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TreeDifference {
    /// The entries that differ, folders before what lies in them, names in order; at most [`ENTRIES_MAX`].
    pub entries: Vec<EntryDifference>,
    /// Entries that differ and are not listed.
    pub left_out: u64,
}

impl TreeDifference {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// How an entry differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryDifference {
    /// Its path below the top of the trees.
    pub path: String,
    /// What became of it.
    pub change: Change,
    /// The type that it has: `file`, `directory`, `symlink`, `chardev`, `blockdev`, `fifo` or `socket`. A changed one has
    /// that of the second side.
    #[serde(rename = "type")]
    pub file_type: &'static str,
    /// Bytes of a file, likewise.
    pub bytes: Option<u64>,
    /// What of a changed entry differs.
    pub fields: Vec<Field>,
    /// How texts differ, where that is asked for, in the form of `diff -u` without its first two lines.
    pub text: Option<String>,
}

/// The word for a type of entries.
pub fn type_word(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "chardev",
        FileType::BlockDevice => "blockdev",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

/// Compares two trees.
///
/// # Errors
/// Those of reading them, with the path.
pub fn compare_trees(
    a: Side<'_>,
    b: Side<'_>,
    options: &DiffOptions<'_>,
) -> Result<TreeDifference> {
    let mut comparison = Comparison {
        a: Walked::new(a),
        b: Walked::new(b),
        options,
        found: TreeDifference::default(),
        texts: 0,
        buffers: (vec![0; CHUNK], vec![0; CHUNK]),
    };
    comparison.run(a.with_top && b.with_top)?;
    Ok(comparison.found)
}

/// A side while it is walked.
struct Walked<'a> {
    side: Side<'a>,
    /// Directories that were met: in a damaged filesystem one can lie within itself, and be endless.
    met: HashSet<Node>,
}

impl<'a> Walked<'a> {
    fn new(side: Side<'a>) -> Self {
        Self {
            side,
            met: HashSet::new(),
        }
    }

    /// The entry `node`, where this side has it.
    fn look(&mut self, node: Option<Node>) -> Result<Option<Seen>> {
        let Some(node) = node else { return Ok(None) };
        let metadata = self.side.fs.metadata(node)?;
        let mut entries = Vec::new();
        if metadata.file_type == FileType::Directory {
            if !self.met.insert(node) {
                return Err(Error::corrupt("a directory that is also elsewhere"));
            }
            entries = self.side.fs.entries(node)?;
        }
        Ok(Some(Seen {
            node,
            metadata,
            entries,
        }))
    }
}

/// An entry of one side.
struct Seen {
    node: Node,
    metadata: Metadata,
    /// What lies in a directory.
    entries: Vec<DirEntry>,
}

/// A path that is to be looked at, with the nodes that it has.
struct Pair {
    path: FsPath,
    a: Option<Node>,
    b: Option<Node>,
    depth: usize,
}

struct Comparison<'a, 'o> {
    a: Walked<'a>,
    b: Walked<'a>,
    options: &'o DiffOptions<'o>,
    found: TreeDifference,
    /// Bytes of texts that are kept.
    texts: usize,
    buffers: (Vec<u8>, Vec<u8>),
}

impl Comparison<'_, '_> {
    fn run(&mut self, with_top: bool) -> Result<()> {
        let mut todo = vec![Pair {
            path: FsPath::root(),
            a: Some(self.a.side.node),
            b: Some(self.b.side.node),
            depth: 0,
        }];
        while let Some(pair) = todo.pop() {
            self.options.cancel.check()?;
            let path = pair.path.clone();
            let below = self.pair(pair, with_top).at(|| path.to_string())?;
            todo.extend(below);
        }
        Ok(())
    }

    /// Compares one path, and tells what lies below it, in the order of a stack.
    fn pair(&mut self, pair: Pair, with_top: bool) -> Result<Vec<Pair>> {
        let a = self.a.look(pair.a)?;
        let b = self.b.look(pair.b)?;
        let is_folder = |seen: &Option<Seen>| {
            seen.as_ref()
                .is_some_and(|seen| seen.metadata.file_type == FileType::Directory)
        };
        let is_top = pair.depth == 0 && is_folder(&a) && is_folder(&b);
        if with_top || !is_top {
            let difference = match (&a, &b) {
                (Some(a), Some(b)) => self.changed(&pair.path, a, b)?,
                (Some(a), None) => Some(self.alone(&pair.path, a, Change::Removed)?),
                (None, Some(b)) => Some(self.alone(&pair.path, b, Change::Added)?),
                (None, None) => None,
            };
            self.keep(difference);
        }
        if pair.depth == DEPTH_MAX {
            return Err(Error::corrupt(format!(
                "directories nest deeper than {DEPTH_MAX}"
            )));
        }
        let mut below = Vec::new();
        for (name, a, b) in merged(entries_of(a), entries_of(b)) {
            below.push(Pair {
                path: pair.path.join(&name)?,
                a,
                b,
                depth: pair.depth + 1,
            });
        }
        below.reverse();
        Ok(below)
    }

    fn keep(&mut self, difference: Option<EntryDifference>) {
        let Some(mut difference) = difference else {
            return;
        };
        if self.found.entries.len() == ENTRIES_MAX {
            self.found.left_out += 1;
            return;
        }
        self.texts += difference.text.as_ref().map_or(0, String::len);
        if self.texts > TEXTS_MAX {
            difference.text = None;
        }
        self.found.entries.push(difference);
    }

    /// An entry that only one side has.
    fn alone(&mut self, path: &FsPath, seen: &Seen, change: Change) -> Result<EntryDifference> {
        let is_file = seen.metadata.file_type == FileType::File;
        let text = if is_file && self.options.content {
            let side = match change {
                Change::Added => self.b.side,
                _ => self.a.side,
            };
            let content = small(&*side.fs.open(seen.node)?)?;
            content.and_then(|content| {
                let empty: &[u8] = b"";
                match change {
                    Change::Added => shown(path, empty, &content),
                    _ => shown(path, &content, empty),
                }
            })
        } else {
            None
        };
        Ok(EntryDifference {
            path: path.to_string(),
            change,
            file_type: type_word(seen.metadata.file_type),
            bytes: is_file.then_some(seen.metadata.size),
            fields: Vec::new(),
            text,
        })
    }

    /// An entry that both sides have; `None` where it is the same.
    fn changed(&mut self, path: &FsPath, a: &Seen, b: &Seen) -> Result<Option<EntryDifference>> {
        let mut fields = Fields::default();
        let mut text = None;
        let types = (a.metadata.file_type, b.metadata.file_type);
        fields.see("type", &types.0, &types.1, |file_type| {
            type_word(*file_type).to_owned()
        });
        if types.0 == types.1 {
            text = self.content(path, a, b, &mut fields)?;
        }
        self.metadata(a, b, &mut fields)?;
        if fields.0.is_empty() {
            return Ok(None);
        }
        Ok(Some(EntryDifference {
            path: path.to_string(),
            change: Change::Changed,
            file_type: type_word(types.1),
            bytes: (types.1 == FileType::File).then_some(b.metadata.size),
            fields: fields.0,
            text,
        }))
    }

    /// What two entries of one type hold.
    fn content(
        &mut self,
        path: &FsPath,
        a: &Seen,
        b: &Seen,
        fields: &mut Fields,
    ) -> Result<Option<String>> {
        match a.metadata.file_type {
            FileType::File => {
                let sizes = (a.metadata.size, b.metadata.size);
                fields.see("bytes", &sizes.0, &sizes.1, u64::to_string);
                return self.files(path, a.node, b.node, fields);
            }
            FileType::Symlink => {
                let target_a = self.a.side.fs.read_link(a.node)?;
                let target_b = self.b.side.fs.read_link(b.node)?;
                fields.see("target", &target_a, &target_b, |target| {
                    String::from_utf8_lossy(target).into_owned()
                });
            }
            FileType::CharDevice | FileType::BlockDevice => {
                let devices = (a.metadata.device, b.metadata.device);
                fields.see("device", &devices.0, &devices.1, |(major, minor)| {
                    format!("{major}:{minor}")
                });
            }
            FileType::Directory | FileType::Fifo | FileType::Socket => {}
        }
        Ok(None)
    }

    /// Two files: their digests where they differ, and how, where that is asked for.
    fn files(
        &mut self,
        path: &FsPath,
        a: Node,
        b: Node,
        fields: &mut Fields,
    ) -> Result<Option<String>> {
        let file_a = self.a.side.fs.open(a)?;
        let file_b = self.b.side.fs.open(b)?;
        if file_a.size() == file_b.size()
            && are_equal(&*file_a, &*file_b, &mut self.buffers, self.options)?
        {
            return Ok(None);
        }
        let digest_a = sha256(&*file_a, &mut self.buffers.0, self.options)?;
        let digest_b = sha256(&*file_b, &mut self.buffers.1, self.options)?;
        fields.see("sha256", &digest_a, &digest_b, String::clone);
        if !self.options.content {
            return Ok(None);
        }
        let content = small(&*file_a)?.zip(small(&*file_b)?);
        Ok(content.and_then(|(old, new)| shown(path, &old, &new)))
    }

    fn metadata(&mut self, a: &Seen, b: &Seen, fields: &mut Fields) -> Result<()> {
        let options = self.options;
        let octal = |mode: &u32| format!("{mode:04o}");
        if options.sees(Aspect::Modes) {
            fields.see("mode", &a.metadata.mode, &b.metadata.mode, octal);
        }
        if options.sees(Aspect::Owners) {
            let owner = |metadata: &Metadata| (metadata.uid, metadata.gid);
            let owners = (owner(&a.metadata), owner(&b.metadata));
            fields.see("owner", &owners.0, &owners.1, |(uid, gid)| {
                format!("{uid}:{gid}")
            });
        }
        let is_folder = a.metadata.file_type == FileType::Directory
            || b.metadata.file_type == FileType::Directory;
        if options.sees(Aspect::Links) && !is_folder {
            fields.see(
                "links",
                &a.metadata.nlink,
                &b.metadata.nlink,
                u32::to_string,
            );
        }
        if options.sees(Aspect::Times) {
            fields.see("mtime", &a.metadata.mtime, &b.metadata.mtime, |time| {
                format!("{}.{:09}", time.secs, time.nanos)
            });
        }
        if options.sees(Aspect::Xattrs) {
            let xattrs_a = self.a.side.fs.xattrs(a.node)?;
            let xattrs_b = self.b.side.fs.xattrs(b.node)?;
            see_xattrs(&xattrs_a, &xattrs_b, fields);
        }
        Ok(())
    }
}

fn entries_of(seen: Option<Seen>) -> Vec<DirEntry> {
    seen.map(|seen| seen.entries).unwrap_or_default()
}

/// The names of both directories in order, each with the nodes that it has.
fn merged(a: Vec<DirEntry>, b: Vec<DirEntry>) -> Vec<(Vec<u8>, Option<Node>, Option<Node>)> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let mut a = a.into_iter().peekable();
    let mut b = b.into_iter().peekable();
    loop {
        let name = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.name.clone().min(b.name.clone()),
            (Some(entry), None) | (None, Some(entry)) => entry.name.clone(),
            (None, None) => return merged,
        };
        let in_a = take(&mut a, &name);
        let in_b = take(&mut b, &name);
        merged.push((name, in_a, in_b));
    }
}

/// The next entry, where it has this name.
fn take(entries: &mut Peekable<IntoIter<DirEntry>>, name: &[u8]) -> Option<Node> {
    entries
        .next_if(|entry| entry.name == name)
        .map(|entry| entry.node)
}

fn see_xattrs(a: &[Xattr], b: &[Xattr], fields: &mut Fields) {
    let value_of = |xattrs: &[Xattr], name: &[u8]| {
        xattrs
            .iter()
            .find(|xattr| xattr.name == name)
            .map(|xattr| xattr.value.clone())
    };
    let mut names: Vec<&[u8]> = a.iter().chain(b).map(|xattr| &*xattr.name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let values = (value_of(a, name), value_of(b, name));
        if values.0 != values.1 {
            let field = format!("xattr {}", String::from_utf8_lossy(name));
            fields.add(
                &field,
                values.0.as_deref().map(value_shown),
                values.1.as_deref().map(value_shown),
            );
        }
    }
}

/// A value as text where it is one, else its digits.
fn value_shown(value: &[u8]) -> String {
    if value.len() > VALUE_MAX {
        return format!("sha256:{}", hex(&Sha256::digest(value)));
    }
    match as_text(value) {
        Some(text) => text.to_owned(),
        None => format!("0x{}", hex(value)),
    }
}

fn are_equal(
    a: &dyn FileRead,
    b: &dyn FileRead,
    buffers: &mut (Vec<u8>, Vec<u8>),
    options: &DiffOptions<'_>,
) -> Result<bool> {
    let mut at = 0;
    while at < a.size() {
        options.cancel.check()?;
        let len = to_usize((a.size() - at).min(to_u64(CHUNK)))?;
        a.read_at(at, &mut buffers.0[..len])?;
        b.read_at(at, &mut buffers.1[..len])?;
        if buffers.0[..len] != buffers.1[..len] {
            return Ok(false);
        }
        at += to_u64(len);
    }
    Ok(true)
}

fn sha256(file: &dyn FileRead, buffer: &mut [u8], options: &DiffOptions<'_>) -> Result<String> {
    let mut sum = Sha256::new();
    let mut at = 0;
    while at < file.size() {
        options.cancel.check()?;
        let len = to_usize((file.size() - at).min(to_u64(buffer.len())))?;
        file.read_at(at, &mut buffer[..len])?;
        sum.update(&buffer[..len]);
        at += to_u64(len);
    }
    Ok(hex(&sum.finalize()))
}

/// The content of a file that may be a text to show.
fn small(file: &dyn FileRead) -> Result<Option<Vec<u8>>> {
    if file.size() > TEXT_MAX {
        return Ok(None);
    }
    let mut content = vec![0; to_usize(file.size())?];
    file.read_at(0, &mut content)?;
    Ok(Some(content))
}

/// How two contents differ, where both are texts. Ignition configs are compared as what they say: in lines, in one order.
fn shown(path: &FsPath, old: &[u8], new: &[u8]) -> Option<String> {
    let old = as_text(old)?;
    let new = as_text(new)?;
    if path.name().is_some_and(|name| name.ends_with(IGNITION)) {
        let configs = pretty(old).zip(pretty(new));
        if let Some((old, new)) = configs
            && old != new
        {
            return Some(unified(&old, &new));
        }
    }
    Some(unified(old, new))
}

/// JSON with a line for each value; nothing stays nothing.
fn pretty(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(serde_json::to_string_pretty(&value).ok()? + "\n")
}
