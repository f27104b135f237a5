//! A generic image made a vendor's, another vendor's and generic again, on disks of Flatcar's exact sizes.
#![allow(clippy::unwrap_used)]

mod common;

use common::flatcar::{Recipe, flatcar_image};
use common::judges::{btrfs_clean, ext4_clean, gpt_clean, grub_cmp};
use common::listing::partition_tree;
use common::region::Region;
use common::scratch_dir;
use common::sysext::{Format, Sysext, sysext};
use common::tree::{Kind, sha256};
use flatbake::bake::{self, BakeOptions, OemChange, OemPayload, OemSysexts, Output, Scratch};
use flatbake::block::FileDevice;
use flatbake::flatcar::{Designator, Disk, Layout};
use flatbake::{ErrorKind, NoProgress};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of one MiB.
const MIB: u64 = 1 << 20;

/// Bakes `options` into `image` and writes it raw.
fn bake_raw(image: &Path, options: &BakeOptions, output: &Path) -> flatbake::Result<bake::Plan> {
    let disk = Disk::open("base", Arc::new(FileDevice::open(image)?))?;
    let plan = bake::plan(&disk, options)?;
    let scratch = Scratch { temp_dir: output.parent().unwrap().to_owned(), memory_budget: 4 << 20 };
    let overlay = bake::apply(&disk, &plan, &scratch, &NoProgress)?;
    bake::emit(&overlay, &Output::new(output), &NoProgress)?;
    Ok(plan)
}

fn oem_sysext(dir: &Path, id: &str, fields: &[(&str, &str)]) -> Option<PathBuf> {
    let name = format!("oem-{id}");
    let made = Sysext { ballast: 1 << 20, ..Sysext::new(&name, "x86-64", Format::Squashfs).with_fields(fields) };
    sysext(dir, &format!("{name}.raw"), &made)
}

fn payload(id: &str, sysext: PathBuf) -> OemChange {
    OemChange::Install(OemPayload {
        id: id.to_owned(),
        name: format!("Vendor {id}"),
        sysext: Some(sysext),
        grub_cfg: Some(format!("set oem_id=\"{id}\"\nset linux_append=\"flatcar.autologin\"\n")),
    })
}

/// Paths on OEM.
fn oem_paths(image: &Path) -> Vec<String> {
    let tree = partition_tree(image, 6, "btrfs").unwrap();
    tree.into_iter().filter(|(_, entry)| entry.kind == Kind::File).map(|(path, _)| path).collect()
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
    let recipe =
        Recipe::new().with_file(6, "config.ign", b"{}").with_file(6, "grub.cfg", b"set linux_append=\"mine\"\n");
    let Some(image) = flatcar_image(&recipe) else { return };
    let new = [("ID", "flatcar"), ("VERSION_ID", "4593.2.0"), ("ARCHITECTURE", "x86-64")];
    let Some(azure) = oem_sysext(dir.path(), "azure", &new) else { return };
    let with_fields =
        [&new[..], &[("SYSEXT_ID", "oem-gce"), ("SYSEXT_NAME", "\"Google: $5\""), ("SYSEXT_VERSION_ID", "7")]];
    let gce = oem_sysext(dir.path(), "gce", &with_fields.concat()).unwrap();

    let layout = Layout::ALL[1];
    let mut options = BakeOptions::new();
    (options.oem, options.root_floor) = (payload("azure", azure.clone()), Some(layout.root_size));
    let first = dir.path().join("azure.bin");
    let plan = bake_raw(&image, &options, &first).unwrap();
    assert!(plan.warnings.iter().any(|text| text.contains("mine")), "{:?}", plan.warnings);
    assert_clean(&first);
    assert_eq!(fs::metadata(&first).unwrap().len(), layout.disk_size);
    let expected =
        ["config.ign", "grub.cfg", "oem-release", "sysext/active-oem-azure", "sysext/oem-azure-4593.2.0.raw"];
    assert_eq!(oem_paths(&first), expected);
    let tree = partition_tree(&first, 6, "btrfs").unwrap();
    let release = "ID=azure\nVERSION_ID=4593.2.0\nNAME=\"Vendor azure\"\nHOME_URL=\"https://www.flatcar.org/\"\n\
                   BUG_REPORT_URL=\"https://issues.flatcar.org\"\n";
    assert_eq!(tree["oem-release"].sha256.as_ref().unwrap(), &sha256(release.as_bytes()));
    let copy = &tree["sysext/oem-azure-4593.2.0.raw"];
    assert_eq!((copy.sha256.as_ref().unwrap(), copy.mode), (&sha256(File::open(&azure).unwrap()), Some(0o644)));
    assert_eq!(tree["sysext/active-oem-azure"].size, Some(0));

    // Another vendor, with a user's kernel argument, on a disk of 13,000 MiB whose ROOT stays.
    options =
        BakeOptions { kernel_args: vec!["quiet".to_owned()], disk_floor: Some(13_000 * MIB), ..BakeOptions::new() };
    options.oem = payload("gce", gce);
    let second = dir.path().join("gce.bin");
    bake_raw(&first, &options, &second).unwrap();
    assert_clean(&second);
    assert_eq!(fs::metadata(&second).unwrap().len(), 13_000 * MIB);
    let expected = ["config.ign", "grub.cfg", "oem-release", "sysext/active-oem-gce", "sysext/oem-gce-4593.2.0.raw"];
    assert_eq!(oem_paths(&second), expected);
    let tree = partition_tree(&second, 6, "btrfs").unwrap();
    let release = "ID=gce\nVERSION_ID=7\nNAME=\"Google: \\$5\"\nHOME_URL=\"https://www.flatcar.org/\"\n\
                   BUG_REPORT_URL=\"https://issues.flatcar.org\"\n";
    assert_eq!(tree["oem-release"].sha256.as_ref().unwrap(), &sha256(release.as_bytes()));
    let grub = dir.path().join("grub.cfg");
    fs::write(&grub, "set oem_id=\"gce\"\nset linux_append=\"flatcar.autologin quiet\"\n").unwrap();
    grub_cmp(&Region::partition(&second, 6).unwrap(), "/grub.cfg", &grub).unwrap();

    // Generic again.
    let third = dir.path().join("generic.bin");
    bake_raw(&second, &BakeOptions { oem: OemChange::Clear, ..BakeOptions::new() }, &third).unwrap();
    assert_clean(&third);
    assert_eq!(oem_paths(&third), ["config.ign"]);
}

