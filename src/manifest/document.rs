//! The keys of a manifest, as they are written: these structs are what is parsed and what the JSON schema says.

use crate::document::{Raw, Spanned, TextOr, TextOrList};
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Map;

/// A JSON object that is written in the manifest itself.
pub(super) type Json = Map<String, serde_json::Value>;
/// A text with its place.
pub(super) type Text = Spanned<String>;

/// A bake: the image, what goes into it, and what comes out. Paths of the host are relative to the manifest's folder.
/// ${NAME} in any text is replaced by a variable, $$ is a dollar sign.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with the keys of a manifest"
)]
#[schemars(title = "flatbake manifest")]
pub(super) struct Document {
    /// Variables with their values, which may use other variables. --set NAME=VALUE on the command line wins.
    pub(super) variables: Option<BTreeMap<String, Raw>>,
    /// The image to start from: its path, or its path and digest.
    pub(super) image: Option<Spanned<TextOr<Image>>>,
    /// The Flatcar release to start from, in place of an image: stable, beta, alpha, lts, lts-2024, or a version. Its
    /// generic image is fetched and verified, and so are the OEM sysexts that vendors need.
    pub(super) release: Option<Text>,
    /// The architecture of what is fetched: amd64 (x86-64) or arm64; by default that of the image, else amd64.
    pub(super) arch: Option<Text>,
    /// Sysexts to install, in order: a table each, or NAME@VERSION or NAME@latest for one that is fetched from the
    /// Bakery.
    pub(super) sysexts: Vec<Spanned<TextOr<Sysext>>>,
    /// Flatcar's own sysexts to switch on, such as podman: they are fetched for the image's release.
    pub(super) enable_sysexts: Vec<Text>,
    /// Folder for the sysext files, PART:/DIR; by default root:/opt/extensions/NAME.
    pub(super) install_to: Option<Text>,
    /// Paths of certificates (PEM or DER), whose owners may sign extensions: each goes to /etc/verity.d.
    pub(super) trust_certs: Vec<Text>,
    /// Have the machine fetch updates of the sysexts that have a sysupdate config beside them.
    pub(super) sysupdate: bool,
    /// Files and folders to put into the image, in order.
    pub(super) files: Vec<Spanned<File>>,
    /// Symlinks to make on ROOT, in order.
    pub(super) links: Vec<Spanned<Link>>,
    /// Tar archives to unpack, plain or compressed, before files and links.
    pub(super) tarballs: Vec<Spanned<Tarball>>,
    /// Entries to remove before anything is added, PART:/PATH each; folders go with all they hold.
    pub(super) remove: Vec<Text>,
    /// systemd units to write and enable.
    pub(super) units: Vec<Spanned<Unit>>,
    /// Kernel arguments of the OEM partition's grub.cfg.
    pub(super) kernel_args: KernelArgs,
    /// The image's own Ignition user config, which beats the platform's user data: a path, or the config itself.
    pub(super) config_ign: Option<Spanned<TextOr<Json>>>,
    /// An Ignition config to carry out in the image, before anything else is put in, instead of at boot: a path, or the
    /// config itself.
    pub(super) apply_ignition: Option<Spanned<TextOr<Json>>>,
    /// The Ignition config that is merged below every user config: a path, or the config itself.
    pub(super) base_ign: Option<Spanned<TextOr<Json>>>,
    /// Put Butane configs in as they are, for an image whose own Ignition reads them, instead of translating them.
    pub(super) keep_butane: bool,
    /// Path of a grub.cfg for the OEM partition.
    pub(super) grub_cfg: Option<Text>,
    /// The host name, written to /etc/hostname.
    pub(super) hostname: Option<Text>,
    /// Where the kernel writes, in the OEM partition's grub.cfg: ttyS0,115200n8 and the like, the last one the system's
    /// console.
    pub(super) console: Vec<Text>,
    /// Log nobody in on consoles without a password.
    pub(super) no_autologin: bool,
    /// How the machine gets updates of Flatcar.
    pub(super) updates: Option<Spanned<Updates>>,
    /// Have sysexts and their updates outlive flatcar-reset: files go to OEM, and Ignition makes the rest by base.ign.
    pub(super) survive_reset: bool,
    /// The size that ROOT, and the disk with it, shall have: 6G, a number of bytes, or auto for just enough.
    pub(super) root_size: Option<Spanned<Raw>>,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal.
    pub(super) no_replay: bool,
    /// Take no sysext but disk images that are signed with the key of the image's own build, or of one of trust_certs.
    pub(super) require_signed: bool,
    /// Vendors to write images for: all of those that Flatcar makes images of the release for, or a list of ids, of
    /// tables, and of the word all.
    pub(super) vendors: Option<Spanned<TextOrList<Spanned<TextOr<Vendor>>>>>,
    /// Paths of files that describe further vendors, or others in the place of those with their ids.
    pub(super) vendor_files: Vec<Text>,
    /// OEM sysexts of the image's release: paths of files, or of folders that hold oem-ID.raw.
    pub(super) oem_sysexts: Vec<Text>,
    /// Make sizes and formats of vendors only, and leave their files on the OEM partition as they are.
    pub(super) no_oem: bool,
    /// Path of the folder with isolinux.bin and ldlinux.c32 (and isohdpfx.bin) of syslinux, by which CD images start on
    /// a BIOS.
    pub(super) isolinux: Option<Text>,
    /// UEFI firmware to put beside the start scripts of QEMU; by default they look for the host's.
    pub(super) firmware: Option<Firmware>,
    /// Folder for all that is written; by default the manifest's own.
    pub(super) output: Option<Text>,
    /// Disks to write that are no vendor's: a file name each, which says the format, or a table.
    pub(super) outputs: Vec<Spanned<TextOr<Output>>>,
    /// Compression of outputs whose names leave it open, and of vendors' disks that are no part of a bundle: gz, bz2,
    /// xz, zst or zip, with an optional :LEVEL.
    pub(super) compress: Option<Text>,
    /// Replace files that exist under the names of outputs.
    pub(super) overwrite: bool,
    /// Tell the SHA-256 of every file that is read or written.
    pub(super) sha256: bool,
    /// Time of everything new: seconds since 1970, or 2026-01-31T12:00:00Z; by default the newest time in the image.
    pub(super) timestamp: Option<Spanned<Raw>>,
    /// Go on where findings would stop the run.
    pub(super) force: bool,
    /// Take away what a machine left on the image, such as its identity, host keys, logs and state.
    pub(super) generalize: bool,
    /// With generalize: take away files of accounts, and keys that open them, too.
    pub(super) remove_accounts: bool,
    /// Makes identifiers of the written images that differ from those of the same disk with another seed.
    pub(super) seed: Option<Raw>,
    /// Images that differ in little: each is the shared bake with the changes given here.
    pub(super) variants: Vec<Spanned<Variant>>,
}

