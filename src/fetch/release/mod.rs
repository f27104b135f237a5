//! Flatcar's releases: how they are asked for, where their files are, and what `version.txt` and `releases.json` say.
//!
//! ```text
//!   stable, lts-2024 ──▶ https://stable.release.flatcar-linux.net/amd64-usr/current/version.txt ──▶ 4757.2.1
//!   4757.2.1 ──────────▶ https://stable.release.flatcar-linux.net/amd64-usr/4757.2.1/FILE
//!   4790.0.0+nightly… ─▶ https://bincache.flatcar-linux.net/images/amd64/4790.0.0+nightly…/FILE
//! ```

mod artifact;
mod list;
mod place;
mod version;
mod wanted;

pub use artifact::Artifact;
pub use list::{LIST_MAX, LIST_URL, ListedRelease, ReleaseList};
pub use place::Release;
pub use version::{VERSION_FILE, VERSION_MAX, version_of};
pub use wanted::Wanted;
