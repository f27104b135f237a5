use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bake::{self, Artifact, Output, Oversight};
use crate::block::BlockDevice;
use crate::bytes::ByteSize;
use crate::finding::code;
use crate::partition::PartitionTable;
use crate::{Error, ErrorKind, Finding, Progress, Result, ResultExt};
use clap::{Args, ValueEnum, ValueHint};

use super::image::{ReadArgs, temp_dir};
use super::output::{Destination, OutputArgs, describe, refuse_existing, timestamp};
use super::progress::Reporter;
use super::stdio;

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
  flatbake convert flatcar_sample.bin.bz2 small.img --format qcow2 --compression-type zstd --level 9
  flatbake convert flatcar_sample.bin.bz2 sample.bin.gz --compress gz:9
  flatbake convert flatcar_sample.bin.bz2 - --compress zst
  flatbake convert flatcar_sample.bin.bz2 sample.img --format qcow2 --also sample.vhdx --also sample.bin.zst --sha256")]
pub struct Convert {
    /// The image to read; - is standard input
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// The image to write; - is standard output, which gets a raw disk unless --format is given
    #[arg(value_name = "OUT", value_hint = ValueHint::FilePath)]
    to: Destination,
    /// Write this one, too, at the same time: its format and compression are those its name asks for
    #[arg(long, value_name = "OUT", value_hint = ValueHint::FilePath)]
    also: Vec<PathBuf>,
    /// Replace outputs that exist already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    output: OutputArgs,
    /// Write the partition table for sectors of this many bytes; no partition moves. A filesystem that cannot be read in
    /// larger sectors (such as the FAT of an ESP) is refused
    #[arg(long, value_name = "512|4096", value_enum, hide_possible_values = true)]
    sector_size: Option<SectorSize>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SectorSize {
    /// Nearly all disks
    #[value(name = "512")]
    Usual,
    /// "4K native" ones
    #[value(name = "4096")]
    Large,
}

impl SectorSize {
    fn bytes(self) -> u32 {
        match self {
            Self::Usual => 512,
            Self::Large => 4096,
        }
    }
}

impl Convert {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let time = timestamp(self.timestamp.as_deref())?.unwrap_or(0);
        match &self.to {
            Destination::Stdout => self.to_stdout(&self.output.piped(time)?, reporter),
            Destination::Path(path) => {
                let mut outputs = vec![self.output.output(path, time)?];
                for path in &self.also {
                    outputs.push(self.output.output_by_name(path, time)?);
                }
                self.to_files(outputs, reporter)
            }
        }
    }

    /// The disk that is read, in sectors of the size that is asked for.
    fn disk(&self, reporter: &Reporter) -> Result<Arc<dyn BlockDevice>> {
        let disk = self.read.open(&self.input, reporter)?.device;
        match self.sector_size {
            None => {
                tell_of_table(&*disk, reporter)?;
                Ok(disk)
            }
            Some(size) => bake::in_sectors_of(disk, size.bytes(), &temp_dir())
                .at(|| self.input.display().to_string()),
        }
    }

    fn to_files(&self, outputs: Vec<Output>, reporter: &Reporter) -> Result<()> {
        let files: Vec<PathBuf> = outputs.iter().flat_map(Output::files).collect();
        files
            .iter()
            .try_for_each(|file| refuse_existing(file, self.overwrite))?;
        let disk = self.disk(reporter)?;
        files
            .iter()
            .try_for_each(|file| reporter.inputs().refuse(file))?;
        let artifacts = write(&disk, outputs, reporter)?;
        match artifacts.as_slice() {
            _ if !self.json => Ok(()),
            [artifact] => super::print_json(artifact),
            artifacts => super::print_json(&artifacts),
        }
    }

    fn to_stdout(&self, output: &Output, reporter: &Reporter) -> Result<()> {
        if self.json {
            return Err(
                Error::invalid("standard output cannot hold both the image and JSON")
                    .with_hint("leave --json out, or give the output a name"),
            );
        }
        if !self.also.is_empty() {
            return Err(
                Error::invalid("an image goes to standard output alone, without --also")
                    .with_hint("give every output a name"),
            );
        }
        stdio::refuse_terminal()?;
        let disk = self.disk(reporter)?;
        let mut out = io::stdout().lock();
        let oversight = Oversight::new(reporter, reporter.cancel());
        let streamed = bake::stream(&disk, output, &mut out, &temp_dir(), &oversight)?;
        reporter.inputs().check(&[])?;
        let digest = streamed
            .sha256
            .map(|sha256| format!("\n{sha256}  {}", stdio::DASH))
            .unwrap_or_default();
        let size = ByteSize(streamed.bytes);
        let disk = ByteSize(disk.size());
        reporter.info(&format!(
            "wrote {size} to standard output ({}, disk of {disk}){digest}",
            output.format
        ));
        Ok(())
    }
}

/// Tells what is wrong with the partition table: a disk that was cut short, or changed on the way, shows it there.
fn tell_of_table(disk: &dyn BlockDevice, reporter: &Reporter) -> Result<()> {
    match PartitionTable::read(disk) {
        Ok(table) => table
            .findings()
            .iter()
            .for_each(|finding| reporter.found(finding)),
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            reporter.found(&Finding::new(code::TABLE_UNREADABLE).with("why", error));
        }
        // Disks without such a table are converted, too.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Writes all outputs that can be written, and says which.
fn write(
    disk: &dyn BlockDevice,
    outputs: Vec<Output>,
    reporter: &Reporter,
) -> Result<Vec<Artifact>> {
    let before_naming = || reporter.inputs().check(&[]);
    let oversight = Oversight {
        progress: reporter,
        cancel: reporter.cancel(),
        before_naming: &before_naming,
    };
    let jobs: Vec<_> = outputs.into_iter().map(|output| (disk, output)).collect();
    let results = bake::emit_all(&jobs, &oversight);
    let mut artifacts = Vec::new();
    let mut failure = None;
    for result in results {
        match (result, &failure) {
            (Ok(artifact), _) => {
                reporter.info(&describe(&artifact));
                artifacts.push(artifact);
            }
            (Err(error), None) => failure = Some(error),
            // Where all work is ended, that is said once.
            (Err(error), Some(_)) if error.kind() == ErrorKind::Cancelled => {}
            (Err(error), Some(_)) => reporter.error(&error),
        }
    }
    failure.map_or(Ok(artifacts), Err)
}
