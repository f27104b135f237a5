//! Recipes: extensions made of what others publish, as data.
//!
//! ```text
//!   recipes/*.yaml, a file ──▶ Recipe ──choose(version, architecture, parts)──▶ Chosen ──▶ downloads: URL, digest
//!                                                                                 │          whoever fetches or has them
//!                                       Build ──▶ prepare(files) ──▶ StagedTree ◀─┴── files by their names
//! ```
//!
//! Nothing here fetches: a recipe says what it needs, and is given files.

mod built_in;
mod choose;
mod document;
mod prepare;
mod read;
mod stage;
mod template;

pub use built_in::{built_in, built_in_text, names};
pub use choose::{Choice, Chosen, Digest, Download};
pub use read::{RECIPE_MAX, Recipe};

/// The JSON schema (draft 2020-12) of a recipe.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(document::Document).to_value()
}
