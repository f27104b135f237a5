//! The built-in vendors, their settings release by release, and what is wrong with files.

use super::*;
use crate::ErrorKind;
use crate::bytes::random::Random;
use crate::flatcar::grub::{check, edit_kernel_args};
use crate::flatcar::{Generation, LayoutName};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn settings(id: &str, major: Option<u64>) -> Settings {
    Vendors::builtin()
        .find(id)
        .unwrap()
        .for_release(major)
        .unwrap()
}

fn sysext(id: &str, major: u64) -> Option<String> {
    settings(id, Some(major))
        .oem_sysext
        .map(|id| id.to_string())
}

fn error(text: &str) -> String {
    let error = Vendor::from_toml(text, "x.toml").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    error.to_string()
}

const SMALL: &str =
    "id = \"small\"\nname = \"Small\"\nstatus = \"current\"\ndisk_format = \"raw\"\n";

#[test]
fn every_file_of_the_folder_is_built_in_under_its_own_id() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vendors");
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names
        .map(|name| name.strip_suffix(".toml").expect(&name).to_owned())
        .collect();
    names.sort();
    let built_in: Vec<&str> = table::FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names, built_in,
        "vendors/ and the list in src/flatcar/vendor/table.rs differ"
    );
    let ids: Vec<String> = Vendors::of_files(table::FILES)
        .unwrap()
        .iter()
        .map(|vendor| vendor.id.to_string())
        .collect();
    assert_eq!(ids, built_in);
}

#[test]
fn flatcars_current_list_is_whole() {
    let count = |status| {
        Vendors::builtin()
            .iter()
            .filter(|vendor| vendor.status == status)
            .count()
    };
    assert_eq!(
        (
            count(Status::Current),
            count(Status::Alias),
            count(Status::Refused)
        ),
        (32, 3, 1)
    );
    assert_eq!(Vendors::builtin().iter().count(), 44);
}

#[test]
fn names_of_files_are_flatcars() {
    assert_eq!(
        settings("azure", None).disk_file_name(),
        "flatcar_production_azure_image.vhd"
    );
    assert_eq!(
        settings("pxe", None).disk_file_name(),
        "flatcar_production_pxe_image.cpio.gz"
    );
    let ova = settings("vmware_ova", None);
    assert_eq!(
        ova.bundle_file_name().unwrap(),
        "flatcar_production_vmware_ova.ova"
    );
    let names = [
        "flatcar_production_vmware_ova.ovf",
        "flatcar_production_vmware_ova.mf",
    ];
    assert_eq!(ova.bundle_member_names()[..2], names);
    assert_eq!(ova.bundle_member_names()[2], ova.disk_file_name());
    assert_eq!(
        ova.vm_name("4593.2.5+x"),
        "flatcar_production_vmware_ova-4593-2-5-x"
    );
    assert_eq!(major_of("4593.2.5"), Some(4593));
    assert_eq!(major_of("4790.0.0+nightly-20260813-2100"), Some(4790));
    assert_eq!(major_of("stable"), None);
}

#[test]
fn layouts_change_with_releases() {
    for id in ["ami", "ami_vmdk", "akamai"] {
        assert_eq!(settings(id, None).disk_layout, Some(DiskLayout::Vm), "{id}");
        assert_eq!(
            settings(id, Some(4487)).disk_layout,
            Some(DiskLayout::Vm),
            "{id}"
        );
        assert_eq!(
            settings(id, Some(4459)).disk_layout,
            Some(DiskLayout::Base),
            "{id}"
        );
    }
    assert_eq!(
        settings("azure", Some(4081)).disk_layout,
        Some(DiskLayout::Azure)
    );
    assert_eq!(
        settings("rackspace_onmetal", None)
            .disk_layout
            .unwrap()
            .name(),
        LayoutName::Base
    );
    let sizes = [Generation::Before4487, Generation::Since4487]
        .map(|g| settings("azure", None).released_size(g));
    assert_eq!(sizes, [Some(31_122 * MIB); 2]);
    assert_eq!(
        settings("qemu", None).released_size(Generation::Before4487),
        Some(8694 * MIB)
    );
    assert_eq!(
        settings("iso", None).released_size(Generation::Since4487),
        None
    );
}

#[test]
fn exoscale_has_exactly_10_gib_since_4722() {
    let now = settings("exoscale", Some(4722));
    assert_eq!(now.disk_size.unwrap().bytes(), 10 * GIB);
    assert_eq!(
        now.disk_file_name(),
        "flatcar_production_exoscale_image.qcow2"
    );
    assert_eq!(now.released_size(Generation::Since4487), Some(10 * GIB));
    let before = settings("exoscale", Some(4593));
    assert_eq!(
        (before.disk_size, before.disk_format),
        (None, DiskFormat::Qcow2)
    );
    assert_eq!(
        before.disk_file_name(),
        "flatcar_production_exoscale_image.img"
    );
    assert_eq!(before.oem_package.unwrap().as_str(), "oem-exoscale");
}

