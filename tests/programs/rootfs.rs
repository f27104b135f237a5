//! Container images unpacked into folders and tars.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flatbake::ErrorKind;
use flatbake::flatcar::sysext::rootfs::Rootfs;
use flatbake::fs::{ByPath, FsPath};

use super::{layout, means, shelve};
use crate::common::programs::{flatbake, judge, must_run, said, success};
use crate::common::registry::{Door, Shelf};
use crate::common::tree::{compare, fs_tree, host_tree};
use crate::common::trees::make_odd_tree;
use crate::common::{longer, noise, scratch_dir};
use crate::tar::maker::Maker;

/// A layer with a bit of everything.
fn lower() -> Vec<u8> {
    let name = "n".repeat(90);
    Maker::new()
        .dir("etc/")
        .file("etc/motd", "hello\n")
        .file("etc/gone", "x")
        .symlink("etc/link", "motd")
        .hard_link("etc/hard", "etc/motd")
        .node("null", b'3', 1, 3)
        .dir(&format!("{name}/"))
        .pax(&[
            ("path", format!("{name}/{name}").as_bytes()),
            ("SCHILY.xattr.user.note", b"a\0b"),
        ])
        .file("short", "long name\n")
        .end()
}

fn upper() -> Vec<u8> {
    Maker::new()
        .file("etc/.wh.gone", "")
        .file("etc/new", "new\n")
        .end()
}

#[test]
fn layers_become_a_folder_that_says_what_it_does_not_keep() {
    let dir = scratch_dir();
    let image = layout(&dir.path().join("image"), &[lower(), upper()]);
    let means = means(dir.path());
    let rootfs = Rootfs::read(&image, None, &means).unwrap();
    let target = dir.path().join("root");
    let written = rootfs.write_folder(&target, &means).unwrap();
    assert_eq!(fs::read(target.join("etc/hard")).unwrap(), b"hello\n");
    assert_eq!(
        fs::read_link(target.join("etc/link")).unwrap(),
        Path::new("motd")
    );
    assert_eq!(fs::read(target.join("etc/new")).unwrap(), b"new\n");
    assert!(!target.join("etc/gone").exists() && !target.join("null").exists());
    let [finding] = &written.findings[..] else {
        panic!("{:?}", written.findings);
    };
    let told = finding.to_string();
    for part in ["devices, fifos and sockets (1)", "extended attributes (1)"] {
        assert!(told.contains(part), "{told}");
    }
    // A second time nothing is replaced, and nothing is left behind.
    let again = rootfs.write_folder(&target, &means).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::InvalidInput);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_tar_keeps_what_a_tree_has() {
    let dir = scratch_dir();
    let source = dir.path().join("source");
    make_odd_tree(&source);
    fs::write(source.join("x".repeat(200)), b"a long name").unwrap();
    let means = means(dir.path());
    let rootfs = Rootfs::read(&source, None, &means).unwrap();
    let archive = dir.path().join("root.tar");
    rootfs.write_tar(&archive, false, &means).unwrap();
    let mut expected = fs_tree(rootfs.tree());
    let again = Rootfs::read(&archive, None, &means).unwrap();
    let mut found = fs_tree(again.tree());
    // The top has no entry of its own.
    for tree in [&mut expected, &mut found] {
        tree.remove("");
    }
    compare(&expected, &found).unwrap();
    // And GNU tar agrees.
    let unpacked = dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let (archive, folder) = (archive.to_str().unwrap(), unpacked.to_str().unwrap());
    let arguments = [
        "-xpf",
        archive,
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-C",
    ];
    if judge("tar").is_some() {
        must_run("tar", arguments.iter().chain(&[folder]));
        let mut found = host_tree(&unpacked);
        found.remove("");
        compare(&expected, &found).unwrap();
    }
}

#[test]
fn images_of_docker_save_and_plain_archives_are_read() {
    let dir = scratch_dir();
    let means = means(dir.path());
    let layer = lower();
    let digest = crate::common::registry::sha256(&layer);
    let config = format!(r#"{{"architecture":"amd64","rootfs":{{"diff_ids":["{digest}"]}}}}"#);
    let folder = dir.path().join("saved");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("layer.tar"), &layer).unwrap();
    fs::write(folder.join("c.json"), config).unwrap();
    let manifest = r#"[{"Config":"c.json","Layers":["layer.tar"]}]"#;
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    fs::write(dir.path().join("plain.tar"), &layer).unwrap();
    let saved = Rootfs::read(&folder, None, &means).unwrap();
    let plain = Rootfs::read(&dir.path().join("plain.tar"), None, &means).unwrap();
    compare(&fs_tree(plain.tree()), &fs_tree(saved.tree())).unwrap();
}

