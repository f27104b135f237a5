//! From a request to disks: everything is decided and carried out on overlays before a file is written.
//!
//! ```text
//!   base ──shared edits──▶ overlay ──fork──▶ variant "node1" ──fork──▶ azure: layout, OEM, kernel arguments
//!                                  │                         └─fork──▶ gce
//!                                  └─fork──▶ variant "node2" ──fork──▶ azure …
//! ```
//!
//! What the editors did is the plan; what they have left is the room. There is no estimate that could disagree.

mod bench;
mod files;
mod identity;
mod oem;
mod oem_sysexts;
mod official;
mod payload;
mod running;
mod secure_boot;
mod signatures;
mod sizes;
mod sysext;
mod targets;
mod updates;
mod vendors;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::edits::Edits;
use super::plan::Plan;
use super::request::{Base, Context, Expected, Request, RootSize, Stream, at_origin};
use crate::block::{BlockDevice, Input, Inputs, Overlay, shown};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::live;
use crate::flatcar::live::iso::Isolinux;
use crate::flatcar::vendor::Settings;
use crate::flatcar::{Designator, Disk, Generation, OsRelease};
use crate::fs::{ByPath, FsPath, Timestamp};
use crate::image::{self, Compression, Format, OpenOptions};

pub(super) use bench::Run;
use bench::{Work, stop_at};
use payload::OemChange;
use sizes::{Made, Sizes, Stock, make};
pub(super) use targets::{FIRMWARE_ROLE, REPORT, SUMS, Target, firmware, firmware_names};
use vendors::ChosenVendor;

/// Results whose disks are kept from the moment they are prepared; further ones are made anew when they are written, so
/// that thousands of variants take memory for those that are being written only.
const HELD_MAX: usize = 32;

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
    pub(super) request: Request,
    pub(super) inputs: Inputs,
    pub(super) base: BaseFacts,
    pub(super) timestamp: Timestamp,
    /// What concerns the whole run.
    pub(super) findings: Vec<Finding>,
    pub(super) shared: Plan,
    shared_overlay: Arc<Overlay>,
    pub(super) variants: Vec<PreparedVariant>,
    /// The results, in the order of variants and within them plain disks first, then vendors in order of their ids.
    pub(super) images: Vec<PreparedImage>,
    vendors: Vec<ChosenVendor>,
    /// What makes CD images start on a BIOS.
    pub(super) isolinux: Option<Isolinux>,
}

/// What is known of the base image.
#[derive(Debug, Clone)]
pub(super) struct BaseFacts {
    pub(super) name: String,
    pub(super) format: Format,
    pub(super) compression: Option<Compression>,
    pub(super) disk_bytes: u64,
    pub(super) release: Option<OsRelease>,
}

/// A variant that is prepared.
#[derive(Debug)]
pub(super) struct PreparedVariant {
    pub(super) name: String,
    /// What it adds to the shared bake.
    pub(super) plan: Plan,
}

/// One result, not yet written.
#[derive(Debug)]
pub(super) struct PreparedImage {
    pub(super) key: Key,
    /// Its variant, by its place in the list.
    pub(super) variant: Option<usize>,
    /// Its vendor, by its place in the list.
    vendor: Option<usize>,
    /// What it adds to its variant, or to the shared bake where there is none.
    pub(super) plan: Plan,
    pub(super) disk_bytes: u64,
    /// The vendor's settings for the image's release.
    pub(super) settings: Option<Settings>,
    /// What is written of it.
    pub(super) target: Target,
    /// The disk with all changes, where it is kept.
    held: Option<Arc<Overlay>>,
}

/// `ID` in the os-release of Azure Container Linux.
const AZURE_LINUX: &str = "azurelinux";
/// Partitions that it has and Flatcar has not: hash trees of its two systems.
const AZURE_LINUX_LABELS: [&str; 2] = ["HASH-A", "HASH-B"];

