//! Where the room of a tree of files goes: boxes as large as what they stand for, and a list to open.

use std::cmp::Reverse;

use super::html::Html;
use super::map;
use crate::bytes::ByteSize;
use crate::flatcar::usage::Usage;

/// Height of the drawing of a tree, in its own units.
const HEIGHT: f64 = 320.0;
/// Entries of a folder that are shown; the rest are summed up.
const SHOWN_MAX: usize = 24;
/// Boxes that are drawn in one another. Each lets those around it through, so that what lies deeper is darker.
const LEVELS: u8 = 3;
const OPACITY: f64 = 0.35;
/// Width of a character of a label, and its height.
const GLYPH: (f64, f64) = (6.5, 14.0);
/// Room for the name of a folder above what lies in it.
const HEADING: f64 = 16.0;

/// A folder or a file and the bytes that it takes.
#[derive(Debug, Clone, Default)]
pub struct Branch {
    /// Its name; the path, of the top.
    pub name: String,
    /// Bytes that it takes with all that lies in it.
    pub bytes: u64,
    /// Entries in it, itself among them.
    pub entries: u64,
    /// What lies in it, the largest first. What is not listed one by one stands at the end, summed up.
    pub inside: Vec<Branch>,
}

impl Branch {
    /// The tree of what [`crate::flatcar::usage::usage`] found, where a folder comes behind what lies in it.
    pub fn of(found: Vec<Usage>) -> Option<Self> {
        // By depth, those whose folder is still to come.
        let mut waiting: Vec<Vec<Self>> = Vec::new();
        for usage in found {
            let depth = usage.depth;
            if waiting.len() <= depth + 1 {
                waiting.resize_with(depth + 2, Vec::new);
            }
            let inside = std::mem::take(&mut waiting[depth + 1]);
            let name = match usage.path.rsplit_once('/') {
                Some((_, name)) if depth > 0 => name.to_owned(),
                _ => usage.path,
            };
            waiting[depth].push(Self {
                name,
                bytes: usage.allocated_bytes,
                entries: usage.entries,
                inside: Self::largest(inside),
            });
        }
        waiting.first_mut().and_then(Vec::pop)
    }

    /// The largest of what lies in a folder, and the rest in one.
    pub fn largest(mut inside: Vec<Self>) -> Vec<Self> {
        inside.sort_by(|a, b| (Reverse(a.bytes), &a.name).cmp(&(Reverse(b.bytes), &b.name)));
        if inside.len() > SHOWN_MAX + 1 {
            let rest = inside.split_off(SHOWN_MAX);
            let sum = |of: fn(&Self) -> u64| rest.iter().map(of).fold(0, u64::saturating_add);
            inside.push(Self {
                name: format!("{} more", rest.len()),
                bytes: sum(|branch| branch.bytes),
                entries: sum(|branch| branch.entries),
                inside: Vec::new(),
            });
        }
        inside
    }
}

/// The drawing and the list.
pub fn tree(html: &mut Html, heading: &str, top: &Branch) {
    html.line("h3", "", heading);
    if top.inside.iter().any(|branch| branch.bytes > 0) {
        draw(html, heading, &top.inside);
    }
    list(html, top, true);
}

fn draw(html: &mut Html, heading: &str, inside: &[Branch]) {
    let label = format_args!("What takes room: {heading}");
    map::drawing(html, HEIGHT, label, |html| {
        let whole = Area {
            x: 0.0,
            y: 0.0,
            width: f64::from(u32::try_from(map::WIDTH).unwrap_or(u32::MAX)),
            height: HEIGHT,
        };
        for (branch, area) in squarified(inside, whole) {
            boxes(html, branch, area, LEVELS);
        }
    });
}

