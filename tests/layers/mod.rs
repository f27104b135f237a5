//! Imports run downward only: every `crate::…` in `src` must name its own layer or a lower one. Within a room they run one
//! way, too: see [`circles`].

mod circles;

use std::fs;
use std::path::Path;

/// Modules in layers, lowest first. Modules of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["lock"],
    // An error carries findings.
    &["finding"],
    &["error"],
    &["progress"],
    &["document"],
    &["bytes"],
    &["codec", "block"],
    &["image"],
    &["partition"],
    &["fs"],
    &["archive"],
    &["oci"],
    &["machine"],
    &["flatcar"],
    &["bake"],
    &["fetch"],
    &["manifest"],
    &["cli"],
];

/// Names that the crate root re-exports from the lowest layers.
const ROOT_EXPORTS: &[&str] = &[
    "Error",
    "ErrorKind",
    "Reason",
    "Result",
    "ResultExt",
    "from_io",
    "NoProgress",
    "Progress",
    "Cancel",
    "Finding",
    "Severity",
];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a source text imports through `crate::` or `flatbake::`, with `use crate::{a, b::c}` taken apart.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::", "flatbake::"] {
        for (at, _) in text.match_indices(root) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &text[at + root.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let mut depth = 0usize;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                found.push(item);
            } else {
                found.push(rest.to_owned());
            }
        }
    }
    let name = |item: &String| {
        let item = item.trim();
        item[..item
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(item.len())]
            .to_owned()
    };
    found
        .iter()
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

/// What in `text`, a file of `module`, is imported from a higher layer or a module beside it.
fn upward(module: &str, text: &str) -> Vec<String> {
    let own =
        layer_of(module).unwrap_or_else(|| panic!("'{module}' has no layer: add it to LAYERS"));
    let wrong = |name: &String| {
        name != module
            && !ROOT_EXPORTS.contains(&name.as_str())
            && layer_of(name).is_none_or(|layer| layer >= own)
    };
    imports(text).into_iter().filter(wrong).collect()
}

fn check(path: &Path, module: &str, problems: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            check(&entry.unwrap().path(), module, problems);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        for name in upward(module, &fs::read_to_string(path).unwrap()) {
            problems.push(format!("{} imports {name}", path.display()));
        }
    }
}

#[test]
fn imports_run_downward() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    for entry in fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if module != "lib" && module != "main" {
            check(&path, &module, &mut problems);
        }
    }
    assert!(
        problems.is_empty(),
        "upward imports:\n{}",
        problems.join("\n")
    );
}

#[test]
fn an_upward_import_is_seen() {
    assert_eq!(upward("block", "use crate::fs::FsPath;"), ["fs"]);
    assert_eq!(
        upward("block", "use crate::{bytes::{a, b}, error::Result, image};"),
        ["image"]
    );
    assert_eq!(
        upward(
            "fs",
            "fn f() -> crate::Result<()> { flatbake::bake::run() }"
        ),
        ["bake"]
    );
    assert_eq!(upward("codec", "use crate::block::BlockDevice;"), ["block"]);
    assert!(
        upward(
            "fs",
            "use crate::{block::Window, Error}; use crate::fs::walk;"
        )
        .is_empty()
    );
}
