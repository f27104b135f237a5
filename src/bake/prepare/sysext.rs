//! Sysexts: checked against the image's own release, then placed and linked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::edits::{Edits, SysextSpec};
use super::super::request::at_origin;
use super::bench::{Bench, Content, NewFile};
use super::lasting::Lasting;
use crate::block::{BlockDevice, shown};
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::sysext::{self, HostRelease, HostTree};
use crate::flatcar::sysupdate::{self, Baked, Transfer};
use crate::fs::{FileSystem, FsPath, HostFile, InnerFile};

/// Where sysexts go unless told otherwise, each into a folder of its name.
const EXTENSIONS_DIR: &str = "/opt/extensions";
/// The same on OEM, for those that outlive a reset.
const LASTING_DIR: &str = "/extensions";
/// Where sysexts are linked by the names they are merged by.
const LINKS_DIR: &str = "/etc/extensions";
/// Folders where systemd-sysext looks for sysexts.
const SEARCHED: [&str; 3] = [LINKS_DIR, "/run/extensions", "/var/lib/extensions"];
/// What files of systemd-sysupdate are to a run, and their largest size; real ones have a few lines.
const TRANSFER_ROLE: &str = "sysupdate config";
const TRANSFER_MAX: u64 = 1 << 20;
/// First release that mounts the OEM partition at /oem; older ones do at /usr/share/oem.
const OEM_MOUNT_CHANGED: u64 = 3637;

