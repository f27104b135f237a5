//! Builds an extension image from a folder, an archive, a container image or another extension.
//!
//! ```text
//!   DIR, TAR, container image, extension ──▶ StagedTree ──▶ checked ──▶ Format ──▶ FILE.raw, when whole
//!                        release file, drop-ins, tmpfiles ──┘      └──▶ findings
//! ```
//!
//! The bytes depend on the tree and what is asked for alone: names are sorted, everything belongs to root and no time is
//! later than the one that is given, unless it is asked for otherwise.

mod disk_image;
mod format;
mod metadata;
mod source;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use disk_image::DiskImage;
use format::Packing;
pub use format::{Compressor, Effort, Format};
pub(in crate::flatcar::sysext) use metadata::Writer;
use metadata::release_text;
pub(in crate::flatcar::sysext) use source::Reading;

use super::check::check_made;
use super::class::Class;
use super::compare::{HostTree, compare_as};
use super::host::Host;
use super::inspect::{SysextInfo, inspect_as, is_valid_name};
use super::kernel::check_kernel;
use super::programs::{Program, missing, programs};
use crate::archive::Glob;
use crate::block::{
    Blank, BlockDevice, FileDevice, Inputs, OutputFile, refuse_existing, sha256, shown,
};
use crate::error::{Error, Result, ResultExt, refuse_findings};
use crate::finding::{Few, Finding, code};
use crate::flatcar::{OsRelease, ddi};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, StagedTree, Timestamp};
use crate::machine::Arch;
use crate::progress::{Cancel, Progress};

/// Folders that every system has and everybody looks into.
const OPEN_FOLDERS: [&str; 10] = [
    "/usr",
    "/opt",
    "/etc",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib/systemd",
    "/usr/lib/systemd/system",
    "/usr/lib64",
    "/usr/local",
    "/usr/share",
];
/// Everybody may look into a folder.
const OPEN: u32 = 0o555;

/// Words for architectures and what systemd calls them.
const ARCHITECTURES: [(&str, &str, &str); 5] = [
    ("x86-64", "x86-64", "amd64"),
    ("amd64", "x86-64", "amd64"),
    ("x86_64", "x86-64", "amd64"),
    ("arm64", "arm64", "arm64"),
    ("aarch64", "arm64", "arm64"),
];
const ANY: &str = "_any";

/// An architecture in systemd's words (`x86-64`, `arm64`, `_any`), from those of others (`amd64`, `aarch64`).
///
/// # Errors
/// A word that no Flatcar has.
pub fn architecture(word: &str) -> Result<String> {
    let known = ARCHITECTURES.iter().find(|(known, ..)| *known == word);
    match known {
        Some((_, systemd, _)) => Ok((*systemd).to_owned()),
        None if word == ANY => Ok(ANY.to_owned()),
        None => Err(Error::invalid(format!(
            "the architecture '{}' is not one of Flatcar's",
            word.escape_debug()
        ))
        .with_hint("x86-64 (or amd64), arm64 (or aarch64), or _any for files without programs")),
    }
}

/// The word of Go, and of container images, for an architecture in systemd's words.
pub(in crate::flatcar::sysext) fn go_word(systemd: &str) -> Option<&'static str> {
    let known = ARCHITECTURES.iter().find(|(_, known, _)| *known == systemd);
    known.map(|(_, _, go)| *go)
}

/// A file or folder of the host that is copied into `/etc` of machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// Where, below `/etc`: `default/tailscaled`.
    pub name: String,
    /// The file or folder.
    pub source: PathBuf,
}

