//! From the keys of a manifest to a request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::changes::Changes;
use super::document::{self, Document, Text};
use super::inputs::Inputs;
use super::lock;
use super::options::LoadOptions;
use super::outputs::{self, Outputs};
use super::settings::settings;
use super::{vendors, wants};
use crate::bake::{Base, Expected, Generalize, Policy, Request, Variant};
use crate::document::{Position, Spanned, TextOr};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::vendor::Vendors;
use crate::fs::Timestamp;

/// What a manifest stands for.
pub(super) struct Resolved {
    pub(super) request: Request,
    pub(super) vendors: Arc<Vendors>,
}

/// Resolves `document`, the manifest at `path`.
pub(super) fn resolve(path: &Path, options: &LoadOptions, document: &Document) -> Result<Resolved> {
    let mut inputs = Inputs::new(path, options)?;
    let known = vendors::known(document, options, &inputs)?;
    let base = base(document, options, &mut inputs)?;
    let mut edits = Changes::of_document(document).edits(&mut inputs)?;
    edits.sysupdate = document.sysupdate;
    edits.settings = settings(document, &inputs)?;
    let variants = document
        .variants
        .iter()
        .map(|variant| self::variant(variant, &mut inputs))
        .collect::<Result<_>>()?;
    let mut targets = vendors::targets(document, &known.vendors, &inputs)?;
    let folder = folder(document, options, &inputs)?;
    let Outputs { outputs, compress } =
        outputs::outputs(document, folder.as_deref(), !targets.is_empty(), &inputs)?;
    targets.compress = compress.filter(|_| !targets.is_empty());
    let root_size = document.root_size.as_ref();
    let root_size = root_size
        .map(|size| size.value.0.parse().at(|| inputs.place(size.position)))
        .transpose()?;
    let mut also_read = vec![(path.to_owned(), lock::ROLE)];
    also_read.extend(known.files.into_iter().map(|file| (file, vendors::ROLE)));
    let request = Request {
        base,
        edits,
        root_size,
        variants,
        outputs,
        vendors: targets,
        folder,
        timestamp: timestamp(document, &inputs)?,
        seed: document
            .seed
            .as_ref()
            .map(|seed| seed.0.clone())
            .unwrap_or_default(),
        policy: policy(document),
        generalize: generalize(document)?,
        expected: Expected {
            digests: inputs.into_digests(),
            ..Expected::default()
        },
        also_read,
        ..Request::new("")
    };
    Ok(Resolved {
        request,
        vendors: known.vendors,
    })
}

/// The image to start from.
fn base(document: &Document, options: &LoadOptions, inputs: &mut Inputs) -> Result<Base> {
    if let Some(base) = &options.base {
        return Ok(base.clone());
    }
    let Some(image) = &document.image else {
        return Err(match &document.release {
            Some(release) => wants::not_fetched(&release.value).at(inputs.place(release.position)),
            None => Error::invalid("neither of the keys 'image' and 'release' is there")
                .with_hint("give the path of the image to start from, or the release")
                .at(inputs.place(Position::START)),
        });
    };
    let path = match &image.value {
        TextOr::Table(image) => inputs.add_digested(&image.file, image.sha256.as_ref())?,
        TextOr::Text(path) => {
            let path = Text {
                position: image.position,
                value: path.clone(),
            };
            inputs.add_digested(&path, None)?
        }
    };
    Ok(Base::Path(path))
}

fn variant(variant: &Spanned<document::Variant>, inputs: &mut Inputs) -> Result<Variant> {
    let name = &variant.value.name;
    Ok(Variant {
        name: name.value.clone(),
        edits: Changes::of_variant(&variant.value).edits(inputs)?,
        origin: Some(inputs.place(name.position)),
    })
}

/// The folder for what is written: the caller's, else the one that is named, else that of the manifest.
fn folder(document: &Document, options: &LoadOptions, inputs: &Inputs) -> Result<Option<PathBuf>> {
    if options.folder.is_some() {
        return Ok(options.folder.clone());
    }
    if let Some(text) = &document.output {
        return inputs.output_folder(text).map(Some);
    }
    let is_needed =
        !document.outputs.is_empty() || document.vendors.is_some() || !document.variants.is_empty();
    Ok(is_needed.then(|| inputs.folder().to_owned()))
}

fn timestamp(document: &Document, inputs: &Inputs) -> Result<Option<Timestamp>> {
    let time = document.timestamp.as_ref();
    time.map(|time| time.value.0.parse().at(|| inputs.place(time.position)))
        .transpose()
}

/// What whoever writes a manifest can allow: not what the host is trusted with.
fn generalize(document: &Document) -> Result<Generalize> {
    match (document.generalize, document.remove_accounts) {
        (false, false) => Ok(Generalize::Nothing),
        (true, false) => Ok(Generalize::Traces),
        (true, true) => Ok(Generalize::TracesAndAccounts),
        (false, true) => Err(Error::invalid(
            "remove_accounts goes with generalize, which is not true",
        )),
    }
}

fn policy(document: &Document) -> Policy {
    Policy {
        force: document.force,
        no_replay: document.no_replay,
        require_signed: document.require_signed,
        overwrite: document.overwrite,
        digests: document.sha256,
        keep_butane: document.keep_butane,
        ..Policy::default()
    }
}
