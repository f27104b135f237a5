//! Files of an output that are whole but have no names yet: they get them, or become part of a bundle.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::digest::{Sum, seal};
use super::output::ArtifactFile;
use super::schedule::Desk;
use crate::block::{OutputFile, OutputFolder};
use crate::error::{Error, Result, ResultExt};

/// What was written and vanishes unless it is [committed](Self::commit).
pub(in crate::bake) struct Staged {
    /// Every file with the path that it is to have, the one by which the disk is opened first.
    pub(super) files: Vec<(PathBuf, File)>,
    /// The digest of the one file, where it is known.
    pub(super) known: Option<String>,
    pub(super) names: Names,
}

/// What gives the files their names.
pub(super) enum Names {
    Files(Vec<OutputFile>),
    Folder(OutputFolder),
}

impl Staged {
    /// Of files that are to appear together.
    pub(super) fn of_files(
        outputs: Vec<(PathBuf, OutputFile)>,
        known: Option<String>,
    ) -> Result<Self> {
        let again = |error| Error::io("opening a new file once more", error);
        let mut files = Vec::new();
        let mut names = Vec::new();
        for (path, output) in outputs {
            files.push((path, output.file().try_clone().map_err(again)?));
            names.push(output);
        }
        Ok(Self {
            files,
            known,
            names: Names::Files(names),
        })
    }

    /// The files with the paths that they are to have.
    pub(in crate::bake) fn files(&self) -> impl Iterator<Item = (&Path, &File)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file))
    }

    /// Length of all files together in bytes.
    pub(in crate::bake) fn len(&self) -> Result<u64> {
        Ok(self.lengths()?.iter().sum())
    }

    fn lengths(&self) -> Result<Vec<u64>> {
        let len = |(_, file): &(PathBuf, File)| Ok(file.metadata()?.len());
        let lengths = self
            .files
            .iter()
            .map(len)
            .collect::<std::io::Result<Vec<u64>>>();
        lengths.map_err(|error| Error::io("reading its size", error))
    }

    /// Makes everything durable, hashes it where `sum` asks for it, which counts as `work` of the job's declared work,
    /// and gives it its names, unless the run's check says no.
    pub(super) fn commit(
        self,
        desk: &Desk<'_>,
        sum: Sum<'_>,
        work: u64,
    ) -> Result<Vec<ArtifactFile>> {
        let sum = if self.known.is_some() {
            Sum::Unwanted
        } else {
            sum
        };
        let hashed = !matches!(sum, Sum::Unwanted);
        let parts = parts(work, &self.lengths()?)?;
        let steps = desk.steps(if hashed { &parts } else { &[] });
        let mut sealed = Vec::new();
        for (path, file) in &self.files {
            sealed.push(seal(desk, file, path, sum, &steps)?);
        }
        if let (Some(sum), Some(first)) = (self.known, sealed.first_mut()) {
            first.sha256 = Some(sum);
        }
        desk.before_naming()?;
        match self.names {
            // The first one last: by it the disk is opened.
            Names::Files(outputs) => OutputFile::commit_all(outputs.into_iter().rev().collect())?,
            Names::Folder(folder) => folder.commit()?,
        }
        Ok(sealed)
    }
}

/// `work` cut into parts that are to each other as `lengths` are.
fn parts(work: u64, lengths: &[u64]) -> Result<Vec<u64>> {
    let total = lengths
        .iter()
        .map(|&len| u128::from(len))
        .sum::<u128>()
        .max(1);
    let part = |&len: &u64| u64::try_from(u128::from(work) * u128::from(len) / total);
    lengths
        .iter()
        .map(part)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::internal("a part is larger than the whole"))
}

/// A file that is put beside an output.
pub(in crate::bake) struct NewFile<'a> {
    /// Where it goes.
    pub path: &'a Path,
    /// Whether it is a program.
    pub executable: bool,
    /// What hashing it stands for in the job's declared work; `None` for a small file, which counts as it is.
    pub hash_work: Option<u64>,
}

/// Writes a file, which appears when it is whole, with its digest.
///
/// # Errors
///
/// Those of `write`, of the host's filesystem, and of the run's check before it gets its name.
pub(in crate::bake) fn write_file(
    desk: &Desk<'_>,
    new: &NewFile<'_>,
    write: impl FnOnce(&File) -> Result<()>,
) -> Result<ArtifactFile> {
    let file = OutputFile::create(new.path)?;
    if new.executable {
        file.make_executable()?;
    }
    write(file.file()).at(|| format!("writing {}", new.path.display()))?;
    let sealed = match new.hash_work {
        Some(work) => seal(desk, file.file(), new.path, Sum::Own, &desk.step(work))?,
        None => seal(desk, file.file(), new.path, Sum::Own, desk.progress())?,
    };
    desk.before_naming()?;
    file.commit()?;
    Ok(sealed)
}
