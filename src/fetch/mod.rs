//! What comes from outside, and what makes it trustworthy before anything is made of it.
//!
//! ```text
//!   a server ──▶ a file without a name ──▶ digest, signature ──▶ its name
//! ```

pub mod digests;
pub mod openpgp;
