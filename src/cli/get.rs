//! `flatbake get`

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::bytes::ByteSize;
use crate::fs::{self, ByPath, ExtractOptions, FileSystem, FileType};
use crate::{Error, Result};
use clap::{Args, ValueHint};

use super::cat::print_file;
use super::image::ImageArgs;
use super::output::{Destination, refuse_existing};
use super::paths::PartPath;
use super::progress::Reporter;
use super::words;

/// Copy a file or a folder out of an image
///
/// Nothing is written outside HOSTPATH. Symlinks are copied as symlinks; device nodes are skipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake get flatcar_sample.bin.bz2 usr:/lib/os-release os-release
  flatbake get flatcar_sample.bin.bz2 USR-A:/lib/os-release -
  flatbake get flatcar_sample.bin.bz2 boot:/EFI efi-folder")]
pub struct Get {
    #[command(flatten)]
    image: ImageArgs,
    /// What to copy: PART is boot, oem, root, usr, the number or label of a partition, or whole for an image
    /// without a partition table
    #[arg(value_name = "PART:/PATH", value_parser = words::partitions::<PartPath>(), hide_possible_values = true)]
    place: PartPath,
    /// Where to: a new name, or an existing folder to put it into; - is standard output, for a file
    #[arg(value_name = "HOSTPATH", value_hint = ValueHint::AnyPath)]
    to: Destination,
    /// Replace an existing file
    #[arg(long, alias = "force")]
    overwrite: bool,
}

impl Get {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        match &self.to {
            Destination::Stdout => self.print(reporter),
            Destination::Path(to) => self.copy(to, reporter),
        }
    }

    /// Copies a file to standard output, from where a symlink to it leads.
    fn print(&self, reporter: &Reporter) -> Result<()> {
        let fs = self.place.open(&self.image, reporter)?;
        let print = || {
            let path = fs::resolve(&*fs, &self.place.path)?;
            if fs.metadata_at(&path)?.file_type == FileType::Directory {
                return Err(Error::invalid(format!(
                    "{path} is a folder: only a file can go to standard output"
                ))
                .with_hint("name a new folder of the host to copy it to"));
            }
            print_file(&*fs, &path)
        };
        self.place.of(&self.image, print())
    }

    fn copy(&self, to: &Path, reporter: &Reporter) -> Result<()> {
        if !to.is_dir() {
            refuse_existing(to, self.overwrite)?;
        }
        let fs = self.place.open(&self.image, reporter)?;
        let target = self.place.of(&self.image, self.target(&*fs, to))?;
        reporter.inputs().refuse(&target)?;
        let options = ExtractOptions {
            overwrite: self.overwrite,
            ..ExtractOptions::default()
        };
        let extracted = fs::extract(&*fs, &self.place.path, to, &options);
        let summary = self.place.of(&self.image, extracted)?;
        for (path, _) in &summary.skipped {
            reporter.warn(&format!(
                "skipped {path}: device nodes, pipes and sockets are not copied"
            ));
        }
        reporter.info(&format!(
            "copied {} files ({}), {} folders, {} symlinks to {}",
            summary.files,
            ByteSize(summary.bytes),
            summary.directories,
            summary.symlinks,
            to.display()
        ));
        Ok(())
    }

    /// What is made on the host: `to`, or a file in it. An empty folder may be there for a folder.
    fn target(&self, fs: &dyn FileSystem, to: &Path) -> Result<PathBuf> {
        let is_folder = fs.metadata_at(&self.place.path)?.file_type == FileType::Directory;
        if is_folder || !to.is_dir() {
            return Ok(to.to_owned());
        }
        let name = self.place.path.name().unwrap_or_default();
        let target = to.join(OsStr::from_bytes(name));
        refuse_existing(&target, self.overwrite)?;
        Ok(target)
    }
}
