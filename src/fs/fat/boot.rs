//! The boot sector with its BIOS parameter block (BPB): is it FAT at all, and what is it called.
//!
//! Field names and offsets are those of Microsoft's "FAT32 File System Specification" (1.03); the state byte is
//! `fat_boot_sector.state` of Linux (`include/uapi/linux/msdos_fs.h`), which calls it `BS_Reserved1` there.

use crate::bytes::structure;
use crate::error::Result;

/// Bytes of the boot sector that hold fields, whatever the size of a sector.
pub(super) const BOOT_SECTOR: usize = 512;
/// Bit of the state byte that Linux sets while the volume is mounted.
pub(super) const STATE_DIRTY: u8 = 0x01;
/// `BS_BootSig` where serial number, label and type follow.
pub(super) const EXTENDED: u8 = 0x29;
/// The last two bytes.
pub(super) const SIGNATURE: [u8; 2] = [0x55, 0xAA];
/// Most tables of a volume. Every number is allowed; nobody makes more.
pub(super) const TABLES_MAX: u8 = 4;
/// Most sectors of a cluster, the highest power of two in a byte.
pub(super) const SEC_PER_CLUS_MAX: u8 = 128;
/// Bit of `BPB_ExtFlags`: only the active table is kept up to date.
pub(super) const NOT_MIRRORED: u16 = 0x80;
/// Bits of `BPB_ExtFlags` that number the active table.
pub(super) const ACTIVE_TABLE: u16 = 0x0F;

structure! {
    /// The boot sector. Behind offset 36 FAT32 has fields of its own (`_32`), FAT12 and FAT16 have others (`_16`).
    pub(super) struct BootSector: "FAT boot sector", Little, 512 {
        /// `BS_jmpBoot`: a jump, `EB xx 90` or `E9 xx xx`.
        0 => jmp_boot / set_jmp_boot: [u8; 3],
        /// `BS_OEMName`: who made it.
        3 => oem_name / set_oem_name: [u8; 8],
        /// `BPB_BytsPerSec`: 512, 1024, 2048 or 4096.
        11 => byts_per_sec / set_byts_per_sec: u16,
        /// `BPB_SecPerClus`: a power of two from 1 to 128.
        13 => sec_per_clus / set_sec_per_clus: u8,
        /// `BPB_RsvdSecCnt`: sectors before the first table, not 0.
        14 => rsvd_sec_cnt / set_rsvd_sec_cnt: u16,
        /// `BPB_NumFATs`: tables.
        16 => num_fats / set_num_fats: u8,
        /// `BPB_RootEntCnt`: entries of the fixed root directory, 0 on FAT32.
        17 => root_ent_cnt / set_root_ent_cnt: u16,
        /// `BPB_TotSec16`: sectors in all, 0 where `BPB_TotSec32` has them.
        19 => tot_sec16 / set_tot_sec16: u16,
        /// `BPB_Media`: F0, or F8 to FF.
        21 => media / set_media: u8,
        /// `BPB_FATSz16`: sectors of a table, 0 on FAT32.
        22 => fat_sz16 / set_fat_sz16: u16,
        /// `BPB_SecPerTrk`
        24 => sec_per_trk / set_sec_per_trk: u16,
        /// `BPB_NumHeads`
        26 => num_heads / set_num_heads: u16,
        /// `BPB_TotSec32`: sectors in all.
        32 => tot_sec32 / set_tot_sec32: u32,

        /// `BS_DrvNum` of FAT12 and FAT16.
        36 => drv_num_16 / set_drv_num_16: u8,
        /// `BS_Reserved1` of FAT12 and FAT16: the state byte.
        37 => state_16 / set_state_16: u8,
        /// `BS_BootSig` of FAT12 and FAT16.
        38 => boot_sig_16 / set_boot_sig_16: u8,
        /// `BS_VolID` of FAT12 and FAT16: the serial number.
        39 => vol_id_16 / set_vol_id_16: u32,
        /// `BS_VolLab` of FAT12 and FAT16.
        43 => vol_lab_16 / set_vol_lab_16: [u8; 11],
        /// `BS_FilSysType` of FAT12 and FAT16.
        54 => fil_sys_type_16 / set_fil_sys_type_16: [u8; 8],

        /// `BPB_FATSz32`: sectors of a table.
        36 => fat_sz32 / set_fat_sz32: u32,
        /// `BPB_ExtFlags`: which table is active, and whether it is mirrored.
        40 => ext_flags / set_ext_flags: u16,
        /// `BPB_FSVer`: 0.
        42 => fs_ver / set_fs_ver: u16,
        /// `BPB_RootClus`: first cluster of the root directory.
        44 => root_clus / set_root_clus: u32,
        /// `BPB_FSInfo`: sector of the free space's numbers.
        48 => fs_info / set_fs_info: u16,
        /// `BPB_BkBootSec`: sector of the boot sector's copy.
        50 => bk_boot_sec / set_bk_boot_sec: u16,
        /// `BS_DrvNum` of FAT32.
        64 => drv_num_32 / set_drv_num_32: u8,
        /// `BS_Reserved1` of FAT32: the state byte.
        65 => state_32 / set_state_32: u8,
        /// `BS_BootSig` of FAT32.
        66 => boot_sig_32 / set_boot_sig_32: u8,
        /// `BS_VolID` of FAT32: the serial number.
        67 => vol_id_32 / set_vol_id_32: u32,
        /// `BS_VolLab` of FAT32.
        71 => vol_lab_32 / set_vol_lab_32: [u8; 11],
        /// `BS_FilSysType` of FAT32.
        82 => fil_sys_type_32 / set_fil_sys_type_32: [u8; 8],

        /// `Signature_word`: 55 AA.
        510 => signature / set_signature: [u8; 2],
    }
}