/// How an extension is built.
#[derive(Debug, Clone)]
pub struct Build {
    /// A folder, a tar, an OCI layout, an archive of `docker save`, or an extension.
    pub source: PathBuf,
    /// The name it is merged by.
    pub name: String,
    /// What it extends.
    pub class: Class,
    /// `ID`: the system it is for. `None` takes that of the source's own release file, else `_any`.
    pub os: Option<String>,
    /// `VERSION_ID`: the only version of that system it is for.
    pub version_id: Option<String>,
    /// `ARCHITECTURE` in systemd's words. `None` takes that of the release file, else that of all its programs.
    pub architecture: Option<String>,
    /// Units that are started.
    pub enable: Vec<String>,
    /// Files for `/etc`.
    pub confs: Vec<Conf>,
    /// What is left out.
    pub exclude: Vec<Glob>,
    /// Leaves out what would not be merged, instead of an error.
    pub drop_outside: bool,
    /// Keeps owners and groups; everything belongs to root otherwise.
    pub keep_owner: bool,
    /// Times later than this, in seconds since 1970, become this.
    pub time: i64,
    /// What it is packed into.
    pub format: Format,
    /// Puts that into a disk image.
    pub disk_image: Option<DiskImage>,
    /// Builds in spite of findings that would stop it.
    pub force: bool,
    /// Tells the SHA-256 of what is written, for which it is read once more.
    pub digest: bool,
}

/// What building needs besides.
pub struct Means<'a> {
    progress: &'a dyn Progress,
    temp_dir: PathBuf,
    /// All files that are read.
    inputs: Inputs,
}

impl<'a> Means<'a> {
    /// Tells `progress` how far it is, has unlinked temporary files in `temp_dir`, and ends when `cancel` is raised.
    pub fn new(progress: &'a dyn Progress, temp_dir: impl Into<PathBuf>, cancel: Cancel) -> Self {
        Self::with_inputs(progress, temp_dir, Inputs::new(cancel))
    }

    /// What the work tells of how far it is.
    pub(in crate::flatcar::sysext) fn progress(&self) -> &'a dyn Progress {
        self.progress
    }

    /// Where temporary files go.
    pub(in crate::flatcar::sysext) fn temp_dir(&self) -> &Path {
        &self.temp_dir
    }

    /// All files that are read.
    pub(in crate::flatcar::sysext) fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The same where other files were read already, none of which may be written.
    pub(crate) fn with_inputs(
        progress: &'a dyn Progress,
        temp_dir: impl Into<PathBuf>,
        inputs: Inputs,
    ) -> Self {
        Self {
            progress,
            temp_dir: temp_dir.into(),
            inputs,
        }
    }
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means")
            .field("temp_dir", &self.temp_dir)
            .finish_non_exhaustive()
    }
}

/// An extension whose tree is put together and checked, and of which nothing was written yet.
#[derive(Debug)]
pub struct Prepared {
    build: Build,
    tree: StagedTree,
    info: SysextInfo,
    /// The architecture of the disk image, where one is made.
    disk_architecture: Option<Arch>,
    findings: Vec<Finding>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Built {
    /// The file.
    pub path: String,
    /// The name it is merged by.
    pub name: String,
    /// What it extends.
    pub class: Class,
    /// `squashfs with zstd`
    pub format: String,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Bytes of all files in it.
    pub content_bytes: u64,
    /// Entries in it.
    pub entries: u64,
    /// What its release file says.
    pub release: BTreeMap<String, String>,
    /// The disk image that it was put into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_image: Option<ddi::Built>,
    /// The SHA-256 of the file in hexadecimal digits, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What a person should know.
    pub findings: Vec<Finding>,
}

impl Build {
    /// A sysext named `name` of what `source` holds, for any system.
    pub fn new(source: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            name: name.into(),
            class: Class::Sysext,
            os: None,
            version_id: None,
            architecture: None,
            enable: Vec::new(),
            confs: Vec::new(),
            exclude: Vec::new(),
            drop_outside: false,
            keep_owner: false,
            time: 0,
            format: Format::default(),
            disk_image: None,
            force: false,
            digest: true,
        }
    }

