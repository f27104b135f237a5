//! Files, links, archives, units and configs of a manifest, as the edits of a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Document, Json, KernelArgs, Text};
use super::inputs::{Inputs, Want};
use super::wants;
use crate::archive::{Glob, TarOptions};
use crate::bake::{
    ArchiveSpec, ConfigSpec, Edits, FileSource, FileSpec, Hostname, LinkSpec, OfficialSysext,
    Place, Settings, SysextSpec, TrustSpec, UnitSpec,
};
use crate::document::{Position, Raw, Spanned, TextOr};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::{Designator, grub, sysupdate};

/// What the shared bake and its variants have in common.
pub(super) struct Changes<'a> {
    remove: &'a [Text],
    tarballs: &'a [Spanned<document::Tarball>],
    sysexts: &'a [Spanned<TextOr<document::Sysext>>],
    trust_certs: &'a [Text],
    enable_sysexts: &'a [Text],
    install_to: Option<&'a Text>,
    hostname: Option<&'a Text>,
    files: &'a [Spanned<document::File>],
    units: &'a [Spanned<document::Unit>],
    grub_cfg: Option<&'a Text>,
    base_ign: Option<&'a Spanned<TextOr<Json>>>,
    config_ign: Option<&'a Spanned<TextOr<Json>>>,
    apply_ignition: Option<&'a Spanned<TextOr<Json>>>,
    kernel_args: &'a KernelArgs,
    links: &'a [Spanned<document::Link>],
}

/// The changes among the keys of a table that has them all.
macro_rules! changes_of {
    ($table:ident) => {
        Changes {
            remove: &$table.remove,
            tarballs: &$table.tarballs,
            sysexts: &$table.sysexts,
            trust_certs: &$table.trust_certs,
            enable_sysexts: &$table.enable_sysexts,
            install_to: $table.install_to.as_ref(),
            hostname: $table.hostname.as_ref(),
            files: &$table.files,
            units: &$table.units,
            grub_cfg: $table.grub_cfg.as_ref(),
            base_ign: $table.base_ign.as_ref(),
            config_ign: $table.config_ign.as_ref(),
            apply_ignition: $table.apply_ignition.as_ref(),
            kernel_args: &$table.kernel_args,
            links: &$table.links,
        }
    };
}

impl<'a> Changes<'a> {
    pub(super) fn of_document(document: &'a Document) -> Self {
        changes_of!(document)
    }

    pub(super) fn of_variant(variant: &'a document::Variant) -> Self {
        changes_of!(variant)
    }

    /// The edits that they stand for.
    pub(super) fn edits(&self, inputs: &mut Inputs) -> Result<Edits> {
        Ok(Edits {
            removals: all(self.remove, inputs, place)?,
            archives: all(self.tarballs, inputs, archive)?,
            sysexts: all(self.sysexts, inputs, sysext)?,
            trusted: all(self.trust_certs, inputs, trust)?,
            enabled_sysexts: all(self.enable_sysexts, inputs, official_sysext)?,
            install_to: self
                .install_to
                .map(|text| place(text, inputs))
                .transpose()?,
            sysupdate: false,
            hostname: self
                .hostname
                .map(|name| hostname(name, inputs))
                .transpose()?,
            files: all(self.files, inputs, file)?,
            units: all(self.units, inputs, unit)?,
            grub_cfg: self
                .grub_cfg
                .map(|path| grub_cfg(path, inputs))
                .transpose()?,
            base_ign: self
                .base_ign
                .map(|config| ignition(config, inputs))
                .transpose()?,
            config_ign: self
                .config_ign
                .map(|config| ignition(config, inputs))
                .transpose()?,
            apply_ignition: self
                .apply_ignition
                .map(|config| ignition(config, inputs))
                .transpose()?,
            kernel_args: all(&self.kernel_args.add, inputs, kernel_arg)?,
            removed_kernel_args: all(&self.kernel_args.remove, inputs, kernel_arg)?,
            links: all(self.links, inputs, link)?,
            settings: Settings::default(),
            fresh_table: false,
        })
    }
}