impl Bench<'_> {
    pub(super) fn install_sysexts(&mut self, edits: &Edits) -> Result<()> {
        for spec in &edits.sysexts {
            let installed = self.install_sysext(spec, edits);
            installed
                .at(|| format!("sysext {}", spec.name))
                .map_err(|error| at_origin(error, spec.origin.as_ref()))?;
        }
        Ok(())
    }

    fn install_sysext(&mut self, spec: &SysextSpec, edits: &Edits) -> Result<()> {
        let why = format!("sysext {}", spec.name);
        let is_lasting = edits.settings.survive_reset;
        let (partition, folder) = match &edits.install_to {
            Some(place) => (place.partition, place.path.clone()),
            None if is_lasting => (Designator::Oem, FsPath::new(LASTING_DIR)?.join(&spec.name)?),
            None => (
                Designator::Root,
                FsPath::new(EXTENSIONS_DIR)?.join(&spec.name)?,
            ),
        };
        if is_lasting && partition != Designator::Oem {
            return Err(Error::invalid(format!(
                "it shall outlive a reset, and be installed to {partition}, which a reset empties"
            ))
            .with_hint("install it to a folder of oem"));
        }
        let file_name = spec
            .file
            .file_name()
            .ok_or_else(|| Error::invalid("the sysext's path names no file"))?;
        let path = folder.join(file_name.as_encoded_bytes())?;
        let seen_as = match partition {
            Designator::Root => path.to_string(),
            Designator::Oem => format!("{}{path}", self.oem_mount_point()),
            _ => {
                return Err(
                    Error::invalid(format!("sysexts cannot be installed to {partition}"))
                        .with_hint("install them to a folder of root or oem"),
                );
            }
        };
        let link = FsPath::new(LINKS_DIR)?.join(format!("{}.raw", spec.name))?;
        refuse_second_name(spec, &seen_as, &link)?;
        let place = self.locate(partition, &path)?;
        if self.is_written(partition, &place)? {
            return Err(Error::invalid(format!(
                "{partition}:{path} is already taken by another sysext of this bake"
            ))
            .with_hint("give the files different names, or do not put them into one folder"));
        }
        let link_place = self.locate(Designator::Root, &link)?;
        if self.type_at(Designator::Root, &link_place)?.is_some() {
            let finding = Finding::new(code::SYSEXT_REPLACED).with("path", &link_place);
            self.findings.push(finding.at(Designator::Root.to_string()));
        }
        self.copy_file(&spec.file, "sysext", partition, &path, &why)?;
        // A file that lies where it is merged from needs no link, and must not become one to itself.
        if is_lasting {
            self.lasting.push(Lasting::link(&link, &seen_as));
        } else if (partition, &place) != (Designator::Root, &link_place) {
            self.make_symlink(Designator::Root, &link_place, &seen_as, &why)?;
        }
        let folder = FsPath::new(&seen_as)?.parent().unwrap_or_else(FsPath::root);
        let baked = Baked {
            folder: &folder,
            file: &String::from_utf8_lossy(file_name.as_encoded_bytes()),
            link: &link,
            architecture: self
                .run
                .release
                .as_ref()
                .and_then(|release| release.architecture()),
        };
        self.install_transfers(spec, baked, is_lasting, &why)
    }

    /// The files of systemd-sysupdate of a sysext, where there are some.
    fn install_transfers(
        &mut self,
        spec: &SysextSpec,
        baked: Baked<'_>,
        is_lasting: bool,
        why: &str,
    ) -> Result<()> {
        for (source, name) in transfers(spec) {
            let text = self.run.inputs.read(TRANSFER_ROLE, &source, TRANSFER_MAX)?;
            let mut findings = match Transfer::parse(&String::from_utf8_lossy(&text)) {
                Ok(transfer) => sysupdate::check(&transfer, baked),
                Err(error) => vec![Finding::new(code::SYSUPDATE_INVALID).with("why", error)],
            };
            let ending = name.rsplit('.').next().unwrap_or_default();
            let major = self.run.major();
            if let Some(release) = major.filter(|_| !sysupdate::is_read(ending, major)) {
                findings.push(Finding::new(code::SYSUPDATE_ENDING).with("release", release));
            }
            self.findings.extend(
                findings
                    .into_iter()
                    .map(|finding| finding.at(shown(&source))),
            );
            let target = FsPath::new("/etc")?
                .join(format!("sysupdate.{}.d", spec.name))?
                .join(name)?;
            if is_lasting {
                self.lasting.push(Lasting::file(&target, &text));
            } else {
                self.copy_file(&source, TRANSFER_ROLE, Designator::Root, &target, why)?;
            }
            self.updated.insert(spec.name.clone());
        }
        Ok(())
    }

    fn oem_mount_point(&self) -> &'static str {
        let is_old = self
            .run
            .major()
            .is_some_and(|major| major < OEM_MOUNT_CHANGED);
        if is_old { "/usr/share/oem" } else { "/oem" }
    }

    /// Copies one file, readable by everyone and executable by no one, as sysexts and their configs are.
    pub(super) fn copy_file(
        &mut self,
        source: &Path,
        role: &'static str,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        let path = self.locate(partition, path)?;
        let file = HostFile::find(source)?;
        self.run.inputs.open(role, source)?;
        let content = Content::Host(&file);
        self.write_file(NewFile {
            partition,
            path: &path,
            content,
            mode: 0o644,
            owner: None,
            why,
        })
    }

    /// Checks an extension that will be merged as `name` against the image's release and its kernel.
    pub(super) fn check_sysext(
        &mut self,
        name: &str,
        path: &Path,
        role: &'static str,
    ) -> Result<()> {
        if self.sysexts.contains_key(name) {
            return Ok(());
        }
        let file = shown(path);
        let device: Arc<dyn BlockDevice> = Arc::new(self.run.inputs.device(role, path)?);
        let fs = sysext::open_extension(Arc::clone(&device)).at(|| file.clone())?;
        let info = sysext::inspect(&*fs).at(|| file.clone())?;
        let signature = self
            .check_signature(Arc::clone(&device))
            .at(|| file.clone())?;
        let findings = match &self.run.release {
            None => vec![Finding::new(code::SYSEXT_UNCHECKED)],
            Some(release) => {
                let needs = sysext::Needs::of(device).at(|| file.clone())?;
                let mut findings = sysext::check(&info, name, &HostRelease::from(release));
                findings.extend(sysext::check_kernel(&needs, release));
                findings
            }
        };
        let all = findings.into_iter().chain(signature);
        self.findings
            .extend(all.map(|finding| finding.at(file.clone())));
        self.sysexts.insert(name.to_owned(), info);
        Ok(())
    }

    /// Compares sysexts with what the image has where they are merged, and with one another; those of `beside` are on
    /// the disk already, as others may be.
    pub(super) fn compare_sysexts(&mut self, edits: &Edits, beside: &[SysextSpec]) -> Result<()> {
        let sysexts = &edits.merged_sysexts();
        if sysexts.is_empty() {
            return Ok(());
        }
        let installed = self.installed(edits, sysexts, beside)?;
        // What cannot be read has other findings, or stops the work where it is needed.
        let of = |designator: Designator| self.disk.filesystem(designator.into()).ok();
        let host = HostTree::new(of(Designator::Usr), of(Designator::Root));
        for (at, spec) in sysexts.iter().enumerate() {
            let place = || format!("sysext {}", spec.name);
            let known = self
                .sysexts
                .get(&spec.name)
                .map(|info| info.real_dirs.clone())
                .unwrap_or_default();
            let fs = self.open_sysext(spec).at(place)?;
            let mut findings = sysext::compare(&*fs, &host, &known).at(place)?;
            for other in beside.iter().chain(&sysexts[..at]) {
                self.run.context.cancel.check()?;
                let other_fs = self.open_sysext(other).at(place)?;
                let paths = sysext::shared_paths(&*fs, &*other_fs).at(place)?;
                if !paths.is_empty() {
                    let finding =
                        Finding::new(code::SYSEXT_SHARED_PATHS).with("other", &other.name);
                    findings.push(finding.with("paths", paths));
                }
            }
            for (other, other_fs) in &installed {
                self.run.context.cancel.check()?;
                let paths = sysext::shared_paths(&*fs, &**other_fs).at(place)?;
                if !paths.is_empty() {
                    findings.push(
                        Finding::new(code::SYSEXT_SHARED_PATHS)
                            .with("other", other)
                            .with("paths", paths),
                    );
                }
            }
            let file = shown(&spec.file);
            self.findings
                .extend(findings.into_iter().map(|finding| finding.at(file.clone())));
        }
        Ok(())
    }

    /// The sysexts that the image has already and goes on to merge. One that cannot be read is passed over: it is not what
    /// is baked.
    fn installed(
        &self,
        edits: &Edits,
        sysexts: &[SysextSpec],
        beside: &[SysextSpec],
    ) -> Result<Vec<(String, Box<dyn FileSystem>)>> {
        let mut installed = Vec::new();
        for (name, (partition, path)) in sysext::installed(self.disk)? {
            let is_new = sysexts.iter().chain(beside).any(|spec| spec.name == name);
            if is_new || is_switched_off(edits, &name)? {
                continue;
            }
            let open = || {
                let inner = InnerFile::open(self.disk.filesystem(partition.into())?, path)?;
                sysext::open_extension(Arc::new(inner))
            };
            installed.extend(open().ok().map(|fs| (name, fs)));
        }
        Ok(installed)
    }

    fn open_sysext(&self, spec: &SysextSpec) -> Result<Box<dyn FileSystem>> {
        let device = Arc::new(self.run.inputs.device("sysext", &spec.file)?);
        sysext::open_extension(device).at(|| shown(&spec.file))
    }
}

