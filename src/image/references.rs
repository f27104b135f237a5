//! Other files that an image names: backing files, data files, extents, parents.
//!
//! An image is data from elsewhere and may name any file of this machine. So nothing it names is opened unless the
//! caller allows it, and then only regular files below the folder of the image that was asked for: names are resolved
//! with all their symlinks first, and the result is opened folder by folder without following any.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, openat};

use super::details::Details;
use crate::block::{FileDevice, Inputs, SelfDescribed};
use crate::error::{Error, Reason, Result};
use crate::progress::Progress;

/// Images below images: QEMU's own chains are seldom longer than a handful.
const MAX_DEPTH: usize = 32;

/// Files that one image opens: a disk of 1 TiB cut into pieces of 2 GiB, and half of the usual limit of a process.
const MAX_FILES: usize = 512;

/// What a file is to a run that an image refers to.
const ROLE: &str = "file of the base image";

/// What an image may refer to, seen from one of its files.
pub(super) struct References<'a> {
    /// Receives what should be known about the image.
    pub progress: &'a dyn Progress,
    /// Where files are registered that are opened.
    inputs: &'a Inputs,
    /// The folder that everything must lie below.
    root: PathBuf,
    /// The folder that names are relative to.
    folder: PathBuf,
    allowed: bool,
    /// Images above this one.
    depth: usize,
    opened: Rc<Cell<usize>>,
    /// What the image says of itself.
    details: RefCell<Details>,
    /// Something was not opened since nothing may be.
    refused: Cell<bool>,
}

impl<'a> References<'a> {
    /// What the image at `path` may refer to: with `allowed`, files below its folder; else nothing. All that is opened
    /// is registered in `inputs`.
    pub fn new(path: &Path, allowed: bool, inputs: &'a Inputs, progress: &'a dyn Progress) -> Self {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).to_owned();
        let details = RefCell::default();
        let refused = Cell::default();
        let root = folder.clone();
        Self {
            progress,
            inputs,
            root,
            folder,
            allowed,
            depth: 0,
            opened: Rc::default(),
            details,
            refused,
        }
    }

    /// Notes what the image says of itself.
    pub fn note(&self, note: impl FnOnce(&mut Details)) {
        note(&mut self.details.borrow_mut());
    }

    /// What has been noted.
    pub fn details(&self) -> Details {
        self.details.borrow().clone()
    }

    /// Whether a file was not opened since none may be.
    pub fn refused(&self) -> bool {
        self.refused.get()
    }

    /// Opens the file that the image calls `name` and that is its `role` ("backing file"), for reading. Returned with
    /// it is what that file may refer to in turn.
    pub fn open(&self, role: &str, name: &[u8]) -> Result<(SelfDescribed<FileDevice>, Self)> {
        let shown = String::from_utf8_lossy(name).into_owned();
        if !self.allowed {
            self.refused.set(true);
            return Err(Error::unsupported(format!("the image refers to another file, its {role} '{shown}'"))
                .with_hint("other files are opened only where that is allowed, and only below the image's folder")
                .with_setting("allow-external"));
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::unsupported(format!(
                "the {role} '{shown}' is number {MAX_DEPTH} in a chain of images"
            ))
            .with_hint(
                "the chain may be a loop; else convert the image: qemu-img convert -O qcow2",
            ));
        }
        if self.opened.get() >= MAX_FILES {
            return Err(Error::unsupported(format!(
                "the image refers to more than {MAX_FILES} files"
            ))
            .because(Reason::Limit)
            .with_hint("convert it to one file: qemu-img convert -O qcow2"));
        }
        self.opened.set(self.opened.get() + 1);
        let opened = self.open_below(name).and_then(|(file, path)| {
            self.inputs.register(ROLE, &path, &file)?;
            Ok((file, path))
        });
        let (file, path) = opened.map_err(|error| error.at(format!("{role} '{shown}'")))?;
        // Where it is read, the image says.
        let device = SelfDescribed(FileDevice::from_file(file, &path)?);
        let folder = path.parent().unwrap_or(&self.root).to_owned();
        let below = Self {
            progress: self.progress,
            inputs: self.inputs,
            root: self.root.clone(),
            folder,
            allowed: true,
            depth: self.depth + 1,
            opened: Rc::clone(&self.opened),
            details: RefCell::default(),
            refused: Cell::default(),
        };
        Ok((device, below))
    }

    fn open_below(&self, name: &[u8]) -> Result<(File, PathBuf)> {
        let local = name.strip_prefix(b"file:").unwrap_or(name);
        // QEMU takes what stands before a colon for a protocol, "nbd://host" or "json:{…}".
        let protocol = local
            .split(|&byte| byte == b'/')
            .next()
            .is_some_and(|first| first.contains(&b':'));
        if protocol || local.is_empty() || local.contains(&0) {
            return Err(
                Error::unsupported("this is not the name of a file").with_hint(
                    "convert the image to one that stands alone: qemu-img convert -O qcow2",
                ),
            );
        }
        let fails = |error| Error::io("finding the file", error);
        let root = self.root.canonicalize().map_err(fails)?;
        let path = self
            .folder
            .join(OsStr::from_bytes(local))
            .canonicalize()
            .map_err(fails)?;
        let Ok(relative) = path.strip_prefix(&root) else {
            return Err(Error::unsupported(format!(
                "it lies outside of {}, the folder of the image",
                root.display()
            ))
            .with_hint("only files below the image's folder are opened; copy or move it there"));
        };
        let file = open_without_links(&root, relative)
            .map_err(|error| Error::io("opening it", error.into()))?;
        Ok((file, path))
    }
}

