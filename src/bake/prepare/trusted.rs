//! Certificates that are put into an image, before they are.

use crate::flatcar::ddi::Certificate;
use crate::fs::FsPath;

/// A certificate that is to be trusted.
#[derive(Debug)]
pub(super) struct Trusted {
    /// Its file in the image.
    pub(super) path: FsPath,
    pub(super) certificate: Certificate,
    /// What asked for it.
    pub(super) why: String,
}
