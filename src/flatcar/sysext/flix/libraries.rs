//! Where the dynamic linker of a root filesystem looks for libraries.
//!
//! ```text
//!   DT_RUNPATH, DT_RPATH ─▶ those of programs before it ─▶ /etc/ld.so.conf ─▶ /lib/x86_64-linux-gnu, /lib64, /lib …
//! ```

use crate::archive::Glob;
use crate::error::{ErrorKind, Result};
use crate::flatcar::elf::{self, Elf};
use crate::fs::{ByPath, FileSystem, FileType, FsPath, read_file, resolve};

const CONF: &str = "/etc/ld.so.conf";
/// What musl has instead, by the machine.
const MUSL_CONFS: [&str; 2] = ["/etc/ld-musl-x86_64.path", "/etc/ld-musl-aarch64.path"];
/// Bytes of one such file, files in all, and folders that they name; real ones have a few lines.
const CONF_MAX: u64 = 64 << 10;
const CONFS_MAX: usize = 256;
const FOLDERS_MAX: usize = 1024;
/// Where the linkers of distributions look last.
const FOLDERS: [&str; 10] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];
/// What stands for parts of paths that depend on the file or the machine.
const ORIGINS: [&str; 2] = ["$ORIGIN", "${ORIGIN}"];
const LIBS: [&str; 2] = ["$LIB", "${LIB}"];
const LIB_VALUES: [&str; 4] = [
    "lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "lib64",
    "lib",
];

/// Finds libraries.
pub(super) struct Finder<'a> {
    root: &'a dyn FileSystem,
    /// Folders that programs so far have libraries looked for in: what they load is looked for there, too.
    named: Vec<String>,
    configured: Vec<String>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(root: &'a dyn FileSystem) -> Result<Self> {
        let mut confs = Confs {
            root,
            folders: Vec::new(),
            count: 0,
        };
        confs.read(&FsPath::new(CONF)?)?;
        for path in MUSL_CONFS {
            confs.read(&FsPath::new(path)?)?;
        }
        Ok(Self {
            root,
            named: Vec::new(),
            configured: confs.folders,
        })
    }

    /// Takes the folders that a file names, whose own path is `path`.
    pub(super) fn add(&mut self, path: &FsPath, elf: &Elf) {
        for folder in expanded(path, elf) {
            if self.named.len() < FOLDERS_MAX && !self.named.contains(&folder) {
                self.named.push(folder);
            }
        }
    }

    /// The file that `name` means to `path`, a program or library.
    pub(super) fn find(&self, name: &str, path: &FsPath, elf: &Elf) -> Result<Option<FsPath>> {
        if name.starts_with('/') {
            return self.fitting(name, elf);
        }
        let own = expanded(path, elf);
        let folders = own.iter().chain(&self.named).chain(&self.configured);
        let folders = folders.map(String::as_str).chain(FOLDERS);
        for folder in folders {
            if let Some(found) = self.fitting(&format!("{folder}/{name}"), elf)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The library at a path, symlinks followed; `None` where there is none, or one for another machine.
    fn fitting(&self, path: &str, wanted: &Elf) -> Result<Option<FsPath>> {
        let Some(found) = file_at(self.root, path)? else {
            return Ok(None);
        };
        let file = self.root.open_at(&found)?;
        Ok(match elf::read(&*file) {
            Ok(Some(elf)) if (elf.machine, elf.is_64) == (wanted.machine, wanted.is_64) => {
                drop(file);
                Some(found)
            }
            _ => None,
        })
    }
}

/// The regular file that a path leads to.
pub(super) fn file_at(root: &dyn FileSystem, path: &str) -> Result<Option<FsPath>> {
    let Some(path) = normal(path) else {
        return Ok(None);
    };
    let found = match resolve(root, &path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let metadata = root.find_metadata(&found)?;
    let is_file = metadata.is_some_and(|metadata| metadata.file_type == FileType::File);
    Ok(is_file.then_some(found))
}

/// An absolute path without `.` and `..`, which are taken by their names.
fn normal(path: &str) -> Option<FsPath> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            _ => names.push(name),
        }
    }
    FsPath::new(format!("/{}", names.join("/"))).ok()
}

/// The folders that a file names.
fn expanded(path: &FsPath, elf: &Elf) -> Vec<String> {
    let folder = path.parent().unwrap_or_else(FsPath::root).to_string();
    let mut all = Vec::new();
    for text in &elf.search {
        let mut text = text.clone();
        for origin in ORIGINS {
            text = text.replace(origin, &folder);
        }
        let Some(word) = LIBS.iter().find(|word| text.contains(**word)) else {
            all.push(text);
            continue;
        };
        all.extend(LIB_VALUES.iter().map(|value| text.replace(word, value)));
    }
    all.retain(|folder| folder.starts_with('/'));
    all
}

/// Reads `ld.so.conf` with what it includes.
struct Confs<'a> {
    root: &'a dyn FileSystem,
    folders: Vec<String>,
    count: usize,
}

impl Confs<'_> {
    fn read(&mut self, path: &FsPath) -> Result<()> {
        let mut todo = vec![path.clone()];
        while let Some(path) = todo.pop() {
            self.count += 1;
            if self.count > CONFS_MAX {
                return Ok(());
            }
            let Some(found) = file_at(self.root, &path.to_string())? else {
                continue;
            };
            let text = match read_file(self.root, &found, CONF_MAX) {
                Ok(text) => String::from_utf8_lossy(&text).into_owned(),
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                Err(error) => return Err(error),
            };
            let mut included = Vec::new();
            for line in text.lines() {
                let line = line.split('#').next().unwrap_or_default().trim();
                let words = line.strip_prefix("include");
                match words.filter(|rest| rest.starts_with([' ', '\t'])) {
                    Some(patterns) => {
                        for pattern in patterns.split_whitespace() {
                            included.extend(self.matching(pattern)?);
                        }
                    }
                    None => self.add(line),
                }
            }
            todo.extend(included.into_iter().rev());
        }
        Ok(())
    }

    fn add(&mut self, line: &str) {
        let folders = line.split([':', ',', ' ', '\t']);
        for folder in folders.filter(|folder| folder.starts_with('/')) {
            let folder = folder.trim_end_matches('/').to_owned();
            if self.folders.len() < FOLDERS_MAX && !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
        }
    }

    /// The files that a pattern of an `include` fits, in order.
    fn matching(&self, pattern: &str) -> Result<Vec<FsPath>> {
        let whole = match pattern.starts_with('/') {
            true => pattern.to_owned(),
            false => format!("/etc/{pattern}"),
        };
        let Some((folder, last)) = whole.rsplit_once('/') else {
            return Ok(Vec::new());
        };
        let Ok(glob) = Glob::new(last) else {
            return Ok(Vec::new());
        };
        let Some(folder) = normal(&format!("{folder}/")) else {
            return Ok(Vec::new());
        };
        let Ok(folder) = resolve(self.root, &folder) else {
            return Ok(Vec::new());
        };
        let is_folder = self.root.find_metadata(&folder)?;
        if is_folder.is_none_or(|found| found.file_type != FileType::Directory) {
            return Ok(Vec::new());
        }
        let entries = self.root.entries_at(&folder)?;
        let names = entries.iter().map(|entry| &entry.name);
        let fitting = names.filter(|name| glob.matches(name));
        fitting.map(|name| folder.join(name)).collect()
    }
}
