//! The built-in vendors beside what Flatcar's own table says of them: every difference has a reason.

use std::collections::{BTreeMap, BTreeSet};

use flatbake::flatcar::vendor::{Settings, Status, Vendor, Vendors};
use toml::{Table, Value};

/// Words of Flatcar's table that say something else here, and why.
const EXPLAINED: &[(&str, &str, &str)] = &[
    (
        "exoscale",
        "disk_format",
        "Flatcar's word for a qcow2 that is made 10 GiB large, which is disk_size here",
    ),
    ("gce", "files", "the archive counts as the bundle"),
    ("gce", "ci_compression", "the archive is packed already"),
    (
        "pxe",
        "files",
        "the kernel is a file here, where Flatcar has a link to that of the generic image",
    ),
    (
        "packet",
        "files",
        "the script for iPXE comes with the files it starts, those of pxe",
    ),
    (
        "packet",
        "oem_name",
        "the table does not say it: from the OEM package",
    ),
    (
        "vagrant_parallels",
        "files",
        "vagrant-parallels looks for the machine in box.pvm",
    ),
    (
        "vagrant_virtualbox",
        "files",
        "the table names the catalog only: the box holds what that of vagrant does",
    ),
    (
        "vagrant_vmware_fusion",
        "files",
        "the table names the catalog only: the box holds a machine of Fusion",
    ),
    (
        "vmware_ova",
        "files",
        "the manifest of the OVA counts as a file here",
    ),
    (
        "brightbox",
        "ci_compression",
        "it is a link to openstack's disk, which is published in more ways",
    ),
    (
        "rackspace",
        "oem",
        "the table does not say it: from the OEM package",
    ),
    (
        "rackspace_onmetal",
        "oem",
        "the table does not say it: from the OEM package",
    ),
    (
        "rackspace_vhd",
        "oem",
        "the table does not say it: from the OEM package",
    ),
    (
        "vagrant_virtualbox",
        "oem",
        "the table does not say it: from the OEM package",
    ),
    (
        "vagrant_vmware_fusion",
        "oem",
        "the table does not say it: from the OEM package",
    ),
    ("interoute", "bundle", "its bundle is not known"),
];

fn facts() -> Table {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/vendors/facts.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// What is said here, under the keys of the facts.
fn said(vendor: &Vendor, settings: &Settings) -> BTreeMap<&'static str, Value> {
    let mut said = BTreeMap::new();
    let mut put = |key, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            said.insert(key, Value::String(value));
        }
    };
    put("disk_format", Some(settings.disk_format.to_string()));
    put("disk_ext", Some(settings.disk_ext.to_string()));
    put(
        "disk_layout",
        settings.disk_layout.map(|layout| layout.to_string()),
    );
    put(
        "oem_sysext",
        settings.oem_sysext.as_ref().map(ToString::to_string),
    );
    put(
        "oem_id",
        settings.oem.as_ref().map(|oem| oem.id.to_string()),
    );
    put(
        "oem_name",
        settings.oem.as_ref().map(|oem| oem.name.to_string()),
    );
    put(
        "grub_oem_id",
        settings.grub.as_ref().map(|grub| grub.oem_id.to_string()),
    );
    put(
        "linux_append",
        settings
            .grub
            .as_ref()
            .and_then(|grub| grub.linux_append.as_ref())
            .map(ToString::to_string),
    );
    put(
        "conf_format",
        settings.conf_format.map(|format| format.to_string()),
    );
    put(
        "bundle_format",
        settings.bundle_format.map(|format| format.to_string()),
    );
    put("bundle", settings.bundle_file_name());
    let mut list = |key, values: Vec<String>| {
        if !values.is_empty() {
            said.insert(
                key,
                Value::Array(values.into_iter().map(Value::String).collect()),
            );
        }
    };
    let files: BTreeSet<String> = settings
        .conf_file_names()
        .into_iter()
        .chain(settings.bundle_member_names())
        .collect();
    list(
        "files",
        files
            .into_iter()
            .filter(|name| !name.ends_with(&settings.disk_file_name()))
            .collect(),
    );
    list(
        "ci_compression",
        settings
            .ci_compression
            .iter()
            .map(ToString::to_string)
            .collect(),
    );
    list(
        "arch",
        vendor.arch.iter().map(ToString::to_string).collect(),
    );
    said
}

