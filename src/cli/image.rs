//! The image argument that every command has, and how it is opened.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use flatbake::Result;
use flatbake::image::{self, CacheMode, Examined, Image, OpenOptions};

use super::progress::Reporter;

/// How an image is read.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Folder where decompressed images are kept [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Decompress the image to an unnamed temporary file and keep nothing
    #[arg(long, conflicts_with = "cache_dir")]
    pub no_cache: bool,
    /// Open other files that the image refers to (backing files, extents), where they lie below its folder
    #[arg(long)]
    pub allow_external: bool,
}

impl ReadArgs {
    /// Opens the image at `path`, which is only ever read.
    pub fn open(&self, path: &Path, reporter: &Reporter) -> Result<Image> {
        image::open(path, &self.options(), reporter)
    }

    fn options(&self) -> OpenOptions {
        let threads = NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN);
        OpenOptions { cache: self.cache(), temp_dir: temp_dir(), threads, allow_external: self.allow_external }
    }

    fn cache(&self) -> CacheMode {
        if self.no_cache {
            return CacheMode::None;
        }
        // The XDG specification: a relative path there is invalid and ignored.
        let xdg = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        let user = || xdg.or_else(|| Some(set("HOME")?.join(".cache"))).map(|path| path.join("flatbake"));
        self.cache_dir.clone().or_else(user).map_or(CacheMode::None, CacheMode::Dir)
    }
}

/// A variable of the environment that names a path; an empty one names none.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where unnamed temporary files go.
pub fn temp_dir() -> PathBuf {
    set("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// An image to read.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// The image: raw, qcow2, vmdk, vhd, vhdx, vdi or parallels, as it is or compressed (bz2, gz, xz, zst)
    #[arg(value_name = "IMG")]
    pub image: PathBuf,
    #[command(flatten)]
    pub read: ReadArgs,
}

impl ImageArgs {
    /// Opens it.
    pub fn open(&self, reporter: &Reporter) -> Result<Image> {
        self.read.open(&self.image, reporter)
    }

    /// Looks at it, also where it refers to files that may not be opened.
    pub fn examine(&self, reporter: &Reporter) -> Result<Examined> {
        image::examine(&self.image, &self.read.options(), reporter)
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        self.image.display().to_string()
    }
}
