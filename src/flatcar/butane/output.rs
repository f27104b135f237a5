//! Tables of the translation.

use crate::document::{Key, Kind, Node, Position, Value};

/// A table while it is made: its keys in the order of the specification.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) position: Position,
    pub(super) entries: Vec<(Key, Node)>,
}

impl Output {
    pub(super) fn new(position: Position) -> Self {
        Self {
            position,
            entries: Vec::new(),
        }
    }

    /// Takes a table apart; empty for another value.
    pub(super) fn of(node: Node) -> Self {
        let position = node.position;
        let entries = match node.value {
            Value::Table(entries) => entries,
            _ => Vec::new(),
        };
        Self { position, entries }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let mut entries = self.entries.iter();
        entries
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// The text of a key, where it is not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// Sets a key; one that is new goes where `order` has it.
    pub(super) fn set(&mut self, name: &str, node: Node, order: &[&str]) {
        if let Some((_, known)) = self.entries.iter_mut().find(|(key, _)| key.name == name) {
            *known = node;
            return;
        }
        let rank = |name: &str| order.iter().position(|known| *known == name);
        let at = self
            .entries
            .iter()
            .position(|(key, _)| rank(&key.name) > rank(name))
            .unwrap_or(self.entries.len());
        let key = Key {
            position: node.position,
            name: name.to_owned(),
        };
        self.entries.insert(at, (key, node));
    }

    /// Takes a list out, to be put back changed.
    pub(super) fn take_list(&mut self, name: &str) -> Vec<Node> {
        let Some((_, node)) = self.entries.iter_mut().find(|(key, _)| key.name == name) else {
            return Vec::new();
        };
        match &mut node.value {
            Value::List(items) => std::mem::take(items),
            _ => Vec::new(),
        }
    }

    /// Takes a table out, to be put back changed.
    pub(super) fn take_table(&mut self, name: &str, position: Position) -> Self {
        let found = self.entries.iter().position(|(key, _)| key.name == name);
        match found {
            Some(at) => Self::of(self.entries.remove(at).1),
            None => Self::new(position),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn into_node(self) -> Node {
        Node {
            position: self.position,
            value: Value::Table(self.entries),
        }
    }
}

/// A list.
pub(super) fn list(position: Position, items: Vec<Node>) -> Node {
    Node {
        position,
        value: Value::List(items),
    }
}

/// A whole number.
pub(super) fn number(position: Position, number: i64) -> Node {
    Node::scalar(position, number.to_string(), Kind::Integer)
}

/// True or false.
pub(super) fn flag(position: Position, value: bool) -> Node {
    Node::scalar(position, value.to_string(), Kind::Bool(value))
}
