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
use crate::image::block_writer::SECTOR;
use crate::image::details::{Details, ExternalReference};

/// What a descriptor begins with.
pub(super) const FIRST_LINE: &[u8] = b"# Disk DescriptorFile";

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
    /// `createType`
    pub create_type: Option<Vec<u8>>,
    /// `parentFileNameHint`
    pub parent: Option<Vec<u8>>,
    pub extents: Vec<ExtentLine>,
}

impl Descriptor {
    /// What it tells of the image.
    pub fn note(&self, details: &mut Details) {
        details.variant = self
            .create_type
            .as_ref()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        let sectors = self
            .extents
            .iter()
            .try_fold(0, |sum: u64, extent| sum.checked_add(extent.sectors));
        details.virtual_bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR));
        let parent = self
            .parent_cid
            .and(self.parent.as_ref())
            .map(|name| ExternalReference::new("parent", name));
        // An extent that is the file itself has a descriptor inside of it.
        details.external_references = parent.into_iter().collect();
    }

    /// The files of the extents, for [`Details::external_references`].
    pub fn files(&self) -> impl Iterator<Item = ExternalReference> {
        let stored = self
            .extents
            .iter()
            .filter(|extent| extent.kind != ExtentType::Zero);
        stored.map(|extent| ExternalReference::new("extent", &extent.name))
    }

    pub fn parse(text: &[u8]) -> Result<Self> {
        // Room is reserved behind an embedded descriptor, as zeroes.
        let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        if !text.starts_with(FIRST_LINE) {
            return Err(Error::corrupt(
                "this is no VMDK descriptor: it does not begin with '# Disk DescriptorFile'",
            ));
        }
        let mut parsed = Self {
            cid: NO_PARENT,
            parent_cid: None,
            create_type: None,
            parent: None,
            extents: Vec::new(),
        };
        for line in text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            if [&b"RW "[..], b"RDONLY ", b"NOACCESS "]
                .iter()
                .any(|access| line.starts_with(access))
            {
                parsed.extents.push(extent(line).ok_or_else(|| odd(line))??);
                continue;
            }
            let Some(at) = line.iter().position(|&byte| byte == b'=') else {
                continue;
            };
            let key = line[..at].trim_ascii();
            let value = unquoted(line[at + 1..].trim_ascii());
            match key {
                b"CID" => parsed.cid = content_id(value).ok_or_else(|| odd(line))?,
                b"parentCID" => {
                    let cid = content_id(value).ok_or_else(|| odd(line))?;
                    parsed.parent_cid = (cid != NO_PARENT).then_some(cid);
                }
                b"createType" => parsed.create_type = Some(value.to_vec()),
                _ if key.starts_with(b"encryption.") => {
                    return Err(Error::unsupported("the VMDK image is encrypted")
                        .with_hint("remove the encryption in VMware first"));
                }
                b"parentFileNameHint" => parsed.parent = Some(value.to_vec()),
                _ => {}
            }
        }
        Ok(parsed)
    }
}

fn odd(line: &[u8]) -> Error {
    Error::corrupt(format!(
        "the VMDK descriptor has the line '{}'",
        String::from_utf8_lossy(line)
    ))
    .with_hint(
        "an extent is: RW SECTORS TYPE \"FILE\" OFFSET; a content ID is 8 hexadecimal digits",
    )
}

fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
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
    let access = words.next()?;
    let sectors = words.next()?.parse().ok()?;
    let kind = words.next()?;
    let close = rest.iter().rposition(|&byte| byte == b'"').unwrap_or(0);
    let name = &rest[..close];
    let behind = rest.get(close + 1..).unwrap_or_default();
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
        Descriptor::parse(
            format!("# Disk DescriptorFile\r\nversion=1\r\n{lines}\0\0garbage").as_bytes(),
        )
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
        let line = |sectors, kind, name: &str, offset| ExtentLine {
            sectors,
            kind,
            name: name.into(),
            offset,
        };
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
        assert_eq!(
            parse("parentCID=ffffffff\nparentFileNameHint=\"x\"")
                .unwrap()
                .parent_cid,
            None
        );
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
            assert!(
                line == "RW" || result.is_err_and(|error| error.kind() == ErrorKind::Corrupt),
                "{line}"
            );
        }
        for line in [
            "RW 1 SESPARSE \"f\"",
            "RW 1 VMFSRDM \"f\"",
            "NOACCESS 1 FLAT \"f\"",
        ] {
            assert_eq!(
                parse(line).unwrap_err().kind(),
                ErrorKind::Unsupported,
                "{line}"
            );
        }
        for line in [
            "encryption.keySafe = \"vmware:key/list/...\"",
            "encryption.data=\"x\"",
        ] {
            assert_eq!(
                parse(line).unwrap_err().kind(),
                ErrorKind::Unsupported,
                "{line}"
            );
        }
        assert!(Descriptor::parse(b"# Disk").is_err() && Descriptor::parse(b"").is_err());
    }

    #[test]
    fn changed_descriptors_give_a_result_or_an_error() {
        let text = b"# Disk DescriptorFile\nCID=10cffacf\nparentCID=00000001\ncreateType=\"vmfs\"\n\
            parentFileNameHint=\"a.vmdk\"\nRW 4192256 SPARSE \"disk-s001.vmdk\"\nRDONLY 7 FLAT \"f\" 0\nRW 5 ZERO\n";
        let mut state = 9u32;
        let mut roll = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            usize::try_from(state >> 8).unwrap() % below
        };
        let mut good = 0;
        let mut bad = 0;
        for _ in 0..5000 {
            let mut changed = text.to_vec();
            for _ in 0..=roll(4) {
                let at = 22 + roll(text.len() - 22);
                let at = at.min(changed.len() - 1);
                match roll(3) {
                    0 => changed[at] = b"\0\" =\n\xff9"[roll(7)],
                    1 => drop(changed.drain(at..(at + roll(9)).min(changed.len()))),
                    _ => changed.insert(at, b"\" =\n\x80R9"[roll(7)]),
                }
            }
            match Descriptor::parse(&changed) {
                Ok(descriptor) => {
                    descriptor.note(&mut Details::default());
                    good += 1;
                }
                Err(_) => bad += 1,
            }
        }
        assert!(
            good > 100 && bad > 100,
            "changes reach both: {good} and {bad}"
        );
    }
}
