//! All tests of the library and the program from outside, in one program: a module for each thing that is tested.
//!
//! `cargo test --test all ext4::` runs those of one module. Tests of internals stand beside the code.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod common;

mod airgap;
mod bake;
mod btrfs;
mod butane;
mod cli;
mod convert;
mod cut_short;
mod ddi;
mod dependencies;
mod diff;
mod doctor;
mod erofs;
mod erofs_write;
mod examples;
mod ext4;
mod fat;
#[cfg(feature = "fetch")]
mod fetch_extensions;
#[cfg(feature = "fetch")]
mod fetch_manifest;
#[cfg(feature = "fetch")]
mod fetch_mirror;
#[cfg(feature = "fetch")]
mod fetch_oci;
#[cfg(feature = "fetch")]
mod fetch_openpgp;
#[cfg(feature = "fetch")]
mod fetch_registry;
#[cfg(feature = "fetch")]
mod fetch_release;
#[cfg(feature = "fetch")]
mod fetch_transfer;
mod fixtures;
mod flatcar_layout;
mod gpt;
mod ignition;
mod image_open;
mod in_and_out;
mod layers;
mod library;
mod licences;
mod live;
mod machine;
mod manifest;
mod matrix;
mod odd_requests;
mod oracles;
mod os_release;
mod output_file;
mod programs;
mod qcow2;
mod readers;
mod recipes;
mod refusals;
mod release_4757;
mod report;
mod request;
mod sample;
mod settings;
mod squashfs;
mod squashfs_write;
mod staged;
mod surface;
mod sysext;
mod sysext_build;
mod tar;
mod vendor_facts;
mod vendor_files;
mod vendor_images;
mod vendor_payload;
mod vendors;
