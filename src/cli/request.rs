//! The flags of `bake` and `plan`, and the request that they make, on top of a manifest where there is one.

#[cfg(feature = "fetch")]
mod fetched;
#[cfg(feature = "fetch")]
mod fetching;
#[cfg(feature = "fetch")]
mod official;
#[cfg(feature = "fetch")]
mod registries;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Glob, TarOptions};
#[cfg(feature = "fetch")]
use crate::bake::OfficialSysext;
use crate::bake::{
    ArchiveSpec, Base, ConfigSpec, Edits, FileSource, FileSpec, FirmwareFiles, Hostname, LinkSpec,
    Place, Request, RootSize, Stream, SysextSpec, UnitSpec, VendorChoice,
};
use crate::flatcar::Designator;
use crate::flatcar::vendor::Vendors;
use crate::fs::Timestamp;
use crate::manifest::{self, LoadOptions, Manifest};
use crate::{Error, Result};
use clap::Args;

use super::image::ReadArgs;
use super::output::{Destination, OutputArgs, timestamp};
use super::progress::Reporter;
use super::words;

/// Stands among vendors for the image that is none's, and what that is called.
const GENERIC: &str = "generic";
const GENERIC_FILE: &str = "flatcar_production_image.bin";

/// Everything that says what is baked.
#[derive(Debug, Args)]
pub struct RequestArgs {
    #[command(flatten)]
    base: BaseArgs,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    boot: BootArgs,
    #[command(flatten)]
    tar: TarArgs,
    #[command(flatten)]
    outputs: OutputsArgs,
    #[command(flatten)]
    vendors: VendorArgs,
    #[command(flatten)]
    run: RunArgs,
    #[cfg(feature = "fetch")]
    #[command(flatten)]
    fetching: super::fetch_args::FetchArgs,
    #[command(flatten)]
    pub read: ReadArgs,
}

/// What is baked from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Base image and manifest")]
struct BaseArgs {
    /// The image to start from: raw, qcow2, vmdk, vhd, vhdx, vdi or parallels, as it is or compressed (bz2, gz, xz,
    /// zst); - reads standard input, oci://REGISTRY/NAME[:TAG] is fetched
    #[arg(long, value_name = "IMG")]
    #[cfg_attr(feature = "fetch", arg(required_unless_present_any = ["file", "release", "fetch"]))]
    #[cfg_attr(not(feature = "fetch"), arg(required_unless_present = "file"))]
    image: Option<PathBuf>,
    /// Fetch the generic image of this release, and the OEM sysexts that vendors need: stable, beta, alpha, lts,
    /// lts-2024, or a version; all are verified by their signatures
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "RELEASE", conflicts_with = "image")]
    #[arg(value_parser = super::argument::<crate::fetch::release::Wanted>)]
    release: Option<crate::fetch::release::Wanted>,
    /// Bake what this manifest says, in YAML or TOML (see flatbake-manifest(5)); flags come on top of it
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give a variable of the manifest a value
    #[arg(long, value_name = "NAME=VALUE", requires = "file", value_parser = set)]
    set: Vec<(String, String)>,
    /// Paths in the manifest may lead out of its folder
    #[arg(long, requires = "file")]
    allow_outside: bool,
    /// Fail unless every input is as the lock beside the manifest says
    #[arg(long, requires = "file")]
    locked: bool,
}

/// A sysext to install.
#[derive(Debug, Clone)]
enum SysextArg {
    /// A file.
    File(SysextSpec),
    /// An extension of the Bakery.
    #[cfg(feature = "fetch")]
    Extension(crate::fetch::bakery::Extension),
}

impl std::str::FromStr for SysextArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        #[cfg(feature = "fetch")]
        if text.contains('@') && !text.contains(':') {
            return text.parse().map(Self::Extension);
        }
        text.parse().map(Self::File)
    }
}

