//! Writes a disk to its output, which appears under its name only when it is whole.
//!
//! ```text
//!   disk ──raw, compressed──────────────────────────────▶ OUT.gz
//!   disk ──any format───▶ OUT
//!   disk ──any format───▶ a file without a name ──compressed──▶ OUT.gz
//!
//!   then, for every file:  synced │ and hashed beside that, where a digest is wanted ──▶ gets its name
//! ```

mod all;
mod digest;
mod pace;
mod room;
mod staged;

pub use all::emit_all;
pub(super) use all::{Load, side_by_side};
pub(super) use digest::seal;
use staged::{Names, Staged};

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use self::digest::Sha256Sum;
use super::plan::host_path;
use crate::block::{BlockDevice, FileDevice, OutputFile, OutputFolder};
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::image::qcow2::{self, Qcow2Options};
use crate::image::vmdk::{self, Adapter};
use crate::image::{
    CompressOptions, Identity, OutputFormat, compress_with, compression_of_path, parallels, plain_name, raw, vdi, vhd,
    vhdx,
};
use crate::progress::Progress;

/// An output to write.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where it goes; an existing regular file is replaced when the new one is whole.
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// What the whole file is compressed with.
    pub compress: Option<CompressOptions>,
    /// Details of qcow2.
    pub qcow2: Qcow2Options,
    /// The deflate level of vmdk_stream, 1 to 9.
    pub stream_level: u8,
    /// What identifiers and times are made from, besides the content.
    pub identity: Identity,
    /// Whether the SHA-256 of what is written is wanted. Holes of a sparse file count as the zeroes they read as, which
    /// takes about half a second for each GiB.
    pub digest: bool,
}

impl Output {
    /// An output at `path` with format and compression as its name asks for, and usual details.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            format: OutputFormat::of_path(&path),
            compress: compression_of_path(&path),
            qcow2: Qcow2Options::default(),
            stream_level: 6,
            identity: Identity::default(),
            digest: false,
            path,
        }
    }

    /// All files that would be replaced.
    pub fn files(&self) -> Vec<PathBuf> {
        match self.format {
            OutputFormat::VmdkFlat => vec![self.path.clone(), self.flat_path()],
            _ => vec![self.path.clone()],
        }
    }

    /// The second file of vmdk_flat.
    fn flat_path(&self) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{stem}-flat.vmdk"))
    }
}

/// A written output.
#[derive(Debug, Clone, Serialize)]
pub struct Artifact {
    /// The file.
    #[serde(serialize_with = "host_path")]
    pub path: PathBuf,
    /// Its format.
    pub format: OutputFormat,
    /// What it is compressed with and how hard, such as `gz:6`.
    pub compression: Option<String>,
    /// Length of the file (of all files, where there are several) in bytes.
    pub file_bytes: u64,
    /// Size of the disk it holds in bytes.
    pub disk_bytes: u64,
    /// All files: one, except for vmdk_flat (the descriptor first) and hdd.
    pub files: Vec<ArtifactFile>,
}

/// A file of an [`Artifact`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArtifactFile {
    /// Where it is.
    #[serde(serialize_with = "host_path")]
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes in hexadecimal digits, where [`Output::digest`] asked for it.
    pub sha256: Option<String>,
}

