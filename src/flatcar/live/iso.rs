//! A CD image that starts Flatcar from memory, as Flatcar's `iso` image, and for UEFI machines besides.
//!
//! ```text
//!   /flatcar/vmlinuz, /flatcar/cpio.gz      kernel and initrd, as for network boot
//!   /isolinux/isolinux.bin, ldlinux.c32     where given: the loader for BIOSes
//!   /isolinux/isolinux.cfg                  includes /syslinux/syslinux.cfg, the menu; /syslinux/boot.msg
//!   FAT image: EFI/boot/*.efi               where asked for: shim and GRUB of the image's own ESP, for UEFI
//!              grub.cfg, flatcar/…          with the same kernel and initrd, stored once
//! ```
//!
//! **BIOS.** As in Flatcar's image, isolinux of the syslinux distribution starts the kernel. flatbake has no such program
//! with it: without `isolinux.bin` and `ldlinux.c32` the image has no entry for BIOSes.
//!
//! **UEFI.** Flatcar's own image has no entry for UEFI; this one is flatbake's. GRUB as it is on the ESP has its menu built
//! in, looks for a FAT volume with the serial number of the image's ESP, then for a partition named `OEM`, and runs the
//! `grub.cfg` there. So the FAT image has that serial number, and the CD image a GPT with one partition over it, named
//! `OEM`, whose `grub.cfg` starts the live system at once. All releases of one serial number are alike to GRUB: on a machine
//! with a disk installed from the same image, GRUB finds the disk first and starts that. Before 3913 GRUB ignores that
//! `grub.cfg` under Secure Boot, and the live system does not start.
//!
//! Tests check structure (other programs read the volume, the boot catalog, the GPT and the FAT image, and GRUB's own
//! drivers find the files); **no machine was booted from such an image**, neither by BIOS nor by UEFI.

use std::fs::File;
use std::path::PathBuf;

use super::initrd::{InitrdReport, LiveOptions, initrd, temporary};
use super::{BOOT, USR, oem_arguments, pxe};
use crate::block::{BlockDevice, FileDevice, Piece, Watched, Window};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::flatcar::Disk;
use crate::fs::fat::{self, FatFile, FatIdentity, FatLayout, FatVolume};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, read_file};
use crate::image::iso9660::{BiosBoot, EfiPartition, IsoContent, IsoFile, IsoLayout};
use crate::image::raw;
use crate::progress::Progress;

/// The volume identifier of Flatcar's image, which `mkisofs` gives where it is told none.
pub const VOLUME_ID: &str = "CDROM";
/// Flatcar's argument for a login without a password on the console.
const AUTOLOGIN: &str = "flatcar.autologin";
/// Makes Ignition run, for which a live system has no other sign.
const FIRST_BOOT: &str = "flatcar.first_boot=1";
/// OEM's files that only Ignition reads.
const IGNITION_FILES: [&str; 2] = ["/config.ign", "/base/base.ign"];
/// Longest line of kernel arguments (`COMMAND_LINE_SIZE` of x86).
const ARGUMENTS_MAX: usize = 2048;
/// Where isolinux lies.
const ISOLINUX: &str = "isolinux/isolinux.bin";
/// The ESP's programs for UEFI.
const EFI_FOLDER: &str = "/EFI/boot";
/// Largest of them; shim and GRUB have about 1 and 4 MiB.
const EFI_FILE_MAX: u64 = 16 << 20;
/// Most of them; there are three.
const EFI_FILES_MAX: usize = 16;

/// Programs of the syslinux distribution (x86 only).
#[derive(Debug, Clone)]
pub struct Isolinux {
    /// `isolinux.bin`.
    pub isolinux_bin: Vec<u8>,
    /// `ldlinux.c32` of the same version.
    pub ldlinux_c32: Vec<u8>,
    /// `isohdpfx.bin`, which starts the image from a USB stick.
    pub isohdpfx_bin: Option<Vec<u8>>,
}

/// How to make the image.
#[derive(Debug, Clone)]
pub struct IsoOptions {
    /// How to make the initrd.
    pub live: LiveOptions,
    /// The kernel's arguments; `flatcar.autologin` otherwise, as Flatcar has it, and `flatcar.first_boot=1` where OEM has
    /// configurations for Ignition, with those that OEM's `grub.cfg` sets.
    pub kernel_arguments: Option<String>,
    /// For BIOSes.
    pub isolinux: Option<Isolinux>,
    /// Whether UEFI machines can start it, with the image's own GRUB.
    pub uefi: bool,
    /// The volume identifier: 1 to 32 capital letters, digits and underscores.
    pub volume_id: String,
    /// Whether names are there for Joliet, too.
    pub joliet: bool,
}

