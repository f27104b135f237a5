//! Files of vendors that are shared, packed, or need something: catalogs of boxes, zip archives, Secure Boot, scripts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::programs::{self, judge, must_run, said};
use crate::common::scratch_dir;
use crate::common::tree::sha256;
use serde_json::Value;

/// Bakes for `vendors` of the image of a recipe, whose OEM stays as it is, into `out`.
fn bake(image: &Path, vendors: &str, out: &Path, more: &[&str]) -> Output {
    let mut command = programs::flatbake();
    command
        .args(["bake", "--no-oem", "--vendor", vendors, "--image"])
        .arg(image)
        .arg("--output-dir")
        .arg(out);
    command.args(more).output().unwrap()
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn names(folder: &Path, ending: &str) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn release(version: &str) -> Option<PathBuf> {
    flatcar_image(&Recipe {
        version: version.to_owned(),
        ..Recipe::small()
    })
}

/// One for both since 4722, one for each before that.
#[test]
fn boxes_of_a_family_share_a_catalog() {
    let dir = scratch_dir();
    let both = "vagrant,vagrant_parallels";
    for (version, vendors, expected) in [
        (
            "4757.1.0",
            both,
            vec![(
                "flatcar_production_vagrant.json",
                vec!["virtualbox", "parallels"],
            )],
        ),
        (
            "4757.1.0",
            "vagrant_parallels",
            vec![("flatcar_production_vagrant.json", vec!["parallels"])],
        ),
        (
            "4593.2.0",
            both,
            vec![
                ("flatcar_production_vagrant.json", vec!["virtualbox"]),
                (
                    "flatcar_production_vagrant_parallels.json",
                    vec!["parallels"],
                ),
            ],
        ),
    ] {
        let Some(image) = release(version) else {
            return;
        };
        let out = dir.path().join(format!("{version}-{}", vendors.len()));
        let planned = bake(&image, vendors, &out, &["--dry-run", "--json"]);
        let output = bake(&image, vendors, &out, &["--json"]);
        assert!(output.status.success(), "{}", said(&output));
        let reported = |output: &Output| {
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let files = report["outputs"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|one| one["files"].as_array().unwrap());
            let mut names: Vec<String> = files
                .map(|file| file["path"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            reported(&planned),
            reported(&output),
            "a dry run names the same files"
        );
        let catalogs: Vec<String> = names(&out, ".json")
            .into_iter()
            .filter(|name| name.starts_with("flatcar"))
            .collect();
        assert_eq!(
            catalogs,
            expected.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        );
        assert!(catalogs.iter().all(|name| reported(&output).contains(name)));
        for (name, providers) in expected {
            let offered = json(&out.join(name))["versions"][0]["providers"]
                .as_array()
                .unwrap()
                .clone();
            let found: Vec<&str> = offered
                .iter()
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            assert_eq!(found, providers, "{name}");
            for one in &offered {
                let made = out.join(one["url"].as_str().unwrap());
                assert_eq!(one["checksum"], sha256(File::open(made).unwrap()), "{name}");
            }
        }
        let sums = programs::command(Path::new("sha256sum"))
            .args(["-c", "--strict", "SHA256SUMS"])
            .current_dir(&out)
            .output();
        assert!(sums.unwrap().status.success());
    }
}

/// In the form in which Hyper-V's images are published.
#[test]
fn disks_are_packed_as_zip_archives() {
    let dir = scratch_dir();
    let Some(image) = release("4757.1.0") else {
        return;
    };
    let plain = dir.path().join("plain");
    let packed = dir.path().join("packed");
    for (out, more) in [(&plain, &[][..]), (&packed, &["--compress", "zip"])] {
        let output = bake(&image, "hyperv_vhdx,vmware_raw", out, more);
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(judge("python3").is_some());
    for name in [
        "flatcar_production_hyperv_vhdx_image.vhdx",
        "flatcar_production_vmware_raw_image.bin",
    ] {
        let archive = packed.join(format!("{name}.zip"));
        must_run(
            "python3",
            [
                Path::new("-m"),
                Path::new("zipfile"),
                Path::new("-e"),
                &archive,
                dir.path(),
            ],
        );
        let made = File::open(dir.path().join(name)).unwrap();
        let expected = File::open(plain.join(name)).unwrap();
        assert_eq!(sha256(made), sha256(expected), "{name}");
    }
    // It is no image any more for whoever reads it.
    let archive = packed.join("flatcar_production_hyperv_vhdx_image.vhdx.zip");
    let output = programs::flatbake()
        .arg("info")
        .arg(&archive)
        .output()
        .unwrap();
    assert!(
        output.status.code() == Some(3) && said(&output).contains("unzip"),
        "{}",
        said(&output)
    );
}

/// What a vendor leaves behind goes, and what nothing takes the place of is named.
#[test]
fn files_of_another_vendor_are_removed_with_a_word() {
    let dir = scratch_dir();
    let recipe = Recipe::small()
        .with_file(6, "sysext/active-oem-azure", b"")
        .with_file(6, "sysext/oem-azure.raw", b"x")
        .with_file(6, "oem-release", b"ID=azure\n")
        .with_file(6, "mine", b"kept");
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let mut command = programs::flatbake();
    command
        .args(["bake", "--vendor", "xen", "--dry-run", "--output-dir"])
        .arg(dir.path())
        .arg("--image")
        .arg(&image);
    let said = said(&command.output().unwrap());
    let line = said
        .lines()
        .find(|line| line.contains("nothing takes their place"))
        .unwrap_or_else(|| panic!("{said}"));
    for path in [
        "/sysext/active-oem-azure",
        "/sysext/oem-azure.raw",
        "/oem-release",
    ] {
        assert!(line.contains(path), "{line}");
    }
    assert!(!line.contains("mine"), "{line}");
}

/// Files for network boot came with a script for iPXE, until 4722.
#[test]
fn older_files_for_network_boot_have_a_script_for_ipxe() {
    let dir = scratch_dir();
    for (version, expected) in [("4593.2.0", 1), ("4757.1.0", 0)] {
        let Some(image) = release(version) else {
            return;
        };
        let out = dir.path().join(version);
        let output = bake(&image, "pxe", &out, &["--kernel-arg", "quiet"]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(names(&out, ".ipxe").len(), expected);
        for name in names(&out, ".ipxe") {
            let text = fs::read_to_string(out.join(name)).unwrap();
            assert!(
                text.starts_with("#!ipxe\nkernel flatcar_production_pxe.vmlinuz initrd="),
                "{text}"
            );
            assert!(
                text.contains(" flatcar.oem.id=packet ") && text.contains(" quiet\n"),
                "{text}"
            );
            let loaded = text.lines().filter_map(|line| {
                line.strip_prefix("kernel ")
                    .or(line.strip_prefix("initrd "))
            });
            for file in loaded.map(|rest| rest.split(' ').next().unwrap()) {
                assert!(out.join(file).exists(), "{file}");
            }
        }
    }
}

/// The start of an image of UEFI variables, with those that are named.
fn nvram(names: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; 72];
    bytes[40..44].copy_from_slice(b"_FVH");
    bytes[48] = 72;
    let store = [
        0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77,
        0x92,
    ];
    bytes.extend([&store[..], &[0; 12]].concat());
    for name in names {
        let name: Vec<u8> = name
            .encode_utf16()
            .chain([0])
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut header = [0; 60];
        (header[0], header[1], header[2]) = (0xaa, 0x55, 0x3f);
        (header[36], header[40]) = (u8::try_from(name.len()).unwrap(), 8);
        bytes.extend([&header[..], &name, &[1; 8]].concat());
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
    }
    bytes.resize(64 << 10, 0xff);
    bytes
}

#[test]
fn secure_boot_takes_firmware_with_keys() {
    let dir = scratch_dir();
    let Some(image) = release("4757.1.0") else {
        return;
    };
    fs::write(dir.path().join("code.fd"), vec![0; 4096]).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let output = bake(
        &image,
        "qemu_uefi_secure",
        &dir.path().join("none"),
        &["--dry-run"],
    );
    assert!(
        output.status.code() == Some(2) && said(&output).contains("no firmware is given"),
        "{}",
        said(&output)
    );
    for (keys, lacks) in [
        (&[][..], "lacks PK and db"),
        (&["PK", "KEK"], "lacks db"),
        (&["PK", "KEK", "db"], ""),
    ] {
        fs::write(dir.path().join("vars.fd"), nvram(keys)).unwrap();
        let firmware = format!("{}:{}", at("code.fd"), at("vars.fd"));
        let out = dir.path().join("out");
        let output = bake(&image, "qemu_uefi_secure", &out, &["--firmware", &firmware]);
        assert_eq!(
            output.status.success(),
            lacks.is_empty(),
            "{}",
            said(&output)
        );
        assert!(said(&output).contains(lacks) && out.exists() == lacks.is_empty());
        // Without Secure Boot the same firmware is fine.
        let output = bake(
            &image,
            "qemu_uefi",
            &dir.path().join("uefi"),
            &["--firmware", &firmware, "--dry-run"],
        );
        assert!(output.status.success(), "{}", said(&output));
    }
}
