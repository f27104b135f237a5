//! Images of torcx, which Flatcar had for docker until 2023, as sysexts.
//!
//! ```text
//!   .torcx/manifest.json                        says that it is one; left out
//!   bin/, sbin/, lib/, share/            ──▶    usr/bin/, usr/bin/, usr/lib/, usr/share/
//!   lib/systemd/system/*.service         ──▶    without what torcx did before them
//!   …/multi-user.target.wants/x.service  ──▶    …/multi-user.target.d/10-x-service.conf: Upholds=x.service
//! ```

use std::path::Path;

use serde::Deserialize;

use super::Host;
use super::build::{Build, Means, Prepared, Writer};
use super::flix::check_sysext;
use super::rootfs::Rootfs;
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::unit::SYSTEM_UNITS;
use crate::fs::{ByPath, FileSystemMut, FileType, FsPath, StagedTree, Timestamp, read_file};

const MANIFEST: &str = "/.torcx/manifest.json";
const FOLDER: &str = "/.torcx";
const KIND: &str = "image-manifest-v0";
/// Bytes of the manifest, and of a unit; real ones have a few KiB.
const TEXT_MAX: u64 = 1 << 20;
/// Folders at the top, and what they are in a sysext.
const MOVED: [(&str, &str); 4] = [
    ("/bin", "/usr/bin"),
    ("/sbin", "/usr/bin"),
    ("/lib", "/usr/lib"),
    ("/share", "/usr/share"),
];
/// Where torcx told services what it had unpacked.
const METADATA: &str = "/run/metadata/torcx";
const TORCX_TARGET: &str = "torcx.target";
/// What services of torcx images take the places from.
const ENVIRONMENT: [&str; 3] = [
    "Environment=TORCX_BINDIR=/usr/bin",
    "Environment=TORCX_UNPACKDIR=/",
    "Environment=TORCX_IMAGEDIR=",
];
/// Settings that list units.
const UNIT_LISTS: [&str; 5] = ["After", "Before", "Requires", "Wants", "BindsTo"];
const WANTS: &[u8] = b".wants";
const FILE_MODE: u32 = 0o644;

#[derive(Deserialize)]
struct Manifest {
    kind: String,
}

/// Makes a sysext of a torcx image, an archive, and checks it, as [`Build::prepare`] does. `build` says how it is built, and
/// its source is passed over.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for what is no torcx image; those of [`Rootfs::read`] and [`Build::prepare`].
pub fn prepare(
    image: &Path,
    build: Build,
    host: Option<&Host>,
    means: &Means<'_>,
) -> Result<Prepared> {
    check_sysext(&build)?;
    let rootfs = Rootfs::read_as_root(image, None, build.time, means)?;
    let (mut tree, findings) = rootfs.into_parts();
    check_manifest(&tree)?;
    let time = Timestamp {
        secs: build.time,
        nanos: 0,
    };
    let mut writer = Writer {
        tree: &mut tree,
        time,
    };
    writer.remove(&FsPath::new(FOLDER)?)?;
    for (from, to) in MOVED {
        move_folder(&mut writer, &FsPath::new(from)?, &FsPath::new(to)?)?;
    }
    units(&mut writer)?;
    build.prepare_tree((tree, findings), host, means)
}

fn check_manifest(tree: &StagedTree) -> Result<()> {
    let not_torcx = |why: String| {
        Error::invalid(format!("this is no torcx image: {why}"))
            .with_hint("a torcx image is a tar with .torcx/manifest.json in it")
    };
    let path = FsPath::new(MANIFEST)?;
    let found = tree.find_metadata(&path)?;
    if found.is_none_or(|found| found.file_type != FileType::File) {
        return Err(not_torcx("it has no .torcx/manifest.json".to_owned()));
    }
    let text = read_file(tree, &path, TEXT_MAX)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| not_torcx(format!("its manifest cannot be read: {error}")))?;
    if manifest.kind != KIND {
        let kind = manifest.kind.escape_debug();
        return Err(not_torcx(format!(
            "its manifest is of the kind '{kind}', not {KIND}"
        )));
    }
    Ok(())
}