/// An image to start from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a path, or a table with file and sha256"
)]
pub(super) struct Image {
    /// Its path.
    pub(super) file: Text,
    /// The SHA-256 that the file must have, in hexadecimal.
    pub(super) sha256: Option<Spanned<Raw>>,
}

/// A sysext to install.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "NAME@VERSION, or a table with name and file"
)]
pub(super) struct Sysext {
    /// The name it is merged by.
    pub(super) name: Text,
    /// Its path, or oci://REGISTRY/REPOSITORY:TAG. NAME.conf beside it is its sysupdate config.
    pub(super) file: Text,
    /// The SHA-256 that the file must have, in hexadecimal.
    pub(super) sha256: Option<Spanned<Raw>>,
}

/// A file or folder to put into the image: one of source, content and content_base64.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with path and one of source, content and content_base64"
)]
pub(super) struct File {
    /// Where it goes: PART:/PATH with PART one of boot, oem, root, or only /PATH beside partition. A path that ends
    /// in / gets the name of its source.
    pub(super) path: Text,
    /// The partition, where the path does not say it.
    pub(super) partition: Option<Text>,
    /// Path of the file or folder to copy.
    pub(super) source: Option<Text>,
    /// The content itself.
    pub(super) content: Option<String>,
    /// The content itself, in base64; white space in it does not count.
    pub(super) content_base64: Option<Text>,
    /// Permission bits in octal digits, such as 0644; by default 0755 for folders and executable files, else 0644.
    pub(super) mode: Option<Spanned<Raw>>,
    /// Number of the owner; by default that of the user core, 500, below /home/core of ROOT, else 0.
    pub(super) uid: Option<u32>,
    /// Number of the group, with the same default.
    pub(super) gid: Option<u32>,
}