fn list(html: &mut Html, branch: &Branch, is_top: bool) {
    let line = |html: &mut Html| {
        html.line("span", "size", ByteSize(branch.bytes))
            .line("code", "", &branch.name);
    };
    if branch.inside.is_empty() {
        html.element("p", &[], line);
        return;
    }
    let inside = |html: &mut Html| {
        html.element("summary", &[], |html| {
            line(html);
            html.line("span", "note", format_args!(" {} entries", branch.entries));
        });
        for inner in &branch.inside {
            list(html, inner, false);
        }
    };
    if is_top {
        html.element("details", &[("open", &"open")], inside);
    } else {
        html.element("details", &[], inside);
    }
}

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// One box, with boxes in it where there is room for them.
fn boxes(html: &mut Html, branch: &Branch, area: Area, levels: u8) {
    html.element("g", &[], |html| {
        html.line(
            "title",
            "",
            format_args!("{}: {}", branch.name, ByteSize(branch.bytes)),
        );
        let shown = |number: f64| format!("{number:.1}");
        html.element(
            "rect",
            &[
                ("class", &"box"),
                ("x", &shown(area.x)),
                ("y", &shown(area.y)),
                ("width", &shown(area.width)),
                ("height", &shown(area.height)),
                ("opacity", &OPACITY),
            ],
            |_| {},
        );
        let characters = (area.width - 8.0) / GLYPH.0;
        if characters >= 4.0 && area.height >= GLYPH.1 {
            let name = clipped(&branch.name, characters);
            html.element(
                "text",
                &[("x", &shown(area.x + 4.0)), ("y", &shown(area.y + 12.0))],
                |html| {
                    html.text(name);
                },
            );
        }
        let inner = Area {
            x: area.x + 3.0,
            y: area.y + HEADING,
            width: area.width - 6.0,
            height: area.height - HEADING - 3.0,
        };
        if levels > 1 && inner.width > 20.0 && inner.height > 12.0 {
            for (branch, area) in squarified(&branch.inside, inner) {
                boxes(html, branch, area, levels - 1);
            }
        }
    });
}

/// As much of a name as has room.
fn clipped(name: &str, characters: f64) -> String {
    let mut room = characters;
    let mut shown = String::new();
    for c in name.chars() {
        if room < 2.0 {
            shown.push('…');
            break;
        }
        shown.push(c);
        room -= 1.0;
    }
    shown
}

/// An area divided so that each part is as large as what it stands for and as near to a square as can be: rows are laid
/// along the shorter side, each with as many parts as make its worst one better (Bruls, Huizing, van Wijk: Squarified
/// Treemaps).
fn squarified(branches: &[Branch], whole: Area) -> Vec<(&Branch, Area)> {
    let mut left: Vec<&Branch> = branches.iter().filter(|branch| branch.bytes > 0).collect();
    let total: f64 = left.iter().map(|branch| size(branch)).sum();
    let scale = whole.width * whole.height / total.max(1.0);
    let mut area = whole;
    let mut placed = Vec::new();
    while !left.is_empty() {
        let side = area.width.min(area.height).max(f64::MIN_POSITIVE);
        let mut count = 1;
        while count < left.len()
            && worst(&left[..=count], scale, side) <= worst(&left[..count], scale, side)
        {
            count += 1;
        }
        let row: Vec<&Branch> = left.drain(..count).collect();
        area = lay(&row, scale, area, &mut placed);
    }
    placed
}

