//! Outputs that are bundles: a disk and its config files in one archive.

use std::path::Path;

use super::super::emit::{ArtifactFile, Output, emit, seal, stage};
use super::write::{Writer, conf_files};
use crate::block::{FileDevice, OutputFile};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::vendor::Settings;
use crate::machine::{
    BundleFormat, CatalogBox, ConfFile, ConfFormat, Machine, Member, Place, WriteOptions, vagrant_catalog, write_bundle,
};

impl Writer<'_> {
    /// A disk whose file is part of a bundle.
    pub(super) fn bundled(
        &self,
        settings: &Settings,
        bundle: BundleFormat,
        mut machine: Machine,
        output: &Output,
        folder: &Path,
        files: &mut Vec<ArtifactFile>,
    ) -> Result<()> {
        // In the bundle the disk is as it is, whatever the loose file is compressed with.
        let plain = Output { path: folder.join(&machine.disk_name), compress: None, ..output.clone() };
        let staged = stage(self.disk, &plain, self.progress)?;
        machine.disk_file_bytes = Some(staged.len()?);
        let confs = conf_files(settings, &machine)?;
        let conf_format = settings.conf_format;
        let disk_folder = conf_format.map_or("", ConfFormat::disk_folder);
        let mut disks = Vec::new();
        for (path, file) in staged.files() {
            let below = path.strip_prefix(folder).unwrap_or(path).display();
            let file = file.try_clone().map_err(|error| Error::io("opening the disk once more", error))?;
            disks.push((format!("{disk_folder}{below}"), FileDevice::from_file(file, path)?));
        }
        let inside = confs.iter().filter(|conf| conf.place != Place::Beside);
        let mut members: Vec<Member<'_>> = inside.map(Member::from).collect();
        members.extend(disks.iter().map(|(path, device)| Member::device(path.clone(), device)));
        let manifest = self.bundle(settings, bundle, &members, folder, files)?;
        let mut beside: Vec<ConfFile> = confs.into_iter().filter(|conf| conf.place != Place::Inside).collect();
        if settings.loose_files {
            beside.extend(manifest);
            match output.compress {
                None => files.extend(staged.commit(output.digest, self.progress)?),
                Some(_) => files.extend(emit(self.disk, output, self.progress)?.files),
            }
        }
        beside.iter().try_for_each(|conf| self.put(folder, conf, files))?;
        match (bundle, conf_format) {
            (BundleFormat::Box, Some(format)) => self.catalog(format, settings, &machine, folder, files),
            _ => Ok(()),
        }
    }

    pub(super) fn bundle(
        &self,
        settings: &Settings,
        format: BundleFormat,
        members: &[Member<'_>],
        folder: &Path,
        files: &mut Vec<ArtifactFile>,
    ) -> Result<Option<ConfFile>> {
        let name = settings.bundle_file_name().ok_or_else(|| Error::internal("a bundle without a name"))?;
        let path = folder.join(name);
        let file = OutputFile::create(&path)?;
        let options = WriteOptions { time: self.time, ..WriteOptions::default() };
        let manifest = write_bundle(format, members, file.file(), options, self.progress)
            .at(|| format!("writing {}", path.display()))?;
        files.push(seal(file.file(), &path, true, None, self.progress)?);
        file.commit()?;
        Ok(manifest)
    }

    /// The catalog by which Vagrant finds a box, with the box that was written last.
    fn catalog(
        &self,
        format: ConfFormat,
        settings: &Settings,
        machine: &Machine,
        folder: &Path,
        files: &mut Vec<ArtifactFile>,
    ) -> Result<()> {
        let name = settings.bundle_file_name().unwrap_or_default();
        let made = files.iter().find(|file| file.path.ends_with(&name)).and_then(|file| file.sha256.clone());
        let sha256 = made.ok_or_else(|| Error::internal("the box has no digest"))?;
        let catalog = vagrant_catalog(machine, &[CatalogBox { format, arch: machine.arch, url: name, sha256 }])?;
        self.put(folder, &catalog, files)
    }
}
