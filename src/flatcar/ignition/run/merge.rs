//! Two configs become one, by Ignition's rules: a child's values win, and lists are merged by what tells their items apart.

use std::collections::{HashMap, HashSet};

use crate::document::{Key, Kind, Node, Position, Scalar, Value};

/// How the items of a list are told apart.
#[derive(Debug, Clone, Copy)]
enum By {
    /// Not at all: the child's follow the parent's.
    Appended,
    /// Texts, by themselves.
    Itself,
    /// Tables, by this key of theirs.
    Key(&'static str),
    /// Partitions: by number, or by label where that is 0.
    Partition,
}

/// The lists of a config: the key of the table that they are in, their own, and what tells their items apart.
const LISTS: [(&str, &str, By); 26] = [
    ("config", "merge", By::Key("source")),
    ("tls", "certificateAuthorities", By::Key("source")),
    ("proxy", "noProxy", By::Itself),
    ("", "httpHeaders", By::Key("name")),
    ("kernelArguments", "shouldExist", By::Itself),
    ("kernelArguments", "shouldNotExist", By::Itself),
    ("passwd", "users", By::Key("name")),
    ("passwd", "groups", By::Key("name")),
    ("users", "groups", By::Itself),
    ("users", "sshAuthorizedKeys", By::Itself),
    ("storage", "disks", By::Key("device")),
    ("disks", "partitions", By::Partition),
    ("storage", "raid", By::Key("name")),
    ("raid", "devices", By::Itself),
    ("raid", "options", By::Appended),
    ("storage", "filesystems", By::Key("device")),
    ("filesystems", "options", By::Appended),
    ("filesystems", "mountOptions", By::Appended),
    ("storage", "luks", By::Key("name")),
    ("luks", "options", By::Appended),
    ("luks", "openOptions", By::Appended),
    ("clevis", "tang", By::Key("url")),
    ("storage", "files", By::Key("path")),
    ("files", "append", By::Appended),
    ("storage", "directories", By::Key("path")),
    ("storage", "links", By::Key("path")),
];
const UNITS: [(&str, &str, By); 2] = [
    ("systemd", "units", By::Key("name")),
    ("units", "dropins", By::Key("name")),
];
/// Lists of one table whose items take each other's place.
const SHARED: [&[&str]; 2] = [
    &["directories", "files", "links"],
    &["shouldExist", "shouldNotExist"],
];

fn by(table: &str, list: &str) -> By {
    let rows = LISTS.iter().chain(&UNITS);
    let fits = |(above, name, _): &&(&str, &str, By)| {
        *name == list && (above.is_empty() || *above == table)
    };
    rows.clone()
        .find(fits)
        .map_or(By::Appended, |(_, _, by)| *by)
}

/// What tells an item of a list from others.
fn key(item: &Node, by: By) -> Option<String> {
    match by {
        By::Appended => None,
        By::Itself => item.as_text().map(str::to_owned),
        By::Key(name) => Some(text(item, name)),
        By::Partition => Some(match item.get("number").map(|node| &node.value) {
            Some(Value::Scalar(scalar)) if scalar.text != "0" && scalar.kind == Kind::Integer => {
                format!("number:{}", scalar.text)
            }
            _ => format!("label:{}", text(item, "label")),
        }),
    }
}

fn text(item: &Node, name: &str) -> String {
    let node = item.get(name);
    node.and_then(Node::as_text).unwrap_or_default().to_owned()
}

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
}

/// `parent` with `child` merged into it.
pub(super) fn merge(parent: &Node, child: &Node) -> Node {
    table("", parent, child)
}

/// Two values of the key `name`.
fn value(name: &str, parent: &Node, child: &Node) -> Node {
    match (&parent.value, &child.value) {
        _ if is_null(child) => parent.clone(),
        (Value::Table(_), Value::Table(_)) => table(name, parent, child),
        _ => child.clone(),
    }
}

fn table(name: &str, parent: &Node, child: &Node) -> Node {
    let (Value::Table(parents), Value::Table(children)) = (&parent.value, &child.value) else {
        return child.clone();
    };
    let mut entries: Vec<(Key, Node)> = Vec::new();
    for (key, node) in parents {
        let other = child.get(&key.name).filter(|node| !is_null(node));
        let merged = match (&node.value, other.map(|other| &other.value)) {
            (Value::List(_), _) => list(name, &key.name, Some(node), other, child),
            (_, Some(Value::List(_))) => list(name, &key.name, None, other, child),
            _ => match other {
                Some(other) => value(&key.name, node, other),
                None => node.clone(),
            },
        };
        entries.push((key.clone(), merged));
    }
    for (key, node) in children {
        if parent.get(&key.name).is_none() {
            entries.push((key.clone(), node.clone()));
        }
    }
    Node {
        position: child.position,
        value: Value::Table(entries),
    }
}

fn items(node: Option<&Node>) -> &[Node] {
    match node.map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// Two lists, of which `child` is the table that the second is in.
fn list(above: &str, name: &str, parent: Option<&Node>, own: Option<&Node>, child: &Node) -> Node {
    let by = by(above, name);
    let parents = items(parent);
    let owns = items(own);
    let mut known: HashMap<String, &Node> = HashMap::new();
    for item in owns {
        if let Some(key) = key(item, by) {
            known.insert(key, item);
        }
    }
    let elsewhere = keys_elsewhere(name, child, by);
    let mut merged = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    for item in parents {
        let Some(key) = key(item, by) else {
            merged.push(item.clone());
            continue;
        };
        match known.get(&key) {
            // A header without a value takes the parent's away.
            Some(other) if name == "httpHeaders" && other.get("value").is_none() => {}
            Some(other) => merged.push(value(name, item, other)),
            None if elsewhere.contains(&key) => {}
            None => merged.push(item.clone()),
        }
        seen.insert(key);
    }
    for item in owns {
        if key(item, by).is_none_or(|key| !seen.contains(&key)) {
            merged.push(item.clone());
        }
    }
    let position = own.or(parent).map_or(Position::START, |node| node.position);
    Node {
        position,
        value: Value::List(merged),
    }
}

/// What the other lists of the child have that take the place of items of the list `name`.
fn keys_elsewhere(name: &str, child: &Node, by: By) -> HashSet<String> {
    let group = SHARED.iter().find(|group| group.contains(&name));
    let others = group.into_iter().flat_map(|group| group.iter());
    others
        .filter(|other| **other != name)
        .flat_map(|other| items(child.get(other)))
        .filter_map(|item| key(item, by))
        .collect()
}

/// A config that asks for nothing.
pub(super) fn nothing() -> Node {
    Node {
        position: Position::START,
        value: Value::Table(Vec::new()),
    }
}

/// Moves all positions of a document `lines` down.
pub(super) fn shift(node: &mut Node, lines: usize) {
    node.position.line += lines;
    match &mut node.value {
        Value::Scalar(Scalar { .. }) => {}
        Value::List(items) => {
            for item in items {
                shift(item, lines);
            }
        }
        Value::Table(entries) => {
            for (key, item) in entries {
                key.position.line += lines;
                shift(item, lines);
            }
        }
    }
}