fn all<T, U>(
    items: &[T],
    inputs: &mut Inputs,
    one: fn(&T, &mut Inputs) -> Result<U>,
) -> Result<Vec<U>> {
    items.iter().map(|item| one(item, inputs)).collect()
}

fn place(text: &Text, inputs: &mut Inputs) -> Result<Place> {
    text.value.parse().at(|| inputs.place(text.position))
}

fn sysext(spanned: &Spanned<TextOr<document::Sysext>>, inputs: &mut Inputs) -> Result<SysextSpec> {
    let sysext = match &spanned.value {
        TextOr::Table(sysext) => sysext,
        TextOr::Text(text) => return extension(text, spanned.position, inputs),
    };
    let name = sysext.name.value.clone();
    let file = inputs.add_digested(&sysext.file, sysext.sha256.as_ref())?;
    // They are taken along.
    for ending in sysupdate::ENDINGS {
        inputs.check_beside(&sysext.file, &format!("{name}.{ending}"))?;
    }
    Ok(SysextSpec {
        origin: Some(inputs.place(spanned.position)),
        ..SysextSpec::new(name, file)
    })
}

/// One of Flatcar's own sysexts, whose file whoever bakes fetches.
fn official_sysext(name: &Text, inputs: &mut Inputs) -> Result<OfficialSysext> {
    let place = inputs.place(name.position);
    let sysext: OfficialSysext = name.value.parse().at(|| place.clone())?;
    Ok(OfficialSysext {
        origin: Some(place),
        ..sysext
    })
}

/// An extension that was fetched before.
fn extension(text: &str, position: Position, inputs: &Inputs) -> Result<SysextSpec> {
    let place = inputs.place(position);
    let (name, _) = wants::extension(text).at(|| place.clone())?;
    let file = inputs.extension(text).at(|| place.clone())?;
    Ok(SysextSpec {
        origin: Some(place),
        ..SysextSpec::new(name, file)
    })
}

fn trust(path: &Text, inputs: &mut Inputs) -> Result<TrustSpec> {
    Ok(TrustSpec {
        file: inputs.add(path, Want::File)?,
        origin: Some(inputs.place(path.position)),
    })
}

/// A place in the image: `PART:/PATH`, or `/PATH` where the partition is known.
fn image_place(path: &str, partition: Option<&str>) -> Result<Place> {
    match partition {
        None => path.parse(),
        Some(_) if !path.starts_with('/') => Err(Error::invalid(format!(
            "'{}' does not begin with /, but its partition is given",
            path.escape_debug()
        ))
        .with_hint("write the partition once, in the path or as a key of its own")),
        Some(partition) => format!("{partition}:{path}").parse(),
    }
}

fn file(spanned: &Spanned<document::File>, inputs: &mut Inputs) -> Result<FileSpec> {
    let file = &spanned.value;
    let place = file_place(file).at(|| inputs.place(file.path.position))?;
    let source = file_source(spanned, inputs)?;
    Ok(FileSpec {
        source,
        partition: place.partition,
        path: place.path,
        mode: file
            .mode
            .as_ref()
            .map(|mode| octal(mode).at(|| inputs.place(mode.position)))
            .transpose()?,
        owner: (file.uid.is_some() || file.gid.is_some())
            .then(|| (file.uid.unwrap_or_default(), file.gid.unwrap_or_default())),
        origin: Some(inputs.place(spanned.position)),
    })
}

/// Where a file goes: a path that ends in `/` gets the name of its source.
fn file_place(file: &document::File) -> Result<Place> {
    let mut path = file.path.value.clone();
    if path.ends_with('/') {
        let name = match &file.source {
            Some(source) if !path.trim_end_matches('/').is_empty() => {
                source.value.trim_end_matches('/').rsplit('/').next()
            }
            _ => None,
        };
        let name = name.ok_or_else(|| {
            Error::invalid(format!("'{}' names no file", path.escape_debug()))
                .with_hint("give the whole path that the file shall have in the image")
        })?;
        path.push_str(name);
    }
    image_place(
        &path,
        file.partition
            .as_ref()
            .map(|partition| partition.value.as_str()),
    )
}

