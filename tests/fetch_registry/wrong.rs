//! What is not what its digest says, not there, too large, or not known.

use flatbake::fetch::registry::Architecture;
use flatbake::{ErrorKind, NoProgress, Reason};
use serde_json::json;

use super::{OCI_CONFIG, PLENTY, anyone, both, contents, image, pull, reference, told};
use crate::common::noise;
use crate::common::registry::{DOCKER_MANIFEST, Door, OCI_INDEX, OCI_MANIFEST, Shelf, sha256};

fn error_of(shelf: Shelf, what: &str) -> flatbake::Error {
    let registry = shelf.serve(Door::Open, None);
    let client = anyone(&registry);
    let resolved = client.resolve(&reference(&registry, what), Architecture::Amd64);
    let error = resolved.unwrap_err();
    assert!(error.to_string().starts_with(&registry.name()), "{error}");
    error
}

#[test]
fn documents_that_are_not_what_was_asked_for_are_not_believed() {
    // By the digest of the reference.
    let mut shelf = both(false);
    let other = sha256(b"other");
    shelf.document("tools/both", &other, OCI_MANIFEST, b"{}");
    let error = error_of(shelf, &format!("tools/both@{other}"));
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Untrusted, Some(Reason::Checksum))
    );

    // By what the registry itself says.
    let mut shelf = both(false);
    shelf.lie = Some(other.clone());
    assert_eq!(error_of(shelf, "tools/both:1").kind(), ErrorKind::Untrusted);

    // By an index.
    let mut shelf = Shelf::default();
    let content = br#"{"schemaVersion": 2}"#;
    shelf.document("a", &other, OCI_MANIFEST, content);
    let entry = json!({
        "mediaType": OCI_MANIFEST, "digest": other, "size": content.len(),
        "platform": {"os": "linux", "architecture": "amd64"}
    });
    shelf.manifest("a", Some("1"), OCI_INDEX, json!({"manifests": [entry]}));
    assert_eq!(error_of(shelf, "a:1").kind(), ErrorKind::Untrusted);

    // By a manifest: the description of an image.
    let mut shelf = Shelf::default();
    let config = shelf.blob_as(
        &other,
        OCI_CONFIG,
        br#"{"os": "linux", "architecture": "amd64"}"#,
    );
    shelf.manifest(
        "a",
        Some("1"),
        OCI_MANIFEST,
        json!({"config": config, "layers": []}),
    );
    assert_eq!(error_of(shelf, "a:1").kind(), ErrorKind::Untrusted);
}

#[test]
fn blobs_that_are_not_what_was_asked_for_leave_nothing_behind() {
    let right = noise(1, 100_000);
    let mut flipped = right.clone();
    flipped[77_777] ^= 1;
    let mut longer = right.clone();
    longer.push(0);
    for (served, kind) in [
        (flipped, ErrorKind::Untrusted),
        (longer, ErrorKind::Unsupported),
        (right[..99_999].to_vec(), ErrorKind::Network),
        (Vec::new(), ErrorKind::Network),
    ] {
        let mut shelf = Shelf::default();
        let config = shelf.blob("application/vnd.oci.empty.v1+json", b"{}");
        let mut layer = shelf.blob("application/octet-stream", &right);
        shelf.blob_as(layer["digest"].as_str().unwrap(), "", &served);
        layer["size"] = json!(right.len());
        shelf.manifest(
            "a",
            Some("1"),
            OCI_MANIFEST,
            json!({"config": config, "layers": [layer]}),
        );
        let registry = shelf.serve(Door::Open, None);
        let client = anyone(&registry);
        let tagged = reference(&registry, "a:1");
        let artifact = client.artifact(&tagged, Architecture::Amd64).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let pulled = client.pull_blob(
            &tagged,
            &artifact.layer,
            &mut file,
            right.len() as u64,
            &NoProgress,
        );
        let error = pulled.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(contents(file), b"", "{error:?}");
        assert!(client.read_blob(&tagged, &artifact.layer, PLENTY).is_err());
    }
}

#[test]
fn what_is_not_there_is_told() {
    let mut shelf = both(false);
    let entry = json!({"mediaType": OCI_MANIFEST, "digest": sha256(b"gone"), "size": 5});
    shelf.manifest(
        "tools/both",
        Some("gone"),
        OCI_INDEX,
        json!({"manifests": [entry]}),
    );
    image(
        &mut shelf,
        "tools/both",
        Some("windows"),
        false,
        "riscv64",
        b"x",
    );
    for what in [
        "tools/none",
        "tools/both:2",
        "tools/both:gone",
        "tools/both:windows",
    ] {
        let error = error_of(shelf.clone(), what);
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    let registry = both(false).serve(Door::Open, None);
    let client = anyone(&registry);
    let tagged = reference(&registry, "tools/both:1");
    let mut layer = client
        .resolve(&tagged, Architecture::Amd64)
        .unwrap()
        .manifest
        .layers
        .remove(0);
    layer.digest = sha256(b"gone").parse().unwrap();
    assert_eq!(
        pull(&client, &tagged, &layer).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn what_is_too_large_is_refused() {
    let mut shelf = Shelf::default();
    let filler = "x".repeat(5 << 20);
    shelf.manifest(
        "a",
        Some("1"),
        OCI_INDEX,
        json!({"manifests": [], "annotations": {"a": filler}}),
    );
    let error = error_of(shelf, "a:1");
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Unsupported, Some(Reason::Limit))
    );

    let registry = both(false).serve(Door::Open, None);
    let client = anyone(&registry);
    let tagged = reference(&registry, "tools/both:1");
    let layer = client
        .resolve(&tagged, Architecture::Amd64)
        .unwrap()
        .manifest
        .layers
        .remove(0);
    let mut file = tempfile::tempfile().unwrap();
    let error = client
        .pull_blob(&tagged, &layer, &mut file, 4, &NoProgress)
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Limit), "{error:?}");
}

#[test]
fn documents_that_are_not_known_are_refused() {
    let mut shelf = Shelf::default();
    let signed = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    shelf.document(
        "a",
        "old",
        signed,
        br#"{"schemaVersion": 1, "name": "a", "fsLayers": [], "history": []}"#,
    );
    shelf.document("a", "html", "text/html", b"<html></html>");
    shelf.document("a", "web", "text/html", br#"{"schemaVersion": 2}"#);
    let two = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []});
    shelf.document(
        "a",
        "two",
        DOCKER_MANIFEST,
        &serde_json::to_vec(&two).unwrap(),
    );
    for (tag, kind, message) in [
        ("old", ErrorKind::Unsupported, "schema 1"),
        ("html", ErrorKind::Corrupt, "no manifest or index"),
        ("web", ErrorKind::Unsupported, "text/html"),
        ("two", ErrorKind::Corrupt, ""),
    ] {
        let error = error_of(shelf.clone(), &format!("a:{tag}"));
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(told(&error).contains(message), "{error:?}");
    }
}
