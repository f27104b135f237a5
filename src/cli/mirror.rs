//! `flatbake mirror`

use std::path::PathBuf;

use crate::fetch::bakery::Extension;
use crate::fetch::mirror::{Placed, Tree};
use crate::fetch::release::{Artifact, Wanted};
use crate::machine::Arch;
use crate::{Progress, Result};
use clap::{Args, ValueHint};

use super::fetch_args::{FetchArgs, cache_of};
use super::fetching::release_lines;
use super::progress::Reporter;

/// Copy releases and extensions to a folder that stands in for their servers, all of them verified
///
/// The folder has one folder for each server, with that server's own paths, signatures and lists. What is there and right is
/// not fetched again, and nothing that is not of the mirror is touched. Serve it, or use it as it is, with --mirror.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake mirror --release stable --artifact generic --artifact oem-sysext:azure --output-dir mirror --dry-run
  flatbake mirror --release 4593.2.5 --arch amd64 --arch arm64 --extension wasmtime@24.0.0 --output-dir mirror --dry-run")]
pub struct Mirror {
    /// A release: stable, beta, alpha, lts, lts-2024, or a version; can be repeated
    #[arg(long, value_name = "RELEASE", value_parser = super::argument::<Wanted>)]
    #[arg(required_unless_present = "extension")]
    release: Vec<Wanted>,
    /// What of each release: generic, vendor:ID, oem-sysext:ID, sysext:NAME, or the name of a file; can be repeated
    #[arg(long, value_name = "WHAT", default_value = "generic", value_parser = super::argument::<Artifact>)]
    artifact: Vec<Artifact>,
    /// An extension of the Bakery, NAME@VERSION or NAME@latest; can be repeated
    #[arg(long, value_name = "NAME@VERSION", value_parser = super::argument::<Extension>)]
    extension: Vec<Extension>,
    /// The folder of the mirror
    #[arg(long, short, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output_dir: PathBuf,
    /// Say what would be in it, by its names as far as they are known without the network
    #[arg(long)]
    dry_run: bool,
    /// Folder where fetched files are kept [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    fetching: FetchArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Mirror {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        self.fetching
            .refuse_unverified("a mirror holds what is verified")?;
        if self.dry_run {
            return self.tell();
        }
        let cache = cache_of(self.cache_dir.as_deref())?;
        let means = self.fetching.means(Some(&cache), None, reporter)?;
        means
            .findings
            .iter()
            .for_each(|finding| reporter.found(finding));
        let fetcher = means.fetcher(reporter);
        let tree = Tree {
            folder: &self.output_dir,
            fetcher: &fetcher,
        };
        let mut placed = Vec::new();
        for arch in self.fetching.archs() {
            for wanted in &self.release {
                let files = self.release(&tree, wanted, arch, reporter);
                placed.extend(means.tally.unless_missing(files)?.unwrap_or_default());
            }
            for extension in &self.extension {
                let files = tree.extension(extension, arch, reporter);
                placed.extend(means.tally.unless_missing(files)?.unwrap_or_default());
            }
        }
        means.tally.check()?;
        if self.json {
            return super::print_json(&placed);
        }
        placed.iter().for_each(|file| told(file, reporter));
        let paths = placed
            .iter()
            .map(|file| format!("{}\n", file.path.display()));
        super::print(paths.collect::<String>())
    }

    /// Puts a release into the folder.
    fn release(
        &self,
        tree: &Tree<'_>,
        wanted: &Wanted,
        arch: Arch,
        reporter: &Reporter,
    ) -> Result<Vec<Placed>> {
        let release = tree.fetcher.release(wanted, arch, reporter)?;
        let placed = tree.release(&release, &self.artifact, reporter)?;
        // It leads to what is whole.
        tree.current(wanted, &release)?;
        Ok(placed)
    }

    /// What would be in the folder.
    fn tell(&self) -> Result<()> {
        let mut lines = Vec::new();
        for arch in self.fetching.archs() {
            for wanted in &self.release {
                lines.extend(release_lines(wanted, arch, &self.artifact)?);
            }
            let extensions = self.extension.iter();
            lines.extend(
                extensions.map(|extension| format!("{extension} for {arch}, of the Bakery")),
            );
        }
        super::print(lines.join("\n") + "\n")
    }
}

fn told(file: &Placed, reporter: &Reporter) {
    let what = match file.is_new {
        true => "verified, and put there",
        false => "was there",
    };
    reporter.info(&format!("{}: {what}", file.url));
}
