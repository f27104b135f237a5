//! What a run is asked to do: the one struct that the command line, manifests and callers of the library fill.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::edits::Edits;
use super::write::Output;
use crate::block::{Input, shown};
use crate::bytes::ByteSize;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::Finding;
use crate::flatcar::official;
use crate::flatcar::vendor::{Vendor, Vendors};
use crate::fs::{FsPath, Timestamp};
use crate::image::{CacheMode, CompressOptions};
use crate::progress::{Cancel, NoProgress, Progress};

/// Most variants of one request.
const VARIANTS_MAX: usize = 10_000;
/// Longest name of a variant: it becomes part of file names.
const VARIANT_NAME_MAX: usize = 128;

/// A base image, what is changed in it, and what is written.
///
/// ```no_run
/// use flatbake::bake::{Context, Edits, Output, Request};
///
/// let request = Request {
///     edits: Edits::new().sysext("docker", "docker-28.0.4-x86-64.raw").config_ign("config.ign"),
///     outputs: vec![Output::named("node.qcow2")?],
///     ..Request::new("flatcar_production_image.bin.bz2")
/// };
/// let context = Context::new("/var/tmp");
/// let prepared = request.prepare(&context)?; // everything is decided, and nothing is written yet
/// let written = prepared.write(&context)?;
/// println!("{} files", written.report.outputs.len());
/// # Ok::<(), flatbake::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    /// The image to start from, which is never written.
    pub base: Base,
    /// The changes that everything that is written has.
    pub edits: Edits,
    /// What a machine left on the base goes, before all other changes.
    pub generalize: Generalize,
    /// The size that ROOT, and the disk with it, shall have; by default they stay as they are.
    pub root_size: Option<RootSize>,
    /// What sets results apart, such as the nodes of a cluster; where there are none, there is one result.
    pub variants: Vec<Variant>,
    /// Disks to write that are no vendor's. With variants, each lies in the folder and is written for every variant.
    pub outputs: Vec<Output>,
    /// What is written to a stream instead of files, by [`super::Prepared::stream`]; then nothing else is.
    pub stream: Option<Stream>,
    /// Vendors to write images for.
    pub vendors: VendorTargets,
    /// The folder for images of vendors and variants, their digests and the report.
    pub folder: Option<PathBuf>,
    /// Time of everything new; by default the newest time that the base image shows.
    pub timestamp: Option<Timestamp>,
    /// Makes identifiers in what is written that differ from those of the same disk with another seed.
    pub seed: String,
    /// What is allowed and refused.
    pub policy: Policy,
    /// What is known of the files that are read, which they must be.
    pub expected: Expected,
    /// What whoever asks has found before, for the report.
    pub findings: Vec<Finding>,
    /// Where files that are read were fetched from, for the report.
    pub fetched: BTreeMap<PathBuf, String>,
    /// Files that are read besides those that the request itself names, each with what it is to the run: where it comes
    /// from, such as a manifest. They are told and protected as all that is read is.
    pub also_read: Vec<(PathBuf, &'static str)>,
    /// Files that whoever asks writes after the run, such as the lock of a manifest: the run must not read or write them.
    pub also_written: Vec<PathBuf>,
}

/// What goes of what a machine left on the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generalize {
    /// All stays; a base that was booted is refused.
    #[default]
    Nothing,
    /// Traces of machines: identities, host keys, logs, state. Files of accounts and keys that open them stay.
    Traces,
    /// Those too.
    TracesAndAccounts,
}

/// The size that ROOT shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootSize {
    /// As large as the content needs, with some 64 MiB left; as it is where that is enough.
    Auto,
    /// This many bytes.
    Bytes(u64),
}

impl FromStr for RootSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            Ok(Self::Bytes(text.parse::<ByteSize>()?.0))
        }
    }
}

/// The image that a run starts from.
#[derive(Debug, Clone)]
pub enum Base {
    /// The file with this path.
    Path(PathBuf),
    /// An open file, and what messages call it.
    Open(Arc<File>, PathBuf),
}

impl Base {
    /// What messages call it.
    pub fn name(&self) -> &Path {
        match self {
            Self::Path(path) | Self::Open(_, path) => path,
        }
    }
}

/// What one variant adds to what all have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Its name, also that of its folder: letters, digits, dots, `-` and `_`.
    pub name: String,
    /// What it adds.
    pub edits: Edits,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

/// What is written to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    /// The disk, in a format that is one file; the path of the output is what messages call it.
    Disk(Output),
    /// The bundle of the one vendor that is chosen, where that is all there is of it, as for Google.
    Bundle,
}

