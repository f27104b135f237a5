//! An Ignition config that is carried out in the image instead of at boot.
//!
//! The rehearsal says what Ignition would make; here it is made. What needs a machine, and what only one knows, is refused.

use sha2::{Digest, Sha256};

use super::{Bench, Content, NewFile};
use crate::bake::edits::{ConfigSpec, Edits, FileSource};
use crate::bake::plan::{Action, Change, Source};
use crate::block::shown;
use crate::bytes::hex;
use crate::error::{Error, Result, ResultExt, refuse_findings};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::ignition::CONFIG_MAX;
use crate::flatcar::ignition::run::{self, Applied, Config, What};
use crate::fs::{Attributes, FileType, FsPath, MetadataChange};

const ROLE: &str = "applied config";
const DAY_SECONDS: i64 = 86_400;
/// What Ignition tells of its run, which is the machine's own.
const RESULT: &str = "/etc/.ignition-result.json";
const SHADOW: &str = "/etc/shadow";

impl Bench<'_> {
    /// Makes what Ignition would make of the config that is to be carried out.
    pub(super) fn apply_ignition(&mut self, edits: &Edits) -> Result<()> {
        let Some(config) = &edits.apply_ignition else {
            return Ok(());
        };
        let name = match &config.source {
            FileSource::Host(path) => shown(path),
            FileSource::Inline(_) => ROLE.to_owned(),
        };
        let why = config.origin.clone().unwrap_or_else(|| name.clone());
        self.apply(config, name, &why).at(|| why.clone())
    }

    fn apply(&mut self, config: &ConfigSpec, name: String, why: &str) -> Result<()> {
        let content = self.content_of(&config.source, CONFIG_MAX, ROLE)?;
        let folder = match &config.source {
            FileSource::Host(path) => path.parent().map(ToOwned::to_owned),
            FileSource::Inline(_) => None,
        };
        let config = Config {
            name,
            content,
            folder,
        };
        let day = self.run.timestamp.secs.div_euclid(DAY_SECONDS);
        let applied = run::applied(self.disk, config, u64::try_from(day).unwrap_or(0))?;
        refuse_findings(&applied.findings)?;
        refuse_machine(&applied)?;
        self.findings.extend(applied.findings.iter().cloned());
        self.tell_applied(&applied);
        let all = applied
            .changes
            .iter()
            .filter(|change| change.path != RESULT);
        // Hard links come when what they name is there.
        let (links, rest): (Vec<_>, Vec<_>) = all.partition(|change| change.same_as.is_some());
        for change in rest.into_iter().chain(links) {
            self.apply_change(change, &applied.oem, why)
                .at(|| change.path.clone())?;
        }
        Ok(())
    }

    /// Tells what is special about an image that a config was carried out in.
    fn tell_applied(&mut self, applied: &Applied) {
        self.findings.push(Finding::new(code::IGNITION_APPLIED));
        let shadow = applied.changes.iter().find(|change| change.path == SHADOW);
        let text = shadow.and_then(|change| change.content.as_deref());
        let text = String::from_utf8_lossy(text.map_or(&[], Vec::as_slice)).into_owned();
        let has_password = |line: &&str| {
            let hash = line.split(':').nth(1).unwrap_or_default();
            !hash.is_empty() && !hash.starts_with(['*', '!'])
        };
        let names: Vec<&str> = text
            .lines()
            .filter(has_password)
            .filter_map(|line| line.split(':').next())
            .collect();
        if !names.is_empty() {
            let finding = Finding::new(code::IGNITION_APPLIED_HASHES);
            self.findings.push(finding.with("names", names.join(", ")));
        }
    }

    fn apply_change(&mut self, change: &run::Change, oem: &str, why: &str) -> Result<()> {
        let (partition, path) = place(&change.path, oem)?;
        let old = self.type_at(partition, &path)?;
        if change.what == What::Removed {
            return match old {
                Some(_) => self.remove_all(partition, &path, why),
                None => Err(Error::unsupported(
                    "it is part of the image's own /etc, and what is removed there cannot be baked",
                )),
            };
        }
        let is_directory = change.kind == "directory";
        if old.is_some_and(|old| (old == FileType::Directory) != is_directory) {
            self.remove_all(partition, &path, why)?;
        }
        match change.kind {
            "directory" => self.apply_directory(change, partition, &path, why),
            "symlink" => self.apply_symlink(change, partition, &path, why),
            _ => self.apply_file(change, partition, &path, oem, why),
        }
    }

    fn apply_directory(
        &mut self,
        change: &run::Change,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        if path.is_root() {
            return Ok(());
        }
        let old = self.make_way(partition, path, FileType::Directory, why)?;
        let attributes = self.attributes_of(change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| match old {
            None => fs.create_dir(path, &attributes),
            Some(_) => {
                let change = MetadataChange {
                    mode: Some(attributes.mode),
                    uid: Some(attributes.uid),
                    gid: Some(attributes.gid),
                    ..MetadataChange::default()
                };
                fs.set_metadata(path, &change)
            }
        })?;
        self.note_applied(change, partition, path, Action::CreateDir, why);
        Ok(())
    }

    fn apply_symlink(
        &mut self,
        change: &run::Change,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        let target = change.target.clone().unwrap_or_default();
        let old = self.make_way(partition, path, FileType::Symlink, why)?;
        self.note_written(partition, path, why)?;
        let attributes = self.attributes_of(change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| {
            if old.is_some() {
                fs.remove(path)?;
            }
            fs.symlink(path, target.as_bytes(), &attributes)
        })?;
        self.note_applied(change, partition, path, Action::Symlink { target }, why);
        Ok(())
    }

    fn apply_file(
        &mut self,
        change: &run::Change,
        partition: Designator,
        path: &FsPath,
        oem: &str,
        why: &str,
    ) -> Result<()> {
        let Some(content) = &change.content else {
            return Err(Error::unsupported(
                "its content is not known before a machine runs, so it cannot be baked",
            ));
        };
        if let Some(same) = &change.same_as {
            let (place, existing) = place(same, oem)?;
            if place == partition && self.type_at(partition, &existing)?.is_some() {
                return self.apply_hard_link(change, partition, path, &existing, why);
            }
        }
        self.write_file(NewFile {
            partition,
            path,
            content: Content::Bytes(content),
            mode: change.mode,
            owner: Some((change.uid, change.gid)),
            why,
        })
    }

    fn apply_hard_link(
        &mut self,
        change: &run::Change,
        partition: Designator,
        path: &FsPath,
        existing: &FsPath,
        why: &str,
    ) -> Result<()> {
        let old = self.make_way(partition, path, FileType::File, why)?;
        self.note_written(partition, path, why)?;
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| {
            if old.is_some() {
                fs.remove(path)?;
            }
            fs.hard_link(existing, path)
        })?;
        let content = change.content.as_deref().map_or(&[][..], Vec::as_slice);
        let source = Source::Inline(hex(&Sha256::digest(content)));
        self.note_applied(change, partition, path, Action::WriteFile { source }, why);
        Ok(())
    }

    fn attributes_of(&self, change: &run::Change) -> Attributes {
        Attributes {
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            mtime: self.run.timestamp,
        }
    }

    fn note_applied(
        &mut self,
        change: &run::Change,
        partition: Designator,
        path: &FsPath,
        action: Action,
        why: &str,
    ) {
        self.changes.push(Change {
            partition,
            path: path.clone(),
            action,
            replaces: change.what == What::Changed,
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            bytes: 0,
            why: why.to_owned(),
        });
    }
}

/// The partition of a path of the running system, and the path there.
fn place(path: &str, oem: &str) -> Result<(Designator, FsPath)> {
    let below = path.strip_prefix(oem).filter(|rest| rest.starts_with('/'));
    Ok(match below {
        Some(below) => (Designator::Oem, FsPath::new(below)?),
        None => (Designator::Root, FsPath::new(path)?),
    })
}

/// An error where a config needs the machine.
fn refuse_machine(applied: &Applied) -> Result<()> {
    let Some(planned) = applied.planned.first() else {
        return Ok(());
    };
    let message = format!("{}: this cannot be baked: {}", planned.place, planned.what);
    Err(Error::unsupported(message).with_hint(
        "leave disks, filesystems and kernel arguments to a config that Ignition takes at boot",
    ))
}
