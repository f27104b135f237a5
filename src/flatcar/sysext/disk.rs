//! A sysext file is a bare filesystem or a disk image (DDI): a GPT with the filesystem in one partition and its verity
//! data and signature in others, told apart by the types of the Discoverable Partitions Specification (UAPI.2).

use std::sync::Arc;

use super::usr_view::UsrView;
use crate::block::{BlockDevice, Window};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::ddi::{KINDS, has_gpt};
use crate::fs::{self, FileSystem};
use crate::image::NotADisk;
use crate::partition::{Partition, PartitionTable};

/// Opens a sysext file: a bare filesystem, or the root or usr partition of a disk image.
///
/// The paths are those of the extension, beginning with `/usr` or `/opt`, for a usr partition too.
pub fn open_extension(device: Arc<dyn BlockDevice>) -> Result<Box<dyn FileSystem>> {
    let content = find(device)?;
    let fs = match &content.place {
        Some(place) => fs::open(content.device).at(|| place.clone())?,
        None => fs::open(content.device)?,
    };
    Ok(if content.is_usr {
        Box::new(UsrView::new(fs))
    } else {
        fs
    })
}

/// The bytes of the filesystem of a sysext file.
pub(super) fn open_content(device: Arc<dyn BlockDevice>) -> Result<Arc<dyn BlockDevice>> {
    Ok(find(device)?.device)
}

/// The filesystem of a sysext file.
struct Content {
    device: Arc<dyn BlockDevice>,
    /// It holds what lies below /usr.
    is_usr: bool,
    /// What errors call it, where it is a partition.
    place: Option<String>,
}

fn find(device: Arc<dyn BlockDevice>) -> Result<Content> {
    if !has_gpt(&*device)? {
        refuse_what_is_known(&*device)?;
        return Ok(Content {
            device,
            is_usr: false,
            place: None,
        });
    }
    let table = PartitionTable::read(&device)?;
    let roots = of_kinds(&table, false);
    let (found, is_usr) = if roots.is_empty() {
        (of_kinds(&table, true), true)
    } else {
        (roots, false)
    };
    let [(name, partition)] = found.as_slice() else {
        let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
        return Err(match names.as_slice() {
            [] => Error::unsupported(
                "a disk image without a root or usr partition for x86-64 or arm64",
            )
            .with_hint("a sysext disk image has one, as made by systemd-repart --make-ddi=sysext"),
            names => Error::unsupported(format!(
                "a disk image with several such partitions: {}",
                names.join(", ")
            ))
            .with_hint("a sysext for one architecture has one root or usr partition"),
        });
    };
    let place = format!("{name} partition ({})", partition.number);
    let window =
        Window::of_image(device, partition.offset(), partition.size()).at(|| place.clone())?;
    Ok(Content {
        device: Arc::new(window),
        is_usr,
        place: Some(place),
    })
}

/// A file without any filesystem that is known to be something else is refused as what it is.
fn refuse_what_is_known(device: &dyn BlockDevice) -> Result<()> {
    if fs::probe(device)?.is_some() {
        return Ok(());
    }
    match NotADisk::of_unpacked(device)? {
        None => Ok(()),
        Some(other) => Err(other.refused_as(
            "a filesystem image",
            "give the image of the sysext itself: a squashfs, EROFS, ext4 or btrfs filesystem, or a disk image with one",
        )),
    }
}

/// The partitions with files for `/usr`, or for `/`, each with the name of its kind.
fn of_kinds(table: &PartitionTable, is_usr: bool) -> Vec<(&'static str, Partition)> {
    let named = |partition: Partition| {
        let kind = KINDS
            .iter()
            .find(|kind| kind.is_usr == is_usr && kind.files == partition.type_guid)?;
        Some((kind.name, partition))
    };
    table.partitions().filter_map(named).collect()
}
