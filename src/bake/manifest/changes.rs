//! Files, links, archives, units and configs of a manifest, as the options of a bake.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::{self, Json, KernelArgs, Text};
use super::inputs::{Inputs, Want};
use super::node::Position;
use super::spanned::{Raw, Spanned, TextOr};
use super::unit;
use crate::archive::{Glob, TarOptions};
use crate::bake::options::{ArchiveSpec, BakeOptions, FileRole, FileSpec, LinkSpec, Place, SysextSpec};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::{Designator, grub};
use crate::fs::FsPath;

/// What the shared bake and its variants have in common.
pub(super) struct Changes<'a> {
    pub(super) hostname: Option<&'a Text>,
    pub(super) sysexts: &'a [Spanned<document::Sysext>],
    pub(super) files: &'a [Spanned<document::File>],
    pub(super) links: &'a [Spanned<document::Link>],
    pub(super) tarballs: &'a [Spanned<document::Tarball>],
    pub(super) units: &'a [Spanned<document::Unit>],
    pub(super) kernel_args: &'a KernelArgs,
    pub(super) config_ign: Option<&'a Spanned<TextOr<Json>>>,
    pub(super) base_ign: Option<&'a Spanned<TextOr<Json>>>,
}

impl Changes<'_> {
    /// Adds them to `options`.
    pub(super) fn add_to(&self, options: &mut BakeOptions, inputs: &mut Inputs) -> Result<()> {
        for tarball in self.tarballs {
            options.archives.push(archive(&tarball.value, inputs)?);
        }
        for sysext in self.sysexts {
            options.sysexts.push(self::sysext(&sysext.value, inputs)?);
        }
        if let Some(name) = self.hostname {
            options.files.push(hostname(name, inputs)?);
        }
        for file in self.files {
            options.files.push(self::file(file, inputs)?);
        }
        for unit in self.units {
            add_unit(unit, options, inputs)?;
        }
        for (config, path) in [(self.base_ign, "/base/base.ign"), (self.config_ign, "/config.ign")] {
            if let Some(config) = config {
                options.files.push(ignition(config, path, inputs)?);
            }
        }
        for link in self.links {
            options.links.push(self::link(link, inputs)?);
        }
        for argument in self.kernel_args.add.iter().chain(&self.kernel_args.remove) {
            // Whether it can be one does not depend on the file it goes to.
            grub::edit_kernel_args("", std::slice::from_ref(&argument.value), &[])
                .at(|| inputs.place(argument.position))?;
        }
        let owned = |arguments: &[Text]| arguments.iter().map(|argument| argument.value.clone()).collect::<Vec<_>>();
        options.kernel_args.extend(owned(&self.kernel_args.add));
        options.removed_kernel_args.extend(owned(&self.kernel_args.remove));
        Ok(())
    }
}

fn sysext(sysext: &document::Sysext, inputs: &mut Inputs) -> Result<SysextSpec> {
    let name = sysext.name.value.clone();
    FsPath::root().join(format!("{name}.raw")).at(|| inputs.place(sysext.name.position))?;
    let file = inputs.add(&sysext.file, Want::File, sysext.sha256.as_ref())?;
    // The planner takes it along.
    inputs.add_beside(&sysext.file, &format!("{name}.conf"))?;
    Ok(SysextSpec { name, file })
}

/// A place in the image: `PART:/PATH`, or `/PATH` where the partition is known.
pub(super) fn image_place(path: &str, partition: Option<&str>) -> Result<Place> {
    match partition {
        None => path.parse(),
        Some(_) if !path.starts_with('/') => {
            Err(Error::invalid(format!("'{}' does not begin with /, but its partition is given", path.escape_debug()))
                .with_hint("write the partition once, in the path or as a key of its own"))
        }
        Some(partition) => format!("{partition}:{path}").parse(),
    }
}

