//! What the OEM partition's files mean: grub.cfg with its kernel arguments, Ignition configs.

use std::fmt::Display;
use std::path::Path;

use super::super::host;
use super::super::options::{FileSource, FileSpec};
use super::super::plan::{Action, Change, Source};
use super::Planner;
use crate::bytes::to_u64;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::{Designator, grub};
use crate::fs::{self, FileType, FsPath};

/// OEM's hook into GRUB, and its largest size: GRUB reads it into memory at every boot.
pub(super) const GRUB_CFG: &str = "/grub.cfg";
const GRUB_CFG_MAX: u64 = 1 << 20;
/// An Ignition config that Flatcar has not read since a release.
const DEFAULT_IGN: &[u8] = b"/base/default.ign";
const DEFAULT_IGN_DEAD: u64 = 3185;
/// Largest Ignition config that is checked; Ignition itself reads it into memory at boot.
const IGNITION_MAX: u64 = 16 << 20;

impl Planner<'_> {
    /// A file of OEM that the image's release would never read.
    pub(super) fn dead_on_oem(&mut self, path: &FsPath) {
        if path.as_bytes() == DEFAULT_IGN && self.major().is_none_or(|major| major >= DEFAULT_IGN_DEAD) {
            self.faults.push(format!(
                "oem:{path} would never be read: Flatcar has ignored it since release {DEFAULT_IGN_DEAD} \
                 (use --base-ign for what is always merged, --config-ign for the user config)"
            ));
        }
    }

    /// What a person should know of a grub.cfg that is baked in.
    pub(super) fn grub_cfg(&mut self, spec: &FileSpec, why: &str) -> Result<()> {
        let name = name_of(spec, why);
        let text = text_of(&content_of(spec, GRUB_CFG_MAX).at(|| why)?, &name)?;
        self.warnings.extend(grub::check(&text).into_iter().map(|finding| format!("{name}: {finding}")));
        Ok(())
    }

    /// Edits the kernel arguments of grub.cfg: of the one that this bake brings, else of the image's own.
    pub(super) fn kernel_args(&mut self, add: &[String], remove: &[String]) -> Result<()> {
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let path = FsPath::new(GRUB_CFG)?;
        let is_grub_cfg = |change: &Change| change.partition == Designator::Oem && change.path == path;
        let planned = self.changes.iter().rposition(|change| is_grub_cfg(change) && change.action != Action::Remove);
        let current = match planned.map(|at| &self.changes[at].action) {
            Some(Action::WriteFile { source: Source::Host(file) }) => host::read(file, GRUB_CFG_MAX)?,
            Some(Action::WriteFile { source: Source::Text(text) }) => text.clone().into_bytes(),
            Some(_) => return Err(Error::invalid(format!("{path} is no regular file, so it has no kernel arguments"))),
            None => self.grub_cfg_of_image(&path)?,
        };
        let text = grub::edit_kernel_args(&text_of(&current, &path)?, add, remove)?;
        let bytes = to_u64(text.len());
        let action = Action::WriteFile { source: Source::Text(text) };
        if let Some(at) = planned {
            (self.changes[at].action, self.changes[at].bytes) = (action, bytes);
            return Ok(());
        }
        let why = "--kernel-arg";
        let replaces = self.prepare(Designator::Oem, &path, FileType::File, why)?;
        let tree = self.tree(Designator::Oem)?;
        let old = if replaces { Some(tree.fs.metadata(&path)?) } else { None };
        tree.add(&path, FileType::File, bytes)?;
        let change = self.push(Designator::Oem, path, action, why.to_owned());
        (change.replaces, change.bytes, change.mode) = (replaces, bytes, 0o644);
        if let Some(old) = old {
            (change.mode, change.uid, change.gid) = (old.mode, old.uid, old.gid);
        }
        Ok(())
    }

    /// The image's own grub.cfg, empty where there is none or this bake removes it.
    pub(super) fn grub_cfg_of_image(&mut self, path: &FsPath) -> Result<Vec<u8>> {
        let tree = self.tree(Designator::Oem)?;
        match tree.type_at(path)? {
            Some(FileType::File) => fs::read_file(&*tree.fs, path, GRUB_CFG_MAX).at(|| Designator::Oem.to_string()),
            Some(_) => Err(Error::invalid(format!("{path} is no regular file, so it has no kernel arguments"))),
            None => Ok(Vec::new()),
        }
    }

    /// What Ignition would refuse at first sight: no JSON, no `ignition.version`.
    pub(super) fn ignition(&mut self, spec: &FileSpec, why: &str) -> Result<()> {
        let text = content_of(spec, IGNITION_MAX)?;
        let fault = match serde_json::from_slice::<serde_json::Value>(&text) {
            Err(error) => format!("is not JSON: {error}"),
            Ok(config) if config.pointer("/ignition/version").is_none_or(|version| !version.is_string()) => {
                "has no ignition.version, so Ignition refuses it".to_owned()
            }
            Ok(_) => return Ok(()),
        };
        let is_butane = |source: &Path| source.extension().is_some_and(|name| name == "yaml" || name == "bu");
        let hint = match &spec.source {
            FileSource::Host(source) if is_butane(source) => " (a Butane file must be translated to Ignition first)",
            _ => "",
        };
        self.faults.push(format!("{}: {fault}{hint}", name_of(spec, why)));
        Ok(())
    }
}

/// What messages call the content of a file to put into the image.
fn name_of(spec: &FileSpec, why: &str) -> String {
    match &spec.source {
        FileSource::Host(source) => host::shown(source),
        FileSource::Inline(_) => why.to_owned(),
    }
}

/// The content of a file to put into the image, of at most `limit` bytes.
fn content_of(spec: &FileSpec, limit: u64) -> Result<Vec<u8>> {
    match &spec.source {
        FileSource::Host(source) => host::read(source, limit),
        FileSource::Inline(content) if to_u64(content.len()) > limit => {
            Err(Error::invalid(format!("the content of {} is larger than {limit} bytes", spec.path)))
        }
        FileSource::Inline(content) => Ok(content.clone()),
    }
}

/// A file's content as text; `name` is what errors call it.
fn text_of(content: &[u8], name: &dyn Display) -> Result<String> {
    let text = std::str::from_utf8(content)
        .map_err(|error| Error::invalid(format!("{name} is not UTF-8")).with_source(error))?;
    Ok(text.to_owned())
}
