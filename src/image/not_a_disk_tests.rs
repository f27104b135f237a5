//! A small sample of each known file, made here by its description.

use super::detect::{Content, detect};
use super::format::Format;
use super::not_a_disk::{KNOWN, NotADisk};
use crate::ErrorKind;
use crate::block::MemoryDevice;
use crate::error::Error;

fn refused(bytes: Vec<u8>) -> Error {
    detect(&MemoryDevice::new(bytes)).unwrap_err()
}

/// A file of 64 KiB and some with `magic` at `offset`.
fn with(offset: usize, magic: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; (64 << 10) + 512];
    bytes[offset..offset + magic.len()].copy_from_slice(magic);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A header of a tar archive and its content.
fn member(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    bytes[257..263].copy_from_slice(b"ustar\0");
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let pe = [&b"MZ"[..], &[0; 58], &[0x40, 0, 0, 0], b"PE\0\0"].concat();
    let apple = [&b"ER\x02\0"[..], &[0; 508], b"PM\0\0"].concat();
    let signature = [&[0x89, 2, 0x33, 4, 0][..], &[0x5a; 0x231]].concat();
    vec![
        ("a RAR archive", with(0, b"Rar!\x1a\x07\x01\0")),
        ("a xar archive", with(0, b"xar!\0\x1c")),
        ("a cabinet file", with(0, b"MSCF\0\0\0\0")),
        ("an ar archive", with(0, b"!<arch>\ndebian-binary")),
        ("an RPM package", with(0, b"\xed\xab\xee\xdb")),
        ("a cpio archive", with(0, b"070701")),
        ("an empty zip archive", b"PK\x05\x06".to_vec()),
        (
            "an Apple disk image (DMG)",
            with(64 << 10, b"koly\0\0\0\x04"),
        ),
        ("an EnCase image (E01, Ex01)", with(0, b"EVF\x09\r\n\xff\0")),
        ("an EnCase image (E01, Ex01)", with(0, b"EVF2\r\n\x81\0")),
        ("an AFF image", with(0, b"AFF10\r\n\0")),
        ("a QED image", with(0, b"QED\0")),
        ("a Bochs image", with(0, b"Bochs Virtual HD Image\0")),
        (
            "a cloop image",
            with(0, b"#!/bin/sh\n#V2.0 Format\nmodprobe"),
        ),
        (
            "an SEsparse extent of VMware ESXi",
            with(0, b"\xbe\xba\xfe\xca\0\0\0\0"),
        ),
        (
            "an Android sparse image",
            with(0, b"\x3a\xff\x26\xed\x01\0"),
        ),
        ("a Proxmox backup (VMA)", with(0, b"VMA\0\0\0\0\x01")),
        (
            "a Windows imaging file (WIM), which holds files and no disk",
            with(0, b"MSWIM\0\0\0"),
        ),
        ("a disk with an Apple partition map", apple),
        ("a CD image (ISO 9660)", with(0x8000, b"\x01CD001\x01")),
        ("a Linux kernel", with(0x202, b"HdrS")),
        ("a program (ELF)", with(0, b"\x7fELF\x02")),
        ("a program for EFI or Windows (PE)", pe),
        ("a picture (PNG)", with(0, b"\x89PNG\r\n\x1a\n")),
        ("a picture (JPEG)", with(0, b"\xff\xd8\xff\xe0")),
        ("a PDF document", with(0, b"%PDF-1.7")),
        (
            "a web page",
            text("\u{feff}\n<!DOCTYPE HTML>\n<title>404</title>"),
        ),
        ("a web page", text("<html><body>Not found</body></html>")),
        (
            "an OVF description of a machine",
            text(
                "<?xml version=\"1.0\"?>\n<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\">",
            ),
        ),
        (
            "an XML document",
            text("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
        ),
        (
            "an Ignition config",
            text("{\n  \"ignition\": { \"version\": \"3.4.0\" }\n}"),
        ),
        (
            "a Butane config",
            text("# My node\nvariant: flatcar\nversion: 1.1.0\n"),
        ),
        ("a cloud-config", text("#cloud-config\nhostname: node\n")),
        ("a JSON document", text("{ \"error\": \"no such file\" }")),
        (
            "an OpenPGP signature or key",
            text("-----BEGIN PGP SIGNATURE-----\n\niQIz\n"),
        ),
        ("an OpenPGP signature or key", signature),
        (
            "a certificate or key (PEM)",
            text("-----BEGIN CERTIFICATE-----\n"),
        ),
        (
            "a pointer of Git LFS",
            text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        ),
        (
            "a list of checksums",
            text(&format!(
                "# SHA512 HASH\n{}  disk.bin.bz2\n",
                "0a".repeat(64)
            )),
        ),
        (
            "a list of checksums",
            text(&format!("{} *disk.bin.bz2\n", "0a".repeat(32))),
        ),
        ("a list of checksums", text("SHA256 (disk.bin) = 00\n")),
        ("a script", text("#!/usr/bin/env bash\nset -e\n")),
    ]
}

#[test]
fn every_known_file_is_refused_by_its_name_with_a_hint() {
    let samples = samples();
    for (name, bytes) in &samples {
        let error = refused(bytes.clone());
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}: {error}");
        assert!(
            error
                .to_string()
                .contains(&format!("this is {name}, not a disk image")),
            "{name}: {error}"
        );
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{name}");
    }
    for known in KNOWN {
        assert!(
            samples.iter().any(|(name, _)| *name == known.name),
            "a sample of {} is missing",
            known.name
        );
    }
}

