//! When something is tried again.

use std::time::{Duration, SystemTime};

/// What failed for a passing reason is tried again: connections that break off or stall, servers that are busy (408, 429) or
/// in trouble (5xx).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// How often, after the first try. A try that brought a good deal of the file is a first one again.
    pub count: u32,
    /// The wait before the second try; each one after it is twice as long.
    pub first_wait: Duration,
    /// No wait is longer, whatever a server asks for.
    pub longest_wait: Duration,
    /// Waits are up to a half shorter, by this number and the URL, so that many machines do not come back at once.
    pub seed: u64,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            count: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(120),
            seed: 0,
        }
    }
}

impl Retries {
    /// The wait after so many failures (from 1) of what is called `name`, where the server asked for `asked`.
    pub(super) fn wait(&self, name: &str, failures: u32, asked: Option<Duration>) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let usual = self.first_wait.saturating_mul(1 << doublings);
        let usual = usual.min(self.longest_wait);
        let off = jitter(self.seed, name, failures);
        let shorter = usual - usual.mul_f64(off / 2.0);
        // A server's wish is a least.
        shorter.max(asked.unwrap_or_default().min(self.longest_wait))
    }
}

/// A number from 0 to below 1, the same for the same arguments.
fn jitter(seed: u64, name: &str, failures: u32) -> f64 {
    let mut state = seed ^ (u64::from(failures) << 32);
    for byte in name.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The end of SplitMix64 spreads neighbours.
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^= state >> 31;
    let top = u32::try_from(state >> 32).unwrap_or_default();
    f64::from(top) / (f64::from(u32::MAX) + 1.0)
}

/// The wait of a header `Retry-After`: seconds, or a time, held against the server's own `Date` where it sent one, and
/// otherwise against `now`. What cannot be understood asks for nothing.
pub(super) fn asked(retry_after: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = retry_after.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = time(value)?;
    let from = date.and_then(time).unwrap_or(now);
    Some(until.duration_since(from).unwrap_or_default())
}

/// The time that `Sun, 06 Nov 1994 08:49:37 GMT` is, the form that servers must send.
fn time(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.trim().split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, clock, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{clock}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_differ_by_seed() {
        let retries = Retries::default();
        let wait = |failures| retries.wait("https://host/a", failures, None).as_secs_f64();
        for (failures, usual) in [(1, 1.0), (2, 2.0), (3, 4.0), (8, 120.0), (u32::MAX, 120.0)] {
            let wait = wait(failures);
            assert!(wait > usual / 2.0 && wait <= usual, "{failures}: {wait}");
        }
        let others = (0..100).map(|seed| {
            let retries = Retries {
                seed,
                ..Retries::default()
            };
            retries.wait("https://host/a", 1, None)
        });
        let mut others: Vec<Duration> = others.collect();
        others.sort();
        others.dedup();
        assert!(others.len() > 95, "{}", others.len());
        assert!(others[99 - 4] - others[0] > Duration::from_millis(400));
        assert_eq!(retries.wait("x", 2, None), retries.wait("x", 2, None));
    }

    #[test]
    fn a_server_is_given_the_time_it_asks_for_within_reason() {
        let retries = Retries::default();
        let seconds = Duration::from_secs;
        assert_eq!(retries.wait("x", 1, Some(seconds(30))), seconds(30));
        assert_eq!(retries.wait("x", 1, Some(seconds(86400))), seconds(120));
        assert!(retries.wait("x", 1, Some(seconds(0))) > seconds(0));
    }

    #[test]
    fn headers_ask_in_seconds_and_by_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let ask =
            |value: &str, date: Option<&str>| asked(value, date, now).map(|wait| wait.as_secs());
        assert_eq!(ask(" 17 ", None), Some(17));
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:47 GMT", None), Some(10));
        assert_eq!(ask("Sun, 06 Nov 1994 08:49:27 GMT", None), Some(0));
        let date = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(ask("Sun, 06 Nov 1994 08:50:00 GMT", date), Some(60));
        for nonsense in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Foo 1994 08:49:47 GMT",
            "Sun, 06",
            "x, y",
        ] {
            assert_eq!(ask(nonsense, None), None, "{nonsense}");
        }
    }
}
