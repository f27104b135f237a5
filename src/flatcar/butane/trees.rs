//! Trees of local files become files and links of the config.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::block::shown;
use crate::document::{Node, Position, Value};
use crate::error::Error;
use crate::finding::code;
use crate::flatcar::ignition::findings::{Findings, because};

use super::local::{Files, ROLE, explain};
use super::output::{Output, number};
use super::resource;

/// Most entries of all trees of a config, and how deep they may lie.
const ENTRIES_MAX: usize = 100_000;
const DEPTH_MAX: usize = 64;
/// The order of the keys of files and of links.
const FILE_ORDER: [&str; 7] = [
    "group",
    "overwrite",
    "path",
    "user",
    "append",
    "contents",
    "mode",
];
const LINK_ORDER: [&str; 6] = ["group", "overwrite", "path", "user", "hard", "target"];

/// A tree that a config asks for.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) position: Position,
    /// Where it stands in the config.
    pub(super) at: String,
    pub(super) local: Option<String>,
    pub(super) path: Option<String>,
}

/// Files, directories and links of the config, by their paths.
pub(super) struct Nodes {
    files: Vec<Output>,
    links: Vec<Output>,
    file_at: HashMap<String, usize>,
    link_at: HashMap<String, usize>,
    directories: HashSet<String>,
}

impl Nodes {
    /// Those of `storage`, which loses files and links until they are put back.
    pub(super) fn of(storage: &mut Output) -> Self {
        let outputs =
            |nodes: Vec<Node>| -> Vec<Output> { nodes.into_iter().map(Output::of).collect() };
        let index = |all: &[Output]| {
            let path = |(at, one): (usize, &Output)| Some((one.text("path")?.to_owned(), at));
            all.iter().enumerate().filter_map(path).collect()
        };
        let files = outputs(storage.take_list("files"));
        let links = outputs(storage.take_list("links"));
        let directories = match storage.get("directories").map(|node| &node.value) {
            Some(Value::List(items)) => items
                .iter()
                .filter_map(|item| item.get("path")?.as_text().map(str::to_owned))
                .collect(),
            _ => HashSet::new(),
        };
        Self {
            file_at: index(&files),
            link_at: index(&links),
            files,
            links,
            directories,
        }
    }

    /// Files and links, as nodes.
    pub(super) fn finish(self) -> (Vec<Node>, Vec<Node>) {
        let nodes = |all: Vec<Output>| all.into_iter().map(Output::into_node).collect();
        (nodes(self.files), nodes(self.links))
    }

    /// The file at `path`, which is new or has no contents yet.
    fn file(&mut self, path: &str, position: Position) -> Option<&mut Output> {
        if let Some(at) = self.file_at.get(path) {
            let file = &mut self.files[*at];
            let source = file.get("contents").and_then(|node| node.get("source"));
            let is_filled = source
                .and_then(Node::as_text)
                .is_some_and(|text| !text.is_empty());
            return (!is_filled).then_some(file);
        }
        if self.link_at.contains_key(path) || self.directories.contains(path) {
            return None;
        }
        let at = self.files.len();
        self.file_at.insert(path.to_owned(), at);
        self.files.push(new_node(path, position, &FILE_ORDER));
        self.files.last_mut()
    }

    /// The link at `path`, which is new or has no target yet.
    fn link(&mut self, path: &str, position: Position) -> Option<&mut Output> {
        if let Some(at) = self.link_at.get(path) {
            let link = &mut self.links[*at];
            return link.filled("target").is_none().then_some(link);
        }
        if self.file_at.contains_key(path) || self.directories.contains(path) {
            return None;
        }
        let at = self.links.len();
        self.link_at.insert(path.to_owned(), at);
        self.links.push(new_node(path, position, &LINK_ORDER));
        self.links.last_mut()
    }
}

fn new_node(path: &str, position: Position, order: &[&str]) -> Output {
    let mut output = Output::new(position);
    output.set("path", Node::text(position, path), order);
    output
}

/// Puts trees into the files and links of a config.
pub(super) struct Planter<'a, 'f> {
    pub(super) files: &'a Files<'a>,
    pub(super) findings: &'f mut Findings,
    pub(super) nodes: Nodes,
    pub(super) entries: usize,
}