/// A symlink to make on ROOT.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with path and target")]
pub(super) struct Link {
    /// Where it is made: /PATH or root:/PATH.
    pub(super) path: Text,
    /// What it points to, stored as it is.
    pub(super) target: Text,
}

/// A tar archive to unpack.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with file")]
pub(super) struct Tarball {
    /// Its path.
    pub(super) file: Text,
    /// The SHA-256 that the file must have, in hexadecimal.
    pub(super) sha256: Option<Spanned<Raw>>,
    /// The partition it goes to, root by default.
    pub(super) partition: Option<Text>,
    /// The folder it is unpacked in, / by default.
    pub(super) dest: Option<Text>,
    /// Names to take off the front of every path.
    #[serde(default)]
    pub(super) strip_components: u32,
    /// Patterns of what is left out, as with tar --exclude.
    #[serde(default)]
    pub(super) exclude: Vec<Text>,
    /// UID:GID of all it brings, in place of the archive's.
    pub(super) owner: Option<Text>,
    /// It is a layer of an OCI image: .wh. names delete.
    #[serde(default)]
    pub(super) oci_layer: bool,
    /// Keep the engine-id and swarm of a /var/lib/docker, which clones should not share.
    #[serde(default)]
    pub(super) keep_docker_identity: bool,
}

/// A systemd unit.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with name and contents, dropins or enabled"
)]
pub(super) struct Unit {
    /// Its name with the type, such as web.service.
    pub(super) name: Text,
    /// Its content, written to /etc/systemd/system; without it and source, the unit must come from the image or a
    /// sysext.
    pub(super) contents: Option<String>,
    /// Path of a file with its content, in place of contents.
    pub(super) source: Option<Text>,
    /// Start it at boot, as [Install] of its contents says, else with multi-user.target.
    #[serde(default)]
    pub(super) enabled: bool,
    /// Files that change settings of the unit, written to /etc/systemd/system/NAME.d.
    #[serde(default)]
    pub(super) dropins: Vec<Spanned<Dropin>>,
}

/// A file that changes settings of a unit: one of contents and source.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a table with name and one of contents and source"
)]
pub(super) struct Dropin {
    /// Its name, which ends in .conf.
    pub(super) name: Text,
    /// Its content.
    pub(super) contents: Option<String>,
    /// Path of a file with its content.
    pub(super) source: Option<Text>,
}

/// Kernel arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with add and remove"
)]
pub(super) struct KernelArgs {
    /// Arguments to add, unless they are there.
    pub(super) add: Vec<Text>,
    /// Arguments to remove.
    pub(super) remove: Vec<Text>,
}

/// How a machine gets updates of Flatcar; what is not said stays as it is.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a table with mode, server and group"
)]
pub(super) struct Updates {
    /// No updates: off asks no server, masked lets neither update-engine nor locksmithd run.
    pub(super) mode: Option<Text>,
    /// The URL of an update server.
    pub(super) server: Option<Text>,
    /// The channel, or a group of the server's own.
    pub(super) group: Option<Text>,
}

/// A vendor to write images for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "an id, or a table with id and oem_sysext"
)]
pub(super) struct Vendor {
    /// Its id, such as azure.
    pub(super) id: Text,
    /// Path of the vendor's OEM sysext.
    pub(super) oem_sysext: Option<Text>,
}