#[test]
fn oem_sysexts_came_at_different_releases() {
    for (id, name, since) in [
        ("azure", "azure", 3760),
        ("qemu_uefi_secure", "qemu", 3760),
        ("openstack", "openstack", 3760),
        ("gce", "gce", 3815),
        ("hyperv_vhdx", "hyperv", 4459),
        ("virtualbox", "virtualbox", 4722),
        ("cloudstack_vhd", "cloudstack", 4722),
        ("ami_vmdk", "ami", 4722),
    ] {
        assert_eq!(sysext(id, since).as_deref(), Some(name), "{id}");
        assert_eq!(sysext(id, since - 1), None, "{id}");
    }
    assert_eq!(
        sysext("ami_vmdk", 4593),
        None,
        "misspelt in Flatcar's table"
    );
    assert_eq!(sysext("ami", 4081).as_deref(), Some("ami"));
    for id in [
        "rackspace",
        "rackspace_vhd",
        "rackspace_onmetal",
        "vagrant_virtualbox",
    ] {
        let settings = settings(id, None);
        assert!(
            settings.oem_sysext.is_none()
                && settings.oem_package.is_some()
                && settings.grub.is_some(),
            "{id}"
        );
    }
}

#[test]
fn oem_ids_are_those_that_the_boot_looks_for() {
    for (id, oem, grub) in [
        ("ami", "ami", "ec2"),
        ("stackit", "stackit", "openstack"),
        ("azure", "azure", "azure"),
    ] {
        let settings = settings(id, None);
        assert_eq!(
            (
                settings.oem.unwrap().id.as_str(),
                settings.grub.unwrap().oem_id.as_str()
            ),
            (oem, grub)
        );
    }
    for id in ["xen", "parallels", "pxe", "iso"] {
        let settings = settings(id, None);
        assert!(
            settings.oem.is_none() && settings.grub.is_none() && settings.oem_sysext.is_none(),
            "{id}"
        );
    }
}

/// What no longer holds from a release on does not hold at the tag that shows it.
#[test]
fn tags_of_changes_are_of_later_releases() {
    let mut tags = 0;
    for vendor in Vendors::builtin().iter() {
        for until in &vendor.until {
            let Some(tag) = &until.tag else { continue };
            let (_, version) = tag.as_str().split_once('-').unwrap();
            assert!(
                super::major_of(version).unwrap() >= until.release,
                "{}: {}",
                vendor.id,
                until.release
            );
            tags += 1;
        }
    }
    assert!(tags >= 20, "{tags}");
}

#[test]
fn aliases_have_the_disk_of_another_vendor() {
    let disk = settings("qemu_uefi", None);
    for id in ["qemu", "qemu_uefi_secure"] {
        let alias = settings(id, None);
        assert_eq!(
            (alias.disk_format, alias.disk_layout),
            (disk.disk_format, disk.disk_layout),
            "{id}"
        );
        assert_eq!((&alias.grub, &alias.oem), (&disk.grub, &disk.oem), "{id}");
        assert_ne!(alias.conf_file_names(), disk.conf_file_names(), "{id}");
    }
    assert!(
        Vendors::builtin().find("qemu").unwrap().needs.is_empty(),
        "BIOS needs no firmware"
    );
    assert_eq!(
        settings("brightbox", None)
            .grub
            .unwrap()
            .linux_append
            .unwrap()
            .as_str(),
        "flatcar.autologin"
    );
}

#[test]
fn grub_configs_have_no_findings_and_take_kernel_arguments() {
    for vendor in Vendors::builtin()
        .iter()
        .filter(|vendor| vendor.status != Status::Refused)
    {
        for major in [None, Some(4593), Some(4081), Some(3510)] {
            let Some(grub) = vendor.for_release(major).unwrap().grub else {
                continue;
            };
            let text = grub.render();
            assert_eq!(check(&text), [], "{}", vendor.id);
            let edited = edit_kernel_args(&text, &["quiet".to_owned()], &[]).unwrap();
            assert!(
                edited.contains("quiet") && check(&edited).is_empty(),
                "{edited}"
            );
            for argument in grub
                .linux_append
                .iter()
                .flat_map(|value| value.as_str().split(' '))
            {
                assert!(
                    edited.lines().last().unwrap().contains(argument),
                    "{edited}"
                );
            }
        }
    }
}

