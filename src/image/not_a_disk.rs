//! Files that are known, and known to be no disk images: archives, other people's formats, documents, downloads that
//! went wrong.
//!
//! Without this table they would be taken for raw disks, which anything can be, and the complaint would be of a missing
//! partition table. A disk that has one is a disk, whatever the bytes around it look like, so the table is looked at
//! only where there is none.

use super::block_writer::SECTOR;
use crate::block::BlockDevice;
use crate::bytes::gpt::{MasterBootRecord, PartitionRecord};
use crate::bytes::{to_u64, to_usize};
use crate::codec::{self, packed_as};
use crate::error::{Error, Result};

/// Bytes at the start of a file that are looked at: as far as the superblock of ISO 9660, and the first members of an
/// archive.
pub(super) const HEAD_BYTES: u64 = 72 << 10;

/// Bytes at its end that are looked at: a sector of the larger kind.
const TAIL_BYTES: u64 = 4096;

/// What a file is that is no disk image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotADisk {
    /// With its article: `a tar archive`.
    pub name: String,
    /// What to do about it, where there is more to say than to give the right file.
    pub hint: String,
}

impl NotADisk {
    /// As [`of`](Self::of), for a file that must not be packed in any way.
    pub fn of_unpacked(device: &dyn BlockDevice) -> Result<Option<Self>> {
        let mut start = vec![0; to_usize(device.size().min(SECTOR))?];
        device.read_at(0, &mut start)?;
        match codec::Format::detect(&start) {
            codec::Format::Plain => Self::of(device),
            packed => Ok(Some(Self {
                name: format!("a file packed as {packed}"),
                hint: "unpack it first".to_owned(),
            })),
        }
    }

    /// What the file behind `device` is, where it is known to be no disk.
    pub fn of(device: &dyn BlockDevice) -> Result<Option<Self>> {
        let mut head = vec![0; to_usize(device.size().min(HEAD_BYTES))?];
        device.read_at(0, &mut head)?;
        let mut tail = vec![0; to_usize(device.size().min(TAIL_BYTES))?];
        device.read_at(device.size() - to_u64(tail.len()), &mut tail)?;
        Ok(Sample {
            head: &head,
            tail: &tail,
        }
        .known())
    }

    /// The same, of a file that begins with `head` and whose end is not known.
    pub fn of_start(head: &[u8]) -> Option<Self> {
        Sample { head, tail: &[] }.known()
    }

    /// The error that refuses it where a disk is wanted.
    pub fn refusal(self) -> Error {
        self.refused_as(
            "a disk image",
            "give the disk image itself, such as flatcar_production_image.bin.bz2",
        )
    }

    /// The error that refuses it where something else is wanted, with what is said where there is nothing better.
    pub fn refused_as(self, wanted: &str, usual_hint: &str) -> Error {
        let hint = if self.hint.is_empty() {
            usual_hint.to_owned()
        } else {
            self.hint
        };
        Error::unsupported(format!("this is {}, not {wanted}", self.name)).with_hint(hint)
    }
}

/// The bytes of a file that are looked at.
struct Sample<'a> {
    head: &'a [u8],
    /// Empty where they are not known.
    tail: &'a [u8],
}

