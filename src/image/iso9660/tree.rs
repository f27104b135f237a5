//! The directories of the image, under the names of ISO 9660 itself and of Joliet.

use super::on_disk::{PathRecordL, PathRecordM};
use super::record::{BLOCK, Posix, append, record};
use super::{IsoFile, Place};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};

/// Longest identifier (ISO 9660, level 2), without its version.
const NAME_MAX: usize = 30;
/// Longest name of Joliet, in characters.
const JOLIET_MAX: usize = 64;
/// Directories below one another, the root counted (ECMA-119, 6.8.2.1).
const DEPTH_MAX: usize = 8;

/// Under which names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Upper case, with Rock Ridge beside it.
    Primary,
    /// UCS-2.
    Joliet,
}

/// A directory; the root is number 0 and its own parent.
#[derive(Debug)]
struct Directory {
    name: String,
    parent: usize,
    depth: usize,
}

/// All directories, and where each file lies.
#[derive(Debug)]
pub(super) struct Tree {
    directories: Vec<Directory>,
    /// The directory and the name of each file, in the order they were given.
    files: Vec<(usize, String)>,
}

/// An entry of a directory.
struct Child<'a> {
    identifier: Vec<u8>,
    name: &'a str,
    /// The directory's number, or the file's.
    number: usize,
    is_dir: bool,
}

impl Tree {
    pub fn new(files: &[IsoFile<'_>]) -> Result<Self> {
        let root = Directory {
            name: String::new(),
            parent: 0,
            depth: 1,
        };
        let mut tree = Self {
            directories: vec![root],
            files: Vec::new(),
        };
        for file in files {
            tree.add(&file.path).at(|| file.path.clone())?;
        }
        for directory in 0..tree.directories.len() {
            for names in [Names::Primary, Names::Joliet] {
                let children = tree.children(directory, names)?;
                if let Some(pair) = children
                    .windows(2)
                    .find(|pair| pair[0].identifier == pair[1].identifier)
                {
                    let message = format!(
                        "'{}' and '{}' have one name in ISO 9660",
                        pair[0].name, pair[1].name
                    );
                    return Err(Error::invalid(message));
                }
            }
        }
        Ok(tree)
    }

    fn add(&mut self, path: &str) -> Result<()> {
        let (folders, name) = path
            .rsplit_once('/')
            .map_or((None, path), |(folders, name)| (Some(folders), name));
        let mut parent = 0;
        for folder in folders.into_iter().flat_map(|folders| folders.split('/')) {
            check_name(folder)?;
            let known = self
                .directories
                .iter()
                .skip(1)
                .position(|it| it.parent == parent && it.name == folder);
            parent = match known {
                Some(at) => at + 1,
                None => {
                    let depth = self.directories[parent].depth + 1;
                    if depth > DEPTH_MAX {
                        return Err(Error::invalid(format!(
                            "lies in more than {DEPTH_MAX} directories"
                        )));
                    }
                    self.directories.push(Directory {
                        name: folder.to_owned(),
                        parent,
                        depth,
                    });
                    self.directories.len() - 1
                }
            };
        }
        check_name(name)?;
        self.files.push((parent, name.to_owned()));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.directories.len()
    }

    fn children(&self, directory: usize, names: Names) -> Result<Vec<Child<'_>>> {
        let folders = (0..)
            .zip(&self.directories)
            .skip(1)
            .filter(|(_, it)| it.parent == directory);
        let folders = folders.map(|(number, it)| (number, it.name.as_str(), true));
        let files = (0..)
            .zip(&self.files)
            .filter(|(_, (parent, _))| *parent == directory);
        let files = files.map(|(number, (_, name))| (number, name.as_str(), false));
        let child = |(number, name, is_dir)| {
            Ok(Child {
                identifier: identifier(name, is_dir, names)?,
                name,
                number,
                is_dir,
            })
        };
        let mut children: Vec<Child<'_>> =
            folders.chain(files).map(child).collect::<Result<_>>()?;
        children.sort_by(|a, b| a.identifier.cmp(&b.identifier));
        Ok(children)
    }

