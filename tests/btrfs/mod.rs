//! btrfs as the kernel and mkfs.btrfs write it, read and written by us, judged by btrfs-progs and GRUB.

mod fixture;
mod kernel;
mod made;
mod make;
mod manifest;
mod random;
mod read;
mod write;
