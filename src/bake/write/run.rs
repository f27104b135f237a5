//! Writes what was prepared: all results side by side, each file whole or not at all, then what tells of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::prepare::{Key, Prepared, PreparedImage, REPORT, SUMS, Target};
use super::super::report::Report;
use super::super::request::Context;
use super::digest::{Sha256Sum, SharedSum};
use super::schedule::{Desk, Job, Limits, Oversight, run};
use super::staged::{NewFile, Staged, write_file};
use super::{Artifact, ArtifactFile, Output, sum_of, write_output};
use crate::block::{BlockDevice, OutputFile, Overlay};
use crate::bytes::to_u64;
use crate::error::{Error, ErrorKind, Result};
use crate::flatcar::Disk;
use crate::flatcar::live::LiveCache;
use crate::flatcar::vendor::Settings;
use crate::image::{Identity, OutputFormat};
use crate::machine::{CatalogBox, ConfFile, Machine, vagrant_catalog};

/// What a run wrote.
#[derive(Debug)]
#[non_exhaustive]
pub struct Written {
    /// All of it.
    pub report: Report,
    /// What went wrong, where something did: results that failed have left nothing, the others are whole.
    pub failure: Option<Error>,
}

/// What became of one result.
#[derive(Debug, Default)]
pub(in crate::bake) struct Outcome {
    /// The files that were written.
    pub(in crate::bake) files: Vec<WrittenFile>,
    /// A box that a catalog is to offer.
    offered: Option<(Machine, CatalogBox)>,
    /// What stopped it.
    pub(in crate::bake) error: Option<Error>,
}

/// A file that was written.
#[derive(Debug)]
pub(in crate::bake) struct WrittenFile {
    pub(in crate::bake) file: ArtifactFile,
    pub(in crate::bake) format: Option<OutputFormat>,
    pub(in crate::bake) compression: Option<String>,
    pub(in crate::bake) members: Vec<String>,
}

impl WrittenFile {
    /// A file that is no disk and no bundle.
    fn small(file: ArtifactFile) -> Self {
        Self {
            file,
            format: None,
            compression: None,
            members: Vec::new(),
        }
    }
}

/// What the results of one run share.
struct Common {
    live: Arc<LiveCache>,
    /// The digests of the disks that several results have unchanged: that of the base, and those of the variants.
    sums: Vec<SharedSum>,
}

impl Common {
    /// The digest of the disk, where the result has it as its variant, or the shared part of the run, left it.
    fn sum(&self, image: &PreparedImage, overlay: &Overlay) -> Option<&SharedSum> {
        let of_variant = self.sums.get(image.variant.map_or(0, |at| at + 1));
        of_variant.filter(|_| overlay.is_untouched())
    }
}

impl Prepared {
    /// Writes all results, several at a time, and what tells of them. A failure of one spoils no other.
    ///
    /// # Errors
    /// Where nothing of the run can be told, such as a folder that cannot be made. What is wrong with single results is
    /// in [`Written::failure`] and in the report.
    pub fn write(&self, context: &Context<'_>) -> Result<Written> {
        context.cancel.check()?;
        if let Some(folder) = &self.request.folder {
            make_folder(folder)?;
        }
        let sums = std::iter::repeat_with(SharedSum::default)
            .take(1 + self.variants.len())
            .collect();
        let common = Common {
            live: Arc::new(LiveCache::new()),
            sums,
        };
        let before_naming = || self.inputs.check(&["base image", "file of the base image"]);
        let oversight = Oversight {
            progress: context.progress,
            cancel: &context.cancel,
            before_naming: &before_naming,
        };
        let step = format!("writing {} images", self.images.len());
        let digests = self
            .request
            .needs_digests()
            .then(|| self.digests())
            .flatten();
        let has_digests = digests.is_some();
        let images = self
            .images
            .iter()
            .map(|image| self.job(context, image, &common));
        let mut results = run(
            &step,
            digests.into_iter().chain(images).collect(),
            &Limits::default(),
            &oversight,
        );
        let digested = if has_digests {
            results.remove(0).err()
        } else {
            None
        };
        let outcome = |result: Result<Outcome>| {
            result.unwrap_or_else(|error| Outcome {
                error: Some(error),
                ..Outcome::default()
            })
        };
        let mut outcomes: Vec<Outcome> = results.into_iter().map(outcome).collect();
        self.write_catalogs(&mut outcomes, &oversight);
        let changed = digested.or_else(|| self.inputs.check(&[]).err());
        let report = self.written_report(&outcomes);
        if let Some(folder) = self
            .request
            .folder
            .as_deref()
            .filter(|_| !context.cancel.is_cancelled())
        {
            write_reports(folder, &report)?;
        }
        let failure = failure_of(&self.images, outcomes).or(changed);
        Ok(Written { report, failure })
    }

