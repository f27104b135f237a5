//! A zip archive with one file (`APPNOTE.TXT` of PKWARE, 6.3), written front to back.
//!
//! ```text
//!   local header │ deflate │ descriptor: CRC-32 and sizes │ directory: the same and the name │ end
//! ```
//!
//! What may reach 4 GiB has sizes of 64 bits (zip64).

use super::gzip::deflate;
use super::pieces::put_only;
use super::{Sink, Source};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// Versions needed: 2.0 has deflate, 4.5 zip64.
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Sizes and checksum follow the data; the name is UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
const DEFLATE: u16 = 8;
/// Midnight of the first day that the format knows, so that the bytes depend on the content alone.
const TIME: u16 = 0;
const DATE: u16 = 1 << 5 | 1;
/// A regular file with mode 0644, in the upper half as Unix has it.
const UNIX: u16 = 3 << 8;
const ATTRIBUTES: u32 = 0o100_644 << 16;
/// In the place of what is told with 64 bits.
const ELSEWHERE: u32 = u32::MAX;
/// Files from this size on are told with 64 bits: deflate may make them a little larger.
const LARGE: u64 = (1 << 32) - (64 << 20);

/// Puts `source`, deflated at `level` 1 (fast) to 9 (small), into an archive under `name`.
///
/// # Errors
/// A name of more than 65535 bytes, a level out of range, and those of `source` and `sink`.
pub fn encode(source: &dyn Source, level: u8, name: &str, sink: &mut dyn Sink) -> Result<()> {
    let name_len = u16::try_from(name.len())
        .map_err(|_| Error::invalid("the name is too long for a zip archive"))?;
    let size = source.size();
    let is_large = source.size() >= LARGE;
    let version = if is_large { VERSION_64 } else { VERSION };
    let unknown = if is_large { ELSEWHERE } else { 0 };
    let mut local = Vec::new();
    for field in [0x4b50, 0x0403, version, FLAGS, DEFLATE, TIME, DATE] {
        local.extend(u16::to_le_bytes(field));
    }
    for field in [0, unknown, unknown] {
        local.extend(u32::to_le_bytes(field));
    }
    let local_extra = if is_large {
        sizes_64(&[0, 0])
    } else {
        Vec::new()
    };
    local.extend(name_len.to_le_bytes());
    local.extend(short_len(&local_extra)?.to_le_bytes());
    local.extend_from_slice(name.as_bytes());
    local.extend(local_extra);
    put_only(sink, &local)?;

    let mut packed = 0;
    let mut counted = |bytes: &[u8], done: u64| {
        packed += to_u64(bytes.len());
        sink.put(bytes, done)
    };
    let crc = deflate(source, level, &mut counted)?;

    let mut end = b"PK\x07\x08".to_vec();
    end.extend(crc.to_le_bytes());
    for size in [packed, size] {
        end.extend(if is_large {
            size.to_le_bytes().to_vec()
        } else {
            short(size)?.to_le_bytes().to_vec()
        });
    }
    let directory_at = to_u64(local.len()) + packed + to_u64(end.len());
    let directory = directory_entry(name, version, crc, [packed, size], is_large)?;
    end.extend_from_slice(&directory);
    end.extend(end_of_directory(
        directory_at,
        to_u64(directory.len()),
        is_large,
    )?);
    put_only(sink, &end)
}

/// The file in the directory, whose local header is at the start of the archive.
fn directory_entry(
    name: &str,
    version: u16,
    crc: u32,
    [packed, size]: [u64; 2],
    is_large: bool,
) -> Result<Vec<u8>> {
    let extra = if is_large {
        sizes_64(&[size, packed])
    } else {
        Vec::new()
    };
    let told = |size: u64| if is_large { Ok(ELSEWHERE) } else { short(size) };
    let mut entry = b"PK\x01\x02".to_vec();
    for field in [UNIX | version, version, FLAGS, DEFLATE, TIME, DATE] {
        entry.extend(u16::to_le_bytes(field));
    }
    for field in [crc, told(packed)?, told(size)?] {
        entry.extend(u32::to_le_bytes(field));
    }
    entry.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    entry.extend(short_len(&extra)?.to_le_bytes());
    // No comment, the first disk, no text.
    entry.extend([0; 6]);
    entry.extend(ATTRIBUTES.to_le_bytes());
    entry.extend(0u32.to_le_bytes());
    entry.extend_from_slice(name.as_bytes());
    entry.extend(extra);
    Ok(entry)
}

/// The end of the archive, with a directory of one entry at `at`.
fn end_of_directory(at: u64, len: u64, is_large: bool) -> Result<Vec<u8>> {
    let mut end = Vec::new();
    if is_large {
        end.extend(b"PK\x06\x06");
        end.extend(44u64.to_le_bytes());
        end.extend((UNIX | VERSION_64).to_le_bytes());
        end.extend(VERSION_64.to_le_bytes());
        end.extend([0; 8]);
        for field in [1, 1, len, at] {
            end.extend(u64::to_le_bytes(field));
        }
        end.extend(b"PK\x06\x07");
        end.extend(0u32.to_le_bytes());
        end.extend((at + len).to_le_bytes());
        end.extend(1u32.to_le_bytes());
    }
    end.extend(b"PK\x05\x06");
    end.extend([0; 4]);
    for field in [1u16, 1] {
        end.extend(field.to_le_bytes());
    }
    end.extend(short(len)?.to_le_bytes());
    end.extend(if is_large { ELSEWHERE } else { short(at)? }.to_le_bytes());
    end.extend([0; 2]);
    Ok(end)
}

/// The extra field with sizes of 64 bits.
fn sizes_64(sizes: &[u64]) -> Vec<u8> {
    let mut extra = 1u16.to_le_bytes().to_vec();
    extra.extend(16u16.to_le_bytes());
    sizes
        .iter()
        .for_each(|size| extra.extend(size.to_le_bytes()));
    extra
}

fn short(size: u64) -> Result<u32> {
    u32::try_from(size)
        .map_err(|_| Error::internal(format!("{size} bytes in a zip archive of the small kind")))
}

fn short_len(bytes: &[u8]) -> Result<u16> {
    u16::try_from(bytes.len())
        .map_err(|_| Error::internal("an extra field of a zip archive is too long"))
}
