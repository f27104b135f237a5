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

/// `len` pseudo-random bytes (xorshift64*): the same for the same `seed`, and incompressible.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
