//! A value of a config, and where it is.

use crate::document::{Kind, Node, Position, Scalar, Value};

use super::schema;

/// A value and the path to it.
#[derive(Debug, Clone)]
pub(in crate::flatcar) struct At<'a> {
    pub(in crate::flatcar) node: &'a Node,
    /// As messages show it: `$.storage.files.0.path`.
    pub(in crate::flatcar) path: String,
    /// Whether keys are shown as Butane calls them.
    is_butane: bool,
}

impl<'a> At<'a> {
    pub(in crate::flatcar) fn root(node: &'a Node, is_butane: bool) -> Self {
        Self {
            node,
            path: "$".to_owned(),
            is_butane,
        }
    }

    pub(in crate::flatcar) fn position(&self) -> Position {
        self.node.position
    }

    fn named(&self, name: &str, node: &'a Node) -> Self {
        let name = if self.is_butane {
            schema::butane_name(name)
        } else {
            name.to_owned()
        };
        Self {
            node,
            path: format!("{}.{name}", self.path),
            is_butane: self.is_butane,
        }
    }

    /// The value of a key that has one, and not null.
    pub(in crate::flatcar) fn field(&self, name: &str) -> Option<Self> {
        let node = self.node.get(name)?;
        let is_null = matches!(
            node.value,
            Value::Scalar(Scalar {
                kind: Kind::Null,
                ..
            })
        );
        (!is_null).then(|| self.named(name, node))
    }

    /// The value below several keys.
    pub(in crate::flatcar) fn below(&self, names: &[&str]) -> Option<Self> {
        let mut at = self.clone();
        for name in names {
            at = at.field(name)?;
        }
        Some(at)
    }

    /// The values of a list, of which each is only looked at when it is asked for.
    pub(in crate::flatcar) fn items(&self, name: &str) -> Vec<Self> {
        let Some(list) = self.field(name) else {
            return Vec::new();
        };
        let Value::List(nodes) = &list.node.value else {
            return Vec::new();
        };
        let item = |(number, node)| Self {
            node,
            path: format!("{}.{number}", list.path),
            is_butane: self.is_butane,
        };
        nodes.iter().enumerate().map(item).collect()
    }

    /// The items of `$.OUTER.INNER`.
    pub(in crate::flatcar) fn items_below(&self, outer: &str, inner: &str) -> Vec<Self> {
        self.field(outer)
            .map(|outer| outer.items(inner))
            .unwrap_or_default()
    }

    /// The text of this value.
    pub(in crate::flatcar) fn as_text(&self) -> Option<&'a str> {
        self.node.as_text()
    }

    /// The text of a key.
    pub(in crate::flatcar) fn text(&self, name: &str) -> Option<&'a str> {
        self.node.get(name)?.as_text()
    }

    /// The text of a key, where it is not empty.
    pub(in crate::flatcar) fn filled(&self, name: &str) -> Option<&'a str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The number of a key.
    pub(in crate::flatcar) fn number(&self, name: &str) -> Option<i64> {
        match &self.node.get(name)?.value {
            Value::Scalar(scalar) if scalar.kind == Kind::Integer => scalar.text.parse().ok(),
            _ => None,
        }
    }

    /// Whether a key is true.
    pub(in crate::flatcar) fn is_true(&self, name: &str) -> bool {
        self.flag(name) == Some(true)
    }

    /// Whether a key is true or false.
    pub(in crate::flatcar) fn flag(&self, name: &str) -> Option<bool> {
        match &self.node.get(name)?.value {
            Value::Scalar(Scalar {
                kind: Kind::Bool(value),
                ..
            }) => Some(*value),
            _ => None,
        }
    }

    /// A key for a message about it, or what it should be in where it is missing.
    pub(in crate::flatcar) fn place_of(&self, name: &str) -> Self {
        match self.node.get(name) {
            Some(node) => self.named(name, node),
            None => self.named(name, self.node),
        }
    }
}
