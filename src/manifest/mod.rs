//! The manifest of a bake: a file in YAML or TOML that says what the command line's flags say, and more.
//!
//! ```text
//!  YAML ─┐                      variables            serde              paths, modes, sizes, …
//!        ├─parse─▶ Node (place of every value) ─▶ Node ─decode─▶ Document ─resolve─▶ bake::Request
//!  TOML ─┘
//!          NAME.lock ──▶ bake::Locked, which the request may be held to ──bake──▶ inputs ──▶ NAME.lock
//! ```
//!
//! A manifest only fills a [`crate::bake::Request`]; what of it goes together is checked there. An error names file, line and column.
//! Nothing is written here but the lock.

mod changes;
mod document;
mod flags;
mod inputs;
mod load;
mod lock;
mod man;
mod options;
mod outputs;
mod parse;
mod resolve;
mod schema;
mod settings;
mod variables;
mod vendors;
mod wants;

pub use flags::{Counterpart, FLAGS, KEYS_WITHOUT_FLAG};
pub use load::{Draft, Manifest, load, read};
pub use lock::{Lock, Resolution, Resolutions};
pub use man::man_page;
pub use options::LoadOptions;
pub use schema::schema;
pub use variables::parse_set;
pub use wants::{Named, Wants};
