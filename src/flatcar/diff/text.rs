//! Texts, line by line, in the form of `diff -u`.

use std::fmt::Write;
use std::ops::Range;

/// Longest text that is shown line by line.
pub(super) const TEXT_MAX: u64 = 256 << 10;
/// Lines that may have to go and come before everything between the first and the last of them counts as replaced.
const STEPS_MAX: usize = 800;
/// Equal lines around a change that are shown.
const CONTEXT: usize = 3;

/// Part of the way from one text to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    /// Lines that go.
    old: Range<usize>,
    /// Lines that come.
    new: Range<usize>,
}

/// Whether these bytes are a text that can be shown.
pub(super) fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
}

/// The way from `old` to `new`, without names of files; empty where they are equal.
pub(in crate::flatcar) fn unified(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let edits = edits(&old, &new);
    let mut text = String::new();
    let mut rest = edits.as_slice();
    while !rest.is_empty() {
        let near = |pair: &[Edit]| pair[1].old.start - pair[0].old.end <= 2 * CONTEXT;
        let count = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let (hunk, behind) = rest.split_at(count);
        show_hunk(&mut text, &old, &new, hunk);
        rest = behind;
    }
    text
}

fn show_hunk(text: &mut String, old: &[&str], new: &[&str], hunk: &[Edit]) {
    let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
        return;
    };
    let before = first.old.start.min(CONTEXT);
    let after = (old.len() - last.old.end).min(CONTEXT);
    let in_old = first.old.start - before..last.old.end + after;
    let in_new = first.new.start - before..last.new.end + after;
    // Writing into a text cannot fail.
    let _ = writeln!(text, "@@ -{} +{} @@", place(&in_old), place(&in_new));
    let mut at = in_old.start;
    for edit in hunk {
        show_lines(text, ' ', &old[at..edit.old.start]);
        show_lines(text, '-', &old[edit.old.clone()]);
        show_lines(text, '+', &new[edit.new.clone()]);
        at = edit.old.end;
    }
    show_lines(text, ' ', &old[at..in_old.end]);
}

/// Where lines begin, counted from 1 (an empty stretch by the line before it), and how many they are, unless it is one.
fn place(lines: &Range<usize>) -> String {
    let start = if lines.is_empty() {
        lines.start
    } else {
        lines.start + 1
    };
    match lines.len() {
        1 => start.to_string(),
        count => format!("{start},{count}"),
    }
}

fn show_lines(text: &mut String, mark: char, lines: &[&str]) {
    for line in lines {
        text.push(mark);
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// The edits that make `new` of `old`, in order, with equal lines between them.
fn edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let old_middle = &old[head..old.len() - tail];
    let new_middle = &new[head..new.len() - tail];
    if old_middle.is_empty() && new_middle.is_empty() {
        return Vec::new();
    }
    let steps = shortest(old_middle, new_middle).unwrap_or_else(|| {
        vec![Edit {
            old: 0..old_middle.len(),
            new: 0..new_middle.len(),
        }]
    });
    let moved = |range: Range<usize>| range.start + head..range.end + head;
    steps
        .into_iter()
        .map(|edit| Edit {
            old: moved(edit.old),
            new: moved(edit.new),
        })
        .collect()
}

/// The fewest lines that go and come (E. Myers, "An O(ND) Difference Algorithm", 1986); `None` where they are more than
/// [`STEPS_MAX`].
///
/// Diagonal `k` holds the pairs of `x` lines of `old` and `y = x - k` lines of `new`. `reached[d]` has, for every diagonal
/// from `-d` to `d`, how far `d` steps lead.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Edit>> {
    let mut reached: Vec<Vec<usize>> = Vec::new();
    for steps in 0..=STEPS_MAX.min(old.len() + new.len()) {
        let mut here = vec![0; 2 * steps + 1];
        for (index, place) in here.iter_mut().enumerate() {
            let Some(mut x) = start(&reached, steps, index) else {
                continue;
            };
            // A diagonal on which `y` would be negative, or beyond the end, leads nowhere.
            let Some(mut y) = (x + steps).checked_sub(index) else {
                continue;
            };
            if x > old.len() || y > new.len() {
                continue;
            }
            while x < old.len() && y < new.len() && old[x] == new[y] {
                x += 1;
                y += 1;
            }
            // 0 stands for a place that was not reached.
            *place = x + 1;
            if x == old.len() && y == new.len() {
                reached.push(here);
                return Some(way_back(&reached, old.len(), new.len()));
            }
        }
        reached.push(here);
    }
    None
}

