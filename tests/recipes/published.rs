//! Folders of extensions that are served, and what has machines update from them.

use std::fs;

use flatbake::archive::TarOptions;

use super::Place;
use crate::common::programs::{flatbake, judge, said, success};
use crate::common::reading::text;
use crate::common::recipes;
use crate::common::tree::sha256;
use crate::fetch_openpgp::gpg::Gpg;

/// A mirror of the servers that the list needs, for two versions of one program.
fn place() -> Place {
    let place = Place::new();
    let archive = recipes::tailscale();
    for version in ["1.76.6", "1.78.1"] {
        for arch in ["amd64", "arm64"] {
            let file = format!("mirror/stable/tailscale_{version}_{arch}.tgz");
            place.put(&file, &archive);
            place.put(&format!("{file}.sha256"), sha256(&archive[..]).as_bytes());
        }
    }
    let list = "url: https://sysexts.example/\nextensions:\n\
                - {recipe: tailscale, versions: [1.76.6, v1.78.1], arch: [amd64]}\n\
                - {recipe: tailscale, name: vpn, versions: [1.78.1], arch: [amd64]}\n";
    place.put("list.yaml", list.as_bytes());
    place
}

const PUBLISH: [&str; 5] = [
    "sysext",
    "publish",
    "site",
    "--mirror",
    "https://pkgs.tailscale.com/=mirror/",
];

fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&PUBLISH[..], more].concat()
}

#[test]
fn a_list_of_recipes_and_versions_becomes_a_folder_that_is_served() {
    let place = place();
    let said_first = place.succeeds(&flags(&["--list", "list.yaml", "--json"]));
    assert_eq!(
        said_first.matches("\"is_new\": true").count(),
        3,
        "{said_first}"
    );
    let read = |name: &str| fs::read_to_string(place.path("site").join(name)).unwrap();
    let sums = read("SHA256SUMS");
    let names: Vec<&str> = sums.lines().map(|line| &line[66..]).collect();
    let wanted = [
        "tailscale-1.76.6-x86-64.raw",
        "tailscale-1.78.1-x86-64.raw",
        "tailscale.conf",
        "vpn-1.78.1-x86-64.raw",
        "vpn.conf",
    ];
    assert_eq!(names, wanted);
    if let Some(sha256sum) = judge("sha256sum") {
        for (folder, list) in [(".", "SHA256SUMS"), (".", "vpn/SHA256SUMS")] {
            let folder = place.path("site").join(folder);
            let mut command = std::process::Command::new(&sha256sum);
            success(
                command
                    .args(["--check", "--strict", list])
                    .current_dir(folder),
            );
        }
    }
    assert!(
        read("vpn.conf").contains("Path=https://sysexts.example/\nMatchPattern=vpn-@v-%a.raw\n")
    );

    // Once more: nothing is built, and nothing changes.
    let again = place.succeeds(&flags(&["--list", "list.yaml", "--json", "--offline"]));
    assert!(!again.contains("\"is_new\": true"), "{again}");
    assert_eq!(read("SHA256SUMS"), sums);

    // Bakes take extensions from it as from the Bakery.
    let site = place.path("site");
    let mirror = format!(
        "https://extensions.flatcar.org/extensions/={}/",
        text(&site)
    );
    let image = crate::common::programs::raw_sample();
    place.succeeds(&[
        "bake",
        "--image",
        text(&image),
        "-o",
        "node.qcow2",
        "--mirror",
        &mirror,
        "tailscale@latest",
        "--sysupdate",
    ]);
    let listed = place.succeeds(&["ls", "node.qcow2", "root:/opt/extensions/tailscale"]);
    assert!(listed.contains("tailscale-1.78.1-x86-64.raw"), "{listed}");
    let conf = place.succeeds(&[
        "cat",
        "node.qcow2",
        "root:/etc/sysupdate.tailscale.d/tailscale.conf",
    ]);
    assert_eq!(conf, read("tailscale.conf"));
}

#[test]
fn gpg_takes_the_signature_of_the_list() {
    let Some(gpg) = Gpg::new() else { return };
    let key = gpg.primary("2025-01-01", "Publisher of the tests");
    gpg.subkey("2025-01-01", &key, "ed25519", "never");
    let place = place();
    place.put("key", &gpg.export_secret(&key));
    place.put("public", &gpg.export(&[], &[]));
    place.succeeds(&flags(&["--list", "list.yaml", "--signed-sums", "key"]));
    let read = |name: &str| fs::read(place.path("site").join(name)).unwrap();
    let signature = read("SHA256SUMS.gpg");
    let sums = read("SHA256SUMS");
    let verdict = gpg.verify("2030-01-01", &signature, Some(&sums));
    assert!(verdict.says("GOODSIG"), "gpg takes it");
    let mut other = sums.clone();
    other[0] ^= 1;
    assert!(
        !gpg.verify("2030-01-01", &signature, Some(&other))
            .says("GOODSIG")
    );

    // A signature that would no longer fit is not left.
    place.fails(&flags(&[]), 2, &["SHA256SUMS.gpg", "--signed-sums"]);
    place.fails(
        &flags(&["--signed-sums", "public"]),
        2,
        &["public OpenPGP key"],
    );
    place.fails(
        &flags(&["--signed-sums", "list.yaml"]),
        2,
        &["no OpenPGP key"],
    );
}

