//! What makes an image start: the El Torito catalog, and partition tables for images on a USB stick.
//!
//! ```text
//!   catalog      │validation│BIOS: isolinux.bin, 4 sectors│section: UEFI│FAT image│
//!   first sector │isohybrid's code│MBR: whole image, active │0xEE│          GPT: one partition over the FAT image
//! ```

use super::{EfiPartition, Place};
use crate::bytes::Guid;
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

/// The block of the catalog.
pub(super) fn catalog(bios: Option<Place>, efi: Option<Place>) -> Vec<u8> {
    const BIOS: u8 = 0;
    const EFI: u8 = 0xef;
    let mut bytes = vec![1, if bios.is_some() { BIOS } else { EFI }];
    bytes.resize(30, 0);
    bytes.extend_from_slice(&[0x55, 0xaa]);
    let sum = bytes.chunks_exact(2).fold(0u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    // isolinux loads the rest of itself; firmware takes 0 sectors for "up to the end of the medium".
    let entries = [bios.map(|place| (4u16, place)), efi.map(|place| (0, place))];
    for (index, (sectors, place)) in entries.into_iter().flatten().enumerate() {
        if index == 1 {
            bytes.extend_from_slice(&[0x91, EFI, 1, 0]);
            bytes.resize(bytes.len() + 28, 0);
        }
        bytes.extend_from_slice(&[0x88, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&sectors.to_le_bytes());
        bytes.extend_from_slice(&place.block.to_le_bytes());
        bytes.resize(bytes.len() + 20, 0);
    }
    bytes.resize(2048, 0);
    bytes
}

/// Writes where it lies into isolinux.bin (the "boot info table").
pub(super) fn patch_isolinux(bytes: &mut [u8], place: Place) -> Result<()> {
    if bytes.len() < 64 || !bytes.len().is_multiple_of(4) {
        let message = format!("isolinux.bin of {} bytes: at least 64, a multiple of 4", bytes.len());
        return Err(Error::invalid(message).with_hint("take isolinux.bin of the syslinux distribution as it is"));
    }
    let words = bytes[64..].chunks_exact(4);
    let sum = words.fold(0u32, |sum, word| sum.wrapping_add(u32::from_le_bytes([word[0], word[1], word[2], word[3]])));
    for (at, value) in [(8, super::FIRST_DESCRIPTOR), (12, place.block), (16, place.bytes), (20, sum)] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes[24..64].fill(0);
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
        let mut bytes = vec![0; 512];
        let sectors = u32::try_from(self.total / SECTOR).unwrap_or(u32::MAX);
        let mut entries: Vec<[u8; 16]> = Vec::new();
        if let Some((code, isolinux)) = self.code {
            if code.is_empty() || code.len() > BOOT_CODE_MAX {
                let message = format!("boot code of {} bytes: 1 to {BOOT_CODE_MAX} fit", code.len());
                return Err(Error::invalid(message).with_hint("take isohdpfx.bin of the syslinux distribution"));
            }
            bytes[..code.len()].copy_from_slice(code);
            bytes[432..440].copy_from_slice(&(u64::from(isolinux.block) * 4).to_le_bytes());
            entries.push(mbr_entry(0x80, 0x17, 0, sectors));
        }
        if self.efi.is_some() {
            entries.push(mbr_entry(0, 0xee, 1, sectors - 1));
        }
        for (at, entry) in (446..).step_by(16).zip(&entries) {
            bytes[at..at + 16].copy_from_slice(entry);
        }
        if !entries.is_empty() {
            bytes[510..].copy_from_slice(&[0x55, 0xaa]);
        }
        Ok(bytes)
    }

    fn guid(&self, purpose: &str) -> [u8; 16] {
        Identity::default().guid(self.fingerprint, purpose).to_disk()
    }

    fn entries(&self) -> Result<Vec<u8>> {
        let Some((efi, place)) = &self.efi else { return Ok(Vec::new()) };
        let start = u64::from(place.block) * 4;
        let last = start + efi.image.size().div_ceil(SECTOR) - 1;
        let mut bytes = [ESP_TYPE.to_disk(), self.guid("efi partition")].concat();
        for number in [start, last, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let name: Vec<u8> = efi.name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        if name.len() > 72 {
            return Err(Error::invalid(format!("the partition name '{}' has more than 36 characters", efi.name)));
        }
        bytes.extend_from_slice(&name);
        bytes.resize(16 << 10, 0);
        Ok(bytes)
    }

    fn header(&self, primary: bool) -> Result<Vec<u8>> {
        let last = self.total / SECTOR - 1;
        let first_usable = 2 + ENTRY_SECTORS;
        let (own, other, entries) = if primary { (1, last, 2) } else { (last, 1, last - ENTRY_SECTORS) };
        let mut bytes = b"EFI PART\0\0\x01\0".to_vec();
        bytes.extend_from_slice(&HEADER_BYTES.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        for number in [own, other, first_usable, last - ENTRY_SECTORS - 1] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.guid("disk"));
        bytes.extend_from_slice(&entries.to_le_bytes());
        for number in [128, 128, crc32fast::hash(&self.entries()?)] {
            bytes.extend_from_slice(&u32::to_le_bytes(number));
        }
        let crc = crc32fast::hash(&bytes);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(512, 0);
        Ok(bytes)
    }
}

/// An entry without cylinders and heads, which nothing looks at.
fn mbr_entry(status: u8, kind: u8, start: u32, sectors: u32) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[0] = status;
    entry[1..4].copy_from_slice(if start == 0 { &[0, 1, 0] } else { &[0, 2, 0] });
    entry[4] = kind;
    entry[5..8].copy_from_slice(&[0xff; 3]);
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&sectors.to_le_bytes());
    entry
}
