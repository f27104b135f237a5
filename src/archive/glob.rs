//! Patterns that leave entries out, as `tar --exclude` reads them.
//!
//! A pattern may match any run of whole names in a path: `cache` leaves out `/cache`, `/a/cache` and all below them.
//! One that begins with `/` or `./` matches from the top only. `*` matches any characters, slashes too, `?` one,
//! `[a-z]` one of a set, `[!a-z]` one that is not in it, and `\` makes the next character an ordinary one.

use std::str::FromStr;

use crate::error::{Error, Result};

/// Longest pattern in bytes: that of a path on Linux.
const PATTERN_MAX: usize = 4096;

/// A pattern for paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    anchored: bool,
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    /// Any number of any bytes.
    Star,
    /// One of these ranges, or none of them.
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            // A star stays where it is instead.
            Self::Any | Self::Star => true,
            Self::Set { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&byte))
                    != *negated
            }
        }
    }
}

impl Glob {
    /// Reads a pattern; an empty one or one longer than 4096 bytes is an error.
    pub fn new(pattern: impl AsRef<[u8]>) -> Result<Self> {
        let pattern = pattern.as_ref();
        let text = pattern
            .strip_prefix(b".")
            .filter(|rest| rest.starts_with(b"/"))
            .unwrap_or(pattern);
        let anchored = text.starts_with(b"/");
        let start = text
            .iter()
            .position(|&byte| byte != b'/')
            .unwrap_or(text.len());
        let end = text
            .iter()
            .rposition(|&byte| byte != b'/')
            .map_or(start, |last| last + 1);
        let text = &text[start..end];
        if text.is_empty() || text.len() > PATTERN_MAX {
            return Err(Error::invalid(format!(
                "a pattern of {} bytes, it must have 1 to {PATTERN_MAX}",
                text.len()
            ))
            .with_hint("give the name or path to leave out, with * and ? where needed"));
        }
        Ok(Self {
            pattern: pattern.to_vec(),
            anchored,
            tokens: tokens(text),
        })
    }

    /// The pattern as given.
    pub fn pattern(&self) -> &[u8] {
        &self.pattern
    }

    /// Whether it matches `path` (names joined by single slashes) or a directory that `path` lies in.
    ///
    /// All ways to match are followed side by side, so the time is at most that of path times pattern.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut states = States::new(self.tokens.len() + 1);
        let mut next = states.clone();
        for (at, &byte) in path.iter().enumerate() {
            if at == 0 || !self.anchored && path[at - 1] == b'/' {
                self.enter(&mut states, 0);
            }
            next.clear();
            for &state in &states.active {
                match &self.tokens[state] {
                    Token::Star => self.enter(&mut next, state),
                    token if token.takes(byte) => self.enter(&mut next, state + 1),
                    _ => {}
                }
            }
            std::mem::swap(&mut states, &mut next);
            if states.matched && path.get(at + 1).is_none_or(|&byte| byte == b'/') {
                return true;
            }
            states.matched = false;
        }
        false
    }

    /// Adds a state, and the one behind a star, which may match nothing.
    fn enter(&self, states: &mut States, mut state: usize) {
        loop {
            if state == self.tokens.len() {
                states.matched = true;
                return;
            }
            if std::mem::replace(&mut states.seen[state], true) {
                return;
            }
            states.active.push(state);
            if self.tokens[state] != Token::Star {
                return;
            }
            state += 1;
        }
    }
}

impl FromStr for Glob {
    type Err = Error;

    fn from_str(pattern: &str) -> Result<Self> {
        Self::new(pattern)
    }
}

/// Tokens that may come next.
#[derive(Clone)]
struct States {
    active: Vec<usize>,
    seen: Vec<bool>,
    matched: bool,
}

impl States {
    fn new(len: usize) -> Self {
        Self {
            active: Vec::new(),
            seen: vec![false; len],
            matched: false,
        }
    }

    fn clear(&mut self) {
        for &state in &self.active {
            self.seen[state] = false;
        }
        self.active.clear();
        self.matched = false;
    }
}

fn tokens(mut text: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while let [first, rest @ ..] = text {
        let (token, rest) = match (first, rest) {
            (b'*', _) => (Token::Star, rest),
            (b'?', _) => (Token::Any, rest),
            (b'[', _) => set(rest).unwrap_or((Token::Byte(b'['), rest)),
            (b'\\', [escaped, rest @ ..]) => (Token::Byte(*escaped), rest),
            (byte, _) => (Token::Byte(*byte), rest),
        };
        tokens.push(token);
        text = rest;
    }
    tokens
}

/// The set behind a `[`, and what follows its `]`; `None` where there is no `]`.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let (negated, mut rest) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        match rest {
            // As the first of a set it is an ordinary member.
            [b']', after @ ..] if !ranges.is_empty() => {
                return Some((Token::Set { negated, ranges }, after));
            }
            [first, b'-', last, after @ ..] if *last != b']' => {
                ranges.push((*first, *last));
                rest = after;
            }
            [byte, after @ ..] => {
                ranges.push((*byte, *byte));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        pattern.parse::<Glob>().unwrap().matches(path.as_bytes())
    }

    #[test]
    fn names_anywhere_and_what_lies_below() {
        for path in ["cache", "a/cache", "a/cache/b", "cache/a/b"] {
            assert!(matches("cache", path) && matches("cache/", path), "{path}");
        }
        for path in ["cached", "a/mycache", "cach", ""] {
            assert!(!matches("cache", path), "{path}");
        }
        assert!(matches("a/b", "x/a/b/c") && !matches("a/b", "xa/b") && !matches("a/b", "a/bc"));
        assert!(matches("/a", "a/b") && matches("./a", "a") && !matches("/a", "b/a"));
    }

    #[test]
    fn wildcards() {
        assert!(
            matches("*.log", "var/a.log")
                && matches("*.log", "a.log/x")
                && !matches("*.log", "a.logs")
        );
        assert!(
            matches("/var/*.log", "var/a/b.log"),
            "a star matches slashes, as in tar"
        );
        assert!(matches("f?o", "foo") && !matches("f?o", "fo"));
        assert!(matches("[a-c]x", "bx") && !matches("[a-c]x", "dx") && matches("[!a-c]x", "dx"));
        assert!(
            matches("[]x]", "]")
                && matches("[ab-]", "-")
                && matches("[a", "[a")
                && matches(r"\*", "*")
        );
        assert!(!matches(r"\*", "a") && matches("*", "a") && matches("**a**", "bab"));
        assert!(
            "".parse::<Glob>().is_err()
                && "//".parse::<Glob>().is_err()
                && "n".repeat(5000).parse::<Glob>().is_err()
        );
    }

    #[test]
    fn hard_patterns_take_no_longer() {
        let pattern = format!("{}b", "*a".repeat(500)).parse::<Glob>().unwrap();
        assert!(!pattern.matches("a".repeat(4000).as_bytes()));
        assert!(
            !"*/*/*/*/x"
                .parse::<Glob>()
                .unwrap()
                .matches("a/".repeat(30_000).as_bytes())
        );
    }
}
