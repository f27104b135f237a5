//! A folder that holds what servers have, each file under its server's name and path:
//!
//! ```text
//!   DIR/stable.release.flatcar-linux.net/amd64-usr/4593.2.5/FILE, FILE.sig, version.txt, version.txt.sig
//!                                                 /current ──▶ 4593.2.5
//!      /extensions.flatcar.org/extensions/NAME-VERSION-ARCH.raw, NAME.conf
//!                                        /NAME/SHA256SUMS, NAME-VERSION-ARCH.raw ──▶ ../
//! ```
//!
//! A file appears when it is whole and verified. What is there and right stays, what is there and not right is replaced, and
//! nothing else is touched. A list of the Bakery names what is in the folder, and not what the server has besides.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind as IoKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bakery::{Extension, sums_of};
use super::fetcher::{Fetched, Fetcher, SIGNATURE};
use super::release::{Artifact, Release, VERSION_FILE, Wanted};
use super::transfer::Source;
use crate::block::OutputFile;
use crate::error::{Error, Result, ResultExt, from_io};
use crate::machine::Arch;
use crate::progress::Progress;

/// The largest list that is read; those of the Bakery have some hundred bytes for each version.
const SUMS_MAX: u64 = 4 << 20;

/// The folder, and what fills it.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'a> {
    /// The folder, which is made when something is put into it.
    pub folder: &'a Path,
    /// What fetches and verifies.
    pub fetcher: &'a Fetcher<'a>,
}

/// A file of the folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// Where it is published.
    pub url: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was put there now; else it was there, and right.
    pub is_new: bool,
}

impl Tree<'_> {
    /// Files of a release with their signatures, and always its `version.txt`.
    ///
    /// # Errors
    /// Those of [`Fetcher::file`], once all files are there that are not missing, and those of writing them.
    pub fn release(
        &self,
        release: &Release,
        artifacts: &[Artifact],
        progress: &dyn Progress,
    ) -> Result<Vec<Placed>> {
        let mut names = vec![VERSION_FILE.to_owned()];
        for artifact in artifacts {
            names.push(artifact.file_name(&release.version)?);
        }
        let tally = self.fetcher.tally;
        let mut placed = Vec::new();
        let mut is_whole = true;
        for name in names {
            let source = release.source(&name)?;
            let path = self.path_of(&source)?;
            let is_new = !self.fetcher.holds(&path, &source, progress)?;
            if is_new {
                let file = self.fetcher.file(release, &name, progress);
                let Some(file) = tally.unless_missing(file)? else {
                    is_whole = false;
                    continue;
                };
                put(&file, &path)?;
            }
            placed.push(Placed {
                url: source.to_string(),
                path,
                is_new,
            });
        }
        if !is_whole {
            tally.check()?;
        }
        Ok(placed)
    }

    /// Makes the name that a channel, or a stream of one, has for its newest release lead to `release`, which is in the
    /// folder; `None` where a version was asked for.
    ///
    /// # Errors
    /// Something else has that name.
    pub fn current(&self, wanted: &Wanted, release: &Release) -> Result<Option<PathBuf>> {
        let Some(source) = wanted.current(release.arch)? else {
            return Ok(None);
        };
        let version = self.path_of(&source)?;
        let link = version.parent().unwrap_or(&version);
        point(link, Path::new(&release.version))?;
        Ok(Some(link.to_owned()))
    }

    /// An extension of the Bakery with the file for its updates, and the list that names them.
    ///
    /// # Errors
    /// Those of [`Fetcher::extension`], and of writing the files.
    pub fn extension(
        &self,
        extension: &Extension,
        arch: Arch,
        progress: &dyn Progress,
    ) -> Result<Vec<Placed>> {
        let found = self.fetcher.extension(extension, arch, progress)?;
        let list = self.path_of(&extension.sums()?)?;
        let folder = list.parent().unwrap_or(&list);
        let mut sums = match fs::read(&list) {
            Ok(bytes) if crate::bytes::to_u64(bytes.len()) <= SUMS_MAX => sums_of(&bytes)?,
            Ok(_) => {
                return Err(
                    Error::unsupported("the list is too large").at(list.display().to_string())
                );
            }
            Err(error) if error.kind() == IoKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(from_io(format!("reading {}", list.display()), error)),
        };
        let mut placed = Vec::new();
        for file in std::iter::once(&found.file).chain(&found.transfer) {
            let path = self.path_of(&Source::parse(&file.url)?)?;
            let is_new = !has_digest(&path, &file.sha256)?;
            if is_new {
                put(file, &path)?;
            }
            let name = file.url.rsplit('/').next().unwrap_or_default().to_owned();
            // Machines ask for it beside the list.
            if name.ends_with(".raw") {
                point(&folder.join(&name), &Path::new("..").join(&name))?;
            }
            sums.insert(name, file.sha256.clone());
            placed.push(Placed {
                url: file.url.clone(),
                path,
                is_new,
            });
        }
        let lines = sums
            .iter()
            .map(|(name, sha256)| format!("{sha256}  {name}\n"));
        write(&list, lines.collect::<String>().as_bytes())?;
        Ok(placed)
    }

    /// Where in the folder a file of a server lies.
    fn path_of(&self, source: &Source) -> Result<PathBuf> {
        match source {
            Source::Web(url) => {
                let path = url.path_and_query().trim_start_matches('/');
                Ok(self.folder.join(url.host()).join(path))
            }
            Source::File(path) => Err(Error::internal(format!(
                "{} is on no server",
                path.display()
            ))),
        }
    }
}

