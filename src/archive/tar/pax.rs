//! Extended headers: `LENGTH KEY=VALUE\n` records (POSIX.1-2001 pax; keys of GNU tar, star and libarchive).

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fs::{Timestamp, acl_from_text};

/// Longest extended header. All attributes Linux allows on a file are below 1 MiB, the rest is for sparse maps.
pub(super) const PAX_MAX: u64 = 8 << 20;
/// Longest name of an attribute (`XATTR_NAME_MAX` of Linux).
const XATTR_NAME_MAX: usize = 255;
/// Longest value of an attribute (`XATTR_SIZE_MAX` of Linux).
const XATTR_VALUE_MAX: usize = 1 << 16;
/// Bytes of all names of attributes of an entry (`XATTR_LIST_MAX` of Linux).
const XATTR_NAMES_MAX: usize = 1 << 16;

/// What extended headers say of an entry; `None` where they do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) device: (Option<u32>, Option<u32>),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of their names.
    xattr_names: usize,
    /// Access control lists in text form, which only a user database can translate.
    pub(super) acls: bool,
    pub(super) sparse: PaxSparse,
}

/// What the `GNU.sparse.*` keys say.
#[derive(Debug, Clone, Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// `GNU.sparse.size` (0.0, 0.1) or `GNU.sparse.realsize` (1.0).
    pub(super) realsize: Option<u64>,
    pub(super) numblocks: Option<u64>,
    /// `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn (0.0) or `GNU.sparse.map` (0.1).
    pub(super) numbers: Vec<u64>,
}

impl PaxSparse {
    pub(super) fn is_used(&self) -> bool {
        self.major.is_some() || self.realsize.is_some() || !self.numbers.is_empty()
    }
}

impl Pax {
    /// Adds the records of an extended header to those before it.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes)?;
            self.set(key, value).map_err(|error| {
                error.at(format!("pax record '{}'", String::from_utf8_lossy(key)))
            })?;
            bytes = rest;
        }
        Ok(())
    }

    /// The same for a header that counts for all entries that follow, where less makes sense.
    pub(super) fn read_global(&mut self, bytes: &[u8]) -> Result<()> {
        self.read(bytes)?;
        let single = self.path.is_some()
            || self.linkpath.is_some()
            || self.size.is_some()
            || self.sparse.is_used();
        if single || self.sparse.name.is_some() {
            return Err(Error::corrupt(
                "a global pax header gives all entries the same path, size or sparse map",
            ));
        }
        if !self.xattrs.is_empty() {
            return Err(Error::unsupported(
                "a global pax header gives all entries the same extended attributes",
            ));
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let decimal = || decimal(value);
        let sparse = &mut self.sparse;
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.linkpath = text(value)?,
            // An empty value takes a record back (POSIX), here as below.
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, || small(decimal()?))?,
            b"gid" => self.gid = optional(value, || small(decimal()?))?,
            b"mtime" => self.mtime = optional(value, || time(value))?,
            b"SCHILY.devmajor" => self.device.0 = optional(value, || small(decimal()?))?,
            b"SCHILY.devminor" => self.device.1 = optional(value, || small(decimal()?))?,
            b"SCHILY.acl.access" => self.acl(b"system.posix_acl_access", value)?,
            b"SCHILY.acl.default" => self.acl(b"system.posix_acl_default", value)?,
            b"SCHILY.acl.ace" => self.acls = true,
            b"RHT.security.selinux" => self.xattr(b"security.selinux".to_vec(), value.to_vec())?,
            b"GNU.sparse.major" => sparse.major = Some(decimal()?),
            b"GNU.sparse.minor" => sparse.minor = Some(decimal()?),
            b"GNU.sparse.name" => sparse.name = text(value)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse.realsize = Some(decimal()?),
            b"GNU.sparse.numblocks" => sparse.numblocks = Some(decimal()?),
            b"GNU.sparse.offset" => sparse.push(decimal()?, 0)?,
            b"GNU.sparse.numbytes" => sparse.push(decimal()?, 1)?,
            b"GNU.sparse.map" => sparse.map(value)?,
            _ => match (
                key.strip_prefix(b"SCHILY.xattr."),
                key.strip_prefix(b"LIBARCHIVE.xattr."),
            ) {
                (Some(name), _) => self.xattr(name.to_vec(), value.to_vec())?,
                (_, Some(name)) => self.xattr(percent_decoded(name)?, base64_decoded(value)?)?,
                _ => {}
            },
        }
        Ok(())
    }

    /// Sets an access control list that is told as text; one that cannot be taken over is noted.
    fn acl(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let text = str::from_utf8(value).ok();
        match text.map(acl_from_text) {
            Some(Ok(list)) => self.xattr(name.to_vec(), list),
            _ => {
                self.acls = true;
                Ok(())
            }
        }
    }

    /// Sets an attribute; a later record of the same name wins (libarchive writes every attribute in two forms).
    fn xattr(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<()> {
        if name.is_empty() || name.len() > XATTR_NAME_MAX || name.contains(&0) {
            return Err(Error::corrupt(format!(
                "an attribute name of {} bytes, 1 to {XATTR_NAME_MAX} without NUL are allowed",
                name.len()
            )));
        }
        if value.len() > XATTR_VALUE_MAX {
            return Err(Error::corrupt(format!(
                "an attribute of {} bytes, at most {XATTR_VALUE_MAX} are allowed",
                value.len()
            )));
        }
        let len = name.len() + 1;
        if self.xattrs.insert(name, value).is_none() {
            self.xattr_names += len;
        }
        if self.xattr_names > XATTR_NAMES_MAX {
            return Err(Error::corrupt(format!(
                "attribute names of more than {XATTR_NAMES_MAX} bytes"
            )));
        }
        Ok(())
    }
}