/// What is changed on the partitions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files and sysexts")]
struct ChangeArgs {
    /// Sysexts to install, each with the name that it is merged by; FILE may be oci://REGISTRY/NAME[:TAG|@DIGEST];
    /// NAME@VERSION, or NAME@latest, is fetched from the Bakery
    #[arg(value_name = "NAME:FILE", value_parser = super::argument::<SysextArg>)]
    sysexts: Vec<SysextArg>,
    /// Fetch from the Bakery the FILEs that are not there, by their names, and without --image the stable release
    #[cfg(feature = "fetch")]
    #[arg(long)]
    fetch: bool,
    /// Switch on one of Flatcar's own sysexts, such as podman or zfs, fetched for the image's release, so that the first
    /// boot needs no network for it; can be repeated
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "NAME", value_parser = super::argument::<OfficialSysext>)]
    enable_sysext: Vec<OfficialSysext>,
    /// Folder for sysext files [default: root:/opt/extensions/NAME/]
    #[arg(long, alias = "install_to", value_name = "PART:/DIR/", value_parser = words::folder())]
    #[arg(hide_possible_values = true)]
    install_to: Option<Place>,
    /// Have the machine fetch updates of the sysexts that have a NAME.conf (sysupdate.d(5)) beside them
    #[arg(long)]
    sysupdate: bool,
    /// Copy a file or folder to the ROOT partition
    #[arg(long, value_name = "SRC:/DEST[:MODE[:UID:GID]]")]
    root_file: Vec<String>,
    /// Copy a file or folder to the OEM partition
    #[arg(long, value_name = "SRC:/DEST[:MODE[:UID:GID]]")]
    oem_file: Vec<String>,
    /// Copy a file or folder to the boot partition (ESP)
    #[arg(long, value_name = "SRC:/DEST[:MODE]")]
    boot_file: Vec<String>,
    /// Make a symlink on the ROOT partition
    #[arg(long, value_name = "TARGET:/PATH", value_parser = super::argument::<LinkSpec>)]
    root_link: Vec<LinkSpec>,
    /// Remove an entry, a folder with all it holds, before anything is added
    #[arg(long, value_name = "PART:/PATH", value_parser = words::editable::<Place>(), hide_possible_values = true)]
    remove: Vec<Place>,
    /// Set the host name
    #[arg(long, value_name = "NAME", value_parser = super::argument::<Hostname>)]
    hostname: Option<Hostname>,
    /// Write this systemd unit, and enable it as its [Install] section says
    #[arg(long, value_name = "FILE")]
    unit: Vec<PathBuf>,
    /// Enable a unit that comes with the image or a sysext
    #[arg(long, value_name = "NAME")]
    enable_unit: Vec<String>,
    /// Write this drop-in, a file whose name ends in .conf, for a unit
    #[arg(long, value_name = "UNIT:FILE", value_parser = dropin)]
    dropin: Vec<(String, PathBuf)>,
    /// Make ROOT this large, and the disk with it: a size such as 6G, or auto for as large as it needs to be
    #[arg(long, value_name = "SIZE|auto")]
    root_size: Option<RootSize>,
}

/// What is changed of how the system boots.
#[derive(Debug, Args)]
#[command(next_help_heading = "Boot and Ignition")]
struct BootArgs {
    /// Use this Ignition config as the image's own user config
    #[arg(long, value_name = "FILE")]
    config_ign: Option<PathBuf>,
    /// Use this Ignition config as the OEM partition's base.ign, which is merged below every user config
    #[arg(long, value_name = "FILE")]
    base_ign: Option<PathBuf>,
    /// Use this grub.cfg on the OEM partition
    #[arg(long, value_name = "FILE")]
    grub_cfg: Option<PathBuf>,
    /// Add a kernel argument to the OEM partition's grub.cfg, in the form that Ignition's editor understands
    #[arg(long, value_name = "ARG")]
    kernel_arg: Vec<String>,
    /// Remove a kernel argument from the OEM partition's grub.cfg
    #[arg(long, value_name = "ARG")]
    remove_kernel_arg: Vec<String>,
}

