//! Times: local ones without a zone, taken as UTC; from 1980 to 2107 in steps of two seconds.

use crate::fs::Timestamp;

/// 1980-01-01T00:00:00Z, the first time FAT can store.
const FIRST: i64 = 315_532_800;
/// 2107-12-31T23:59:58Z, the last one.
const LAST: i64 = 4_354_819_198;
const FIRST_YEAR: u16 = 1980;
const SECONDS_PER_DAY: i64 = 86_400;

/// A date and a time of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FatTime {
    /// Years since 1980, month and day from 1 on: 7, 4 and 5 bits.
    pub date: u16,
    /// Hours, minutes and half the seconds: 5, 6 and 5 bits.
    pub time: u16,
}

fn days_of_year(year: u16) -> u32 {
    // 2100 is the one year of these that is no leap year though it is a multiple of four.
    if year.is_multiple_of(4) && year != 2100 {
        366
    } else {
        365
    }
}

fn days_of_month(year: u16, month: u16) -> u32 {
    match month {
        2 => days_of_year(year) - 337,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FatTime {
    /// The nearest time FAT can store: 1980 to 2107, rounded down to an even second.
    pub(super) fn nearest(secs: i64) -> Self {
        let since = u32::try_from(secs.clamp(FIRST, LAST) - FIRST).unwrap_or(0);
        let mut days = since / 86_400;
        let mut year = FIRST_YEAR;
        while days >= days_of_year(year) {
            days -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while days >= days_of_month(year, month) {
            days -= days_of_month(year, month);
            month += 1;
        }
        let second = since % 86_400;
        let part = |value: u32| u16::try_from(value).unwrap_or(0);
        Self {
            date: (year - FIRST_YEAR) << 9 | month << 5 | part(days + 1),
            time: part(second / 3600) << 11 | part(second / 60 % 60) << 5 | part(second % 60 / 2),
        }
    }

    /// The stored time, or 1970 where none (or no valid one) is stored.
    pub(super) fn timestamp(self) -> Timestamp {
        Timestamp {
            secs: self.secs().unwrap_or(0),
            nanos: 0,
        }
    }

    fn secs(self) -> Option<i64> {
        let year = FIRST_YEAR + (self.date >> 9);
        let month = self.date >> 5 & 0xF;
        let day = u32::from(self.date & 0x1F);
        let hour = i64::from(self.time >> 11);
        let minute = i64::from(self.time >> 5 & 0x3F);
        let second = i64::from(self.time & 0x1F) * 2;
        let valid_date =
            (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
        if !valid_date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let years: u32 = (FIRST_YEAR..year).map(days_of_year).sum();
        let months: u32 = (1..month).map(|month| days_of_month(year, month)).sum();
        Some(
            FIRST
                + i64::from(years + months + day - 1) * SECONDS_PER_DAY
                + hour * 3600
                + minute * 60
                + second,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_clamped_and_even() {
        let at = |secs| FatTime::nearest(secs).timestamp().secs;
        assert_eq!((at(0), at(i64::MIN), at(FIRST + 1)), (FIRST, FIRST, FIRST));
        assert_eq!(
            (at(i64::MAX), at(1_700_000_001), at(LAST)),
            (LAST, 1_700_000_000, LAST)
        );
        let time = |date, time| FatTime { date, time };
        assert_eq!(
            FatTime::nearest(1_706_745_599),
            time(44 << 9 | 1 << 5 | 31, 23 << 11 | 59 << 5 | 29)
        );
        assert_eq!(FatTime::nearest(-1), time(1 << 5 | 1, 0));
        assert_eq!(
            FatTime::nearest(i64::MAX),
            time(127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29)
        );
    }

    #[test]
    fn every_day_is_itself() {
        let mut dates = std::collections::BTreeSet::new();
        for secs in (FIRST..LAST).step_by(86_400) {
            let time = FatTime::nearest(secs + 3662);
            assert_eq!(time.timestamp().secs, secs + 3662);
            assert!(dates.insert(time.date));
        }
        assert_eq!(dates.len(), 46_751);
    }

    #[test]
    fn times_that_are_none_are_1970() {
        for (date, time) in [
            (0, 0),
            (13 << 5 | 1, 0),
            (2 << 5 | 30, 0),
            (1 << 5 | 1, 24 << 11),
            (1 << 5 | 1, 30),
        ] {
            assert_eq!(
                FatTime { date, time }.timestamp(),
                Timestamp::default(),
                "{date} {time}"
            );
        }
    }
}
