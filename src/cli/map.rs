//! A map of a disk, drawn to scale, with how full each filesystem is.

use crate::bytes::ByteSize;
use crate::flatcar::{Inspection, PartitionInfo};

/// Narrowest map that is worth drawing.
const WIDTH_MIN: usize = 40;

/// The map as lines of at most `width` characters: a bar of the whole disk, then one of each filesystem.
pub fn draw(disk: &Inspection, width: usize) -> String {
    let width = width.clamp(WIDTH_MIN, 160);
    let mut text = bar(disk, width - 2);
    for partition in &disk.partitions {
        text.push_str(&fill(partition, width));
    }
    text
}

/// How many of `width` columns `part` of `whole` takes.
fn columns(part: u64, whole: u64, width: usize) -> usize {
    let scaled = u128::from(part) * (width as u128) / u128::from(whole.max(1));
    usize::try_from(scaled).unwrap_or(width).min(width)
}

/// The disk from its first to its last byte: a partition's number in its middle, dots where no partition lies.
fn bar(disk: &Inspection, width: usize) -> String {
    let mut line = vec!['·'; width];
    for partition in &disk.partitions {
        let from = columns(partition.start_bytes, disk.disk_bytes, width).min(width - 1);
        let end = partition.start_bytes.saturating_add(partition.len_bytes);
        let to = columns(end, disk.disk_bytes, width).max(from + 1);
        line[from..to].fill('━');
        line[from] = '┃';
        let digits: Vec<char> = partition.number.to_string().chars().collect();
        if to - from > digits.len() + 1 {
            let middle = from + (to - from - digits.len()).div_ceil(2);
            line[middle..middle + digits.len()].copy_from_slice(&digits);
        }
    }
    format!("▕{}▏\n", line.into_iter().collect::<String>())
}

/// One filesystem: its bar as long as its share of the text's width, filled as far as it is used.
fn fill(partition: &PartitionInfo, width: usize) -> String {
    let Some(fs) = &partition.filesystem else {
        return String::new();
    };
    let label: String = partition
        .label
        .chars()
        .filter(|c| !c.is_control())
        .take(12)
        .collect();
    let head = format!("{:>3} {label:<12} ", partition.number);
    let used = columns(fs.used_bytes, fs.total_bytes, 100);
    let tail = format!(" {used:>3}% of {}", ByteSize(fs.total_bytes));
    let room = width
        .saturating_sub(head.chars().count() + tail.chars().count())
        .max(10);
    let full = columns(fs.used_bytes, fs.total_bytes, room).max(usize::from(fs.used_bytes > 0));
    format!(
        "{head}{}{}{tail}\n",
        "█".repeat(full),
        "░".repeat(room - full)
    )
}
