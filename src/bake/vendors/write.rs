//! Writes prepared images: the disks, config files and bundles of all vendors side by side, each file whole or not at
//! all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::emit::{ArtifactFile, Load, Output, emit, seal, side_by_side};
use super::super::host;
use super::prepare::{Key, Prepared, PreparedImage};
use super::report::RESERVED;
use crate::block::{BlockDevice, OutputFile, is_same_file};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::OsRelease;
use crate::flatcar::live::iso::Isolinux;
use crate::flatcar::vendor::Settings;
use crate::image::{CompressOptions, Identity, OutputFormat};
use crate::machine::{self, Arch, BundleFormat, ConfFile, ConfFormat, Firmware, Machine, Member};
use crate::progress::Progress;

/// What config files call a release or channel that is not known.
const UNKNOWN: &str = "unknown";
/// Largest firmware that is copied; real ones have 64 MiB at most.
const FIRMWARE_MAX: u64 = 256 << 20;
/// The name of the disk in Google's archives.
const GCE_MEMBER: &str = "disk.raw";

/// Where results go and how.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The folder for all files, which is made where it is missing; variants get folders of their names in it.
    pub folder: PathBuf,
    /// What is written of images that are no vendor's.
    pub outputs: Vec<PlainOutput>,
    /// What disks are compressed with that are no part of a bundle.
    pub compress: Option<CompressOptions>,
    /// What identifiers are made from, besides the content.
    pub seed: String,
    /// Files that were read, which are never replaced.
    pub inputs: Vec<PathBuf>,
    /// What makes a CD image start on a BIOS.
    pub isolinux: Option<Isolinux>,
    /// UEFI firmware that is put beside the start scripts of QEMU; where there is none they look for the host's.
    pub firmware: Option<FirmwareFiles>,
}

/// Host files of UEFI firmware, qcow2 or raw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareFiles {
    /// The code, which is not changed.
    pub code: PathBuf,
    /// The variables, of which every machine gets a copy.
    pub vars: PathBuf,
}

/// An output of an image that is no vendor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainOutput {
    /// Its file name.
    pub file: String,
    /// Its format.
    pub format: OutputFormat,
    /// What it is compressed with.
    pub compress: Option<CompressOptions>,
}

/// What became of one result.
#[derive(Debug)]
pub struct Outcome {
    /// Which one it is.
    pub key: Key,
    /// The image, where it could be prepared.
    pub image: Option<PreparedImage>,
    /// The files that were written.
    pub files: Vec<ArtifactFile>,
    /// What stopped it.
    pub error: Option<Error>,
}

/// Writes all images of `prepared`, several at a time. A failure spoils no other image; what came in order of
/// [`Prepared::results`] goes in that order.
pub fn write_all(prepared: Prepared, options: &WriteOptions, progress: &dyn Progress) -> Vec<Outcome> {
    let (time, release) = (prepared.plan.timestamp.secs, prepared.release.as_ref());
    let images: Vec<_> = prepared.results.iter().filter_map(|(key, image)| Some((key, image.as_ref().ok()?))).collect();
    let stems: Vec<String> = images.iter().filter_map(|(_, image)| Some(image.settings.as_ref()?.stem())).collect();
    let loads: Vec<Load<'_>> = images.iter().map(|(_, image)| load(image, options)).collect();
    let mut written = side_by_side("images", &loads, progress, |at, disk, progress| {
        let (key, image) = images[at];
        let mut files = Vec::new();
        let error =
            Writer { key, image, disk, stems: &stems, release, options, time, progress }.write(&mut files).err();
        Ok((files, error))
    })
    .into_iter();
    let outcome = |(key, image): (Key, Result<PreparedImage>)| match image {
        Err(error) => Outcome { key, image: None, files: Vec::new(), error: Some(error) },
        Ok(image) => {
            let (files, error) = match written.next() {
                Some(Ok(written)) => written,
                Some(Err(error)) => (Vec::new(), Some(error)),
                None => (Vec::new(), Some(Error::internal("an image was not written"))),
            };
            Outcome { key, image: Some(image), files, error }
        }
    };
    prepared.results.into_iter().map(outcome).collect()
}

