//! Numbers, times and directory records (ECMA-119, 7 to 9; Rock Ridge of IEEE P1282).

use std::time::{Duration, UNIX_EPOCH};

use super::Place;
use crate::error::{Error, Result};

/// Bytes of a logical block.
pub(super) const BLOCK: u64 = 2048;
/// The flag of a record that names a directory.
const DIRECTORY: u8 = 2;
/// The last second that a record's time can tell: the end of 2155.
const LAST_TIME: u64 = 5_869_583_999;

/// A number in both byte orders.
pub(super) fn both32(value: u32) -> [u8; 8] {
    let [a, b, c, d] = value.to_le_bytes();
    [a, b, c, d, d, c, b, a]
}

/// A number in both byte orders.
pub(super) fn both16(value: u16) -> [u8; 4] {
    let [a, b] = value.to_le_bytes();
    [a, b, b, a]
}

/// Year, month, day, hour, minute and second of a time in seconds since 1970, clamped to 1970 to 2155.
fn fields(time: i64) -> [u32; 6] {
    let secs = u64::try_from(time).unwrap_or(0).min(LAST_TIME);
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs)).to_string();
    // 2024-01-31T23:59:59Z
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// The 7 bytes of a record's time, in UTC.
pub(super) fn short_time(time: i64) -> [u8; 7] {
    let [year, rest @ ..] = fields(time);
    let byte = |value: u32| u8::try_from(value).unwrap_or(0);
    let [month, day, hour, minute, second] = rest.map(byte);
    [byte(year.saturating_sub(1900)), month, day, hour, minute, second, 0]
}

/// The 17 bytes of a descriptor's time, in UTC.
pub(super) fn long_time(time: i64) -> [u8; 17] {
    let [year, month, day, hour, minute, second] = fields(time);
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0");
    std::array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(0))
}

/// What Rock Ridge tells of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Posix<'a> {
    /// Empty for `.` and `..`.
    pub name: &'a str,
    pub nlink: u32,
    /// Whether it is the root's `.`, which says that Rock Ridge is used at all.
    pub root: bool,
}

/// A directory record.
pub(super) fn record(
    identifier: &[u8],
    place: Place,
    is_dir: bool,
    time: i64,
    posix: Option<Posix<'_>>,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&both32(place.block));
    bytes.extend_from_slice(&both32(place.bytes));
    bytes.extend_from_slice(&short_time(time));
    bytes.extend_from_slice(&[if is_dir { DIRECTORY } else { 0 }, 0, 0]);
    bytes.extend_from_slice(&both16(1));
    bytes.push(length(identifier.len())?);
    bytes.extend_from_slice(identifier);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    if let Some(posix) = posix {
        rock_ridge(&mut bytes, posix, is_dir, time)?;
    }
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes[0] = length(bytes.len())?;
    Ok(bytes)
}

/// Everything is owned by root: folders are 0555 and files 0444, as `mkisofs -r` has them.
fn rock_ridge(bytes: &mut Vec<u8>, posix: Posix<'_>, is_dir: bool, time: i64) -> Result<()> {
    if posix.root {
        bytes.extend_from_slice(b"SP\x07\x01\xbe\xef\0");
    }
    let mode = if is_dir { 0o040_555 } else { 0o100_444 };
    bytes.extend_from_slice(b"PX\x24\x01");
    for number in [mode, posix.nlink, 0, 0] {
        bytes.extend_from_slice(&both32(number));
    }
    // One time: the last change.
    bytes.extend_from_slice(b"TF\x0c\x01\x02");
    bytes.extend_from_slice(&short_time(time));
    if !posix.name.is_empty() {
        bytes.extend_from_slice(&[b'N', b'M', length(5 + posix.name.len())?, 1, 0]);
        bytes.extend_from_slice(posix.name.as_bytes());
    }
    if posix.root {
        bytes.extend_from_slice(b"ER\x12\x01\x0a\0\0\x01RRIP_1991A");
    }
    Ok(())
}

fn length(len: usize) -> Result<u8> {
    u8::try_from(len).map_err(|_| Error::unsupported(format!("a directory record of {len} bytes: at most 255 fit")))
}

/// Appends a record to a directory: it must not lie across two blocks.
pub(super) fn append(directory: &mut Vec<u8>, record: &[u8]) {
    const SIZE: usize = 2048;
    if directory.len() % SIZE + record.len() > SIZE {
        directory.resize(directory.len().next_multiple_of(SIZE), 0);
    }
    directory.extend_from_slice(record);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_clamped() {
        assert_eq!(&long_time(1_706_745_599), b"2024013123595900\0");
        assert_eq!(short_time(1_706_745_599), [124, 1, 31, 23, 59, 59, 0]);
        assert_eq!(short_time(-1), [70, 1, 1, 0, 0, 0, 0]);
        assert_eq!(short_time(i64::MAX), [255, 12, 31, 23, 59, 59, 0]);
    }
}
