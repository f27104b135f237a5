//! The virtual machine that an image is for: what config files tell about it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bytes::{Guid, to_u64};
use crate::error::{Error, Result};
use crate::image::Identity;

/// Memory and processors of config files where nothing else is asked for.
const MEMORY_MIB: u32 = 1024;
const CPUS: u32 = 2;

/// The longest file name: Linux' and other systems' own.
const MAX_FILE_NAME: usize = 255;

/// The longest name of a machine, that of VMware.
const MAX_VM_NAME: usize = 80;

/// The longest version or group.
const MAX_WORD: usize = 200;

/// VMware, VirtualBox and QEMU know no larger machines than this (24 TiB) ...
const MAX_MEMORY_MIB: u32 = 24 << 20;

/// ... nor ones with more processors.
const MAX_CPUS: u32 = 4096;

/// VirtualBox' prefix of MAC addresses, and that of Parallels.
pub(super) const VIRTUALBOX_MAC: &str = "080027";
pub(super) const PARALLELS_MAC: &str = "001C42";

/// The architecture of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

/// `amd64` or `arm64`.
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

impl FromStr for Arch {
    type Err = Error;

    /// `amd64`, `arm64`, a board such as `amd64-usr`, or systemd's `x86-64`.
    fn from_str(text: &str) -> Result<Self> {
        match text.strip_suffix("-usr").unwrap_or(text) {
            "amd64" | "x86-64" => Ok(Self::Amd64),
            "arm64" => Ok(Self::Arm64),
            _ => Err(
                Error::invalid(format!("'{text}' is not an architecture of Flatcar"))
                    .with_hint("write amd64 or arm64"),
            ),
        }
    }
}

/// The files that hold the UEFI firmware of a QEMU machine, beside the start script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware {
    /// The code, which is not changed.
    pub code: String,
    /// The variables, which the machine writes.
    pub vars: String,
}

/// What VirtualBox' machines are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VirtualBoxHardware {
    /// UEFI, and a disk behind VirtIO SCSI: Flatcar's since 4722.
    #[default]
    Uefi,
    /// BIOS, one processor, and a disk behind IDE: Flatcar's before that.
    Bios,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What the names of its files begin with: `flatcar_production_vmware_ova`.
    pub stem: String,
    /// The file (or folder) that holds its disk: `flatcar_production_vmware_ova_image.vmdk`.
    pub disk_name: String,
    /// Its name for people and, where there is one, the host name: see [`vm_name`](Self::vm_name).
    pub vm_name: String,
    /// The version of Flatcar: `4593.2.5`.
    pub version: String,
    /// The channel: `stable`.
    pub group: String,
    /// The architecture.
    pub arch: Arch,
    /// Size of the disk that the machine sees, in bytes.
    pub disk_bytes: u64,
    /// Length of the file that holds it, in bytes, where it is known.
    pub disk_file_bytes: Option<u64>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of processors.
    pub cpus: u32,
    /// What UUIDs and MAC addresses are made from besides names, version and size of the disk, and the time told.
    pub identity: Identity,
    /// Firmware files; `STEM_efi_code.qcow2` and `STEM_efi_vars.qcow2` where nothing else is said.
    pub firmware: Option<Firmware>,
    /// Arguments for a kernel that is started without a boot loader of its own: by [`crate::machine::ConfFormat::Pxe`].
    pub kernel_arguments: Vec<String>,
    /// What VirtualBox' machines are made of.
    pub virtualbox: VirtualBoxHardware,
    /// A CD image that only UEFI can start: for [`crate::machine::ConfFormat::Iso`].
    pub needs_uefi: bool,
}

/// The disk that a machine starts from, and the release on it.
#[derive(Debug, Clone, Copy)]
pub struct MachineDisk<'a> {
    /// The name of its file.
    pub name: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// The version of the release.
    pub version: &'a str,
    /// The update group.
    pub group: &'a str,
    /// The architecture.
    pub arch: Arch,
}

