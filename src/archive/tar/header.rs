//! The 512-byte header: ustar (POSIX.1-1988), GNU, V7 and star (`tar.h`; "Basic Tar Format" in the GNU tar manual).
//!
//! ```text
//!  0 name 100 │ mode 8 │ uid 8 │ gid 8 │ size 12 │ mtime 12 │ chksum 8 │ typeflag 1 │ linkname 100 │ magic 6 version 2
//!  265 uname 32 │ gname 32 │ devmajor 8 │ devminor 8 │ 345 prefix 155 (ustar) or, in GNU headers of sparse files:
//!  345 atime 12 │ ctime 12 │ offset 12 │ longnames 4 │ 1 │ 386 sp 4 * (offset 12, numbytes 12) │ isextended │ 483 realsize
//! ```

use crate::error::{Error, Reason, Result};
use crate::fs::Timestamp;

/// Size of a header and unit of everything in an archive.
pub(super) const BLOCK: usize = 512;

/// A block of an archive.
pub(super) type Block = [u8; BLOCK];

/// Which layout the bytes behind the magic have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// No magic: nothing behind the link name means anything.
    V7,
    /// ustar: a prefix of 155 bytes.
    Ustar,
    /// star: a prefix of 131 bytes.
    Star,
    /// GNU.
    Gnu,
}

/// A header whose checksum is right.
#[derive(Debug, Clone)]
pub(super) struct Header {
    block: Block,
    pub(super) layout: Layout,
}

impl Header {
    /// Checks a block that is not all zeroes.
    pub(super) fn new(block: Block) -> Result<Self> {
        let stored = number("chksum", &block[148..156])?;
        let sum = |value: fn(u8) -> i64| {
            block.iter().map(|&byte| value(byte)).sum::<i64>()
                - block[148..156].iter().map(|&byte| value(byte)).sum::<i64>()
                + 8 * 32
        };
        let unsigned = sum(i64::from);
        // Some old programs summed signed characters.
        if stored != unsigned && stored != sum(|byte| byte.cast_signed().into()) {
            return Err(Error::corrupt(format!(
                "the header has checksum {unsigned}, {stored} is stored"
            ))
            .because(Reason::Checksum));
        }
        let layout = match &block[257..265] {
            b"ustar  \0" => Layout::Gnu,
            [b'u', b's', b't', b'a', b'r', ..] if &block[508..512] == b"tar\0" => Layout::Star,
            [b'u', b's', b't', b'a', b'r', ..] => Layout::Ustar,
            _ => Layout::V7,
        };
        Ok(Self { block, layout })
    }

    /// The type: `0` a file, `1` a hard link, …
    pub(super) fn typeflag(&self) -> u8 {
        self.block[156]
    }

    /// The name with its prefix.
    pub(super) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.block[..100]);
        let prefix = match self.layout {
            Layout::Ustar => until_nul(&self.block[345..500]),
            Layout::Star => until_nul(&self.block[345..476]),
            Layout::V7 | Layout::Gnu => &[],
        };
        match prefix {
            [] => name.to_vec(),
            _ => [prefix, name].join(&b'/'),
        }
    }

    /// The target of a link.
    pub(super) fn linkname(&self) -> Vec<u8> {
        until_nul(&self.block[157..257]).to_vec()
    }

    /// Permission bits.
    pub(super) fn mode(&self) -> Result<u32> {
        // Some programs store the file type here too.
        let mode = number("mode", &self.block[100..108])?;
        u32::try_from(mode & 0o7777).map_err(|_| Error::internal("four octal digits fit"))
    }

    /// Owner.
    pub(super) fn uid(&self) -> Result<u32> {
        small("uid", &self.block[108..116])
    }

    /// Group.
    pub(super) fn gid(&self) -> Result<u32> {
        small("gid", &self.block[116..124])
    }

    /// Bytes of data behind the header.
    pub(super) fn size(&self) -> Result<u64> {
        positive("size", &self.block[124..136])
    }

    /// Last change of the content.
    pub(super) fn mtime(&self) -> Result<Timestamp> {
        Ok(Timestamp {
            secs: number("mtime", &self.block[136..148])?,
            nanos: 0,
        })
    }

    /// Major and minor number of a device node.
    pub(super) fn device(&self) -> Result<(u32, u32)> {
        if self.layout == Layout::V7 {
            return Ok((0, 0));
        }
        Ok((
            small("devmajor", &self.block[329..337])?,
            small("devminor", &self.block[337..345])?,
        ))
    }

    /// The four sparse segments of a GNU header: offset and length; whether more blocks of them follow.
    pub(super) fn sparse(&self) -> Result<(Vec<(u64, u64)>, bool)> {
        Ok((segments(&self.block[386..482])?, self.block[482] != 0))
    }

    /// The size of a sparse file with its holes (GNU).
    pub(super) fn realsize(&self) -> Result<u64> {
        positive("realsize", &self.block[483..495])
    }
}

