//! `flatbake convert`

use std::path::PathBuf;

use clap::Args;
use flatbake::Result;
use flatbake::bake::{self, Artifact, Output};
use flatbake::block::BlockDevice;

use super::image::ReadArgs;
use super::output::{OutputArgs, describe, refuse_output_over_input, timestamp};
use super::progress::Reporter;

/// Write a disk image in another format, compressed or not
///
/// Any disk will do, not only Flatcar's. The input is never changed; an output appears under its name only when it is
/// whole. qcow2 is written compressed unless --uncompressed is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake convert flatcar_sample.bin.bz2 sample.qcow2
  flatbake convert flatcar_sample.bin.bz2 sample.vmdk --format vmdk_stream
  flatbake convert flatcar_sample.bin.bz2 sample.vhd.zst --format vhd_fixed
  flatbake convert flatcar_sample.bin.bz2 sample.img --format qcow2 --compression-type zstd --level 9
  flatbake convert flatcar_sample.bin.bz2 sample.bin.gz --compress gz:9
  flatbake convert flatcar_sample.bin.bz2 sample.img --format qcow2 --also sample.vhdx --also sample.bin.zst --sha256")]
pub struct Convert {
    /// The image to read
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The image to write
    #[arg(value_name = "OUT")]
    path: PathBuf,
    /// Write this one, too, at the same time: its format and compression are those its name asks for
    #[arg(long, value_name = "OUT")]
    also: Vec<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    /// Time for formats that tell one (vhd): seconds since 1970, or 2026-01-31T12:00:00Z
    /// [default: SOURCE_DATE_EPOCH, else the earliest one]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Print what was written as JSON: with --also as a list
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
}

impl Convert {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let time = timestamp(self.timestamp.as_deref())?.unwrap_or(0);
        let mut outputs = vec![self.output.output(&self.path, time)?];
        for path in &self.also {
            outputs.push(self.output.output_by_name(path, time)?);
        }
        outputs.iter().try_for_each(|output| refuse_output_over_input(&self.input, output))?;
        let image = self.read.open(&self.input, reporter)?;
        let artifacts = write(&image.device, outputs, reporter)?;
        match artifacts.as_slice() {
            _ if !self.json => Ok(()),
            [artifact] => super::print_json(artifact),
            artifacts => super::print_json(&artifacts),
        }
    }
}

/// Writes all outputs that can be written, and says which.
fn write(disk: &dyn BlockDevice, outputs: Vec<Output>, reporter: &Reporter) -> Result<Vec<Artifact>> {
    let results = match outputs.as_slice() {
        [output] => vec![bake::emit(disk, output, reporter)],
        _ => bake::emit_all(&outputs.into_iter().map(|output| (disk, output)).collect::<Vec<_>>(), reporter),
    };
    let (mut artifacts, mut failure) = (Vec::new(), None);
    for result in results {
        match (result, &failure) {
            (Ok(artifact), _) => {
                reporter.info(&describe(&artifact));
                artifacts.push(artifact);
            }
            (Err(error), None) => failure = Some(error),
            (Err(error), Some(_)) => reporter.error(&error),
        }
    }
    failure.map_or(Ok(artifacts), Err)
}
