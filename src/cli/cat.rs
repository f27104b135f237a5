//! `flatbake cat`

use crate::fs::{self, ByPath, FileSystem, FsPath};
use crate::{Result, ResultExt};
use clap::Args;

use super::image::ImageArgs;
use super::paths::PartPath;
use super::progress::Reporter;
use super::words;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Print a file of an image
///
/// Symlinks are followed inside the image.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake cat flatcar_sample.bin.bz2 usr:/lib/os-release
  flatbake cat flatcar_sample.bin.bz2 boot:/flatcar/first_boot")]
pub struct Cat {
    #[command(flatten)]
    image: ImageArgs,
    /// The file: PART is boot, oem, root, usr, the number or label of a partition, or whole for an image
    /// without a partition table
    #[arg(value_name = "PART:/PATH", value_parser = words::partitions::<PartPath>(), hide_possible_values = true)]
    place: PartPath,
}

impl Cat {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let fs = self.place.open(&self.image, reporter)?;
        let print = || print_file(&*fs, &fs::resolve(&*fs, &self.place.path)?);
        self.place.of(&self.image, print())
    }
}

/// Prints the content of a file as it is.
pub fn print_file(fs: &dyn FileSystem, path: &FsPath) -> Result<()> {
    let file = fs.open_at(path)?;
    let mut buf = vec![0; CHUNK];
    let mut offset = 0;
    while offset < file.size() {
        let len = usize::try_from(file.size() - offset)
            .unwrap_or(CHUNK)
            .min(CHUNK);
        file.read_at(offset, &mut buf[..len])
            .at(|| path.to_string())?;
        super::print(&buf[..len])?;
        offset += crate::bytes::to_u64(len);
    }
    Ok(())
}
