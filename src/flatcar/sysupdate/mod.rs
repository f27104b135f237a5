//! Files of systemd-sysupdate (sysupdate.d(5)): what they say of where updates of a sysext go, held against where the
//! first version is put; and how they are written, with what makes a machine use them.

mod write;

pub use write::{SERVICE, TIMER, Updates, Updating, updating};

use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::fs::FsPath;

/// Endings of the names of these files: the old one, and that of systemd 257 and later.
pub const ENDINGS: [&str; 2] = ["conf", "transfer"];
/// The last release whose systemd is known to read files with the old ending only.
const OLD_ENDING_ONLY: u64 = 4459;
/// The fewest instances that systemd-sysupdate keeps.
const INSTANCES_MIN: u64 = 2;

/// What a file says, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// `Path=` of `[Target]`.
    pub target: Option<String>,
    /// `MatchPattern=` of `[Target]`, else that of `[Source]`, in words.
    pub patterns: Vec<String>,
    /// `CurrentSymlink=` of `[Target]`.
    pub link: Option<String>,
    /// `InstancesMax=` of `[Target]`.
    pub instances: Option<String>,
}

impl Transfer {
    /// Reads a file. Keys that do not matter are passed over, as systemd does with those that it does not know.
    ///
    /// # Errors
    /// Text without the keys that systemd-sysupdate cannot do without.
    pub fn parse(text: &str) -> Result<Self> {
        let mut transfer = Self::default();
        let mut section = "";
        let mut source = None;
        let mut source_patterns = Vec::new();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', ';']))
        {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim();
            let given = Some(value.to_owned()).filter(|value| !value.is_empty());
            let words = || value.split_whitespace().map(str::to_owned).collect();
            match (section, key.trim()) {
                ("[Source]", "Path") => source = given,
                ("[Source]", "MatchPattern") => source_patterns = words(),
                ("[Target]", "Path") => transfer.target = given,
                ("[Target]", "MatchPattern") => transfer.patterns = words(),
                ("[Target]", "CurrentSymlink") => transfer.link = given,
                ("[Target]", "InstancesMax") => transfer.instances = given,
                _ => {}
            }
        }
        let missing = [
            (source.is_none(), "Path in [Source]"),
            (source_patterns.is_empty(), "MatchPattern in [Source]"),
            (transfer.target.is_none(), "Path in [Target]"),
        ];
        if let Some((_, what)) = missing.into_iter().find(|(is_missing, _)| *is_missing) {
            return Err(Error::invalid(format!("has no {what}")));
        }
        if transfer.patterns.is_empty() {
            transfer.patterns = source_patterns;
        }
        Ok(transfer)
    }
}

/// A sysext as it is baked.
#[derive(Debug, Clone, Copy)]
pub struct Baked<'a> {
    /// The folder that its file is in, as the running system sees it.
    pub folder: &'a FsPath,
    /// The name of its file.
    pub file: &'a str,
    /// The link by which it is merged.
    pub link: &'a FsPath,
    /// systemd's word for the image's architecture.
    pub architecture: Option<&'a str>,
}

/// What of `transfer` does not fit the sysext that is baked.
pub fn check(transfer: &Transfer, baked: Baked<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let target = transfer
        .target
        .as_deref()
        .and_then(|path| FsPath::new(path).ok());
    if target.as_ref() != Some(baked.folder) {
        let path = transfer.target.as_deref().unwrap_or_default();
        findings.push(
            Finding::new(code::SYSUPDATE_PATH)
                .with("path", path)
                .with("folder", baked.folder),
        );
    }
    let patterns: Option<Vec<String>> = transfer
        .patterns
        .iter()
        .map(|pattern| expand(pattern, baked.architecture))
        .collect();
    // A file that is called as it is merged says no version at all: whoever named it so knows that.
    let is_versioned = baked.link.name() != Some(baked.file.as_bytes());
    if is_versioned
        && patterns
            .is_some_and(|patterns| !patterns.iter().any(|pattern| matches(pattern, baked.file)))
    {
        let pattern = transfer.patterns.join(" ");
        findings.push(
            Finding::new(code::SYSUPDATE_PATTERN)
                .with("pattern", pattern)
                .with("file", baked.file),
        );
    }
    if let Some(own) = baked.architecture
        && let Some((pattern, word)) = transfer
            .patterns
            .iter()
            .find_map(|pattern| foreign(pattern, own))
    {
        let finding = Finding::new(code::SYSUPDATE_ARCHITECTURE)
            .with("pattern", pattern)
            .with("word", word);
        findings.push(finding.with("architecture", own));
    }
    let link = transfer
        .link
        .as_deref()
        .and_then(|link| match link.starts_with('/') {
            true => FsPath::new(link).ok(),
            false => target.as_ref().and_then(|target| target.join(link).ok()),
        });
    if link.as_ref() != Some(baked.link) {
        let found = transfer.link.as_deref().unwrap_or("not given");
        findings.push(
            Finding::new(code::SYSUPDATE_LINK)
                .with("found", found)
                .with("link", baked.link),
        );
    }
    let instances = transfer.instances.as_deref();
    if let Some(value) = instances.filter(|value| {
        value
            .parse::<u64>()
            .map_or(true, |count| count < INSTANCES_MIN)
    }) {
        findings.push(Finding::new(code::SYSUPDATE_INSTANCES).with("value", value));
    }
    findings
}

/// Whether systemd of a release reads files with this ending; where the release is not known, it does.
pub fn is_read(ending: &str, major: Option<u64>) -> bool {
    ending == ENDINGS[0] || major.is_none_or(|major| major > OLD_ENDING_ONLY)
}

