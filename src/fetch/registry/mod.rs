//! Registries of containers: images, and files that are kept there as artifacts, by the Distribution API of the OCI.
//!
//! ```text
//!  Reference ──GET manifests/TAG──▶ 401, WWW-Authenticate ──▶ token of its realm, or name and password
//!                      │                                                │ once more
//!                      ▼                                                ▼
//!              index ──by platform──▶ manifest ──▶ Descriptor: media type, size, digest ──GET blobs/DIGEST──▶ file
//! ```
//!
//! Everything but the first document is named by its digest, and is what that digest says or an error. What comes first is
//! held against the digest of the reference, where it has one.

mod challenge;
mod client;
mod descriptor;
mod digest;
mod json;
mod login;
mod manifest;
mod reference;
mod resolve;

pub use challenge::Challenge;
pub use client::Registry;
pub use descriptor::{Architecture, Descriptor, Packing, Platform};
pub use digest::{Algorithm, Digest};
pub use login::Logins;
pub(super) use manifest::MAX_MANIFEST_BYTES;
pub use manifest::{Document, Index, Manifest};
pub use reference::{Reference, SCHEME};

pub use resolve::{Artifact, Documents, Paper, Resolved, artifact};
pub(super) use resolve::{at_unless_cancelled, resolve};
