//! A generic image made a vendor's, another vendor's and generic again, on disks of Flatcar's exact sizes.
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::judges::{btrfs_clean, ext4_clean, gpt_clean, grub_cmp};
use crate::common::listing::partition_tree;
use crate::common::region::Region;
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::tree::{Kind, sha256};
use flatbake::ErrorKind;
use flatbake::bake::{Context, Edits, Prepared, Request, VendorChoice, VendorTargets};
use flatbake::flatcar::Layout;
use flatbake::flatcar::vendor::Vendor;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Bytes of one MiB.
const MIB: u64 = 1 << 20;

fn oem_sysext(dir: &Path, id: &str, fields: &[(&str, &str)]) -> Option<PathBuf> {
    let name = format!("oem-{id}");
    let made = Sysext {
        ballast: 1 << 20,
        ..Sysext::new(&name, "x86-64", Format::Squashfs).with_fields(fields)
    };
    sysext(dir, &format!("{name}.raw"), &made)
}

/// A vendor of raw disks of the large layout with an OEM of this id, or without any.
fn vendor(oem: Option<&str>, more: &str) -> Vendor {
    let oem = oem.map(|id| {
        format!(
            "oem_sysext = \"{id}\"\n[oem]\nid = \"{id}\"\nname = \"Vendor {id}\"\n[grub]\noem_id = \"{id}\"\n\
             linux_append = \"flatcar.autologin\"\n"
        )
    });
    let text = format!(
        "id = \"mine\"\nname = \"Mine\"\nstatus = \"current\"\ndisk_format = \"raw\"\ndisk_layout = \"vm\"\n{more}{}",
        oem.unwrap_or_default()
    );
    Vendor::from_toml(&text, "mine.toml").unwrap()
}

fn request(image: &Path, vendor: Vendor, oem_sysexts: &[&Path], folder: &Path) -> Request {
    Request {
        vendors: VendorTargets {
            chosen: vec![VendorChoice {
                vendor,
                oem_sysext: None,
                origin: None,
            }],
            oem_sysexts: oem_sysexts.iter().map(|path| path.to_path_buf()).collect(),
            ..VendorTargets::default()
        },
        folder: Some(folder.to_owned()),
        ..Request::new(image)
    }
}

fn prepare(request: &Request) -> flatbake::Result<Prepared> {
    request.prepare(&Context::new(
        request.folder.as_ref().unwrap().parent().unwrap(),
    ))
}

/// The disk that a request for a vendor gives.
fn bake(request: &Request) -> PathBuf {
    let folder = request.folder.clone().unwrap();
    let written = prepare(request)
        .unwrap()
        .write(&Context::new(folder.parent().unwrap()))
        .unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
    folder.join("flatcar_production_mine_image.bin")
}

/// Paths on OEM.
fn oem_paths(image: &Path) -> Vec<String> {
    let tree = partition_tree(image, 6, "btrfs").unwrap();
    tree.into_iter()
        .filter(|(_, entry)| entry.kind == Kind::File)
        .map(|(path, _)| path)
        .collect()
}

fn assert_clean(image: &Path) {
    gpt_clean(image).unwrap();
    let at = |number| Region::partition(image, number).unwrap();
    ext4_clean(&at(9)).unwrap();
    btrfs_clean(&at(6)).unwrap();
}

#[test]
fn vendors_come_and_go_and_user_files_stay() {
    let dir = scratch_dir();
    let recipe = Recipe::new().with_file(6, "config.ign", b"{}").with_file(
        6,
        "grub.cfg",
        b"set linux_append=\"mine\"\n",
    );
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let new = [
        ("ID", "flatcar"),
        ("VERSION_ID", "4593.2.0"),
        ("ARCHITECTURE", "x86-64"),
    ];
    let Some(azure) = oem_sysext(dir.path(), "azure", &new) else {
        return;
    };
    let with_fields = [
        &new[..],
        &[
            ("SYSEXT_ID", "oem-gce"),
            ("SYSEXT_NAME", "\"Google: $5\""),
            ("SYSEXT_VERSION_ID", "7"),
        ],
    ];
    let gce = oem_sysext(dir.path(), "gce", &with_fields.concat()).unwrap();

    let asked = request(
        &image,
        vendor(Some("azure"), ""),
        &[&azure],
        &dir.path().join("azure"),
    );
    let lost = prepare(&asked).unwrap().findings();
    let lost = lost
        .iter()
        .find(|finding| finding.code().word == "kernel-args-lost")
        .unwrap();
    assert_eq!(lost.value("args"), Some("mine"));
    let first = bake(&asked);
    assert_clean(&first);
    assert_eq!(
        fs::metadata(&first).unwrap().len(),
        Layout::ALL[1].disk_size
    );
    let expected = [
        "config.ign",
        "grub.cfg",
        "oem-release",
        "sysext/active-oem-azure",
        "sysext/oem-azure-4593.2.0.raw",
    ];
    assert_eq!(oem_paths(&first), expected);
    let tree = partition_tree(&first, 6, "btrfs").unwrap();
    let release = "ID=azure\nVERSION_ID=4593.2.0\nNAME=\"Vendor azure\"\nHOME_URL=\"https://www.flatcar.org/\"\n\
                   BUG_REPORT_URL=\"https://issues.flatcar.org\"\n";
    assert_eq!(
        tree["oem-release"].sha256.as_ref().unwrap(),
        &sha256(release.as_bytes())
    );
    let copy = &tree["sysext/oem-azure-4593.2.0.raw"];
    assert_eq!(
        (copy.sha256.as_ref().unwrap(), copy.mode),
        (&sha256(File::open(&azure).unwrap()), Some(0o644))
    );
    assert_eq!(tree["sysext/active-oem-azure"].size, Some(0));

    // Another vendor, with a user's kernel argument, on a disk of 13,000 MiB whose ROOT stays.
    let asked = Request {
        edits: Edits {
            kernel_args: vec!["quiet".to_owned()],
            ..Edits::new()
        },
        ..request(
            &first,
            vendor(Some("gce"), "disk_size = \"13000M\"\n"),
            &[&gce],
            &dir.path().join("gce"),
        )
    };
    let second = bake(&asked);
    assert_clean(&second);
    assert_eq!(fs::metadata(&second).unwrap().len(), 13_000 * MIB);
    let expected = [
        "config.ign",
        "grub.cfg",
        "oem-release",
        "sysext/active-oem-gce",
        "sysext/oem-gce-4593.2.0.raw",
    ];
    assert_eq!(oem_paths(&second), expected);
    let tree = partition_tree(&second, 6, "btrfs").unwrap();
    let release = "ID=gce\nVERSION_ID=7\nNAME=\"Google: \\$5\"\nHOME_URL=\"https://www.flatcar.org/\"\n\
                   BUG_REPORT_URL=\"https://issues.flatcar.org\"\n";
    assert_eq!(
        tree["oem-release"].sha256.as_ref().unwrap(),
        &sha256(release.as_bytes())
    );
    let grub = dir.path().join("grub.cfg");
    let rendered = vendor(Some("gce"), "")
        .for_release(Some(4593))
        .unwrap()
        .grub
        .unwrap()
        .render();
    let text =
        flatbake::flatcar::grub::edit_kernel_args(&rendered, &["quiet".to_owned()], &[]).unwrap();
    assert!(text.contains("flatcar.autologin quiet"), "{text}");
    fs::write(&grub, text).unwrap();
    grub_cmp(&Region::partition(&second, 6).unwrap(), "/grub.cfg", &grub).unwrap();

    // Generic again.
    let third = bake(&request(
        &second,
        vendor(None, ""),
        &[],
        &dir.path().join("generic"),
    ));
    assert_clean(&third);
    assert_eq!(oem_paths(&third), ["config.ign"]);
}