/// Words in any order.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let sorted: BTreeSet<String> = items
                .iter()
                .map(|item| item.as_str().unwrap().to_owned())
                .collect();
            Value::Array(sorted.into_iter().map(Value::String).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn every_difference_from_the_table_is_explained() {
    let facts = facts();
    let mut used = BTreeSet::new();
    let mut unexplained = Vec::new();
    for (id, fact) in &facts {
        let vendor = Vendors::builtin()
            .find(id)
            .unwrap_or_else(|error| panic!("{id}: {error}"));
        if vendor.status == Status::Refused {
            assert!(
                vendor.for_release(None).is_err() || vendor.why.is_some(),
                "{id}"
            );
            continue;
        }
        let release = u64::try_from(fact["release"].as_integer().unwrap()).unwrap();
        let said = said(vendor, &vendor.for_release(Some(release)).unwrap());
        let table = fact.as_table().unwrap();
        let keys: BTreeSet<&str> = table
            .keys()
            .map(String::as_str)
            .chain(said.keys().copied())
            .collect();
        for key in keys.into_iter().filter(|key| *key != "release") {
            let theirs = table.get(key).map(comparable);
            let ours = said.get(key).map(comparable);
            if theirs == ours {
                continue;
            }
            match EXPLAINED
                .iter()
                .find(|(of, about, _)| of == id && key.starts_with(about))
            {
                Some(row) => drop(used.insert(row)),
                None => unexplained.push(format!(
                    "{id} at {release}: {key} is {theirs:?} there and {ours:?} here"
                )),
            }
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let idle: Vec<_> = EXPLAINED.iter().filter(|row| !used.contains(row)).collect();
    assert!(idle.is_empty(), "nothing differs any more: {idle:?}");
    let known: BTreeSet<&str> = facts.keys().map(String::as_str).collect();
    let ours = Vendors::builtin().iter().map(|vendor| vendor.id.as_str());
    let missing: Vec<&str> = ours.filter(|id| !known.contains(id)).collect();
    assert_eq!(missing, [""; 0], "vendors that the table does not have");
}

/// What was found out by running Flatcar's own code at its tags, by release line: it wins over the table.
#[test]
fn what_changed_between_release_lines_is_as_at_the_tags() {
    let of = |id: &str, major: u64| {
        Vendors::builtin()
            .find(id)
            .unwrap()
            .for_release(Some(major))
            .unwrap()
    };
    let is_made = |id: &str, major| Vendors::builtin().find(id).unwrap().is_made_in(Some(major));
    for (id, first, before) in [
        ("nutanix", 4459, 4426),
        ("stackit", 4426, 4344),
        ("oraclecloud", 4757, 4593),
        ("hyperv_vhdx", 3975, 3815),
    ] {
        assert!(is_made(id, first) && !is_made(id, before), "{id}");
    }
    for id in [
        "packet",
        "rackspace",
        "rackspace_onmetal",
        "rackspace_vhd",
        "vagrant_virtualbox",
    ] {
        assert!(is_made(id, 4593) && !is_made(id, 4757), "{id}");
    }
    for (id, major, name) in [
        ("vagrant_parallels", 4757, "flatcar_production_vagrant.json"),
        (
            "vagrant_parallels",
            4593,
            "flatcar_production_vagrant_parallels.json",
        ),
        ("vagrant", 4593, "flatcar_production_vagrant.json"),
    ] {
        assert_eq!(
            of(id, major).catalog_file_name().as_deref(),
            Some(name),
            "{id} {major}"
        );
    }
    let has_ipxe = |major| {
        of("pxe", major)
            .conf_file_names()
            .contains(&"flatcar_production_packet.ipxe".to_owned())
    };
    assert!(has_ipxe(4593) && !has_ipxe(4757));
    for id in ["vagrant", "vagrant_parallels"] {
        assert!(
            of(id, 4593).oem_package.is_some() && of(id, 4757).oem_package.is_none(),
            "{id}"
        );
    }
}
