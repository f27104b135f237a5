use std::fs;
use std::os::unix::fs::symlink;

use flatbake::finding::code;
use flatbake::image::{Format, open};
use flatbake::{ErrorKind, Finding};

use crate::common::programs::{judge, must_run};
use crate::readers::support::*;

#[test]
fn every_variant_reads_as_the_raw_disk() {
    let Some(disk) = Disk::new(6 << 20) else {
        return;
    };
    for (options, flags) in [
        ("", &[][..]),
        ("compat=0.10", &[]),
        ("compat=0.10", &["-c"]),
        ("cluster_size=512", &[]),
        ("cluster_size=512", &["-c"]),
        ("cluster_size=4k,compat=0.10", &["-c"]),
        ("cluster_size=2M", &["-c"]),
        ("", &["-c"]),
        ("compression_type=zstd", &["-c"]),
        ("compression_type=zstd,cluster_size=2M", &["-c"]),
        ("compression_type=zstd,cluster_size=4k", &["-c"]),
        ("extended_l2=on", &[]),
        ("extended_l2=on,cluster_size=16k", &["-c"]),
        ("extended_l2=on,cluster_size=2M", &[]),
        ("preallocation=metadata", &[]),
        ("preallocation=falloc", &[]),
        ("preallocation=full", &[]),
        ("lazy_refcounts=on,refcount_bits=1", &[]),
        ("refcount_bits=64", &[]),
    ] {
        let image = disk.convert("qcow2", options, flags);
        let opened = disk.check(&image, Format::Qcow2);
        assert_eq!(opened.file_size, fs::metadata(&image).unwrap().len());
        let data = data_bytes(&*opened.device);
        assert!(
            ["falloc", "full"].iter().any(|word| options.contains(word)) || data < 5 << 20,
            "{options}: holes are seen: {data} bytes of data"
        );
        fs::remove_file(image).unwrap();
    }
}

#[test]
fn odd_sizes_read_as_the_raw_disk() {
    for size in [512, 1000, 65_536 - 512, 65_536 + 512, (3 << 20) + 1536] {
        let Some(disk) = Disk::new(size) else { return };
        for (options, flags) in [
            ("", &[][..]),
            ("cluster_size=2M", &["-c"]),
            ("compression_type=zstd", &["-c"]),
        ] {
            let image = disk.convert("qcow2", options, flags);
            disk.check(&image, Format::Qcow2);
        }
    }
}

#[test]
fn a_changed_byte_is_seen() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.convert("qcow2", "", &[]);
    let bytes = fs::read(&image).unwrap();
    // The last stored cluster is data.
    patch(
        &image,
        bytes.len() as u64 - 100,
        &[!bytes[bytes.len() - 100]],
    );
    let device = try_open(&image).unwrap().device;
    let judged = std::panic::AssertUnwindSafe(|| assert_holds(&*device, &disk.bytes));
    assert!(std::panic::catch_unwind(judged).is_err());
}

