use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::symlink;

use flatbake::ErrorKind;
use flatbake::image::Format;

use crate::common::programs::{judge, must_run};
use crate::readers::support::*;

#[test]
fn every_subformat_reads_as_the_raw_disk() {
    for size in [512, 65_536 + 512, 6 << 20, (6 << 20) + 1536] {
        let Some(disk) = Disk::new(size) else { return };
        for subformat in [
            "monolithicSparse",
            "monolithicFlat",
            "twoGbMaxExtentSparse",
            "twoGbMaxExtentFlat",
            "streamOptimized",
        ] {
            let image = disk.convert("vmdk", &format!("subformat={subformat}"), &[]);
            let opened = disk.check(&image, Format::Vmdk);
            assert!(
                size < 6 << 20 || data_bytes(&*opened.device) < 5 << 20,
                "{subformat}: holes are seen"
            );
            let alone = !subformat.contains("Flat") && !subformat.contains("twoGb");
            if !alone {
                let error = refusal(&image);
                assert!(
                    error.kind() == ErrorKind::Unsupported && error.to_string().contains("extent"),
                    "{error:?}"
                );
            }
            fs::remove_file(image).unwrap();
        }
    }
}

/// More than one extent, and a disk that no memory holds.
#[test]
fn a_disk_in_many_files_is_one() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let raw = File::options()
        .write(true)
        .open(disk.path("disk.raw"))
        .unwrap();
    raw.set_len(5 << 30).unwrap();
    let places = [0, (2 << 30) - 1000, 4 << 30, (5 << 30) - 4096];
    for place in places {
        raw.write_all_at(&[7; 4096], place).unwrap();
    }
    for subformat in [
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "monolithicSparse",
    ] {
        let image = disk.convert("vmdk", &format!("subformat={subformat}"), &[]);
        let device = try_open(&image).unwrap().device;
        assert_eq!(device.size(), 5 << 30);
        let data = data_bytes(&*device);
        assert!(
            (4 * 4096..2 << 20).contains(&data),
            "{subformat}: {data} bytes of data"
        );
        for place in places {
            let mut bytes = vec![1; 8192];
            let start = place.saturating_sub(100).min((5 << 30) - 8192);
            device.read_at(start, &mut bytes).unwrap();
            for (n, byte) in (start..).zip(bytes) {
                assert_eq!(
                    byte == 7,
                    places.iter().any(|at| (*at..at + 4096).contains(&n)),
                    "{subformat}: {n}"
                );
            }
        }
        fs::remove_file(image).unwrap();
    }
}

#[test]
fn parents_are_followed_where_they_fit() {
    let Some(disk) = Disk::new(4 << 20) else {
        return;
    };
    if judge("qemu-io").is_none() {
        return;
    }
    fs::rename(
        disk.convert("vmdk", "subformat=twoGbMaxExtentSparse", &[]),
        disk.path("base.vmdk"),
    )
    .unwrap();
    let top = disk.text("top.vmdk");
    must_run(
        "qemu-img",
        [
            "create",
            "-q",
            "-f",
            "vmdk",
            "-F",
            "vmdk",
            "-b",
            &disk.text("base.vmdk"),
            &top,
        ],
    );
    for command in [
        "write -P 3 70000 100000",
        "write -z 1M 64k",
        "write -P 9 4194000 304",
    ] {
        qemu_io(&disk.path("top.vmdk"), "vmdk", command);
    }
    assert_holds(
        &*try_open(&disk.path("top.vmdk")).unwrap().device,
        &by_qemu(&disk.path("top.vmdk"), "vmdk"),
    );
    assert!(
        refusal(&disk.path("top.vmdk"))
            .to_string()
            .contains("parent")
    );
    let text = fs::read(disk.path("base.vmdk")).unwrap();
    let at = text.windows(4).position(|word| word == b"CID=").unwrap() as u64;
    patch(&disk.path("base.vmdk"), at + 4, b"01234567");
    let error = try_open(&disk.path("top.vmdk")).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("01234567"),
        "{error:?}"
    );
}

/// What VMware writes when it streams: the directory's place is known only at the end, in a footer.
#[test]
fn a_stream_with_a_footer_is_read() {
    let Some(disk) = Disk::new((3 << 20) + 512) else {
        return;
    };
    let image = disk.convert("vmdk", "subformat=streamOptimized", &[]);
    let mut bytes = fs::read(&image).unwrap();
    let header = bytes[..512].to_vec();
    let mut marker = vec![0; 512];
    (marker[0], marker[12]) = (1, 3);
    bytes[56..64].fill(0xff);
    bytes.extend([marker, header, vec![0; 512]].concat());
    fs::write(&image, &bytes).unwrap();
    assert!(
        by_qemu(&image, "vmdk") == disk.bytes,
        "the judge reads it, too"
    );
    disk.check(&image, Format::Vmdk);
    bytes.truncate(bytes.len() - 512);
    fs::write(&image, &bytes).unwrap();
    assert!(refusal(&image).to_string().contains("footer"));
}

