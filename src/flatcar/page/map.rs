//! The disk from its first to its last byte, and how full its filesystems are.

use std::fmt::Display;

use super::html::Html;
use crate::bytes::ByteSize;
use crate::flatcar::PartitionInfo;

/// Width of drawings in their own units.
pub const WIDTH: u64 = 1000;
const HEIGHT: u64 = 46;
/// Parts of the width that even the smallest partition has, so that it is seen.
const SEEN: u64 = 26;

/// The partitions in the order in which they lie. Small ones are drawn larger than they are.
pub fn disk(html: &mut Html, disk_bytes: u64, partitions: &[PartitionInfo]) {
    let mut lying: Vec<&PartitionInfo> = partitions.iter().collect();
    lying.sort_by_key(|partition| (partition.start_bytes, partition.number));
    let taken: u64 = lying.iter().fold(0u64, |sum, partition| {
        sum.saturating_add(partition.len_bytes)
    });
    let count = u64::try_from(lying.len()).unwrap_or(u64::MAX);
    let seen = SEEN.min(WIDTH / count.max(1));
    let to_scale = WIDTH - (seen * count).min(WIDTH);
    drawing(html, HEIGHT, "Map of the disk", |html| {
        let mut x = 0;
        for partition in lying {
            let width = seen + scaled(partition.len_bytes, taken, to_scale);
            draw(html, partition, x, width);
            x += width;
        }
    });
    let free = disk_bytes.saturating_sub(taken);
    html.line(
        "p",
        "soft",
        format_args!(
            "{} in {count} partitions, {} outside of them; small partitions are drawn wider than they are",
            ByteSize(taken),
            ByteSize(free)
        ),
    );
}

/// A drawing of the width that all have, and what it is called for those who do not see it.
pub(super) fn drawing(
    html: &mut Html,
    height: impl Display,
    label: impl Display,
    inside: impl FnOnce(&mut Html),
) {
    let attributes: [(&str, &dyn Display); 3] = [
        ("viewBox", &format_args!("0 0 {WIDTH} {height}")),
        ("role", &"img"),
        ("aria-label", &label),
    ];
    html.element("svg", &attributes, inside);
}

fn rect(html: &mut Html, class: &str, (x, y): (u64, u64), (width, height): (u64, u64)) {
    let attributes: [(&str, &dyn Display); 5] = [
        ("class", &class),
        ("x", &x),
        ("y", &y),
        ("width", &width),
        ("height", &height),
    ];
    html.element("rect", &attributes, |_| {});
}

fn draw(html: &mut Html, partition: &PartitionInfo, x: u64, width: u64) {
    html.element("g", &[], |html| {
        html.line(
            "title",
            "",
            format_args!(
                "{} {}: {}",
                partition.number,
                partition.label,
                ByteSize(partition.len_bytes)
            ),
        );
        rect(html, "plain", (x, 0), (width, HEIGHT));
        if let Some(fs) = &partition.filesystem {
            let used = scaled(fs.used_bytes, fs.total_bytes, width);
            rect(html, "used", (x, 0), (used, HEIGHT));
        }
        let label = |html: &mut Html, y: u64, text: &dyn Display| {
            html.element("text", &[("x", &(x + 5)), ("y", &y)], |html| {
                html.text(text);
            });
        };
        label(html, 18, &partition.number);
        // About seven units a character.
        let room = usize::try_from(width / 7).unwrap_or(0);
        if partition.label.chars().count() < room {
            label(html, 34, &partition.label);
        }
    });
}

/// How full something is: the part that was taken before, and what came or went.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes that were in use before, where there was a before.
    pub used_before: Option<u64>,
}

/// A bar of a filesystem.
pub fn fill(html: &mut Html, name: &str, fill: Fill) {
    let Fill {
        total_bytes: total,
        used_bytes: used,
        used_before,
    } = fill;
    let before = used_before.unwrap_or(used);
    let change = match used_before {
        Some(before) if before < used => format!(", {} more than before", ByteSize(used - before)),
        Some(before) if before > used => format!(", {} less than before", ByteSize(before - used)),
        Some(_) => ", as before".to_owned(),
        None => String::new(),
    };
    html.element("p", &[], |html| {
        html.line("strong", "", name).text(format_args!(
            " {} of {} in use{change}",
            ByteSize(used),
            ByteSize(total)
        ));
    });
    let x = |bytes: u64| scaled(bytes, total, WIDTH);
    let bars = [
        ("plain", 0, WIDTH),
        ("used", 0, x(used.min(before))),
        ("more", x(before.min(used)), x(used.saturating_sub(before))),
        ("less", x(used.min(before)), x(before.saturating_sub(used))),
    ];
    drawing(html, 14, format_args!("How full {name} is"), |html| {
        for (class, x, width) in bars {
            if width > 0 {
                rect(html, class, (x, 1), (width, 12));
            }
        }
    });
}

/// How many of `width` units `part` of `whole` takes; what is there at all takes one.
fn scaled(part: u64, whole: u64, width: u64) -> u64 {
    let exact = u128::from(part) * u128::from(width) / u128::from(whole.max(1));
    let units = u64::try_from(exact).unwrap_or(width).min(width);
    units.max(u64::from(part > 0).min(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_there_is_seen_and_nothing_is_wider_than_the_whole() {
        assert_eq!(scaled(0, 100, 1000), 0);
        assert_eq!(scaled(1, u64::MAX, 1000), 1);
        assert_eq!(scaled(50, 100, 1000), 500);
        assert_eq!(scaled(u64::MAX, 1, 1000), 1000);
        assert_eq!(scaled(7, 0, 0), 0);
    }
}