#[test]
fn sysexts_that_do_not_fit_are_refused() {
    let dir = scratch_dir();
    let Some(image) = flatcar_image(&Recipe::new()) else { return };
    let disk = Disk::open("base", Arc::new(FileDevice::open(&image).unwrap())).unwrap();
    let plan = |fields: &[(&str, &str)], id: &str| {
        let file = oem_sysext(dir.path(), "azure", fields).unwrap();
        bake::plan(&disk, &BakeOptions { oem: payload(id, file), ..BakeOptions::new() }).unwrap_err().to_string()
    };
    let good = [("ID", "flatcar"), ("VERSION_ID", "4593.2.0"), ("ARCHITECTURE", "x86-64")];
    assert!(plan(&[good[0], ("VERSION_ID", "4593.2.1"), good[2]], "azure").contains("4593.2.1"));
    assert!(plan(&[good[0], good[1], ("ARCHITECTURE", "arm64")], "azure").contains("arm64"));
    assert!(plan(&good, "gce").contains("extension-release.oem-gce"));
    assert!(plan(&[&good[..], &[("SYSEXT_ID", "oem-qemu")]].concat(), "azure").contains("qemu"));
}

#[test]
fn sysexts_are_found_by_what_they_hold_or_by_their_published_name() {
    let dir = scratch_dir();
    let Some(image) = flatcar_image(&Recipe::new()) else { return };
    let disk = Disk::open("base", Arc::new(FileDevice::open(&image).unwrap())).unwrap();
    let release = disk.os_release().unwrap();
    let fields = [("ID", "flatcar"), ("VERSION_ID", "4593.2.0")];
    let azure = oem_sysext(dir.path(), "azure", &fields).unwrap();
    let renamed = dir.path().join("whatever.img");
    fs::copy(&azure, &renamed).unwrap();
    let find = |paths: &[&Path], id: &str| OemSysexts::new(paths)?.find(id, release.as_ref());
    assert_eq!(find(&[&renamed], "azure").unwrap(), renamed);
    assert_eq!(find(&[dir.path()], "azure").unwrap(), azure);
    assert_eq!(find(&[&azure, &renamed], "azure").unwrap_err().kind(), ErrorKind::InvalidInput);
    let error = find(&[&azure, dir.path()], "gce").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let url = "https://stable.release.flatcar-linux.net/amd64-usr/4593.2.0/oem-gce.raw";
    assert!(error.hint().unwrap().contains(url), "{error:?}");
    let plain = sysext(dir.path(), "plain.raw", &Sysext::new("plain", "x86-64", Format::Squashfs)).unwrap();
    assert!(find(&[&plain], "azure").unwrap_err().to_string().contains("no OEM sysext"));
    assert!(disk.partition(Designator::Oem.into()).is_ok());
}
