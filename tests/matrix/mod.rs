//! Every disk format in and out: images made by `qemu-img` in all variants, converted to every output, judged by
//! `qemu-img`; and what is left where a conversion breaks off.
//!
//! ```text
//!   disk ──qemu-img──▶ variant of a format ──flatbake──▶ output ──qemu-img──▶ the same disk?
//!   (disks)            (variants)            (run)      (outputs)            (digest)
//! ```

mod broken_off;
mod crates;
mod details;
mod digest;
pub mod disks;
mod outputs;
mod product;
mod run;
mod variants;