impl<B: AsRef<[u8]>> BootSector<B> {
    /// FAT32 has neither a fixed root directory nor a 16-bit table size.
    pub(super) fn is_fat32(&self) -> bool {
        self.root_ent_cnt() == 0 && self.fat_sz16() == 0
    }

    /// Sectors in all.
    pub(super) fn sectors(&self) -> u32 {
        match self.tot_sec16() {
            0 => self.tot_sec32(),
            sectors => u32::from(sectors),
        }
    }

    /// Sectors of one table.
    pub(super) fn table_sectors(&self) -> u32 {
        match self.is_fat32() {
            true => self.fat_sz32(),
            false => u32::from(self.fat_sz16()),
        }
    }

    /// The first thing about it that no FAT volume has.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let jump = self.jmp_boot();
        let jumps = jump[0] == 0xEB && jump[2] == 0x90 || jump[0] == 0xE9;
        let sector_size = self.byts_per_sec();
        let cluster_sectors = self.sec_per_clus();
        let rules = [
            (jumps, "it does not begin with a jump"),
            (
                (512..=4096).contains(&sector_size) && sector_size.is_power_of_two(),
                "its sectors have not 512, 1024, 2048 or 4096 bytes",
            ),
            (
                cluster_sectors.is_power_of_two() && cluster_sectors <= SEC_PER_CLUS_MAX,
                "its clusters have not 1, 2, 4 or up to 128 sectors",
            ),
            (self.rsvd_sec_cnt() != 0, "it has no reserved sector"),
            (
                (1..=TABLES_MAX).contains(&self.num_fats()),
                "it has not 1 to 4 tables",
            ),
            (
                matches!(self.media(), 0xF0 | 0xF8..=0xFF),
                "its media type is none",
            ),
            (self.sectors() != 0, "it has no sectors"),
            (self.table_sectors() != 0, "its tables have no sectors"),
            (
                self.is_fat32() || self.root_ent_cnt() != 0,
                "it has no root directory",
            ),
            (
                !self.is_fat32() || self.fs_ver() == 0,
                "its version is not 0",
            ),
            (
                !self.is_fat32() || self.root_clus() >= 2,
                "it has no root directory",
            ),
            (self.signature() == SIGNATURE, "its signature is missing"),
        ];
        rules
            .into_iter()
            .find(|(holds, _)| !holds)
            .map(|(_, fault)| fault)
    }

    /// The serial number.
    fn serial(&self) -> u32 {
        match self.is_fat32() {
            true => self.vol_id_32(),
            false => self.vol_id_16(),
        }
    }

    /// The state byte and where it lies.
    pub(super) fn state(&self) -> (usize, u8) {
        match self.is_fat32() {
            true => (65, self.state_32()),
            false => (37, self.state_16()),
        }
    }
}

/// Whether the first 512 bytes of a partition are a FAT12, FAT16 or FAT32 boot sector.
///
/// Everything that makes a layout is checked, so a boot loader, NTFS or exFAT is not mistaken for FAT.
pub fn probe(sector: &[u8]) -> bool {
    BootSector::over(sector).is_ok_and(|sector| sector.fault().is_none())
}

/// The serial number (`BS_VolID`) that the first 512 bytes of a volume name.
pub fn serial(sector: &[u8]) -> Result<u32> {
    Ok(BootSector::over(sector)?.serial())
}
