//! Parts of an image that do not fit together.

use flatbake::flatcar::Designator;

use super::{examined, link, planted, told, write};

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
