//! What both kinds of envelopes have in common.

use crate::machine::description::Machine;
use crate::machine::xml::{Attributes, Xml};

/// Namespaces of every envelope.
pub(super) const NAMESPACES: [(&str, &str); 5] = [
    ("xmlns", "http://schemas.dmtf.org/ovf/envelope/1"),
    ("xmlns:ovf", "http://schemas.dmtf.org/ovf/envelope/1"),
    (
        "xmlns:rasd",
        "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    ),
    (
        "xmlns:vssd",
        "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    ),
    ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
];

/// The format of the disk. VirtualBox finds out by itself which kind of vmdk it is, and knows no name for the others.
const STREAM_OPTIMIZED: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// Names by which parts of an envelope refer to each other.
const FILE_ID: &str = "file1";
pub(super) const DISK_ID: &str = "vmdisk1";

/// The sections about files and disks.
pub(super) fn disk_sections(xml: &mut Xml, machine: &Machine, disk_attributes: Attributes<'_>) {
    let size = machine.disk_file_bytes.map(|size| size.to_string());
    let mut file = vec![
        ("ovf:href", machine.disk_name.as_str()),
        ("ovf:id", FILE_ID),
    ];
    file.extend(size.as_ref().map(|size| ("ovf:size", size.as_str())));
    xml.element("References", &[], |xml| xml.empty("File", &file));
    let capacity = machine.disk_bytes.to_string();
    let mut disk = vec![
        ("ovf:capacity", capacity.as_str()),
        ("ovf:diskId", DISK_ID),
        ("ovf:fileRef", FILE_ID),
        ("ovf:format", STREAM_OPTIMIZED),
    ];
    disk.extend(disk_attributes);
    xml.element("DiskSection", &[], |xml| {
        xml.leaf("Info", "The disk of the machine");
        xml.empty("Disk", &disk);
    });
}

pub(super) fn network_section(xml: &mut Xml, name: &str, description: &str) {
    xml.element("NetworkSection", &[], |xml| {
        xml.leaf("Info", "Networks that the machine is connected to");
        xml.element("Network", &[("ovf:name", name)], |xml| {
            xml.leaf("Description", description)
        });
    });
}

/// What the family of hardware is, and the name of the machine in it.
pub(super) fn system(xml: &mut Xml, name: &str, family: &str) {
    xml.element("System", &[], |xml| {
        xml.leaf("vssd:ElementName", "Virtual Hardware Family");
        xml.leaf("vssd:InstanceID", "0");
        xml.leaf("vssd:VirtualSystemIdentifier", name);
        xml.leaf("vssd:VirtualSystemType", family);
    });
}

/// Elements of an `Item` as name and value. The schema wants them in alphabetical order.
pub(super) type Fields<'a> = &'a [(&'static str, &'a str)];

pub(super) fn item(xml: &mut Xml, fields: Fields<'_>) {
    xml.element("Item", &[], |xml| write_fields(xml, fields));
}

pub(super) fn write_fields(xml: &mut Xml, fields: Fields<'_>) {
    for (name, value) in fields {
        xml.leaf(name, value);
    }
}
