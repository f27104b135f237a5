//! How the content of an answer is packed.

use ureq::http::{HeaderMap, header};

use super::failure::{Failure, network};
use super::range::text;
use super::url::Url;

/// How the content of an answer is packed.
#[derive(PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Nothing but `identity` was asked for. Some servers say `gzip` of files that are gzip files and were stored as such:
    /// these are left as they are. What a server packs all the same is unpacked.
    pub fn of(headers: &HeaderMap, url: &Url) -> Result<Self, Failure> {
        let Some(encoding) = text(headers, header::CONTENT_ENCODING.as_str()) else {
            return Ok(Self::Identity);
        };
        let path = url.uri().path().to_ascii_lowercase();
        let stored = [".gz", ".tgz"].iter().any(|ending| path.ends_with(ending));
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" if stored => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            _ => Err(Failure::last(network(format!(
                "the server packs the file ({encoding}), though it was asked not to"
            )))),
        }
    }
}
