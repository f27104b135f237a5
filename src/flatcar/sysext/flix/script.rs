//! What the first line of a script has it run by.

use crate::error::Result;
use crate::fs::{FileRead, FileSystem, FsPath};

use super::libraries::file_at;

/// Bytes of the first line that Linux reads.
const LINE_MAX: u64 = 256;
/// Interpreters that every Flatcar has, in `/bin` and `/usr/bin`.
const PRESENT: [&str; 3] = ["sh", "bash", "env"];
/// Where `env` looks.
const FOLDERS: [&str; 6] = [
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
];

/// An interpreter as a script names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// `/usr/bin/perl`, or a name that `env` looks for.
    pub name: String,
}

/// The interpreter of a file; `None` where it is no script.
pub(super) fn interpreter(file: &dyn FileRead) -> Result<Option<Interpreter>> {
    let len = file.size().min(LINE_MAX);
    let mut line = vec![0; crate::bytes::to_usize(len)?];
    file.read_at(0, &mut line)?;
    Ok(of_line(&line))
}

fn of_line(line: &[u8]) -> Option<Interpreter> {
    let line = line.strip_prefix(b"#!")?;
    let end = line.iter().position(|&byte| byte == b'\n');
    let line = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]).into_owned();
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let is_env = first.rsplit('/').next() == Some("env");
    let mut named = words.filter(|word| !word.starts_with('-') && !word.contains('='));
    let name = match is_env {
        true => named.next().unwrap_or(first),
        false => first,
    };
    Some(Interpreter {
        name: name.to_owned(),
    })
}

impl Interpreter {
    /// Whether Flatcar has it.
    pub(super) fn is_present(&self) -> bool {
        let name = match self.name.rsplit_once('/') {
            Some(("/bin" | "/usr/bin", name)) => name,
            Some(_) => return false,
            None => &self.name,
        };
        PRESENT.contains(&name)
    }

    /// Where it is in a root filesystem, by the name that it is called by there.
    pub(super) fn find(&self, root: &dyn FileSystem) -> Result<Option<FsPath>> {
        let paths: Vec<String> = match self.name.starts_with('/') {
            true => vec![self.name.clone()],
            false => FOLDERS
                .iter()
                .map(|folder| format!("{folder}/{}", self.name))
                .collect(),
        };
        for path in paths {
            if file_at(root, &path)?.is_some() {
                return FsPath::new(path).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_taken_from_first_lines() {
        for (line, name) in [
            ("#!/bin/sh\n", "/bin/sh"),
            ("#! /usr/bin/perl -w\nx", "/usr/bin/perl"),
            ("#!/usr/bin/env python3\n", "python3"),
            ("#!/usr/bin/env -S A=b python3 -u\n", "python3"),
            ("#!/usr/bin/env", "/usr/bin/env"),
        ] {
            assert_eq!(of_line(line.as_bytes()).unwrap().name, name, "{line}");
        }
        for none in ["", "#", "#!", "#!  \n", "echo\n", " #!/bin/sh"] {
            assert_eq!(of_line(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn flatcar_has_shells() {
        let is_present = |name: &str| {
            Interpreter {
                name: name.to_owned(),
            }
            .is_present()
        };
        assert!(is_present("/bin/sh") && is_present("bash") && is_present("/usr/bin/env"));
        assert!(!is_present("/usr/local/bin/sh") && !is_present("/usr/bin/perl"));
    }
}