#[test]
fn grub_configs_have_flatcars_form() {
    assert_eq!(
        settings("packet", None).grub.unwrap().render(),
        "# Flatcar's GRUB settings for this platform\n\nset oem_id=\"packet\"\nset linux_append=\"flatcar.autologin\"\n\n\
         if [ \"$grub_cpu\" = i386 -o \"$grub_cpu\" = x86_64 ]; then\n  \
         set linux_console=\"console=tty0 console=ttyS1,115200n8\"\n  set gfxpayload=1024x768x8,1024x768\nfi\n"
    );
    assert!(
        settings("openstack", Some(3931))
            .grub
            .unwrap()
            .linux_append
            .is_none()
    );
}

#[test]
fn a_vendor_with_a_published_key_is_refused() {
    let vendor = Vendors::builtin().find("vmware_insecure").unwrap();
    let error = vendor.for_release(None).unwrap_err();
    assert_eq!(
        (vendor.status, error.kind()),
        (Status::Refused, ErrorKind::Unsupported)
    );
    assert!(error.to_string().contains("private SSH key"), "{error}");
}

#[test]
fn releases_without_images_of_a_vendor_are_warned_of() {
    let findings = |id: &str, major| Vendors::builtin().find(id).unwrap().findings(major);
    let early = Finding::new(code::VENDOR_TOO_EARLY).with("vendor", "hetzner");
    assert_eq!(
        findings("hetzner", Some(3815)),
        [early.with("since", 3942).with("release", 3815)]
    );
    let [removed] = &findings("packet", Some(4722))[..] else {
        panic!("one finding of a vendor that is removed")
    };
    assert_eq!(
        (removed.code(), removed.value("vendor")),
        (code::VENDOR_REMOVED, Some("packet"))
    );
    assert!(findings("packet", Some(4593)).is_empty() && findings("packet", None).is_empty());
}

#[test]
fn misspelt_ids_are_recognized() {
    for (word, meant) in [
        ("azur", "azure"),
        ("qemu-uefi", "qemu_uefi"),
        ("aws", "did you mean ami"),
        ("Proxmox", "proxmoxve"),
        ("vmware_raws", "vmware_raw"),
        ("zzzz", "flatbake vendors lists all"),
    ] {
        let error = Vendors::builtin().find(word).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.hint().unwrap().contains(meant),
            "{word}: {:?}",
            error.hint()
        );
    }
}

