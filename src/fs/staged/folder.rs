//! Folders of the host as a part of a staged tree.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::content::Content;
use super::{Inode, Part, StagedTree};
use crate::block::{Inputs, shown};
use crate::error::{Error, Result, from_io};
use crate::fs::{Attributes, FileType, FsPath, HostEntry, Timestamp, walk_host};

/// Longest list of names, and longest value, of the extended attributes of one entry (`XATTR_LIST_MAX`,
/// `XATTR_SIZE_MAX` of Linux).
const XATTR_MAX: usize = 64 << 10;

/// What is taken of a folder of the host.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    /// What its files are to the run, for the list of inputs.
    pub role: &'static str,
    /// Owner and group of all entries; `None` keeps those of the host.
    pub owner: Option<(u32, u32)>,
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
        let top = self.number(dest)?;
        self.children(top)?;
        let mut adding = Adding {
            options,
            inputs,
            known: HashMap::new(),
            way: vec![top],
            xattrs: XattrReader(vec![0; XATTR_MAX]),
        };
        walk_host(folder, inputs, &mut |entry| {
            if entry.depth() == 0 {
                return adding.top(self, entry, top);
            }
            adding.way.truncate(entry.depth());
            if let Some(number) = adding.add(self, entry)? {
                adding.way.push(number);
            }
            Ok(())
        })
    }
}

struct Adding<'a> {
    options: &'a FolderOptions,
    inputs: &'a Inputs,
    /// Files with several names, by device and inode, and their numbers in the tree.
    known: HashMap<(u64, u64), usize>,
    /// Numbers of the directories on the way to the entry, the top first.
    way: Vec<usize>,
    xattrs: XattrReader,
}

impl Adding<'_> {
    /// Gives the directory `number` what the folder has, and keeps what is in it.
    fn top(&mut self, tree: &mut StagedTree, entry: &HostEntry, number: usize) -> Result<()> {
        if entry.file_type != FileType::Directory {
            return Err(Error::invalid(format!(
                "{} is not a folder",
                shown(&entry.path)
            )));
        }
        let inode = self.inode(entry)?;
        take_over(tree.inode_mut(number)?, inode);
        Ok(())
    }

    /// Adds one entry; the number of a directory, whose entries come next.
    fn add(&mut self, tree: &mut StagedTree, entry: &HostEntry) -> Result<Option<usize>> {
        let (Some(&parent), Some(name)) = (self.way.last(), entry.path.file_name()) else {
            return Err(Error::internal(
                "an entry of a folder has a name and a folder",
            ));
        };
        let name = name.as_bytes();
        let identity = (entry.metadata.dev(), entry.metadata.ino());
        let is_dir = entry.file_type == FileType::Directory;
        let has_names = !is_dir && entry.metadata.nlink() > 1;
        if let Some(&number) = self.known.get(&identity).filter(|_| has_names) {
            tree.take(name.len())?;
            let children = tree.children_mut(parent)?;
            if children.insert(name.to_vec(), number).is_some() {
                return Err(twice(&entry.path));
            }
            tree.inode_mut(number)?.names += 1;
            return Ok(None);
        }
        let inode = self.inode(entry)?;
        if let Some(&there) = tree.children(parent)?.get(name) {
            let known = tree.inode_mut(there)?;
            if !is_dir || known.part.file_type() != FileType::Directory {
                return Err(twice(&entry.path));
            }
            take_over(known, inode);
            return Ok(Some(there));
        }
        let number = tree.add(parent, name, inode)?;
        if has_names {
            self.known.insert(identity, number);
        }
        Ok(is_dir.then_some(number))
    }

    fn inode(&mut self, entry: &HostEntry) -> Result<Inode> {
        let metadata = &entry.metadata;
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
            xattrs: self.xattrs.read(&entry.path)?,
            part: self.part(entry)?,
        })
    }

    fn part(&self, entry: &HostEntry) -> Result<Part> {
        let role = self.options.role;
        Ok(match entry.file_type {
            FileType::Directory => Part::Directory(BTreeMap::new()),
            FileType::File => Part::File(Content::Host {
                file: entry.file(),
                role,
                inputs: self.inputs.clone(),
            }),
            FileType::Symlink => Part::Symlink(entry.target(role, self.inputs)?),
            FileType::CharDevice | FileType::BlockDevice => {
                let device = entry.metadata.rdev();
                let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
                Part::Special(entry.file_type, numbers)
            }
            FileType::Fifo | FileType::Socket => Part::Special(entry.file_type, (0, 0)),
        })
    }
}

/// Gives a directory the attributes of a folder that is added to it.
fn take_over(directory: &mut Inode, folder: Inode) {
    directory.attributes = folder.attributes;
    directory.xattrs.extend(folder.xattrs);
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
