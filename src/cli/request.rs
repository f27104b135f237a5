//! The flags of `bake` and `plan`, and the request that they make, on top of a manifest where there is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Glob, TarOptions};
#[cfg(feature = "fetch")]
use crate::bake::OfficialSysext;
use crate::bake::{
    ArchiveSpec, Base, ConfigSpec, Edits, FileSource, FileSpec, FirmwareFiles, Generalize,
    Hostname, LinkSpec, Place, Request, RootSize, Stream, SysextSpec, TrustSpec, UnitSpec,
    VendorChoice,
};
#[cfg(feature = "fetch")]
use crate::fetch::release::Wanted;
#[cfg(feature = "fetch")]
use crate::flatcar::Channel;
use crate::flatcar::Designator;
use crate::flatcar::vendor::Vendors;
use crate::fs::Timestamp;
use crate::manifest::{self, Draft, LoadOptions, Lock, Manifest};
use crate::{Error, Result};
use clap::Args;

#[cfg(feature = "fetch")]
use super::fetching::{Asked, Fetching, Flags};
use super::image::ReadArgs;
#[cfg(feature = "fetch")]
use super::image::cache_folder;
use super::output::{Destination, OutputArgs, timestamp};
use super::progress::Reporter;
use super::settings::SettingsArgs;
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
    settings: SettingsArgs,
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
    #[arg(value_parser = super::argument::<Wanted>)]
    release: Option<Wanted>,
    /// Bake what this manifest says, in YAML or TOML (see flatbake-manifest(5)); flags come on top of it
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Give a variable of the manifest a value
    #[arg(long, value_name = "NAME=VALUE", requires = "file", value_parser = set)]
    set: Vec<(String, String)>,
    /// Paths in the manifest may lead out of its folder
    #[arg(long, requires = "file")]
    allow_outside: bool,
    /// Take the releases and versions of the lock beside the manifest (or in the bundle), and fail unless every input is as
    /// it says
    #[arg(long, requires = "file")]
    locked: bool,
    /// Take what is to be fetched from this bundle, made by flatbake fetch --bundle, as far as it is there
    #[cfg(feature = "fetch")]
    #[arg(long, value_name = "DIR", help_heading = "Fetching")]
    bundle: Option<PathBuf>,
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

impl SysextArg {
    /// What is installed; `extensions` has what stands for files that are fetched.
    #[cfg_attr(not(feature = "fetch"), allow(unused_variables))]
    fn spec(&self, extensions: &BTreeMap<String, PathBuf>) -> Result<SysextSpec> {
        match self {
            Self::File(spec) => Ok(spec.clone()),
            #[cfg(feature = "fetch")]
            Self::Extension(extension) => {
                let asked = extension.to_string();
                let file = extensions.get(&asked).cloned();
                let file =
                    file.ok_or_else(|| Error::internal(format!("{asked} was not fetched")))?;
                Ok(SysextSpec {
                    origin: Some(asked),
                    ..SysextSpec::new(&extension.name, file)
                })
            }
        }
    }
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
    /// Trust the certificates in this file (PEM or DER) to sign extensions: they go to /etc/verity.d; can be repeated
    #[arg(long, value_name = "FILE")]
    trust_cert: Vec<PathBuf>,
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
    /// Use this Ignition config as the image's own user config; a Butane file is translated, with local files below its folder
    #[arg(long, value_name = "FILE")]
    config_ign: Option<PathBuf>,
    /// Use this Ignition config as the OEM partition's base.ign, which is merged below every user config
    #[arg(long, value_name = "FILE")]
    base_ign: Option<PathBuf>,
    /// Carry this Ignition config or Butane file out in the image, before anything else is put in, instead of at boot
    #[arg(long, value_name = "FILE")]
    apply_ignition: Option<PathBuf>,
    /// Put Butane configs in as they are, for an image whose own Ignition reads them (2.27), instead of translating them
    #[arg(long)]
    keep_butane: bool,
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
    /// Take away what a machine left on the image: its identity, host keys, logs and state
    #[arg(long)]
    generalize: bool,
    /// With --generalize, take away files of accounts, and keys that open them, too
    #[arg(long)]
    remove_accounts: bool,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal
    #[arg(long)]
    no_replay: bool,
    /// Take no sysext but disk images that are signed with the key of the image's own build, or of a --trust-cert
    #[arg(long)]
    require_signed: bool,
}

