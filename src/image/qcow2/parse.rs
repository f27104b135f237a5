//! The header as it is read: every field checked before anything is done with it.

use crate::block::BlockDevice;
use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::finding::{Finding, code};
use crate::image::details::{Details, ExternalReference};
use crate::image::mapped::check_size;

use super::header::MAGIC;
use super::on_disk::{HeaderExtension, QcowHeader, QcowHeaderV3};
use super::{MAX_CLUSTER_BITS, MIN_CLUSTER_BITS};

/// `header_length` of version 2, which has no such field.
const HEADER_LENGTH_V2: u32 = 72;
/// The least `header_length` of version 3.
const HEADER_LENGTH_V3: u32 = 104;
/// As much of cluster 0 as is looked at: header, extensions and names are far below that.
const HEAD_MAX: u64 = 64 << 10;
/// `backing_file_size`: 1023 bytes are the most (specification); data file names have no limit of their own.
const NAME_MAX: u32 = 1023;
/// QEMU refuses L1 tables above 32 MiB (`QCOW_MAX_L1_SIZE`).
const MAX_L1_BYTES: u64 = 32 << 20;
/// The least cluster with extended L2 entries: subclusters, 32 of them, have at least 512 bytes.
const MIN_EXTENDED_BITS: u32 = 14;

const INCOMPATIBLE_DIRTY: u64 = 1;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
const INCOMPATIBLE_KNOWN: u64 = (1 << 5) - 1;

const EXTENSION_HEADER_BYTES: usize = HeaderExtension::<&[u8]>::SIZE;
const EXTENSION_END: u32 = 0;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;

/// What compressed clusters are compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClusterCompression {
    /// Raw deflate.
    Deflate,
    Zstd,
}

/// A header that was checked by itself: sizes are possible, and nothing in it is unknown.
#[derive(Debug)]
pub(super) struct Parsed {
    /// 2 or 3.
    pub version: u32,
    pub cluster_bits: u32,
    /// The guest's disk in bytes.
    pub size: u64,
    /// Entries of the L1 table that the disk needs.
    pub l1_size: u64,
    pub l1_table_offset: u64,
    pub backing_file: Option<Vec<u8>>,
    pub backing_format: Option<Vec<u8>>,
    /// The name of the external data file; empty where the header has none.
    pub data_file: Option<Vec<u8>>,
    pub compression: ClusterCompression,
    pub extended_l2: bool,
    /// Snapshots, which are not read.
    pub snapshots: u32,
    pub dirty: bool,
    pub corrupt: bool,
}

impl Parsed {
    /// Entries of one L2 table.
    pub fn l2_entries(&self) -> u64 {
        1 << (self.cluster_bits - if self.extended_l2 { 4 } else { 3 })
    }

    /// What it tells of the image.
    pub fn note(&self, details: &mut Details) {
        let extended = if self.extended_l2 {
            ", extended L2 entries"
        } else {
            ""
        };
        details.variant = Some(format!("version {}{extended}", self.version));
        details.virtual_bytes = Some(self.size);
        details.cluster_bytes = Some(1 << self.cluster_bits);
        details.cluster_compression = Some(match self.compression {
            ClusterCompression::Deflate => "zlib",
            ClusterCompression::Zstd => "zstd",
        });
        (details.snapshots, details.dirty, details.damaged) =
            (self.snapshots, self.dirty, self.corrupt);
        let named = [
            ("data file", &self.data_file),
            ("backing file", &self.backing_file),
        ];
        details.external_references = named
            .into_iter()
            .filter_map(|(role, name)| Some(ExternalReference::new(role, name.as_ref()?)))
            .collect();
    }

