//! Opens a disk image as a device, through its compression if there is one.
//!
//! ```text
//!   disk.bin       raw ──────────────────────────────────────────────▶ FileDevice, holes known
//!   disk.bin.xz    sha256 ──▶ in the cache? ──yes──────────────────▶ FileDevice over DIR/<sha256>.raw
//!                                 └─no─▶ parallel decode, one sparse file ─▶ the same
//!                  without a cache, or where it cannot be used: a file without a name in the temporary folder
//! ```
//!
//! Either file may be an image in another format than raw: a reader of that format then stands above it.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::{Claim, Entry};
use super::details::Details;
use super::detect::{Compression, Content, detect, detect_start};
use super::format::Format;
use super::not_a_disk::{HEAD_BYTES, NotADisk};
use super::parallels;
use super::references::References;
use super::scratch::Input;
use crate::block::{BlockDevice, FileDevice, Inputs, SelfDescribed, Watched};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::progress::Progress;

/// Where a decompressed disk is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheMode {
    /// In this folder, made where it is missing, to be found again by the next run.
    Dir(PathBuf),
    /// Nowhere: it is gone when the image is closed.
    None,
}

/// How to open an image.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Where a decompressed disk is kept.
    pub cache: CacheMode,
    /// The folder for a decompressed disk that is not kept.
    pub temp_dir: PathBuf,
    /// Threads that decompress.
    pub threads: NonZeroUsize,
    /// Open files that the image refers to, where they lie below its folder. Only for images from a trusted source:
    /// whoever made the image chooses which of those files are read as a part of it.
    pub allow_external: bool,
    /// Where files are registered that are opened: the image with the role `base image`, those that it refers to with
    /// `file of the base image`. Those of the cache are not.
    pub inputs: Inputs,
}

/// What the file of an image is to a run.
const ROLE: &str = "base image";

impl OpenOptions {
    /// No cache, no other files, as many threads as there are processors, and a register of its own.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            cache: CacheMode::None,
            temp_dir: temp_dir.into(),
            threads,
            allow_external: false,
            inputs: Inputs::default(),
        }
    }
}

/// An open disk image, which is never written to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Image {
    /// The bytes of the disk.
    pub device: Arc<dyn BlockDevice>,
    /// The format of the file, after decompression.
    pub format: Format,
    /// What the file is compressed with.
    pub compression: Option<Compression>,
    /// The file that was opened.
    pub path: PathBuf,
    /// The size of that file in bytes, compressed as it is; `device.size()` is the size of the disk.
    pub file_size: u64,
    /// What it says of itself.
    pub details: Details,
}

/// What [`examine`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct Examined {
    /// The bytes of the disk; `None` where they are in other files too, which may not be opened.
    pub device: Option<Arc<dyn BlockDevice>>,
    /// The format of the file, after decompression.
    pub format: Format,
    /// What the file is compressed with.
    pub compression: Option<Compression>,
    /// The size of the file in bytes, compressed as it is.
    pub file_size: u64,
    /// What it says of itself.
    pub details: Details,
}

/// Opens the image at `path`: a disk in any [`Format`], as it is or compressed, or the folder of a Parallels disk.
///
/// Files that the image refers to (backing files, data files, extents, parents) are opened only with
/// [`OpenOptions::allow_external`]. What should be known about the image goes to [`Progress::found`]. The disk cannot be
/// read any more once the flag of [`OpenOptions::inputs`] is raised.
///
/// # Errors
///
/// [`crate::ErrorKind::Unsupported`] for features of a format that cannot be read, among them encryption, and for
/// references that are not allowed; [`crate::ErrorKind::InvalidInput`] for what is not a disk at all,
/// [`crate::ErrorKind::Corrupt`] for a damaged image or compressed file, and [`crate::ErrorKind::Environment`] for a full
/// disk while decompressing. A cache folder that cannot be used is a warning.
pub fn open(path: &Path, options: &OpenOptions, progress: &dyn Progress) -> Result<Image> {
    Base::at(path, options)?.open(options, progress)
}

/// Opens the image in `file`, a regular file that messages call `name`, as [`open`] does.
///
/// It is not registered as an input and refers to no other files, whatever is allowed: it has no folder.
///
/// # Errors
///
/// Those of [`open`].
pub fn open_file(
    file: File,
    name: &Path,
    options: &OpenOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    Base::unnamed(file, name).open(options, progress)
}

/// Looks at the image at `path` as [`open`] does, but has something to tell as well of an image that refers to files
/// which may not be opened.
///
/// # Errors
///
/// Those of [`open`], but for references that are not allowed.
pub fn examine(path: &Path, options: &OpenOptions, progress: &dyn Progress) -> Result<Examined> {
    Base::at(path, options)?.examine(options, progress)
}

/// Looks at the image in `file` as [`open_file`] does, as [`examine`] has it.
///
/// # Errors
///
/// Those of [`examine`].
pub fn examine_file(
    file: File,
    name: &Path,
    options: &OpenOptions,
    progress: &dyn Progress,
) -> Result<Examined> {
    Base::unnamed(file, name).examine(options, progress)
}

/// The file of an image.
struct Base {
    file: File,
    path: PathBuf,
    /// The file is registered as an input by its path. Without, the path is only what messages call it.
    is_input: bool,
}

impl Base {
    fn at(path: &Path, options: &OpenOptions) -> Result<Self> {
        let path = parallels::image_file(path)?;
        let file = options.inputs.open(ROLE, &path)?;
        Ok(Self {
            file,
            path,
            is_input: true,
        })
    }

    fn unnamed(file: File, name: &Path) -> Self {
        Self {
            file,
            path: name.to_owned(),
            is_input: false,
        }
    }

