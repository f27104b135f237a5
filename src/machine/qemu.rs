//! Start scripts for QEMU: values of the machine, then a text that is the same in all of them, and a README.

use super::conf_file::ConfFile;
use super::description::{Arch, Machine};
use super::format::ConfFormat;
use super::quote::{shell, typed};

/// Everything behind the values.
const SCRIPT: &str = include_str!("templates/qemu.sh");

/// The script and its README.
pub(super) fn files(format: ConfFormat, machine: &Machine) -> Vec<ConfFile> {
    let name = format!("{}.sh", machine.stem);
    let readme = readme(format, machine, &name);
    let script = ConfFile {
        mode: 0o755,
        ..ConfFile::beside(name, script(format, machine))
    };
    vec![
        script,
        ConfFile::beside(format!("{}.README", machine.stem), readme),
    ]
}

/// The file of a format's kernel.
fn kernel(machine: &Machine) -> String {
    format!("{}.vmlinuz", machine.stem)
}

/// The name of the script for iPXE.
pub const IPXE_FILE: &str = "flatcar_production_packet.ipxe";

/// A script for iPXE that starts the files for network boot, which lie beside it, on a machine of Equinix Metal.
pub fn ipxe(machine: &Machine) -> ConfFile {
    let console = match machine.arch {
        Arch::Amd64 => "console=tty0 console=ttyS1,115200n8",
        Arch::Arm64 => "console=ttyAMA0,115200",
    };
    let kernel = kernel(machine);
    let initrd = &machine.disk_name;
    let fixed = format!("initrd={initrd} flatcar.first_boot=1 flatcar.oem.id=packet {console}");
    let arguments = [&[fixed], &machine.kernel_arguments[..]].concat().join(" ");
    let text = format!("#!ipxe\nkernel {kernel} {arguments}\ninitrd {initrd}\nboot\n");
    ConfFile::beside(IPXE_FILE.to_owned(), text)
}

fn script(format: ConfFormat, machine: &Machine) -> String {
    let firmware = machine.firmware();
    let only = |wanted: bool, name: &str| {
        if wanted {
            name.to_owned()
        } else {
            String::new()
        }
    };
    let pxe = format == ConfFormat::Pxe;
    let iso = format == ConfFormat::Iso;
    let uefi = matches!(format, ConfFormat::QemuUefi | ConfFormat::QemuUefiSecure)
        || (iso && machine.needs_uefi);
    let values = [
        ("VM_BOARD", format!("{}-usr", machine.arch)),
        ("VM_NAME", machine.vm_name.clone()),
        ("VM_MEMORY", machine.memory_mib.to_string()),
        ("VM_IMAGE", only(!pxe && !iso, &machine.disk_name)),
        ("VM_KERNEL", only(pxe, &kernel(machine))),
        ("VM_INITRD", only(pxe, &machine.disk_name)),
        ("VM_APPEND", only(pxe, &machine.kernel_arguments.join(" "))),
        ("VM_CDROM", only(iso, &machine.disk_name)),
        ("VM_PFLASH_RO", only(uefi, &firmware.code)),
        ("VM_PFLASH_RW", only(uefi, &firmware.vars)),
        (
            "SECURE_BOOT",
            u8::from(format == ConfFormat::QemuUefiSecure).to_string(),
        ),
    ];
    let values: String = values
        .iter()
        .map(|(name, value)| format!("{name}={}\n", shell(value)))
        .collect();
    format!(
        "#!/bin/sh\n# Starts a Flatcar machine with QEMU: run it with -h to see how. These are the machine's values.\n{values}\n{SCRIPT}"
    )
}

fn readme(format: ConfFormat, machine: &Machine, script: &str) -> String {
    let script = typed(script);
    let mut text = format!(
        "Start the machine in this terminal, with your SSH keys allowed in:

  ./{script} -nographic

Ctrl-a x ends it, Ctrl-a c leads to QEMU's monitor and back. Log in from elsewhere:

  ssh -p 2222 core@127.0.0.1

Configure its first boot with Ignition, take another SSH port or other keys:

  ./{script} -i config.ign -p 2223 -a keys.pub -- -nographic
"
    );
    match format {
        ConfFormat::QemuUefi | ConfFormat::QemuUefiSecure => {
            let firmware = machine.firmware();
            text.push_str(&format!(
                "\nThe firmware is read from {}, its variables are kept in {}.\n",
                typed(&firmware.code),
                typed(&firmware.vars)
            ));
        }
        ConfFormat::Pxe => text.push_str(&format!(
            "\nThe kernel is {}, the whole system is in {}. Hand parameters to it with -append, at the end:

  ./{script} -nographic -append 'console=ttyS0,115200n8 flatcar.first_boot=1'
",
            typed(&kernel(machine)),
            typed(&machine.disk_name)
        )),
        ConfFormat::Iso => {
            text.push_str("\nThe machine has no disk: whatever it writes is gone when it ends.\n");
            if machine.needs_uefi {
                text.push_str(
                    "Only UEFI starts this CD image; the script takes the firmware of this computer, or what -R and -W name.\n",
                );
            }
        }
        _ => {}
    }
    text
}