impl IsoOptions {
    /// The usual options: UEFI, Joliet, Flatcar's volume identifier.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        Self {
            live: LiveOptions::new(temp_dir),
            kernel_arguments: None,
            isolinux: None,
            uefi: true,
            volume_id: VOLUME_ID.to_owned(),
            joliet: true,
        }
    }
}

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsoReport {
    /// Its initrd.
    pub initrd: InitrdReport,
    /// Its length in bytes.
    pub image_bytes: u64,
    /// The kernel's arguments in its menus.
    pub kernel_arguments: String,
}

/// Writes a CD image of `disk` into `out`, an empty file.
///
/// # Errors
///
/// Those of [`write_initrd`](super::write_initrd); [`crate::ErrorKind::NotFound`] where the ESP has no kernel or, for UEFI, no programs;
/// [`crate::ErrorKind::InvalidInput`] for options that make no sense, such as isolinux for arm64.
pub fn write_iso(
    disk: &Disk,
    out: &File,
    options: &IsoOptions,
    progress: &dyn Progress,
) -> Result<IsoReport> {
    check(disk, options)?;
    let folder = &options.live.temp_dir;
    let kernel = temporary(folder)?;
    pxe::write_kernel(disk, &kernel)?;
    let kernel = FileDevice::from_file(kernel, &folder.join("vmlinuz"))?;
    let made = initrd(disk, || temporary(folder), &options.live, progress)?;
    let initrd = &made.report;
    let cpio = &made.device;
    let arguments = arguments(options, initrd, oem_arguments(disk)?)?;
    let efi = if options.uefi {
        Some(efi_volume(disk, &kernel, cpio, &arguments, initrd)?)
    } else {
        None
    };

    let mut files = menus(options, &arguments);
    let places = efi
        .as_ref()
        .map(|efi| efi.files.as_slice())
        .unwrap_or_default();
    for (number, (path, device)) in [("flatcar/vmlinuz", &kernel), ("flatcar/cpio.gz", cpio)]
        .into_iter()
        .enumerate()
    {
        let content = match places.get(number) {
            Some(&(start, len)) => IsoContent::Efi { start, len },
            None => IsoContent::Stored(Piece::whole(device)),
        };
        files.push(IsoFile {
            path: path.to_owned(),
            content,
        });
    }
    let stick = |isolinux: &Isolinux| BiosBoot {
        isolinux: ISOLINUX.to_owned(),
        stick: isolinux.isohdpfx_bin.clone(),
    };
    let layout = IsoLayout {
        volume_id: options.volume_id.clone(),
        time: initrd.time,
        joliet: options.joliet,
        files,
        bios: options.isolinux.as_ref().map(stick),
        efi: efi.as_ref().map(|efi| EfiPartition {
            image: &efi.image,
            name: "OEM".to_owned(),
        }),
    };
    let image = layout.finish()?;
    raw::write(&Watched::new(&image, &options.live.cancel), out, progress)?;
    Ok(IsoReport {
        image_bytes: image.size(),
        initrd: initrd.clone(),
        kernel_arguments: arguments,
    })
}

fn check(disk: &Disk, options: &IsoOptions) -> Result<()> {
    if options.isolinux.is_none() && !options.uefi {
        return Err(
            Error::invalid("neither BIOS nor UEFI would start the CD image")
                .with_hint("give isolinux.bin and ldlinux.c32, or ask for UEFI"),
        );
    }
    let release = disk.os_release()?;
    let architecture = release.as_ref().and_then(|release| release.architecture());
    if options.isolinux.is_some() && architecture == Some("arm64") {
        return Err(
            Error::invalid("isolinux is for x86, the image for arm64").at(disk.describe(USR))
        );
    }
    Ok(())
}

/// The kernel's arguments, checked: they go into two kinds of menus.
fn arguments(options: &IsoOptions, initrd: &InitrdReport, of_oem: Vec<String>) -> Result<String> {
    let ignition = initrd
        .oem_files
        .iter()
        .any(|path| IGNITION_FILES.contains(&path.as_str()));
    let text = match (&options.kernel_arguments, ignition) {
        (Some(text), _) => text.clone(),
        (None, is_configured) => {
            let mut all = vec![AUTOLOGIN.to_owned()];
            all.extend(is_configured.then(|| FIRST_BOOT.to_owned()));
            all.extend(
                of_oem
                    .into_iter()
                    .filter(|argument| argument != AUTOLOGIN && argument != FIRST_BOOT),
            );
            all.join(" ")
        }
    };
    if text.len() > ARGUMENTS_MAX || text.chars().any(|c| c.is_control() || c == '\'') {
        return Err(Error::invalid(format!(
            "the kernel arguments must be one line of at most {ARGUMENTS_MAX} bytes without single quotes"
        )));
    }
    Ok(text)
}

