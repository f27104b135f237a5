//! VDI, VirtualBox's disk image format, version 1.1.
//!
//! ```text
//!   header │ (to 1 MiB) block map │ (to a multiple of 1 MiB) block │ block │ …
//! ```
//!
//! Numbers are little-endian. The map has the place of every block of 1 MiB, counted in blocks.

mod header;
mod on_disk;
mod read;
mod write;

pub use write::write;

use crate::image::format::{Format, OutputFormat, OutputRow, Probe, Row, Writer};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Vdi,
    word: "vdi",
    qemu_name: "vdi",
    probes: &[Probe::at(64, &header::SIGNATURE.to_le_bytes())],
    open: read::open,
    outputs: &[OutputRow {
        format: OutputFormat::Vdi,
        word: "vdi",
        aliases: &[],
        extensions: &["vdi"],
        open_extensions: &[],
        options: &[],
        holds_any_sectors: false,
        packs_pieces: false,
        writer: Writer::File(|job, out| write(job.disk, out, job.identity, job.progress)),
    }],
};
