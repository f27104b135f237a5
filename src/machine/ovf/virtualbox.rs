//! The OVF for VirtualBox 7: UEFI, a VirtIO SCSI disk and a VirtIO network card behind NAT; for releases before 4722 BIOS
//! and an IDE disk.
//!
//! What OVF has no words for is in an element of VirtualBox' own, with the whole machine in its settings format 1.19.

use super::sections::{DISK_ID, NAMESPACES, disk_sections, item, network_section, system};
use crate::bytes::Guid;
use crate::machine::description::{Machine, VIRTUALBOX_MAC, VirtualBoxHardware};
use crate::machine::time;
use crate::machine::xml::Xml;

const NETWORK: &str = "NAT";

/// VirtualBox' word for a 64-bit Linux of any kind.
const OS_TYPE: &str = "Linux26_64";

/// The MAC address of the network card, also told to Vagrant.
pub(in crate::machine) fn mac(machine: &Machine) -> String {
    machine.mac(VIRTUALBOX_MAC, "VirtualBox network card")
}

/// The text of the file.
pub fn text(machine: &Machine) -> String {
    let disk = machine.uuid("VirtualBox disk");
    let mut xml = Xml::new();
    let mut attributes = vec![("ovf:version", "1.0"), ("xml:lang", "en-US")];
    attributes.extend(NAMESPACES);
    attributes.push(("xmlns:vbox", "http://www.virtualbox.org/ovf/machine"));
    xml.element("Envelope", &attributes, |xml| {
        disk_sections(xml, machine, &[("vbox:uuid", &disk.to_string())]);
        network_section(xml, NETWORK, "Address translation by VirtualBox");
        xml.element("VirtualSystem", &[("ovf:id", &machine.vm_name)], |xml| {
            xml.leaf("Info", "A virtual machine");
            xml.element("OperatingSystemSection", &[("ovf:id", "100")], |xml| {
                xml.leaf("Info", "The guest operating system");
                xml.leaf("Description", OS_TYPE);
                xml.leaf_with("vbox:OSType", &[("ovf:required", "false")], OS_TYPE);
            });
            xml.element("VirtualHardwareSection", &[], |xml| hardware(xml, machine));
            settings(xml, machine, disk);
        });
    });
    xml.finish()
}

/// The number of processors.
fn cpus(machine: &Machine) -> String {
    match machine.virtualbox {
        VirtualBoxHardware::Uefi => machine.cpus.to_string(),
        VirtualBoxHardware::Bios => "1".to_owned(),
    }
}

fn hardware(xml: &mut Xml, machine: &Machine) {
    xml.leaf("Info", "Virtual hardware");
    system(xml, &machine.vm_name, "virtualbox-2.2");
    let cpus = cpus(machine);
    let memory = machine.memory_mib.to_string();
    item(
        xml,
        &[
            ("rasd:Caption", &format!("{cpus} virtual CPU(s)")),
            ("rasd:Description", "Number of virtual CPUs"),
            ("rasd:ElementName", &format!("{cpus} virtual CPU(s)")),
            ("rasd:InstanceID", "1"),
            ("rasd:ResourceType", "3"),
            ("rasd:VirtualQuantity", &cpus),
        ],
    );
    item(
        xml,
        &[
            ("rasd:AllocationUnits", "MegaBytes"),
            ("rasd:Caption", &format!("{memory} MB of memory")),
            ("rasd:Description", "Memory size"),
            ("rasd:ElementName", &format!("{memory} MB of memory")),
            ("rasd:InstanceID", "2"),
            ("rasd:ResourceType", "4"),
            ("rasd:VirtualQuantity", &memory),
        ],
    );
    devices(xml, machine.virtualbox);
}

fn devices(xml: &mut Xml, hardware: VirtualBoxHardware) {
    let (caption, description, subtype, kind) = match hardware {
        VirtualBoxHardware::Uefi => (
            "virtioSCSIController0",
            "VirtIO SCSI controller",
            "VirtioSCSI",
            "20",
        ),
        VirtualBoxHardware::Bios => ("ideController0", "IDE controller", "PIIX4", "5"),
    };
    item(
        xml,
        &[
            ("rasd:Address", "0"),
            ("rasd:Caption", caption),
            ("rasd:Description", description),
            ("rasd:ElementName", caption),
            ("rasd:InstanceID", "3"),
            ("rasd:ResourceSubType", subtype),
            ("rasd:ResourceType", kind),
        ],
    );
    item(
        xml,
        &[
            ("rasd:Address", "0"),
            ("rasd:Caption", "usb"),
            ("rasd:Description", "USB controller"),
            ("rasd:ElementName", "usb"),
            ("rasd:InstanceID", "4"),
            ("rasd:ResourceType", "23"),
        ],
    );
    item(
        xml,
        &[
            ("rasd:AutomaticAllocation", "true"),
            ("rasd:Caption", "Network card"),
            ("rasd:Connection", NETWORK),
            ("rasd:ElementName", "Network card"),
            ("rasd:InstanceID", "5"),
            ("rasd:ResourceType", "10"),
        ],
    );
    item(
        xml,
        &[
            ("rasd:AddressOnParent", "0"),
            ("rasd:Caption", "disk1"),
            ("rasd:Description", "Disk image"),
            ("rasd:ElementName", "disk1"),
            ("rasd:HostResource", &format!("/disk/{DISK_ID}")),
            ("rasd:InstanceID", "6"),
            ("rasd:Parent", "3"),
            ("rasd:ResourceType", "17"),
        ],
    );
}

