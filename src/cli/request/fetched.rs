//! What was fetched for a run, and what it is fetched for.

use crate::bake::{ExpectedDigest, Request};
use crate::cli::fetch_args::Means;
use crate::fetch::fetcher::Fetched;
use crate::fetch::release::Release;
use crate::machine::Arch;

/// What was fetched for a run, and what fetches the rest. It holds the files that are kept for this run alone.
pub struct Fetching {
    pub(super) means: Means,
    /// The release that is baked, and its generic image.
    pub(super) release: Option<(Release, Fetched)>,
}

/// What is fetched for.
pub(super) struct Target {
    pub(super) arch: Arch,
    /// The version of the image; none where it cannot be told.
    pub(super) version: Option<String>,
}

/// Has the run refuse other bytes than those that were verified, and say where they come from.
pub(super) fn expect(request: &mut Request, file: &Fetched) {
    request.fetched.insert(file.path.clone(), file.url.clone());
    request.expected.digests.push(ExpectedDigest {
        path: file.path.clone(),
        sha256: file.sha256.clone(),
        origin: Some(file.url.clone()),
    });
}
