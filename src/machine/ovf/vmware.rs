//! The OVF for VMware: ESXi 6.5 (hardware 13) and later, configured through properties that Ignition reads.

use super::sections::{
    DISK_ID, Fields, NAMESPACES, disk_sections, item, network_section, system, write_fields,
};
use crate::machine::description::Machine;
use crate::machine::xml::Xml;

const NETWORK: &str = "VM Network";

/// Properties that people can set when they import the machine: key and label.
const PROPERTIES: [(&str, &str); 4] = [
    ("guestinfo.hostname", "Host name"),
    (
        "guestinfo.ignition.config.data",
        "Ignition config, or user data for coreos-cloudinit",
    ),
    (
        "guestinfo.ignition.config.data.encoding",
        "Encoding of that config: empty, base64 or gzip+base64",
    ),
    (
        "guestinfo.ignition.config.url",
        "Address from which the config is fetched",
    ),
];

/// Properties that coreos-cloudinit alone reads: key, value and label.
const OLD_PROPERTIES: [(&str, &str, &str); 19] = [
    ("guestinfo.dns.server.0", "", "First name server"),
    ("guestinfo.dns.server.1", "", "Second name server"),
    ("guestinfo.interface.0.name", "", "Interface 0: name"),
    ("guestinfo.interface.0.mac", "", "Interface 0: MAC address"),
    (
        "guestinfo.interface.0.dhcp",
        "no",
        "Interface 0: DHCP (yes or no)",
    ),
    ("guestinfo.interface.0.role", "public", "Interface 0: role"),
    (
        "guestinfo.interface.0.ip.0.address",
        "",
        "Interface 0: first address",
    ),
    (
        "guestinfo.interface.0.ip.1.address",
        "",
        "Interface 0: second address",
    ),
    (
        "guestinfo.interface.0.route.0.gateway",
        "",
        "Interface 0: gateway of the first route",
    ),
    (
        "guestinfo.interface.0.route.0.destination",
        "",
        "Interface 0: destination of the first route",
    ),
    (
        "guestinfo.interface.0.route.1.gateway",
        "",
        "Interface 0: gateway of the second route",
    ),
    (
        "guestinfo.interface.0.route.1.destination",
        "",
        "Interface 0: destination of the second route",
    ),
    ("guestinfo.interface.1.name", "", "Interface 1: name"),
    ("guestinfo.interface.1.mac", "", "Interface 1: MAC address"),
    (
        "guestinfo.interface.1.dhcp",
        "no",
        "Interface 1: DHCP (yes or no)",
    ),
    ("guestinfo.interface.1.role", "private", "Interface 1: role"),
    (
        "guestinfo.interface.1.ip.0.address",
        "",
        "Interface 1: address",
    ),
    (
        "guestinfo.interface.1.route.0.gateway",
        "",
        "Interface 1: gateway of the route",
    ),
    (
        "guestinfo.interface.1.route.0.destination",
        "",
        "Interface 1: destination of the route",
    ),
];

/// Settings of the machine that OVF has no words for.
const CONFIG: [(&str, &str); 17] = [
    ("cpuHotAddEnabled", "true"),
    ("cpuHotRemoveEnabled", "true"),
    ("memoryHotAddEnabled", "true"),
    ("firmware", "bios"),
    ("virtualICH7MPresent", "false"),
    ("virtualSMCPresent", "false"),
    ("nestedHVEnabled", "false"),
    ("powerOpInfo.powerOffType", "preset"),
    ("powerOpInfo.resetType", "preset"),
    ("powerOpInfo.standbyAction", "checkpoint"),
    ("powerOpInfo.suspendType", "preset"),
    ("tools.afterPowerOn", "true"),
    ("tools.afterResume", "true"),
    ("tools.beforeGuestShutdown", "true"),
    ("tools.beforeGuestStandby", "true"),
    ("tools.syncTimeWithHost", "false"),
    ("tools.toolsUpgradePolicy", "manual"),
];

/// The text of the file. The machine is called by its stem, as Flatcar calls it.
pub fn text(machine: &Machine) -> String {
    let mut xml = Xml::new();
    let mut namespaces = NAMESPACES.to_vec();
    namespaces.push(("xmlns:cim", "http://schemas.dmtf.org/wbem/wscim/1/common"));
    namespaces.push(("xmlns:vmw", "http://www.vmware.com/schema/ovf"));
    xml.element("Envelope", &namespaces, |xml| {
        disk_sections(
            xml,
            machine,
            &[
                ("ovf:capacityAllocationUnits", "byte"),
                ("ovf:populatedSize", "0"),
            ],
        );
        network_section(xml, NETWORK, "The network of the machine");
        xml.element("VirtualSystem", &[("ovf:id", &machine.stem)], |xml| {
            xml.leaf("Info", "A virtual machine");
            xml.leaf("Name", &machine.stem);
            product(xml, machine);
            let system = [("ovf:id", "100"), ("vmw:osType", "other3xLinux64Guest")];
            xml.element("OperatingSystemSection", &system, |xml| {
                xml.leaf("Info", "The guest operating system")
            });
            xml.element(
                "VirtualHardwareSection",
                &[("ovf:transport", "com.vmware.guestInfo")],
                |xml| {
                    hardware(xml, machine);
                },
            );
        });
    });
    xml.finish()
}

