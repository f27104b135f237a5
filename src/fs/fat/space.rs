//! Free clusters: how many there are, and where the search for one goes on.

use super::geometry::{FIRST_CLUSTER, Geometry};
use super::table::{Extent, Table};
use crate::block::BlockDeviceMut;
use crate::error::{Error, Result};

/// The free clusters of a volume that is edited.
#[derive(Debug)]
pub(super) struct Space {
    /// How many there are, counted when the volume was opened and kept up to date.
    pub free: u32,
    /// The search begins here: behind the cluster that was taken last.
    pub hint: u32,
}

impl Space {
    /// Takes the next `count` free clusters and makes a chain of them.
    pub(super) fn take(
        &mut self,
        table: &mut Table,
        device: &dyn BlockDeviceMut,
        geometry: &Geometry,
        count: u64,
    ) -> Result<Vec<Extent>> {
        let wanted = u32::try_from(count)
            .ok()
            .filter(|count| *count <= self.free);
        let wanted = wanted.ok_or_else(|| {
            Error::no_space(format!(
                "{count} clusters are needed, {} are free",
                self.free
            ))
            .with_hint("remove files from this partition, or write less to it")
        })?;
        let mut search = Search {
            extents: Vec::new(),
            wanted,
        };
        search.between(table, device, self.hint, geometry.cluster_max)?;
        search.between(table, device, FIRST_CLUSTER, self.hint - 1)?;
        if search.wanted != 0 {
            return Err(Error::internal(format!(
                "{wanted} of {} free clusters are not there",
                search.wanted
            )));
        }
        let extents = search.extents;
        link(table, device, geometry, &extents)?;
        self.free -= wanted;
        if let Some(last) = extents.last() {
            let behind = last.first + last.count;
            self.hint = if geometry.has(behind) {
                behind
            } else {
                FIRST_CLUSTER
            };
        }
        Ok(extents)
    }

    /// Gives clusters back that belong to nothing any more.
    pub(super) fn give_back(
        &mut self,
        table: &mut Table,
        device: &dyn BlockDeviceMut,
        extents: &[Extent],
    ) -> Result<()> {
        for extent in extents {
            for cluster in extent.clusters() {
                table.set(device, cluster, 0)?;
            }
            self.free += extent.count;
        }
        Ok(())
    }
}

/// Makes one chain of these clusters.
fn link(
    table: &mut Table,
    device: &dyn BlockDeviceMut,
    geometry: &Geometry,
    extents: &[Extent],
) -> Result<()> {
    let mut followers = extents.iter().skip(1).map(|extent| extent.first);
    for extent in extents {
        let last = extent.first + extent.count - 1;
        for cluster in extent.first..last {
            table.set(device, cluster, cluster + 1)?;
        }
        table.set(
            device,
            last,
            followers.next().unwrap_or(geometry.kind.end()),
        )?;
    }
    Ok(())
}

struct Search {
    extents: Vec<Extent>,
    /// Clusters that are still to be found.
    wanted: u32,
}

impl Search {
    fn between(
        &mut self,
        table: &Table,
        device: &dyn BlockDeviceMut,
        from: u32,
        until: u32,
    ) -> Result<()> {
        if self.wanted == 0 {
            return Ok(());
        }
        table
            .cursor(device, 0)
            .scan(from, until, &mut |cluster, entry| {
                if entry == 0 {
                    Extent::append(&mut self.extents, cluster);
                    self.wanted -= 1;
                }
                self.wanted == 0
            })
    }
}