#[test]
fn a_file_adds_or_replaces_a_vendor() {
    let mut vendors = Vendors::builtin().clone();
    vendors.add(SMALL, "small.toml").unwrap();
    let small = vendors.find("small").unwrap().for_release(None).unwrap();
    assert_eq!(small.disk_file_name(), "flatcar_production_small_image.bin");
    assert_eq!(
        (small.disk_layout, small.memory_mib, small.loose_files),
        (Some(DiskLayout::Base), 1024, true)
    );
    vendors
        .add(&SMALL.replace("small\"", "azure\""), "mine.toml")
        .unwrap();
    assert_eq!(vendors.find("azure").unwrap().name.as_str(), "Small");
    assert_eq!(vendors.iter().count(), 45);
    let alias = "id = \"mine\"\nname = \"Mine\"\nstatus = \"alias\"\nalias_of = \"gce\"\ndisk_layout = \"base\"\n";
    let mine = Vendor::from_toml(alias, "mine.toml")
        .unwrap()
        .for_release(None)
        .unwrap();
    assert_eq!(
        mine.bundle_file_name().unwrap(),
        "flatcar_production_mine.tar.gz"
    );
    assert_eq!(
        (mine.disk_layout, mine.oem_sysext.unwrap().as_str()),
        (Some(DiskLayout::Base), "gce")
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    let with = |line: &str| error(&format!("{SMALL}{line}\n"));
    for (line, says) in [
        (
            "disk_layuot = \"vm\"",
            "x.toml: line 5, column 1: unknown field `disk_layuot`",
        ),
        (
            "disk_layout = \"huge\"",
            "line 5, column 15: unknown variant `huge`, expected one of `base`, `vm`",
        ),
        ("since = \"4487\"", "line 5, column 9: invalid type: string"),
        (
            "disk_size = \"10000\"",
            "line 5, column 13: '10000' is no size of a disk",
        ),
        (
            "oem_sysext = \"../x\"",
            "line 5, column 14: '../x' is no id",
        ),
        ("conf_files = [\"a/b\"]", "'a/b' is no file name"),
        ("disk_ext = \"../x\"", "is no extension"),
        ("notes = [\"a\\nb\"]", "is not one line of text"),
        (
            "[grub]\noem_id = \"x\"\nlinux_append = \"a\\\"b\"",
            "line 7, column 16: 'a\\\"b' cannot stand in grub.cfg",
        ),
        ("[grub]\noem_id = \"x\"", "oem and grub go together"),
        ("bundle = \"x.ova\"", "bundle_format and bundle go together"),
        ("removed = 4000", "a current vendor has no key removed"),
        (
            "alias_of = \"gce\"",
            "status = \"alias\" and alias_of go together",
        ),
        (
            "[[until]]\nrelease = 1\n[[until]]\nrelease = 1",
            "two [[until]] of release 1",
        ),
        (
            "[[until]]\nrelease = 1\noem_sysext = \"x\"",
            "until release 1: an OEM sysext or package needs oem",
        ),
        ("id = ", "line 5"),
    ] {
        assert!(with(line).contains(says), "{line}: {}", with(line));
    }
    let sysext =
        "oem_sysext = \"a\"\noem = { id = \"b\", name = \"B\" }\ngrub = { oem_id = \"b\" }";
    assert!(
        with(sysext).contains("the boot would look for the sysext oem-b"),
        "{}",
        with(sysext)
    );
    let always = "oem = { id = \"b\", name = \"B\" }\ngrub = { oem_id = \"b\", when = [{ lines = [\"x\"] }] }";
    assert!(
        with(always).contains("has no condition"),
        "{}",
        with(always)
    );
    assert!(error("").contains("missing field `id`"));
    assert!(
        error(&SMALL.replace("disk_format = \"raw\"", ""))
            .contains("the key disk_format is missing")
    );
    assert!(
        error(&SMALL.replace("\"raw\"", "\"iso\"\ndisk_layout = \"vm\""))
            .contains("iso is no disk")
    );
    assert!(error(&"#".repeat(70_000)).contains("at most 65536"));
    let alias =
        |of: &str| format!("id = \"m\"\nname = \"M\"\nstatus = \"alias\"\nalias_of = \"{of}\"\n");
    assert!(error(&alias("qemu")).contains("qemu, which is no vendor of its own"));
    assert!(
        Vendor::from_toml(&alias("qume"), "x")
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("qemu")
    );
}

/// Bytes changed, inserted, removed: a file is read, or an error says why not; settings of every release exist.
#[test]
fn mutated_files_give_vendors_or_clear_errors() {
    let mut random = Random::new(11);
    let mut read = 0;
    for round in 0..6000 {
        let (name, text) = table::FILES[round % table::FILES.len()];
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            let byte = b"\"=[]{}#\n\t .,\\0azZ_-\x00\x7f\xc3\xff"[random.below(22)];
            match random.below(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        match Vendor::from_toml(&text, name) {
            Ok(vendor) => {
                read += 1;
                let settings = [None, Some(0), Some(4593)].map(|major| vendor.for_release(major));
                assert!(
                    vendor.status == Status::Refused
                        || settings.iter().all(|settings| settings.is_ok()),
                    "{text}"
                );
            }
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound),
                    "{error:?}"
                );
                assert!(
                    error.to_string().starts_with(name) && error.to_string().len() < 3000,
                    "{error}"
                );
            }
        }
    }
    assert!(
        (600..5400).contains(&read),
        "{read} of 6000 were read: the mutations test nothing"
    );
}

/// Every key of a file is in the schema, and every key that the schema requires is in the file.
#[test]
fn the_schema_knows_all_keys() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    for (name, text) in table::FILES {
        let file: serde_json::Value = toml::from_str(text).unwrap();
        fits(&file, &schema, &schema, name);
    }
}

fn fits(
    value: &serde_json::Value,
    schema: &serde_json::Value,
    root: &serde_json::Value,
    place: &str,
) {
    let schema = match schema["$ref"].as_str() {
        Some(path) => root.pointer(path.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if let Some(choice) = schema["anyOf"].as_array() {
        return fits(value, &choice[0], root, place);
    }
    if let Some(keys) = value.as_object() {
        for (key, inner) in keys {
            let known = &schema["properties"][key];
            assert!(known.is_object(), "{place}: {key} is not in the schema");
            fits(inner, known, root, &format!("{place}.{key}"));
        }
        for key in schema["required"].as_array().into_iter().flatten() {
            assert!(
                keys.contains_key(key.as_str().unwrap()),
                "{place}: {key} is required"
            );
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        fits(inner, &schema["items"], root, place);
    }
    let words: Vec<&serde_json::Value> =
        match (schema["enum"].as_array(), schema["oneOf"].as_array()) {
            (Some(words), _) => words.iter().collect(),
            (_, Some(choices)) => choices.iter().map(|choice| &choice["const"]).collect(),
            _ => return,
        };
    assert!(
        words.contains(&value),
        "{place}: {value} is none of {words:?}"
    );
}
