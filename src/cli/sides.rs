//! Arguments that name a disk, or a tree of files wherever it lies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{TarOptions, inject};
use crate::block::BlockDevice;
use crate::flatcar::Disk;
use crate::flatcar::diff::Side;
use crate::fs::{self, ByPath, FileSystem, FolderOptions, FsPath, StagedTree, Timestamp};
use crate::partition::TableKind;
use crate::{Error, Result, ResultExt};

use super::image::{ReadArgs, temp_dir};
use super::paths::{Part, PartPath};
use super::progress::Reporter;

/// What files of a folder or an archive are to the run.
const ROLE: &str = "compared files";
/// The file that makes a folder a disk image of Parallels.
const PARALLELS: &str = "DiskDescriptor.xml";
/// Endings of archives.
const ARCHIVES: [&str; 9] = [
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
];

/// `PATH`, `IMG:PART` or `IMG:PART:/PATH`, as it was written.
#[derive(Debug, Clone)]
pub struct SideArg(pub PathBuf);

impl From<std::ffi::OsString> for SideArg {
    fn from(text: std::ffi::OsString) -> Self {
        Self(text.into())
    }
}

/// What an argument names, opened.
pub enum Opened {
    /// A disk with its partition table.
    Disk(Box<Disk>),
    /// Files.
    Tree(Tree),
}

/// A tree of files.
pub struct Tree {
    fs: Box<dyn FileSystem>,
    top: FsPath,
    with_top: bool,
}

impl Tree {
    /// As a side to compare.
    pub fn side(&self) -> Result<Side<'_>> {
        Ok(Side {
            fs: &*self.fs,
            node: self.fs.node_at(&self.top)?,
            with_top: self.with_top,
        })
    }
}

impl SideArg {
    /// What messages call it.
    pub fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Opens what it names.
    pub fn open(&self, read: &ReadArgs, reporter: &Reporter) -> Result<Opened> {
        let opened = match self.split()? {
            (path, None) if path.is_dir() && !path.join(PARALLELS).exists() => {
                folder(&path, reporter).map(Opened::Tree)
            }
            (path, None) if is_archive(&path) => archive(&path, reporter).map(Opened::Tree),
            (path, part) => self.image(&path, part, read, reporter),
        };
        opened.at(|| self.name())
    }

    /// The file, and the part of it that is meant. A name that exists as a whole is a file's.
    fn split(&self) -> Result<(PathBuf, Option<PartPath>)> {
        let text = match self.0.to_str() {
            Some(text) if !self.0.exists() => text,
            _ => return Ok((self.0.clone(), None)),
        };
        for (at, _) in text.match_indices(':') {
            let path = Path::new(&text[..at]);
            if path.exists() {
                let part = text[at + 1..].parse().at(|| self.name())?;
                return Ok((path.to_owned(), Some(part)));
            }
        }
        Ok((self.0.clone(), None))
    }

    fn image(
        &self,
        path: &Path,
        part: Option<PartPath>,
        read: &ReadArgs,
        reporter: &Reporter,
    ) -> Result<Opened> {
        let device: Arc<dyn BlockDevice> = read.open(path, reporter)?.device;
        let tree = |fs: Box<dyn FileSystem>, top: FsPath| -> Result<Opened> {
            let top = fs::resolve(&*fs, &top)?;
            Ok(Opened::Tree(Tree {
                fs,
                top,
                with_top: true,
            }))
        };
        match part {
            Some(PartPath {
                part: Part::Partition(partition),
                path,
            }) => tree(
                Disk::open(self.name(), device)?.filesystem(partition)?,
                path,
            ),
            Some(PartPath {
                part: Part::Whole,
                path,
            }) => tree(fs::open(device)?, path),
            None if is_filesystem(&*device)? => tree(fs::open(device)?, FsPath::root()),
            None => Ok(Opened::Disk(Box::new(Disk::open(self.name(), device)?))),
        }
    }
}

/// Whether a filesystem begins at the start, with no partition table around it.
fn is_filesystem(device: &dyn BlockDevice) -> Result<bool> {
    let has_gpt = !matches!(TableKind::of(device)?, TableKind::Absent | TableKind::Dos);
    Ok(!has_gpt && fs::probe(device)?.is_some())
}

fn is_archive(path: &Path) -> bool {
    let name = path.to_string_lossy().to_ascii_lowercase();
    ARCHIVES.iter().any(|ending| name.ends_with(ending))
}

fn folder(path: &Path, reporter: &Reporter) -> Result<Tree> {
    let mut tree = StagedTree::new(&temp_dir(), Timestamp::default());
    let options = FolderOptions {
        role: ROLE,
        owner: None,
    };
    tree.add_folder(path, &FsPath::root(), &options, reporter.inputs())?;
    Ok(staged(tree))
}

fn archive(path: &Path, reporter: &Reporter) -> Result<Tree> {
    let mut tree = StagedTree::new(&temp_dir(), Timestamp::default());
    let options = TarOptions {
        keep_docker_identity: true,
        ..TarOptions::default()
    };
    let archive = reporter.inputs().reader(ROLE, path)?;
    inject(&mut tree, archive, &FsPath::root(), &options, reporter)?;
    Ok(staged(tree))
}

/// The top of it is only the folder that holds the files.
fn staged(tree: StagedTree) -> Tree {
    Tree {
        fs: Box::new(tree),
        top: FsPath::root(),
        with_top: false,
    }
}

/// The error where one side is a whole disk and the other is not.
pub fn refuse_mixed(disk: &str) -> Error {
    Error::invalid(format!(
        "{disk} is a whole disk, and the other side is a tree of files"
    ))
    .with_hint(format!(
        "name a partition of the disk: {disk}:root or {disk}:oem:/PATH"
    ))
}
