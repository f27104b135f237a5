//! Parts of a document become a tree, without recursion and within a budget.

use std::collections::{HashMap, HashSet};

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

/// What a list or table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inside {
    List,
    Table,
}

/// The tree of a document while it is read, within its bounds.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    weight: usize,
    root: Option<Node>,
}

impl Builder {
    /// Whether the next scalar is the key of a table.
    pub(super) fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                items: Items::Table(_, _, None),
                ..
            })
        )
    }

    /// What the list or table is whose end has not come yet.
    pub(super) fn inside(&self) -> Option<Inside> {
        self.open.last().map(|open| match open.items {
            Items::List(_) => Inside::List,
            Items::Table(..) => Inside::Table,
        })
    }

    /// The whole document, once its end has come.
    pub(super) fn finish(self) -> Option<Node> {
        self.root
    }

    /// Whether the document is whole.
    pub(super) fn is_whole(&self) -> bool {
        self.root.is_some()
    }

    /// Takes in a key, or a value that is no list and no table.
    pub(super) fn scalar(
        &mut self,
        position: Position,
        text: String,
        kind: Kind,
        anchor: usize,
    ) -> Result<(), Fault> {
        self.weigh(position, NODE_WEIGHT + text.len())?;
        if let Some(Open {
            items: Items::Table(_, names, key @ None),
            ..
        }) = self.open.last_mut()
        {
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
        let value = Value::Scalar(Scalar { text, kind });
        self.add(Node { position, value }, anchor)
    }

    /// Begins a list.
    pub(super) fn begin_list(&mut self, position: Position, anchor: usize) -> Result<(), Fault> {
        self.begin(position, anchor, Items::List(Vec::new()))
    }

    /// Begins a table.
    pub(super) fn begin_table(&mut self, position: Position, anchor: usize) -> Result<(), Fault> {
        self.begin(
            position,
            anchor,
            Items::Table(Vec::new(), HashSet::new(), None),
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

    /// Ends the list or table that was begun last.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
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

    /// Takes in a copy of the node that has an anchor.
    pub(super) fn alias(&mut self, position: Position, anchor: usize) -> Result<(), Fault> {
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
        if self.wants_key() {
            return Err(Fault::new(position, "a key must be text"));
        }
        Ok(())
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
                format!("the document is too large: its values take over {WEIGHT_MAX} bytes"),
            );
            return Err(
                error.with_hint("put long texts into files of their own, and use fewer aliases")
            );
        }
        Ok(())
    }
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
