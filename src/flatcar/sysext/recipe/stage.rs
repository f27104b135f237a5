//! Files become the tree of an extension, as a recipe says.
//!
//! ```text
//!   archive ──▶ /.unpacked-N/… ──take──▶ /usr/bin/…      moved within one tree, so that nothing is copied
//!   file ─────────────────────────────▶ /usr/bin/…
//!   content in the recipe ────────────▶ /usr/lib/…
//!                 what is left of /.unpacked-N is removed
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::choose::{Chosen, Needed};
use super::document::Take;
use super::read::mode;
use crate::archive::{TarOptions, inject};
use crate::block::shown;
use crate::document::{Spanned, place};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::finding::Finding;
use crate::flatcar::sysext::build::{Means, Writer};
use crate::flatcar::sysext::{Class, name_fits};
use crate::fs::{
    ByPath, FileContent, FileSystemMut, FileType, FsPath, MetadataChange, StagedTree, Timestamp,
    exists, read_file,
};

/// What the files are to a run.
const ROLE: &str = "archive of the recipe";
/// Where an archive is unpacked, with its number behind it.
const UNPACKED: &str = "/.unpacked-";
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;
/// Largest file in which texts are replaced.
const TEXT_MAX: u64 = 1 << 20;
/// Where files lie that are copied into `/etc`, and who copies them.
const FACTORY: &str = "/usr/share/factory/etc";
const TMPFILES: &str = "/usr/lib/tmpfiles.d";

/// The tree of an extension that is called `name`, of files by the names of the downloads that they are.
pub(super) fn stage(
    chosen: &Chosen,
    files: &BTreeMap<String, PathBuf>,
    name: &str,
    time: Timestamp,
    means: &Means<'_>,
) -> Result<(StagedTree, Vec<Finding>)> {
    let mut tree = StagedTree::new(means.temp_dir(), time);
    let mut staging = Staging {
        chosen,
        writer: Writer {
            tree: &mut tree,
            time,
        },
        means,
        findings: Vec::new(),
    };
    staging.archives(files)?;
    staging.files()?;
    staging.links()?;
    staging.etc(name)?;
    staging.release(name)?;
    let findings = staging.findings;
    Ok((tree, findings))
}

struct Staging<'a, 'b> {
    chosen: &'a Chosen,
    writer: Writer<'b>,
    means: &'a Means<'a>,
    findings: Vec<Finding>,
}

impl Staging<'_, '_> {
    /// All archives are unpacked before anything is taken out of one.
    fn archives(&mut self, files: &BTreeMap<String, PathBuf>) -> Result<()> {
        let chosen = self.chosen;
        let mut given = Vec::new();
        for (number, needed) in chosen.needed.iter().enumerate() {
            let file = files.get(&needed.name).ok_or_else(|| {
                Error::not_found(format!("there is no file for the download {}", needed.name))
            })?;
            if plain(needed).is_none() {
                self.unpack(number, file).at(|| shown(file))?;
            }
            given.push((number, needed, file));
        }
        self.check_unpacked()?;
        for (number, needed, file) in given {
            let taken = match plain(needed) {
                Some(take) => self.plain_file(take, file),
                None => self.take_all(needed, &unpacked(number)?),
            };
            taken.at(|| shown(file))?;
        }
        for number in 0..chosen.needed.len() {
            let unpacked = unpacked(number)?;
            if exists(self.writer.tree, &unpacked)? {
                self.writer.remove(&unpacked)?;
            }
        }
        Ok(())
    }

    /// A link within an archive cannot lead out of the tree, but past the place that it was given.
    fn check_unpacked(&self) -> Result<()> {
        let own = UNPACKED.trim_start_matches('/').as_bytes();
        let entries = self.writer.tree.entries_at(&FsPath::root())?;
        match entries.iter().all(|entry| entry.name.starts_with(own)) {
            true => Ok(()),
            false => Err(Error::invalid(
                "a link in an archive leads out of it, and files were put there",
            )),
        }
    }

    fn unpack(&mut self, number: usize, file: &Path) -> Result<()> {
        let options = TarOptions {
            owner: Some((0, 0)),
            keep_docker_identity: true,
            ..TarOptions::default()
        };
        let top = unpacked(number)?;
        let archive = self.means.inputs().reader(ROLE, file)?;
        let progress = self.means.progress();
        progress.start("reading the archive", 0);
        let summary = inject(self.writer.tree, archive, &top, &options, progress);
        progress.finish();
        self.findings.extend(summary?.findings);
        Ok(())
    }

