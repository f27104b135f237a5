//! Parts of files: what is asked for, and what an answer says it is.

use ureq::http::{HeaderMap, header};

/// The part of a file that an answer holds, as its `Content-Range` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First and last byte; none where the range asked for is beyond the end.
    pub part: Option<(u64, u64)>,
    /// The length of the whole file, where it is known.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-99/200`, `bytes 0-99/*` or `bytes */200`.
    pub fn parse(text: &str) -> Option<Self> {
        let (part, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let total = match total {
            "*" => None,
            digits => Some(number(digits)?),
        };
        let part = match part {
            "*" => None,
            part => {
                let (first, last) = part.split_once('-')?;
                Some((number(first)?, number(last)?))
            }
        };
        let sound = match (part, total) {
            (Some((first, last)), Some(total)) => first <= last && last < total,
            (Some((first, last)), None) => first <= last && last < u64::MAX,
            (None, total) => total.is_some(),
        };
        sound.then_some(Self { part, total })
    }

    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(text(headers, header::CONTENT_RANGE.as_str())?)
    }
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The length of what follows the head, where it is one number.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(text(headers, header::CONTENT_LENGTH.as_str())?.trim())
}

/// What tells one state of a file from another: an `ETag` that is for bytes, or the time of its last change.
pub(super) fn validator(headers: &HeaderMap) -> Option<String> {
    let strong = |tag: &&str| tag.starts_with('"');
    text(headers, header::ETAG.as_str())
        .filter(strong)
        .or_else(|| text(headers, header::LAST_MODIFIED.as_str()))
        .map(str::to_owned)
}

/// A header's value, where it is text.
pub(in crate::fetch) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_must_make_sense() {
        let read = |text| ContentRange::parse(text).map(|range| (range.part, range.total));
        assert_eq!(read("bytes 0-99/200"), Some((Some((0, 99)), Some(200))));
        assert_eq!(read("bytes 5-5/*"), Some((Some((5, 5)), None)));
        assert_eq!(read("bytes */200"), Some((None, Some(200))));
        let wrong = [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 9-5/200",
            "bytes 0-200/200",
            "bytes */*",
            "bytes -5/200",
            "bytes 0-/200",
            "bytes +0-5/200",
            "lines 0-5/200",
            "bytes 0-18446744073709551615/*",
            "bytes 0-99/18446744073709551616",
        ];
        for wrong in wrong {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn weak_tags_tell_nothing_of_bytes() {
        let headers = |all: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.insert(*name, value.parse().unwrap());
            }
            validator(&headers)
        };
        assert_eq!(
            headers(&[("etag", "\"a\""), ("last-modified", "x")]).unwrap(),
            "\"a\""
        );
        assert_eq!(
            headers(&[("etag", "W/\"a\""), ("last-modified", "x")]).unwrap(),
            "x"
        );
        assert_eq!(headers(&[("etag", "W/\"a\"")]), None);
    }
}
