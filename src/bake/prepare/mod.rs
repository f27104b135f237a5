//! From a request to disks: everything is decided and carried out on overlays before a file is written.
//!
//! ```text
//!   base ──shared edits──▶ overlay ──fork──▶ variant "node1" ──fork──▶ azure: layout, OEM, kernel arguments
//!                                  │                         └─fork──▶ gce
//!                                  └─fork──▶ variant "node2" ──fork──▶ azure …
//! ```
//!
//! What the editors did is the plan; what they have left is the room. There is no estimate that could disagree.

mod base;
mod bench;
mod files;
mod generalize;
mod identity;
mod ignition;
mod lasting;
mod oem;
mod oem_sysexts;
mod official;
mod payload;
mod prepared;
mod results;
mod running;
mod secure_boot;
mod settings;
mod signatures;
mod sizes;
mod sysext;
mod targets;
mod trusted;
mod updates;
mod vendors;

use super::edits::Edits;
use super::request::{Context, Request};
use crate::block::Inputs;
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::flatcar::{Disk, Generation};

use base::BaseFacts;
pub(super) use bench::Run;
use bench::Work;
use payload::OemChange;
pub use prepared::{Key, Prepared};
pub(super) use prepared::{PreparedImage, PreparedVariant};
use sizes::{Sizes, Stock, make};
pub(super) use targets::{FIRMWARE_ROLE, REPORT, SUMS, Target, firmware, firmware_names};
use vendors::ChosenVendor;

/// What is known before anything is changed.
struct Start {
    disk: Disk,
    base: BaseFacts,
    vendors: Vec<ChosenVendor>,
    findings: Vec<Finding>,
}

impl Request {
    /// Reads the base image and all inputs, decides everything and carries it out on overlays. No file is written.
    ///
    /// # Errors
    /// Those of [`Request::check`]; whatever is wrong with an input or cannot be done. Where several results cannot be
    /// made, all of them are named. [`crate::ErrorKind::InvalidInput`] with the findings that stop the run unless it is
    /// forced; [`crate::ErrorKind::NoSpace`] with the numbers where something does not fit; [`crate::ErrorKind::Untrusted`]
    /// where an input is not what it must be.
    pub fn prepare(&self, context: &Context<'_>) -> Result<Prepared> {
        self.check()?;
        updates::check_updates(self)?;
        let inputs = Inputs::new(context.cancel.clone());
        for (path, role) in &self.also_read {
            inputs.open(role, path)?;
        }
        let targets = targets::plain(self)?;
        let (disk, facts) = base::open_base(self, context, &inputs)?;
        let mut findings = self.findings.clone();
        findings.extend(disk.findings());
        let release = base::release_of(&disk, &mut findings);
        // What could not be read may just have been cancelled.
        context.cancel.check()?;
        base::refuse_other_systems(&disk, release.as_ref())?;
        base::refuse_other_releases(self.expected.release.as_deref(), release.as_ref())?;
        let timestamp = match self.timestamp {
            Some(time) => time,
            None => base::newest_time(&disk, &mut findings),
        };
        let facts = BaseFacts {
            release: release.clone(),
            ..facts
        };
        let run = Run {
            context,
            inputs: inputs.clone(),
            release,
            timestamp,
            policy: self.policy,
        };
        let request = self.generalized(&disk)?;
        findings.extend(running::see_base(&request, &disk)?);
        bench::stop_at(&mut findings, self.policy)?;
        context.cancel.check()?;
        let generation = Generation::of(disk.table());
        let vendors = vendors::choose(self, &run, generation, &mut findings)?;
        targets::check_vendors(self, &vendors)?;
        targets::check_sectors(&targets, &vendors, disk.table().sector_size())?;
        targets::register_firmware(self, &inputs)?;
        if !vendors.is_empty() && generation.is_none() {
            findings.push(Finding::new(code::LAYOUT_UNKNOWN));
        }
        context.progress.start("preparing", 0);
        let start = Start {
            disk,
            base: facts,
            vendors,
            findings,
        };
        let prepared = request.carry_out(&run, start, &targets);
        context.progress.finish();
        let prepared = prepared?;
        prepared.check_targets()?;
        prepared.check_inputs(context)?;
        Ok(prepared)
    }

    fn carry_out(
        &self,
        run: &Run<'_>,
        start: Start,
        targets: &[super::write::Output],
    ) -> Result<Prepared> {
        let Start {
            disk,
            base,
            vendors,
            findings,
        } = start;
        let stock = Stock {
            disk,
            overlay: None,
        };
        let (edits, _) = self.parts(&self.edits, &vendors);
        // What is shared must fit the smallest of the layouts, so ROOT has the size of that one from the start.
        let root_floor = vendors.iter().filter_map(|vendor| vendor.root_floor).min();
        let sizes = Sizes {
            root: self.root_size,
            root_floor,
            ..Sizes::default()
        };
        let shared = make(
            run,
            &stock,
            Work {
                edits: &edits,
                oem: &OemChange::Keep,
                beside: &[],
            },
            sizes,
        )?;
        let mut prepared = Prepared {
            request: self.clone(),
            inputs: run.inputs.clone(),
            base,
            timestamp: run.timestamp,
            findings,
            shared: shared.plan,
            shared_overlay: shared.overlay,
            variants: Vec::new(),
            images: Vec::new(),
            vendors,
            isolinux: targets::isolinux(self, &run.inputs)?,
        };
        let mut failures = Vec::new();
        prepared.prepare_results(run, targets, &mut failures)?;
        match failures.len() {
            0 => Ok(prepared),
            _ => Err(failures_of(failures)),
        }
    }

    /// Whether the digests of all inputs are told.
    pub(super) fn needs_digests(&self) -> bool {
        self.policy.digests || self.folder.is_some()
    }

    /// What is changed before a vendor's own grub.cfg is in place, and after.
    fn parts(&self, edits: &Edits, vendors: &[ChosenVendor]) -> (Edits, Edits) {
        if vendors.is_empty() {
            (edits.clone(), Edits::new())
        } else {
            edits.split_at_grub()
        }
    }
}

/// One error of all results that cannot be made.
fn failures_of(mut failures: Vec<(Key, Error)>) -> Error {
    if failures.len() == 1 {
        return failures.swap_remove(0).1;
    }
    let kind = failures[0].1.kind();
    let each = failures
        .iter()
        .map(|(key, error)| format!("\n  - {key}: {error}"));
    let message = format!(
        "{} images cannot be made:{}",
        failures.len(),
        each.collect::<String>()
    );
    let findings = failures
        .iter()
        .flat_map(|(_, error)| error.findings().to_vec())
        .collect();
    let error = Error::new(kind, message).with_findings(findings);
    match failures[0].1.hint() {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
