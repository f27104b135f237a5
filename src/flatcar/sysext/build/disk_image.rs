//! An extension as a disk image, whose filesystem is proven by a dm-verity tree.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::block::Blank;
use crate::error::{Error, Result};
use crate::flatcar::OsRelease;
use crate::flatcar::ddi::{self, BuildOptions, Protection, Signer};
use crate::machine::Arch;
use crate::progress::Progress;

/// Puts the filesystem of an extension into a disk image (DDI) with a dm-verity tree.
#[derive(Debug, Clone, Default)]
pub struct DiskImage {
    /// Who signs the tree's root hash; nobody where it is `None`.
    pub signer: Option<Arc<Signer>>,
    /// What identities and the salt are made from; by default, the filesystem.
    pub seed: Option<String>,
}

impl DiskImage {
    /// The architecture that its partitions are for.
    pub(super) fn architecture(release: &OsRelease) -> Result<Arch> {
        match release.get("ARCHITECTURE") {
            Some(word) if word != super::ANY => word.parse(),
            _ => Err(Error::invalid(
                "a disk image is for one architecture, and the extension is for any",
            )
            .with_hint("say which one, or choose a bare filesystem")),
        }
    }

    /// Where in `out` the filesystem is to be written.
    pub(super) fn blank(out: &File) -> Blank<'_> {
        Blank::behind(out, ddi::FILES_START)
    }

    /// Puts the rest around the filesystem, with which `out` ends.
    pub(super) fn write(
        &self,
        architecture: Arch,
        temp_dir: &Path,
        out: &File,
        progress: &dyn Progress,
    ) -> Result<ddi::Built> {
        let protection = match &self.signer {
            Some(signer) => Protection::Signed(signer),
            None => Protection::Verity,
        };
        let options = BuildOptions {
            architecture,
            protection,
            seed: self.seed.clone(),
        };
        ddi::build_around(&options, temp_dir, out, progress)
    }
}
