//! Flatcar's own sysexts that a request switches on: fetched for the release of its image.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Fetching, Target, all_edits, all_edits_mut};
use crate::bake::Request;
use crate::cli::progress::Reporter;
use crate::fetch::release::{Artifact, Release};
use crate::flatcar::official;
use crate::flatcar::vendor::major_of;
use crate::{Error, Reason, Result, ResultExt};

/// Whether a request switches on one whose file is not there yet.
pub(super) fn names_one(request: &Request) -> bool {
    !named_in(request).is_empty()
}

/// The names of those that a request switches on, and whose files are not there yet.
pub(super) fn named_in(request: &Request) -> BTreeSet<String> {
    let enabled = all_edits(request).flat_map(|edits| &edits.enabled_sysexts);
    let needed = enabled.filter(|sysext| sysext.file.is_none());
    needed.map(|sysext| sysext.name.clone()).collect()
}

impl Fetching {
    /// Fetches those that a request switches on.
    pub(super) fn fetch_official(
        &mut self,
        target: &Target,
        request: &mut Request,
        reporter: &Reporter,
    ) -> Result<()> {
        if !names_one(request) {
            return Ok(());
        }
        let Some(version) = &target.version else {
            // What is missing is told, and of which release these are is not known without it.
            return if self.lacks_base {
                Ok(())
            } else {
                Err(no_release())
            };
        };
        let release = Release::new(version, target.arch)?;
        for sysext in all_edits_mut(request).flat_map(|edits| &mut edits.enabled_sysexts) {
            if sysext.file.is_none() {
                let file = self.fetch_one(&release, &sysext.name, reporter);
                sysext.file = file.at(|| sysext.origin.clone().unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// The file of one; `None` where it is missing.
    fn fetch_one(
        &mut self,
        release: &Release,
        name: &str,
        reporter: &Reporter,
    ) -> Result<Option<PathBuf>> {
        let there = official::known(major_of(&release.version).unwrap_or_default(), release.arch);
        let is_there = there.contains(&name);
        if official::is_known(name) && !is_there {
            return Err(unknown(release, name, &there));
        }
        let file = Artifact::Sysext(name.to_owned()).file_name(&release.version)?;
        // Releases may have more than is known here.
        let files = self.fetch_files(release, vec![file], reporter);
        let files = files.map_err(|error| match error.reason() {
            Some(Reason::NoSignature) if !is_there => {
                unknown(release, name, &there).with_source(error)
            }
            _ => error,
        })?;
        Ok(files.into_iter().next())
    }
}

fn no_release() -> Error {
    let message =
        "Flatcar's sysexts are made for one release each, and that of the image is not known";
    Error::invalid(message).with_hint("use an image of a release, or --release")
}

fn unknown(release: &Release, name: &str, there: &[&str]) -> Error {
    let (version, arch) = (&release.version, release.arch);
    let all = match there {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    Error::not_found(format!("release {version} has no sysext {name} for {arch}"))
        .with_hint(format!("those that it is known to have: {all}"))
}
