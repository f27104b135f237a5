//! `config.pvs`: a machine for Parallels Desktop, as XML.
//!
//! Told are the hardware and every setting that differs from what Parallels does by itself: nothing is shared between
//! host and guest, because Flatcar has no Parallels Tools.

use super::description::{Machine, PARALLELS_MAC};
use super::time;
use super::xml::Xml;

/// Parallels' numbers for Linux, and for a Linux it knows nothing more about.
const OS_TYPE: &str = "9";
const OS_NUMBER: &str = "2309";

/// The version whose settings these are.
const APP_VERSION: &str = "10.3.0-29227";

/// An attribute of every element: which of its children are lists. It is read by Parallels and may be empty.
const LISTS: &str = "dyn_lists";

const MIB: u64 = 1 << 20;

/// The MAC address of the network card.
pub(super) fn mac(machine: &Machine) -> String {
    machine.mac(PARALLELS_MAC, "Parallels network card")
}

/// The text of the file; a template is what others are cloned from, as Vagrant does.
pub(super) fn text(machine: &Machine, template: bool) -> String {
    let mut xml = Xml::new();
    let root = [("schemaVersion", "1.0"), (LISTS, "VirtualAppliance 0")];
    xml.element("ParallelsVirtualMachine", &root, |xml| {
        xml.leaf("AppVersion", APP_VERSION);
        xml.leaf("ValidRc", "0");
        identification(xml, machine);
        group(xml, "Settings", |xml| settings(xml, template));
        let lists = "Fdd 0 CdRom 1 Hdd 2 Serial 0 Parallel 0 Printer 0 NetworkAdapter 1 Sound 1 USB 1 \
                     PciVideoAdapter 0 GenericDevice 0 GenericPciDevice 0 GenericScsiDevice 0";
        xml.element("Hardware", &[(LISTS, lists)], |xml| hardware(xml, machine));
        xml.leaf("InstalledSoftware", "0");
    });
    xml.finish()
}

fn group(xml: &mut Xml, name: &'static str, inside: impl FnOnce(&mut Xml)) {
    xml.element(name, &[(LISTS, "")], inside);
}

fn leaves(xml: &mut Xml, leaves: &[(&'static str, &str)]) {
    for (name, value) in leaves {
        xml.leaf(name, value);
    }
}

/// A group of plain settings.
fn flat(xml: &mut Xml, name: &'static str, values: &[(&'static str, &str)]) {
    group(xml, name, |xml| leaves(xml, values));
}

fn identification(xml: &mut Xml, machine: &Machine) {
    let date = time::spaced(machine.identity.time);
    let values = [
        (
            "VmUuid",
            format!("{{{}}}", machine.uuid("Parallels machine")),
        ),
        (
            "SourceVmUuid",
            format!("{{{}}}", machine.uuid("Parallels source")),
        ),
        ("LinkedVmUuid", String::new()),
        ("LinkedSnapshotUuid", String::new()),
        ("VmName", machine.vm_name.clone()),
        ("ServerUuid", String::new()),
        ("VmFilesLocation", "1".to_owned()),
        ("VmCreationDate", date.clone()),
        ("VmUptimeStartDateTime", date),
        ("VmUptimeInSeconds", "0".to_owned()),
    ];
    group(xml, "Identification", |xml| {
        for (name, value) in &values {
            xml.leaf(name, value);
        }
    });
}

fn settings(xml: &mut Xml, template: bool) {
    xml.element("General", &[(LISTS, "PrevOsNumber")], |xml| {
        leaves(
            xml,
            &[
                ("OsType", OS_TYPE),
                ("OsNumber", OS_NUMBER),
                ("VmDescription", ""),
                ("IsTemplate", if template { "1" } else { "0" }),
            ],
        );
    });
    group(xml, "Startup", startup);
    flat(
        xml,
        "Shutdown",
        &[
            ("AutoStop", "1"),
            ("OnVmWindowClose", "2"),
            ("WindowOnShutdown", "0"),
        ],
    );
    let runtime = [
        ("UndoDisks", "0"),
        ("SafeMode", "0"),
        ("DisableAPIC", "0"),
        ("EnableAdaptiveHypervisor", "0"),
    ];
    flat(xml, "Runtime", &runtime);
    flat(xml, "RemoteDisplay", &[("Mode", "0")]);
    group(xml, "Tools", tools);
    flat(xml, "Autoprotect", &[("Enabled", "0")]);
    flat(xml, "AutoCompress", &[("Enabled", "0")]);
    flat(xml, "SharedCamera", &[("Enabled", "0")]);
    flat(
        xml,
        "VirtualPrintersInfo",
        &[("UseHostPrinters", "0"), ("SyncDefaultPrinter", "0")],
    );
    flat(xml, "SharedBluetooth", &[("Enabled", "0")]);
    flat(
        xml,
        "UsbController",
        &[
            ("UhcEnabled", "0"),
            ("EhcEnabled", "0"),
            ("XhcEnabled", "0"),
        ],
    );
}

