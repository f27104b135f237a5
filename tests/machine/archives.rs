//! Bundles, unpacked by GNU tar and looked at by Python.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use flatbake::block::{BlockDevice, FileDevice, MemoryDevice, Piece};
use flatbake::machine::{
    BundleFormat, ConfFile, ConfFormat, Member, WriteOptions, conf_files, write_bundle,
};
use flatbake::{ErrorKind, NoProgress};

use super::texts::python;
use super::{DISK, STEM, hostile, machine, names};
use crate::common::programs::{ask, must_run, run, said};
use crate::common::{noise, scratch_dir};

const TIME: WriteOptions = WriteOptions {
    time: 1_700_000_000,
    level: 6,
};

/// Writes a bundle into `path` and returns the manifest.
fn write(format: BundleFormat, members: &[Member<'_>], path: &Path) -> Option<ConfFile> {
    let out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    write_bundle(format, members, &out, TIME, &NoProgress).unwrap()
}

/// The lines of `tar -tv`, each split into its words.
fn listing(archive: &Path) -> Option<Vec<Vec<String>>> {
    let output = run(
        "tar",
        ["-tv", "--full-time", "--utc", "-f", archive.to_str()?],
    )?;
    assert!(output.stderr.is_empty(), "{}", said(&output));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    Some(said(&output).lines().map(words).collect())
}

fn unpack(archive: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let output = must_run(
        "tar",
        [
            "-xf",
            archive.to_str().unwrap(),
            "-C",
            folder.to_str().unwrap(),
        ],
    );
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

fn members<'a>(files: &[ConfFile], disks: &[(String, &'a dyn BlockDevice)]) -> Vec<Member<'a>> {
    let disks = disks
        .iter()
        .map(|(path, device)| Member::device(path, *device));
    files.iter().map(Member::from).chain(disks).collect()
}

#[test]
fn an_ova_has_its_parts_in_order_and_their_digests() {
    let dir = scratch_dir();
    let path = dir.path().join("machine.ova");
    let bytes = noise(1, 3_000_001);
    let files = conf_files(ConfFormat::OvfVmware, &hostile()).unwrap();
    let disk = MemoryDevice::new(bytes.clone());
    // Wherever the .ovf is given, it comes first.
    let mut members = members(&files, &[(DISK.to_owned(), &disk)]);
    members.reverse();
    let manifest = write(BundleFormat::Ova, &members, &path).unwrap();
    assert_eq!(manifest.name, format!("{STEM}.mf"));
    let Some(listing) = listing(&path) else {
        return;
    };
    let ovf_size = files[0].content.len().to_string();
    let manifest_size = manifest.content.len().to_string();
    let expected = [
        (".ovf", ovf_size.as_str()),
        (".mf", &manifest_size),
        ("_image.vmdk", "3000001"),
    ];
    assert_eq!(listing.len(), 3);
    for (line, (end, size)) in listing.iter().zip(expected) {
        let name = format!("{STEM}{end}");
        assert_eq!(
            line[..],
            [
                "-rw-r--r--",
                "root/root",
                size,
                "2023-11-14",
                "22:13:20",
                &name
            ]
        );
    }
    let folder = dir.path().join("unpacked");
    unpack(&path, &folder);
    assert!(fs::read(folder.join(DISK)).unwrap() == bytes);
    assert_eq!(
        fs::read_to_string(folder.join(&files[0].name)).unwrap(),
        files[0].content
    );
    assert_eq!(
        fs::read_to_string(folder.join(&manifest.name)).unwrap(),
        manifest.content
    );
    check_manifest(&manifest.content, &folder);
    fs::write(folder.join(DISK), b"x").unwrap();
    assert!(std::panic::catch_unwind(|| check_manifest(&manifest.content, &folder)).is_err());
}

