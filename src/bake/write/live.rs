//! Outputs that are no disks: files for network boot, and a CD image.

use std::path::Path;
use std::sync::Arc;

use super::run::Writer;
use crate::block::BlockDevice;
use crate::error::Result;
use crate::flatcar::Disk;
use crate::flatcar::live::iso::{IsoOptions, write_iso};
use crate::flatcar::live::{LiveOptions, pxe, write_initrd};
use crate::flatcar::vendor::{DiskFormat, Settings};

impl Writer<'_> {
    /// Writes what holds the system without a disk, and its config files.
    pub(super) fn live(&mut self, settings: &Settings, folder: &Path) -> Result<()> {
        let device: Arc<dyn BlockDevice> = Arc::new(self.desk.watch(Arc::clone(self.overlay)));
        let disk = Disk::open(settings.stem(), device)?;
        let live = LiveOptions {
            latest_time: Some(self.prepared.timestamp.secs),
            cache: Some(Arc::clone(self.live)),
            cancel: self.desk.cancel().clone(),
            ..LiveOptions::new(&self.context.temp_dir)
        };
        let stem = settings.stem();
        let path = folder.join(settings.disk_file_name());
        let desk = self.desk;
        let part = self.image.disk_bytes;
        if settings.disk_format == DiskFormat::Iso {
            let isolinux = self.prepared.isolinux.clone();
            let iso = IsoOptions {
                live,
                isolinux,
                ..IsoOptions::new(&self.context.temp_dir)
            };
            self.write_file(&path, Some(part), |out| {
                write_iso(&disk, out, &iso, &desk.steps(&[part; 3])).map(drop)
            })?;
        } else {
            self.write_file(&path, Some(part), |out| {
                write_initrd(&disk, out, &live, &desk.steps(&[part; 2])).map(drop)
            })?;
            let kernel = folder.join(format!("{stem}.vmlinuz"));
            self.write_file(&kernel, None, |out| pxe::write_kernel(&disk, out).map(drop))?;
            if pxe::has_grub(&disk)? {
                let grub = folder.join(format!("{stem}_grub.efi"));
                self.write_file(&grub, None, |out| pxe::write_grub(&disk, out).map(drop))?;
            }
        }
        let confs = settings.conf_texts(&self.machine(settings)?)?;
        confs.iter().try_for_each(|conf| self.put(folder, conf))
    }
}