impl PaxSparse {
    /// Adds an offset (`parity` 0) or a length (1): they come in turn.
    fn push(&mut self, value: u64, parity: usize) -> Result<()> {
        if self.numbers.len() % 2 != parity {
            return Err(Error::corrupt(
                "offsets and lengths of a sparse map do not alternate",
            ));
        }
        self.numbers.push(value);
        Ok(())
    }

    fn map(&mut self, value: &[u8]) -> Result<()> {
        if !value.is_empty() {
            self.numbers = value
                .split(|&byte| byte == b',')
                .map(decimal)
                .collect::<Result<_>>()?;
        }
        Ok(())
    }
}

/// Takes the first record off: key, value, rest.
fn record(bytes: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let fault = || {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)])
            .escape_debug()
            .to_string();
        Error::corrupt(format!("'{shown}' is not a pax record 'LENGTH KEY=VALUE'"))
    };
    let blank = bytes
        .iter()
        .take(20)
        .position(|&byte| byte == b' ')
        .ok_or_else(fault)?;
    let len =
        usize::try_from(decimal(&bytes[..blank]).map_err(|_| fault())?).map_err(|_| fault())?;
    let line = bytes
        .get(blank + 1..len)
        .ok_or_else(fault)?
        .strip_suffix(b"\n")
        .ok_or_else(fault)?;
    let equals = line
        .iter()
        .position(|&byte| byte == b'=')
        .filter(|&at| at > 0)
        .ok_or_else(fault)?;
    Ok((&line[..equals], &line[equals + 1..], &bytes[len..]))
}

fn optional<T>(value: &[u8], read: impl Fn() -> Result<T>) -> Result<Option<T>> {
    if value.is_empty() {
        Ok(None)
    } else {
        read().map(Some)
    }
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(Error::corrupt("a name with a NUL byte"));
    }
    optional(value, || Ok(value.to_vec()))
}

fn small(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::corrupt(format!("{value} is not 0 to {}", u32::MAX)))
}

/// Decimal digits of a number of at most 63 bits: all sizes, and sums of two never overflow.
pub(super) fn decimal(digits: &[u8]) -> Result<u64> {
    let value = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit));
    value
        .and_then(|value| value.parse().ok())
        .filter(|&value| i64::try_from(value).is_ok())
        .ok_or_else(|| {
            let shown = String::from_utf8_lossy(&digits[..digits.len().min(40)])
                .escape_debug()
                .to_string();
            Error::corrupt(format!(
                "'{shown}' is not a decimal number of at most 63 bits"
            ))
        })
}

/// Seconds with a fraction, negative before 1970; digits beyond nanoseconds are cut off towards the past.
fn time(value: &[u8]) -> Result<Timestamp> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match digits.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &[][..]),
    };
    let secs =
        i64::try_from(decimal(whole)?).map_err(|_| Error::internal("decimals have 63 bits"))?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Error::corrupt("a time whose fraction is not a number"));
    }
    let (kept, cut) = fraction.split_at(fraction.len().min(9));
    let nanos = kept
        .iter()
        .chain(b"000000000")
        .take(9)
        .fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    if !negative {
        return Ok(Timestamp { secs, nanos });
    }
    let below = nanos + u32::from(cut.iter().any(|&digit| digit != b'0'));
    Ok(match below {
        0 => Timestamp {
            secs: -secs,
            nanos: 0,
        },
        _ => Timestamp {
            secs: -secs - 1,
            nanos: 1_000_000_000 - below,
        },
    })
}

/// libarchive writes attribute names as in an URL.
fn percent_decoded(name: &[u8]) -> Result<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|&digit| char::from(digit).to_digit(16))
        };
        let value = digit()
            .zip(digit())
            .and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        decoded.push(
            value.ok_or_else(|| {
                Error::corrupt("an attribute name with a '%' and no two hex digits")
            })?,
        );
    }
    Ok(decoded)
}

