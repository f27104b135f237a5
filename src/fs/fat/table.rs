//! The allocation table, in pages.
//!
//! A page holds whole entries of every kind: its length is a multiple of three and of four bytes. Pages that edits change
//! stay in memory until there are many of them or all is written; every table gets them.
//!
//! ```text
//!   Cursor ──▶ changed pages of Table, else the device        reading: follows chains
//!   set ─────▶ changed pages of Table ──flush──▶ each table   editing
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::device::{damaged, read_vec};
use super::geometry::{FIRST_CLUSTER, Geometry};
use super::kind::Link;
use crate::block::{BlockDevice, BlockDeviceMut};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result};
use crate::fs::cache::Cache;

/// Bytes of a page.
pub(super) const PAGE: u64 = 12 << 10;
/// Changed pages that are kept: 12 MiB, the table of three million clusters on FAT32.
const CHANGED_MAX: usize = 1024;

/// Neighbouring clusters that follow each other in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub first: u32,
    pub count: u32,
}

impl Extent {
    /// Its clusters.
    pub(super) fn clusters(self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }

    /// Adds a cluster behind others.
    pub(super) fn append(extents: &mut Vec<Self>, cluster: u32) {
        match extents.last_mut() {
            Some(extent) if extent.first + extent.count == cluster => extent.count += 1,
            _ => extents.push(Self {
                first: cluster,
                count: 1,
            }),
        }
    }
}

/// The table with its changes.
#[derive(Debug)]
pub(super) struct Table {
    geometry: Geometry,
    changed: BTreeMap<u64, Page>,
}

#[derive(Debug)]
struct Page {
    bytes: Vec<u8>,
    /// What differs from the device.
    dirty: Range<usize>,
}

/// Where the entry of a cluster lies: the page, and the bytes in it.
fn locate(geometry: &Geometry, cluster: u32) -> Result<(u64, Range<usize>)> {
    let offset = geometry.kind.entry_offset(cluster);
    let start = to_usize(offset % PAGE)?;
    Ok((
        offset / PAGE,
        start..start + to_usize(geometry.kind.entry_len())?,
    ))
}

/// Reads a page of the active table.
fn read_page(geometry: &Geometry, device: &dyn BlockDevice, number: u64) -> Result<Vec<u8>> {
    let start = number * PAGE;
    let len = geometry.table_len().saturating_sub(start).min(PAGE);
    read_vec(
        device,
        geometry.table_start(geometry.active) + start,
        to_usize(len)?,
    )
}

impl Table {
    /// The table as it is on the device.
    pub(super) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            changed: BTreeMap::new(),
        }
    }

    /// Stores the entry of `cluster`.
    pub(super) fn set(
        &mut self,
        device: &dyn BlockDeviceMut,
        cluster: u32,
        value: u32,
    ) -> Result<()> {
        let kind = self.geometry.kind;
        let (number, range) = locate(&self.geometry, cluster)?;
        let page = self.page_mut(device, number)?;
        kind.encode(cluster, value, &mut page.bytes[range.clone()]);
        page.dirty = page.dirty.start.min(range.start)..page.dirty.end.max(range.end);
        Ok(())
    }

    fn page_mut(&mut self, device: &dyn BlockDeviceMut, number: u64) -> Result<&mut Page> {
        if !self.changed.contains_key(&number) {
            if self.changed.len() == CHANGED_MAX {
                self.flush(device)?;
            }
            let bytes = read_page(&self.geometry, &device, number)?;
            let dirty = bytes.len()..0;
            self.changed.insert(number, Page { bytes, dirty });
        }
        self.changed
            .get_mut(&number)
            .ok_or_else(|| Error::internal("a page that was put there"))
    }

    /// Writes all changes to every table that is kept up to date.
    pub(super) fn flush(&mut self, device: &dyn BlockDeviceMut) -> Result<()> {
        for number in self.geometry.written_tables() {
            let table = self.geometry.table_start(number);
            for (page, Page { bytes, dirty }) in &self.changed {
                if !dirty.is_empty() {
                    device.write_at(
                        table + page * PAGE + to_u64(dirty.start),
                        &bytes[dirty.clone()],
                    )?;
                }
            }
        }
        self.changed.clear();
        Ok(())
    }

    /// A reader of entries, which keeps about so many bytes of pages.
    pub(super) fn cursor<'a>(&'a self, device: &'a dyn BlockDevice, budget: usize) -> Cursor<'a> {
        Cursor {
            table: self,
            device,
            current: None,
            read: Cache::new(budget),
        }
    }

    /// The first `limit` clusters of the chain that begins at `first`, and what follows them.
    pub(super) fn extents(
        &self,
        device: &dyn BlockDevice,
        first: u32,
        limit: u64,
    ) -> Result<(Vec<Extent>, Option<u32>)> {
        let mut cursor = self.cursor(device, 0);
        let mut extents: Vec<Extent> = Vec::new();
        let mut next = Some(first);
        for _ in 0..limit {
            let Some(cluster) = next else { break };
            Extent::append(&mut extents, cluster);
            next = cursor.next(cluster)?;
        }
        Ok((extents, next))
    }

    /// The first `count` clusters, at least one, of the chain that begins at `first`, fewer where it is shorter. What
    /// follows the last of them is not looked at, so a file of one cluster needs nothing of the table.
    pub(super) fn first_extents(
        &self,
        device: &dyn BlockDevice,
        first: u32,
        count: u64,
    ) -> Result<Vec<Extent>> {
        let (mut extents, last) = self.extents(device, first, count.saturating_sub(1))?;
        if let Some(last) = last {
            self.geometry.check(last)?;
            Extent::append(&mut extents, last);
        }
        Ok(extents)
    }
}