fn file_source(spanned: &Spanned<document::File>, inputs: &Inputs) -> Result<FileSource> {
    let file = &spanned.value;
    match (&file.source, &file.content, &file.content_base64) {
        (Some(source), None, None) => Ok(FileSource::Host(inputs.add(source, Want::FileOrFolder)?)),
        (None, Some(content), None) => Ok(FileSource::Inline(content.clone().into_bytes())),
        (None, None, Some(text)) => Ok(FileSource::Inline(
            base64(&text.value).at(|| inputs.place(text.position))?,
        )),
        _ => Err(
            Error::invalid("a file needs one of source, content and content_base64")
                .at(inputs.place(spanned.position)),
        ),
    }
}

fn base64(text: &str) -> Result<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).map_err(|error| {
        Error::invalid(format!("content_base64 is not base64: {error}"))
            .with_hint("write what base64(1) prints")
    })
}

/// Permission bits in octal digits, with or without `0o` in front.
fn octal(mode: &Spanned<Raw>) -> Result<u32> {
    let text = mode.value.0.as_str();
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = !digits.is_empty() && digits.chars().all(|c| c.is_digit(8));
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|&mode| is_octal && mode <= 0o7777)
        .ok_or_else(|| {
            Error::invalid(format!("'{}' is not a mode", text.escape_debug()))
                .with_hint("write octal digits from 0 to 7777, such as 0644")
        })
}

fn link(link: &Spanned<document::Link>, inputs: &mut Inputs) -> Result<LinkSpec> {
    let path = &link.value.path;
    let target = &link.value.target;
    let place = image_place(&path.value, path.value.starts_with('/').then_some("root"));
    let place = place.at(|| inputs.place(path.position))?;
    if place.partition != Designator::Root {
        let error = Error::invalid(format!(
            "a link on {} cannot be made, only on root",
            place.partition
        ));
        return Err(error
            .with_hint("put a copy of the file in its place")
            .at(inputs.place(path.position)));
    }
    if target.value.is_empty() || target.value.contains('\0') || target.value.len() > 4095 {
        let error = Error::invalid("a link's target has 1 to 4095 bytes, none of them NUL");
        return Err(error.at(inputs.place(target.position)));
    }
    Ok(LinkSpec {
        target: target.value.clone(),
        path: place.path,
        origin: Some(inputs.place(link.position)),
    })
}

fn archive(spanned: &Spanned<document::Tarball>, inputs: &mut Inputs) -> Result<ArchiveSpec> {
    let tarball = &spanned.value;
    let source = inputs.add_digested(&tarball.file, tarball.sha256.as_ref())?;
    let blamed = tarball
        .dest
        .as_ref()
        .or(tarball.partition.as_ref())
        .unwrap_or(&tarball.file);
    let place = archive_place(tarball).at(|| inputs.place(blamed.position))?;
    let glob = |pattern: &Text| Glob::new(&pattern.value).at(|| inputs.place(pattern.position));
    let owner = |owner: &Text| owner_of(&owner.value).at(|| inputs.place(owner.position));
    let options = TarOptions {
        strip_components: usize::try_from(tarball.strip_components)
            .map_err(|error| Error::invalid("strip_components is too large").with_source(error))?,
        owner: tarball.owner.as_ref().map(owner).transpose()?,
        excludes: tarball.exclude.iter().map(glob).collect::<Result<_>>()?,
        oci_layer: tarball.oci_layer,
        keep_docker_identity: tarball.keep_docker_identity,
    };
    let origin = Some(inputs.place(spanned.position));
    Ok(ArchiveSpec {
        source,
        partition: place.partition,
        dest: place.path,
        options,
        origin,
    })
}

/// The folder that an archive is unpacked in: `/` of ROOT where nothing else is said.
fn archive_place(tarball: &document::Tarball) -> Result<Place> {
    let partition = tarball
        .partition
        .as_ref()
        .map(|partition| partition.value.as_str());
    match &tarball.dest {
        Some(dest) if partition.is_none() && !dest.value.starts_with('/') => dest.value.parse(),
        Some(dest) => image_place(&dest.value, Some(partition.unwrap_or("root"))),
        None => image_place("/", Some(partition.unwrap_or("root"))),
    }
}

