//! VHDX, Hyper-V's disk image format (specification: MS-VHDX).
//!
//! ```text
//!   0        64 KiB    128 KiB   192 KiB   256 KiB  … 1 MiB   2 MiB      3 MiB       …
//!   file ID │ header 1 │ header 2 │ regions │ regions │ log    │ metadata │ BAT │ payload block │ …
//! ```
//!
//! Numbers are little-endian; structures carry a CRC-32C. The log is empty: the image is written in one go.

mod header;
mod log;
mod metadata;
mod on_disk;
mod read;
mod replayed;
mod write;
mod write_header;
mod write_metadata;

pub use write::write;

use crate::image::format::{Format, OutputFormat, OutputRow, Probe, Row, Writer};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Vhdx,
    word: "vhdx",
    qemu_name: "vhdx",
    probes: &[Probe::at(0, on_disk::FILE_SIGNATURE)],
    open: read::open,
    outputs: &[OutputRow {
        format: OutputFormat::Vhdx,
        word: "vhdx",
        aliases: &[],
        extensions: &["vhdx"],
        open_extensions: &[],
        options: &[],
        holds_any_sectors: true,
        packs_pieces: false,
        writer: Writer::File(|job, out| {
            write(job.disk, out, job.sector_bytes, job.identity, job.progress)
        }),
    }],
};
