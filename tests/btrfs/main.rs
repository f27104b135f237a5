//! btrfs as the kernel and mkfs.btrfs write it, read and written by us, judged by btrfs-progs and GRUB.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod fixture;
mod kernel;
mod made;
mod manifest;
mod random;
mod read;
mod write;