pub fn set(text: &str) -> std::result::Result<(String, String), String> {
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

/// A bundle is never written to.
#[cfg(feature = "fetch")]
fn refuse_outputs_in(bundle: &Path, request: &Request) -> Result<()> {
    let Ok(bundle) = bundle.canonicalize() else {
        return Ok(());
    };
    let mut written: Vec<&Path> = request.folder.as_deref().into_iter().collect();
    written.extend(request.outputs.iter().map(|output| output.path.as_path()));
    written.extend(request.also_written.iter().map(PathBuf::as_path));
    for path in written {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut above = absolute.ancestors();
        let there = above.find_map(|folder| folder.canonicalize().ok());
        if there.is_some_and(|there| there.starts_with(&bundle)) {
            let message = format!("{} lies in the bundle, which is only read", path.display());
            return Err(Error::invalid(message).with_hint("choose a place outside of it"));
        }
    }
    Ok(())
}

/// A request, and the manifest that it comes from.
pub struct Made {
    pub request: Request,
    pub manifest: Option<Manifest>,
    /// What holds the files that were fetched for this run alone.
    #[cfg(feature = "fetch")]
    fetched: Option<Fetching>,
}

impl Made {
    /// Whether a lock can say what the run has read: not what nobody has verified.
    pub fn can_be_locked(&self) -> bool {
        #[cfg(feature = "fetch")]
        if let Some(fetched) = &self.fetched {
            return !fetched.means.skip_verify;
        }
        true
    }
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
        let draft = self
            .base
            .file
            .as_ref()
            .map(|file| manifest::read(file, &self.base.set))
            .transpose()?;
        let lock = self.lock(draft.as_ref())?;
        let options = self.load_options(base);
        #[cfg(feature = "fetch")]
        let asked = self.asked(draft.as_ref())?;
        #[cfg(feature = "fetch")]
        let options = asked.fill(options);
        let manifest = draft.map(|draft| draft.resolve(&options)).transpose()?;
        let (mut request, known) = match (&manifest, options.base) {
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
        self.add_changes(&mut request.edits, &options.extensions)?;
        self.add_vendors(&mut request, &known)?;
        #[cfg(feature = "fetch")]
        let fetched = self.fetch(asked, lock.clone(), &mut request, reporter)?;
        #[cfg(feature = "fetch")]
        let manifest = match &fetched {
            Some(fetched) => manifest.map(|manifest| manifest.fetched_as(&fetched.resolutions)),
            None => manifest,
        };
        self.add_run(&mut request)?;
        self.add_outputs(&mut request)?;
        #[cfg(feature = "fetch")]
        if let Some(bundle) = &self.base.bundle {
            refuse_outputs_in(bundle, &request)?;
        }
        if let (Some(lock), Some(manifest)) = (lock, &manifest) {
            request.expected.locked = Some(manifest.locked(lock));
        }
        Ok(Made {
            request,
            manifest,
            #[cfg(feature = "fetch")]
            fetched,
        })
    }

    /// The lock that the run is held to, where it is.
    fn lock(&self, draft: Option<&Draft>) -> Result<Option<Lock>> {
        #[cfg(feature = "fetch")]
        let other = self.base.bundle.as_deref();
        #[cfg(not(feature = "fetch"))]
        let other = None;
        let draft = draft.filter(|_| self.base.locked);
        draft.map(|draft| draft.lock(other)).transpose()
    }

    /// What flags and manifest name by release or version.
    #[cfg(feature = "fetch")]
    fn asked(&self, draft: Option<&Draft>) -> Result<Asked> {
        let extensions = self
            .changes
            .sysexts
            .iter()
            .filter_map(|sysext| match sysext {
                SysextArg::File(_) => None,
                SysextArg::Extension(extension) => Some(extension),
            });
        // Where nothing is said to start from, it is what the script of the Bakery starts from.
        let is_left_open = self.base.image.is_none() && self.base.file.is_none();
        let usual = Wanted::Newest(Channel::Stable);
        let usual = Some(&usual).filter(|_| self.changes.fetch && is_left_open);
        let flags = Flags {
            has_image: self.base.image.is_some(),
            release: self.base.release.as_ref().or(usual),
            arch: self.fetching.given_arch(),
            extensions: extensions.collect(),
            absent: self.changes.fetch,
        };
        let wants = draft.map(Draft::wants).transpose()?.unwrap_or_default();
        Asked::of(&wants, &flags)
    }

    /// Fetches all that a request needs, and puts it there; `None` where nothing is to be fetched.
    #[cfg(feature = "fetch")]
    fn fetch(
        &self,
        asked: Asked,
        lock: Option<Lock>,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<Option<Fetching>> {
        let bundle = self.base.bundle.as_deref();
        if !asked.is_needed_for(request) {
            asked.check_unused()?;
            self.fetching.check_unused(bundle.is_some())?;
            return Ok(None);
        }
        let cache = match self.read.no_cache {
            true => None,
            false => cache_folder(self.read.cache_dir.as_deref()),
        };
        let means = self.fetching.means(cache.as_deref(), bundle, reporter)?;
        let mut fetching = Fetching::new(asked, means, lock);
        fetching.complete(request, &self.read, reporter)?;
        Ok(Some(fetching))
    }

    /// Whether the lock must hold.
    pub fn is_locked(&self) -> bool {
        self.base.locked
    }

    /// Whether the disk or bundle goes to standard output.
    pub fn is_streamed(&self) -> bool {
        self.outputs.output == Some(Destination::Stdout)
    }

    fn load_options(&self, base: Option<Base>) -> LoadOptions {
        LoadOptions {
            set: self.base.set.clone(),
            allow_outside: self.base.allow_outside,
            vendor_files: self.vendors.vendor_file.clone(),
            folder: self.outputs.output_dir.clone(),
            base,
            extensions: BTreeMap::new(),
        }
    }

    /// Adds the changes to partitions; `extensions` has the files of extensions that were fetched.
    fn add_changes(&self, edits: &mut Edits, extensions: &BTreeMap<String, PathBuf>) -> Result<()> {
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
        for sysext in &changes.sysexts {
            edits.sysexts.push(sysext.spec(extensions)?);
        }
        edits
            .trusted
            .extend(changes.trust_cert.iter().map(|file| TrustSpec {
                file: file.clone(),
                origin: Some(format!("--trust-cert {}", file.display())),
            }));
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
        self.settings.add(&mut edits.settings);
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
            (
                &self.boot.apply_ignition,
                &mut edits.apply_ignition,
                "--apply-ignition",
            ),
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
        if self.run.generalize && request.generalize == Generalize::Nothing {
            request.generalize = Generalize::Traces;
        }
        if self.run.remove_accounts {
            if request.generalize == Generalize::Nothing {
                return Err(Error::invalid("--remove-accounts goes with --generalize")
                    .with_hint("give --generalize, too"));
            }
            request.generalize = Generalize::TracesAndAccounts;
        }
        request.policy.no_replay |= self.run.no_replay;
        request.policy.require_signed |= self.run.require_signed;
        request.policy.keep_butane |= self.boot.keep_butane;
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
