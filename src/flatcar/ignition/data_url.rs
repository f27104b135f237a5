//! `data:` URLs (RFC 2397), as Ignition reads and Butane writes them.

use base64::Engine;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{alphabet, engine::general_purpose::STANDARD};

/// The alphabet of RFC 4648 with padding, whose spare bits may be anything: so Ignition reads it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);
/// What need not be escaped in what Butane writes, besides letters and digits.
const UNESCAPED: &[u8] = b"!'()*-._~";
/// What Ignition takes without an escape, besides letters and digits.
const TAKEN: &[u8] = b"!$&'()*+,-./:;=?@_~";
/// What names and values of media types are made of, besides letters and digits (RFC 2045).
const TOKEN: &[u8] = b"!#$&'*+-.^_`{|}~";

/// The bytes of a `data:` URL.
///
/// # Errors
/// What Ignition would refuse, in words that go behind "which".
pub(in crate::flatcar) fn decode(url: &str) -> Result<Vec<u8>, String> {
    let rest = url
        .strip_prefix("data:")
        .ok_or("does not begin with data: in small letters")?;
    let comma = end_of_head(rest).ok_or("has no comma in front of its data")?;
    let data = &rest[comma + 1..];
    if !is_base64(&rest[..comma])? {
        return unescape(data);
    }
    if let Some(c) = data
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"+/=".contains(*c))
    {
        return Err(format!("has '{}' in its base64", c.escape_debug()));
    }
    LENIENT
        .decode(data)
        .map_err(|error| format!("is not base64: {error}"))
}

/// Where the comma is in front of the data: not one between quotes.
fn end_of_head(rest: &str) -> Option<usize> {
    let mut is_quoted = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether the media type and its parameters end in `;base64`.
fn is_base64(head: &str) -> Result<bool, String> {
    let mut parts = head.split(';');
    let media_type = parts.next().unwrap_or_default();
    if !media_type.is_empty() && !is_media_type(media_type) {
        return Err("has no proper media type".to_owned());
    }
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if part == "base64" && parts.peek().is_none() {
            return Ok(true);
        }
        let is_parameter = part
            .split_once('=')
            .is_some_and(|(name, value)| is_token(name) && is_value(value));
        if !is_parameter {
            return Err(format!("has no proper parameter '{}'", part.escape_debug()));
        }
    }
    Ok(false)
}

fn is_media_type(text: &str) -> bool {
    let Some((name, subtype)) = text.split_once('/') else {
        return false;
    };
    let is_small = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
    is_token(name) && is_small(text) && (subtype.is_empty() || is_token(subtype))
}

fn is_value(text: &str) -> bool {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(|inner| !inner.contains('"')) || is_token(text)
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || TOKEN.contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

fn unescape(data: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(data.len());
    let mut rest = data.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let value = digit()
                    .zip(digit())
                    .and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                bytes.push(value.ok_or("has a % without two hexadecimal digits behind it")?);
            }
            byte if byte.is_ascii_alphanumeric() || TAKEN.contains(&byte) => bytes.push(byte),
            byte if byte.is_ascii_graphic() => {
                return Err(format!(
                    "has '{}', which must be written as %{byte:02X}",
                    char::from(byte)
                ));
            }
            _ => return Err(format!("has a byte that must be written as %{byte:02X}")),
        }
    }
    Ok(bytes)
}

/// `content` as a URL with escapes.
pub(in crate::flatcar) fn escaped(content: &[u8]) -> String {
    let mut url = "data:,".to_owned();
    for byte in content {
        if byte.is_ascii_alphanumeric() || UNESCAPED.contains(byte) {
            url.push(char::from(*byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// `content` as a URL in base64.
pub(in crate::flatcar) fn base64(content: &[u8]) -> String {
    format!("data:;base64,{}", STANDARD.encode(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&escaped(&all)).unwrap(), all);
        assert_eq!(decode(&base64(&all)).unwrap(), all);
        assert_eq!(
            escaped(b"a b/!'()*-._~\n\xc3\xa4+"),
            "data:,a%20b%2F!'()*-._~%0A%C3%A4%2B"
        );
        assert_eq!(escaped(b""), "data:,");
    }

    #[test]
    fn urls_are_read_as_ignition_reads_them() {
        for (url, content) in [
            ("data:,", ""),
            ("data:,%41b", "Ab"),
            ("data:;base64,", ""),
            ("data:;base64,YQ==", "a"),
            ("data:;base64,YR==", "a"),
            ("data:text/plain;charset=utf-8,x", "x"),
            ("data:text/plain;charset=\"a,b\";base64,eA==", "x"),
            ("data:application/x+y.z-1,a,b;c", "a,b;c"),
            ("data:text/,x", "x"),
        ] {
            assert_eq!(decode(url).unwrap(), content.as_bytes(), "{url}");
        }
        for url in [
            "data:",
            "data:abc",
            "DATA:,x",
            "data:foo,x",
            "data:TEXT/plain,x",
            "data:/plain,x",
            "data:;charset,x",
            "data:;base64;a=b,YQ==",
            "data:;BASE64,YQ==",
            "data:a/b/c,x",
            "data:,a b",
            "data:,%4",
            "data:,%zz",
            "data:,ä",
            "data:,a#b",
            "data:;base64,YQ=",
            "data:;base64,Y-_=",
            "data:;base64,YQ%3D%3D",
            "data:;=x,y",
        ] {
            assert!(decode(url).is_err(), "{url}");
        }
    }
}
