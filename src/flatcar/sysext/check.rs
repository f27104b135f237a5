//! Whether systemd-sysext will merge an extension into a host, and what will go wrong if it does.

use std::fmt;

use super::inspect::{ExtensionRelease, SysextInfo, is_valid_name};
use crate::flatcar::OsRelease;

/// Where an extension may be used: systemd's defaults when `SYSEXT_SCOPE` is missing.
const DEFAULT_SCOPE: &str = "system portable";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, but likely not as meant.
    Warning,
    /// The extension is not merged, or it breaks the host.
    Error,
}

/// What is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The link's name cannot be an extension's.
    InvalidName,
    /// No release file for this name.
    NoRelease,
    /// Two release files that fit any name.
    AmbiguousRelease,
    /// `SYSEXT_SCOPE` leaves out the running system.
    Scope,
    /// `ARCHITECTURE` is not the host's.
    Architecture,
    /// `ID` is missing.
    NoId,
    /// `ID` is neither the host's nor one it is like.
    Id,
    /// `SYSEXT_LEVEL` differs.
    SysextLevel,
    /// `VERSION_ID` differs or is missing.
    VersionId,
    /// It ships `usr/lib/os-release`.
    OsRelease,
    /// It ships a real directory where the host has a symlink.
    RealDirectory,
    /// It ships files that are not merged.
    Outside,
    /// It ships units and does not ask for a daemon-reload.
    NoReload,
    /// A program is for another architecture than the host's.
    Program,
}

/// One thing to know before an extension is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub kind: FindingKind,
    /// What is wrong, with the values.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: {}", self.message)
    }
}

/// The host that an extension is meant for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostRelease {
    /// `ID`: `flatcar`.
    pub id: String,
    /// `ID_LIKE`: `coreos`.
    pub id_like: Vec<String>,
    /// `VERSION_ID`: `4593.2.5`.
    pub version_id: Option<String>,
    /// `SYSEXT_LEVEL`: `1.0`.
    pub sysext_level: Option<String>,
    /// In systemd's words: `x86-64`, `arm64`. Not checked where it is unknown.
    pub architecture: Option<String>,
}

impl From<&OsRelease> for HostRelease {
    fn from(release: &OsRelease) -> Self {
        let some = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        Self {
            id: release.id().to_owned(),
            id_like: release.id_like().into_iter().map(str::to_owned).collect(),
            version_id: some(release.version_id()),
            sysext_level: some(release.sysext_level()),
            architecture: some(release.architecture()),
        }
    }
}