/// What tells a file.
enum Sign {
    /// These bytes at an offset.
    At(usize, &'static [u8]),
    /// These bytes so far before the end.
    BeforeEnd(usize, &'static [u8]),
    /// Text that begins with this, in any case, after blanks.
    Text(&'static str),
    /// Anything else.
    If(fn(&Sample<'_>) -> bool),
}

/// A file that is known to be no disk image.
pub(super) struct Known {
    signs: &'static [Sign],
    pub name: &'static str,
    /// Empty: give the right file.
    hint: &'static str,
}

/// What is more special comes first.
pub(super) const KNOWN: &[Known] = &[
    // Archives.
    Known {
        signs: &[Sign::At(0, b"Rar!\x1a\x07")],
        name: "a RAR archive",
        hint: "unpack it first: unrar x FILE",
    },
    Known {
        signs: &[Sign::At(0, b"xar!")],
        name: "a xar archive",
        hint: "unpack it first: xar -xf FILE",
    },
    Known {
        signs: &[Sign::At(0, b"MSCF\0\0\0\0")],
        name: "a cabinet file",
        hint: "unpack it first: cabextract FILE",
    },
    Known {
        signs: &[Sign::At(0, b"!<arch>\n")],
        name: "an ar archive",
        hint: "unpack it first: ar x FILE",
    },
    Known {
        signs: &[Sign::At(0, b"\xed\xab\xee\xdb")],
        name: "an RPM package",
        hint: "unpack it first: rpm2cpio FILE | cpio -id",
    },
    Known {
        signs: &[
            Sign::At(0, b"070701"),
            Sign::At(0, b"070702"),
            Sign::At(0, b"070707"),
        ],
        name: "a cpio archive",
        hint: "",
    },
    Known {
        signs: &[Sign::At(0, b"PK\x05\x06")],
        name: "an empty zip archive",
        hint: "get the file again, and compare its checksum",
    },
    // Disks, in formats that are not read.
    Known {
        signs: &[Sign::BeforeEnd(512, b"koly")],
        name: "an Apple disk image (DMG)",
        hint: "convert it first: dmg2img FILE disk.img",
    },
    Known {
        signs: &[
            Sign::At(0, b"EVF\x09\x0d\x0a\xff\0"),
            Sign::At(0, b"EVF2\x0d\x0a\x81\0"),
        ],
        name: "an EnCase image (E01, Ex01)",
        hint: "export the raw disk first: ewfexport FILE",
    },
    Known {
        signs: &[Sign::At(0, b"AFF10\r\n\0")],
        name: "an AFF image",
        hint: "export the raw disk first: affconvert -r FILE",
    },
    Known {
        signs: &[Sign::At(0, b"QED\0")],
        name: "a QED image",
        hint: "convert it first: qemu-img convert -f qed -O qcow2 FILE disk.qcow2",
    },
    Known {
        signs: &[Sign::At(0, b"Bochs Virtual HD Image")],
        name: "a Bochs image",
        hint: "convert it first: qemu-img convert -f bochs -O qcow2 FILE disk.qcow2",
    },
    Known {
        signs: &[Sign::At(0, b"#!/bin/sh\n#V2.0 Format\n")],
        name: "a cloop image",
        hint: "convert it first: qemu-img convert -f cloop -O raw FILE disk.img",
    },
    Known {
        signs: &[Sign::At(0, b"\xbe\xba\xfe\xca\0\0\0\0")],
        name: "an SEsparse extent of VMware ESXi",
        hint: "copy the disk on ESXi first: vmkfstools -i DISK.vmdk -d thin NEW.vmdk",
    },
    Known {
        signs: &[Sign::At(0, b"\x3a\xff\x26\xed")],
        name: "an Android sparse image",
        hint: "unpack it first: simg2img FILE disk.img",
    },
    Known {
        signs: &[Sign::At(0, b"VMA\0")],
        name: "a Proxmox backup (VMA)",
        hint: "unpack it first: vma extract FILE FOLDER",
    },
    Known {
        signs: &[Sign::At(0, b"MSWIM\0\0\0")],
        name: "a Windows imaging file (WIM), which holds files and no disk",
        hint: "",
    },
    Known {
        signs: &[Sign::If(has_apple_partitions)],
        name: "a disk with an Apple partition map",
        hint: "",
    },
    Known {
        signs: &[Sign::At(0x8001, b"CD001")],
        name: "a CD image (ISO 9660)",
        hint: "",
    },
    // Programs.
    Known {
        signs: &[Sign::At(0x202, b"HdrS")],
        name: "a Linux kernel",
        hint: "",
    },
    Known {
        signs: &[Sign::At(0, b"\x7fELF")],
        name: "a program (ELF)",
        hint: "",
    },
    Known {
        signs: &[Sign::If(is_pe)],
        name: "a program for EFI or Windows (PE)",
        hint: "",
    },
    // Pictures and documents.
    Known {
        signs: &[Sign::At(0, b"\x89PNG\r\n\x1a\n")],
        name: "a picture (PNG)",
        hint: "",
    },
    Known {
        signs: &[Sign::At(0, b"\xff\xd8\xff")],
        name: "a picture (JPEG)",
        hint: "",
    },
    Known {
        signs: &[Sign::At(0, b"%PDF-")],
        name: "a PDF document",
        hint: "",
    },
    Known {
        signs: &[Sign::Text("<!doctype html"), Sign::Text("<html")],
        name: "a web page",
        hint: "the download went wrong: look into the file, and check the address that it came from",
    },
    Known {
        signs: &[Sign::If(is_ovf)],
        name: "an OVF description of a machine",
        hint: "give the VMDK that it names, which lies beside it",
    },
    Known {
        signs: &[Sign::Text("<?xml"), Sign::Text("<error")],
        name: "an XML document",
        hint: "a server may have sent it instead of the image: look into the file",
    },
    // Configs.
    Known {
        signs: &[Sign::If(is_ignition)],
        name: "an Ignition config",
        hint: "",
    },
    Known {
        signs: &[Sign::If(is_butane)],
        name: "a Butane config",
        hint: "",
    },
    Known {
        signs: &[Sign::Text("#cloud-config")],
        name: "a cloud-config",
        hint: "",
    },
    Known {
        signs: &[Sign::If(is_json)],
        name: "a JSON document",
        hint: "",
    },
    // What lies beside an image.
    Known {
        signs: &[Sign::Text("-----begin pgp"), Sign::If(is_signature)],
        name: "an OpenPGP signature or key",
        hint: "give the image that the signature belongs to: its name without .sig or .asc",
    },
    Known {
        signs: &[Sign::Text("-----begin ")],
        name: "a certificate or key (PEM)",
        hint: "",
    },
    Known {
        signs: &[Sign::Text("version https://git-lfs")],
        name: "a pointer of Git LFS",
        hint: "get the file that it stands for: git lfs pull",
    },
    Known {
        signs: &[Sign::If(is_checksums)],
        name: "a list of checksums",
        hint: "give the image whose checksum is in it",
    },
    Known {
        signs: &[Sign::At(0, b"#!/")],
        name: "a script",
        hint: "",
    },
];

impl Sample<'_> {
    fn known(&self) -> Option<NotADisk> {
        if self.has_partitions() {
            return None;
        }
        if let Some(packed) = packed_as(self.head) {
            let hint = "unpack it first, or pack it with gzip, bzip2, xz or zstd".to_owned();
            return Some(NotADisk {
                name: format!("a file packed as {packed}"),
                hint,
            });
        }
        if let Some(tar) = self.tar() {
            return Some(tar);
        }
        let known = KNOWN
            .iter()
            .find(|known| known.signs.iter().any(|sign| self.shows(sign)))?;
        Some(NotADisk {
            name: known.name.to_owned(),
            hint: known.hint.to_owned(),
        })
    }

    fn shows(&self, sign: &Sign) -> bool {
        match sign {
            Sign::At(offset, magic) => self.has(*offset, magic),
            Sign::BeforeEnd(distance, magic) => self.has_before_end(*distance, magic),
            Sign::Text(start) => self.text().is_some_and(|text| begins_with(text, start)),
            Sign::If(holds) => holds(self),
        }
    }

    fn has(&self, offset: usize, magic: &[u8]) -> bool {
        self.head
            .get(offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    }

    fn has_before_end(&self, distance: usize, magic: &[u8]) -> bool {
        let start = self.tail.len().checked_sub(distance);
        start.is_some_and(|start| self.tail[start..].starts_with(magic))
    }

    /// A GPT, wherever one may be, or an MBR that lists partitions.
    fn has_partitions(&self) -> bool {
        const GPT: &[u8] = b"EFI PART";
        let has_gpt = [512, 4096]
            .into_iter()
            .any(|sector| self.has(sector, GPT) || self.has_before_end(sector, GPT));
        has_gpt || self.has_mbr_partitions()
    }

    fn has_mbr_partitions(&self) -> bool {
        let Ok(mbr) = MasterBootRecord::over(self.head) else {
            return false;
        };
        let records = mbr.partition_record();
        let records = records
            .chunks_exact(PartitionRecord::<&[u8]>::SIZE)
            .map(PartitionRecord::over);
        let Ok(records) = records.collect::<Result<Vec<_>>>() else {
            return false;
        };
        let are_plausible = records
            .iter()
            .all(|record| matches!(record.boot_indicator(), 0 | 0x80));
        let has_partition = records
            .iter()
            .any(|record| record.os_type() != 0 && record.size_in_lba() != 0);
        mbr.signature() == [0x55, 0xaa] && are_plausible && has_partition
    }

    /// The text that the file begins with, without blanks and a byte order mark before it.
    fn text(&self) -> Option<&str> {
        let bytes = self.head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(self.head);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // The end may cut a character in two, and what follows text is no concern of ours.
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        };
        Some(text.trim_start())
    }

    /// A tar archive, perhaps one that holds a machine's description and disks (OVA).
    fn tar(&self) -> Option<NotADisk> {
        if !self.has(257, b"ustar") {
            return None;
        }
        let names = tar_members(self.head);
        let ends_with = |ending: &'static str| {
            names
                .iter()
                .find(move |name| name.to_lowercase().ends_with(ending))
        };
        if ends_with(".ovf").is_some() {
            let disk = ends_with(".vmdk").map_or("the .vmdk in it", |name| name.as_str());
            let hint = format!("unpack it first, tar -xf FILE, and give {disk}");
            return Some(NotADisk {
                name: "an OVA, an archive of a machine".to_owned(),
                hint,
            });
        }
        const DISKS: [&str; 7] = [".raw", ".img", ".bin", ".qcow2", ".vmdk", ".vhd", ".vhdx"];
        let disk = DISKS
            .into_iter()
            .find_map(ends_with)
            .map_or("the disk image in it", |name| name.as_str());
        let hint = format!("unpack it first, tar -xf FILE, and give {disk}");
        Some(NotADisk {
            name: "a tar archive".to_owned(),
            hint,
        })
    }
}

fn begins_with(text: &str, start: &str) -> bool {
    text.get(..start.len())
        .is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// The names of members whose headers lie within `head`. Those that are no plain text of at most 100 bytes are left out.
fn tar_members(head: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut at = 0_usize;
    while let Some(header) = head.get(at..).and_then(|rest| rest.get(..512)) {
        let field = |range: std::ops::Range<usize>| {
            let bytes = header[range]
                .split(|byte| *byte == 0)
                .next()
                .unwrap_or_default();
            std::str::from_utf8(bytes).ok().map(str::trim)
        };
        let is_text = |name: &&str| !name.is_empty() && !name.chars().any(char::is_control);
        names.extend(field(0..100).filter(is_text).map(str::to_owned));
        let size = field(124..136).and_then(|digits| usize::from_str_radix(digits, 8).ok());
        let next = size
            .and_then(|size| size.checked_next_multiple_of(512))
            .and_then(|size| at.checked_add(512 + size));
        let Some(next) = next else { break };
        at = next;
    }
    names
}

fn has_apple_partitions(sample: &Sample<'_>) -> bool {
    sample.has(0, b"ER") && sample.has(512, b"PM\0\0")
}

/// `MZ`, and the offset of what begins with `PE`.
fn is_pe(sample: &Sample<'_>) -> bool {
    let offset = sample
        .head
        .get(0x3c..0x40)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    let offset = offset.and_then(|offset| usize::try_from(offset).ok());
    sample.has(0, b"MZ") && offset.is_some_and(|offset| sample.has(offset, b"PE\0\0"))
}

fn is_ovf(sample: &Sample<'_>) -> bool {
    sample
        .text()
        .is_some_and(|text| text.starts_with('<') && text.contains("/ovf/envelope/"))
}

fn is_json(sample: &Sample<'_>) -> bool {
    let rest = sample
        .text()
        .and_then(|text| text.strip_prefix('{'))
        .map(str::trim_start);
    rest.is_some_and(|rest| rest.starts_with(['"', '}']))
}

fn is_ignition(sample: &Sample<'_>) -> bool {
    is_json(sample)
        && sample
            .text()
            .is_some_and(|text| text.contains("\"ignition\""))
}

fn is_butane(sample: &Sample<'_>) -> bool {
    let is_variant = |line: &str| {
        line.strip_prefix("variant:")
            .is_some_and(|word| !word.trim().is_empty())
    };
    sample
        .text()
        .is_some_and(|text| text.lines().take(100).any(is_variant))
}

/// A signature packet (RFC 9580, 4.2 and 5.2) of version 3 to 6 that is the whole file: what `gpg --detach-sign` writes.
fn is_signature(sample: &Sample<'_>) -> bool {
    let [0x89, high, low, version, kind, ..] = sample.head else {
        return false;
    };
    let is_whole = sample.head.len() == 3 + usize::from(u16::from_be_bytes([*high, *low]));
    is_whole && matches!(version, 3..=6) && *kind <= 1
}

/// A line of `sha256sum` and its like, or one in the manner of BSD.
fn is_checksums(sample: &Sample<'_>) -> bool {
    let Some(text) = sample.text() else {
        return false;
    };
    let Some(line) = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
    else {
        return false;
    };
    let Some((first, rest)) = line.split_once(' ') else {
        return false;
    };
    let is_digest = matches!(first.len(), 32 | 40 | 64 | 96 | 128)
        && first.bytes().all(|it| it.is_ascii_hexdigit());
    let is_bsd = matches!(first, "MD5" | "SHA1" | "SHA256" | "SHA512")
        && rest.starts_with('(')
        && rest.contains(") = ");
    is_digest && rest.starts_with([' ', '*']) || is_bsd
}