    /// Reads the source, adds the metadata and checks the result, against `host` where one is given.
    ///
    /// # Errors
    /// What is asked for makes no sense, the source cannot be read, or files that are to be added have no place. What would
    /// not work is told by [`Prepared::findings`].
    pub fn prepare(self, host: Option<&Host>, means: &Means<'_>) -> Result<Prepared> {
        self.check()?;
        let time = Timestamp {
            secs: self.time,
            nanos: 0,
        };
        let reading = Reading {
            architecture: self.architecture.as_deref().and_then(go_word),
            keep_owner: self.keep_owner,
            time,
        };
        let read = reading.read(&self.source, means)?;
        self.prepare_tree(read, host, means)
    }

    /// The same for a tree that is there, with what there is to say of it already.
    pub(in crate::flatcar::sysext) fn prepare_tree(
        self,
        (mut tree, mut findings): (StagedTree, Vec<Finding>),
        host: Option<&Host>,
        means: &Means<'_>,
    ) -> Result<Prepared> {
        let time = Timestamp {
            secs: self.time,
            nanos: 0,
        };
        source::exclude(&mut tree, &self.exclude)?;
        findings.extend(self.settle_outside(&mut tree)?);
        let mut writer = Writer {
            tree: &mut tree,
            time,
        };
        writer.enable(&self.enable)?;
        writer.confs(&self.confs, &self.name, means)?;

        let programs = programs(&tree)?;
        let before = inspect_as(self.class, &tree)?;
        let text = release_text(&self, &before, only_architecture(&programs).as_deref())?;
        Writer {
            tree: &mut tree,
            time,
        }
        .release(&self, &text)?;
        let info = inspect_as(self.class, &tree)?;
        let release = OsRelease::parse(text.as_bytes())?;
        let disk_image = self.disk_image.as_ref();
        let disk_architecture = disk_image.map(|_| DiskImage::architecture(&release));
        let disk_architecture = disk_architecture.transpose()?;
        findings.extend(self.check_tree(&tree, &info, &release, &programs)?);
        if let Some(host) = host {
            findings.extend(self.check_host(&tree, &info, &programs, host)?);
        }
        if self.force {
            findings = findings.into_iter().map(Finding::lifted).collect();
        }
        Ok(Prepared {
            build: self,
            tree,
            info,
            disk_architecture,
            findings,
        })
    }

