//! Goes from programs to all that they need, and puts it into the tree of the extension.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use super::Wanted;
use super::libraries::{Finder, file_at};
use super::script;
use crate::error::{Error, ErrorKind, Reason, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::elf::{self, Change, Elf};
use crate::flatcar::sysext::build::Writer;
use crate::fs::{
    Attributes, ByPath, Entry, FileContent, FileRead, FileReader, FileSystem, FileSystemMut,
    FileType, FsPath, Metadata, StagedTree, Timestamp, resolve, walk,
};
use crate::progress::Cancel;

/// May be executed by somebody.
const EXECUTABLE: u32 = 0o111;
const LIBRARY_MODE: u32 = 0o755;
/// Libraries of one extension; large desktops have some hundred.
const LIBRARIES_MAX: usize = 10_000;
/// What glibc loads by itself, where it is there: for names of hosts and users, and when threads end.
const KNOWN: [&str; 3] = ["libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"];
const GLIBC: &str = "libc.so.6";
/// Folders that are merged.
const MERGED: [&str; 2] = ["/usr", "/opt"];

/// A program or library with what its headers say.
struct Object {
    path: FsPath,
    elf: Elf,
}

pub(super) struct Gather<'a> {
    root: &'a dyn FileSystem,
    writer: Writer<'a>,
    /// The folder of the libraries.
    home: FsPath,
    cancel: &'a Cancel,
    finder: Finder<'a>,
    /// Libraries by the names that they are needed under.
    libraries: BTreeMap<String, FsPath>,
    /// Those that were not looked into yet.
    todo: Vec<(String, Object)>,
    /// What is in the extension already, by its path there.
    placed: BTreeMap<FsPath, FsPath>,
    interpreters: BTreeSet<FsPath>,
    /// The first dynamic program: what is loaded while it runs is for the same machine.
    first: Option<Elf>,
    findings: Vec<Finding>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(
        root: &'a dyn FileSystem,
        tree: &'a mut StagedTree,
        home: FsPath,
        time: Timestamp,
        cancel: &'a Cancel,
    ) -> Result<Self> {
        Ok(Self {
            root,
            writer: Writer { tree, time },
            home,
            cancel,
            finder: Finder::new(root)?,
            libraries: BTreeMap::new(),
            todo: Vec::new(),
            placed: BTreeMap::new(),
            interpreters: BTreeSet::new(),
            first: None,
            findings: Vec::new(),
        })
    }

    /// Takes what is wanted, with all that it needs.
    pub(super) fn wanted(&mut self, wanted: &Wanted) -> Result<()> {
        let source = real_place(self.root, &wanted.source)?;
        let target = wanted.target_or(usual_target(&source)?);
        check_target(&target)?;
        self.entry(&source, &target)?;
        self.libraries()
    }

    /// Takes a library that programs load while they run.
    pub(super) fn dlopen(&mut self, name: &str) -> Result<()> {
        let Some(elf) = self.first.clone() else {
            return Err(Error::invalid(format!(
                "the library {name} is loaded by no program, as none that is named is dynamic"
            )));
        };
        // It is looked for where all programs so far would.
        let seeker = Elf {
            search: Vec::new(),
            ..elf
        };
        if !self.library(name, &FsPath::root(), &seeker)? {
            return Err(Error::not_found(format!(
                "the library {name} is not in the root filesystem"
            ))
            .with_hint("give its path where it is in a folder that programs do not look into"));
        }
        self.libraries()
    }

    /// What the C library itself loads, and what a person should know.
    pub(super) fn finish(mut self) -> Result<Vec<Finding>> {
        if let Some(libc) = self.libraries.get(GLIBC).cloned()
            && let Some(elf) = self.first.clone()
        {
            for name in KNOWN {
                self.library(name, &libc, &elf)?;
            }
            self.libraries()?;
        }
        Ok(self.findings)
    }

    fn entry(&mut self, source: &FsPath, target: &FsPath) -> Result<()> {
        let found = self.root.find_metadata(source)?;
        let metadata = found
            .ok_or_else(|| Error::not_found(format!("{source} is not in the root filesystem")))?;
        match metadata.file_type {
            FileType::File => self.file(source, target, &metadata),
            FileType::Symlink => self.link(source, target),
            FileType::Directory => self.folder(source, target),
            _ => Err(Error::invalid(format!(
                "{source} is neither a file nor a folder nor a link"
            ))),
        }
    }

    /// A link, and what it leads to.
    fn link(&mut self, source: &FsPath, target: &FsPath) -> Result<()> {
        let end = resolve(self.root, source).at(|| source.to_string())?;
        let end_target = usual_target(&end)?;
        check_target(&end_target)?;
        if end_target != *target && self.is_new(target, source)? {
            self.parent(target)?;
            let attributes = self.writer.attributes(0o777);
            let tree = &mut self.writer.tree;
            tree.symlink(target, end_target.as_bytes(), &attributes)?;
        }
        self.entry(&end, &end_target)
    }

    /// A folder with all that is below it. Links in it stay what they are.
    fn folder(&mut self, source: &FsPath, target: &FsPath) -> Result<()> {
        let mut entries: Vec<Entry> = Vec::new();
        walk(self.root, source, &mut |entry| {
            entries.push(entry);
            Ok(())
        })?;
        let skipped = source.components().count();
        for entry in entries {
            self.cancel.check()?;
            let mut to = target.clone();
            for name in entry.path.components().skip(skipped) {
                to = to.join(name)?;
            }
            match entry.metadata.file_type {
                FileType::File => self.file(&entry.path, &to, &entry.metadata)?,
                FileType::Directory => self.writer.folder(&to)?,
                FileType::Symlink => {
                    if self.is_new(&to, &entry.path)? {
                        let link = self.root.read_link(entry.node)?;
                        let attributes = self.writer.attributes(0o777);
                        self.writer.tree.symlink(&to, &link, &attributes)?;
                    }
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "{} is neither a file nor a folder nor a link",
                        entry.path
                    )));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, source: &FsPath, target: &FsPath, metadata: &Metadata) -> Result<()> {
        self.cancel.check()?;
        if !self.is_new(target, source)? {
            return Ok(());
        }
        let file = self.root.open_at(source)?;
        let elf = match elf::read(&*file) {
            Ok(elf) => elf,
            // Said of the whole extension later.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
                return self.copy(source, target, metadata);
            }
            Err(error) => return Err(error.at(source.to_string())),
        };
        let script = match elf {
            None if metadata.mode & EXECUTABLE != 0 => script::interpreter(&*file)?,
            _ => None,
        };
        drop(file);
        if let Some(script) = script {
            self.interpreter_of(source, &script)?;
        }
        match elf {
            Some(elf) if is_dynamic(&elf) => {
                let object = Object {
                    path: source.clone(),
                    elf,
                };
                self.dynamic(&object, target, metadata)
            }
            _ => self.copy(source, target, metadata),
        }
    }

    /// The interpreter of a script, which comes along where Flatcar has none.
    fn interpreter_of(&mut self, path: &FsPath, script: &script::Interpreter) -> Result<()> {
        if script.is_present() {
            return Ok(());
        }
        let Some(found) = script.find(self.root)? else {
            return Err(Error::not_found(format!(
                "the script {path} is run by {}, which is not in the root filesystem",
                script.name
            ))
            .with_hint("install it there, or leave the script out"));
        };
        let source = real_place(self.root, &found)?;
        if self.interpreters.insert(source.clone()) {
            let finding = Finding::new(code::PROGRAM_INTERPRETER).with("path", path);
            self.findings.push(finding.with("interpreter", &found));
            let target = usual_target(&source)?;
            check_target(&target).at(|| format!("interpreter of {path}"))?;
            self.entry(&source, &target)?;
        }
        Ok(())
    }

    /// A dynamic program or library, rewritten, with what it needs.
    fn dynamic(&mut self, object: &Object, target: &FsPath, metadata: &Metadata) -> Result<()> {
        let Object { path, elf } = object;
        self.first.get_or_insert_with(|| elf.clone());
        self.finder.add(path, elf);
        let mut needed = BTreeMap::new();
        for name in &elf.needed {
            if !self.library(name, path, elf)? {
                return Err(Error::not_found(format!(
                    "{path} needs the library {name}, which is not in the root filesystem"
                ))
                .with_hint("install it there: it is looked for where the dynamic linker would"));
            }
            if let Some((_, base)) = name.rsplit_once('/') {
                needed.insert(name.clone(), base.to_owned());
            }
        }
        let interpreter = match &elf.interpreter {
            Some(interpreter) => self.linker(interpreter, path)?,
            None => String::new(),
        };
        let change = Change {
            interpreter,
            search: vec![self.home.to_string()],
            needed,
        };
        let file = self.root.open_at(path)?;
        let edited = elf::edit(file, &change).at(|| path.to_string())?;
        let stored = edited.stored();
        let mut content = edited.content();
        let content = FileContent::sparse(edited.size(), &stored, &mut content)?;
        put(&mut self.writer, target, &attributes(metadata), content)?;
        self.xattrs(path, target)
    }

    /// The dynamic linker, copied as it is; the path that it has then.
    fn linker(&mut self, interpreter: &str, path: &FsPath) -> Result<String> {
        let lacks = || {
            Error::not_found(format!(
                "{path} is started by {interpreter}, which is not in the root filesystem"
            ))
        };
        let found = file_at(self.root, interpreter)?.ok_or_else(lacks)?;
        let base = interpreter.rsplit('/').next().unwrap_or(interpreter);
        let target = self.home.join(base)?;
        self.claim(base, &found)?;
        let metadata = self.root.metadata_at(&found)?;
        if self.is_new(&target, &found)? {
            self.copy(&found, &target, &metadata)?;
        }
        Ok(target.to_string())
    }

    /// Notes a library that is needed by `path`; whether there is one.
    fn library(&mut self, name: &str, path: &FsPath, elf: &Elf) -> Result<bool> {
        let Some(found) = self.finder.find(name, path, elf)? else {
            return Ok(false);
        };
        let base = name.rsplit('/').next().unwrap_or(name).to_owned();
        if !self.claim(&base, &found)? {
            return Ok(true);
        }
        let file = self.root.open_at(&found)?;
        let read = elf::read(&*file).at(|| found.to_string())?;
        drop(file);
        let elf = read.ok_or_else(|| Error::internal("only ELF files are found as libraries"))?;
        let object = Object { path: found, elf };
        self.todo.push((base, object));
        Ok(true)
    }

    /// Gives a name in the folder of the libraries to a file; whether it is new there.
    fn claim(&mut self, base: &str, found: &FsPath) -> Result<bool> {
        if let Some(known) = self.libraries.get(base) {
            if known == found {
                return Ok(false);
            }
            return Err(Error::unsupported(format!(
                "two libraries are called {base}: {known} and {found}"
            ))
            .because(Reason::Feature)
            .with_hint("make an extension of each program"));
        }
        if self.libraries.len() >= LIBRARIES_MAX {
            return Err(
                Error::unsupported(format!("more than {LIBRARIES_MAX} libraries"))
                    .because(Reason::Limit),
            );
        }
        self.libraries.insert(base.to_owned(), found.clone());
        Ok(true)
    }

    /// Looks into all libraries that were noted.
    fn libraries(&mut self) -> Result<()> {
        while let Some((base, object)) = self.todo.pop() {
            self.cancel.check()?;
            let target = self.home.join(&base)?;
            if !self.is_new(&target, &object.path)? {
                continue;
            }
            let metadata = Metadata {
                mode: LIBRARY_MODE,
                ..self.root.metadata_at(&object.path)?
            };
            match is_dynamic(&object.elf) {
                true => self.dynamic(&object, &target, &metadata)?,
                false => self.copy(&object.path, &target, &metadata)?,
            }
        }
        Ok(())
    }

    /// Whether nothing is at `target` yet; something else than `source` there is an error.
    fn is_new(&mut self, target: &FsPath, source: &FsPath) -> Result<bool> {
        match self.placed.get(target) {
            Some(known) if known == source => Ok(false),
            Some(known) => Err(Error::invalid(format!(
                "{known} and {source} would both become {target}"
            ))),
            None => {
                self.placed.insert(target.clone(), source.clone());
                Ok(true)
            }
        }
    }

    fn parent(&mut self, target: &FsPath) -> Result<()> {
        match target.parent() {
            Some(parent) => self.writer.folder(&parent),
            None => Ok(()),
        }
    }

    /// Copies a file as it is.
    fn copy(&mut self, source: &FsPath, target: &FsPath, metadata: &Metadata) -> Result<()> {
        let file = self.root.open_at(source)?;
        let size = file.size();
        let mut reader = FileReader::new(file).take(size);
        let content = FileContent::whole(size, &mut reader);
        put(&mut self.writer, target, &attributes(metadata), content)?;
        drop(reader);
        self.xattrs(source, target)
    }

    fn xattrs(&mut self, source: &FsPath, target: &FsPath) -> Result<()> {
        for xattr in self.root.xattrs_at(source)? {
            self.writer
                .tree
                .set_xattr(target, &xattr.name, &xattr.value)?;
        }
        Ok(())
    }
}

