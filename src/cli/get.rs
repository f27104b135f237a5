//! `flatbake get`

use std::path::PathBuf;

use clap::Args;
use flatbake::bytes::ByteSize;
use flatbake::fs::{self, ExtractOptions};
use flatbake::{Progress, Result, ResultExt};

use super::image::ImageArgs;
use super::paths::PartPath;
use super::progress::Reporter;

/// Copy a file or a folder out of an image
///
/// Nothing is written outside HOSTPATH. Symlinks are copied as symlinks; device nodes are skipped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake get flatcar_sample.bin.bz2 usr:/lib/os-release os-release
  flatbake get flatcar_sample.bin.bz2 boot:/EFI efi-folder")]
pub struct Get {
    #[command(flatten)]
    image: ImageArgs,
    /// What to copy: PART is boot, oem, root, usr, a partition number, or whole
    #[arg(value_name = "PART:/PATH", value_parser = super::argument::<PartPath>)]
    place: PartPath,
    /// Where to: a new name, or an existing folder to put it into
    #[arg(value_name = "HOSTPATH")]
    to: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl Get {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let fs = self.place.open(&self.image, reporter)?;
        let options = ExtractOptions { overwrite: self.force, ..ExtractOptions::default() };
        let summary = fs::extract(&*fs, &self.place.path, &self.to, &options).at(|| self.place.of(&self.image))?;
        for (path, _) in &summary.skipped {
            reporter.warn(&format!("skipped {path}: device nodes, pipes and sockets are not copied"));
        }
        reporter.info(&format!(
            "copied {} files ({}), {} folders, {} symlinks to {}",
            summary.files,
            ByteSize(summary.bytes),
            summary.directories,
            summary.symlinks,
            self.to.display()
        ));
        Ok(())
    }
}