/// Every line of a manifest, by `sha256sum`.
fn check_manifest(manifest: &str, folder: &Path) {
    let mut sums = String::new();
    for line in manifest.lines() {
        let (name, digest) = line
            .strip_prefix("SHA256(")
            .unwrap()
            .split_once(")= ")
            .unwrap();
        sums.push_str(&format!("{digest}  {}\n", folder.join(name).display()));
    }
    assert_eq!(sums.lines().count(), 2);
    let Some(output) = ask("sha256sum", ["--check", "--strict"], sums.as_bytes()) else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_box_is_what_vagrant_wants() {
    let dir = scratch_dir();
    let bytes = noise(2, 100_000);
    let disk = MemoryDevice::new(bytes.clone());
    for format in [ConfFormat::Vagrant, ConfFormat::VagrantVmwareFusion] {
        let path = dir.path().join(format!("{format}.box"));
        let files = conf_files(format, &machine()).unwrap();
        assert_eq!(
            write(
                BundleFormat::Box,
                &members(&files, &[(DISK.to_owned(), &disk)]),
                &path
            ),
            None
        );
        let Some(listing) = listing(&path) else {
            return;
        };
        let listed: Vec<&str> = listing.iter().map(|line| line[5].as_str()).collect();
        assert_eq!(listed, [&names(&files)[..], &[DISK]].concat());
        let folder = dir.path().join(format.to_string());
        unpack(&path, &folder);
        assert!(fs::read(folder.join(DISK)).unwrap() == bytes);
        assert!(
            files
                .iter()
                .all(|file| fs::read_to_string(folder.join(&file.name)).unwrap() == file.content)
        );
    }
}

#[test]
fn a_parallels_machine_lies_in_its_folder() {
    let dir = scratch_dir();
    let hds =
        format!("{STEM}_image.hdd/{STEM}_image.hdd.0.{{5fbaabe3-6958-40ff-92a7-860e329aab41}}.hds");
    let bytes = MemoryDevice::new(noise(3, 70_000));
    let nothing = MemoryDevice::new(Vec::new());
    for (format, folder) in [
        (ConfFormat::VagrantParallels, "box.pvm/"),
        (ConfFormat::Pvs, ""),
    ] {
        assert_eq!(format.disk_folder(), folder);
        let path = dir.path().join(format!("{format}.tgz"));
        let disks: [(String, &dyn BlockDevice); 2] = [
            (format!("{folder}{hds}"), &bytes),
            (
                format!("{folder}{STEM}_image.hdd/{STEM}_image.hdd"),
                &nothing,
            ),
        ];
        let files = conf_files(format, &machine()).unwrap();
        write(format.bundle().unwrap(), &members(&files, &disks), &path);
        let Some(listing) = listing(&path) else {
            return;
        };
        let listed: Vec<&str> = listing.iter().map(|line| line[5].as_str()).collect();
        for part in ["config.pvs", &format!("{STEM}_image.hdd/"), &hds] {
            assert!(
                listed.contains(&format!("{folder}{part}").as_str()),
                "{part}: {listed:?}"
            );
        }
        let unpacked = dir.path().join(format.to_string());
        unpack(&path, &unpacked);
        assert!(fs::read(unpacked.join(&disks[0].0)).unwrap() == noise(3, 70_000));
        assert_eq!(fs::metadata(unpacked.join(&disks[1].0)).unwrap().len(), 0);
    }
}

/// A disk of many stretches of data and holes, as bytes.
fn pitted() -> Vec<u8> {
    let mut bytes = vec![0; 20 << 20];
    for index in 0..120 {
        let start = (index + 1) * 160_000;
        bytes[start..start + 3000].copy_from_slice(&noise(index.try_into().unwrap(), 3000));
    }
    bytes.push(7);
    bytes.resize(bytes.len() + 511, 0);
    bytes
}

#[test]
fn an_image_for_google_is_one_sparse_file() {
    let dir = scratch_dir();
    let path = dir.path().join("image.tar.gz");
    let bytes = pitted();
    write(
        BundleFormat::Gce,
        &[Member::device(
            "disk.raw",
            &MemoryDevice::new(bytes.clone()),
        )],
        &path,
    );
    let Some(listing) = listing(&path) else {
        return;
    };
    assert_eq!(listing.len(), 1);
    assert_eq!(
        listing[0][..],
        [
            "-rw-r--r--",
            "root/root",
            "20972032",
            "2023-11-14",
            "22:13:20",
            "disk.raw"
        ]
    );
    let folder = dir.path().join("unpacked");
    unpack(&path, &folder);
    assert!(fs::read(folder.join("disk.raw")).unwrap() == bytes);
    let archive = fs::read(&path).unwrap();
    assert!(archive.len() < 500_000, "{} bytes", archive.len());
    let mut tar = Vec::new();
    flatbake::codec::decoder(&archive[..])
        .unwrap()
        .read_to_end(&mut tar)
        .unwrap();
    assert_eq!(
        (&tar[156..157], &tar[257..265]),
        (&b"S"[..], &b"ustar  \0"[..]),
        "an entry of old GNU tar"
    );
    assert!(
        tar.len() < 1 << 20,
        "{} bytes for 120 blocks of 8 KiB or less",
        tar.len()
    );
    let program = "import hashlib, json, sys, tarfile\n\
                   archive = tarfile.open(sys.stdin.read())\n\
                   member = archive.getmembers()[0]\n\
                   digest = hashlib.sha256(archive.extractfile(member).read()).hexdigest()\n\
                   print(json.dumps([member.issparse(), member.size, digest]))";
    let Some(seen) = python(program, path.to_str().unwrap().as_bytes()) else {
        return;
    };
    let sum = ask("sha256sum", [""; 0], &bytes)
        .map(|output| said(&output)[..64].to_owned())
        .unwrap();
    assert_eq!(seen, serde_json::json!([true, bytes.len(), sum]));
}

#[test]
fn bytes_depend_on_the_members_alone() {
    let dir = scratch_dir();
    let bytes = pitted();
    let raw = dir.path().join("raw");
    let sparse = dir.path().join("sparse");
    fs::write(&raw, &bytes).unwrap();
    let Some(_) = run(
        "cp",
        [
            "--sparse=always",
            raw.to_str().unwrap(),
            sparse.to_str().unwrap(),
        ],
    ) else {
        return;
    };
    let files = conf_files(ConfFormat::OvfVmware, &machine()).unwrap();
    for format in [BundleFormat::Gce, BundleFormat::Ova, BundleFormat::Box] {
        let written: Vec<Vec<u8>> = [&raw, &sparse, &raw]
            .into_iter()
            .enumerate()
            .map(|(index, source)| {
                let device = FileDevice::open(source).unwrap();
                let path = dir.path().join(format!("{format}.{index}"));
                let files = if format == BundleFormat::Gce {
                    &[][..]
                } else {
                    &files
                };
                write(
                    format,
                    &members(files, &[("disk.raw".to_owned(), &device)]),
                    &path,
                );
                fs::read(path).unwrap()
            })
            .collect();
        assert!(
            written[0] == written[1] && written[1] == written[2],
            "{format}"
        );
    }
}

#[test]
fn a_changed_header_is_seen() {
    let dir = scratch_dir();
    let path = dir.path().join("machine.ova");
    let files = conf_files(ConfFormat::OvfVmware, &machine()).unwrap();
    write(
        BundleFormat::Ova,
        &members(
            &files,
            &[(DISK.to_owned(), &MemoryDevice::new(vec![1; 512]))],
        ),
        &path,
    );
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    let output = ask("tar", ["-tf", "-"], &bytes);
    assert!(
        output.is_none_or(|output| !output.status.success()),
        "a header with a wrong checksum"
    );
}

#[test]
fn members_that_do_not_belong_are_refused() {
    let disk = MemoryDevice::new(vec![0; 512]);
    let member = |path: &str| Member::device(path, &disk);
    let text = |path: &str| Member {
        path: path.to_owned(),
        mode: 0o644,
        content: Piece::Bytes(vec![1]),
    };
    let refused = [
        (BundleFormat::Ova, vec![member("a.vmdk")]),
        (BundleFormat::Ova, vec![text("a.ovf"), text("b.ovf")]),
        (
            BundleFormat::Ova,
            vec![text("a.ovf"), text("a.mf"), member("a.vmdk")],
        ),
        (BundleFormat::Ova, vec![text("../a.ovf"), member("a.vmdk")]),
        (BundleFormat::Box, vec![text("a"), text("a")]),
        (BundleFormat::Box, vec![text("/etc/passwd")]),
        (BundleFormat::Box, vec![text("a/../../b")]),
        (BundleFormat::Gce, vec![member("disk.img")]),
        (BundleFormat::Gce, vec![member("disk.raw"), text("readme")]),
        (BundleFormat::Gce, vec![text("disk.raw")]),
    ];
    for (format, members) in refused {
        let out = tempfile::tempfile().unwrap();
        let error = write_bundle(format, &members, &out, TIME, &NoProgress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{format}: {error}");
        assert_eq!(out.metadata().unwrap().len(), 0, "{format}: {error}");
    }
    let out = tempfile::tempfile().unwrap();
    let level = WriteOptions { level: 0, ..TIME };
    assert!(write_bundle(BundleFormat::Box, &[text("a")], &out, level, &NoProgress).is_err());
}
