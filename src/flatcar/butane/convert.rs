//! From the keys of Butane to those of Ignition.

use crate::document::{Key, Kind, Node, Position, Scalar, Value};
use crate::finding::{Finding, code};
use crate::flatcar::ignition::findings::{Findings, because};
use crate::flatcar::ignition::schema::{CONFIG, Field, Known, Means, Shape, Table};
use crate::flatcar::ignition::shape::{near, unknown, wrong_type};

use super::dialect::Dialect;
use super::integer::integer;
use super::local::Files;
use super::mounts::{Mount, with_mounts};
use super::output::{Output, flag, list, number};
use super::resource;
use super::trees::{Nodes, Planter, Tree};

/// The order of the keys of a config, and of those tables that are made after all else.
const CONFIG_ORDER: [&str; 5] = [
    "ignition",
    "kernelArguments",
    "passwd",
    "storage",
    "systemd",
];
const IGNITION_ORDER: [&str; 5] = ["config", "proxy", "security", "timeouts", "version"];
const STORAGE_ORDER: [&str; 7] = [
    "directories",
    "disks",
    "files",
    "filesystems",
    "links",
    "luks",
    "raid",
];
/// Words that count as true and false besides those of YAML 1.2.
const YES: [&str; 8] = ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"];
const NO: [&str; 8] = ["n", "N", "no", "No", "NO", "off", "Off", "OFF"];

/// One translation.
pub(super) struct Translator<'a, 'f> {
    dialect: Dialect,
    files: Files<'a>,
    findings: &'f mut Findings,
    mounts: Vec<Mount>,
    trees: Vec<Tree>,
}

/// What only Butane has, by its key.
type Extras = Vec<(&'static str, Node)>;

fn extra<'a>(extras: &'a Extras, name: &str) -> Option<&'a Node> {
    extras
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, node)| node)
}

impl<'a, 'f> Translator<'a, 'f> {
    pub(super) fn new(dialect: Dialect, files: Files<'a>, findings: &'f mut Findings) -> Self {
        Self {
            dialect,
            files,
            findings,
            mounts: Vec::new(),
            trees: Vec::new(),
        }
    }

    /// The Ignition config.
    pub(super) fn config(mut self, root: &Node) -> Node {
        let mut config = self.table(root, &CONFIG, "$");
        let start = Position::START;
        let mut ignition = config.take_table("ignition", start);
        let version = root.get("version").map_or(start, |node| node.position);
        let version = Node::text(version, self.dialect.ignition);
        ignition.set("version", version, &IGNITION_ORDER);
        config.set("ignition", ignition.into_node(), &CONFIG_ORDER);
        self.finish_storage(&mut config);
        config.into_node()
    }

    /// Adds units for mounts, and the files and links of trees.
    fn finish_storage(&mut self, config: &mut Output) {
        let start = Position::START;
        let mut storage = config.take_table("storage", start);
        if !self.mounts.is_empty() {
            let mut systemd = config.take_table("systemd", start);
            let mounts = std::mem::take(&mut self.mounts);
            let units = with_mounts(mounts, systemd.take_list("units"), &storage);
            systemd.set("units", list(systemd.position, units), &["units"]);
            config.set("systemd", systemd.into_node(), &CONFIG_ORDER);
        }
        if !self.trees.is_empty() {
            let mut planter = Planter {
                files: &self.files,
                findings: self.findings,
                nodes: Nodes::of(&mut storage),
                entries: 0,
            };
            for tree in &self.trees {
                planter.plant(tree);
            }
            let (files, links) = planter.nodes.finish();
            for (name, all) in [("files", files), ("links", links)] {
                if !all.is_empty() {
                    storage.set(name, list(start, all), &STORAGE_ORDER);
                }
            }
        }
        if !storage.is_empty() {
            config.set("storage", storage.into_node(), &CONFIG_ORDER);
        }
    }

    /// Adds a finding about the value at `path`.
    fn found(&mut self, finding: Finding, path: &str, position: Position) {
        self.findings.add(finding, path, position);
    }

