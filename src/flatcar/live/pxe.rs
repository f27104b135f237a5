//! Files for network boot, as Flatcar's `pxe` images: kernel, initrd, and GRUB for UEFI machines.
//!
//! ```text
//!   flatcar_production_pxe.vmlinuz         the ESP's flatcar/vmlinuz-a, as it is
//!   flatcar_production_pxe_image.cpio.gz   etc/, usr.squashfs, and OEM's files
//!   flatcar_production_pxe_grub.efi        the ESP's GRUB, as it is
//! ```
//!
//! The kernel has an initramfs built in, which finds `usr.squashfs` and mounts it; the initrd's files are unpacked over
//! it. Ignition runs where the kernel is told `flatcar.first_boot=1`; so a boot loader's entry reads
//!
//! ```text
//!   kernel flatcar_production_pxe.vmlinuz initrd=flatcar_production_pxe_image.cpio.gz flatcar.first_boot=1
//!   initrd flatcar_production_pxe_image.cpio.gz
//! ```
//!
//! The structure of all files is checked in tests; no machine was booted from them.

use std::fs::File;

use super::{BOOT, copy_out, first_of, kernel_path};
use crate::error::{Result, ResultExt};
use crate::flatcar::Disk;

/// The name of the initrd among Flatcar's files.
pub const INITRD_NAME: &str = "flatcar_production_pxe_image.cpio.gz";

/// Where the ESP has a GRUB for UEFI: a folder of its own in older releases, beside the shim in those with one.
const GRUB_PATHS: [&str; 6] = [
    "/flatcar/grub/x86_64-efi/core.efi",
    "/flatcar/grub/arm64-efi/core.efi",
    "/EFI/boot/grubx64.efi",
    "/EFI/boot/grubaa64.efi",
    "/EFI/boot/bootx64.efi",
    "/EFI/boot/bootaa64.efi",
];

/// Copies the kernel of the active USR partition into `out` and returns its length in bytes.
///
/// # Errors
///
/// [`crate::ErrorKind::NotFound`] where the ESP has none, the image's read errors and those of writing `out`.
pub fn write_kernel(disk: &Disk, out: &File) -> Result<u64> {
    let esp = disk.filesystem(BOOT)?;
    copy_out(&*esp, &kernel_path(disk)?, out, 0).at(|| disk.describe(BOOT))
}

/// Whether the ESP has a GRUB that [`write_grub`] can copy.
pub fn has_grub(disk: &Disk) -> Result<bool> {
    let esp = disk.filesystem(BOOT)?;
    Ok(first_of(&*esp, &GRUB_PATHS)
        .at(|| disk.describe(BOOT))?
        .is_some())
}

/// Copies GRUB for UEFI from the ESP into `out` and returns its length in bytes; `None` (and nothing written) where the
/// ESP has none.
///
/// It is the GRUB of the disk: it looks for an EFI system partition with the serial number of this image's and shows the
/// menu that is built into it. Flatcar offers it for network boot all the same; iPXE or pxelinux need no GRUB.
pub fn write_grub(disk: &Disk, out: &File) -> Result<Option<u64>> {
    let esp = disk.filesystem(BOOT)?;
    let copy = || match first_of(&*esp, &GRUB_PATHS)? {
        Some(path) => copy_out(&*esp, &path, out, 0).map(Some),
        None => Ok(None),
    };
    copy().at(|| disk.describe(BOOT))
}