/// Where the best way with one step less leads to on the diagonal `index - steps`; `None` where it leads nowhere.
fn start(reached: &[Vec<usize>], steps: usize, index: usize) -> Option<usize> {
    let Some(before) = reached.last() else {
        return Some(0);
    };
    // Diagonal k is index - steps here, and was index - 1 one step ago.
    let on = |index: Option<usize>| {
        let place = *before.get(index?)?;
        place.checked_sub(1)
    };
    // From the diagonal below a line of `old` goes; from the one above a line of `new` comes.
    let gone = on(index.checked_sub(2)).map(|x| x + 1);
    let come = on(Some(index));
    debug_assert!(index <= 2 * steps);
    gone.max(come)
}

/// The edits of the way that was found.
fn way_back(reached: &[Vec<usize>], old_len: usize, new_len: usize) -> Vec<Edit> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut x = old_len;
    let mut y = new_len;
    for steps in (1..reached.len()).rev() {
        let before = &reached[..steps];
        let index = x + steps - y;
        let begin_x = start(before, steps, index).unwrap_or(0);
        let begin_y = begin_x + steps - index;
        let on_old = index
            .checked_sub(2)
            .and_then(|below| reached[steps - 1].get(below))
            .is_some_and(|place| *place == begin_x);
        let step = if on_old && begin_x > 0 {
            Edit {
                old: begin_x - 1..begin_x,
                new: begin_y..begin_y,
            }
        } else {
            Edit {
                old: begin_x..begin_x,
                new: begin_y - 1..begin_y,
            }
        };
        x = step.old.start;
        y = step.new.start;
        edits.push(step);
    }
    edits.reverse();
    joined(edits)
}

/// Edits that touch are one.
fn joined(edits: Vec<Edit>) -> Vec<Edit> {
    let mut joined: Vec<Edit> = Vec::new();
    for edit in edits {
        match joined.last_mut() {
            Some(last) if last.old.end == edit.old.start && last.new.end == edit.new.start => {
                last.old.end = edit.old.end;
                last.new.end = edit.new.end;
            }
            _ => joined.push(edit),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the edits make of `old`.
    fn applied(old: &[&str], new: &[&str]) -> String {
        let mut made = String::new();
        let mut at = 0;
        for edit in edits(old, new) {
            made.push_str(&old[at..edit.old.start].concat());
            made.push_str(&new[edit.new].concat());
            at = edit.old.end;
        }
        made + &old[at..].concat()
    }

    #[test]
    fn one_changed_line_has_three_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let wanted = "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(unified(old, new), wanted);
        assert_eq!(unified(old, old), "");
        assert_eq!(
            unified("", "a"),
            "@@ -0,0 +1 @@\n+a\n\\ No newline at end of file\n"
        );
    }

    #[test]
    fn the_edits_of_random_texts_make_one_of_the_other_with_the_fewest_lines() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let mut lines = |count: u64| -> Vec<&str> {
                (0..count)
                    .map(|_| ["a\n", "b\n", "c\n"][usize::try_from(random(3)).unwrap()])
                    .collect()
            };
            let (old, new) = (lines(9), lines(7));
            assert_eq!(applied(&old, &new), new.concat());
            let changed: usize = edits(&old, &new)
                .iter()
                .map(|edit| edit.old.len() + edit.new.len())
                .sum();
            assert_eq!(changed, old.len() + new.len() - 2 * common(&old, &new));
        }
    }

    /// The length of the longest common subsequence, by the textbook.
    fn common(old: &[&str], new: &[&str]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for line in old {
            let mut corner = 0;
            for (index, other) in new.iter().enumerate() {
                let above = row[index + 1];
                row[index + 1] = if line == other {
                    corner + 1
                } else {
                    above.max(row[index])
                };
                corner = above;
            }
        }
        row[new.len()]
    }

    #[test]
    fn texts_without_a_common_line_are_replaced_as_a_whole() {
        let old: String = (0..5000).map(|number| format!("old {number}\n")).collect();
        let new: String = (0..5000).map(|number| format!("new {number}\n")).collect();
        let text = unified(&old, &new);
        assert!(text.starts_with("@@ -1,5000 +1,5000 @@\n-old 0\n"));
        assert_eq!(text.lines().count(), 10_001);
    }

    #[test]
    fn only_texts_are_shown() {
        assert!(as_text(b"a\xff").is_none() && as_text(b"a\0").is_none());
        assert_eq!(as_text("ä".as_bytes()), Some("ä"));
    }
}