    /// The records of a directory. `folders` and `files` say where everything lies.
    pub fn records(
        &self,
        directory: usize,
        names: Names,
        folders: &[Place],
        files: &[Place],
        time: i64,
    ) -> Result<Vec<u8>> {
        let children = self.children(directory, names)?;
        let links = |directory: usize| {
            let below = self
                .directories
                .iter()
                .skip(1)
                .filter(|it| it.parent == directory)
                .count();
            u32::try_from(2 + below).unwrap_or(u32::MAX)
        };
        let posix =
            |name, nlink, root| (names == Names::Primary).then_some(Posix { name, nlink, root });
        let parent = self.directories[directory].parent;
        let mut bytes = Vec::new();
        let own = posix("", links(directory), directory == 0);
        append(
            &mut bytes,
            &record(&[0], folders[directory], true, time, own)?,
        );
        append(
            &mut bytes,
            &record(
                &[1],
                folders[parent],
                true,
                time,
                posix("", links(parent), false),
            )?,
        );
        for Child {
            identifier,
            name,
            number,
            is_dir,
        } in children
        {
            let place = if is_dir {
                folders[number]
            } else {
                files[number]
            };
            let nlink = if is_dir { links(number) } else { 1 };
            let record = record(&identifier, place, is_dir, time, posix(name, nlink, false))?;
            append(&mut bytes, &record);
        }
        bytes.resize(
            bytes
                .len()
                .next_multiple_of(usize::try_from(BLOCK).unwrap_or(2048)),
            0,
        );
        Ok(bytes)
    }

    /// The path table: all directories, parents before children, each level in order.
    pub fn path_table(&self, names: Names, folders: &[Place], big_endian: bool) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Directory numbers in the order of the table.
        let mut order = vec![(0, 1u16, vec![0])];
        let mut at = 0;
        while at < order.len() {
            let (directory, parent, identifier) = order[at].clone();
            at += 1;
            let number = u16::try_from(at).map_err(|_| {
                Error::unsupported("more than 65535 directories").because(Reason::Limit)
            })?;
            let len = u8::try_from(identifier.len()).unwrap_or(u8::MAX);
            let block = folders[directory].block;
            if big_endian {
                let mut record = PathRecordM::zeroed();
                record.set_length_of_directory_identifier(len);
                record.set_location_of_extent(block);
                record.set_parent_directory_number(parent);
                bytes.extend_from_slice(record.bytes());
            } else {
                let mut record = PathRecordL::zeroed();
                record.set_length_of_directory_identifier(len);
                record.set_location_of_extent(block);
                record.set_parent_directory_number(parent);
                bytes.extend_from_slice(record.bytes());
            }
            bytes.extend_from_slice(&identifier);
            if identifier.len() % 2 == 1 {
                bytes.push(0);
            }
            let below = self
                .children(directory, names)?
                .into_iter()
                .filter(|child| child.is_dir);
            order.extend(below.map(|child| (child.number, number, child.identifier)));
        }
        Ok(bytes)
    }

    /// The number of the file at `path`.
    pub fn file(&self, files: &[IsoFile<'_>], path: &str) -> Result<usize> {
        files
            .iter()
            .position(|file| file.path == path)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "the boot image '{path}' is not a file of the CD image"
                ))
            })
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits =
        !name.is_empty() && name != "." && name != ".." && name.len() <= NAME_MAX.min(JOLIET_MAX);
    if fits
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{}' is not a name for a CD: 1 to {NAME_MAX} letters, digits, '.', '_' and '-'",
        name.escape_debug()
    )))
}

/// The name in one of the two forms.
fn identifier(name: &str, is_dir: bool, names: Names) -> Result<Vec<u8>> {
    if names == Names::Joliet {
        return Ok(name.encode_utf16().flat_map(u16::to_be_bytes).collect());
    }
    let plain = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect()
    };
    let text = match name.rsplit_once('.') {
        Some((stem, extension)) if !is_dir => format!("{}.{};1", plain(stem), plain(extension)),
        None if !is_dir => format!("{}.;1", plain(name)),
        _ => plain(name),
    };
    debug_assert!(to_u64(text.len()) <= 34);
    Ok(text.into_bytes())
}
