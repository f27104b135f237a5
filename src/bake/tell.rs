//! What a run tells: the report of what would be written, and of what was.

use std::path::Path;

use super::prepare::{Prepared, PreparedImage, PreparedVariant, Target};
use super::report::{
    BaseReport, ErrorReport, FileReport, InputReport, OutputReport, PlanReport, Report,
    SCHEMA_VERSION, VariantReport, findings,
};
use super::request::{Context, Stream};
use super::write::{Outcome, Output, WrittenFile};
use crate::block::shown;
use crate::error::Result;

impl Target {
    /// The files as a dry run tells them.
    fn planned(&self, folder: Option<&Path>) -> Vec<FileReport> {
        match self {
            Self::Plain(outputs) => outputs
                .iter()
                .map(|output| planned(shown_below(folder, &output.path), Some(output)))
                .collect(),
            Self::Vendor { .. } => self
                .files()
                .iter()
                .map(|path| planned(shown_below(folder, path), None))
                .collect(),
        }
    }
}

impl Stream {
    /// The stream as a dry run tells it.
    pub(super) fn planned(&self) -> FileReport {
        let output = match self {
            Self::Disk(output) => Some(output),
            Self::Bundle => None,
        };
        planned("-".to_owned(), output)
    }
}

/// A file that is not written yet: a disk, or anything else.
fn planned(path: String, disk: Option<&Output>) -> FileReport {
    FileReport {
        path,
        format: disk.map(|output| output.format.to_string()),
        compression: disk
            .and_then(|output| output.compress)
            .map(|compress| compress.to_string()),
        bytes: None,
        sha256: None,
        members: Vec::new(),
    }
}

impl WrittenFile {
    fn report(&self, folder: Option<&Path>) -> FileReport {
        FileReport {
            path: shown_below(folder, &self.file.path),
            format: self.format.map(|format| format.to_string()),
            compression: self.compression.clone(),
            bytes: Some(self.file.bytes),
            sha256: self.file.sha256.clone(),
            members: self.members.clone(),
        }
    }
}

/// A path as it is called inside of `folder`.
fn shown_below(folder: Option<&Path>, path: &Path) -> String {
    let below = folder
        .and_then(|folder| path.strip_prefix(folder).ok())
        .unwrap_or(path);
    shown(below)
}

impl Prepared {
    /// What the run would do: the report of a dry run.
    ///
    /// # Errors
    /// Where the request asks for digests: those of reading the inputs whose digest is not known yet.
    pub fn report(&self, context: &Context<'_>) -> Result<Report> {
        if self.request.needs_digests() {
            self.inputs.complete(context.progress)?;
        }
        let planned = |image: &PreparedImage| OutputReport {
            files: match &self.request.stream {
                Some(stream) => vec![stream.planned()],
                None => image.target.planned(self.request.folder.as_deref()),
            },
            ..self.output_report(image)
        };
        let outputs = self.images.iter().map(planned).collect();
        Ok(self.report_of(outputs, true))
    }

    fn output_report(&self, image: &PreparedImage) -> OutputReport {
        OutputReport {
            variant: image.key.variant.clone(),
            vendor: image.key.vendor.clone(),
            disk_bytes: image.disk_bytes,
            plan: PlanReport::from(&image.plan),
            files: Vec::new(),
            error: None,
        }
    }

    /// The report of what was written.
    pub(super) fn written_report(&self, outcomes: &[Outcome]) -> Report {
        let written = |(image, outcome): (&PreparedImage, &Outcome)| OutputReport {
            files: outcome
                .files
                .iter()
                .map(|file| file.report(self.request.folder.as_deref()))
                .collect(),
            error: outcome.error.as_ref().map(ErrorReport::from),
            ..self.output_report(image)
        };
        let outputs = self.images.iter().zip(outcomes).map(written).collect();
        self.report_of(outputs, false)
    }

    fn report_of(&self, outputs: Vec<OutputReport>, dry_run: bool) -> Report {
        let release = self.base.release.as_ref();
        let text = |text: Option<&str>| text.map(str::to_owned);
        let variant = |variant: &PreparedVariant| VariantReport {
            name: variant.name.clone(),
            plan: PlanReport::from(&variant.plan),
        };
        let input = |input: crate::block::Input| InputReport {
            role: input.role.to_owned(),
            path: shown(&input.path),
            bytes: input.bytes,
            sha256: input.sha256,
            source: self.request.fetched.get(&input.path).cloned(),
        };
        Report {
            version: SCHEMA_VERSION,
            flatbake: env!("CARGO_PKG_VERSION").to_owned(),
            dry_run,
            base: BaseReport {
                name: self.base.name.clone(),
                format: self.base.format.to_string(),
                compression: self
                    .base
                    .compression
                    .map(|compression| compression.to_string()),
                disk_bytes: self.base.disk_bytes,
                release: text(release.and_then(|release| release.version())),
                architecture: text(release.and_then(|release| release.architecture())),
            },
            inputs: self.inputs.list().into_iter().map(input).collect(),
            timestamp: self.timestamp.secs,
            seed: self.request.seed.clone(),
            shared: PlanReport::from(&self.shared),
            variants: self.variants.iter().map(variant).collect(),
            outputs,
            findings: findings(&self.findings),
        }
    }
}
