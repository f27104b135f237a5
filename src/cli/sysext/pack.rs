//! How an extension is packed, as the commands that make one are told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::Glob;
use crate::bytes::ByteSize;
use crate::flatcar::Disk;
use crate::flatcar::sysext::Host;
use crate::flatcar::sysext::build::{
    Build, Built, Compressor, Conf, DiskImage, Effort, Format, Means, Prepared,
};
use crate::{Error, Progress, Result};
use clap::{Args, ValueEnum, ValueHint};

use super::super::image::ReadArgs;
use super::super::output::{refuse_existing, timestamp};
use super::super::progress::Reporter;
use super::signer::read_signer;

/// What the extension says of itself, what it is packed into, and what it is checked against.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// The system it is for: flatcar, or _any for files and programs that need nothing of it
    /// [default: that of the source's release file, else _any]
    #[arg(long, value_name = "ID")]
    os: Option<String>,
    /// The only version of the system that it is for [default: all of the same SYSEXT_LEVEL]
    #[arg(long, value_name = "VERSION")]
    version_id: Option<String>,
    /// What it is packed into: squashfs, erofs, or ddi, a disk image with dm-verity around an EROFS, or around a squashfs with
    /// the compressors that EROFS does not have
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "squashfs")]
    format: FormatWord,
    /// Sign the disk image with this private key (PKCS#8 in PEM or DER)
    #[arg(long, short, value_name = "FILE", requires = "cert", value_hint = ValueHint::FilePath)]
    key: Option<PathBuf>,
    /// The certificate of that key, in PEM or DER
    #[arg(long, value_name = "FILE", requires = "key", value_hint = ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// What identities and the salt of the disk image are made from [default: the filesystem]
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// The compressor: zstd, xz, gzip, lz4 or none [default: zstd, and lz4 for erofs, which has no other, and for ddi]
    #[arg(long, value_name = "TYPE", value_enum, hide_possible_values = true)]
    comp: Option<CompressorWord>,
    /// How hard to compress: 1 to 19 for zstd, 0 to 9 for xz, 1 to 9 for gzip [default: 15, 6, 9]
    #[arg(long, value_name = "N")]
    comp_level: Option<u8>,
    /// Bytes packed together: a power of two from 4K to 1M [default: 128K, and 64K for erofs]
    #[arg(long, value_name = "SIZE")]
    block_size: Option<ByteSize>,
    /// Have this unit of the extension started when it is merged
    #[arg(long, value_name = "UNIT")]
    enable: Vec<String>,
    /// Have PATH, a file or folder of this host, copied to /etc/NAME of machines that have no such file
    #[arg(long, value_name = "NAME=PATH", value_parser = conf)]
    conf: Vec<Conf>,
    /// Leave out what fits this pattern, as tar --exclude does
    #[arg(long, value_name = "PATTERN", value_parser = glob)]
    exclude: Vec<Glob>,
    /// No time in the image is later: seconds since 1970, or 2026-01-31T12:00:00Z [default: SOURCE_DATE_EPOCH, else 0]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Check the extension against this Flatcar image, too: whether it merges there, what it hides, which libraries lack
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: Option<PathBuf>,
    /// Write it in spite of findings that stop
    #[arg(long)]
    force: bool,
    /// Replace the output if it exists already
    #[arg(long)]
    overwrite: bool,
    /// Print what was written as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub read: ReadArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatWord {
    /// What every release mounts
    Squashfs,
    /// Releases since 4152.2.2
    Erofs,
    /// A disk image, as Flatcar's own sysexts are since 4628
    Ddi,
    /// Without a journal, nothing compressed: what every release mounts, too
    Ext4,
    /// With zlib (--comp gzip) or nothing compressed: what every release mounts, too
    Btrfs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CompressorWord {
    Zstd,
    Xz,
    Gzip,
    Lz4,
    None,
}

impl CompressorWord {
    fn compressor(self) -> Compressor {
        match self {
            Self::Zstd => Compressor::Zstd,
            Self::Xz => Compressor::Xz,
            Self::Gzip => Compressor::Gzip,
            Self::Lz4 => Compressor::Lz4,
            Self::None => Compressor::None,
        }
    }
}

fn glob(text: &str) -> std::result::Result<Glob, String> {
    Glob::new(text).map_err(|error| explained(&error))
}

