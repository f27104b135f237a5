//! The programs and libraries of an extension, and what they need to be started.

use std::collections::BTreeSet;

use crate::error::{ErrorKind, Result, ResultExt};
use crate::flatcar::elf::{self, Elf};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, walk};

/// Programs and libraries of one extension that are looked at.
const PROGRAMS_MAX: usize = 100_000;
/// The smallest ELF file has a header of so many bytes.
const ELF_BYTES_MIN: u64 = 52;
/// May be executed by somebody.
const EXECUTABLE: u32 = 0o111;
/// Where the dynamic linker looks last.
const USUAL_FOLDERS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
/// Folders at the top that are links into `/usr` on Flatcar.
const LINKED: [&[u8]; 4] = [b"bin", b"sbin", b"lib", b"lib64"];
/// Symlinks on the way to one file, as Linux counts them.
const LINKS_MAX: usize = 40;
/// What stands for the folder of the file itself.
const ORIGINS: [&str; 2] = ["$ORIGIN", "${ORIGIN}"];

/// A program or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it lies.
    pub path: FsPath,
    /// What its headers say, or why they say nothing.
    pub elf: std::result::Result<Elf, String>,
}

/// What a program needs and would not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The program.
    pub path: FsPath,
    /// Libraries by their names, the dynamic linker by its path.
    pub names: Vec<String>,
}

/// The ELF files of an extension that can be executed or are libraries by their names: firmware and other data for machines
/// of any kind are not.
///
/// # Errors
/// Those of reading.
pub fn programs(fs: &dyn FileSystem) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        let metadata = &entry.metadata;
        let is_candidate = metadata.file_type == FileType::File
            && metadata.size >= ELF_BYTES_MIN
            && (metadata.mode & EXECUTABLE != 0 || is_library(&entry.path));
        if !is_candidate || found.len() >= PROGRAMS_MAX {
            return Ok(());
        }
        let file = fs.open(entry.node).at(|| entry.path.to_string())?;
        let elf = match elf::read(&*file) {
            Ok(None) => return Ok(()),
            Ok(Some(elf)) => Ok(elf),
            Err(error) if is_about_content(error.kind()) => Err(error.to_string()),
            Err(error) => return Err(error.at(entry.path.to_string())),
        };
        drop(file);
        found.push(Program {
            path: entry.path,
            elf,
        });
        Ok(())
    })?;
    Ok(found)
}

/// Whether an error says that headers are odd, not that the file cannot be read.
fn is_about_content(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported)
}

/// Whether a file is called as libraries are: `libc.so.6`.
fn is_library(path: &FsPath) -> bool {
    let name = path.name().unwrap_or_default();
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

/// The programs that would not find what they need in `layers`, the first of which is on top of the others.
///
/// # Errors
/// Those of reading.
pub fn missing(programs: &[Program], layers: &[&dyn FileSystem]) -> Result<Vec<Missing>> {
    let mut finder = Finder {
        layers,
        absent: BTreeSet::new(),
        present: BTreeSet::new(),
    };
    // What is loaded by a program that says where to look is looked for there, too.
    let mut shared: BTreeSet<String> = BTreeSet::new();
    for program in programs {
        shared.extend(search(program));
    }
    let mut all = Vec::new();
    for program in programs {
        let Ok(elf) = &program.elf else { continue };
        let mut names = Vec::new();
        if let Some(interpreter) = &elf.interpreter
            && !finder.has(interpreter)?
        {
            names.push(interpreter.clone());
        }
        for name in &elf.needed {
            if !finder.has_library(name, &shared)? {
                names.push(name.clone());
            }
        }
        if !names.is_empty() {
            all.push(Missing {
                path: program.path.clone(),
                names,
            });
        }
    }
    Ok(all)
}

/// The folders where a program has libraries looked for.
fn search(program: &Program) -> Vec<String> {
    let Ok(elf) = &program.elf else {
        return Vec::new();
    };
    let folder = program.path.parent().unwrap_or_else(FsPath::root);
    let folder = folder.to_string();
    let expanded = |text: &String| {
        let mut text = text.clone();
        for origin in ORIGINS {
            text = text.replace(origin, &folder);
        }
        text
    };
    elf.search
        .iter()
        .map(expanded)
        .filter(|text| text.starts_with('/'))
        .collect()
}

/// Looks for files in several trees, one on top of the other.
struct Finder<'a> {
    layers: &'a [&'a dyn FileSystem],
    absent: BTreeSet<String>,
    present: BTreeSet<String>,
}

impl Finder<'_> {
    fn has_library(&mut self, name: &str, shared: &BTreeSet<String>) -> Result<bool> {
        if name.starts_with('/') {
            return self.has(name);
        }
        let folders = shared.iter().map(String::as_str).chain(USUAL_FOLDERS);
        for folder in folders {
            if self.has(&format!("{folder}/{name}"))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has(&mut self, path: &str) -> Result<bool> {
        if self.present.contains(path) {
            return Ok(true);
        }
        if self.absent.contains(path) {
            return Ok(false);
        }
        let found = exists(self.layers, path)?;
        let known = if found {
            &mut self.present
        } else {
            &mut self.absent
        };
        known.insert(path.to_owned());
        Ok(found)
    }
}

/// Whether there is a file at `path` once `layers` are merged. `.` and `..` are taken for what they are.
fn exists(layers: &[&dyn FileSystem], path: &str) -> Result<bool> {
    let mut rest: Vec<Vec<u8>> = names(path.as_bytes());
    let mut place: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        match &name[..] {
            b"." => continue,
            b".." => {
                place.pop();
                continue;
            }
            _ => {}
        }
        if place.is_empty() && LINKED.contains(&&name[..]) {
            place.push(b"usr".to_vec());
        }
        place.push(name);
        let Ok(at) = FsPath::new([b"/".to_vec(), place.join(&b'/')].concat()) else {
            return Ok(false);
        };
        let Some((layer, file_type)) = topmost(layers, &at)? else {
            return Ok(false);
        };
        match file_type {
            FileType::Symlink => {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(false);
                }
                let target = layer.read_link_at(&at)?;
                if target.starts_with(b"/") {
                    place.clear();
                } else {
                    place.pop();
                }
                rest.extend(names(&target));
            }
            FileType::Directory => {}
            _ => return Ok(rest.is_empty()),
        }
    }
    Ok(false)
}

/// The names of a path, the last one first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty())
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// The first layer that has something at `path`.
fn topmost<'a>(
    layers: &[&'a dyn FileSystem],
    path: &FsPath,
) -> Result<Option<(&'a dyn FileSystem, FileType)>> {
    for layer in layers {
        if let Some(metadata) = layer.find_metadata(path)? {
            return Ok(Some((*layer, metadata.file_type)));
        }
    }
    Ok(None)
}
