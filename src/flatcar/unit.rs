//! systemd units: where they lie, and the links that `systemctl enable` would make.
//!
//! Names and the `[Install]` section are those of systemd.unit(5).

use super::unit_file::logical_lines;
use crate::error::{Error, Result};
use crate::fs::FsPath;

/// Folder of units that belong to a machine.
pub(super) const MACHINE_UNITS: &str = "/etc/systemd/system";
/// Folder of units that come with the system or with a sysext.
pub(super) const SYSTEM_UNITS: &str = "/usr/lib/systemd/system";
/// What starts a unit that says nothing else.
const USUAL_TARGET: &str = "multi-user.target";
/// Longest name in bytes (`UNIT_NAME_MAX`).
const NAME_MAX: usize = 255;
/// Types of units.
pub(super) const TYPES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];
/// Keys of `[Install]` with the folder of links that each asks for.
const DEPENDENCIES: [(&str, &str); 3] = [
    ("WantedBy", "wants"),
    ("RequiredBy", "requires"),
    ("UpheldBy", "upholds"),
];

/// Whether `name` can be the name of a unit.
pub(super) fn is_unit_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let (stem, kind) = name.rsplit_once('.').unwrap_or_default();
    !stem.is_empty()
        && !stem.starts_with('@')
        && name.len() <= NAME_MAX
        && name.chars().all(is_allowed)
        && TYPES.contains(&kind)
}

/// The path of a machine's unit `name`.
///
/// # Errors
/// A name that no unit has.
pub fn path(name: &str) -> Result<FsPath> {
    if !is_unit_name(name) {
        return Err(Error::invalid(format!(
            "'{}' is not the name of a unit",
            name.escape_debug()
        ))
        .with_hint(format!(
            "a name has a type behind its last dot: {}",
            TYPES.join(", ")
        )));
    }
    FsPath::new(MACHINE_UNITS)?.join(name)
}

/// The path of the drop-in `file` of a machine's unit `name`, which need not be one of the machine's own.
///
/// # Errors
/// A name that no unit has, and a file that systemd would not read: its name must end in `.conf`.
pub fn dropin_path(name: &str, file: &str) -> Result<FsPath> {
    let unit = path(name)?;
    if !file.ends_with(".conf") || file.contains('/') || file.starts_with('.') {
        return Err(Error::invalid(format!(
            "'{}' is not the name of a drop-in",
            file.escape_debug()
        ))
        .with_hint("a name that ends in .conf, without a dot in front and folders"));
    }
    FsPath::new(format!("{unit}.d"))?.join(file)
}

/// The name of the file of a unit: that of its template where it is an instance.
pub fn file_of(name: &str) -> String {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    stem.split_once('@').map_or_else(
        || name.to_owned(),
        |(template, _)| format!("{template}@.{kind}"),
    )
}

/// The links, each with its target and path, that enable the unit `name`; `contents` are those that this bake writes, else
/// `shipped` are those that the image has, where they are known.
pub fn enabling_links(
    name: &str,
    contents: Option<&str>,
    shipped: Option<&str>,
) -> Result<Vec<(String, FsPath)>> {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    if stem.ends_with('@') {
        return Err(Error::invalid(format!(
            "{name} is a template, which cannot be enabled itself"
        ))
        .with_hint(format!("name an instance of it, such as {stem}1.{kind}")));
    }
    let target = match contents {
        Some(_) => format!("{MACHINE_UNITS}/{name}"),
        None => format!("{SYSTEM_UNITS}/{}", file_of(name)),
    };
    let install = contents
        .or(shipped)
        .map(install)
        .transpose()?
        .unwrap_or_default();
    let folder = FsPath::new(MACHINE_UNITS)?;
    let mut links = Vec::new();
    for (by, suffix) in &install.dependencies {
        links.push((
            target.clone(),
            folder.join(format!("{by}.{suffix}"))?.join(name)?,
        ));
    }
    for alias in &install.aliases {
        links.push((target.clone(), folder.join(alias)?));
    }
    if links.is_empty() {
        links.push((
            target,
            folder.join(format!("{USUAL_TARGET}.wants"))?.join(name)?,
        ));
    }
    Ok(links)
}

