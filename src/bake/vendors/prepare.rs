//! One bake, and forks of it for variants and vendors: everything is planned and applied before a file is written.
//!
//! ```text
//!   base ──shared options──▶ overlay ──fork──▶ variant "node1" ──fork──▶ azure: layout, OEM, kernel arguments
//!                                    │                         └─fork──▶ gce
//!                                    └─fork──▶ variant "node2" ──fork──▶ azure …
//! ```

use std::fmt;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::apply::{Scratch, apply_to};
use super::super::options::{BakeOptions, FileRole, OemChange, OemPayload};
use super::super::plan::Plan;
use super::super::planner::plan;
use super::super::root_size::RootSize;
use super::OemSysexts;
use crate::block::{BlockDevice, Overlay, OverlayOptions};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::vendor::{Settings, Vendor};
use crate::flatcar::{Disk, Generation, Layout, LayoutName, OsRelease};
use crate::machine::Arch;
use crate::progress::Progress;

/// One bake and what becomes of it.
#[derive(Debug, Clone, Default)]
pub struct Fanout {
    /// What all results share.
    pub shared: BakeOptions,
    /// What sets results apart, such as nodes of a cluster; where there are none, the shared bake is the result.
    pub variants: Vec<VariantOptions>,
    /// The vendors that every variant is made for; where there are none, the disk stays what it is.
    pub vendors: Vec<VendorChoice>,
    /// Make the disk that is no vendor's, too.
    pub plain: bool,
    /// The sysexts that vendors take theirs from.
    pub oem_sysexts: OemSysexts,
    /// Make sizes and formats only: the vendor's files on the OEM partition stay as they are.
    pub no_oem: bool,
}

/// What one variant adds to the shared bake.
#[derive(Debug, Clone)]
pub struct VariantOptions {
    /// Its name, also that of its folder.
    pub name: String,
    /// What it adds.
    pub options: BakeOptions,
}

/// A vendor to make images for.
#[derive(Debug, Clone)]
pub struct VendorChoice {
    /// The vendor.
    pub vendor: Vendor,
    /// The host's file of its sysext, where it is not to be taken from [`Fanout::oem_sysexts`].
    pub oem_sysext: Option<PathBuf>,
}

/// What one result is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The variant's name.
    pub variant: Option<String>,
    /// The vendor's id.
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

/// The shared bake, carried out in memory.
#[derive(Debug)]
pub struct Prepared {
    /// The plan of the shared bake.
    pub plan: Plan,
    /// The image's release, where it is known.
    pub release: Option<OsRelease>,
    /// The results, in the order of variants and within them of vendors; one that fails leaves the others as they are.
    pub results: Vec<(Key, Result<PreparedImage>)>,
}

/// One result, not yet written.
#[derive(Debug)]
pub struct PreparedImage {
    /// What its variant adds to the shared bake.
    pub variant_plan: Option<Arc<Plan>>,
    /// What its vendor adds to the variant.
    pub vendor_plan: Option<Plan>,
    /// The disk with all changes.
    pub disk: Arc<Overlay>,
    /// The vendor's settings for the image's release.
    pub settings: Option<Settings>,
}

impl PreparedImage {
    /// Size of the disk in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk.size()
    }

    /// The changes of variant and vendor.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.variant_plan.as_deref().into_iter().chain(&self.vendor_plan)
    }
}

/// The parts of options that only make sense on top of the vendor's own grub.cfg.
fn split(options: &BakeOptions) -> (BakeOptions, BakeOptions) {
    let mut shared = options.clone();
    let (grub, files) = mem::take(&mut shared.files).into_iter().partition(|file| file.role == FileRole::GrubCfg);
    shared.files = files;
    let last = BakeOptions {
        files: grub,
        kernel_args: mem::take(&mut shared.kernel_args),
        removed_kernel_args: mem::take(&mut shared.removed_kernel_args),
        ..BakeOptions::new()
    };
    (shared, last)
}

/// What follows of `options` and `more` together.
fn joined(options: &BakeOptions, more: BakeOptions) -> BakeOptions {
    let mut all = options.clone();
    all.files.extend(more.files);
    all.kernel_args.extend(more.kernel_args);
    all.removed_kernel_args.extend(more.removed_kernel_args);
    all
}

