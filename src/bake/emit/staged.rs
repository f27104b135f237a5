//! Files of an output that are whole but have no names yet: they get them, or become part of a bundle.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::ArtifactFile;
use super::digest::seal;
use crate::block::{OutputFile, OutputFolder};
use crate::error::{Error, Result};
use crate::progress::Progress;

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
    pub(super) fn of_files(outputs: Vec<(PathBuf, OutputFile)>, known: Option<String>) -> Result<Self> {
        let again = |error| Error::io("opening a new file once more", error);
        let (mut files, mut names) = (Vec::new(), Vec::new());
        for (path, output) in outputs {
            files.push((path, output.file().try_clone().map_err(again)?));
            names.push(output);
        }
        Ok(Self { files, known, names: Names::Files(names) })
    }

    /// The files with the paths that they are to have.
    pub(in crate::bake) fn files(&self) -> impl Iterator<Item = (&Path, &File)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file))
    }

    /// Length of all files together in bytes.
    pub(in crate::bake) fn len(&self) -> Result<u64> {
        let len = |(_, file): &(PathBuf, File)| Ok(file.metadata()?.len());
        self.files.iter().map(len).sum::<std::io::Result<u64>>().map_err(|error| Error::io("reading its size", error))
    }

    /// Makes everything durable, hashes it where `digest` asks for it, and gives it its names.
    pub(in crate::bake) fn commit(self, digest: bool, progress: &dyn Progress) -> Result<Vec<ArtifactFile>> {
        let mut known = self.known;
        let seal = |(path, file): &(PathBuf, File)| seal(file, path, digest, known.take(), progress);
        let sealed = self.files.iter().map(seal).collect::<Result<Vec<_>>>()?;
        match self.names {
            // The first one last: by it the disk is opened.
            Names::Files(outputs) => OutputFile::commit_all(outputs.into_iter().rev().collect())?,
            Names::Folder(folder) => folder.commit()?,
        }
        Ok(sealed)
    }
}