#[test]
fn sysexts_that_do_not_fit_are_refused() {
    let dir = scratch_dir();
    let Some(image) = flatcar_image(&Recipe::new()) else {
        return;
    };
    let refused = |fields: &[(&str, &str)], id: &str| {
        let file = oem_sysext(dir.path(), "azure", fields).unwrap();
        let mut asked = request(&image, vendor(Some(id), ""), &[], &dir.path().join("out"));
        asked.vendors.chosen[0].oem_sysext = Some(file);
        prepare(&asked).unwrap_err().to_string()
    };
    let good = [
        ("ID", "flatcar"),
        ("VERSION_ID", "4593.2.0"),
        ("ARCHITECTURE", "x86-64"),
    ];
    assert!(refused(&[good[0], ("VERSION_ID", "4593.2.1"), good[2]], "azure").contains("4593.2.1"));
    assert!(refused(&[good[0], good[1], ("ARCHITECTURE", "arm64")], "azure").contains("arm64"));
    assert!(refused(&good, "gce").contains("extension-release.oem-gce"));
    assert!(refused(&[&good[..], &[("SYSEXT_ID", "oem-qemu")]].concat(), "azure").contains("qemu"));
    assert!(!dir.path().join("out").exists());
}

#[test]
fn sysexts_are_found_by_what_they_hold_or_by_their_published_name() {
    let dir = scratch_dir();
    let Some(image) = flatcar_image(&Recipe::new()) else {
        return;
    };
    let fields = [("ID", "flatcar"), ("VERSION_ID", "4593.2.0")];
    let azure = oem_sysext(dir.path(), "azure", &fields).unwrap();
    let renamed = dir.path().join("whatever.img");
    fs::copy(&azure, &renamed).unwrap();
    let find = |paths: &[&Path], id: &str| {
        prepare(&request(
            &image,
            vendor(Some(id), ""),
            paths,
            &dir.path().join("out"),
        ))
        .map(drop)
    };
    find(&[&renamed], "azure").unwrap();
    find(&[dir.path()], "azure").unwrap();
    assert_eq!(
        find(&[&azure, &renamed], "azure").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let error = find(&[&azure, dir.path()], "gce").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let url = "https://stable.release.flatcar-linux.net/amd64-usr/4593.2.0/oem-gce.raw";
    assert!(error.hint().unwrap().contains(url), "{error:?}");
    let plain = sysext(
        dir.path(),
        "plain.raw",
        &Sysext::new("plain", "x86-64", Format::Squashfs),
    )
    .unwrap();
    assert!(
        find(&[&plain], "azure")
            .unwrap_err()
            .to_string()
            .contains("no OEM sysext")
    );
}

#[test]
fn sysexts_that_are_missing_are_told_at_once_and_together() {
    let dir = scratch_dir();
    let Some(image) = flatcar_image(&Recipe::new()) else {
        return;
    };
    let mut asked = request(
        &image,
        vendor(Some("gce"), ""),
        &[],
        &dir.path().join("out"),
    );
    let builtin = flatbake::flatcar::vendor::Vendors::builtin();
    for id in ["azure", "hetzner"] {
        let vendor = builtin.find(id).unwrap().clone();
        asked.vendors.chosen.push(VendorChoice {
            vendor,
            oem_sysext: None,
            origin: None,
        });
    }
    let error = prepare(&asked).unwrap_err();
    let text = error.to_string();
    assert!(
        ["oem-gce.raw", "oem-azure.raw", "oem-hetzner.raw"]
            .iter()
            .all(|name| text.contains(name)),
        "{text}"
    );
}
