//! The formats of outputs, by the words that Flatcar's own table of vendors uses.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Error, Result};

/// A disk image format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputFormat {
    /// The disk byte by byte, zeroes as holes.
    Raw,
    /// QEMU's qcow2.
    Qcow2,
    /// VMware's monolithicSparse with an IDE adapter: VirtualBox, Vagrant.
    VmdkIde,
    /// VMware's monolithicSparse with an LSI Logic adapter.
    VmdkScsi,
    /// VMware's streamOptimized, compressed: for OVA files and imports.
    VmdkStream,
    /// VMware's monolithicFlat: a descriptor, and the raw disk in a second file `NAME-flat.vmdk`.
    VmdkFlat,
    /// Dynamic VHD.
    Vhd,
    /// Fixed VHD: Azure.
    VhdFixed,
    /// Dynamic VHDX: Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// Parallels: a folder.
    Hdd,
}

/// All formats with their words.
const WORDS: [(OutputFormat, &str); 11] = [
    (OutputFormat::Raw, "raw"),
    (OutputFormat::Qcow2, "qcow2"),
    (OutputFormat::VmdkIde, "vmdk_ide"),
    (OutputFormat::VmdkScsi, "vmdk_scsi"),
    (OutputFormat::VmdkStream, "vmdk_stream"),
    (OutputFormat::VmdkFlat, "vmdk_flat"),
    (OutputFormat::Vhd, "vhd"),
    (OutputFormat::VhdFixed, "vhd_fixed"),
    (OutputFormat::Vhdx, "vhdx"),
    (OutputFormat::Vdi, "vdi"),
    (OutputFormat::Hdd, "hdd"),
];

impl OutputFormat {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.iter().map(|(format, _)| *format)
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(format, _)| format == self);
        f.pad(word.map_or("unknown", |(_, word)| word))
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    /// Its word, with `_` or `-`; `vmdk` is `vmdk_ide` and `parallels` is `hdd`.
    fn from_str(text: &str) -> Result<Self> {
        let word = match text.replace('-', "_") {
            word if word == "vmdk" => "vmdk_ide".to_owned(),
            word if word == "parallels" => "hdd".to_owned(),
            word => word,
        };
        let found = WORDS.iter().find(|(_, known)| *known == word);
        found.map(|(format, _)| *format).ok_or_else(|| {
            let words = WORDS.map(|(_, word)| word).join(", ");
            Error::invalid(format!("'{text}' is not an output format")).with_hint(format!("write one of {words}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_formats() {
        for (format, word) in WORDS {
            assert_eq!(word.parse::<OutputFormat>().unwrap(), format);
            assert_eq!(format.to_string(), word);
            assert_eq!(serde_json::to_value(format).unwrap(), word);
        }
        assert_eq!("vmdk-stream".parse::<OutputFormat>().unwrap(), OutputFormat::VmdkStream);
        assert!("iso".parse::<OutputFormat>().unwrap_err().hint().unwrap().contains("vhd_fixed"));
    }
}
