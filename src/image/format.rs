//! What a disk image format is: the row that its folder adds to the table in [`formats`](super::formats).

use std::fs::File;
use std::sync::Arc;

use serde::Serialize;

use super::identity::Identity;
use super::qcow2::Qcow2Options;
use super::references::References;
use crate::block::BlockDevice;
use crate::error::Result;
use crate::progress::Progress;

/// A disk image format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// The bytes of the disk and nothing else.
    Raw,
    /// QEMU copy-on-write, versions 1 to 3.
    Qcow2,
    /// VMware: sparse, streamOptimized, or a text descriptor.
    Vmdk,
    /// Virtual PC, fixed or dynamic.
    Vhd,
    /// Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// Parallels.
    Parallels,
}

/// A disk image format that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OutputFormat {
    /// The disk byte by byte, zeroes as holes.
    Raw,
    /// QEMU's qcow2.
    Qcow2,
    /// VMware's monolithicSparse with an IDE adapter: VirtualBox, Vagrant.
    VmdkIde,
    /// VMware's monolithicSparse with an LSI Logic adapter.
    VmdkScsi,
    /// VMware's streamOptimized, compressed: for OVA files and imports.
    VmdkStream,
    /// VMware's monolithicFlat: a descriptor, and the raw disk in a second file `NAME-flat.vmdk`.
    VmdkFlat,
    /// Dynamic VHD.
    Vhd,
    /// Fixed VHD: Azure.
    VhdFixed,
    /// Dynamic VHDX: Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
    /// Parallels: a folder.
    Hdd,
}

/// A detail of how an image is written that only some formats have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputOption {
    /// The version of qcow2.
    Qcow2Version,
    /// What clusters are compressed with.
    CompressionType,
    /// Bytes in a cluster.
    ClusterSize,
    /// No cluster is compressed.
    Uncompressed,
    /// How hard clusters or grains are compressed.
    Level,
}

/// A disk image format: how it is known and opened, and what can be written of it.
pub(super) struct Row {
    pub format: Format,
    pub word: &'static str,
    /// QEMU's name of it, which a qcow2 image gives for its backing file.
    pub qemu_name: &'static str,
    /// Any of these tells it. None: it is what nothing else tells.
    pub probes: &'static [Probe],
    pub open: Open,
    /// The variants that can be written.
    pub outputs: &'static [OutputRow],
}

/// Opens the disk in a file of the format.
pub(super) type Open = fn(Arc<dyn BlockDevice>, &References<'_>) -> Result<Arc<dyn BlockDevice>>;

/// Bytes that tell a format.
pub(super) struct Probe {
    pub place: Place,
    pub magic: &'static [u8],
}

impl Probe {
    /// `magic` at `offset`, within the first sector.
    pub const fn at(offset: usize, magic: &'static [u8]) -> Self {
        Self {
            place: Place::Start(offset),
            magic,
        }
    }

    /// The last sector of the file begins with `magic`.
    pub const fn in_last_sector(magic: &'static [u8]) -> Self {
        Self {
            place: Place::LastSector,
            magic,
        }
    }
}

/// Where the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// So many bytes from the start of the file.
    Start(usize),
    /// At the start of the last 512 bytes.
    LastSector,
}

/// A variant of a format that can be written.
pub(crate) struct OutputRow {
    pub format: OutputFormat,
    pub word: &'static str,
    /// Other words for it.
    pub aliases: &'static [&'static str],
    /// Extensions of its files, without the dot. The first variant with an extension is the usual one of such files.
    pub extensions: &'static [&'static str],
    /// Extensions that stand for this variant where nothing else is said, but that files of any format may have.
    pub open_extensions: &'static [&'static str],
    /// The details that it has.
    pub options: &'static [OutputOption],
    /// Takes disks with sectors of any size, not only of 512 bytes.
    pub holds_any_sectors: bool,
    /// Pieces of the disk are compressed on all threads.
    pub packs_pieces: bool,
    pub writer: Writer,
}

/// What writes an image, by the files that it is made of.
#[derive(Clone, Copy)]
pub(crate) enum Writer {
    /// One file, empty before.
    File(fn(&WriteJob<'_>, &File) -> Result<()>),
    /// A descriptor, and the disk in a second file beside it.
    WithExtent {
        /// The name of the second file, for the name of the first one without its extension.
        extent_name: fn(&str) -> String,
        write: ExtentWriter,
    },
    /// A folder.
    Folder(FolderWriter),
}

/// Writes the disk to a file of this name and returns the descriptor.
pub(crate) type ExtentWriter = fn(&WriteJob<'_>, &File, &str) -> Result<String>;

/// Writes the files of a folder. The second argument creates a file of a name in it; the one by which the disk is opened
/// comes first.
pub(crate) type FolderWriter =
    fn(&WriteJob<'_>, &mut dyn FnMut(&str) -> Result<File>) -> Result<()>;

/// A disk to be written as an image.
pub(crate) struct WriteJob<'a> {
    pub disk: &'a dyn BlockDevice,
    /// What the image is called: some formats hold it.
    pub name: &'a str,
    /// Bytes in a sector of the disk.
    pub sector_bytes: u32,
    pub qcow2: &'a Qcow2Options,
    /// The deflate level of vmdk_stream.
    pub stream_level: u8,
    pub identity: &'a Identity,
    pub progress: &'a dyn Progress,
}