    fn open(self, options: &OpenOptions, progress: &dyn Progress) -> Result<Image> {
        let opened = || {
            let Unpacked {
                device,
                format,
                compression,
                size,
            } = self.unpacked(options, progress)?;
            let references = self.references(options, progress);
            let device = cancellable(open_disk(device, format, &references)?, options);
            let path = self.path.clone();
            let details = references.details();
            Ok(Image {
                device,
                format,
                compression,
                path,
                file_size: size,
                details,
            })
        };
        opened().at(|| self.path.display().to_string())
    }

    fn examine(self, options: &OpenOptions, progress: &dyn Progress) -> Result<Examined> {
        let examined = || {
            let Unpacked {
                device,
                format,
                compression,
                size,
            } = self.unpacked(options, progress)?;
            let references = self.references(options, progress);
            let device = match open_disk(device, format, &references) {
                Ok(device) => Some(cancellable(device, options)),
                Err(_) if references.refused() => None,
                Err(error) => return Err(error),
            };
            Ok(Examined {
                device,
                format,
                compression,
                file_size: size,
                details: references.details(),
            })
        };
        examined().at(|| self.path.display().to_string())
    }

    fn references<'a>(
        &self,
        options: &'a OpenOptions,
        progress: &'a dyn Progress,
    ) -> References<'a> {
        let allowed = options.allow_external && self.is_input;
        References::new(&self.path, allowed, &options.inputs, progress)
    }

    fn unpacked(&self, options: &OpenOptions, progress: &dyn Progress) -> Result<Unpacked> {
        let again = || {
            self.file
                .try_clone()
                .map_err(|error| Error::io("opening it again", error))
        };
        let device = FileDevice::from_file(again()?, &self.path)?;
        let size = device.size();
        let (device, format, compression) = match detect(&device)? {
            Content::Disk(format) => (device, format, None),
            Content::Compressed(compression) => {
                let input = Input::new(
                    again()?,
                    compression,
                    &self.path,
                    options.inputs.cancel().clone(),
                )?;
                let device = self.decompressed(&input, options, progress)?;
                let format = disk_within(compression, detect(&device)?)?;
                (device, format, Some(compression))
            }
        };
        Ok(Unpacked {
            device: Arc::new(device),
            format,
            compression,
            size,
        })
    }

    /// The decompressed disk, from the cache where there is one.
    fn decompressed(
        &self,
        input: &Input,
        options: &OpenOptions,
        progress: &dyn Progress,
    ) -> Result<FileDevice> {
        let unnamed = || input.decode_unnamed(&options.temp_dir, options.threads, progress);
        let CacheMode::Dir(folder) = &options.cache else {
            check_start(input)?;
            return unnamed();
        };
        let sha256 = input.sha256(progress)?;
        if self.is_input {
            options.inputs.digested(&self.path, sha256.clone())?;
        }
        let entry = Entry::new(folder, &sha256);
        if let Some(device) = entry.open() {
            return Ok(device);
        }
        check_start(input)?;
        match entry.claim(options.inputs.cancel(), progress) {
            Ok(Claim::Filled(device)) => Ok(device),
            Ok(Claim::Vacant(vacancy)) => {
                input.decode_into(vacancy.file(), folder, options.threads, progress)?;
                vacancy.fill()
            }
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            Err(error) => {
                let folder = folder.display();
                let temp = options.temp_dir.display();
                let found = Finding::new(code::CACHE_UNUSABLE).with("folder", folder);
                progress.found(&found.with("temp", temp).with("why", error));
                unnamed()
            }
        }
    }
}

/// The file of an image, without its compression.
struct Unpacked {
    device: Arc<dyn BlockDevice>,
    format: Format,
    compression: Option<Compression>,
    /// Of the file as it is, in bytes.
    size: u64,
}

fn cancellable(disk: Arc<dyn BlockDevice>, options: &OpenOptions) -> Arc<dyn BlockDevice> {
    Arc::new(Watched::new(disk, options.inputs.cancel()))
}

/// The disk in `file`, an image of `format`.
pub(super) fn open_disk(
    file: Arc<dyn BlockDevice>,
    format: Format,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    let file: Arc<dyn BlockDevice> = match format {
        // Positions in a raw image are the caller's own.
        Format::Raw => file,
        _ => Arc::new(SelfDescribed(file)),
    };
    (format.opener())(file, references)
}

/// The disk in a file that an image refers to without naming its format.
pub(super) fn open_reference(
    file: SelfDescribed<FileDevice>,
    references: &References,
) -> Result<Arc<dyn BlockDevice>> {
    match detect(&file)? {
        Content::Disk(format) => open_disk(Arc::new(file), format, references),
        Content::Compressed(compression) => Err(Error::unsupported(format!(
            "it is compressed with {compression}"
        ))
        .with_hint("only the image itself may be compressed")),
    }
}

/// Looks at the start within, so that what cannot be opened anyway is not decompressed in full.
fn check_start(input: &Input) -> Result<()> {
    let start = input.decoded_start(HEAD_BYTES)?;
    let format = disk_within(input.compression(), detect_start(&start))?;
    match NotADisk::of_start(&start).filter(|_| format == Format::Raw) {
        Some(other) => Err(other.refusal()),
        None => Ok(()),
    }
}

fn disk_within(outer: Compression, content: Content) -> Result<Format> {
    match content {
        Content::Disk(format) => Ok(format),
        Content::Compressed(inner) => Err(Error::unsupported(format!(
            "this is {inner} within {outer}"
        ))
        .with_hint("decompress it once, then open the result")),
    }
}