/// Opens `relative`, a path of plain names, below `root`. What became a symlink meanwhile is refused.
fn open_without_links(root: &Path, relative: &Path) -> rustix::io::Result<File> {
    let folder_flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let mut names = relative
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        });
    let last = names.next_back().ok_or(rustix::io::Errno::ISDIR)?;
    let mut folder: OwnedFd = rustix::fs::open(root, folder_flags, Mode::empty())?;
    for name in names {
        folder = openat(
            &folder,
            name,
            folder_flags | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
    }
    // NONBLOCK: should it be a pipe, nobody waits for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    openat(&folder, last, flags, Mode::empty()).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::ErrorKind;
    use crate::progress::NoProgress;

    #[test]
    fn nothing_outside_of_the_folder_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("images");
        fs::create_dir_all(folder.join("deep")).unwrap();
        for file in ["images/a", "images/deep/b", "secret"] {
            fs::write(dir.path().join(file), vec![1; 512]).unwrap();
        }
        symlink("../secret", folder.join("link")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("deep/b", folder.join("fine")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let inputs = Inputs::default();
        let references = References::new(&folder.join("image"), true, &inputs, &NoProgress);
        let absolute = folder.join("a").into_os_string().into_encoded_bytes();
        for name in [
            &b"a"[..],
            b"./a",
            b"deep/b",
            b"deep/../a",
            b"fine",
            b"file:a",
            &absolute,
        ] {
            references.open("backing file", name).unwrap();
        }
        let secret = dir
            .path()
            .join("secret")
            .into_os_string()
            .into_encoded_bytes();
        for name in [
            &b"../secret"[..],
            b"link",
            b"up/secret",
            b"deep/../../secret",
            &secret,
            b"/dev/zero",
            b"/etc/passwd",
        ] {
            let error = references
                .open("backing file", name)
                .map(|_| ())
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
            assert!(error.to_string().contains("outside"), "{error:?}");
        }
        for name in [
            &b""[..],
            b"json:{}",
            b"nbd://host/x",
            b"a\0b",
            b"loop",
            b"missing",
            b"deep",
            b".",
            b"a/b",
        ] {
            assert!(references.open("backing file", name).is_err(), "{name:?}");
        }
        let (_, below) = references.open("backing file", b"deep/b").unwrap();
        assert!(
            below.open("backing file", b"b").is_ok() && below.open("backing file", b"../a").is_ok()
        );
        assert!(below.open("backing file", b"../../secret").is_err());
        let known: Vec<_> = inputs
            .list()
            .into_iter()
            .map(|input| (input.role, input.path))
            .collect();
        let real = folder.canonicalize().unwrap();
        assert_eq!(known, ["a", "deep/b"].map(|name| (ROLE, real.join(name))));
        let forbidden = References::new(&folder.join("image"), false, &inputs, &NoProgress);
        let error = forbidden
            .open("backing file", b"a")
            .map(|_| ())
            .unwrap_err();
        assert_eq!(error.setting(), Some("allow-external"), "{error:?}");
    }

    #[test]
    fn files_and_chains_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), vec![1; 512]).unwrap();
        let path = dir.path().join("image");
        let inputs = Inputs::default();
        let mut references = References::new(&path, true, &inputs, &NoProgress);
        for _ in 0..MAX_DEPTH {
            references = references.open("backing file", b"a").unwrap().1;
        }
        assert!(references.open("backing file", b"a").is_err());
        let references = References::new(&path, true, &inputs, &NoProgress);
        for _ in 0..MAX_FILES {
            references.open("extent", b"a").unwrap();
        }
        assert!(references.open("extent", b"a").is_err());
    }
}
