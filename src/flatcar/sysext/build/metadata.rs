//! What is written into an extension besides its own files: its release file, drop-ins that start units, and lines that
//! copy files into `/etc`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Build, Conf, Means};
use crate::block::shown;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::sysext::{Class, SysextInfo};
use crate::flatcar::unit::{self, SYSTEM_UNITS};
use crate::fs::{
    Attributes, ByPath, FileContent, FileSystemMut, FileType, FolderOptions, FsPath, StagedTree,
    Timestamp, exists,
};

/// The interface of Flatcar's releases that extensions build upon, which all of them have had so far.
const FLATCAR_LEVEL: &str = "1.0";
/// Fits every system.
const ANY: &str = "_any";
/// Fields whose values are decided here, in the order they are written.
const DECIDED: [&str; 6] = [
    "ID",
    "SYSEXT_LEVEL",
    "CONFEXT_LEVEL",
    "VERSION_ID",
    "ARCHITECTURE",
    RELOAD,
];
const RELOAD: &str = "EXTENSION_RELOAD_MANAGER";
/// Where files lie that are copied into `/etc`, and who copies them.
const FACTORY: &str = "/usr/share/factory/etc";
const TMPFILES: &str = "/usr/lib/tmpfiles.d";
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;
/// What a file is to a run.
const CONF_ROLE: &str = "file for /etc";
/// Largest file for `/etc`; real ones have a few lines.
const CONF_MAX: u64 = 16 << 20;

/// Writes into a tree that belongs to root.
pub(in crate::flatcar::sysext) struct Writer<'a> {
    pub tree: &'a mut StagedTree,
    pub time: Timestamp,
}

impl Writer<'_> {
    pub(in crate::flatcar::sysext) fn attributes(&self, mode: u32) -> Attributes {
        Attributes {
            mode,
            uid: 0,
            gid: 0,
            mtime: self.time,
        }
    }

    /// Makes the folder and those above it, where they are missing.
    pub(in crate::flatcar::sysext) fn folder(&mut self, path: &FsPath) -> Result<()> {
        if let Some(found) = self.tree.find_metadata(path)? {
            return match found.file_type {
                FileType::Directory => Ok(()),
                _ => Err(Error::invalid(format!(
                    "{path} is not a folder, and files of the extension must be put there"
                ))),
            };
        }
        if let Some(parent) = path.parent() {
            self.folder(&parent)?;
        }
        let attributes = self.attributes(FOLDER_MODE);
        self.tree.create_dir(path, &attributes)
    }

    /// Writes a file, with the folders above it; one that is there is replaced.
    pub(in crate::flatcar::sysext) fn file(
        &mut self,
        path: &FsPath,
        mode: u32,
        content: &[u8],
    ) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.folder(&parent)?;
        }
        let attributes = self.attributes(mode);
        let mut reader = content;
        let size = crate::bytes::to_u64(content.len());
        self.tree
            .write_content(path, &attributes, FileContent::whole(size, &mut reader))
    }

    /// The same where nothing may be there.
    pub(in crate::flatcar::sysext) fn new_file(
        &mut self,
        path: &FsPath,
        mode: u32,
        content: &[u8],
    ) -> Result<()> {
        if exists(self.tree, path)? {
            return Err(
                Error::invalid(format!("{path} is there already and would be replaced"))
                    .with_hint("leave it out of the source, or do not ask for it"),
            );
        }
        self.file(path, mode, content)
    }

    /// Removes an entry with all that lies below it.
    pub(in crate::flatcar::sysext) fn remove(&mut self, path: &FsPath) -> Result<()> {
        super::source::remove(self.tree, path)
    }

    /// Drop-ins that have units started, each by the target of its kind.
    pub(super) fn enable(&mut self, units: &[String]) -> Result<()> {
        for unit in units {
            if !unit::is_unit_name(unit) {
                return Err(Error::invalid(format!(
                    "'{}' is not the name of a unit",
                    unit.escape_debug()
                ))
                .with_hint("a name has a type behind its last dot: tailscaled.service"));
            }
            let file = FsPath::new(SYSTEM_UNITS)?.join(unit::file_of(unit))?;
            if !exists(self.tree, &file)? {
                return Err(Error::invalid(format!(
                    "{unit} cannot be enabled: there is no {file}"
                ))
                .with_hint("put the unit's file there in the source"));
            }
            let folder = FsPath::new(format!("{SYSTEM_UNITS}/{}.d", target_of(unit)))?;
            let name = format!("10-{}.conf", unit.replacen('.', "-", 1));
            let text = format!("[Unit]\nUpholds={unit}\n");
            self.new_file(&folder.join(name)?, FILE_MODE, text.as_bytes())?;
        }
        Ok(())
    }

    /// Files of the host that systemd-tmpfiles copies into `/etc` when a machine boots that has none there.
    pub(super) fn confs(&mut self, confs: &[Conf], name: &str, means: &Means<'_>) -> Result<()> {
        let mut lines = String::new();
        for conf in confs {
            let below = below_etc(&conf.name)?;
            let place = FsPath::new(format!("{FACTORY}/{below}"))?;
            self.conf(&conf.source, &place, means)
                .at(|| shown(&conf.source))?;
            lines.push_str(&format!("C /etc/{below} - - - - {FACTORY}/{below}\n"));
        }
        if lines.is_empty() {
            return Ok(());
        }
        let path = FsPath::new(TMPFILES)?.join(format!("10-{name}.conf"))?;
        self.new_file(&path, FILE_MODE, lines.as_bytes())
    }

    fn conf(&mut self, source: &Path, place: &FsPath, means: &Means<'_>) -> Result<()> {
        if source.is_dir() {
            let options = FolderOptions {
                role: CONF_ROLE,
                owner: Some((0, 0)),
            };
            self.folder(place)?;
            return self.tree.add_folder(source, place, &options, &means.inputs);
        }
        let content = means.inputs.read(CONF_ROLE, source, CONF_MAX)?;
        let mode = if is_executable(source) {
            PROGRAM_MODE
        } else {
            FILE_MODE
        };
        self.new_file(place, mode, &content)
    }

    /// The release file of the extension.
    pub(super) fn release(&mut self, build: &Build, text: &str) -> Result<()> {
        let path = build.class.release_path(&build.name)?;
        self.file(&path, FILE_MODE, text.as_bytes())
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// What starts units of a kind, and is started itself when extensions are merged.
fn target_of(unit: &str) -> &'static str {
    match unit.rsplit_once('.') {
        Some((_, "socket")) => "sockets.target",
        Some((_, "timer")) => "timers.target",
        _ => "multi-user.target",
    }
}