    fn take_all(&mut self, needed: &Needed, top: &FsPath) -> Result<()> {
        for take in &needed.take {
            let position = take.position;
            self.take(&take.value, top)
                .at(|| place(&self.chosen.recipe.place, position))?;
        }
        Ok(())
    }

    /// What is no archive.
    fn plain_file(&mut self, take: &Take, file: &Path) -> Result<()> {
        let mut reader = self.means.inputs().reader(ROLE, file)?;
        let size = reader.bytes();
        let content = FileContent::whole(size, &mut reader);
        let path = FsPath::new(&take.to)?;
        self.writer
            .new_content(&path, mode_of(take)?.unwrap_or(PROGRAM_MODE), content)?;
        reader.finish()
    }

    /// Moves what fits to where it belongs.
    fn take(&mut self, take: &Take, top: &FsPath) -> Result<()> {
        let from = take.from.as_deref().unwrap_or_default();
        let found = self.fitting(top, from)?;
        if found.is_empty() && !take.optional {
            return Err(
                Error::not_found(format!("the archive has no {}", from.escape_debug())).with_hint(
                    "another version may have it elsewhere: a recipe of your own can say where",
                ),
            );
        }
        let is_folder = take.to.ends_with('/');
        if found.len() > 1 && !is_folder {
            return Err(Error::invalid(format!(
                "{} entries of the archive fit {}, and one is wanted",
                found.len(),
                from.escape_debug()
            )));
        }
        let to = FsPath::new(&take.to)?;
        for source in found {
            let to = match source.name().filter(|_| is_folder) {
                Some(name) => to.join(name)?,
                None => to.clone(),
            };
            self.settle(take, &source)?;
            self.writer.move_tree(&source, &to)?;
        }
        Ok(())
    }