    /// Writes the catalogs, each for all boxes of its family that were made.
    fn write_catalogs(&self, outcomes: &mut [Outcome], oversight: &Oversight<'_>) {
        let mut offers: BTreeMap<PathBuf, Vec<(Machine, CatalogBox)>> = BTreeMap::new();
        for (image, outcome) in self.images.iter().zip(&mut *outcomes) {
            if let Some(path) = image.target.catalog(image.settings.as_ref()) {
                offers
                    .entry(path)
                    .or_default()
                    .extend(outcome.offered.take());
            }
        }
        for (image, outcome) in self.images.iter().zip(outcomes) {
            let Some(path) = image.target.catalog(image.settings.as_ref()) else {
                continue;
            };
            if !image.target.files().contains(&path) {
                continue;
            }
            match write_catalog(&path, offers.remove(&path).unwrap_or_default(), oversight) {
                Ok(written) => outcome.files.extend(written),
                Err(error) => drop(outcome.error.get_or_insert(error)),
            }
        }
    }

    /// Hashes the inputs whose digest the report tells and nobody has needed so far, beside what is written.
    fn digests(&self) -> Option<Job<'_, Outcome>> {
        let bytes = self.inputs.missing_bytes();
        let hash = move |desk: &Desk<'_>| {
            self.inputs
                .complete(&desk.step(bytes))
                .map(|()| Outcome::default())
        };
        (bytes > 0).then(|| Job::new(bytes, 0, hash))
    }

    fn job<'a>(
        &'a self,
        context: &'a Context<'a>,
        image: &'a PreparedImage,
        common: &'a Common,
    ) -> Job<'a, Outcome> {
        Job::new(self.work(image), self.memory(image), move |desk| {
            Ok(self.write_image(context, image, desk, common))
        })
    }

    fn write_image(
        &self,
        context: &Context<'_>,
        image: &PreparedImage,
        desk: &Desk<'_>,
        common: &Common,
    ) -> Outcome {
        let mut files = Vec::new();
        let mut offered = None;
        let written = self.disk_of(context, image).and_then(|overlay| {
            let disk = desk.read(&overlay);
            let mut writer = Writer {
                prepared: self,
                context,
                image,
                overlay: &overlay,
                disk: &disk,
                desk,
                live: &common.live,
                sum: common.sum(image, &overlay),
                files: &mut files,
                offered: &mut offered,
            };
            writer.write()
        });
        Outcome {
            files,
            offered,
            error: written.err(),
        }
    }
}

/// The error of a run of which some results failed: that of the first, with the others told.
fn failure_of(images: &[PreparedImage], outcomes: Vec<Outcome>) -> Option<Error> {
    let total = outcomes.len();
    let mut failed: Vec<(&Key, Error)> = images
        .iter()
        .zip(outcomes)
        .filter_map(|(image, outcome)| Some((&image.key, outcome.error?)))
        .collect();
    if let Some(at) = failed
        .iter()
        .position(|(_, error)| error.kind() == ErrorKind::Cancelled)
    {
        return Some(failed.swap_remove(at).1);
    }
    if total == 1 {
        return failed.pop().map(|(_, error)| error);
    }
    let kind = failed.first()?.1.kind();
    let each = failed.iter().map(|(key, error)| {
        let hint = error
            .hint()
            .map(|hint| format!(" ({hint})"))
            .unwrap_or_default();
        format!("\n  - {key}: {error}{hint}")
    });
    let message = format!(
        "{} of {total} images failed:{}",
        failed.len(),
        each.collect::<String>()
    );
    Some(Error::new(kind, message).with_hint("the other images are whole"))
}

/// Makes a folder for what is written, and those above it.
fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| {
        Error::io(
            format!("making the folder {}", crate::block::shown(folder)),
            error,
        )
    })
}

/// Writes `SHA256SUMS` and `flatbake-report.json` into `folder`.
fn write_reports(folder: &Path, report: &Report) -> Result<()> {
    let files = report.outputs.iter().flat_map(|output| &output.files);
    let mut sums: Vec<(&str, &str)> = files
        .filter_map(|file| Some((file.path.as_str(), file.sha256.as_deref()?)))
        .collect();
    sums.sort_unstable();
    let sums: String = sums
        .into_iter()
        .map(|(path, sha256)| format!("{sha256}  {path}\n"))
        .collect();
    let json = serde_json::to_string_pretty(report)
        .map_err(|error| Error::internal("making the report").with_source(error))?;
    put_text(&folder.join(SUMS), &sums)?;
    put_text(&folder.join(REPORT), &(json + "\n"))
}

