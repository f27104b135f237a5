//! The JSON schema of manifests, made from the structs that they are read into, and the list of their keys.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document::Document;

/// A whole value that a variable gives.
const VARIABLE: &str = r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$";

/// The JSON schema (draft 2020-12) of manifests, for editors and checks before a bake. TOML has the same keys.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    adapt(&mut schema);
    schema
}

/// A key may be left out but has no empty value; numbers and booleans may come from variables.
fn adapt(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(adapt);
            let is_null = |kind: &Value| {
                kind == "null" || kind.get("type").is_some_and(|kind| kind == "null")
            };
            for key in ["type", "anyOf"] {
                if let Some(Value::Array(kinds)) = object.get_mut(key) {
                    kinds.retain(|kind| !is_null(kind));
                }
            }
            if let Some(Value::Array(kinds)) = object.get("type")
                && let [only] = &kinds[..]
            {
                object.insert("type".to_owned(), only.clone());
            }
            if let Some(kind) = object
                .get("type")
                .filter(|kind| *kind == "integer" || *kind == "boolean")
                .cloned()
            {
                object.insert("type".to_owned(), json!([kind, "string"]));
                object.insert("pattern".to_owned(), json!(VARIABLE));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(adapt),
        _ => {}
    }
}

/// A key of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// From the top of the manifest, with `[]` behind lists: `files[].mode`.
    pub(super) path: String,
    /// What it means.
    pub(super) text: String,
    /// Whether it must be there where its table is.
    pub(super) is_required: bool,
    /// What may stand behind it, such as `text or table`.
    pub(super) kinds: String,
}

/// All keys that the schema has, those of a table right behind the key that it is the value of.
pub(super) fn keys() -> Vec<Key> {
    let schema = schema();
    let mut found = Vec::new();
    Walk {
        schema: &schema,
        found: &mut found,
    }
    .table(&schema, "");
    found
}

struct Walk<'a> {
    schema: &'a Value,
    found: &'a mut Vec<Key>,
}

impl<'a> Walk<'a> {
    /// The keys of a table at `path`.
    fn table(&mut self, table: &'a Value, path: &str) {
        let table = self.followed(table);
        let Some(properties) = table.get("properties").and_then(Value::as_object) else {
            return;
        };
        let required: Vec<&str> = table
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, value) in properties {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let text = value
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            let mut kinds = BTreeSet::new();
            self.kinds(value, &mut kinds);
            let is_required = required.contains(&name.as_str());
            let kinds = kinds.into_iter().collect::<Vec<_>>().join(" or ");
            self.found.push(Key {
                path: path.clone(),
                text,
                is_required,
                kinds,
            });
            self.below(value, &path);
        }
    }

    /// The keys of the tables that may stand at `path`.
    fn below(&mut self, value: &'a Value, path: &str) {
        let value = self.followed(value);
        if let Some(items) = value.get("items") {
            self.below(items, &format!("{path}[]"));
        }
        for choice in value
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.below(choice, path);
        }
        self.table(value, path);
    }

    /// What kinds of values a schema allows, in the words of manifests.
    fn kinds(&self, value: &'a Value, kinds: &mut BTreeSet<&'static str>) {
        let value = self.followed(value);
        for choice in value
            .get("anyOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            self.kinds(choice, kinds);
        }
        let is_scalar = value
            .get("pattern")
            .is_some_and(|pattern| pattern == VARIABLE);
        let word = |kind: &str| match kind {
            "string" if is_scalar => None,
            "string" => Some("text"),
            "integer" | "number" => Some("number"),
            "boolean" if is_scalar => Some("true or false"),
            "boolean" => None,
            "array" => Some("list"),
            "object" => Some("table"),
            _ => None,
        };
        match value.get("type") {
            Some(Value::String(kind)) => kinds.extend(word(kind)),
            Some(Value::Array(all)) => {
                kinds.extend(all.iter().filter_map(Value::as_str).filter_map(word))
            }
            _ => {}
        }
    }

    /// A schema, or the one that it refers to.
    fn followed(&self, value: &'a Value) -> &'a Value {
        let name = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| name.strip_prefix("#"));
        name.and_then(|name| self.schema.pointer(name))
            .unwrap_or(value)
    }
}