impl Request {
    /// Reads the base image and all inputs, decides everything and carries it out on overlays. No file is written.
    ///
    /// # Errors
    /// Those of [`Request::check`]; whatever is wrong with an input or cannot be done. Where several results cannot be
    /// made, all of them are named. [`ErrorKind::InvalidInput`] with the findings that stop the run unless it is forced;
    /// [`ErrorKind::NoSpace`] with the numbers where something does not fit; [`ErrorKind::Untrusted`] where an input is
    /// not what it must be.
    pub fn prepare(&self, context: &Context<'_>) -> Result<Prepared> {
        self.check()?;
        updates::check_updates(self)?;
        let inputs = Inputs::new(context.cancel.clone());
        for (path, role) in &self.also_read {
            inputs.open(role, path)?;
        }
        let targets = targets::plain(self)?;
        let (disk, facts) = open_base(self, context, &inputs)?;
        let mut findings = self.findings.clone();
        findings.extend(disk.findings());
        let release = release_of(&disk, &mut findings);
        // What could not be read may just have been cancelled.
        context.cancel.check()?;
        refuse_other_systems(&disk, release.as_ref())?;
        refuse_other_releases(self.expected.release.as_deref(), release.as_ref())?;
        let timestamp = match self.timestamp {
            Some(time) => time,
            None => newest_time(&disk, &mut findings),
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
        findings.extend(running::see_base(self, &disk)?);
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
        let prepared = self.carry_out(&run, disk, facts, vendors, &targets, findings);
        context.progress.finish();
        let prepared = prepared?;
        prepared.check_targets()?;
        prepared.check_inputs(context)?;
        Ok(prepared)
    }

    fn carry_out(
        &self,
        run: &Run<'_>,
        disk: Disk,
        base: BaseFacts,
        vendors: Vec<ChosenVendor>,
        targets: &[super::write::Output],
        findings: Vec<Finding>,
    ) -> Result<Prepared> {
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

impl Prepared {
    /// All variants and results, each on a fork.
    fn prepare_results(
        &mut self,
        run: &Run<'_>,
        targets: &[super::write::Output],
        failures: &mut Vec<(Key, Error)>,
    ) -> Result<()> {
        if self.request.variants.is_empty() {
            let overlay = Arc::clone(&self.shared_overlay);
            self.results_of(run, None, &overlay, targets, failures)?;
        }
        for at in 0..self.request.variants.len() {
            run.context.cancel.check()?;
            let variant = &self.request.variants[at];
            let name = variant.name.clone();
            let origin = variant.origin.clone();
            match self.make_variant(run, at) {
                Ok(made) => {
                    self.variants.push(PreparedVariant {
                        name,
                        plan: made.plan,
                    });
                    self.results_of(run, Some(at), &made.overlay, targets, failures)?;
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    failures.push((
                        Key {
                            variant: Some(name),
                            vendor: None,
                        },
                        at_origin(error, origin.as_ref()),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The disk of one variant.
    fn make_variant(&self, run: &Run<'_>, at: usize) -> Result<Made> {
        let variant = &self.request.variants[at];
        let label = format!("{}: variant {}", self.base.name, variant.name);
        let stock = stock_of(label, &self.shared_overlay)?;
        let (mut edits, _) = self.request.parts(&variant.edits, &self.vendors);
        if edits.install_to.is_none() {
            edits.install_to.clone_from(&self.request.edits.install_to);
        }
        edits.sysupdate |= self.request.edits.sysupdate;
        // A size that is given was reached by the shared bake; as large as it needs may be more for a variant.
        let root = self
            .request
            .root_size
            .filter(|size| *size == RootSize::Auto);
        let sizes = Sizes {
            root,
            ..Sizes::default()
        };
        let beside = self.request.edits.merged_sysexts();
        make(
            run,
            &stock,
            Work {
                edits: &edits,
                oem: &OemChange::Keep,
                beside: &beside,
            },
            sizes,
        )
    }

    /// The results of one variant, or of the shared bake.
    fn results_of(
        &mut self,
        run: &Run<'_>,
        variant: Option<usize>,
        overlay: &Arc<Overlay>,
        targets: &[super::write::Output],
        failures: &mut Vec<(Key, Error)>,
    ) -> Result<()> {
        let name = variant.map(|at| self.request.variants[at].name.clone());
        let is_plain = !targets.is_empty() || matches!(self.request.stream, Some(Stream::Disk(_)));
        let plain = is_plain.then_some(None);
        let first = self.images.len();
        let all: Vec<Option<usize>> = plain
            .into_iter()
            .chain((0..self.vendors.len()).map(Some))
            .collect();
        for vendor in all {
            run.context.cancel.check()?;
            let id = vendor.map(|at| self.vendors[at].settings.id.as_str().to_owned());
            let key = Key {
                variant: name.clone(),
                vendor: id,
            };
            match self.make_result(run, variant, vendor, overlay) {
                Ok(made) => {
                    let held = (self.images.len() < HELD_MAX).then(|| Arc::clone(&made.overlay));
                    let settings = vendor.map(|at| self.vendors[at].settings.clone());
                    let mut target = targets::of(
                        &self.request,
                        name.as_deref(),
                        settings.as_ref(),
                        targets,
                        &made.overlay,
                    )?;
                    if let Some(catalog) = target.catalog(settings.as_ref())
                        && self.images[first..]
                            .iter()
                            .any(|image| image.target.files().contains(&catalog))
                    {
                        target.without(&catalog);
                    }
                    let plan = made.plan;
                    let disk_bytes = made.overlay.size();
                    self.images.push(PreparedImage {
                        key,
                        variant,
                        vendor,
                        plan,
                        disk_bytes,
                        settings,
                        target,
                        held,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) if vendor.is_some_and(|at| self.vendors[at].may_be_left_out(&error)) => {
                    let left_out = Finding::new(code::VENDOR_LEFT_OUT)
                        .with("vendor", &key)
                        .with("why", error.message());
                    self.findings.push(left_out);
                }
                Err(error) => failures.push((key, error)),
            }
        }
        Ok(())
    }

    /// The disk of one result, on a fork of that of its variant.
    fn make_result(
        &self,
        run: &Run<'_>,
        variant: Option<usize>,
        vendor: Option<usize>,
        overlay: &Arc<Overlay>,
    ) -> Result<Made> {
        if self.vendors.is_empty() {
            return Ok(Made {
                overlay: Arc::clone(overlay),
                plan: Plan::default(),
            });
        }
        let (_, mut edits) = self.request.parts(&self.request.edits, &self.vendors);
        if let Some(at) = variant {
            let (_, own) = self
                .request
                .parts(&self.request.variants[at].edits, &self.vendors);
            edits = edits.with_grub_of(own);
        }
        let named = variant
            .map(|at| format!(": variant {}", self.request.variants[at].name))
            .unwrap_or_default();
        let label = format!("{}{named}", self.base.name);
        let Some(at) = vendor else {
            let stock = stock_of(label, overlay)?;
            let work = Work {
                edits: &edits,
                oem: &OemChange::Keep,
                beside: &[],
            };
            return make(run, &stock, work, Sizes::default());
        };
        let chosen = &self.vendors[at];
        let label = format!("{label}: vendor {}", chosen.settings.id);
        let stock = stock_of(label.clone(), overlay)?;
        let mut made = make(
            run,
            &stock,
            Work {
                edits: &edits,
                oem: &chosen.oem,
                beside: &[],
            },
            chosen.sizes(),
        )?;
        chosen
            .check_size(made.overlay.size())
            .at(|| label.clone())?;
        let mut more = chosen.findings.clone();
        more.extend(
            self.check_vendor(chosen, variant, &made)
                .at(|| label.clone())?,
        );
        stop_at(&mut more, self.request.policy).at(|| label)?;
        made.plan.findings.extend(more);
        Ok(made)
    }

    /// What would stop the writing of a vendor's files, and what a person should know of them.
    fn check_vendor(
        &self,
        chosen: &ChosenVendor,
        variant: Option<usize>,
        made: &Made,
    ) -> Result<Vec<Finding>> {
        let settings = &chosen.settings;
        let key = Key {
            variant: variant.map(|at| self.request.variants[at].name.clone()),
            vendor: Some(settings.id.as_str().to_owned()),
        };
        let device: Arc<dyn BlockDevice> = Arc::clone(&made.overlay) as _;
        let disk = Disk::open(settings.stem(), device)?;
        settings.conf_texts(&self.machine(settings, &key, &disk)?)?;
        if settings.disk_format.output().is_some() {
            return Ok(Vec::new());
        }
        let findings = live::check(&disk)?;
        // What an image has always had on ROOT nobody has asked for.
        let of_variant = self
            .variants
            .last()
            .filter(|_| variant.is_some())
            .map(|variant| &variant.plan);
        let plans = [Some(&self.shared), of_variant, Some(&made.plan)];
        let mut changes = plans.into_iter().flatten().flat_map(|plan| &plan.changes);
        if changes.any(|change| change.partition == Designator::Root) {
            return Ok(findings);
        }
        Ok(findings.into_iter().map(Finding::lifted).collect())
    }

    /// The disk of a result: the one that was kept, or the same made once more.
    pub(super) fn disk_of(
        &self,
        context: &Context<'_>,
        image: &PreparedImage,
    ) -> Result<Arc<Overlay>> {
        if let Some(disk) = &image.held {
            return Ok(Arc::clone(disk));
        }
        let run = Run {
            context,
            inputs: self.inputs.clone(),
            release: self.base.release.clone(),
            timestamp: self.timestamp,
            policy: self.request.policy,
        };
        let variant = image
            .variant
            .map(|at| self.make_variant(&run, at))
            .transpose()?;
        let below = variant
            .as_ref()
            .map_or(&self.shared_overlay, |made| &made.overlay);
        let made = self.make_result(&run, image.variant, image.vendor, below)?;
        if made.plan != image.plan {
            return Err(Error::invalid(format!(
                "{}: an input was changed since the run began",
                image.key
            ))
            .with_hint("wait until nobody writes to the inputs, then try again"));
        }
        Ok(made.overlay)
    }

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

    fn check_targets(&self) -> Result<()> {
        targets::check(&self.request, &self.files(), &self.inputs)
    }

    /// The inputs are what the request says they must be, and still what they were when they were read.
    fn check_inputs(&self, context: &Context<'_>) -> Result<()> {
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

impl Request {
    /// Whether the digests of all inputs are told.
    pub(super) fn needs_digests(&self) -> bool {
        self.policy.digests || self.folder.is_some()
    }
}

/// An overlay as the disk that the next bench starts from.
fn stock_of(label: String, overlay: &Arc<Overlay>) -> Result<Stock> {
    let device: Arc<dyn BlockDevice> = Arc::clone(overlay) as _;
    Ok(Stock {
        disk: Disk::open(label, device)?,
        overlay: Some(Arc::clone(overlay)),
    })
}

/// Opens the base image, and registers it and the files that it refers to.
fn open_base(
    request: &Request,
    context: &Context<'_>,
    inputs: &Inputs,
) -> Result<(Disk, BaseFacts)> {
    let options = OpenOptions {
        cache: context.cache.clone(),
        threads: context.threads,
        allow_external: request.policy.allow_external,
        inputs: inputs.clone(),
        ..OpenOptions::new(&context.temp_dir)
    };
    let opened = match &request.base {
        Base::Path(path) => image::open(path, &options, context.progress)?,
        Base::Open(file, name) => {
            let file = file
                .try_clone()
                .map_err(|error| Error::io("opening the base image again", error))?;
            image::open_file(file, name, &options, context.progress)?
        }
    };
    let name = shown(request.base.name());
    image::check_whole(&*opened.device, &context.cancel).at(|| name.clone())?;
    let facts = BaseFacts {
        name: name.clone(),
        format: opened.format,
        compression: opened.compression,
        disk_bytes: opened.device.size(),
        release: None,
    };
    Ok((Disk::open(name, opened.device)?, facts))
}

/// The release of the base image. Only sysexts need it: an unreadable USR must not stop other edits.
fn release_of(disk: &Disk, findings: &mut Vec<Finding>) -> Option<OsRelease> {
    disk.os_release().unwrap_or_else(|error| {
        findings.push(Finding::new(code::RELEASE_UNKNOWN).with("why", error));
        None
    })
}

/// A signature says who made an image, and not that it is of the release that was asked for.
fn refuse_other_releases(wanted: Option<&str>, release: Option<&OsRelease>) -> Result<()> {
    let found = release.and_then(OsRelease::version);
    match wanted {
        Some(wanted) if found != Some(wanted) => Err(Error::new(
            ErrorKind::Untrusted,
            format!(
                "release {wanted} was asked for, and the image is of {}",
                found.unwrap_or("none that can be told")
            ),
        )
        .with_hint("the server, or a mirror of it, has another release's image there")),
        _ => Ok(()),
    }
}

/// Azure Container Linux derives from Flatcar, but its partitions and its way of booting are others: nothing that is known
/// of Flatcar's may be applied to it.
fn refuse_other_systems(disk: &Disk, release: Option<&OsRelease>) -> Result<()> {
    let is_named = release.is_some_and(|release| release.id() == AZURE_LINUX);
    let has_its_partitions = disk
        .table()
        .partitions()
        .any(|partition| AZURE_LINUX_LABELS.contains(&partition.name.to_string().as_str()));
    if !is_named && !has_its_partitions {
        return Ok(());
    }
    let why = "this is Azure Container Linux, not Flatcar: it boots without GRUB, and its partitions are others";
    Err(Error::unsupported(why)
        .with_hint("looking into it and converting it work; what is to be in it must be put there by its own tools")
        .at(disk.name()))
}

/// The newest time that the base image shows: that of the top folders of OEM and ROOT and of os-release.
///
/// A partition that is missing or empty shows no time. One that cannot be read may hide a newer time, which is told.
fn newest_time(disk: &Disk, findings: &mut Vec<Finding>) -> Timestamp {
    let places = [
        (Designator::Oem, "/"),
        (Designator::Root, "/"),
        (Designator::Usr, "/lib/os-release"),
    ];
    let mut newest = Timestamp::default();
    for (partition, path) in places {
        let read = || {
            disk.filesystem(partition.into())?
                .metadata_at(&FsPath::new(path)?)
        };
        match read() {
            Ok(metadata) => newest = newest.max(metadata.mtime),
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.reason() == Some(Reason::Unformatted) => {}
            Err(error) => {
                let finding = Finding::new(code::TIME_UNKNOWN)
                    .with("partition", partition)
                    .with("why", error);
                findings.push(finding);
            }
        }
    }
    Timestamp {
        secs: newest.secs.max(0),
        nanos: 0,
    }
}
