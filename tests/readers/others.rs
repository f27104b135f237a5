//! VDI and Parallels.

use std::fs;

use flatbake::ErrorKind;
use flatbake::finding::code;
use flatbake::image::{Format, open};

use crate::readers::support::*;

const SIZES: [usize; 4] = [512, (1 << 20) + 512, 6 << 20, (6 << 20) + 1536];

#[test]
fn every_vdi_reads_as_the_raw_disk() {
    for size in SIZES {
        let Some(disk) = Disk::new(size) else { return };
        for options in ["", "static=on"] {
            let image = disk.convert("vdi", options, &[]);
            let opened = disk.check(&image, Format::Vdi);
            assert!(
                size < 6 << 20 || data_bytes(&*opened.device) < 5 << 20,
                "{options}: holes are seen"
            );
            fs::remove_file(image).unwrap();
        }
    }
}

#[test]
fn other_vdis_are_refused() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.convert("vdi", "", &[]);
    let bytes = fs::read(&image).unwrap();
    for (at, value, kind, word) in [
        (76, 4, ErrorKind::Unsupported, "differencing"),
        (424, 1, ErrorKind::Unsupported, "differencing"),
        (440, 1, ErrorKind::Unsupported, "differencing"),
        (76, 9, ErrorKind::Corrupt, "type 9"),
        (68, 9, ErrorKind::Unsupported, "version"),
        (375, 1, ErrorKind::Unsupported, "at most"),
        (372, 1, ErrorKind::Corrupt, "block table"),
        (377, 1, ErrorKind::Corrupt, "power of two"),
        (343, 1, ErrorKind::Corrupt, "beyond the end"),
    ] {
        fs::write(&image, &bytes).unwrap();
        patch(&image, at, &[value]);
        let error = try_open(&image).unwrap_err();
        assert!(
            error.kind() == kind && error.to_string().contains(word),
            "{at}: {error:?}"
        );
    }
}

#[test]
fn every_parallels_disk_reads_as_the_raw_disk() {
    for size in SIZES {
        let Some(disk) = Disk::new(size) else { return };
        for options in ["", "cluster_size=64k", "cluster_size=2M"] {
            let image = disk.convert("parallels", options, &[]);
            let opened = disk.check(&image, Format::Parallels);
            assert!(
                size < 6 << 20 || data_bytes(&*opened.device) < 5 << 20,
                "{options}: holes are seen"
            );
            fs::remove_file(image).unwrap();
        }
    }
}

/// The older kind counts in sectors; nothing here writes it, so it is made from the newer one, for the judge too.
#[test]
fn older_parallels_disks_are_read_and_open_ones_told() {
    let Some(disk) = Disk::new(3 << 20) else {
        return;
    };
    let image = disk.convert("parallels", "cluster_size=64k", &[]);
    let mut bytes = fs::read(&image).unwrap();
    bytes[..16].copy_from_slice(b"WithoutFreeSpace");
    for entry in bytes[64..64 + 48 * 4].chunks_exact_mut(4) {
        let cluster = u32::from_le_bytes((&*entry).try_into().unwrap());
        entry.copy_from_slice(&(cluster * 128).to_le_bytes());
    }
    fs::write(&image, &bytes).unwrap();
    assert!(by_qemu(&image, "parallels") == disk.bytes);
    disk.check(&image, Format::Parallels);
    patch(&image, 44, b"Ynot");
    let findings = Findings::default();
    let opened = open(&image, &options(false), &findings).unwrap();
    assert_holds(&*opened.device, &disk.bytes);
    assert_eq!(findings.codes(), [code::IMAGE_NOT_CLOSED]);
    for (at, value, kind) in [
        (16, 9, ErrorKind::Unsupported),
        (31, 0xff, ErrorKind::Corrupt),
        (38, 1, ErrorKind::Corrupt),
    ] {
        fs::write(&image, &bytes).unwrap();
        patch(&image, at, &[value]);
        assert_eq!(try_open(&image).unwrap_err().kind(), kind, "{at}");
    }
}
