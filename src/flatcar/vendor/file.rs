//! A vendor file as it is written: strict TOML, where an unknown key or a wrong type is an error with its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::words::{
    CiCompression, DiskFormat, DiskLayout, DiskSize, Extension, FileName, GrubValue, Id,
    MemberPath, Status, Text,
};
use crate::error::{Error, Result};
use crate::machine::{Arch, BundleFormat, ConfFormat};

/// Real files are below 4 KiB; a larger one than this is not what it says.
pub(super) const MAX_LEN: usize = 64 << 10;

/// A vendor of disk images. Only `id`, `name` and `status` must be given, and `disk_format` unless it is an alias.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "flatbake vendor file")]
pub struct VendorFile {
    /// The name that `--vendor` takes; also in the names of files.
    pub id: Id,
    /// The name for people.
    pub name: Text,
    /// Whether Flatcar still makes images for it.
    pub status: Status,
    /// The vendor whose settings an alias takes over where it has none of its own.
    pub alias_of: Option<Id>,
    /// The major number of the first Flatcar release with images for it.
    pub since: Option<u64>,
    /// A tag of Flatcar's scripts whose table has it, at or behind `since`: `stable-4459.2.0`.
    pub since_tag: Option<Text>,
    /// The major number from which on Flatcar makes no images for it.
    pub removed: Option<u64>,
    /// A tag of Flatcar's scripts whose table no longer has it: `stable-4757.2.0`.
    pub removed_tag: Option<Text>,
    /// The day on which Flatcar gave it up: `2026-04-23`.
    pub removed_on: Option<Text>,
    /// Why it is refused.
    pub why: Option<Text>,
    /// Other words by which people look for it, for suggestions.
    #[serde(default)]
    pub keywords: Vec<Id>,
    /// What must be given for a whole set of files, a sentence each.
    #[serde(default)]
    pub needs: Vec<Text>,
    /// What those who use the image should know, a sentence each.
    #[serde(default)]
    pub notes: Vec<Text>,
    /// The architectures that Flatcar makes images of.
    pub arch: Option<Vec<Arch>>,
    /// The format of the disk.
    pub disk_format: Option<DiskFormat>,
    /// The sizes of partitions and disk; `base` where nothing is said.
    pub disk_layout: Option<DiskLayout>,
    /// The extension of the disk's file, where it is not the usual one of the format.
    pub disk_ext: Option<Extension>,
    /// The exact size of the disk that the image shows, where it is not that of the layout: `10G`.
    pub disk_size: Option<DiskSize>,
    /// The disk grows to a multiple of this: `1G`; `1M` where nothing is said.
    pub disk_size_step: Option<DiskSize>,
    /// The OEM sysext without its prefix `oem-`.
    pub oem_sysext: Option<Id>,
    /// Flatcar's package of OEM files that are in no sysext.
    pub oem_package: Option<Id>,
    /// What `oem-release` says.
    pub oem: Option<Oem>,
    /// What OEM's `grub.cfg` says.
    pub grub: Option<Grub>,
    /// The kind of config files.
    pub conf_format: Option<ConfFormat>,
    /// The config files beside the disk.
    pub conf_files: Option<Vec<FileName>>,
    /// Memory of the machine that config files describe, in MiB; 1024 where nothing is said.
    pub memory_mib: Option<u32>,
    /// The kind of bundle.
    pub bundle_format: Option<BundleFormat>,
    /// The file name of the bundle.
    pub bundle: Option<FileName>,
    /// What is in the bundle, in its order.
    pub bundle_files: Option<Vec<MemberPath>>,
    /// Whether the disk and its config files are published beside the bundle too.
    pub loose_files: Option<bool>,
    /// How Flatcar compresses the disk for download, the usual way first.
    pub ci_compression: Option<Vec<CiCompression>>,
    /// What was different before some release.
    #[serde(default)]
    pub until: Vec<Until>,
}

