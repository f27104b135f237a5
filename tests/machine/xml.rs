//! OVF and Parallels XML: well-formed, and what refers to something finds it.

use std::collections::BTreeSet;

use flatbake::machine::{ConfFormat, Machine, VirtualBoxHardware, conf_files};
use roxmltree::{Document, Node};

use super::{DISK, HOSTILE, STEM, file, hostile, machine};
use crate::common::programs::{ask, said};

const OVF: &str = "http://schemas.dmtf.org/ovf/envelope/1";
const RASD: &str =
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData";
const VBOX: &str = "http://www.virtualbox.org/ovf/machine";
const VMWARE: &str = "http://www.vmware.com/schema/ovf";

fn text_of(format: ConfFormat, machine: &Machine, end: &str) -> String {
    file(&conf_files(format, machine).unwrap(), end).content
}

/// All elements called `name`, wherever they are and whatever namespace they have.
fn all<'a>(node: Node<'a, 'a>, name: &str) -> Vec<Node<'a, 'a>> {
    node.descendants()
        .filter(|node| node.tag_name().name() == name)
        .collect()
}

fn one<'a>(node: Node<'a, 'a>, name: &str) -> Node<'a, 'a> {
    let [one] = all(node, name)[..] else {
        panic!("{} elements {name}", all(node, name).len())
    };
    one
}

fn text<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    one(node, name).text().unwrap_or_default()
}

/// An attribute of the OVF namespace.
fn attribute<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    node.attribute((OVF, name))
        .unwrap_or_else(|| panic!("{} has no {name}", node.tag_name().name()))
}

fn set<'a>(values: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let values: Vec<&str> = values.collect();
    let set: BTreeSet<&str> = values.iter().copied().collect();
    assert_eq!(set.len(), values.len(), "each one once: {values:?}");
    set
}

#[test]
fn libxml2_finds_it_well_formed() {
    for machine in [machine(), hostile()] {
        for format in ConfFormat::ALL {
            for file in conf_files(format, &machine).unwrap() {
                if !file.content.starts_with("<?xml") {
                    continue;
                }
                let arguments = ["--noout", "--nonet", "-"];
                let Some(output) = ask("xmllint", arguments, file.content.as_bytes()) else {
                    return;
                };
                assert!(
                    output.status.success() && output.stderr.is_empty(),
                    "{}: {}",
                    file.name,
                    said(&output)
                );
            }
        }
    }
    let broken = text_of(ConfFormat::Pvs, &machine(), ".pvs").replacen("</", "<", 1);
    let output = ask("xmllint", ["--noout", "--nonet", "-"], broken.as_bytes()).unwrap();
    assert!(!output.status.success());
}

/// The rules of the OVF specification that its schema and prose state for what is written here.
fn check_envelope(ovf: &str, machine: &Machine) {
    let document = Document::parse(ovf).unwrap();
    let envelope = document.root_element();
    assert_eq!(
        (envelope.tag_name().namespace(), envelope.tag_name().name()),
        (Some(OVF), "Envelope")
    );
    let sections: Vec<&str> = envelope
        .children()
        .filter(Node::is_element)
        .map(|node| node.tag_name().name())
        .collect();
    assert_eq!(
        sections,
        [
            "References",
            "DiskSection",
            "NetworkSection",
            "VirtualSystem"
        ]
    );

    let file = one(envelope, "File");
    assert_eq!(attribute(file, "href"), DISK);
    assert_eq!(
        attribute(file, "size"),
        machine.disk_file_bytes.unwrap().to_string()
    );
    let disk = one(envelope, "Disk");
    assert_eq!(attribute(disk, "fileRef"), attribute(file, "id"));
    assert_eq!(attribute(disk, "capacity"), machine.disk_bytes.to_string());
    assert!(attribute(disk, "format").contains("vmdk.html#"));

    let in_ovf = |node: &Node<'_, '_>| node.tag_name().namespace() == Some(OVF);
    for section in envelope
        .descendants()
        .filter(|node| in_ovf(node) && node.tag_name().name().ends_with("Section"))
    {
        let first = section.children().find(Node::is_element).unwrap();
        assert_eq!(
            first.tag_name().name(),
            "Info",
            "{}",
            section.tag_name().name()
        );
    }
    check_items(envelope, &format!("/disk/{}", attribute(disk, "diskId")));
    let quantity = |kind: &str| {
        let items = all(envelope, "Item");
        let item = items
            .iter()
            .find(|item| text(**item, "ResourceType") == kind)
            .unwrap();
        text(*item, "VirtualQuantity").to_owned()
    };
    assert_eq!(
        (quantity("3"), quantity("4")),
        (machine.cpus.to_string(), machine.memory_mib.to_string())
    );
}

