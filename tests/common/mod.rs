//! The test ground: independent judges, tree listings by independent tools, and Flatcar-like images made by real tools.
//!
//! ```text
//!  Recipe ──flatcar_image()──▶ IMG ──(flatbake edits)──▶ OUT ──▶ judges::*_clean(Region)   is it sound?
//!  Sysext ──sysext()─────────▶ NAME.raw                    └───▶ listing::*_tree(Region)   does it hold what was asked for?
//! ```
//!
//! Nothing here depends on the machine but the programs that are called: contents come from seeds ([`content`]), and
//! programs see nothing of the caller's environment ([`programs::command`], [`programs::flatbake`]).
//!
//! Nothing here needs root. A program that is missing makes its judge (or the image maker) report "skipped" on stderr;
//! with `FLATBAKE_REQUIRE_ORACLES=1` it is a panic instead, so that a run in CI cannot pass by skipping.
//!
//! Tests use it as `crate::common`, a bench through `#[path = "../tests/common/mod.rs"] mod common;`.

// A bench compiles its own copy and uses only a part of it.
#![allow(dead_code, clippy::unwrap_used)]

pub mod btrfs_property;
pub mod content;
pub mod ext;
pub mod flatcar;
pub mod judges;
pub mod kernel;
pub mod layout;
pub mod listing;
pub mod programs;
#[cfg(feature = "fetch")]
pub mod proxy;
#[path = "../../src/bytes/random.rs"]
pub mod random;
pub mod reading;
pub mod recipes;
pub mod region;
#[cfg(feature = "fetch")]
pub mod registry;
#[cfg(feature = "fetch")]
pub mod server;
pub mod sound;
pub mod sysext;
pub mod tree;
pub mod trees;

use rustix::fs::Mode;
use std::path::PathBuf;

/// The folder of everything that tests make and keep: `FLATBAKE_SCRATCH`, or one on the disk that holds `target/`, as large
/// sparse files do not belong in a `/tmp` kept in memory.
pub fn scratch_root() -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::env::var_os("FLATBAKE_SCRATCH")
        .map_or_else(usual, |folder| std::path::absolute(folder).unwrap())
}

/// A fresh temporary directory inside [`scratch_root`], removed when dropped.
pub fn scratch_dir() -> tempfile::TempDir {
    usual_umask();
    tempfile::tempdir_in(scratch_root()).unwrap()
}

/// Has this process, and the programs it starts, make files with the modes that are usual, whatever the caller's umask.
pub fn usual_umask() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
}

/// So many times `FLATBAKE_LONG`, for tests that repeat something with other numbers each time; unset means 1.
pub fn longer(count: u64) -> u64 {
    let factor = std::env::var("FLATBAKE_LONG").map_or(1, |value| {
        let factor = value
            .parse()
            .ok()
            .filter(|factor| (1..=LONGEST).contains(factor));
        factor.unwrap_or_else(|| {
            panic!("FLATBAKE_LONG is '{value}', not a number from 1 to {LONGEST}")
        })
    });
    count * factor
}

/// Far more than anyone waits for, and no count that tests multiply overflows.
const LONGEST: u64 = 1_000_000;

/// `len` pseudo-random bytes: the same for the same `seed`, and incompressible.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    random::Random::new(seed).bytes(len)
}
