//! What is written of each result, by the names of all its files, so that they can be checked before anything is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::request::{FirmwareFiles, Request};
use super::super::write::{Output, check_sectors as check_format};
use super::vendors::ChosenVendor;
use crate::block::{BlockDevice, Inputs, OutputFile, Overlay, real_path, refuse_existing, shown};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::Disk;
use crate::flatcar::live::iso::Isolinux;
use crate::flatcar::live::pxe;
use crate::flatcar::vendor::{DiskFormat, Settings};
use crate::machine::{BundleFormat, ConfFormat};

/// The digests of all files of a folder, for `sha256sum -c`.
pub(in crate::bake) const SUMS: &str = "SHA256SUMS";
/// All that is known of the run.
pub(in crate::bake) const REPORT: &str = "flatbake-report.json";

/// Largest file of syslinux that is read: real ones have below 200 KiB.
const ISOLINUX_MAX: u64 = 4 << 20;

/// What firmware is to a run.
pub(in crate::bake) const FIRMWARE_ROLE: &str = "UEFI firmware";

/// What is in the names of UEFI firmware.
const EFI: &str = "_efi_";

/// What is written of one result.
#[derive(Debug, Clone)]
pub(in crate::bake) enum Target {
    /// The disk, in one or more formats.
    Plain(Vec<Output>),
    /// A vendor's files in a folder, by their names.
    Vendor { folder: PathBuf, names: Vec<String> },
}

impl Target {
    /// All files of it.
    pub(in crate::bake) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Plain(outputs) => outputs.iter().flat_map(Output::files).collect(),
            Self::Vendor { folder, names } => names.iter().map(|name| folder.join(name)).collect(),
        }
    }
}

impl Target {
    /// The catalog that offers a vendor's box, be it written for this result or for another.
    pub(in crate::bake) fn catalog(&self, settings: Option<&Settings>) -> Option<PathBuf> {
        match self {
            Self::Vendor { folder, .. } => Some(folder.join(settings?.catalog_file_name()?)),
            Self::Plain(_) => None,
        }
    }

    /// Leaves out a file that another result of this run writes for both.
    pub(super) fn without(&mut self, file: &Path) {
        if let Self::Vendor { folder, names } = self {
            names.retain(|name| folder.join(name) != file);
        }
    }
}

/// The plain outputs of a request, whose names are checked.
pub(super) fn plain(request: &Request) -> Result<Vec<Output>> {
    for output in &request.outputs {
        if !request.variants.is_empty() {
            inside(request, output)?;
        }
        let name = output
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let in_folder = request
            .folder
            .as_deref()
            .is_some_and(|folder| output.path.parent() == Some(folder));
        if in_folder && (name == SUMS || name == REPORT) {
            return Err(Error::invalid(format!(
                "an output cannot be called {name}: another file of this run is"
            ))
            .with_hint("give it another name"));
        }
    }
    Ok(request.outputs.clone())
}

/// The path of an output below the folder of the request.
fn inside<'a>(request: &Request, output: &'a Output) -> Result<&'a Path> {
    let below = request
        .folder
        .as_ref()
        .and_then(|folder| output.path.strip_prefix(folder).ok());
    below.ok_or_else(|| {
        Error::invalid(format!(
            "{} is not in the folder that variants are written to",
            shown(&output.path)
        ))
        .with_hint("every variant gets a folder of its own there, so give a name without a folder")
    })
}

/// What is written of the result of a variant and a vendor.
pub(super) fn of(
    request: &Request,
    variant: Option<&str>,
    settings: Option<&Settings>,
    outputs: &[Output],
    disk: &Arc<Overlay>,
) -> Result<Target> {
    let base = request.folder.clone().unwrap_or_default();
    let folder = variant.map_or(base.clone(), |name| base.join(name));
    let Some(settings) = settings else {
        let named = |output: &Output| match variant {
            None => Ok(output.clone()),
            Some(_) => Ok(Output {
                path: folder.join(inside(request, output)?),
                ..output.clone()
            }),
        };
        return Ok(Target::Plain(
            outputs.iter().map(named).collect::<Result<_>>()?,
        ));
    };
    Ok(Target::Vendor {
        folder,
        names: names(request, disk, settings)?,
    })
}

/// The names of a vendor's files.
fn names(request: &Request, disk: &Arc<Overlay>, settings: &Settings) -> Result<Vec<String>> {
    let mut names = settings.conf_file_names();
    // Firmware that is not given is the host's.
    names.retain(|name| !name.contains(EFI));
    let has_disk = settings.disk_format.output().is_some();
    let is_loose = !has_disk || settings.loose_files || settings.bundle_format.is_none();
    if is_loose && settings.bundle_format != Some(BundleFormat::Gce) {
        names.push(disk_name(request, settings));
    }
    names.extend(settings.bundle_file_name());
    if settings.disk_format == DiskFormat::Cpio {
        names.push(format!("{}.vmlinuz", settings.stem()));
        let device: Arc<dyn BlockDevice> = Arc::clone(disk) as _;
        if pxe::has_grub(&Disk::open(settings.stem(), device)?)? {
            names.push(format!("{}_grub.efi", settings.stem()));
        }
    }
    if let Some(firmware) = firmware(request, settings) {
        let (code, vars) = firmware_names(firmware, settings);
        names.extend([code, vars]);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The name of the disk's file beside config files.
fn disk_name(request: &Request, settings: &Settings) -> String {
    match request
        .vendors
        .compress
        .filter(|_| settings.loose_files && settings.disk_format.output().is_some())
    {
        Some(options) => format!(
            "{}.{}",
            settings.disk_file_name(),
            options.compression.extension()
        ),
        None => settings.disk_file_name(),
    }
}

/// The firmware that is copied for a vendor.
pub(in crate::bake) fn firmware<'a>(
    request: &'a Request,
    settings: &Settings,
) -> Option<&'a FirmwareFiles> {
    let is_uefi = matches!(
        settings.conf_format,
        Some(ConfFormat::QemuUefi | ConfFormat::QemuUefiSecure)
    );
    request.vendors.firmware.as_ref().filter(|_| is_uefi)
}