/// Vendors to write images for, and what belongs to them.
#[derive(Debug, Clone, Default)]
pub struct VendorTargets {
    /// The vendors, none twice.
    pub chosen: Vec<VendorChoice>,
    /// All vendors of this table that Flatcar makes images for in the release of the base image, besides those chosen.
    pub all_of: Option<Arc<Vendors>>,
    /// OEM sysexts of the base image's release: files, or folders that hold `oem-ID.raw`.
    pub oem_sysexts: Vec<PathBuf>,
    /// Make sizes and formats only: the vendor's files on the OEM partition stay as they are.
    pub no_oem: bool,
    /// The folder with `isolinux.bin` and `ldlinux.c32` (and `isohdpfx.bin`), by which CD images start on a BIOS.
    pub isolinux: Option<PathBuf>,
    /// UEFI firmware that is put beside the start scripts of QEMU; where there is none they look for the host's.
    pub firmware: Option<FirmwareFiles>,
    /// What disks that are no part of a bundle are compressed with.
    pub compress: Option<CompressOptions>,
}

impl VendorTargets {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chosen.is_empty() && self.all_of.is_none()
    }
}

/// A vendor to write images for.
#[derive(Debug, Clone)]
pub struct VendorChoice {
    /// The vendor.
    pub vendor: Vendor,
    /// The host's file of its sysext, where it is not to be taken from [`VendorTargets::oem_sysexts`].
    pub oem_sysext: Option<PathBuf>,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

/// Host files of UEFI firmware, qcow2 or raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFiles {
    /// The code, which is not changed.
    pub code: PathBuf,
    /// The variables, of which every machine gets a copy.
    pub vars: PathBuf,
}

/// What a run is allowed and what it refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Go on where findings would stop the run.
    pub force: bool,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal.
    pub no_replay: bool,
    /// Take no sysext but disk images that are signed with the key of the image's own build.
    pub require_signed: bool,
    /// Replace files that exist under the names of outputs.
    pub overwrite: bool,
    /// Open files that the base image refers to, where they lie below its folder.
    pub allow_external: bool,
    /// Tell the SHA-256 of every file that is read or written, also where that takes a pass of its own.
    pub digests: bool,
    /// Put Butane configs in as they are, where the image's own Ignition reads them, instead of translating them.
    pub keep_butane: bool,
}

/// What the files that are read must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Digests of single files.
    pub digests: Vec<ExpectedDigest>,
    /// All files that may be read, with their digests: no other may be, and none may be missing.
    pub locked: Option<Locked>,
    /// The version of the base image, as its os-release has it.
    pub release: Option<String>,
}

/// The digest that a file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedDigest {
    /// The file.
    pub path: PathBuf,
    /// The SHA-256 of its bytes in lower-case hexadecimal digits.
    pub sha256: String,
    /// What asked for it, for messages.
    pub origin: Option<String>,
}

/// The files that a run may read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locked {
    /// What messages call the list.
    pub name: String,
    /// Length in bytes and SHA-256 of every file, by its path.
    pub files: BTreeMap<PathBuf, (u64, String)>,
}

/// The means that a run has: they do not change what it gives.
#[derive(Clone)]
pub struct Context<'a> {
    /// Is told how far the run is.
    pub progress: &'a dyn Progress,
    /// Ends the run.
    pub cancel: Cancel,
    /// The folder for unlinked temporary files.
    pub temp_dir: PathBuf,
    /// Where a decompressed base image is kept.
    pub cache: CacheMode,
    /// Threads that decompress.
    pub threads: NonZeroUsize,
}

/// Most differences that one message lists.
const DIFFERENCES_SHOWN: usize = 20;

impl Locked {
    /// Compares with the files that a run reads.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`] with the files that differ, that are not in the list, and that are only there.
    pub fn compare(&self, inputs: &[Input]) -> Result<()> {
        let differences = self.differences(inputs);
        if differences.is_empty() {
            return Ok(());
        }
        let shown = differences
            .iter()
            .take(DIFFERENCES_SHOWN)
            .map(|difference| format!("\n  - {difference}"));
        let mut message = format!("{} inputs are not as they were locked:", differences.len());
        message.extend(shown);
        if let Some(more) = differences
            .len()
            .checked_sub(DIFFERENCES_SHOWN)
            .filter(|&more| more > 0)
        {
            message.push_str(&format!("\n  - and {more} more"));
        }
        Err(Error::new(ErrorKind::Untrusted, message)
            .with_hint("where the changes are meant, bake without holding to the lock, which writes it anew")
            .with_setting("locked")
            .at(self.name.clone()))
    }

