//! The test ground: independent judges, tree listings by independent tools, and Flatcar-like images made by real tools.
//!
//! ```text
//!  Recipe ──flatcar_image()──▶ IMG ──(flatbake edits)──▶ OUT ──▶ judges::*_clean(Region)   is it sound?
//!  Sysext ──sysext()─────────▶ NAME.raw                    └───▶ listing::*_tree(Region)   does it hold what was asked for?
//! ```
//!
//! Nothing here needs root. A program that is missing makes its judge (or the image maker) report "skipped" on stderr;
//! with `FLATBAKE_REQUIRE_ORACLES=1` it is a panic instead, so that a run in CI cannot pass by skipping.
//!
//! A test file uses it through `mod common;`, a bench through `#[path = "../tests/common/mod.rs"] mod common;`.

// Every test program compiles its own copy and uses only a part of it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod btrfs_property;
pub mod flatcar;
pub mod judges;
pub mod layout;
pub mod listing;
pub mod programs;
#[path = "../../src/bytes/random.rs"]
pub mod random;
pub mod reading;
pub mod region;
pub mod sound;
pub mod sysext;
pub mod tree;

use std::path::PathBuf;

/// A directory on the disk that holds `target/`: large sparse files belong there and not in a `/tmp` kept in memory.
pub fn scratch_root() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A fresh temporary directory inside [`scratch_root`], removed when dropped.
pub fn scratch_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch_root()).unwrap()
}

/// `len` pseudo-random bytes: the same for the same `seed`, and incompressible.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    random::Random::new(seed).bytes(len)
}
