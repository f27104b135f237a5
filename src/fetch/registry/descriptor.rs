//! What names things in registries: their digests, what they are, and what machine they are for.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::digest::{Digest, start_of};
use super::json::object;
use crate::error::{Error, Result};
use crate::machine::Arch;

/// Descriptions of images, which say their platform.
const CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// The name of the file that a layer is, where it is one.
const TITLE: &str = "org.opencontainers.image.title";

/// What machine something is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// arm64.
    Arm64,
}

impl From<Arch> for Architecture {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::Amd64 => Self::Amd64,
            Arch::Arm64 => Self::Arm64,
        }
    }
}

impl Architecture {
    /// The architecture of Flatcar's word or that of containers: `x86-64` or `amd64`, `arm64`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "amd64" | "x86-64" | "x86_64" => Some(Self::Amd64),
            "arm64" | "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// The word of containers.
    pub fn word(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Whether every machine of this kind has what `variant` needs.
    fn has(self, variant: &str) -> bool {
        match self {
            Self::Amd64 => matches!(variant, "" | "v1"),
            Self::Arm64 => matches!(variant, "" | "v8" | "v8.0"),
        }
    }
}

/// What an entry of an index is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `v8`; empty where there is none.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    pub(super) fn fits(&self, architecture: Architecture) -> bool {
        self.os == "linux"
            && self.architecture == architecture.word()
            && architecture.has(&self.variant)
    }

    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{}/{}", self.os, self.architecture);
        if !self.variant.is_empty() {
            shown.push('/');
            shown.push_str(&self.variant);
        }
        start_of(&shown)
    }
}

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all, or in a way of its own.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// Names something in a registry by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// What it is for, in an index.
    pub platform: Option<Platform>,
    /// Notes.
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// How it is packed, by its media type.
    pub fn packing(&self) -> Packing {
        let media_type = self.media_type.as_str();
        if media_type.ends_with("+gzip") || media_type.ends_with(".gzip") {
            Packing::Gzip
        } else if media_type.ends_with("+zstd") || media_type.ends_with(".zstd") {
            Packing::Zstd
        } else {
            Packing::None
        }
    }

    /// Whether it is a layer of a container image: an archive.
    pub fn is_tar(&self) -> bool {
        let bare = self.media_type.split('+').next().unwrap_or_default();
        let bare = bare.strip_suffix(".gzip").unwrap_or(bare);
        bare.ends_with(".tar")
    }

    /// The plain file name that it has, where it has one.
    pub fn title(&self) -> Option<&str> {
        let title = self.annotations.get(TITLE)?.as_str();
        let plain = !title.is_empty()
            && !title.starts_with('.')
            && title.len() <= 255
            && !title.contains(['/', '\\'])
            && !title.chars().any(char::is_control);
        plain.then_some(title)
    }

    /// Whether it describes an image, and so its platform.
    pub(super) fn is_image_config(&self) -> bool {
        CONFIGS.contains(&self.media_type.as_str())
    }
}

/// The platform that the description of an image says.
pub(super) fn platform_of(config: &[u8]) -> Result<Platform> {
    object(config)
        .map_err(|error| Error::corrupt("it is no description of an image").with_source(error))
}

/// Whether an image is for Linux on this architecture.
pub(super) fn check_platform(platform: &Platform, architecture: Architecture) -> Result<()> {
    // Descriptions of old images leave words out.
    let silent = platform.architecture.is_empty() && platform.os.is_empty();
    if silent || platform.fits(architecture) {
        return Ok(());
    }
    let shown = platform.shown();
    let wanted = architecture.word();
    Err(Error::not_found(format!(
        "it is for {shown} only, not for linux/{wanted}"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::digest::Algorithm;
    use super::*;

    fn descriptor(media_type: &str, title: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            size: 0,
            digest: Digest::of(Algorithm::Sha256, b""),
            platform: None,
            annotations: BTreeMap::from([(TITLE.to_owned(), title.to_owned())]),
        }
    }

    #[test]
    fn layers_are_known_by_their_media_type() {
        for (media_type, tar, packing) in [
            (
                "application/vnd.oci.image.layer.v1.tar",
                true,
                Packing::None,
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+gzip",
                true,
                Packing::Gzip,
            ),
            (
                "application/vnd.oci.image.layer.v1.tar+zstd",
                true,
                Packing::Zstd,
            ),
            (
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                true,
                Packing::Gzip,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                true,
                Packing::Gzip,
            ),
            ("application/octet-stream", false, Packing::None),
            ("application/vnd.systemd.sysext.raw", false, Packing::None),
            (
                "application/vnd.example.sysext.raw+zstd",
                false,
                Packing::Zstd,
            ),
            ("", false, Packing::None),
        ] {
            let layer = descriptor(media_type, "");
            assert_eq!(
                (layer.is_tar(), layer.packing()),
                (tar, packing),
                "{media_type}"
            );
        }
    }

    #[test]
    fn titles_are_plain_names() {
        let title = |title: &str| descriptor("", title).title().map(str::to_owned);
        assert_eq!(title("docker-24.raw").as_deref(), Some("docker-24.raw"));
        for wrong in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/etc/passwd",
            "a\\b",
            "a\nb",
            &"a".repeat(256),
        ] {
            assert_eq!(title(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_description_of_another_platform_is_refused() {
        let check =
            |config: &str| check_platform(&platform_of(config.as_bytes())?, Architecture::Arm64);
        check(r#"{"os": "linux", "architecture": "arm64", "variant": "v8", "rootfs": {}}"#)
            .unwrap();
        check("{}").unwrap();
        let error = check(r#"{"os": "linux", "architecture": "amd64"}"#).unwrap_err();
        assert!(error.message().contains("for linux/amd64 only"), "{error}");
        assert!(check("[]").is_err());
    }
}
