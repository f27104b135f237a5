//! JSON (RFC 8259), no more and no less, with the place of every value.

use std::iter::Peekable;
use std::str::Chars;

use super::builder::{Builder, Inside};
use super::node::{Fault, Kind, Node, Position};

/// Longest number that is read: more digits say nothing that anybody could use.
const NUMBER_MAX: usize = 400;

/// Reads the one value of `text`.
///
/// # Errors
/// What is no JSON, a key that is given twice, and what is nested too deeply or too large.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        position: Position::START,
        builder: Builder::default(),
    };
    let mut next = Next::Value;
    loop {
        next = match next {
            Next::Value => reader.value()?,
            Next::Behind => reader.behind_value()?,
            Next::End => break,
        };
    }
    let whole = reader.builder.finish();
    whole.ok_or_else(|| Fault::new(Position::START, "the document is empty"))
}

/// What is to be read next.
enum Next {
    Value,
    Behind,
    End,
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    /// Of the next character.
    position: Position,
    builder: Builder,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest.peek().copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.position.line += 1;
            self.position.column = 1;
        } else {
            self.position.column += 1;
        }
        Some(c)
    }

    /// The next character behind white space, which is not taken.
    fn next_visible(&mut self) -> Option<char> {
        while let Some(' ' | '\t' | '\n' | '\r') = self.peek() {
            self.take();
        }
        self.peek()
    }

    /// What is here, where something else should be.
    fn unexpected(&mut self, wanted: &str) -> Fault {
        let found = match self.peek() {
            Some(c) => format!("found '{}'", c.escape_debug()),
            None => "the text ends".to_owned(),
        };
        Fault::new(self.position, format!("expected {wanted}, {found}"))
    }

    fn value(&mut self) -> Result<Next, Fault> {
        let first = self.next_visible();
        let position = self.position;
        match first {
            Some('{') => {
                self.take();
                self.builder.begin_table(position, 0)?;
                self.behind_bracket('}')
            }
            Some('[') => {
                self.take();
                self.builder.begin_list(position, 0)?;
                self.behind_bracket(']')
            }
            Some('"') => {
                let text = self.string()?;
                self.scalar(position, text, Kind::Text)
            }
            Some('-' | '0'..='9') => {
                let (text, kind) = self.number()?;
                self.scalar(position, text, kind)
            }
            Some('a'..='z') => self.word(),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn scalar(&mut self, position: Position, text: String, kind: Kind) -> Result<Next, Fault> {
        self.builder.scalar(position, text, kind, 0)?;
        Ok(Next::Behind)
    }

    /// Behind the bracket that opens a list or table.
    fn behind_bracket(&mut self, close: char) -> Result<Next, Fault> {
        if self.next_visible() == Some(close) {
            self.take();
            self.builder.end()?;
            return Ok(Next::Behind);
        }
        if close == '}' {
            self.key()?;
        }
        Ok(Next::Value)
    }

    /// A name of a table and its colon.
    fn key(&mut self) -> Result<(), Fault> {
        if self.next_visible() != Some('"') {
            return Err(self.unexpected("a name in double quotes"));
        }
        let position = self.position;
        let name = self.string()?;
        self.builder.scalar(position, name, Kind::Text, 0)?;
        if self.next_visible() != Some(':') {
            return Err(self.unexpected("a colon"));
        }
        self.take();
        Ok(())
    }

    /// A comma or the end, behind a value.
    fn behind_value(&mut self) -> Result<Next, Fault> {
        let next = self.next_visible();
        match (self.builder.inside(), next) {
            (None, None) => Ok(Next::End),
            (None, Some(_)) => Err(self.unexpected("the end")),
            (Some(Inside::List), Some(',')) => {
                self.take();
                Ok(Next::Value)
            }
            (Some(Inside::Table), Some(',')) => {
                self.take();
                self.key()?;
                Ok(Next::Value)
            }
            (Some(Inside::List), Some(']')) | (Some(Inside::Table), Some('}')) => {
                self.take();
                self.builder.end()?;
                Ok(Next::Behind)
            }
            (Some(Inside::List), _) => Err(self.unexpected("a comma or ']'")),
            (Some(Inside::Table), _) => Err(self.unexpected("a comma or '}'")),
        }
    }

    fn word(&mut self) -> Result<Next, Fault> {
        let position = self.position;
        let mut word = String::new();
        while let Some(c @ 'a'..='z') = self.peek() {
            if word.len() > "false".len() {
                break;
            }
            word.push(c);
            self.take();
        }
        let kind = match word.as_str() {
            "null" => Kind::Null,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            _ => return Err(Fault::new(position, "expected a value, found a bare word")),
        };
        self.scalar(position, word, kind)
    }

    fn number(&mut self) -> Result<(String, Kind), Fault> {
        let position = self.position;
        let mut text = String::new();
        while let Some(c @ ('0'..='9' | '-' | '+' | '.' | 'e' | 'E')) = self.peek() {
            if text.len() >= NUMBER_MAX {
                return Err(Fault::new(position, "this number has too many digits"));
            }
            text.push(c);
            self.take();
        }
        match number_kind(&text) {
            Some(kind) => Ok((text, kind)),
            None => Err(Fault::new(position, format!("'{text}' is not a number"))),
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.take(); // the quote
        let mut text = String::new();
        loop {
            let position = self.position;
            match self.take() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(position)?),
                Some(c) if c < ' ' => {
                    let why = "a text has a control character, which must be written as an escape";
                    return Err(Fault::new(position, why));
                }
                Some(c) => text.push(c),
                None => return Err(Fault::new(position, "the text ends inside of quotes")),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self, position: Position) -> Result<char, Fault> {
        match self.take() {
            Some(c @ ('"' | '\\' | '/')) => Ok(c),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('u') => self.code_point(position),
            _ => Err(Fault::new(position, "this is no escape that JSON has")),
        }
    }

    /// The character of `\uXXXX`, or of a pair of them; half of a pair stands for U+FFFD, as it does for Ignition.
    fn code_point(&mut self, position: Position) -> Result<char, Fault> {
        let high = self.four_digits(position)?;
        if !(0xd800..0xdc00).contains(&high) {
            return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('\\') || ahead.next() != Some('u') {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let digits: String = ahead.take(4).collect();
        let low = u32::from_str_radix(&digits, 16).unwrap_or_default();
        if !(0xdc00..0xe000).contains(&low) {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        for _ in 0.."\\uXXXX".len() {
            self.take();
        }
        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self, position: Position) -> Result<u32, Fault> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.take().and_then(|c| c.to_digit(16));
            let digit = digit.ok_or_else(|| {
                Fault::new(position, "\\u is followed by four hexadecimal digits")
            })?;
            code = code * 16 + digit;
        }
        Ok(code)
    }
}

/// Whether `text` is an integer or another number of JSON.
fn number_kind(text: &str) -> Option<Kind> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = leading_digits(unsigned);
    let mut rest = &unsigned[whole..];
    if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
        return None;
    }
    if rest.is_empty() {
        return Some(Kind::Integer);
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = leading_digits(fraction);
        if digits == 0 {
            return None;
        }
        rest = &fraction[digits..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let digits = leading_digits(exponent);
        if digits == 0 {
            return None;
        }
        rest = &exponent[digits..];
    }
    rest.is_empty().then_some(Kind::Float)
}

fn leading_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::super::node::{DEPTH_MAX, Value};
    use super::*;

    #[test]
    fn what_is_read_is_what_another_reader_reads() {
        let text = "{\"a\" : [1, -0, 2.5e+3, true,false , null],\r\n\t\"\\u00e4\\ud83d\\ude00\\/\": {}, \"\": \"x\\\"\\n\"}";
        let node = parse(text).unwrap();
        let other: serde_json::Value = serde_json::from_str(text).unwrap();
        let again = super::super::json_text(&node, false);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&again).unwrap(),
            other
        );
        let Value::Table(entries) = node.value else {
            panic!()
        };
        let at = |n: usize| (entries[n].0.position.line, entries[n].0.position.column);
        assert_eq!([at(0), at(1), at(2)], [(1, 2), (2, 2), (2, 30)]);
        for half in ["\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\""] {
            let Value::Scalar(scalar) = parse(half).unwrap().value else {
                panic!()
            };
            assert!(scalar.text.starts_with('\u{fffd}'), "{half}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place() {
        for (text, line, column) in [
            ("", 1, 1),
            ("{", 1, 2),
            ("{\"a\" 1}", 1, 6),
            ("{\"a\":1,}", 1, 8),
            ("[1,]", 1, 4),
            ("[1 2]", 1, 4),
            ("{a: 1}", 1, 2),
            ("{\"a\": 1} x", 1, 10),
            ("\n  nul", 2, 3),
            ("truefalse", 1, 1),
            ("[01]", 1, 2),
            ("[1.]", 1, 2),
            ("[.5]", 1, 2),
            ("[1e]", 1, 2),
            ("[-]", 1, 2),
            ("[+1]", 1, 2),
            ("\"\t\"", 1, 2),
            ("\"\\x\"", 1, 2),
            ("\"\\u12\"", 1, 2),
            ("\"abc", 1, 5),
            ("// x\n1", 1, 1),
            ("{\"a\":1,\"a\":2}", 1, 8),
            ("\u{feff}{}", 1, 1),
        ] {
            let fault = parse(text).unwrap_err();
            let place = Some(Position { line, column });
            assert_eq!(fault.position, place, "{text:?}: {fault:?}");
        }
    }

    #[test]
    fn depth_and_numbers_are_bounded() {
        assert!(parse(&"[".repeat(1_000_000)).is_err());
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(DEPTH_MAX)).is_ok() && parse(&nested(DEPTH_MAX + 1)).is_err());
        assert!(parse(&"9".repeat(1_000_000)).is_err());
        let wide = format!("[{}]", vec!["0"; 2_000_000].join(","));
        let fault = parse(&wide).unwrap_err();
        assert!(fault.message.contains("too large"), "{fault:?}");
    }
}