#[test]
fn packed_files_are_refused_by_the_name_of_the_packer() {
    for (name, start) in [
        ("lz4", &b"\x04\x22\x4d\x18"[..]),
        ("lz4", b"\x02\x21\x4c\x18"),
        ("lzma", b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("lzma", b"\x5d\0\0\0\x04\0\0\x10\0\0\0\0\0"),
        ("lzip", b"LZIP\x01"),
        ("lzop", b"\x89LZO\0\r\n\x1a\n"),
        ("compress (.Z)", b"\x1f\x9d\x90"),
        ("7z", b"7z\xbc\xaf\x27\x1c"),
    ] {
        let error = refused(with(0, start));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains(&format!("packed as {name},")),
            "{error}"
        );
    }
}

#[test]
fn archives_name_the_disk_within() {
    let ova = [
        member("node.ovf", &[b' '; 700]),
        member("node.mf", b"x"),
        member("node-disk1.vmdk", b"KDMV"),
    ]
    .concat();
    let error = refused(ova);
    assert!(error.to_string().contains("this is an OVA"), "{error}");
    assert!(
        error.hint().unwrap().contains("node-disk1.vmdk"),
        "{error:?}"
    );

    let error = refused(
        [
            member("README", b"x"),
            member("disk.raw", &[1; 5000]),
            vec![0; 1024],
        ]
        .concat(),
    );
    assert!(
        error.to_string().contains("this is a tar archive"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("disk.raw"), "{error:?}");

    // Sizes and names that cannot be: no endless loop, no name.
    let mut odd = member("a\nb.raw", b"");
    odd[124..136].fill(b'7');
    assert!(
        refused(odd)
            .hint()
            .unwrap()
            .contains("the disk image in it")
    );
}

#[test]
fn a_disk_with_partitions_is_a_disk_whatever_its_bytes_look_like() {
    let is_raw =
        |bytes: Vec<u8>| detect(&MemoryDevice::new(bytes)).unwrap() == Content::Disk(Format::Raw);
    for (name, sample) in samples() {
        let mut sample = sample;
        sample.resize(sample.len().max(64 << 10).next_multiple_of(4096), 0);
        let len = sample.len();
        for offset in [512, 4096, len - 512, len - 4096] {
            let mut disk = sample.clone();
            disk[offset..offset + 8].copy_from_slice(b"EFI PART");
            assert!(is_raw(disk), "{name} with a GPT at {offset}");
        }
        let mut disk = sample;
        disk[446..510].fill(0);
        disk[446 + 4] = 0x83;
        disk[446 + 12] = 1;
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(is_raw(disk), "{name} with an MBR");
    }
}

#[test]
fn what_only_resembles_a_known_file_is_left_alone() {
    for bytes in [
        vec![0; 1 << 17],
        text(&"just some words\n".repeat(100)),
        with(1, b"QED\0"),
        with(0, b"MZ"),
        with(0, b"\x5d\0\0\x80\0\x01\x02\x03\x04\x05\x06\x07\x08"),
        text(&format!("{}  \n", "zz".repeat(32)).repeat(20)),
        text(&"variant\n".repeat(100)),
        [&[0x89, 2, 0x33, 4, 0][..], &[0x5a; 0x300]].concat(),
    ] {
        assert_eq!(
            NotADisk::of(&MemoryDevice::new(bytes.clone())).unwrap(),
            None,
            "{:?}",
            &bytes[..16]
        );
    }
}
