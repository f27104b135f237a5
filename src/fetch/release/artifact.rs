//! Files of a release by what they are.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::flatcar::vendor::{Vendors, major_of};

/// The generic image, which every bake starts from.
const GENERIC: &str = "flatcar_production_image.bin.bz2";

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// The generic image.
    Generic,
    /// The image that Flatcar publishes for a vendor.
    Vendor(String),
    /// The sysext with a vendor's tools, which goes with the generic image.
    OemSysext(String),
    /// One of Flatcar's own sysexts, such as `podman`.
    Sysext(String),
    /// Any file, by its name.
    File(String),
}

impl Artifact {
    /// Its name in the folder of the release with `version`.
    ///
    /// # Errors
    /// There is no such vendor, or none with such a file in that release.
    pub fn file_name(&self, version: &str) -> Result<String> {
        Ok(match self {
            Self::Generic => GENERIC.to_owned(),
            Self::Vendor(id) => vendor_file(id, version)?,
            Self::OemSysext(id) => format!("oem-{id}.raw"),
            Self::Sysext(name) => format!("flatcar-{name}.raw"),
            Self::File(name) => name.clone(),
        })
    }
}

/// The name under which a vendor's disk is published: with the compression that Flatcar uses first.
fn vendor_file(id: &str, version: &str) -> Result<String> {
    let settings = Vendors::builtin()
        .find(id)?
        .for_release(major_of(version))?;
    let bundle = settings.bundle_file_name();
    let name = bundle.unwrap_or_else(|| settings.disk_file_name());
    let compression = settings.ci_compression.first();
    let extension = compression.map_or("", |compression| compression.extension());
    Ok(format!("{name}{extension}"))
}

/// `generic`, `vendor:ID`, `oem-sysext:ID`, `sysext:NAME`, or the name of a file.
impl FromStr for Artifact {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let artifact = match text.split_once(':') {
            None if text == "generic" => Self::Generic,
            None => Self::File(text.to_owned()),
            Some(("vendor", id)) => Self::Vendor(id.to_owned()),
            Some(("oem-sysext", id)) => Self::OemSysext(id.to_owned()),
            Some(("sysext", name)) => Self::Sysext(name.to_owned()),
            Some((kind, _)) => {
                return Err(Error::invalid(format!(
                    "'{}' is no kind of file of a release",
                    kind.escape_debug()
                ))
                .with_hint(
                    "write generic, vendor:ID, oem-sysext:ID, sysext:NAME, or the name of a file",
                ));
            }
        };
        let name = match &artifact {
            Self::Generic => GENERIC,
            Self::Vendor(name) | Self::OemSysext(name) | Self::Sysext(name) | Self::File(name) => {
                name
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the name of a file of a release",
                name.escape_debug()
            )));
        }
        Ok(artifact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_have_the_names_that_flatcar_gives_them() {
        for (text, name) in [
            ("generic", "flatcar_production_image.bin.bz2"),
            ("oem-sysext:azure", "oem-azure.raw"),
            ("sysext:podman", "flatcar-podman.raw"),
            ("version.txt", "version.txt"),
            (
                "rootfs-included-sysexts/docker-flatcar.raw",
                "rootfs-included-sysexts/docker-flatcar.raw",
            ),
        ] {
            let artifact: Artifact = text.parse().unwrap();
            assert_eq!(artifact.file_name("4757.2.1").unwrap(), name);
        }
        for bad in ["", "what:x", "sysext:", "a b", "vendor:a\n"] {
            assert!(bad.parse::<Artifact>().is_err(), "{bad}");
        }
        let unknown: Artifact = "vendor:nobody".parse().unwrap();
        assert!(unknown.file_name("4757.2.1").is_err());
    }

    #[test]
    fn images_of_vendors_are_published_packed() {
        let name = |id: &str| {
            let artifact: Artifact = format!("vendor:{id}").parse().unwrap();
            artifact.file_name("4757.2.1").unwrap()
        };
        assert!(
            name("qemu").starts_with("flatcar_production_qemu"),
            "{}",
            name("qemu")
        );
        assert_eq!(name("gce"), "flatcar_production_gce.tar.gz");
        assert_eq!(name("azure"), "flatcar_production_azure_image.vhd.bz2");
    }
}