/// What it takes to write an image: the most of its outputs.
fn load<'a>(image: &'a PreparedImage, options: &WriteOptions) -> Load<'a> {
    let disk: &dyn BlockDevice = &image.disk;
    let formats: Vec<(OutputFormat, Option<CompressOptions>)> = match &image.settings {
        Some(settings) => settings.disk_format.output().map(|format| (format, options.compress)).into_iter().collect(),
        None => options.outputs.iter().map(|plain| (plain.format, plain.compress)).collect(),
    };
    let output = |(format, compress)| Output { format, compress, digest: true, ..Output::new("") };
    let loads: Vec<Load<'_>> = formats.into_iter().map(|details| Load::new(disk, &output(details))).collect();
    Load {
        disk,
        passes: loads.iter().map(|load| load.passes).sum::<u64>().max(1),
        memory: loads.iter().map(|load| load.memory).max().unwrap_or(0),
    }
}

/// Writes one image.
pub(super) struct Writer<'a> {
    key: &'a Key,
    pub(super) image: &'a PreparedImage,
    /// The image's disk, read at the pace of all.
    pub(super) disk: &'a dyn BlockDevice,
    /// How the names of vendors' files begin.
    stems: &'a [String],
    release: Option<&'a OsRelease>,
    pub(super) options: &'a WriteOptions,
    pub(super) time: i64,
    pub(super) progress: &'a dyn Progress,
}

