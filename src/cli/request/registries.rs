//! What a request names in registries, `oci://…`: fetched, and the files put in its place.

use std::path::{Path, PathBuf};

use super::fetched::{Fetching, expect};
use crate::Result;
use crate::bake::{Base, Edits, Request};
use crate::cli::progress::Reporter;
use crate::fetch::fetcher::Fetched;
use crate::fetch::oci::Unpack;
use crate::fetch::registry::Reference;
use crate::machine::Arch;

/// What stands before the name of a registry.
const SCHEME: &str = "oci://";

/// Whether a request names something in a registry.
pub(super) fn names_one(request: &Request) -> bool {
    let of = |edits: &Edits| edits.sysexts.iter().any(|sysext| is_one(&sysext.file));
    base_of(request).is_some()
        || of(&request.edits)
        || request.variants.iter().any(|variant| of(&variant.edits))
}

/// Fetches the base image of a request, where it is in a registry.
pub(super) fn fetch_base(
    fetching: &Fetching,
    arch: Arch,
    request: &mut Request,
    reporter: &Reporter,
) -> Result<()> {
    if let Some(named) = base_of(request) {
        let file = get(fetching, arch, &named, ("image", Unpack::No), reporter)?;
        request.base = Base::Path(file.path.clone());
        take(request, &named, &file);
    }
    Ok(())
}

/// Fetches the sysexts that a request names in registries.
pub(super) fn fetch_sysexts(
    fetching: &Fetching,
    arch: Arch,
    request: &mut Request,
    reporter: &Reporter,
) -> Result<()> {
    let mut found = Vec::new();
    let variants = request.variants.iter_mut();
    let all = std::iter::once(&mut request.edits).chain(variants.map(|variant| &mut variant.edits));
    for sysext in all.flat_map(|edits| &mut edits.sysexts) {
        if !is_one(&sysext.file) {
            continue;
        }
        let name = format!("{}.raw", sysext.name);
        let file = get(fetching, arch, &sysext.file, (&name, Unpack::Yes), reporter)?;
        let named = std::mem::replace(&mut sysext.file, file.path.clone());
        sysext.origin.get_or_insert_with(|| file.url.clone());
        found.push((named, file));
    }
    for (named, file) in found {
        take(request, &named, &file);
    }
    Ok(())
}

fn get(
    fetching: &Fetching,
    arch: Arch,
    named: &Path,
    called: (&str, Unpack),
    reporter: &Reporter,
) -> Result<Fetched> {
    let reference: Reference = named.to_string_lossy().parse()?;
    let fetcher = fetching.means.fetcher(reporter);
    let registry = fetching.means.registry(reporter)?;
    fetcher.artifact(registry, &reference, arch, called, reporter)
}

/// What was asked of `named` counts for the file that was fetched.
fn take(request: &mut Request, named: &Path, file: &Fetched) {
    for expected in &mut request.expected.digests {
        if expected.path == named {
            expected.path.clone_from(&file.path);
        }
    }
    expect(request, file);
}

/// The base image, where it is in a registry.
fn base_of(request: &Request) -> Option<PathBuf> {
    match &request.base {
        Base::Path(path) if is_one(path) => Some(path.clone()),
        _ => None,
    }
}

/// Whether it is the name of something in a registry.
pub(super) fn is_one(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(SCHEME))
}