/// The machine in VirtualBox' words.
fn settings(xml: &mut Xml, machine: &Machine, disk: Guid) {
    let attributes = [
        ("ovf:required", "false"),
        ("version", "1.19-linux"),
        (
            "uuid",
            &format!("{{{}}}", machine.uuid("VirtualBox machine")),
        ),
        ("name", &machine.vm_name),
        ("OSType", OS_TYPE),
        ("snapshotFolder", "Snapshots"),
        ("lastStateChange", &time::iso(machine.identity.time)),
    ];
    let cpus = cpus(machine);
    let memory = machine.memory_mib.to_string();
    let is_uefi = machine.virtualbox == VirtualBoxHardware::Uefi;
    xml.element("vbox:Machine", &attributes, |xml| {
        xml.leaf("ovf:Info", "The machine in VirtualBox' own words");
        xml.element("Hardware", &[], |xml| {
            xml.element("CPU", &[("count", &cpus)], |xml| {
                xml.empty("HardwareVirtExLargePages", &[("enabled", "false")]);
                xml.empty("PAE", &[("enabled", "false")]);
                xml.empty("NestedHWVirt", &[("enabled", "true")]);
                xml.empty("LongMode", &[("enabled", "true")]);
                xml.empty("X2APIC", &[("enabled", "true")]);
            });
            xml.empty("Memory", &[("RAMSize", &memory)]);
            xml.empty("HID", &[("Pointing", "USBTablet")]);
            xml.empty(
                "Chipset",
                &[("type", if is_uefi { "ICH9" } else { "PIIX3" })],
            );
            xml.empty("Display", &[("controller", "VMSVGA")]);
            xml.empty(
                "Firmware",
                &[("type", if is_uefi { "EFI" } else { "BIOS" })],
            );
            xml.element("BIOS", &[], |xml| {
                xml.empty("IOAPIC", &[("enabled", "true")]);
                xml.empty("SmbiosUuidLittleEndian", &[("enabled", "true")]);
                xml.empty("AutoSerialNumGen", &[("enabled", "true")]);
            });
            xml.element("USB", &[], |xml| {
                xml.element("Controllers", &[], |xml| {
                    xml.empty("Controller", &[("name", "OHCI"), ("type", "OHCI")])
                });
            });
            xml.element("Network", &[], |xml| {
                let mac = mac(machine);
                let adapter = [
                    ("slot", "0"),
                    ("enabled", "true"),
                    ("MACAddress", mac.as_str()),
                    ("type", "virtio"),
                ];
                xml.element("Adapter", &adapter, |xml| {
                    xml.empty("NAT", &[("localhost-reachable", "true")])
                });
            });
            xml.empty("AudioAdapter", &[("enabled", "false")]);
            xml.empty("RTC", &[("localOrUTC", "UTC")]);
            storage(xml, machine.virtualbox, disk);
        });
    });
}

fn storage(xml: &mut Xml, hardware: VirtualBoxHardware, disk: Guid) {
    let (name, kind, ports) = match hardware {
        VirtualBoxHardware::Uefi => ("virtio", "VirtioSCSI", "1"),
        VirtualBoxHardware::Bios => ("IDE", "PIIX4", "2"),
    };
    let controller = [
        ("name", name),
        ("type", kind),
        ("PortCount", ports),
        ("useHostIOCache", "false"),
        ("Bootable", "true"),
    ];
    let attached = [("type", "HardDisk"), ("port", "0"), ("device", "0")];
    xml.element("StorageControllers", &[], |xml| {
        xml.element("StorageController", &controller, |xml| {
            xml.element("AttachedDevice", &attached, |xml| {
                xml.empty("Image", &[("uuid", &format!("{{{disk}}}"))])
            });
        });
    });
}
