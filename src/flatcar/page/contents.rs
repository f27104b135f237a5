//! What lies in an image: sysexts, container images, configs, with their digests.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::html::{Cell, Html};
use crate::block;
use crate::bytes::{ByteSize, hex, to_u64};
use crate::document::{Node, Value, parse_json};
use crate::error::Result;
use crate::flatcar::sysext::{self, open_extension, open_installed};
use crate::flatcar::{Designator, Disk, Sysext, container_images};
use crate::fs::{self, ByPath, FileSystem, FileType, FsPath};
use crate::progress::Cancel;

/// Configs that are shown, and the largest one that is looked into.
const CONFIGS_MAX: usize = 200;
const CONFIG_MAX: u64 = 16 << 20;
/// Bytes of a text that are shown.
const TEXT_MAX: usize = 64 << 10;
/// Names that are shown of what a config makes.
const NAMES_MAX: usize = 200;
/// Configs on OEM that are shown as they are. Ignition configs are not: they hold passwords, keys and tokens.
const TEXTS: [&str; 2] = ["/grub.cfg", "/oem-release"];
const IGNITION: [&str; 1] = ["/config.ign"];
/// The folder of the configs that come with the vendor.
const BASE: &str = "/base";

/// The section on what lies in the image.
pub(super) fn contents(
    html: &mut Html,
    disk: &Disk,
    sysexts: &[Sysext],
    cancel: &Cancel,
) -> Result<()> {
    let rows = sysext_rows(disk, sysexts, cancel)?;
    let images = container_images(disk);
    html.section("What is inside", |html| {
        html.line("h3", "", "Sysexts");
        if rows.is_empty() {
            html.line("p", "soft", "none");
        } else {
            html.table(&["where", "version", "#size", "SHA-256 or target"], &rows);
        }
        html.line("h3", "", "Container images of Docker");
        match images {
            Err(error) => drop(html.line("p", "error", error)),
            Ok(images) if images.is_empty() => drop(html.line("p", "soft", "none")),
            Ok(images) => {
                let rows: Vec<Vec<Cell>> = images
                    .into_iter()
                    .map(|image| vec![Cell::text(image.name), Cell::code(image.id)])
                    .collect();
                html.table(&["name", "id"], &rows);
            }
        }
        html.line("h3", "", "Configs on OEM");
        configs(html, disk);
    });
    cancel.check()
}

fn sysext_rows(disk: &Disk, sysexts: &[Sysext], cancel: &Cancel) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for sysext in sysexts {
        cancel.check()?;
        let (version, identity) = match &sysext.target {
            Some(target) => (String::new(), Cell::code(format!("→ {target}"))),
            None => looked_into(disk, sysext, cancel)
                .unwrap_or_else(|error| (String::new(), Cell::Badge("error", error.to_string()))),
        };
        let size = sysext.bytes.map(|bytes| ByteSize(bytes).to_string());
        rows.push(vec![
            Cell::code(format!("{}:{}", sysext.partition, sysext.path)),
            Cell::text(version),
            Cell::text(size.unwrap_or_default()),
            identity,
        ]);
    }
    cancel.check()?;
    Ok(rows)
}

/// The version that a sysext tells, and its digest.
fn looked_into(disk: &Disk, sysext: &Sysext, cancel: &Cancel) -> Result<(String, Cell)> {
    let file = open_installed(disk, sysext.partition, FsPath::new(&sysext.path)?)?;
    let mut end = Ok(());
    let sha256 = block::sha256(&file, &mut |_| {
        if end.is_ok() {
            end = cancel.check();
        }
    })?;
    end?;
    // One that cannot be looked into is told by the doctor.
    let version = open_extension(Arc::new(file))
        .and_then(|fs| sysext::inspect(&*fs))
        .ok()
        .and_then(|info| info.version().map(str::to_owned));
    Ok((version.unwrap_or_default(), Cell::code(sha256)))
}

/// The configs that there are and that can be read.
fn configs(html: &mut Html, disk: &Disk) {
    let mut shown = 0;
    let mut left_out = 0;
    if let Ok(oem) = disk.filesystem(Designator::Oem.into()) {
        for (path, is_text) in config_paths(&*oem) {
            if shown == CONFIGS_MAX {
                left_out += 1;
            } else if let Ok(bytes) = fs::read_file(&*oem, &path, CONFIG_MAX) {
                show(html, &path, &bytes, is_text);
                shown += 1;
            }
        }
    }
    if shown == 0 {
        html.line("p", "soft", "none");
    }
    if left_out > 0 {
        html.line("p", "soft", format_args!("and {left_out} more"));
    }
}

/// Where configs may be, and whether each is shown as it is.
fn config_paths(oem: &dyn FileSystem) -> Vec<(FsPath, bool)> {
    let mut paths = Vec::new();
    let known = TEXTS.map(|path| (path, true)).into_iter();
    for (path, is_text) in known.chain(IGNITION.map(|path| (path, false))) {
        paths.extend(FsPath::new(path).map(|path| (path, is_text)));
    }
    if let Ok(base) = FsPath::new(BASE) {
        for entry in oem.entries_at(&base).unwrap_or_default() {
            if entry.file_type == FileType::File && entry.name.ends_with(b".ign") {
                paths.extend(base.join(&entry.name).map(|path| (path, false)));
            }
        }
    }
    paths
}

fn show(html: &mut Html, path: &FsPath, bytes: &[u8], is_text: bool) {
    html.element("details", &[], |html| {
        html.element("summary", &[], |html| {
            html.line("code", "", format_args!("oem:{path}"))
                .text(format_args!(" {} ", ByteSize(to_u64(bytes.len()))))
                .line("code", "note", hex(&Sha256::digest(bytes)));
        });
        if is_text {
            let end = bytes.len().min(TEXT_MAX);
            html.line("pre", "", String::from_utf8_lossy(&bytes[..end]));
            if end < bytes.len() {
                html.line("p", "soft", "and more, which is left out");
            }
        } else {
            ignition(html, bytes);
        }
    });
}

/// What an Ignition config makes, by name: contents hold what is nobody else's.
fn ignition(html: &mut Html, bytes: &[u8]) {
    let parsed = std::str::from_utf8(bytes).ok().map(parse_json);
    let Some(Ok(config)) = parsed else {
        html.line("p", "error", "This is no JSON.");
        return;
    };
    let version = config
        .get("ignition")
        .and_then(|ignition| ignition.get("version"))
        .and_then(Node::as_text);
    let parts = [
        ("users", "passwd", "users", "name"),
        ("groups", "passwd", "groups", "name"),
        ("directories", "storage", "directories", "path"),
        ("files", "storage", "files", "path"),
        ("links", "storage", "links", "path"),
        ("filesystems", "storage", "filesystems", "device"),
        ("units", "systemd", "units", "name"),
    ];
    let mut rows = vec![("specification", version.map(str::to_owned))];
    for (what, section, list, key) in parts {
        let named = config
            .get(section)
            .and_then(|section| section.get(list))
            .map(|list| names(list, key));
        rows.push((what, named.filter(|names| !names.is_empty())));
    }
    html.facts(&rows);
}

/// The names in a list of tables.
fn names(list: &Node, key: &str) -> String {
    let Value::List(items) = &list.value else {
        return String::new();
    };
    let named: Vec<&str> = items
        .iter()
        .filter_map(|item| item.get(key)?.as_text())
        .collect();
    let mut text = named[..named.len().min(NAMES_MAX)].join(", ");
    if named.len() > NAMES_MAX {
        text.push_str(&format!(" and {} more", named.len() - NAMES_MAX));
    }
    text
}
