//! Numbers, times and directory records (ECMA-119, 7 to 9; Rock Ridge of IEEE P1282).

use std::time::{Duration, UNIX_EPOCH};

use super::Place;
use super::on_disk::{
    Both16, Both32, DirectoryRecord, PosixAttributes, SystemUseField, TimeStamps,
};
use crate::error::{Error, Reason, Result};

/// Bytes of a logical block.
pub(super) const BLOCK: u64 = 2048;
/// The flag of a record that names a directory.
const DIRECTORY: u8 = 2;
/// The flag of Rock Ridge's times: there is that of the last change.
const LAST_CHANGE: u8 = 2;
/// Bytes before the data of a field in the system use area.
const FIELD_HEADER: usize = SystemUseField::<&[u8]>::SIZE;
/// The last second that a record's time can tell: the end of 2155.
const LAST_TIME: u64 = 5_869_583_999;

/// Year, month, day, hour, minute and second of a time in seconds since 1970, clamped to 1970 to 2155.
fn fields(time: i64) -> [u32; 6] {
    let secs = u64::try_from(time).unwrap_or(0).min(LAST_TIME);
    let text =
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs)).to_string();
    // 2024-01-31T23:59:59Z
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

/// The 7 bytes of a record's time, in UTC.
pub(super) fn short_time(time: i64) -> [u8; 7] {
    let [year, rest @ ..] = fields(time);
    let byte = |value: u32| u8::try_from(value).unwrap_or(0);
    let [month, day, hour, minute, second] = rest.map(byte);
    [
        byte(year.saturating_sub(1900)),
        month,
        day,
        hour,
        minute,
        second,
        0,
    ]
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
    let mut header = DirectoryRecord::zeroed();
    header.set_location_of_extent(Both32(place.block));
    header.set_data_length(Both32(place.bytes));
    header.set_recording_date(short_time(time));
    header.set_file_flags(if is_dir { DIRECTORY } else { 0 });
    header.set_volume_sequence_number(Both16(1));
    header.set_length_of_file_identifier(length(identifier.len())?);
    let mut bytes = header.into_inner();
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
    let whole = length(bytes.len())?;
    let mut record = DirectoryRecord::over(bytes)?;
    record.set_length(whole);
    Ok(record.into_inner())
}

/// Everything is owned by root: folders are 0555 and files 0444, as `mkisofs -r` has them.
fn rock_ridge(bytes: &mut Vec<u8>, posix: Posix<'_>, is_dir: bool, time: i64) -> Result<()> {
    if posix.root {
        // The check bytes, and nothing to skip.
        put_field(bytes, *b"SP", &[0xbe, 0xef, 0])?;
    }
    let mut attributes = PosixAttributes::zeroed();
    attributes.set_file_mode(Both32(if is_dir { 0o040_555 } else { 0o100_444 }));
    attributes.set_links(Both32(posix.nlink));
    put_field(bytes, *b"PX", &attributes.bytes()[FIELD_HEADER..])?;
    let mut times = TimeStamps::zeroed();
    times.set_flags(LAST_CHANGE);
    times.set_modify(short_time(time));
    put_field(bytes, *b"TF", &times.bytes()[FIELD_HEADER..])?;
    if !posix.name.is_empty() {
        // No flags: the name is whole.
        put_field(bytes, *b"NM", &[&[0], posix.name.as_bytes()].concat())?;
    }
    if posix.root {
        // The lengths of identifier, description and source, the version, the identifier.
        put_field(bytes, *b"ER", b"\x0a\0\0\x01RRIP_1991A")?;
    }
    Ok(())
}

/// Appends a field of the system use area: its header and its data.
fn put_field(bytes: &mut Vec<u8>, signature: [u8; 2], data: &[u8]) -> Result<()> {
    let mut header = SystemUseField::zeroed();
    header.set_signature(signature);
    header.set_length(length(FIELD_HEADER + data.len())?);
    header.set_version(1);
    bytes.extend_from_slice(header.bytes());
    bytes.extend_from_slice(data);
    Ok(())
}

fn length(len: usize) -> Result<u8> {
    u8::try_from(len).map_err(|_| {
        Error::unsupported(format!(
            "a directory record of {len} bytes: at most 255 fit"
        ))
        .because(Reason::Limit)
    })
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
