//! What the caller adds to a manifest.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::bake::Base;

/// What the caller adds to a manifest.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Values of variables, which win over those of the manifest. The last of a name counts.
    pub set: Vec<(String, String)>,
    /// Paths may lead out of the manifest's folder.
    pub allow_outside: bool,
    /// Files of vendors that there are besides those built in and those of the manifest, in whose place they come.
    pub vendor_files: Vec<PathBuf>,
    /// The folder for all that is written, in the place of the manifest's.
    pub folder: Option<PathBuf>,
    /// The image to start from, in the place of the manifest's.
    pub base: Option<Base>,
    /// The files of the extensions that the manifest names as NAME@VERSION, by what it names them as.
    pub extensions: BTreeMap<String, PathBuf>,
}