    /// What differs, in the order of paths.
    fn differences(&self, inputs: &[Input]) -> Vec<String> {
        let mut found = BTreeMap::new();
        for input in inputs {
            let name = shown(&input.path);
            let difference = match (self.files.get(&input.path), &input.sha256) {
                (None, _) => format!("{name} is new"),
                (Some((bytes, _)), _) if *bytes != input.bytes => {
                    format!("{name} differs: {} bytes, not {bytes}", input.bytes)
                }
                (Some((_, locked)), Some(sha256)) if locked == sha256 => continue,
                (Some(_), Some(sha256)) => format!("{name} differs: SHA-256 {sha256}"),
                (Some(_), None) => format!("{name} was not hashed"),
            };
            found.insert(&input.path, difference);
        }
        let read: BTreeSet<&PathBuf> = inputs.iter().map(|input| &input.path).collect();
        for path in self.files.keys().filter(|path| !read.contains(path)) {
            found.insert(path, format!("{} is gone", shown(path)));
        }
        found.into_values().collect()
    }
}

impl Context<'_> {
    /// No progress, no cache, as many threads as there are processors, and `temp_dir` for temporary files.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let cancel = Cancel::new();
        Self {
            progress: &NoProgress,
            cancel,
            temp_dir: temp_dir.into(),
            cache: CacheMode::None,
            threads,
        }
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("temp_dir", &self.temp_dir)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A request that starts from the image at `base`, changes nothing and writes nothing yet.
    pub fn new(base: impl Into<PathBuf>) -> Self {
        Self {
            base: Base::Path(base.into()),
            edits: Edits::new(),
            generalize: Generalize::Nothing,
            root_size: None,
            variants: Vec::new(),
            outputs: Vec::new(),
            stream: None,
            vendors: VendorTargets::default(),
            folder: None,
            timestamp: None,
            seed: String::new(),
            policy: Policy::default(),
            expected: Expected::default(),
            also_read: Vec::new(),
            also_written: Vec::new(),
            findings: Vec::new(),
            fetched: BTreeMap::new(),
        }
    }

    /// What can be told to be wrong before anything is read.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for parts that do not go together or would change nothing, with the reason.
    pub fn check(&self) -> Result<()> {
        self.check_targets()?;
        self.check_vendor_parts()?;
        self.check_variants()?;
        self.check_sysext_names()?;
        self.check_units()?;
        self.check_settings()?;
        self.check_outputs()
    }

    /// Settings alone and next to what they are about.
    fn check_settings(&self) -> Result<()> {
        let settings = &self.edits.settings;
        let args: Vec<String> = self
            .all_edits()
            .flat_map(|edits| edits.kernel_args.clone())
            .collect();
        settings.check(&args)?;
        if !settings.survive_reset {
            return Ok(());
        }
        if let Some(sysext) = self
            .all_edits()
            .flat_map(|edits| &edits.enabled_sysexts)
            .next()
        {
            return Err(Error::unsupported(format!(
                "Flatcar's own sysext {} is switched on by a file on ROOT, which does not outlive a reset",
                sysext.name
            ))
            .with_hint("have Ignition write /etc/flatcar/enabled-sysext.conf, or give its file as any other sysext"));
        }
        if self.all_edits().all(|edits| edits.sysexts.is_empty()) {
            return Err(
                Error::invalid("sysexts shall outlive a reset, but there are none")
                    .with_hint("give sysexts, or leave it out"),
            );
        }
        Ok(())
    }

    /// Each output alone, and that no two write one file.
    fn check_outputs(&self) -> Result<()> {
        let mut files: BTreeMap<PathBuf, &Output> = BTreeMap::new();
        for output in &self.outputs {
            output
                .check()
                .map_err(|error| at_origin(error, output.origin.as_ref()))?;
            for file in output.files() {
                let Some(earlier) = files.insert(file, output) else {
                    continue;
                };
                let place = earlier
                    .origin
                    .as_ref()
                    .map(|origin| format!(" at {origin}"))
                    .unwrap_or_default();
                let path = shown(&output.path);
                let error = Error::invalid(format!(
                    "{path} would be written over {}{place}",
                    shown(&earlier.path)
                ))
                .with_hint("give every output a name of its own");
                return Err(at_origin(error, output.origin.as_ref()));
            }
        }
        Ok(())
    }

    /// The edits that all have in common, and those of each variant.
    fn all_edits(&self) -> impl Iterator<Item = &Edits> {
        std::iter::once(&self.edits).chain(self.variants.iter().map(|variant| &variant.edits))
    }

    fn check_units(&self) -> Result<()> {
        let mut units = self.all_edits().flat_map(|edits| &edits.units);
        units.try_for_each(|unit| {
            unit.check()
                .map_err(|error| at_origin(error, unit.origin.as_ref()))
        })
    }

    /// A stream stands alone.
    fn check_stream(&self, stream: &Stream) -> Result<()> {
        let vendors = if *stream == Stream::Bundle { 1 } else { 0 };
        let others = [
            (!self.outputs.is_empty(), "other outputs"),
            (self.folder.is_some(), "a folder for outputs"),
            (!self.variants.is_empty(), "variants"),
            (
                self.vendors.chosen.len() != vendors || self.vendors.all_of.is_some(),
                "more than one result",
            ),
        ];
        match others.into_iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, what)) => Err(Error::invalid(format!(
                "one image is to be streamed, but {what} is asked for"
            ))
            .with_hint("write to files, or ask for the stream alone")),
        }
    }

    fn check_targets(&self) -> Result<()> {
        if let Some(stream) = &self.stream {
            return self.check_stream(stream);
        }
        if self.outputs.is_empty() && self.vendors.is_empty() {
            return Err(Error::invalid("nothing is asked for that could be written")
                .with_hint("name an output, or a vendor and a folder"));
        }
        if self.folder.is_none() && !self.vendors.is_empty() {
            return Err(Error::invalid(
                "images of vendors need a folder to be written to",
            ));
        }
        if self.folder.is_none() && !self.variants.is_empty() {
            return Err(Error::invalid(
                "images of variants need a folder to be written to",
            ));
        }
        for (at, choice) in self.vendors.chosen.iter().enumerate() {
            if self.vendors.chosen[..at]
                .iter()
                .any(|other| other.vendor.id == choice.vendor.id)
            {
                let error = Error::invalid(format!(
                    "the vendor {} is asked for twice",
                    choice.vendor.id
                ));
                return Err(at_origin(error, choice.origin.as_ref()));
            }
        }
        Ok(())
    }

    /// What is given for vendors must be of use to one.
    fn check_vendor_parts(&self) -> Result<()> {
        let targets = &self.vendors;
        let sysexts = !targets.oem_sysexts.is_empty()
            || targets
                .chosen
                .iter()
                .any(|choice| choice.oem_sysext.is_some());
        let given = [
            (sysexts, "OEM sysexts"),
            (targets.no_oem, "leaving the OEM partition alone"),
            (targets.isolinux.is_some(), "the boot loader of CD images"),
            (targets.firmware.is_some(), "UEFI firmware"),
            (
                targets.compress.is_some(),
                "the compression of vendors' disks",
            ),
        ];
        for (given, what) in given {
            if given && targets.is_empty() {
                return Err(Error::invalid(format!(
                    "{what}: only images of vendors have a use for that, and no vendor is asked for"
                )));
            }
        }
        if targets.no_oem && sysexts {
            return Err(Error::invalid(
                "OEM sysexts are given, but the OEM partition is to be left alone",
            )
            .with_hint("leave out one of the two"));
        }
        Ok(())
    }

    fn check_variants(&self) -> Result<()> {
        if self.variants.len() > VARIANTS_MAX {
            let message = format!(
                "{} variants are too many: at most {VARIANTS_MAX}",
                self.variants.len()
            );
            return Err(Error::invalid(message));
        }
        let mut names: BTreeMap<String, &Variant> = BTreeMap::new();
        for variant in &self.variants {
            self.check_variant(variant)
                .map_err(|error| at_origin(error, variant.origin.as_ref()))?;
            if let Some(earlier) = names.insert(variant.name.to_ascii_lowercase(), variant) {
                let place = earlier
                    .origin
                    .as_ref()
                    .map(|origin| format!(" at {origin}"))
                    .unwrap_or_default();
                let message = format!(
                    "the variant {} would be written over {}{place}",
                    variant.name, earlier.name
                );
                let error = Error::invalid(message).with_hint(
                    "give them different names; upper and lower case do not tell them apart",
                );
                return Err(at_origin(error, variant.origin.as_ref()));
            }
        }
        Ok(())
    }

    fn check_variant(&self, variant: &Variant) -> Result<()> {
        let name = &variant.name;
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name =
            !name.is_empty() && name.len() <= VARIANT_NAME_MAX && name.chars().all(is_allowed);
        if !is_name || name.starts_with(['.', '-']) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the name of a variant",
                name.escape_debug()
            ))
            .with_hint(format!(
                "letters, digits, dots, - and _, at most {VARIANT_NAME_MAX}, no dot or - in front"
            )));
        }
        let is_shared = |argument: &&String| self.edits.kernel_args.contains(argument);
        if let Some(argument) = variant.edits.removed_kernel_args.iter().find(is_shared) {
            let message =
                format!("all variants get the kernel argument '{argument}', which {name} removes");
            return Err(
                Error::invalid(message).with_hint("add it in the variants that need it instead")
            );
        }
        Ok(())
    }

    /// systemd-sysext merges one image per name.
    fn check_sysext_names(&self) -> Result<()> {
        for sysext in self.all_edits().flat_map(|edits| &edits.sysexts) {
            let link = FsPath::root().join(format!("{}.raw", sysext.name));
            link.map_err(|error| at_origin(error, sysext.origin.as_ref()))?;
        }
        for sysext in self.all_edits().flat_map(|edits| &edits.enabled_sysexts) {
            let checked = official::check_name(&sysext.name).and_then(|()| sysext.file());
            checked.map_err(|error| at_origin(error, sysext.origin.as_ref()))?;
        }
        let none = Edits::new();
        let own = self.variants.iter().map(|variant| &variant.edits);
        for edits in std::iter::once(&none).chain(own) {
            let mut names = BTreeSet::new();
            for (name, origin) in merged_names(&self.edits).chain(merged_names(edits)) {
                if !names.insert(name.clone()) {
                    let name = name.escape_debug();
                    let error = Error::invalid(format!("the sysext name '{name}' is given twice"))
                        .with_hint("systemd-sysext merges one image per name");
                    return Err(at_origin(error, origin));
                }
            }
        }
        Ok(())
    }
}

