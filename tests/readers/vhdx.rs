use std::fs;

use flatbake::ErrorKind;
use flatbake::finding::code;
use flatbake::image::{Format, open};

use crate::common::programs::must_run;
use crate::readers::support::*;

#[test]
fn every_variant_reads_as_the_raw_disk() {
    for size in [512, (1 << 20) + 512, 6 << 20, (6 << 20) + 1536] {
        let Some(disk) = Disk::new(size) else { return };
        for options in [
            "subformat=dynamic",
            "subformat=fixed",
            "block_size=1M",
            "block_size=256M",
            "block_state_zero=off,block_size=2M",
        ] {
            let image = disk.convert("vhdx", options, &[]);
            let opened = disk.check(&image, Format::Vhdx);
            assert!(
                size < 6 << 20 || data_bytes(&*opened.device) < 5 << 20,
                "{options}: holes are seen"
            );
            fs::remove_file(image).unwrap();
        }
    }
}

/// More blocks than one chunk has, so that entries of bitmaps lie between those of blocks.
#[test]
fn a_large_disk_has_chunks() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.path("image");
    let path = image.to_str().unwrap();
    must_run(
        "qemu-img",
        [
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            "block_size=1M",
            path,
            "10G",
        ],
    );
    let places: [u64; 4] = [0, (4 << 30) - 4096, 4 << 30, (8 << 30) + 12_288];
    for (place, value) in places.iter().zip(1..) {
        qemu_io(&image, "vhdx", &format!("write -P {value} {place} 4096"));
    }
    let device = try_open(&image).unwrap().device;
    for (place, value) in places.iter().zip(1..) {
        let mut bytes = vec![0; 4096];
        device.read_at(*place, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == value), "at {place}");
        device.read_at(place + 4096, &mut bytes).unwrap();
        assert!(
            *place == (4 << 30) - 4096 || bytes.iter().all(|&byte| byte == 0),
            "behind {place}"
        );
    }
    assert!(data_bytes(&*device) <= 4 << 20);
}

fn le32(bytes: &[u8], at: usize) -> usize {
    usize::try_from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())).unwrap()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn sign(bytes: &mut [u8]) {
    put(bytes, 4, &[0; 4]);
    let sum = crc32c::crc32c(bytes);
    put(bytes, 4, &sum.to_le_bytes());
}

const GUID: [u8; 16] = *b"the guid of logs";

/// A log entry that puts `sectors` to their offsets and makes `zero` zero.
fn entry(
    sequence: u64,
    tail: usize,
    file_len: usize,
    sectors: &[(usize, &[u8])],
    zero: Option<usize>,
) -> Vec<u8> {
    let mut bytes = vec![0; 4096 + 4096 * sectors.len()];
    let len = u32::try_from(bytes.len()).unwrap();
    put(&mut bytes, 0, b"loge");
    put(&mut bytes, 8, &len.to_le_bytes());
    put(&mut bytes, 12, &u32::try_from(tail).unwrap().to_le_bytes());
    put(&mut bytes, 16, &sequence.to_le_bytes());
    let count = u32::try_from(sectors.len() + zero.iter().len()).unwrap();
    put(&mut bytes, 24, &count.to_le_bytes());
    put(&mut bytes, 32, &GUID);
    put(&mut bytes, 48, &(file_len as u64).to_le_bytes());
    put(&mut bytes, 56, &(file_len as u64).to_le_bytes());
    for (index, (offset, sector)) in sectors.iter().enumerate() {
        let at = 64 + index * 32;
        let data = 4096 + index * 4096;
        put(&mut bytes, at, b"desc");
        put(&mut bytes, at + 4, &sector[4092..]);
        put(&mut bytes, at + 8, &sector[..8]);
        put(&mut bytes, at + 16, &(*offset as u64).to_le_bytes());
        put(&mut bytes, at + 24, &sequence.to_le_bytes());
        put(&mut bytes, data, b"data");
        put(&mut bytes, data + 4, &sequence.to_le_bytes()[4..]);
        put(&mut bytes, data + 8, &sector[8..4092]);
        put(&mut bytes, data + 4092, &sequence.to_le_bytes()[..4]);
    }
    if let Some(offset) = zero {
        let at = 64 + sectors.len() * 32;
        put(&mut bytes, at, b"zero");
        put(&mut bytes, at + 8, &4096u64.to_le_bytes());
        put(&mut bytes, at + 16, &(offset as u64).to_le_bytes());
        put(&mut bytes, at + 24, &sequence.to_le_bytes());
    }
    sign(&mut bytes);
    bytes
}

