//! Which entries this work has put in: of two for one path the later stays, which is told.

use std::collections::btree_map::Entry;

use super::Bench;
use crate::bake::plan::Action;
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::fs::{FsKind, FsPath};

impl Bench<'_> {
    /// What tells entries apart: on FAT, names that differ only in case name the same entry.
    fn key(&mut self, partition: Designator, path: &FsPath) -> Result<(Designator, FsPath)> {
        let is_fat = self.filesystem(partition)?.kind() == FsKind::Fat;
        let folded = match std::str::from_utf8(path.as_bytes()) {
            Ok(text) if is_fat => FsPath::new(text.to_lowercase()).ok(),
            _ => None,
        };
        Ok((partition, folded.unwrap_or_else(|| path.clone())))
    }

    /// Whether this work put an entry at `path`.
    pub(in crate::bake::prepare) fn is_written(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<bool> {
        let key = self.key(partition, path)?;
        Ok(self.written.contains_key(&key))
    }

    /// Forgets that this work put an entry at `path`, which is about to be changed by it.
    pub(in crate::bake::prepare) fn forget_written(
        &mut self,
        partition: Designator,
        path: &FsPath,
    ) -> Result<()> {
        let key = self.key(partition, path)?;
        self.written.remove(&key);
        self.forget_changes(partition, path);
        Ok(())
    }

    /// Takes what was put at `path` out of the plan, which shows what is there in the end; removals stay.
    pub(super) fn forget_changes(&mut self, partition: Designator, path: &FsPath) {
        self.changes.retain(|change| {
            (change.partition, &change.path) != (partition, path) || change.action == Action::Remove
        });
    }

    /// The later of two entries for one path stays, which is told; two names that FAT takes for one are an error.
    pub(super) fn note_written(
        &mut self,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        let key = self.key(partition, path)?;
        match self.written.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(path.clone());
                Ok(())
            }
            Entry::Occupied(other) if other.get() != path => {
                let other = other.get();
                Err(Error::invalid(format!(
                    "{other} and {path} differ only in case, which FAT takes for one name"
                ))
                .at(partition.to_string())
                .with_hint("rename one of them"))
            }
            Entry::Occupied(_) => {
                let finding = Finding::new(code::WRITTEN_TWICE)
                    .with("path", path)
                    .with("by", why);
                self.findings.push(finding.at(partition.to_string()));
                self.forget_changes(partition, path);
                Ok(())
            }
        }
    }
}