/// What is taken of archives, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Archives")]
struct TarArgs {
    /// Unpack a tar archive, plain or compressed (.gz .bz2 .xz .zst), on the ROOT partition
    #[arg(long, value_name = "FILE[:/DEST]")]
    root_tar: Vec<String>,
    /// Unpack a tar archive on the OEM partition
    #[arg(long, value_name = "FILE[:/DEST]")]
    oem_tar: Vec<String>,
    /// Unpack a tar archive on the boot partition (ESP)
    #[arg(long, value_name = "FILE[:/DEST]")]
    boot_tar: Vec<String>,
    /// Leave N names off the front of every path in archives
    #[arg(long, value_name = "N", default_value = "0")]
    strip_components: usize,
    /// Give all that archives bring to this owner
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
    /// Leave out what matches in archives, folders with all they hold (as tar --exclude)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<Glob>,
    /// Archives are layers of an OCI image: .wh. names delete
    #[arg(long)]
    oci_layer: bool,
    /// Keep the engine-id and swarm of a /var/lib/docker in archives, which clones should not share
    #[arg(long)]
    keep_docker_identity: bool,
}

impl TarArgs {
    fn options(&self) -> TarOptions {
        TarOptions {
            strip_components: self.strip_components,
            owner: self.owner,
            excludes: self.exclude.clone(),
            oci_layer: self.oci_layer,
            keep_docker_identity: self.keep_docker_identity,
        }
    }

    /// What would be ignored where there is no archive.
    fn check(&self) -> Result<()> {
        let has_archives = [&self.root_tar, &self.oem_tar, &self.boot_tar]
            .iter()
            .any(|files| !files.is_empty());
        let given = self.options() != TarOptions::default();
        if given && !has_archives {
            return Err(Error::invalid("how archives are unpacked is given, but no archive is").with_hint(
                "name one with --root-tar, --oem-tar or --boot-tar; those of a manifest say it themselves",
            ));
        }
        Ok(())
    }
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Outputs")]
struct OutputsArgs {
    /// The image to write, in the format that its name says; - writes to standard output
    #[arg(long, short, value_name = "PATH")]
    output: Option<Destination>,
    /// Write this image, too: its format and compression are those its name asks for
    #[arg(long, value_name = "PATH", requires = "output")]
    also: Vec<PathBuf>,
    /// The folder for images of vendors and variants, config files, SHA256SUMS and a report
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    details: OutputArgs,
}

/// Which vendors images are made for, and with what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Vendors")]
struct VendorArgs {
    /// Make images for these vendors (see flatbake vendors), or for all that Flatcar makes images of this release for;
    /// generic is the image that is no vendor's, flatcar_production_image.bin
    #[arg(long, value_name = "ID,…|all", value_delimiter = ',')]
    #[arg(value_parser = words::vendors(&["all", GENERIC]), hide_possible_values = true)]
    vendor: Vec<String>,
    /// Know the vendor that this file describes, in addition or in place of the one with its id
    #[arg(long, value_name = "FILE")]
    vendor_file: Vec<PathBuf>,
    /// OEM sysexts of the image's release: files, or folders that hold oem-ID.raw
    #[arg(long, value_name = "PATH")]
    oem_sysext: Vec<PathBuf>,
    /// Make sizes and formats only, and leave the vendor's files on the OEM partition as they are
    #[arg(long, conflicts_with = "oem_sysext")]
    no_oem: bool,
    /// The folder with isolinux.bin and ldlinux.c32 (and isohdpfx.bin) of syslinux, by which CD images start on a BIOS
    #[arg(long, value_name = "DIR")]
    isolinux: Option<PathBuf>,
    /// UEFI firmware to put beside the start scripts of QEMU [default: scripts look for the host's]
    #[arg(long, value_name = "CODE:VARS", value_parser = firmware)]
    firmware: Option<FirmwareFiles>,
}

/// How the run goes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
struct RunArgs {
    /// Time of everything new: seconds since 1970, or 2026-01-31T12:00:00Z
    /// [default: SOURCE_DATE_EPOCH, else the newest time in the image]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Replace files that exist under the names of outputs
    #[arg(long)]
    overwrite: bool,
    /// Go on where findings would stop the run
    #[arg(long)]
    force: bool,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal
    #[arg(long)]
    no_replay: bool,
    /// Take no sysext but disk images that are signed with the key of the image's own build
    #[arg(long)]
    require_signed: bool,
}

fn set(text: &str) -> std::result::Result<(String, String), String> {
    manifest::parse_set(text)
        .map_err(|error| format!("{error}\n  hint: {}", error.hint().unwrap_or_default()))
}

fn owner(text: &str) -> Result<(u32, u32)> {
    let numbers = text
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| {
        Error::invalid(format!(
            "'{text}' is not UID:GID, two numbers up to 4294967295"
        ))
    })
}

