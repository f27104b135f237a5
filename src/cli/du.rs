//! `flatbake du`

use std::cmp::Reverse;

use crate::bytes::ByteSize;
use crate::flatcar::usage::{Usage, usage};
use crate::{Result, fs};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::image::ImageArgs;
use super::paths::PartPath;
use super::progress::Reporter;
use super::table::table;
use super::words;

/// Show how much room files and folders of an image take
///
/// Sizes are those of blocks that are taken, and of the contents; holes take no blocks, and btrfs counts blocks as they are
/// before they are compressed. Folders count with all they hold, files with several names once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake du flatcar_sample.bin.bz2 usr
  flatbake du flatcar_sample.bin.bz2 usr:/share -d 2 --sort path
  flatbake du flatcar_sample.bin.bz2 boot:/flatcar -d 3 --json")]
pub struct Du {
    #[command(flatten)]
    image: ImageArgs,
    /// Where: PART is boot, oem, root, usr, the number or label of a partition, or whole for an image without a partition
    /// table
    #[arg(value_name = "PART[:/PATH]", value_parser = words::partitions::<PartPath>(), hide_possible_values = true)]
    place: PartPath,
    /// How many levels below the folder are listed
    #[arg(long, short, value_name = "N", default_value_t = 1)]
    depth: usize,
    /// Order of what is listed
    #[arg(long, value_name = "BY", value_enum, default_value = "size")]
    sort: Sort,
    /// Print JSON, with sizes in bytes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Most blocks first
    Size,
    /// By path
    Path,
}

#[derive(Serialize)]
struct Document {
    image: String,
    entries: Vec<Usage>,
}

impl Du {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let opened = self.place.open(&self.image, reporter)?;
        let counted = || {
            let top = fs::resolve(&*opened, &self.place.path)?;
            usage(&*opened, &top, self.depth, reporter.cancel())
        };
        let mut entries = self.place.of(&self.image, counted())?;
        match self.sort {
            Sort::Size => {
                let key = |usage: &Usage| {
                    (
                        Reverse(usage.allocated_bytes),
                        Reverse(usage.apparent_bytes),
                        usage.path.clone(),
                    )
                };
                entries.sort_by_cached_key(key);
            }
            Sort::Path => entries.sort_by(|a, b| a.path.cmp(&b.path)),
        }
        if self.json {
            return super::print_json(&Document {
                image: self.image.name(),
                entries,
            });
        }
        let mut rows = vec![
            ["taken", "content", "entries", "path"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(entries.iter().map(row));
        super::print(table(&rows, &[0, 1, 2]))
    }
}

fn row(usage: &Usage) -> Vec<String> {
    vec![
        ByteSize(usage.allocated_bytes).to_string(),
        ByteSize(usage.apparent_bytes).to_string(),
        usage.entries.to_string(),
        usage.path.clone(),
    ]
}
