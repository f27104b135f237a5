use std::fs;
use std::path::Path;

use crate::common::noise;
use crate::common::programs::must_run;
use crate::readers::support::{Disk, qemu_io};
use crate::readers::vhdx::with_log;

/// The images that the mutation tests of the readers begin with: one small disk in each format.
#[test]
#[ignore = "replaces testdata/images; testdata/README.md says when"]
fn make_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = vec![0; 700 << 10];
    disk[1000..9000].copy_from_slice(&noise(3, 8000));
    disk[100_000..300_000]
        .iter_mut()
        .enumerate()
        .for_each(|(n, byte)| *byte = b"flatbake "[n % 9]);
    disk[500_000..506_000].copy_from_slice(&noise(4, 6000));
    disk[716_000..].fill(0x77);
    let raw = dir.path().join("disk.raw");
    fs::write(&raw, &disk).unwrap();
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images");
    fs::create_dir_all(&target).unwrap();
    let keep = |file: &Path| {
        let name = format!("{}.zst", file.file_name().unwrap().to_str().unwrap());
        let packed = target.join(name);
        must_run(
            "zstd",
            [
                "-q",
                "-f",
                "-19",
                file.to_str().unwrap(),
                "-o",
                packed.to_str().unwrap(),
            ],
        );
    };
    keep(&raw);
    for (program, arguments) in [
        ("gzip", &["-9cn"][..]),
        ("xz", &["-1c", "-T2", "--block-size=256KiB"]),
    ] {
        let packed = must_run(
            program,
            arguments.iter().copied().chain([raw.to_str().unwrap()]),
        )
        .stdout;
        fs::write(
            target.join(format!(
                "disk.raw.{}",
                if program == "xz" { "xz" } else { "gz" }
            )),
            packed,
        )
        .unwrap();
    }
    for (name, format, options, flag) in [
        ("plain.qcow2", "qcow2", "compat=0.10,cluster_size=4k", "-q"),
        ("zlib.qcow2", "qcow2", "cluster_size=4k", "-c"),
        (
            "zstd.qcow2",
            "qcow2",
            "cluster_size=64k,compression_type=zstd",
            "-c",
        ),
        (
            "extended.qcow2",
            "qcow2",
            "cluster_size=16k,extended_l2=on",
            "-q",
        ),
        ("sparse.vmdk", "vmdk", "subformat=monolithicSparse", "-q"),
        ("stream.vmdk", "vmdk", "subformat=streamOptimized", "-q"),
        (
            "dynamic.vhd",
            "vpc",
            "subformat=dynamic,force_size=on",
            "-q",
        ),
        ("fixed.vhd", "vpc", "subformat=fixed,force_size=on", "-q"),
        (
            "dynamic.vhdx",
            "vhdx",
            "subformat=dynamic,block_size=1M",
            "-q",
        ),
        ("disk.vdi", "vdi", "", "-q"),
        ("disk.parallels", "parallels", "cluster_size=64k", "-q"),
    ] {
        let image = dir.path().join(name);
        let mut arguments = vec!["convert", flag, "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend([raw.to_str().unwrap(), image.to_str().unwrap()]);
        must_run("qemu-img", arguments);
        if format == "qcow2" && flag == "-q" {
            qemu_io(&image, format, "write -z 400k 64k");
        }
        keep(&image);
    }
    let log = dir.path().join("log.vhdx");
    let disk = Disk { dir, bytes: disk };
    fs::write(&log, with_log(&disk, 0)).unwrap();
    keep(&log);
}
