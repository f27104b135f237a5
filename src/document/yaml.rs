//! Manifests in YAML 1.2: events of a parser become a tree, without recursion and within a budget.
//!
//! Scalars mean what YAML's core schema says. Aliases are expanded; merge keys, tags (but `!!str`) and a second document
//! are refused.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::node::{DEPTH_MAX, Fault, Key, Kind, Node, Position, Scalar, Value, WEIGHT_MAX};

/// What a node weighs besides its text.
const NODE_WEIGHT: usize = 64;

/// A list or table whose end has not come yet.
struct Open {
    position: Position,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    /// The names so far, and the key that waits for its value.
    Table(Vec<(Key, Node)>, HashSet<String>, Option<Key>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    root: Option<Node>,
}

/// Reads the one document of `text`.
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut options = Options::default();
    (options.flow_nesting_limit, options.block_nesting_limit) = (DEPTH_MAX, DEPTH_MAX);
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| scan_error(&error))?;
        builder.take(event, &span)?;
    }
    builder
        .root
        .ok_or_else(|| Fault::new(Position::START, "the manifest is empty"))
}

fn scan_error(error: &ScanError) -> Fault {
    let marker = error.marker();
    Fault::new(
        Position {
            line: marker.line().max(1),
            column: marker.col() + 1,
        },
        error.info(),
    )
}

fn start(span: &Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        let position = start(span);
        refuse_tag(&event, span)?;
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(Fault::new(
                position,
                "a second document begins here, a manifest is one",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                self.scalar(position, text.into_owned(), is_plain, anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.begin(position, anchor, Items::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => self.begin(
                position,
                anchor,
                Items::Table(Vec::new(), HashSet::new(), None),
            ),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(position, anchor),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        position: Position,
        text: String,
        is_plain: bool,
        anchor: usize,
    ) -> Result<(), Fault> {
        self.weigh(position, NODE_WEIGHT + text.len())?;
        if let Some(Open {
            items: Items::Table(_, names, key @ None),
            ..
        }) = self.open.last_mut()
        {
            if is_plain && text == "<<" {
                let error = Fault::new(position, "merge keys (<<) are not part of YAML 1.2");
                return Err(error
                    .with_hint("write the values out, or use an alias for a whole list or table"));
            }
            if !names.insert(text.clone()) {
                return Err(Fault::new(
                    position,
                    format!("the key '{}' is given twice", text.escape_debug()),
                ));
            }
            *key = Some(Key {
                position,
                name: text,
            });
            return Ok(());
        }
        let kind = if is_plain { kind(&text) } else { Kind::Text };
        self.add(
            Node {
                position,
                value: Value::Scalar(Scalar { text, kind }),
            },
            anchor,
        )
    }

    fn begin(&mut self, position: Position, anchor: usize, items: Items) -> Result<(), Fault> {
        self.weigh(position, NODE_WEIGHT)?;
        self.value_expected(position)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(position));
        }
        self.open.push(Open {
            position,
            anchor,
            items,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open {
            position,
            anchor,
            items,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let value = match items {
            Items::List(items) => Value::List(items),
            Items::Table(entries, ..) => Value::Table(entries),
        };
        self.add(Node { position, value }, anchor)
    }

    fn alias(&mut self, position: Position, anchor: usize) -> Result<(), Fault> {
        self.value_expected(position)?;
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(Fault::new(
                position,
                "this alias stands inside what it names",
            ));
        };
        let (weight, height) = measure(node);
        let node = node.clone();
        self.weigh(position, weight)?;
        if self.open.len() + height > DEPTH_MAX {
            return Err(too_deep(position));
        }
        self.add(node, 0)
    }

    /// Refuses a list, a table or an alias where a table's key should be.
    fn value_expected(&self, position: Position) -> Result<(), Fault> {
        match self.open.last() {
            Some(Open {
                items: Items::Table(_, _, None),
                ..
            }) => Err(Fault::new(position, "a key must be text")),
            _ => Ok(()),
        }
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.weigh(node.position, measure(&node).0)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open {
                items: Items::List(items),
                ..
            }) => items.push(node),
            Some(Open {
                items: Items::Table(entries, _, key),
                ..
            }) => {
                let key = key
                    .take()
                    .ok_or_else(|| Fault::new(node.position, "a key must be text"))?;
                entries.push((key, node));
            }
        }
        Ok(())
    }

    fn weigh(&mut self, position: Position, weight: usize) -> Result<(), Fault> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight > WEIGHT_MAX {
            let error = Fault::new(
                position,
                format!("the manifest is too large: its values take over {WEIGHT_MAX} bytes"),
            );
            return Err(
                error.with_hint("put long texts into files of their own, and use fewer aliases")
            );
        }
        Ok(())
    }
}