fn put(
    writer: &mut Writer<'_>,
    target: &FsPath,
    attributes: &Attributes,
    content: FileContent<'_>,
) -> Result<()> {
    if let Some(parent) = target.parent() {
        writer.folder(&parent)?;
    }
    let written = writer.tree.write_content(target, attributes, content);
    written.at(|| target.to_string())
}

fn attributes(metadata: &Metadata) -> Attributes {
    Attributes {
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
    }
}

/// Whether the dynamic linker has something to do for a file.
fn is_dynamic(elf: &Elf) -> bool {
    elf.is_loadable && (elf.interpreter.is_some() || !elf.needed.is_empty())
}

/// A path with the links on the way to its last name followed.
pub(in crate::flatcar::sysext) fn real_place(
    root: &dyn FileSystem,
    path: &FsPath,
) -> Result<FsPath> {
    let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
        return Err(Error::invalid("the whole root filesystem is no program"));
    };
    let parent = match resolve(root, &parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::not_found(format!(
                "{path} is not in the root filesystem"
            )));
        }
        Err(error) => return Err(error),
    };
    parent.join(name)
}

/// Where a file goes of which nothing else is said: `/usr/sbin` is a link to `/usr/bin` on Flatcar.
pub(in crate::flatcar::sysext) fn usual_target(source: &FsPath) -> Result<FsPath> {
    let path = source.as_bytes();
    match path.strip_prefix(b"/usr/sbin/") {
        Some(name) => FsPath::new([b"/usr/bin/", name].concat()),
        None => Ok(source.clone()),
    }
}

/// Refuses a place that is not merged.
pub(in crate::flatcar::sysext) fn check_target(target: &FsPath) -> Result<()> {
    for folder in MERGED {
        let folder = FsPath::new(folder)?;
        if target.starts_with(&folder) && *target != folder {
            return Ok(());
        }
    }
    Err(Error::invalid(format!(
        "{target} is outside of /usr and /opt, and would not be merged"
    ))
    .with_hint(format!(
        "say where it is to go, as in {target}:/usr/bin/NAME"
    )))
}
