//! Config files for Xen's `xl` (xl.cfg(5), xl-disk-configuration(5)): two ways to find the kernel of a paravirtual
//! machine, and a README.

use super::conf_file::ConfFile;
use super::description::Machine;
use super::quote::{typed, xl};

/// The boot loader that runs in the host and looks into the disk.
const PYGRUB: &str = "bootloader = \"pygrub\"\n";

/// The boot loader that runs in the machine, and where it finds its menu on the disk.
const PVGRUB: &str =
    "kernel = \"/usr/lib/xen/boot/pv-grub-x86_64.gz\"\nextra = \"(hd0,0)/boot/grub/menu.lst\"\n";

/// The two config files and the README.
pub(super) fn files(machine: &Machine) -> Vec<ConfFile> {
    let pygrub = format!("{}_pygrub.cfg", machine.stem);
    let pvgrub = format!("{}_pvgrub.cfg", machine.stem);
    let readme = readme(machine, &pygrub, &pvgrub);
    vec![
        ConfFile::beside(pygrub, config("pygrub", PYGRUB, machine)),
        ConfFile::beside(pvgrub, config("pvgrub", PVGRUB, machine)),
        ConfFile::beside(format!("{}.README", machine.stem), readme),
    ]
}

fn config(loader: &str, boot: &str, machine: &Machine) -> String {
    // The target comes last: commas in it are part of it.
    let disk = format!(
        "format=raw, vdev=xvda, access=rw, target={}",
        machine.disk_name
    );
    let Machine {
        memory_mib, cpus, ..
    } = machine;
    format!(
        "# A paravirtual Xen machine, started by {loader}.
type = \"pv\"
{boot}
name = {}
memory = {memory_mib}
vcpus = {cpus}
# Add networks here: vif = [ \"bridge=xenbr0\" ]
vif = [ ]
disk = [ {} ]
",
        xl(&machine.vm_name),
        xl(&disk)
    )
}

fn readme(machine: &Machine, pygrub: &str, pvgrub: &str) -> String {
    let pygrub = typed(pygrub);
    let pvgrub = typed(pvgrub);
    let name = typed(&machine.vm_name);
    format!(
        "On a Xen host, in the folder of these files, start the machine with one of its two boot loaders:

  xl create -c {pygrub}
  xl create -c {pvgrub}

Ctrl-] leaves the console. To come back to it, and to end the machine:

  xl console {name}
  xl destroy {name}
"
    )
}