fn product(xml: &mut Xml, machine: &Machine) {
    xml.element("ProductSection", &[("ovf:required", "false")], |xml| {
        xml.leaf("Info", "What can be set when the machine is imported");
        xml.leaf("Product", "Flatcar Container Linux");
        xml.leaf("FullVersion", &machine.version);
        for (key, label) in PROPERTIES {
            property(xml, key, "", label, label);
        }
        for (key, value, label) in OLD_PROPERTIES {
            property(
                xml,
                key,
                value,
                label,
                &format!("{label}. Read by coreos-cloudinit, not by Ignition."),
            );
        }
    });
}

fn property(xml: &mut Xml, key: &str, value: &str, label: &str, description: &str) {
    let attributes = [
        ("ovf:key", key),
        ("ovf:type", "string"),
        ("ovf:userConfigurable", "true"),
        ("ovf:value", value),
    ];
    xml.element("Property", &attributes, |xml| {
        xml.leaf("Label", label);
        xml.leaf("Description", description);
    });
}

fn hardware(xml: &mut Xml, machine: &Machine) {
    xml.leaf("Info", "Virtual hardware");
    system(xml, &machine.stem, "vmx-13");
    let cpus = machine.cpus.to_string();
    let memory = machine.memory_mib.to_string();
    item(
        xml,
        &[
            ("rasd:AllocationUnits", "hertz * 10^6"),
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
            ("rasd:AllocationUnits", "byte * 2^20"),
            ("rasd:Description", "Memory size"),
            ("rasd:ElementName", &format!("{memory}MB of memory")),
            ("rasd:InstanceID", "2"),
            ("rasd:ResourceType", "4"),
            ("rasd:VirtualQuantity", &memory),
        ],
    );
    item(
        xml,
        &[
            ("rasd:Address", "0"),
            ("rasd:Description", "SCSI controller"),
            ("rasd:ElementName", "SCSI Controller 0"),
            ("rasd:InstanceID", "3"),
            ("rasd:ResourceSubType", "VirtualSCSI"),
            ("rasd:ResourceType", "6"),
        ],
    );
    for (address, instance) in [("1", "4"), ("0", "5")] {
        item(
            xml,
            &[
                ("rasd:Address", address),
                ("rasd:Description", "IDE controller"),
                ("rasd:ElementName", &format!("IDE Controller {address}")),
                ("rasd:InstanceID", instance),
                ("rasd:ResourceType", "5"),
            ],
        );
    }
    optional_devices(xml);
    disk_and_network(xml);
    for (key, value) in CONFIG {
        config(xml, key, value);
    }
}

/// A screen and a CD-ROM drive, which a host may leave out.
fn optional_devices(xml: &mut Xml) {
    let video: Fields<'_> = &[
        ("rasd:AutomaticAllocation", "false"),
        ("rasd:ElementName", "Video card"),
        ("rasd:InstanceID", "6"),
        ("rasd:ResourceType", "24"),
    ];
    let settings = [
        ("enable3DSupport", "false"),
        ("use3dRenderer", "automatic"),
        ("useAutoDetect", "false"),
        ("videoRamSizeInKB", "4096"),
    ];
    optional_item(xml, video, &settings);
    let interface: Fields<'_> = &[
        ("rasd:AutomaticAllocation", "false"),
        ("rasd:ElementName", "VMCI device"),
        ("rasd:InstanceID", "7"),
        ("rasd:ResourceSubType", "vmware.vmci"),
        ("rasd:ResourceType", "1"),
    ];
    optional_item(
        xml,
        interface,
        &[("allowUnrestrictedCommunication", "false")],
    );
    let cdrom: Fields<'_> = &[
        ("rasd:AddressOnParent", "0"),
        ("rasd:AutomaticAllocation", "false"),
        ("rasd:ElementName", "CD-ROM 1"),
        ("rasd:InstanceID", "8"),
        ("rasd:Parent", "4"),
        ("rasd:ResourceSubType", "vmware.cdrom.remotepassthrough"),
        ("rasd:ResourceType", "15"),
    ];
    optional_item(xml, cdrom, &[("backing.exclusive", "false")]);
}

fn disk_and_network(xml: &mut Xml) {
    xml.element("Item", &[], |xml| {
        write_fields(
            xml,
            &[
                ("rasd:AddressOnParent", "0"),
                ("rasd:ElementName", "Hard Disk 1"),
                ("rasd:HostResource", &format!("ovf:/disk/{DISK_ID}")),
                ("rasd:InstanceID", "9"),
                ("rasd:Parent", "3"),
                ("rasd:ResourceType", "17"),
            ],
        );
        config(xml, "backing.writeThrough", "false");
    });
    xml.element("Item", &[], |xml| {
        write_fields(
            xml,
            &[
                ("rasd:AddressOnParent", "7"),
                ("rasd:AutomaticAllocation", "true"),
                ("rasd:Connection", NETWORK),
                ("rasd:Description", "Network card"),
                ("rasd:ElementName", "Ethernet 1"),
                ("rasd:InstanceID", "10"),
                ("rasd:ResourceSubType", "VmxNet3"),
                ("rasd:ResourceType", "10"),
            ],
        );
        config(xml, "wakeOnLanEnabled", "true");
    });
}

fn optional_item(xml: &mut Xml, fields: Fields<'_>, settings: &[(&str, &str)]) {
    xml.element("Item", &[("ovf:required", "false")], |xml| {
        write_fields(xml, fields);
        for (key, value) in settings {
            config(xml, key, value);
        }
    });
}

fn config(xml: &mut Xml, key: &str, value: &str) {
    xml.empty(
        "vmw:Config",
        &[
            ("ovf:required", "false"),
            ("vmw:key", key),
            ("vmw:value", value),
        ],
    );
}