    /// Refuses what makes no sense.
    pub(in crate::flatcar::sysext) fn check(&self) -> Result<()> {
        if !is_valid_name(&self.name) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the name of an extension",
                self.name.escape_debug()
            ))
            .with_hint("a file name without control characters that does not begin with '.#'"));
        }
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let mut words = self.os.iter().chain(&self.version_id);
        if let Some(odd) = words.find(|word| word.is_empty() || !word.chars().all(is_word)) {
            return Err(Error::invalid(format!(
                "'{}' is neither the ID nor the VERSION_ID of a system",
                odd.escape_debug()
            ))
            .with_hint("both consist of lowercase letters, digits and any of ._-"));
        }
        let is_for_sysexts = !self.enable.is_empty() || !self.confs.is_empty();
        if self.class == Class::Confext && is_for_sysexts {
            return Err(Error::invalid(
                "units are enabled, and files copied into /etc, by sysexts only",
            )
            .with_hint("a confext is merged into /etc itself: put the files and links there"));
        }
        if self.time < 0 {
            return Err(Error::invalid(format!(
                "a time {} seconds before 1970: must be at least 0",
                self.time.unsigned_abs()
            )));
        }
        Ok(())
    }

    /// What is said of entries that would not be merged, which are removed where that is asked for.
    fn settle_outside(&self, tree: &mut StagedTree) -> Result<Option<Finding>> {
        let merged = self.class.merged();
        let mut outside: Vec<FsPath> = Vec::new();
        for entry in tree.entries_at(&FsPath::root())? {
            if !merged.iter().any(|top| top.as_bytes() == entry.name) {
                outside.push(FsPath::root().join(&entry.name)?);
            }
        }
        if outside.is_empty() {
            return Ok(None);
        }
        let paths = Few::from_iter(&outside);
        if self.drop_outside {
            for path in &outside {
                source::remove(tree, path)?;
            }
            return Ok(Some(
                Finding::new(code::SYSEXT_LEFT_OUT).with("paths", paths),
            ));
        }
        let finding = Finding::new(code::SYSEXT_NOT_MERGED)
            .with("class", self.class)
            .with("merged", self.class.merged_text());
        Ok(Some(finding.with("paths", paths)))
    }

    /// What can be said without a host.
    fn check_tree(
        &self,
        tree: &StagedTree,
        info: &SysextInfo,
        release: &OsRelease,
        programs: &[Program],
    ) -> Result<Vec<Finding>> {
        let mut findings = check_made(info, &self.name);
        findings.extend(closed(tree)?);
        findings.extend(compare_as(
            self.class,
            tree,
            &HostTree::new(None, None),
            &[],
        )?);
        let architecture = release.get("ARCHITECTURE");
        let mut others = Few::default();
        let mut damaged = Few::default();
        for Program { path, elf } in programs {
            match elf {
                Err(_) => damaged.add(path),
                Ok(elf) => {
                    let actual = elf.architecture();
                    let is_other =
                        architecture.is_some_and(|wanted| wanted != ANY && wanted != actual);
                    if elf.is_loadable && is_other {
                        others.add(format_args!("{path} ({actual})"));
                    }
                }
            }
        }
        if !others.is_empty() {
            findings.push(
                Finding::new(code::SYSEXT_ELF_ARCH)
                    .with("class", self.class)
                    .with("arch", architecture.unwrap_or_default())
                    .with("paths", others),
            );
        }
        if !damaged.is_empty() {
            findings.push(Finding::new(code::SYSEXT_ELF_DAMAGED).with("paths", damaged));
        }
        Ok(findings)
    }

    /// What can be said with one. What [`check_tree`](Self::check_tree) says is not said again.
    fn check_host(
        &self,
        tree: &StagedTree,
        info: &SysextInfo,
        programs: &[Program],
        host: &Host,
    ) -> Result<Vec<Finding>> {
        let mut findings = super::check(info, &self.name, &host.release);
        findings.extend(check_kernel(&self.format.needs(), &host.os_release));
        findings.extend(compare_as(self.class, tree, &host.tree, &info.real_dirs)?);
        findings.extend(libraries(self.class, tree, programs, host)?);
        let known = [
            code::SYSEXT_OUTSIDE,
            code::SYSEXT_OVERLAY_MARKS,
            code::SYSEXT_WRITABLE,
            code::SYSEXT_PROGRAM,
        ];
        let made = check_made(info, &self.name);
        findings.retain(|finding| !known.contains(&finding.code()) && !made.contains(finding));
        Ok(findings)
    }
}

/// What programs of an extension lack on a host.
///
/// # Errors
/// Those of reading.
fn libraries(
    class: Class,
    extension: &dyn FileSystem,
    programs: &[Program],
    host: &Host,
) -> Result<Vec<Finding>> {
    let mut layers = vec![extension];
    layers.extend(host.tree.layers());
    libraries_in(class, programs, &layers)
}

/// The same where the trees are given, the first of which is on top.
pub(super) fn libraries_in(
    class: Class,
    programs: &[Program],
    layers: &[&dyn FileSystem],
) -> Result<Vec<Finding>> {
    let finding = |missing: super::Missing| {
        Finding::new(code::SYSEXT_LIBRARIES)
            .with("class", class)
            .with("path", missing.path)
            .with("names", Few::from_iter(missing.names))
    };
    let found = missing(programs, layers)?;
    Ok(found.into_iter().map(finding).collect())
}

