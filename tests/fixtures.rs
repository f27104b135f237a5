//! Fixtures are the same on every machine: what we make ourselves equals a record of it, and what programs make of that is
//! the same in another home, locale, time zone and folder, under another umask, and at another time.

// The disks of the tests of all formats.
#[allow(dead_code)]
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::common::content::{self, Content, Machine};
use crate::common::flatcar::{Recipe, built_in_sysexts, flatcar_image, write_tree};
use crate::common::programs::{command, judge, judges, success};
use crate::common::region::Region;
use crate::common::sysext::{self, Format, Sysext};
use crate::common::tree::{self, digest, host_tree, sha256};
use crate::common::trees::{make_etc_tree, make_odd_tree, make_small_tree, make_tree};
use crate::common::{noise, scratch_dir};
use crate::matrix::disks::Kind;
use flate2::Compression;
use flate2::write::GzEncoder;

/// Lines as `sha256sum` writes them: a digest and the name of what it is of.
#[derive(Default)]
struct Record(String);

impl Record {
    fn add(&mut self, name: &str, digest: &str) {
        writeln!(self.0, "{digest}  {name}").unwrap();
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.add(name, &sha256(bytes));
    }

    /// A tree that `write` makes in a folder that does not exist yet.
    fn tree(&mut self, name: &str, write: impl FnOnce(&Path)) {
        let dir = scratch_dir();
        let root = dir.path().join("tree");
        write(&root);
        self.add(name, &digest(&root));
    }

    fn region(&mut self, name: &str, region: &Region) {
        region.with_file(|file| self.add(name, &sha256(File::open(file).unwrap())));
    }
}

fn filled() -> Recipe {
    Recipe {
        usr_fill_percent: 5,
        root_fill_percent: 5,
        ..Recipe::small()
    }
}

/// Everything that no other program has a part in: bytes, disks, and the trees that images are made of.
fn our_own() -> String {
    let mut record = Record::default();
    record.bytes("bytes/noise", &noise(1, 100_000));
    record.bytes("bytes/text", &content::text(1, 100_000));
    record.bytes("bytes/program", &content::program(1, 100_000));
    record.bytes("bytes/elf", &content::elf(Machine::Aarch64, 1, 100_000));
    record.bytes("bytes/disk", &content::disk(5 << 20, 1));
    for kind in [
        Kind::Empty,
        Kind::Tiny,
        Kind::Odd,
        Kind::Sparse,
        Kind::Noise,
    ] {
        let dir = scratch_dir();
        let path = dir.path().join("disk");
        kind.write(&path, kind.size().min(48 << 20));
        record.add(
            &format!("disk/{kind:?}").to_lowercase(),
            &sha256(File::open(path).unwrap()),
        );
    }
    record.tree("tree/usr", |root| Content::usr(1, 2 << 20).write(root));
    record.tree("tree/docker", |root| {
        Content::docker_store(1, 4 << 20).write(root)
    });
    record.tree("tree/hard-to-pack", |root| make_tree(root, 300));
    record.tree("tree/small", make_small_tree);
    record.tree("tree/odd", make_odd_tree);
    record.tree("tree/etc", make_etc_tree);
    let arm = Recipe {
        arch: "arm64",
        ..Recipe::small()
    };
    for (name, recipe) in [
        ("new", Recipe::new()),
        ("old", Recipe::old()),
        ("oldest", Recipe::oldest()),
        ("small", Recipe::small()),
        ("arm64", arm),
        ("filled", filled()),
    ] {
        for partition in [1, 3, 6, 9] {
            record.tree(&format!("flatcar/{name}/{partition}"), |root| {
                write_tree(&recipe, partition, root)
            });
        }
    }
    for built_in in built_in_sysexts(&Recipe::small()) {
        record.tree(&format!("sysext/{}", built_in.name), |root| {
            sysext::write_tree(&built_in, root)
        });
    }
    record.tree("sysext/large", |root| {
        sysext::write_tree(&large_sysext(Format::Squashfs), root)
    });
    record.0
}

fn large_sysext(format: Format) -> Sysext {
    Sysext {
        ballast: 1 << 20,
        ..Sysext::new("large", "x86-64", format)
    }
}

/// What programs make of trees, where they draw no numbers by lot: `mkfs.btrfs` does.
fn made_by_programs() -> String {
    let mut record = Record::default();
    let dir = scratch_dir();
    for format in [Format::Squashfs, Format::Erofs, Format::Ext4] {
        let image = sysext::sysext(dir.path(), "image.raw", &large_sysext(format)).unwrap();
        record.region(&format!("{format:?}"), &Region::whole(&image));
        fs::remove_file(image).unwrap();
    }
    let image = flatcar_image(&filled()).unwrap();
    for partition in [1, 9] {
        record.region(
            &format!("partition {partition}"),
            &Region::partition(&image, partition).unwrap(),
        );
    }
    record.0
}

/// How many times smaller gzip makes it.
fn packs(bytes: &[u8]) -> f64 {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(bytes).unwrap();
    bytes.len() as f64 / packed.finish().unwrap().len() as f64
}

