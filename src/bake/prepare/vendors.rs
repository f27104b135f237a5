//! The vendors that images are made for, each with all that it needs: settings for the release, sizes, its OEM sysext.

use std::path::PathBuf;

use super::super::edits::Edits;
use super::super::request::{Request, VendorChoice};
use super::bench::Run;
use super::oem_sysexts::OemSysexts;
use super::payload::{OemChange, OemPayload};
use super::secure_boot::secure_boot;
use super::sizes::Sizes;
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::flatcar::vendor::{Settings, Status, Vendor};
use crate::flatcar::{Generation, Layout, LayoutName};
use crate::machine::Arch;

/// How the packages begin that let Vagrant in.
const VAGRANT_PACKAGES: &str = "oem-vagrant";

/// A vendor that images are made for.
#[derive(Debug, Clone)]
pub(super) struct ChosenVendor {
    pub(super) settings: Settings,
    pub(super) oem: OemChange,
    /// The size of ROOT in the vendor's layout; none where the disk has not the sizes of a release.
    pub(super) root_floor: Option<u64>,
    /// What a person should know of images of this release for this vendor.
    pub(super) findings: Vec<Finding>,
    /// It was not named: all vendors were asked for.
    is_one_of_all: bool,
}

impl ChosenVendor {
    /// What is asked of the sizes of its disk.
    pub(super) fn sizes(&self) -> Sizes {
        let disk_floor = self.settings.disk_size.map(|size| size.bytes());
        let disk_step = self
            .settings
            .disk_format
            .output()
            .map(|_| self.settings.disk_size_step.bytes());
        Sizes {
            root: None,
            root_floor: self.root_floor,
            disk_floor,
            disk_step,
        }
    }

    /// Whether nobody asked for it by name, and it cannot be made: what runs from memory has no ROOT, a box no key.
    pub(super) fn may_be_left_out(&self, error: &Error) -> bool {
        let findings = error.findings();
        let is_its_own = |finding: &Finding| {
            [code::LIVE_WITHOUT_ROOT, code::OEM_KEY_MISSING].contains(&finding.code())
        };
        self.is_one_of_all && !findings.is_empty() && findings.iter().all(is_its_own)
    }

    /// Some vendors want disks of exactly one size.
    pub(super) fn check_size(&self, disk_bytes: u64) -> Result<()> {
        match self
            .settings
            .disk_size
            .filter(|size| size.bytes() != disk_bytes)
        {
            None => Ok(()),
            Some(size) => Err(Error::invalid(format!(
                "the disk has {disk_bytes} bytes, but {} images must have exactly {}",
                self.settings.id,
                size.bytes()
            ))
            .with_hint("start from a smaller image, or do not let ROOT grow")),
        }
    }
}

/// The vendors that the request names, with their sysexts. All sysexts that are missing are named in one error.
pub(super) fn choose(
    request: &Request,
    run: &Run<'_>,
    generation: Option<Generation>,
    findings: &mut Vec<Finding>,
) -> Result<Vec<ChosenVendor>> {
    let targets = &request.vendors;
    let choices = choices(request, run.major(), findings);
    let sysexts = OemSysexts::new(&targets.oem_sysexts, &run.inputs)?;
    let mut chosen = Vec::new();
    let mut missing = Vec::new();
    for VendorChoice {
        vendor, oem_sysext, ..
    } in &choices
    {
        let settings = vendor.for_release(run.major())?;
        let oem = match (&settings.oem, &settings.oem_sysext) {
            _ if targets.no_oem => OemChange::Keep,
            (None, _) => OemChange::Clear,
            (Some(_), None) => OemChange::Install(payload(&settings, None)),
            (Some(_), Some(id)) => match oem_sysext
                .clone()
                .or_else(|| sysexts.find(id.as_str(), run.release.as_ref()))
            {
                Some(file) => OemChange::Install(payload(&settings, Some(file))),
                None => {
                    missing.push((vendor.id.as_str().to_owned(), id.as_str().to_owned()));
                    continue;
                }
            },
        };
        let mut findings = vendor.findings(run.major());
        findings.extend(foreign_arch(vendor, run));
        findings.extend(secure_boot(request, &settings, run)?);
        if let Some(package) = settings.oem_package.as_ref().filter(|_| !targets.no_oem) {
            findings.push(Finding::new(code::OEM_PACKAGE_MISSING).with("package", package));
            // Vagrant logs in with a key that it knows; a config of the user's own may have others.
            if package.as_str().starts_with(VAGRANT_PACKAGES) && !has_configs(request) {
                findings.push(Finding::new(code::OEM_KEY_MISSING).with("package", package));
            }
        }
        let root_floor = root_floor(&settings, generation);
        let is_one_of_all = !targets
            .chosen
            .iter()
            .any(|named| named.vendor.id == vendor.id);
        chosen.push(ChosenVendor {
            settings,
            oem,
            root_floor,
            findings,
            is_one_of_all,
        });
    }
    if !missing.is_empty() {
        return Err(sysexts.missing(&missing, run.release.as_ref()));
    }
    Ok(chosen)
}

