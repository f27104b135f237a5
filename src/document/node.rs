//! What YAML, JSON and TOML have in common: tables, lists and scalars, each with its place in the file.

use std::fmt;

/// How deep lists and tables may be nested. Ignition configs, the deepest known, need 9.
pub const DEPTH_MAX: usize = 64;
/// What all values of a document may take in memory, with aliases expanded.
pub const WEIGHT_MAX: usize = 64 << 20;

/// A place in a document: line and column of a character, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };

    /// The place of the character at byte `offset` of `text`.
    pub fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A place for messages: `flatbake.yaml:12:5`.
pub fn place(file: &str, position: Position) -> String {
    format!("{file}:{position}")
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub struct Fault {
    /// None only until who reads the value adds it.
    pub position: Option<Position>,
    /// What is wrong.
    pub message: String,
    /// What can be done about it.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at `position`.
    pub fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position: Some(position),
            ..Self::without_place(message)
        }
    }

    /// A fault whose place is added later.
    pub fn without_place(message: impl Into<String>) -> Self {
        Self {
            position: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with what can be done about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Node {
    /// A text at `position`.
    pub fn text(position: Position, text: impl Into<String>) -> Self {
        Self::scalar(position, text, Kind::Text)
    }

    /// A single value at `position`.
    pub fn scalar(position: Position, text: impl Into<String>, kind: Kind) -> Self {
        let text = text.into();
        Self {
            position,
            value: Value::Scalar(Scalar { text, kind }),
        }
    }

    /// The text, where it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar {
                text,
                kind: Kind::Text | Kind::Substituted,
            }) => Some(text),
            _ => None,
        }
    }

    /// The value of a name, where this is a table that has it.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// What it is.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// Values in their order.
    List(Vec<Node>),
    /// In the order of the file, no name twice.
    Table(Vec<(Key, Node)>),
}

/// The name of a value in a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Where it begins.
    pub position: Position,
    /// The name.
    pub name: String,
}

/// A single value: its text, without quotes and escapes, and what it is meant as.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// What it is meant as.
    pub kind: Kind,
}

/// What the text of a scalar is meant as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer,
    /// Another number.
    Float,
    /// Text.
    Text,
    /// Text with the values of variables in it, which may be meant as a number or a boolean.
    Substituted,
}

impl Scalar {
    /// The number that the text of an integer says: decimal, or with `0x`, `0o` or `0b` in front.
    pub fn integer(&self) -> Option<i64> {
        let digits = self.text.replace('_', "");
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
        };
        let (radix, digits) = match digits.get(..2) {
            Some("0x") => (16, &digits[2..]),
            Some("0o") => (8, &digits[2..]),
            Some("0b") => (2, &digits[2..]),
            // Octal to some readers, decimal to others.
            Some(two) if two.starts_with('0') => return None,
            _ => (10, digits),
        };
        if digits.starts_with(['+', '-']) {
            return None;
        }
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    }

    /// The number that the text of a float says, if it is finite.
    pub fn float(&self) -> Option<f64> {
        self.text
            .replace('_', "")
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_in_every_notation() {
        let integer = |text: &str| {
            Scalar {
                text: text.to_owned(),
                kind: Kind::Integer,
            }
            .integer()
        };
        for (text, number) in [
            ("0", 0),
            ("-12", -12),
            ("+7", 7),
            ("0x1F", 31),
            ("0o644", 420),
            ("1_000", 1000),
        ] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for bad in [
            "",
            "0644",
            "-",
            "0x",
            "0x-1",
            "+-1",
            "99999999999999999999",
            "1.0",
        ] {
            assert_eq!(integer(bad), None, "{bad}");
        }
    }

    #[test]
    fn positions_count_characters() {
        let text = "aä\nöx";
        assert_eq!(Position::of_offset(text, 0), Position::START);
        assert_eq!(
            Position::of_offset(text, 3),
            Position { line: 1, column: 3 }
        );
        assert_eq!(
            Position::of_offset(text, 6),
            Position { line: 2, column: 2 }
        );
        assert_eq!(
            Position::of_offset(text, 5).line,
            2,
            "an offset inside a character is still in the text"
        );
    }
}
