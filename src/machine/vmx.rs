//! `.vmx`: a machine for VMware Workstation, Fusion and Player. Lines of `key = "value"`.

use super::description::Machine;
use super::quote;

/// What never changes: virtual hardware 11 (2014, read by every VMware since), PCI bridges for hot-plugged devices, a
/// paravirtual SCSI adapter and network card, memory and processors that can be added while it runs.
const FIXED: [(&str, &str); 36] = [
    (".encoding", "UTF-8"),
    ("config.version", "8"),
    ("virtualHW.version", "11"),
    ("guestOS", "other26xlinux-64"),
    ("cleanShutdown", "TRUE"),
    ("powerType.powerOff", "soft"),
    ("powerType.powerOn", "hard"),
    ("powerType.reset", "hard"),
    ("powerType.suspend", "hard"),
    ("hpet0.present", "TRUE"),
    ("rtc.diffFromUTC", "0"),
    ("mem.hotadd", "TRUE"),
    ("vcpu.hotadd", "TRUE"),
    ("scsi0.present", "TRUE"),
    ("scsi0.virtualDev", "pvscsi"),
    ("scsi0:0.present", "TRUE"),
    ("ethernet0.present", "TRUE"),
    ("ethernet0.virtualDev", "vmxnet3"),
    ("ethernet0.addressType", "generated"),
    ("floppy0.present", "FALSE"),
    ("sound.present", "FALSE"),
    ("usb.present", "TRUE"),
    ("usb.generic.autoconnect", "FALSE"),
    ("pciBridge0.present", "TRUE"),
    ("pciBridge4.present", "TRUE"),
    ("pciBridge4.virtualDev", "pcieRootPort"),
    ("pciBridge4.functions", "8"),
    ("pciBridge5.present", "TRUE"),
    ("pciBridge5.virtualDev", "pcieRootPort"),
    ("pciBridge5.functions", "8"),
    ("pciBridge6.present", "TRUE"),
    ("pciBridge6.virtualDev", "pcieRootPort"),
    ("pciBridge6.functions", "8"),
    ("pciBridge7.present", "TRUE"),
    ("pciBridge7.virtualDev", "pcieRootPort"),
    ("pciBridge7.functions", "8"),
];

/// The text of the file.
pub(super) fn text(machine: &Machine) -> String {
    let own = [
        ("displayName", machine.vm_name.clone()),
        ("memsize", machine.memory_mib.to_string()),
        ("scsi0:0.fileName", machine.disk_name.clone()),
    ];
    let fixed = FIXED.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let lines = fixed
        .chain(own)
        .map(|(key, value)| format!("{key} = {}\n", quote::vmx(&value)));
    std::iter::once("#!/usr/bin/vmware\n".to_owned())
        .chain(lines)
        .collect()
}