/// What was different in releases before `release`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Until {
    /// The major number of the first release in which this no longer holds.
    pub release: u64,
    /// A tag of Flatcar's sources at which it no longer holds, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Text>,
    /// Settings that there was none of: `oem_sysext`, `disk_size`, …
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Without>,
    /// The format of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<DiskFormat>,
    /// The sizes of partitions and disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_layout: Option<DiskLayout>,
    /// The extension of the disk's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_ext: Option<Extension>,
    /// The OEM sysext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oem_sysext: Option<Id>,
    /// The package of OEM files that were in no sysext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oem_package: Option<Id>,
    /// What `oem-release` said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oem: Option<Oem>,
    /// All that OEM's `grub.cfg` said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grub: Option<Grub>,
    /// The config files beside the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conf_files: Option<Vec<FileName>>,
}

/// A setting that can be absent in older releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Without {
    /// No exact size of the disk: that of the layout.
    DiskSize,
    /// The usual extension of the format.
    DiskExt,
    /// No OEM sysext.
    OemSysext,
}

/// What `oem-release` says of the vendor; the boot looks at `id` only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oem {
    /// `ID=`: the OEM sysext to load is called `oem-` and this.
    pub id: Id,
    /// `NAME=`.
    pub name: Text,
}

/// What OEM's `grub.cfg` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grub {
    /// The platform that Ignition and Afterburn see: `flatcar.oem.id`.
    pub oem_id: Id,
    /// Kernel arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_append: Option<GrubValue>,
    /// Consoles in place of Flatcar's usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_console: Option<GrubValue>,
    /// More lines of GRUB's language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<GrubValue>,
    /// What holds on some machines only, after all else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<GrubWhen>,
}

/// A condition of `grub.cfg` and what holds under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrubWhen {
    /// `$grub_platform` is one of these: `pc`, `efi`, `xen`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grub_platform: Vec<Id>,
    /// `$grub_cpu` is one of these: `i386`, `x86_64`, `arm64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grub_cpu: Vec<Id>,
    /// Consoles in place of those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux_console: Option<GrubValue>,
    /// More lines of GRUB's language.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<GrubValue>,
}

impl VendorFile {
    /// Takes over all settings of `target` for which there are none here.
    pub(super) fn inherit(&mut self, target: &Self) {
        let target = target.clone();
        self.arch = self.arch.take().or(target.arch);
        self.disk_format = self.disk_format.or(target.disk_format);
        self.disk_layout = self.disk_layout.or(target.disk_layout);
        self.disk_ext = self.disk_ext.take().or(target.disk_ext);
        self.disk_size = self.disk_size.or(target.disk_size);
        self.disk_size_step = self.disk_size_step.or(target.disk_size_step);
        self.oem_sysext = self.oem_sysext.take().or(target.oem_sysext);
        self.oem_package = self.oem_package.take().or(target.oem_package);
        self.oem = self.oem.take().or(target.oem);
        self.grub = self.grub.take().or(target.grub);
        self.conf_format = self.conf_format.or(target.conf_format);
        self.conf_files = self.conf_files.take().or(target.conf_files);
        self.memory_mib = self.memory_mib.or(target.memory_mib);
        self.bundle_format = self.bundle_format.or(target.bundle_format);
        self.bundle = self.bundle.take().or(target.bundle);
        self.bundle_files = self.bundle_files.take().or(target.bundle_files);
        self.loose_files = self.loose_files.or(target.loose_files);
        self.ci_compression = self.ci_compression.take().or(target.ci_compression);
        if self.until.is_empty() {
            self.until = target.until;
        }
    }

    /// Reads `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// Anything that is not a vendor file, with line and column.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        if text.len() > MAX_LEN {
            let bytes = text.len();
            return Err(Error::invalid(format!(
                "a vendor file of {bytes} bytes: at most {MAX_LEN} are read"
            ))
            .at(name));
        }
        toml::from_str(text).map_err(|error| {
            let place = error
                .span()
                .map_or(String::new(), |span| place(text, span.start));
            Error::invalid(format!("{place}{}", error.message().replace('\n', "; ")))
                .with_hint("flatbake vendors azure --toml shows a vendor file as an example")
                .at(name)
        })
    }
}

/// `line 3, column 5: ` of a byte in `text`.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    format!("line {line}, column {column}: ")
}
