//! What a person should know, as data: a code for programs, values for messages.
//!
//! A finding never names a flag or a key: the library does not know how it was asked. Who presents a finding adds what to
//! do about it, by its code.

mod codes;
mod few;

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use codes::{ALL, code};
pub use few::Few;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// It works, but likely not as meant.
    Warning,
    /// It would not work: the run stops before anything is written, unless it is forced.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Its word, which stays the same from version to version: `hidden-by-mount`.
    pub word: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The message, with the names of values in braces.
    pub text: &'static str,
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq)]
pub struct Finding {
    code: &'static Code,
    severity: Severity,
    /// Innermost first, as in an error.
    place: Vec<String>,
    values: BTreeMap<&'static str, String>,
}

impl Finding {
    /// A finding of this kind, with no place and no values yet.
    pub fn new(code: &'static Code) -> Self {
        Self {
            code,
            severity: code.severity,
            place: Vec::new(),
            values: BTreeMap::new(),
        }
    }

    /// Gives one of the values that the message of its code names.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.values.insert(name, value.to_string());
        self
    }

    /// Adds where it was found, from the inside out. A place that is named already is not named again.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        if !self.place.contains(&place) {
            self.place.push(place);
        }
        self
    }

    /// The same with the severity of a warning at most: what a forced run makes of it.
    #[must_use]
    pub fn lifted(mut self) -> Self {
        self.severity = self.severity.min(Severity::Warning);
        self
    }

    /// Its kind.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// How bad it is here.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether it stops a run.
    pub fn stops(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The places it was found at, outermost first.
    pub fn place(&self) -> impl Iterator<Item = &str> {
        self.place.iter().rev().map(String::as_str)
    }

    /// One of its values.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// All its values with their names, in the order of names.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// The message without the place.
    pub fn message(&self) -> String {
        fill(self.code.text, &self.values)
    }
}

/// `template` with each `{name}` replaced by the value of that name; a name without a value stays as it is.
pub fn fill(template: &str, values: &BTreeMap<&'static str, String>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (before, behind) = rest.split_at(open);
        text.push_str(before);
        rest = behind;
        let Some(close) = behind.find('}') else { break };
        match values.get(&behind[1..close]) {
            Some(value) => text.push_str(value),
            None => text.push_str(&behind[..=close]),
        }
        rest = &behind[close + 1..];
    }
    text.push_str(rest);
    text
}

impl Finding {
    /// `template` with the values of this finding: how hints are made.
    pub fn fill(&self, template: &str) -> String {
        fill(template, &self.values)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.place() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message())
    }
}

impl fmt::Debug for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] {self}", self.severity, self.code.word)
    }
}

/// `severity`, `code`, `place` (outermost first), `values` and `message`.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place: Vec<&str> = self.place().collect();
        let mut fields = serializer.serialize_struct("Finding", 5)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("code", self.code.word)?;
        fields.serialize_field("place", &place)?;
        fields.serialize_field("values", &self.values)?;
        fields.serialize_field("message", &self.message())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_texts_name_values_only() {
        let mut words: Vec<&str> = ALL.iter().map(|code| code.word).collect();
        words.sort_unstable();
        let before = words.len();
        words.dedup();
        assert_eq!(words.len(), before);
        for code in ALL {
            assert!(
                code.word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{}",
                code.word
            );
            assert!(!code.text.contains("--"), "{} names a flag", code.word);
            assert_eq!(
                code.text.matches('{').count(),
                code.text.matches('}').count(),
                "{}",
                code.word
            );
        }
    }

    #[test]
    fn messages_have_place_and_values() {
        let finding = Finding::new(code::HIDDEN_BY_MOUNT)
            .with("path", "/usr/x")
            .with("top", "usr")
            .at("root");
        assert!(
            finding
                .to_string()
                .starts_with("root: /usr/x would never be seen"),
            "{finding}"
        );
        assert!(finding.stops() && !finding.clone().lifted().stops());
        let json = serde_json::to_value(&finding).unwrap();
        assert_eq!(
            (&json["code"], &json["severity"]),
            (&"hidden-by-mount".into(), &"error".into())
        );
        assert_eq!(json["values"]["path"], "/usr/x");
        assert_eq!(
            fill("a {b} {c} {", &BTreeMap::from([("b", "x{c}".to_owned())])),
            "a x{c} {c} {"
        );
    }
}