/// Boots from the disk, with a BIOS.
fn startup(xml: &mut Xml) {
    leaves(
        xml,
        &[
            ("AutoStart", "0"),
            ("AutoStartDelay", "0"),
            ("WindowMode", "0"),
            ("StartInDetachedWindow", "0"),
        ],
    );
    xml.element("BootingOrder", &[(LISTS, "BootDevice 10")], |xml| {
        xml.element("BootDevice", &[("id", "6"), (LISTS, "")], |xml| {
            leaves(
                xml,
                &[
                    ("Index", "0"),
                    ("Type", "6"),
                    ("BootingNumber", "1"),
                    ("InUse", "1"),
                ],
            );
        });
    });
    leaves(xml, &[("AllowSelectBootDevice", "0"), ("FastReboot", "0")]);
    flat(xml, "Bios", &[("EfiEnabled", "0")]);
}

/// Nothing that would need a program in the guest.
fn tools(xml: &mut Xml) {
    leaves(xml, &[("IsolatedVm", "0"), ("LockGuestOnSuspend", "0")]);
    group(xml, "SharedFolders", |xml| {
        flat(
            xml,
            "HostSharing",
            &[("Enabled", "0"), ("ShareAllMacDisks", "0")],
        );
        flat(xml, "GuestSharing", &[("Enabled", "0"), ("AutoMount", "0")]);
    });
    flat(xml, "SharedProfile", &[("Enabled", "0")]);
    flat(
        xml,
        "SharedApplications",
        &[
            ("FromWinToMac", "0"),
            ("FromMacToWin", "0"),
            ("SmartSelect", "0"),
        ],
    );
    let off = [
        "AutoUpdate",
        "ClipboardSync",
        "DragAndDrop",
        "KeyboardLayoutSync",
        "MouseSync",
        "SmartMouse",
    ];
    for name in off {
        flat(xml, name, &[("Enabled", "0")]);
    }
    flat(
        xml,
        "TimeSync",
        &[
            ("Enabled", "1"),
            ("SyncInterval", "60"),
            ("KeepTimeDiff", "0"),
        ],
    );
    flat(xml, "SharedVolumes", &[("Enabled", "0")]);
}

fn hardware(xml: &mut Xml, machine: &Machine) {
    // As in Flatcar's own file; whoever wants more says so to Parallels.
    flat(
        xml,
        "Cpu",
        &[
            ("Number", "1"),
            ("Mode", "0"),
            ("AccelerationLevel", "2"),
            ("EnableVTxSupport", "1"),
        ],
    );
    flat(xml, "Chipset", &[("Type", "1"), ("Version", "3")]);
    flat(xml, "Clock", &[("TimeShift", "0")]);
    let memory = machine.memory_mib.to_string();
    flat(
        xml,
        "Memory",
        &[("RAM", &memory), ("EnableHotplug", "0"), ("AutoQuota", "1")],
    );
    flat(
        xml,
        "Video",
        &[
            ("Enabled", "1"),
            ("VideoMemorySize", "32"),
            ("Enable3DAcceleration", "0"),
        ],
    );
    disk(xml, machine);
    network(xml, machine);
}

fn disk(xml: &mut Xml, machine: &Machine) {
    let uuid = format!("{{{}}}", machine.uuid("Parallels disk"));
    let size = (machine.disk_bytes / MIB).to_string();
    let on_disk = (machine.disk_file_bytes.unwrap_or(machine.disk_bytes) / MIB).to_string();
    xml.element("Hdd", &[("id", "1"), (LISTS, "Partition 0")], |xml| {
        leaves(
            xml,
            &[
                ("Uuid", &uuid),
                ("Index", "0"),
                ("Enabled", "1"),
                ("Connected", "1"),
                ("EmulatedType", "1"),
                ("SystemName", &machine.disk_name),
                ("UserFriendlyName", &machine.disk_name),
                ("Remote", "0"),
                ("InterfaceType", "2"),
                ("StackIndex", "0"),
                ("DiskType", "1"),
                ("Size", &size),
                ("SizeOnDisk", &on_disk),
                ("Passthrough", "0"),
                ("SubType", "0"),
                ("Splitted", "0"),
                ("DiskVersion", "2"),
                ("CompatLevel", "level2"),
            ],
        );
    });
}

fn network(xml: &mut Xml, machine: &Machine) {
    let mac = mac(machine);
    let host_mac = machine.mac(PARALLELS_MAC, "Parallels host");
    let lists = "NetAddress DnsIPAddress SearchDomain";
    xml.element("NetworkAdapter", &[("id", "0"), (LISTS, lists)], |xml| {
        leaves(
            xml,
            &[
                ("Index", "0"),
                ("Enabled", "1"),
                ("Connected", "1"),
                ("EmulatedType", "1"),
                ("SystemName", "eth0"),
                ("UserFriendlyName", "eth0"),
                ("Remote", "0"),
                ("AdapterNumber", "-1"),
                ("AdapterName", "Default Adapter"),
                ("MAC", &mac),
                ("HostMAC", &host_mac),
                ("Router", "0"),
                ("AdapterType", "3"),
            ],
        );
    });
}