/// The names by which sysexts are merged, and what asked for each.
fn merged_names(edits: &Edits) -> impl Iterator<Item = (String, Option<&String>)> {
    let given = edits.sysexts.iter();
    let given = given.map(|sysext| (sysext.name.clone(), sysext.origin.as_ref()));
    let enabled = edits.enabled_sysexts.iter();
    let enabled =
        enabled.map(|sysext| (official::merged_name(&sysext.name), sysext.origin.as_ref()));
    given.chain(enabled)
}

/// Adds what asked for something to an error about it.
pub(super) fn at_origin(error: Error, origin: Option<&String>) -> Error {
    match origin {
        Some(origin) => error.at(origin.clone()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, bytes: u64, sha256: &str) -> Input {
        Input {
            role: "file",
            path: path.into(),
            bytes,
            sha256: Some(sha256.to_owned()),
        }
    }

    #[test]
    fn a_lock_names_what_differs_in_the_order_of_paths() {
        let files = [("a", 1), ("b", 1), ("c", 2), ("d", 1)];
        let files = files.map(|(path, bytes)| (PathBuf::from(path), (bytes, "11".to_owned())));
        let locked = Locked {
            name: "x.lock".to_owned(),
            files: files.into(),
        };
        locked
            .compare(&[
                input("a", 1, "11"),
                input("b", 1, "11"),
                input("c", 2, "11"),
                input("d", 1, "11"),
            ])
            .unwrap();
        let read = [
            input("a", 1, "11"),
            input("b", 1, "22"),
            input("c", 3, "33"),
            input("e", 1, "11"),
        ];
        let error = locked.compare(&read).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert_eq!(
            error.to_string(),
            "x.lock: 4 inputs are not as they were locked:\n  - b differs: SHA-256 22\n  - c differs: 3 bytes, not 2\n  \
             - d is gone\n  - e is new"
        );
        let many: Vec<Input> = (0..25)
            .map(|n| input(&format!("n{n:02}"), 1, "11"))
            .collect();
        let error = Locked::default().compare(&many).unwrap_err().to_string();
        assert!(
            error.contains("n19 is new") && !error.contains("n20") && error.ends_with("and 5 more"),
            "{error}"
        );
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!("auto".parse::<RootSize>().unwrap(), RootSize::Auto);
        assert_eq!("6G".parse::<RootSize>().unwrap(), RootSize::Bytes(6 << 30));
        assert!("large".parse::<RootSize>().is_err());
    }
}
