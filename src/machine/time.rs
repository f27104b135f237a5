//! Times as config files tell them: UTC, in the years 1970 to 9999.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// `2024-01-31T12:00:00Z`; times outside of those years are moved to their nearest end.
pub(super) fn iso(time: i64) -> String {
    let seconds = u64::try_from(time).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// `2024-01-31 12:00:00`, otherwise the same.
pub(super) fn spaced(time: i64) -> String {
    iso(time).replace('T', " ").replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_within_four_digits() {
        assert_eq!(iso(1_706_702_400), "2024-01-31T12:00:00Z");
        assert_eq!(spaced(1_706_702_400), "2024-01-31 12:00:00");
        assert_eq!(iso(i64::MIN), "1970-01-01T00:00:00Z");
        assert_eq!(iso(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