fn file(spanned: &Spanned<document::File>, inputs: &mut Inputs) -> Result<FileSpec> {
    let (position, file) = (inputs.place(spanned.position), &spanned.value);
    let given = [file.source.is_some(), file.content.is_some(), file.content_base64.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Error::invalid("a file needs one of source, content and content_base64").at(position));
    }
    let path_position = inputs.place(file.path.position);
    let mut path = file.path.value.clone();
    if path.ends_with('/') && (file.source.is_none() || path.trim_end_matches('/').is_empty()) {
        let error = Error::invalid(format!("'{}' names no file", path.escape_debug()));
        return Err(error.with_hint("give the whole path that the file shall have in the image").at(path_position));
    }
    if let Some(source) = file.source.as_ref().filter(|_| path.ends_with('/')) {
        path.push_str(source.value.trim_end_matches('/').rsplit('/').next().unwrap_or_default());
    }
    let partition = file.partition.as_ref().map(|partition| partition.value.as_str());
    let place = image_place(&path, partition).at(|| path_position)?;
    let mut spec = match (&file.source, &file.content) {
        (Some(source), _) => FileSpec::new(inputs.add(source, Want::FileOrFolder, None)?, place.partition, place.path),
        (None, Some(content)) => FileSpec::inline(content.as_bytes(), place.partition, place.path),
        (None, None) => FileSpec::inline(base64(file, inputs)?, place.partition, place.path),
    };
    spec.mode = file.mode.as_ref().map(|mode| octal(mode).at(|| inputs.place(mode.position))).transpose()?;
    spec.owner = (file.uid, file.gid);
    spec.origin = Some(position);
    Ok(spec)
}

fn base64(file: &document::File, inputs: &Inputs) -> Result<Vec<u8>> {
    let Some(text) = &file.content_base64 else { return Ok(Vec::new()) };
    let digits: String = text.value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(digits).map_err(|error| {
        Error::invalid(format!("content_base64 is not base64: {error}"))
            .with_hint("write what base64(1) prints")
            .at(inputs.place(text.position))
    })
}

/// Permission bits in octal digits, with or without `0o` in front.
fn octal(mode: &Spanned<Raw>) -> Result<u32> {
    let text = mode.value.0.as_str();
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let is_octal = !digits.is_empty() && digits.chars().all(|c| c.is_digit(8));
    u32::from_str_radix(digits, 8).ok().filter(|&mode| is_octal && mode <= 0o7777).ok_or_else(|| {
        Error::invalid(format!("'{}' is not a mode", text.escape_debug()))
            .with_hint("write octal digits from 0 to 7777, such as 0644")
    })
}

fn link(link: &Spanned<document::Link>, inputs: &Inputs) -> Result<LinkSpec> {
    let (path, target) = (&link.value.path, &link.value.target);
    let place = image_place(&path.value, path.value.starts_with('/').then_some("root"));
    let place = place.at(|| inputs.place(path.position))?;
    if place.partition != Designator::Root {
        let error = Error::invalid(format!("a link on {} cannot be made, only on root", place.partition));
        return Err(error.with_hint("put a copy of the file in its place").at(inputs.place(path.position)));
    }
    if target.value.is_empty() || target.value.contains('\0') || target.value.len() > 4095 {
        let error = Error::invalid("a link's target has 1 to 4095 bytes, none of them NUL");
        return Err(error.at(inputs.place(target.position)));
    }
    Ok(LinkSpec { target: target.value.clone(), path: place.path, origin: Some(inputs.place(link.position)) })
}

fn archive(tarball: &document::Tarball, inputs: &mut Inputs) -> Result<ArchiveSpec> {
    let source = inputs.add(&tarball.file, Want::File, None)?;
    let word = tarball.partition.as_ref().map_or("root", |partition| &partition.value);
    let dest = tarball.dest.as_ref().map_or("/", |dest| &dest.value);
    let blamed = tarball.dest.as_ref().or(tarball.partition.as_ref()).unwrap_or(&tarball.file);
    let place = match (&tarball.partition, &tarball.dest) {
        (None, Some(dest)) if !dest.value.starts_with('/') => dest.value.parse(),
        _ => image_place(dest, Some(word)),
    };
    let place = place.at(|| inputs.place(blamed.position))?;
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
    Ok(ArchiveSpec { source, partition: place.partition, dest: place.path, options })
}

