//! `flatbake info`

use crate::block::{BlockDevice, ExtentKind};
use crate::bytes::ByteSize;
use crate::image::{Details, Examined};
use crate::{Error, Result, partition};
use clap::Args;
use serde::Serialize;

use super::image::ImageArgs;
use super::progress::Reporter;
use super::table::table;

/// Show what a disk image is: format, variant, compression, sizes, other files it needs, kind of partition table
///
/// Any disk will do, not only Flatcar's; `flatbake inspect` looks into a Flatcar image.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake info flatcar_sample.bin.bz2
  flatbake info flatcar_sample.bin.bz2 --json")]
pub struct Info {
    #[command(flatten)]
    image: ImageArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    image: String,
    format: String,
    /// Of the whole file.
    compression: Option<String>,
    file_bytes: u64,
    /// What is not known to be zero; none where the disk is in other files too, which may not be opened.
    allocated_bytes: Option<u64>,
    partition_table: Option<String>,
    #[serde(flatten)]
    details: Details,
}

impl Document {
    fn new(image: String, examined: Examined) -> Result<Self> {
        let mut details = examined.details;
        let mut allocated_bytes = None;
        let mut partition_table = None;
        if let Some(device) = &examined.device {
            details.virtual_bytes = Some(device.size());
            allocated_bytes = Some(allocated(device)?);
            partition_table = Some(partition::TableKind::of(device)?.to_string());
        }
        Ok(Self {
            image,
            format: examined.format.to_string(),
            compression: examined
                .compression
                .map(|compression| compression.to_string()),
            file_bytes: examined.file_size,
            allocated_bytes,
            partition_table,
            details,
        })
    }

    /// A table for people: what there is nothing to tell of is left out.
    fn table(self) -> String {
        const CLOSED: &str = "not known: the disk is in other files too (--allow-external)";
        let bytes = |bytes: u64| format!("{} ({bytes} bytes)", ByteSize(bytes));
        let known = |size: Option<u64>| size.map_or_else(|| CLOSED.to_owned(), bytes);
        let details = self.details;
        let variant = details
            .variant
            .map(|variant| format!(" ({variant})"))
            .unwrap_or_default();
        let mut rows = vec![
            ("image:", self.image),
            ("format:", format!("{}{variant}", self.format)),
            (
                "compression:",
                self.compression.unwrap_or_else(|| "none".to_owned()),
            ),
            ("file:", bytes(self.file_bytes)),
            ("virtual size:", known(details.virtual_bytes)),
            ("allocated:", known(self.allocated_bytes)),
            (
                "partition table:",
                self.partition_table.unwrap_or_else(|| CLOSED.to_owned()),
            ),
        ];
        if let Some(size) = details.cluster_bytes {
            let packed = details
                .cluster_compression
                .map(|with| format!(", compressed ones with {with}"));
            rows.push(("clusters:", bytes(size) + &packed.unwrap_or_default()));
        }
        if let Some(size) = details.sector_bytes {
            rows.push(("sectors:", format!("{size} bytes")));
        }
        for reference in details.external_references {
            rows.push((
                "refers to:",
                format!("{} ({})", reference.name.escape_debug(), reference.role),
            ));
        }
        if details.snapshots > 0 {
            rows.push((
                "snapshots:",
                format!("{}, which are not read", details.snapshots),
            ));
        }
        if details.dirty || details.damaged {
            let state = [
                (details.dirty, "not closed properly"),
                (details.damaged, "damaged"),
            ];
            let state: Vec<_> = state
                .into_iter()
                .filter_map(|(is, word)| is.then_some(word))
                .collect();
            rows.push(("state:", state.join(", ")));
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        table(&rows, &[])
    }
}

impl Info {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let document = Document::new(self.image.name(), self.image.examine(reporter)?)?;
        if self.json {
            super::print_json(&document)
        } else {
            super::print(document.table())
        }
    }
}

/// Bytes of all extents that hold data.
fn allocated(device: &dyn BlockDevice) -> Result<u64> {
    let mut offset = 0;
    let mut allocated = 0;
    while offset < device.size() {
        let extent = device.extent_at(offset)?;
        if extent.len == 0 {
            return Err(Error::internal(format!(
                "the device reports an empty extent at {offset}"
            )));
        }
        let len = extent.len.min(device.size() - offset);
        if extent.kind == ExtentKind::Data {
            allocated += len;
        }
        offset += len;
    }
    Ok(allocated)
}