/// Whether every result has a config for Ignition.
fn has_configs(request: &Request) -> bool {
    let has = |edits: &Edits| edits.base_ign.is_some() || edits.config_ign.is_some();
    let variants = &request.variants;
    has(&request.edits)
        || (!variants.is_empty() && variants.iter().all(|variant| has(&variant.edits)))
}

/// The vendors that are named, and those of the release where all are asked for.
fn choices(
    request: &Request,
    major: Option<u64>,
    findings: &mut Vec<Finding>,
) -> Vec<VendorChoice> {
    let mut choices = request.vendors.chosen.clone();
    let Some(all) = &request.vendors.all_of else {
        return choices;
    };
    // An alias is another name for images that are made already; what is refused is made for no release.
    let own = all
        .iter()
        .filter(|vendor| matches!(vendor.status, Status::Current | Status::Removed));
    for vendor in own {
        if choices.iter().any(|choice| choice.vendor.id == vendor.id) {
            continue;
        }
        if vendor.is_made_in(major) {
            choices.push(VendorChoice {
                vendor: vendor.clone(),
                oem_sysext: None,
                origin: None,
            });
        } else if let Some((major, since)) = major
            .zip(vendor.since)
            .filter(|(major, since)| major < since)
        {
            let why =
                format!("Flatcar makes images for it since release {since}, and this is {major}");
            findings.push(
                Finding::new(code::VENDOR_LEFT_OUT)
                    .with("vendor", &vendor.id)
                    .with("why", why),
            );
        }
    }
    choices
}

fn payload(settings: &Settings, sysext: Option<PathBuf>) -> OemPayload {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    OemPayload {
        id: text(settings.oem.as_ref().map(|oem| oem.id.as_str())),
        name: text(settings.oem.as_ref().map(|oem| oem.name.as_str())),
        sysext,
        grub_cfg: settings.grub.as_ref().map(|grub| grub.render()),
    }
}

/// The size of ROOT in the vendor's layout.
fn root_floor(settings: &Settings, generation: Option<Generation>) -> Option<u64> {
    let name: LayoutName = settings.disk_layout?.name();
    let generation = generation?;
    let layout = Layout::ALL
        .iter()
        .find(|layout| layout.name == name && layout.generation == generation)?;
    Some(layout.root_size)
}

/// Told where Flatcar makes no images of this architecture for the vendor.
fn foreign_arch(vendor: &Vendor, run: &Run<'_>) -> Option<Finding> {
    let arch: Arch = run.release.as_ref()?.architecture()?.parse().ok()?;
    let is_made = vendor.arch.contains(&arch);
    (!is_made).then(|| {
        Finding::new(code::VENDOR_ARCH)
            .with("arch", arch)
            .with("vendor", &vendor.id)
    })
}