/// The sparse segments of a block that continues a GNU header: 21 of them, and whether another follows.
pub(super) fn more_sparse(block: &Block) -> Result<(Vec<(u64, u64)>, bool)> {
    Ok((segments(&block[..504])?, block[504] != 0))
}

fn segments(bytes: &[u8]) -> Result<Vec<(u64, u64)>> {
    let used = bytes
        .chunks_exact(24)
        .take_while(|segment| segment[12] != 0);
    used.map(|segment| {
        Ok((
            positive("sparse offset", &segment[..12])?,
            positive("sparse numbytes", &segment[12..])?,
        ))
    })
    .collect()
}

pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn positive(field: &str, bytes: &[u8]) -> Result<u64> {
    let value = number(field, bytes)?;
    u64::try_from(value)
        .map_err(|_| Error::corrupt(format!("{field} is {value}, it cannot be negative")))
}

fn small(field: &str, bytes: &[u8]) -> Result<u32> {
    let value = number(field, bytes)?;
    u32::try_from(value)
        .map_err(|_| Error::corrupt(format!("{field} is {value}, not 0 to {}", u32::MAX)))
}

/// Octal digits between blanks and NULs, nothing at all as 0; or, with the first bit set, a big-endian number in two's
/// complement (GNU and star: sizes from 8 GiB, times before 1970).
fn number(field: &str, bytes: &[u8]) -> Result<i64> {
    let fault = || {
        let shown = String::from_utf8_lossy(bytes).escape_debug().to_string();
        Error::corrupt(format!(
            "{field} of the header is '{shown}', not a number of at most 63 bits"
        ))
    };
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return base256(bytes).ok_or_else(fault);
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = bytes
        .iter()
        .position(|byte| !is_blank(byte))
        .unwrap_or(bytes.len());
    let digits = bytes[start..].split(is_blank).next().unwrap_or_default();
    if !bytes[start + digits.len()..].iter().all(is_blank) {
        return Err(fault());
    }
    // At most twelve octal digits: 36 bits.
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'7' => Ok(value << 3 | i64::from(digit - b'0')),
        _ => Err(fault()),
    })
}

fn base256(bytes: &[u8]) -> Option<i64> {
    // The bit that marks the form is not part of the number; the next one is its sign.
    let first = bytes[0] & 0x7f;
    let negative = first & 0x40 != 0;
    let first = if negative { first | 0x80 } else { first };
    let value = bytes[1..]
        .iter()
        .fold(i128::from(first.cast_signed()), |value, &byte| {
            value << 8 | i128::from(byte)
        });
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_all_their_forms() {
        for (bytes, value) in [
            (&b"0000644\0"[..], 0o644),
            (b"   644 \0", 0o644),
            (b"\0\0\0\0\0\0\0\0", 0),
            (b"77777777", 0o77_777_777),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", 0x2_0000_0000),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", -2),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", i64::MAX),
        ] {
            assert_eq!(number("field", bytes).unwrap(), value, "{bytes:?}");
        }
        for bad in [
            &b"0000648\0"[..],
            b"12 34\0",
            b"-1\0",
            b"\x80\0\0\0\x80\0\0\0\0\0\0\0",
            b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
        ] {
            assert!(number("field", bad).is_err(), "{bad:?}");
        }
        assert!(positive("size", b"\xff\xff\xff\xff\xff\xff\xff\xfe").is_err());
        assert!(small("uid", b"\x80\0\0\x01\0\0\0\0").is_err());
    }
}