/// Overlays over overlays, written here and there, zeroed, shorter and longer than what is below.
#[test]
fn backing_chains_are_followed() {
    let Some(disk) = Disk::new((4 << 20) + 512) else {
        return;
    };
    if judge("qemu-io").is_none() {
        return;
    }
    for (base_format, base_options, top_options) in [
        ("raw", "", ""),
        ("qcow2", "cluster_size=4k", "cluster_size=2M"),
        ("qcow2", "compression_type=zstd", "extended_l2=on"),
        ("qcow2", "", "extended_l2=on,cluster_size=16k"),
    ] {
        for size in ["3M", "4195328", "7M"] {
            fs::rename(
                disk.convert(base_format, base_options, &[]),
                disk.path("base"),
            )
            .unwrap();
            fs::create_dir_all(disk.path("deep")).unwrap();
            let middle = disk.text("deep/middle");
            let backed = |format: &str, name: &str, options: &str, image: &str| {
                let mut arguments = vec!["create", "-q", "-f", "qcow2", "-F", format, "-b", name];
                if !options.is_empty() {
                    arguments.extend(["-o", options]);
                }
                arguments.extend([image, size]);
                must_run("qemu-img", arguments);
            };
            backed(base_format, "../base", "", &middle);
            backed("qcow2", "deep/middle", top_options, &disk.text("top"));
            for (image, commands) in [
                (
                    "deep/middle",
                    [
                        "write -P 1 70000 5000",
                        "write -z 1M 256k",
                        "write -P 2 2M 100000",
                    ],
                ),
                (
                    "top",
                    [
                        "write -P 3 72000 1000",
                        "write -z -u 2M 128k",
                        "discard 128k 64k",
                    ],
                ),
            ] {
                commands
                    .iter()
                    .for_each(|command| qemu_io(&disk.path(image), "qcow2", command));
            }
            let top = try_open(&disk.path("top")).unwrap();
            assert_holds(&*top.device, &by_qemu(&disk.path("top"), "qcow2"));
            assert!(data_bytes(&*top.device) < 5 << 20);
        }
    }
    let error = refusal(&disk.path("top"));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("backing file 'deep/middle'"),
        "{error}"
    );
}

#[test]
fn what_lies_elsewhere_is_never_opened() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    fs::create_dir_all(disk.path("images")).unwrap();
    let top = disk.text("images/top");
    let backed = |name: &str, format: &str| {
        must_run(
            "qemu-img",
            [
                "create", "-q", "-u", "-f", "qcow2", "-F", format, "-b", name, &top, "1M",
            ],
        );
        try_open(&disk.path("images/top")).map(|_| ())
    };
    symlink("../disk.raw", disk.path("images/link")).unwrap();
    for name in ["../disk.raw", "link", &disk.text("disk.raw"), "/dev/zero"] {
        let error = backed(name, "raw").unwrap_err();
        assert!(error.to_string().contains("outside"), "{name}: {error:?}");
    }
    for name in ["json:{\"driver\":\"file\"}", "nbd://localhost/x", "missing"] {
        backed(name, "raw").unwrap_err();
    }
    fs::copy(disk.path("disk.raw"), disk.path("images/disk.raw")).unwrap();
    backed("disk.raw", "raw").unwrap();
    assert!(
        backed("disk.raw", "luks")
            .unwrap_err()
            .to_string()
            .contains("luks")
    );
    let error = backed("top", "qcow2").unwrap_err();
    assert!(
        error.to_string().contains("chain"),
        "a loop ends: {error:?}"
    );
    assert_eq!(
        backed("disk.raw", "qcow2").unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

/// A guest may write anything to its raw disk, the header of another image too.
#[test]
fn what_is_named_raw_is_raw() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let inner = disk.convert("qcow2", "", &[]);
    fs::rename(&inner, disk.path("evil.raw")).unwrap();
    let size = fs::metadata(disk.path("evil.raw"))
        .unwrap()
        .len()
        .to_string();
    let top = disk.text("top");
    must_run(
        "qemu-img",
        [
            "create", "-q", "-f", "qcow2", "-F", "raw", "-b", "evil.raw", &top, &size,
        ],
    );
    let bytes = fs::read(disk.path("evil.raw")).unwrap();
    assert_holds(&*try_open(&disk.path("top")).unwrap().device, &bytes);

    // QEMU makes the data file as well, where the name says.
    let options = format!("data_file={},data_file_raw=on", disk.text("data"));
    must_run(
        "qemu-img",
        ["create", "-q", "-f", "qcow2", "-o", &options, &top, &size],
    );
    fs::copy(disk.path("evil.raw"), disk.path("data")).unwrap();
    // Without an allocated cluster there is nothing to see; QEMU allocates them all on request.
    must_run(
        "qemu-img",
        [
            "convert",
            "-f",
            "raw",
            "-n",
            "-O",
            "qcow2",
            &disk.text("evil.raw"),
            &top,
        ],
    );
    assert_holds(&*try_open(&disk.path("top")).unwrap().device, &bytes);
}

