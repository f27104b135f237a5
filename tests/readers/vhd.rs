use std::fs;

use flatbake::ErrorKind;
use flatbake::finding::code;
use flatbake::image::{Format, open};

use crate::readers::support::*;

#[test]
fn every_subformat_reads_as_the_raw_disk() {
    for size in [512, 65_536 + 512, 6 << 20, (6 << 20) + 1536] {
        let Some(disk) = Disk::new(size) else { return };
        for options in [
            "subformat=dynamic",
            "subformat=fixed",
            "subformat=dynamic,force_size=on",
            "subformat=fixed,force_size=on",
        ] {
            let image = disk.convert("vpc", options, &[]);
            let opened = disk.check(&image, Format::Vhd);
            assert!(
                !options.contains("force") || opened.device.size() == size as u64,
                "{options}"
            );
            if size >= 6 << 20 {
                assert!(
                    data_bytes(&*opened.device) < 5 << 20,
                    "{options}: holes are seen"
                );
            }
            assert_holds(&*opened.device, &by_qemu(&image, "vpc"));
            fs::remove_file(image).unwrap();
        }
    }
}

fn repaired(mut footer: Vec<u8>) -> Vec<u8> {
    footer[64..68].fill(0);
    let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

#[test]
fn a_lost_footer_is_replaced_by_its_copy() {
    let Some(disk) = Disk::new(3 << 20) else {
        return;
    };
    let image = disk.convert("vpc", "subformat=dynamic,force_size=on", &[]);
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, &bytes[..bytes.len() - 512]).unwrap();
    let findings = Findings::default();
    let opened = open(&image, &options(false), &findings).unwrap();
    assert_holds(&*opened.device, &disk.bytes);
    assert_eq!(findings.codes(), [code::IMAGE_HEADER_COPY]);
    patch(&image, 100, &[1]);
    assert_eq!(refusal(&image).kind(), ErrorKind::Corrupt);
}

/// What a guest writes to the first sector of a fixed disk cannot make it another disk.
#[test]
fn the_footer_at_the_end_counts() {
    let Some(disk) = Disk::new(3 << 20) else {
        return;
    };
    let dynamic = fs::read(disk.convert("vpc", "subformat=dynamic,force_size=on", &[])).unwrap();
    fs::write(disk.path("disk.raw"), &dynamic).unwrap();
    let image = disk.convert("vpc", "subformat=fixed,force_size=on", &[]);
    assert_holds(&*try_open(&image).unwrap().device, &dynamic);
}

#[test]
fn other_disks_are_refused() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.convert("vpc", "subformat=dynamic,force_size=on", &[]);
    let bytes = fs::read(&image).unwrap();
    let footer = &bytes[bytes.len() - 512..];
    let end = bytes.len() as u64 - 512;
    for (at, value, kind, word) in [
        (63, 4, ErrorKind::Unsupported, "differencing"),
        (63, 7, ErrorKind::Corrupt, "type 7"),
        (63, 2, ErrorKind::Corrupt, "lie before it"),
        (13, 9, ErrorKind::Unsupported, "version"),
        (48, 1, ErrorKind::Unsupported, "at most"),
        (52, 1, ErrorKind::Corrupt, "block table"),
    ] {
        let mut footer = footer.to_vec();
        footer[at] = value;
        if word == "lie before it" {
            footer[50] = 1;
        }
        let footer = repaired(footer);
        patch(&image, 0, &footer);
        patch(&image, end, &footer);
        let error = try_open(&image).unwrap_err();
        assert!(
            error.kind() == kind && error.to_string().contains(word),
            "{at}: {error:?}"
        );
    }
}
