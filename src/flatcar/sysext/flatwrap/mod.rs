//! A whole root filesystem in an extension, with wrappers that run programs of it in a chroot.
//!
//! ```text
//!   /usr/bin/tool                   wrapper: exec /usr/local/NAME/enter /usr/bin/tool "$@"
//!   /usr/local/NAME/enter           puts the folders of both below mount, and changes into it
//!   /usr/local/NAME/mount           root: in a mount namespace
//!   /usr/local/NAME/rootfs/…        others: in bwrap where there is one, else in a user namespace
//! ```
//!
//! Programs and libraries are those of the root filesystem; `/dev`, `/proc`, `/sys`, `/run` and `/tmp` are the machine's;
//! `/etc`, `/var` and `/home` are either's. On the machine it takes a shell and `unshare`, which Flatcar has.

use std::path::PathBuf;

use super::Host;
use super::build::{Build, Means, Prepared, Writer};
use super::flix::{Wanted, check_sysext, check_target, home, real_place, usual_target};
use super::rootfs::Rootfs;
use crate::error::{Error, Result, ResultExt};
use crate::fs::{
    ByPath, CopyOptions, FileSystemMut, FileType, FsPath, StagedTree, Timestamp, copy_tree, resolve,
};

/// May be executed by somebody.
const EXECUTABLE: u32 = 0o111;
const PROGRAM_MODE: u32 = 0o755;
const LINK_MODE: u32 = 0o777;
/// The script that changes into the root filesystem.
const ENTER: &str = include_str!("enter.sh");
/// Folders whose content is the machine's.
const EMPTIED: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// Whose folder a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// The machine's.
    #[default]
    Host,
    /// That of the root filesystem, which can only be read.
    Chroot,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Chroot => "chroot",
        }
    }
}

/// What is wrapped.
#[derive(Debug, Clone)]
pub struct Flatwrap {
    /// The root filesystem, as [`Rootfs::read`] takes it.
    pub source: PathBuf,
    /// Programs that get wrappers, and other files and folders, which get links.
    pub wanted: Vec<Wanted>,
    /// Whose `/etc` programs see, unless `ETCMAP` says otherwise when they are started.
    pub etc: Side,
    /// Whose `/var` (`VARMAP`).
    pub var: Side,
    /// Whose `/home` and `/root` (`HOMEMAP`).
    pub home: Side,
}

impl Flatwrap {
    /// Puts the extension together and checks it, as [`Build::prepare`] does. `build` says how it is built, and its source is
    /// passed over.
    ///
    /// # Errors
    /// A program that is not there; those of [`Rootfs::read`] and [`Build::prepare`].
    pub fn prepare(
        &self,
        build: Build,
        host: Option<&Host>,
        means: &Means<'_>,
    ) -> Result<Prepared> {
        check_sysext(&build)?;
        if self.wanted.is_empty() {
            return Err(Error::invalid("no program is named"));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !build.name.chars().all(is_plain) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the name of a folder in scripts: letters, digits and any of ._- can",
                build.name.escape_debug()
            )));
        }
        let architecture = build.architecture.as_deref();
        let rootfs = Rootfs::read_as_root(&self.source, architecture, build.time, means)?;
        let (mut root, findings) = rootfs.into_parts();
        let time = Timestamp {
            secs: build.time,
            nanos: 0,
        };
        empty(&mut root, time)?;
        let mut tree = StagedTree::new(means.temp_dir(), time);
        let home = home(&build.name)?;
        let mut wrapping = Wrapping {
            root: &root,
            inside: home.join("rootfs")?,
            enter: home.join("enter")?,
            writer: Writer {
                tree: &mut tree,
                time,
            },
        };
        wrapping.writer.folder(&wrapping.inside)?;
        wrapping.writer.folder(&home.join("mount")?)?;
        let options = CopyOptions {
            to: wrapping.inside.clone(),
            ..CopyOptions::default()
        };
        let mut all = |_: &_| Ok(true);
        means.progress().start("copying the root filesystem", 0);
        let copied = copy_tree(
            &root,
            wrapping.writer.tree,
            &options,
            &mut all,
            means.progress(),
        );
        means.progress().finish();
        copied?;
        let script = self.script(&build.name);
        wrapping
            .writer
            .file(&wrapping.enter, PROGRAM_MODE, script.as_bytes())?;
        for wanted in &self.wanted {
            wrapping.wrap(wanted)?;
        }
        build.prepare_tree((tree, findings), host, means)
    }

    fn script(&self, name: &str) -> String {
        ENTER
            .replace("@NAME@", name)
            .replace("@ETC@", self.etc.word())
            .replace("@VAR@", self.var.word())
            .replace("@HOME@", self.home.word())
    }
}

/// Removes what is in folders that are the machine's.
fn empty(root: &mut StagedTree, time: Timestamp) -> Result<()> {
    for folder in EMPTIED {
        let folder = FsPath::new(folder)?;
        let found = root.find_metadata(&folder)?;
        if found.is_none_or(|found| found.file_type != FileType::Directory) {
            continue;
        }
        let mut writer = Writer {
            tree: &mut *root,
            time,
        };
        for entry in writer.tree.entries_at(&folder)? {
            writer.remove(&folder.join(&entry.name)?)?;
        }
    }
    Ok(())
}

struct Wrapping<'a> {
    root: &'a StagedTree,
    /// Where the root filesystem is.
    inside: FsPath,
    /// The script.
    enter: FsPath,
    writer: Writer<'a>,
}

impl Wrapping<'_> {
    /// A wrapper for a program, a link to anything else.
    fn wrap(&mut self, wanted: &Wanted) -> Result<()> {
        let source = real_place(self.root, &wanted.source)?;
        let target = wanted.target_or(usual_target(&source)?);
        check_target(&target)?;
        let end = resolve(self.root, &source).at(|| source.to_string())?;
        let found = self.root.find_metadata(&end)?;
        let metadata = found
            .ok_or_else(|| Error::not_found(format!("{source} is not in the root filesystem")))?;
        let is_program = metadata.file_type == FileType::File && metadata.mode & EXECUTABLE != 0;
        if is_program {
            let text = format!(
                "#!/bin/sh\nexec \"${{FLATWRAP_ROOT:-}}\"{} {} \"$@\"\n",
                quoted(&self.enter),
                quoted(&source)
            );
            return self.writer.new_file(&target, PROGRAM_MODE, text.as_bytes());
        }
        if let Some(parent) = target.parent() {
            self.writer.folder(&parent)?;
        }
        let link = [self.inside.as_bytes(), end.as_bytes()].concat();
        let attributes = self.writer.attributes(LINK_MODE);
        self.writer.tree.symlink(&target, &link, &attributes)
    }
}

/// A path as one word of a shell.
fn quoted(path: &FsPath) -> String {
    let text = String::from_utf8_lossy(path.as_bytes()).into_owned();
    format!("'{}'", text.replace('\'', "'\\''"))
}