impl Planter<'_, '_> {
    /// Puts in one tree.
    pub(super) fn plant(&mut self, tree: &Tree) {
        let result = self.plant_top(tree);
        self.told(result, tree);
    }

    fn plant_top(&mut self, tree: &Tree) -> Result<(), String> {
        let local = tree.local.as_deref().ok_or("local is missing")?;
        let folder = match local.trim_matches('/') {
            "" => self.files.locate(".")?,
            _ => self.files.locate(local)?,
        };
        if !folder.is_dir() {
            return Err(format!("{} is no folder", shown(&folder)));
        }
        let top = tree.path.as_deref().unwrap_or_default();
        self.plant_folder(tree, &folder, top.trim_end_matches('/'), 0)
    }

    fn plant_folder(
        &mut self,
        tree: &Tree,
        folder: &Path,
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{} lies too deep", shown(folder)));
        }
        self.files.inputs.folder(folder);
        for entry in names(folder)? {
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(format!("trees have more than {ENTRIES_MAX} entries"));
            }
            let name = entry.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| format!("the name of {} is not UTF-8", shown(&entry)))?;
            let path = format!("{path}/{name}");
            let metadata = fs::symlink_metadata(&entry).map_err(|error| reading(&entry, error))?;
            let kind = metadata.file_type();
            if kind.is_dir() {
                self.plant_folder(tree, &entry, &path, depth + 1)?;
                continue;
            }
            let result = if kind.is_file() {
                let is_program = metadata.permissions().mode() & 0o111 != 0;
                self.plant_file(tree, &entry, &path, is_program)
            } else if kind.is_symlink() {
                self.plant_link(tree, &entry, &path)
            } else {
                Err(format!("{} is no file, folder or symlink", shown(&entry)))
            };
            self.told(result, tree);
        }
        Ok(())
    }

    /// What is wrong with one entry does not hide what is wrong with others.
    fn told(&mut self, result: Result<(), String>, tree: &Tree) {
        if let Err(why) = result {
            let finding = because(code::BUTANE_TREE, why);
            self.findings.add(finding, &tree.at, tree.position);
        }
    }

    fn plant_file(
        &mut self,
        tree: &Tree,
        entry: &Path,
        path: &str,
        is_program: bool,
    ) -> Result<(), String> {
        let content = self.files.read_file(entry)?;
        let position = tree.position;
        let file = self.nodes.file(path, position);
        let file = file.ok_or_else(|| taken(path, entry))?;
        let mut contents = file.take_table("contents", position);
        resource::embed(&mut contents, &content, &Node::text(position, ""));
        file.set("contents", contents.into_node(), &FILE_ORDER);
        if file.get("mode").is_none() {
            let mode = if is_program { 0o755 } else { 0o644 };
            file.set("mode", number(position, mode), &FILE_ORDER);
        }
        Ok(())
    }

    fn plant_link(&mut self, tree: &Tree, entry: &Path, path: &str) -> Result<(), String> {
        let target = fs::read_link(entry).map_err(|error| reading(entry, error))?;
        let target = target
            .to_str()
            .ok_or_else(|| format!("the target of {} is not UTF-8", shown(entry)))?;
        self.files
            .inputs
            .symlink(ROLE, entry, target.as_bytes())
            .map_err(|error| explain(&error))?;
        let link = self.nodes.link(path, tree.position);
        let link = link.ok_or_else(|| taken(path, entry))?;
        link.set("target", Node::text(tree.position, target), &LINK_ORDER);
        Ok(())
    }
}

/// The paths in a folder, in the order of their names.
fn names(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let listing = fs::read_dir(folder).map_err(|error| reading(folder, error))?;
    let mut paths = Vec::new();
    for entry in listing {
        paths.push(entry.map_err(|error| reading(folder, error))?.path());
        if paths.len() > ENTRIES_MAX {
            break;
        }
    }
    paths.sort();
    Ok(paths)
}

fn reading(path: &Path, error: std::io::Error) -> String {
    explain(&Error::io(format!("reading {}", shown(path)), error))
}

fn taken(path: &str, entry: &Path) -> String {
    format!(
        "{} is given elsewhere in this config, so {} cannot go there",
        path.escape_debug(),
        shown(entry)
    )
}