/// Tags are refused, but for `!!str` at a scalar, which makes it text.
fn refuse_tag(event: &Event<'_>, span: &Span) -> Result<(), Fault> {
    let tag = match event {
        Event::Scalar(_, _, _, Some(tag)) if tag.is_yaml_core_schema() && tag.suffix() == "str" => {
            None
        }
        Event::Scalar(.., tag) | Event::SequenceStart(.., tag) | Event::MappingStart(.., tag) => {
            tag.as_ref()
        }
        _ => None,
    };
    if tag.is_none() {
        return Ok(());
    }
    let marker = span.tag_start().unwrap_or(span.start);
    let position = Position {
        line: marker.line().max(1),
        column: marker.col() + 1,
    };
    Err(Fault::new(position, "tags have no meaning in a manifest")
        .with_hint("leave out the word that begins with '!'"))
}

fn too_deep(position: Position) -> Fault {
    Fault::new(
        position,
        format!("lists and tables are nested more than {DEPTH_MAX} deep"),
    )
}

/// The weight of a node with all it holds, and how deep its lists and tables are nested.
fn measure(node: &Node) -> (usize, usize) {
    let join = |(weight, height): (usize, usize), node: &Node| {
        let (more, below) = measure(node);
        (weight.saturating_add(more), height.max(below + 1))
    };
    match &node.value {
        Value::Scalar(scalar) => (NODE_WEIGHT + scalar.text.len(), 0),
        Value::List(items) => items.iter().fold((NODE_WEIGHT, 1), join),
        Value::Table(entries) => entries.iter().fold((NODE_WEIGHT, 1), |sum, (key, node)| {
            let (weight, height) = join(sum, node);
            (weight.saturating_add(NODE_WEIGHT + key.name.len()), height)
        }),
    }
}

/// What a scalar without quotes means (YAML 1.2.2, section 10.3.2, core schema).
fn kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" | "True" | "TRUE" => return Kind::Bool(true),
        "false" | "False" | "FALSE" => return Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Kind::Float,
        _ => {}
    }
    let number = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all =
        |digits: &str, radix| !digits.is_empty() && digits.chars().all(|c: char| c.is_digit(radix));
    let prefixed = |prefix, radix| {
        text.strip_prefix(prefix)
            .is_some_and(|digits| all(digits, radix))
    };
    if all(number, 10) || prefixed("0o", 8) || prefixed("0x", 16) {
        return Kind::Integer;
    }
    let begins = number
        .strip_prefix('.')
        .unwrap_or(number)
        .starts_with(|c: char| c.is_ascii_digit());
    match (begins && number.parse::<f64>().is_ok()) || matches!(number, ".inf" | ".Inf" | ".INF") {
        true => Kind::Float,
        false => Kind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, expected) in [
            ("~", Kind::Null),
            ("True", Kind::Bool(true)),
            ("no", Kind::Text),
            ("0644", Kind::Integer),
            ("0o644", Kind::Integer),
            ("-5", Kind::Integer),
            ("1.5e3", Kind::Float),
            (".5", Kind::Float),
            ("-.inf", Kind::Float),
            ("inf", Kind::Text),
            ("1:20", Kind::Text),
            ("6G", Kind::Text),
            ("-", Kind::Text),
            ("0x", Kind::Text),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn aliases_are_expanded_within_a_budget() {
        let node = parse("a: &x [1, 2]\nb: *x\n").unwrap();
        let Value::Table(entries) = node.value else {
            panic!()
        };
        assert_eq!(entries[0].1, entries[1].1);
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..40 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let error = parse(&bomb).unwrap_err();
        assert!(error.message.contains("too large"), "{error:?}");
        let long = "y".repeat(100_000);
        let error = parse(&format!(
            "a: &a {long}\nb: [{}]\n",
            vec!["*a"; 5000].join(",")
        ))
        .unwrap_err();
        assert!(
            error.message.contains("too large")
                && error.position.is_some_and(|position| position.line == 2),
            "{error:?}"
        );
        // Every level nests the one before it.
        let mut deep = "a0: &a0 [x]\n".to_owned();
        (1..200)
            .for_each(|level| deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1)));
        assert!(parse(&deep).unwrap_err().message.contains("deep"));
    }

    #[test]
    fn what_a_manifest_does_not_need_is_refused_at_its_place() {
        for (text, line, column, says) in [
            ("a: 1\na: 2\n", 2, 1, "twice"),
            ("a: 1\n--- \nb: 2\n", 2, 1, "second document"),
            ("a:\n  <<: {b: 1}\n", 2, 3, "merge"),
            ("a: !x 1\n", 1, 4, "tags"),
            ("a: !!map {}\n", 1, 4, "tags"),
            ("? [a]\n: 1\n", 1, 3, "key must be text"),
            ("a: &a [*a]\n", 1, 8, "alias"),
            ("a: *b\n", 1, 4, "anchor"),
            ("a: [1\nb: 2\n", 2, 2, ""),
            ("a: \"x\n", 1, 4, ""),
            ("", 1, 1, "empty"),
            ("# nothing\n", 1, 1, "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(says), "{text:?}: {error:?}");
            assert_eq!(
                error.position,
                Some(Position { line, column }),
                "{text:?}: {error:?}"
            );
        }
        for nest in ["[", "{a: ", "- ", "? "] {
            assert!(parse(&nest.repeat(100_000)).is_err());
        }
    }
}