#[test]
fn contents_pack_as_programs_and_texts_do() {
    const LEN: usize = 1 << 20;
    for seed in 0..4 {
        let program = content::elf(Machine::X86_64, seed, LEN);
        let text = content::text(seed, LEN);
        assert_eq!((program.len(), text.len()), (LEN, LEN));
        assert!(
            (1.8..3.0).contains(&packs(&program)),
            "a program: {}",
            packs(&program)
        );
        assert!(
            (2.5..4.0).contains(&packs(&text)),
            "a text: {}",
            packs(&text)
        );
        assert!(packs(&noise(seed, LEN)) < 1.01);
    }
}

#[test]
fn trees_have_the_size_that_is_asked_for() {
    for bytes in [0, 1, 4097, 3 << 20, 20_000_000] {
        for content in [Content::usr(5, bytes), Content::docker_store(5, bytes)] {
            assert_eq!(content.bytes(), bytes);
            // Programs that make filesystems want room for every file.
            let files = u64::try_from(content.entries()).unwrap();
            assert!(
                files < 100 + bytes / 16_384,
                "{files} files of {bytes} bytes"
            );
        }
    }
    let dir = scratch_dir();
    Content::docker_store(5, 3 << 20).write(dir.path());
    let tree = host_tree(dir.path());
    let first_names = tree
        .iter()
        .filter(|(path, entry)| entry.linked_to.as_ref().is_none_or(|first| first == *path));
    assert_eq!(
        first_names.filter_map(|(_, entry)| entry.size).sum::<u64>(),
        3 << 20
    );
    for kind in [tree::Kind::File, tree::Kind::Directory, tree::Kind::Symlink] {
        assert!(
            tree.values().filter(|entry| entry.kind == kind).count() > 10,
            "{kind:?}"
        );
    }
    assert!(tree.values().any(|entry| entry.nlink > Some(1)));
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fixtures.sha256")
}

#[test]
fn our_own_fixtures_are_as_recorded() {
    let expected = fs::read_to_string(recorded()).unwrap();
    assert_same(
        &expected,
        &our_own(),
        "if that is meant, testdata/README.md says how to record it",
    );
}

fn assert_same(expected: &str, found: &str, hint: &str) {
    let changed: Vec<_> = found
        .lines()
        .filter(|line| !expected.lines().any(|known| known == *line))
        .collect();
    assert!(found == expected, "not as they were: {changed:#?}\n{hint}");
}

#[test]
#[ignore = "replaces testdata/fixtures.sha256"]
fn record_our_own_fixtures() {
    fs::write(recorded(), our_own()).unwrap();
}

/// Where [`write_all_digests`] writes to.
const DIGESTS: &str = "FLATBAKE_TEST_DIGESTS";

fn all_digests() -> String {
    our_own() + &made_by_programs()
}

/// Run by the test below in a process of its own.
#[test]
#[ignore = "run by another_environment_makes_the_same_fixtures"]
fn write_all_digests() {
    fs::write(std::env::var_os(DIGESTS).unwrap(), all_digests()).unwrap();
}

/// What users' machines have in their environment.
const ELSEWHERE: [(&str, &str); 14] = [
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANG", "de_DE.ISO-8859-1"),
    ("LANGUAGE", "de:fr"),
    ("TZ", "Pacific/Chatham"),
    ("SOURCE_DATE_EPOCH", "86400"),
    ("E2FSPROGS_FAKE_TIME", "86400"),
    ("MKE2FS_CONFIG", "/dev/null"),
    ("MKE2FS_DEVICE_SECTSIZE", "4096"),
    ("TAR_OPTIONS", "--verbose"),
    ("XZ_DEFAULTS", "--verbose"),
    ("ZSTD_CLEVEL", "19"),
    ("GZIP", "-9"),
    ("POSIXLY_CORRECT", "1"),
    ("COLUMNS", "20"),
];

#[test]
fn another_environment_makes_the_same_fixtures() {
    if !judges(&["mksquashfs", "mkfs.erofs", "sfdisk", "faketime"])
        || flatcar_image(&Recipe::small()).is_none()
    {
        return;
    }
    let dir = scratch_dir();
    let digests = dir.path().join("digests");
    for name in ["scratch", "home", "temporary"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    // Years later. How long something takes stays as it is, and so do the times of files.
    let mut elsewhere = command(&judge("faketime").unwrap());
    elsewhere.args([
        "-m",
        "+1234 days",
        "sh",
        "-c",
        "umask 0077; exec \"$@\"",
        "sh",
    ]);
    elsewhere.arg(std::env::current_exe().unwrap()).args([
        "--exact",
        "fixtures::write_all_digests",
        "--ignored",
    ]);
    elsewhere
        .envs(ELSEWHERE)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
        .env(DIGESTS, &digests);
    elsewhere
        .env("HOME", dir.path().join("home"))
        .env("TMPDIR", dir.path().join("temporary"));
    elsewhere.env("FLATBAKE_SCRATCH", dir.path().join("scratch"));
    success(&mut elsewhere);
    let there = fs::read_to_string(digests).unwrap();
    assert_same(&all_digests(), &there, "another environment makes others");
}