/// An image whose block table is destroyed, with its true content in the log; and what the log says of it.
pub fn with_log(disk: &Disk, ring_start: usize) -> Vec<u8> {
    let mut bytes = fs::read(disk.convert("vhdx", "subformat=dynamic,block_size=1M", &[])).unwrap();
    let log_len = le32(&bytes, 65_536 + 68);
    let log_at = le32(&bytes, 65_536 + 72);
    // The block table's region is the one that is not the metadata.
    let bat = (0..2)
        .map(|index| 196_608 + 16 + index * 32)
        .find(|&at| bytes[at] == 0x66)
        .unwrap();
    let bat = le32(&bytes, bat + 16);
    let table = bytes[bat..bat + 4096].to_vec();
    // A sector of the disk that is zero, in a block that is stored.
    let zero = disk
        .bytes
        .chunks(4096)
        .position(|sector| sector.iter().all(|&byte| byte == 0))
        .unwrap()
        * 4096;
    let block = le32(&bytes, bat + (zero >> 20) * 8) & !0xf_ffff;
    let zero = block + (zero & 0xf_ffff);
    bytes[bat..bat + 4096].fill(0x5a);
    bytes[zero..zero + 4096].fill(0xa5);
    let len = bytes.len();
    let stale = vec![0x77; 4096];
    let mut write = |mut at: usize, entry: &[u8]| {
        for sector in entry.chunks(4096) {
            put(&mut bytes, log_at + at % log_len, sector);
            at += 4096;
        }
        at % log_len
    };
    // An older sequence, which must not be applied; then two entries, of which the second ends the right one.
    write(
        (ring_start + 65_536) % log_len,
        &entry(
            3,
            (ring_start + 65_536) % log_len,
            len,
            &[(bat, &stale)],
            None,
        ),
    );
    let second = write(
        ring_start,
        &entry(7, ring_start, len, &[(bat, &stale), (zero, &stale)], None),
    );
    write(
        second,
        &entry(8, ring_start, len, &[(bat, &table)], Some(zero)),
    );
    for header in [65_536, 131_072] {
        put(&mut bytes, header + 48, &GUID);
        sign(&mut bytes[header..header + 4096]);
    }
    bytes
}

/// What the log holds counts, wherever in the ring it lies; the judge repairs a copy and reads the same.
#[test]
fn the_log_is_replayed_in_memory() {
    let Some(disk) = Disk::new(3 << 20) else {
        return;
    };
    for ring_start in [
        0,
        8192,
        (1 << 20) - 4096,
        (1 << 20) - 8192,
        (1 << 20) - 12_288,
    ] {
        let bytes = with_log(&disk, ring_start);
        let image = disk.path("image");
        fs::write(&image, &bytes).unwrap();
        let findings = Findings::default();
        let opened = open(&image, &options(false), &findings).unwrap();
        assert_eq!(opened.format, Format::Vhdx);
        assert_holds(&*opened.device, &disk.bytes);
        assert_eq!(findings.codes(), [code::IMAGE_LOG_APPLIED]);
        assert!(fs::read(&image).unwrap() == bytes, "the image is untouched");
        must_run(
            "qemu-img",
            [
                "check",
                "-q",
                "-r",
                "all",
                "-f",
                "vhdx",
                image.to_str().unwrap(),
            ],
        );
        assert!(by_qemu(&image, "vhdx") == disk.bytes, "start {ring_start}");
    }
}

#[test]
fn damaged_logs_are_errors() {
    let Some(disk) = Disk::new(3 << 20) else {
        return;
    };
    let bytes = with_log(&disk, 0);
    let log_at = le32(&bytes, 65_536 + 72);
    let image = disk.path("image");
    // Each byte of the last entry counts: without it the older sequence is in force, and with that a broken table.
    for at in [0, 5, 13, 17, 40, 64, 90, 4096, 5000] {
        let mut bytes = bytes.clone();
        bytes[log_at + 3 * 4096 + at] ^= 1;
        fs::write(&image, &bytes).unwrap();
        assert_eq!(
            try_open(&image).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "byte {at}"
        );
    }
    let mut cut = bytes.clone();
    cut.truncate(bytes.len() - 4096);
    fs::write(&image, &cut).unwrap();
    assert!(
        try_open(&image)
            .unwrap_err()
            .to_string()
            .contains("the file had"),
        "it was cut"
    );
    let mut none = bytes;
    none[log_at..log_at + (1 << 20)].fill(0);
    fs::write(&image, &none).unwrap();
    assert!(refusal(&image).to_string().contains("no valid entry"));
}

#[test]
fn one_header_is_enough_and_the_newer_one_counts() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.convert("vhdx", "", &[]);
    let bytes = fs::read(&image).unwrap();
    for (damaged, fine) in [
        (&[65_600u64][..], true),
        (&[131_136], true),
        (&[196_620], true),
        (&[262_156], true),
        (&[65_600, 131_136], false),
        (&[196_620, 262_156], false),
    ] {
        fs::write(&image, &bytes).unwrap();
        damaged.iter().for_each(|&at| patch(&image, at, &[0xee]));
        match try_open(&image) {
            Ok(opened) => assert_holds(&*opened.device, &disk.bytes),
            Err(error) => assert!(
                !fine && error.kind() == ErrorKind::Corrupt,
                "{damaged:?}: {error:?}"
            ),
        }
    }
}
