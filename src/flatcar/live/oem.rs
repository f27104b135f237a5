//! OEM's files in a live system: in the folders where its initrd and Ignition look for them.

use std::collections::BTreeSet;
use std::path::Path;

use super::OEM;
use crate::archive::cpio::CpioLayout;
use crate::block::sha256;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Few, Finding, code};
use crate::flatcar::Disk;
use crate::fs::{self, CopyOptions, FileType, FsPath, StagedTree, Timestamp, walk};
use crate::progress::{NoProgress, Progress};

/// Most bytes of OEM's files, the size of its partition.
const OEM_BYTES_MAX: u64 = 1 << 30;
/// Most of OEM's files.
const OEM_FILES_MAX: usize = 10_000;
/// The first major version with Ignition's OEM folder at /oem; before, and for the initrd's scripts, it is
/// /usr/share/oem.
const OEM_MOVED: u32 = 3637;
/// OEM's entries that a live system has no use for: GRUB's menu, and sysexts, which the initrd takes from a disk.
const OEM_LEFT_OUT: [&str; 3] = ["/grub.cfg", "/sysext", "/lost+found"];

/// OEM's files, and where they go.
#[derive(Debug)]
pub(super) struct Oem {
    tree: StagedTree,
    folders: &'static [&'static str],
}

impl Oem {
    /// No files. `temp_dir` takes the content of those that are staged.
    pub fn none(disk: &Disk, temp_dir: &Path) -> Result<Self> {
        Ok(Self {
            tree: StagedTree::new(temp_dir, Timestamp::default()),
            folders: folders(disk)?,
        })
    }

    /// Takes the files of OEM, where there is one; times after `latest_time` become this one.
    pub fn stage(
        &mut self,
        disk: &Disk,
        latest_time: Option<i64>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let oem = match disk.filesystem(OEM) {
            Ok(oem) => oem,
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.reason() == Some(Reason::Unformatted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut wanted = Wanted::default();
        let options = CopyOptions {
            latest_time,
            ..CopyOptions::default()
        };
        let mut is_wanted = |entry: &fs::Entry| wanted.takes(entry);
        let copied = fs::copy_tree(&*oem, &mut self.tree, &options, &mut is_wanted, &NoProgress);
        copied.at(|| disk.describe(OEM))?;
        if !wanted.special.is_empty() {
            let finding = Finding::new(code::LIVE_OEM_SPECIAL).with("paths", wanted.special);
            progress.found(&finding);
        }
        Ok(())
    }

    /// Paths of all that are no directories.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        walk(&self.tree, &FsPath::root(), &mut |entry| {
            if entry.metadata.file_type != FileType::Directory {
                files.push(entry.path.to_string());
            }
            Ok(())
        })?;
        Ok(files)
    }

    /// The SHA-256 of all entries, of what they hold and of where they go.
    pub fn digest(&self) -> Result<String> {
        let mut layout = CpioLayout::new();
        self.lay(&mut layout)?;
        sha256(&layout.finish()?, &mut |_| ())
    }

    /// Adds the files in their folders, where there are any.
    pub fn lay<'a>(&'a self, layout: &mut CpioLayout<'a>) -> Result<()> {
        let Some(newest) = self.newest()? else {
            return Ok(());
        };
        let mut made = BTreeSet::new();
        for folder in self.folders {
            // The folders on the way: usr, usr/share, usr/share/oem.
            let ends = folder
                .match_indices('/')
                .map(|(at, _)| at)
                .chain([folder.len()]);
            for end in ends {
                if made.insert(&folder[..end]) {
                    layout.directory(&folder[..end], 0o755, newest)?;
                }
            }
        }
        layout.tree(&self.tree, self.folders)
    }

    /// The newest time of an entry, in seconds since 1970.
    fn newest(&self) -> Result<Option<i64>> {
        let mut newest = None;
        walk(&self.tree, &FsPath::root(), &mut |entry| {
            if !entry.path.is_root() {
                newest = newest.max(Some(entry.metadata.mtime.secs));
            }
            Ok(())
        })?;
        Ok(newest)
    }
}

/// Decides what of OEM is taken.
#[derive(Default)]
struct Wanted {
    entries: usize,
    bytes: u64,
    /// What is no file, folder or symlink.
    special: Few,
}

impl Wanted {
    fn takes(&mut self, entry: &fs::Entry) -> Result<bool> {
        if entry.path.is_root() {
            return Ok(true);
        }
        if is_left_out(&entry.path)? {
            return Ok(false);
        }
        match entry.metadata.file_type {
            FileType::Directory | FileType::Symlink => {}
            FileType::File => self.bytes = self.bytes.saturating_add(entry.metadata.size),
            _ => {
                self.special.add(&entry.path);
                return Ok(false);
            }
        }
        self.entries += 1;
        check_room(self.entries, self.bytes)?;
        Ok(true)
    }
}

/// OEM's files are bounded, as they lie in memory when the system runs.
fn check_room(entries: usize, bytes: u64) -> Result<()> {
    let message = if entries > OEM_FILES_MAX {
        format!("more than {OEM_FILES_MAX} files on OEM")
    } else if bytes > OEM_BYTES_MAX {
        format!("more than {OEM_BYTES_MAX} bytes of files on OEM")
    } else {
        return Ok(());
    };
    Err(Error::unsupported(message).because(Reason::Limit))
}

fn is_left_out(path: &FsPath) -> Result<bool> {
    for top in OEM_LEFT_OUT {
        if path.starts_with(&FsPath::new(top)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where OEM's files go.
fn folders(disk: &Disk) -> Result<&'static [&'static str]> {
    let release = disk.os_release()?;
    let version = release
        .as_ref()
        .and_then(|release| release.version_id())
        .unwrap_or_default();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    Ok(if major.is_some_and(|major| major < OEM_MOVED) {
        &["usr/share/oem"]
    } else {
        &["usr/share/oem", "oem"]
    })
}
