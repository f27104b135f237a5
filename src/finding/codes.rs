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
    // Fetching.

    /// What is fetched is used as it comes.
    NOT_VERIFIED = "not-verified", Warning,
        "signatures are not verified: whoever is on the way to the server can change what is fetched";

    // Partition tables.

    /// The disk is larger than its partition table says.
    DISK_ENLARGED = "disk-enlarged", Warning,
        "the disk was enlarged: its last sector is {last}, but the backup partition table is at sector {backup}";
    /// The disk is smaller than its partition table says.
    DISK_CUT_SHORT = "disk-cut-short", Warning,
        "the disk was cut short: its last sector is {last}, but the backup partition table belongs at sector {backup}";
    /// The disk is not a whole number of sectors.
    DISK_ODD_SIZE = "disk-odd-size", Note,
        "the disk ends with {bytes} bytes, which is less than a sector";
    /// The first copy of the table cannot be used.
    TABLE_PRIMARY_DAMAGED = "table-primary-damaged", Warning,
        "the primary partition table is damaged, so the backup is used: {why}";
    /// The second copy of the table cannot be used.
    TABLE_BACKUP_DAMAGED = "table-backup-damaged", Warning,
        "the backup partition table is damaged: {why}";
    /// Both copies of the table are whole and say different things.
    TABLE_COPIES_DIFFER = "table-copies-differ", Warning,
        "the two copies of the partition table differ in {field}: the primary one is used";
    /// Neither copy of the table can be used, and the disk is not to be changed.
    TABLE_UNREADABLE = "table-unreadable", Warning,
        "the disk is converted as it is, but its partition table cannot be read: {why}";
    /// The table can be read but not edited.
    TABLE_NOT_EDITABLE = "table-not-editable", Warning,
        "the partition table can be read but not edited: {why}";
    /// The MBR does not say that there is a GPT.
    MBR_UNPROTECTED = "mbr-unprotected", Warning,
        "the MBR has no record of type 0xee that protects the GPT, so some programs will not see the partitions";
    /// Two partitions cannot be told apart.
    PARTITION_GUID_TAKEN = "partition-guid-taken", Warning,
        "{partition} has the unique GUID {guid}, which another partition also has";

    // Disk images and the cache of decompressed ones.

    /// The machine that used the image was not shut down, and the image's own log makes it whole.
    IMAGE_LOG_APPLIED = "image-log-applied", Warning,
        "the {format} image was not closed properly: the changes in its log are applied";
    /// The machine that used the image was not shut down.
    IMAGE_NOT_CLOSED = "image-not-closed", Warning,
        "the {format} image was not closed properly: what was written last may be missing";
    /// A program that found errors in the image has marked it.
    IMAGE_MARKED_DAMAGED = "image-marked-damaged", Warning,
        "the {format} image is marked as damaged: some of what it holds may be wrong";
    /// Snapshots within the image are not read.
    IMAGE_SNAPSHOTS = "image-snapshots", Note,
        "the image has internal snapshots ({count}), which are ignored";
    /// The image is read by a copy of its header.
    IMAGE_HEADER_COPY = "image-header-copy", Warning,
        "the VHD footer cannot be used, so its copy at the start of the file is: {why}";
    /// A decompressed image cannot be kept for the next run.
    CACHE_UNUSABLE = "cache-unusable", Warning,
        "the cache folder {folder} cannot be used, so the image is decompressed to {temp}: {why}";

    // Filesystems.

    /// squashfs has room for attributes of three namespaces only.
    SQUASHFS_XATTRS = "squashfs-xattrs", Warning,
        "extended attributes that squashfs cannot store are left out, such as {name} of {path}";
    /// EROFS has room for attributes of three namespaces and access control lists only.
    EROFS_XATTRS = "erofs-xattrs", Warning,
        "extended attributes that EROFS cannot store are left out, such as {name} of {path}";

    // Archives.

    /// The first entry of an archive is somebody's working folder.
    ARCHIVE_ROOT_CHANGED = "archive-root-changed", Warning,
        "'{entry}' in the archive gives the root directory of the image mode {mode} and owner {owner}";
    /// A directory takes the place of a symlink.
    ARCHIVE_SYMLINK_REPLACED = "archive-symlink-replaced", Warning,
        "the archive has directories where the image had symlinks: {paths}";
    /// Access control lists in a form that is not taken over.
    ARCHIVE_ACLS = "archive-acls", Warning,
        "access control lists in the archive are left out ({count} in all)";
    /// The archive goes to a filesystem without extended attributes.
    ARCHIVE_XATTRS = "archive-xattrs", Warning,
        "FAT has no extended attributes, so those in the archive are left out (entries with some: {count})";
    /// Attributes of other systems.
    ARCHIVE_FOREIGN_XATTRS = "archive-foreign-xattrs", Warning,
        "attributes that Linux has no namespace for are left out: {names}";
    /// Files that macOS's tar makes of attributes.
    ARCHIVE_APPLEDOUBLE = "archive-appledouble", Warning,
        "files named ._NAME, in which macOS keeps attributes, come with the files they belong to ({count} in all)";
    /// The archive's end mark is half as long as it should be.
    ARCHIVE_END_SHORT = "archive-end-short", Note,
        "the archive ends with one block of zeroes instead of two";
    /// Nothing says that the archive is whole.
    ARCHIVE_END_MISSING = "archive-end-missing", Warning,
        "the archive has no end mark, so it may be cut short after its last entry";
    /// The archive is a container image, not a tree of files.
    ARCHIVE_IS_IMAGE = "archive-is-image", Warning,
        "the archive is a container image ({members}), and is unpacked as plain files that no container runtime looks for";
    /// An archive that begins with `var/lib/docker` is unpacked in `/var/lib/docker`.
    DOCKER_NESTED = "docker-nested", Warning,
        "the archive brings Docker's folder into Docker's folder, where Docker will not look for it";
    /// Docker's files that identify a machine are in the archive, and not wanted.
    DOCKER_IDENTITY_DROPPED = "docker-identity-dropped", Warning,
        "the Docker identity of another machine is left out, as all machines made from the image would share it: {paths}";
    /// Docker's files that identify a machine are in the archive, and wanted.
    DOCKER_IDENTITY_KEPT = "docker-identity-kept", Warning,
        "all machines made from the image will share one Docker identity: {paths}";
    /// Docker on the new machine would take over what Docker did on the old one.
    DOCKER_STATE = "docker-state", Warning,
        "the archive has the state of a Docker daemon of another machine, and containers may start from it: {paths}";
    /// Images that Docker on Flatcar does not look for.
    DOCKER_DRIVER = "docker-driver", Warning,
        "Docker on Flatcar uses overlay2 and will not see images of other storage drivers: {drivers}";
    /// Layers were packed without the marks by which they hide files of lower layers.
    DOCKER_LAYERS = "docker-layers", Warning,
        "layers below /var/lib/docker/overlay2 have no trusted.overlay attributes, so files that a layer deletes may \
         come back";
    /// containerd on the new machine would take over what it did on the old one.
    CONTAINERD_STATE = "containerd-state", Warning,
        "{path} has containers and leases of another machine";

    // Flatcar disks.

    /// A partition of Flatcar's has an unusual number.
    PARTITION_NUMBER = "partition-number", Warning,
        "{partition} has the number {number} in Flatcar's images";
    /// The boot loader would find nothing to boot.
    USR_NOT_BOOTABLE = "usr-not-bootable", Warning,
        "no USR partition is marked as bootable: {partition} is taken";

    // grub.cfg on OEM.

    /// Ignition would pass over kernel arguments of a grub.cfg.
    GRUB_LINE_FORM = "grub-line-form", Warning,
        "line {line}: Ignition cannot edit these kernel arguments, as the line does not begin with set linux_append=\" in \
         the first column and end with a quote";
    /// Ignition would make kernel arguments of a grub.cfg unconditional.
    GRUB_CONDITION = "grub-condition", Warning,
        "line {line}: Ignition moves this line out of its condition when it sets kernel arguments";
    /// `export` is used as if it assigned a value.
    GRUB_EXPORT = "grub-export", Warning,
        "line {line}: export sets no value in GRUB, so these kernel arguments never reach the kernel";
    /// What a grub.cfg sets cannot be told from the file.
    GRUB_OPAQUE = "grub-opaque", Warning,
        "line {line}: what is set from here on depends on another file or on the machine, so kernel arguments may be lost";
    /// GRUB cannot read a part of grub.cfg.
    GRUB_SYNTAX = "grub-syntax", Warning,
        "line {line}: GRUB finds a syntax error here, and skips what belongs to it";
    /// A kernel argument fixes the identity of one machine.
    GRUB_MACHINE_ID = "grub-machine-id", Warning,
        "line {line}: {argument} is left over from a machine, and every clone would get its machine ID";
    /// A kernel argument names the config of one machine.
    GRUB_CONFIG_URL = "grub-config-url", Warning,
        "line {line}: {argument} is left over from a machine, and it beats config.ign and the platform's user data";
    /// A grub.cfg does not say where the machine runs.
    GRUB_NO_OEM_ID = "grub-no-oem-id", Warning,
        "no oem_id is set, so Ignition does not know the platform";

    // Sysexts, by the rules of systemd.

    /// A sysext is to be merged by a name that no sysext can have.
    SYSEXT_NAME = "sysext-name", Error,
        "'{name}' cannot be the name of a sysext";
    /// A sysext has no metadata.
    SYSEXT_NO_RELEASE = "sysext-no-release", Error,
        "there is no release file {folder}/extension-release.{name}, nor any other";
    /// A sysext has metadata for other names only.
    SYSEXT_OTHER_NAME = "sysext-other-name", Error,
        "there is no release file {folder}/extension-release.{name}, only one for {names}";
    /// A sysext has several release files that systemd would take for any name.
    SYSEXT_AMBIGUOUS = "sysext-ambiguous", Error,
        "several release files fit the name {name}: those for {names}";
    /// A sysext is for initrds or portable services.
    SYSEXT_SCOPE = "sysext-scope", Error,
        "{field} is '{scope}', which leaves out the running system";
    /// A sysext is for machines of another kind.
    SYSEXT_ARCH = "sysext-arch", Error,
        "the sysext is for {arch}, but the image is for {host}";
    /// A sysext does not say for which system it is.
    SYSEXT_NO_ID = "sysext-no-id", Error,
        "the release file for {name} has no ID, which must be {host} or _any";
    /// A sysext is for another system.
    SYSEXT_ID = "sysext-id", Error,
        "the sysext is for the system {id}, but the image's system is {host}";
    /// A sysext is for another interface of the system.
    SYSEXT_LEVEL = "sysext-level", Error,
        "the sysext is for {field} {level}, but the image has {host}";
    /// A sysext is for another release.
    SYSEXT_VERSION = "sysext-version", Error,
        "the sysext is for version {version}, but the image needs {fits}";
    /// A sysext does not say for which release it is.
    SYSEXT_NO_VERSION = "sysext-no-version", Error,
        "the release file for {name} has no VERSION_ID, but the image needs {fits}";
    /// A sysext would replace the host's os-release.
    SYSEXT_OS_RELEASE = "sysext-os-release", Error,
        "the sysext has usr/lib/os-release, and systemd refuses such a sysext";
    /// A sysext would hide the host's programs.
    SYSEXT_SBIN = "sysext-sbin", Error,
        "{path} is a real directory and would hide what the image has there, where it is a symlink to bin";
    /// A sysext would hide some of the host's files.
    SYSEXT_REAL_DIR = "sysext-real-dir", Warning,
        "{path} is a real directory and would hide what the image has there";
    /// Some of a sysext is not merged.
    SYSEXT_OUTSIDE = "sysext-outside", Warning,
        "a {class} is merged into {merged} only, which leaves out {paths}";
    /// systemd would not learn of a sysext's units.
    SYSEXT_NO_RELOAD = "sysext-no-reload", Warning,
        "the sysext has units ({units}), but not EXTENSION_RELOAD_MANAGER=1";
    /// Some of a sysext's programs do not run.
    SYSEXT_PROGRAM = "sysext-program", Warning,
        "{path} is for {arch}, but the image is for {host}";
    /// A sysext has something of another kind where the image has a folder, or a folder where it has something else.
    SYSEXT_HIDES = "sysext-hides", Error,
        "merged, the sysext would hide what the image has: {paths}";
    /// A sysext has marks by which the image's own files would be gone.
    SYSEXT_DELETES = "sysext-deletes", Error,
        "merged, the sysext would delete what the image has: {paths}";
    /// A root filesystem is unpacked into a folder, which cannot hold all of it.
    ROOTFS_NOT_KEPT = "rootfs-not-kept", Note,
        "not all of it could be kept: {what}";
    /// Programs were taken out of a root filesystem, and interpreters with them.
    PROGRAM_INTERPRETER = "program-interpreter", Note,
        "{interpreter} comes along, as it runs {path}; the files that it reads itself do not";
    /// A sysext would take permissions away from the image's folders.
    SYSEXT_CLOSES = "sysext-closes", Error,
        "merged, folders of the image would lose permissions: {paths}";
    /// A sysext would give the image's folders to somebody else.
    SYSEXT_OWNER = "sysext-owner", Warning,
        "merged, folders of the image would belong to somebody else: {paths}";
    /// A sysext has files of its own in the place of the image's.
    SYSEXT_REPLACES = "sysext-replaces", Warning,
        "merged, files of the sysext would be seen instead of the image's: {paths}";
    /// A sysext has bookkeeping of overlayfs in it.
    SYSEXT_OVERLAY_MARKS = "sysext-overlay-marks", Warning,
        "the sysext has marks of overlayfs, which hide files of other sysexts or make entries unreadable: {paths}";
    /// Files of a sysext may be changed by everybody.
    SYSEXT_WRITABLE = "sysext-writable", Warning,
        "the sysext has entries that everybody may write: {paths}";
    /// Two sysexts have one path.
    SYSEXT_SHARED_PATHS = "sysext-shared-paths", Warning,
        "the sysext {other} has other files under the same names, and one of each is hidden: {paths}";
    /// A file for updates of a sysext lacks what it must have.
    SYSUPDATE_INVALID = "sysupdate-invalid", Warning,
        "systemd-sysupdate cannot use this file: it {why}";
    /// The release's systemd does not read files of this name.
    SYSUPDATE_ENDING = "sysupdate-ending", Warning,
        "release {release} reads files for updates only where their names end in .conf";
    /// Updates of a sysext go to another folder.
    SYSUPDATE_PATH = "sysupdate-path", Warning,
        "updates would go to {path}, but the sysext is baked into {folder}, where it would stay for ever";
    /// Updates of a sysext do not know the version that is baked.
    SYSUPDATE_PATTERN = "sysupdate-pattern", Warning,
        "the pattern {pattern} does not fit {file}, so updates would not know the version that is baked";
    /// Updates of a sysext do not change what is merged.
    SYSUPDATE_LINK = "sysupdate-link", Warning,
        "CurrentSymlink is {found}, so updates would not change {link}, by which the sysext is merged";
    /// Updates of a sysext keep another number of versions than is asked for.
    SYSUPDATE_INSTANCES = "sysupdate-instances", Warning,
        "InstancesMax is {value}, but systemd-sysupdate keeps two versions at least";
    /// Updates of a sysext are for machines of another architecture.
    SYSUPDATE_ARCHITECTURE = "sysupdate-architecture", Warning,
        "the pattern {pattern} is for {word} machines, but the image is {architecture}";
    /// Files for updates are baked, but nothing on the machine uses them.
    SYSUPDATE_NOT_RUN = "sysupdate-not-run", Note,
        "nothing on the machine fetches updates of these sysexts, though they come with files for that: {names}";
    /// The image's kernel cannot mount a sysext.
    SYSEXT_KERNEL = "sysext-kernel", Error,
        "the kernel of release {release} cannot mount {what}";
    /// Some of what a sysext is built from would not be merged.
    SYSEXT_NOT_MERGED = "sysext-not-merged", Error,
        "a {class} is merged into {merged} only, so these would never be seen: {paths}";
    /// Some of what a sysext is built from is left out.
    SYSEXT_LEFT_OUT = "sysext-left-out", Note,
        "these are left out, as they would not be merged: {paths}";
    /// A sysext would take permissions away from folders that every image has.
    SYSEXT_CLOSED = "sysext-closed", Error,
        "merged, these folders of the system would be closed to its users and services: {paths}";
    /// Programs of a sysext are for machines of another kind than it says.
    SYSEXT_ELF_ARCH = "sysext-elf-arch", Warning,
        "the {class} is for {arch}, but these are for other machines: {paths}";
    /// Programs of a sysext cannot be run.
    SYSEXT_ELF_DAMAGED = "sysext-elf-damaged", Warning,
        "these look like programs, but their headers cannot be read: {paths}";
    /// A program of a sysext lacks libraries.
    SYSEXT_LIBRARIES = "sysext-libraries", Warning,
        "{path} needs {names}, found neither in the {class} nor in the image";
    /// A name that is to be switched off is none of an extension of the image.
    SYSEXT_MASK_UNKNOWN = "sysext-mask-unknown", Warning,
        "the image has no sysext {name} that could be switched off";
    /// A sysext has the name of one of the image's.
    SYSEXT_TAKES_PLACE = "sysext-takes-place", Note,
        "the image's own sysext {name} is not merged, as the one that is checked takes its place";
    /// A sysext is not merged any more after an update.
    SYSEXT_AFTER_UPDATE = "sysext-after-update", Error,
        "after an update to {version} it would silently not be merged any more: {why}";
    /// A sysext is signed, and the signature or what it is over is damaged.
    SYSEXT_SIGNATURE = "sysext-signature", Warning,
        "its signature does not hold: {why}";
    /// A sysext is signed by somebody whom the image does not know.
    SYSEXT_SIGNER_UNKNOWN = "sysext-signer-unknown", Note,
        "it is signed with a key that the image has no certificate of: it is of another build, or by another maker";
    /// A certificate is put in that makes no signature a must.
    TRUST_NOT_ENFORCED = "trust-not-enforced", Note,
        "extensions that are signed with it are known as such by release {release}; others are merged all the same, unless an image policy forbids it";
    /// A certificate is put in where the release may not look for it.
    TRUST_MAY_BE_UNSEEN = "trust-may-be-unseen", Warning,
        "release {release} merges extensions in its initrd, whose systemd may not look for certificates in /etc of the system: that of {since} and later ones does";

    // Vendors.

    /// Files of another vendor were on OEM.
    OEM_REMOVED = "oem-removed", Note,
        "files of the vendor before are removed, and nothing takes their place: {paths}";
    /// A machine is to have Secure Boot, and its firmware would not switch it on.
    SECURE_BOOT_OFF = "secure-boot-off", Error,
        "Secure Boot would be off: {why}, and it takes firmware whose variables hold PK and db";
    /// Flatcar began to make images for a vendor later.
    VENDOR_TOO_EARLY = "vendor-too-early", Warning,
        "Flatcar has made images for {vendor} only since release {since}, so {release} may lack support";
    /// Flatcar makes no more images for a vendor.
    VENDOR_REMOVED = "vendor-removed", Warning,
        "Flatcar has made no images for {vendor} since release {removed}";

    // Live systems.

    /// A live system boots without a part of the image.
    LIVE_WITHOUT_ROOT = "live-without-root", Error,
        "a live system has no ROOT partition, so these of its entries are left out: {entries}";
    /// A live system boots without some of OEM.
    LIVE_OEM_SPECIAL = "live-oem-special", Warning,
        "entries of OEM that are neither files, folders nor symlinks are left out: {paths}";

    // What a bake changes.

    /// An entry lies where the running system mounts another filesystem.
    HIDDEN_BY_MOUNT = "hidden-by-mount", Error,
        "{path} would never be seen: the running system mounts another filesystem over /{top}";
    /// An entry lies where the running system puts a link of its own.
    PATH_REPLACED = "path-replaced", Error,
        "{path} would be lost: the running system replaces {top} at boot";
    /// An entry lies where the running system removes what is there.
    PATH_REMOVED = "path-removed", Error,
        "{path} would be lost: the running system removes it at boot";
    /// Entries in the home of the user core belong to it, as no owner is given.
    OWNER_CORE = "owner-core", Note,
        "no owner is given, so these entries belong to the user core (500:500): {paths}";
    /// An entry lies where the running system has a link, unless something is there.
    PATH_SPLIT = "path-split", Error,
        "{path} would keep the running system from making {top} a link to {by}, and programs would look in both";
    /// A config is baked for Ignition, which does not run again.
    IGNITION_NOT_RUN = "ignition-not-run", Warning,
        "{path} is missing, so Ignition ran already and will not run the config that is baked";
    /// The image has the identity of a machine.
    MACHINE_ID_LEFT = "machine-id-left", Warning,
        "{path} is left over from a machine: all clones would share it, and units that Ignition enables stay disabled";
    /// The base has run on a machine.
    BASE_BOOTED = "base-booted", Error,
        "the base image was booted before ({signs}): what it left on its disk comes along, and Ignition may not run again";
    /// The base has a user config of its own, which stays.
    CONFIG_KEPT = "config-kept", Note,
        "{path} is there already and stays: it beats the platform's user data";
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
    /// Nobody could log in to a box.
    OEM_KEY_MISSING = "oem-key-missing", Error,
        "nobody could log in: in this release the key that lets Vagrant in comes from Flatcar's package {package}, which is \
         not reproduced here";
    /// Flatcar makes no image of this architecture for a vendor.
    VENDOR_ARCH = "vendor-arch", Warning,
        "Flatcar makes no {arch} images for {vendor}";
    /// A vendor that does not belong to the image's release is left out of "all".
    VENDOR_LEFT_OUT = "vendor-left-out", Note,
        "{vendor} is left out: {why}";
    /// The signature or digest of an input was not asked for, and the file changed name only.
    INPUT_UNUSED = "input-unused", Warning,
        "{path} was given, and nothing that is written needs it";

    // Configs for Ignition, as they are or from Butane.

    /// A config is no proper YAML or JSON.
    CONFIG_SYNTAX = "config-syntax", Error,
        "{why}";
    /// A key that is not known.
    CONFIG_UNKNOWN_KEY = "config-unknown-key", Warning,
        "'{key}' is no key here, so nothing comes of it{more}";
    /// A value of another type.
    CONFIG_TYPE = "config-type", Error,
        "expected {expected}, found {found}";
    /// More findings than are shown.
    CONFIG_MORE = "config-more", Note,
        "{count} more findings are not shown";
    /// The version of a config is none.
    IGNITION_VERSION = "ignition-version", Error,
        "'{version}' is no version of Ignition's specification 3";
    /// The version of a config is not read by the image.
    IGNITION_VERSION_UNREAD = "ignition-version-unread", Error,
        "specification {version} is not read by Ignition {ignition}{release}, which reads {reads}";
    /// A config of an older specification.
    IGNITION_OLD = "ignition-old", Warning,
        "this is a config of specification {version}, which is not looked into: Flatcar translates it to 3.1 at boot, and \
         Ignition then refuses what 3.x does not allow, such as the same SSH key twice";
    /// Ignition does nothing with it.
    IGNITION_IGNORED = "ignition-ignored", Error,
        "this is {what}, which Ignition takes for an empty config; only user data of the platform is given to \
         coreos-cloudinit";
    /// A path that Ignition refuses.
    IGNITION_PATH = "ignition-path", Error,
        "'{path}' {why}";
    /// Two entries for one thing.
    IGNITION_DUPLICATE = "ignition-duplicate", Error,
        "{name} is given twice, first at {first}";
    /// A path below what is no folder.
    IGNITION_BELOW = "ignition-below", Error,
        "{path} lies below {other}, which is {what} of this config";
    /// A path on /usr.
    IGNITION_USR = "ignition-usr", Error,
        "{path} lies on /usr, which Flatcar mounts read-only";
    /// A file and a unit have one path.
    IGNITION_UNIT_TAKEN = "ignition-unit-taken", Error,
        "{path} is what {unit} of this config is written to";
    /// A mode that is none.
    IGNITION_MODE = "ignition-mode", Error,
        "mode {mode} is not one of 0 to 4095, which is 07777 in octal";
    /// A mode that was meant as octal.
    IGNITION_MODE_DECIMAL = "ignition-mode-decimal", Warning,
        "mode {mode} is {octal} in octal: {meant} was likely meant";
    /// Bits of a mode that do nothing.
    IGNITION_MODE_SPECIAL = "ignition-mode-special", Warning,
        "the bits for setuid, setgid and sticky of mode {octal} have no effect before specification 3.6";
    /// An owner by number and by name.
    IGNITION_OWNER = "ignition-owner", Error,
        "id and name cannot both be given";
    /// Overwriting with nothing.
    IGNITION_OVERWRITE = "ignition-overwrite", Error,
        "overwrite is true, but no source of the contents is given";
    /// A link that cannot be made.
    IGNITION_LINK = "ignition-link", Error,
        "{why}";
    /// A source that Ignition refuses.
    IGNITION_SOURCE = "ignition-source", Error,
        "the source is a URL that {why}";
    /// What goes with a source is wrong.
    IGNITION_RESOURCE = "ignition-resource", Error,
        "{why}";
    /// A hash that cannot be compared.
    IGNITION_HASH = "ignition-hash", Error,
        "the hash {why}";
    /// Content that has another hash.
    IGNITION_HASH_DIFFERS = "ignition-hash-differs", Error,
        "the content has the hash {found}";
    /// A source on OEM that is not there.
    IGNITION_OEM_MISSING = "ignition-oem-missing", Error,
        "there is no file {path} on the OEM partition";
    /// Disks, partitions, filesystems, RAID and LUKS that Ignition refuses.
    IGNITION_STORAGE = "ignition-storage", Error,
        "{why}";
    /// A defect of some releases.
    IGNITION_PARTITION_ZERO = "ignition-partition-zero", Warning,
        "a partition without a number fails in releases from 4152 to 4694: give its number";
    /// LUKS with Clevis.
    IGNITION_CLEVIS = "ignition-clevis", Warning,
        "Flatcar's Butane refuses {key}, as its releases lack the programs for it";
    /// The name of a unit or drop-in that Ignition refuses.
    IGNITION_UNIT_NAME = "ignition-unit-name", Error,
        "'{name}' {why}";
    /// A unit that Ignition refuses.
    IGNITION_UNIT_SYNTAX = "ignition-unit-syntax", Error,
        "line {line} of the unit: {why}";
    /// Lines of a unit that do nothing.
    IGNITION_UNIT_LINE = "ignition-unit-line", Warning,
        "line {line} of the unit: {why}, and systemd passes over it";
    /// A unit that is enabled and never starts.
    IGNITION_UNIT_INSTALL = "ignition-unit-install", Warning,
        "{unit} is enabled, but has no [Install] that says when it starts";
    /// A user or group that cannot be made.
    IGNITION_ACCOUNT = "ignition-account", Error,
        "{why}";
    /// A proxy that Ignition refuses.
    IGNITION_PROXY = "ignition-proxy", Error,
        "a proxy must be a URL with http or https";
    /// A proxy that reads along.
    IGNITION_PROXY_PLAIN = "ignition-proxy-plain", Warning,
        "whoever is on the way to this proxy can see what is fetched with https";
    /// Ignition would stop while it carries a config out.
    IGNITION_STOPS = "ignition-stops", Error,
        "Ignition would stop here, and the machine not come up: {why}";
    /// A file that Ignition wrote.
    IGNITION_WROTE = "ignition-wrote", Note,
        "{path} is as {config} makes it: Ignition wrote it when the machine booted, and may stop at it when it runs again";
    /// Something that only a machine with a network has.
    IGNITION_REMOTE = "ignition-remote", Note,
        "{what} is fetched from {url} on the machine, and not rehearsed";
    /// There is no config to rehearse.
    IGNITION_NO_CONFIG = "ignition-no-config", Note,
        "there is no config to rehearse: the user data of {platform} would be taken";
    /// A config makes a new filesystem in the place of ROOT's.
    IGNITION_ROOT_NEW = "ignition-root-new", Warning,
        "ROOT is made anew, so all that is baked into it is gone";
    /// A config was carried out in the image.
    IGNITION_APPLIED = "ignition-applied", Note,
        "the config is carried out in the image: a machine that is given it again as user data stops at the files that are there";
    /// Passwords are in the image.
    IGNITION_APPLIED_HASHES = "ignition-applied-hashes", Warning,
        "the image has the hashes of passwords, which all machines made from it share: {names}";
    /// Ignition fetches something.
    AIRGAP_SOURCE = "airgap-source", Error,
        "Ignition fetches {what} from {url}, and the machine does not come up without it";
    /// A sysext is switched on that is not there.
    AIRGAP_SYSEXT = "airgap-sysext", Error,
        "the sysext {name} is switched on, but {file} is not there, so the boot fetches it, and fails without a network";
    /// The sysext of the platform is not there.
    AIRGAP_OEM_SYSEXT = "airgap-oem-sysext", Error,
        "the platform's sysext {file} is not there, so the boot fetches it, and fails without a network: {found}";
    /// Sysexts are kept up to date.
    AIRGAP_SYSUPDATE = "airgap-sysupdate", Warning,
        "{unit} fetches updates of {names}";
    /// The system is kept up to date.
    AIRGAP_UPDATES = "airgap-updates", Warning,
        "update-engine asks {server} for updates of the system";
    /// A container's image is not there.
    AIRGAP_IMAGE = "airgap-image", Warning,
        "{unit} needs the container image {image}, which the image does not hold";
    /// A unit has the boot wait.
    AIRGAP_ONLINE = "airgap-online", Warning,
        "{unit} waits until the network is up (network-online.target)";
    /// A unit names a server.
    AIRGAP_URL = "airgap-url", Warning,
        "{unit} runs a command with {url}";
    /// A Butane file for another system.
    BUTANE_VARIANT = "butane-variant", Error,
        "the variant is '{variant}', and only flatcar is translated";
    /// A version of Butane's variant that is not known.
    BUTANE_VERSION = "butane-version", Error,
        "the variant flatcar has no version '{version}': there are {known}";
    /// What Butane refuses for Flatcar.
    BUTANE_UNSUPPORTED = "butane-unsupported", Error,
        "{key} is not supported by Flatcar";
    /// Two sources of one content.
    BUTANE_SOURCES = "butane-sources", Error,
        "only one of {keys} can be given";
    /// A file beside a Butane config that cannot be used.
    BUTANE_LOCAL = "butane-local", Error,
        "{why}";
    /// A tree that cannot be used.
    BUTANE_TREE = "butane-tree", Error,
        "{why}";
    /// A unit for a filesystem that cannot be made.
    BUTANE_MOUNT_UNIT = "butane-mount-unit", Error,
        "with_mount_unit needs {what}";
    /// Butane where Ignition cannot read it.
    BUTANE_UNREAD = "butane-unread", Error,
        "Butane is not read by Ignition {ignition}{release}: 2.27 is the first that does";

    // What an image shows of a machine, and what in it does not fit.

    /// An entry that a running machine makes.
    BOOT_TRACE = "boot-trace", Warning,
        "{path} is there, {what}: an image that was never booted does not have it";
    /// Ignition will not run.
    BOOT_FLAG_MISSING = "boot-flag-missing", Warning,
        "{path} is missing, so Ignition ran already and will not run again";
    /// The partition table is that of a machine.
    TABLE_BOOTED = "table-booted", Warning,
        "{what} {found}, and {fresh} on an image that was never booted";
    /// An update lies beside the release.
    UPDATE_STAGED = "update-staged", Warning,
        "an update was put on {partition}, which cannot be taken back: start from an image that was never booted";
    /// Something that every machine has for itself.
    SHARED_IDENTITY = "shared-identity", Warning,
        "{path} is there, {what}: all machines of this image would share it";
    /// Something that should not be given away with the image.
    SECRET_INSIDE = "secret-inside", Warning,
        "{path} is there, {what}: whoever has the image can read it";
    /// Something that is good to know.
    LEFT_OVER = "left-over", Note,
        "{path} is there, {what}";
    /// A machine mounted ROOT as its own.
    ROOT_MOUNTED = "root-mounted", Note,
        "the filesystem notes that it was last mounted at {at}, as by a machine that boots from it";
    /// A kernel argument by which all machines are one.
    ARGUMENT_SHARED = "argument-shared", Warning,
        "{path} has the kernel argument {argument}, which {does}";
    /// Files of accounts.
    ACCOUNT_LEFT = "account-left", Warning,
        "{path} is there, {what}: baked, or left by a machine";
    /// An account that many could use.
    ACCOUNT_WEAK = "account-weak", Warning,
        "{path}: the user {user} {why}";
    /// Keys by which somebody may log in.
    KEYS_INSIDE = "keys-inside", Note,
        "{path} lets the owners of its keys log in to every machine of this image";
    /// A key that everyone has.
    KEY_WELL_KNOWN = "key-well-known", Warning,
        "{path} has Vagrant's public key, whose private key is published: everyone can log in";
    /// The vendor's sysext is not there.
    OEM_SYSEXT_ABSENT = "oem-sysext-absent", Warning,
        "{path} is missing: the machine fetches it when it boots, and does not boot where it cannot";
    /// A vendor's sysext of another release.
    OEM_SYSEXT_OTHER = "oem-sysext-other", Warning,
        "{path} is not the vendor's sysext of release {version}, and is not used";
    /// A marker without what it marks.
    OEM_MARKER_ALONE = "oem-marker-alone", Warning,
        "{path} is there, but {why}";
    /// A link to a file that is not there.
    LINK_NOWHERE = "link-nowhere", Warning,
        "{path} leads to {target}, which is not there";
    /// A unit that does not exist is started.
    UNIT_NOWHERE = "unit-nowhere", Warning,
        "{path} starts {unit}, which neither the image nor one of its sysexts has";
    /// What a reset of the machine deletes.
    RESET_DELETES = "reset-deletes", Note,
        "flatcar-reset deletes {paths}, unless it is told to keep them";
    /// A message in the log of a machine that means nothing.
    HARMLESS_NOISE = "harmless-noise", Note,
        "{path} is a disk image: where the log of the machine says that a device-mapper ioctl failed for its verity device, \
         that is harmless, as systemd checks the signature itself";
    /// The partition table was made that of an image that was never booted.
    TABLE_RESET = "table-reset", Note,
        "the disk GUID and the attributes of USR are those of an image that was never booted again";

    // Keys and signatures.

    /// The newest signing key of a trusted signer ends soon.
    SIGNING_KEY_ENDS = "signing-key-ends", Warning,
        "the newest signing key of {owner} ends on {date}: what is signed after that cannot be verified without a newer key \
         ({key})";
    /// The newest signing key of a trusted signer has ended.
    SIGNING_KEY_ENDED = "signing-key-ended", Warning,
        "the newest signing key of {owner} ended on {date}: what was signed after that cannot be verified without a newer \
         key ({key})";
}
