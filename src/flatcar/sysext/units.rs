//! Which systemd units an extension ships, and what makes them start.

use std::collections::BTreeSet;

use super::class::Class;
use crate::error::{ErrorKind, Result};
use crate::flatcar::unit::TYPES;
use crate::fs::{ByPath, DirEntry, FileSystem, FileType, FsPath, read_file, resolve};

/// Largest drop-in that is read; real ones have a few lines, longer ones are passed over.
const DROP_IN_MAX: u64 = 64 << 10;

/// Something that pulls in a unit: a symlink in `TARGET.wants/`, or `Upholds=` in a drop-in of `TARGET`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activation {
    /// The unit that pulls: `multi-user.target`.
    pub by: String,
    /// How: `Upholds`, `Wants` or `Requires`.
    pub how: &'static str,
    /// The unit that is started: `docker.service`.
    pub unit: String,
}

/// The units of an extension, sorted.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub names: Vec<String>,
    pub activations: Vec<Activation>,
}

pub(super) fn read(class: Class, fs: &dyn FileSystem) -> Result<Units> {
    let mut names = BTreeSet::new();
    let mut activations = BTreeSet::new();
    let dir = FsPath::new(class.units())?;
    for entry in entries(fs, &dir)? {
        let Ok(name) = String::from_utf8(entry.name) else {
            continue;
        };
        if entry.file_type == FileType::Directory {
            activations.extend(pulled_by(fs, &dir.join(&name)?, &name)?);
        } else if is_unit(&name) {
            names.insert(name);
        }
    }
    Ok(Units {
        names: names.into_iter().collect(),
        activations: activations.into_iter().collect(),
    })
}

/// What the folder `NAME.d`, `NAME.upholds`, `NAME.wants` or `NAME.requires` pulls in.
fn pulled_by(fs: &dyn FileSystem, dir: &FsPath, name: &str) -> Result<Vec<Activation>> {
    let Some((by, suffix)) = name.rsplit_once('.').filter(|(by, _)| is_unit(by)) else {
        return Ok(Vec::new());
    };
    let how = match suffix {
        "upholds" => "Upholds",
        "wants" => "Wants",
        "requires" => "Requires",
        "d" => return drop_ins(fs, dir, by),
        _ => return Ok(Vec::new()),
    };
    let links = entries(fs, dir)?
        .into_iter()
        .filter_map(|entry| String::from_utf8(entry.name).ok());
    Ok(links
        .filter(|unit| is_unit(unit))
        .map(|unit| Activation {
            by: by.to_owned(),
            how,
            unit,
        })
        .collect())
}

fn drop_ins(fs: &dyn FileSystem, dir: &FsPath, by: &str) -> Result<Vec<Activation>> {
    let mut found = Vec::new();
    for entry in entries(fs, dir)? {
        let path = dir.join(&entry.name)?;
        let is_drop_in = entry.file_type == FileType::File && entry.name.ends_with(b".conf");
        if !is_drop_in || fs.metadata_at(&path)?.size > DROP_IN_MAX {
            continue;
        }
        let content = read_file(fs, &path, DROP_IN_MAX)?;
        found.extend(
            pulls(&String::from_utf8_lossy(&content))
                .into_iter()
                .map(|(how, unit)| Activation {
                    by: by.to_owned(),
                    how,
                    unit: unit.to_owned(),
                }),
        );
    }
    Ok(found)
}

/// The units named by `Upholds=`, `Wants=` and `Requires=` lines.
fn pulls(text: &str) -> Vec<(&'static str, &str)> {
    let mut found = Vec::new();
    for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
        if let Some(how) = ["Upholds", "Wants", "Requires"]
            .into_iter()
            .find(|how| *how == key.trim())
        {
            found.extend(value.split_ascii_whitespace().map(|unit| (how, unit)));
        }
    }
    found
}

fn is_unit(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(stem, suffix)| !stem.is_empty() && TYPES.contains(&suffix))
}

/// The entries of a directory, symlinks on the way followed; none where it does not exist.
pub(super) fn entries(fs: &dyn FileSystem, dir: &FsPath) -> Result<Vec<DirEntry>> {
    let found = resolve(fs, dir).and_then(|dir| {
        if fs.metadata_at(&dir)?.file_type == FileType::Directory {
            fs.entries_at(&dir)
        } else {
            Ok(Vec::new())
        }
    });
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
