//! Sources other than folders: archives, container images, extensions.

use std::io::Write;

use flatbake::archive::tar::TarLayout;
use flatbake::block::BlockDevice;
use flatbake::flatcar::sysext::build::{Build, Means};
use flatbake::fs::FileType;
use flatbake::{Cancel, ErrorKind, NoProgress};
use sha2::{Digest, Sha256};

use super::{Place, content, findings, open, some, type_at, write};
use crate::common::longer;
use crate::common::random::Random;
use crate::common::reading::{succeed, text};
use crate::common::sysext::write_file;

/// A dynamic program for x86-64: a header, three program headers, names and tags.
pub fn dynamic(interpreter: &str, needed: &[&str]) -> Vec<u8> {
    let mut names = vec![0];
    let mut add = |name: &str| {
        let at = names.len() as u64;
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        at
    };
    let start = add(interpreter);
    let mut tags: Vec<(u64, u64)> = needed.iter().map(|name| (1, add(name))).collect();
    let head = 64 + 3 * 56;
    let len = names.len() as u64;
    tags.extend([(5, head), (10, len), (0, 0)]);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&[3, 0, 62, 0, 1, 0, 0, 0]);
    for value in [0u64, 64, 0] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&[0; 4]);
    for value in [64u16, 56, 3, 0, 0, 0] {
        file.extend_from_slice(&value.to_le_bytes());
    }
    let dynamic_bytes = 16 * tags.len() as u64;
    let all = head + len + dynamic_bytes;
    let interpreter_bytes = interpreter.len() as u64 + 1;
    for (kind, offset, bytes) in [
        (1u32, 0, all),
        (3, head + start, interpreter_bytes),
        (2, head + len, dynamic_bytes),
    ] {
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&[4, 0, 0, 0]);
        for value in [offset, offset, offset, bytes, bytes, 8] {
            file.extend_from_slice(&value.to_le_bytes());
        }
    }
    file.extend_from_slice(&names);
    for (tag, value) in tags {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    file
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar of files; those whose names end with a slash are folders.
fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut layout = TarLayout::new(1_650_000_000);
    for (path, bytes) in entries {
        match path.strip_suffix('/') {
            Some(folder) => layout.directory(folder, 0o755).unwrap(),
            None => layout.file(path, 0o644, bytes.to_vec()).unwrap(),
        }
    }
    let archive = layout.finish().unwrap();
    let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
    archive.read_at(0, &mut bytes).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const LOWER: &[(&str, &[u8])] = &[
    ("usr/", b""),
    ("usr/share/", b""),
    ("usr/share/one", b"1"),
    ("usr/share/two", b"2"),
    ("usr/share/old/", b""),
    ("usr/share/old/x", b"x"),
];
const UPPER: &[(&str, &[u8])] = &[
    ("usr/share/", b""),
    ("usr/share/.wh.two", b""),
    ("usr/share/old/", b""),
    ("usr/share/old/.wh..wh..opq", b""),
    ("usr/share/old/y", b"y"),
    ("usr/share/one", b"one"),
];

fn is_unpacked(place: &Place, image: &str) {
    let fs = open(&place.path(image));
    assert_eq!(content(&*fs, "/usr/share/one"), "one");
    assert_eq!(content(&*fs, "/usr/share/old/y"), "y");
    assert_eq!(type_at(&*fs, "/usr/share/two"), None);
    assert_eq!(type_at(&*fs, "/usr/share/old/x"), None);
    assert_eq!(type_at(&*fs, "/usr/share"), Some(FileType::Directory));
}

/// Files of an OCI layout with one image for each architecture; `damage` changes the first layer's bytes.
fn layout(architectures: &[&str], damage: bool) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "oci-layout".to_owned(),
        br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec(),
    )];
    let mut manifests = Vec::new();
    for architecture in architectures {
        let mut lower = LOWER.to_vec();
        lower.push(("usr/share/arch", architecture.as_bytes()));
        let mut layers = Vec::new();
        for entries in [&lower[..], UPPER] {
            let bytes = gzip(&tar(entries));
            let digest = hex(&bytes);
            layers.push(format!(
                r#"{{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:{digest}", "size": {}}}"#,
                bytes.len()
            ));
            let mut stored = bytes;
            if damage {
                let last = stored.len() - 1;
                stored.push(stored[last]);
            }
            files.push((format!("blobs/sha256/{digest}"), stored));
        }
        let manifest = format!(
            r#"{{"schemaVersion": 2, "layers": [{}]}}"#,
            layers.join(", ")
        );
        let digest = hex(manifest.as_bytes());
        files.push((format!("blobs/sha256/{digest}"), manifest.into_bytes()));
        manifests.push(format!(
            r#"{{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:{digest}", "size": 1,
                "platform": {{"os": "linux", "architecture": "{architecture}"}}}}"#
        ));
    }
    let index = format!(
        r#"{{"schemaVersion": 2, "manifests": [{}]}}"#,
        manifests.join(", ")
    );
    files.push(("index.json".to_owned(), index.into_bytes()));
    files
}

