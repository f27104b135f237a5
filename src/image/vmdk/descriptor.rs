//! The descriptor: lines of text that say what the disk is made of.
//!
//! ```text
//!   CID=10cffacf
//!   parentCID=ffffffff
//!   createType="twoGbMaxExtentSparse"
//!   RW 4192256 SPARSE "disk-s001.vmdk"
//!   RW 10240 FLAT "disk-f002.vmdk" 0
//! ```

use crate::error::{Error, Result};

/// `parentCID` of a disk that has no parent.
const NO_PARENT: u32 = 0xffff_ffff;

/// How an extent is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtentType {
    /// Bytes as they are.
    Flat,
    /// Grains, allocated when written.
    Sparse,
    /// Zeroes, without a file.
    Zero,
}

/// A line that names an extent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExtentLine {
    /// Sectors of the disk.
    pub sectors: u64,
    pub kind: ExtentType,
    pub name: Vec<u8>,
    /// Where a flat extent begins in its file, in sectors.
    pub offset: u64,
}

/// What the lines say that matters for reading.
#[derive(Debug)]
pub(super) struct Descriptor {
    /// Content ID: changes when the disk does.
    pub cid: u32,
    /// The content ID that the parent must have.
    pub parent_cid: Option<u32>,
    /// `parentFileNameHint`
    pub parent: Option<Vec<u8>>,
    pub extents: Vec<ExtentLine>,
}

impl Descriptor {
    pub fn parse(text: &[u8]) -> Result<Self> {
        // Room is reserved behind an embedded descriptor, as zeroes.
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        if !text.starts_with(b"# Disk DescriptorFile") {
            return Err(Error::corrupt("this is no VMDK descriptor: it does not begin with '# Disk DescriptorFile'"));
        }
        let mut parsed = Self { cid: NO_PARENT, parent_cid: None, parent: None, extents: Vec::new() };
        for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if [&b"RW "[..], b"RDONLY ", b"NOACCESS "].iter().any(|access| line.starts_with(access)) {
                parsed.extents.push(extent(line).ok_or_else(|| odd(line))??);
                continue;
            }
            let Some(at) = line.iter().position(|&byte| byte == b'=') else { continue };
            let (key, value) = (line[..at].trim_ascii(), unquoted(line[at + 1..].trim_ascii()));
            match key {
                b"CID" => parsed.cid = content_id(value).ok_or_else(|| odd(line))?,
                b"parentCID" => {
                    let cid = content_id(value).ok_or_else(|| odd(line))?;
                    parsed.parent_cid = (cid != NO_PARENT).then_some(cid);
                }
                b"parentFileNameHint" => parsed.parent = Some(value.to_vec()),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn odd(line: &[u8]) -> Error {
    Error::corrupt(format!("the VMDK descriptor has the line '{}'", String::from_utf8_lossy(line)))
        .with_hint("an extent is: RW SECTORS TYPE \"FILE\" OFFSET; a content ID is 8 hexadecimal digits")
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

fn content_id(value: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(value).ok()?, 16).ok()
}

/// `RW 10240 FLAT "name" 0`; `None` where it is not of that form.
fn extent(line: &[u8]) -> Option<Result<ExtentLine>> {
    let (head, rest) = match line.iter().position(|&byte| byte == b'"') {
        Some(quote) => (&line[..quote], &line[quote + 1..]),
        None => (line, &b""[..]),
    };
    let mut words = str::from_utf8(head).ok()?.split_ascii_whitespace();
    let (access, sectors, kind) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let close = rest.iter().rposition(|&byte| byte == b'"').unwrap_or(0);
    let (name, behind) = (&rest[..close], rest.get(close + 1..).unwrap_or_default());
    let offset = match str::from_utf8(behind).ok()?.split_ascii_whitespace().next() {
        Some(number) => number.parse().ok()?,
        None => 0,
    };
    let kind = match kind {
        _ if access == "NOACCESS" => Err("that may not be read"),
        "FLAT" | "VMFS" => Ok(ExtentType::Flat),
        "SPARSE" | "VMFSSPARSE" => Ok(ExtentType::Sparse),
        "ZERO" => Ok(ExtentType::Zero),
        other => Err(other),
    };
    if name.is_empty() && kind != Ok(ExtentType::Zero) {
        return None;
    }
    Some(match kind {
        Ok(kind) => Ok(ExtentLine { sectors, kind, name: name.to_vec(), offset }),
        Err(other) => Err(Error::unsupported(format!(
            "the VMDK descriptor has an extent {other}: FLAT, VMFS, SPARSE, VMFSSPARSE and ZERO can be read"
        ))
        .with_hint("export it as streamOptimized or monolithicSparse")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn parse(lines: &str) -> Result<Descriptor> {
        Descriptor::parse(format!("# Disk DescriptorFile\r\nversion=1\r\n{lines}\0\0garbage").as_bytes())
    }

    #[test]
    fn lines_of_every_kind() {
        let parsed = parse(
            "CID=10cffacf\r\nparentCID = 00000001\r\nparentFileNameHint=\"a b.vmdk\"\nRW 10 SPARSE \"x \"y\".vmdk\"\n\
             RDONLY 20 FLAT \"f\" 7\nRW 5 ZERO\nRW 5 ZERO \"\" 3\nRW 1 VMFS \"v\"\nddb.adapterType = \"ide\"\n# RW",
        )
        .unwrap();
        assert_eq!((parsed.cid, parsed.parent_cid), (0x10cf_facf, Some(1)));
        assert_eq!(parsed.parent.as_deref(), Some(&b"a b.vmdk"[..]));
        let line = |sectors, kind, name: &str, offset| ExtentLine { sectors, kind, name: name.into(), offset };
        assert_eq!(
            parsed.extents,
            [
                line(10, ExtentType::Sparse, "x \"y\".vmdk", 0),
                line(20, ExtentType::Flat, "f", 7),
                line(5, ExtentType::Zero, "", 0),
                line(5, ExtentType::Zero, "", 3),
                line(1, ExtentType::Flat, "v", 0),
            ]
        );
        assert_eq!(parse("parentCID=ffffffff\nparentFileNameHint=\"x\"").unwrap().parent_cid, None);
    }

    #[test]
    fn nonsense_is_an_error() {
        for line in [
            "CID=x",
            "parentCID=123456789",
            "RW",
            "RW x FLAT \"f\"",
            "RW 1 FLAT",
            "RW 1 FLAT \"f\" y",
            "RW 1 FLAT \"\" 0",
        ] {
            let result = parse(&format!("{line} "));
            assert!(line == "RW" || result.is_err_and(|error| error.kind() == ErrorKind::Corrupt), "{line}");
        }
        for line in ["RW 1 SESPARSE \"f\"", "RW 1 VMFSRDM \"f\"", "NOACCESS 1 FLAT \"f\""] {
            assert_eq!(parse(line).unwrap_err().kind(), ErrorKind::Unsupported, "{line}");
        }
        assert!(Descriptor::parse(b"# Disk").is_err() && Descriptor::parse(b"").is_err());
    }
}
