//! Volume descriptors (ECMA-119, 8; Joliet is a supplementary one).

use super::Place;
use super::record::{BLOCK, both16, both32, long_time, record};
use super::tree::Names;
use crate::error::{Error, Result};

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
    let text = |text: &str, len: usize| -> Vec<u8> {
        let bytes: Vec<u8> = match joliet {
            true => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            false => text.bytes().collect(),
        };
        // UCS-2 spaces, or spaces; a field of odd length ends with a zero byte.
        let space: &[u8] = if joliet { &[0, b' '] } else { b" " };
        let whole = if joliet { len / 2 * 2 } else { len };
        let filled = bytes.into_iter().chain(space.iter().copied().cycle()).take(whole);
        filled.chain([0]).take(len).collect()
    };
    let mut bytes = head(if joliet { 2 } else { 1 });
    bytes.push(0);
    bytes.extend(text("", 32));
    bytes.extend(text(volume.id, 32));
    bytes.extend([0; 8]);
    bytes.extend(both32(volume.blocks));
    let escape: &[u8] = if joliet { b"%/E" } else { b"" };
    bytes.extend(escape.iter().copied().chain([0; 32]).take(32));
    for number in [1, 1, 2048] {
        bytes.extend(both16(number));
    }
    bytes.extend(both32(directories.path_table_bytes));
    bytes.extend(directories.little.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(directories.big.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(record(&[0], directories.root, true, volume.time, None)?);
    for _ in 0..4 {
        bytes.extend(text("", 128));
    }
    for _ in 0..3 {
        bytes.extend(text("", 37));
    }
    // Made and changed; it never expires and is valid from the start.
    bytes.extend([long_time(volume.time); 2].concat());
    let never = b"0000000000000000\0";
    bytes.extend([*never; 2].concat());
    bytes.extend([1, 0]);
    finish(bytes)
}

/// The boot record that names the El Torito catalog.
pub(super) fn boot_record(catalog: u32) -> Result<Vec<u8>> {
    let mut bytes = head(0);
    bytes.extend(b"EL TORITO SPECIFICATION".iter().copied().chain([0; 64]).take(64));
    bytes.extend(catalog.to_le_bytes());
    finish(bytes)
}

/// The descriptor that ends the others.
pub(super) fn terminator() -> Result<Vec<u8>> {
    finish(head(255))
}

fn head(kind: u8) -> Vec<u8> {
    [&[kind][..], b"CD001", &[1]].concat()
}

fn finish(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let block = usize::try_from(BLOCK).map_err(|_| Error::internal("a block fits in memory"))?;
    bytes.resize(block, 0);
    Ok(bytes)
}
