//! Documents of every kind that registries have.

use flatbake::ErrorKind;
use flatbake::fetch::registry::{Algorithm, Architecture, Digest, Document, Packing};
use serde_json::json;

use super::{BOTH, OCI_CONFIG, anyone, both, image, pull, reference, told};
use crate::common::noise;
use crate::common::registry::{Door, OCI_INDEX, OCI_MANIFEST, Shelf, sha256, sha512};

#[test]
fn an_index_leads_to_the_image_of_an_architecture() {
    for docker in [false, true] {
        let registry = both(docker).serve(Door::Open, None);
        let client = anyone(&registry);
        let tagged = reference(&registry, "tools/both:1");
        for architecture in BOTH {
            let resolved = client.resolve(&tagged, architecture).unwrap();
            let [layer] = &resolved.manifest.layers[..] else {
                panic!("one layer")
            };
            assert_eq!(
                pull(&client, &tagged, layer).unwrap(),
                architecture.word().as_bytes()
            );
            let config = client
                .read_blob(&tagged, &resolved.manifest.config, 1000)
                .unwrap();
            assert!(
                String::from_utf8(config)
                    .unwrap()
                    .contains(architecture.word())
            );
            // The bytes are those that the digests are of.
            assert_eq!(
                Digest::of(Algorithm::Sha256, &resolved.bytes),
                resolved.digest
            );
            let index = resolved.index.as_deref().unwrap();
            assert_eq!(Digest::of(Algorithm::Sha256, index), resolved.named);
            assert!(matches!(
                Document::parse(index, None).unwrap(),
                Document::Index(_)
            ));
            // What it names now, it names for ever.
            let pinned = tagged.pinned(&resolved.named);
            assert_eq!(client.resolve(&pinned, architecture).unwrap(), resolved);
            let straight = tagged.pinned(&resolved.digest);
            assert_eq!(
                client.resolve(&straight, architecture).unwrap().manifest,
                resolved.manifest
            );
        }
        let accept = registry.server.requests()[0]
            .header("Accept")
            .unwrap()
            .to_owned();
        for kind in [
            "oci.image.index.v1",
            "oci.image.manifest.v1",
            "manifest.list.v2",
            "distribution.manifest.v2",
        ] {
            assert!(accept.contains(kind), "{accept}");
        }
    }
}

#[test]
fn an_image_without_an_index_says_itself_what_it_is_for() {
    let mut shelf = Shelf::default();
    image(&mut shelf, "arm", Some("latest"), false, "arm64", b"x");
    let registry = shelf.serve(Door::Open, None);
    let client = anyone(&registry);
    client
        .resolve(&reference(&registry, "arm"), Architecture::Arm64)
        .unwrap();
    let error = client
        .resolve(&reference(&registry, "arm"), Architecture::Amd64)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(told(&error).contains("for linux/arm64 only"), "{error:?}");
    assert!(error.to_string().contains("/arm:latest: "), "{error}");
}

#[test]
fn an_index_may_lead_to_another_but_not_for_ever() {
    let mut shelf = both(false);
    let mut entry = shelf.manifest("tools/both", None, OCI_INDEX, json!({"manifests": []}));
    for (depth, tag) in [(1, "a"), (2, "b"), (3, "c"), (4, "d")] {
        if depth == 1 {
            entry = image(&mut shelf, "tools/both", None, false, "amd64", b"deep");
        }
        entry["platform"] = json!({"os": "linux", "architecture": "amd64"});
        entry = shelf.manifest(
            "tools/both",
            Some(tag),
            OCI_INDEX,
            json!({"manifests": [entry]}),
        );
    }
    let registry = shelf.serve(Door::Open, None);
    let client = anyone(&registry);
    for tag in ["a", "b", "c"] {
        client
            .resolve(
                &reference(&registry, &format!("tools/both:{tag}")),
                Architecture::Amd64,
            )
            .unwrap();
    }
    let error = client
        .resolve(&reference(&registry, "tools/both:d"), Architecture::Amd64)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(told(&error).contains("indexes in indexes"), "{error:?}");
}

#[test]
fn a_system_extension_is_one_raw_file_of_any_kind() {
    let bytes = noise(1, 300_000);
    let mut shelf = Shelf::default();
    let empty = shelf.blob("application/vnd.oci.empty.v1+json", b"{}");
    for (tag, media_type) in [
        ("1", "application/vnd.flatcar.sysext.raw"),
        ("2", "application/octet-stream"),
        ("3", "application/vnd.example.sysext+zstd"),
    ] {
        let mut layer = shelf.blob(media_type, &bytes);
        layer["annotations"] = json!({"org.opencontainers.image.title": "docker-24.raw"});
        let content =
            json!({"artifactType": "application/vnd.example", "config": empty, "layers": [layer]});
        shelf.manifest("sysext/docker", Some(tag), OCI_MANIFEST, content);
    }
    let layer = shelf.blob("application/octet-stream", &bytes);
    shelf.manifest(
        "sysext/docker",
        Some("two"),
        OCI_MANIFEST,
        json!({"config": empty, "layers": [layer, layer]}),
    );
    shelf.manifest(
        "sysext/docker",
        Some("none"),
        OCI_MANIFEST,
        json!({"config": empty, "layers": []}),
    );
    image(
        &mut shelf,
        "sysext/docker",
        Some("image"),
        false,
        "amd64",
        b"x",
    );
    let registry = shelf.serve(Door::Open, None);
    let client = anyone(&registry);
    for tag in ["1", "2", "3"] {
        let tagged = reference(&registry, &format!("sysext/docker:{tag}"));
        let artifact = client.artifact(&tagged, Architecture::Arm64).unwrap();
        assert_eq!(artifact.layer.title(), Some("docker-24.raw"));
        let packing = if tag == "3" {
            Packing::Zstd
        } else {
            Packing::None
        };
        assert_eq!(artifact.layer.packing(), packing);
        assert!(pull(&client, &tagged, &artifact.layer).unwrap() == bytes);
    }
    for (tag, what) in [
        ("two", "something of 2 layers"),
        ("none", "something of 0 layers"),
        ("image", "a container image"),
    ] {
        let tagged = reference(&registry, &format!("sysext/docker:{tag}"));
        let error = client.artifact(&tagged, Architecture::Amd64).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains(what), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn digests_of_both_kinds_name_things() {
    let bytes = noise(2, 100_000);
    let mut shelf = Shelf::default();
    let config = shelf.blob(OCI_CONFIG, b"{}");
    let layer = shelf.blob_as(&sha512(&bytes), "application/octet-stream", &bytes);
    let content = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
    let document = serde_json::to_vec(&content).unwrap();
    for digest in [sha256(&document), sha512(&document)] {
        shelf.document("a", &digest, "application/json", &document);
    }
    let registry = shelf.serve(Door::Open, None);
    let client = anyone(&registry);
    for digest in [sha256(&document), sha512(&document)] {
        let pinned = reference(&registry, &format!("a@{digest}"));
        let resolved = client.resolve(&pinned, Architecture::Amd64).unwrap();
        assert_eq!(resolved.named.to_string(), digest);
        assert!(pull(&client, &pinned, &resolved.manifest.layers[0]).unwrap() == bytes);
    }
}
