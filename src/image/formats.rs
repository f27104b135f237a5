//! The table of disk image formats. A format is one folder with its row, its variant of [`Format`] and those of
//! [`OutputFormat`], and a line here.

use std::fmt;
use std::str::FromStr;

use super::format::{Format, Open, OutputFormat, OutputOption, OutputRow, Place, Row, Writer};
use super::{parallels, qcow2, raw, vdi, vhd, vhdx, vmdk};
use crate::error::{Error, Result};

/// All formats. What none of the others is, is raw.
const ROWS: [&Row; 7] = [
    &raw::FORMAT,
    &qcow2::FORMAT,
    &vmdk::FORMAT,
    &vhd::FORMAT,
    &vhdx::FORMAT,
    &vdi::FORMAT,
    &parallels::FORMAT,
];

/// The variants of all formats that can be written.
fn outputs() -> impl Iterator<Item = &'static OutputRow> {
    ROWS.into_iter().flat_map(|row| row.outputs)
}

impl Format {
    /// The format that the first sector of a file tells.
    pub(super) fn of_start(head: &[u8]) -> Option<Self> {
        Self::probed(|place, magic| match place {
            Place::Start(offset) => head
                .get(offset..)
                .is_some_and(|rest| rest.starts_with(magic)),
            Place::LastSector => false,
        })
    }

    /// The format that the last sector of a file tells.
    pub(super) fn of_last_sector(sector: &[u8]) -> Option<Self> {
        Self::probed(|place, magic| place == Place::LastSector && sector.starts_with(magic))
    }

    /// The format with a probe for which `matches` holds.
    fn probed(matches: impl Fn(Place, &[u8]) -> bool) -> Option<Self> {
        let is_told = |row: &&Row| {
            row.probes
                .iter()
                .any(|probe| matches(probe.place, probe.magic))
        };
        ROWS.into_iter().find(is_told).map(|row| row.format)
    }

    /// The format that QEMU calls `name`.
    pub(super) fn of_qemu_name(name: &[u8]) -> Option<Self> {
        ROWS.into_iter()
            .find(|row| row.qemu_name.as_bytes() == name)
            .map(|row| row.format)
    }

    /// What opens a file of this format.
    pub(super) fn opener(self) -> Open {
        self.row().open
    }

    fn row(self) -> &'static Row {
        ROWS.into_iter()
            .find(|row| row.format == self)
            .expect("every format has a row: a test sees to it")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().word)
    }
}

impl OutputFormat {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        outputs().map(|row| row.format)
    }

    /// Whether images of this format have this detail.
    pub fn takes(self, option: OutputOption) -> bool {
        self.row().options.contains(&option)
    }

    /// Whether an image is a single file: neither a folder nor a descriptor with a second file.
    pub fn is_one_file(self) -> bool {
        matches!(self.row().writer, Writer::File(_))
    }

    /// Its properties.
    pub(crate) fn row(self) -> &'static OutputRow {
        outputs()
            .find(|row| row.format == self)
            .expect("every output format has a row: a test sees to it")
    }

    /// The usual format of files with this extension, in lower case and without the dot.
    pub(super) fn of_extension(extension: &str) -> Option<Self> {
        let has_it = |row: &&OutputRow| {
            row.extensions.contains(&extension) || row.open_extensions.contains(&extension)
        };
        outputs().find(has_it).map(|row| row.format)
    }

    /// Whether files with this extension may be of any format, as far as is known of it.
    pub(super) fn is_open_extension(extension: &str) -> bool {
        outputs().all(|row| !row.extensions.contains(&extension))
    }

    /// All extensions that are known for disk images, without the dot.
    pub(super) fn known_extensions() -> Vec<&'static str> {
        let mut all = Vec::new();
        for row in outputs() {
            for extension in row.open_extensions.iter().chain(row.extensions) {
                if !all.contains(extension) {
                    all.push(*extension);
                }
            }
        }
        all
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.row().word)
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    /// Its word, with `_` or `-`; `vmdk` is `vmdk_ide` and `parallels` is `hdd`.
    fn from_str(text: &str) -> Result<Self> {
        let word = text.replace('-', "_");
        let is_meant = |row: &&OutputRow| row.word == word || row.aliases.contains(&&*word);
        outputs()
            .find(is_meant)
            .map(|row| row.format)
            .ok_or_else(|| {
                let words: Vec<_> = outputs().map(|row| row.word).collect();
                Error::invalid(format!("'{text}' is not an output format"))
                    .with_hint(format!("write one of {}", words.join(", ")))
            })
    }
}

