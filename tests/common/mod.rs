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

/// So many times `FLATBAKE_LONG`, for tests that repeat something with other numbers each time; unset means 1.
pub fn longer(count: u64) -> u64 {
    let factor = std::env::var("FLATBAKE_LONG").map_or(1, |value| {
        let factor = value.parse().ok().filter(|factor| (1..=LONGEST).contains(factor));
        factor.unwrap_or_else(|| panic!("FLATBAKE_LONG is '{value}', not a number from 1 to {LONGEST}"))
    });
    count * factor
}

/// Far more than anyone waits for, and no count that tests multiply overflows.
const LONGEST: u64 = 1_000_000;

/// `len` pseudo-random bytes: the same for the same `seed`, and incompressible.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    random::Random::new(seed).bytes(len)
}