/// Reads entries of the table one after the other.
pub(super) struct Cursor<'a> {
    table: &'a Table,
    device: &'a dyn BlockDevice,
    /// The page read last, where it is not one of the changed ones.
    current: Option<(u64, Arc<[u8]>)>,
    read: Cache<[u8]>,
}

impl Cursor<'_> {
    /// The bytes of a page.
    fn page(&mut self, number: u64) -> Result<&[u8]> {
        if let Some(page) = self.table.changed.get(&number) {
            return Ok(&page.bytes);
        }
        if self
            .current
            .as_ref()
            .is_none_or(|(current, _)| *current != number)
        {
            let bytes = match self.read.get(number) {
                Some(bytes) => bytes,
                None => self.fetch(number)?,
            };
            self.current = Some((number, bytes));
        }
        let (_, bytes) = self
            .current
            .as_ref()
            .ok_or_else(|| Error::internal("the page that was read"))?;
        Ok(bytes)
    }

    fn fetch(&mut self, number: u64) -> Result<Arc<[u8]>> {
        let bytes: Arc<[u8]> = read_page(&self.table.geometry, self.device, number)?.into();
        self.read.insert(number, bytes.clone(), bytes.len());
        Ok(bytes)
    }

    /// The entry of `cluster`.
    pub(super) fn entry(&mut self, cluster: u32) -> Result<u32> {
        let kind = self.table.geometry.kind;
        let (number, range) = locate(&self.table.geometry, cluster)?;
        Ok(kind.decode(cluster, &self.page(number)?[range]))
    }

    /// The cluster after `cluster` in its chain; `None` behind the last one.
    pub(super) fn next(&mut self, cluster: u32) -> Result<Option<u32>> {
        self.table.geometry.check(cluster)?;
        let entry = self.entry(cluster)?;
        match self.table.geometry.kind.link(entry) {
            Link::End => Ok(None),
            Link::Next(next) if self.table.geometry.has(next) => Ok(Some(next)),
            _ => Err(damaged(format!(
                "cluster {cluster} leads to {entry:#x}, which is no cluster of this volume in use"
            ))),
        }
    }

    /// Shows the entries of the clusters from `from` to `until`, until `visit` says that it has seen enough.
    pub(super) fn scan(
        &mut self,
        from: u32,
        until: u32,
        visit: &mut dyn FnMut(u32, u32) -> bool,
    ) -> Result<()> {
        let geometry = self.table.geometry;
        let mut cluster = from;
        while cluster <= until {
            let (number, _) = locate(&geometry, cluster)?;
            let page = self.page(number)?;
            loop {
                let (here, range) = locate(&geometry, cluster)?;
                if here != number || cluster > until {
                    break;
                }
                if visit(cluster, geometry.kind.decode(cluster, &page[range])) {
                    return Ok(());
                }
                cluster += 1;
            }
        }
        Ok(())
    }

    /// Free clusters of the volume, counted.
    pub(super) fn count_free(&mut self) -> Result<u32> {
        let mut free = 0;
        self.scan(
            FIRST_CLUSTER,
            self.table.geometry.cluster_max,
            &mut |_, entry| {
                free += u32::from(entry == 0);
                false
            },
        )?;
        Ok(free)
    }
}
