//! From the keys of a manifest to the options of a bake.

use std::path::Path;

use super::changes::{Changes, image_place};
use super::document::{self, Document, Text};
use super::inputs::{Inputs, Want};
use super::spanned::{Spanned, TextOr};
use super::{LoadOptions, Resolved, Variant, outputs};
use crate::bake::options::{BakeOptions, FileRole, FileSpec};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::Designator;
use crate::fs::{FsPath, Timestamp};

/// Most variants of one manifest.
const VARIANTS_MAX: usize = 10_000;
/// Longest name of a variant: it becomes part of file names.
const NAME_MAX: usize = 128;

/// Resolves `document`, the manifest at `path`.
pub(super) fn resolve(path: &Path, options: &LoadOptions, document: Document) -> Result<Resolved> {
    let mut inputs = Inputs::new(path, options)?;
    let image = image(&document, &mut inputs)?;
    let shared = shared(&document, &mut inputs)?;
    let vendors = outputs::vendors(&document.vendors, &options.vendors, &mut inputs)?;
    let variants = variants(&document, &shared, &mut inputs)?;
    let outputs = outputs::outputs(&document.outputs, document.compress.as_ref(), &inputs)?;
    let folder = document.output.as_ref().map(|text| inputs.output_folder(text)).transpose()?;
    if variants.is_empty() {
        let folder = folder.as_deref().or(path.parent()).unwrap_or(Path::new(""));
        outputs::refuse_over_inputs(folder, &outputs, &inputs)?;
    }
    let inputs = inputs.into_found();
    let image_sha256 = inputs.iter().find(|input| input.path == image).and_then(|input| input.sha256.clone());
    Ok(Resolved {
        path: path.to_owned(),
        image,
        image_sha256,
        options: shared,
        vendors,
        folder,
        outputs,
        seed: document.seed.map(|seed| seed.0).unwrap_or_default(),
        variants,
        inputs,
    })
}

fn image(document: &Document, inputs: &mut Inputs) -> Result<std::path::PathBuf> {
    match (&document.image, &document.release) {
        (Some(_), Some(release)) => Err(Error::invalid("image and release are both given")
            .with_hint("leave one of them out")
            .at(inputs.place(release.position))),
        (None, Some(release)) => Err(Error::unsupported("fetching a release is not built yet")
            .with_hint("download the image and give its path: image: flatcar_production_image.bin.bz2")
            .at(inputs.place(release.position))),
        (None, None) => Err(Error::invalid("the key 'image' is missing")
            .with_hint("give the path of the image to start from")
            .at(inputs.place(super::node::Position::START))),
        (Some(Spanned { position, value: TextOr::Text(path) }), None) => {
            inputs.add(&Text { position: *position, value: path.clone() }, Want::File, None)
        }
        (Some(Spanned { value: TextOr::Table(image), .. }), None) => {
            inputs.add(&image.file, Want::File, image.sha256.as_ref())
        }
    }
}

fn shared(document: &Document, inputs: &mut Inputs) -> Result<BakeOptions> {
    let place = |text: &Text| image_place(&text.value, None).at(|| inputs.place(text.position));
    let mut options = BakeOptions {
        install_to: document.install_to.as_ref().map(place).transpose()?,
        removals: document.remove.iter().map(place).collect::<Result<_>>()?,
        no_replay: document.no_replay,
        force: document.force,
        ..BakeOptions::new()
    };
    if let Some(size) = &document.root_size {
        options.root_size = Some(size.value.0.parse().at(|| inputs.place(size.position))?);
    }
    if let Some(time) = &document.timestamp {
        options.timestamp = Some(time.value.0.parse::<Timestamp>().at(|| inputs.place(time.position))?);
    }
    if let Some(file) = &document.grub_cfg {
        let source = inputs.add(file, Want::File, None)?;
        let spec = FileSpec::new(source, Designator::Oem, FsPath::new("/grub.cfg")?);
        let origin = Some(inputs.place(file.position));
        options.files.push(FileSpec { role: FileRole::GrubCfg, origin, ..spec });
    }
    let changes = Changes {
        hostname: document.hostname.as_ref(),
        sysexts: &document.sysexts,
        files: &document.files,
        links: &document.links,
        tarballs: &document.tarballs,
        units: &document.units,
        kernel_args: &document.kernel_args,
        config_ign: document.config_ign.as_ref(),
        base_ign: document.base_ign.as_ref(),
    };
    changes.add_to(&mut options, inputs)?;
    refuse_sysexts_twice(&document.sysexts, &[], inputs)?;
    Ok(options)
}

