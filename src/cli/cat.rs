//! `flatbake cat`

use clap::Args;
use flatbake::{Result, ResultExt, fs};

use super::image::ImageArgs;
use super::paths::PartPath;
use super::progress::Reporter;

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
    /// The file: PART is boot, oem, root, usr, a partition number, or whole
    #[arg(value_name = "PART:/PATH", value_parser = super::argument::<PartPath>)]
    place: PartPath,
}

impl Cat {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let fs = self.place.open(&self.image, reporter)?;
        let place = || self.place.of(&self.image);
        let path = fs::resolve(&*fs, &self.place.path).at(place)?;
        let file = fs.open(&path).at(|| path.to_string()).at(place)?;
        let mut buf = vec![0; CHUNK];
        let mut offset = 0;
        while offset < file.size() {
            let len = usize::try_from(file.size() - offset).unwrap_or(CHUNK).min(CHUNK);
            file.read_at(offset, &mut buf[..len]).at(|| path.to_string()).at(place)?;
            super::print(&buf[..len])?;
            offset += flatbake::bytes::to_u64(len);
        }
        Ok(())
    }
}
