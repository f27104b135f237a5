//! Outputs that are bundles: a disk and its config files in one archive.

use std::path::Path;

use super::load::packing_steps;
use super::run::Writer;
use super::{Output, stage};
use crate::block::FileDevice;
use crate::error::{Error, Result};
use crate::flatcar::vendor::Settings;
use crate::machine::{
    BundleFormat, CatalogBox, ConfFile, ConfFormat, Machine, Member, Place, WriteOptions,
    write_bundle,
};

impl Writer<'_> {
    /// A disk whose file is part of a bundle.
    pub(super) fn bundled(
        &mut self,
        settings: &Settings,
        bundle: BundleFormat,
        mut machine: Machine,
        output: &Output,
        folder: &Path,
    ) -> Result<()> {
        // In the bundle the disk is as it is, whatever the loose file is compressed with.
        let plain = Output {
            path: folder.join(&machine.disk_name),
            compress: None,
            ..output.clone()
        };
        let staged = stage(self.desk, self.disk, &plain)?;
        machine.disk_file_bytes = Some(staged.len()?);
        let confs = settings.conf_texts(&machine)?;
        let conf_format = settings.conf_format;
        let disk_folder = conf_format.map_or("", ConfFormat::disk_folder);
        let mut disks = Vec::new();
        for (path, file) in staged.files() {
            let below = path.strip_prefix(folder).unwrap_or(path).display();
            let file = file
                .try_clone()
                .map_err(|error| Error::io("opening the disk once more", error))?;
            disks.push((
                format!("{disk_folder}{below}"),
                self.desk.watch(FileDevice::from_file(file, path)?),
            ));
        }
        let inside = confs.iter().filter(|conf| conf.place != Place::Beside);
        let mut members: Vec<Member<'_>> = inside.map(Member::from).collect();
        members.extend(
            disks
                .iter()
                .map(|(path, device)| Member::device(path.clone(), device)),
        );
        let manifest = self.bundle(settings, bundle, &members, folder)?;
        drop(members);
        let mut beside: Vec<ConfFile> = confs
            .into_iter()
            .filter(|conf| conf.place != Place::Inside)
            .collect();
        if settings.loose_files {
            beside.extend(manifest);
            match output.compress {
                None => self.commit_disk(staged, output)?,
                Some(_) => self.write_disk(output).map(drop)?,
            }
        }
        beside.iter().try_for_each(|conf| self.put(folder, conf))?;
        match (bundle, conf_format) {
            (BundleFormat::Box, Some(format)) => self.offer(format, settings, machine),
            _ => Ok(()),
        }
    }

    pub(super) fn bundle(
        &mut self,
        settings: &Settings,
        format: BundleFormat,
        members: &[Member<'_>],
        folder: &Path,
    ) -> Result<Option<ConfFile>> {
        let name = settings
            .bundle_file_name()
            .ok_or_else(|| Error::internal("a bundle without a name"))?;
        let options = WriteOptions {
            time: self.prepared.timestamp.secs,
            ..WriteOptions::default()
        };
        let mut paths: Vec<String> = members.iter().map(|member| member.path.clone()).collect();
        let mut manifest = None;
        let desk = self.desk;
        let part = self.image.disk_bytes;
        self.write_file(&folder.join(name), Some(part), |out| {
            let steps = desk.steps(&vec![part; packing_steps(format)]);
            manifest = write_bundle(format, members, out, options, &steps)?;
            Ok(())
        })?;
        paths.extend(manifest.iter().map(|manifest| manifest.name.clone()));
        if let Some(written) = self.files.last_mut() {
            written.members = paths;
        }
        Ok(manifest)
    }

    /// Notes the box that was written last for the catalog by which Vagrant finds it.
    fn offer(&mut self, format: ConfFormat, settings: &Settings, machine: Machine) -> Result<()> {
        let url = settings.bundle_file_name().unwrap_or_default();
        let made = self
            .files
            .iter()
            .find(|written| written.file.path.ends_with(&url));
        let sha256 = made.and_then(|written| written.file.sha256.clone());
        let sha256 = sha256.ok_or_else(|| Error::internal("the box has no digest"))?;
        let arch = machine.arch;
        *self.offered = Some((
            machine,
            CatalogBox {
                format,
                arch,
                url,
                sha256,
            },
        ));
        Ok(())
    }
}
