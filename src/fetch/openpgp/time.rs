//! Times of keys and signatures: whole seconds since 1970.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// The last second of the year 9999, behind which calendars here do not go.
const LAST: u64 = 253_402_300_799;

/// A time in whole seconds, from 1970 to 9999; what lies outside is moved to the nearest end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// So many seconds after 1970-01-01T00:00:00Z.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.min(LAST))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// So many days later.
    #[must_use]
    pub fn days_later(self, days: u32) -> Self {
        Self::from_seconds(self.0 + u64::from(days) * 86_400)
    }

    /// `2024-01-31`
    pub fn date(self) -> String {
        let text = self.to_string();
        text.split_once('T')
            .map_or(text.clone(), |(date, _)| date.to_owned())
    }

    pub(super) fn system(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_seconds(since.as_secs())
    }
}

/// `2024-01-31T12:00:00Z`
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.system()).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_within_the_calendar() {
        let time = Time::from_seconds(1_706_702_400);
        assert_eq!(time.to_string(), "2024-01-31T12:00:00Z");
        assert_eq!(time.days_later(1).date(), "2024-02-01");
        assert_eq!(
            Time::from_seconds(u64::MAX).to_string(),
            "9999-12-31T23:59:59Z"
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Time::from(before).seconds(), 0);
    }
}
