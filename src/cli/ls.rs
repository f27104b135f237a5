//! `flatbake ls`

use std::time::{Duration, UNIX_EPOCH};

use crate::fs::{self, ByPath, FileSystem, FileType, Metadata, Node, Timestamp};
use crate::{Result, ResultExt};
use clap::Args;
use serde::Serialize;

use super::image::ImageArgs;
use super::paths::PartPath;
use super::progress::Reporter;
use super::table::table;
use super::words;

/// List a folder of an image
///
/// Symlinks on the way to the folder are followed inside the image.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake ls flatcar_sample.bin.bz2 root
  flatbake ls flatcar_sample.bin.bz2 boot:/flatcar -l
  flatbake ls flatcar_sample.bin.bz2 6 -R --json
  flatbake ls hello.raw whole:/usr -lR")]
pub struct Ls {
    #[command(flatten)]
    image: ImageArgs,
    /// Where: PART is boot, oem, root, usr, the number or label of a partition, or whole for an image without a partition
    /// table
    #[arg(value_name = "PART[:/PATH]", value_parser = words::partitions::<PartPath>(), hide_possible_values = true)]
    place: PartPath,
    /// Show type, mode, links, owner, size and time
    #[arg(short)]
    long: bool,
    /// List all below it too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Item {
    path: String,
    #[serde(rename = "type")]
    file_type: &'static str,
    mode: String,
    nlink: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
}

impl Ls {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let fs = self.place.open(&self.image, reporter)?;
        let mut items = Vec::new();
        self.place.of(&self.image, self.list(&*fs, &mut items))?;
        if self.json {
            return super::print_json(&items);
        }
        if !self.long {
            let lines: String = items.iter().map(|item| item.path.clone() + "\n").collect();
            return super::print(lines);
        }
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        super::print(table(&rows, &[1, 4]))
    }

    fn list(&self, fs: &dyn FileSystem, items: &mut Vec<Item>) -> Result<()> {
        let top = fs::resolve(fs, &self.place.path)?;
        let node = fs.node_at(&top)?;
        let metadata = fs.metadata(node).at(|| top.to_string())?;
        if metadata.file_type != FileType::Directory {
            items.push(item(fs, node, top.to_string(), &metadata)?);
        } else if self.recursive {
            fs::walk(fs, &top, &mut |entry| {
                if entry.path != top {
                    items.push(item(
                        fs,
                        entry.node,
                        entry.path.to_string(),
                        &entry.metadata,
                    )?);
                }
                Ok(())
            })?;
        } else {
            for entry in fs.entries(node).at(|| top.to_string())? {
                let path = top.join(&entry.name)?;
                let shown = path.to_string();
                let name = shown.rsplit('/').next().unwrap_or(&shown).to_owned();
                let metadata = fs.metadata(entry.node).at(|| shown.clone())?;
                items.push(item(fs, entry.node, name, &metadata)?);
            }
        }
        Ok(())
    }
}

fn item(fs: &dyn FileSystem, node: Node, shown: String, metadata: &Metadata) -> Result<Item> {
    let is_device = matches!(
        metadata.file_type,
        FileType::CharDevice | FileType::BlockDevice
    );
    let target = match metadata.file_type {
        FileType::Symlink => {
            Some(String::from_utf8_lossy(&fs.read_link(node).at(|| shown.clone())?).into_owned())
        }
        _ => None,
    };
    Ok(Item {
        path: shown,
        file_type: type_name(metadata.file_type),
        mode: format!("{:04o}", metadata.mode),
        nlink: metadata.nlink,
        uid: metadata.uid,
        gid: metadata.gid,
        size: metadata.size,
        mtime: metadata.mtime.secs,
        target,
        device: is_device.then_some(metadata.device),
    })
}

fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::File => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "chardev",
        FileType::BlockDevice => "blockdev",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

fn row(item: &Item) -> Vec<String> {
    let target = item
        .target
        .as_ref()
        .map(|target| format!(" -> {}", target.escape_debug()))
        .unwrap_or_default();
    vec![
        format!("{} {}", item.file_type, item.mode),
        item.nlink.to_string(),
        format!("{}:{}", item.uid, item.gid),
        time(Timestamp {
            secs: item.mtime,
            nanos: 0,
        }),
        item.device.map_or_else(
            || item.size.to_string(),
            |(major, minor)| format!("{major},{minor}"),
        ),
        format!("{}{target}", item.path),
    ]
}

/// A time in UTC, or its seconds where it lies beyond what a calendar here can show.
fn time(time: Timestamp) -> String {
    let seconds = Duration::from_secs(time.secs.unsigned_abs());
    let system = if time.secs < 0 {
        UNIX_EPOCH.checked_sub(seconds)
    } else {
        UNIX_EPOCH.checked_add(seconds)
    };
    match system {
        // humantime knows the years 1970 to 9999.
        Some(system) if (0..253_402_300_800).contains(&time.secs) => {
            humantime::format_rfc3339_seconds(system).to_string()
        }
        _ => format!("@{}", time.secs),
    }
}
