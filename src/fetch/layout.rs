//! Container images of registries as OCI layouts, through the store.
//!
//! ```text
//!  oci://HOST/REPO:TAG ──▶ index, manifest, layers ──▶ store ──▶ FOLDER/oci-layout, index.json, blobs/sha256/…
//! ```

use std::fs;
use std::path::Path;

use super::fetcher::Fetcher;
use super::oci::Kept;
use super::registry::{Algorithm, Digest, Reference, Registry, at_unless_cancelled, resolve};
use crate::error::{Error, Result, from_io};
use crate::machine::Arch;
use crate::progress::Progress;

/// Layers of one image; docker has 127 at most.
const LAYERS_MAX: usize = 1024;

impl Fetcher<'_> {
    /// Puts the container image that `reference` names for an architecture into `folder`, an empty one, as an OCI layout. It
    /// comes from `registry`, or from the store alone. Returns what pins it.
    ///
    /// # Errors
    /// Those of [`Registry::resolve`] and [`Registry::pull_blob`], and of writing.
    pub fn layout(
        &self,
        registry: Option<&Registry>,
        reference: &Reference,
        arch: Arch,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<String> {
        let kept = Kept {
            fetcher: self,
            registry,
            progress,
        };
        let resolved = resolve(&kept, reference, arch.into())?;
        let layers = &resolved.manifest.layers;
        if layers.len() > LAYERS_MAX {
            return Err(Error::unsupported(format!(
                "an image of {} layers: at most {LAYERS_MAX} are fetched",
                layers.len()
            ))
            .at(reference.to_string()));
        }
        let blobs = folder.join("blobs/sha256");
        let write = |name: &Path, bytes: &[u8]| {
            let written = fs::write(name, bytes);
            written.map_err(|error| from_io(format!("writing {}", name.display()), error))
        };
        let made = fs::create_dir_all(&blobs);
        made.map_err(|error| from_io(format!("creating {}", blobs.display()), error))?;
        for layer in layers {
            let path = blobs.join(hex(&layer.digest)?);
            if path.exists() {
                continue;
            }
            let stored = kept.blob(reference, layer);
            let stored = stored.map_err(|error| at_unless_cancelled(error, reference))?;
            let linked = fs::hard_link(&stored.path, &path);
            linked
                .or_else(|_| fs::copy(&stored.path, &path).map(drop))
                .map_err(|error| from_io(format!("copying {}", stored.path.display()), error))?;
        }
        write(&blobs.join(hex(&resolved.digest)?), &resolved.bytes)?;
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": resolved.digest.to_string(),
                "size": resolved.bytes.len(),
            }],
        });
        write(&folder.join("index.json"), index.to_string().as_bytes())?;
        let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
        write(&folder.join("oci-layout"), version)?;
        Ok(format!("oci://{}", reference.pinned(&resolved.named)))
    }
}

/// The name of a blob in a layout.
fn hex(digest: &Digest) -> Result<&str> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest.hex()),
        _ => Err(Error::unsupported(format!(
            "the digest '{digest}': only SHA-256 is unpacked"
        ))),
    }
}