/// A path below `/etc` that systemd-tmpfiles takes as it is written.
fn below_etc(name: &str) -> Result<String> {
    let below = name.strip_prefix("/etc/").unwrap_or(name);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+@:/".contains(c);
    let has_odd_part = below.split('/').any(|part| matches!(part, "" | "." | ".."));
    if has_odd_part || !below.chars().all(is_plain) {
        return Err(Error::invalid(format!(
            "'{}' cannot be a path below /etc",
            name.escape_debug()
        ))
        .with_hint("give names of letters, digits and any of ._-+@: with slashes between them"));
    }
    Ok(below.to_owned())
}

/// What the release file says: the fields that are asked for, then those that the source's own file has.
///
/// `architecture` is that of all programs, where they have one.
pub(super) fn release_text(
    build: &Build,
    info: &SysextInfo,
    architecture: Option<&str>,
) -> Result<String> {
    let own = info
        .releases
        .iter()
        .find(|release| release.name == build.name);
    let own: BTreeMap<&str, &str> = own
        .map(|release| release.fields.fields().collect())
        .unwrap_or_default();
    let given = |field: &str| own.get(field).copied().filter(|value| !value.is_empty());

    let id = build.os.as_deref().or(given("ID")).unwrap_or(ANY);
    let mut fields: Vec<(&str, &str)> = vec![("ID", id)];
    if id != ANY {
        fields.extend(version(build, &own)?);
    } else if let Some(version) = &build.version_id {
        return Err(Error::invalid(format!(
            "version {version} of the system {ANY}: an extension for any system is for any version"
        ))
        .with_hint("name the system, such as flatcar, or no version"));
    }
    let architecture = build
        .architecture
        .as_deref()
        .or(given("ARCHITECTURE"))
        .or(architecture);
    fields.extend(architecture.map(|architecture| ("ARCHITECTURE", architecture)));
    if info.units.is_empty() {
        fields.extend(given(RELOAD).map(|value| (RELOAD, value)));
    } else {
        fields.push((RELOAD, "1"));
    }
    let rest = own.iter().filter(|(field, _)| !DECIDED.contains(*field));
    fields.extend(rest.map(|(field, value)| (*field, *value)));
    Ok(fields
        .iter()
        .map(|(field, value)| format!("{field}={}\n", quoted(value)))
        .collect())
}

/// The field by which the extension is matched with a release of its system.
fn version<'a>(
    build: &'a Build,
    own: &BTreeMap<&'a str, &'a str>,
) -> Result<Vec<(&'a str, &'a str)>> {
    if let Some(version) = &build.version_id {
        return Ok(vec![("VERSION_ID", version)]);
    }
    let level = build.class.level_field();
    let known: Vec<(&str, &str)> = [level, "VERSION_ID"]
        .into_iter()
        .filter_map(|field| Some((field, *own.get(field)?)))
        .collect();
    match (known.is_empty() || build.os.is_some(), build.class) {
        (false, _) => Ok(known),
        (true, Class::Sysext) => Ok(vec![(level, FLATCAR_LEVEL)]),
        (true, Class::Confext) => Err(Error::invalid(
            "a confext for one system is for one version of it, and none is given",
        )
        .with_hint(
            "name the version; Flatcar's releases say no CONFEXT_LEVEL that would fit more than one",
        )),
    }
}

/// A value as a shell reads it back (os-release(5)).
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-~+^:/".contains(c);
    if value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '`' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}
