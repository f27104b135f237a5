use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::Result;
use crate::flatcar::sysext::build::{Build, Means, Prepared};
use crate::flatcar::sysext::flix::{Flix, Wanted};

use super::super::image::temp_dir;
use super::super::progress::Reporter;
use super::pack::{PackArgs, explained};
use super::source::{Cache, SourceArgs};

/// Take programs out of a root filesystem, with all libraries that they need, into a sysext
///
/// The libraries go to /usr/local/NAME, with the dynamic linker, and the programs find them there and nowhere else: they run
/// on any Flatcar, whatever it has. Static programs and other files are copied as they are; of scripts, the interpreters come
/// along. Libraries that programs load while they run (plugins) are in none of their headers: --dlopen names them.
#[derive(Debug, Args)]
#[command(
    name = "flix",
    after_help = "\
Examples:
  flatbake sysext flix hello-image mytools /usr/bin/hello -o mytools.raw
  flatbake sysext flix hello-image mytools /opt/tool.sh:/usr/bin/tool -o mytools-erofs.raw --format erofs"
)]
pub struct FlixCommand {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    wanted: WantedArgs,
    /// A library that a program loads while it runs, by its name or path; can be repeated
    #[arg(long, value_name = "LIBRARY")]
    dlopen: Vec<String>,
    #[command(flatten)]
    pack: PackArgs,
}

/// What is taken out of a root filesystem, and the extension.
#[derive(Debug, Args)]
pub struct WantedArgs {
    /// The name that the extension is merged by, and of its folder below /usr/local
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Programs, other files and folders of the root filesystem; PATH:TARGET where TARGET is its place in the extension
    #[arg(value_name = "PATH", required = true, value_parser = wanted)]
    pub paths: Vec<Wanted>,
    /// The image to write [default: NAME.raw]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
}

fn wanted(text: &str) -> std::result::Result<Wanted, String> {
    Wanted::parse(text).map_err(|error| explained(&error))
}

impl WantedArgs {
    /// Where the image goes.
    fn output(&self) -> PathBuf {
        let usual = || PathBuf::from(format!("{}.raw", self.name));
        self.output.clone().unwrap_or_else(usual)
    }
}

/// Reads the source, has `prepare` put the extension together, and writes it.
pub fn build(
    (source, wanted, pack): (&SourceArgs, &WantedArgs, &PackArgs),
    reporter: &Reporter,
    prepare: impl FnOnce(PathBuf, Build, &Means<'_>) -> Result<Prepared>,
) -> Result<()> {
    let output = wanted.output();
    pack.refuse_existing(&output)?;
    let cache = Cache {
        folder: pack.read.cache_dir.as_deref(),
        is_off: pack.read.no_cache,
    };
    let here = source.fetch(cache, reporter)?;
    let build = Build {
        architecture: source.architecture()?,
        ..Build::new(&here.path, &wanted.name)
    };
    let build = pack.fill(build, reporter)?;
    let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
    let prepared = prepare(here.path.clone(), build, &means)?;
    let built = pack.write(&prepared, &output, &means, reporter)?;
    pack.tell(&built, reporter)
}

impl FlixCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let host = self.pack.host(reporter)?;
        let parts = (&self.source, &self.wanted, &self.pack);
        build(parts, reporter, |source, build, means| {
            let flix = Flix {
                source,
                wanted: self.wanted.paths.clone(),
                dlopen: self.dlopen.clone(),
            };
            flix.prepare(build, host.as_ref(), means)
        })
    }
}