/// Layers that would lead out of the folder that they are unpacked into.
fn hostile(outside: &str) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let up = "../".repeat(12);
    vec![
        (
            "a path with ..",
            vec![Maker::new().file("../outside/x", "x").end()],
        ),
        (
            "an absolute link, then a file through it",
            vec![
                Maker::new()
                    .symlink("way", outside)
                    .file("way/x", "x")
                    .end(),
            ],
        ),
        (
            "the same in two layers",
            vec![
                Maker::new().symlink("way", outside).end(),
                Maker::new().file("way/x", "x").end(),
            ],
        ),
        (
            "a link upwards",
            vec![
                Maker::new()
                    .symlink("way", &format!("{up}{outside}"))
                    .file("way/x", "x")
                    .end(),
            ],
        ),
        (
            "a hard link to a file outside",
            vec![
                Maker::new()
                    .hard_link("way", &format!("{outside}/secret"))
                    .file("way", "x")
                    .end(),
            ],
        ),
        (
            "a hard link to a link outside",
            vec![
                Maker::new()
                    .symlink("a", &format!("{outside}/secret"))
                    .hard_link("b", "a")
                    .file("b", "x")
                    .end(),
            ],
        ),
        (
            "a whiteout of what lies outside",
            vec![
                Maker::new().symlink("way", outside).end(),
                Maker::new().file("way/.wh.secret", "").end(),
            ],
        ),
        (
            "an absolute path",
            vec![Maker::new().file(&format!("{outside}/x"), "x").end()],
        ),
    ]
}

#[test]
fn nothing_leaves_the_folder() {
    let dir = scratch_dir();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    let before = host_tree(&outside);
    let means = means(dir.path());
    let cases = hostile(outside.to_str().unwrap());
    for (number, (what, layers)) in cases.iter().enumerate() {
        let image = layout(&dir.path().join(format!("image-{number}")), layers);
        let target = dir.path().join(format!("root-{number}"));
        let written =
            Rootfs::read(&image, None, &means).and_then(|root| root.write_folder(&target, &means));
        if let Err(error) = &written {
            assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error}");
            assert!(!target.exists(), "{what}: {error}");
        }
        compare(&before, &host_tree(&outside)).unwrap_or_else(|lines| panic!("{what}: {lines}"));
    }
}

#[test]
fn a_layer_that_is_not_what_its_digest_says_is_refused() {
    let dir = scratch_dir();
    let means = means(dir.path());
    let image = layout(&dir.path().join("image"), &[lower()]);
    let digest = crate::common::registry::sha256(&lower());
    let blob = image.join("blobs/sha256").join(&digest["sha256:".len()..]);
    let mut bytes = fs::read(&blob).unwrap();
    let at = bytes.windows(5).position(|part| part == b"hello").unwrap();
    bytes[at] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = Rootfs::read(&image, None, &means).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn damaged_documents_and_layers_give_an_error_or_a_tree() {
    let dir = scratch_dir();
    let means = means(dir.path());
    let image = layout(&dir.path().join("image"), &[lower(), upper()]);
    let mut files: Vec<_> = fs::read_dir(image.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(image.join("index.json"));
    files.sort();
    for seed in 0..longer(120) {
        let random = noise(seed, 16);
        let file = &files[usize::from(random[0]) % files.len()];
        let whole = fs::read(file).unwrap();
        let mut bytes = whole.clone();
        for change in random[1..].chunks(3) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] = change[2];
        }
        fs::write(file, bytes).unwrap();
        if let Err(error) = Rootfs::read(&image, None, &means) {
            assert_ne!(error.kind(), ErrorKind::Internal, "{seed}: {error}");
        }
        fs::write(file, whole).unwrap();
    }
}

#[test]
fn the_command_takes_images_of_registries() {
    let mut shelf = Shelf::default();
    shelve(&mut shelf, "tools/box", "1", &[lower(), upper()]);
    let registry = shelf.serve(Door::Open, None);
    let dir = scratch_dir();
    let source = format!(
        "oci://{}",
        registry
            .reference("tools/box:1")
            .trim_start_matches("oci://")
    );
    let name = registry.name();
    let mirror = format!("https://{name}/=http://{name}/");
    let run = |output: &str, offline: bool| {
        let mut command = flatbake();
        command
            .current_dir(dir.path())
            .args(["sysext", "rootfs", &source, "-o", output]);
        command.args(["--cache-dir", "cache", "--mirror", &mirror]);
        if offline {
            command.arg("--offline");
        }
        command
    };
    success(&mut run("root", false));
    assert_eq!(
        fs::read_to_string(dir.path().join("root/etc/new")).unwrap(),
        "new\n"
    );
    // All of it is in the cache now.
    drop(registry);
    let told = said(&success(&mut run("root.tar", true)));
    assert!(told.contains("oci://"), "{told}");
    let means = means(dir.path());
    let rootfs = Rootfs::read(&dir.path().join("root.tar"), None, &means).unwrap();
    let null = rootfs
        .tree()
        .metadata_at(&FsPath::new("/null").unwrap())
        .unwrap();
    assert_eq!(null.device, (1, 3));
    let mode = fs::metadata(dir.path().join("root.tar"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o111, 0);
}
