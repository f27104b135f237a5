//! Parallels disks: a folder with a descriptor and an expandable image (descriptions: `parallels` and `prl-xml` in
//! QEMU's interop documents).
//!
//! ```text
//!   NAME.hdd/DiskDescriptor.xml
//!   NAME.hdd/NAME.hdd                       empty: by it Parallels finds the disk
//!   NAME.hdd/NAME.hdd.0.{GUID}.hds          header │ BAT │ (to a multiple of 1 MiB) cluster │ cluster │ …
//! ```

mod descriptor;
mod folder;
mod header;
mod on_disk;
mod read;
mod write;

pub use descriptor::Descriptor;
pub(super) use folder::image_file;
pub use write::write;

use crate::image::format::{Format, OutputFormat, OutputRow, Probe, Row, Writer};

/// The row of the table of formats.
pub(super) const FORMAT: Row = Row {
    format: Format::Parallels,
    word: "parallels",
    qemu_name: "parallels",
    probes: &[Probe::at(0, header::OLD_MAGIC), Probe::at(0, header::MAGIC)],
    open: read::open,
    outputs: &[OutputRow {
        format: OutputFormat::Hdd,
        word: "hdd",
        aliases: &["parallels"],
        extensions: &["hdd"],
        open_extensions: &[],
        options: &[],
        holds_any_sectors: false,
        packs_pieces: false,
        writer: Writer::Folder(folder::write),
    }],
};
