//! `flatbake convert` and `flatbake info` on the bundled sample image, judged by `qemu-img` and the decompressors.
use crate::common::judges::ext4_clean;
use crate::common::programs::{self, command, judge, said};
use crate::common::region::Region;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const FORMATS: [(&str, &str); 11] = [
    ("raw", "raw"),
    ("qcow2", "qcow2"),
    ("vmdk_ide", "vmdk"),
    ("vmdk_scsi", "vmdk"),
    ("vmdk_stream", "vmdk"),
    ("vmdk_flat", "vmdk"),
    ("vhd", "vpc"),
    ("vhd-fixed", "vpc"),
    ("vhdx", "vhdx"),
    ("vdi", "vdi"),
    ("hdd", "parallels"),
];

const COMPRESSIONS: [(&str, &str); 4] = [
    ("gz", "gzip"),
    ("bz2", "bzip2"),
    ("xz", "xz"),
    ("zst", "zstd"),
];

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2")
}

fn flatbake(dir: &Path, arguments: &[&str]) -> Output {
    programs::flatbake()
        .current_dir(dir)
        .args(arguments)
        .output()
        .unwrap()
}

fn convert(dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = flatbake(
        dir,
        &[&["convert", "--quiet", "--json"], arguments].concat(),
    );
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The sample as a raw disk `disk.raw`, small enough to be compressed often.
fn raw_disk(dir: &Path) {
    convert(dir, &[sample().to_str().unwrap(), "disk.raw"]);
}

#[test]
fn every_format_holds_the_same_disk() {
    let Some(qemu_img) = judge("qemu-img") else {
        return;
    };
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    for (format, qemu) in FORMATS {
        let name = format!("out.{format}");
        let artifact = convert(dir.path(), &["disk.raw", &name, "--format", format]);
        assert_eq!(artifact["format"], format.replace('-', "_"));
        let image = match format {
            "hdd" => format!("{name}/{name}.0.{{5fbaabe3-6958-40ff-92a7-860e329aab41}}.hds"),
            _ => name,
        };
        let arguments = ["compare", "-f", "raw", "-F", qemu, "disk.raw", &image];
        let compared = command(&qemu_img)
            .current_dir(dir.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(compared.status.success(), "{format}: {}", said(&compared));
    }
    let descriptor = fs::read_to_string(dir.path().join("out.hdd/DiskDescriptor.xml")).unwrap();
    assert!(descriptor.contains("<Name>out.hdd</Name>"), "{descriptor}");
    assert_eq!(
        fs::metadata(dir.path().join("out.hdd/out.hdd"))
            .unwrap()
            .len(),
        0
    );
    assert!(dir.path().join("out-flat.vmdk").exists());
}

#[test]
fn names_ask_for_compression_and_programs_decompress_it() {
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    convert(
        dir.path(),
        &["disk.raw", "disk.vhd", "--timestamp", "1700000000"],
    );
    for (extension, program) in COMPRESSIONS {
        let Some(program) = judge(program) else {
            continue;
        };
        let level = format!("{extension}:1");
        // One of them through a file in between.
        let (plain, format) = if extension == "bz2" {
            ("disk.vhd", "vhd")
        } else {
            ("disk.raw", "raw")
        };
        let name = format!("{plain}.{extension}");
        let arguments = [
            "disk.raw",
            &name,
            "--compress",
            &level,
            "--timestamp",
            "1700000000",
        ];
        let artifact = convert(dir.path(), &arguments);
        assert_eq!(
            (&artifact["format"], &artifact["compression"]),
            (&format.into(), &level.clone().into())
        );
        let back = command(&program)
            .current_dir(dir.path())
            .args(["-dc", &name])
            .output()
            .unwrap();
        assert!(
            back.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&back.stderr)
        );
        assert!(
            back.stdout == fs::read(dir.path().join(plain)).unwrap(),
            "{name}"
        );
    }
    assert_eq!(
        convert(dir.path(), &["disk.raw", "small.img.zst"])["compression"],
        "zst:3"
    );
}

#[test]
fn several_outputs_at_once_are_those_of_single_runs_and_digests_are_right() {
    let Some(sha256sum) = judge("sha256sum") else {
        return;
    };
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    let folder = dir.path().join("all");
    fs::create_dir(&folder).unwrap();
    let names = [
        "a.qcow2",
        "a.vmdk",
        "a.vhdx",
        "a.img",
        "a.bin.gz",
        "a.vdi.zst",
    ];
    let all = names.map(|name| format!("all/{name}"));
    let also = all[1..].iter().flat_map(|name| ["--also", name]);
    let artifacts = convert(
        dir.path(),
        &["disk.raw", &all[0], "--sha256"]
            .into_iter()
            .chain(also)
            .collect::<Vec<_>>(),
    );
    for ((name, path), artifact) in names.iter().zip(&all).zip(artifacts.as_array().unwrap()) {
        assert_eq!(
            (
                &artifact["path"],
                artifact["files"].as_array().unwrap().len()
            ),
            (&path.as_str().into(), 1)
        );
        let single = convert(dir.path(), &["disk.raw", name]);
        assert!(single["files"][0]["sha256"].is_null());
        for file in [path, *name] {
            let told = command(&sha256sum)
                .current_dir(dir.path())
                .arg(file)
                .output()
                .unwrap();
            assert!(
                said(&told).starts_with(artifact["files"][0]["sha256"].as_str().unwrap()),
                "{file}"
            );
        }
    }
    let parts = convert(
        dir.path(),
        &["disk.raw", "flat.vmdk", "--format", "vmdk_flat", "--sha256"],
    );
    let told = command(&sha256sum)
        .current_dir(dir.path())
        .args(["flat.vmdk", "flat-flat.vmdk"])
        .output()
        .unwrap();
    let sums = [0, 1].map(|n| parts["files"][n]["sha256"].as_str().unwrap().to_owned());
    let lines: Vec<_> = said(&told)
        .lines()
        .map(|line| line[..64].to_owned())
        .collect();
    assert_eq!(lines[..2], sums);
    let failed = flatbake(
        dir.path(),
        &[
            "convert", "disk.raw", "x.qcow2", "--also", "no/x.img", "--also", "x.vdi",
        ],
    );
    assert_eq!(failed.status.code(), Some(2), "{}", said(&failed));
    assert!(dir.path().join("x.qcow2").exists() && dir.path().join("x.vdi").exists());
}

#[test]
fn details_of_qcow2_are_heeded() {
    let Some(qemu_img) = judge("qemu-img") else {
        return;
    };
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    for (arguments, wanted) in [
        (
            &["--uncompressed", "--cluster-size", "4K"][..],
            "cluster_size: 4096",
        ),
        (
            &["--compression-type", "zstd", "--level", "1"],
            "compression type: zstd",
        ),
        (&["--qcow2-version", "3"], "compat: 1.1"),
        (&[], "compat: 0.10"),
    ] {
        convert(
            dir.path(),
            &[&["disk.raw", "disk.qcow2", "--overwrite"], arguments].concat(),
        );
        let info = command(&qemu_img)
            .current_dir(dir.path())
            .args(["info", "disk.qcow2"])
            .output()
            .unwrap();
        assert!(
            said(&info).contains(wanted),
            "{arguments:?}: {}",
            said(&info)
        );
        let compare = ["compare", "disk.raw", "disk.qcow2"];
        assert!(
            command(&qemu_img)
                .current_dir(dir.path())
                .args(compare)
                .output()
                .unwrap()
                .status
                .success()
        );
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_writes_nothing() {
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    let disk = dir.path().join("disk-flat.vmdk");
    fs::rename(dir.path().join("disk.raw"), &disk).unwrap();
    fs::create_dir(dir.path().join("taken.hdd")).unwrap();
    fs::write(dir.path().join("taken.hdd/file"), "mine").unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    for (arguments, says) in [
        (&["disk-flat.vmdk"][..], "exists already"),
        (&["disk-flat.vmdk", "--overwrite"], "is read by this run"),
        (
            &["disk.vmdk", "--format", "vmdk_flat"],
            "disk-flat.vmdk exists already",
        ),
        (
            &["disk.vmdk", "--format", "vmdk_flat", "--overwrite"],
            "is read by this run",
        ),
        (&["new.hdd", "--compress", "gz"], "cannot be compressed"),
        (&["new.hdd.gz"], "cannot be compressed"),
        (&["new.ova"], "vmware_ova"),
        (&["new.tar.gz"], "gce"),
        (&["new.txt"], "--format"),
        (&["new"], ".qcow2"),
        (&["-", "--format", "hdd"], "more than one file"),
        (&["-", "--json"], "--json"),
        (&["-", "--also", "new.img"], "--also"),
        (&["new.img", "--also", "-"], "--also"),
        (
            &["new.qcow2", "--format", "vmdk_stream"],
            "a .qcow2, but vmdk_stream",
        ),
        (&["new.img.gz", "--compress", "zst"], "in gzip, but zstd"),
        (
            &["new.vdi", "--compress", "zst"],
            "an uncompressed file, but zstd",
        ),
        (
            &["new.vmdk.gz", "--format", "vmdk_flat"],
            "cannot be compressed",
        ),
        (&["taken.hdd"], "exists already"),
        (&["taken.hdd", "--overwrite"], "exists already"),
        (
            &[
                "new.qcow2",
                "--compression-type",
                "zstd",
                "--qcow2-version",
                "2",
            ],
            "version 2",
        ),
        (&["new.qcow2", "--cluster-size", "5000"], "5000"),
        (&["new.qcow2", "--level", "12"], "12"),
        (
            &["new.img", "--level", "9"],
            "--level is for qcow2 and vmdk_stream",
        ),
        (
            &["new.vmdk", "--cluster-size", "4K"],
            "--cluster-size is for qcow2",
        ),
        (
            &["new.vhd", "--uncompressed"],
            "--uncompressed is for qcow2",
        ),
        (
            &["new.bin.gz", "--compression-type", "zstd"],
            "--compression-type is for qcow2",
        ),
        (
            &["new.vdi", "--qcow2-version", "3"],
            "--qcow2-version is for qcow2",
        ),
        (&["new.img", "--compress", "lz4"], "lz4"),
        (&["new.img", "--format", "iso"], "iso"),
        (&["no/new.img"], "does not exist"),
    ] {
        let output = flatbake(
            dir.path(),
            &[&["convert", "disk-flat.vmdk"], arguments].concat(),
        );
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(says),
            "{arguments:?}: {}",
            said(&output)
        );
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            before,
            "{arguments:?}"
        );
    }
}

/// A fixed VHD without its end shows no format any more; what is left of the disk says that it is not all of it.
#[test]
fn a_disk_that_was_cut_short_is_converted_with_a_word() {
    let dir = tempfile::tempdir().unwrap();
    raw_disk(dir.path());
    convert(
        dir.path(),
        &["disk.raw", "whole.vhd", "--format", "vhd_fixed"],
    );
    let vhd = dir.path().join("whole.vhd");
    let said = |bytes: u64| {
        std::fs::OpenOptions::new()
            .write(true)
            .open(&vhd)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let output = flatbake(
            dir.path(),
            &["convert", "whole.vhd", "out.raw", "--overwrite"],
        );
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let len = fs::metadata(&vhd).unwrap().len();
    assert!(!said(len).contains("warning"));
    assert!(
        said(len - 1024).contains("warning"),
        "the backup table is gone"
    );
    let cut = said(len / 2);
    assert!(
        cut.contains("its partition table cannot be read") && cut.contains("checksum"),
        "{cut}"
    );
}

#[test]
fn info_tells_what_an_image_is() {
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    let output = flatbake(dir.path(), &["info", "disk.raw", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = fs::metadata(dir.path().join("disk.raw")).unwrap().len();
    assert_eq!(
        (&info["format"], &info["partition_table"]),
        (&"raw".into(), &"gpt".into())
    );
    assert_eq!(
        (&info["virtual_bytes"], &info["file_bytes"]),
        (&size.into(), &size.into())
    );
    assert!(
        (1..size).contains(&info["allocated_bytes"].as_u64().unwrap()),
        "{info}"
    );
    let text = flatbake(dir.path(), &["info", sample().to_str().unwrap()]);
    assert!(
        said(&text).contains("compression:      bzip2"),
        "{}",
        said(&text)
    );
}

/// The partitions as `fdisk` lists them with sectors of `bytes`: begin and length in bytes, type, GUID, name and flags.
fn partitions(disk: &Path, bytes: u64) -> Option<Vec<(u64, u64, String)>> {
    let size = format!("-b{bytes}");
    let columns = "Device,Start,Sectors,Type-UUID,UUID,Attrs,Name";
    let output = programs::ask(
        "fdisk",
        [&size, "-l", "-o", columns, disk.to_str().unwrap()],
        b"",
    )?;
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with(disk.to_str().unwrap()));
    let shown = |row: &str| {
        let mut words = row[disk.to_str().unwrap().len()..].split_whitespace();
        let number = words.next().unwrap().to_owned();
        let mut place = || words.next().unwrap().parse::<u64>().unwrap() * bytes;
        let start = place();
        let len = place();
        (
            start,
            len,
            format!("{number} {}", words.collect::<Vec<_>>().join(" ")),
        )
    };
    Some(rows.map(shown).collect())
}

#[test]
fn a_table_moves_into_other_sectors_and_no_partition_does() {
    let dir = crate::common::scratch_dir();
    let at = |name: &str| dir.path().join(name);
    let Some(sgdisk) = judge("sgdisk") else {
        return;
    };
    let size = 64u64 << 20;
    fs::File::create(at("disk.raw"))
        .unwrap()
        .set_len(size)
        .unwrap();
    let layout = [
        "-n",
        "2:4096:+16M",
        "-c",
        "2:ROOT",
        "-A",
        "2:set:60",
        "-n",
        "5:0:+8M",
        "-t",
        "5:ef00",
    ];
    let made = command(&sgdisk)
        .args(["-a", "2048"])
        .args(layout)
        .arg(at("disk.raw"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let region = |disk: &str| Region {
        path: at(disk),
        offset: 4096 * 512,
        len: 16 << 20,
    };
    let tree = at("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), crate::common::noise(4, 3 << 20)).unwrap();
    if !crate::common::programs::judges(&["mke2fs", "e2fsck"]) {
        return;
    }
    let fs_image = at("fs.raw");
    fs::File::create(&fs_image)
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    programs::must_run(
        "mke2fs",
        [
            "-q",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-d",
            tree.to_str().unwrap(),
            fs_image.to_str().unwrap(),
        ],
    );
    let disk = fs::File::options()
        .write(true)
        .open(at("disk.raw"))
        .unwrap();
    disk.write_all_at(&fs::read(&fs_image).unwrap(), 4096 * 512)
        .unwrap();
    let Some(before) = partitions(&at("disk.raw"), 512) else {
        return;
    };
    assert_eq!(before.len(), 2);

    convert(
        dir.path(),
        &["disk.raw", "large.raw", "--sector-size", "4096"],
    );
    assert_eq!(partitions(&at("large.raw"), 4096).unwrap(), before);
    ext4_clean(&region("large.raw")).unwrap();
    let large = fs::read(at("large.raw")).unwrap();
    assert!(
        &large[512..520] != b"EFI PART" && &large[4096..4104] == b"EFI PART",
        "nothing is left of the old table"
    );
    assert!(
        large[2 << 20..(2 << 20) + (24 << 20)]
            == fs::read(at("disk.raw")).unwrap()[2 << 20..(2 << 20) + (24 << 20)]
    );

    convert(
        dir.path(),
        &["large.raw", "back.raw", "--sector-size", "512"],
    );
    assert_eq!(partitions(&at("back.raw"), 512).unwrap(), before);
    crate::common::judges::gpt_clean(&at("back.raw")).unwrap();
    convert(
        dir.path(),
        &["back.raw", "same.raw", "--sector-size", "512"],
    );
    assert_eq!(
        fs::read(at("same.raw")).unwrap(),
        fs::read(at("back.raw")).unwrap()
    );

    // A VHDX says its sectors; what can only have small ones is refused.
    convert(dir.path(), &["large.raw", "large.vhdx"]);
    for (disk, sectors) in [("large.raw", 4096), ("back.raw", 512)] {
        convert(dir.path(), &[disk, "of.vhdx", "--overwrite"]);
        let info = flatbake(dir.path(), &["info", "of.vhdx", "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(info["sector_bytes"], sectors);
        // QEMU knows no VHDX with sectors of 4096 bytes.
        if let Some(qemu_img) = judge("qemu-img").filter(|_| sectors == 512) {
            let arguments = ["compare", "-f", "raw", "-F", "vhdx", disk, "of.vhdx"];
            let compared = command(&qemu_img)
                .current_dir(dir.path())
                .args(arguments)
                .output()
                .unwrap();
            assert!(compared.status.success(), "{}", said(&compared));
        }
    }
    convert(dir.path(), &["large.vhdx", "again.raw"]);
    assert_eq!(fs::read(at("again.raw")).unwrap(), large);
    for format in [
        "vmdk_ide",
        "vmdk_scsi",
        "vmdk_stream",
        "vmdk_flat",
        "vhd",
        "vhd_fixed",
        "vdi",
        "hdd",
    ] {
        let output = flatbake(
            dir.path(),
            &["convert", "large.raw", "refused", "--format", format],
        );
        assert_eq!(output.status.code(), Some(3), "{format}: {}", said(&output));
        assert!(
            said(&output).contains("sectors of 4096 bytes") && !at("refused").exists(),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn filesystems_of_smaller_units_stay_on_small_sectors() {
    let dir = crate::common::scratch_dir();
    raw_disk(dir.path());
    let output = flatbake(
        dir.path(),
        &["convert", "disk.raw", "large.raw", "--sector-size", "4096"],
    );
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains(
            "partition 1 'EFI-SYSTEM' holds a vfat filesystem made of units of 512 bytes"
        ),
        "{}",
        said(&output)
    );
    assert!(!dir.path().join("large.raw").exists());
}
