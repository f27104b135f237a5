//! Root filesystems: a container image, or a tar or folder of one, unpacked without a daemon and without root.
//!
//! ```text
//!   OCI layout, docker save ─┐                ┌─▶ folder      what an ordinary user can make
//!   tar, folder, extension ──┼─▶ StagedTree ──┤
//!   image of a registry ─────┘                └─▶ tar         everything
//! ```
//!
//! The tree is put together in memory first, where links lead nowhere outside of it; the folder is then written by steps that
//! follow no link.

use std::io::BufWriter;
use std::path::Path;

use serde::Serialize;

use super::build::{Means, Reading};
use crate::archive::tar::write_tree;
use crate::block::{OutputFile, OutputFolder, refuse_existing, shown};
use crate::error::{Result, ResultExt};
use crate::finding::{Finding, code};
use crate::fs::{
    ExtractOptions, FileSystem, FileType, FsPath, StagedTree, Timestamp, extract, walk,
};

/// Bytes that are written to a tar at once.
const CHUNK: usize = 1 << 20;
/// Bits of a mode beyond the permissions of owner, group and others.
const SPECIAL: u32 = 0o7000;

/// A root filesystem that was read.
#[derive(Debug)]
pub struct Rootfs {
    tree: StagedTree,
    findings: Vec<Finding>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenRootfs {
    /// The folder or tar.
    pub path: String,
    /// Entries in it, without the top.
    pub entries: u64,
    /// Bytes of all files, or of the tar.
    pub bytes: u64,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

/// What a folder does not keep of a tree, in numbers of entries.
#[derive(Debug, Default)]
struct NotKept {
    owners: u64,
    xattrs: u64,
    special_bits: u64,
    nodes: u64,
}

impl Rootfs {
    /// Reads `source`: an OCI layout, an archive of `docker save`, a tar, a folder or an extension. `architecture`, in systemd's
    /// words, chooses one of several container images.
    ///
    /// # Errors
    /// Those of reading; [`crate::ErrorKind::Corrupt`] for a layer that is not what its digest says, and for entries that have
    /// no place below the root.
    pub fn read(source: &Path, architecture: Option<&str>, means: &Means<'_>) -> Result<Self> {
        let (tree, findings) = Self::reading(architecture, None, 0).read(source, means)?;
        Ok(Self { tree, findings })
    }

    /// The same where everything belongs to root.
    pub(super) fn read_as_root(
        source: &Path,
        architecture: Option<&str>,
        time: i64,
        means: &Means<'_>,
    ) -> Result<Self> {
        let reading = Self::reading(architecture, Some((0, 0)), time);
        let (tree, findings) = reading.read(source, means)?;
        Ok(Self { tree, findings })
    }

    fn reading(
        architecture: Option<&str>,
        owner: Option<(u32, u32)>,
        time: i64,
    ) -> Reading<'static> {
        Reading {
            architecture: architecture.and_then(super::build::go_word),
            keep_owner: owner.is_none(),
            time: Timestamp {
                secs: time,
                nanos: 0,
            },
        }
    }

    /// Its tree.
    pub fn tree(&self) -> &dyn FileSystem {
        &self.tree
    }

    /// What a person should know of what was read.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Tree and findings.
    pub(super) fn into_parts(self) -> (StagedTree, Vec<Finding>) {
        (self.tree, self.findings)
    }

    /// Writes it into a new folder, which appears when it is whole. Files belong to who calls this; owners, extended
    /// attributes, special bits of modes, devices, fifos and sockets are not kept, which a finding tells.
    ///
    /// # Errors
    /// The folder exists and is not empty, or is an input; those of reading and writing.
    pub fn write_folder(&self, path: &Path, means: &Means<'_>) -> Result<WrittenRootfs> {
        means.inputs().refuse(path)?;
        let mut folder = OutputFolder::create(path)?;
        let hidden = folder.tree()?;
        let root = FsPath::root();
        let extracted = extract(&self.tree, &root, &hidden, &ExtractOptions::default());
        let extracted = extracted.at(|| shown(path))?;
        means.inputs().check(&[])?;
        folder.commit()?;
        let mut findings = self.findings.clone();
        findings.extend(NotKept::of(&self.tree)?.finding());
        let entries = extracted.files
            + extracted.directories.saturating_sub(1)
            + extracted.symlinks
            + extracted.hard_links;
        Ok(WrittenRootfs {
            path: shown(path),
            entries,
            bytes: extracted.bytes,
            findings,
        })
    }

    /// Writes it as a tar, which keeps everything but sockets. It appears when it is whole.
    ///
    /// # Errors
    /// A file that exists unless `overwrite` says so, an output that is an input; those of reading and writing.
    pub fn write_tar(
        &self,
        path: &Path,
        overwrite: bool,
        means: &Means<'_>,
    ) -> Result<WrittenRootfs> {
        means.inputs().refuse(path)?;
        refuse_existing(path, overwrite)?;
        let out = OutputFile::create(path)?;
        let cancel = means.inputs().cancel();
        let mut writer = BufWriter::with_capacity(CHUNK, out.file());
        means.progress().start("writing the archive", 0);
        let written = write_tree(&self.tree, &mut writer, means.progress(), cancel);
        means.progress().finish();
        drop(writer);
        let written = written.at(|| shown(path))?;
        means.inputs().check(&[])?;
        out.commit()?;
        let mut findings = self.findings.clone();
        let nodes = crate::bytes::to_u64(written.skipped.len());
        findings.extend(
            NotKept {
                nodes,
                ..NotKept::default()
            }
            .finding(),
        );
        Ok(WrittenRootfs {
            path: shown(path),
            entries: written.entries,
            bytes: written.bytes,
            findings,
        })
    }
}

impl NotKept {
    fn of(tree: &dyn FileSystem) -> Result<Self> {
        let mut not_kept = Self::default();
        walk(tree, &FsPath::root(), &mut |entry| {
            let metadata = &entry.metadata;
            not_kept.owners += u64::from((metadata.uid, metadata.gid) != (0, 0));
            let is_link = metadata.file_type == FileType::Symlink;
            not_kept.special_bits += u64::from(!is_link && metadata.mode & SPECIAL != 0);
            let is_plain = matches!(
                metadata.file_type,
                FileType::File | FileType::Directory | FileType::Symlink
            );
            not_kept.nodes += u64::from(!is_plain);
            not_kept.xattrs += u64::from(!tree.xattrs(entry.node)?.is_empty());
            Ok(())
        })?;
        Ok(not_kept)
    }

    fn finding(&self) -> Option<Finding> {
        let counts = [
            (self.owners, "entries that belong to others than root"),
            (self.xattrs, "entries with extended attributes"),
            (
                self.special_bits,
                "entries with setuid, setgid or sticky bits",
            ),
            (self.nodes, "devices, fifos and sockets"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{what} ({count})"))
            .collect();
        if told.is_empty() {
            return None;
        }
        Some(Finding::new(code::ROOTFS_NOT_KEPT).with("what", told.join(", ")))
    }
}
