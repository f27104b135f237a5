//! Whether systemd-sysext will merge an extension into a host, and what will go wrong if it does.

use super::class::Class;
use super::inspect::{ExtensionRelease, SysextInfo, is_valid_name};
use crate::finding::{Few, Finding, code};
use crate::flatcar::OsRelease;

/// Where an extension may be used: systemd's defaults when `SYSEXT_SCOPE` is missing.
pub(super) const DEFAULT_SCOPE: &str = "system portable";

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
    /// `CONFEXT_LEVEL`; Flatcar has none.
    pub confext_level: Option<String>,
    /// In systemd's words: `x86-64`, `arm64`. Not checked where it is unknown.
    pub architecture: Option<String>,
}

impl HostRelease {
    /// The interface that it has for extensions of a class.
    fn level(&self, class: Class) -> Option<&str> {
        match class {
            Class::Sysext => self.sysext_level.as_deref(),
            Class::Confext => self.confext_level.as_deref(),
        }
    }
}

impl From<&OsRelease> for HostRelease {
    fn from(release: &OsRelease) -> Self {
        let some = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        Self {
            id: release.id().to_owned(),
            id_like: release.id_like().into_iter().map(str::to_owned).collect(),
            version_id: some(release.version_id()),
            sysext_level: some(release.sysext_level()),
            confext_level: some(release.get("CONFEXT_LEVEL")),
            architecture: some(release.architecture()),
        }
    }
}

/// Checks an extension that will be known as `link_name` (the entry in `/etc/extensions` without `.raw`) on `host`.
///
/// An extension without a finding of [`Severity::Error`](crate::Severity::Error) is merged. Errors come first.
pub fn check(info: &SysextInfo, link_name: &str, host: &HostRelease) -> Vec<Finding> {
    let mut check = Check::new(info.class, link_name);
    if let Some(release) = check.usable_release(info) {
        check.match_host(release, host);
        check.reload(info, release);
    }
    check.os_release(info);
    check.content(info);
    check.programs(info, host);
    check.sorted()
}

/// What can be said of an extension that is made under the name `name`, whatever it is merged into. That some of it lies
/// outside of what is merged is not told.
pub fn check_made(info: &SysextInfo, name: &str) -> Vec<Finding> {
    let mut check = Check::new(info.class, name);
    if let Some(release) = check.usable_release(info) {
        check.scope(release);
        check.reload(info, release);
    }
    check.os_release(info);
    check.real_dirs(info);
    check.sorted()
}

/// The release file by which an extension is merged as `name`, where there is one.
pub(super) fn release_of<'i>(info: &'i SysextInfo, name: &str) -> Option<&'i ExtensionRelease> {
    Check::new(info.class, name).usable_release(info)
}

