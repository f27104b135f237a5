//! What is known of a run when everything is decided: its plans, its results and the files they will be.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::plan::Plan;
use super::super::request::{Context, Expected, Request, at_origin};
use super::base::BaseFacts;
use super::targets::{self, Target};
use super::vendors::ChosenVendor;
use crate::block::{Input, Inputs, Overlay, shown};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::flatcar::live::iso::Isolinux;
use crate::flatcar::vendor::Settings;
use crate::fs::Timestamp;

/// What one result is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The variant's name.
    pub variant: Option<String>,
    /// The vendor's id; none for disks that are no vendor's.
    pub vendor: Option<String>,
}

/// `node1/azure`; `image` for a result that has neither.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.variant, &self.vendor) {
            (Some(variant), Some(vendor)) => write!(f, "{variant}/{vendor}"),
            (Some(word), None) | (None, Some(word)) => f.pad(word),
            (None, None) => f.pad("image"),
        }
    }
}

/// A run of which everything is decided and nothing is written.
#[derive(Debug)]
pub struct Prepared {
    pub(in crate::bake) request: Request,
    pub(in crate::bake) inputs: Inputs,
    pub(in crate::bake) base: BaseFacts,
    pub(in crate::bake) timestamp: Timestamp,
    /// What concerns the whole run.
    pub(in crate::bake) findings: Vec<Finding>,
    pub(in crate::bake) shared: Plan,
    pub(super) shared_overlay: Arc<Overlay>,
    pub(in crate::bake) variants: Vec<PreparedVariant>,
    /// The results, in the order of variants and within them plain disks first, then vendors in order of their ids.
    pub(in crate::bake) images: Vec<PreparedImage>,
    pub(super) vendors: Vec<ChosenVendor>,
    /// What makes CD images start on a BIOS.
    pub(in crate::bake) isolinux: Option<Isolinux>,
}

/// A variant that is prepared.
#[derive(Debug)]
pub(in crate::bake) struct PreparedVariant {
    pub(in crate::bake) name: String,
    /// What it adds to the shared bake.
    pub(in crate::bake) plan: Plan,
}

/// One result, not yet written.
#[derive(Debug)]
pub(in crate::bake) struct PreparedImage {
    pub(in crate::bake) key: Key,
    /// Its variant, by its place in the list.
    pub(in crate::bake) variant: Option<usize>,
    /// Its vendor, by its place in the list.
    pub(super) vendor: Option<usize>,
    /// What it adds to its variant, or to the shared bake where there is none.
    pub(in crate::bake) plan: Plan,
    pub(in crate::bake) disk_bytes: u64,
    /// The vendor's settings for the image's release.
    pub(in crate::bake) settings: Option<Settings>,
    /// What is written of it.
    pub(in crate::bake) target: Target,
    /// The disk with all changes, where it is kept.
    pub(super) held: Option<Arc<Overlay>>,
}

impl Prepared {
    /// All files that are written, in the order of the results: what a run would replace or make.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self
            .images
            .iter()
            .flat_map(|image| image.target.files())
            .collect();
        files.extend(targets::run_files(&self.request));
        files
    }

    /// Everything that a person should know, with the results it is about.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = self.findings.clone();
        all.extend(self.shared.findings.iter().cloned());
        for variant in &self.variants {
            let named = |finding: &Finding| finding.clone().at(format!("variant {}", variant.name));
            all.extend(variant.plan.findings.iter().map(named));
        }
        for image in &self.images {
            all.extend(
                image
                    .plan
                    .findings
                    .iter()
                    .map(|finding| finding.clone().at(image.key.to_string())),
            );
        }
        all
    }

    /// All files that were read, with their digests.
    ///
    /// # Errors
    /// Those of reading the files whose digest is not known yet, and where a file was changed meanwhile.
    pub fn inputs(&self, context: &Context<'_>) -> Result<Vec<Input>> {
        self.inputs.complete(context.progress)?;
        self.inputs.check(&[])?;
        Ok(self.inputs.list())
    }

    pub(super) fn check_targets(&self) -> Result<()> {
        targets::check(&self.request, &self.files(), &self.inputs)
    }

    /// The inputs are what the request says they must be, and still what they were when they were read.
    pub(super) fn check_inputs(&self, context: &Context<'_>) -> Result<()> {
        let Expected {
            digests, locked, ..
        } = &self.request.expected;
        if !digests.is_empty() || locked.is_some() {
            self.inputs.complete(context.progress)?;
        }
        for expected in digests {
            let found = self.inputs.sha256(&expected.path);
            if let Some(found) = found.filter(|found| *found != expected.sha256) {
                let message = format!(
                    "{} has the SHA-256 {found}, not {}",
                    shown(&expected.path),
                    expected.sha256
                );
                let error = Error::new(ErrorKind::Untrusted, message)
                    .with_hint("get the file again, or mend the digest that is asked for");
                return Err(at_origin(error, expected.origin.as_ref()));
            }
        }
        if let Some(locked) = locked {
            locked.compare(&self.inputs.list())?;
        }
        self.inputs.check(&[])
    }
}
