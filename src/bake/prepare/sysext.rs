//! Sysexts: checked against the image's own release, then placed and linked.

use std::path::Path;
use std::sync::Arc;

use super::super::edits::{Edits, Place, SysextSpec};
use super::super::host;
use super::super::request::at_origin;
use super::bench::{Bench, Content, NewFile};
use crate::block::{BlockDevice, shown};
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::Designator;
use crate::flatcar::sysext::{self, HostRelease, HostTree};
use crate::fs::{FileSystem, FsPath};

/// Where sysexts go unless told otherwise, each into a folder of its name.
const EXTENSIONS_DIR: &str = "/opt/extensions";
/// First release that mounts the OEM partition at /oem; older ones do at /usr/share/oem.
const OEM_MOUNT_CHANGED: u64 = 3637;

impl Bench<'_> {
    pub(super) fn install_sysexts(&mut self, edits: &Edits) -> Result<()> {
        for spec in &edits.sysexts {
            let installed = self.install_sysext(spec, edits.install_to.as_ref());
            installed.at(|| format!("sysext {}", spec.name)).map_err(|error| at_origin(error, spec.origin.as_ref()))?;
        }
        Ok(())
    }

    fn install_sysext(&mut self, spec: &SysextSpec, install_to: Option<&Place>) -> Result<()> {
        let why = format!("sysext {}", spec.name);
        let (partition, folder) = match install_to {
            Some(place) => (place.partition, place.path.clone()),
            None => (Designator::Root, FsPath::new(EXTENSIONS_DIR)?.join(&spec.name)?),
        };
        let file_name = spec.file.file_name().ok_or_else(|| Error::invalid("the sysext's path names no file"))?;
        let path = folder.join(file_name.as_encoded_bytes())?;
        let seen_as = match partition {
            Designator::Root => path.to_string(),
            Designator::Oem => format!("{}{path}", self.oem_mount_point()),
            _ => {
                return Err(Error::invalid(format!("sysexts cannot be installed to {partition}"))
                    .with_hint("install them to a folder of root or oem"));
            }
        };
        let place = self.locate(partition, &path)?;
        if self.is_written(partition, &place)? {
            return Err(Error::invalid(format!("{partition}:{path} is already taken by another sysext of this bake"))
                .with_hint("give the files different names, or do not put them into one folder"));
        }
        self.copy_file(&spec.file, "sysext", partition, &path, &why)?;
        let link = FsPath::new("/etc/extensions")?.join(format!("{}.raw", spec.name))?;
        let link = self.locate(Designator::Root, &link)?;
        if self.type_at(Designator::Root, &link)?.is_some() {
            let finding = Finding::new(code::SYSEXT_REPLACED).with("path", &link);
            self.findings.push(finding.at(Designator::Root.to_string()));
        }
        self.make_symlink(Designator::Root, &link, &seen_as, &why)?;
        self.install_conf(spec, &why)
    }

    /// The sysupdate config beside a sysext, if there is one.
    fn install_conf(&mut self, spec: &SysextSpec, why: &str) -> Result<()> {
        let name = format!("{}.conf", spec.name);
        let conf = spec.file.with_file_name(&name);
        if !conf.is_file() {
            return Ok(());
        }
        let folder = FsPath::new("/etc")?.join(format!("sysupdate.{}.d", spec.name))?;
        self.copy_file(&conf, "sysupdate config", Designator::Root, &folder.join(name)?, why)
    }

    fn oem_mount_point(&self) -> &'static str {
        let is_old = self.run.major().is_some_and(|major| major < OEM_MOUNT_CHANGED);
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
        let entry = host::file(source)?;
        self.run.inputs.open(role, source)?;
        let content = Content::Host(source, entry.bytes);
        self.write_file(NewFile { partition, path: &path, content, mode: 0o644, owner: (0, 0), why })
    }

    /// Checks an extension that will be merged as `name` against the image's release and its kernel.
    pub(super) fn check_sysext(&mut self, name: &str, path: &Path, role: &'static str) -> Result<()> {
        if self.sysexts.contains_key(name) {
            return Ok(());
        }
        let file = shown(path);
        let device: Arc<dyn BlockDevice> = Arc::new(self.run.inputs.device(role, path)?);
        let fs = sysext::open_extension(Arc::clone(&device)).at(|| file.clone())?;
        let info = sysext::inspect(&*fs).at(|| file.clone())?;
        let findings = match &self.run.release {
            None => vec![Finding::new(code::SYSEXT_UNCHECKED)],
            Some(release) => {
                let needs = sysext::Needs::of(device).at(|| file.clone())?;
                let mut findings = sysext::check(&info, name, &HostRelease::from(release));
                findings.extend(sysext::check_kernel(&needs, release));
                findings
            }
        };
        self.findings.extend(findings.into_iter().map(|finding| finding.at(file.clone())));
        self.sysexts.insert(name.to_owned(), info);
        Ok(())
    }

    /// Compares sysexts with what the image has where they are merged, and with one another; those of `beside` are on
    /// the disk already.
    pub(super) fn compare_sysexts(&mut self, sysexts: &[SysextSpec], beside: &[SysextSpec]) -> Result<()> {
        if sysexts.is_empty() {
            return Ok(());
        }
        // What cannot be read has other findings, or stops the work where it is needed.
        let of = |designator: Designator| self.disk.filesystem(designator.into()).ok();
        let host = HostTree::new(of(Designator::Usr), of(Designator::Root));
        for (at, spec) in sysexts.iter().enumerate() {
            let place = || format!("sysext {}", spec.name);
            let known = self.sysexts.get(&spec.name).map(|info| info.real_dirs.clone()).unwrap_or_default();
            let fs = self.open_sysext(spec).at(place)?;
            let mut findings = sysext::compare(&*fs, &host, &known).at(place)?;
            for other in beside.iter().chain(&sysexts[..at]) {
                self.run.context.cancel.check()?;
                let other_fs = self.open_sysext(other).at(place)?;
                let paths = sysext::shared_paths(&*fs, &*other_fs).at(place)?;
                if !paths.is_empty() {
                    let finding = Finding::new(code::SYSEXT_SHARED_PATHS).with("other", &other.name);
                    findings.push(finding.with("paths", paths));
                }
            }
            let file = shown(&spec.file);
            self.findings.extend(findings.into_iter().map(|finding| finding.at(file.clone())));
        }
        Ok(())
    }

    fn open_sysext(&self, spec: &SysextSpec) -> Result<Box<dyn FileSystem>> {
        let device = Arc::new(self.run.inputs.device("sysext", &spec.file)?);
        sysext::open_extension(device).at(|| shown(&spec.file))
    }
}
