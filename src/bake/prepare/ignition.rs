//! Ignition configs that are put in: checked against the image, and translated where they are Butane.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::edits::{ConfigSpec, Edits, FileSource};
use super::bench::Bench;
use crate::block::shown;
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::butane::{self, TranslateOptions};
use crate::flatcar::ignition::{self, CheckOptions, Reads, is_butane_text};
use crate::fs::{FileType, FsPath};

/// Largest Ignition config that is put in; Ignition itself reads it into memory at boot.
pub(super) const IGNITION_MAX: u64 = ignition::CONFIG_MAX;

/// A config as it goes to OEM.
struct Config {
    /// None where it cannot be translated.
    content: Option<Vec<u8>>,
    findings: Vec<Finding>,
}

impl Bench<'_> {
    /// Records what is wrong with a config.
    pub(super) fn check_ignition(&mut self, config: &ConfigSpec, role: &'static str) -> Result<()> {
        let read = self.read_config(config, role, None);
        let findings = read.at(|| name_of(config, role))?.findings;
        self.findings.extend(findings);
        Ok(())
    }

    /// What goes to OEM for a config.
    pub(super) fn ignition_content(
        &self,
        config: &ConfigSpec,
        role: &'static str,
    ) -> Result<Vec<u8>> {
        let read = self.read_config(config, role, None)?;
        let stops: Vec<Finding> = read.findings.into_iter().filter(Finding::stops).collect();
        let why = stops.first().map(Finding::to_string).unwrap_or_default();
        read.content.ok_or_else(|| {
            Error::invalid(format!("this Butane file cannot be translated: {why}"))
                .with_findings(stops)
        })
    }

    /// Records the `oem:///` sources of configs that are not on OEM, now that all that goes there is there.
    pub(super) fn see_oem_sources(&mut self, edits: &Edits) -> Result<()> {
        for (config, role) in [
            (&edits.base_ign, "base.ign"),
            (&edits.config_ign, "config.ign"),
        ] {
            let Some(config) = config else { continue };
            let asked = RefCell::new(BTreeSet::new());
            let note = |path: &str| {
                asked.borrow_mut().insert(path.to_owned());
                true
            };
            self.read_config(config, role, Some(&note))?;
            let mut known = BTreeMap::new();
            for path in asked.into_inner() {
                let is_there = self.has_on_oem(&path)?;
                known.insert(path, is_there);
            }
            let has = |path: &str| known.get(path).copied().unwrap_or(true);
            let read = self.read_config(config, role, Some(&has))?;
            let missing = |finding: &Finding| finding.code() == code::IGNITION_OEM_MISSING;
            self.findings
                .extend(read.findings.into_iter().filter(missing));
        }
        Ok(())
    }

    fn has_on_oem(&mut self, path: &str) -> Result<bool> {
        let Ok(path) = FsPath::new(path) else {
            return Ok(false);
        };
        let found = self.type_at(Designator::Oem, &path)?;
        Ok(matches!(found, Some(FileType::File | FileType::Symlink)))
    }

    fn read_config(
        &self,
        config: &ConfigSpec,
        role: &'static str,
        oem_has: Option<&dyn Fn(&str) -> bool>,
    ) -> Result<Config> {
        let content = self.content_of(&config.source, IGNITION_MAX, role)?;
        let name = match &config.source {
            FileSource::Host(path) => shown(path),
            FileSource::Inline(_) => role.to_owned(),
        };
        let options = CheckOptions {
            name: &name,
            release: self.run.major(),
            oem_has,
        };
        let read = if is_butane(&config.source, &content) {
            self.butane(config, content, options)
        } else {
            Config {
                findings: ignition::check(&content, &options).findings,
                content: Some(content),
            }
        };
        let at_origin = |finding: Finding| finding.at(name_of(config, role));
        Ok(Config {
            findings: read.findings.into_iter().map(at_origin).collect(),
            ..read
        })
    }

    fn butane(&self, config: &ConfigSpec, content: Vec<u8>, check: CheckOptions<'_>) -> Config {
        let is_kept = self.run.policy.keep_butane;
        let folder = match &config.source {
            // What stays Butane finds no local files at boot.
            FileSource::Host(path) if !is_kept => Some(path.parent().unwrap_or(Path::new(""))),
            _ => None,
        };
        let mut options = TranslateOptions::new(check.name).registering(&self.run.inputs);
        options.check = check;
        options.folder = folder;
        let translated = butane::translate(&content, &options);
        if !is_kept {
            return Config {
                content: translated.json(false).map(String::into_bytes),
                findings: translated.findings,
            };
        }
        let mut findings = translated.findings;
        findings.extend(self.butane_unread(&check));
        Config {
            content: Some(content),
            findings,
        }
    }

    /// The finding where the image's own Ignition reads no Butane.
    fn butane_unread(&self, check: &CheckOptions<'_>) -> Option<Finding> {
        let major = self.run.major();
        let reads = major.and_then(Reads::of_release);
        if reads.is_some_and(|reads| reads.butane) {
            return None;
        }
        let release = major.map(|major| format!(" of release {major}"));
        let finding = Finding::new(code::BUTANE_UNREAD)
            .with("ignition", reads.map_or("", |reads| reads.ignition))
            .with("release", release.unwrap_or_default());
        Some(finding.at(check.name))
    }
}

/// Whether a config is a Butane file: by its name, unless it is JSON, or by the key `variant` that each of them has.
fn is_butane(source: &FileSource, content: &[u8]) -> bool {
    let is_named = match source {
        FileSource::Host(path) => ["bu", "yaml", "yml"]
            .iter()
            .any(|end| path.extension().is_some_and(|name| name == *end)),
        FileSource::Inline(_) => false,
    };
    let is_json = content.trim_ascii_start().starts_with(b"{");
    (is_named && !is_json) || is_butane_text(content)
}

/// What messages call a config.
pub(super) fn name_of(config: &ConfigSpec, role: &str) -> String {
    match (&config.origin, &config.source) {
        (Some(origin), _) => origin.clone(),
        (None, FileSource::Host(source)) => shown(source),
        (None, FileSource::Inline(_)) => role.to_owned(),
    }
}