/// An extent of ESX: what no tool here writes, so it is put together by hand and the judge reads it first.
#[test]
fn esx_extents_are_read() {
    let Some(disk) = Disk::new(4 << 20) else {
        return;
    };
    for grain_sectors in [1, 8] {
        let grain = grain_sectors * 512;
        let tables = disk.bytes.len().div_ceil(4096 * grain);
        // Header, directory in 4 sectors, tables of 32 sectors, grains.
        let directory_at = 4;
        let tables_at = 8;
        let data_at = tables_at + tables * 32;
        let mut image = vec![0; data_at * 512];
        let put = |image: &mut Vec<u8>, at: usize, number: usize| {
            image[at..at + 4].copy_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        };
        image[..4].copy_from_slice(b"COWD");
        for (at, number) in [
            (4, 1),
            (8, 3),
            (12, disk.bytes.len() / 512),
            (16, grain_sectors),
            (20, directory_at),
            (24, tables),
        ] {
            put(&mut image, at, number);
        }
        for table in 0..tables {
            put(
                &mut image,
                directory_at * 512 + table * 4,
                tables_at + table * 32,
            );
        }
        for (index, bytes) in disk.bytes.chunks(grain).enumerate() {
            if bytes.iter().any(|&byte| byte != 0) {
                let sector = image.len() / 512;
                put(&mut image, tables_at * 512 + index * 4, sector);
                image.extend_from_slice(bytes);
            }
        }
        fs::write(disk.path("esx-delta.vmdk"), &image).unwrap();
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=00000001\nparentCID=ffffffff\ncreateType=\"vmfsSparse\"\n\
             RW {} VMFSSPARSE \"esx-delta.vmdk\"\n",
            disk.bytes.len() / 512
        );
        fs::write(disk.path("esx.vmdk"), text).unwrap();
        assert!(
            by_qemu(&disk.path("esx.vmdk"), "vmdk") == disk.bytes,
            "the judge reads it, too"
        );
        disk.check(&disk.path("esx.vmdk"), Format::Vmdk);
        disk.check(&disk.path("esx-delta.vmdk"), Format::Vmdk);
    }
}

#[test]
fn descriptors_cannot_reach_elsewhere() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    fs::create_dir(disk.path("images")).unwrap();
    fs::copy(disk.path("disk.raw"), disk.path("images/flat")).unwrap();
    symlink("../disk.raw", disk.path("images/link")).unwrap();
    let image = disk.path("images/image.vmdk");
    let described = |lines: &str| {
        let text = format!("# Disk DescriptorFile\nCID=00000001\nparentCID=ffffffff\n{lines}\n");
        fs::write(&image, text).unwrap();
        try_open(&image)
    };
    let good =
        described("RW 1000 FLAT \"flat\" 0\nRW 48 ZERO\nRW 1000 FLAT \"./flat\" 1048").unwrap();
    let mut wanted = disk.bytes.clone();
    wanted[512_000..536_576].fill(0);
    assert_holds(&*good.device, &wanted);
    let secret = disk.text("disk.raw");
    for name in ["../disk.raw", "link", &secret, "/dev/zero"] {
        let error = described(&format!("RW 2048 FLAT \"{name}\" 0")).unwrap_err();
        assert!(error.to_string().contains("outside"), "{error:?}");
    }
    for (lines, kind) in [
        ("", ErrorKind::Corrupt),
        ("RW 2049 FLAT \"flat\" 0", ErrorKind::Corrupt),
        ("RW 1 FLAT \"flat\" 2048", ErrorKind::Corrupt),
        ("RW 1 FLAT \"flat\" 36028797018963968", ErrorKind::Corrupt),
        ("RW 36028797018963968 ZERO", ErrorKind::Corrupt),
        (
            "RW 36028797018963967 ZERO\nRW 36028797018963967 ZERO",
            ErrorKind::Unsupported,
        ),
        ("RW 10 SPARSE \"flat\"", ErrorKind::Corrupt),
        ("RW 10 SPARSE \"image.vmdk\"", ErrorKind::Corrupt),
        ("RW 10 FLAT \"missing\"", ErrorKind::NotFound),
        ("RW 10 SESPARSE \"flat\"", ErrorKind::Unsupported),
        ("parentCID=00000001\nRW 1 FLAT \"flat\"", ErrorKind::Corrupt),
        (
            "parentCID=00000001\nparentFileNameHint=\"image.vmdk\"\nRW 1 FLAT \"flat\"",
            ErrorKind::Unsupported,
        ),
        (&"RW 1 FLAT \"flat\"\n".repeat(600), ErrorKind::Unsupported),
    ] {
        let error = described(lines).unwrap_err();
        assert_eq!(error.kind(), kind, "{lines:.100}: {error:?}");
    }
}
