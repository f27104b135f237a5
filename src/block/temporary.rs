//! Temporary names beside an output, and what becomes of those that a killed run leaves.
//!
//! ```text
//!   run 1   makes .flatbake-x1y2z3.part, locks it ──killed──▶ the lock is gone, the name stays
//!   run 2   finds the name, gets its lock: nobody writes there any more ──▶ removes it
//! ```
//!
//! Most filesystems need such names for a moment at most, since they know files without any.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

const PREFIX: &str = ".flatbake-";
const SUFFIX: &str = ".part";

/// Random characters between the two.
const RANDOM: usize = 6;

/// Another run may take a new name for a leftover before it is locked, so a name is made again a few times.
const ATTEMPTS: usize = 8;

/// Random hidden names that say where they come from.
pub(super) fn temporary_name() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM);
    builder
}

/// Makes something with a temporary name and locks it; `file` opens what was made.
pub(super) fn make_locked<T>(
    make: impl Fn() -> io::Result<T>,
    file: impl Fn(&T) -> io::Result<File>,
) -> io::Result<(T, File)> {
    for _ in 0..ATTEMPTS {
        let made = make()?;
        let Ok(open) = file(&made) else { continue };
        lock(&open);
        // Without a link it was swept away before it was locked.
        if open.metadata()?.nlink() > 0 {
            return Ok((made, open));
        }
    }
    Err(io::Error::other(
        "temporary files vanish as soon as they are made",
    ))
}

/// Marks a file or folder as in use. Where a filesystem has no locks, nobody can take the file for a leftover either.
pub(super) fn lock(file: &File) {
    let _unsupported = file.lock();
}

/// Removes what killed runs of this user left in `folder`. That something cannot be removed is no failure.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if random.is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|c| c.is_ascii_alphanumeric())
        }) {
            let _still_there = remove_stale(&entry.path());
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    file.try_lock()?;
    let held = file.metadata()?;
    let named = fs::symlink_metadata(path)?;
    let same =
        |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    if !same(&held, &named) || held.uid() != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    match held {
        folder if folder.is_dir() => fs::remove_dir_all(path),
        file if file.is_file() => fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_nobody_writes_to_is_swept_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let used = || {
            let make = || temporary_name().tempfile_in(dir.path());
            make_locked(make, |file| file.reopen()).unwrap()
        };
        let _first = used();
        let _second = used();
        fs::create_dir(path(".flatbake-stale1.part")).unwrap();
        for file in [".flatbake-stale1.part/file", ".flatbake-stale2.part"] {
            fs::write(path(file), b"half").unwrap();
        }
        let kept = [
            ".flatbake-partial",
            ".flatbake-toolong.part",
            ".flatbake-a.b-cd.part",
            "x.flatbake-abcdef.part",
        ];
        kept.iter()
            .for_each(|name| fs::write(path(name), b"mine").unwrap());
        symlink(".flatbake-partial", path(".flatbake-stale3.part")).unwrap();
        sweep(dir.path());
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.retain(|name| {
            name != ".flatbake-stale3.part" && !kept.iter().any(|kept| name == kept)
        });
        assert_eq!(left.len(), 2, "those in use: {left:?}");
        assert!(!path(".flatbake-stale1.part").exists() && !path(".flatbake-stale2.part").exists());
        assert!(
            kept.iter().all(|name| path(name).exists())
                && path(".flatbake-stale3.part").is_symlink()
        );
    }

    #[test]
    fn what_is_swept_before_it_is_locked_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let gone = std::cell::Cell::new(0);
        let open = |file: &tempfile::NamedTempFile| {
            let open = file.reopen()?;
            if gone.replace(gone.get() + 1) < 2 {
                sweep(dir.path());
            }
            Ok(open)
        };
        let (file, _) = make_locked(|| temporary_name().tempfile_in(dir.path()), open).unwrap();
        assert!(file.path().exists() && gone.get() == 3);
    }
}
