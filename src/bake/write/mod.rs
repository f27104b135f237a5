//! Writes disks to their outputs, which appear under their names only when they are whole.
//!
//! ```text
//!   disk ──raw, compressed──────────────────────────────▶ OUT.gz
//!   disk ──any format───▶ OUT
//!   disk ──any format───▶ a file without a name ──compressed──▶ OUT.gz
//!
//!   then, for every file:  synced │ and hashed beside that, where a digest is wanted ──▶ a last check ──▶ its name
//! ```
//!
//! Whatever is written is a job of the one scheduler: see [`schedule`].

mod all;
mod bundled;
mod details;
mod digest;
mod live;
mod load;
mod output;
mod pace;
mod room;
mod run;
mod schedule;
mod sectors;
mod share;
mod staged;
mod stream;
mod stream_run;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod vendor;

pub use all::{emit, emit_all};
pub use details::{CompressionType, Level, OutputDetails};
use output::compress_memory;
pub use output::{Artifact, ArtifactFile, Output};
pub use run::Written;
pub(super) use run::{Outcome, WrittenFile};
use schedule::Desk;
pub use schedule::Oversight;
pub(in crate::bake) use sectors::check_sectors;
pub use sectors::in_sectors_of;
pub use stream::{Streamed, stream};

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use self::digest::{Sha256Sum, SharedSum, Sum};
use self::output::refuse_compression;
use self::staged::{Names, Staged};
use crate::block::{BlockDevice, FileDevice, OutputFile, OutputFolder};
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::{CompressOptions, ExtentWriter, FolderWriter, OutputFormat, WriteJob, Writer};
use crate::image::{compress_with, plain_name};
use crate::progress::Progress;

/// Writes `disk`, which is read as it is, to `output`, as a part of a job that declared [`Output::work`] for it. On
/// failure nothing is left under its name but what was there before. `shared` is the digest of all raw outputs of this
/// disk, where there may be others.
///
/// # Errors
///
/// Those of [`emit`], and that of the run's check before outputs get their names.
fn write_output(
    desk: &Desk<'_>,
    disk: &dyn BlockDevice,
    output: &Output,
    shared: Option<&SharedSum>,
) -> Result<Artifact> {
    check_sectors(output.format, sectors::sector_bytes(disk))
        .at(|| format!("writing {}", output.path.display()))?;
    let write = || stage(desk, disk, output)?.commit(desk, sum_of(output, shared), disk.size());
    let files = write()
        .at(|| format!("writing {}", output.path.display()))
        .map_err(with_hint)?;
    Ok(Artifact {
        path: output.path.clone(),
        format: output.format,
        compression: output.compress.map(|options| options.to_string()),
        file_bytes: files.iter().map(|file| file.bytes).sum(),
        disk_bytes: disk.size(),
        files,
    })
}

/// What digest `output` wants: `shared` is that of the disk's own bytes.
fn sum_of<'a>(output: &Output, shared: Option<&'a SharedSum>) -> Sum<'a> {
    let is_the_disk = output.format == OutputFormat::Raw && output.compress.is_none();
    match (output.digest, shared.filter(|_| is_the_disk)) {
        (false, _) => Sum::Unwanted,
        (true, None) => Sum::Own,
        (true, Some(shared)) => Sum::Shared(shared),
    }
}

fn with_hint(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Environment => {
            error.with_hint("free space there, or choose another folder for the output")
        }
        _ => error,
    }
}

/// Writes `disk` to files that have no names yet.
pub(super) fn stage(desk: &Desk<'_>, disk: &dyn BlockDevice, output: &Output) -> Result<Staged> {
    match output.format.row().writer {
        Writer::File(_) => stage_file(desk, disk, output),
        Writer::WithExtent { write, .. } => stage_pair(desk, disk, output, write),
        Writer::Folder(write) => stage_folder(desk, disk, output, write),
    }
}

fn stage_file(desk: &Desk<'_>, disk: &dyn BlockDevice, output: &Output) -> Result<Staged> {
    let file = OutputFile::create(&output.path)?;
    let mut known = None;
    if let Some(options) = &output.compress {
        let mut sum = output.digest.then(Sha256Sum::default);
        let mut offset = 0;
        let folder = file
            .target()
            .parent()
            .filter(|parent| *parent != Path::new(""))
            .unwrap_or(Path::new("."));
        let making = Making {
            desk,
            disk,
            output,
            folder,
        };
        making.compressed(options, &mut |bytes| {
            let at = |error| Error::io(format!("writing at {offset}"), error);
            file.file().write_all_at(bytes, offset).map_err(at)?;
            offset += to_u64(bytes.len());
            sum.iter_mut().for_each(|sum| sum.update(bytes));
            Ok(())
        })?;
        known = sum.map(Sha256Sum::finish);
    } else {
        write_image(disk, file.file(), output, &desk.step(disk.size()))?;
    }
    Staged::of_files(vec![(output.path.clone(), file)], known)
}

