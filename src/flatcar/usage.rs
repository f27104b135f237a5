//! How much room the files of a tree take.

use std::collections::HashSet;

use serde::Serialize;

use crate::error::{Error, Result, ResultExt};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, Node};
use crate::progress::Cancel;

/// Directories below one another; deeper trees cannot be named by a path anyway.
const DEPTH_MAX: usize = 2048;
/// Folders that are listed at most.
const LISTED_MAX: usize = 1_000_000;

/// The room of an entry with all that lies below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Its path.
    pub path: String,
    /// How many folders it lies below the top.
    pub depth: usize,
    /// Bytes of contents: the lengths of files, and of the targets of links.
    pub apparent_bytes: u64,
    /// Bytes of blocks that are taken, as the filesystem counts them: holes take none. btrfs counts before it compresses.
    pub allocated_bytes: u64,
    /// Entries, itself among them.
    pub entries: u64,
}

impl Usage {
    fn add(&mut self, other: &Self) {
        self.apparent_bytes = self.apparent_bytes.saturating_add(other.apparent_bytes);
        self.allocated_bytes = self.allocated_bytes.saturating_add(other.allocated_bytes);
        self.entries = self.entries.saturating_add(other.entries);
    }
}

/// A directory whose entries are being counted.
struct Open {
    usage: Usage,
    path: FsPath,
    /// The entries that are still to be counted, the next one last.
    left: Vec<(Vec<u8>, Node)>,
}

struct Count<'a> {
    fs: &'a dyn FileSystem,
    /// Files of several names, and directories, that were counted.
    met: HashSet<Node>,
    /// Entries farther below the top are in their folders' sums only.
    depth: usize,
    found: Vec<Usage>,
}

/// The room of `top`, which no symlink is followed to, and of what lies at most `depth` folders below it; a folder comes
/// behind what lies in it. A file with several names counts once, at the first of them.
///
/// # Errors
/// Those of reading the filesystem; [`crate::ErrorKind::Unsupported`] where more than a million entries would be listed.
pub fn usage(
    fs: &dyn FileSystem,
    top: &FsPath,
    depth: usize,
    cancel: &Cancel,
) -> Result<Vec<Usage>> {
    let mut count = Count {
        fs,
        met: HashSet::new(),
        depth,
        found: Vec::new(),
    };
    let mut open: Vec<Open> = count.enter(top, fs.node_at(top)?, 0)?.into_iter().collect();
    while let Some(folder) = open.last_mut() {
        cancel.check()?;
        if let Some((name, node)) = folder.left.pop() {
            let path = folder.path.join(&name)?;
            let level = folder.usage.depth + 1;
            match count.enter(&path, node, level)? {
                Some(inner) => open.push(inner),
                None => {
                    if let Some(entry) = count.single(&path, node, level)? {
                        folder.usage.add(&entry);
                        count.list(entry)?;
                    }
                }
            }
        } else if let Some(done) = open.pop() {
            if let Some(above) = open.last_mut() {
                above.usage.add(&done.usage);
            }
            count.list(done.usage)?;
        }
    }
    if count.found.is_empty()
        && let Some(entry) = count.single(top, fs.node_at(top)?, 0)?
    {
        count.list(entry)?;
    }
    Ok(count.found)
}

impl Count<'_> {
    /// The directory `node`, with nothing below it counted; `None` where it is none.
    fn enter(&mut self, path: &FsPath, node: Node, depth: usize) -> Result<Option<Open>> {
        let read = || {
            let metadata = self.fs.metadata(node)?;
            if metadata.file_type != FileType::Directory {
                return Ok(None);
            }
            let entries = self.fs.entries(node)?;
            Ok(Some((entries, self.fs.allocated_bytes(node)?)))
        };
        let Some((entries, allocated_bytes)) = read().at(|| path.to_string())? else {
            return Ok(None);
        };
        if depth > DEPTH_MAX || !self.met.insert(node) {
            let what = "a directory that is also elsewhere, or nests too deep";
            return Err(Error::corrupt(what).at(path.to_string()));
        }
        let left = entries
            .into_iter()
            .rev()
            .map(|entry| (entry.name, entry.node))
            .collect();
        Ok(Some(Open {
            usage: Usage {
                path: path.to_string(),
                depth,
                apparent_bytes: 0,
                allocated_bytes,
                entries: 1,
            },
            path: path.clone(),
            left,
        }))
    }

    /// An entry that is no directory; `None` where another name of it was counted.
    fn single(&mut self, path: &FsPath, node: Node, depth: usize) -> Result<Option<Usage>> {
        let read = || Ok((self.fs.metadata(node)?, self.fs.allocated_bytes(node)?));
        let (metadata, allocated_bytes) = read().at(|| path.to_string())?;
        if metadata.nlink > 1 && !self.met.insert(node) {
            return Ok(None);
        }
        let has_content = matches!(metadata.file_type, FileType::File | FileType::Symlink);
        Ok(Some(Usage {
            path: path.to_string(),
            depth,
            apparent_bytes: if has_content { metadata.size } else { 0 },
            allocated_bytes,
            entries: 1,
        }))
    }

    fn list(&mut self, usage: Usage) -> Result<()> {
        if usage.depth > self.depth {
            return Ok(());
        }
        if self.found.len() == LISTED_MAX {
            return Err(
                Error::unsupported(format!("more than {LISTED_MAX} entries to list"))
                    .because(crate::error::Reason::Limit)
                    .with_hint("list fewer levels below the top"),
            );
        }
        self.found.push(usage);
        Ok(())
    }
}