    /// All entries below `top` whose paths fit a pattern.
    fn fitting(&self, top: &FsPath, pattern: &str) -> Result<Vec<FsPath>> {
        let tree = &*self.writer.tree;
        let mut found = vec![top.clone()];
        for part in pattern.split('/') {
            let mut next = Vec::new();
            for folder in &found {
                let metadata = tree.find_metadata(folder)?;
                if metadata.is_none_or(|found| found.file_type != FileType::Directory) {
                    continue;
                }
                for entry in tree.entries_at(folder)? {
                    if name_fits(part.as_bytes(), &entry.name) {
                        next.push(folder.join(&entry.name)?);
                    }
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// Gives a file its mode, and replaces texts in it.
    fn settle(&mut self, take: &Take, path: &FsPath) -> Result<()> {
        let metadata = self.writer.tree.metadata_at(path)?;
        if metadata.file_type != FileType::File {
            return Ok(());
        }
        if !take.replace.is_empty() {
            let bytes = read_file(self.writer.tree, path, TEXT_MAX)?;
            let mut text = String::from_utf8(bytes).map_err(|error| {
                Error::invalid("a file in which texts are replaced is not UTF-8").with_source(error)
            })?;
            for replace in &take.replace {
                if !text.contains(&replace.text) {
                    return Err(Error::invalid(format!(
                        "'{}', which is to be replaced, is not in the file",
                        replace.text.escape_debug()
                    ))
                    .at(path.to_string()));
                }
                text = text.replace(&replace.text, &replace.with);
            }
            self.writer.file(path, metadata.mode, text.as_bytes())?;
        }
        let change = MetadataChange {
            mode: mode_of(take)?,
            ..MetadataChange::default()
        };
        self.writer.tree.set_metadata(path, &change)
    }

    fn files(&mut self) -> Result<()> {
        let chosen = self.chosen;
        let files = chosen.recipe.document.files.iter();
        for file in files.filter(|file| chosen.has(file.value.part.as_ref())) {
            let mode = mode(file.value.mode.as_ref(), file.position);
            let mode = mode.map_err(|fault| Error::internal(fault.message))?;
            let path = FsPath::new(&file.value.path)?;
            let content = file.value.content.as_bytes();
            self.writer
                .new_file(&path, mode.unwrap_or(FILE_MODE), content)
                .at(|| place(&chosen.recipe.place, file.position))?;
        }
        Ok(())
    }

    fn links(&mut self) -> Result<()> {
        let chosen = self.chosen;
        let links = chosen.recipe.document.links.iter();
        for link in links.filter(|link| chosen.has(link.value.part.as_ref())) {
            let path = FsPath::new(&link.value.path)?;
            self.writer
                .link(&path, link.value.target.as_bytes())
                .at(|| place(&chosen.recipe.place, link.position))?;
        }
        Ok(())
    }

    /// Lines by which files get to `/etc`.
    fn etc(&mut self, name: &str) -> Result<()> {
        let chosen = self.chosen;
        let mut lines = String::new();
        let etc = chosen.recipe.document.etc.iter();
        for etc in etc.filter(|etc| chosen.has(etc.value.part.as_ref())) {
            let below = &etc.value.name;
            let place_of = || place(&chosen.recipe.place, etc.position);
            let factory = FsPath::new(format!("{FACTORY}/{below}")).at(place_of)?;
            if !exists(self.writer.tree, &factory)? {
                let error = Error::not_found(format!("there is no {factory} to be copied"));
                return Err(error.at(place_of()));
            }
            lines.push_str(&format!("C /etc/{below} - - - - {factory}\n"));
        }
        if lines.is_empty() {
            return Ok(());
        }
        let path = FsPath::new(TMPFILES)?.join(format!("{name}.conf"))?;
        self.writer.new_file(&path, FILE_MODE, lines.as_bytes())
    }

    /// The start of the release file, which the build completes.
    fn release(&mut self, name: &str) -> Result<()> {
        let mut text = format!("SYSEXT_ID={}\n", self.chosen.recipe.name());
        if let Some(number) = self.chosen.number() {
            text.push_str(&format!("SYSEXT_VERSION_ID={number}\n"));
        }
        let path = Class::Sysext.release_path(name)?;
        self.writer.file(&path, FILE_MODE, text.as_bytes())
    }
}

/// What is done with a download that is no archive.
fn plain(needed: &Needed) -> Option<&Take> {
    match needed.take.as_slice() {
        [Spanned { value: take, .. }] if take.from.is_none() => Some(take),
        _ => None,
    }
}

/// Where the archive of a number is unpacked.
fn unpacked(number: usize) -> Result<FsPath> {
    FsPath::new(format!("{UNPACKED}{number}"))
}

fn mode_of(take: &Take) -> Result<Option<u32>> {
    let position = crate::document::Position::START;
    mode(take.mode.as_ref(), position).map_err(|fault| Error::internal(fault.message))
}

impl Writer<'_> {
    /// Writes content where nothing is.
    fn new_content(&mut self, path: &FsPath, mode: u32, content: FileContent<'_>) -> Result<()> {
        self.refuse_taken(path)?;
        if let Some(parent) = path.parent() {
            self.folder(&parent)?;
        }
        let attributes = self.attributes(mode);
        self.tree.write_content(path, &attributes, content)
    }

    /// A symbolic link where nothing is.
    fn link(&mut self, path: &FsPath, target: &[u8]) -> Result<()> {
        self.refuse_taken(path)?;
        if let Some(parent) = path.parent() {
            self.folder(&parent)?;
        }
        let attributes = self.attributes(0o777);
        self.tree.symlink(path, target, &attributes)
    }

    fn refuse_taken(&self, path: &FsPath) -> Result<()> {
        match exists(self.tree, path)? {
            false => Ok(()),
            true => Err(Error::invalid(format!("{path} is there already")).because(Reason::Exists)),
        }
    }

    /// Moves an entry to another place, where a folder gets what is in it, and nothing else may be.
    fn move_tree(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        if let Some(parent) = to.parent() {
            self.folder(&parent)?;
        }
        let Some(there) = self.tree.find_metadata(to)? else {
            return self.tree.rename(from, to);
        };
        let moved = self.tree.metadata_at(from)?;
        let is_folder = |found: FileType| found == FileType::Directory;
        if !is_folder(there.file_type) || !is_folder(moved.file_type) {
            return self.refuse_taken(to);
        }
        for entry in self.tree.entries_at(from)? {
            self.move_tree(&from.join(&entry.name)?, &to.join(&entry.name)?)?;
        }
        Ok(())
    }
}