fn variants(document: &Document, shared: &BakeOptions, inputs: &mut Inputs) -> Result<Vec<Variant>> {
    if let Some(variant) = document.variants.get(VARIANTS_MAX) {
        let message = format!("{} variants are too many, at most {VARIANTS_MAX}", document.variants.len());
        return Err(Error::invalid(message).at(inputs.place(variant.position)));
    }
    let mut names: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    let mut variants = Vec::with_capacity(document.variants.len());
    for Spanned { position, value: variant } in &document.variants {
        let name_position = inputs.place(variant.name.position);
        check_name(&variant.name.value).at(|| name_position.clone())?;
        if let Some(earlier) = names.insert(variant.name.value.to_ascii_lowercase(), name_position.clone()) {
            let name = &variant.name.value;
            return Err(Error::invalid(format!("the variant {name} would be written over the one at {earlier}"))
                .with_hint("give them different names; upper and lower case do not tell them apart")
                .at(name_position));
        }
        let options = self::variant(variant, document, shared, inputs)?;
        variants.push(Variant { name: variant.name.value.clone(), options, position: inputs.place(*position) });
    }
    Ok(variants)
}

fn variant(
    variant: &document::Variant,
    document: &Document,
    shared: &BakeOptions,
    inputs: &mut Inputs,
) -> Result<BakeOptions> {
    let mut options = BakeOptions {
        install_to: shared.install_to.clone(),
        root_size: shared.root_size,
        no_replay: shared.no_replay,
        timestamp: shared.timestamp,
        force: shared.force,
        ..BakeOptions::new()
    };
    let changes = Changes {
        hostname: variant.hostname.as_ref(),
        sysexts: &variant.sysexts,
        files: &variant.files,
        links: &variant.links,
        tarballs: &variant.tarballs,
        units: &variant.units,
        kernel_args: &variant.kernel_args,
        config_ign: variant.config_ign.as_ref(),
        base_ign: variant.base_ign.as_ref(),
    };
    changes.add_to(&mut options, inputs)?;
    refuse_sysexts_twice(&document.sysexts, &variant.sysexts, inputs)?;
    let added = |argument: &&Text| shared.kernel_args.contains(&argument.value);
    if let Some(argument) = variant.kernel_args.remove.iter().find(added) {
        return Err(Error::invalid(format!("the shared bake adds '{}', which this variant removes", argument.value))
            .with_hint("add it in the variants that need it instead")
            .at(inputs.place(argument.position)));
    }
    Ok(options)
}

fn refuse_sysexts_twice(
    shared: &[Spanned<document::Sysext>],
    own: &[Spanned<document::Sysext>],
    inputs: &Inputs,
) -> Result<()> {
    let mut names = std::collections::BTreeSet::new();
    for name in shared.iter().chain(own).map(|sysext| &sysext.value.name) {
        if !names.insert(&name.value) {
            return Err(Error::invalid(format!("the sysext name '{}' is given twice", name.value.escape_debug()))
                .with_hint("systemd-sysext merges one image per name")
                .at(inputs.place(name.position)));
        }
    }
    Ok(())
}

/// A variant's name becomes part of file names.
fn check_name(name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || name.starts_with(['.', '-']) || !name.chars().all(is_allowed) {
        return Err(Error::invalid(format!("'{}' cannot be the name of a variant", name.escape_debug()))
            .with_hint(format!("letters, digits, dots, - and _, at most {NAME_MAX}, no dot or - in front")));
    }
    Ok(())
}
