//! Container images as files, unpacked without a daemon: OCI image layouts and archives of `docker save`.
//!
//! ```text
//!   index.json ─▶ (index ─▶) manifest ─┐
//!                                      ├─▶ layers, the lowest first ─▶ each unpacked over those below it
//!   manifest.json (docker save) ───────┘
//! ```
//!
//! Blobs are read front to back and held against the digests that name them. Formats: the OCI image specification
//! (`image-layout.md`, `image-index.md`, `manifest.md`), and what `docker save` writes.

mod json;
mod layer;

use serde::Deserialize;

use layer::{Digest, Layer};
pub use layer::{Over, Unpacked};

use crate::error::{Error, Result, ResultExt};
use crate::fs::{self, FileSystem, FsPath};

/// What an OCI layout has at its top.
const LAYOUT: &str = "/oci-layout";
const INDEX: &str = "/index.json";
/// What an archive of `docker save` has at its top.
const DOCKER_MANIFEST: &str = "/manifest.json";
/// Indexes in indexes.
const DEPTH_MAX: usize = 4;
/// Layers of one image; Docker has 127 at most.
const LAYERS_MAX: usize = 1024;
/// What builders say of a manifest that describes another one, and is no image.
const REFERENCE: &str = "vnd.docker.reference.type";

/// A container image whose layers are known.
#[derive(Debug)]
pub struct ContainerImage {
    layers: Vec<Layer>,
}

/// A blob as manifests refer to it.
#[derive(Debug, Clone, Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// One image of `docker save`.
#[derive(Debug, Deserialize)]
struct Saved {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

impl ContainerImage {
    /// The container image whose files `files` are; `None` where they are none. `architecture`, in Go's words (`amd64`),
    /// chooses one of several.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] for what is no such image after all, [`crate::ErrorKind::InvalidInput`] where there are
    /// several images, or none, for the architecture.
    pub fn find(files: &dyn FileSystem, architecture: Option<&str>) -> Result<Option<Self>> {
        let has = |path: &str| fs::exists(files, &FsPath::new(path)?);
        if has(LAYOUT)? && has(INDEX)? {
            return Self::of_layout(files, architecture).map(Some);
        }
        if has(DOCKER_MANIFEST)? {
            return Self::saved(files, architecture);
        }
        Ok(None)
    }

    /// Unpacks all layers, the lowest first, into the root of `tree`.
    ///
    /// # Errors
    /// Those of reading, [`crate::ErrorKind::Corrupt`] for a layer that is not what its digest says, and those of unpacking.
    pub fn unpack(&self, files: &dyn FileSystem, over: &mut Over<'_>) -> Result<Unpacked> {
        let mut unpacked = Unpacked::default();
        for (number, layer) in (1..).zip(&self.layers) {
            over.cancel.check()?;
            let done = layer.unpack(files, over);
            unpacked.add(done.at(|| format!("layer {number}, {}", layer.path()))?);
        }
        Ok(unpacked)
    }

    fn of_layout(files: &dyn FileSystem, architecture: Option<&str>) -> Result<Self> {
        let index: Index = json::read(files, &FsPath::new(INDEX)?)?;
        let manifest = choose(files, index.manifests, architecture, 0)?;
        let path = blob(&manifest.digest)?;
        let digest = Digest::parse(&manifest.digest)?;
        let manifest: Manifest = json::read_digested(files, &path, &digest)?;
        let layer = |descriptor: &Descriptor| {
            let path = blob(&descriptor.digest)?;
            if !descriptor.media_type.contains("tar") {
                return Err(Error::unsupported(format!(
                    "a layer of the type '{}': only tar archives are unpacked",
                    descriptor.media_type.escape_debug()
                ))
                .at(path.to_string()));
            }
            Ok(Layer::stored(path, Digest::parse(&descriptor.digest)?))
        };
        let layers: Result<Vec<Layer>> = manifest.layers.iter().map(layer).collect();
        Self::of_layers(layers?)
    }

