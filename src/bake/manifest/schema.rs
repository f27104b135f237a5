//! The JSON schema of manifests, made from the structs that they are read into.

use super::document::Document;

/// The JSON schema (draft 2020-12) of manifests, for editors and checks before a bake. TOML has the same keys.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document).to_value()
}