/// Files of UEFI firmware, qcow2 or raw.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with code and vars")]
pub(super) struct Firmware {
    /// Path of the code, which is not changed.
    pub(super) code: Text,
    /// Path of the variables, of which every machine gets a copy.
    pub(super) vars: Text,
}

/// A disk to write.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a file name, or a table with file, format and details of it"
)]
pub(super) struct Output {
    /// Its file name in the output folder.
    pub(super) file: Text,
    /// raw, qcow2, vmdk_ide, vmdk_scsi, vmdk_stream, vmdk_flat, vhd, vhd_fixed, vhdx, vdi or hdd; by default as the
    /// name's extension says.
    pub(super) format: Option<Text>,
    /// What the whole file is compressed with: gz, bz2, xz, zst or zip, with an optional :LEVEL; by default as the name's
    /// extension says.
    pub(super) compress: Option<Text>,
    /// qcow2: version, 2 or 3; by default 2, which is what Flatcar's own images have, and 3 with zstd.
    pub(super) qcow2_version: Option<Spanned<Raw>>,
    /// qcow2: how clusters are compressed, zlib (by default) or zstd, which takes QEMU 5.1.
    pub(super) compression_type: Option<Spanned<Raw>>,
    /// qcow2: bytes in a cluster, a power of two from 512 to 2M; by default 64K.
    pub(super) cluster_size: Option<Spanned<Raw>>,
    /// qcow2 and vmdk_stream: compression level, from 1 (fast) to 9 (small), or 19 for zstd; by default 6, and 2 for
    /// zstd.
    pub(super) level: Option<Spanned<Raw>>,
    /// qcow2: compress nothing.
    #[serde(default)]
    pub(super) uncompressed: bool,
}

/// An image that differs in little from the shared bake.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with a name and changes")]
pub(super) struct Variant {
    /// Its name, also that of its folder: letters, digits, dots, - and _.
    pub(super) name: Text,
    /// Entries to remove too, PART:/PATH each.
    #[serde(default)]
    pub(super) remove: Vec<Text>,
    /// Folder for its sysext files, PART:/DIR; by default the shared one.
    pub(super) install_to: Option<Text>,
    /// Path of its own grub.cfg for the OEM partition.
    pub(super) grub_cfg: Option<Text>,
    /// The host name, written to /etc/hostname.
    pub(super) hostname: Option<Text>,
    /// Sysexts to install too.
    #[serde(default)]
    pub(super) sysexts: Vec<Spanned<TextOr<Sysext>>>,
    /// Paths of certificates to trust too.
    #[serde(default)]
    pub(super) trust_certs: Vec<Text>,
    /// Flatcar's own sysexts to switch on too.
    #[serde(default)]
    pub(super) enable_sysexts: Vec<Text>,
    /// Files and folders to put into the image too; they replace shared ones.
    #[serde(default)]
    pub(super) files: Vec<Spanned<File>>,
    /// Symlinks to make too.
    #[serde(default)]
    pub(super) links: Vec<Spanned<Link>>,
    /// Tar archives to unpack too.
    #[serde(default)]
    pub(super) tarballs: Vec<Spanned<Tarball>>,
    /// systemd units to write and enable too.
    #[serde(default)]
    pub(super) units: Vec<Spanned<Unit>>,
    /// Kernel arguments to add and remove too.
    #[serde(default)]
    pub(super) kernel_args: KernelArgs,
    /// Its own Ignition user config: a path, or the config itself.
    pub(super) config_ign: Option<Spanned<TextOr<Json>>>,
    /// An Ignition config to carry out in its image too: a path, or the config itself.
    pub(super) apply_ignition: Option<Spanned<TextOr<Json>>>,
    /// Its own Ignition config that is merged below every user config: a path, or the config itself.
    pub(super) base_ign: Option<Spanned<TextOr<Json>>>,
}
