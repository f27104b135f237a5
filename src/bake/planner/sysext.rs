//! Sysexts: checked against the image's own release, then placed and linked.

use std::path::Path;
use std::sync::Arc;

use super::super::host;
use super::super::options::{BakeOptions, LinkSpec, Place, SysextSpec};
use super::Planner;
use crate::block::FileDevice;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::Designator;
use crate::flatcar::sysext::{self, HostRelease, Severity, SysextInfo};
use crate::fs::FsPath;

/// Where sysexts go unless told otherwise, each into a folder of its name.
const EXTENSIONS_DIR: &str = "/opt/extensions";
/// First release that mounts the OEM partition at /oem; older ones do at /usr/share/oem.
const OEM_MOUNT_CHANGED: u64 = 3637;

impl Planner<'_> {
    pub(super) fn sysexts(&mut self, options: &BakeOptions) -> Result<()> {
        for (at, spec) in options.sysexts.iter().enumerate() {
            if options.sysexts[..at].iter().any(|earlier| earlier.name == spec.name) {
                return Err(Error::invalid(format!("the sysext name '{}' is given twice", spec.name))
                    .with_hint("systemd-sysext merges one image per name"));
            }
            self.sysext(spec, options.install_to.as_ref()).at(|| format!("sysext {}", spec.name))?;
        }
        Ok(())
    }

    fn sysext(&mut self, spec: &SysextSpec, install_to: Option<&Place>) -> Result<()> {
        self.check_sysext(&spec.name, &spec.file)?;
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
                    .with_hint("use --install-to root:/DIR/ or oem:/DIR/"));
            }
        };
        let link_path = FsPath::new("/etc/extensions")?.join(format!("{}.raw", spec.name))?;
        if self.tree(Designator::Root)?.type_at(&link_path)?.is_some() {
            self.warnings.push(format!("{link_path} is already in the image and is replaced"));
        }
        if self.tree(partition)?.planned_as(&path).is_some() {
            return Err(Error::invalid(format!("{partition}:{path} is already taken by another sysext of this bake"))
                .with_hint("give the files different names, or leave out --install-to"));
        }
        self.copy(&spec.file, partition, path, &why)?;
        self.link(Designator::Root, &LinkSpec { target: seen_as, path: link_path, origin: None }, why.clone())?;
        let conf_name = format!("{}.conf", spec.name);
        let conf = spec.file.with_file_name(&conf_name);
        if conf.is_file() {
            let folder = FsPath::new("/etc")?.join(format!("sysupdate.{}.d", spec.name))?;
            self.copy(&conf, Designator::Root, folder.join(conf_name)?, &why)?;
        }
        Ok(())
    }

    fn oem_mount_point(&self) -> &'static str {
        if self.major().is_some_and(|major| major < OEM_MOUNT_CHANGED) { "/usr/share/oem" } else { "/oem" }
    }

    /// Checks an extension that will be merged as `name` against the image's release.
    pub(super) fn check_sysext(&mut self, name: &str, path: &Path) -> Result<SysextInfo> {
        let file = host::shown(path);
        let device = Arc::new(FileDevice::open(path)?);
        let fs = sysext::open_extension(device).at(|| file.to_string())?;
        let info = sysext::inspect(&*fs).at(|| file.to_string())?;
        let Some(release) = &self.release else {
            self.faults.push(format!("{file}: cannot be checked, as no os-release could be read from the image's USR"));
            return Ok(info);
        };
        for finding in sysext::check(&info, name, &HostRelease::from(release)) {
            let text = format!("{file}: {} ({})", finding.message, finding.hint);
            match finding.severity {
                Severity::Error => self.faults.push(text),
                Severity::Warning => self.warnings.push(text),
            }
        }
        Ok(info)
    }
}
