//! Config files, by format.

use super::conf_file::{ConfFile, Place};
use super::description::{Arch, Machine};
use super::format::ConfFormat;
use super::quote::typed;
use super::{ovf, pvs, qemu, vagrant, vmx, xl};
use crate::error::{Error, Reason, Result};

/// The config files that `format` asks for, README included.
///
/// What depends on the finished bundle is made later: the manifest of an OVA by [`super::write_bundle`], the catalog of
/// a Vagrant box by [`super::vagrant_catalog`].
///
/// # Errors
///
/// [`crate::ErrorKind::InvalidInput`] where [`Machine::check`] finds something;
/// [`crate::ErrorKind::Unsupported`] for a format that knows no arm64 machines.
pub fn conf_files(format: ConfFormat, machine: &Machine) -> Result<Vec<ConfFile>> {
    machine.check()?;
    check_arch(format, machine.arch)?;
    let named = |extension: &str| format!("{}.{extension}", machine.stem);
    Ok(match format {
        ConfFormat::Vmx => vec![ConfFile::beside(named("vmx"), vmx::text(machine))],
        ConfFormat::OvfVmware => {
            vec![ConfFile {
                place: Place::Both,
                ..ConfFile::beside(named("ovf"), ovf::vmware(machine))
            }]
        }
        ConfFormat::OvfVirtualbox => vec![
            ConfFile::beside(named("ovf"), ovf::virtualbox(machine)),
            ConfFile::beside(named("README"), virtualbox_readme(machine, &named("ovf"))),
        ],
        ConfFormat::Vagrant | ConfFormat::VagrantParallels | ConfFormat::VagrantVmwareFusion => {
            vagrant::files(format, machine)?
        }
        ConfFormat::Pvs => vec![ConfFile::inside("config.pvs", pvs::text(machine, false))],
        ConfFormat::Xl => xl::files(machine),
        ConfFormat::Qemu
        | ConfFormat::QemuUefi
        | ConfFormat::QemuUefiSecure
        | ConfFormat::Pxe
        | ConfFormat::Iso => qemu::files(format, machine),
        ConfFormat::Gce => Vec::new(),
    })
}

fn virtualbox_readme(machine: &Machine, ovf: &str) -> String {
    let disk = typed(&machine.disk_name);
    let ovf = typed(ovf);
    format!(
        "Put {disk} and {ovf} into one folder on the host, then:\n\n  VBoxManage import {ovf}\n"
    )
}

fn check_arch(format: ConfFormat, arch: Arch) -> Result<()> {
    use ConfFormat::{Gce, Pxe, QemuUefi, QemuUefiSecure};
    match (format, arch) {
        (QemuUefi | QemuUefiSecure | Pxe | Gce, _) | (_, Arch::Amd64) => Ok(()),
        _ => Err(Error::unsupported(format!(
            "config files of the format {format} for {arch}: only amd64 has them"
        ))
        .because(Reason::Version)
        .with_hint("choose qemu_uefi, which serves both architectures")),
    }
}