fn check_items(envelope: Node<'_, '_>, disk: &str) {
    let items = all(envelope, "Item");
    let instances = set(items.iter().map(|item| text(*item, "InstanceID")));
    let networks = set(all(envelope, "Network")
        .into_iter()
        .filter_map(|node| node.attribute((OVF, "name"))));
    let mut disks = 0;
    for item in &items {
        let fields: Vec<Node<'_, '_>> = item.children().filter(Node::is_element).collect();
        let (rasd, others): (Vec<Node<'_, '_>>, Vec<Node<'_, '_>>) = fields
            .into_iter()
            .partition(|field| field.tag_name().namespace() == Some(RASD));
        let names: Vec<&str> = rasd.iter().map(|field| field.tag_name().name()).collect();
        assert!(
            names.is_sorted() && names.contains(&"ElementName") && names.contains(&"ResourceType"),
            "{names:?}"
        );
        assert!(
            others
                .iter()
                .all(|field| field.tag_name().namespace() == Some(VMWARE)),
            "only settings of VMware"
        );
        for parent in all(*item, "Parent") {
            assert!(instances.contains(parent.text().unwrap()));
        }
        for connection in all(*item, "Connection") {
            assert!(networks.contains(connection.text().unwrap()));
        }
        for resource in all(*item, "HostResource") {
            assert!(resource.text().unwrap().trim_start_matches("ovf:") == disk);
            disks += 1;
        }
    }
    assert_eq!(disks, 1);
}

#[test]
fn the_ovf_for_vmware_is_consistent() {
    for machine in [machine(), hostile()] {
        let ovf = text_of(ConfFormat::OvfVmware, &machine, ".ovf");
        check_envelope(&ovf, &machine);
        let document = Document::parse(&ovf).unwrap();
        let root = document.root_element();
        assert_eq!(
            (text(root, "Name"), text(root, "FullVersion")),
            (STEM, machine.version.as_str())
        );
        let keys = set(all(root, "Property")
            .into_iter()
            .map(|node| attribute(node, "key")));
        for key in [
            "hostname",
            "ignition.config.data",
            "ignition.config.data.encoding",
            "ignition.config.url",
        ] {
            assert!(keys.contains(format!("guestinfo.{key}").as_str()), "{key}");
        }
        assert!(keys.iter().all(|key| key.starts_with("guestinfo.")));
        assert_eq!(
            attribute(one(root, "VirtualHardwareSection"), "transport"),
            "com.vmware.guestInfo"
        );
        let machine_settings = one(root, "VirtualHardwareSection").children();
        let settings = machine_settings.filter(|node| node.tag_name().name() == "Config");
        set(settings.map(|node| node.attribute((VMWARE, "key")).unwrap()));
    }
}

