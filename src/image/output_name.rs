//! What the name of an output says of its format and its compression.
//!
//! ```text
//!   node.vhd.zst     .vhd is vhd or vhd_fixed            .zst
//!   node.img         .img is any format, raw by itself
//!   node.gz          no disk extension: as .img          .gz
//!   node.tar.gz      no disk image: refused, unless a format is given
//! ```

use std::path::Path;

use super::{CompressOptions, Compression, OutputFormat};
use crate::error::{Error, Result};

/// Extensions of what holds disk images or replaces them, with a vendor for which Flatcar has it made.
const OTHERS: [(&str, &str); 8] = [
    ("ova", "vmware_ova"),
    ("ovf", "virtualbox"),
    ("box", "vagrant"),
    ("iso", "iso"),
    ("tar", "gce"),
    ("tgz", "gce"),
    ("zip", "hyperv"),
    ("cpio", "pxe"),
];

/// A file name, taken apart.
struct Name {
    /// In lower case; of what is compressed, where it is.
    extension: Option<String>,
    compression: Option<Compression>,
}

impl Name {
    fn of(path: &Path) -> Self {
        let compression = compression(path);
        let plain = plain_name(path);
        let extension = Path::new(&plain)
            .extension()
            .and_then(|extension| extension.to_str());
        // The end of a release's number, as in flatcar-4757.2.1.gz.
        let is_number = |extension: &&str| extension.bytes().all(|byte| byte.is_ascii_digit());
        let extension = extension
            .filter(|extension| !is_number(extension))
            .map(str::to_ascii_lowercase);
        Self {
            extension,
            compression,
        }
    }

    /// The usual format of files with the extension.
    fn usual(&self) -> Option<OutputFormat> {
        OutputFormat::of_extension(self.extension.as_deref()?)
    }

    /// Whether the extension is that of some formats and of no other.
    fn is_of_some(&self) -> bool {
        self.extension
            .as_deref()
            .is_some_and(|extension| !OutputFormat::is_open_extension(extension))
    }

    /// The vendor for which files with this extension are made, where they are no disk images.
    fn vendor(&self) -> Option<&'static str> {
        let extension = self.extension.as_deref()?;
        OTHERS
            .iter()
            .find(|(other, _)| *other == extension)
            .map(|(_, vendor)| *vendor)
    }

    /// The format that the name alone asks for.
    fn format(&self) -> Option<OutputFormat> {
        match (self.usual(), &self.extension, self.compression) {
            (Some(usual), ..) => Some(usual),
            (None, None, Some(_)) => Some(OutputFormat::Raw),
            _ => None,
        }
    }

    /// Whether a file of this name may have `format`.
    fn allows(&self, format: OutputFormat) -> bool {
        let is_its_own = |extension: &String| format.row().extensions.contains(&extension.as_str());
        !self.is_of_some() || self.extension.as_ref().is_some_and(is_its_own)
    }

    /// Whether the name is that of a format which is not compressed.
    fn is_plain(&self) -> bool {
        self.compression.is_none() && self.is_of_some()
    }
}

impl OutputFormat {
    /// The format and compression that a file name alone asks for: `.bin`, `.img`, `.raw`, `.qcow2`, `.vmdk` (with IDE),
    /// `.vhd` (dynamic), `.vhdx` or `.vdi`, each also with `.bz2`, `.gz`, `.xz` or `.zst` behind it; one of these alone
    /// for a compressed raw disk; and `.hdd`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] for any other name. The message names the vendor for which such a file is made,
    /// where there is one.
    pub fn of_name(path: &Path) -> Result<(Self, Option<CompressOptions>)> {
        Self::decide(path, None, None)
    }