/// The names of copies of the firmware: code and variables.
pub(in crate::bake) fn firmware_names(
    firmware: &FirmwareFiles,
    settings: &Settings,
) -> (String, String) {
    let name = |source: &Path, part: &str| {
        let extension = source
            .extension()
            .map_or("fd".into(), |extension| extension.to_string_lossy());
        format!("{}{EFI}{part}.{extension}", settings.stem())
    };
    (name(&firmware.code, "code"), name(&firmware.vars, "vars"))
}

/// The files of syslinux for CD images.
pub(super) fn isolinux(request: &Request, inputs: &Inputs) -> Result<Option<Isolinux>> {
    const ROLE: &str = "boot loader of CD images";
    let Some(folder) = &request.vendors.isolinux else {
        return Ok(None);
    };
    let isohdpfx = folder.join("isohdpfx.bin");
    Ok(Some(Isolinux {
        isolinux_bin: inputs.read(ROLE, &folder.join("isolinux.bin"), ISOLINUX_MAX)?,
        ldlinux_c32: inputs.read(ROLE, &folder.join("ldlinux.c32"), ISOLINUX_MAX)?,
        isohdpfx_bin: match isohdpfx.exists() {
            true => Some(inputs.read(ROLE, &isohdpfx, ISOLINUX_MAX)?),
            false => None,
        },
    }))
}

/// Registers the firmware that is copied, which must be there.
pub(super) fn register_firmware(request: &Request, inputs: &Inputs) -> Result<()> {
    let files = request
        .vendors
        .firmware
        .iter()
        .flat_map(|files| [&files.code, &files.vars]);
    files
        .into_iter()
        .try_for_each(|file| inputs.open(FIRMWARE_ROLE, file).map(drop))
}

/// What is given for vendors must be of use to one of those that are chosen.
pub(super) fn check_vendors(request: &Request, vendors: &[ChosenVendor]) -> Result<()> {
    let has = |is: &dyn Fn(&Settings) -> bool| vendors.iter().any(|vendor| is(&vendor.settings));
    let is_disk_loose =
        |settings: &Settings| settings.loose_files && settings.disk_format.output().is_some();
    // One compression may be given for both.
    let is_compress_of_outputs = request
        .outputs
        .iter()
        .any(|output| output.compress == request.vendors.compress);
    let given = [
        (
            request.vendors.isolinux.is_some(),
            has(&|settings| settings.disk_format == DiskFormat::Iso),
            "isolinux",
        ),
        (
            request.vendors.firmware.is_some(),
            has(&|settings| firmware(request, settings).is_some()),
            "UEFI firmware",
        ),
        (
            request.vendors.compress.is_some(),
            has(&is_disk_loose) || is_compress_of_outputs,
            "the compression of disks",
        ),
    ];
    for (is_given, is_used, what) in given {
        if is_given && !is_used {
            return Err(Error::invalid(format!(
                "{what} is given, but none of the vendors uses it"
            ))
            .with_hint("leave it out, or ask for a vendor that does"));
        }
    }
    Ok(())
}

/// All formats can hold a disk with sectors of `sector_bytes`.
pub(super) fn check_sectors(
    targets: &[Output],
    vendors: &[ChosenVendor],
    sector_bytes: u32,
) -> Result<()> {
    for target in targets {
        check_format(target.format, sector_bytes).at(|| shown(&target.path))?;
    }
    for settings in vendors.iter().map(|vendor| &vendor.settings) {
        if let Some(format) = settings.disk_format.output() {
            check_format(format, sector_bytes).at(|| format!("vendor {}", settings.id))?;
        }
    }
    Ok(())
}

/// The files that tell of the whole run.
pub(super) fn run_files(request: &Request) -> Vec<PathBuf> {
    request
        .folder
        .iter()
        .flat_map(|folder| [folder.join(SUMS), folder.join(REPORT)])
        .collect()
}

/// No file is an input, is written twice, or exists unless it may be replaced; and all can be made where they are to be.
/// What is also written, after the run, may exist.
pub(super) fn check(request: &Request, files: &[PathBuf], inputs: &Inputs) -> Result<()> {
    let mut seen: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for file in &request.also_written {
        inputs.refuse(file)?;
        seen.insert(real_path(file)?, file);
    }
    for file in files {
        inputs.refuse(file)?;
        if seen.insert(real_path(file)?, file).is_some() {
            return Err(
                Error::invalid(format!("{} is the name of two outputs", shown(file)))
                    .with_hint("give every output a name of its own"),
            );
        }
        refuse_existing(file, request.policy.overwrite)?;
        let is_made = request
            .folder
            .as_ref()
            .is_some_and(|folder| file.starts_with(folder));
        let folder = file
            .parent()
            .filter(|folder| *folder != Path::new(""))
            .unwrap_or(Path::new("."));
        if !is_made || folder.is_dir() {
            OutputFile::check(file)?;
        }
    }
    match request
        .folder
        .as_deref()
        .filter(|folder| folder.exists() && !folder.is_dir())
    {
        Some(folder) => Err(Error::invalid(format!(
            "{} is not a folder, so nothing can be put into it",
            shown(folder)
        ))
        .with_hint("name a folder, or a path that does not exist yet")),
        None => Ok(()),
    }
}
