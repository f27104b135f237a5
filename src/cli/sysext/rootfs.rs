use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use crate::bytes::ByteSize;
use crate::flatcar::sysext::build::Means;
use crate::flatcar::sysext::rootfs::Rootfs;
use crate::{Error, Progress, Result};

use super::super::image::temp_dir;
use super::super::output::refuse_existing;
use super::super::progress::Reporter;
use super::source::{Cache, SourceArgs};

/// Endings of packed archives, which are not written.
const PACKED: [&str; 8] = [
    ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.zst", ".tar.bz2", ".tbz2", ".tzst",
];

/// Unpack a container image into a folder or a tar, without a daemon and without root
///
/// The layers are put over each other, and each must have its digest. A folder gets what an ordinary user can make: what
/// it does not keep, such as owners and devices, is told. A tar keeps everything. Either appears only when it is whole.
#[derive(Debug, Args)]
#[command(
    name = "rootfs",
    after_help = "\
Examples:
  flatbake sysext rootfs hello-image -o hello-root
  flatbake sysext rootfs hello-image -o hello-root.tar"
)]
pub struct RootfsCommand {
    #[command(flatten)]
    source: SourceArgs,
    /// The new folder, or the tar where the name ends in .tar
    #[arg(long, short, value_name = "DIR|TAR", value_hint = ValueHint::AnyPath)]
    output: PathBuf,
    /// Replace a tar that exists already
    #[arg(long)]
    overwrite: bool,
    /// Print what was written as JSON
    #[arg(long)]
    json: bool,
    /// Folder where fetched files are kept [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    cache_dir: Option<PathBuf>,
    /// Keep nothing of what is fetched
    #[arg(long, conflicts_with = "cache_dir")]
    no_cache: bool,
}

impl RootfsCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let is_tar = is_tar(&self.output)?;
        refuse_existing(&self.output, self.overwrite || !is_tar)?;
        let cache = Cache {
            folder: self.cache_dir.as_deref(),
            is_off: self.no_cache,
        };
        let here = self.source.fetch(cache, reporter)?;
        let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
        let architecture = self.source.architecture()?;
        let rootfs = Rootfs::read(&here.path, architecture.as_deref(), &means)?;
        let written = match is_tar {
            true => rootfs.write_tar(&self.output, self.overwrite, &means)?,
            false => rootfs.write_folder(&self.output, &means)?,
        };
        for finding in &written.findings {
            reporter.found(finding);
        }
        if self.json {
            return super::super::print_json(&written);
        }
        reporter.info(&format!(
            "wrote {} ({} entries, {})",
            written.path,
            written.entries,
            ByteSize(written.bytes)
        ));
        Ok(())
    }
}

fn is_tar(output: &Path) -> Result<bool> {
    let name = output
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    if PACKED.iter().any(|ending| name.ends_with(ending)) {
        return Err(Error::invalid(format!(
            "{}: the archive is written as it is, and not packed",
            output.display()
        ))
        .with_hint("name it .tar, and pack it afterwards"));
    }
    Ok(name.ends_with(".tar"))
}