fn conf(text: &str) -> std::result::Result<Conf, String> {
    let (name, source) = text
        .split_once('=')
        .filter(|(name, source)| !name.is_empty() && !source.is_empty())
        .ok_or("give NAME=PATH: the name below /etc, and the file of this host")?;
    Ok(Conf {
        name: name.to_owned(),
        source: source.into(),
    })
}

/// An error for clap, with its hint.
pub fn explained(error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error.to_string(),
    }
}

impl PackArgs {
    /// Refuses an output that exists, before anything is done for it.
    pub fn refuse_existing(&self, output: &Path) -> Result<()> {
        refuse_existing(output, self.overwrite)
    }

    /// What is built, with what these flags say of it.
    pub fn fill(&self, build: Build, reporter: &Reporter) -> Result<Build> {
        Ok(Build {
            os: self.os.clone(),
            version_id: self.version_id.clone(),
            enable: self.enable.clone(),
            confs: self.conf.clone(),
            exclude: self.exclude.clone(),
            time: timestamp(self.timestamp.as_deref())?.unwrap_or(0),
            format: self.format()?,
            disk_image: self.disk_image(reporter)?,
            force: self.force,
            // Nobody sees it otherwise.
            digest: self.json || !reporter.is_quiet(),
            ..build
        })
    }

    /// Writes what is put together, after what there is to say of it.
    pub fn write(
        &self,
        prepared: &Prepared,
        output: &Path,
        means: &Means<'_>,
        reporter: &Reporter,
    ) -> Result<Built> {
        for finding in prepared.findings().iter().filter(|found| !found.stops()) {
            reporter.found(finding);
        }
        prepared.write(output, self.overwrite, means)
    }

    /// Says what was written.
    pub fn tell(&self, built: &Built, reporter: &Reporter) -> Result<()> {
        if self.json {
            return super::super::print_json(built);
        }
        reporter.info(&describe(built));
        Ok(())
    }

    fn format(&self) -> Result<Format> {
        let block_bytes = self
            .block_size
            .map(|size| {
                u32::try_from(size.0).map_err(|_| {
                    Error::invalid(format!("blocks of {size} are too large: at most 1M"))
                })
            })
            .transpose()?;
        let effort = Effort {
            level: self.comp_level,
            block_bytes,
        };
        let compressor = self.comp.map(CompressorWord::compressor);
        match self.format {
            FormatWord::Squashfs => Format::squashfs(compressor, effort),
            FormatWord::Erofs => Format::erofs(compressor, effort),
            FormatWord::Ddi => match compressor {
                None | Some(Compressor::Lz4 | Compressor::None) => {
                    Format::erofs(compressor, effort)
                }
                Some(_) => Format::squashfs(compressor, effort),
            },
            FormatWord::Ext4 => Format::ext4(compressor, effort),
            FormatWord::Btrfs => Format::btrfs(compressor, effort),
        }
    }

    fn disk_image(&self, reporter: &Reporter) -> Result<Option<DiskImage>> {
        if self.format != FormatWord::Ddi {
            let is_given = self.key.is_some() || self.seed.is_some();
            return match is_given {
                true => Err(
                    Error::invalid("only disk images are signed, and have a seed")
                        .with_hint("--format ddi makes one"),
                ),
                false => Ok(None),
            };
        }
        let signer = match (&self.key, &self.cert) {
            (Some(key), Some(cert)) => Some(Arc::new(read_signer(key, cert, reporter)?)),
            _ => None,
        };
        Ok(Some(DiskImage {
            signer,
            seed: self.seed.clone(),
        }))
    }

    /// The image that it is checked against.
    pub fn host(&self, reporter: &Reporter) -> Result<Option<Host>> {
        let Some(path) = &self.image else {
            return Ok(None);
        };
        let image = self.read.open(path, reporter)?;
        let disk = Disk::open(path.display().to_string(), image.device)?;
        Host::of_disk(&disk).map(Some)
    }
}

fn describe(built: &Built) -> String {
    let fields: Vec<String> = built
        .release
        .iter()
        .map(|(field, value)| format!("{field}={value}"))
        .collect();
    let digest = built.sha256.as_ref();
    let digest = digest.map(|sum| format!("\n{sum}  {}", built.path));
    format!(
        "wrote {} ({} {}, {}, {} of {}: {}){}",
        built.path,
        built.class,
        built.name,
        built.format,
        ByteSize(built.file_bytes),
        ByteSize(built.content_bytes),
        fields.join(" "),
        digest.unwrap_or_default()
    )
}
