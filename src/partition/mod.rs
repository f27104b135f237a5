//! Partition tables: GPT with its protective or hybrid MBR.
//!
//! ```text
//!  LBA 0    1        2 …                first_usable … last_usable                      last
//!  ┌─────┬────────┬──────────────────┬──────────────────────────────┬─────────────────┬────────┐
//!  │ MBR │ header │ entries 1, 2, …  │ partitions                   │ entries (copy)  │ header │
//!  └─────┴────────┴──────────────────┴──────────────────────────────┴─────────────────┴────────┘
//!    kept   primary copy, CRC-32        never touched here            backup copy, CRC-32
//! ```
//!
//! The on-disk bytes stay the truth: a [`PartitionTable`] holds them as read, shows them through checked views
//! ([`Partition`], [`Mbr`]) and patches only the fields of an edit. So partition numbers, holes, attribute bits, boot
//! code, a hybrid MBR and bytes that no specification defines come back as they were.
//!
//! Format: UEFI Specification 2.10, chapter 5 "GUID Partition Table (GPT) Disk Layout". Field names are its own.

mod attributes;
mod create;
mod entry;
mod header;
mod kind;
mod mbr;
mod read;
mod sectors;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub use attributes::PartitionAttributes;
pub use create::NewPartition;
pub use entry::{MAX_NAME_UNITS, Partition, PartitionName};
pub use kind::TableKind;
pub use mbr::{Mbr, MbrKind, MbrRecord};
pub use table::PartitionTable;

/// The logical sector sizes a GPT is looked for with: nearly all disks, and "4K native" ones.
const SECTOR_SIZES: [u32; 2] = [512, 4096];