/// Plans and carries out the shared bake and all that is made of it. No file is written.
///
/// # Errors
/// Only those of the shared bake; what is wrong with one result is in [`Prepared::results`].
pub fn prepare(disk: &Disk, fanout: &Fanout, scratch: &Scratch, progress: &dyn Progress) -> Result<Prepared> {
    let has_vendors = !fanout.vendors.is_empty();
    let (mut shared, last) = match has_vendors {
        true => split(&fanout.shared),
        false => (fanout.shared.clone(), BakeOptions::new()),
    };
    let release = disk.os_release().ok().flatten();
    let context = Context { fanout, release, generation: Generation::of(disk.table()), scratch, progress };
    // What is shared must fit the smallest of the layouts, so ROOT has the size of that one from the start.
    shared.root_floor = fanout.vendors.iter().filter_map(|choice| context.root_floor(choice)).min();
    let mut plan = plan(disk, &shared)?;
    if has_vendors && context.generation.is_none() {
        plan.warnings.push("the disk has not the sizes of a Flatcar release: ROOT keeps its size".to_owned());
    }
    let options = OverlayOptions { memory_budget: scratch.memory_budget, temp_dir: scratch.temp_dir.clone() };
    let overlay = Arc::new(Overlay::new(disk.device(), options)?);
    apply_to(&overlay, disk, &plan, scratch, progress)?;
    let common =
        BakeOptions { timestamp: Some(plan.timestamp), force: shared.force, no_replay: shared.no_replay, ..last };
    let mut results = Vec::new();
    if fanout.variants.is_empty() {
        context.vendors(disk.name(), None, &overlay, None, &common, &mut results);
    }
    for variant in &fanout.variants {
        let (own, last) =
            if has_vendors { split(&variant.options) } else { (variant.options.clone(), BakeOptions::new()) };
        // A size that is given was reached by the shared bake; just enough may be more for a variant.
        let root_size = own.root_size.filter(|size| *size == RootSize::Auto);
        let own = BakeOptions { timestamp: common.timestamp, root_size, ..own };
        let (name, label) = (Some(variant.name.clone()), format!("{}: variant {}", disk.name(), variant.name));
        match context.fork(&label, &overlay, &own) {
            Ok((overlay, plan)) => {
                context.vendors(&label, name, &overlay, Some(Arc::new(plan)), &joined(&common, last), &mut results);
            }
            Err(error) => results.push((Key { variant: name, vendor: None }, Err(error))),
        }
    }
    Ok(Prepared { plan, release: context.release, results })
}

/// What all results are made with.
struct Context<'a> {
    fanout: &'a Fanout,
    release: Option<OsRelease>,
    generation: Option<Generation>,
    scratch: &'a Scratch,
    progress: &'a dyn Progress,
}