/// Words for architectures in names of files, those of one in a row; the first is systemd's.
const ARCHITECTURES: [&[&str]; 2] = [&["x86-64", "x86_64", "amd64"], &["arm64", "aarch64"]];

/// A pattern in which another architecture than `own` is written out, with its word.
fn foreign<'p>(pattern: &'p str, own: &str) -> Option<(&'p str, &'static str)> {
    let others = ARCHITECTURES.iter().filter(|words| words[0] != own);
    let is_there = |word: &str| {
        pattern.match_indices(word).any(|(at, _)| {
            let is_edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
            is_edge(pattern[..at].chars().next_back())
                && is_edge(pattern[at + word.len()..].chars().next())
        })
    };
    others
        .flat_map(|words| words.iter())
        .find(|word| is_there(word))
        .map(|word| (pattern, *word))
}

/// A pattern with its specifiers resolved; `None` where one is known on the machine only.
fn expand(pattern: &str, architecture: Option<&str>) -> Option<String> {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => match chars.next()? {
                '%' => text.push('%'),
                'a' => text.push_str(architecture?),
                _ => return None,
            },
            c => text.push(c),
        }
    }
    Some(text)
}

/// Whether a name fits a pattern: `@@` is an at sign, `@` with another letter stands for one or more characters.
///
/// All ends that a prefix of the pattern can have in the name are kept, so no pattern takes more than the product of both
/// lengths.
fn matches(pattern: &str, name: &str) -> bool {
    let name = name.as_bytes();
    let mut ends = vec![false; name.len() + 1];
    ends[0] = true;
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        let mut next = vec![false; ends.len()];
        let letter = if byte == b'@' {
            bytes.next()
        } else {
            Some(b'@')
        };
        let is_any = byte == b'@' && letter != Some(b'@');
        for (at, &found) in name.iter().enumerate() {
            let goes_on = is_any && next[at];
            next[at + 1] = (ends[at] || goes_on) && (is_any || found == byte);
        }
        ends = next;
    }
    ends[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[Transfer]\nVerify=false\n[Source]\nType=url-file\nPath=https://example.org/x/\n\
                        MatchPattern=x-@v-%a.raw\n[Target]\nInstancesMax=3\nType=regular-file\n\
                        Path=/opt/extensions/x/\n# Path=/nowhere\nCurrentSymlink=/etc/extensions/x.raw\n";

    fn told(text: &str, file: &str) -> Vec<&'static str> {
        let folder = FsPath::new("/opt/extensions/x").unwrap();
        let link = FsPath::new("/etc/extensions/x.raw").unwrap();
        let baked = Baked {
            folder: &folder,
            file,
            link: &link,
            architecture: Some("x86-64"),
        };
        check(&Transfer::parse(text).unwrap(), baked)
            .iter()
            .map(|finding| finding.code().word)
            .collect()
    }

    #[test]
    fn what_fits_is_not_told_and_what_does_not_is() {
        assert_eq!(told(GOOD, "x-1.2-x86-64.raw"), [""; 0]);
        for (from, to, file, expected) in [
            ("", "", "x-1.2-arm64.raw", "sysupdate-pattern"),
            ("", "", "x-1.raw", "sysupdate-pattern"),
            (
                "@v-%a.raw",
                "@v-aarch64.raw @v-%a.raw",
                "x-1-x86-64.raw",
                "sysupdate-architecture",
            ),
            (
                "/opt/extensions/x/",
                "/opt/extensions",
                "x-1-x86-64.raw",
                "sysupdate-path",
            ),
            (
                "/etc/extensions/x.raw",
                "/etc/extensions/y.raw",
                "x-1-x86-64.raw",
                "sysupdate-link",
            ),
            ("CurrentSymlink=", "#", "x-1-x86-64.raw", "sysupdate-link"),
            (
                "InstancesMax=3",
                "InstancesMax=1",
                "x-1-x86-64.raw",
                "sysupdate-instances",
            ),
            (
                "InstancesMax=3",
                "InstancesMax=many",
                "x-1-x86-64.raw",
                "sysupdate-instances",
            ),
        ] {
            assert_eq!(
                told(&GOOD.replace(from, to), file),
                [expected],
                "{to} {file}"
            );
        }
        // What is known on the machine only decides nothing; a link may be relative to the folder.
        assert_eq!(told(&GOOD.replace("%a", "%v"), "other.raw"), [""; 0]);
        assert_eq!(
            told(
                &GOOD.replace("=/etc/extensions/x.raw", "=x.raw"),
                "x-1-x86-64.raw"
            ),
            ["sysupdate-link"]
        );
    }

    #[test]
    fn files_without_what_is_needed_are_none() {
        for line in [
            "Path=https://example.org/x/",
            "MatchPattern=x-@v-%a.raw",
            "Path=/opt/extensions/x/",
        ] {
            assert!(Transfer::parse(&GOOD.replace(line, "")).is_err(), "{line}");
        }
    }

    #[test]
    fn patterns_match_as_a_whole() {
        assert!(
            matches("a-@v.raw", "a-1.2.3.raw") && matches("a@@b", "a@b") && matches("@v@u", "ab")
        );
        assert!(!matches("a-@v.raw", "a-.raw") && !matches("a@@b", "axb") && !matches("@v@u", "a"));
        assert!(
            !matches("a", "ab")
                && !matches("ab", "a")
                && !matches(&"@v".repeat(500), &"a".repeat(200))
        );
    }

    #[test]
    fn old_releases_read_the_old_ending_only() {
        assert!(
            is_read("conf", Some(4081))
                && is_read("transfer", Some(4593))
                && is_read("transfer", None)
        );
        assert!(!is_read("transfer", Some(4459)));
    }
}
