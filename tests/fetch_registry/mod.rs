//! Registries against one of the tests on loopback, which has what it should and what it should not.

mod doors;
mod kinds;
mod wrong;

use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

use flatbake::fetch::registry::{Architecture, Descriptor, Logins, Reference, Registry};
use flatbake::fetch::transfer::{Client, Retries, Settings};
use flatbake::{Cancel, Error, NoProgress, Result};
use serde_json::{Value, json};

use crate::common::registry::{
    self as shelf, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Shelf,
};
use crate::common::server::Authority;

const PLENTY: u64 = 64 << 20;
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

fn settings() -> Settings {
    Settings {
        authorities: Authority::usual()
            .map(Authority::file)
            .into_iter()
            .collect(),
        stall_timeout: Duration::from_secs(5),
        retries: Retries {
            count: 2,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(10),
            seed: 1,
        },
        ..Settings::default()
    }
}

/// A client that speaks to `registry` without TLS.
fn client_of(registry: &shelf::Registry, logins: Logins) -> Registry {
    let client = Client::new(&settings(), &Cancel::new()).unwrap();
    Registry::new(client, logins).without_tls(&registry.name())
}

fn anyone(registry: &shelf::Registry) -> Registry {
    client_of(registry, Logins::default())
}

fn reference(registry: &shelf::Registry, what: &str) -> Reference {
    Reference::parse(&registry.reference(what)).unwrap()
}

fn contents(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn pull(client: &Registry, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    client.pull_blob(reference, blob, &mut file, PLENTY, &NoProgress)?;
    Ok(contents(file))
}

fn told(error: &Error) -> String {
    format!("{error:?}")
}

/// An image of one layer that is `content`, for linux on `architecture`; what names its manifest.
fn image(
    shelf: &mut Shelf,
    repository: &str,
    tag: Option<&str>,
    docker: bool,
    architecture: &str,
    content: &[u8],
) -> Value {
    let (manifest, config, tar) = if docker {
        (
            DOCKER_MANIFEST,
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
    } else {
        (OCI_MANIFEST, OCI_CONFIG, TAR)
    };
    let description = json!({"os": "linux", "architecture": architecture, "rootfs": {}});
    let config = shelf.blob(config, &serde_json::to_vec(&description).unwrap());
    let layer = shelf.blob(tar, content);
    shelf.manifest(
        repository,
        tag,
        manifest,
        json!({"config": config, "layers": [layer]}),
    )
}

fn for_platform(mut entry: Value, architecture: &str) -> Value {
    entry["platform"] = json!({"os": "linux", "architecture": architecture});
    entry
}

/// A shelf with an image for both architectures, `tools/both:1`, whose layers are their names.
fn both(docker: bool) -> Shelf {
    let mut shelf = Shelf::default();
    let entries = ["amd64", "arm64"].map(|architecture| {
        let entry = image(
            &mut shelf,
            "tools/both",
            None,
            docker,
            architecture,
            architecture.as_bytes(),
        );
        for_platform(entry, architecture)
    });
    let kind = if docker { DOCKER_LIST } else { OCI_INDEX };
    shelf.manifest("tools/both", Some("1"), kind, json!({"manifests": entries}));
    shelf
}

const BOTH: [Architecture; 2] = [Architecture::Amd64, Architecture::Arm64];
