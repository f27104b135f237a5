//! Files and folders of the host and of the request, systemd units, the host name, symlinks.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::super::edits::{Edits, FileSource, FileSpec, UnitSpec};
use super::bench::{Bench, Content, NewFile};
use crate::block::shown;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::flatcar::{Designator, unit};
use crate::fs::{self, FileType, FsPath, HostEntry, walk_host};

/// Modes of files, and of those that their owner may execute, where none is given.
const PLAIN_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;
/// Where systemd looks for the host's name.
const HOSTNAME: &str = "/etc/hostname";
/// Where the USR partition has the system's units.
const SHIPPED_UNITS: &str = "/lib/systemd/system";
/// Largest unit file that is read; systemd itself refuses lines of more than 1 MiB.
const UNIT_MAX: u64 = 1 << 20;

impl Bench<'_> {
    pub(super) fn put_files(&mut self, edits: &Edits) -> Result<()> {
        if let Some(hostname) = &edits.hostname {
            let why = hostname
                .origin
                .clone()
                .unwrap_or_else(|| "host name".to_owned());
            self.put_text(
                Designator::Root,
                HOSTNAME,
                format!("{}\n", hostname.name).as_bytes(),
                &why,
            )?;
        }
        edits.files.iter().try_for_each(|file| self.put(file))?;
        edits.units.iter().try_for_each(|unit| self.put_unit(unit))
    }

    /// A file whose whole content is known.
    pub(super) fn put_text(
        &mut self,
        partition: Designator,
        path: &str,
        content: &[u8],
        why: &str,
    ) -> Result<()> {
        let path = self.locate(partition, &FsPath::new(path)?)?;
        let content = Content::Bytes(content);
        self.write_file(NewFile {
            partition,
            path: &path,
            content,
            mode: 0o644,
            owner: None,
            why,
        })
    }

    fn put(&mut self, spec: &FileSpec) -> Result<()> {
        let partition = spec.partition;
        let why = spec.origin.clone().unwrap_or_else(|| origin_of(spec));
        let top = self.locate(partition, &spec.path)?;
        let put = match &spec.source {
            FileSource::Inline(content) => {
                self.put_file(spec, &top, Content::Bytes(content), PLAIN_MODE, &why)
            }
            FileSource::Host(source) => self.put_tree(spec, source, &top, &why),
        };
        put.at(|| why.clone())
    }

    /// A file of the host, or a folder with all it holds.
    fn put_tree(&mut self, spec: &FileSpec, source: &Path, top: &FsPath, why: &str) -> Result<()> {
        walk_host(source, &self.run.inputs, &mut |entry| {
            let mut path = top.clone();
            for name in &entry.below {
                path = path.join(name.as_bytes()).at(|| shown(&entry.path))?;
            }
            self.put_entry(spec, &path, entry, why)
        })
    }

    fn put_entry(
        &mut self,
        spec: &FileSpec,
        path: &FsPath,
        entry: &HostEntry,
        why: &str,
    ) -> Result<()> {
        match entry.file_type {
            FileType::Directory => self.put_folder(spec.partition, path, spec.owner, why),
            FileType::File => {
                // No other bit of the host's mode counts: the rest depends on the umask of whoever made the file.
                let is_executable = entry.metadata.mode() & 0o100 != 0;
                let mode = if is_executable {
                    PROGRAM_MODE
                } else {
                    PLAIN_MODE
                };
                let file = entry.file();
                self.put_file(spec, path, Content::Host(&file), mode, why)
            }
            FileType::Symlink => {
                refuse_top(path)?;
                let target = entry.target("file", &self.run.inputs)?;
                let target = String::from_utf8(target).map_err(|_| {
                    let link = shown(&entry.path);
                    Error::invalid(format!("{link}: its target is not UTF-8"))
                })?;
                self.make_symlink(spec.partition, path, &target, why)
            }
            _ => Err(Error::invalid(format!(
                "{} is neither a file nor a folder nor a symlink",
                shown(&entry.path)
            ))
            .with_hint("device nodes, pipes and sockets are not copied from the host")),
        }
    }

    /// A file, with `mode` unless another one is asked for.
    fn put_file(
        &mut self,
        spec: &FileSpec,
        path: &FsPath,
        content: Content<'_>,
        mode: u32,
        why: &str,
    ) -> Result<()> {
        refuse_top(path)?;
        self.write_file(NewFile {
            partition: spec.partition,
            path,
            content,
            mode: spec.mode.unwrap_or(mode),
            owner: spec.owner,
            why,
        })
    }

    /// A folder, unless there is one. A mode that is given is meant for files: folders above them must stay open.
    fn put_folder(
        &mut self,
        partition: Designator,
        path: &FsPath,
        owner: Option<(u32, u32)>,
        why: &str,
    ) -> Result<()> {
        if path.is_root() {
            return Ok(());
        }
        match self.make_way(partition, path, FileType::Directory, why)? {
            None => self.make_folder(partition, path, owner, why),
            Some(old) if old.file_type == FileType::Directory => Ok(()),
            Some(_) => Err(Error::invalid(format!(
                "{path} is not a directory, so a folder cannot take its place"
            ))
            .because(Reason::NotADirectory)
            .at(partition.to_string())
            .with_hint("remove it first, or give another path")),
        }
    }

    fn put_unit(&mut self, spec: &UnitSpec) -> Result<()> {
        let why = spec
            .origin
            .clone()
            .unwrap_or_else(|| format!("unit {}", spec.name));
        self.put_unit_files(spec, &why).at(|| why.clone())
    }

    fn put_unit_files(&mut self, spec: &UnitSpec, why: &str) -> Result<()> {
        let path = unit::path(&spec.name)?;
        let contents = spec
            .contents
            .as_ref()
            .map(|source| self.unit_text(source))
            .transpose()?;
        if let Some(text) = &contents {
            self.put_text(Designator::Root, &path.to_string(), text.as_bytes(), why)?;
        }
        for (name, source) in &spec.dropins {
            let path = unit::dropin_path(&spec.name, name)?;
            let text = self.unit_text(source)?;
            self.put_text(Designator::Root, &path.to_string(), text.as_bytes(), why)?;
        }
        if spec.enabled {
            let shipped = if contents.is_none() {
                self.shipped_unit(&spec.name)
            } else {
                None
            };
            for (target, path) in
                unit::enabling_links(&spec.name, contents.as_deref(), shipped.as_deref())?
            {
                let path = self.locate(Designator::Root, &path)?;
                self.make_symlink(Designator::Root, &path, &target, why)?;
            }
        }
        Ok(())
    }

    /// The text of a unit that comes with the image, where it has one of this name.
    fn shipped_unit(&self, name: &str) -> Option<String> {
        let path = FsPath::new(SHIPPED_UNITS)
            .ok()?
            .join(unit::file_of(name))
            .ok()?;
        let usr = self.disk.filesystem(Designator::Usr.into()).ok()?;
        let path = fs::resolve(&*usr, &path).ok()?;
        String::from_utf8(fs::read_file(&*usr, &path, UNIT_MAX).ok()?).ok()
    }

    fn unit_text(&self, source: &FileSource) -> Result<String> {
        let bytes = self.content_of(source, UNIT_MAX, "unit")?;
        String::from_utf8(bytes)
            .map_err(|error| Error::invalid("a unit must be UTF-8 text").with_source(error))
    }

    /// The content of a file of the request, of at most `limit` bytes.
    pub(super) fn content_of(
        &self,
        source: &FileSource,
        limit: u64,
        role: &'static str,
    ) -> Result<Vec<u8>> {
        match source {
            FileSource::Host(file) => self.run.inputs.read(role, file, limit),
            FileSource::Inline(content) if to_u64(content.len()) > limit => Err(Error::invalid(
                format!("{} bytes are too many: at most {limit}", content.len()),
            )),
            FileSource::Inline(content) => Ok(content.clone()),
        }
    }

    pub(super) fn make_links(&mut self, edits: &Edits) -> Result<()> {
        for link in &edits.links {
            let why = link
                .origin
                .clone()
                .unwrap_or_else(|| format!("link {}", link.path));
            let path = self.locate(Designator::Root, &link.path)?;
            self.make_symlink(Designator::Root, &path, &link.target, &why)
                .at(|| why.clone())?;
        }
        Ok(())
    }
}

fn refuse_top(path: &FsPath) -> Result<()> {
    if path.is_root() {
        return Err(
            Error::invalid("a file cannot take the place of the top folder")
                .with_hint("give the whole path that the file shall have in the image"),
        );
    }
    Ok(())
}

fn origin_of(spec: &FileSpec) -> String {
    match &spec.source {
        FileSource::Host(source) => format!("file {}", shown(source)),
        FileSource::Inline(_) => format!("content of {}:{}", spec.partition, spec.path),
    }
}