/// The files of systemd-sysupdate of a sysext, with the names that they get: those beside it, and those that are given.
pub(super) fn transfers(spec: &SysextSpec) -> Vec<(PathBuf, String)> {
    let beside = sysupdate::ENDINGS.iter().map(|ending| {
        let name = format!("{}.{ending}", spec.name);
        (spec.file.with_file_name(&name), name)
    });
    let given = spec.transfers.iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some((path.clone(), name))
    });
    beside
        .filter(|(path, _)| path.is_file())
        .chain(given)
        .collect()
}

/// Whether a sysext of the image is removed, or its place taken by a link or file of the request.
fn is_switched_off(edits: &Edits, name: &str) -> Result<bool> {
    let link = FsPath::new(LINKS_DIR)?.join(format!("{name}.raw"))?;
    let is_it = |partition, path: &FsPath| partition == Designator::Root && *path == link;
    Ok(edits
        .links
        .iter()
        .any(|other| is_it(Designator::Root, &other.path))
        || edits
            .files
            .iter()
            .any(|file| is_it(file.partition, &file.path))
        || edits
            .removals
            .iter()
            .any(|place| is_it(place.partition, &place.path)))
}

/// In a folder where systemd looks for sysexts, a file has the name that it is merged by; another one would merge it twice.
fn refuse_second_name(spec: &SysextSpec, seen_as: &str, link: &FsPath) -> Result<()> {
    let path = FsPath::new(seen_as)?;
    let folder = path
        .parent()
        .map(|folder| folder.to_string())
        .unwrap_or_default();
    let is_seen = path.name().is_some_and(|name| name.ends_with(b".raw"));
    if !is_seen || !SEARCHED.contains(&folder.as_str()) || path.name() == link.name() {
        return Ok(());
    }
    let name = String::from_utf8_lossy(path.name().unwrap_or_default()).into_owned();
    Err(Error::invalid(format!(
        "in {folder}, {name} would be merged under that name too, besides {}",
        spec.name
    ))
    .with_hint(format!(
        "name the file {}.raw, or install it to another folder",
        spec.name
    )))
}