fn owner_of(text: &str) -> Result<(u32, u32)> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| {
        Error::invalid(format!("'{}' is not UID:GID", text.escape_debug()))
            .with_hint("two numbers from 0 to 4294967295")
    })
}

/// A host name as systemd takes it (hostname(5)): labels of letters, digits and `-`, 64 characters in all.
fn hostname(name: &Text, inputs: &Inputs) -> Result<FileSpec> {
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let position = inputs.place(name.position);
    if name.value.len() > 64 || !name.value.split('.').all(is_label) {
        return Err(Error::invalid(format!("'{}' is not a host name", name.value.escape_debug()))
            .with_hint("letters, digits and -, in parts with dots between them, 64 characters at most")
            .at(position));
    }
    let mut file = FileSpec::inline(format!("{}\n", name.value), Designator::Root, FsPath::new("/etc/hostname")?);
    file.origin = Some(position);
    Ok(file)
}

fn add_unit(unit: &Spanned<document::Unit>, options: &mut BakeOptions, inputs: &Inputs) -> Result<()> {
    let (position, unit) = (inputs.place(unit.position), &unit.value);
    let path = unit::path(&unit.name.value).at(|| inputs.place(unit.name.position))?;
    if unit.contents.is_none() && !unit.enabled {
        return Err(Error::invalid(format!("nothing is done with the unit {}", unit.name.value))
            .with_hint("give its contents, or enabled: true, or both")
            .at(position));
    }
    if let Some(contents) = &unit.contents {
        let file = FileSpec::inline(contents.as_bytes(), Designator::Root, path);
        options.files.push(FileSpec { origin: Some(position.clone()), ..file });
    }
    if unit.enabled {
        let links = unit::enabling_links(&unit.name.value, unit.contents.as_deref()).at(|| position.clone())?;
        let link = |(target, path)| LinkSpec { target, path, origin: Some(position.clone()) };
        options.links.extend(links.into_iter().map(link));
    }
    Ok(())
}

/// An Ignition config for `path` on OEM: that of a file, or one that the manifest holds itself.
fn ignition(config: &Spanned<TextOr<Json>>, path: &'static str, inputs: &mut Inputs) -> Result<FileSpec> {
    let (position, path) = (inputs.place(config.position), FsPath::new(path)?);
    let file = match &config.value {
        TextOr::Table(json) => FileSpec::inline(inline_config(json).at(|| position.clone())?, Designator::Oem, path),
        TextOr::Text(text) if text.trim_start().starts_with('{') => {
            let json = serde_json::from_str::<Json>(text)
                .map_err(|error| Error::invalid(format!("the config is not JSON: {error}")).at(position.clone()))?;
            FileSpec::inline(inline_config(&json).at(|| position.clone())?, Designator::Oem, path)
        }
        TextOr::Text(text) => FileSpec::new(config_file(text, config.position, inputs)?, Designator::Oem, path),
    };
    Ok(FileSpec { role: FileRole::Ignition, origin: Some(position), ..file })
}

fn config_file(text: &str, position: Position, inputs: &mut Inputs) -> Result<std::path::PathBuf> {
    if [".bu", ".yaml", ".yml"].iter().any(|extension| text.ends_with(extension)) {
        return Err(butane().at(inputs.place(position)));
    }
    inputs.add(&Text { position, value: text.to_owned() }, Want::File, None)
}

fn inline_config(json: &Json) -> Result<Vec<u8>> {
    if json.contains_key("variant") {
        return Err(butane());
    }
    let version = json.get("ignition").and_then(|ignition| ignition.get("version"));
    if version.is_none_or(|version| !version.is_string()) {
        return Err(Error::invalid("the config has no ignition.version, so Ignition refuses it")
            .with_hint("an Ignition config begins with ignition: {version: 3.3.0}, the version as a text"));
    }
    serde_json::to_vec(json).map_err(|error| Error::internal("making JSON").with_source(error))
}

fn butane() -> Error {
    Error::unsupported("a Butane config is not translated here")
        .with_hint("translate it first: butane --strict config.bu > config.ign")
}
