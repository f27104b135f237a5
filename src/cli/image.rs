//! The image argument that every command has, and how it is opened.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bake::{Base, Context};
use crate::image::{self, CacheMode, Examined, Image, OpenOptions};
use crate::{Error, Result};
use clap::{Args, ValueHint};

use super::progress::Reporter;
use super::stdio::{self, DASH};

/// How an image is read.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// Folder where decompressed images are kept [default: flatbake below XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    /// Decompress the image to an unnamed temporary file and keep nothing
    #[arg(long, conflicts_with = "cache_dir")]
    pub no_cache: bool,
    /// Open other files that the image refers to (backing files, extents), where they lie below its folder
    #[arg(long)]
    pub allow_external: bool,
}

impl ReadArgs {
    /// Opens the image at `path`, or on standard input, which is only ever read.
    pub fn open(&self, path: &Path, reporter: &Reporter) -> Result<Image> {
        let options = self.options(reporter);
        match self.stdin(path, reporter)? {
            Some(file) => image::open_file(file, Path::new(stdio::INPUT), &options, reporter),
            None => image::open(path, &options, reporter),
        }
    }

    /// The base image of a bake: the file at `path`, or what is on standard input.
    pub fn base(&self, path: &Path, reporter: &Reporter) -> Result<Base> {
        Ok(match self.stdin(path, reporter)? {
            Some(file) => Base::Open(Arc::new(file), stdio::INPUT.into()),
            None => Base::Path(path.to_owned()),
        })
    }

    /// The means of a bake.
    pub fn context<'a>(&self, reporter: &'a Reporter) -> Context<'a> {
        Context {
            progress: reporter,
            cancel: reporter.cancel().clone(),
            temp_dir: temp_dir(),
            cache: self.cache(),
            threads: threads(),
        }
    }

    /// Opens the base image of a bake.
    #[cfg(feature = "fetch")]
    pub fn open_base(&self, base: &Base, reporter: &Reporter) -> Result<Image> {
        let options = self.options(reporter);
        match base {
            Base::Path(path) => image::open(path, &options, reporter),
            Base::Open(file, name) => {
                let file = file
                    .try_clone()
                    .map_err(|error| Error::io("opening the base image", error))?;
                image::open_file(file, name, &options, reporter)
            }
        }
    }

    /// Looks at it, also where it refers to files that may not be opened.
    fn examine(&self, path: &Path, reporter: &Reporter) -> Result<Examined> {
        let options = self.options(reporter);
        match self.stdin(path, reporter)? {
            Some(file) => image::examine_file(file, Path::new(stdio::INPUT), &options, reporter),
            None => image::examine(path, &options, reporter),
        }
    }

    /// What is on standard input, where `path` names that.
    fn stdin(&self, path: &Path, reporter: &Reporter) -> Result<Option<File>> {
        if path != Path::new(DASH) {
            return Ok(None);
        }
        if self.allow_external {
            return Err(Error::invalid(
                "an image on standard input lies in no folder whose files it could refer to",
            )
            .with_hint("leave --allow-external out, or name the file of the image"));
        }
        stdio::input(&temp_dir(), reporter).map(Some)
    }

    fn options(&self, reporter: &Reporter) -> OpenOptions {
        OpenOptions {
            cache: self.cache(),
            temp_dir: temp_dir(),
            threads: threads(),
            allow_external: self.allow_external,
            inputs: reporter.inputs().clone(),
        }
    }

    fn cache(&self) -> CacheMode {
        if self.no_cache {
            return CacheMode::None;
        }
        cache_folder(self.cache_dir.as_deref()).map_or(CacheMode::None, CacheMode::Dir)
    }
}

/// The folder for what can be had again: `given`, else the user's; `None` where the user has none.
pub fn cache_folder(given: Option<&Path>) -> Option<PathBuf> {
    // The XDG specification: a relative path there is invalid and ignored.
    let xdg = || set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let user = || {
        xdg()
            .or_else(|| Some(set("HOME")?.join(".cache")))
            .map(|path| path.join("flatbake"))
    };
    given.map(Path::to_owned).or_else(user)
}

/// Threads that decompress.
fn threads() -> NonZeroUsize {
    NonZeroUsize::new(rayon::current_num_threads()).unwrap_or(NonZeroUsize::MIN)
}

/// A variable of the environment that names a path; an empty one names none.
pub fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Where unnamed temporary files go.
pub fn temp_dir() -> PathBuf {
    set("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// An image to read.
#[derive(Debug, Args)]
pub struct ImageArgs {
    /// The image: raw, qcow2, vmdk, vhd, vhdx, vdi or parallels, as it is or compressed (bz2, gz, xz, zst); - is
    /// standard input
    #[arg(value_name = "IMG", value_hint = ValueHint::FilePath)]
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
        self.read.examine(&self.image, reporter)
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        if self.image == Path::new(DASH) {
            stdio::INPUT.to_owned()
        } else {
            self.image.display().to_string()
        }
    }
}
