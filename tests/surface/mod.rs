//! The public surface of the library, as `tests/surface/listing.txt` has it: what changes it is seen in review.
//!
//! Where a change is meant, write the listing anew: `FLATBAKE_RECORD=1 cargo test --test all surface::`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The form of rustdoc's JSON that is read here, that of the toolchain in CI.
const FORMAT: u64 = 57;
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What rustdoc knows of the library.
struct Docs(Value);

impl Docs {
    /// Documents the library as its users get it; `None` where the toolchain writes another form.
    fn make() -> Option<Self> {
        let wrapper = Path::new(ROOT).join("tests/surface/rustdoc");
        let status = Command::new(env!("CARGO"))
            .args(["rustdoc", "--locked", "--quiet", "--lib", "--config"])
            .arg(format!("build.rustdoc={:?}", wrapper.to_str().unwrap()))
            .args(["--", "-Zunstable-options", "--output-format", "json"])
            .current_dir(ROOT)
            .status()
            .unwrap();
        assert!(status.success());
        let target = std::env::current_exe()
            .unwrap()
            .ancestors()
            .nth(3)
            .unwrap()
            .to_owned();
        let docs: Value =
            serde_json::from_slice(&std::fs::read(target.join("doc/flatbake.json")).unwrap())
                .unwrap();
        (docs["format_version"] == FORMAT).then_some(Self(docs))
    }

    fn item(&self, id: &Value) -> &Value {
        &self.0["index"][id.to_string()]
    }

    fn items<'a>(&'a self, ids: &'a Value) -> impl Iterator<Item = &'a Value> {
        // What is hidden from the documentation is promised to nobody.
        ids.as_array()
            .into_iter()
            .flatten()
            .map(|id| self.item(id))
            .filter(|item| !item.is_null())
    }

    /// Adds a line for `item`, called `name`, and for each of its parts that others can use.
    fn list(&self, name: &str, item: &Value, lines: &mut BTreeSet<String>) {
        let (kind, inner) = item["inner"].as_object().unwrap().iter().next().unwrap();
        let open = if item["attrs"].to_string().contains("non_exhaustive") {
            " (may grow)"
        } else {
            ""
        };
        lines.insert(format!("{name}: {kind}{open}"));
        match kind.as_str() {
            "module" => {
                for part in self.items(&inner["items"]) {
                    self.list(
                        &format!("{name}::{}", part["name"].as_str().unwrap()),
                        part,
                        lines,
                    );
                }
            }
            "struct" => {
                for field in self.items(&inner["kind"]["plain"]["fields"]) {
                    lines.insert(format!("{name}.{}", field["name"].as_str().unwrap()));
                }
                self.methods(name, &inner["impls"], lines);
            }
            "enum" => {
                for variant in self.items(&inner["variants"]) {
                    lines.insert(format!("{name}::{}", variant["name"].as_str().unwrap()));
                }
                self.methods(name, &inner["impls"], lines);
            }
            "trait" => {
                for part in self.items(&inner["items"]) {
                    lines.insert(format!("{name}::{}", signature(part)));
                }
            }
            _ => {}
        }
    }

    /// What a module exports of others.
    fn exports<'a>(&'a self, module: &'a Value) -> impl Iterator<Item = &'a Value> {
        let items = self.items(&module["inner"]["module"]["items"]);
        items.filter_map(|item| item["inner"].get("use"))
    }

    /// Adds lines for what a module exports of others, each behind `prefix`.
    fn list_exports(&self, prefix: &str, module: &Value, lines: &mut BTreeSet<String>) {
        for export in self.exports(module) {
            let name = export["name"].as_str().unwrap();
            self.list(&format!("{prefix}{name}"), self.item(&export["id"]), lines);
        }
    }

    fn methods(&self, name: &str, impls: &Value, lines: &mut BTreeSet<String>) {
        for block in self
            .items(impls)
            .map(|item| &item["inner"]["impl"])
            .filter(|block| block["trait"].is_null())
        {
            for part in self
                .items(&block["items"])
                .filter(|part| part["visibility"] == "public")
            {
                lines.insert(format!("{name}::{}", signature(part)));
            }
        }
    }
}

/// The name of a method with those of its parameters.
fn signature(item: &Value) -> String {
    let name = item["name"].as_str().unwrap();
    let Some(inputs) = item["inner"]["function"]["sig"]["inputs"].as_array() else {
        return name.to_owned();
    };
    let inputs: Vec<&str> = inputs
        .iter()
        .map(|input| input[0].as_str().unwrap())
        .collect();
    format!("{name}({})", inputs.join(", "))
}

#[test]
fn the_public_surface_is_as_recorded() {
    let Some(docs) = Docs::make() else {
        eprintln!("not compared: the documentation of this toolchain has another form");
        return;
    };
    let mut lines = BTreeSet::new();
    let root = docs.item(&docs.0["root"]);
    let count = docs.exports(root).count();
    docs.list_exports("", root, &mut lines);
    for module in docs.items(&root["inner"]["module"]["items"]) {
        if module["inner"].get("module").is_some() {
            let prefix = format!("{}::", module["name"].as_str().unwrap());
            docs.list_exports(&prefix, module, &mut lines);
        }
    }
    let found: String = lines.into_iter().map(|line| line + "\n").collect();
    let path = Path::new(ROOT).join("tests/surface/listing.txt");
    if std::env::var_os("FLATBAKE_RECORD").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (recorded.lines().collect(), found.lines().collect());
    let gone: Vec<_> = old.difference(&new).collect();
    let added: Vec<_> = new.difference(&old).collect();
    assert!(
        gone.is_empty() && added.is_empty(),
        "gone: {gone:#?}\nadded: {added:#?}"
    );
    assert!(count < 80, "{} names do not fit on one screen", count);
}

#[test]
fn examples_use_nothing_but_the_names_at_the_top() {
    for entry in std::fs::read_dir(Path::new(ROOT).join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, name) in text.match_indices("flatbake::") {
            let rest = &text[at + name.len()..];
            let inner = rest
                .strip_prefix('{')
                .map_or(rest, |list| &list[..list.find('}').unwrap()]);
            let one = inner
                .split(|c: char| !c.is_alphanumeric() && !"_:".contains(c))
                .next()
                .unwrap();
            let nested = if rest.starts_with('{') {
                inner.contains("::")
            } else {
                one.contains("::")
            };
            assert!(!nested, "{}: {one} is a name of a layer", path.display());
        }
    }
}
