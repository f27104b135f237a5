//! Where the parts of a volume lie, in bytes from its start.
//!
//! ```text
//!  │ reserved sectors │ table │ table… │ root (FAT12, FAT16) │ cluster 2 │ 3 │ … │ cluster_max │
//!  0            tables_start                            data_start
//! ```

use super::boot::{ACTIVE_TABLE, BootSector, NOT_MIRRORED};
use super::device::damaged;
use super::kind::Kind;
use crate::error::{Error, Result};

/// Bytes of a directory's slot.
pub(super) const SLOT: u64 = 32;
/// The first cluster there is; its number is that of its table entry.
pub(super) const FIRST_CLUSTER: u32 = 2;

/// Where the root directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Root {
    /// Behind the tables: so many bytes at this one.
    Fixed { start: u64, len: u64 },
    /// In a chain from this cluster on.
    Chain(u32),
}

/// A layout that was checked: its parts follow each other and lie on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub kind: Kind,
    /// Bytes of a sector: 512 to 4,096.
    pub sector_bytes: u32,
    /// Bytes of a cluster: a power of two from 512 to 524,288.
    pub cluster_bytes: u32,
    /// Where the first table begins.
    pub tables_start: u64,
    /// Bytes from one table to the next.
    pub table_stride: u64,
    /// Tables there are: 1 to 4.
    pub tables: u8,
    /// The table that is read.
    pub active: u8,
    /// Whether all tables are kept alike, not the active one only.
    pub mirrored: bool,
    pub root: Root,
    /// Where cluster 2 begins.
    pub data_start: u64,
    /// The last cluster.
    pub cluster_max: u32,
    /// Where the sector with the free space's numbers begins.
    pub info: Option<u64>,
    /// Where the copy of the boot sector begins.
    pub backup: Option<u64>,
}

fn no_fat(why: impl std::fmt::Display) -> Error {
    Error::corrupt(format!("no FAT filesystem: {why}"))
}

impl Geometry {
    /// The layout that a boot sector on a device of so many bytes describes.
    pub(super) fn new<B: AsRef<[u8]>>(boot: &BootSector<B>, device_size: u64) -> Result<Self> {
        if let Some(fault) = boot.fault() {
            return Err(no_fat(fault));
        }
        let sector = u64::from(boot.byts_per_sec());
        let cluster_bytes = u32::from(boot.byts_per_sec()) * u32::from(boot.sec_per_clus());
        let tables_start = u64::from(boot.rsvd_sec_cnt()) * sector;
        let table_stride = u64::from(boot.table_sectors()) * sector;
        let root_start = tables_start + u64::from(boot.num_fats()) * table_stride;
        let root_len = u64::from(boot.root_ent_cnt()) * SLOT;
        let data_start = root_start + root_len.next_multiple_of(sector);
        let size = u64::from(boot.sectors()) * sector;
        if size > device_size {
            return Err(Error::corrupt(format!(
                "a FAT volume of {size} bytes on a device of {device_size}"
            )));
        }
        let clusters = size.saturating_sub(data_start) / u64::from(cluster_bytes);
        let kind = Kind::of(boot.is_fat32(), clusters)
            .ok_or_else(|| no_fat(format!("{clusters} clusters")))?;
        let geometry = Self {
            kind,
            sector_bytes: u32::from(boot.byts_per_sec()),
            cluster_bytes,
            tables_start,
            table_stride,
            tables: boot.num_fats(),
            active: 0,
            mirrored: true,
            root: Root::Fixed {
                start: root_start,
                len: root_len,
            },
            data_start,
            cluster_max: u32::try_from(clusters).map_err(|_| no_fat("too many clusters"))? + 1,
            info: None,
            backup: None,
        };
        if geometry.table_len() > table_stride {
            return Err(no_fat(format!(
                "a table of {table_stride} bytes is too small for {clusters} clusters"
            )));
        }
        if kind == Kind::Fat32 {
            geometry.fat32(boot)
        } else {
            Ok(geometry)
        }
    }

    /// The same with what only FAT32 has.
    fn fat32<B: AsRef<[u8]>>(self, boot: &BootSector<B>) -> Result<Self> {
        let root = boot.root_clus();
        if !self.has(root) {
            return Err(no_fat(format!(
                "its root directory is at cluster {root} of {}",
                self.cluster_max
            )));
        }
        let mirrored = boot.ext_flags() & NOT_MIRRORED == 0;
        let numbered = boot.ext_flags() & ACTIVE_TABLE;
        let active = if mirrored {
            0
        } else {
            u8::try_from(numbered).unwrap_or(u8::MAX)
        };
        if active >= self.tables {
            return Err(no_fat(format!(
                "table {active} is active, there are {}",
                self.tables
            )));
        }
        let reserved = |number: u16| {
            let exists = (1..boot.rsvd_sec_cnt()).contains(&number);
            exists.then(|| u64::from(number) * u64::from(self.sector_bytes))
        };
        let info = reserved(boot.fs_info());
        let backup = reserved(boot.bk_boot_sec());
        Ok(Self {
            active,
            mirrored,
            root: Root::Chain(root),
            info,
            backup,
            ..self
        })
    }

    /// Clusters there are.
    pub(super) fn clusters(&self) -> u32 {
        self.cluster_max - 1
    }

    /// Whether there is this cluster.
    pub(super) fn has(&self, cluster: u32) -> bool {
        (FIRST_CLUSTER..=self.cluster_max).contains(&cluster)
    }

    /// An error where there is no such cluster.
    pub(super) fn check(&self, cluster: u32) -> Result<()> {
        if self.has(cluster) {
            return Ok(());
        }
        Err(damaged(format!(
            "a chain leads to cluster {cluster}, which this volume does not have"
        )))
    }

    /// Where `cluster`, which there is, begins.
    pub(super) fn cluster_start(&self, cluster: u32) -> u64 {
        self.data_start
            + u64::from(cluster.saturating_sub(FIRST_CLUSTER)) * u64::from(self.cluster_bytes)
    }

    /// Clusters that hold so many bytes.
    pub(super) fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.cluster_bytes))
    }

    /// Slots of a directory in one cluster.
    pub(super) fn slots_per_cluster(&self) -> u32 {
        self.cluster_bytes / 32
    }

    /// Bytes of a table up to the entry of the last cluster.
    pub(super) fn table_len(&self) -> u64 {
        self.kind.entry_offset(self.cluster_max) + self.kind.entry_len()
    }

    /// Where a table begins.
    pub(super) fn table_start(&self, number: u8) -> u64 {
        self.tables_start + u64::from(number) * self.table_stride
    }

    /// The tables that are written: the active one first.
    pub(super) fn written_tables(&self) -> impl Iterator<Item = u8> + use<> {
        let others = if self.mirrored { 0..self.tables } else { 0..0 };
        let active = self.active;
        std::iter::once(active).chain(others.filter(move |number| *number != active))
    }
}
