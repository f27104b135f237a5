//! Files of a room (a folder right below `src`) do not import each other in circles.
//!
//! ```text
//!   text ── File::parse ──▶ imports, body ── Room::resolve ──▶ edges between files ── circles ──▶ "a.rs → b.rs → a.rs"
//! ```
//!
//! A name leads to the file that defines it: imports and re-exports on the way are followed, so a `mod.rs` that only
//! declares and re-exports stands in nobody's way. Paths within code count as imports do. Not seen are tests, globs
//! (`use x::*` leads to `x` itself) and names that macros make.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// The rooms that are free of circles, and stay so.
const ROOMS: &[&str] = &[
    "bake",
    "codec",
    "document",
    "fetch",
    "finding",
    "machine",
    "manifest",
    "partition",
];

/// The rooms in which files may also use what the `mod.rs` of a folder above them defines: the words that they share.
const ROOMS_WITH_SHARED_WORDS: &[&str] = &["archive", "block", "cli", "flatcar", "fs", "image"];

/// Circles that stay, each with its reason in `ARCHITECTURE.md`.
const NAMED: &[&str] = &[
    "fs::btrfs::tree → fs::btrfs::volume → fs::btrfs::tree",
    "fs::erofs::chunk → fs::erofs::content → fs::erofs::chunk",
    "fs::erofs::cluster → fs::erofs::volume → fs::erofs::content → fs::erofs::compressed → fs::erofs::cluster",
    "fs::erofs::compressed → fs::erofs::content → fs::erofs::compressed",
    "fs::erofs::inode → fs::erofs::volume → fs::erofs::inode",
    "fs::ext4::group → fs::ext4::layout → fs::ext4::group",
    "fs::squashfs::dir → fs::squashfs::volume → fs::squashfs::dir",
    "image::detect → image::format → image::qcow2 → image::qcow2::read → image::open → image::detect",
    "image::format → image::qcow2 → image::format",
];

/// A module by its names below the room; none for the room's own `mod.rs`.
type Module = Vec<String>;

/// Which files a file imports from.
type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// One name that a `use` brings in.
#[derive(Debug, PartialEq)]
struct Import {
    path: Vec<String>,
    name: String,
    /// Whether others may take the name from here.
    exported: bool,
}

#[derive(Debug)]
struct File {
    imports: Vec<Import>,
    /// Everything but imports, declarations of modules, comments and tests.
    body: String,
}

impl File {
    fn parse(text: &str) -> Self {
        let code = without_comments_and_tests(text);
        let mut file = Self {
            imports: Vec::new(),
            body: String::new(),
        };
        let mut lines = code.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let (visibility, item) = split_visibility(line);
            let Some(tree) = item.strip_prefix("use ") else {
                if !is_declaration(item) {
                    file.body.push_str(item);
                    file.body.push('\n');
                }
                continue;
            };
            let mut tree = tree.to_owned();
            while !tree.ends_with(';') {
                tree.push_str(lines.next().expect("a use ends with a semicolon"));
            }
            let exported = !visibility.is_empty();
            for (path, name) in leaves(&[], tree.trim_end_matches(';')) {
                file.imports.push(Import {
                    path,
                    name,
                    exported,
                });
            }
        }
        file
    }

    /// The path that an imported name stands for.
    fn imported(&self, name: &str) -> Option<&[String]> {
        let import = self.imports.iter().find(|import| import.name == name)?;
        // A crate by its bare name leads nowhere in the room.
        (import.path.len() > 1).then_some(&import.path)
    }

    /// Paths of more than one name in the code: `super::stream::pump` of `super::stream::pump(…)`.
    fn inline_paths(&self) -> impl Iterator<Item = Vec<String>> {
        let words = self.body.split(|c: char| !is_word(c) && c != ':');
        words.filter(|word| word.contains("::")).map(segments)
    }

    fn uses_word(&self, name: &str) -> bool {
        self.body
            .split(|c: char| !is_word(c))
            .any(|word| word == name)
    }

    /// All paths that make this file depend on others; a re-export alone does not.
    fn needed_paths(&self) -> Vec<Vec<String>> {
        let needed = self
            .imports
            .iter()
            .filter(|import| !import.exported || self.uses_word(&import.name));
        needed
            .map(|import| import.path.clone())
            .chain(self.inline_paths())
            .collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Tests in the file itself are its last part.
fn without_comments_and_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let opens_module = |next: &&str| next.starts_with("mod ") && next.ends_with('{');
        if line == "#[cfg(test)]" && lines.peek().is_some_and(opens_module) {
            break;
        }
        code.push_str(line.split("//").next().unwrap_or(line));
        code.push('\n');
    }
    code
}