impl Context<'_> {
    /// The first number of the image's release.
    fn major(&self) -> Option<u64> {
        self.release.as_ref()?.major()
    }

    /// The size of ROOT in the vendor's layout; `None` where the disk has not the sizes of a release.
    fn root_floor(&self, choice: &VendorChoice) -> Option<u64> {
        let name: LayoutName = choice.vendor.for_release(self.major()).ok()?.disk_layout?.name();
        let generation = self.generation?;
        let layout = Layout::ALL.iter().find(|layout| layout.name == name && layout.generation == generation)?;
        Some(layout.root_size)
    }

    /// A fork with changes of its own.
    fn fork(&self, label: &str, overlay: &Arc<Overlay>, options: &BakeOptions) -> Result<(Arc<Overlay>, Plan)> {
        let device: Arc<dyn BlockDevice> = Arc::clone(overlay) as _;
        let disk = Disk::open(label, device)?;
        let plan = plan(&disk, options)?;
        let fork = Arc::new(overlay.fork());
        apply_to(&fork, &disk, &plan, self.scratch, self.progress)?;
        Ok((fork, plan))
    }

    /// The results of one variant: one for every vendor, or the variant itself.
    fn vendors(
        &self,
        label: &str,
        variant: Option<String>,
        overlay: &Arc<Overlay>,
        plan: Option<Arc<Plan>>,
        common: &BakeOptions,
        results: &mut Vec<(Key, Result<PreparedImage>)>,
    ) {
        if self.fanout.vendors.is_empty() || self.fanout.plain {
            let made = self.plain(label, overlay, common);
            let image = made.map(|image| PreparedImage { variant_plan: plan.clone(), ..image });
            results.push((Key { variant: variant.clone(), vendor: None }, image));
        }
        for choice in &self.fanout.vendors {
            let id = choice.vendor.id.as_str();
            let made = self.vendor(&format!("{label}: vendor {id}"), choice, overlay, common);
            let image = made.map(|image| PreparedImage { variant_plan: plan.clone(), ..image });
            results.push((Key { variant: variant.clone(), vendor: Some(id.to_owned()) }, image));
        }
    }

    /// The disk that is no vendor's.
    fn plain(&self, label: &str, overlay: &Arc<Overlay>, common: &BakeOptions) -> Result<PreparedImage> {
        let (disk, plan) = match self.fanout.vendors.is_empty() {
            true => (Arc::clone(overlay), None),
            false => self.fork(label, overlay, common).map(|(disk, plan)| (disk, Some(plan)))?,
        };
        Ok(PreparedImage { variant_plan: None, vendor_plan: plan, disk, settings: None })
    }

    fn vendor(
        &self,
        label: &str,
        choice: &VendorChoice,
        overlay: &Arc<Overlay>,
        common: &BakeOptions,
    ) -> Result<PreparedImage> {
        let settings = choice.vendor.for_release(self.major())?;
        let oem = self.oem_change(choice, &settings).at(|| label.to_owned())?;
        let options = BakeOptions {
            oem,
            root_floor: self.root_floor(choice),
            disk_floor: settings.disk_size.map(|size| size.bytes()),
            ..common.clone()
        };
        let (disk, mut plan) = self.fork(label, overlay, &options)?;
        if let Some(size) = settings.disk_size.filter(|size| size.bytes() != disk.size()) {
            return Err(Error::invalid(format!(
                "the disk has {} bytes, but {} images must have exactly {}",
                disk.size(),
                settings.id,
                size.bytes()
            ))
            .with_hint("start from a smaller image, or leave --root-size out")
            .at(label.to_owned()));
        }
        plan.warnings.extend(choice.vendor.warnings(self.major()));
        plan.warnings.extend(self.foreign_arch(&choice.vendor));
        if let Some(package) = settings.oem_package.as_ref().filter(|_| !self.fanout.no_oem) {
            plan.warnings.push(format!("Flatcar's own image also has the files of its package {package} on OEM"));
        }
        Ok(PreparedImage { variant_plan: None, vendor_plan: Some(plan), disk, settings: Some(settings) })
    }

    /// Told where Flatcar makes no images of this architecture for the vendor.
    fn foreign_arch(&self, vendor: &Vendor) -> Option<String> {
        let arch: Arch = self.release.as_ref()?.architecture()?.parse().ok()?;
        (!vendor.arch.contains(&arch)).then(|| format!("Flatcar makes no {arch} images for {}", vendor.id))
    }

    /// What becomes of the vendor's files on OEM.
    fn oem_change(&self, choice: &VendorChoice, settings: &Settings) -> Result<OemChange> {
        if self.fanout.no_oem {
            return Ok(OemChange::Keep);
        }
        let Some(oem) = &settings.oem else { return Ok(OemChange::Clear) };
        let sysext = match (&settings.oem_sysext, &choice.oem_sysext) {
            (None, _) => None,
            (Some(_), Some(file)) => Some(file.clone()),
            (Some(id), None) => Some(self.fanout.oem_sysexts.find(id.as_str(), self.release.as_ref())?),
        };
        Ok(OemChange::Install(OemPayload {
            id: oem.id.as_str().to_owned(),
            name: oem.name.as_str().to_owned(),
            sysext,
            grub_cfg: settings.grub.as_ref().map(|grub| grub.render()),
        }))
    }
}
