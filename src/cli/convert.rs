//! `flatbake convert`

use std::path::PathBuf;

use clap::Args;
use flatbake::{Result, bake};

use super::image::ReadArgs;
use super::output::{OutputArgs, describe, refuse_output_over_input, timestamp};
use super::progress::Reporter;

/// Write a disk image in another format, compressed or not
///
/// Any disk will do, not only Flatcar's. The input is never changed; the output appears under its name only when it is
/// whole. qcow2 is written compressed unless --uncompressed is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake convert flatcar_sample.bin.bz2 sample.qcow2
  flatbake convert flatcar_sample.bin.bz2 sample.vmdk --format vmdk_stream
  flatbake convert flatcar_sample.bin.bz2 sample.vhd.zst --format vhd_fixed
  flatbake convert flatcar_sample.bin.bz2 sample.img --format qcow2 --compression-type zstd --level 9
  flatbake convert flatcar_sample.bin.bz2 sample.bin.gz --compress gz:9")]
pub struct Convert {
    /// The image to read
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The image to write
    #[arg(value_name = "OUT")]
    path: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// Time for formats that tell one (vhd): seconds since 1970, or 2026-01-31T12:00:00Z
    /// [default: SOURCE_DATE_EPOCH, else the earliest one]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

impl Convert {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let time = timestamp(self.timestamp.as_deref())?.unwrap_or(0);
        let output = self.output.output(&self.path, time)?;
        refuse_output_over_input(&self.input, &output)?;
        let image = self.read.open(&self.input, reporter)?;
        let artifact = bake::emit(&image.device, &output, reporter)?;
        reporter.info(&describe(&artifact));
        if self.json {
            super::print_json(&artifact)?;
        }
        Ok(())
    }
}