/// Writes the catalog of boxes, where there are any.
fn write_catalog(
    path: &Path,
    offered: Vec<(Machine, CatalogBox)>,
    oversight: &Oversight<'_>,
) -> Result<Option<WrittenFile>> {
    let (machines, boxes): (Vec<Machine>, Vec<CatalogBox>) = offered.into_iter().unzip();
    let Some(machine) = machines.first() else {
        return Ok(None);
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let catalog = vagrant_catalog(&name, machine, &boxes)?;
    oversight.cancel.check()?;
    (oversight.before_naming)()?;
    put_text(path, &catalog.content)?;
    let mut sum = Sha256Sum::default();
    sum.update(catalog.content.as_bytes());
    let bytes = to_u64(catalog.content.len());
    Ok(Some(WrittenFile::small(ArtifactFile {
        path: path.to_owned(),
        bytes,
        sha256: Some(sum.finish()),
    })))
}

fn put_text(path: &Path, text: &str) -> Result<()> {
    let file = OutputFile::create(path)?;
    let written = file.file().write_all(text.as_bytes());
    written.map_err(|error| Error::io(format!("writing {}", crate::block::shown(path)), error))?;
    file.commit()
}

/// Writes one result.
pub(super) struct Writer<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) context: &'a Context<'a>,
    pub(super) image: &'a PreparedImage,
    pub(super) overlay: &'a Arc<Overlay>,
    /// The disk, read near those who read one beside it.
    pub(super) disk: &'a dyn BlockDevice,
    pub(super) desk: &'a Desk<'a>,
    /// What live images share.
    pub(super) live: &'a Arc<LiveCache>,
    /// The digest of the disk's bytes, where other results have the same.
    sum: Option<&'a SharedSum>,
    pub(super) files: &'a mut Vec<WrittenFile>,
    /// The box that was made, where it is one.
    pub(super) offered: &'a mut Option<(Machine, CatalogBox)>,
}

impl Writer<'_> {
    fn write(&mut self) -> Result<()> {
        match &self.image.target {
            Target::Plain(outputs) => {
                for output in outputs {
                    if let Some(folder) = output
                        .path
                        .parent()
                        .filter(|_| self.image.key.variant.is_some())
                    {
                        make_folder(folder)?;
                    }
                    let digest = self.prepared.request.needs_digests() || output.digest;
                    self.write_disk(&Output {
                        digest,
                        identity: self.identity(),
                        ..output.clone()
                    })?;
                }
                Ok(())
            }
            Target::Vendor { folder, .. } => {
                make_folder(folder)?;
                let settings = self.image.settings.as_ref();
                let settings = settings
                    .ok_or_else(|| Error::internal("a vendor's image without its settings"))?;
                self.write_vendor(settings, folder)
            }
        }
    }

    /// Identifiers of variants differ, also where only their content does not.
    pub(super) fn identity(&self) -> Identity {
        self.prepared.identity(&self.image.key)
    }

    /// Writes the disk to an output that is no part of a bundle.
    pub(super) fn write_disk(&mut self, output: &Output) -> Result<Artifact> {
        let artifact = write_output(self.desk, self.disk, output, self.sum)?;
        for file in &artifact.files {
            self.files.push(WrittenFile {
                file: file.clone(),
                format: Some(output.format),
                compression: artifact.compression.clone(),
                members: Vec::new(),
            });
        }
        Ok(artifact)
    }

    /// Writes a config file.
    pub(super) fn put(&mut self, folder: &Path, conf: &ConfFile) -> Result<()> {
        let path = folder.join(&conf.name);
        let executable = conf.mode & 0o100 != 0;
        let file = write_file(
            self.desk,
            &NewFile {
                path: &path,
                executable,
                hash_work: None,
            },
            |mut out| {
                out.write_all(conf.content.as_bytes())
                    .map_err(|error| Error::io("writing its text", error))
            },
        )?;
        self.files.push(WrittenFile::small(file));
        Ok(())
    }

    /// Writes one file, which appears when it is whole; see [`NewFile`].
    pub(super) fn write_file(
        &mut self,
        path: &Path,
        hash_work: Option<u64>,
        write: impl FnOnce(&File) -> Result<()>,
    ) -> Result<()> {
        let file = write_file(
            self.desk,
            &NewFile {
                path,
                executable: false,
                hash_work,
            },
            write,
        )?;
        self.files.push(WrittenFile::small(file));
        Ok(())
    }

    /// Gives the files of a disk that was written already their names.
    pub(super) fn commit_disk(&mut self, staged: Staged, output: &Output) -> Result<()> {
        let format = Some(output.format);
        for file in staged.commit(self.desk, sum_of(output, self.sum), self.disk.size())? {
            self.files.push(WrittenFile {
                format,
                ..WrittenFile::small(file)
            });
        }
        Ok(())
    }

    pub(super) fn machine(&self, settings: &Settings) -> Result<Machine> {
        let device: Arc<dyn BlockDevice> = Arc::clone(self.overlay) as _;
        self.prepared.machine(
            settings,
            &self.image.key,
            &Disk::open(settings.stem(), device)?,
        )
    }
}