    /// The format and compression of the output at `path`: those that are given, else those of
    /// [`of_name`](Self::of_name).
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidInput`] where nothing tells the format, where a name that is known for one says
    /// otherwise than what is given, and for a compressed format of several files.
    pub fn decide(
        path: &Path,
        format: Option<Self>,
        compress: Option<CompressOptions>,
    ) -> Result<(Self, Option<CompressOptions>)> {
        let name = Name::of(path);
        let format = match format {
            None => name.format().ok_or_else(|| says_nothing(path, &name))?,
            Some(format) if name.allows(format) => format,
            Some(format) => {
                let extension = name.extension.unwrap_or_default();
                return Err(contradiction(
                    path,
                    &format!("a .{extension}"),
                    &format.to_string(),
                ));
            }
        };
        let is_compressed = compress.is_some() || name.compression.is_some();
        if is_compressed && !format.is_one_file() {
            let message = format!(
                "{}: {format} is more than one file, which cannot be compressed",
                path.display()
            );
            return Err(Error::invalid(message));
        }
        let compress = match (compress, name.compression) {
            (None, named) => named.map(CompressOptions::new),
            (Some(given), Some(named)) if given.compression != named => {
                let named = format!("a file in {named}");
                return Err(contradiction(path, &named, &given.compression.to_string()));
            }
            (Some(given), None) if name.is_plain() => {
                return Err(contradiction(
                    path,
                    "an uncompressed file",
                    &given.compression.to_string(),
                ));
            }
            (given, _) => given,
        };
        Ok((format, compress))
    }
}

fn contradiction(path: &Path, named: &str, given: &str) -> Error {
    Error::invalid(format!(
        "{} is the name of {named}, but {given} is asked for",
        path.display()
    ))
}

fn says_nothing(path: &Path, name: &Name) -> Error {
    let shown = path.display();
    if let (Some(extension), Some(vendor)) = (&name.extension, name.vendor()) {
        return Error::invalid(format!(
            "{shown} is not the name of a disk image: what a .{extension} holds is made for vendors such as {vendor}"
        ));
    }
    let known: Vec<String> = OutputFormat::known_extensions()
        .iter()
        .map(|extension| format!(".{extension}"))
        .collect();
    Error::invalid(format!(
        "the name {shown} does not tell the format of the disk image: known are {}, all but .hdd also with .bz2, .gz, \
         .xz or .zst behind them",
        known.join(", ")
    ))
}

/// The compression that a file name asks for by its last extension.
fn compression(path: &Path) -> Option<Compression> {
    Compression::of_extension(path.extension()?.to_str()?)
}

/// The file name without the extension of a compression: what the image within is called.
pub fn plain_name(path: &Path) -> String {
    let name = match compression(path) {
        Some(_) => path.file_stem(),
        None => path.file_name(),
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn of_name(name: &str) -> Option<(OutputFormat, Option<String>)> {
        let (format, compress) = OutputFormat::of_name(Path::new(name)).ok()?;
        Some((format, compress.map(|options| options.to_string())))
    }

    #[test]
    fn known_names_decide_and_others_are_refused() {
        for (name, format) in [
            ("a.img", OutputFormat::Raw),
            ("a.bin", OutputFormat::Raw),
            ("a.raw", OutputFormat::Raw),
            ("a.QCOW2", OutputFormat::Qcow2),
            ("b.tar/a.vhd", OutputFormat::Vhd),
            ("a.vhdx", OutputFormat::Vhdx),
            ("a.vmdk", OutputFormat::VmdkIde),
            ("a.vdi", OutputFormat::Vdi),
        ] {
            assert_eq!(of_name(name), Some((format, None)), "{name}");
            for (extension, compression) in [
                ("bz2", "bz2:9"),
                ("gz", "gz:6"),
                ("XZ", "xz:6"),
                ("zst", "zst:3"),
            ] {
                let name = format!("{name}.{extension}");
                assert_eq!(
                    of_name(&name),
                    Some((format, Some(compression.to_owned()))),
                    "{name}"
                );
            }
        }
        assert_eq!(of_name("a.hdd"), Some((OutputFormat::Hdd, None)));
        for name in ["disk.gz", "flatcar-4757.2.1.gz"] {
            assert_eq!(
                of_name(name),
                Some((OutputFormat::Raw, Some("gz:6".to_owned()))),
                "{name}"
            );
        }
        for name in [
            "a",
            "qcow2",
            ".img",
            "a.iso9660",
            "a.foo.gz",
            "a.txt",
            "flatcar-4757.2.1",
            "a.7z",
            "a.gz.gz",
            "-",
            "",
        ] {
            let error = OutputFormat::of_name(Path::new(name)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
            assert!(error.message().contains(".vhdx"), "{name}: {error}");
        }
        assert!(
            OutputFormat::of_name(Path::new("a.hdd.gz"))
                .unwrap_err()
                .to_string()
                .contains("cannot be compressed")
        );
    }

    #[test]
    fn what_is_made_for_a_vendor_names_it() {
        for (name, vendor) in [
            ("a.ova", "vmware_ova"),
            ("a.ova.gz", "vmware_ova"),
            ("a.ovf", "virtualbox"),
            ("a.box", "vagrant"),
            ("a.iso", "iso"),
            ("a.tar.gz", "gce"),
            ("a.TGZ", "gce"),
            ("a.zip", "hyperv"),
            ("a.cpio.gz", "pxe"),
        ] {
            let error = OutputFormat::of_name(Path::new(name)).unwrap_err();
            assert!(error.message().contains(vendor), "{name}: {error}");
            let given = OutputFormat::decide(Path::new(name), Some(OutputFormat::VmdkStream), None);
            assert_eq!(given.unwrap().0, OutputFormat::VmdkStream);
        }
    }

    #[test]
    fn what_is_given_must_not_contradict_a_known_name() {
        let decide = |name: &str, format: Option<OutputFormat>, compress: Option<&str>| {
            let compress = compress.map(|text| text.parse().unwrap());
            OutputFormat::decide(Path::new(name), format, compress)
        };
        for format in OutputFormat::all() {
            let word = format.to_string();
            for (name, allowed) in [
                ("a.img", true),
                ("a.bin", true),
                ("a", true),
                ("a.foo", true),
                ("a.raw", word == "raw"),
                ("a.qcow2", word == "qcow2"),
                ("a.vmdk", word.starts_with("vmdk")),
                ("a.vhd", word.starts_with("vhd") && word != "vhdx"),
                ("a.vhdx", word == "vhdx"),
                ("a.vdi", word == "vdi"),
                ("a.hdd", word == "hdd"),
            ] {
                assert_eq!(
                    decide(name, Some(format), None).is_ok(),
                    allowed,
                    "{name} as {word}"
                );
            }
            assert_eq!(
                decide("a.img", Some(format), Some("gz")).is_ok(),
                format.is_one_file()
            );
        }
        let (format, compress) =
            decide("a.vhd.zst", Some(OutputFormat::VhdFixed), Some("zst:19")).unwrap();
        assert_eq!(
            (format, compress.unwrap().to_string().as_str()),
            (OutputFormat::VhdFixed, "zst:19")
        );
        for (name, compress, allowed) in [
            ("a.img.gz", "gz:9", true),
            ("a.img.gz", "zst", false),
            ("a.img", "zst", true),
            ("a.qcow2", "zst", false),
            ("a.raw", "gz", false),
        ] {
            assert_eq!(
                decide(name, None, Some(compress)).is_ok(),
                allowed,
                "{name} with {compress}"
            );
        }
    }

    #[test]
    fn the_name_within_has_no_compression() {
        assert_eq!(plain_name(Path::new("x/a.vmdk.gz")), "a.vmdk");
        assert_eq!(plain_name(Path::new("x/a.tar")), "a.tar");
    }
}
