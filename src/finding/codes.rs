//! All kinds of findings, by what they are about.

use super::{Code, Severity};

/// Makes a constant of each kind, and the list of all.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $severity:ident, $text:literal;)*) => {
        /// The kinds of findings.
        pub mod code {
            use super::{Code, Severity};
            $($(#[$doc])* pub const $name: &Code =
                &Code { word: $word, severity: Severity::$severity, text: $text };)*
        }

        /// Every kind of finding.
        pub const ALL: &[&Code] = &[$(code::$name),*];
    };
}

codes! {
    /// An entry lies where the running system mounts another filesystem.
    HIDDEN_BY_MOUNT = "hidden-by-mount", Error,
        "{path} would never be seen: the running system mounts another filesystem over /{top}";
    /// Two requests write one path; the later one counts.
    WRITTEN_TWICE = "written-twice", Warning,
        "{path} is written more than once: that of {by} stays";
    /// A file of OEM that the release no longer reads.
    NEVER_READ = "never-read", Error,
        "{path} would never be read: Flatcar has ignored it since release {since}";
    /// The os-release of USR cannot be read.
    RELEASE_UNKNOWN = "release-unknown", Warning,
        "the release of the image is not known: {why}";
    /// The newest time of the base cannot be told, as a partition cannot be read.
    TIME_UNKNOWN = "time-unknown", Warning,
        "the newest time in the image leaves out {partition}, which cannot be read: {why}";
    /// The disk has none of the sizes that Flatcar's releases have.
    LAYOUT_UNKNOWN = "layout-unknown", Warning,
        "the disk has not the sizes of a Flatcar release: ROOT keeps its size";
    /// A config that is baked in is no Ignition config.
    IGNITION_INVALID = "ignition-invalid", Error,
        "this {why}";
    /// A Butane file stands where an Ignition config belongs.
    IGNITION_IS_BUTANE = "ignition-is-butane", Error,
        "this is a Butane file, which must be translated to Ignition first";
    /// Kernel arguments of a grub.cfg that is replaced are lost.
    KERNEL_ARGS_LOST = "kernel-args-lost", Warning,
        "{path} is replaced by the vendor's: its kernel arguments {args} go";
    /// A link in /etc/extensions is replaced.
    SYSEXT_REPLACED = "sysext-replaced", Warning,
        "{path} is already in the image and is replaced";
    /// A sysext cannot be compared with the image.
    SYSEXT_UNCHECKED = "sysext-unchecked", Error,
        "this cannot be checked, as no os-release could be read from the image's USR";
    /// Flatcar's own image of a vendor has files that are not reproduced here.
    OEM_PACKAGE_MISSING = "oem-package-missing", Warning,
        "Flatcar's own image also has the files of its package {package} on OEM";
    /// Flatcar makes no image of this architecture for a vendor.
    VENDOR_ARCH = "vendor-arch", Warning,
        "Flatcar makes no {arch} images for {vendor}";
    /// A vendor that does not belong to the image's release is left out of "all".
    VENDOR_LEFT_OUT = "vendor-left-out", Note,
        "{vendor} is left out: {why}";
    /// The signature or digest of an input was not asked for, and the file changed name only.
    INPUT_UNUSED = "input-unused", Warning,
        "{path} was given, and nothing that is written needs it";
}
