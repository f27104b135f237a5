//! Folders of the host as a part of a staged tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::content::{Content, HostFile};
use super::{Inode, Part, StagedTree};
use crate::block::{Inputs, shown};
use crate::error::{Error, Result, from_io};
use crate::fs::{Attributes, FileType, FsPath, Timestamp};

/// Longest list of names, and longest value, of the extended attributes of one entry (`XATTR_LIST_MAX`,
/// `XATTR_SIZE_MAX` of Linux).
const XATTR_MAX: usize = 64 << 10;
/// Folders below one another; deeper ones cannot be named by a path.
const DEPTH_MAX: usize = 2048;

/// What is taken of a folder of the host.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// What its files are to the run, for the list of inputs.
    pub role: &'static str,
    /// Owner and group of all entries; `None` keeps those of the host.
    pub owner: Option<(u32, u32)>,
}

/// An entry that waits to be added.
struct Waiting {
    host: PathBuf,
    parent: usize,
    name: Vec<u8>,
    depth: usize,
}

impl StagedTree {
    /// Adds all that is in `folder` of the host to the directory `dest` of the tree, which gets the folder's attributes.
    ///
    /// Entries come as they are: with modes, times, extended attributes, hard links, devices, and symlinks that nobody
    /// follows. Content is read from the host when it is wanted; a file that is another one by then is an error. The
    /// folder and its files are registered in `inputs`.
    pub fn add_folder(
        &mut self,
        folder: &Path,
        dest: &FsPath,
        options: &FolderOptions,
        inputs: &Inputs,
    ) -> Result<()> {
        let metadata = fs::metadata(folder).map_err(|error| failed(folder, error))?;
        if !metadata.is_dir() {
            return Err(Error::invalid(format!("{} is not a folder", shown(folder))));
        }
        inputs.folder(folder);
        let mut adding = Adding {
            options,
            inputs,
            known: HashMap::new(),
            xattrs: XattrReader(vec![0; XATTR_MAX]),
        };
        let top = self.number(dest)?;
        self.children(top)?;
        let inode = adding.inode(folder, &metadata)?;
        let root = self.inode_mut(top)?;
        root.attributes = inode.attributes;
        root.xattrs.extend(inode.xattrs);
        let mut waiting = adding.list(folder, top, 0)?;
        while let Some(next) = waiting.pop() {
            inputs.cancel().check()?;
            if let Some(number) = adding.add(self, &next)? {
                waiting.extend(adding.list(&next.host, number, next.depth + 1)?);
            }
        }
        Ok(())
    }
}

struct Adding<'a> {
    options: &'a FolderOptions,
    inputs: &'a Inputs,
    /// Files with several names, by device and inode, and their numbers in the tree.
    known: HashMap<(u64, u64), usize>,
    xattrs: XattrReader,
}