fn owner_of(text: &str) -> Result<(u32, u32)> {
    let numbers = text
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| {
        Error::invalid(format!("'{}' is not UID:GID", text.escape_debug()))
            .with_hint("two numbers from 0 to 4294967295")
    })
}

fn hostname(name: &Text, inputs: &mut Inputs) -> Result<Hostname> {
    let place = inputs.place(name.position);
    let hostname: Hostname = name.value.parse().at(|| place.clone())?;
    Ok(Hostname {
        origin: Some(place),
        ..hostname
    })
}

fn kernel_arg(argument: &Text, inputs: &mut Inputs) -> Result<String> {
    // Whether it can be one does not depend on the file it goes to.
    grub::edit_kernel_args("", std::slice::from_ref(&argument.value), &[])
        .at(|| inputs.place(argument.position))?;
    Ok(argument.value.clone())
}

fn unit(spanned: &Spanned<document::Unit>, inputs: &mut Inputs) -> Result<UnitSpec> {
    let unit = &spanned.value;
    let place = inputs.place(spanned.position);
    let contents = match (&unit.contents, &unit.source) {
        (None, None) => None,
        (contents, source) => Some(text_source(
            contents.as_ref(),
            source.as_ref(),
            "unit",
            &place,
            inputs,
        )?),
    };
    let dropins = unit
        .dropins
        .iter()
        .map(|dropin| self::dropin(dropin, inputs))
        .collect::<Result<_>>()?;
    Ok(UnitSpec {
        name: unit.name.value.clone(),
        contents,
        enabled: unit.enabled,
        dropins,
        origin: Some(place),
    })
}

/// The name of a drop-in and its content.
fn dropin(spanned: &Spanned<document::Dropin>, inputs: &Inputs) -> Result<(String, FileSource)> {
    let dropin = &spanned.value;
    let place = inputs.place(spanned.position);
    let source = text_source(
        dropin.contents.as_ref(),
        dropin.source.as_ref(),
        "drop-in",
        &place,
        inputs,
    )?;
    Ok((dropin.name.value.clone(), source))
}

/// What is written in the manifest itself, or the file that it names.
fn text_source(
    contents: Option<&String>,
    source: Option<&Text>,
    what: &str,
    place: &str,
    inputs: &Inputs,
) -> Result<FileSource> {
    match (contents, source) {
        (Some(contents), None) => Ok(FileSource::Inline(contents.clone().into_bytes())),
        (None, Some(source)) => Ok(FileSource::Host(inputs.add(source, Want::File)?)),
        _ => Err(Error::invalid(format!("a {what} needs one of contents and source")).at(place)),
    }
}

fn grub_cfg(path: &Text, inputs: &mut Inputs) -> Result<ConfigSpec> {
    let source = FileSource::Host(inputs.add(path, Want::File)?);
    Ok(ConfigSpec {
        source,
        origin: Some(inputs.place(path.position)),
    })
}

/// An Ignition config: that of a file, or one that the manifest holds itself. What is in it is checked by the bake,
/// whoever gives it.
fn ignition(spanned: &Spanned<TextOr<Json>>, inputs: &mut Inputs) -> Result<ConfigSpec> {
    let position = spanned.position;
    let source = match &spanned.value {
        TextOr::Table(json) => FileSource::Inline(
            serde_json::to_vec(json)
                .map_err(|error| Error::internal("making JSON").with_source(error))?,
        ),
        TextOr::Text(text) if is_content(text) => FileSource::Inline(text.clone().into_bytes()),
        TextOr::Text(text) => FileSource::Host(inputs.add(
            &Text {
                position,
                value: text.clone(),
            },
            Want::File,
        )?),
    };
    Ok(ConfigSpec {
        source,
        origin: Some(inputs.place(position)),
    })
}

/// Whether a text is a config itself, and not the path of one.
fn is_content(text: &str) -> bool {
    text.trim_start().starts_with('{') || text.contains('\n')
}
