//! `flatbake report`

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::bake::{Report, report_page};
use crate::block::OutputFile;
use crate::flatcar::Disk;
use crate::flatcar::page::{PageOptions, ShownImage, image_page};
use crate::{Error, Result, ResultExt};
use clap::{Args, ValueHint};

use super::image::ReadArgs;
use super::output::{self, Destination};
use super::progress::Reporter;
use super::stdio::DASH;

/// Largest report of a bake that is read.
const REPORT_MAX: u64 = 256 << 20;

/// Write a page that shows an image, or what a bake did, in a browser
///
/// The page is one file that asks nobody for anything: a map of the disk, what takes room, what was found, what is inside,
/// digests; with --before, what became of another image. Of Ignition configs only the names of what they make are shown,
/// not what they hold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake report flatcar_sample.bin.bz2 -o image.html
  flatbake bake --image flatcar_sample.bin.bz2 --hostname node1 -o node.img --json >bake.json
  flatbake report bake.json -o bake.html
  flatbake report node.img --before flatcar_sample.bin.bz2 -o changes.html")]
pub struct ReportCommand {
    /// The image, or the report of a bake in JSON; - is an image on standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The image that this one was before
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    before: Option<PathBuf>,
    /// The page; - is standard output
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Destination,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    read: ReadArgs,
}

impl ReportCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        if let Destination::Path(path) = &self.output {
            output::refuse_existing(path, self.overwrite)?;
        }
        let page = match self.of_bake(reporter)? {
            Some(report) if self.before.is_none() => report_page(&report),
            Some(_) => {
                let what = "--before is for images, and this is the report of a bake";
                return Err(Error::invalid(what)
                    .at(self.file.display().to_string())
                    .with_hint("a report tells itself what was before and after"));
            }
            None => self.of_image(reporter)?,
        };
        match &self.output {
            Destination::Stdout => super::print(page),
            Destination::Path(path) => {
                reporter.inputs().refuse(path)?;
                let output = OutputFile::create(path)?;
                let written = output.file().write_all(page.as_bytes());
                written.map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
                output.commit()
            }
        }
    }

    /// The report of a bake, where the file is one: JSON begins as no image does.
    fn of_bake(&self, reporter: &Reporter) -> Result<Option<Report>> {
        if self.file == Path::new(DASH) || self.file.is_dir() {
            return Ok(None);
        }
        let mut begin = [0; 1];
        let mut file = reporter.inputs().open("image", &self.file)?;
        let len = file
            .read(&mut begin)
            .map_err(|error| Error::io(format!("reading {}", self.file.display()), error))?;
        if begin[..len] != *b"{" {
            return Ok(None);
        }
        let bytes = reporter.inputs().read("report", &self.file, REPORT_MAX)?;
        let report = serde_json::from_slice(&bytes).map_err(|error| {
            Error::invalid(format!("this is no report of a bake: {error}"))
                .at(self.file.display().to_string())
                .with_hint(
                    "flatbake bake --json prints one, and several images of one run come with one",
                )
        })?;
        Ok(Some(report))
    }

    fn of_image(&self, reporter: &Reporter) -> Result<String> {
        let name = self.file.display().to_string();
        let image = self.read.open(&self.file, reporter)?;
        let disk = Disk::open(name.clone(), image.device)?;
        let before = match &self.before {
            Some(path) => {
                let name = path.display().to_string();
                let image = self.read.open(path, reporter)?;
                Some((name.clone(), Disk::open(name, image.device)?))
            }
            None => None,
        };
        let format = match image.compression {
            Some(compression) => format!("{}, compressed with {compression}", image.format),
            None => image.format.to_string(),
        };
        reporter.inputs().complete(reporter)?;
        let file = self.digest(reporter);
        let options = PageOptions {
            before: before.as_ref().map(|(name, disk)| (name.as_str(), disk)),
            progress: reporter,
            cancel: reporter.cancel().clone(),
        };
        let shown = ShownImage {
            name: &name,
            format: &format,
            file: file
                .as_ref()
                .map(|(bytes, sha256)| (*bytes, sha256.as_str())),
            disk: &disk,
        };
        image_page(&shown, &options).at(|| name.clone())
    }

    /// Length and digest of the image's file.
    fn digest(&self, reporter: &Reporter) -> Option<(u64, String)> {
        let bytes = std::fs::metadata(&self.file).ok()?.len();
        Some((bytes, reporter.inputs().sha256(&self.file)?))
    }
}
