//! The base image: opened, registered, and what is known of it before anything is changed.

use super::super::request::{Base, Context, Request};
use crate::block::{Inputs, shown};
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::{Designator, Disk, OsRelease};
use crate::fs::{ByPath, FsPath, Timestamp};
use crate::image::{self, Compression, Format, OpenOptions};

/// `ID` in the os-release of Azure Container Linux.
const AZURE_LINUX: &str = "azurelinux";
/// Partitions that it has and Flatcar has not: hash trees of its two systems.
const AZURE_LINUX_LABELS: [&str; 2] = ["HASH-A", "HASH-B"];

/// What is known of the base image.
#[derive(Debug, Clone)]
pub(in crate::bake) struct BaseFacts {
    pub(in crate::bake) name: String,
    pub(in crate::bake) format: Format,
    pub(in crate::bake) compression: Option<Compression>,
    pub(in crate::bake) disk_bytes: u64,
    pub(in crate::bake) release: Option<OsRelease>,
}

/// Opens the base image, and registers it and the files that it refers to.
pub(super) fn open_base(
    request: &Request,
    context: &Context<'_>,
    inputs: &Inputs,
) -> Result<(Disk, BaseFacts)> {
    let options = OpenOptions {
        cache: context.cache.clone(),
        threads: context.threads,
        allow_external: request.policy.allow_external,
        inputs: inputs.clone(),
        ..OpenOptions::new(&context.temp_dir)
    };
    let opened = match &request.base {
        Base::Path(path) => image::open(path, &options, context.progress)?,
        Base::Open(file, name) => {
            let file = file
                .try_clone()
                .map_err(|error| Error::io("opening the base image again", error))?;
            image::open_file(file, name, &options, context.progress)?
        }
    };
    let name = shown(request.base.name());
    image::check_whole(&*opened.device, &context.cancel).at(|| name.clone())?;
    let facts = BaseFacts {
        name: name.clone(),
        format: opened.format,
        compression: opened.compression,
        disk_bytes: opened.device.size(),
        release: None,
    };
    Ok((Disk::open(name, opened.device)?, facts))
}

/// The release of the base image. Only sysexts need it: an unreadable USR must not stop other edits.
pub(super) fn release_of(disk: &Disk, findings: &mut Vec<Finding>) -> Option<OsRelease> {
    disk.os_release().unwrap_or_else(|error| {
        findings.push(Finding::new(code::RELEASE_UNKNOWN).with("why", error));
        None
    })
}

/// A signature says who made an image, and not that it is of the release that was asked for.
pub(super) fn refuse_other_releases(
    wanted: Option<&str>,
    release: Option<&OsRelease>,
) -> Result<()> {
    let found = release.and_then(OsRelease::version);
    match wanted {
        Some(wanted) if found != Some(wanted) => Err(Error::new(
            ErrorKind::Untrusted,
            format!(
                "release {wanted} was asked for, and the image is of {}",
                found.unwrap_or("none that can be told")
            ),
        )
        .with_hint("the server, or a mirror of it, has another release's image there")),
        _ => Ok(()),
    }
}

/// Azure Container Linux derives from Flatcar, but its partitions and its way of booting are others: nothing that is known
/// of Flatcar's may be applied to it.
pub(super) fn refuse_other_systems(disk: &Disk, release: Option<&OsRelease>) -> Result<()> {
    let is_named = release.is_some_and(|release| release.id() == AZURE_LINUX);
    let has_its_partitions = disk
        .table()
        .partitions()
        .any(|partition| AZURE_LINUX_LABELS.contains(&partition.name.to_string().as_str()));
    if !is_named && !has_its_partitions {
        return Ok(());
    }
    let why = "this is Azure Container Linux, not Flatcar: it boots without GRUB, and its partitions are others";
    Err(Error::unsupported(why)
        .with_hint("looking into it and converting it work; what is to be in it must be put there by its own tools")
        .at(disk.name()))
}

/// The newest time that the base image shows: that of the top folders of OEM and ROOT and of os-release.
///
/// A partition that is missing or empty shows no time. One that cannot be read may hide a newer time, which is told.
pub(super) fn newest_time(disk: &Disk, findings: &mut Vec<Finding>) -> Timestamp {
    let places = [
        (Designator::Oem, "/"),
        (Designator::Root, "/"),
        (Designator::Usr, "/lib/os-release"),
    ];
    let mut newest = Timestamp::default();
    for (partition, path) in places {
        let read = || {
            disk.filesystem(partition.into())?
                .metadata_at(&FsPath::new(path)?)
        };
        match read() {
            Ok(metadata) => newest = newest.max(metadata.mtime),
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.reason() == Some(Reason::Unformatted) => {}
            Err(error) => {
                let finding = Finding::new(code::TIME_UNKNOWN)
                    .with("partition", partition)
                    .with("why", error);
                findings.push(finding);
            }
        }
    }
    Timestamp {
        secs: newest.secs.max(0),
        nanos: 0,
    }
}
