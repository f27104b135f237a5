//! Nodes for filesystems whose reader only knows paths.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{FsPath, Node};
use crate::bytes::to_u64;
use crate::error::{Error, Result};

/// Paths by the number of their node; 0 is the root.
#[derive(Debug)]
pub(in crate::fs) struct Interned(Mutex<(Vec<FsPath>, HashMap<FsPath, u64>)>);

impl Interned {
    pub fn new() -> Self {
        Self(Mutex::new((vec![FsPath::root()], HashMap::from([(FsPath::root(), 0)]))))
    }

    /// The node of `path`, always the same.
    pub fn node(&self, path: &FsPath) -> Node {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (paths, numbers) = &mut *known;
        if let Some(number) = numbers.get(path) {
            return Node::new(*number);
        }
        let number = to_u64(paths.len());
        paths.push(path.clone());
        numbers.insert(path.clone(), number);
        Node::new(number)
    }

    /// The path of a node that was given out.
    pub fn path(&self, node: Node) -> Result<FsPath> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = usize::try_from(node.get()).ok().and_then(|number| known.0.get(number));
        path.cloned().ok_or_else(|| Error::invalid("a node of another filesystem"))
    }
}
