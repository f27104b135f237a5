//! Parts of an image that do not fit together.

use std::fs;
use std::path::Path;

use flatbake::flatcar::Designator;

use super::repair::{check, text};
use super::{examined, link, planted, told, write};
use crate::common::flatcar::{Recipe, ddi, flatcar_image};
use crate::common::programs::{flatbake, raw_sample, success};
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};

/// What is told but for the note about resets.
fn found(
    partition: Designator,
    plant: impl FnOnce(&mut dyn flatbake::fs::FileSystemMut),
) -> Vec<String> {
    told(&examined(planted(partition, plant)))
        .into_iter()
        .filter(|told| told != "reset-deletes")
        .collect()
}

#[test]
fn the_vendors_sysext_must_be_there_and_of_the_release() {
    let alone = found(Designator::Oem, |fs| {
        write(fs, "/sysext/active-oem-azure", "")
    });
    assert_eq!(alone, ["oem-marker-alone /sysext/active-oem-azure"]);
    let missing = found(Designator::Oem, |fs| {
        write(fs, "/sysext/active-oem-azure", "");
        write(fs, "/oem-release", "ID=azure\n");
    });
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].starts_with("oem-sysext-absent /sysext/oem-azure-"),
        "{missing:?}"
    );
    let other = found(Designator::Oem, |fs| {
        write(fs, "/oem-release", "ID=azure\n");
        write(fs, "/sysext/oem-azure-1.2.3.raw", "");
    });
    assert_eq!(other, ["oem-sysext-other /sysext/oem-azure-1.2.3.raw"]);
}

#[test]
fn links_and_units_must_lead_somewhere() {
    let nowhere = found(Designator::Root, |fs| {
        link(fs, "/etc/extensions/web.raw", "/opt/extensions/web/web.raw");
    });
    assert_eq!(nowhere, ["link-nowhere /etc/extensions/web.raw"]);
    let wants = "/etc/systemd/system/multi-user.target.wants/web.service";
    let unit = found(Designator::Root, |fs| {
        link(fs, wants, "/etc/systemd/system/web.service")
    });
    assert_eq!(unit, [format!("unit-nowhere {wants}")]);
    let there = found(Designator::Root, |fs| {
        link(fs, wants, "/etc/systemd/system/web.service");
        write(fs, "/etc/systemd/system/web.service", "[Service]\n");
    });
    assert_eq!(there, [""; 0]);
}

#[test]
fn what_a_reset_deletes_is_a_note() {
    let diagnosis = examined(planted(Designator::Root, |fs| {
        write(fs, "/opt/tool/bin/x", "x")
    }));
    assert_eq!(told(&diagnosis), ["reset-deletes"]);
    assert_eq!(
        diagnosis.symptoms[0].finding.value("paths"),
        Some("/opt/tool/bin")
    );
    assert!(diagnosis.is_clean());
}

/// The codes that `flatbake check` tells of extensions by their files, as `CODE PATH`.
fn told_of_extensions(image: &Path, more: &[&str]) -> Vec<String> {
    let (_, document) = check(image, more);
    let symptoms = document["symptoms"].as_array().unwrap();
    let word = |told: &serde_json::Value| {
        let whole = told.to_string();
        let name = ["pinned", "free", "podman"]
            .into_iter()
            .find(|name| whole.contains(name));
        let code = told["code"].as_str().unwrap();
        format!("{code} {}", name.unwrap_or_default())
    };
    let all = symptoms.iter().map(word);
    all.filter(|told| !told.starts_with("reset-deletes"))
        .collect()
}

#[test]
fn extensions_that_an_update_leaves_behind_are_told_where_it_is_asked() {
    let dir = scratch_dir();
    let image = dir.path().join("image.img");
    let of_release = [("ID", "flatcar"), ("VERSION_ID", "4593.2.0")];
    let of_any = [("ID", "flatcar"), ("SYSEXT_LEVEL", "1.0")];
    let mut bake = flatbake();
    bake.args(["bake", "--image", &text(&raw_sample()), "-o", &text(&image)]);
    for (name, fields) in [("pinned", of_release), ("free", of_any)] {
        let extension = Sysext::new(name, "x86-64", Format::Squashfs).with_fields(&fields);
        let Some(file) = sysext(dir.path(), &format!("{name}.raw"), &extension) else {
            return;
        };
        bake.arg(format!("{name}:{}", text(&file)));
    }
    success(&mut bake);
    assert_eq!(told_of_extensions(&image, &[]), [""; 0]);
    let same = ["--after-update", "4593.2.0"];
    assert_eq!(told_of_extensions(&image, &same), [""; 0]);
    let next = ["--after-update", "4900.2.0"];
    assert_eq!(
        told_of_extensions(&image, &next),
        ["sysext-after-update pinned"]
    );
    assert_eq!(check(&image, &next).0, Some(9));
}

#[test]
fn a_disk_image_among_the_extensions_is_a_note() {
    let dir = scratch_dir();
    let file = dir.path().join("podman.raw");
    fs::write(&file, ddi("flatcar-podman-4757.2.1")).unwrap();
    for (recipe, told, code) in [
        (Recipe::small_4757(), &["harmless-noise podman"][..], 0),
        // Before, it is no use, and nothing merges it in the initrd.
        (Recipe::small(), &["sysext-version podman"], 9),
    ] {
        let Some(base) = flatcar_image(&recipe) else {
            return;
        };
        let image = dir.path().join(format!("{}.img", recipe.version));
        let mut bake = flatbake();
        bake.args(["bake", "--image", &text(&base), "-o", &text(&image)]);
        success(bake.args(["--force", &format!("podman:{}", text(&file))]));
        assert_eq!(told_of_extensions(&image, &[]), told);
        assert_eq!(check(&image, &[]).0, Some(code));
    }
}
