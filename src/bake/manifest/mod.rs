//! The manifest of a bake: a file in YAML or TOML that says what the command line's flags say, and more.
//!
//! ```text
//!  YAML ─┐                      variables            serde              paths, modes, sizes, …
//!        ├─parse─▶ Node (place of every value) ─▶ Node ─decode─▶ Document ─resolve─▶ Resolved: BakeOptions, shared
//!  TOML ─┘                                                                            and per variant; inputs ─▶ lock
//! ```
//!
//! An error names file, line and column. Nothing is written here but the lock.

mod changes;
mod decode;
mod document;
mod inputs;
mod lock;
mod node;
mod outputs;
mod parse;
mod resolve;
mod schema;
mod spanned;
mod unit;
mod variables;
mod yaml;

use std::path::{Path, PathBuf};

use super::host;
use super::options::{BakeOptions, FileSpec};
use crate::error::{Error, Result};
use crate::image::{CompressOptions, OutputFormat};

pub use lock::LockMode;
pub use schema::schema;

/// What the caller adds to a manifest.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Values of variables, which win over those of the manifest. The last of a name counts.
    pub set: Vec<(String, String)>,
    /// Paths may lead out of the manifest's folder.
    pub allow_outside: bool,
    /// Vendors that there are; where it is empty, any id is taken.
    pub vendors: Vec<String>,
}

/// A manifest, checked and with all its parts resolved. Host paths include the manifest's folder.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest.
    pub path: PathBuf,
    /// The image to start from.
    pub image: PathBuf,
    /// The SHA-256 that the image must have, in lower-case hexadecimal; [`Resolved::check_inputs`] compares it.
    pub image_sha256: Option<String>,
    /// The bake that all variants share; all of it where there are none.
    pub options: BakeOptions,
    /// Vendors to write images for, no id twice.
    pub vendors: Vec<VendorRequest>,
    /// The folder for all that is written, which need not exist; by default the manifest's own.
    pub folder: Option<PathBuf>,
    /// Plain images to write, no file name twice.
    pub outputs: Vec<OutputRequest>,
    /// Seed of identifiers in what is written, empty by default.
    pub seed: String,
    /// Images that are each the shared bake and a little more.
    pub variants: Vec<Variant>,
    /// All host files and folders that the bake reads, each once.
    pub inputs: Vec<Input>,
}

/// A vendor to write images for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorRequest {
    /// Its id.
    pub id: String,
    /// The vendor's OEM sysext.
    pub oem_sysext: Option<PathBuf>,
    /// Where the manifest asks for it, for messages: `flatbake.yaml:12:5`.
    pub position: String,
}

/// A plain image to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRequest {
    /// Its name, without any folder.
    pub file: String,
    /// Its format.
    pub format: OutputFormat,
    /// What the whole file is compressed with.
    pub compress: Option<CompressOptions>,
    /// Where the manifest asks for it, for messages.
    pub position: String,
}

/// An image that is the shared bake and a little more.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name, unique also where case does not count, and fit for a file name.
    pub name: String,
    /// Only what it adds, to be planned on top of the shared bake: see [`Resolved::merged`].
    pub options: BakeOptions,
    /// Where the manifest asks for it, for messages.
    pub position: String,
}

/// A host file or folder that the bake reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The path as the manifest gives it.
    pub name: String,
    /// The path to open.
    pub path: PathBuf,
    /// The SHA-256 that it must have, in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// Where the manifest first names it, for messages.
    pub position: String,
}

impl Resolved {
    /// The shared bake and `variant` in one, to be planned on the base image. Files and links of the variant take the
    /// place of shared ones with the same path.
    pub fn merged(&self, variant: &Variant) -> BakeOptions {
        let (mut all, own) = (self.options.clone(), variant.options.clone());
        let is_kept = |file: &FileSpec| {
            !own.files.iter().any(|newer| (newer.partition, &newer.path) == (file.partition, &file.path))
        };
        all.files.retain(is_kept);
        all.links.retain(|link| !own.links.iter().any(|newer| newer.path == link.path));
        all.sysexts.extend(own.sysexts);
        all.files.extend(own.files);
        all.archives.extend(own.archives);
        all.links.extend(own.links);
        all.kernel_args.extend(own.kernel_args);
        all.removed_kernel_args.extend(own.removed_kernel_args);
        all
    }

    /// The lock of the manifest: its name with the extension `lock`.
    pub fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }
}

/// Reads a manifest, checks it and resolves all its parts. Nothing is written.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for whatever is wrong in it and [`crate::ErrorKind::NotFound`] for files that are
/// missing, with file, line and column; [`crate::ErrorKind::Unsupported`] for what is not built yet.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Resolved> {
    let language = parse::Language::of_path(path)?;
    let bytes = host::read(path, parse::MANIFEST_MAX)?;
    let document = document(&bytes, language, &options.set).map_err(|fault| fault_error(&host::shown(path), fault))?;
    resolve::resolve(path, options, document)
}

/// Reads `NAME=VALUE` of a command line.
pub fn parse_set(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if variables::is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Error::invalid(format!("'{}' is not NAME=VALUE", text.escape_debug()))
            .with_hint("NAME has letters, digits and _, no digit in front")),
    }
}

fn document(
    bytes: &[u8],
    language: parse::Language,
    set: &[(String, String)],
) -> Result<document::Document, node::Fault> {
    let mut node = parse::parse(bytes, language)?;
    variables::substitute(&mut node, set)?;
    decode::decode(&node)
}

fn fault_error(file: &str, fault: node::Fault) -> Error {
    let error = Error::invalid(fault.message);
    let error = match fault.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    };
    error.at(place(file, fault.position))
}

/// A place for messages: `flatbake.yaml:12:5`.
fn place(file: &str, position: Option<node::Position>) -> String {
    match position {
        Some(position) => format!("{file}:{position}"),
        None => file.to_owned(),
    }
}