    fn saved(files: &dyn FileSystem, architecture: Option<&str>) -> Result<Option<Self>> {
        let path = FsPath::new(DOCKER_MANIFEST)?;
        // A file of this name may be anything.
        let Ok(images) = json::read::<Vec<Saved>>(files, &path) else {
            return Ok(None);
        };
        let mut fitting = Vec::new();
        for image in images {
            let config: Config = json::read(files, &member(&image.config)?)?;
            let fits = architecture.is_none_or(|wanted| {
                config.architecture.is_empty() || config.architecture == wanted
            });
            if fits {
                fitting.push((image, config));
            }
        }
        if fitting.len() != 1 {
            return Err(Error::invalid(format!(
                "{} images that fit in one archive of docker save: one is needed",
                fitting.len()
            ))
            .with_hint("save the one image, for the architecture that is wanted"));
        }
        let (image, config) = fitting.swap_remove(0);
        let diff_ids = config
            .rootfs
            .map(|rootfs| rootfs.diff_ids)
            .unwrap_or_default();
        if diff_ids.len() != image.layers.len() {
            return Err(Error::corrupt(format!(
                "{} layers with {} digests in the config",
                image.layers.len(),
                diff_ids.len()
            )));
        }
        let layer = |(path, diff_id): (&String, &String)| {
            Ok(Layer::unpacked(member(path)?, Digest::parse(diff_id)?))
        };
        let layers: Result<Vec<Layer>> = image.layers.iter().zip(&diff_ids).map(layer).collect();
        Self::of_layers(layers?).map(Some)
    }

    fn of_layers(layers: Vec<Layer>) -> Result<Self> {
        if layers.len() > LAYERS_MAX {
            return Err(Error::unsupported(format!(
                "an image of {} layers: at most {LAYERS_MAX} are unpacked",
                layers.len()
            )));
        }
        Ok(Self { layers })
    }
}

/// The manifest of the only image, or of the only one for `architecture`.
fn choose(
    files: &dyn FileSystem,
    mut manifests: Vec<Descriptor>,
    architecture: Option<&str>,
    depth: usize,
) -> Result<Descriptor> {
    if depth > DEPTH_MAX {
        return Err(Error::unsupported(format!(
            "indexes in indexes, more than {DEPTH_MAX} deep"
        )));
    }
    manifests.retain(|manifest| is_image(manifest) && fits(manifest, architecture));
    if manifests.len() != 1 {
        let known: Vec<&str> = manifests
            .iter()
            .filter_map(|manifest| Some(manifest.platform.as_ref()?.architecture.as_str()))
            .collect();
        return Err(Error::invalid(format!(
            "{} images that fit in one layout ({}): one is needed",
            manifests.len(),
            known.join(", ")
        ))
        .with_hint("name the architecture, or copy the one image into a layout of its own"));
    }
    let only = manifests.swap_remove(0);
    if !only.media_type.contains("index") && !only.media_type.contains("manifest.list") {
        return Ok(only);
    }
    let digest = Digest::parse(&only.digest)?;
    let index: Index = json::read_digested(files, &blob(&only.digest)?, &digest)?;
    choose(files, index.manifests, architecture, depth + 1)
}

/// Whether a manifest is an image that Linux runs, as far as it says.
fn is_image(manifest: &Descriptor) -> bool {
    let is_linux = |platform: &Platform| platform.os.is_empty() || platform.os == "linux";
    !manifest.annotations.contains_key(REFERENCE) && manifest.platform.as_ref().is_none_or(is_linux)
}

fn fits(manifest: &Descriptor, architecture: Option<&str>) -> bool {
    match (architecture, &manifest.platform) {
        (Some(wanted), Some(platform)) if !platform.architecture.is_empty() => {
            platform.architecture == wanted
        }
        _ => true,
    }
}

/// Where a layout keeps the blob with a digest.
fn blob(digest: &str) -> Result<FsPath> {
    let digest = Digest::parse(digest)?;
    FsPath::new(format!("/blobs/sha256/{}", digest.hex()))
}

/// A file that an archive of `docker save` names.
fn member(name: &str) -> Result<FsPath> {
    FsPath::new(format!("/{name}"))
}