    /// A value that is not null.
    fn value(&mut self, node: &Node, shape: Shape, path: &str) -> Option<Node> {
        let position = node.position;
        let value = match (shape, &node.value) {
            (Shape::Table(table), Value::Table(_)) => {
                Some(self.table(node, table, path).into_node())
            }
            (Shape::List(item), Value::List(nodes)) => {
                let mut items = Vec::with_capacity(nodes.len());
                for (at, node) in nodes.iter().enumerate() {
                    items.extend(self.value(node, *item, &format!("{path}.{at}")));
                }
                Some(list(position, items))
            }
            (Shape::Text, Value::Scalar(scalar)) if scalar.kind != Kind::Null => {
                Some(Node::text(position, scalar.text.as_str()))
            }
            (Shape::Integer, Value::Scalar(scalar)) => {
                integer(scalar).map(|value| number(position, value))
            }
            (Shape::Flag, Value::Scalar(scalar)) => {
                truth(scalar).map(|value| flag(position, value))
            }
            _ => None,
        };
        if value.is_none() {
            self.found(wrong_type(node, shape), path, position);
        }
        value
    }

    fn table(&mut self, node: &Node, table: &'static Table, path: &str) -> Output {
        let mut output = Output::new(node.position);
        let mut extras = Extras::new();
        let Value::Table(entries) = &node.value else {
            self.found(wrong_type(node, Shape::Table(table)), path, node.position);
            return output;
        };
        let mut found: Vec<Option<(Key, Node)>> = table.fields.iter().map(|_| None).collect();
        for (key, node) in entries {
            let path = format!("{path}.{}", key.name.escape_debug());
            let Some(field) = self.field(table, key, &path) else {
                continue;
            };
            if is_null(node) {
                continue;
            }
            let Some(value) = self.value(node, field.shape, &path) else {
                continue;
            };
            if field.known == Known::Butane {
                extras.push((field.name, value));
                continue;
            }
            let is_left_out = is_empty(&value) || is_no_number(table, field, &value);
            let at = table
                .fields
                .iter()
                .position(|known| known.name == field.name);
            if let Some(at) = at.filter(|_| !is_left_out) {
                let key = Key {
                    position: key.position,
                    name: field.name.to_owned(),
                };
                found[at] = Some((key, value));
            }
        }
        output.entries = found.into_iter().flatten().collect();
        self.meaning(table.means, &mut output, &extras, path);
        output
    }

