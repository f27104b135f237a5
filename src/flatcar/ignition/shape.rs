//! Keys that are not known, and values of another type.

use crate::document::{Kind, Node, Scalar, Value};
use crate::finding::{Finding, code};

use super::findings::Findings;
use super::schema::{Shape, Table};

/// Checks a config of specification 3.`spec` against its keys.
pub(super) fn check(config: &Node, table: &'static Table, spec: u8, findings: &mut Findings) {
    Checker { spec, findings }.table(config, table, "$");
}

struct Checker<'a> {
    spec: u8,
    findings: &'a mut Findings,
}

impl Checker<'_> {
    fn value(&mut self, node: &Node, shape: Shape, path: &str) {
        match (shape, &node.value) {
            (Shape::Table(table), _) => self.table(node, table, path),
            (Shape::List(item), Value::List(nodes)) => {
                for (number, node) in nodes.iter().enumerate() {
                    let path = format!("{path}.{number}");
                    if is_null(node) {
                        self.wrong(node, *item, &path);
                    } else {
                        self.value(node, *item, &path);
                    }
                }
            }
            (_, Value::Scalar(scalar)) if fits(scalar, shape) => {}
            _ => self.wrong(node, shape, path),
        }
    }

    fn table(&mut self, node: &Node, table: &'static Table, path: &str) {
        let Value::Table(entries) = &node.value else {
            return self.wrong(node, Shape::Table(table), path);
        };
        for (key, node) in entries {
            let path = format!("{path}.{}", key.name.escape_debug());
            match table.ignition(&key.name) {
                Some(field) if field.since <= self.spec => {
                    if !is_null(node) {
                        self.value(node, field.shape, &path);
                    }
                }
                Some(field) => {
                    let more = format!(": it came with specification 3.{}", field.since);
                    self.findings
                        .add(unknown(&key.name, more), &path, key.position);
                }
                None => {
                    let names = table.fields.iter().map(|field| field.name);
                    let more = match self.findings.is_full() {
                        true => String::new(),
                        false => near(&key.name, names),
                    };
                    self.findings
                        .add(unknown(&key.name, more), &path, key.position);
                }
            }
        }
    }

    fn wrong(&mut self, node: &Node, shape: Shape, path: &str) {
        self.findings
            .add(wrong_type(node, shape), path, node.position);
    }
}

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
}

fn fits(scalar: &Scalar, shape: Shape) -> bool {
    match shape {
        Shape::Text => scalar.kind == Kind::Text,
        Shape::Flag => matches!(scalar.kind, Kind::Bool(_)),
        Shape::Integer => scalar.kind == Kind::Integer && scalar.text.parse::<i64>().is_ok(),
        Shape::List(_) | Shape::Table(_) => false,
    }
}

/// The finding about a key that is not known.
pub(in crate::flatcar) fn unknown(key: &str, more: String) -> Finding {
    let key: String = key.chars().take(64).collect();
    Finding::new(code::CONFIG_UNKNOWN_KEY)
        .with("key", key.escape_debug())
        .with("more", more)
}

/// The known name that was likely meant, for the end of a message.
pub(in crate::flatcar) fn near(key: &str, names: impl Iterator<Item = &'static str>) -> String {
    if key.len() > 64 {
        return String::new();
    }
    let small = key.to_ascii_lowercase();
    let distance = |name: &str| strsim::levenshtein(&small, &name.to_ascii_lowercase());
    let nearest = names
        .filter(|name| !name.is_empty())
        .map(|name| (distance(name), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 4 => {
            format!(": did you mean '{name}'?")
        }
        _ => String::new(),
    }
}

/// The finding about a value of another type.
pub(in crate::flatcar) fn wrong_type(node: &Node, shape: Shape) -> Finding {
    let expected = match shape {
        Shape::Text => "a text",
        Shape::Integer => "a whole number",
        Shape::Flag => "true or false",
        Shape::List(_) => "a list",
        Shape::Table(_) => "a table",
    };
    Finding::new(code::CONFIG_TYPE)
        .with("expected", expected)
        .with("found", found(node))
}

fn found(node: &Node) -> String {
    let scalar = match &node.value {
        Value::List(_) => return "a list".to_owned(),
        Value::Table(_) => return "a table".to_owned(),
        Value::Scalar(scalar) => scalar,
    };
    let shown: String = scalar.text.chars().take(40).collect();
    match scalar.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Integer | Kind::Float => format!("the number {shown}"),
        Kind::Text | Kind::Substituted => format!("the text '{}'", shown.escape_debug()),
    }
}
