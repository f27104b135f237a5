//! `flatbake info`

use clap::Args;
use flatbake::block::{BlockDevice, ExtentKind};
use flatbake::bytes::ByteSize;
use flatbake::{Error, Result, partition};
use serde::Serialize;

use super::image::ImageArgs;
use super::progress::Reporter;
use super::table::table;

/// Show what a disk image is: format, compression, sizes, kind of partition table
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
    compression: Option<String>,
    file_bytes: u64,
    virtual_bytes: u64,
    /// What is not known to be zero.
    allocated_bytes: u64,
    partition_table: String,
}

impl Info {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let image = self.image.open(reporter)?;
        let document = Document {
            image: self.image.name(),
            format: image.format.to_string(),
            compression: image.compression.map(|compression| compression.to_string()),
            file_bytes: image.file_size,
            virtual_bytes: image.device.size(),
            allocated_bytes: allocated(&image.device)?,
            partition_table: partition::TableKind::of(&image.device)?.to_string(),
        };
        if self.json {
            return super::print_json(&document);
        }
        let bytes = |bytes: u64| format!("{} ({bytes} bytes)", ByteSize(bytes));
        let rows = [
            ("image:", document.image),
            ("format:", document.format),
            ("compression:", document.compression.unwrap_or_else(|| "none".to_owned())),
            ("file:", bytes(document.file_bytes)),
            ("virtual size:", bytes(document.virtual_bytes)),
            ("allocated:", bytes(document.allocated_bytes)),
            ("partition table:", document.partition_table),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        super::print(table(&rows, &[]))
    }
}

/// Bytes of all extents that hold data.
fn allocated(device: &dyn BlockDevice) -> Result<u64> {
    let (mut offset, mut allocated) = (0, 0);
    while offset < device.size() {
        let extent = device.extent_at(offset)?;
        if extent.len == 0 {
            return Err(Error::internal(format!("the device reports an empty extent at {offset}")));
        }
        let len = extent.len.min(device.size() - offset);
        if extent.kind == ExtentKind::Data {
            allocated += len;
        }
        offset += len;
    }
    Ok(allocated)
}
