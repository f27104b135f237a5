//! Root filesystems, as the commands that read one are told.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use tempfile::TempDir;

use crate::machine::Arch;
use crate::{Error, Result};

use super::super::progress::Reporter;

/// What stands before the name of an image in a registry.
const SCHEME: &str = "oci://";

/// A root filesystem, and how it is fetched where it is in a registry.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// A container image (an OCI layout, an archive of docker save, or oci://REGISTRY/REPOSITORY:TAG), or a root filesystem as a
    /// folder or tar
    #[arg(value_name = "ROOTFS", value_hint = ValueHint::AnyPath)]
    source: String,
    #[cfg(feature = "fetch")]
    #[command(flatten)]
    fetching: super::super::fetch_args::FetchArgs,
    /// Take the image for these machines where there are several: amd64 or arm64
    #[cfg(not(feature = "fetch"))]
    #[arg(long, value_name = "ARCH", value_parser = super::super::argument::<Arch>)]
    arch: Option<Arch>,
}

/// Where kept files are.
#[derive(Debug, Clone, Copy)]
pub struct Cache<'a> {
    pub folder: Option<&'a Path>,
    pub is_off: bool,
}

/// A source that is here.
pub struct Here {
    pub path: PathBuf,
    /// What was fetched, until the run ends.
    _folder: Option<TempDir>,
}

impl SourceArgs {
    /// The architecture that is asked for, in systemd's words.
    pub fn architecture(&self) -> Result<Option<String>> {
        let word = |arch| match arch {
            Arch::Amd64 => "x86-64".to_owned(),
            Arch::Arm64 => "arm64".to_owned(),
        };
        Ok(self.given_arch()?.map(word))
    }

    #[cfg(feature = "fetch")]
    fn given_arch(&self) -> Result<Option<Arch>> {
        self.fetching.check_arch()?;
        Ok(self.fetching.given_arch())
    }

    #[cfg(not(feature = "fetch"))]
    fn given_arch(&self) -> Result<Option<Arch>> {
        Ok(self.arch)
    }

    /// The source as a file or folder; one in a registry is fetched.
    pub fn fetch(&self, cache: Cache<'_>, reporter: &Reporter) -> Result<Here> {
        match self.source.strip_prefix(SCHEME) {
            Some(reference) => self.pull(reference, cache, reporter),
            None => Ok(Here {
                path: PathBuf::from(&self.source),
                _folder: None,
            }),
        }
    }

    #[cfg(feature = "fetch")]
    fn pull(&self, reference: &str, cache: Cache<'_>, reporter: &Reporter) -> Result<Here> {
        use super::super::fetch_args::cache_of;
        use crate::Progress;
        use crate::fetch::registry::Reference;

        self.fetching
            .refuse_unverified("what registries have is always held against its digests")?;
        let reference = Reference::parse(reference)?;
        let kept = match cache.is_off {
            true => None,
            false => Some(cache_of(cache.folder)?),
        };
        let means = self.fetching.means(kept.as_deref(), None, reporter)?;
        for finding in &means.findings {
            reporter.found(finding);
        }
        let folder = temporary_folder()?;
        let registry = means.registry(reporter)?;
        let fetcher = means.fetcher(reporter);
        let arch = self.fetching.arch();
        let pinned = fetcher.layout(registry, &reference, arch, folder.path(), reporter);
        if let Some(pinned) = means.tally.unless_missing(pinned)? {
            reporter.info(&format!("fetched {pinned}"));
        }
        means.tally.check()?;
        Ok(Here {
            path: folder.path().to_owned(),
            _folder: Some(folder),
        })
    }

    #[cfg(not(feature = "fetch"))]
    fn pull(&self, _: &str, _: Cache<'_>, _: &Reporter) -> Result<Here> {
        Err(
            Error::unsupported(format!("{}: this build fetches nothing", self.source))
                .with_hint("copy the image into an OCI layout, and name that"),
        )
    }
}

#[cfg(feature = "fetch")]
fn temporary_folder() -> Result<TempDir> {
    let folder = super::super::image::temp_dir();
    let made = tempfile::Builder::new()
        .prefix(".flatbake-")
        .tempdir_in(&folder);
    made.map_err(|error| Error::io(format!("making a folder in {}", folder.display()), error))
}