/// A descriptor, and a file beside it that holds the disk.
fn stage_pair(
    desk: &Desk<'_>,
    disk: &dyn BlockDevice,
    output: &Output,
    write: ExtentWriter,
) -> Result<Staged> {
    refuse_compression(output)?;
    let extent_path = output
        .extent_path()
        .ok_or_else(|| Error::internal("the format has a second file"))?;
    let descriptor = OutputFile::create(&output.path)?;
    let extent = OutputFile::create(&extent_path)?;
    let step = desk.step(disk.size());
    let text = write(
        &job(disk, output, &image_name(output), &step),
        extent.file(),
        &plain_name(&extent_path),
    )?;
    put(descriptor.file(), &text)?;
    Staged::of_files(
        vec![(output.path.clone(), descriptor), (extent_path, extent)],
        None,
    )
}

fn stage_folder(
    desk: &Desk<'_>,
    disk: &dyn BlockDevice,
    output: &Output,
    write: FolderWriter,
) -> Result<Staged> {
    refuse_compression(output)?;
    let mut folder = OutputFolder::create(&output.path)?;
    let mut files = Vec::new();
    let mut create = |name: &str| {
        let file = folder.file(name)?;
        let again = file
            .try_clone()
            .map_err(|error| Error::io("opening a new file once more", error))?;
        files.push((output.path.join(name), again));
        Ok(file)
    };
    let step = desk.step(disk.size());
    write(&job(disk, output, &image_name(output), &step), &mut create)?;
    Ok(Staged {
        files,
        known: None,
        names: Names::Folder(folder),
    })
}

/// An output that is made front to back, perhaps from a file without a name in `folder`.
struct Making<'a, 'd> {
    desk: &'a Desk<'d>,
    disk: &'a dyn BlockDevice,
    output: &'a Output,
    folder: &'a Path,
}

impl Making<'_, '_> {
    /// Gives the bytes of a compressed output to `sink`, in order; what is compressed from a file is written to one
    /// before.
    fn compressed(
        &self,
        options: &CompressOptions,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let name = image_name(self.output);
        if self.output.format == OutputFormat::Raw {
            return compress_with(self.disk, options, &name, &self.step(), sink);
        }
        let image = self.unnamed()?;
        compress_with(&self.desk.watch(image), options, &name, &self.step(), sink)
    }

    /// Writes an image that is one file, and not compressed, to a file without a name.
    fn unnamed(&self) -> Result<FileDevice> {
        let unnamed = tempfile::tempfile_in(self.folder).map_err(|error| {
            Error::io(
                format!("creating a temporary file in {}", self.folder.display()),
                error,
            )
            .with_hint("the image is written there first")
        })?;
        write_image(self.disk, &unnamed, self.output, &self.step())?;
        FileDevice::from_file(unnamed, &self.output.path)
    }

    /// One way of the whole disk.
    fn step(&self) -> impl Progress {
        self.desk.step(self.disk.size())
    }
}

/// What the image is called without the ending of what it is compressed with.
fn image_name(output: &Output) -> String {
    let name = plain_name(&output.path);
    let packed = output
        .compress
        .map(|options| format!(".{}", options.compression.extension()));
    packed
        .and_then(|ending| name.strip_suffix(&ending).map(str::to_owned))
        .unwrap_or(name)
}

/// Writes an image that is one file.
fn write_image(
    disk: &dyn BlockDevice,
    out: &File,
    output: &Output,
    progress: &dyn Progress,
) -> Result<()> {
    match output.format.row().writer {
        Writer::File(write) => write(&job(disk, output, &image_name(output), progress), out),
        _ => Err(Error::internal(format!(
            "{} is more than one file",
            output.format
        ))),
    }
}

/// What a format's writer needs to know of `disk` and `output`, whose image is called `name`.
fn job<'a>(
    disk: &'a dyn BlockDevice,
    output: &'a Output,
    name: &'a str,
    progress: &'a dyn Progress,
) -> WriteJob<'a> {
    WriteJob {
        disk,
        name,
        sector_bytes: sectors::sector_bytes(disk),
        qcow2: &output.qcow2,
        stream_level: output.stream_level,
        identity: &output.identity,
        progress,
    }
}

fn put(mut file: &File, text: &str) -> Result<()> {
    std::io::Write::write_all(&mut file, text.as_bytes())
        .map_err(|error| Error::io("writing the descriptor", error))
}
