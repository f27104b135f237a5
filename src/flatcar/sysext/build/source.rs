//! What an extension is made of: a folder, a tar, a container image, or another extension.

use std::path::Path;
use std::sync::Arc;

use super::Means;
use crate::archive::{Glob, TarOptions, inject};
use crate::block::{BlockDevice, shown};
use crate::error::{Result, ResultExt};
use crate::finding::{Code, Finding, code};
use crate::flatcar::ddi::has_gpt;
use crate::flatcar::sysext::open_extension;
use crate::fs::{
    self, CopyOptions, FileSystem, FileSystemMut, FolderOptions, FsPath, MetadataChange,
    StagedTree, Timestamp, Xattr, copy_tree, walk,
};
use crate::oci::{ContainerImage, Over};

/// What the source is to a run.
const ROLE: &str = "source of the extension";
/// Findings about an archive that matter to an extension. Others are about roots of machines and Docker's folder.
const TOLD: [&Code; 6] = [
    code::ARCHIVE_SYMLINK_REPLACED,
    code::ARCHIVE_ACLS,
    code::ARCHIVE_FOREIGN_XATTRS,
    code::ARCHIVE_APPLEDOUBLE,
    code::ARCHIVE_END_SHORT,
    code::ARCHIVE_END_MISSING,
];
/// The mode of the top folder, whatever the source's is: nobody sees it.
const TOP_MODE: u32 = 0o755;

/// How a source is read.
#[derive(Debug)]
pub(in crate::flatcar::sysext) struct Reading<'a> {
    /// Chooses one of several container images, in Go's words.
    pub architecture: Option<&'a str>,
    pub keep_owner: bool,
    pub time: Timestamp,
}

impl Reading<'_> {
    fn owner(&self) -> Option<(u32, u32)> {
        (!self.keep_owner).then_some((0, 0))
    }

    /// The tree that `path` holds, and what there is to say of it.
    pub(in crate::flatcar::sysext) fn read(
        &self,
        path: &Path,
        means: &Means<'_>,
    ) -> Result<(StagedTree, Vec<Finding>)> {
        let mut tree = StagedTree::new(&means.temp_dir, self.time);
        let mut findings = Vec::new();
        if path.is_dir() {
            let options = FolderOptions {
                role: ROLE,
                owner: self.owner(),
            };
            tree.add_folder(path, &FsPath::root(), &options, &means.inputs)?;
        } else {
            findings = self.read_file(path, &mut tree, means).at(|| shown(path))?;
        }
        if let Some(image) = ContainerImage::find(&tree, self.architecture).at(|| shown(path))? {
            let files = std::mem::replace(&mut tree, StagedTree::new(&means.temp_dir, self.time));
            findings = self
                .unpack(&image, &files, &mut tree, means)
                .at(|| shown(path))?;
        }
        findings.retain(|finding| TOLD.contains(&finding.code()));
        self.settle_top(&mut tree)?;
        Ok((tree, findings))
    }

    fn read_file(
        &self,
        path: &Path,
        tree: &mut StagedTree,
        means: &Means<'_>,
    ) -> Result<Vec<Finding>> {
        let device: Arc<dyn BlockDevice> = Arc::new(means.inputs.device(ROLE, path)?);
        if has_gpt(&*device)? || fs::probe(&*device)?.is_some() {
            let options = CopyOptions {
                owner: self.owner(),
                ..CopyOptions::default()
            };
            let extension = open_extension(device)?;
            means.progress.start("reading the extension", 0);
            let mut all = |_: &_| Ok(true);
            let copied = copy_tree(&*extension, tree, &options, &mut all, means.progress);
            means.progress.finish();
            copied?;
            return Ok(Vec::new());
        }
        let options = TarOptions {
            owner: self.owner(),
            keep_docker_identity: true,
            ..TarOptions::default()
        };
        let archive = means.inputs.reader(ROLE, path)?;
        means.progress.start("reading the archive", 0);
        let summary = inject(tree, archive, &FsPath::root(), &options, means.progress);
        means.progress.finish();
        Ok(summary?.findings)
    }

    fn unpack(
        &self,
        image: &ContainerImage,
        files: &dyn FileSystem,
        tree: &mut StagedTree,
        means: &Means<'_>,
    ) -> Result<Vec<Finding>> {
        let mut over = Over {
            tree,
            owner: self.owner(),
            progress: means.progress,
            cancel: means.inputs.cancel(),
        };
        means.progress.start("unpacking the container image", 0);
        let unpacked = image.unpack(files, &mut over);
        means.progress.finish();
        Ok(unpacked?.findings)
    }

    /// The top folder is nobody's working folder any more.
    fn settle_top(&self, tree: &mut StagedTree) -> Result<()> {
        let root = FsPath::root();
        let change = MetadataChange {
            mode: Some(TOP_MODE),
            uid: Some(0),
            gid: Some(0),
            mtime: Some(self.time),
        };
        tree.set_metadata(&root, &change)?;
        let xattrs: Vec<Xattr> = tree.xattrs(tree.root())?;
        for xattr in xattrs {
            tree.remove_xattr(&root, &xattr.name)?;
        }
        Ok(())
    }
}

/// Removes all that fits a pattern, with what lies below it.
pub(super) fn exclude(tree: &mut StagedTree, patterns: &[Glob]) -> Result<()> {
    if patterns.is_empty() {
        return Ok(());
    }
    let mut doomed: Vec<FsPath> = Vec::new();
    walk(tree, &FsPath::root(), &mut |entry| {
        let name = entry.path.as_bytes();
        let fits = |pattern: &Glob| pattern.matches(name.strip_prefix(b"/").unwrap_or(name));
        let is_below = doomed
            .last()
            .is_some_and(|folder| entry.path.starts_with(folder));
        if !entry.path.is_root() && !is_below && patterns.iter().any(fits) {
            doomed.push(entry.path);
        }
        Ok(())
    })?;
    doomed.iter().try_for_each(|path| remove(tree, path))
}

/// Removes an entry with all that lies below it.
pub(super) fn remove(tree: &mut StagedTree, top: &FsPath) -> Result<()> {
    let mut doomed = Vec::new();
    walk(tree, top, &mut |entry| {
        doomed.push(entry.path);
        Ok(())
    })?;
    for path in doomed.iter().rev() {
        tree.remove(path)?;
    }
    Ok(())
}