fn dropin(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once(':') {
        Some((unit, file)) if !unit.is_empty() && !file.is_empty() => {
            Ok((unit.to_owned(), file.into()))
        }
        _ => Err(format!(
            "'{text}' is not UNIT:FILE, for example docker.service:10-proxy.conf"
        )),
    }
}

fn firmware(text: &str) -> std::result::Result<FirmwareFiles, String> {
    match text.split_once(':') {
        Some((code, vars)) if !code.is_empty() && !vars.is_empty() => Ok(FirmwareFiles {
            code: code.into(),
            vars: vars.into(),
        }),
        _ => Err(format!(
            "'{text}' is not CODE:VARS, for example OVMF_CODE.qcow2:OVMF_VARS.qcow2"
        )),
    }
}

/// A request, and the manifest that it comes from.
pub struct Made {
    pub request: Request,
    pub manifest: Option<Manifest>,
    /// What holds the files that were fetched for this run alone.
    #[cfg(feature = "fetch")]
    _fetched: Option<fetched::Fetching>,
}

impl RequestArgs {
    /// The request that manifest and flags make.
    pub fn make(&self, reporter: &Reporter) -> Result<Made> {
        self.tar.check()?;
        #[cfg(feature = "fetch")]
        self.fetching.check_arch()?;
        let base = self
            .base
            .image
            .as_deref()
            .map(|image| self.read.base(image, reporter))
            .transpose()?;
        #[cfg(feature = "fetch")]
        let fetched = self.fetch(reporter)?;
        #[cfg(feature = "fetch")]
        let base = base.or_else(|| fetched.as_ref()?.base());
        let manifest = self
            .base
            .file
            .as_ref()
            .map(|file| self.load(file, base.clone()))
            .transpose()?;
        let (mut request, known) = match (&manifest, base) {
            (Some(manifest), _) => (manifest.request.clone(), Arc::clone(&manifest.vendors)),
            (None, Some(base)) => {
                let known = Arc::new(super::vendors::known(&self.vendors.vendor_file)?);
                let vendor_files = self
                    .vendors
                    .vendor_file
                    .iter()
                    .map(|file| (file.clone(), "vendor file"));
                (
                    Request {
                        base,
                        also_read: vendor_files.collect(),
                        ..Request::new("")
                    },
                    known,
                )
            }
            (None, None) => {
                return Err(
                    Error::invalid("no image to start from").with_hint("give --image or --file")
                );
            }
        };
        self.add_changes(&mut request.edits)?;
        self.add_vendors(&mut request, &known)?;
        #[cfg(feature = "fetch")]
        let fetched = self.add_fetched(fetched, &mut request, reporter)?;
        self.add_run(&mut request)?;
        self.add_outputs(&mut request)?;
        if self.base.locked
            && let Some(manifest) = &manifest
        {
            request.expected.locked = Some(manifest.locked()?);
        }
        Ok(Made {
            request,
            manifest,
            #[cfg(feature = "fetch")]
            _fetched: fetched,
        })
    }

    /// Whether the lock must hold.
    pub fn is_locked(&self) -> bool {
        self.base.locked
    }