/// `pub(super)` and `use a::b;` of `pub(super) use a::b;`.
fn split_visibility(line: &str) -> (&str, &str) {
    let end = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with(' ') => "pub".len(),
        Some(rest) if rest.starts_with('(') => line.find(')').map_or(0, |at| at + 1),
        _ => 0,
    };
    (&line[..end], line[end..].trim_start())
}

/// Whether an item is `mod name;`.
fn is_declaration(item: &str) -> bool {
    item.starts_with("mod ") && item.ends_with(';')
}

fn segments(path: &str) -> Vec<String> {
    path.split("::")
        .map(str::trim)
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Path and name of all that a tree brings in: two of `a::{self, b as c}`.
fn leaves(prefix: &[String], tree: &str) -> Vec<(Vec<String>, String)> {
    if let Some((head, group)) = tree.split_once('{') {
        let prefix = [prefix, &segments(head)].concat();
        let group = group
            .trim_end()
            .strip_suffix('}')
            .expect("a group ends with a brace");
        return parts(group)
            .iter()
            .flat_map(|part| leaves(&prefix, part))
            .collect();
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (tree, None),
    };
    let mut path = [prefix, &segments(path)].concat();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.or_else(|| path.last().cloned());
    name.map(|name| (path, name)).into_iter().collect()
}

/// The parts of a group between commas that are in no group within it.
fn parts(group: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts
            .last_mut()
            .expect("there is a part from the start")
            .push(c);
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[derive(Debug)]
struct Room {
    name: String,
    /// Whether what a file takes from the `mod.rs` of a folder above it counts.
    is_strict: bool,
    files: BTreeMap<Module, File>,
}

impl Room {
    fn read(name: &str, is_strict: bool) -> Self {
        let mut room = Self {
            name: name.to_owned(),
            is_strict,
            files: BTreeMap::new(),
        };
        room.read_folder(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name),
            &[],
        );
        room
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                self.read_folder(&path, &[module, &[stem]].concat());
            } else if path.extension().is_some_and(|extension| extension == "rs") && stem != "tests"
            {
                let module = if stem == "mod" {
                    module.to_vec()
                } else {
                    [module, &[stem]].concat()
                };
                self.files
                    .insert(module, File::parse(&fs::read_to_string(&path).unwrap()));
            }
        }
    }

    /// The file that defines what `path` names where it is written in `module`; `None` outside of the room.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => {
                let (room, rest) = rest.split_first()?;
                if *room == self.name {
                    self.descend(&[], rest)
                } else {
                    None
                }
            }
            "self" | "super" => self.descend(module, path),
            name if self.is_child(module, name)
                || self.files.get(module)?.imported(name).is_some() =>
            {
                self.descend(module, path)
            }
            _ => None,
        }
    }

    /// Follows `path` from inside of `module`.
    fn descend(&self, module: &[String], path: &[String]) -> Option<Module> {
        let file = self.files.get(module)?;
        let Some((first, rest)) = path.split_first() else {
            return Some(module.to_vec());
        };
        if first == "self" {
            return self.descend(module, rest);
        }
        if first == "super" {
            let (_, parent) = module.split_last()?;
            return self.descend(parent, rest);
        }
        if self.is_child(module, first) {
            return self.descend(&[module, std::slice::from_ref(first)].concat(), rest);
        }
        match file.imported(first) {
            Some(path) => self.resolve(module, &[path, rest].concat()),
            None => Some(module.to_vec()),
        }
    }

    fn is_child(&self, module: &[String], name: &str) -> bool {
        self.files
            .contains_key(&[module, &[name.to_owned()]].concat())
    }

    fn edges(&self) -> Edges {
        let targets = |module: &Module, file: &File| {
            let paths = file.needed_paths();
            let found = paths.iter().filter_map(|path| self.resolve(module, path));
            found.filter(|target| self.counts(module, target)).collect()
        };
        self.files
            .iter()
            .map(|(module, file)| (module.clone(), targets(module, file)))
            .collect()
    }

    fn counts(&self, module: &Module, target: &Module) -> bool {
        target != module && (self.is_strict || !module.starts_with(target))
    }

    /// For each group of files that import each other, a shortest circle through the first of them.
    fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let circles = self.files.keys().filter_map(|start| {
            way_back(&edges, start).filter(|way| way.iter().min() == Some(start))
        });
        circles.map(|way| self.describe(&way)).collect()
    }

    fn describe(&self, way: &[Module]) -> String {
        let name = |module: &Module| {
            [std::slice::from_ref(&self.name), module]
                .concat()
                .join("::")
        };
        way.iter().map(name).collect::<Vec<_>>().join(" → ")
    }
}

