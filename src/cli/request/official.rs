//! Flatcar's own sysexts that a request switches on: fetched for the release of its image.

use super::fetched::{Fetching, Target, expect};
use crate::bake::Request;
use crate::cli::progress::Reporter;
use crate::fetch::fetcher::{Fetched, Fetcher};
use crate::fetch::release::{Artifact, Release};
use crate::flatcar::official;
use crate::flatcar::vendor::major_of;
use crate::{Error, Reason, Result, ResultExt};

/// Whether a request switches on one whose file is not there yet.
pub(super) fn names_one(request: &Request) -> bool {
    let variants = request.variants.iter().map(|variant| &variant.edits);
    let mut all = std::iter::once(&request.edits).chain(variants);
    all.any(|edits| {
        let mut enabled = edits.enabled_sysexts.iter();
        enabled.any(|sysext| sysext.file.is_none())
    })
}

/// Fetches those that a request switches on.
pub(super) fn fetch(
    fetching: &Fetching,
    target: &Target,
    request: &mut Request,
    reporter: &Reporter,
) -> Result<()> {
    if !names_one(request) {
        return Ok(());
    }
    let version = target.version.as_deref().ok_or_else(|| {
        Error::invalid(
            "Flatcar's sysexts are made for one release each, and that of the image is not known",
        )
        .with_hint("use an image of a release, or --release")
    })?;
    let release = Release::new(version, target.arch)?;
    let fetcher = fetching.means.fetcher(reporter);
    let mut found = Vec::new();
    let variants = request.variants.iter_mut();
    let all = std::iter::once(&mut request.edits).chain(variants.map(|variant| &mut variant.edits));
    for sysext in all.flat_map(|edits| &mut edits.enabled_sysexts) {
        if sysext.file.is_none() {
            let file = get(&fetcher, &release, &sysext.name, reporter);
            let file = file.at(|| sysext.origin.clone().unwrap_or_default())?;
            sysext.file = Some(file.path.clone());
            found.push(file);
        }
    }
    found.iter().for_each(|file| expect(request, file));
    Ok(())
}

fn get(
    fetcher: &Fetcher<'_>,
    release: &Release,
    name: &str,
    reporter: &Reporter,
) -> Result<Fetched> {
    let there = official::known(major_of(&release.version).unwrap_or_default(), release.arch);
    let is_there = there.contains(&name);
    let unknown = || {
        let arch = release.arch;
        let message = format!(
            "release {} has no sysext {name} for {arch}",
            release.version
        );
        let all = match there.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        Error::not_found(message).with_hint(format!("those that it is known to have: {all}"))
    };
    if official::is_known(name) && !is_there {
        return Err(unknown());
    }
    let file = Artifact::Sysext(name.to_owned()).file_name(&release.version)?;
    // Releases may have more than is known here.
    fetcher
        .file(release, &file, reporter)
        .map_err(|error| match error.reason() {
            Some(Reason::NoSignature) if !is_there => unknown().with_source(error),
            _ => error,
        })
}
