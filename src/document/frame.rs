//! The line of a document that an error is about, with a caret below the column.

use super::node::Position;

/// Most characters of a line that are shown, and how many of them stand in front of the column at most.
const SHOWN_MAX: usize = 96;
const BEFORE_MAX: usize = 64;

/// The line of `text` at `position`; none where the text has no such line, or nothing is on it.
///
/// ```text
///   12 |   content: "motd
///      |            ^
/// ```
pub fn frame(text: &str, position: Position) -> Option<String> {
    let line = text.lines().nth(position.line.checked_sub(1)?)?;
    if line.trim().is_empty() {
        return None;
    }
    // Where a text ends too early, the column is one behind the last.
    let before = position.column.saturating_sub(1).min(line.chars().count());
    let skipped = before.saturating_sub(BEFORE_MAX);
    let shown: String = line
        .chars()
        .skip(skipped)
        .take(SHOWN_MAX)
        .map(visible)
        .collect();
    let caret = " ".repeat(before - skipped);
    let number = position.line.to_string();
    let margin = " ".repeat(number.len());
    Some(format!("  {number} | {shown}\n  {margin} | {caret}^"))
}

/// A character that takes one column: tabs, which YAML does not take for an indentation, are to be seen.
fn visible(c: char) -> char {
    match c {
        '\t' => '→',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, line: usize, column: usize) -> Option<String> {
        frame(text, Position { line, column })
    }

    #[test]
    fn the_caret_stands_below_the_column() {
        let text = "a: 1\n\tb: 2\n\nöä: [\r\n";
        assert_eq!(at(text, 1, 4).unwrap(), "  1 | a: 1\n    |    ^");
        assert_eq!(at(text, 2, 1).unwrap(), "  2 | →b: 2\n    | ^");
        assert_eq!(at(text, 4, 6).unwrap(), "  4 | öä: [\n    |      ^");
        assert_eq!(at(text, 4, 99).unwrap(), "  4 | öä: [\n    |      ^");
        for (line, column) in [(3, 1), (9, 1), (0, 0)] {
            assert_eq!(at(text, line, column), None);
        }
    }

    #[test]
    fn of_a_long_line_what_is_around_the_column_is_shown() {
        let text = format!("{}X{}", "a".repeat(1 << 20), "b".repeat(1 << 20));
        let shown = at(&text, 1, (1 << 20) + 1).unwrap();
        let (line, caret) = shown.split_once('\n').unwrap();
        assert_eq!(line.find('X'), caret.find('^'));
        assert!(line.len() < 120, "{line}");
    }
}