/// Copies a file, and its signature where it has one, to where they belong.
fn put(file: &Fetched, path: &Path) -> Result<()> {
    make_folder(path)?;
    let mut outputs = Vec::new();
    if let Some(signature) = &file.signature {
        outputs.push(copy(signature, &beside(path, SIGNATURE))?);
    }
    outputs.push(copy(&file.path, path)?);
    OutputFile::commit_all(outputs)
}

fn copy(from: &Path, to: &Path) -> Result<OutputFile> {
    let fails = |error| from_io(format!("copying to {}", to.display()), error);
    let output = OutputFile::create(to)?;
    let mut source = File::open(from).map_err(fails)?;
    io::copy(&mut source, &mut output.file()).map_err(fails)?;
    Ok(output)
}

/// Writes a small file, unless it is as it should be.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    make_folder(path)?;
    let output = OutputFile::create(path)?;
    let written = output.file().write_all(bytes);
    written.map_err(|error| from_io(format!("writing {}", path.display()), error))?;
    output.commit()
}

/// Makes `link` a symlink to `target`, in the place of another symlink at most.
fn point(link: &Path, target: &Path) -> Result<()> {
    let fails = |error| from_io(format!("linking {}", link.display()), error);
    match fs::symlink_metadata(link) {
        Ok(metadata) if !metadata.is_symlink() => {
            return Err(Error::invalid(format!(
                "{} is there, and no symlink: it was not made by a mirror",
                link.display()
            ))
            .with_hint("move it away, or choose another folder"));
        }
        Ok(_) if fs::read_link(link).map_err(fails)? == target => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == IoKind::NotFound => make_folder(link)?,
        Err(error) => return Err(fails(error)),
    }
    // The new one takes the place of the old one in one step.
    let folder = link.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".flatbake-")
        .make_in(folder, |path| symlink(target, path))
        .map_err(fails)?;
    made.persist(link).map_err(|error| fails(error.error))?;
    Ok(())
}

fn make_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)
        .map_err(|error| from_io(format!("making {}", folder.display()), error))
}

/// Whether the file at `path` is there and has this SHA-256.
fn has_digest(path: &Path, sha256: &str) -> Result<bool> {
    match File::open(path) {
        Err(error) if error.kind() == IoKind::NotFound => Ok(false),
        opened => {
            let read = || Ok(super::store::sha256(&mut opened?)?.0 == sha256);
            let read: io::Result<bool> = read();
            read.map_err(|error| from_io("reading it", error))
                .at(|| path.display().to_string())
        }
    }
}

/// The path with an ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_takes_the_place_of_a_link_only() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("a/current");
        for target in ["1", "1", "2"] {
            point(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 1);
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        let error = point(&link, Path::new("3")).unwrap_err();
        assert!(error.to_string().contains("no symlink"), "{error}");
        assert!(link.is_dir());
    }
}
