//! Root filesystems, and what of them runs elsewhere.

mod flix;
mod rootfs;
mod wrapped;

use std::path::{Path, PathBuf};

use flatbake::flatcar::sysext::build::Means;
use flatbake::{Cancel, NoProgress};
use serde_json::json;

use crate::common::registry::{Shelf, sha256};
use crate::common::sysext::write_file;

/// What builders call a layer that is not packed.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn means(dir: &Path) -> Means<'static> {
    Means::new(&NoProgress, dir, Cancel::new())
}

/// An OCI layout of these layers in `folder`.
pub fn layout(folder: &Path, layers: &[Vec<u8>]) -> PathBuf {
    let blob = |bytes: &[u8]| {
        let digest = sha256(bytes);
        let name = digest.strip_prefix("sha256:").unwrap();
        write_file(folder, &format!("blobs/sha256/{name}"), bytes);
        digest
    };
    let of =
        |bytes: &Vec<u8>| json!({"mediaType": LAYER, "digest": blob(bytes), "size": bytes.len()});
    let layers: Vec<_> = layers.iter().map(of).collect();
    let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string();
    let digest = blob(manifest.as_bytes());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": media_type, "digest": digest, "size": manifest.len()}],
    });
    write_file(folder, "index.json", index.to_string().as_bytes());
    write_file(folder, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    folder.to_owned()
}

/// An image of a registry with these layers.
fn shelve(shelf: &mut Shelf, repository: &str, tag: &str, layers: &[Vec<u8>]) {
    let config = br#"{"os":"linux","architecture":"amd64"}"#;
    let config = shelf.blob("application/vnd.oci.image.config.v1+json", config);
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| shelf.blob(LAYER, layer))
        .collect();
    let content = json!({"config": config, "layers": layers});
    let media_type = crate::common::registry::OCI_MANIFEST;
    shelf.manifest(repository, Some(tag), media_type, content);
}
