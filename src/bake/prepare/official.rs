//! Flatcar's own sysexts: put where the first boot finds them, and switched on.

use super::super::edits::{Edits, OfficialSysext};
use super::super::request::at_origin;
use super::bench::Bench;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::flatcar::{Designator, official};
use crate::fs::{self, FileSystem, FsPath};

/// What the files are to a run.
const ROLE: &str = "official sysext";
/// The largest list that is read; real ones have a few lines.
const CONF_MAX: u64 = 1 << 20;

impl Bench<'_> {
    /// Puts Flatcar's own sysexts into the image, and switches them on, after all files that are given: these may bring the
    /// list.
    pub(super) fn enable_sysexts(&mut self, edits: &Edits) -> Result<()> {
        if edits.enabled_sysexts.is_empty() {
            return Ok(());
        }
        for sysext in &edits.enabled_sysexts {
            self.put_official(sysext)
                .at(|| format!("sysext {}", sysext.name))
                .map_err(|error| at_origin(error, sysext.origin.as_ref()))?;
        }
        let names: Vec<&str> = edits
            .enabled_sysexts
            .iter()
            .map(|sysext| &*sysext.name)
            .collect();
        let path = self.locate(Designator::Root, &FsPath::new(official::CONF)?)?;
        let text = self.enabled_before(&path)?;
        self.forget_written(Designator::Root, &path)?;
        let text = official::enable(&text, &names);
        let why = format!("sysexts of Flatcar: {}", names.join(", "));
        self.put_text(Designator::Root, official::CONF, text.as_bytes(), &why)
    }

    fn put_official(&mut self, sysext: &OfficialSysext) -> Result<()> {
        let release = self.run.release.as_ref();
        let version = release.and_then(|release| release.version());
        let version = version.ok_or_else(|| {
            Error::invalid("the image's release is not known, which the name of the file must have")
        })?;
        let name = format!("{}-{version}.raw", official::merged_name(&sysext.name));
        let path = FsPath::new(official::FOLDER)?.join(name)?;
        let why = format!("sysext {} of Flatcar", sysext.name);
        let file = sysext.file()?.to_owned();
        self.copy_file(&file, ROLE, Designator::Root, &path, &why)
    }

    /// The list as it is so far: that on ROOT, else that of USR which it will stand before.
    fn enabled_before(&mut self, path: &FsPath) -> Result<String> {
        let on_root = read(self.filesystem(Designator::Root)?, path)?;
        let text = match on_root {
            Some(text) => text,
            None => match self.disk.filesystem(Designator::Usr.into()) {
                Ok(usr) => read(&*usr, &FsPath::new(official::CONF_ON_USR)?)?.unwrap_or_default(),
                // That USR cannot be read has a finding of its own.
                Err(_) => Vec::new(),
            },
        };
        String::from_utf8(text).map_err(|error| {
            Error::invalid(format!("{path} is not text"))
                .with_source(error)
                .at(Designator::Root.to_string())
        })
    }
}

/// The content of a file, where there is one.
fn read(fs: &dyn FileSystem, path: &FsPath) -> Result<Option<Vec<u8>>> {
    let read = fs::resolve(fs, path).and_then(|path| fs::read_file(fs, &path, CONF_MAX));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
