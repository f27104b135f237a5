//! The files of one vendor: its disk, config files and firmware.

use std::io;
use std::path::Path;

use super::super::prepare::{FIRMWARE_ROLE, firmware, firmware_names};
use super::super::request::FirmwareFiles;
use super::Output;
use super::run::Writer;
use crate::block::shown;
use crate::error::{Result, ResultExt, from_io};
use crate::flatcar::vendor::Settings;
use crate::machine::{BundleFormat, Firmware, Member};

/// The name of the disk in Google's archives.
pub(super) const GCE_MEMBER: &str = "disk.raw";

impl Writer<'_> {
    pub(super) fn write_vendor(&mut self, settings: &Settings, folder: &Path) -> Result<()> {
        let Some(format) = settings.disk_format.output() else {
            return self.live(settings, folder);
        };
        let mut machine = self.machine(settings)?;
        let compress = self
            .prepared
            .request
            .vendors
            .compress
            .filter(|_| settings.loose_files);
        let name = match compress {
            Some(options) => format!("{}.{}", machine.disk_name, options.compression.extension()),
            None => machine.disk_name.clone(),
        };
        let identity = self.identity();
        let output = Output {
            format,
            compress,
            identity,
            digest: true,
            ..Output::at(folder.join(name))
        };
        match settings.bundle_format {
            None => {
                let artifact = self.write_disk(&output)?;
                machine.disk_file_bytes = Some(artifact.file_bytes).filter(|_| compress.is_none());
                machine.firmware = self.copy_firmware(settings, folder)?;
                let confs = settings.conf_texts(&machine)?;
                confs.iter().try_for_each(|conf| self.put(folder, conf))
            }
            Some(BundleFormat::Gce) => {
                let disk = Member::device(GCE_MEMBER, self.disk);
                self.bundle(settings, BundleFormat::Gce, &[disk], folder)
                    .map(drop)
            }
            Some(bundle) => self.bundled(settings, bundle, machine, &output, folder),
        }
    }

    /// Copies the firmware to where the start script looks for it, and returns its names there.
    fn copy_firmware(&mut self, settings: &Settings, folder: &Path) -> Result<Option<Firmware>> {
        let Some(files) = firmware(&self.prepared.request, settings).cloned() else {
            return Ok(None);
        };
        let (code, vars) = firmware_names(&files, settings);
        let FirmwareFiles {
            code: code_file,
            vars: vars_file,
        } = &files;
        for (source, name) in [(code_file, &code), (vars_file, &vars)] {
            self.copy_input(source, &folder.join(name))?;
        }
        Ok(Some(Firmware { code, vars }))
    }

    fn copy_input(&mut self, source: &Path, target: &Path) -> Result<()> {
        let mut reader = self.prepared.inputs.reader(FIRMWARE_ROLE, source)?;
        self.write_file(target, None, |mut out| {
            let copied = io::copy(&mut reader, &mut out);
            copied
                .map_err(|error| from_io(format!("copying {}", shown(source)), error))
                .map(drop)
        })?;
        reader.finish().at(|| shown(source))
    }
}