impl Machine {
    /// A machine with Flatcar's usual name, memory (1 GiB) and processors (2).
    pub fn new(stem: &str, disk: &MachineDisk<'_>) -> Self {
        Self {
            stem: stem.to_owned(),
            disk_name: disk.name.to_owned(),
            vm_name: Self::vm_name(stem, disk.version),
            version: disk.version.to_owned(),
            group: disk.group.to_owned(),
            arch: disk.arch,
            disk_bytes: disk.bytes,
            disk_file_bytes: None,
            memory_mib: MEMORY_MIB,
            cpus: CPUS,
            identity: Identity::default(),
            firmware: None,
            kernel_arguments: Vec::new(),
            virtualbox: VirtualBoxHardware::default(),
            needs_uefi: false,
        }
    }

    /// The name Flatcar gives to a machine: stem and version, with a dash for every dot and plus sign.
    pub fn vm_name(stem: &str, version: &str) -> String {
        format!("{stem}-{version}").replace(['.', '+'], "-")
    }

    /// Checks names and sizes.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] that names what is wrong.
    pub fn check(&self) -> Result<()> {
        check_file_name("the beginning of file names", &self.stem)?;
        check_file_name("the file name of the disk", &self.disk_name)?;
        for name in self
            .firmware
            .iter()
            .flat_map(|firmware| [&firmware.code, &firmware.vars])
        {
            check_file_name("the file name of the firmware", name)?;
        }
        check_text("the name of the machine", &self.vm_name, MAX_VM_NAME)?;
        check_text("the version", &self.version, MAX_WORD)?;
        check_text("the channel", &self.group, MAX_WORD)?;
        check_number("the memory in MiB", self.memory_mib, MAX_MEMORY_MIB)?;
        check_number("the number of processors", self.cpus, MAX_CPUS)?;
        if self.disk_bytes == 0 || !self.disk_bytes.is_multiple_of(512) {
            return Err(Error::invalid(format!(
                "a disk of {} bytes: it must have whole sectors of 512 bytes",
                self.disk_bytes
            )));
        }
        Ok(())
    }

    /// The firmware files.
    pub(super) fn firmware(&self) -> Firmware {
        self.firmware.clone().unwrap_or_else(|| Firmware {
            code: format!("{}_efi_code.qcow2", self.stem),
            vars: format!("{}_efi_vars.qcow2", self.stem),
        })
    }

    /// 16 bytes for `purpose` of this machine.
    fn digest(&self, purpose: &str) -> [u8; 16] {
        let mut hasher = Sha256::new();
        let words = [
            &self.identity.seed,
            &self.stem,
            &self.disk_name,
            &self.vm_name,
            &self.version,
            &self.group,
        ];
        for part in ["flatbake machine", purpose]
            .into_iter()
            .chain(words.map(String::as_str))
        {
            hasher.update(to_u64(part.len()).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(self.disk_bytes.to_le_bytes());
        let digest = hasher.finalize();
        std::array::from_fn(|index| digest[index])
    }

    /// A UUID for `purpose`, marked as a random one (version 4 of RFC 9562).
    pub(super) fn uuid(&self, purpose: &str) -> Guid {
        let mut bytes = self.digest(purpose);
        bytes[7] = bytes[7] & 0x0f | 0x40; // the version is in the high byte of a little-endian field
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid::from_disk(bytes)
    }

    /// A MAC address for `purpose`: six upper-case digits behind `prefix`.
    pub(super) fn mac(&self, prefix: &str, purpose: &str) -> String {
        let [a, b, c, ..] = self.digest(purpose);
        format!("{prefix}{a:02X}{b:02X}{c:02X}")
    }
}

/// Accepts only file names that mean the same to every tool and system a bundle is unpacked with.
pub(super) fn check_file_name(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@');
    if name.is_empty()
        || name.len() > MAX_FILE_NAME
        || name.starts_with(['-', '.'])
        || !name.chars().all(plain)
    {
        return Err(Error::invalid(format!("'{}' cannot be {what}", name.escape_debug())).with_hint(format!(
            "use up to {MAX_FILE_NAME} letters (a to z), digits and any of . _ - + @, not a dot or a dash first"
        )));
    }
    Ok(())
}

fn check_text(what: &str, text: &str, most: usize) -> Result<()> {
    let strange = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.trim().is_empty() || text.chars().count() > most || text.contains(strange) {
        return Err(
            Error::invalid(format!("'{}' cannot be {what}", text.escape_debug())).with_hint(
                format!("use 1 to {most} characters, none of them a control character"),
            ),
        );
    }
    Ok(())
}

fn check_number(what: &str, value: u32, most: u32) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{what} is {value}: must be 1 to {most}"
    )))
}