#[derive(Default)]
struct Install {
    /// Units that shall start this one, each with the suffix of their folder of links.
    dependencies: Vec<(String, &'static str)>,
    aliases: Vec<String>,
}

/// What `[Install]` of a unit asks for.
fn install(contents: &str) -> Result<Install> {
    let mut install = Install::default();
    let mut inside = false;
    for line in logical_lines(contents) {
        let line = line.text.trim();
        if line.starts_with('[') {
            inside = line == "[Install]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let key = key.trim();
        let names = value.split_whitespace();
        let suffix = DEPENDENCIES
            .iter()
            .find(|(known, _)| *known == key)
            .map(|(_, suffix)| *suffix);
        if suffix.is_none() && key != "Alias" {
            continue;
        }
        if value.trim().is_empty() {
            // An empty value takes back what came before.
            install
                .dependencies
                .retain(|(_, known)| Some(*known) != suffix);
            if suffix.is_none() {
                install.aliases.clear();
            }
        }
        for name in names {
            check_named(key, name)?;
            match suffix {
                Some(suffix) => install.dependencies.push((name.to_owned(), suffix)),
                None => install.aliases.push(name.to_owned()),
            }
        }
    }
    Ok(install)
}

fn check_named(key: &str, name: &str) -> Result<()> {
    if name.contains('%') {
        return Err(Error::unsupported(format!(
            "{key}={} has a specifier, which is not resolved",
            name.escape_debug()
        ))
        .with_hint("write the name out"));
    }
    if !is_unit_name(name) {
        return Err(Error::invalid(format!(
            "{key}={} is not the name of a unit",
            name.escape_debug()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(name: &str, contents: Option<&str>) -> Vec<String> {
        let links = enabling_links(name, contents, None).unwrap();
        links
            .iter()
            .map(|(target, path)| format!("{path} -> {target}"))
            .collect()
    }

    #[test]
    fn links_are_those_that_systemctl_enable_makes() {
        assert_eq!(
            links("a.service", None),
            [
                "/etc/systemd/system/multi-user.target.wants/a.service -> /usr/lib/systemd/system/a.service"
            ]
        );
        assert_eq!(
            links("getty@tty2.service", None),
            [
                "/etc/systemd/system/multi-user.target.wants/getty@tty2.service -> /usr/lib/systemd/system/getty@.service"
            ]
        );
        assert_eq!(
            links("a.service", Some("[Service]\nWantedBy=x.target\n")).len(),
            1
        );
        let contents = "[Unit]\n[Install]\nWantedBy=gone.target\nWantedBy=\n# WantedBy=c.target\nWantedBy=timers.target \\\n b.target\n\
                        RequiredBy = c.target\nAlias=d.timer\n[Other]\nWantedBy=e.target\n";
        assert_eq!(
            links("a.timer", Some(contents)),
            [
                "/etc/systemd/system/timers.target.wants/a.timer -> /etc/systemd/system/a.timer",
                "/etc/systemd/system/b.target.wants/a.timer -> /etc/systemd/system/a.timer",
                "/etc/systemd/system/c.target.requires/a.timer -> /etc/systemd/system/a.timer",
                "/etc/systemd/system/d.timer -> /etc/systemd/system/a.timer",
            ]
        );
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        for bad in [
            "",
            "a",
            "a.",
            ".service",
            "a.sh",
            "a/b.service",
            "../a.service",
            "a b.service",
            "@x.service",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(path("dev-disk-by\\x2dlabel-x.swap").is_ok());
        assert!(enabling_links("a@.service", None, None).is_err());
        for contents in [
            "[Install]\nWantedBy=../x",
            "[Install]\nWantedBy=%i.target",
            "[Install]\nAlias=x/y.service",
        ] {
            assert!(
                enabling_links("a.service", Some(contents), None).is_err(),
                "{contents}"
            );
        }
    }
}
