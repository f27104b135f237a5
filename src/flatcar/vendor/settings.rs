//! What a vendor's images of one release are like.

use serde::Serialize;

use super::file::{Grub, Oem, Until, VendorFile, Without};
use super::words::{
    CiCompression, DiskFormat, DiskLayout, DiskSize, Extension, FileName, Id, MemberPath,
};
use crate::bytes::align_up;
use crate::error::{Error, Result};
use crate::flatcar::{Generation, Layout};
use crate::machine::{BundleFormat, ConfFile, ConfFormat, IPXE_FILE, Machine, conf_files, ipxe};

/// How the names of all of Flatcar's vendor files begin.
const PREFIX: &str = "flatcar_production_";
/// Memory in config files where a vendor file says nothing, in MiB: the default of Flatcar's own `image_to_vm`.
const MEMORY_MIB: u32 = 1024;

/// The settings of a vendor for one release, names of files included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The vendor's id.
    pub id: Id,
    /// The format of the disk.
    pub disk_format: DiskFormat,
    /// The layout of the disk; `None` where there is no disk (see [`DiskFormat::output`]).
    pub disk_layout: Option<DiskLayout>,
    /// The extension of the disk's file, without its dot.
    pub disk_ext: Extension,
    /// The exact size of the disk that the image shows, in bytes; that of the layout where `None`.
    #[serde(rename = "disk_size_bytes")]
    pub disk_size: Option<DiskSize>,
    /// The disk grows to a multiple of this, in bytes.
    #[serde(rename = "disk_size_step_bytes")]
    pub disk_size_step: DiskSize,
    /// The OEM sysext without its prefix `oem-`.
    pub oem_sysext: Option<Id>,
    /// Flatcar's package with OEM files that are in no sysext and that a bake does not have.
    pub oem_package: Option<Id>,
    /// What `oem-release` says; `None` where the OEM partition stays empty.
    pub oem: Option<Oem>,
    /// What OEM's `grub.cfg` says; `None` where the OEM partition stays empty.
    pub grub: Option<Grub>,
    /// The kind of config files.
    pub conf_format: Option<ConfFormat>,
    /// The config files beside the disk, with `{stem}` and `{disk}` as written.
    #[serde(skip)]
    conf_files: Vec<FileName>,
    /// Memory of the machine that config files describe, in MiB.
    pub memory_mib: u32,
    /// The kind of bundle.
    pub bundle_format: Option<BundleFormat>,
    #[serde(skip)]
    bundle: Option<FileName>,
    #[serde(skip)]
    bundle_files: Vec<MemberPath>,
    /// Whether disk and config files are published beside the bundle too.
    pub loose_files: bool,
    /// How Flatcar compresses the disk for download, the usual way first; empty where it does not say.
    pub ci_compression: Vec<CiCompression>,
}

impl Settings {
    /// Takes the settings out of a file: those of the newest release.
    pub(super) fn of_file(file: &VendorFile) -> Result<Self> {
        let missing = |key: &str| Error::invalid(format!("the key {key} is missing"));
        let disk_format = file.disk_format.ok_or_else(|| missing("disk_format"))?;
        let has_disk = disk_format.output().is_some();
        let settings = Self {
            id: file.id.clone(),
            disk_format,
            disk_layout: has_disk.then(|| file.disk_layout.unwrap_or(DiskLayout::Base)),
            disk_ext: file
                .disk_ext
                .clone()
                .unwrap_or_else(|| usual_extension(disk_format)),
            disk_size: file.disk_size,
            disk_size_step: file.disk_size_step.unwrap_or_default(),
            oem_sysext: file.oem_sysext.clone(),
            oem_package: file.oem_package.clone(),
            oem: file.oem.clone(),
            grub: file.grub.clone(),
            conf_format: file.conf_format,
            conf_files: file.conf_files.clone().unwrap_or_default(),
            memory_mib: file.memory_mib.unwrap_or(MEMORY_MIB),
            bundle_format: file.bundle_format,
            bundle: file.bundle.clone(),
            bundle_files: file.bundle_files.clone().unwrap_or_default(),
            loose_files: file.loose_files.unwrap_or(file.bundle_format.is_none()),
            ci_compression: file.ci_compression.clone().unwrap_or_default(),
        };
        if !has_disk
            && (file.disk_layout.is_some() || file.disk_size.is_some() || file.oem_sysext.is_some())
        {
            return Err(Error::invalid(format!(
                "{disk_format} is no disk, so it has no disk_layout, disk_size and oem_sysext"
            )));
        }
        settings.check()?;
        Ok(settings)
    }

