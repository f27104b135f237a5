//! What tells results apart: identifiers, and the machines that config files describe.

use super::{Key, Prepared};
use crate::error::Result;
use crate::flatcar::vendor::Settings;
use crate::flatcar::{Disk, OsRelease, live};
use crate::image::Identity;
use crate::machine::{Arch, Machine, MachineDisk, VirtualBoxHardware};

/// What config files call a release or channel that is not known.
const UNKNOWN: &str = "unknown";

/// The first release whose machines for VirtualBox start by UEFI.
const UEFI_IN_VIRTUALBOX: u64 = 4722;

impl Prepared {
    /// What identifiers of a result are made from.
    pub(in crate::bake) fn identity(&self, key: &Key) -> Identity {
        let variant = key
            .variant
            .as_ref()
            .map(|name| format!("/{name}"))
            .unwrap_or_default();
        Identity {
            seed: format!("{}{variant}", self.request.seed),
            time: self.timestamp.secs,
        }
    }

    /// What config files say of the machine of a vendor's result.
    pub(in crate::bake) fn machine(
        &self,
        settings: &Settings,
        key: &Key,
        disk: &Disk,
    ) -> Result<Machine> {
        let release = self.base.release.as_ref();
        let version = release
            .and_then(|release| release.version())
            .unwrap_or(UNKNOWN);
        let channel = release.and_then(|release| release.channel());
        let group = channel.map_or(UNKNOWN.to_owned(), |channel| channel.to_string());
        let arch = release
            .and_then(|release| release.architecture())
            .unwrap_or("x86-64")
            .parse()?;
        let disk_bytes = disk.device().size();
        let is_old = release
            .and_then(OsRelease::major)
            .is_some_and(|major| major < UEFI_IN_VIRTUALBOX);
        let is_live = settings.disk_format.output().is_none();
        Ok(Machine {
            memory_mib: settings.memory_mib,
            identity: self.identity(key),
            kernel_arguments: if is_live {
                live::oem_arguments(disk)?
            } else {
                Vec::new()
            },
            virtualbox: if is_old {
                VirtualBoxHardware::Bios
            } else {
                VirtualBoxHardware::Uefi
            },
            needs_uefi: self.isolinux.is_none() || arch == Arch::Arm64,
            ..Machine::new(
                &settings.stem(),
                &MachineDisk {
                    name: &settings.disk_file_name(),
                    bytes: disk_bytes,
                    version,
                    group: &group,
                    arch,
                },
            )
        })
    }
}