    /// Whether the disk or bundle goes to standard output.
    pub fn is_streamed(&self) -> bool {
        self.outputs.output == Some(Destination::Stdout)
    }

    fn load(&self, file: &Path, base: Option<Base>) -> Result<Manifest> {
        let options = LoadOptions {
            set: self.base.set.clone(),
            allow_outside: self.base.allow_outside,
            vendor_files: self.vendors.vendor_file.clone(),
            folder: self.outputs.output_dir.clone(),
            base,
        };
        manifest::load(file, &options)
    }

    fn add_changes(&self, edits: &mut Edits) -> Result<()> {
        let changes = &self.changes;
        edits.removals.extend(changes.remove.iter().cloned());
        let archives = [
            (&self.tar.boot_tar, Designator::Boot, "--boot-tar"),
            (&self.tar.oem_tar, Designator::Oem, "--oem-tar"),
            (&self.tar.root_tar, Designator::Root, "--root-tar"),
        ];
        for (files, partition, flag) in archives {
            for text in files {
                let archive = ArchiveSpec::parse(text, partition, self.tar.options())?;
                edits.archives.push(ArchiveSpec {
                    origin: Some(format!("{flag} {text}")),
                    ..archive
                });
            }
        }
        let files = changes.sysexts.iter().filter_map(|sysext| match sysext {
            SysextArg::File(spec) => Some(spec.clone()),
            #[cfg(feature = "fetch")]
            SysextArg::Extension(_) => None,
        });
        edits.sysexts.extend(files);
        #[cfg(feature = "fetch")]
        for sysext in &changes.enable_sysext {
            if edits
                .enabled_sysexts
                .iter()
                .all(|other| other.name != sysext.name)
            {
                let origin = Some(format!("--enable-sysext {}", sysext.name));
                edits.enabled_sysexts.push(OfficialSysext {
                    origin,
                    ..sysext.clone()
                });
            }
        }
        if changes.install_to.is_some() {
            edits.install_to.clone_from(&changes.install_to);
        }
        edits.sysupdate |= changes.sysupdate;
        if let Some(hostname) = &changes.hostname {
            edits.hostname = Some(Hostname {
                origin: Some("--hostname".to_owned()),
                ..hostname.clone()
            });
        }
        let files = [
            (&changes.boot_file, Designator::Boot, "--boot-file"),
            (&changes.oem_file, Designator::Oem, "--oem-file"),
            (&changes.root_file, Designator::Root, "--root-file"),
        ];
        for (files, partition, flag) in files {
            for text in files {
                let file = FileSpec::parse(text, partition)?;
                edits.files.push(FileSpec {
                    origin: Some(format!("{flag} {text}")),
                    ..file
                });
            }
        }
        self.add_units(edits)?;
        let configs = [
            (&self.boot.grub_cfg, &mut edits.grub_cfg, "--grub-cfg"),
            (&self.boot.base_ign, &mut edits.base_ign, "--base-ign"),
            (&self.boot.config_ign, &mut edits.config_ign, "--config-ign"),
        ];
        for (file, config, flag) in configs {
            if let Some(file) = file {
                let origin = Some(format!("{flag} {}", file.display()));
                *config = Some(ConfigSpec {
                    origin,
                    ..ConfigSpec::new(file)
                });
            }
        }
        edits
            .kernel_args
            .extend(self.boot.kernel_arg.iter().cloned());
        edits
            .removed_kernel_args
            .extend(self.boot.remove_kernel_arg.iter().cloned());
        for link in &changes.root_link {
            let origin = Some(format!("--root-link {}:{}", link.target, link.path));
            edits.links.push(LinkSpec {
                origin,
                ..link.clone()
            });
        }
        Ok(())
    }

