//! Unified diffs of small texts.

/// Lines shown around a difference.
const CONTEXT: usize = 3;
/// Most pairs of lines that are compared for the shortest diff; a longer one takes all lines for others.
const PAIRS_MAX: usize = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// How `new` differs from `old`; empty where it does not.
pub(super) fn unified(old: &str, new: &str) -> String {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let new_lines: Vec<&str> = new.split_inclusive('\n').collect();
    let rows = rows(&old_lines, &new_lines);
    let mut text = String::new();
    let mut at = 0;
    // How many lines of each are before `at`.
    let mut old_done = 0;
    let mut new_done = 0;
    while let Some(offset) = rows[at..].iter().position(|(side, _)| *side != Side::Both) {
        let first = at + offset.saturating_sub(CONTEXT);
        old_done += first - at;
        new_done += first - at;
        let end = end_of_hunk(&rows, at + offset);
        let hunk = &rows[first..end];
        let count = |side: Side| hunk.iter().filter(|(found, _)| *found != side).count();
        let old_count = count(Side::New);
        let new_count = count(Side::Old);
        text.push_str(&format!(
            "@@ -{} +{} @@\n",
            span(old_done, old_count),
            span(new_done, new_count)
        ));
        for (side, line) in hunk {
            let mark = match side {
                Side::Both => ' ',
                Side::Old => '-',
                Side::New => '+',
            };
            text.push(mark);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
        old_done += old_count;
        new_done += new_count;
        at = end;
    }
    text
}

fn span(before: usize, count: usize) -> String {
    let first = if count == 0 { before } else { before + 1 };
    match count {
        1 => first.to_string(),
        count => format!("{first},{count}"),
    }
}

/// Where a hunk ends that has a difference at `from`.
fn end_of_hunk(rows: &[(Side, &str)], from: usize) -> usize {
    let mut last = from;
    for (number, (side, _)) in rows.iter().enumerate().skip(from) {
        if *side != Side::Both {
            last = number;
        } else if number - last > 2 * CONTEXT {
            break;
        }
    }
    (last + 1 + CONTEXT).min(rows.len())
}

/// All lines in their order, each of one side or of both.
fn rows<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Side, &'a str)> {
    let pairs = old.iter().zip(new);
    let front = pairs.take_while(|(old, new)| old == new).count();
    let pairs = old[front..].iter().rev().zip(new[front..].iter().rev());
    let back = pairs.take_while(|(old, new)| old == new).count();
    let both = |line: &&'a str| (Side::Both, *line);
    let mut rows: Vec<(Side, &str)> = old[..front].iter().map(both).collect();
    middle(
        &old[front..old.len() - back],
        &new[front..new.len() - back],
        &mut rows,
    );
    rows.extend(old[old.len() - back..].iter().map(both));
    rows
}

fn middle<'a>(old: &[&'a str], new: &[&'a str], rows: &mut Vec<(Side, &'a str)>) {
    let width = new.len() + 1;
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        rows.extend(old.iter().map(|line| (Side::Old, *line)));
        rows.extend(new.iter().map(|line| (Side::New, *line)));
        return;
    }
    // Length of the longest common part of what is behind each pair of places.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for (row, line) in old.iter().enumerate().rev() {
        for (column, other) in new.iter().enumerate().rev() {
            common[row * width + column] = if line == other {
                common[(row + 1) * width + column + 1] + 1
            } else {
                common[(row + 1) * width + column].max(common[row * width + column + 1])
            };
        }
    }
    let mut row = 0;
    let mut column = 0;
    while row < old.len() || column < new.len() {
        let is_same = row < old.len() && column < new.len() && old[row] == new[column];
        let below = if row < old.len() {
            Some(common[(row + 1) * width + column])
        } else {
            None
        };
        let beside = if column < new.len() {
            Some(common[row * width + column + 1])
        } else {
            None
        };
        if is_same {
            rows.push((Side::Both, old[row]));
            row += 1;
            column += 1;
        } else if below.is_some() && below >= beside {
            rows.push((Side::Old, old[row]));
            row += 1;
        } else {
            rows.push((Side::New, new[column]));
            column += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_with_three_lines_around_them() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = old.replace("5\n", "five\n");
        let expected = "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(unified(old, &new), expected);
        assert_eq!(unified(old, old), "");
        assert_eq!(
            unified("", "a\nb"),
            "@@ -0,0 +1,2 @@\n+a\n+b\n\\ No newline at end of file\n"
        );
        assert_eq!(unified("a\n", ""), "@@ -1 +0,0 @@\n-a\n");
    }

    #[test]
    fn distant_differences_have_hunks_of_their_own() {
        let old: String = (0..40).map(|line| format!("{line}\n")).collect();
        let new = old.replace("\n3\n", "\nthree\n").replace("\n33\n", "\n");
        let diff = unified(&old, &new);
        assert_eq!(diff.matches("@@ -").count(), 2, "{diff}");
        assert!(diff.contains("@@ -31,7 +31,6 @@"), "{diff}");
    }
}
