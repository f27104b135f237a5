//! VMDK, VMware's disk image format (specification: VMware, Virtual Disk Format 5.0).
//!
//! ```text
//!   monolithicSparse   header │ descriptor │ directory, tables │ directory, tables │ grain │ grain │ …
//!                                            (a copy)
//!   streamOptimized    header │ descriptor │ marker, grain │ marker, grain │ … │ marker, table │ marker, grain │ …
//!                      … │ marker, directory │ marker, footer │ end of stream
//!   monolithicFlat     descriptor in one file, the disk as it is in another one
//! ```
//!
//! A grain is 64 KiB of the disk, a table has the places of 512 grains (32 MiB), the directory those of all tables.
//! Numbers are little-endian, places are counted in sectors of 512 bytes, the descriptor is text.

mod concat;
mod descriptor;
mod header;
mod on_disk;
mod read;
mod sparse;
mod stream;
mod write;
mod write_descriptor;

pub use stream::write_stream;
pub use write::{write_flat, write_sparse};

use crate::image::Identity;
use crate::image::format::{
    Format, OutputFormat, OutputOption, OutputRow, Probe, Row, WriteJob, Writer,
};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Vmdk,
    word: "vmdk",
    qemu_name: "vmdk",
    probes: &[
        Probe::at(0, on_disk::HOSTED),
        Probe::at(0, on_disk::ESX),
        Probe::at(0, descriptor::FIRST_LINE),
    ],
    open: read::open,
    outputs: &[IDE, SCSI, STREAM, FLAT],
};

const IDE: OutputRow = OutputRow {
    format: OutputFormat::VmdkIde,
    word: "vmdk_ide",
    aliases: &["vmdk"],
    extensions: &["vmdk"],
    open_extensions: &[],
    options: &[],
    holds_any_sectors: false,
    packs_pieces: false,
    writer: Writer::File(|job, out| {
        let told = told(job, job.name, Adapter::Ide);
        write_sparse(job.disk, out, &told, job.progress)
    }),
};

const SCSI: OutputRow = OutputRow {
    format: OutputFormat::VmdkScsi,
    word: "vmdk_scsi",
    aliases: &[],
    extensions: &["vmdk"],
    open_extensions: &[],
    options: &[],
    holds_any_sectors: false,
    packs_pieces: false,
    writer: Writer::File(|job, out| {
        let told = told(job, job.name, Adapter::Lsilogic);
        write_sparse(job.disk, out, &told, job.progress)
    }),
};

const STREAM: OutputRow = OutputRow {
    format: OutputFormat::VmdkStream,
    word: "vmdk_stream",
    aliases: &[],
    extensions: &["vmdk"],
    open_extensions: &[],
    options: &[OutputOption::Level],
    holds_any_sectors: false,
    packs_pieces: true,
    writer: Writer::File(|job, out| {
        let told = told(job, job.name, Adapter::Lsilogic);
        write_stream(job.disk, out, &told, job.stream_level, job.progress)
    }),
};

const FLAT: OutputRow = OutputRow {
    format: OutputFormat::VmdkFlat,
    word: "vmdk_flat",
    aliases: &[],
    extensions: &["vmdk"],
    open_extensions: &[],
    options: &[],
    holds_any_sectors: false,
    packs_pieces: false,
    writer: Writer::WithExtent {
        extent_name: |stem| format!("{stem}-flat.vmdk"),
        write: |job, extent, extent_name| {
            let told = told(job, extent_name, Adapter::Ide);
            write_flat(job.disk, extent, &told, job.progress)
        },
    },
};

/// What a VMDK tells of itself besides its content.
#[derive(Debug, Clone, Copy)]
pub struct VmdkTold<'a> {
    /// The name of the file that holds the disk, this one or, where it is flat, the one beside the descriptor.
    pub name: &'a str,
    /// What the disk is attached to.
    pub adapter: Adapter,
    /// What identifiers are made from.
    pub identity: &'a Identity,
}

fn told<'a>(job: &WriteJob<'a>, name: &'a str, adapter: Adapter) -> VmdkTold<'a> {
    VmdkTold {
        name,
        adapter,
        identity: job.identity,
    }
}

/// The disk adapter that a descriptor names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `ide`: VirtualBox and Vagrant.
    Ide,
    /// `lsilogic`: VMware.
    Lsilogic,
}