/// libarchive writes attribute values in base64, with or without `=` at the end.
fn base64_decoded(value: &[u8]) -> Result<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len() / 4 * 3 + 3);
    let mut bits = 0u32;
    let mut count = 0;
    for &byte in value.iter().filter(|byte| !b"=\n".contains(byte)) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return Err(Error::corrupt("an attribute value that is not base64")),
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.extend((bits >> count).to_le_bytes().first());
            bits &= (1 << count) - 1;
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let len = (1..)
                .map(|digits| body + digits)
                .find(|len| body + len.to_string().len() == *len)
                .unwrap();
            bytes.extend(format!("{len} {key}=").into_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes
    }

    fn read(records: &[(&str, &[u8])]) -> Result<Pax> {
        let mut read = Pax::default();
        read.read(&pax(records))?;
        Ok(read)
    }

    #[test]
    fn times_before_and_after_the_epoch() {
        for (text, secs, nanos) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("1.", 1, 0),
            ("-1", -1, 0),
            ("-1.5", -2, 500_000_000),
            ("-0.25", -1, 750_000_000),
            ("1.9999999999", 1, 999_999_999),
            ("-1.0000000001", -2, 999_999_999),
            ("-9223372036854775807.9", i64::MIN, 100_000_000),
        ] {
            assert_eq!(
                time(text.as_bytes()).unwrap(),
                Timestamp { secs, nanos },
                "{text}"
            );
        }
        for bad in ["", ".5", "--1", "1.x", "1e3", "9223372036854775808", "-"] {
            assert!(time(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn attributes_of_both_kinds_and_any_bytes() {
        let pax = read(&[
            ("SCHILY.xattr.user.a", b"\0\n=\xff"),
            ("LIBARCHIVE.xattr.user.b%3D%00c", b"AAECAw"),
            ("SCHILY.xattr.user.empty", b""),
            ("RHT.security.selinux", b"x:y:z"),
            ("comment", b"left out"),
        ]);
        assert!(pax.is_err(), "a NUL in a name");
        let pax = read(&[
            ("SCHILY.xattr.user.a", b"\0\n=\xff"),
            ("LIBARCHIVE.xattr.user.b%3d", b"AAEC/w=="),
            ("SCHILY.xattr.user.a", b""),
        ])
        .unwrap();
        let xattr = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let found: Vec<_> = pax.xattrs.into_iter().collect();
        assert_eq!(
            found,
            [xattr(b"user.a", b""), xattr(b"user.b=", b"\0\x01\x02\xff")]
        );
        assert!(read(&[("SCHILY.xattr.user.big", &[0; XATTR_VALUE_MAX + 1])]).is_err());
        assert!(read(&[(&format!("SCHILY.xattr.{}", "n".repeat(256)), b"")]).is_err());
        let many: Vec<String> = (0..300)
            .map(|n| format!("SCHILY.xattr.user.{n}.{}", "n".repeat(240)))
            .collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (&**name, &b""[..])).collect();
        assert!(read(&many).is_err());
    }

    #[test]
    fn records_that_lie_are_refused() {
        for bad in [
            &b"x"[..],
            b"0 a=b\n",
            b"4 a=b\n",
            b"99 a=b\n",
            b"6 a=b\nrest",
            b"5 a=b",
            b"5 =b\n",
            b"6  a=b\n",
            b"18446744073709551616 a=b\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"6 a_b\n",
        ] {
            assert!(
                Pax::default().read(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        for (key, value) in [
            ("size", "-1"),
            ("size", "9223372036854775808"),
            ("uid", "4294967296"),
            ("path", "a\0b"),
            ("GNU.sparse.map", "1,,2"),
            ("GNU.sparse.numbytes", "1"),
        ] {
            assert!(read(&[(key, value.as_bytes())]).is_err(), "{key}={value}");
        }
        assert!(
            Pax::default()
                .read_global(&pax(&[("path", b"all")]))
                .is_err()
        );
        assert!(
            Pax::default()
                .read_global(&pax(&[("GNU.sparse.map", b"0,1")]))
                .is_err()
        );
        assert!(
            Pax::default()
                .read_global(&pax(&[("comment", b"0123"), ("uid", b"5")]))
                .is_ok()
        );
    }

    #[test]
    fn an_empty_value_takes_a_record_back() {
        let pax = read(&[("uid", b"5"), ("mtime", b"1"), ("uid", b"")]).unwrap();
        assert_eq!(
            (pax.uid, pax.mtime),
            (None, Some(Timestamp { secs: 1, nanos: 0 }))
        );
    }
}
