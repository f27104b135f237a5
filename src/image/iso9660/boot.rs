//! What makes an image start: the El Torito catalog, and partition tables for images on a USB stick.
//!
//! ```text
//!   catalog      │validation│BIOS: isolinux.bin, 4 sectors│section: UEFI│FAT image│
//!   first sector │isohybrid's code│MBR: whole image, active │0xEE│          GPT: one partition over the FAT image
//! ```

use super::on_disk::{BootEntry, BootInfoTable, IsohybridCode, SectionHeader, ValidationEntry};
use super::{EfiPartition, Place};
use crate::bytes::gpt::{GptEntry, GptHeader, MasterBootRecord, PartitionRecord};
use crate::bytes::{Guid, Order, in_a_row, put_in_a_row};
use crate::error::{Error, Result};
use crate::image::identity::{Fingerprint, Identity};

/// Sectors of the partition tables.
const SECTOR: u64 = 512;
/// Sectors of the GPT's entries.
const ENTRY_SECTORS: u64 = 32;
/// Bytes of a GPT header.
const HEADER_BYTES: u32 = 92;
/// The backup GPT: entries and header.
pub(super) const BACKUP_BYTES: u64 = (ENTRY_SECTORS + 1) * SECTOR;
/// "EFI system partition".
const ESP_TYPE: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Largest boot code of isohybrid: what follows is the place of isolinux.bin.
const BOOT_CODE_MAX: usize = 432;

/// `Boot Indicator` of an entry that can be started.
const BOOTABLE: u8 = 0x88;
/// `Header Indicator` of the last section.
const LAST_SECTION: u8 = 0x91;
/// isolinux.bin up to the end of its table.
const INFO_TABLE_BYTES: usize = BootInfoTable::<&[u8]>::SIZE;

/// The block of the catalog.
pub(super) fn catalog(bios: Option<Place>, efi: Option<Place>) -> Vec<u8> {
    const BIOS: u8 = 0;
    const EFI: u8 = 0xef;
    let mut validation = ValidationEntry::zeroed();
    validation.set_header_id(1);
    validation.set_platform_id(if bios.is_some() { BIOS } else { EFI });
    validation.set_key_bytes([0x55, 0xaa]);
    let sum = in_a_row(validation.bytes(), Order::Little).fold(0, u16::wrapping_add);
    validation.set_checksum(sum.wrapping_neg());
    let mut bytes = validation.into_inner();
    // isolinux loads the rest of itself; firmware takes 0 sectors for "up to the end of the medium".
    let entries = [bios.map(|place| (4, place)), efi.map(|place| (0, place))];
    for (index, (sectors, place)) in entries.into_iter().flatten().enumerate() {
        if index == 1 {
            let mut header = SectionHeader::zeroed();
            header.set_header_indicator(LAST_SECTION);
            header.set_platform_id(EFI);
            header.set_section_entries(1);
            bytes.extend_from_slice(header.bytes());
        }
        let mut entry = BootEntry::zeroed();
        entry.set_boot_indicator(BOOTABLE);
        entry.set_sector_count(sectors);
        entry.set_load_rba(place.block);
        bytes.extend_from_slice(entry.bytes());
    }
    bytes.resize(2048, 0);
    bytes
}

/// Writes where it lies into isolinux.bin (the "boot info table").
pub(super) fn patch_isolinux(bytes: &mut [u8], place: Place) -> Result<()> {
    if bytes.len() < INFO_TABLE_BYTES || !bytes.len().is_multiple_of(4) {
        let message = format!(
            "isolinux.bin of {} bytes: at least {INFO_TABLE_BYTES}, a multiple of 4",
            bytes.len()
        );
        return Err(Error::invalid(message)
            .with_hint("take isolinux.bin of the syslinux distribution as it is"));
    }
    let words = in_a_row(&bytes[INFO_TABLE_BYTES..], Order::Little);
    let sum = words.fold(0, u32::wrapping_add);
    let mut table = BootInfoTable::over(bytes)?;
    table.set_primary_volume_descriptor(super::FIRST_DESCRIPTOR);
    table.set_file_location(place.block);
    table.set_file_length(place.bytes);
    table.set_checksum(sum);
    table.set_reserved([0; 40]);
    Ok(())
}

