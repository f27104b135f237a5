//! The words of a vendor file: closed lists, and texts that are checked as they are read.
//!
//! Everything here is checked while it is parsed, so that a mistake is reported with its line and column.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::ByteSize;
use crate::error::{Error, Result};
use crate::flatcar::LayoutName;
use crate::image::OutputFormat;

/// The longest id or file name: what fits into a name of a file with room for a prefix.
const MAX_NAME: usize = 100;
/// The longest line of text in a vendor file.
const MAX_TEXT: usize = 1000;
/// Disks are a whole number of this many bytes long: clouds ask for it, and Flatcar's own build checks it.
const SIZE_UNIT: u64 = 1 << 20;

/// The format of a disk: one that is written as a disk image, or one that holds the system without a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// The disk byte by byte.
    Raw,
    /// QEMU's qcow2: version 2 with compressed clusters.
    Qcow2,
    /// VMware's monolithicSparse with an IDE adapter.
    VmdkIde,
    /// VMware's monolithicSparse with an LSI Logic adapter.
    VmdkScsi,
    /// VMware's streamOptimized.
    VmdkStream,
    /// Dynamic VHD.
    Vhd,
    /// Fixed VHD.
    VhdFixed,
    /// Dynamic VHDX.
    Vhdx,
    /// Parallels: a folder.
    Hdd,
    /// No disk: a kernel, and a gzipped cpio archive with USR as a squashfs, to boot over the network.
    Cpio,
    /// No disk: a CD image with the kernel and that archive.
    Iso,
}

impl DiskFormat {
    /// The disk image format to write; `None` for [`Self::Cpio`] and [`Self::Iso`], which are no disks.
    pub fn output(self) -> Option<OutputFormat> {
        self.to_string().parse().ok()
    }

    /// The extension of its files where the vendor file names none, without the dot: as in Flatcar's own table.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Raw => "bin",
            Self::Qcow2 => "img",
            Self::VmdkIde | Self::VmdkScsi | Self::VmdkStream => "vmdk",
            Self::Vhd | Self::VhdFixed => "vhd",
            Self::Vhdx => "vhdx",
            Self::Hdd => "hdd",
            Self::Cpio => "cpio.gz",
            Self::Iso => "iso",
        }
    }
}

/// The name of a disk layout in Flatcar's own table; they differ in the size of ROOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskLayout {
    /// That of the generic image.
    Base,
    /// That of most virtual machine images.
    Vm,
    /// Azure's.
    Azure,
    /// Vagrant's.
    Vagrant,
    /// As `base`; Flatcar's own images had an ext2 filesystem `config-2` in partition 7.
    Onmetal,
    /// As `vagrant`.
    Interoute,
}

impl DiskLayout {
    /// The layout with these sizes.
    pub fn name(self) -> LayoutName {
        match self {
            Self::Base | Self::Onmetal => LayoutName::Base,
            Self::Vm => LayoutName::Vm,
            Self::Azure => LayoutName::Azure,
            Self::Vagrant | Self::Interoute => LayoutName::Vagrant,
        }
    }
}

/// How Flatcar's own builds compress the disk for download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CiCompression {
    /// bzip2.
    Bz2,
    /// gzip.
    Gz,
    /// A zip archive.
    Zip,
    /// As it is.
    None,
}

impl CiCompression {
    /// What the name of a file that is packed so ends in, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Bz2 => ".bz2",
            Self::Gz => ".gz",
            Self::Zip => ".zip",
            Self::None => "",
        }
    }
}

/// Whether Flatcar still makes images for a vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In Flatcar's list.
    Current,
    /// No longer in Flatcar's list; can be baked all the same.
    Removed,
    /// Another name for a vendor, possibly with other config files.
    Alias,
    /// Not baked, for the reason that the file gives.
    Refused,
}

/// The words of an enum as the files spell them.
macro_rules! print_as_spelt {
    ($($word:ty),*) => { $(
        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                serde::Serialize::serialize(self, f)
            }
        }
    )* };
}
print_as_spelt!(DiskFormat, DiskLayout, CiCompression, Status);

/// A text that was checked when it was read; `$check` returns what is wrong.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String")]
        #[schemars(with = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                let check: fn(&str) -> std::result::Result<(), String> = $check;
                match check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(wrong) => Err(Error::invalid(format!("'{}' {wrong}", text.escape_debug()))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

checked_text! {
    /// The id of a vendor or of an OEM: lower-case letters, digits, `_` and `-`, beginning with a letter.
    Id, |text| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        let good = text.len() <= MAX_NAME && text.starts_with(|c: char| c.is_ascii_lowercase());
        if good && text.bytes().all(allowed) { return Ok(()) }
        Err(format!("is no id: up to {MAX_NAME} of a-z, 0-9, _ and -, beginning with a letter"))
    }
}

checked_text! {
    /// One line of text.
    Text, |text| {
        let good = (1..=MAX_TEXT).contains(&text.len()) && !text.contains(char::is_control) && text.trim() == text;
        if good { return Ok(()) }
        Err(format!("is not one line of text: 1 to {MAX_TEXT} bytes, no control characters, no blanks at the ends"))
    }
}

checked_text! {
    /// A value that stands between GRUB's double quotes as it is; may be empty.
    GrubValue, |text| {
        let bad = |c: char| c.is_control() || matches!(c, '"' | '$' | '\\' | '`');
        if text.len() <= MAX_TEXT && !text.contains(bad) && text.trim() == text { return Ok(()) }
        Err(format!("cannot stand in grub.cfg: up to {MAX_TEXT} bytes without quotes, $, backslashes and control characters"))
    }
}

checked_text! {
    /// The extension of a file without its first dot.
    Extension, |text| {
        let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if text.len() <= MAX_NAME && text.split('.').all(good) { return Ok(()) }
        Err(format!("is no extension: up to {MAX_NAME} letters, digits and dots, not beginning with a dot"))
    }
}

checked_text! {
    /// The name of a file, where `{stem}` is `flatcar_production_` and the vendor's id, and `{disk}` the disk's file.
    FileName, |text| {
        let plain = text.replace("{stem}", "stem").replace("{disk}", "disk");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let good = (1..=MAX_NAME).contains(&plain.len()) && !plain.starts_with(['.', '-']);
        if good && plain.bytes().all(allowed) { return Ok(()) }
        Err(format!("is no file name: up to {MAX_NAME} of A-Z, a-z, 0-9, _, - and ., beside {{stem}} and {{disk}}"))
    }
}

checked_text! {
    /// The path of a file in a bundle, of file names as above with `/` between them.
    MemberPath, |text| {
        let good = |name: &str| FileName::try_from(name.to_owned()).is_ok();
        if text.len() <= MAX_NAME && text.split('/').all(good) { return Ok(()) }
        Err(format!("is no path in a bundle: up to {MAX_NAME} bytes, file names with / between them"))
    }
}

/// A size of a disk: a whole number of MiB, written as `10G` or `10 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "u64")]
#[schemars(with = "String")]
pub struct DiskSize(u64);

/// What all sizes of disks are multiples of.
impl Default for DiskSize {
    fn default() -> Self {
        Self(SIZE_UNIT)
    }
}

impl DiskSize {
    /// Bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl From<DiskSize> for u64 {
    fn from(size: DiskSize) -> Self {
        size.0
    }
}

impl TryFrom<String> for DiskSize {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let ByteSize(bytes) = text.parse()?;
        if bytes == 0 || bytes % SIZE_UNIT != 0 {
            return Err(Error::invalid(format!(
                "'{text}' is no size of a disk: it must be a whole number of MiB"
            )));
        }
        Ok(Self(bytes))
    }
}
