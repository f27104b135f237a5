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
fn signed_extensions_are_held_against_the_certificate_of_the_image() {
    let dir = extensions();
    let other = "flatcar-podman-4757.2.1-other-build";
    fs::write(dir.path().join("other.raw"), ddi(other)).unwrap();
    // A byte of the filesystem, far behind what is looked at before.
    let mut changed = ddi("flatcar-podman-4757.2.1");
    changed[40 * 512 + 40_000] ^= 1;
    fs::write(dir.path().join("changed.raw"), changed).unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/hello.raw"),
        dir.path().join("hello.raw"),
    )
    .unwrap();
    for (sysext, found, reason) in [
        ("podman:flatcar-podman-4757.2.1.raw", None, None),
        (
            "podman:other.raw",
            Some("sysext-signer-unknown"),
            Some("unknown-key"),
        ),
        (
            "podman:changed.raw",
            Some("sysext-signature"),
            Some("checksum"),
        ),
        ("hello:hello.raw", None, Some("no-signature")),
    ] {
        let output = bake(dir.path(), &[sysext, "--dry-run", "-o", "out.img"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["shared"]["findings"].as_array().unwrap();
        let codes: Vec<_> = findings
            .iter()
            .filter_map(|finding| finding["code"].as_str())
            .filter(|code| code.starts_with("sysext-sign"))
            .collect();
        assert_eq!(codes, found.into_iter().collect::<Vec<_>>(), "{sysext}");
        let required = ["--require-signed", sysext, "-o", "required.img"];
        let output = bake(dir.path(), &required);
        let made = dir.path().join("required.img");
        match reason {
            None => assert!(
                output.status.success() && made.exists(),
                "{}",
                said(&output)
            ),
            Some(reason) => {
                assert_eq!(output.status.code(), Some(7), "{}", said(&output));
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(report["error"]["reason"], reason, "{sysext}");
                assert!(!made.exists(), "{sysext}");
            }
        }
        let _ = fs::remove_file(made);
    }
    // One alone.
    let certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ddi/sysexts.crt");
    let verify = |file: &str| {
        let mut command = flatbake();
        command.current_dir(dir.path()).args(["verify", file]);
        command.arg("--certificate").arg(&certificate);
        command.output().unwrap().status.code()
    };
    assert_eq!(verify("flatcar-podman-4757.2.1.raw"), Some(0));
    for file in ["other.raw", "changed.raw", "hello.raw"] {
        assert_eq!(verify(file), Some(7), "{file}");
    }
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
