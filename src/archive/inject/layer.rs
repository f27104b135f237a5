//! OCI whiteouts: what a layer deletes of the layers below it, and never of itself (OCI image specification, `layer.md`).

use std::collections::BTreeSet;

use std::io::Read;

use super::super::tar::{TarEntry, TarReader};
use super::Job;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::{FileType, FsPath, Timestamp, walk};

/// Bytes of the paths of a layer's entries, held in memory: about two million entries.
const PATHS_MAX: u64 = 256 << 20;

/// What the layer wrote so far.
#[derive(Debug, Default)]
pub(super) struct Layer {
    /// Each path with a slash behind it, so that what lies below a path comes right after it.
    paths: BTreeSet<Vec<u8>>,
    bytes: u64,
}

impl Layer {
    /// Remembers an entry.
    pub(super) fn add(&mut self, path: &FsPath) -> Result<()> {
        let key = key(path);
        self.bytes += to_u64(key.len());
        if self.bytes > PATHS_MAX {
            return Err(Error::unsupported(format!(
                "a layer whose paths have more than {PATHS_MAX} bytes"
            ))
            .because(Reason::Limit));
        }
        self.paths.insert(key);
        Ok(())
    }

    /// Whether the layer wrote `path` or anything below it.
    fn holds(&self, path: &FsPath) -> bool {
        let key = key(path);
        self.paths
            .range(key.clone()..)
            .next()
            .is_some_and(|next| next.starts_with(&key))
    }
}

fn key(path: &FsPath) -> Vec<u8> {
    [path.as_bytes(), b"/"].concat()
}

impl Job<'_> {
    /// Puts a file where later hard links find it, but not for good.
    pub(super) fn lend<R: Read>(
        &mut self,
        entry: &TarEntry,
        path: &FsPath,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        let parent = path
            .parent()
            .ok_or_else(|| Error::internal("a lent file lies in a folder"))?;
        if self.lent.is_none() && self.existing_directory(&parent)?.is_some() {
            return Err(Error::invalid(format!(
                "{parent} is there already, and so is the folder of AUFS' links in the layer"
            ))
            .with_hint("remove the folder first"));
        }
        self.put(entry, path, None, reader)?;
        self.lent = Some(parent);
        Ok(())
    }

    /// Removes what was lent.
    pub(super) fn take_back(&mut self) -> Result<()> {
        let Some(lent) = self.lent.take() else {
            return Ok(());
        };
        let place = self.directory(&lent, Timestamp::default())?;
        self.remove_tree(&place, |_| false).map(drop)
    }

    /// Deletes the entry at `path` as far as it is of lower layers; one that is not there is fine.
    pub(super) fn whiteout(&mut self, path: &FsPath) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Err(Error::corrupt("a whiteout without a name"));
        };
        let Some(directory) = self.existing_directory(&parent)? else {
            return Ok(());
        };
        let place = directory.join(name)?;
        let Some(found) = self.found(&place)? else {
            return Ok(());
        };
        if found.file_type == FileType::Directory {
            return self.remove_lower(&place, None);
        }
        if !self.layer.as_ref().is_some_and(|layer| layer.holds(&place)) {
            self.replace(&place, &found)?;
            self.summary.deleted += 1;
        }
        Ok(())
    }

    /// Deletes what lower layers have in the directory `path`.
    pub(super) fn opaque(&mut self, path: &FsPath) -> Result<()> {
        match self.existing_directory(path)? {
            Some(place) => self.remove_lower(&place, Some(&place)),
            None => Ok(()),
        }
    }

    fn remove_lower(&mut self, top: &FsPath, kept: Option<&FsPath>) -> Result<()> {
        let layer = self.layer.take().unwrap_or_default();
        let deleted = self.remove_tree(top, |path| Some(path) == kept || layer.holds(path));
        self.layer = Some(layer);
        self.summary.deleted += deleted?;
        Ok(())
    }

    /// Removes `top` and everything below it but what `keep` names; returns how many entries went.
    pub(super) fn remove_tree(
        &mut self,
        top: &FsPath,
        keep: impl Fn(&FsPath) -> bool,
    ) -> Result<u64> {
        let mut doomed = Vec::new();
        walk(self.fs.as_read(), top, &mut |entry| {
            if !keep(&entry.path) {
                doomed.push(entry.path);
            }
            Ok(())
        })?;
        self.places.forget(FileType::Directory);
        for path in doomed.iter().rev() {
            self.times.remove(path);
            self.fs.remove(path).at(|| format!("removing {path}"))?;
        }
        Ok(to_u64(doomed.len()))
    }
}