impl Writer<'_> {
    fn write(&self, files: &mut Vec<ArtifactFile>) -> Result<()> {
        let folder = match &self.key.variant {
            Some(name) => self.options.folder.join(name),
            None => self.options.folder.clone(),
        };
        self.check_names(&folder)?;
        fs::create_dir_all(&folder)
            .map_err(|error| Error::io(format!("making the folder {}", folder.display()), error))?;
        match &self.image.settings {
            Some(settings) => self.vendor(settings, &folder, files),
            None => self.plain(&folder, files),
        }
    }

    /// No name of an input, and none twice.
    fn check_names(&self, folder: &Path) -> Result<()> {
        let names: Vec<String> = match &self.image.settings {
            None => self.options.outputs.iter().map(|plain| plain.file.clone()).collect(),
            Some(settings) => {
                let extension = self.options.compress.map(|options| options.compression.extension());
                let packed = extension.map(|extension| format!("{}.{extension}", settings.disk_file_name()));
                let single = [Some(settings.disk_file_name()), packed, settings.bundle_file_name()];
                single.into_iter().flatten().chain(settings.conf_file_names()).collect()
            }
        };
        for name in names {
            let path = folder.join(&name);
            if self.options.inputs.iter().any(|input| is_same_file(input, &path)) {
                return Err(Error::invalid(format!("{} is an input, which is never changed", path.display()))
                    .with_hint("choose another folder for what is written"));
            }
            let is_vendors = self.stems.iter().any(|stem| name.starts_with(stem.as_str()));
            if self.image.settings.is_none() && (is_vendors || RESERVED.contains(&name.as_str())) {
                return Err(Error::invalid(format!("an output cannot be called {name}: other files of this run are"))
                    .with_hint("give it another name"));
            }
        }
        Ok(())
    }

    /// Identifiers of variants differ, also where only their content does not.
    fn identity(&self) -> Identity {
        let variant = self.key.variant.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        Identity { seed: format!("{}{variant}", self.options.seed), time: self.time }
    }

    fn output(&self, path: PathBuf, format: OutputFormat, compress: Option<CompressOptions>) -> Output {
        Output { format, compress, identity: self.identity(), digest: true, ..Output::new(path) }
    }

    fn plain(&self, folder: &Path, files: &mut Vec<ArtifactFile>) -> Result<()> {
        for plain in &self.options.outputs {
            let output = self.output(folder.join(&plain.file), plain.format, plain.compress);
            files.extend(emit(self.disk, &output, self.progress)?.files);
        }
        Ok(())
    }

    fn vendor(&self, settings: &Settings, folder: &Path, files: &mut Vec<ArtifactFile>) -> Result<()> {
        let Some(format) = settings.disk_format.output() else { return self.live(settings, folder, files) };
        let mut machine = self.machine(settings)?;
        let compress = self.options.compress.filter(|_| settings.loose_files);
        let name = match compress {
            Some(options) => format!("{}.{}", machine.disk_name, options.compression.extension()),
            None => machine.disk_name.clone(),
        };
        let output = self.output(folder.join(name), format, compress);
        match settings.bundle_format {
            None => {
                let artifact = emit(self.disk, &output, self.progress)?;
                machine.disk_file_bytes = Some(artifact.file_bytes).filter(|_| compress.is_none());
                files.extend(artifact.files);
                machine.firmware = self.firmware(settings, folder, files)?;
                let confs = conf_files(settings, &machine)?;
                confs.iter().try_for_each(|conf| self.put(folder, conf, files))
            }
            Some(BundleFormat::Gce) => {
                let disk = Member::device(GCE_MEMBER, self.disk);
                self.bundle(settings, BundleFormat::Gce, &[disk], folder, files).map(drop)
            }
            Some(bundle) => self.bundled(settings, bundle, machine, &output, folder, files),
        }
    }

    /// Copies the firmware to where the start script looks for it, and returns its names there.
    fn firmware(&self, settings: &Settings, folder: &Path, files: &mut Vec<ArtifactFile>) -> Result<Option<Firmware>> {
        let uefi = matches!(settings.conf_format, Some(ConfFormat::QemuUefi | ConfFormat::QemuUefiSecure));
        let Some(firmware) = self.options.firmware.as_ref().filter(|_| uefi) else { return Ok(None) };
        let mut copy = |source: &Path, part: &str| {
            let extension = source.extension().map_or("fd".into(), |extension| extension.to_string_lossy());
            let name = format!("{}_efi_{part}.{extension}", settings.stem());
            let content = host::read(source, FIRMWARE_MAX)?;
            self.file(&folder.join(&name), files, |mut out| {
                out.write_all(&content).map_err(|error| Error::io("writing a copy of the firmware", error))
            })?;
            Ok(name)
        };
        Ok(Some(Firmware { code: copy(&firmware.code, "code")?, vars: copy(&firmware.vars, "vars")? }))
    }

    /// Writes a config file.
    pub(super) fn put(&self, folder: &Path, conf: &ConfFile, files: &mut Vec<ArtifactFile>) -> Result<()> {
        let executable = conf.mode & 0o100 != 0;
        self.write_file(&folder.join(&conf.name), executable, files, |mut out| {
            out.write_all(conf.content.as_bytes()).map_err(|error| Error::io("writing its text", error))
        })
    }

    /// Writes one file, which appears when it is whole.
    pub(super) fn file(
        &self,
        path: &Path,
        files: &mut Vec<ArtifactFile>,
        write: impl FnOnce(&File) -> Result<()>,
    ) -> Result<()> {
        self.write_file(path, false, files, write)
    }

    fn write_file(
        &self,
        path: &Path,
        executable: bool,
        files: &mut Vec<ArtifactFile>,
        write: impl FnOnce(&File) -> Result<()>,
    ) -> Result<()> {
        let file = OutputFile::create(path)?;
        if executable {
            file.make_executable()?;
        }
        write(file.file()).at(|| format!("writing {}", path.display()))?;
        files.push(seal(file.file(), path, true, None, self.progress)?);
        file.commit()
    }

    /// What config files say of the machine.
    pub(super) fn machine(&self, settings: &Settings) -> Result<Machine> {
        let release = self.release;
        let version = release.and_then(OsRelease::version).unwrap_or(UNKNOWN);
        let group = release.and_then(OsRelease::channel).map_or(UNKNOWN.to_owned(), |channel| channel.to_string());
        let arch: Arch = release.and_then(OsRelease::architecture).unwrap_or("x86-64").parse()?;
        let (stem, disk) = (settings.stem(), settings.disk_file_name());
        Ok(Machine {
            memory_mib: settings.memory_mib,
            identity: self.identity(),
            ..Machine::new(&stem, &disk, version, &group, arch, self.image.disk_bytes())
        })
    }
}

pub(super) fn conf_files(settings: &Settings, machine: &Machine) -> Result<Vec<ConfFile>> {
    settings.conf_format.map_or(Ok(Vec::new()), |format| machine::conf_files(format, machine))
}