/// The architecture of all programs, where they are of one.
fn only_architecture(programs: &[Program]) -> Option<String> {
    let loadable = programs
        .iter()
        .filter_map(|program| program.elf.as_ref().ok())
        .filter(|elf| elf.is_loadable);
    let mut all: Vec<String> = loadable.map(super::super::elf::Elf::architecture).collect();
    all.sort();
    all.dedup();
    match all.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// Folders of the system that the extension has, and that not everybody may look into.
fn closed(tree: &dyn FileSystem) -> Result<Option<Finding>> {
    let mut closed = Few::default();
    for folder in OPEN_FOLDERS {
        let found = tree.find_metadata(&FsPath::new(folder)?)?;
        if let Some(found) = found.filter(|found| found.file_type == FileType::Directory)
            && found.mode & OPEN != OPEN
        {
            closed.add(format_args!("{folder} ({:04o})", found.mode));
        }
    }
    Ok((!closed.is_empty()).then(|| Finding::new(code::SYSEXT_CLOSED).with("paths", closed)))
}

impl Prepared {
    /// What a person should know. One that stops keeps [`write`](Self::write) from writing.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What is in the extension.
    pub fn info(&self) -> &SysextInfo {
        &self.info
    }

    /// Its tree.
    pub fn tree(&self) -> &dyn FileSystem {
        &self.tree
    }

    /// Writes the extension to `path`, where it appears when it is whole.
    ///
    /// # Errors
    /// Findings that stop, a file that exists unless `overwrite` says so, an output that is an input; those of the format and
    /// of writing.
    pub fn write(&self, path: &Path, overwrite: bool, means: &Means<'_>) -> Result<Built> {
        refuse_findings(&self.findings)?;
        means.inputs.refuse(path)?;
        refuse_existing(path, overwrite)?;
        let out = OutputFile::create(path)?;
        let build = &self.build;
        let disk_image = self.write_format(out.file(), means).at(|| shown(path))?;
        means.inputs.check(&[])?;
        let file = out.file().try_clone();
        let file = file.map_err(|error| Error::io(format!("reading {}", shown(path)), error))?;
        let device = FileDevice::from_file(file, path)?;
        let digest = || sha256(&device, &mut |_| {});
        let sha256 = build.digest.then(|| out.sync_while(digest)).transpose()?;
        let file_bytes = device.size();
        out.commit()?;
        Ok(Built {
            path: shown(path),
            name: build.name.clone(),
            class: build.class,
            format: self.format(),
            file_bytes,
            content_bytes: self.info.content_bytes,
            entries: self.info.entries,
            release: self.release(),
            disk_image,
            sha256,
            findings: self.findings.clone(),
        })
    }

    /// Writes the filesystem, or the disk image that it is put into.
    fn write_format(&self, out: &File, means: &Means<'_>) -> Result<Option<ddi::Built>> {
        let build = &self.build;
        let packing = Packing {
            time: build.time,
            seed: &build.name,
            temp_dir: &means.temp_dir,
            progress: means.progress,
        };
        let write = |blank: Blank<'_>| build.format.write(&self.tree, blank, &packing);
        let (Some(image), Some(architecture)) = (&build.disk_image, self.disk_architecture) else {
            return write(out.into()).map(|()| None);
        };
        write(DiskImage::blank(out))?;
        let built = image.write(architecture, &means.temp_dir, out, means.progress);
        built.map(Some)
    }

    /// What was written, in words.
    fn format(&self) -> String {
        let filesystem = &self.build.format;
        match &self.build.disk_image {
            None => filesystem.to_string(),
            Some(image) if image.signer.is_some() => format!("signed disk image of {filesystem}"),
            Some(_) => format!("disk image of {filesystem}"),
        }
    }

    fn release(&self) -> BTreeMap<String, String> {
        let own = self
            .info
            .releases
            .iter()
            .find(|release| release.name == self.build.name);
        let fields = own.into_iter().flat_map(|release| release.fields.fields());
        fields
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect()
    }
}
