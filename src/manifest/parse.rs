//! A manifest's text becomes a tree with the place of every value, from YAML or TOML alike.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use crate::document::{DEPTH_MAX, Fault, Key, Kind, Node, Position, Scalar, Value, parse_yaml};
use crate::error::{Error, Result};

/// Largest manifest in bytes: content that is longer belongs into a file of its own.
pub(super) const MANIFEST_MAX: u64 = 4 << 20;

/// The language that a manifest is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Yaml,
    Toml,
}

impl Language {
    /// By the file name's extension.
    pub(super) fn of_path(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            _ => Err(
                Error::invalid(format!("{} is not named as a manifest", path.display()))
                    .with_hint("name it .yaml, .yml or .toml, by the language it is written in"),
            ),
        }
    }
}

/// Reads `text`; `bytes` that are no UTF-8 are refused at their place.
pub(super) fn parse(bytes: &[u8], language: Language) -> Result<Node, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Fault::new(
            Position::of_offset(&valid, valid.len()),
            "the text is not UTF-8",
        )
    })?;
    match language {
        Language::Yaml => parse_yaml(text),
        Language::Toml => toml(text),
    }
}

fn toml(text: &str) -> Result<Node, Fault> {
    let lines = Lines::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Fault::new(lines.position(start), error.message().to_owned())
    })?;
    let entries = lines.table(table.get_ref(), 1)?;
    Ok(Node {
        position: Position::START,
        value: Value::Table(entries),
    })
}

/// A text and where its lines begin, so that a place is found without reading the text again.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts[line.saturating_sub(1)];
        let before = self.text.get(start..offset).unwrap_or_default();
        Position {
            line: line.max(1),
            column: before.chars().count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>, depth: usize) -> Result<Vec<(Key, Node)>, Fault> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            let position = self.position(key.span().start);
            let key = Key {
                position,
                name: key.get_ref().to_string(),
            };
            entries.push((key, self.node(value, depth)?));
        }
        entries.sort_by_key(|(key, _)| key.position);
        Ok(entries)
    }

    fn node(&self, value: &toml::Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
        let position = self.position(value.span().start);
        let source = self.text.get(value.span()).unwrap_or_default();
        if depth > DEPTH_MAX {
            return Err(Fault::new(
                position,
                format!("lists and tables are nested more than {DEPTH_MAX} deep"),
            ));
        }
        let scalar = |text: &str, kind| {
            Value::Scalar(Scalar {
                text: text.to_owned(),
                kind,
            })
        };
        let value = match value.get_ref() {
            DeValue::String(text) => scalar(text, Kind::Text),
            DeValue::Integer(_) => scalar(source, Kind::Integer),
            DeValue::Float(_) => scalar(source, Kind::Float),
            DeValue::Boolean(value) => scalar(source, Kind::Bool(*value)),
            DeValue::Datetime(_) => scalar(source, Kind::Text),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| self.node(item, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => Value::Table(self.table(table, depth + 1)?),
        };
        Ok(Node { position, value })
    }
}
