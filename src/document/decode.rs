//! From the tree of a document to structs, by serde. An error knows the place of the value, or of the key, it is about.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Fault, Key, Kind, Node, Position, Scalar, Value};
use super::spanned::{RAW, SPANNED};

/// Reads `node` as a `T`.
///
/// # Errors
/// A value of another kind, a key that is not known or is missing, each with its place.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(node)
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::without_place(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::without_place(format!(
            "expected {}, found {}",
            wanted(expected),
            shown(&found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let near = expected.iter().min_by_key(|known| distance(field, known));
        let hint = match near.filter(|known| distance(field, known) <= 1 + known.len() / 4) {
            Some(known) => format!("did you mean '{known}'?"),
            None => format!("the keys here are {}", expected.join(", ")),
        };
        Self {
            hint: Some(hint),
            ..Self::without_place(format!("unknown key '{}'", field.escape_debug()))
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::without_place(format!("the key '{field}' is missing"))
    }
}

/// What was expected, in the words of documents.
fn wanted(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u32" => "a number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a number from 0".to_owned(),
        other => other.to_owned(),
    }
}

fn shown(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Map => "a table".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) if text.chars().count() > 60 => "a longer text".to_owned(),
        Unexpected::Str(text) => format!("the text '{}'", text.escape_debug()),
        other => other.to_string(),
    }
}

/// Changes of one character (added, left out, replaced) between two names; long ones are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Gives an error without a place that of what was read.
fn placed<T>(result: Result<T, Fault>, position: Position) -> Result<T, Fault> {
    result.map_err(|error| Fault {
        position: error.position.or(Some(position)),
        ..error
    })
}

impl<'a> Node {
    fn visit<V: Visitor<'a>>(&'a self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Scalar(scalar) => visit_scalar(scalar, visitor),
            Value::List(items) => visitor.visit_seq(List(items.iter())),
            Value::Table(entries) => visitor.visit_map(Table {
                entries: entries.iter(),
                value: None,
            }),
        }
    }
}

fn visit_scalar<'a, V: Visitor<'a>>(scalar: &'a Scalar, visitor: V) -> Result<V::Value, Fault> {
    match scalar.kind {
        Kind::Null => visitor.visit_unit(),
        Kind::Bool(value) => visitor.visit_bool(value),
        Kind::Integer => visitor.visit_i64(integer(scalar)?),
        Kind::Float => match scalar.float() {
            Some(number) => visitor.visit_f64(number),
            None => Err(Fault::without_place(format!(
                "'{}' is not a finite number",
                scalar.text
            ))),
        },
        Kind::Text | Kind::Substituted => visitor.visit_borrowed_str(&scalar.text),
    }
}

fn integer(scalar: &Scalar) -> Result<i64, Fault> {
    scalar.integer().ok_or_else(|| Fault {
        hint: Some(
            "write a decimal number without zeros in front, or 0o644 for an octal one".to_owned(),
        ),
        ..Fault::without_place(format!(
            "'{}' is not a number that can be used here",
            scalar.text.escape_debug()
        ))
    })
}

/// Numbers and booleans that came out of variables.
macro_rules! substituted {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
            let result = match &self.value {
                Value::Scalar(scalar @ Scalar { kind: Kind::Substituted, .. }) => match scalar.text.as_str() {
                    "true" => visitor.visit_bool(true),
                    "false" => visitor.visit_bool(false),
                    _ if scalar.integer().is_some() => integer(scalar).and_then(|number| visitor.visit_i64(number)),
                    _ => visit_scalar(scalar, visitor),
                },
                _ => self.visit(visitor),
            };
            placed(result, self.position)
        }
    )*};
}

impl<'a> Deserializer<'a> for &'a Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        placed(self.visit(visitor), self.position)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match (name, &self.value) {
            (SPANNED, _) => visitor.visit_seq(WithPosition {
                node: self,
                step: 0,
            }),
            (RAW, Value::Scalar(scalar)) if scalar.kind != Kind::Null => {
                visitor.visit_borrowed_str(&scalar.text)
            }
            (RAW, _) => self.visit(visitor),
            _ => visitor.visit_newtype_struct(self),
        };
        placed(result, self.position)
    }

    /// A list is no struct, though serde would take its items for the fields.
    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.value {
            Value::List(_) => placed(
                Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
                self.position,
            ),
            _ => self.deserialize_any(visitor),
        }
    }

    substituted! { deserialize_bool deserialize_i64 deserialize_u32 deserialize_u64 }

    forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map enum identifier ignored_any
    }
}

struct List<'a>(std::slice::Iter<'a, Node>);

impl<'a> de::SeqAccess<'a> for List<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        self.0
            .next()
            .map(|node| placed(seed.deserialize(node), node.position))
            .transpose()
    }
}

struct Table<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'a> de::MapAccess<'a> for Table<'a> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(node);
        let name: StrDeserializer<'_, Fault> = key.name.as_str().into_deserializer();
        placed(seed.deserialize(name), key.position).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let node = self
            .value
            .take()
            .ok_or_else(|| Fault::without_place("a value was read before its key".to_owned()))?;
        placed(seed.deserialize(node), node.position)
    }
}

/// Line, column and value, in that order.
struct WithPosition<'a> {
    node: &'a Node,
    step: usize,
}

impl<'a> de::SeqAccess<'a> for WithPosition<'a> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        self.step += 1;
        let Position { line, column } = self.node.position;
        match self.step {
            1 => seed.deserialize(line.into_deserializer()).map(Some),
            2 => seed.deserialize(column.into_deserializer()).map(Some),
            3 => placed(seed.deserialize(self.node), self.node.position).map(Some),
            _ => Ok(None),
        }
    }
}