#[test]
fn the_ovf_for_virtualbox_is_consistent() {
    let old = Machine {
        virtualbox: VirtualBoxHardware::Bios,
        cpus: 1,
        ..machine()
    };
    for machine in [machine(), hostile(), old] {
        for (format, end) in [
            (ConfFormat::OvfVirtualbox, ".ovf"),
            (ConfFormat::Vagrant, "box.ovf"),
        ] {
            let ovf = text_of(format, &machine, end);
            check_envelope(&ovf, &machine);
            let document = Document::parse(&ovf).unwrap();
            let root = document.root_element();
            assert_eq!(attribute(one(root, "VirtualSystem"), "id"), machine.vm_name);
            let settings = one(root, "Machine");
            assert_eq!(settings.tag_name().namespace(), Some(VBOX));
            assert_eq!(settings.attribute("name"), Some(machine.vm_name.as_str()));
            assert_eq!(
                settings.attribute("lastStateChange"),
                Some("2023-11-14T22:13:20Z")
            );
            let disk = one(root, "Disk").attribute((VBOX, "uuid")).unwrap();
            let image = one(settings, "Image").attribute("uuid").unwrap();
            assert_eq!(image, format!("{{{disk}}}"));
            assert_ne!(settings.attribute("uuid"), Some(image));
            assert_eq!(one(settings, "Memory").attribute("RAMSize"), Some("1024"));
            let (cpus, firmware, controller, resource) = match machine.virtualbox {
                VirtualBoxHardware::Uefi => ("2", "EFI", "VirtioSCSI", "20"),
                VirtualBoxHardware::Bios => ("1", "BIOS", "PIIX4", "5"),
            };
            assert_eq!(one(settings, "CPU").attribute("count"), Some(cpus));
            assert_eq!(one(settings, "Firmware").attribute("type"), Some(firmware));
            assert_eq!(
                one(settings, "StorageController").attribute("type"),
                Some(controller)
            );
            let item = all(root, "Item")
                .into_iter()
                .find(|item| text(*item, "InstanceID") == "3")
                .unwrap();
            assert_eq!(
                (text(item, "ResourceSubType"), text(item, "ResourceType")),
                (controller, resource)
            );
            check_mac(
                one(settings, "Adapter").attribute("MACAddress").unwrap(),
                "080027",
            );
        }
    }
}

pub fn check_mac(mac: &str, prefix: &str) {
    assert!(mac.len() == 12 && mac.starts_with(prefix), "{mac}");
    assert!(
        mac.bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()),
        "{mac}"
    );
}

#[test]
fn the_parallels_machine_is_consistent() {
    for (format, template) in [(ConfFormat::Pvs, "0"), (ConfFormat::VagrantParallels, "1")] {
        let pvs = text_of(format, &hostile(), "config.pvs");
        let document = Document::parse(&pvs).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "ParallelsVirtualMachine");
        assert_eq!(
            (text(root, "VmName"), text(root, "IsTemplate")),
            (HOSTILE, template)
        );
        assert_eq!(text(root, "VmCreationDate"), "2023-11-14 22:13:20");
        let disk = one(root, "Hdd");
        assert_eq!(
            (
                text(disk, "SystemName"),
                text(disk, "Size"),
                text(disk, "SizeOnDisk")
            ),
            (DISK, "12600", "117")
        );
        assert_eq!(
            (text(root, "RAM"), text(one(root, "Cpu"), "Number")),
            ("1024", "1")
        );
        set([
            text(root, "VmUuid"),
            text(root, "SourceVmUuid"),
            text(disk, "Uuid"),
        ]
        .into_iter());
        set([text(root, "MAC"), text(root, "HostMAC")].into_iter());
        check_mac(text(root, "MAC"), "001C42");
    }
}

#[test]
fn an_unknown_file_size_is_left_out() {
    let machine = Machine {
        disk_file_bytes: None,
        ..machine()
    };
    let ovf = text_of(ConfFormat::OvfVirtualbox, &machine, ".ovf");
    let document = Document::parse(&ovf).unwrap();
    assert_eq!(
        one(document.root_element(), "File").attribute((OVF, "size")),
        None
    );
}