#[test]
fn what_is_not_what_its_name_says_is_not_published() {
    let place = Place::new();
    place.fails(&flags(&[]), 2, &["has no images"]);
    let hello = fs::read(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/hello.raw"),
    );
    let hello = hello.unwrap();
    for (name, says) in [
        ("site/hello.raw", "says no version"),
        ("site/hello-1.0-arm64.raw", "the release file says x86-64"),
        ("site/other-1.0-x86-64.raw", "there are some for: hello"),
        ("site/hello--x86-64.raw", "there are some for: hello"),
    ] {
        let path = place.put(name, &hello);
        place.fails(&flags(&[]), 2, &[name, says]);
        fs::remove_file(path).unwrap();
    }
    place.put("site/hello-1.0-x86-64.raw", &hello);
    place.succeeds(&flags(&[]));
    place.fails(
        &flags(&["--url", "sysexts.example"]),
        2,
        &["not the URL of a folder"],
    );
}

#[test]
fn what_a_machine_needs_for_updates_is_a_file_a_folder_or_a_tar_for_the_bake() {
    let place = Place::new();
    let write = |output: &str| {
        place.succeeds(&[
            "sysext",
            "sysupdate",
            "tailscale",
            "--url",
            "https://sysexts.example",
            "-o",
            output,
        ]);
    };
    write("tailscale.conf");
    write("etc-files");
    write("updates.tar");
    let conf = fs::read(place.path("tailscale.conf")).unwrap();
    let folder = place.path("etc-files");
    assert_eq!(
        fs::read(folder.join("etc/sysupdate.tailscale.d/tailscale.conf")).unwrap(),
        conf
    );
    let timer = "etc/systemd/system/timers.target.wants/systemd-sysupdate.timer";
    assert!(folder.join(timer).is_symlink());

    // The tar is the folder.
    let mut tree = flatbake::fs::StagedTree::new(place.dir.path(), flatbake::Timestamp::default());
    let root = flatbake::FsPath::root();
    let archive = fs::File::open(place.path("updates.tar")).unwrap();
    flatbake::archive::inject(
        &mut tree,
        archive,
        &root,
        &TarOptions::default(),
        &flatbake::NoProgress,
    )
    .unwrap();
    let found: Vec<String> = crate::common::tree::fs_tree(&tree).into_keys().collect();
    let wanted: Vec<String> = crate::common::tree::host_tree(&folder)
        .into_keys()
        .collect();
    assert_eq!(found, wanted);

    // Baked, it is what --sysupdate makes of a file beside the extension.
    let image = crate::common::programs::raw_sample();
    place.put("tailscale.raw", &fs::read(image_of(&place)).unwrap());
    let bake = |output: &str, more: &[&'static str]| {
        let start = [
            "bake",
            "--image",
            text(&image),
            "-o",
            output,
            "tailscale:tailscale.raw",
        ];
        place.succeeds(&[&start[..], more].concat());
    };
    bake("one.qcow2", &["--sysupdate"]);
    fs::remove_file(place.path("tailscale.conf")).unwrap();
    bake("two.qcow2", &["--root-tar", "updates.tar"]);
    for path in [
        "root:/etc/sysupdate.tailscale.d/tailscale.conf",
        "root:/etc/sysupdate.d/noop.conf",
        "root:/etc/systemd/system/systemd-sysupdate.service.d/tailscale.conf",
        "root:/etc/systemd/system/systemd-sysupdate.service.d/zz-merge.conf",
    ] {
        let cat = |image: &str| place.succeeds(&["cat", image, path]);
        assert_eq!(cat("one.qcow2"), cat("two.qcow2"), "{path}");
    }
    place.fails(
        &[
            "sysext",
            "sysupdate",
            "x",
            "--url",
            "https://h.example",
            "-o",
            "x.conf",
            "--instances",
            "1",
        ],
        2,
        &["must be 2 to 100"],
    );
    let again = [
        "sysext",
        "sysupdate",
        "tailscale",
        "--url",
        "https://h.example",
        "-o",
        "updates.tar",
    ];
    place.fails(&again, 2, &["updates.tar"]);
}

/// An extension called tailscale.
fn image_of(place: &Place) -> std::path::PathBuf {
    place.put("tailscale_1.76.6_amd64.tgz", &recipes::tailscale());
    let output = flatbake()
        .args([
            "sysext",
            "recipe",
            "tailscale",
            "--from",
            "tailscale_1.76.6_amd64.tgz",
            "-o",
            "made.raw",
        ])
        .current_dir(place.dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    place.path("made.raw")
}

#[test]
fn a_list_takes_files_that_are_here_and_digests_that_its_writer_knows() {
    let place = Place::new();
    let archive = recipes::docker();
    // Beside the list, which is in another folder than the one that flatbake runs in.
    place.put("lists/docker-28.0.4.tgz", &archive);
    place.put(
        "mirror/linux/static/stable/aarch64/docker-28.0.5.tgz",
        &archive,
    );
    let list = |digest: &str| {
        format!(
            "extensions:\n\
             - {{recipe: docker, versions: [28.0.4], arch: [amd64], from: [docker-28.0.4.tgz]}}\n\
             - {{recipe: docker, versions: [28.0.5], arch: [arm64], sha256: [{digest}]}}\n"
        )
    };
    let flags = [
        "sysext",
        "publish",
        "site",
        "--list",
        "lists/list.yaml",
        "--mirror",
        "https://download.docker.com/=mirror/",
    ];
    place.put("lists/list.yaml", list(&"0".repeat(64)).as_bytes());
    place.fails(&flags, 7, &["lists/list.yaml:3:3", "28.0.5"]);
    place.put("lists/list.yaml", list("12").as_bytes());
    place.fails(&flags, 2, &["lists/list.yaml:3:3", "no SHA-256"]);
    place.put("lists/list.yaml", list(&sha256(&archive[..])).as_bytes());
    place.succeeds(&flags);
    let sums = fs::read_to_string(place.path("site/SHA256SUMS")).unwrap();
    for image in ["docker-28.0.4-x86-64.raw", "docker-28.0.5-arm64.raw"] {
        assert!(sums.contains(image), "{sums}");
    }
}
