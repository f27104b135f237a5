//! VHD, the disk image format of Virtual PC, Azure and Xen (specification: Microsoft, Virtual Hard Disk Image Format).
//!
//! ```text
//!   fixed     the disk as it is … │ footer
//!   dynamic   footer │ dynamic header │ block allocation table │ bitmap, block │ bitmap, block │ … │ footer
//! ```
//!
//! Numbers are big-endian. A disk has exactly its size (`force_size` of QEMU): the geometry in the footer, from which
//! old readers take a rounded size, says that it does not count.

mod footer;
mod header;
mod on_disk;
mod read;
mod write;

#[cfg(test)]
pub(super) use on_disk::checksum;
pub use write::{write_dynamic, write_fixed};

use crate::image::format::{Format, OutputFormat, OutputRow, Probe, Row, Writer};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Vhd,
    word: "vhd",
    qemu_name: "vpc",
    probes: &[
        Probe::at(0, footer::COOKIE),
        Probe::in_last_sector(footer::COOKIE),
    ],
    open: read::open,
    outputs: &[
        OutputRow {
            format: OutputFormat::Vhd,
            word: "vhd",
            aliases: &[],
            extensions: &["vhd"],
            open_extensions: &[],
            options: &[],
            holds_any_sectors: false,
            packs_pieces: false,
            writer: Writer::File(|job, out| {
                write_dynamic(job.disk, out, job.identity, job.progress)
            }),
        },
        OutputRow {
            format: OutputFormat::VhdFixed,
            word: "vhd_fixed",
            aliases: &[],
            extensions: &["vhd"],
            open_extensions: &[],
            options: &[],
            holds_any_sectors: false,
            packs_pieces: false,
            writer: Writer::File(|job, out| write_fixed(job.disk, out, job.identity, job.progress)),
        },
    ],
};
