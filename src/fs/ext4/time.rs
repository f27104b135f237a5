//! Times of inodes.
//!
//! A time is 32 signed bits of seconds and, in an extra word, 30 bits of nanoseconds over 2 bits that carry the
//! seconds on to the year 2446.

use super::halves::low32;
use super::raw_inode::{OLD_SIZE, RawInode};
use crate::error::{Error, Result};
use crate::fs::Timestamp;

/// Which of the four times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    /// `i_atime`
    Access,
    /// `i_ctime`
    Change,
    /// `i_mtime`
    Modification,
    /// `i_crtime`
    Creation,
}

impl Time {
    /// All four.
    pub(super) const ALL: [Self; 4] = [
        Self::Access,
        Self::Change,
        Self::Modification,
        Self::Creation,
    ];
}

/// One of the times of a raw inode; 1970 where the inode has no room for it.
pub(super) fn get(raw: &RawInode<Vec<u8>>, which: Time) -> Timestamp {
    let extra = raw.extra();
    let (seconds, extra) = match which {
        Time::Access => (raw.i_atime(), extra.i_atime_extra()),
        Time::Change => (raw.i_ctime(), extra.i_ctime_extra()),
        Time::Modification => (raw.i_mtime(), extra.i_mtime_extra()),
        Time::Creation => (extra.i_crtime(), extra.i_crtime_extra()),
    };
    Timestamp {
        secs: i64::from(seconds) + (i64::from(extra & 3) << 32),
        nanos: (extra >> 2).min(999_999_999),
    }
}

/// Stores a time in a raw inode; nothing where the inode has no room for it. See [`check`].
pub(super) fn set(raw: &mut RawInode<Vec<u8>>, which: Time, value: Timestamp) {
    let seconds = low32(value.secs.cast_unsigned()).cast_signed();
    // check bounds the difference to 0 to 3.
    let epoch = u32::try_from((value.secs - i64::from(seconds)) >> 32).unwrap_or(0) & 3;
    let nanos_and_epoch = value.nanos << 2 | epoch;
    let mut extra = raw.extra();
    match which {
        Time::Access => {
            raw.set_atime(seconds);
            extra.set_atime_extra(nanos_and_epoch);
        }
        Time::Change => {
            raw.set_ctime(seconds);
            extra.set_ctime_extra(nanos_and_epoch);
        }
        Time::Modification => {
            raw.set_mtime(seconds);
            extra.set_mtime_extra(nanos_and_epoch);
        }
        Time::Creation => {
            extra.set_crtime(seconds);
            extra.set_crtime_extra(nanos_and_epoch);
        }
    }
    raw.set_extra(&extra);
}

/// Refuses times that inodes of this filesystem cannot hold.
pub(super) fn check(inode_size: u16, time: Timestamp) -> Result<()> {
    let first = i64::from(i32::MIN);
    let (last, until) = if usize::from(inode_size) > OLD_SIZE {
        (i64::from(i32::MAX) + (3 << 32), "2446")
    } else {
        (i64::from(i32::MAX), "2038")
    };
    if (first..=last).contains(&time.secs) && time.nanos < 1_000_000_000 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the time {} s {} ns cannot be stored: seconds must be {first} (1901) to {last} ({until}), nanoseconds below 10^9",
        time.secs, time.nanos
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_from_1901_to_2446_come_back() {
        let mut raw = vec![0; 256];
        raw[OLD_SIZE] = 32;
        let mut raw = RawInode::over(raw).unwrap();
        for secs in [
            i64::from(i32::MIN),
            -1,
            0,
            1,
            0x7FFF_FFFF,
            0x8000_0000,
            0x1_8000_0000,
            0x3_7FFF_FFFF,
        ] {
            let stamp = Timestamp {
                secs,
                nanos: 999_999_999,
            };
            check(256, stamp).unwrap();
            set(&mut raw, Time::Creation, stamp);
            assert_eq!(get(&raw, Time::Creation), stamp, "{secs}");
        }
        assert!(
            check(
                256,
                Timestamp {
                    secs: 0x3_8000_0000,
                    nanos: 0
                }
            )
            .is_err()
        );
        assert!(
            check(
                128,
                Timestamp {
                    secs: 0x8000_0000,
                    nanos: 0
                }
            )
            .is_err()
        );
        assert!(
            check(
                256,
                Timestamp {
                    secs: 0,
                    nanos: 1_000_000_000
                }
            )
            .is_err()
        );
    }

    #[test]
    fn fields_without_room_are_left_alone() {
        let mut raw = RawInode::over(vec![0; 128]).unwrap();
        set(&mut raw, Time::Creation, Timestamp { secs: 5, nanos: 5 });
        assert_eq!(raw.bytes(), vec![0; 128]);
        set(&mut raw, Time::Access, Timestamp { secs: 5, nanos: 5 });
        assert_eq!(get(&raw, Time::Access), Timestamp { secs: 5, nanos: 0 });
    }
}
