//! The bundled sample of stable 4757.2.1, whose extensions are signed disk images with EROFS.

use crate::common::flatcar::ddi;
use crate::common::programs::{flatbake, said};
use crate::common::scratch_dir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample_4757.bin.bz2")
}

/// A folder with extensions of this release, of another build of it, and of an older one.
fn extensions() -> tempfile::TempDir {
    let dir = scratch_dir();
    for name in [
        "oem-qemu-4757.2.1",
        "flatcar-podman-4757.2.1",
        "flatcar-zfs-4593.2.5",
    ] {
        fs::write(dir.path().join(format!("{name}.raw")), ddi(name)).unwrap();
    }
    dir
}

fn bake(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = flatbake();
    command
        .current_dir(dir)
        .args(["bake", "--json", "--image"])
        .arg(sample())
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn an_extension_of_the_release_is_baked_and_one_of_another_is_refused() {
    let dir = extensions();
    let podman = "podman:flatcar-podman-4757.2.1.raw";
    let output = bake(dir.path(), &[podman, "-o", "out.qcow2"]);
    assert!(output.status.success(), "{}", said(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["base"]["release"], "4757.2.1");
    assert_eq!(
        report["shared"]["findings"],
        serde_json::json!([]),
        "what only adds is not told"
    );
    let output = bake(
        dir.path(),
        &["zfs:flatcar-zfs-4593.2.5.raw", "-o", "other.qcow2"],
    );
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("4593.2.5") && !dir.path().join("other.qcow2").exists(),
        "{}",
        said(&output)
    );
}

#[test]
fn a_vendor_gets_the_sysext_of_the_release() {
    let dir = extensions();
    let vendor = [
        "--vendor",
        "qemu_uefi",
        "--oem-sysext",
        ".",
        "--output-dir",
        "images",
    ];
    let output = bake(dir.path(), &vendor);
    assert!(output.status.success(), "{}", said(&output));
    let image = dir
        .path()
        .join("images/flatcar_production_qemu_uefi_image.img");
    for (path, wanted) in [
        ("/oem-release", "ID=qemu\n"),
        ("/grub.cfg", "set oem_id=\"qemu\"\n"),
    ] {
        let shown = flatbake()
            .arg("cat")
            .arg(&image)
            .arg(format!("oem:{path}"))
            .output()
            .unwrap();
        assert!(said(&shown).contains(wanted), "{}", said(&shown));
    }
    let listed = flatbake()
        .arg("ls")
        .arg(&image)
        .arg("oem:/sysext")
        .output()
        .unwrap();
    for name in ["active-oem-qemu", "oem-qemu-4757.2.1.raw"] {
        assert!(said(&listed).contains(name), "{}", said(&listed));
    }
}

#[test]
fn built_in_extensions_are_disk_images_and_etc_is_a_confext() {
    let dir = scratch_dir();
    for (path, file) in [
        ("/share/flatcar/sysext/docker-flatcar.raw", "docker.raw"),
        ("/lib/confexts/00-flatcar-default.raw", "etc.raw"),
    ] {
        let target = dir.path().join(file);
        let got = flatbake()
            .arg("get")
            .arg(sample())
            .arg(format!("usr:{path}"))
            .arg(&target)
            .output()
            .unwrap();
        assert!(got.status.success(), "{}", said(&got));
        let info = flatbake()
            .args(["info", "--json"])
            .arg(&target)
            .output()
            .unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        assert_eq!(info["partition_table"], "gpt", "{path}");
    }
    assert_eq!(
        fs::read(dir.path().join("etc.raw")).unwrap(),
        ddi("00-flatcar-default")
    );
}