    fn add_units(&self, edits: &mut Edits) -> Result<()> {
        let unit_of = |name: String, origin: String| UnitSpec {
            origin: Some(origin),
            ..UnitSpec::new(name)
        };
        for file in &self.changes.unit {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .ok_or_else(|| {
                    Error::invalid(format!("{} names no unit", file.display()))
                        .with_hint("give a file such as web.service")
                })?;
            let contents = Some(FileSource::Host(file.clone()));
            let unit = unit_of(name.to_owned(), format!("--unit {}", file.display()));
            edits.units.push(UnitSpec {
                contents,
                enabled: true,
                ..unit
            });
        }
        for name in &self.changes.enable_unit {
            edits.units.push(UnitSpec {
                enabled: true,
                ..unit_of(name.clone(), format!("--enable-unit {name}"))
            });
        }
        for (unit, file) in &self.changes.dropin {
            let name = file
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            let dropins = vec![(name, FileSource::Host(file.clone()))];
            let origin = format!("--dropin {unit}:{}", file.display());
            edits.units.push(UnitSpec {
                dropins,
                ..unit_of(unit.clone(), origin)
            });
        }
        Ok(())
    }

    fn add_vendors(&self, request: &mut Request, known: &Arc<Vendors>) -> Result<()> {
        let targets = &mut request.vendors;
        for id in &self.vendors.vendor {
            if id == "all" {
                targets.all_of = Some(Arc::clone(known));
                continue;
            }
            if id == GENERIC {
                continue;
            }
            let vendor = known.find(id)?;
            if targets
                .chosen
                .iter()
                .all(|other| other.vendor.id != vendor.id)
            {
                targets.chosen.push(VendorChoice {
                    vendor: vendor.clone(),
                    oem_sysext: None,
                    origin: None,
                });
            }
        }
        targets
            .oem_sysexts
            .extend(self.vendors.oem_sysext.iter().cloned());
        targets.no_oem |= self.vendors.no_oem;
        if self.vendors.isolinux.is_some() {
            targets.isolinux.clone_from(&self.vendors.isolinux);
        }
        if self.vendors.firmware.is_some() {
            targets.firmware.clone_from(&self.vendors.firmware);
        }
        Ok(())
    }

    fn add_run(&self, request: &mut Request) -> Result<()> {
        if self.changes.root_size.is_some() {
            request.root_size = self.changes.root_size;
        }
        if self.run.timestamp.is_some() || request.timestamp.is_none() {
            let given = timestamp(self.run.timestamp.as_deref())?;
            request.timestamp = given.map(|secs| Timestamp { secs, nanos: 0 });
        }
        request.policy.force |= self.run.force;
        request.policy.no_replay |= self.run.no_replay;
        request.policy.require_signed |= self.run.require_signed;
        request.policy.overwrite |= self.run.overwrite;
        request.policy.digests |= self.outputs.details.sha256;
        request.policy.allow_external |= self.read.allow_external;
        if !self.outputs.details.seed.is_empty() {
            request.seed.clone_from(&self.outputs.details.seed);
        }
        Ok(())
    }

    fn add_outputs(&self, request: &mut Request) -> Result<()> {
        if self.outputs.output_dir.is_some() {
            request.folder.clone_from(&self.outputs.output_dir);
        }
        let details = &self.outputs.details;
        match &self.outputs.output {
            None => details.check_unused(!request.vendors.is_empty())?,
            Some(Destination::Stdout) if request.vendors.is_empty() => {
                request.stream = Some(Stream::Disk(details.piped(0)?));
            }
            Some(Destination::Stdout) => {
                details.check_unused(true)?;
                request.stream = Some(Stream::Bundle);
            }
            Some(Destination::Path(path)) => request.outputs.push(details.output(path, 0)?),
        }
        if self.vendors.vendor.iter().any(|id| id == GENERIC) {
            let folder = request.folder.clone().unwrap_or_default();
            let path = folder.join(GENERIC_FILE);
            request.outputs.push(details.output_by_name(&path, 0)?);
        }
        for path in &self.outputs.also {
            request.outputs.push(details.output_by_name(path, 0)?);
        }
        if !request.vendors.is_empty() && details.compress.is_some() {
            request.vendors.compress = details.compress;
        }
        Ok(())
    }
}