    /// The key that is meant, where this version has it.
    fn field(&mut self, table: &'static Table, key: &Key, path: &str) -> Option<&'static Field> {
        let field = table.butane(&key.name);
        let Some(field) = field else {
            let names = table.fields.iter().map(|field| field.butane);
            let more = match self.findings.is_full() {
                true => String::new(),
                false => near(&key.name, names),
            };
            self.found(unknown(&key.name, more), path, key.position);
            return None;
        };
        if field.since > self.dialect.spec {
            let more = match Dialect::first_with(field.since) {
                Some(version) => format!(": it came with version {version}"),
                None => String::new(),
            };
            self.found(unknown(&key.name, more), path, key.position);
            return None;
        }
        let is_allowed = field.name == "clevis" && self.dialect.clevis;
        if field.known == Known::Ignition && !is_allowed {
            let finding = Finding::new(code::BUTANE_UNSUPPORTED);
            self.found(finding.with("key", field.butane), path, key.position);
            return None;
        }
        Some(field)
    }

    /// What the keys that only Butane has make of a table.
    fn meaning(&mut self, means: Means, output: &mut Output, extras: &Extras, path: &str) {
        match means {
            Means::Resource => self.resource(output, extras, path),
            Means::Unit | Means::Dropin => self.unit(output, extras, path),
            Means::User => self.user(output, extras, path),
            Means::Filesystem => {
                if let Some(from) = extra(extras, "with_mount_unit").filter(|node| is_true(node)) {
                    match Mount::of(output, from) {
                        Ok(mount) => self.mounts.push(mount),
                        Err(finding) => {
                            let path = format!("{path}.with_mount_unit");
                            self.found(finding, &path, from.position);
                        }
                    }
                }
            }
            Means::Tree => {
                let text = |name: &str| extra(extras, name)?.as_text().map(str::to_owned);
                self.trees.push(Tree {
                    position: output.position,
                    at: path.to_owned(),
                    local: text("local"),
                    path: text("path"),
                });
            }
            Means::Keys | Means::File | Means::Directory | Means::Partition => {}
        }
    }

    fn resource(&mut self, output: &mut Output, extras: &Extras, path: &str) {
        let inline = extra(extras, "inline");
        let local = extra(extras, "local");
        let source = output.get("source");
        let given: Vec<&Node> = [source, inline, local].into_iter().flatten().collect();
        if let [_, second, ..] = given.as_slice() {
            let finding = Finding::new(code::BUTANE_SOURCES);
            let finding = finding.with("keys", "source, inline and local");
            return self.found(finding, path, second.position);
        }
        if let Some(from) = inline {
            let text = from.as_text().unwrap_or_default();
            resource::embed(output, text.as_bytes(), from);
        }
        if let Some(from) = local {
            let name = from.as_text().unwrap_or_default();
            match self.files.read(name) {
                Ok(content) => resource::embed(output, &content, from),
                Err(why) => self.local_fault(why, &format!("{path}.local"), from),
            }
        }
    }

    fn local_fault(&mut self, why: String, path: &str, from: &Node) {
        self.found(because(code::BUTANE_LOCAL, why), path, from.position);
    }

    fn unit(&mut self, output: &mut Output, extras: &Extras, path: &str) {
        let Some(from) = extra(extras, "contents_local") else {
            return;
        };
        let Some(name) = from.as_text().filter(|name| !name.is_empty()) else {
            return;
        };
        if output.get("contents").is_some() {
            let finding = Finding::new(code::BUTANE_SOURCES);
            let finding = finding.with("keys", "contents and contents_local");
            return self.found(finding, path, from.position);
        }
        match self.files.read_text(name) {
            Ok(text) => {
                let order = ["contents", "dropins", "enabled", "mask", "name"];
                output.set("contents", Node::text(from.position, text), &order);
            }
            Err(why) => self.local_fault(why, &format!("{path}.contents_local"), from),
        }
    }

    /// Keys that lie in files of their own, one in a line.
    fn user(&mut self, output: &mut Output, extras: &Extras, path: &str) {
        let Some(Value::List(names)) = extra(extras, "ssh_authorized_keys_local").map(|n| &n.value)
        else {
            return;
        };
        let mut keys = output.take_list("sshAuthorizedKeys");
        for (at, from) in names.iter().enumerate() {
            match self.files.read_text(from.as_text().unwrap_or_default()) {
                Ok(text) => keys.extend(
                    text.lines()
                        .map(|line| line.trim_end_matches('\r'))
                        .filter(|line| !line.trim().is_empty())
                        .map(|line| Node::text(from.position, line)),
                ),
                Err(why) => {
                    let path = format!("{path}.ssh_authorized_keys_local.{at}");
                    self.local_fault(why, &path, from);
                }
            }
        }
        if !keys.is_empty() {
            let names: Vec<&str> = USER_ORDER.to_vec();
            output.set("sshAuthorizedKeys", list(output.position, keys), &names);
        }
    }
}

/// The keys of a user up to those that may come after its SSH keys.
const USER_ORDER: [&str; 14] = [
    "gecos",
    "groups",
    "homeDir",
    "name",
    "noCreateHome",
    "noLogInit",
    "noUserGroup",
    "passwordHash",
    "primaryGroup",
    "sshAuthorizedKeys",
    "shell",
    "shouldExist",
    "system",
    "uid",
];

fn is_null(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind == Kind::Null)
}

fn is_true(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar(scalar) if scalar.kind == Kind::Bool(true))
}

/// Whether a list or table has nothing in it, so that it is not written.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::List(items) => items.is_empty(),
        Value::Table(entries) => entries.is_empty(),
        Value::Scalar(_) => false,
    }
}

/// Whether it is the number 0 of a partition, which is that of one without a number.
fn is_no_number(table: &Table, field: &Field, node: &Node) -> bool {
    let is_zero = matches!(&node.value, Value::Scalar(scalar) if scalar.text == "0");
    table.means == Means::Partition && field.name == "number" && is_zero
}

/// True or false, in the words that Butane takes for it.
fn truth(scalar: &Scalar) -> Option<bool> {
    match scalar.kind {
        Kind::Bool(value) => Some(value),
        Kind::Text if YES.contains(&scalar.text.as_str()) => Some(true),
        Kind::Text if NO.contains(&scalar.text.as_str()) => Some(false),
        _ => None,
    }
}
