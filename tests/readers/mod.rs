//! Reading disk images of all formats, made by `qemu-img` in its variants and compared with the raw disk they hold.

mod bake;
mod crates;
mod fixtures;
mod others;
mod qcow2;
mod support;
mod vhd;
mod vhdx;
mod vmdk;
