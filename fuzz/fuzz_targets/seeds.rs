//! No test: run once without an input, it writes what the others start from into `seeds/`, made by the project's own
//! writers and from the fixtures of its tests. It is a target so that nothing is compiled twice.
#![no_main]

use std::fs;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use flatbake::NoProgress;
use flatbake::archive::tar::TarLayout;
use flatbake::block::{BlockDevice, MemoryDevice};
use flatbake::flatcar::ddi::{BuildOptions, KeyKind, PrivateKey, Protection, build};
use flatbake::fs::{FileSystem, erofs, open, squashfs};
use flatbake_fuzz::device::{Base, Layer};
use flatbake_fuzz::images::in_memory;
use flatbake_fuzz::patches::record;
use flatbake_fuzz::volumes::{fat, fixture, fixture_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if input.is_empty() {
        patches();
        edits();
        packed_filesystems();
        files();
        archives();
        registries();
        configs();
        programs();
        images_of_containers();
    }
});

/// A disk image with a dm-verity tree and no signature.
fn unsigned() -> Vec<u8> {
    let out = rustix::fs::memfd_create("image", rustix::fs::MemfdFlags::CLOEXEC);
    let mut out = fs::File::from(out.expect("memory"));
    let options = BuildOptions {
        architecture: flatbake::machine::Arch::Amd64,
        protection: Protection::Verity,
        seed: Some("seed".to_owned()),
    };
    let files = MemoryDevice::new(vec![7; 9 * 4096]);
    let temp_dir = std::env::temp_dir();
    build(&files, &options, &temp_dir, &out, &NoProgress).expect("a disk image");
    let mut bytes = Vec::new();
    out.rewind().expect("a file");
    out.read_to_end(&mut bytes).expect("a file");
    bytes
}

fn put(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    fs::create_dir_all(&folder).expect("a folder for seeds");
    fs::write(folder.join(name), bytes).expect("room for seeds");
}

/// Programs of this machine, small ones first.
fn programs() {
    for name in ["true", "dash", "env"] {
        if let Ok(bytes) = fs::read(Path::new("/bin").join(name)) {
            put("elf", name, &bytes);
            put("elf_edit", name, &bytes);
        }
    }
}

