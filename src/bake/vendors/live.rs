//! Outputs that are no disks: files for network boot, and a CD image.

use std::fs::File;
use std::path::Path;

use super::super::emit::ArtifactFile;
use super::write::{Writer, conf_files};
use crate::error::Result;
use crate::flatcar::Disk;
use crate::flatcar::live::iso::{IsoOptions, write_iso};
use crate::flatcar::live::{LiveOptions, pxe, write_initrd};
use crate::flatcar::vendor::{DiskFormat, Settings};

impl Writer<'_> {
    /// Writes what holds the system without a disk, and its config files.
    pub(super) fn live(&self, settings: &Settings, folder: &Path, files: &mut Vec<ArtifactFile>) -> Result<()> {
        let disk = Disk::open(settings.stem(), self.image.disk.clone())?;
        let live = LiveOptions { latest_time: Some(self.time), ..LiveOptions::new(folder) };
        let (stem, name) = (settings.stem(), settings.disk_file_name());
        if settings.disk_format == DiskFormat::Iso {
            let iso = IsoOptions { live, isolinux: self.options.isolinux.clone(), ..IsoOptions::new(folder) };
            let write = |out: &File| write_iso(&disk, out, &iso, self.progress).map(drop);
            self.file(&folder.join(&name), files, write)?;
        } else {
            let write = |out: &File| write_initrd(&disk, out, &live, self.progress).map(drop);
            self.file(&folder.join(&name), files, write)?;
            let write = |out: &File| pxe::write_kernel(&disk, out).map(drop);
            self.file(&folder.join(format!("{stem}.vmlinuz")), files, write)?;
            if pxe::has_grub(&disk)? {
                let write = |out: &File| pxe::write_grub(&disk, out).map(drop);
                self.file(&folder.join(format!("{stem}_grub.efi")), files, write)?;
            }
        }
        let confs = conf_files(settings, &self.machine(settings)?)?;
        confs.iter().try_for_each(|conf| self.put(folder, conf, files))
    }
}
