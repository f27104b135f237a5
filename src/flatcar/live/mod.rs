//! Flatcar that runs from memory: files for network boot ([`pxe`]) and a CD image ([`iso`]), made from a disk image.
//!
//! ```text
//!   disk.bin  USR  ──▶ usr.squashfs ─┐
//!             OEM  ──▶ oem/…         ├─▶ initrd (cpio, gzip) ──▶ *_pxe_image.cpio.gz      ──▶ flatcar/cpio.gz ─┐
//!             ESP  ──▶ vmlinuz-a ────┼──────────────────────────▶ *_pxe.vmlinuz           ──▶ flatcar/vmlinuz ─┼─▶ *.iso
//!                  ──▶ grub*.efi ────┴──────────────────────────▶ *_pxe_grub.efi                               │
//!                                                       isolinux.bin, EFI binaries, menus (options) ───────────┘
//! ```
//!
//! Such a system has no disk of its own: what lies on the image's ROOT partition is not part of it (a finding says so),
//! and nor is OEM's `grub.cfg`, as no GRUB of the disk runs, nor its sysexts, as nothing of OEM outlives the initrd.

mod initrd;
pub mod iso;
mod memo;
mod oem;
pub mod pxe;

pub use initrd::{InitrdReport, LiveCache, LiveOptions, write_initrd};

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::disk::Disk;
use super::grub;
use super::layout::{Designator, PartitionRef};
use crate::bytes::to_usize;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::Finding;
use crate::fs::{ByPath, FileRead, FileSystem, FsPath, exists, read_file};

const BOOT: PartitionRef = PartitionRef::Designator(Designator::Boot);
const USR: PartitionRef = PartitionRef::Designator(Designator::Usr);
const OEM: PartitionRef = PartitionRef::Designator(Designator::Oem);
const ROOT: PartitionRef = PartitionRef::Designator(Designator::Root);

/// GRUB's configuration on OEM, and the most of it that is read.
const GRUB_CFG: &str = "/grub.cfg";
const GRUB_CFG_MAX: u64 = 1 << 20;

/// Bytes that are copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// The partition of USR that GRUB starts with `vmlinuz-b`; the other one has `vmlinuz-a`.
const USR_B: &str = "USR-B";

/// What someone should know who makes a live system of `disk`, before anything is written.
///
/// # Errors
/// What would stop it: the ESP has no kernel of the active USR partition, or a partition cannot be read.
pub fn check(disk: &Disk) -> Result<Vec<Finding>> {
    disk.filesystem(USR)?;
    let esp = disk.filesystem(BOOT)?;
    esp.metadata_at(&kernel_path(disk)?)
        .at(|| disk.describe(BOOT))?;
    Ok(initrd::left_out_of_root(disk)?.into_iter().collect())
}

/// The kernel arguments that OEM's `grub.cfg` sets in any case: where no GRUB runs, they must be given in other ways.
///
/// # Errors
/// An argument that not all of these ways can take; the image's read errors.
pub fn oem_arguments(disk: &Disk) -> Result<Vec<String>> {
    let read = || -> Result<Vec<String>> {
        let oem = disk.filesystem(OEM)?;
        let text = read_file(&*oem, &FsPath::new(GRUB_CFG)?, GRUB_CFG_MAX)?;
        let text = String::from_utf8_lossy(&text);
        let mut arguments = grub::certain_consoles(&text);
        arguments.extend(grub::certain_kernel_args(&text));
        Ok(arguments)
    };
    let arguments = match read() {
        Err(error)
            if error.kind() == ErrorKind::NotFound
                || error.reason() == Some(Reason::Unformatted) =>
        {
            return Ok(Vec::new());
        }
        read => read?,
    };
    match arguments
        .iter()
        .find(|argument| argument.contains(|c: char| c.is_control() || c == '\''))
    {
        None => Ok(arguments),
        Some(argument) => {
            let shown = argument.escape_debug();
            Err(Error::invalid(format!(
                "the kernel argument '{shown}' cannot stand in the menus of a live system"
            ))
            .with_hint("leave single quotes out of kernel arguments")
            .at(disk.describe(OEM)))
        }
    }
}

/// Where the ESP has the kernel of the active USR partition.
fn kernel_path(disk: &Disk) -> Result<FsPath> {
    let is_b = disk.partition(USR)?.name.to_string() == USR_B;
    FsPath::new(if is_b {
        "/flatcar/vmlinuz-b"
    } else {
        "/flatcar/vmlinuz-a"
    })
}

/// The first of some files that a filesystem has.
fn first_of(fs: &dyn FileSystem, paths: &[&str]) -> Result<Option<FsPath>> {
    for path in paths {
        let path = FsPath::new(path)?;
        if exists(fs, &path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Copies a file of the image to `offset` of a file of the host and returns how many bytes it has.
fn copy_out(fs: &dyn FileSystem, path: &FsPath, out: &File, offset: u64) -> Result<u64> {
    let file = fs.open_at(path)?;
    copy_content(&*file, out, offset).at(|| path.to_string())?;
    Ok(file.size())
}

fn copy_content(file: &dyn FileRead, out: &File, offset: u64) -> Result<()> {
    let mut buffer = vec![0; to_usize(CHUNK_BYTES.min(file.size()))?];
    let mut done = 0;
    while done < file.size() {
        let len = CHUNK_BYTES.min(file.size() - done);
        let piece = &mut buffer[..to_usize(len)?];
        file.read_at(done, piece)?;
        out.write_all_at(piece, offset + done)
            .map_err(|error| Error::io(format!("writing {len} bytes of a copy of it"), error))?;
        done += len;
    }
    Ok(())
}
