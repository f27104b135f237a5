//! VMDK, VMware's disk image format (specification: "Virtual Disk Format 5.0", VMware 2011).
//!
//! ```text
//!   monolithicSparse, streamOptimized    header │ descriptor │ grain directory │ grain tables │ grains
//!   twoGbMaxExtent*, monolithicFlat,     descriptor file ──▶ extents: SPARSE, FLAT, VMFSSPARSE … files, or ZERO
//!   vmfs*                                      └─ parentFileNameHint ──▶ the disk that this one changes
//! ```

use std::sync::Arc;

use super::concat::{Concat, Zeroes};
use super::descriptor::{Descriptor, ExtentLine, ExtentType};
use super::sparse::{self, Header};
use crate::block::{BlockDevice, Window};
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::image::block_writer::SECTOR;
use crate::image::mapped::{Below, Mapped, check_size};
use crate::image::references::References;

/// A descriptor is some 500 bytes of text, and 60 for each extent.
const DESCRIPTOR_MAX: u64 = 1 << 20;

/// Opens the image in `file`, which may be a descriptor or a sparse extent.
pub(in crate::image) fn open(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    Ok(open_disk(file, references)?.0)
}

/// The disk, and the content ID of its descriptor, which disks above it name.
fn open_disk(
    file: Arc<dyn BlockDevice>,
    references: &References,
) -> Result<(Arc<dyn BlockDevice>, Option<u32>)> {
    let mut magic = [0; 4];
    file.read_at(0, &mut magic)?;
    if !sparse::is_sparse(magic) {
        let descriptor = Descriptor::parse(&text(&*file, 0, file.size())?)?;
        return open_extents(&descriptor, references);
    }
    let header = Header::read(&*file)?;
    references.note(|details| header.note(details));
    let descriptor = match header.descriptor {
        Some((offset, len)) => Some(Descriptor::parse(&text(&*file, offset, len)?)?),
        None => None,
    };
    match descriptor {
        // The header of an extent that holds nothing but a descriptor of others.
        Some(descriptor) if header.size == 0 => open_extents(&descriptor, references),
        Some(descriptor) => {
            references.note(|details| {
                descriptor.note(details);
                details.virtual_bytes = Some(header.size);
            });
            let below = open_parent(&descriptor, references)?;
            let disk = sparse_extent(file, &header, below, references)?;
            Ok((disk, Some(descriptor.cid)))
        }
        None => Ok((sparse_extent(file, &header, None, references)?, None)),
    }
}

fn text(file: &dyn BlockDevice, offset: u64, len: u64) -> Result<Vec<u8>> {
    if len > DESCRIPTOR_MAX {
        return Err(Error::corrupt(format!(
            "a VMDK descriptor of {len} bytes: at most {DESCRIPTOR_MAX} are allowed"
        )));
    }
    let mut text = vec![0; to_usize(len)?];
    file.read_at(offset, &mut text)
        .at(|| "the VMDK descriptor")?;
    Ok(text)
}

/// The disk below, where the descriptor names one.
fn open_parent(descriptor: &Descriptor, references: &References) -> Result<Option<Below>> {
    let Some(wanted) = descriptor.parent_cid else {
        return Ok(None);
    };
    let name = descriptor.parent.as_deref().ok_or_else(|| {
        Error::corrupt(
            "the VMDK descriptor has a parentCID, but no parentFileNameHint that names the parent",
        )
    })?;
    let (file, below) = references.open("parent", name)?;
    let place = || format!("parent '{}'", String::from_utf8_lossy(name));
    let (device, cid) = open_disk(Arc::new(file), &below).at(place)?;
    if cid != Some(wanted) {
        let has = cid.map_or_else(|| "none".to_owned(), |cid| format!("{cid:08x}"));
        let message =
            format!("its content ID is {has}, but the disk above it was made for {wanted:08x}");
        return Err(Error::corrupt(message)
            .with_hint("the parent was changed, or it is another file")
            .at(place()));
    }
    Ok(Some(Below::new(device, 0)))
}

fn sparse_extent(
    file: Arc<dyn BlockDevice>,
    header: &Header,
    below: Option<Below>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    if header.unclean {
        references
            .progress
            .found(&Finding::new(code::IMAGE_NOT_CLOSED).with("format", "VMDK"));
    }
    Ok(Arc::new(Mapped::new(sparse::Sparse::new(
        file, header, below,
    )?)?))
}

/// All extents of a descriptor, one behind the other.
fn open_extents(
    descriptor: &Descriptor,
    references: &References,
) -> Result<(Arc<dyn BlockDevice>, Option<u32>)> {
    if descriptor.extents.is_empty() {
        return Err(Error::corrupt("the VMDK descriptor names no extents")
            .with_hint("check that the file is complete and the right one"));
    }
    references.note(|details| {
        descriptor.note(details);
        details.external_references.extend(descriptor.files());
    });
    let below = open_parent(descriptor, references)?;
    let mut start = 0;
    let mut devices = Vec::with_capacity(descriptor.extents.len());
    for extent in &descriptor.extents {
        let below = below.as_ref().map(|below| below.from(start));
        let device = open_extent(extent, below, references)
            .at(|| format!("extent '{}'", String::from_utf8_lossy(&extent.name)))?;
        start = device.size().saturating_add(start);
        check_size(start)?;
        devices.push(device);
    }
    Ok((Arc::new(Concat::new(devices)), Some(descriptor.cid)))
}

fn open_extent(
    extent: &ExtentLine,
    below: Option<Below>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let too_long = || {
        Error::corrupt(format!(
            "{} sectors are more than any disk has",
            extent.sectors
        ))
    };
    let len = extent.sectors.checked_mul(SECTOR).ok_or_else(too_long)?;
    match extent.kind {
        ExtentType::Zero => Ok(Arc::new(Zeroes(len))),
        ExtentType::Flat => {
            let (file, _) = references.open("extent", &extent.name)?;
            let start = extent.offset.checked_mul(SECTOR).ok_or_else(too_long)?;
            Ok(Arc::new(Window::of_image(file, start, len)?))
        }
        ExtentType::Sparse => {
            let (file, references) = references.open("extent", &extent.name)?;
            let header = Header::read(&file)?;
            let device = sparse_extent(Arc::new(file), &header, below, &references)?;
            Ok(Arc::new(Window::of_image(device, 0, len)?))
        }
    }
}
