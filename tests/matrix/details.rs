//! `flatbake info` on every variant, compared with what `qemu-img info` says.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flatbake::NoProgress;
use flatbake::image::{Details, Examined, OpenOptions, examine};
use serde_json::Value;

use crate::common::judges::qemu_info;
use crate::common::programs::{command, flatbake, judge, judges, said, success};
use crate::common::{scratch_dir, scratch_root};
use crate::matrix::disks::Kind;
use crate::matrix::variants::{PACKED_QCOW2, VARIANTS};

fn examined(path: &Path) -> Examined {
    examine(path, &OpenOptions::new(scratch_root()), &NoProgress).unwrap()
}

/// What QEMU calls the variant.
fn variant_by_qemu(info: &Value) -> Option<String> {
    let data = &info["format-specific"]["data"];
    match info["format"].as_str()? {
        "qcow2" => {
            let version = if data["compat"] == "1.1" { 3 } else { 2 };
            let extended = if data["extended-l2"] == true {
                ", extended L2 entries"
            } else {
                ""
            };
            Some(format!("version {version}{extended}"))
        }
        "vmdk" => Some(data["create-type"].as_str()?.to_owned()),
        _ => None,
    }
}

#[test]
fn every_variant_is_told_as_qemu_does() {
    if !judges(&["qemu-img", "bzip2", "gzip", "xz", "zstd"]) {
        return;
    }
    for variant in VARIANTS.iter().chain([&PACKED_QCOW2]) {
        let dir = scratch_dir();
        Kind::Noise.write(&dir.path().join("disk.raw"), Kind::Noise.size());
        let path = variant.image(dir.path());
        let Examined {
            device,
            format,
            compression,
            file_size,
            details,
            ..
        } = examined(&path);
        assert_eq!(
            (format, compression),
            (variant.format, variant.compression),
            "{}",
            variant.name
        );
        assert_eq!(file_size, fs::metadata(&path).unwrap().len());
        assert_eq!(
            device.is_none(),
            !details.external_references.is_empty(),
            "{}",
            variant.name
        );
        if variant.packed() {
            let wanted = (variant.name == "qcow2.gz").then_some("version 3");
            assert_eq!(details.variant.as_deref(), wanted);
            continue;
        }
        let info = qemu_info(&path).unwrap();
        if let Some(name) = variant_by_qemu(&info) {
            assert_eq!(details.variant, Some(name), "{}", variant.name);
        }
        let size = device
            .map(|device| device.size())
            .or(details.virtual_bytes)
            .unwrap();
        // Without its name in front QEMU takes a fixed VHD for a raw disk.
        let size = if variant.name == "vhd fixed" {
            size + 512
        } else {
            size
        };
        assert_eq!(info["virtual-size"], size, "{}", variant.name);
        if let (Some(theirs), Some(ours)) = (info["cluster-size"].as_u64(), details.cluster_bytes) {
            assert_eq!(ours, theirs, "{}", variant.name);
        }
        let clustered = ![
            "raw",
            "vhd fixed",
            "vmdk flat",
            "vmdk 2 GB flat",
            "vmdk 2 GB sparse",
        ]
        .contains(&variant.name);
        assert_eq!(
            details.cluster_bytes.is_some(),
            clustered,
            "{}",
            variant.name
        );
        if let Some(kind) = info["format-specific"]["data"]["compression-type"].as_str() {
            assert_eq!(details.cluster_compression, Some(kind), "{}", variant.name);
        }
        let named: Vec<_> = details
            .external_references
            .iter()
            .map(|it| (it.role, it.name.as_str()))
            .collect();
        let wanted = match variant.name {
            "qcow2 data file" | "qcow2 raw data file" => vec![("data file", "data")],
            "qcow2 chain" => vec![("backing file", "middle")],
            "vmdk flat" => vec![("extent", "image-flat")],
            "vmdk 2 GB sparse" => vec![("extent", "image-s001")],
            "vmdk 2 GB flat" => vec![("extent", "image-f001")],
            _ => vec![],
        };
        assert_eq!(named, wanted, "{}", variant.name);
        let fixed = details.variant.as_deref() == Some("fixed");
        assert_eq!(
            fixed,
            ["vhd fixed", "vhdx fixed", "vdi static"].contains(&variant.name),
            "{}",
            variant.name
        );
        assert_eq!(
            (details.snapshots, details.dirty, details.damaged),
            (0, false, false)
        );
    }
}

/// Bits that say that something is wrong with an image.
#[test]
fn flags_are_told() {
    if !judges(&["qemu-img"]) {
        return;
    }
    let patched = |name: &str, offset: i64, bytes: &[u8]| -> Details {
        let dir = scratch_dir();
        Kind::Odd.write(&dir.path().join("disk.raw"), Kind::Odd.size());
        let path = VARIANTS
            .iter()
            .find(|variant| variant.name == name)
            .unwrap()
            .image(dir.path());
        let len = i64::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        let offset = u64::try_from(if offset < 0 { len + offset } else { offset }).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(bytes, offset)
            .unwrap();
        examined(&path).details
    };
    let flags = |details: &Details| (details.dirty, details.damaged);
    assert_eq!(flags(&patched("qcow2 v3", 79, &[1])), (true, false));
    assert_eq!(flags(&patched("qcow2 v3", 79, &[2])), (false, true));
    assert_eq!(flags(&patched("vmdk sparse", 72, &[1])), (true, false));
    assert_eq!(flags(&patched("parallels", 44, b"Ynot")), (true, false));
    assert_eq!(
        flags(&patched("vhd dynamic", -512, &[0; 512])),
        (false, true)
    );
}

#[test]
fn the_command_line_tells_all_of_it() {
    let Some(qemu_img) = judge("qemu-img") else {
        return;
    };
    let dir = scratch_dir();
    let run =
        |arguments: &[&str]| success(command(&qemu_img).current_dir(dir.path()).args(arguments));
    run(&["create", "-q", "-f", "qcow2", "base.qcow2", "10M"]);
    run(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        "base.qcow2",
        "top.qcow2",
    ]);
    run(&["snapshot", "-c", "first", "top.qcow2"]);
    let info = |arguments: &[&str]| {
        let mut command = flatbake();
        let output = command
            .current_dir(dir.path())
            .args(["info", "--quiet", "top.qcow2"])
            .args(arguments)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let closed: Value = serde_json::from_str(&info(&["--json"])).unwrap();
    let reference = serde_json::json!([{"role": "backing file", "name": "base.qcow2"}]);
    for (key, value) in [
        ("image", "top.qcow2".into()),
        ("format", "qcow2".into()),
        ("variant", "version 3".into()),
        ("compression", Value::Null),
        ("virtual_bytes", (10 << 20).into()),
        ("allocated_bytes", Value::Null),
        ("partition_table", Value::Null),
        ("cluster_bytes", 65_536.into()),
        ("sector_bytes", Value::Null),
        ("cluster_compression", "zlib".into()),
        ("external_references", reference),
        ("snapshots", 1.into()),
        ("dirty", false.into()),
        ("damaged", false.into()),
    ] {
        assert_eq!(closed[key], value, "{key}: {closed}");
    }
    let open: Value = serde_json::from_str(&info(&["--json", "--allow-external"])).unwrap();
    assert_eq!(
        (&open["allocated_bytes"], &open["partition_table"]),
        (&0.into(), &"none".into()),
        "{open}"
    );
    let text = info(&[]);
    for line in [
        "format:           qcow2 (version 3)",
        "base.qcow2 (backing file)",
        "snapshots:",
        "--allow-external",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
