//! Volume descriptors (ECMA-119, 8; Joliet is a supplementary one).

use super::Place;
use super::on_disk::{Big32, BootRecord, Both16, Both32, VolumeDescriptor};
use super::record::{long_time, record};
use super::tree::Names;
use crate::bytes::{Order, put_in_a_row};
use crate::error::{Error, Result};

/// `Volume Descriptor Type`
const BOOT_RECORD: u8 = 0;
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;
/// The escape sequence of UCS-2, level 3.
const JOLIET_LEVEL_3: &[u8] = b"%/E";
/// Bytes of a logical block.
const BLOCK_BYTES: u16 = 2048;
/// A time that is not said.
const NEVER: &[u8; 17] = b"0000000000000000\0";

/// What all descriptors tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume<'a> {
    pub id: &'a str,
    pub time: i64,
    /// Blocks of the whole image.
    pub blocks: u32,
}

/// Where one set of directories lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directories {
    pub names: Names,
    pub root: Place,
    pub path_table_bytes: u32,
    /// The path table in both byte orders.
    pub little: u32,
    pub big: u32,
}

/// A primary descriptor, or a supplementary one for Joliet.
pub(super) fn volume(volume: &Volume<'_>, directories: &Directories) -> Result<Vec<u8>> {
    let joliet = directories.names == Names::Joliet;
    let root = record(&[0], directories.root, true, volume.time, None)?;
    let root = root
        .try_into()
        .map_err(|_| Error::internal("the record of the root has 34 bytes"))?;
    let mut escape = [0; 32];
    if joliet {
        escape[..JOLIET_LEVEL_3.len()].copy_from_slice(JOLIET_LEVEL_3);
    }
    let mut descriptor =
        VolumeDescriptor::over(head(if joliet { SUPPLEMENTARY } else { PRIMARY }))?;
    descriptor.set_system_identifier(text("", joliet));
    descriptor.set_volume_identifier(text(volume.id, joliet));
    descriptor.set_volume_space_size(Both32(volume.blocks));
    descriptor.set_escape_sequences(escape);
    descriptor.set_volume_set_size(Both16(1));
    descriptor.set_volume_sequence_number(Both16(1));
    descriptor.set_logical_block_size(Both16(BLOCK_BYTES));
    descriptor.set_path_table_size(Both32(directories.path_table_bytes));
    descriptor.set_type_l_path_table(directories.little);
    descriptor.set_type_m_path_table(Big32(directories.big));
    descriptor.set_root_directory_record(root);
    descriptor.set_volume_set_identifier(text("", joliet));
    descriptor.set_publisher_identifier(text("", joliet));
    descriptor.set_data_preparer_identifier(text("", joliet));
    descriptor.set_application_identifier(text("", joliet));
    descriptor.set_copyright_file_identifier(text("", joliet));
    descriptor.set_abstract_file_identifier(text("", joliet));
    descriptor.set_bibliographic_file_identifier(text("", joliet));
    descriptor.set_creation_date(long_time(volume.time));
    descriptor.set_modification_date(long_time(volume.time));
    // It never expires and is valid from the start.
    descriptor.set_expiration_date(*NEVER);
    descriptor.set_effective_date(*NEVER);
    descriptor.set_file_structure_version(1);
    Ok(descriptor.into_inner())
}

/// `text` in a field of `N` bytes, filled up with spaces: in UCS-2 where it is Joliet's, whose fields of odd length end
/// with a zero byte.
fn text<const N: usize>(text: &str, joliet: bool) -> [u8; N] {
    let mut field = [0; N];
    if joliet {
        let units = text
            .encode_utf16()
            .chain(std::iter::repeat(u16::from(b' ')));
        put_in_a_row(&mut field, units, Order::Big);
    } else {
        field.fill(b' ');
        field
            .iter_mut()
            .zip(text.bytes())
            .for_each(|(place, byte)| *place = byte);
    }
    field
}

/// The boot record that names the El Torito catalog.
pub(super) fn boot_record(catalog: u32) -> Result<Vec<u8>> {
    const EL_TORITO: &[u8] = b"EL TORITO SPECIFICATION";
    let mut identifier = [0; 32];
    identifier[..EL_TORITO.len()].copy_from_slice(EL_TORITO);
    let mut record = BootRecord::over(head(BOOT_RECORD))?;
    record.set_boot_system_identifier(identifier);
    record.set_boot_catalog(catalog);
    Ok(record.into_inner())
}

/// The descriptor that ends the others.
pub(super) fn terminator() -> Vec<u8> {
    head(TERMINATOR)
}

/// A descriptor with what all have.
fn head(kind: u8) -> Vec<u8> {
    let mut descriptor = VolumeDescriptor::zeroed();
    descriptor.set_volume_descriptor_type(kind);
    descriptor.set_standard_identifier(*b"CD001");
    descriptor.set_volume_descriptor_version(1);
    descriptor.into_inner()
}