struct Check<'a> {
    class: Class,
    link_name: &'a str,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    fn new(class: Class, link_name: &'a str) -> Self {
        Self {
            class,
            link_name,
            findings: Vec::new(),
        }
    }

    /// All findings, errors first.
    fn sorted(mut self) -> Vec<Finding> {
        self.findings
            .sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
        self.findings
    }

    /// The release file that systemd reads, where the name can be one at all.
    fn usable_release<'i>(&mut self, info: &'i SysextInfo) -> Option<&'i ExtensionRelease> {
        if is_valid_name(self.link_name) {
            return self.release(info);
        }
        let name = self.link_name.escape_debug();
        self.add(Finding::new(code::SYSEXT_NAME).with("name", name));
        None
    }

    fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The release file that systemd reads: the one of this name, else the only one that fits any name.
    fn release<'i>(&mut self, info: &'i SysextInfo) -> Option<&'i ExtensionRelease> {
        if let Some(release) = info
            .releases
            .iter()
            .find(|release| release.name == self.link_name)
        {
            return Some(release);
        }
        let free: Vec<&ExtensionRelease> = info
            .releases
            .iter()
            .filter(|release| release.fits_any_name())
            .collect();
        let found = match free.as_slice() {
            [release] => return Some(release),
            [] if info.releases.is_empty() => Finding::new(code::SYSEXT_NO_RELEASE)
                .with("folder", &self.class.release_folder()[1..]),
            [] => Finding::new(code::SYSEXT_OTHER_NAME)
                .with("folder", &self.class.release_folder()[1..])
                .with("names", names_of(&info.releases)),
            several => Finding::new(code::SYSEXT_AMBIGUOUS)
                .with("names", names_of(several.iter().copied())),
        };
        self.add(found.with("name", self.link_name));
        None
    }

    fn scope(&mut self, release: &ExtensionRelease) {
        let field = self.class.scope_field();
        let scope = release.fields.get(field).unwrap_or(DEFAULT_SCOPE);
        if !scope.split_ascii_whitespace().any(|word| word == "system") {
            let finding = Finding::new(code::SYSEXT_SCOPE).with("field", field);
            self.add(finding.with("scope", scope));
        }
    }

    /// Scope, architecture, system and version, in systemd's order.
    fn match_host(&mut self, release: &ExtensionRelease, host: &HostRelease) {
        self.scope(release);
        let architecture =
            given(release, "ARCHITECTURE").filter(|&architecture| architecture != "_any");
        if let (Some(wanted), Some(actual)) = (architecture, host.architecture.as_deref())
            && wanted != actual
        {
            self.add(
                Finding::new(code::SYSEXT_ARCH)
                    .with("arch", wanted)
                    .with("host", actual),
            );
        }
        match given(release, "ID") {
            None => self.add(
                Finding::new(code::SYSEXT_NO_ID)
                    .with("name", &release.name)
                    .with("host", &host.id),
            ),
            Some("_any") => {}
            Some(id) if id == host.id || host.id_like.iter().any(|like| like == id) => {
                self.match_version(release, host)
            }
            Some(id) => self.add(
                Finding::new(code::SYSEXT_ID)
                    .with("id", id)
                    .with("host", &host.id),
            ),
        }
    }

    /// Levels decide where both have one, else versions; a host without a version takes any.
    fn match_version(&mut self, release: &ExtensionRelease, host: &HostRelease) {
        let field = self.class.level_field();
        let level = given(release, field);
        let host_level = host.level(self.class);
        if let (Some(wanted), Some(actual)) = (level, host_level) {
            if wanted != actual {
                self.add(
                    Finding::new(code::SYSEXT_LEVEL)
                        .with("field", field)
                        .with("level", wanted)
                        .with("host", actual),
                );
            }
            return;
        }
        let Some(actual) = host.version_id.as_deref() else {
            return;
        };
        let version = given(release, "VERSION_ID");
        if version == Some(actual) {
            return;
        }
        let found = match version {
            Some(wanted) => Finding::new(code::SYSEXT_VERSION).with("version", wanted),
            None => Finding::new(code::SYSEXT_NO_VERSION).with("name", &release.name),
        };
        let fits = match host_level {
            Some(level) => format!("VERSION_ID={actual} or {field}={level}"),
            None => format!("VERSION_ID={actual}"),
        };
        self.add(found.with("fits", fits));
    }

    fn reload(&mut self, info: &SysextInfo, release: &ExtensionRelease) {
        let value = given(release, "EXTENSION_RELOAD_MANAGER")
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !info.units.is_empty()
            && !matches!(value.as_str(), "1" | "yes" | "y" | "true" | "t" | "on")
        {
            self.add(
                Finding::new(code::SYSEXT_NO_RELOAD).with("units", Few::from_iter(&info.units)),
            );
        }
    }

    fn os_release(&mut self, info: &SysextInfo) {
        if info.has_os_release {
            self.add(Finding::new(code::SYSEXT_OS_RELEASE));
        }
    }

    fn real_dirs(&mut self, info: &SysextInfo) {
        for dir in &info.real_dirs {
            let code = if dir.as_bytes() == b"/usr/sbin" {
                code::SYSEXT_SBIN
            } else {
                code::SYSEXT_REAL_DIR
            };
            self.add(Finding::new(code).with("path", dir));
        }
    }

    /// What does not depend on the metadata.
    fn content(&mut self, info: &SysextInfo) {
        self.real_dirs(info);
        if !info.outside.is_empty() {
            let finding = Finding::new(code::SYSEXT_OUTSIDE)
                .with("merged", self.class.merged_text())
                .with("class", self.class);
            self.add(finding.with("paths", Few::from_iter(&info.outside)));
        }
    }

    fn programs(&mut self, info: &SysextInfo, host: &HostRelease) {
        for (architecture, program) in &info.architectures {
            let other = host
                .architecture
                .as_deref()
                .filter(|actual| actual != architecture);
            if let Some(actual) = other {
                let found = Finding::new(code::SYSEXT_PROGRAM).with("path", program);
                self.add(found.with("arch", architecture).with("host", actual));
            }
        }
    }
}

/// The names of release files, for a message.
fn names_of<'a>(releases: impl IntoIterator<Item = &'a ExtensionRelease>) -> Few {
    releases
        .into_iter()
        .map(|release| release.name.as_str())
        .collect()
}

/// A field that is there and not empty.
fn given<'a>(release: &'a ExtensionRelease, key: &str) -> Option<&'a str> {
    release.fields.get(key).filter(|value| !value.is_empty())
}