impl Adding<'_> {
    /// The entries of a folder, the first name last.
    fn list(&self, folder: &Path, parent: usize, depth: usize) -> Result<Vec<Waiting>> {
        if depth > DEPTH_MAX {
            return Err(Error::invalid(format!(
                "{} is more than {DEPTH_MAX} folders deep",
                shown(folder)
            )));
        }
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
            names.push(entry.map_err(|error| failed(folder, error))?.file_name());
        }
        names.sort();
        let waiting = |name: OsString| Waiting {
            host: folder.join(&name),
            parent,
            name: name.into_vec(),
            depth,
        };
        Ok(names.into_iter().rev().map(waiting).collect())
    }

    /// Adds one entry; the number of a directory, whose entries come next.
    fn add(&mut self, tree: &mut StagedTree, entry: &Waiting) -> Result<Option<usize>> {
        let metadata =
            fs::symlink_metadata(&entry.host).map_err(|error| failed(&entry.host, error))?;
        let identity = (metadata.dev(), metadata.ino());
        let has_names = !metadata.is_dir() && metadata.nlink() > 1;
        if let Some(&number) = self.known.get(&identity).filter(|_| has_names) {
            tree.take(entry.name.len())?;
            let children = tree.children_mut(entry.parent)?;
            if children.insert(entry.name.clone(), number).is_some() {
                return Err(twice(&entry.host));
            }
            tree.inode_mut(number)?.names += 1;
            return Ok(None);
        }
        let inode = self.inode(&entry.host, &metadata)?;
        if metadata.is_dir()
            && let Some(&there) = tree.children(entry.parent)?.get(&entry.name)
            && tree.inode(there)?.part.file_type() == FileType::Directory
        {
            let known = tree.inode_mut(there)?;
            known.attributes = inode.attributes;
            known.xattrs.extend(inode.xattrs);
            return Ok(Some(there));
        }
        if tree.children(entry.parent)?.contains_key(&entry.name) {
            return Err(twice(&entry.host));
        }
        let number = tree.add(entry.parent, &entry.name, inode)?;
        if has_names {
            self.known.insert(identity, number);
        }
        Ok(metadata.is_dir().then_some(number))
    }

    fn inode(&mut self, host: &Path, metadata: &Metadata) -> Result<Inode> {
        let owner = self.options.owner;
        let (uid, gid) = owner.unwrap_or((metadata.uid(), metadata.gid()));
        Ok(Inode {
            attributes: Attributes {
                mode: metadata.mode() & 0o7777,
                uid,
                gid,
                mtime: Timestamp {
                    secs: metadata.mtime(),
                    nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
                },
            },
            names: 1,
            xattrs: self.xattrs.read(host)?,
            part: self.part(host, metadata)?,
        })
    }

    fn part(&self, host: &Path, metadata: &Metadata) -> Result<Part> {
        let file_type = FileType::from_mode(metadata.mode()).ok_or_else(|| {
            Error::invalid(format!(
                "{} is of a type that Linux does not have",
                shown(host)
            ))
        })?;
        Ok(match file_type {
            FileType::Directory => Part::Directory(BTreeMap::new()),
            FileType::File => Part::File(Content::Host(HostFile {
                path: host.to_owned(),
                size: metadata.len(),
                identity: (metadata.dev(), metadata.ino()),
                role: self.options.role,
                inputs: self.inputs.clone(),
            })),
            FileType::Symlink => {
                let target = fs::read_link(host).map_err(|error| failed(host, error))?;
                let target = target.into_os_string().into_vec();
                self.inputs.symlink(self.options.role, host, &target)?;
                Part::Symlink(target)
            }
            FileType::CharDevice | FileType::BlockDevice => {
                let device = metadata.rdev();
                let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
                Part::Special(file_type, numbers)
            }
            FileType::Fifo | FileType::Socket => Part::Special(file_type, (0, 0)),
        })
    }
}

fn failed(path: &Path, error: io::Error) -> Error {
    from_io(format!("reading {}", shown(path)), error)
}

fn twice(path: &Path) -> Error {
    Error::invalid(format!(
        "{} has a place in the tree that is taken already",
        shown(path)
    ))
}

/// Reads extended attributes through one buffer that is as large as any of them.
struct XattrReader(Vec<u8>);

impl XattrReader {
    /// Those of an entry; a symlink is not followed.
    fn read(&mut self, path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let error = |error: Errno| {
            let what = format!("reading the attributes of {}", shown(path));
            from_io(what, error.into())
        };
        let mut xattrs = BTreeMap::new();
        let names = match rustix::fs::llistxattr(path, &mut self.0[..]) {
            Ok(len) => self.0[..len].to_vec(),
            // The filesystem has none.
            Err(Errno::OPNOTSUPP) => return Ok(xattrs),
            Err(errno) => return Err(error(errno)),
        };
        let names = names.split(|&byte| byte == 0);
        for name in names.filter(|name| !name.is_empty()) {
            match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut self.0[..]) {
                Ok(len) => {
                    xattrs.insert(name.to_vec(), self.0[..len].to_vec());
                }
                // Gone since the names were listed.
                Err(Errno::NODATA) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(xattrs)
    }
}