fn as_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
        .collect();
    tar(&entries)
}

#[test]
fn archives_packed_or_not_are_sources() {
    let place = Place::new();
    let archive = tar(LOWER);
    std::fs::write(place.path("plain.tar"), &archive).unwrap();
    std::fs::write(place.path("packed"), gzip(&archive)).unwrap();
    let mut sums = Vec::new();
    for name in ["plain.tar", "packed"] {
        let build = Build::new(place.path(name), "tool");
        let built = write(build, &place.path(&format!("{name}.raw")), None).unwrap();
        sums.push(built.sha256.unwrap());
    }
    assert_eq!(sums[0], sums[1]);
    let fs = open(&place.path("packed.raw"));
    assert_eq!(content(&*fs, "/usr/share/old/x"), "x");
}

#[test]
fn layers_of_a_layout_are_unpacked_one_over_the_other() {
    let place = Place::new();
    for (path, bytes) in layout(&["amd64"], false) {
        write_file(&place.path("layout"), &path, &bytes);
    }
    std::fs::write(place.path("layout.tar"), as_tar(&layout(&["amd64"], false))).unwrap();
    let of = |source: &str, image: &str| {
        write(
            Build::new(place.path(source), "tool"),
            &place.path(image),
            None,
        )
        .unwrap()
    };
    let folder = of("layout", "folder.raw");
    let archive = of("layout.tar", "archive.raw");
    assert_eq!(folder.sha256, archive.sha256);
    is_unpacked(&place, "folder.raw");
}

