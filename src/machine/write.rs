//! Bundles: a disk and its config files in one archive, laid out as a device and then copied or compressed.

use std::collections::BTreeSet;
use std::fs::File;

use super::conf_file::{ConfFile, Place};
use super::format::BundleFormat;
use crate::archive::tar::TarLayout;
use crate::block::{BlockDevice, Piece, Sections, sha256};
use crate::error::{Error, Result, ResultExt};
use crate::image::{CompressOptions, Compression, compress, data_stretches, raw};
use crate::progress::Progress;

/// The name by which Google Compute Engine finds the disk.
const GCE_DISK: &str = "disk.raw";

/// A file of a bundle.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Its path in the archive.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Piece<'a>,
}

impl<'a> Member<'a> {
    /// A disk image, or a part of one, with the usual permissions.
    pub fn device(path: impl Into<String>, device: &'a dyn BlockDevice) -> Self {
        Self {
            path: path.into(),
            mode: 0o644,
            content: Piece::whole(device),
        }
    }
}

impl From<&ConfFile> for Member<'_> {
    fn from(file: &ConfFile) -> Self {
        Self {
            path: file.name.clone(),
            mode: file.mode,
            content: Piece::Bytes(file.content.clone().into_bytes()),
        }
    }
}

/// How to write a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// When all members were last changed, in seconds since 1970; earlier times are taken as that.
    pub time: i64,
    /// How hard gzip packs, 1 to 9. An OVA is not packed.
    pub level: u8,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            time: 0,
            level: CompressOptions::new(Compression::Gzip).level,
        }
    }
}

/// Packs `members` into `out`, an empty file.
///
/// - OVA: one `.ovf` and its disks, in any order. A manifest with their SHA-256 is made, put behind the `.ovf`, and
///   returned for those who want it beside the bundle, too.
/// - Box and Parallels machine: any members, in their order.
/// - Google: the disk alone, a device called `disk.raw`, as a sparse file.
///
/// The bytes depend on the members and options alone. `out` is neither synced nor renamed, and left unfinished on
/// failure.
///
/// # Errors
///
/// Read errors of the devices; [`crate::ErrorKind::Io`] and [`crate::ErrorKind::Environment`] (disk full) for `out`;
/// [`crate::ErrorKind::InvalidInput`] for members that are not what the format wants, for a level out of range and
/// where `out` is not empty.
pub fn write_bundle(
    format: BundleFormat,
    members: &[Member<'_>],
    out: &File,
    options: WriteOptions,
    progress: &dyn Progress,
) -> Result<Option<ConfFile>> {
    check_unique(members)?;
    let mut layout = TarLayout::new(u64::try_from(options.time).unwrap_or(0));
    let mut made = None;
    match format {
        BundleFormat::Ova => {
            let (ovf, disks) = open_virtualization(members)?;
            let manifest = manifest(ovf, &disks, progress)?;
            add(&mut layout, ovf)?;
            layout.file(
                &manifest.name,
                manifest.mode,
                manifest.content.clone().into_bytes(),
            )?;
            for disk in disks {
                add(&mut layout, disk)?;
            }
            made = Some(manifest);
        }
        BundleFormat::Box | BundleFormat::PvmTgz => add_tree(&mut layout, members)?,
        BundleFormat::Gce => {
            let disk = google_disk(members)?;
            layout.sparse(GCE_DISK, 0o644, disk, &data_stretches(disk, progress)?)?;
        }
    }
    let archive = layout.finish()?;
    if format == BundleFormat::Ova {
        raw::write(&archive, out, progress)?;
    } else {
        let gzip = CompressOptions {
            level: options.level,
            ..CompressOptions::new(Compression::Gzip)
        };
        compress(&archive, out, &gzip, progress)?;
    }
    Ok(made)
}

fn check_unique(members: &[Member<'_>]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match members.iter().find(|member| !seen.insert(&member.path)) {
        Some(twice) => Err(Error::invalid(format!(
            "'{}' is in the bundle twice",
            twice.path.escape_debug()
        ))),
        None => Ok(()),
    }
}

fn add<'a>(layout: &mut TarLayout<'a>, member: &Member<'a>) -> Result<()> {
    layout.piece(&member.path, member.mode, member.content.clone())
}

/// Adds members, and each folder in front of what is first in it.
fn add_tree<'a>(layout: &mut TarLayout<'a>, members: &[Member<'a>]) -> Result<()> {
    let mut folders = BTreeSet::new();
    for member in members {
        for (at, _) in member.path.match_indices('/') {
            if folders.insert(&member.path[..at]) {
                layout.directory(&member.path[..at], 0o755)?;
            }
        }
        add(layout, member)?;
    }
    Ok(())
}

/// The `.ovf` and everything else.
fn open_virtualization<'m, 'a>(
    members: &'m [Member<'a>],
) -> Result<(&'m Member<'a>, Vec<&'m Member<'a>>)> {
    let (ovfs, disks): (Vec<_>, Vec<_>) = members
        .iter()
        .partition(|member| member.path.ends_with(".ovf"));
    match (
        &ovfs[..],
        disks.iter().any(|disk| disk.path.ends_with(".mf")),
    ) {
        ([ovf], false) => Ok((ovf, disks)),
        _ => Err(Error::invalid(format!(
            "an OVA of {} .ovf files: it needs one, its disks and nothing else",
            ovfs.len()
        ))
        .with_hint("the manifest is made while the OVA is written")),
    }
}

/// The one device that Google wants.
fn google_disk<'a>(members: &[Member<'a>]) -> Result<&'a dyn BlockDevice> {
    match members {
        [
            Member {
                path,
                content:
                    Piece::Device {
                        device,
                        start: 0,
                        len,
                    },
                ..
            },
        ] if path == GCE_DISK && *len == device.size() => Ok(*device),
        _ => {
            let names: Vec<_> = members.iter().map(|member| member.path.as_str()).collect();
            Err(Error::invalid(format!(
                "an image for Google of '{}'",
                names.join("', '").escape_debug()
            ))
            .with_hint(format!(
                "it holds a disk called {GCE_DISK} and nothing else"
            )))
        }
    }
}

/// The manifest, called as the `.ovf` is.
fn manifest(ovf: &Member<'_>, disks: &[&Member<'_>], progress: &dyn Progress) -> Result<ConfFile> {
    let members: Vec<&Member<'_>> = std::iter::once(ovf).chain(disks.iter().copied()).collect();
    let size = |member: &&Member<'_>| member.content.size();
    progress.start("hashing for the manifest", members.iter().map(size).sum());
    let lines: Result<String> = members
        .iter()
        .map(|member| manifest_line(member, progress))
        .collect();
    progress.finish();
    let stem = ovf.path.strip_suffix(".ovf").unwrap_or(&ovf.path);
    Ok(ConfFile {
        place: Place::Both,
        ..ConfFile::beside(format!("{stem}.mf"), lines?)
    })
}

/// The line of a manifest that tells the SHA-256 of a member (DSP0243, clause 6.2).
fn manifest_line(member: &Member<'_>, progress: &dyn Progress) -> Result<String> {
    let mut content = Sections::new();
    content.push_piece(member.content.clone())?;
    let digest =
        sha256(&content, &mut |bytes| progress.advance(bytes)).at(|| member.path.clone())?;
    Ok(format!("SHA256({})= {digest}\n", member.path))
}
