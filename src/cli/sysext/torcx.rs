use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::Result;
use crate::flatcar::sysext::build::{Build, Means};
use crate::flatcar::sysext::torcx;

use super::super::image::temp_dir;
use super::super::progress::Reporter;
use super::name_of;
use super::pack::PackArgs;

/// Make a sysext of a torcx image, the format that Flatcar had for docker before
///
/// Programs and units go below /usr, what torcx did for the units is taken out of them, and what its targets wanted is
/// started by drop-ins.
#[derive(Debug, Args)]
#[command(
    name = "torcx",
    after_help = "\
Examples:
  flatbake sysext torcx hello.torcx.tar -o hello-torcx.raw --name hello"
)]
pub struct TorcxCommand {
    /// The torcx image: a tar with .torcx/manifest.json in it, packed or not
    #[arg(value_name = "TAR", value_hint = ValueHint::FilePath)]
    source: PathBuf,
    /// The image to write
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// The name it is merged by [default: the output's name without .raw]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    pack: PackArgs,
}

impl TorcxCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        self.pack.refuse_existing(&self.output)?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&self.output)?,
        };
        let build = self.pack.fill(Build::new(&self.source, name), reporter)?;
        let host = self.pack.host(reporter)?;
        let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
        let prepared = torcx::prepare(&self.source, build, host.as_ref(), &means)?;
        let built = self.pack.write(&prepared, &self.output, &means, reporter)?;
        self.pack.tell(&built, reporter)
    }
}
