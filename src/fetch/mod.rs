//! What comes from servers, and what makes it trustworthy before anything is made of it. The bake itself never touches the
//! network: what a request names is a verified file before it is prepared.
//!
//! ```text
//!   a server ──▶ a file without a name ──▶ digest, signature ──▶ its name
//! ```

pub mod bakery;
pub mod bundle;
pub mod digests;
pub mod fetcher;
mod layout;
pub mod mirror;
pub mod oci;
pub mod openpgp;
pub mod recipe;
pub mod registry;
pub mod release;
pub mod store;
pub mod tally;
pub mod transfer;
