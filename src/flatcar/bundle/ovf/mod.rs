//! OVF: machines as XML (DSP0243 version 1.1 of the DMTF, which VMware and VirtualBox write and read).
//!
//! ```text
//!   Envelope
//!   ├── References      File  id=file1, its name and size
//!   ├── DiskSection     Disk  diskId=vmdisk1, fileRef=file1, capacity
//!   ├── NetworkSection  Network
//!   └── VirtualSystem
//!       ├── ProductSection           properties (VMware)
//!       ├── OperatingSystemSection
//!       ├── VirtualHardwareSection   System, Item …: processors, memory, controllers, disk, network
//!       └── vbox:Machine             the same in VirtualBox' own words
//! ```

mod virtualbox;
mod vmware;

pub(super) use virtualbox::{mac as virtualbox_mac, text as virtualbox};
pub(super) use vmware::text as vmware;

use super::machine::Machine;
use super::xml::{Attributes, Xml};

/// Namespaces of every envelope.
const NAMESPACES: [(&str, &str); 5] = [
    ("xmlns", "http://schemas.dmtf.org/ovf/envelope/1"),
    ("xmlns:ovf", "http://schemas.dmtf.org/ovf/envelope/1"),
    ("xmlns:rasd", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"),
    ("xmlns:vssd", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"),
    ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
];

/// The format of the disk. VirtualBox finds out by itself which kind of vmdk it is, and knows no name for the others.
const STREAM_OPTIMIZED: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// Names by which parts of an envelope refer to each other.
const FILE_ID: &str = "file1";
const DISK_ID: &str = "vmdisk1";

/// The sections about files and disks.
fn disk_sections(xml: &mut Xml, machine: &Machine, disk_attributes: Attributes<'_>) {
    let size = machine.disk_file_bytes.map(|size| size.to_string());
    let mut file = vec![("ovf:href", machine.disk_name.as_str()), ("ovf:id", FILE_ID)];
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

fn network_section(xml: &mut Xml, name: &str, description: &str) {
    xml.element("NetworkSection", &[], |xml| {
        xml.leaf("Info", "Networks that the machine is connected to");
        xml.element("Network", &[("ovf:name", name)], |xml| xml.leaf("Description", description));
    });
}

/// What the family of hardware is, and the name of the machine in it.
fn system(xml: &mut Xml, name: &str, family: &str) {
    xml.element("System", &[], |xml| {
        xml.leaf("vssd:ElementName", "Virtual Hardware Family");
        xml.leaf("vssd:InstanceID", "0");
        xml.leaf("vssd:VirtualSystemIdentifier", name);
        xml.leaf("vssd:VirtualSystemType", family);
    });
}

/// Elements of an `Item` as name and value. The schema wants them in alphabetical order.
type Fields<'a> = &'a [(&'static str, &'a str)];

fn item(xml: &mut Xml, fields: Fields<'_>) {
    xml.element("Item", &[], |xml| write_fields(xml, fields));
}

fn write_fields(xml: &mut Xml, fields: Fields<'_>) {
    for (name, value) in fields {
        xml.leaf(name, value);
    }
}
