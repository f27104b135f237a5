//! Slots of a directory: 32 bytes each, an entry or a part of a long name.

use super::SLOT_LEN;
use super::geometry::Geometry;
use super::kind::Kind;
use super::long::{ATTR_LONG_NAME, LongPart};
use super::time::FatTime;
use crate::bytes::structure;
use crate::error::Result;

/// The first byte of a slot that was in use.
pub(super) const DELETED: u8 = 0xE5;

/// Bits of `DIR_Attr`.
pub(super) const ATTR_VOLUME_ID: u8 = 0x08;
pub(super) const ATTR_DIRECTORY: u8 = 0x10;
pub(super) const ATTR_ARCHIVE: u8 = 0x20;
const ATTR_LONG_NAME_MASK: u8 = 0x3F;

/// Names of the two entries that every directory but the root begins with.
pub(super) const DOT: [u8; 11] = *b".          ";
pub(super) const DOT_DOT: [u8; 11] = *b"..         ";

structure! {
    /// An entry with its short name.
    pub(super) struct Short: "FAT directory entry", Little, 32 {
        /// `DIR_Name`: eight characters and three, filled up with spaces.
        0 => name / set_name: [u8; 11],
        /// `DIR_Attr`
        11 => attr / set_attr: u8,
        /// `DIR_NTRes`: bits of Windows NT for names in lower case.
        12 => nt_res / set_nt_res: u8,
        /// `DIR_CrtTime`
        14 => crt_time / set_crt_time: u16,
        /// `DIR_CrtDate`
        16 => crt_date / set_crt_date: u16,
        /// `DIR_LstAccDate`
        18 => lst_acc_date / set_lst_acc_date: u16,
        /// `DIR_FstClusHI`, on FAT32 only.
        20 => fst_clus_hi / set_fst_clus_hi: u16,
        /// `DIR_WrtTime`
        22 => wrt_time / set_wrt_time: u16,
        /// `DIR_WrtDate`
        24 => wrt_date / set_wrt_date: u16,
        /// `DIR_FstClusLO`
        26 => fst_clus_lo / set_fst_clus_lo: u16,
        /// `DIR_FileSize` in bytes, 0 for directories.
        28 => file_size / set_file_size: u32,
    }
}

/// An entry with a buffer of its own.
pub(super) type Entry = Short<[u8; SLOT_LEN]>;

/// What a slot holds.
#[derive(Debug)]
pub(super) enum Slot<'a> {
    /// Nothing, as all behind it.
    End,
    /// Nothing.
    Free,
    /// A part of the name of the entry behind it.
    Long(LongPart<&'a [u8]>),
    /// An entry.
    Entry(Entry),
}

impl<'a> Slot<'a> {
    /// What these bytes hold.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut own = [0; SLOT_LEN];
        own.copy_from_slice(Short::over(bytes)?.into_inner());
        let entry = Entry::over(own)?;
        Ok(match own[0] {
            0 => Self::End,
            DELETED => Self::Free,
            _ if entry.attr() & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME => {
                Self::Long(LongPart::over(bytes)?)
            }
            _ => Self::Entry(entry),
        })
    }
}

impl Entry {
    /// A new entry with this time in all places.
    pub(super) fn new(name: [u8; 11], attributes: u8, time: FatTime) -> Result<Self> {
        let mut entry = Self::over([0; SLOT_LEN])?;
        entry.set_name(name);
        entry.set_attr(attributes);
        entry.stamp(time);
        Ok(entry)
    }

    /// Sets all times.
    pub(super) fn stamp(&mut self, time: FatTime) {
        self.set_crt_time(time.time);
        self.set_crt_date(time.date);
        self.set_lst_acc_date(time.date);
        self.set_written(time);
    }

    /// Sets the time of the last change.
    pub(super) fn set_written(&mut self, time: FatTime) {
        self.set_wrt_time(time.time);
        self.set_wrt_date(time.date);
    }

    /// The time of the last change.
    pub(super) fn written(&self) -> FatTime {
        FatTime {
            date: self.wrt_date(),
            time: self.wrt_time(),
        }
    }

    /// The first cluster, 0 for none. FAT12 and FAT16 do not use the high half, in which some systems keep other things.
    pub(super) fn first_cluster(&self, kind: Kind) -> u32 {
        let low = u32::from(self.fst_clus_lo());
        match kind {
            Kind::Fat32 => (u32::from(self.fst_clus_hi()) << 16 | low) & kind.mask(),
            _ => low & kind.mask(),
        }
    }

    /// Stores the first cluster.
    pub(super) fn set_first_cluster(&mut self, kind: Kind, cluster: u32) {
        let [low0, low1, high0, high1] = cluster.to_le_bytes();
        self.set_fst_clus_lo(u16::from_le_bytes([low0, low1]));
        if kind == Kind::Fat32 {
            self.set_fst_clus_hi(u16::from_le_bytes([high0, high1]));
        }
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.attr() & ATTR_DIRECTORY != 0
    }

    /// Whether it is the volume's label.
    pub(super) fn is_label(&self) -> bool {
        self.attr() & ATTR_VOLUME_ID != 0
    }

    /// Labels, `.` and `..` stand for nothing of their own.
    pub(super) fn is_visible(&self) -> bool {
        !self.is_label() && self.name()[0] != b'.'
    }

    /// Clusters that its content takes.
    pub(super) fn clusters(&self, geometry: &Geometry) -> u64 {
        geometry.clusters_for(u64::from(self.file_size()))
    }
}
