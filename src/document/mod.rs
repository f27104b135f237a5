//! Documents of text that people write: trees of lists, tables and scalars, each with its place in the text.
//!
//! ```text
//!  YAML ─┐
//!        ├─Builder─▶ Node (place of every value) ─decode─▶ structs of whoever knows what the keys mean
//!  JSON ─┘                       └─▶ JSON
//! ```
//!
//! What is read is bounded in depth and weight, with aliases expanded.

mod builder;
mod decode;
mod frame;
mod json;
mod json_text;
mod node;
mod refusal;
mod spanned;
mod yaml;

pub use decode::decode;
pub use frame::frame;
pub use json::parse as parse_json;
pub use json_text::json_text;
pub use node::{DEPTH_MAX, Fault, Key, Kind, Node, Position, Scalar, Value, WEIGHT_MAX, place};
pub use spanned::{Raw, Spanned, TextOr, TextOrList};
pub use yaml::parse as parse_yaml;
