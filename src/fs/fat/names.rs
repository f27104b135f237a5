//! What FAT can store of names and times.

use hadris_fs::DateTime;

use crate::error::{Error, Result};
use crate::fs::{FsPath, Timestamp};

/// UTF-16 units in the longest name.
const UNITS_MAX: usize = 255;
/// UTF-16 units in one directory slot of a long name.
const UNITS_PER_SLOT: usize = 13;
/// 1980-01-01T00:00:00Z, the first time FAT can store.
const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:58Z, the last one.
const LAST: i64 = 4_354_819_198;

/// The last name of `path`, checked against the rules for names in FAT directories.
pub(super) fn storable(path: &FsPath) -> Result<&str> {
    let refuse = |rule: &str| Err(Error::invalid(format!("FAT cannot hold this name: it {rule}")).at(path.to_string()));
    let Some(name) = path.name() else {
        return Err(Error::invalid("the root directory cannot be created, replaced, moved or removed"));
    };
    let Ok(name) = std::str::from_utf8(name) else {
        return refuse("is not UTF-8");
    };
    let forbidden = |c: &char| c.is_ascii_control() || "\"*:<>?\\|".contains(*c);
    if let Some(character) = name.chars().find(forbidden) {
        return refuse(&format!("contains {character:?} (forbidden are control characters and \" * : < > ? \\ |)"));
    }
    if name.ends_with(['.', ' ']) {
        return refuse("ends with a dot or a space");
    }
    let units = name.encode_utf16().count();
    if units > UNITS_MAX {
        return refuse(&format!("has {units} UTF-16 units, at most {UNITS_MAX} are allowed"));
    }
    Ok(name)
}

/// Checks the last name of `path` against the rules for names in FAT directories, without looking at a volume.
pub fn check_name(path: &FsPath) -> Result<()> {
    storable(path).map(|_| ())
}

/// Directory slots that a new entry may need: its long name and the entry itself.
pub(super) fn slots(name: &str) -> usize {
    name.encode_utf16().count().div_ceil(UNITS_PER_SLOT) + 1
}

/// The nearest time FAT can store: 1980 to 2107, rounded down to an even second.
pub(super) fn time(wanted: Timestamp) -> Result<DateTime> {
    let secs = wanted.secs.clamp(FIRST, LAST);
    DateTime::from_unix_seconds(secs - secs.rem_euclid(2)).map_err(|error| Error::internal(error.to_string()))
}

/// The stored time, or 1970 where none (or no valid one) is stored.
pub(super) fn timestamp(stored: Option<DateTime>) -> Timestamp {
    stored.map(|time| Timestamp { secs: time.unix_seconds(), nanos: time.nanoseconds() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_cannot_hold_are_named_with_the_rule() {
        let bad: [(&[u8], &str); 8] = [
            (b"/a/x?", "contains '?'"),
            (b"/a\x01", "contains '\\u{1}'"),
            (b"/a\x7f", "contains '\\u{7f}'"),
            (b"/a\\b", "contains '\\\\'"),
            (b"/a.", "ends with a dot"),
            (b"/a ", "ends with a dot or a space"),
            (b"/a\xff", "not UTF-8"),
            (b"/", "root"),
        ];
        for (path, rule) in bad {
            let error = storable(&FsPath::new(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(rule), "{error}");
        }
        for good in ["/a b.c", "/.hidden", "/+,;=[]", "/ä€😀", "/con"] {
            assert!(storable(&FsPath::new(good).unwrap()).is_ok(), "{good}");
        }
        assert_eq!((slots("a"), slots("abcdefghijklm"), slots("abcdefghijklmn")), (2, 2, 3));
    }

    #[test]
    fn times_are_clamped_and_even() {
        let at = |secs| timestamp(Some(time(Timestamp { secs, nanos: 7 }).unwrap())).secs;
        assert_eq!((at(0), at(i64::MIN), at(FIRST + 1)), (FIRST, FIRST, FIRST));
        assert_eq!((at(i64::MAX), at(1_700_000_001), at(LAST)), (LAST, 1_700_000_000, LAST));
    }
}
