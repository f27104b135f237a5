//! The words of Flatcar's own table of vendors for config files and bundles.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which config files an image comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfFormat {
    /// VMware Workstation and Fusion.
    Vmx,
    /// OVF for VMware.
    OvfVmware,
    /// OVF for VirtualBox.
    OvfVirtualbox,
    /// A Vagrant box for VirtualBox.
    Vagrant,
    /// A Vagrant box for Parallels.
    VagrantParallels,
    /// A Vagrant box for VMware Fusion.
    VagrantVmwareFusion,
    /// Parallels.
    Pvs,
    /// Xen's `xl`.
    Xl,
    /// A start script for QEMU.
    Qemu,
    /// The same with UEFI firmware.
    QemuUefi,
    /// The same with Secure Boot.
    QemuUefiSecure,
    /// A start script for kernel and initial RAM disk.
    Pxe,
    /// A start script for a CD-ROM.
    Iso,
    /// Google Compute Engine: no files at all, the disk alone is packed ([`BundleFormat::Gce`]).
    Gce,
}

const CONF_WORDS: [(ConfFormat, &str); 14] = [
    (ConfFormat::Vmx, "vmx"),
    (ConfFormat::OvfVmware, "ovf_vmware"),
    (ConfFormat::OvfVirtualbox, "ovf_virtualbox"),
    (ConfFormat::Vagrant, "vagrant"),
    (ConfFormat::VagrantParallels, "vagrant_parallels"),
    (ConfFormat::VagrantVmwareFusion, "vagrant_vmware_fusion"),
    (ConfFormat::Pvs, "pvs"),
    (ConfFormat::Xl, "xl"),
    (ConfFormat::Qemu, "qemu"),
    (ConfFormat::QemuUefi, "qemu_uefi"),
    (ConfFormat::QemuUefiSecure, "qemu_uefi_secure"),
    (ConfFormat::Pxe, "pxe"),
    (ConfFormat::Iso, "iso"),
    (ConfFormat::Gce, "gce"),
];

impl ConfFormat {
    /// All of them.
    pub const ALL: [Self; CONF_WORDS.len()] = {
        let mut all = [Self::Vmx; CONF_WORDS.len()];
        let mut index = 0;
        while index < all.len() {
            all[index] = CONF_WORDS[index].0;
            index += 1;
        }
        all
    };

    /// The bundle that the files are made for, where there is one.
    pub fn bundle(self) -> Option<BundleFormat> {
        match self {
            Self::OvfVmware => Some(BundleFormat::Ova),
            Self::Vagrant | Self::VagrantParallels | Self::VagrantVmwareFusion => {
                Some(BundleFormat::Box)
            }
            Self::Pvs => Some(BundleFormat::PvmTgz),
            Self::Gce => Some(BundleFormat::Gce),
            _ => None,
        }
    }

    /// The folder of the bundle in which the disk lies, with a slash at its end: empty but for a Parallels box.
    pub fn disk_folder(self) -> &'static str {
        match self {
            Self::VagrantParallels => "box.pvm/",
            _ => "",
        }
    }

    /// Vagrant's word for who runs the box.
    pub(super) fn provider(self) -> Option<&'static str> {
        match self {
            Self::Vagrant => Some("virtualbox"),
            Self::VagrantParallels => Some("parallels"),
            Self::VagrantVmwareFusion => Some("vmware_fusion"),
            _ => None,
        }
    }
}

impl fmt::Display for ConfFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = CONF_WORDS.iter().find(|(format, _)| format == self);
        f.pad(word.map_or("unknown", |(_, word)| word))
    }
}

impl FromStr for ConfFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text, "a format of config files", &CONF_WORDS)
    }
}

/// How disk and config files are packed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BundleFormat {
    /// A tar with the `.ovf` first, then the manifest, then the disk.
    Ova,
    /// A Vagrant box: a gzip tar.
    Box,
    /// A Parallels machine: a gzip tar.
    PvmTgz,
    /// A gzip tar of one sparse file called `disk.raw`: Google Compute Engine.
    #[serde(rename = "tar.gz")]
    Gce,
}

const BUNDLE_WORDS: [(BundleFormat, &str); 4] = [
    (BundleFormat::Ova, "ova"),
    (BundleFormat::Box, "box"),
    (BundleFormat::PvmTgz, "pvm_tgz"),
    (BundleFormat::Gce, "tar.gz"),
];

impl BundleFormat {
    /// The extension of the file, without its first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ova => "ova",
            Self::Box => "box",
            Self::PvmTgz => "tgz",
            Self::Gce => "tar.gz",
        }
    }
}

impl fmt::Display for BundleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = BUNDLE_WORDS.iter().find(|(format, _)| format == self);
        f.pad(word.map_or("unknown", |(_, word)| word))
    }
}

impl FromStr for BundleFormat {
    type Err = Error;

    /// Its word; `gce` is `tar.gz`.
    fn from_str(text: &str) -> Result<Self> {
        parse(
            if text == "gce" { "tar.gz" } else { text },
            "a format of bundles",
            &BUNDLE_WORDS,
        )
    }
}

fn parse<T: Copy>(text: &str, what: &str, words: &[(T, &str)]) -> Result<T> {
    let found = words.iter().find(|(_, word)| *word == text);
    found.map(|(format, _)| *format).ok_or_else(|| {
        let words = words
            .iter()
            .map(|(_, word)| *word)
            .collect::<Vec<_>>()
            .join(", ");
        Error::invalid(format!("'{text}' is not {what}")).with_hint(format!("write one of {words}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_flatcars() {
        for (format, word) in CONF_WORDS {
            assert_eq!(
                (
                    word.parse::<ConfFormat>().unwrap(),
                    format.to_string().as_str()
                ),
                (format, word)
            );
        }
        for (format, word) in BUNDLE_WORDS {
            assert_eq!(
                (
                    word.parse::<BundleFormat>().unwrap(),
                    format.to_string().as_str()
                ),
                (format, word)
            );
        }
        assert_eq!("gce".parse::<BundleFormat>().unwrap(), BundleFormat::Gce);
        assert!(
            "vmware_zip"
                .parse::<ConfFormat>()
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("qemu_uefi_secure")
        );
        assert!(
            "zip"
                .parse::<BundleFormat>()
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("pvm_tgz")
        );
        assert_eq!(ConfFormat::ALL[13], ConfFormat::Gce);
    }
}