    /// What a person should know of the image.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.snapshots > 0 {
            findings.push(Finding::new(code::IMAGE_SNAPSHOTS).with("count", self.snapshots));
        }
        if self.dirty {
            // Only reference counts may be wrong, and reading does not need them.
            findings.push(Finding::new(code::IMAGE_NOT_CLOSED).with("format", "qcow2"));
        }
        if self.corrupt {
            // Reading is allowed, writing is not (specification).
            findings.push(Finding::new(code::IMAGE_MARKED_DAMAGED).with("format", "qcow2"));
        }
        findings
    }

    /// Reads and checks the header of `file`.
    pub fn read(file: &dyn BlockDevice) -> Result<Self> {
        let mut head = vec![0; to_usize(file.size().min(HEAD_MAX))?];
        file.read_at(0, &mut head)?;
        let header = QcowHeader::over(&*head)?;
        if header.magic() != MAGIC {
            return Err(Error::corrupt(
                "not a qcow2 image: it does not begin with 'QFI'",
            ));
        }
        let version = header.version();
        if !matches!(version, 2 | 3) {
            return Err(Error::unsupported(format!(
                "qcow2 version {version}: 2 and 3 can be read"
            ))
            .because(Reason::Version)
            .with_hint("convert it: qemu-img convert -O qcow2"));
        }
        match header.crypt_method() {
            0 => {}
            method => return Err(encrypted(method)),
        }
        let cluster_bits = header.cluster_bits();
        if !(MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&cluster_bits) {
            return Err(Error::corrupt(format!(
                "qcow2 cluster_bits {cluster_bits}: must be {MIN_CLUSTER_BITS} to {MAX_CLUSTER_BITS}"
            )));
        }
        let mut parsed = Self {
            version,
            cluster_bits,
            size: header.size(),
            l1_size: 0,
            l1_table_offset: header.l1_table_offset(),
            backing_file: None,
            backing_format: None,
            data_file: None,
            compression: ClusterCompression::Deflate,
            extended_l2: false,
            snapshots: header.nb_snapshots(),
            dirty: false,
            corrupt: false,
        };
        let header_length = parsed.features(&head)?;
        parsed.backing_name(&header)?;
        parsed.extensions(&header, header_length)?;
        parsed.check_l1(header.l1_size(), file.size())?;
        Ok(parsed)
    }

    /// Checks the feature bits of version 3 and returns the header's length.
    fn features(&mut self, head: &[u8]) -> Result<u32> {
        if self.version == 2 {
            return Ok(HEADER_LENGTH_V2);
        }
        let header = QcowHeaderV3::over(head)?;
        let incompatible = header.incompatible_features();
        let header_length = header.header_length();
        if !(HEADER_LENGTH_V3..=1 << self.cluster_bits).contains(&header_length) {
            return Err(Error::corrupt(format!(
                "qcow2 header_length {header_length}: must be {HEADER_LENGTH_V3} to the cluster size"
            )));
        }
        let unknown = incompatible & !INCOMPATIBLE_KNOWN;
        if unknown != 0 {
            return Err(Error::unsupported(format!(
                "qcow2 incompatible features {unknown:#x} are not known"
            ))
            .because(Reason::Feature)
            .with_hint("convert it with a QEMU that knows them: qemu-img convert -O qcow2"));
        }
        let has = |bit| incompatible & bit != 0;
        self.dirty = has(INCOMPATIBLE_DIRTY);
        self.corrupt = has(INCOMPATIBLE_CORRUPT);
        if has(INCOMPATIBLE_DATA_FILE) {
            self.data_file = Some(Vec::new());
        }
        self.extended_l2 = has(INCOMPATIBLE_EXTENDED_L2);
        if self.extended_l2 && self.cluster_bits < MIN_EXTENDED_BITS {
            return Err(Error::corrupt(
                "qcow2 with extended L2 entries has clusters below 16 KiB",
            ));
        }
        let kind = if header_length > HEADER_LENGTH_V3 {
            header.compression_type()
        } else {
            0
        };
        self.compression = match (kind, has(INCOMPATIBLE_COMPRESSION)) {
            (0, _) => ClusterCompression::Deflate,
            (1, true) => ClusterCompression::Zstd,
            (1, false) => {
                return Err(Error::corrupt(
                    "qcow2 compression type 1 without its feature bit",
                ));
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "qcow2 compression type {kind}: 0 and 1 can be read"
                )));
            }
        };
        Ok(header_length)
    }

    fn backing_name(&mut self, header: &QcowHeader<&[u8]>) -> Result<()> {
        let offset = header.backing_file_offset();
        let len = header.backing_file_size();
        if offset == 0 || len == 0 {
            return Ok(());
        }
        if len > NAME_MAX {
            return Err(Error::corrupt(format!(
                "qcow2 backing_file_size {len}: at most {NAME_MAX} bytes are allowed"
            )));
        }
        let name = Fields::new("qcow2 header", header.bytes())
            .slice(to_usize(offset)?, to_usize(len.into())?)?;
        self.backing_file = Some(name.to_vec());
        Ok(())
    }

    /// Each extension is a type, a length and that many bytes, padded to 8.
    fn extensions(&mut self, header: &QcowHeader<&[u8]>, header_length: u32) -> Result<()> {
        let mut at = to_usize(header_length.into())?;
        // The first cluster ends them, as does the name of the backing file.
        let end = match header.backing_file_offset() {
            0 => 1 << self.cluster_bits,
            backing => backing.min(1 << self.cluster_bits),
        };
        while to_u64(at + EXTENSION_HEADER_BYTES) <= end {
            let extension = HeaderExtension::at(header.bytes(), at)?;
            let kind = extension.kind();
            let len = to_usize(extension.length().into())?;
            if kind == EXTENSION_END {
                break;
            }
            let data = Fields::new("qcow2 header", header.bytes())
                .slice(at + EXTENSION_HEADER_BYTES, len)?;
            match kind {
                EXTENSION_BACKING_FORMAT => self.backing_format = Some(data.to_vec()),
                EXTENSION_DATA_FILE if self.data_file.is_some() => {
                    self.data_file = Some(data.to_vec())
                }
                // Names, bitmaps and whatever is not known: nothing that reading depends on.
                _ => {}
            }
            at += EXTENSION_HEADER_BYTES + len.next_multiple_of(8);
        }
        Ok(())
    }

    fn check_l1(&mut self, l1_size: u32, file_size: u64) -> Result<()> {
        check_size(self.size)?;
        let l2_bytes = self.l2_entries() << self.cluster_bits;
        self.l1_size = self.size.div_ceil(l2_bytes);
        let l1_bytes = self.l1_size * 8;
        if self.l1_size > l1_size.into() {
            return Err(Error::corrupt(format!(
                "qcow2 l1_size {l1_size} is too small: a disk of {} bytes needs {}",
                self.size, self.l1_size
            )));
        }
        if l1_bytes > MAX_L1_BYTES {
            return Err(Error::unsupported(format!(
                "a qcow2 L1 table of {l1_bytes} bytes: {MAX_L1_BYTES} are allowed"
            )));
        }
        if self
            .l1_table_offset
            .checked_add(l1_bytes)
            .is_none_or(|end| end > file_size)
        {
            return Err(Error::corrupt(format!(
                "the qcow2 L1 table, {l1_bytes} bytes at {}, lies beyond the end of the file ({file_size} bytes)",
                self.l1_table_offset
            ))
            .with_hint("the file is cut short: compare its size and checksum with the original's"));
        }
        Ok(())
    }
}

fn encrypted(method: u32) -> Error {
    let name = match method {
        1 => "AES".to_owned(),
        2 => "LUKS".to_owned(),
        other => format!("method {other}"),
    };
    Error::unsupported(format!("the qcow2 image is encrypted ({name})"))
        .with_hint("decrypt it first: qemu-img convert --object secret,… -O qcow2")
}