#[test]
fn one_of_several_images_is_chosen_by_the_architecture() {
    let place = Place::new();
    let files = layout(&["amd64", "arm64"], false);
    std::fs::write(place.path("layout.tar"), as_tar(&files)).unwrap();
    let build = Build::new(place.path("layout.tar"), "tool");
    let error = write(build.clone(), &place.path("tool.raw"), None).unwrap_err();
    assert!(error.to_string().contains("amd64, arm64"), "{error}");
    for (architecture, go) in [("arm64", "arm64"), ("x86-64", "amd64")] {
        let image = format!("{go}.raw");
        let build = Build {
            architecture: some(architecture),
            ..build.clone()
        };
        write(build, &place.path(&image), None).unwrap();
        assert_eq!(content(&*open(&place.path(&image)), "/usr/share/arch"), go);
    }
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("layout.tar"), as_tar(&layout(&["amd64"], true))).unwrap();
    let build = Build::new(place.path("layout.tar"), "tool");
    let error = write(build, &place.path("tool.raw"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(!place.path("tool.raw").exists());
}

/// Files as `docker save` writes them; `diff_id` of the second layer is changed by `damage`.
fn saved(damage: bool) -> Vec<(String, Vec<u8>)> {
    let layers = [tar(LOWER), tar(UPPER)];
    let mut ids: Vec<String> = layers.iter().map(|layer| hex(layer)).collect();
    if damage {
        ids[1] = hex(b"another");
    }
    let config = format!(
        r#"{{"architecture": "amd64", "rootfs": {{"type": "layers", "diff_ids": ["sha256:{}", "sha256:{}"]}}}}"#,
        ids[0], ids[1]
    );
    let manifest =
        r#"[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]"#;
    vec![
        ("a/layer.tar".to_owned(), layers[0].clone()),
        ("b/layer.tar".to_owned(), gzip(&layers[1])),
        ("c.json".to_owned(), config.into_bytes()),
        ("manifest.json".to_owned(), manifest.as_bytes().to_vec()),
    ]
}

#[test]
fn archives_of_docker_save_are_unpacked() {
    let place = Place::new();
    std::fs::write(place.path("good.tar"), as_tar(&saved(false))).unwrap();
    std::fs::write(place.path("bad.tar"), as_tar(&saved(true))).unwrap();
    let of = |source: &str| {
        write(
            Build::new(place.path(source), "tool"),
            &place.path("tool.raw"),
            None,
        )
    };
    assert_eq!(of("bad.tar").unwrap_err().kind(), ErrorKind::Corrupt);
    of("good.tar").unwrap();
    is_unpacked(&place, "tool.raw");
}

#[test]
fn an_extension_is_packed_anew() {
    let place = Place::new()
        .with("usr/bin/tool", b"#!/bin/sh\n")
        .with("opt/tool/x", b"x");
    let first = place.path("first.raw");
    let root = place.source();
    let options = ["-noappend", "-quiet", "-no-progress"];
    let arguments = [&[text(&root), text(&first)], &options[..]].concat();
    if succeed("mksquashfs", &arguments).is_none() {
        return;
    }
    let again = write(Build::new(first, "tool"), &place.path("again.raw"), None).unwrap();
    let direct = write(place.build(), &place.path("direct.raw"), None).unwrap();
    assert_eq!(again.sha256, direct.sha256);
}

#[test]
fn a_rootfs_leaves_out_what_is_not_merged() {
    let place = Place::new();
    let entries: &[(&str, &[u8])] = &[("etc/passwd", b"root"), ("usr/share/x", b"x")];
    std::fs::write(place.path("rootfs.tar"), tar(entries)).unwrap();
    let build = Build::new(place.path("rootfs.tar"), "tool");
    let words = |build: Build| -> Vec<&str> {
        let found = findings(build, None);
        found.iter().map(|finding| finding.code().word).collect()
    };
    assert_eq!(words(build.clone()), ["sysext-not-merged"]);
    let dropping = Build {
        drop_outside: true,
        ..build
    };
    assert_eq!(words(dropping), ["sysext-left-out"]);
}

#[test]
fn any_bytes_in_the_place_of_a_container_image_give_a_tree_or_an_error_that_blames_them() {
    let place = Place::new();
    let sources = [as_tar(&layout(&["amd64"], false)), as_tar(&saved(false))];
    let mut random = Random::new(5);
    for round in 0..longer(150) {
        let mut bytes = sources[usize::try_from(round % 2).unwrap()].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = random.bytes(1)[0];
        }
        std::fs::write(place.path("image.tar"), bytes).unwrap();
        let build = Build {
            force: true,
            ..Build::new(place.path("image.tar"), "tool")
        };
        let means = Means::new(&NoProgress, place.dir.path(), Cancel::new());
        if let Err(error) = build.prepare(None, &means) {
            let is_blamed = matches!(
                error.kind(),
                ErrorKind::Corrupt
                    | ErrorKind::Unsupported
                    | ErrorKind::NotFound
                    | ErrorKind::InvalidInput
            );
            assert!(is_blamed, "{error}");
        }
    }
}
