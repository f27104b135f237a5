//! The boot sector: is it FAT at all, and where two flags of it lie.
//!
//! Field names and offsets are those of Microsoft's "FAT32 File System Specification" (1.03); the state byte is
//! `fat_boot_sector.state` of Linux (`include/uapi/linux/msdos_fs.h`).

use crate::bytes::Fields;
use crate::error::{Error, Result};

/// Bytes of the boot sector that are looked at.
pub(super) const BOOT_SECTOR: usize = 512;
/// Bit of the state byte that Linux sets while the volume is mounted.
pub(super) const STATE_DIRTY: u8 = 0x01;

/// Whether the first 512 bytes of a partition are a FAT12, FAT16 or FAT32 boot sector.
///
/// Everything that makes a layout is checked, so a boot loader, NTFS or exFAT is not mistaken for FAT.
pub fn probe(sector: &[u8]) -> bool {
    looks_like_fat(&Fields::new("FAT boot sector", sector)).unwrap_or(false)
}

fn looks_like_fat(sector: &Fields<'_>) -> Result<bool> {
    let jump = sector.array::<3>(0)?;
    let jumps = jump[0] == 0xEB && jump[2] == 0x90 || jump[0] == 0xE9;
    let sector_size = sector.le16(11)?;
    let cluster_sectors = sector.u8(13)?;
    let sizes = (512..=4096).contains(&sector_size)
        && sector_size.is_power_of_two()
        && cluster_sectors.is_power_of_two()
        && u32::from(sector_size) * u32::from(cluster_sectors) <= 64 << 10;
    let copies = sector.le16(14)? != 0 && matches!(sector.u8(16)?, 1..=4);
    let media = matches!(sector.u8(21)?, 0xF0 | 0xF8..=0xFF);
    let total = sector.le16(19)? != 0 || sector.le32(32)? != 0;
    let tables = if is_fat32(sector)? {
        sector.le32(36)? != 0 && sector.le16(42)? == 0 && sector.le32(44)? >= 2
    } else {
        sector.le16(17)? != 0 && sector.le16(22)? != 0
    };
    Ok(jumps && sizes && copies && media && total && tables && sector.array(510)? == [0x55, 0xAA])
}

/// Refuses a volume that has more tables than the driver keeps alike: Linux reads such ones, and nobody makes them.
pub(super) fn check_tables(sector: &[u8]) -> Result<()> {
    match Fields::new("FAT boot sector", sector).u8(16)? {
        tables @ 3..=4 => Err(Error::unsupported(format!("a FAT volume with {tables} tables: 1 and 2 are handled"))
            .with_hint("make the volume anew with mkfs.vfat, and copy the files with mcopy")),
        _ => Ok(()),
    }
}

/// The serial number (`BS_VolID`) that the first 512 bytes of a volume name.
pub fn serial(sector: &[u8]) -> Result<u32> {
    let sector = Fields::new("FAT boot sector", sector);
    sector.le32(if is_fat32(&sector)? { 67 } else { 39 })
}

/// FAT32 has neither a fixed root directory (`BPB_RootEntCnt`) nor a 16-bit table size (`BPB_FATSz16`).
fn is_fat32(sector: &Fields<'_>) -> Result<bool> {
    Ok(sector.le16(17)? == 0 && sector.le16(22)? == 0)
}

/// Where the free cluster count (`FSI_Free_Count`) of a FAT32 volume lies, in bytes from its start.
///
/// `None` for other volumes and where `BPB_FSInfo` names no reserved sector.
pub(super) fn free_count_offset(sector: &[u8]) -> Result<Option<u64>> {
    let sector = Fields::new("FAT boot sector", sector);
    let (sector_size, reserved, fs_info) = (sector.le16(11)?, sector.le16(14)?, sector.le16(48)?);
    let exists = is_fat32(&sector)? && (1..reserved).contains(&fs_info);
    Ok(exists.then(|| u64::from(fs_info) * u64::from(sector_size) + 488))
}

/// Where the state byte of the boot sector lies.
pub(super) fn state_offset(sector: &[u8]) -> Result<usize> {
    Ok(if is_fat32(&Fields::new("FAT boot sector", sector))? { 0x41 } else { 0x25 })
}