/// isolinux and its menu, where Flatcar's image has them.
fn menus(options: &IsoOptions, arguments: &str) -> Vec<IsoFile<'static>> {
    let Some(isolinux) = &options.isolinux else {
        return Vec::new();
    };
    let menu = format!(
        "default flatcar\nprompt 1\ntimeout 15\ndisplay /syslinux/boot.msg\n\nlabel flatcar\n  menu default\n  \
         kernel /flatcar/vmlinuz\n  append initrd=/flatcar/cpio.gz {arguments}\n"
    );
    let message = "Flatcar Container Linux, running from memory.\r\nEnter starts it; arguments for the kernel can be \
                   added behind the word flatcar.\r\n";
    let file = |path: &str, bytes: Vec<u8>| IsoFile {
        path: path.to_owned(),
        content: IsoContent::Stored(Piece::Bytes(bytes)),
    };
    vec![
        file(ISOLINUX, isolinux.isolinux_bin.clone()),
        file("isolinux/ldlinux.c32", isolinux.ldlinux_c32.clone()),
        file(
            "isolinux/isolinux.cfg",
            b"INCLUDE /syslinux/syslinux.cfg\n".to_vec(),
        ),
        file("syslinux/syslinux.cfg", menu.into_bytes()),
        file("syslinux/boot.msg", message.into()),
    ]
}

/// The FAT image for UEFI: kernel, initrd, menu, and the ESP's programs.
fn efi_volume<'a>(
    disk: &Disk,
    kernel: &'a FileDevice,
    cpio: &'a FileDevice,
    arguments: &str,
    initrd: &InitrdReport,
) -> Result<FatVolume<'a>> {
    let file = |path: &str, content| FatFile {
        path: path.to_owned(),
        content,
    };
    let mut files = vec![
        file("flatcar/vmlinuz", Piece::whole(kernel)),
        file("flatcar/cpio.gz", Piece::whole(cpio)),
        file("grub.cfg", Piece::Bytes(grub_menu(arguments).into_bytes())),
    ];
    let esp = disk.filesystem(BOOT)?;
    for (name, bytes) in programs(&*esp).at(|| disk.describe(BOOT))? {
        files.push(file(&format!("EFI/boot/{name}"), Piece::Bytes(bytes)));
    }
    let identity = FatIdentity {
        label: "OEM",
        serial: esp_serial(disk)?,
        time: initrd.time,
    };
    fat::build(&identity, &FatLayout::CD, files)
}

/// What GRUB runs in the place of OEM's grub.cfg; it does not come back from it.
fn grub_menu(arguments: &str) -> String {
    let words: Vec<String> = arguments
        .split_whitespace()
        .map(|word| format!("'{word}'"))
        .collect();
    format!(
        "# Starts the live system; GRUB's own menu is for disks.\n\
         linux ($oem)/flatcar/vmlinuz {}\ninitrd ($oem)/flatcar/cpio.gz\nboot\n",
        words.join(" ")
    )
}

/// The programs in the folder that firmware looks into.
fn programs(esp: &dyn FileSystem) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = FsPath::new(EFI_FOLDER)?;
    let mut programs = Vec::new();
    for entry in esp.entries_at(&folder)? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if entry.file_type != FileType::File || !name.to_ascii_lowercase().ends_with(".efi") {
            continue;
        }
        if programs.len() == EFI_FILES_MAX {
            return Err(Error::unsupported(format!(
                "more than {EFI_FILES_MAX} programs in {folder}"
            ))
            .because(Reason::Limit));
        }
        programs.push((
            name,
            read_file(esp, &folder.join(&entry.name)?, EFI_FILE_MAX)?,
        ));
    }
    if programs.is_empty() {
        return Err(Error::not_found(format!("no program for UEFI in {folder}")));
    }
    Ok(programs)
}

/// The serial number that GRUB looks for.
fn esp_serial(disk: &Disk) -> Result<u32> {
    let read = || {
        let partition = disk.partition(BOOT)?;
        let mut sector = [0; 512];
        Window::of_image(disk.device(), partition.offset(), partition.size())?
            .read_at(0, &mut sector)?;
        fat::serial(&sector)
    };
    read().at(|| disk.describe(BOOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grubs_words_are_quoted() {
        let menu = grub_menu("flatcar.autologin a=$b;c");
        assert!(
            menu.contains("vmlinuz 'flatcar.autologin' 'a=$b;c'\n"),
            "{menu}"
        );
    }
}