/// Checks an extension that will be known as `link_name` (the entry in `/etc/extensions` without `.raw`) on `host`.
///
/// An extension without a finding of [`Severity::Error`] is merged. Errors come first.
pub fn check(info: &SysextInfo, link_name: &str, host: &HostRelease) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if !is_valid_name(link_name) {
        findings.error(
            FindingKind::InvalidName,
            format!("'{}' cannot be the name of an extension", link_name.escape_debug()),
            "use a file name without control characters that does not begin with '.#'",
        );
    } else if let Some(release) = findings.release(info, link_name) {
        findings.match_host(release, host);
        findings.reload(info, release);
    }
    findings.content(info, host);
    findings.0.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn push(&mut self, severity: Severity, kind: FindingKind, message: String, hint: impl Into<String>) {
        self.0.push(Finding { severity, kind, message, hint: hint.into() });
    }

    fn error(&mut self, kind: FindingKind, message: String, hint: impl Into<String>) {
        self.push(Severity::Error, kind, message, hint);
    }

    fn warn(&mut self, kind: FindingKind, message: String, hint: impl Into<String>) {
        self.push(Severity::Warning, kind, message, hint);
    }

    /// The release file that systemd reads: the one of this name, else the only one that fits any name.
    fn release<'a>(&mut self, info: &'a SysextInfo, link_name: &str) -> Option<&'a ExtensionRelease> {
        if let Some(release) = info.releases.iter().find(|release| release.name == link_name) {
            return Some(release);
        }
        let free: Vec<&ExtensionRelease> = info.releases.iter().filter(|release| release.fits_any_name()).collect();
        match free.as_slice() {
            [release] => Some(release),
            [] => {
                let names: Vec<&str> = info.releases.iter().map(|release| release.name.as_str()).collect();
                let (has, hint) = match names.as_slice() {
                    [] => (
                        "none at all".to_owned(),
                        "it is no system extension, or it was packed without metadata".into(),
                    ),
                    [first, ..] => (
                        format!("only one for {}", names.join(", ")),
                        format!("name the link in /etc/extensions {first}.raw"),
                    ),
                };
                self.error(
                    FindingKind::NoRelease,
                    format!("no usr/lib/extension-release.d/extension-release.{link_name}, {has}"),
                    hint,
                );
                None
            }
            several => {
                let names: Vec<&str> = several.iter().map(|release| release.name.as_str()).collect();
                self.error(
                    FindingKind::AmbiguousRelease,
                    format!("several release files fit any name: {}", names.join(", ")),
                    format!("keep one, or add extension-release.{link_name}"),
                );
                None
            }
        }
    }

    /// Scope, architecture, system and version, in systemd's order.
    fn match_host(&mut self, release: &ExtensionRelease, host: &HostRelease) {
        let scope = release.fields.get("SYSEXT_SCOPE").unwrap_or(DEFAULT_SCOPE);
        if !scope.split_ascii_whitespace().any(|word| word == "system") {
            self.error(
                FindingKind::Scope,
                format!("SYSEXT_SCOPE is '{scope}', which leaves out the running system"),
                "pack it with SYSEXT_SCOPE=system",
            );
        }
        let architecture = given(release, "ARCHITECTURE").filter(|&architecture| architecture != "_any");
        if let (Some(wanted), Some(actual)) = (architecture, host.architecture.as_deref())
            && wanted != actual
        {
            self.error(
                FindingKind::Architecture,
                format!("the extension is for {wanted}, the host is {actual}"),
                format!("use the extension's build for {actual}"),
            );
        }
        match given(release, "ID") {
            None => self.error(
                FindingKind::NoId,
                format!("extension-release.{} has no ID", release.name),
                format!("pack it with ID={} or ID=_any", host.id),
            ),
            Some("_any") => {}
            Some(id) if id == host.id || host.id_like.iter().any(|like| like == id) => {
                self.match_version(release, host)
            }
            Some(id) => self.error(
                FindingKind::Id,
                format!("the extension is for {id}, the host is {}", host.id),
                format!("use a build for {}, or one with ID=_any if it has programs linked statically", host.id),
            ),
        }
    }

    /// Levels decide where both have one, else versions; a host without a version takes any.
    fn match_version(&mut self, release: &ExtensionRelease, host: &HostRelease) {
        let level = given(release, "SYSEXT_LEVEL");
        if let (Some(wanted), Some(actual)) = (level, host.sysext_level.as_deref()) {
            if wanted != actual {
                self.error(
                    FindingKind::SysextLevel,
                    format!("the extension is for SYSEXT_LEVEL {wanted}, the host has {actual}"),
                    format!("use a build with SYSEXT_LEVEL={actual}"),
                );
            }
            return;
        }
        let Some(actual) = host.version_id.as_deref() else { return };
        let version = given(release, "VERSION_ID");
        if version != Some(actual) {
            let message = match version {
                Some(wanted) => format!("the extension is for version {wanted}, the host is {actual}"),
                None => format!("extension-release.{} has no VERSION_ID, the host is {actual}", release.name),
            };
            let hint = match host.sysext_level.as_deref() {
                Some(level) => format!("use a build with VERSION_ID={actual} or SYSEXT_LEVEL={level}"),
                None => format!("use a build with VERSION_ID={actual}"),
            };
            self.error(FindingKind::VersionId, message, hint);
        }
    }

    fn reload(&mut self, info: &SysextInfo, release: &ExtensionRelease) {
        let value = given(release, "EXTENSION_RELOAD_MANAGER").unwrap_or_default().to_ascii_lowercase();
        if !info.units.is_empty() && !matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on") {
            self.warn(
                FindingKind::NoReload,
                format!("it ships units ({}) without EXTENSION_RELOAD_MANAGER=1", some_of(&info.units)),
                "pack it with EXTENSION_RELOAD_MANAGER=1, so that systemd reads the units when they are merged",
            );
        }
    }

    /// What does not depend on the metadata.
    fn content(&mut self, info: &SysextInfo, host: &HostRelease) {
        if info.has_os_release {
            self.error(
                FindingKind::OsRelease,
                "it ships usr/lib/os-release, which systemd refuses".to_owned(),
                "leave the file out",
            );
        }
        for dir in &info.real_dirs {
            let message = format!("{dir} is a real directory and would hide what the host has there");
            if dir.as_bytes() == b"/usr/sbin" {
                self.error(FindingKind::RealDirectory, message, "/usr/sbin is a symlink to bin: ship usr/bin instead");
            } else {
                self.warn(FindingKind::RealDirectory, message, "ship the files in usr/lib or usr/local/lib instead");
            }
        }
        if !info.outside.is_empty() {
            self.warn(
                FindingKind::Outside,
                format!("only /usr and /opt are merged, not {}", some_of(&info.outside)),
                "ship files for /etc in usr/share and copy them with tmpfiles.d",
            );
        }
        for (architecture, program) in &info.architectures {
            if let Some(actual) = host.architecture.as_deref().filter(|actual| actual != architecture) {
                self.warn(
                    FindingKind::Program,
                    format!("{program} is for {architecture}, the host is {actual}"),
                    format!("use the extension's build for {actual}"),
                );
            }
        }
    }
}

/// A field that is there and not empty.
fn given<'a>(release: &'a ExtensionRelease, key: &str) -> Option<&'a str> {
    release.fields.get(key).filter(|value| !value.is_empty())
}

/// A few names for a message.
fn some_of<T: fmt::Display>(all: &[T]) -> String {
    let shown: Vec<String> = all.iter().take(3).map(T::to_string).collect();
    let more = if all.len() > shown.len() { format!(" and {} more", all.len() - shown.len()) } else { String::new() };
    shown.join(", ") + &more
}