impl OutputOption {
    /// The words of the formats that have this detail, as in `qcow2 and vmdk_stream`.
    pub fn formats(self) -> String {
        let words: Vec<_> = outputs()
            .filter(|row| row.options.contains(&self))
            .map(|row| row.word)
            .collect();
        words.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next format. A new one does not compile until it is named here, and fails until it has its row.
    fn after(format: Format) -> Option<Format> {
        match format {
            Format::Raw => Some(Format::Qcow2),
            Format::Qcow2 => Some(Format::Vmdk),
            Format::Vmdk => Some(Format::Vhd),
            Format::Vhd => Some(Format::Vhdx),
            Format::Vhdx => Some(Format::Vdi),
            Format::Vdi => Some(Format::Parallels),
            Format::Parallels => None,
        }
    }

    /// As [`after`].
    fn output_after(format: OutputFormat) -> Option<OutputFormat> {
        match format {
            OutputFormat::Raw => Some(OutputFormat::Qcow2),
            OutputFormat::Qcow2 => Some(OutputFormat::VmdkIde),
            OutputFormat::VmdkIde => Some(OutputFormat::VmdkScsi),
            OutputFormat::VmdkScsi => Some(OutputFormat::VmdkStream),
            OutputFormat::VmdkStream => Some(OutputFormat::VmdkFlat),
            OutputFormat::VmdkFlat => Some(OutputFormat::Vhd),
            OutputFormat::Vhd => Some(OutputFormat::VhdFixed),
            OutputFormat::VhdFixed => Some(OutputFormat::Vhdx),
            OutputFormat::Vhdx => Some(OutputFormat::Vdi),
            OutputFormat::Vdi => Some(OutputFormat::Hdd),
            OutputFormat::Hdd => None,
        }
    }

    #[test]
    fn every_format_has_one_row() {
        let formats: Vec<_> =
            std::iter::successors(Some(Format::Raw), |format| after(*format)).collect();
        assert_eq!(ROWS.map(|row| row.format).to_vec(), formats);
        let all: Vec<_> =
            std::iter::successors(Some(OutputFormat::Raw), |format| output_after(*format))
                .collect();
        assert_eq!(OutputFormat::all().collect::<Vec<_>>(), all);
    }

    #[test]
    fn words_give_formats() {
        for format in OutputFormat::all() {
            let word = format.to_string();
            assert_eq!(word.parse::<OutputFormat>().unwrap(), format);
            assert_eq!(serde_json::to_value(format).unwrap(), word);
        }
        assert_eq!(
            "vmdk-stream".parse::<OutputFormat>().unwrap(),
            OutputFormat::VmdkStream
        );
        assert_eq!(
            "vmdk".parse::<OutputFormat>().unwrap(),
            OutputFormat::VmdkIde
        );
        assert_eq!(
            "parallels".parse::<OutputFormat>().unwrap(),
            OutputFormat::Hdd
        );
        assert!(
            "iso"
                .parse::<OutputFormat>()
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("vhd_fixed")
        );
        assert_eq!(OutputOption::Level.formats(), "qcow2 and vmdk_stream");
    }

    #[test]
    fn documentation_and_manifests_name_every_format_that_is_written() {
        for (name, text) in [
            ("docs/formats.md", include_str!("../../docs/formats.md")),
            (
                "the keys of manifests",
                include_str!("../manifest/document.rs"),
            ),
        ] {
            let is_in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words: Vec<_> = text.split(|c| !is_in_word(c)).collect();
            for format in OutputFormat::all() {
                assert!(
                    words.contains(&format.to_string().as_str()),
                    "{name} lacks {format}"
                );
            }
        }
    }
}
