//! Several extensions, and those that an image has, merged into it together.
//!
//! ```text
//!   given, and the image's own ──▶ by name, those that are masked or replaced taken out ──▶ in the order of their names
//!                                                                              │ the last one on top of all others
//!   each one: systemd's rules, the kernel, what it hides of the image, what it and others both have, libraries
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::build::libraries_in;
use super::check::{HostRelease, check};
use super::class::Class;
use super::compare::{compare_as, shared_paths_as};
use super::disk::open_extension;
use super::host::Host;
use super::inspect::{SysextInfo, inspect_as};
use super::kernel::{Needs, check_kernel};
pub use super::names::compare_names;
use super::programs::{Program, programs};
use crate::block::BlockDevice;
use crate::error::{Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::OsRelease;
use crate::flatcar::ddi;
use crate::fs::FileSystem;
use crate::progress::Cancel;

/// An extension of several.
pub struct Candidate {
    /// The name it is merged by.
    pub name: String,
    /// What messages call it: the path of its file.
    pub place: String,
    /// Whether it is one that the image has, about which nothing is told but what it shares with others.
    pub is_installed: bool,
    info: SysextInfo,
    needs: Needs,
    fs: Box<dyn FileSystem>,
    programs: Vec<Program>,
    signature: Option<Finding>,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl Candidate {
    /// Opens the extension on `device`; `class` is what it is merged as, else what its release files say.
    ///
    /// # Errors
    /// It is no extension that can be read.
    pub fn open(
        name: &str,
        place: &str,
        device: Arc<dyn BlockDevice>,
        class: Option<Class>,
        host: &Host,
    ) -> Result<Self> {
        let open = || {
            let fs = open_extension(Arc::clone(&device))?;
            let info = match class {
                Some(class) => inspect_as(class, &*fs)?,
                None => info_of(&*fs)?,
            };
            Ok(Self {
                name: name.to_owned(),
                place: place.to_owned(),
                is_installed: false,
                info,
                needs: Needs::of(Arc::clone(&device))?,
                programs: programs(&*fs)?,
                fs,
                signature: signature(device, host)?,
            })
        };
        open().at(|| place)
    }

    /// What it is merged as.
    pub fn class(&self) -> Class {
        self.info.class
    }

    /// The names of the unit files that it brings.
    pub fn units(&self) -> &[String] {
        &self.info.units
    }
}

/// What is in an extension, as that of the class whose release files it has.
fn info_of(fs: &dyn FileSystem) -> Result<SysextInfo> {
    let info = inspect_as(Class::Sysext, fs)?;
    if info.releases.is_empty() {
        let confext = inspect_as(Class::Confext, fs)?;
        if !confext.releases.is_empty() {
            return Ok(confext);
        }
    }
    Ok(info)
}

/// What there is to say of a signature; nothing where there is none, and where the image trusts nobody.
fn signature(device: Arc<dyn BlockDevice>, host: &Host) -> Result<Option<Finding>> {
    let Some(signed) = ddi::look(device, &host.certificates)? else {
        return Ok(None);
    };
    if let Some(why) = signed.verity_problem {
        return Ok(Some(Finding::new(code::SYSEXT_SIGNATURE).with("why", why)));
    }
    let is_unknown = signed.trusted.is_none() && !host.certificates.is_empty();
    Ok(is_unknown.then(|| Finding::new(code::SYSEXT_SIGNER_UNKNOWN)))
}

/// What is asked about extensions.
#[derive(Debug, Default)]
pub struct Question {
    /// Names of extensions of the image that are switched off.
    pub masked: BTreeSet<String>,
    /// A later release that they should be merged by, too.
    pub after_update: Option<String>,
}

/// An extension in the order of merging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The name it is merged by.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What it is merged as.
    pub class: Class,
    /// Whether it is one of the image's own.
    pub is_installed: bool,
    /// Whether it is merged.
    pub is_merged: bool,
    /// Whether it would be after the update, where one is asked about.
    pub is_merged_after_update: Option<bool>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Together {
    /// All extensions in the order of merging: where two have a file, that of the later one is seen.
    pub order: Vec<Placed>,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

impl Together {
    /// Whether anything was found that is worth more than a note.
    pub fn is_clean(&self) -> bool {
        let is_note = |finding: &Finding| finding.severity() == crate::Severity::Note;
        self.findings.iter().all(is_note)
    }
}

/// Checks extensions that are merged into `host` together. `given` are new there, `installed` those it has.
///
/// # Errors
/// Those of reading.
pub fn check_together(
    given: Vec<Candidate>,
    installed: Vec<Candidate>,
    host: &Host,
    question: &Question,
    cancel: &Cancel,
) -> Result<Together> {
    let mut findings = Vec::new();
    let names: BTreeSet<String> = given.iter().map(|one| one.name.clone()).collect();
    for name in &question.masked {
        if !installed.iter().any(|own| own.name == *name) {
            findings.push(Finding::new(code::SYSEXT_MASK_UNKNOWN).with("name", name));
        }
    }
    let mut all = given;
    for mut own in installed {
        own.is_installed = true;
        if question.masked.contains(&own.name) {
            continue;
        }
        if names.contains(&own.name) {
            findings.push(Finding::new(code::SYSEXT_TAKES_PLACE).with("name", &own.name));
            continue;
        }
        all.push(own);
    }
    all.sort_by(|a, b| compare_names(&a.name, &b.name));
    let later = question
        .after_update
        .as_ref()
        .map(|version| after_update(host, version));

    let mut order = Vec::new();
    for candidate in &all {
        let (told, placed) = match_one(candidate, host, later.as_ref())?;
        if !candidate.is_installed {
            findings.extend(
                told.into_iter()
                    .map(|finding| finding.at(&*candidate.place)),
            );
        }
        order.push(placed);
    }
    let merged: Vec<&Candidate> = all
        .iter()
        .zip(&order)
        .filter(|(_, placed)| placed.is_merged)
        .map(|(candidate, _)| candidate)
        .collect();
    for (at, candidate) in merged.iter().enumerate() {
        cancel.check()?;
        let told = beside_others(candidate, &merged[..at], &merged, host)?;
        findings.extend(
            told.into_iter()
                .map(|finding| finding.at(&*candidate.place)),
        );
    }
    Ok(Together { order, findings })
}

/// A host after an update to `version`.
fn after_update(host: &Host, version: &str) -> (HostRelease, OsRelease) {
    let release = HostRelease {
        version_id: Some(version.to_owned()),
        ..host.release.clone()
    };
    (release, host.os_release.with_version(version))
}

/// Whether one extension is merged, by itself, and what there is to say of it.
fn match_one(
    candidate: &Candidate,
    host: &Host,
    later: Option<&(HostRelease, OsRelease)>,
) -> Result<(Vec<Finding>, Placed)> {
    let info = &candidate.info;
    let mut told = check(info, &candidate.name, &host.release);
    told.extend(check_kernel(&candidate.needs, &host.os_release));
    let is_merged = !told.iter().any(is_about_merging);
    told.extend(candidate.signature.clone());
    if is_merged {
        told.extend(compare_as(
            info.class,
            &*candidate.fs,
            &host.tree,
            &info.real_dirs,
        )?);
    }
    let mut is_merged_after_update = None;
    if let Some((release, os_release)) = later {
        let mut then = check(info, &candidate.name, release);
        then.extend(check_kernel(&candidate.needs, os_release));
        let stops = then.iter().find(|finding| is_about_merging(finding));
        is_merged_after_update = Some(stops.is_none());
        if let Some(why) = stops.filter(|_| is_merged) {
            told.push(
                Finding::new(code::SYSEXT_AFTER_UPDATE)
                    .with("version", release.version_id.as_deref().unwrap_or_default())
                    .with("why", why.message()),
            );
        }
    }
    let placed = Placed {
        name: candidate.name.clone(),
        file: candidate.place.clone(),
        class: info.class,
        is_installed: candidate.is_installed,
        is_merged,
        is_merged_after_update,
    };
    Ok((told, placed))
}

/// Whether a finding keeps an extension from being merged; others tell what comes of merging it.
fn is_about_merging(finding: &Finding) -> bool {
    let about_content = [code::SYSEXT_SBIN];
    finding.stops() && !about_content.contains(&finding.code())
}

/// What an extension that is merged does to those below it, and what its programs lack among all.
fn beside_others(
    candidate: &Candidate,
    below: &[&Candidate],
    all: &[&Candidate],
    host: &Host,
) -> Result<Vec<Finding>> {
    let class = candidate.class();
    let mut told = Vec::new();
    for other in below {
        // What the image merges anyway is its own business.
        if other.class() != class || (other.is_installed && candidate.is_installed) {
            continue;
        }
        let paths = shared_paths_as(class, &*candidate.fs, &*other.fs)?;
        if !paths.is_empty() {
            let finding = Finding::new(code::SYSEXT_SHARED_PATHS).with("other", &other.name);
            told.push(finding.with("paths", paths));
        }
    }
    // Without the files of an image nothing can be said of libraries.
    let has_files = !host.tree.layers().is_empty();
    if has_files && !candidate.is_installed {
        let others = all.iter().filter(|other| other.name != candidate.name);
        let mut layers: Vec<&dyn FileSystem> = vec![&*candidate.fs];
        layers.extend(others.map(|other| &*other.fs));
        layers.extend(host.tree.layers());
        told.extend(libraries_in(class, &candidate.programs, &layers)?);
    }
    Ok(told)
}