/// Lays a row along the shorter side, and tells what is left of the area.
fn lay<'a>(
    row: &[&'a Branch],
    scale: f64,
    area: Area,
    placed: &mut Vec<(&'a Branch, Area)>,
) -> Area {
    let sum: f64 = row.iter().map(|branch| size(branch) * scale).sum();
    let is_upright = area.width >= area.height;
    let side = if is_upright { area.height } else { area.width };
    let thickness = sum / side.max(f64::MIN_POSITIVE);
    let mut at = 0.0;
    for branch in row {
        let length = size(branch) * scale / thickness.max(f64::MIN_POSITIVE);
        let part = if is_upright {
            Area {
                x: area.x,
                y: area.y + at,
                width: thickness,
                height: length,
            }
        } else {
            Area {
                x: area.x + at,
                y: area.y,
                width: length,
                height: thickness,
            }
        };
        placed.push((branch, part));
        at += length;
    }
    if is_upright {
        Area {
            x: area.x + thickness,
            width: (area.width - thickness).max(0.0),
            ..area
        }
    } else {
        Area {
            y: area.y + thickness,
            height: (area.height - thickness).max(0.0),
            ..area
        }
    }
}

/// The largest ratio of sides in a row of these along `side`.
fn worst(row: &[&Branch], scale: f64, side: f64) -> f64 {
    let sum: f64 = row.iter().map(|branch| size(branch) * scale).sum();
    let thickness = sum / side;
    row.iter()
        .map(|branch| {
            let length = size(branch) * scale / thickness;
            (length / thickness).max(thickness / length)
        })
        .fold(0.0, f64::max)
}

/// Bytes as a number that can be divided; what is lost of huge ones is not seen.
#[expect(clippy::cast_precision_loss, reason = "a drawing has a thousand units")]
fn size(branch: &Branch) -> f64 {
    branch.bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(name: &str, bytes: u64) -> Branch {
        Branch {
            name: name.to_owned(),
            bytes,
            entries: 1,
            inside: Vec::new(),
        }
    }

    #[test]
    fn an_area_is_divided_without_gaps_or_overlaps() {
        let sizes = [600, 600, 400, 300, 200, 200, 100, 0];
        let branches: Vec<Branch> = sizes.map(|bytes| branch("x", bytes)).into();
        let whole = Area {
            x: 0.0,
            y: 0.0,
            width: 600.0,
            height: 400.0,
        };
        let placed = squarified(&branches, whole);
        assert_eq!(placed.len(), 7);
        let covered: f64 = placed
            .iter()
            .map(|(_, area)| area.width * area.height)
            .sum();
        assert!((covered - 240_000.0).abs() < 1e-6, "{covered}");
        for (index, (branch, area)) in placed.iter().enumerate() {
            let expected = size(branch) * 100.0;
            assert!((area.width * area.height - expected).abs() < 1e-6);
            assert!(area.x + area.width <= 600.0 + 1e-6 && area.y + area.height <= 400.0 + 1e-6);
            // Those of the paper: no part is longer than three times its width.
            assert!(area.width / area.height < 3.1 && area.height / area.width < 3.1);
            for (_, other) in &placed[index + 1..] {
                let is_apart = area.x + area.width <= other.x + 1e-6
                    || other.x + other.width <= area.x + 1e-6
                    || area.y + area.height <= other.y + 1e-6
                    || other.y + other.height <= area.y + 1e-6;
                assert!(is_apart, "{area:?} {other:?}");
            }
        }
    }

    #[test]
    fn folders_have_what_lies_in_them_and_small_ones_are_summed_up() {
        let usage = |path: &str, depth: usize, bytes: u64| Usage {
            path: path.to_owned(),
            depth,
            apparent_bytes: bytes,
            allocated_bytes: bytes,
            entries: 1,
        };
        let mut found: Vec<Usage> = (0..40)
            .map(|number| usage(&format!("/a/{number:02}"), 2, number))
            .collect();
        found.push(usage("/a", 1, 780));
        found.push(usage("/b", 1, 1000));
        found.push(usage("/", 0, 1780));
        let top = Branch::of(found).unwrap();
        assert_eq!(top.name, "/");
        let names: Vec<&str> = top
            .inside
            .iter()
            .map(|branch| branch.name.as_str())
            .collect();
        assert_eq!(names, ["b", "a"]);
        let inside = &top.inside[1].inside;
        assert_eq!(inside.len(), SHOWN_MAX + 1);
        assert_eq!(inside[0].name, "39");
        assert_eq!(inside[SHOWN_MAX].name, "16 more");
        assert_eq!(inside[SHOWN_MAX].bytes, (0..16).sum::<u64>());
    }

    #[test]
    fn names_are_clipped_to_the_room_that_there_is() {
        assert_eq!(clipped("kubernetes.raw", 6.0), "kuber…");
        assert_eq!(clipped("abc", 6.0), "abc");
    }
}