/// The shortest way from `start` over others back to it.
fn way_back(edges: &Edges, start: &Module) -> Option<Vec<Module>> {
    let mut ways = VecDeque::from([vec![start.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in &edges[way.last()?] {
            let longer = [way.as_slice(), std::slice::from_ref(next)].concat();
            if next == start {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[test]
fn files_of_a_room_import_each_other_one_way() {
    let strict = ROOMS.iter().map(|room| Room::read(room, true));
    let others = ROOMS_WITH_SHARED_WORDS
        .iter()
        .map(|room| Room::read(room, false));
    let circles: Vec<String> = strict
        .chain(others)
        .flat_map(|room| room.circles())
        .collect();
    assert_eq!(circles, NAMED, "circles of imports");
}

/// The circles in a room called `room`, of modules and their texts.
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let parsed = files
        .iter()
        .map(|(module, text)| (segments(module), File::parse(text)));
    Room {
        name: "room".to_owned(),
        is_strict: true,
        files: parsed.collect(),
    }
    .circles()
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let top = ("", "mod a;\nmod b;\nmod c;\npub use a::A;");
    let a = |text| ("a", text);
    let b = ("b", "use super::c::{self, C};");
    for text in [
        "use super::b::B;",
        "use crate::room::{\n    b::B,\n};",
        "fn f() { super::b::g() }",
        "use super::b as x;",
    ] {
        let c = ("c", "use super::A;");
        assert_eq!(
            planted(&[top, a(text), b, c]),
            ["room::a → room::b → room::c → room::a"],
            "{text}"
        );
        assert!(
            planted(&[top, a(text), b, ("c", "use std::io;")]).is_empty(),
            "{text}"
        );
    }
}

#[test]
fn a_mod_file_is_part_of_a_circle_only_by_what_it_needs_itself() {
    let exports = "mod a;\npub use a::A;\npub struct B;";
    let a = ("a", "use super::B;");
    assert!(planted(&[("", exports), a]).is_empty());
    for more in ["fn f(_: A) {}", "fn f() { a::g() }", "use a::g;"] {
        assert_eq!(
            planted(&[("", &format!("{exports}\n{more}")), a]),
            ["room → room::a → room"],
            "{more}"
        );
    }
}

#[test]
fn names_lead_through_modules_and_imports_to_their_files() {
    let top = ("", "mod a;\nmod inner;\npub use inner::Deep;");
    let inner = (
        "inner",
        "mod deep;\npub(super) use deep::Deep as Deep;\npub use self::deep::text as make;",
    );
    let deep = ("inner::deep", "use crate::room::a;");
    for text in [
        "use super::Deep;",
        "use super::inner;\nfn f() { inner::make() }",
        "use super::inner::{deep::{text}};",
    ] {
        assert_eq!(
            planted(&[top, ("a", text), inner, deep]),
            ["room::a → room::inner::deep → room::a"],
            "{text}"
        );
    }
}

#[test]
fn tests_comments_and_other_crates_make_no_circle() {
    let a = (
        "a",
        "// use super::b::B;\npub(in crate::room) fn f() {}\nuse crate::other::b;\n#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}",
    );
    let b = ("b", "use super::a::A;\nuse serde::{self};");
    assert!(planted(&[("", "pub mod a;\nmod b;\npub use a::a;\nuse a::f;"), a, b]).is_empty());
}
