//! Entries that are put in and taken out, each with its line in the plan.

use sha2::{Digest, Sha256};

use super::Bench;
use crate::bake::edits::{ArchiveSpec, Place};
use crate::bake::plan::{Action, Change, Source};
use crate::bytes::hex;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::flatcar::Designator;
use crate::fs::{self, Attributes, FileSystemMut, FileType, FsPath, HostFile, Metadata};

/// The home of Flatcar's one user with a login, as names, and its numbers; root's.
const CORE_HOME: [&[u8]; 2] = [b"home", b"core"];
const CORE_USER: (u32, u32) = (500, 500);
const ROOT_USER: (u32, u32) = (0, 0);

/// A file to write.
pub(in crate::bake::prepare) struct NewFile<'a> {
    pub(in crate::bake::prepare) partition: Designator,
    pub(in crate::bake::prepare) path: &'a FsPath,
    pub(in crate::bake::prepare) content: Content<'a>,
    pub(in crate::bake::prepare) mode: u32,
    /// `None` for what is usual there.
    pub(in crate::bake::prepare) owner: Option<(u32, u32)>,
    pub(in crate::bake::prepare) why: &'a str,
}

/// What a file gets.
#[derive(Clone, Copy)]
pub(in crate::bake::prepare) enum Content<'a> {
    /// That of a file of the host.
    Host(&'a HostFile),
    /// These bytes.
    Bytes(&'a [u8]),
}

impl Bench<'_> {
    /// Makes the missing folders above `path`, and tells what is at `path` itself.
    pub(in crate::bake::prepare) fn make_way(
        &mut self,
        partition: Designator,
        path: &FsPath,
        new: FileType,
        why: &str,
    ) -> Result<Option<Metadata>> {
        self.see_path(partition, path, new);
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(folder) = above {
            if self.type_at(partition, &folder)?.is_some() {
                break;
            }
            above = folder.parent();
            missing.push(folder);
        }
        for folder in missing.into_iter().rev() {
            self.make_folder(partition, &folder, None, why)?;
        }
        let old = self.metadata(partition, path)?;
        if old
            .as_ref()
            .is_some_and(|old| old.file_type == FileType::Directory)
            && new != FileType::Directory
        {
            return Err(Error::invalid(format!(
                "{path} is a directory in the image and cannot be replaced by a file"
            ))
            .because(Reason::IsADirectory)
            .at(partition.to_string())
            .with_hint("give a path inside it, or remove it first"));
        }
        Ok(old)
    }

    /// Whose an entry is about which nothing else is said.
    fn usual_owner(&mut self, partition: Designator, path: &FsPath) -> (u32, u32) {
        if partition != Designator::Root || !path.components().take(2).eq(CORE_HOME) {
            return ROOT_USER;
        }
        self.of_core.insert(path.clone());
        CORE_USER
    }

    /// Makes a folder at a path where nothing is.
    pub(in crate::bake::prepare) fn make_folder(
        &mut self,
        partition: Designator,
        path: &FsPath,
        owner: Option<(u32, u32)>,
        why: &str,
    ) -> Result<()> {
        let mut change = change(partition, path, Action::CreateDir, why);
        change.mode = 0o755;
        (change.uid, change.gid) = owner.unwrap_or_else(|| self.usual_owner(partition, path));
        let attributes = self.attributes(&change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| fs.create_dir(path, &attributes))?;
        self.changes.push(change);
        Ok(())
    }

    /// Makes a symlink, in the place of what is there and is no folder.
    pub(in crate::bake::prepare) fn make_symlink(
        &mut self,
        partition: Designator,
        path: &FsPath,
        target: &str,
        why: &str,
    ) -> Result<()> {
        let old = self.make_way(partition, path, FileType::Symlink, why)?;
        self.note_written(partition, path, why)?;
        let mut change = change(
            partition,
            path,
            Action::Symlink {
                target: target.to_owned(),
            },
            why,
        );
        change.replaces = old.is_some();
        (change.uid, change.gid) = self.usual_owner(partition, path);
        let attributes = self.attributes(&change);
        self.asked(partition, 0, why)?;
        self.edit(partition, path, |fs| {
            if old.is_some() {
                fs.remove(path)?;
            }
            fs.symlink(path, target.as_bytes(), &attributes)
        })?;
        self.changes.push(change);
        Ok(())
    }

    /// Writes a file, in the place of what is there and is no folder.
    pub(in crate::bake::prepare) fn write_file(&mut self, new: NewFile<'_>) -> Result<()> {
        let NewFile {
            partition,
            path,
            content,
            mode,
            owner,
            why,
        } = new;
        let old = self.make_way(partition, path, FileType::File, why)?;
        self.note_written(partition, path, why)?;
        let source = match content {
            Content::Host(file) => Source::Host(file.path().to_owned()),
            Content::Bytes(bytes) => Source::Inline(hex(&Sha256::digest(bytes))),
        };
        let mut change = change(partition, path, Action::WriteFile { source }, why);
        change.replaces = old.is_some();
        change.mode = mode;
        (change.uid, change.gid) = owner.unwrap_or_else(|| self.usual_owner(partition, path));
        let attributes = self.attributes(&change);
        // Other names of the old file keep the old content.
        let in_the_way = old.is_some_and(|old| old.file_type != FileType::File || old.nlink > 1);
        change.bytes = match content {
            Content::Bytes(bytes) => crate::bytes::to_u64(bytes.len()),
            Content::Host(file) => file.size(),
        };
        self.asked(partition, change.bytes, why)?;
        let replacement = Replacement {
            path,
            in_the_way,
            attributes,
            bytes: change.bytes,
        };
        match content {
            Content::Bytes(bytes) => {
                self.edit(partition, path, |fs| replacement.write(fs, &mut &*bytes))?
            }
            Content::Host(file) => {
                let mut reader = file.reader("file", &self.run.inputs)?;
                self.edit(partition, path, |fs| replacement.write(fs, &mut reader))
                    .at(|| crate::block::shown(file.path()))?;
                reader.finish()?;
            }
        }
        self.run.context.progress.advance(change.bytes);
        self.changes.push(change);
        Ok(())
    }

    fn attributes(&self, change: &Change) -> Attributes {
        Attributes {
            mode: change.mode,
            uid: change.uid,
            gid: change.gid,
            mtime: self.run.timestamp,
        }
    }

    pub(super) fn remove(&mut self, place: &Place) -> Result<()> {
        let partition = place.partition;
        let path = self.locate(partition, &place.path)?;
        if path.is_root() {
            return Err(
                Error::invalid("the top folder of a partition cannot be removed")
                    .at(partition.to_string()),
            );
        }
        if self.type_at(partition, &path)?.is_none() {
            return Err(Error::not_found(format!(
                "{path} is to be removed, but there is no such entry"
            ))
            .at(partition.to_string())
            .with_hint(format!("see what is there: flatbake ls IMG {partition}:/")));
        }
        self.remove_all(
            partition,
            &path,
            &format!("removal of {partition}:{}", place.path),
        )
    }

    /// Removes an entry and all below it.
    pub(in crate::bake::prepare) fn remove_all(
        &mut self,
        partition: Designator,
        path: &FsPath,
        why: &str,
    ) -> Result<()> {
        self.edit(partition, path, |fs| {
            let mut found = Vec::new();
            fs::walk(fs.as_read(), path, &mut |entry| {
                found.push(entry.path);
                Ok(())
            })?;
            // The deepest first.
            found.iter().rev().try_for_each(|path| fs.remove(path))
        })?;
        self.changes
            .push(change(partition, path, Action::Remove, why));
        Ok(())
    }

    pub(super) fn archive(&mut self, spec: &ArchiveSpec) -> Result<()> {
        let name = crate::block::shown(&spec.source);
        let why = spec
            .origin
            .clone()
            .unwrap_or_else(|| format!("archive {name}"));
        let mut reader = self.run.inputs.reader("archive", &spec.source)?;
        self.asked(spec.partition, 0, &why)?;
        if spec.partition == Designator::Root && !spec.dest.is_root() {
            self.see_hidden(&spec.dest, FileType::File);
        }
        let dest = &spec.dest;
        let progress = self.run.context.progress;
        let unpacked = self.edit(spec.partition, dest, |fs| {
            crate::archive::inject(fs, &mut reader, dest, &spec.options, progress)
                .at(|| name.clone())
        })?;
        reader.finish()?;
        if spec.partition == Designator::Root {
            unpacked
                .top_level
                .iter()
                .for_each(|path| self.see_hidden(path, FileType::File));
        }
        self.findings.extend(
            unpacked
                .findings
                .into_iter()
                .map(|finding| finding.at(name.clone())),
        );
        let entries = unpacked.entries - unpacked.skipped;
        let action = Action::Unpack {
            source: spec.source.clone(),
            entries,
        };
        let mut change = change(spec.partition, dest, action, &why);
        change.mode = 0o755;
        change.bytes = unpacked.content_bytes;
        self.changes.push(change);
        Ok(())
    }
}

/// A file that takes the place of what is there.
struct Replacement<'a> {
    path: &'a FsPath,
    /// Whether what is there must go first.
    in_the_way: bool,
    attributes: Attributes,
    bytes: u64,
}

impl Replacement<'_> {
    fn write(&self, fs: &mut dyn FileSystemMut, content: &mut dyn std::io::Read) -> Result<()> {
        if self.in_the_way {
            fs.remove(self.path)?;
        }
        fs.write_file(self.path, &self.attributes, self.bytes, content)
    }
}

/// A change as it is for links and removals; attributes and size come after, where they differ.
fn change(partition: Designator, path: &FsPath, action: Action, why: &str) -> Change {
    Change {
        partition,
        path: path.clone(),
        action,
        replaces: false,
        mode: 0o777,
        uid: 0,
        gid: 0,
        bytes: 0,
        why: why.to_owned(),
    }
}
