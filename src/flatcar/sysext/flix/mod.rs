//! Programs taken out of a root filesystem, with all libraries that they need, so that they run on any Flatcar.
//!
//! ```text
//!   ROOTFS  /usr/bin/tool ─────needs─▶ libx.so.1 ─needs─▶ libc.so.6 …        the system's own files are not used:
//!             │ PT_INTERP              │                  │
//!             ▼                        ▼                  ▼
//!   sysext  /usr/bin/tool            /usr/local/NAME/{ld-linux…, libx.so.1, libc.so.6 …}
//!             PT_INTERP=/usr/local/NAME/ld-linux…   DT_RUNPATH=/usr/local/NAME   DF_1_NODEFLIB
//! ```
//!
//! Static programs and other files are copied as they are; of scripts, the interpreters come along. What is loaded while a
//! program runs (`dlopen`) is in none of its headers and has to be named, but for what the C library itself loads.

mod gather;
mod libraries;
mod script;

use std::path::PathBuf;

use super::build::{Build, Means, Prepared};
use super::rootfs::Rootfs;
use super::{Class, Host};
use crate::error::{Error, Result};
use crate::fs::{FsPath, StagedTree, Timestamp};
use gather::Gather;
pub(super) use gather::{check_target, real_place, usual_target};

/// A file or folder of a root filesystem, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its path in the root filesystem.
    pub source: FsPath,
    /// Its path in the extension, where that is another one.
    pub target: Option<FsPath>,
}

impl Wanted {
    /// `PATH`, or `SOURCE:TARGET`, both absolute.
    ///
    /// # Errors
    /// What is no path.
    pub fn parse(text: &str) -> Result<Self> {
        let (source, target) = match text.split_once(':') {
            Some((source, target)) => (source, Some(target)),
            None => (text, None),
        };
        Ok(Self {
            source: FsPath::new(source)?,
            target: target.map(FsPath::new).transpose()?,
        })
    }

    /// Where it goes; `usual` where nothing is said.
    pub(super) fn target_or(&self, usual: FsPath) -> FsPath {
        self.target.clone().unwrap_or(usual)
    }
}

/// What is taken out of a root filesystem.
#[derive(Debug, Clone)]
pub struct Flix {
    /// The root filesystem, as [`Rootfs::read`] takes it.
    pub source: PathBuf,
    /// Programs, and other files and folders.
    pub wanted: Vec<Wanted>,
    /// Libraries that programs load while they run, by their names or paths.
    pub dlopen: Vec<String>,
}

impl Flix {
    /// Puts the extension together and checks it, as [`Build::prepare`] does. `build` says how it is built, and its source is
    /// passed over.
    ///
    /// # Errors
    /// A library or an interpreter that is not there, with who needs it; programs for other machines than x86-64 and arm64;
    /// two libraries of one name; those of [`Rootfs::read`] and [`Build::prepare`].
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
        if build.name.contains([':', '$']) {
            return Err(Error::invalid(format!(
                "'{}' cannot be the name of a folder of libraries: it has a ':' or '$'",
                build.name.escape_debug()
            )));
        }
        let architecture = build.architecture.as_deref();
        let rootfs = Rootfs::read_as_root(&self.source, architecture, build.time, means)?;
        let (root, mut findings) = rootfs.into_parts();
        let time = Timestamp {
            secs: build.time,
            nanos: 0,
        };
        let mut tree = StagedTree::new(means.temp_dir(), time);
        let home = home(&build.name)?;
        let mut gather = Gather::new(&root, &mut tree, home, time, means.inputs().cancel())?;
        for wanted in &self.wanted {
            gather.wanted(wanted)?;
        }
        for name in &self.dlopen {
            gather.dlopen(name)?;
        }
        findings.extend(gather.finish()?);
        build.prepare_tree((tree, findings), host, means)
    }
}

/// The folder of an extension that is nobody else's.
pub(super) fn home(name: &str) -> Result<FsPath> {
    FsPath::new("/usr/local")?.join(name)
}

/// Refuses what such an extension cannot be.
pub(super) fn check_sysext(build: &Build) -> Result<()> {
    build.check()?;
    match build.class {
        Class::Sysext => Ok(()),
        Class::Confext => Err(Error::invalid(
            "programs make a sysext: a confext has files of /etc only",
        )),
    }
}