#[test]
fn external_data_files_are_read() {
    let Some(disk) = Disk::new((2 << 20) + 1024) else {
        return;
    };
    for options in [
        "data_file=DATA",
        "data_file=DATA,data_file_raw=on",
        "data_file=DATA,extended_l2=on",
    ] {
        let data = disk.text("data");
        // Convert makes the data file itself; the name in the header is as given.
        let image = disk.convert("qcow2", &options.replace("DATA", &data), &[]);
        disk.check(&image, Format::Qcow2);
        let error = refusal(&image);
        assert!(error.to_string().contains("data file"), "{error}");
        fs::rename(disk.path("data"), disk.path("moved")).unwrap();
        assert_eq!(try_open(&image).unwrap_err().kind(), ErrorKind::NotFound);
        fs::remove_file(image).unwrap();
    }
}

#[test]
fn snapshots_and_bits_are_told() {
    let Some(disk) = Disk::new(2 << 20) else {
        return;
    };
    if judge("qemu-io").is_none() {
        return;
    }
    let image = disk.convert("qcow2", "", &[]);
    let path = image.to_str().unwrap();
    must_run("qemu-img", ["snapshot", "-c", "first", path]);
    qemu_io(&image, "qcow2", "write -P 9 100k 900k");
    must_run("qemu-img", ["snapshot", "-c", "second", path]);
    let wanted = by_qemu(&image, "qcow2");
    let dirty = code::IMAGE_NOT_CLOSED;
    let damaged = code::IMAGE_MARKED_DAMAGED;
    for (bits, codes) in [
        (0, &[][..]),
        (1, &[dirty]),
        (2, &[damaged]),
        (3, &[dirty, damaged]),
    ] {
        patch(&image, 79, &[bits]);
        let findings = Findings::default();
        let opened = open(&image, &options(false), &findings).unwrap();
        assert_holds(&*opened.device, &wanted);
        assert_eq!(
            findings.0.lock().unwrap()[0],
            Finding::new(code::IMAGE_SNAPSHOTS).with("count", 2)
        );
        assert_eq!(findings.codes()[1..], *codes, "{bits}");
    }
    patch(&image, 79, &[32]);
    let error = refusal(&image);
    assert!(
        error.kind() == ErrorKind::Unsupported && error.to_string().contains("0x20"),
        "{error:?}"
    );
    patch(&image, 79, &[0]);
    patch(&image, 7, &[1]);
    assert!(refusal(&image).to_string().contains("version 1"));
}

#[test]
fn encrypted_images_are_refused() {
    let Some(disk) = Disk::new(1 << 20) else {
        return;
    };
    let image = disk.text("secret");
    for options in [
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10",
        "encrypt.format=aes,encrypt.key-secret=s",
    ] {
        must_run(
            "qemu-img",
            [
                "create",
                "-q",
                "--object",
                "secret,id=s,data=x",
                "-f",
                "qcow2",
                "-o",
                options,
                &image,
                "1M",
            ],
        );
        let error = refusal(&disk.path("secret"));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("encrypted"), "{error}");
    }
}

#[test]
fn a_cut_file_is_an_error() {
    let Some(disk) = Disk::new(2 << 20) else {
        return;
    };
    for flags in [&[][..], &["-c"]] {
        let image = disk.convert("qcow2", "", flags);
        let bytes = fs::read(&image).unwrap();
        for len in [
            512,
            70_000,
            131_072 + 4,
            bytes.len() / 2,
            bytes.len() - 65_536 - 4096,
        ] {
            fs::write(disk.path("cut"), &bytes[..len]).unwrap();
            let read = try_open(&disk.path("cut")).and_then(|image| {
                let mut whole = vec![0; 2 << 20];
                image.device.read_at(0, &mut whole)
            });
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error:?}");
        }
    }
}
