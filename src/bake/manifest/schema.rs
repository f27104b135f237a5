//! The JSON schema of manifests, made from the structs that they are read into.

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
            let is_null = |kind: &Value| kind == "null" || kind.get("type").is_some_and(|kind| kind == "null");
            for key in ["type", "anyOf"] {
                if let Some(Value::Array(kinds)) = object.get_mut(key) {
                    kinds.retain(|kind| !is_null(kind));
                }
            }
            if let Some(kind) = object.get("type").filter(|kind| *kind == "integer" || *kind == "boolean").cloned() {
                object.insert("type".to_owned(), json!([kind, "string"]));
                object.insert("pattern".to_owned(), json!(VARIABLE));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(adapt),
        _ => {}
    }
}