/// Makes isolinux.bin's length a multiple of 4, which the table counts in.
pub(super) fn pad_isolinux(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// What the partition tables are made of.
#[derive(Debug)]
pub(super) struct Hybrid<'a, 'b> {
    /// isohybrid's boot code and where isolinux.bin lies.
    pub code: Option<(&'a [u8], Place)>,
    /// The FAT image and where it lies.
    pub efi: Option<(&'a EfiPartition<'b>, Place)>,
    /// Bytes of the whole image.
    pub total: u64,
    /// What the identifiers are made from.
    pub fingerprint: Fingerprint,
}

impl Hybrid<'_, '_> {
    /// The system area: 32 KiB before the first descriptor.
    pub fn system_area(&self) -> Result<Vec<u8>> {
        let mut area = self.mbr()?;
        if self.efi.is_some() {
            area.extend(self.header(true)?);
            area.extend(self.entries()?);
        }
        area.resize(32 << 10, 0);
        Ok(area)
    }

    /// The backup GPT, the last bytes of the image.
    pub fn backup(&self) -> Result<Vec<u8>> {
        Ok([self.entries()?, self.header(false)?].concat())
    }

    fn mbr(&self) -> Result<Vec<u8>> {
        let sectors = u32::try_from(self.total / SECTOR).unwrap_or(u32::MAX);
        let mut mbr = MasterBootRecord::zeroed();
        let mut records = Vec::new();
        if let Some((code, isolinux)) = self.code {
            mbr.set_boot_code(boot_code(code, isolinux)?);
            records.extend(mbr_record(0x80, 0x17, 0, sectors));
        }
        if self.efi.is_some() {
            records.extend(mbr_record(0, 0xee, 1, sectors - 1));
        }
        if !records.is_empty() {
            let mut all = [0; 64];
            all[..records.len()].copy_from_slice(&records);
            mbr.set_partition_record(all);
            mbr.set_signature([0x55, 0xaa]);
        }
        Ok(mbr.into_inner())
    }

    fn guid(&self, purpose: &str) -> Guid {
        Identity::default().guid(self.fingerprint, purpose)
    }

    fn entries(&self) -> Result<Vec<u8>> {
        let Some((efi, place)) = &self.efi else {
            return Ok(Vec::new());
        };
        let start = u64::from(place.block) * 4;
        let last = start + efi.image.size().div_ceil(SECTOR) - 1;
        let units: Vec<u16> = efi.name.encode_utf16().collect();
        let mut name = [0; 72];
        if units.len() > name.len() / 2 {
            return Err(Error::invalid(format!(
                "the partition name '{}' has more than 36 characters",
                efi.name
            )));
        }
        put_in_a_row(&mut name, units, Order::Little);
        let mut entry = GptEntry::zeroed();
        entry.set_partition_type_guid(ESP_TYPE);
        entry.set_unique_partition_guid(self.guid("efi partition"));
        entry.set_starting_lba(start);
        entry.set_ending_lba(last);
        entry.set_partition_name(name);
        let mut bytes = entry.into_inner();
        bytes.resize(16 << 10, 0);
        Ok(bytes)
    }

    fn header(&self, primary: bool) -> Result<Vec<u8>> {
        let last = self.total / SECTOR - 1;
        let (own, other, entries) = if primary {
            (1, last, 2)
        } else {
            (last, 1, last - ENTRY_SECTORS)
        };
        let mut header = GptHeader::zeroed();
        header.set_signature(*b"EFI PART");
        header.set_revision(0x0001_0000);
        header.set_header_size(HEADER_BYTES);
        header.set_my_lba(own);
        header.set_alternate_lba(other);
        header.set_first_usable_lba(2 + ENTRY_SECTORS);
        header.set_last_usable_lba(last - ENTRY_SECTORS - 1);
        header.set_disk_guid(self.guid("disk"));
        header.set_partition_entry_lba(entries);
        header.set_number_of_partition_entries(128);
        header.set_size_of_partition_entry(128);
        header.set_partition_entry_array_crc32(crc32fast::hash(&self.entries()?));
        header.set_header_crc32(crc32fast::hash(header.bytes()));
        let mut bytes = header.into_inner();
        bytes.resize(512, 0);
        Ok(bytes)
    }
}

/// isohybrid's boot code with the place of isolinux.bin.
fn boot_code(code: &[u8], isolinux: Place) -> Result<[u8; 440]> {
    if code.is_empty() || code.len() > BOOT_CODE_MAX {
        let message = format!(
            "boot code of {} bytes: 1 to {BOOT_CODE_MAX} fit",
            code.len()
        );
        return Err(
            Error::invalid(message).with_hint("take isohdpfx.bin of the syslinux distribution")
        );
    }
    let mut whole = [0; BOOT_CODE_MAX];
    whole[..code.len()].copy_from_slice(code);
    let mut hybrid = IsohybridCode::over([0; 440])?;
    hybrid.set_code(whole);
    hybrid.set_isolinux_sector(u64::from(isolinux.block) * 4);
    Ok(hybrid.into_inner())
}

/// A record without cylinders and heads, which nothing looks at.
fn mbr_record(boot_indicator: u8, os_type: u8, start: u32, sectors: u32) -> Vec<u8> {
    let mut record = PartitionRecord::zeroed();
    record.set_boot_indicator(boot_indicator);
    record.set_starting_chs(if start == 0 { [0, 1, 0] } else { [0, 2, 0] });
    record.set_os_type(os_type);
    record.set_ending_chs([0xff; 3]);
    record.set_starting_lba(start);
    record.set_size_in_lba(sectors);
    record.into_inner()
}