/// Moves what is in a folder into another one, which is made where there is none.
fn move_folder(writer: &mut Writer<'_>, from: &FsPath, to: &FsPath) -> Result<()> {
    let Some(found) = writer.tree.find_metadata(from)? else {
        return Ok(());
    };
    if found.file_type != FileType::Directory {
        return Err(Error::invalid(format!("{from} is not a folder")));
    }
    writer.folder(to)?;
    for entry in writer.tree.entries_at(from)? {
        let (old, new) = (from.join(&entry.name)?, to.join(&entry.name)?);
        match writer.tree.find_metadata(&new)? {
            None => writer.tree.rename(&old, &new)?,
            Some(there)
                if there.file_type == FileType::Directory
                    && entry.file_type == FileType::Directory =>
            {
                move_folder(writer, &old, &new)?;
            }
            Some(_) => {
                return Err(Error::invalid(format!("{old} and {new} would be one")));
            }
        }
    }
    writer.tree.remove(from)
}

/// Units without what torcx did, and started without links.
fn units(writer: &mut Writer<'_>) -> Result<()> {
    let folder = FsPath::new(SYSTEM_UNITS)?;
    let found = writer.tree.find_metadata(&folder)?;
    if found.is_none_or(|found| found.file_type != FileType::Directory) {
        return Ok(());
    }
    for entry in writer.tree.entries_at(&folder)? {
        let path = folder.join(&entry.name)?;
        let is_unit = entry.name.ends_with(b".service") || entry.name.ends_with(b".socket");
        if entry.file_type == FileType::File && is_unit {
            unit(writer, &path).at(|| path.to_string())?;
        }
        if let Some(target) = entry.name.strip_suffix(WANTS)
            && entry.file_type == FileType::Directory
        {
            let drop_ins = folder.join([target, b".d"].concat())?;
            for wanted in writer.tree.entries_at(&path)? {
                uphold(writer, &drop_ins, &wanted.name)?;
            }
            writer.remove(&path)?;
        }
    }
    Ok(())
}

fn unit(writer: &mut Writer<'_>, path: &FsPath) -> Result<()> {
    let text = read_file(writer.tree, path, TEXT_MAX)?;
    let text = String::from_utf8(text).map_err(|_| Error::invalid("a unit that is not UTF-8"))?;
    let mode = writer.tree.metadata_at(path)?.mode;
    writer.file(path, mode, without_torcx(&text).as_bytes())
}

/// A unit whose environment does not come from torcx.
fn without_torcx(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim(), value.trim());
        let is_gone = match key {
            "EnvironmentFile" => value.trim_start_matches('-') == METADATA,
            "Environment" => value.trim_start_matches('"').starts_with("TORCX_"),
            _ => false,
        };
        let names_torcx = value.split_whitespace().any(|unit| unit == TORCX_TARGET);
        if is_gone {
            continue;
        }
        if UNIT_LISTS.contains(&key) && names_torcx {
            let left: Vec<&str> = value
                .split_whitespace()
                .filter(|unit| *unit != TORCX_TARGET)
                .collect();
            if !left.is_empty() {
                lines.push(format!("{key}={}", left.join(" ")));
            }
            continue;
        }
        lines.push(line.to_owned());
        if line.trim() == "[Service]" {
            lines.extend(ENVIRONMENT.map(str::to_owned));
        }
    }
    lines.join("\n") + "\n"
}

/// A drop-in by which a target has a unit started.
fn uphold(writer: &mut Writer<'_>, drop_ins: &FsPath, unit: &[u8]) -> Result<()> {
    let unit =
        str::from_utf8(unit).map_err(|_| Error::invalid("a unit whose name is not UTF-8"))?;
    let name = format!("10-{}.conf", unit.replacen('.', "-", 1));
    let text = format!("[Unit]\nUpholds={unit}\n");
    writer.file(&drop_ins.join(&name)?, FILE_MODE, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_lose_what_torcx_did() {
        let old = "[Unit]\nAfter=torcx.target docker.socket\nRequires=torcx.target\n\n[Service]\n\
                   EnvironmentFile=/run/metadata/torcx\nEnvironment=TORCX_IMAGEDIR=/docker\n\
                   Environment=A=b\nExecStart=${TORCX_BINDIR}/dockerd\n";
        let new = "[Unit]\nAfter=docker.socket\n\n[Service]\nEnvironment=TORCX_BINDIR=/usr/bin\n\
                   Environment=TORCX_UNPACKDIR=/\nEnvironment=TORCX_IMAGEDIR=\n\
                   Environment=A=b\nExecStart=${TORCX_BINDIR}/dockerd\n";
        assert_eq!(without_torcx(old), new);
    }
}