/// Writes `disk` to `output`. On failure nothing is left under its name but what was there before.
///
/// # Errors
///
/// The disk's read errors, those of the host's filesystem, and [`crate::ErrorKind::InvalidInput`] for details that do
/// not go together, such as compressing a folder.
pub fn emit(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Artifact> {
    let files =
        write(disk, output, progress).at(|| format!("writing {}", output.path.display())).map_err(
            |error| match error.kind() {
                ErrorKind::Environment => error.with_hint("free space there, or choose another folder for the output"),
                _ => error,
            },
        )?;
    Ok(Artifact {
        path: output.path.clone(),
        format: output.format,
        compression: output.compress.map(|options| options.to_string()),
        file_bytes: files.iter().map(|file| file.bytes).sum(),
        disk_bytes: disk.size(),
        files,
    })
}

fn write(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Vec<ArtifactFile>> {
    stage(disk, output, progress)?.commit(output.digest, progress)
}

/// Writes `disk` to files that have no names yet.
pub(super) fn stage(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Staged> {
    match output.format {
        OutputFormat::Hdd => stage_folder(disk, output, progress),
        OutputFormat::VmdkFlat => stage_flat(disk, output, progress),
        _ => stage_file(disk, output, progress),
    }
}

fn stage_file(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Staged> {
    let file = OutputFile::create(&output.path)?;
    let known = match (&output.compress, output.format) {
        (None, _) => write_image(disk, file.file(), output, progress).map(|()| None)?,
        (Some(options), OutputFormat::Raw) => write_compressed(disk, file.file(), options, output.digest, progress)?,
        (Some(options), _) => {
            let folder = file.target().parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            let unnamed = tempfile::tempfile_in(folder).map_err(|error| {
                Error::io(format!("creating a temporary file in {}", folder.display()), error)
                    .with_hint("the image is written there before it is compressed")
            })?;
            write_image(disk, &unnamed, output, progress)?;
            let image = FileDevice::from_file(unnamed, &output.path)?;
            write_compressed(&image, file.file(), options, output.digest, progress)?
        }
    };
    Staged::of_files(vec![(output.path.clone(), file)], known)
}

fn stage_flat(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Staged> {
    refuse_compression(output)?;
    let (descriptor, extent) = (OutputFile::create(&output.path)?, OutputFile::create(&output.flat_path())?);
    let extent_name = plain_name(&output.flat_path());
    let text = vmdk::write_flat(disk, extent.file(), &extent_name, Adapter::Ide, &output.identity, progress)?;
    put(descriptor.file(), &text)?;
    Staged::of_files(vec![(output.path.clone(), descriptor), (output.flat_path(), extent)], None)
}

fn stage_folder(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Staged> {
    refuse_compression(output)?;
    let name = plain_name(&output.path);
    let mut folder = OutputFolder::create(&output.path)?;
    let image_name = parallels::Descriptor::image_name(&name);
    let image = folder.file(&image_name)?;
    let descriptor = parallels::write(disk, &image, &name, &output.identity, progress)?;
    let text = folder.file(parallels::Descriptor::FILE_NAME)?;
    put(&text, &descriptor.to_xml()?)?;
    let mark = folder.file(&name)?;
    let files = [(image, &*image_name), (text, parallels::Descriptor::FILE_NAME), (mark, &*name)];
    let files = files.into_iter().map(|(file, name)| (output.path.join(name), file)).collect();
    Ok(Staged { files, known: None, names: Names::Folder(folder) })
}

/// Writes `image` compressed, and returns the digest of that where it is wanted.
fn write_compressed(
    image: &dyn BlockDevice,
    out: &File,
    options: &CompressOptions,
    digest: bool,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let (mut offset, mut sum) = (0, digest.then(Sha256Sum::default));
    compress_with(image, options, progress, &mut |bytes| {
        out.write_all_at(bytes, offset).map_err(|error| Error::io(format!("writing at {offset}"), error))?;
        offset += to_u64(bytes.len());
        sum.iter_mut().for_each(|sum| sum.update(bytes));
        Ok(())
    })?;
    Ok(sum.map(Sha256Sum::finish))
}

/// Writes an image that is one file.
fn write_image(disk: &dyn BlockDevice, out: &File, output: &Output, progress: &dyn Progress) -> Result<()> {
    let (name, identity) = (&plain_name(&output.path), &output.identity);
    match output.format {
        OutputFormat::Raw => raw::write(disk, out, progress).map(drop),
        OutputFormat::Qcow2 => qcow2::write(disk, out, &output.qcow2, progress).map(drop),
        OutputFormat::VmdkIde => vmdk::write_sparse(disk, out, name, Adapter::Ide, identity, progress),
        OutputFormat::VmdkScsi => vmdk::write_sparse(disk, out, name, Adapter::Lsilogic, identity, progress),
        OutputFormat::VmdkStream => vmdk::write_stream(disk, out, name, output.stream_level, identity, progress),
        OutputFormat::Vhd => vhd::write_dynamic(disk, out, identity, progress),
        OutputFormat::VhdFixed => vhd::write_fixed(disk, out, identity, progress),
        OutputFormat::Vhdx => vhdx::write(disk, out, identity, progress),
        OutputFormat::Vdi => vdi::write(disk, out, identity, progress),
        OutputFormat::VmdkFlat | OutputFormat::Hdd => {
            Err(Error::internal(format!("{} is more than one file", output.format)))
        }
    }
}

fn refuse_compression(output: &Output) -> Result<()> {
    match output.compress {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!("{} is more than one file, which cannot be compressed", output.format))
            .with_hint("leave --compress out, or choose a format that is one file")),
    }
}

fn put(mut file: &File, text: &str) -> Result<()> {
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| Error::io("writing the descriptor", error))
}