/// An image of `docker save` with one layer that is not there, and an empty layout.
fn images_of_containers() {
    let digest = "0".repeat(64);
    let config = format!(r#"{{"architecture":"amd64","rootfs":{{"diff_ids":["sha256:{digest}"]}}}}"#);
    let saved = [
        ("manifest.json", r#"[{"Config":"c.json","Layers":["layer.tar"]}]"#),
        ("c.json", config.as_str()),
        ("layer.tar", "no tar"),
    ];
    let layout = [
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", r#"{"schemaVersion":2,"manifests":[]}"#),
    ];
    for (name, files) in [("saved", &saved[..]), ("layout", &layout[..])] {
        let mut archive = TarLayout::new(0);
        for (path, text) in files {
            let text = text.as_bytes().to_vec();
            archive.file(path, 0o644, text).expect("a name");
        }
        let archive = archive.finish().expect("a small archive");
        let mut bytes = vec![0; usize::try_from(archive.size()).expect("small")];
        archive.read_at(0, &mut bytes).expect("in memory");
        put("oci", name, &bytes);
    }
}

/// Documents of registries, and what people write of them.
fn registries() {
    let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
    let entry = format!(
        r#"{{"mediaType":"a.tar+gzip","size":7,"digest":"{digest}","platform":{{"os":"linux","architecture":"arm64"}}}}"#
    );
    for (name, text) in [
        (
            "index",
            format!(r#"{{"schemaVersion":2,"manifests":[{entry},{entry}]}}"#),
        ),
        (
            "manifest",
            format!(r#"{{"schemaVersion":2,"config":{entry},"layers":[{entry}]}}"#),
        ),
        (
            "logins",
            r#"{"auths":{"host.example":{"auth":"bWU6d29yZA=="}}}"#.to_owned(),
        ),
        (
            "reference",
            format!("oci://host.example:5000/a/b:tag@{digest}"),
        ),
        (
            "challenge",
            r#"Bearer realm="https://a/b?c",service="d", Basic realm=e"#.to_owned(),
        ),
        (
            "url",
            "https://me:word@host.example:1/a/../b?c#d".to_owned(),
        ),
        ("location", "../a/./b?c".to_owned()),
    ] {
        put("registry", name, text.as_bytes());
    }
}

/// Configs for the first boot, each case of the tests on its own.
fn configs() {
    let butane = testdata("butane/cases.txt");
    let parts = butane.split("\n=== ").skip(1);
    for (number, part) in parts.enumerate() {
        let (_, text) = part.split_once('\n').unwrap_or_default();
        let text = text.split("--- ").next().unwrap_or_default();
        put("butane", &format!("case-{number}"), text.as_bytes());
    }
    let ignition = testdata("ignition/cases.txt");
    let parts = ignition.split("\n=== ").skip(1);
    for (number, part) in parts.enumerate() {
        let (_, text) = part.split_once('\n').unwrap_or_default();
        put("ignition", &format!("case-{number}"), text.as_bytes());
    }
    let unit = testdata("butane/files/app.service");
    put("units", "service", unit.as_bytes());
    let long = "# c\n[Unit]\nA = b \\\n # d \\\n  e\n\n[Install]\nWantedBy=\nAlias=x\n";
    put("units", "lines", long.as_bytes());
}

/// A file that the tests have.
fn testdata(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    fs::read_to_string(folder.join(name)).expect("the tests have it")
}

/// One changed number each, over all volumes.
fn patches() {
    let values: [&[u8]; 4] = [&[0; 4], &[0xff; 4], &[1, 0, 0, 0], &[0x80]];
    for target in ["fs_ext4", "fs_btrfs", "fs_fat", "partitions"] {
        for volume in 0..3u8 {
            put(target, &format!("sound-{volume}"), &[volume]);
            for number in 0..40usize {
                let change = record(number, (number * 36) as u64, values[number % values.len()]);
                put(
                    target,
                    &format!("changed-{volume}-{number}"),
                    &[&[volume], &change[..]].concat(),
                );
            }
        }
    }
    for image in 0..12u8 {
        put("image_patches", &format!("sound-{image}"), &[image]);
        for at in (0..128u8).step_by(8) {
            put(
                "image_patches",
                &format!("changed-{image}-{at}"),
                &[image, at / 32, at, 0, 7, 0, 0, 0, 1, 0, 0, 0, at],
            );
        }
    }
}

/// Sequences of edits from a small generator.
fn edits() {
    let mut state = 1u64;
    for number in 0..30 {
        let mut bytes = vec![number];
        for _ in 0..4 * 4 * (1 + usize::from(number) / 2) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            bytes.push(state.to_be_bytes()[0]);
        }
        for target in ["edit_ext4", "edit_btrfs", "edit_fat"] {
            put(target, &format!("sequence-{number}"), &bytes);
        }
    }
}

fn packed_filesystems() {
    let base = fat().swap_remove(0).base;
    let source: Box<dyn FileSystem> = open(Layer::new(&base)).expect("our own volume");
    let out = in_memory(&[]);
    let options = squashfs::SquashfsOptions::default();
    squashfs::write(&*source, &[], &out, &options, &NoProgress).expect("a small tree");
    keep(&["fs_squashfs", "sysext"], "own.squashfs", out);
    let clusters = erofs::ErofsCompression::Lz4 {
        cluster_bytes: 65_536,
    };
    for (name, compression) in [
        ("plain.erofs", erofs::ErofsCompression::None),
        ("packed.erofs", clusters),
    ] {
        let out = in_memory(&[]);
        let options = erofs::ErofsOptions {
            compression,
            ..erofs::ErofsOptions::default()
        };
        erofs::write(&*source, &[], &out, &options, &NoProgress).expect("a small tree");
        keep(&["fs_erofs", "sysext"], name, out);
    }
}

fn keep(targets: &[&str], name: &str, mut file: fs::File) {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("a file in memory");
    targets.iter().for_each(|target| put(target, name, &bytes));
}

fn archives() {
    let mut layout = TarLayout::new(1_700_000_000);
    layout.directory("folder", 0o755).expect("a name");
    layout
        .file("folder/file", 0o644, b"content".to_vec())
        .expect("a name");
    layout
        .file(&"long/".repeat(60), 0o644, vec![1; 600])
        .expect("a name");
    let archive = layout.finish().expect("a small archive");
    let mut bytes = vec![0; usize::try_from(archive.size()).expect("small")];
    archive.read_at(0, &mut bytes).expect("in memory");
    for flags in [0, 1] {
        put(
            "tar",
            &format!("own-{flags}.tar"),
            &[&[flags, flags], &bytes[..]].concat(),
        );
    }
}

/// What the tests read, as it is or with the byte in front that selects how it is taken.
fn files() {
    let read = |name: &str| fs::read(fixture_path(name)).expect("a fixture");
    let whole = |base: Base| base.bytes(0, usize::try_from(base.size).expect("small"));
    for name in ["zlib.qcow2", "stream.vmdk", "plain.qcow2"] {
        put(
            "images",
            name,
            &whole(fixture(&format!("images/{name}.zst"))),
        );
    }
    for (kind, name) in [
        (4, "images/disk.raw.gz"),
        (6, "images/disk.raw.xz"),
        (7, "images/disk.raw.zst"),
    ] {
        put(
            "codecs",
            &format!("kind-{kind}"),
            &[&[kind], &read(name)[..]].concat(),
        );
    }
    for kind in 0..8 {
        let program = read("sample/greeter.raw");
        let piece = &program[..program.len().min(3000)];
        put("packers", &format!("kind-{kind}"), &[&[kind, 60], piece].concat());
    }
    for name in ["hello.raw", "greeter.raw"] {
        put("sysext", name, &read(&format!("sample/{name}")));
        put("fs_squashfs", name, &read(&format!("sample/{name}")));
    }
    for name in [
        "air-gapped.yaml",
        "all-vendors.yaml",
        "fleet.yaml",
        "one-node.yaml",
    ] {
        put(
            "manifest",
            name,
            &[&[2], &read(&format!("manifests/{name}"))[..]].concat(),
        );
    }
    put("ddi", "certificate", &read("ddi/sysexts.crt"));
    put(
        "ddi",
        "image",
        &whole(fixture("ddi/oem-qemu-4757.2.1.raw.zst")),
    );
    put("ddi", "unsigned", &unsigned());
    for (name, kind) in [("rsa", KeyKind::Rsa(2048)), ("p384", KeyKind::P384)] {
        let key = PrivateKey::generate(kind).and_then(|key| key.to_pem());
        put("ddi", name, key.expect("a key").as_bytes());
    }
    for name in ["hello.raw.sig", "sample-key.asc"] {
        put("openpgp", name, &read(&format!("sample/{name}")));
    }
    for name in flatbake::flatcar::sysext::recipe::names() {
        let text = flatbake::flatcar::sysext::recipe::built_in_text(name).expect("it is in the box");
        put("recipe", name, text.as_bytes());
    }
    put(
        "recipe",
        "list",
        b"url: https://h.example/\nextensions:\n- {recipe: a, versions: [1.0, v2], with: {b: 1}, arch: [arm64]}\n",
    );
    put("texts", "unit", &read("manifests/hello-once.service"));
    put("texts", "transfer", &read("sample/hello.conf"));
    put(
        "texts",
        "os-release",
        b"ID=flatcar\nVERSION_ID=4459.2.1\nVERSION=\"4459.2.1\"\nFLATCAR_BOARD='amd64-usr'\n",
    );
    put(
        "texts",
        "tmpfiles",
        b"L+ /etc/a - - - - ../usr/a\nd /var/lib/x 0755 root root -\nR \"/opt/a b*\"\n",
    );
    put(
        "grub",
        "plain",
        b"set oem_id=\"qemu\"\nset linux_append=\"$linux_append a=b c\"\nif [ x = y ]; then\n set linux_append=d\nfi\n",
    );
    for file in vendor_files() {
        let name = file
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        put("vendor", &name, &fs::read(&file).expect("a vendor's file"));
    }
    for (number, word) in [
        "/a/b",
        "10GiB",
        "OEM",
        "qcow2",
        "node-1",
        "a=b",
        "*.txt\nb.txt",
        "2024-01-01T00:00:00Z",
    ]
    .iter()
    .enumerate()
    {
        put("words", &number.to_string(), word.as_bytes());
    }
}

fn vendor_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vendors");
    let entries = fs::read_dir(folder).expect("the vendors");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    files
}
