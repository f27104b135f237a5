//! What a config is, by how it begins.

use std::io::Read;

use flate2::read::GzDecoder;
use serde::Serialize;

/// How much of a compressed file is looked at.
const HEAD: u64 = 4096;

/// What a config is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConfigKind {
    /// An Ignition config, or what begins like one.
    Ignition,
    /// A Butane config.
    Butane,
    /// A file for cloud-init.
    CloudConfig,
    /// A script.
    Script,
    /// Several files for cloud-init in one.
    Multipart,
    /// Nothing that is known.
    Unknown,
}

impl ConfigKind {
    /// What `content` is, as far as its beginning tells.
    pub fn of(content: &[u8]) -> Self {
        let plain;
        let head = if content.starts_with(&[0x1f, 0x8b]) {
            let mut bytes = Vec::new();
            // What of it can be read is enough, or it is nothing that is known.
            let _ = GzDecoder::new(content).take(HEAD).read_to_end(&mut bytes);
            plain = bytes;
            plain.as_slice()
        } else {
            content
        };
        let start = head.trim_ascii_start();
        let small: Vec<u8> = start.iter().take(64).map(u8::to_ascii_lowercase).collect();
        if head.starts_with(b"#cloud-config") {
            Self::CloudConfig
        } else if head.starts_with(b"#!") {
            Self::Script
        } else if small.starts_with(b"content-type: multipart")
            || small.starts_with(b"mime-version:")
        {
            Self::Multipart
        } else if is_butane_text(head) {
            Self::Butane
        } else {
            Self::Ignition
        }
    }

    /// What Ignition takes for an empty config.
    pub(super) fn ignored(self) -> Option<&'static str> {
        match self {
            Self::CloudConfig => Some("a cloud-config"),
            Self::Script => Some("a script"),
            Self::Multipart => Some("a multipart archive for cloud-init"),
            Self::Ignition | Self::Butane | Self::Unknown => None,
        }
    }
}

/// Whether a text is a Butane config: one of its lines, or JSON written as such, begins with the key `variant` at the top
/// level.
pub fn is_butane_text(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(is_variant)
}

/// Whether a line of YAML, or of JSON written as such, begins with the key `variant` at the top level.
fn is_variant(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let line = line
        .strip_prefix(b"{")
        .map_or(line, <[u8]>::trim_ascii_start);
    let quote = line.first().copied().filter(|byte| b"'\"".contains(byte));
    let key = if quote.is_some() { &line[1..] } else { line };
    let Some(rest) = key.strip_prefix(b"variant") else {
        return false;
    };
    let rest = if quote.is_some() {
        rest.get(1..).unwrap_or_default()
    } else {
        rest
    };
    rest.trim_ascii_start().first() == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_butane_file_is_known_by_its_content() {
        for text in [
            "variant: flatcar\nversion: 1.1.0\n",
            "# a comment\n\nversion: 1.1.0\nvariant : fcos\n",
            "\u{feff}'variant': flatcar",
            "{variant: flatcar, version: 1.1.0}",
            "{ \"variant\": \"flatcar\"}",
        ] {
            assert_eq!(
                ConfigKind::of(text.as_bytes()),
                ConfigKind::Butane,
                "{text}"
            );
        }
        for text in [
            "",
            "{}",
            "x: 1\n  variant: flatcar\n",
            "variants: 3",
            "variant",
            "  \"variant\": 1",
        ] {
            assert!(!is_butane_text(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_for_cloud_init_is_known() {
        for (text, kind) in [
            ("#cloud-config\n", ConfigKind::CloudConfig),
            ("#!/bin/sh\n", ConfigKind::Script),
            ("Content-Type: multipart/mixed; x\n", ConfigKind::Multipart),
            ("MIME-Version: 1.0\n", ConfigKind::Multipart),
            ("{}", ConfigKind::Ignition),
            ("# a comment", ConfigKind::Ignition),
        ] {
            assert_eq!(ConfigKind::of(text.as_bytes()), kind, "{text}");
            let mut gzip =
                flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast());
            let mut bytes = Vec::new();
            gzip.read_to_end(&mut bytes).unwrap();
            assert_eq!(ConfigKind::of(&bytes), kind, "{text}, compressed");
        }
    }
}