    /// What must hold between settings.
    fn check(&self) -> Result<()> {
        if self.bundle_format.is_some() != self.bundle.is_some() {
            return Err(Error::invalid(
                "bundle_format and bundle go together: one of them is missing",
            ));
        }
        if self.oem.is_some() != self.grub.is_some() {
            return Err(Error::invalid(
                "oem and grub go together: one of them is missing",
            ));
        }
        if self.oem.is_none() && (self.oem_sysext.is_some() || self.oem_package.is_some()) {
            return Err(Error::invalid(
                "an OEM sysext or package needs oem and grub, too",
            ));
        }
        if let (Some(oem), Some(sysext)) = (&self.oem, &self.oem_sysext)
            && oem.id != *sysext
        {
            return Err(Error::invalid(format!(
                "oem_sysext is {sysext} and oem.id is {}: the boot would look for the sysext oem-{}",
                oem.id, oem.id
            )));
        }
        match self
            .grub
            .iter()
            .flat_map(|grub| &grub.when)
            .position(|when| when.is_always())
        {
            Some(at) => Err(Error::invalid(format!(
                "condition {} of grub.when has no condition",
                at + 1
            ))
            .with_hint(
                "give it grub_platform or grub_cpu, or write its settings under grub itself",
            )),
            None => Ok(()),
        }
    }

    /// Applies what was different in older releases.
    pub(super) fn change(&mut self, until: &Until) -> Result<()> {
        let Until {
            release: _,
            without,
            disk_format,
            disk_layout,
            disk_ext,
            ..
        } = until;
        if let Some(format) = *disk_format {
            self.disk_format = format;
        }
        let has_disk = self.disk_format.output().is_some();
        if has_disk && disk_layout.is_some() {
            self.disk_layout = *disk_layout;
        }
        if let Some(extension) = disk_ext {
            self.disk_ext = extension.clone();
        }
        replace(&mut self.oem_sysext, &until.oem_sysext);
        replace(&mut self.oem_package, &until.oem_package);
        replace(&mut self.oem, &until.oem);
        replace(&mut self.grub, &until.grub);
        if let Some(files) = &until.conf_files {
            self.conf_files.clone_from(files);
        }
        for without in without {
            match without {
                Without::DiskSize => self.disk_size = None,
                Without::DiskExt => self.disk_ext = usual_extension(self.disk_format),
                Without::OemSysext => self.oem_sysext = None,
            }
        }
        self.check()
            .map_err(|error| error.at(format!("until release {}", until.release)))
    }

    /// The size of the disk that a released image of this vendor shows, in bytes, in the given generation of layouts;
    /// `None` where there is no disk.
    pub fn released_size(&self, generation: Generation) -> Option<u64> {
        let name = self.disk_layout?.name();
        let layout = Layout::ALL
            .into_iter()
            .find(|layout| layout.name == name && layout.generation == generation);
        let size = self
            .disk_size
            .map(DiskSize::bytes)
            .or(layout.map(|layout| layout.disk_size))?;
        align_up(size, self.disk_size_step.bytes())
    }

    /// How the names of this vendor's files begin: `flatcar_production_azure`.
    pub fn stem(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// The file name of the disk: `flatcar_production_azure_image.vhd`.
    pub fn disk_file_name(&self) -> String {
        format!("{}_image.{}", self.stem(), self.disk_ext)
    }

    /// The file name of the bundle: `flatcar_production_vmware_ova.ova`.
    pub fn bundle_file_name(&self) -> Option<String> {
        self.bundle.as_ref().map(|name| self.expand(name.as_str()))
    }

    /// The names of the config files that are published beside the disk, or the bundle.
    pub fn conf_file_names(&self) -> Vec<String> {
        self.conf_files
            .iter()
            .map(|name| self.expand(name.as_str()))
            .collect()
    }

    /// The name of the catalog by which Vagrant finds the box; vendors of one family share it.
    pub fn catalog_file_name(&self) -> Option<String> {
        let is_box = self.bundle_format == Some(BundleFormat::Box);
        self.conf_file_names()
            .into_iter()
            .find(|name| is_box && name.ends_with(".json"))
    }

    /// The names of what is in the bundle, in its order.
    pub fn bundle_member_names(&self) -> Vec<String> {
        self.bundle_files
            .iter()
            .map(|path| self.expand(path.as_str()))
            .collect()
    }

    fn expand(&self, name: &str) -> String {
        name.replace("{stem}", &self.stem())
            .replace("{disk}", &self.disk_file_name())
    }

    /// The config files of `machine`, where there are any, README included.
    ///
    /// # Errors
    /// Those of [`conf_files`].
    pub fn conf_texts(&self, machine: &Machine) -> Result<Vec<ConfFile>> {
        let mut files = self
            .conf_format
            .map_or(Ok(Vec::new()), |format| conf_files(format, machine))?;
        if self
            .conf_files
            .iter()
            .any(|name| name.as_str() == IPXE_FILE)
        {
            files.push(ipxe(machine));
        }
        Ok(files)
    }

    /// What config files call the machine: the stem and the version, with dots and plus signs as dashes.
    pub fn vm_name(&self, version: &str) -> String {
        Machine::vm_name(&self.stem(), version)
    }
}

fn usual_extension(format: DiskFormat) -> Extension {
    let extension = Extension::try_from(format.extension().to_owned());
    extension.expect("the usual extensions are letters, digits and dots")
}

/// Takes over a setting where there is one.
fn replace<T: Clone>(setting: &mut Option<T>, other: &Option<T>) {
    if other.is_some() {
        setting.clone_from(other);
    }
}
