//! What all is fetched for that there is for several architectures, or for each release.

use super::{Fetching, Target, official, registries};
use crate::Result;
use crate::bake::Request;
use crate::cli::image::ReadArgs;
use crate::cli::progress::Reporter;
use crate::flatcar::{Disk, OsRelease};
use crate::machine::Arch;

impl Fetching {
    /// What is fetched for: the release that is baked; else what the image says that it is, where that matters.
    pub(super) fn target(
        &self,
        request: &Request,
        read: &ReadArgs,
        reporter: &Reporter,
    ) -> Result<Target> {
        let given = self.asked.arch;
        let needs_version = official::names_one(request);
        let needs_arch = !self.asked.extensions.is_empty() || registries::names_sysext(request);
        let is_told = self.release.is_some() || self.lacks_base;
        if is_told || !(needs_version || (needs_arch && given.is_none())) {
            let release = self.release.as_ref();
            return Ok(Target {
                arch: given.unwrap_or(Arch::Amd64),
                version: release.map(|release| release.version.clone()),
            });
        }
        let open = || {
            let image = read.open_base(&request.base, reporter)?;
            let name = request.base.name().display().to_string();
            Disk::open(name, image.device)?.os_release()
        };
        let release = match open() {
            Err(error) if needs_version => return Err(error),
            // What is wrong with the image is told when it is baked.
            release => release.unwrap_or_default(),
        };
        reporter.cancel().check()?;
        let arch = release.as_ref().and_then(OsRelease::architecture);
        let arch = arch.and_then(|arch| arch.parse().ok());
        Ok(Target {
            arch: given.or(arch).unwrap_or(Arch::Amd64),
            version: release.and_then(|release| release.version().map(str::to_owned)),
        })
    }
}
