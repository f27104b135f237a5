//! os-release and extension-release files: `KEY=value` lines in a small subset of shell (os-release(5)).
//!
//! ```text
//!  # comment
//!  ID=flatcar
//!  VERSION_ID=4593.2.5
//!  PRETTY_NAME="Flatcar Container Linux by Kinvolk 4593.2.5 (Oklo)"
//! ```
//!
//! Values are read as systemd's parser does: quotes may span lines and follow each other, nothing is expanded, lines
//! without a key are passed over, the last of equal keys counts.

use std::collections::BTreeMap;
use std::fmt;

use super::vendor::major_of;
use crate::error::{Error, Result};

/// Real files are below 1 KiB; a larger one than this is not what it says.
const MAX_LEN: usize = 64 << 10;

/// The fields of an os-release or extension-release file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

/// A release channel of Flatcar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Minor version 0.
    Alpha,
    /// Minor version 1.
    Beta,
    /// Minor version 2.
    Stable,
    /// Minor version 3.
    Lts,
}

impl Channel {
    /// The channel of a version such as `4593.2.5` or `4790.0.0+nightly-20260813-2100`; `None` for other forms.
    pub fn of_version(version: &str) -> Option<Self> {
        let version = version
            .split_once('+')
            .map_or(version, |(release, _)| release);
        let parts: Vec<&str> = version.split('.').collect();
        let number =
            |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if parts.len() != 3 || !parts.iter().all(number) {
            return None;
        }
        match parts[1] {
            "0" => Some(Self::Alpha),
            "1" => Some(Self::Beta),
            "2" => Some(Self::Stable),
            "3" => Some(Self::Lts),
            _ => None,
        }
    }
}

/// `alpha`, `beta`, `stable` or `lts`.
impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
            Self::Stable => "stable",
            Self::Lts => "lts",
        })
    }
}

impl OsRelease {
    /// Parses a whole file. One that is too long, not UTF-8 or ends inside quotes is [`crate::ErrorKind::Corrupt`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_LEN {
            return Err(Error::corrupt(format!(
                "a release file of {} bytes is too long: at most {MAX_LEN} are read",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Error::corrupt(format!(
                "the release file is not UTF-8 at byte {}",
                error.valid_up_to()
            ))
        })?;
        let mut fields = BTreeMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            let line_end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let assignment = rest[..line_end]
                .split_once('=')
                .filter(|(key, _)| is_key(key));
            match assignment {
                Some((key, _)) => {
                    let (value, after) = value(&rest[key.len() + 1..]).ok_or_else(|| {
                        Error::corrupt(format!("the quotes of {key} in the release file never end"))
                    })?;
                    fields.insert(key.to_owned(), value);
                    rest = after;
                }
                None => rest = &rest[line_end..],
            }
        }
        Ok(Self { fields })
    }

    /// What the os-release of Flatcar `version` says of that which extensions are matched with; `architecture` is in
    /// systemd's words.
    ///
    /// # Errors
    /// A version that no release has.
    pub fn of_flatcar(version: &str, architecture: &str) -> Result<Self> {
        if Channel::of_version(version).is_none() {
            return Err(Error::invalid(format!(
                "'{}' is not the version of a release",
                version.escape_debug()
            ))
            .with_hint("three numbers, such as 4757.2.1"));
        }
        let board = match architecture {
            "arm64" => "arm64-usr",
            _ => "amd64-usr",
        };
        Self::parse(
            format!(
                "ID=flatcar\nID_LIKE=coreos\nVERSION={version}\nVERSION_ID={version}\nSYSEXT_LEVEL=1.0\n\
                 FLATCAR_BOARD={board}\n"
            )
            .as_bytes(),
        )
    }

    /// The same of another version.
    #[must_use]
    pub fn with_version(&self, version: &str) -> Self {
        let mut fields = self.fields.clone();
        for key in ["VERSION", "VERSION_ID"] {
            fields.insert(key.to_owned(), version.to_owned());
        }
        Self { fields }
    }

    /// The value of a field; an empty value counts as given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).map(String::as_str)
    }

    /// All fields, sorted by key.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `ID`, the operating system: `flatcar`; `linux` where it is missing, `_any` in some extension-release files.
    pub fn id(&self) -> &str {
        self.get("ID")
            .filter(|id| !id.is_empty())
            .unwrap_or("linux")
    }

    /// `ID_LIKE`, the systems it derives from, closest first.
    pub fn id_like(&self) -> Vec<&str> {
        self.get("ID_LIKE")
            .unwrap_or_default()
            .split_ascii_whitespace()
            .collect()
    }

    /// `VERSION`, for people.
    pub fn version(&self) -> Option<&str> {
        self.get("VERSION")
    }

    /// `VERSION_ID`, for programs: `4593.2.5`.
    pub fn version_id(&self) -> Option<&str> {
        self.get("VERSION_ID")
    }

    /// `SYSEXT_LEVEL`, the interface that extension images build upon: `1.0`.
    pub fn sysext_level(&self) -> Option<&str> {
        self.get("SYSEXT_LEVEL")
    }

    /// `FLATCAR_BOARD`: `amd64-usr` or `arm64-usr`.
    pub fn board(&self) -> Option<&str> {
        self.get("FLATCAR_BOARD")
    }

    /// The architecture of the board in systemd's words (`x86-64`, `arm64`), else what `ARCHITECTURE` says.
    pub fn architecture(&self) -> Option<&str> {
        match self.board() {
            Some("amd64-usr") => Some("x86-64"),
            Some("arm64-usr") => Some("arm64"),
            _ => self.get("ARCHITECTURE"),
        }
    }

    /// The first number of the release: 4593 of `4593.2.5`.
    pub fn major(&self) -> Option<u64> {
        major_of(self.version_id()?)
    }

    /// Where Flatcar publishes `file` of this very release; `None` for releases that are not Flatcar's own.
    pub fn published_at(&self, file: &str) -> Option<String> {
        let channel = self.channel()?;
        let board = self.board()?;
        let version = self.version()?;
        // Nightly builds are kept elsewhere, and not for long.
        let released = !version.contains('+');
        released.then(|| {
            format!("https://{channel}.release.flatcar-linux.net/{board}/{version}/{file}")
        })
    }

    /// The release channel, told from the version.
    pub fn channel(&self) -> Option<Channel> {
        Channel::of_version(self.version_id().or(self.version())?)
    }
}

fn is_key(key: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !key.is_empty() && key.bytes().all(word) && !key.as_bytes()[0].is_ascii_digit()
}

/// Reads a value up to the end of its line; `None` where quotes never end.
fn value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    // Blanks at the end do not belong to the value unless they were quoted or escaped.
    let mut keep = 0;
    let mut chars = text.char_indices();
    let mut bare = false;
    while let Some((at, c)) = chars.next() {
        match c {
            '\n' | '\r' => {
                value.truncate(keep);
                return Some((value, &text[at..]));
            }
            ' ' | '\t' if bare => value.push(c),
            ' ' | '\t' => {}
            '\'' if !bare => {
                single_quoted(&mut chars, &mut value)?;
                keep = value.len();
            }
            '"' if !bare => {
                double_quoted(&mut chars, &mut value)?;
                keep = value.len();
            }
            '\\' => {
                bare = true;
                value.extend(chars.next().map(|(_, c)| c).filter(|&c| c != '\n'));
                keep = value.len();
            }
            _ => {
                bare = true;
                value.push(c);
                keep = value.len();
            }
        }
    }
    value.truncate(keep);
    Some((value, ""))
}

fn single_quoted(chars: &mut std::str::CharIndices<'_>, value: &mut String) -> Option<()> {
    loop {
        match chars.next()?.1 {
            '\'' => return Some(()),
            c => value.push(c),
        }
    }
}

fn double_quoted(chars: &mut std::str::CharIndices<'_>, value: &mut String) -> Option<()> {
    loop {
        match chars.next()?.1 {
            '"' => return Some(()),
            '\\' => match chars.next()?.1 {
                '\n' => {}
                c @ ('"' | '\\' | '`' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLATCAR: &str = r#"NAME="Flatcar Container Linux by Kinvolk"
ID=flatcar
ID_LIKE="coreos  gentoo"
VERSION=4593.2.5
VERSION_ID=4593.2.5
BUILD_ID=2026-08-12-2220
SYSEXT_LEVEL=1.0
PRETTY_NAME="Flatcar Container Linux by Kinvolk 4593.2.5 (Oklo)"
ANSI_COLOR="38;5;75"
HOME_URL="https://flatcar.org/"
FLATCAR_BOARD="amd64-usr"
CPE_NAME="cpe:2.3:o:flatcar-linux:flatcar_linux:4593.2.5:*:*:*:*:*:*:*"
"#;

    #[test]
    fn reads_flatcars_own() {
        let release = OsRelease::parse(FLATCAR.as_bytes()).unwrap();
        assert_eq!(release.id(), "flatcar");
        assert_eq!(release.id_like(), ["coreos", "gentoo"]);
        assert_eq!(
            (release.version(), release.version_id()),
            (Some("4593.2.5"), Some("4593.2.5"))
        );
        assert_eq!(release.sysext_level(), Some("1.0"));
        assert_eq!(
            (release.board(), release.architecture()),
            (Some("amd64-usr"), Some("x86-64"))
        );
        assert_eq!(release.channel(), Some(Channel::Stable));
        assert_eq!(release.get("ANSI_COLOR"), Some("38;5;75"));
        assert_eq!(release.fields().count(), 12);
        let extension = OsRelease::parse(b"ID=_any\nARCHITECTURE=arm64").unwrap();
        assert_eq!(
            (
                extension.id(),
                extension.architecture(),
                extension.channel()
            ),
            ("_any", Some("arm64"), None)
        );
        assert_eq!(OsRelease::parse(b"").unwrap().id(), "linux");
    }

    #[test]
    fn values_follow_the_shell() {
        for (text, expected) in [
            ("A=b", "b"),
            ("A=", ""),
            ("A=\"\"", ""),
            ("  A= \t b c \t\r\nB=1", "b c"),
            ("#A=1\n;x\nA=2", "2"),
            ("A=1\nA=2", "2"),
            ("A=\"x\\\"y\\$z\\\\ \\n`\"", "x\"y$z\\ \\n`"),
            ("A='x\\\"'", "x\\\""),
            ("A='two\nlines' ", "two\nlines"),
            ("A=\"one\\\nline\"", "oneline"),
            ("A=one\\\nline", "oneline"),
            ("A='a'\"b\" 'c'd", "abcd"),
            ("A=it's # fine", "it's # fine"),
            ("A=x\\ ", "x "),
            ("A=$HOME", "$HOME"),
            ("A=x\\", "x"),
            ("no key\n=1\n1A=2\nB C=3\nA=ü", "ü"),
        ] {
            assert_eq!(
                OsRelease::parse(text.as_bytes()).unwrap().get("A"),
                Some(expected),
                "{text:?}"
            );
        }
    }

    #[test]
    fn channels_come_from_the_minor_version() {
        for (version, channel) in [
            ("4790.0.0", Some("alpha")),
            ("4757.1.0+nightly-20260813-2100", Some("beta")),
            ("4593.2.5", Some("stable")),
            ("4081.3.10", Some("lts")),
            ("4081.4.0", None),
            ("12.2", None),
            ("4593.2.5.1", None),
            ("a.0.b", None),
            ("", None),
        ] {
            assert_eq!(
                Channel::of_version(version)
                    .map(|channel| channel.to_string())
                    .as_deref(),
                channel,
                "{version}"
            );
        }
    }

    #[test]
    fn hostile_files_give_a_result_or_an_error() {
        let long = vec![b'a'; MAX_LEN + 1];
        for bad in [&b"A=\"x"[..], b"A='", b"A=\"x\\", b"A=\xff", &long] {
            assert_eq!(
                OsRelease::parse(bad).unwrap_err().kind(),
                crate::ErrorKind::Corrupt
            );
        }
        let signs = b"A=\"'\\\n\r #;$`B_1\xc3\xbc\0";
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut next = |bound: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % bound
        };
        let mut good = 0;
        let mut bad = 0;
        for _ in 0..20_000 {
            let mut bytes = FLATCAR.as_bytes().to_vec();
            for _ in 0..=next(8) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = signs[next(signs.len())],
                    1 => bytes.insert(at, signs[next(signs.len())]),
                    _ => bytes.truncate(at + 1),
                }
            }
            match OsRelease::parse(&bytes) {
                Ok(release) => {
                    good += 1;
                    assert!(
                        release
                            .fields()
                            .all(|(key, value)| is_key(key) && value.len() <= bytes.len())
                    );
                    let _ = (
                        release.id(),
                        release.id_like(),
                        release.channel(),
                        release.architecture(),
                    );
                }
                Err(error) => {
                    bad += 1;
                    assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
                }
            }
        }
        assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
        let many: Vec<u8> = std::iter::repeat_n(*b"\"\n", MAX_LEN / 2)
            .flatten()
            .collect();
        assert!(
            OsRelease::parse(&many).is_ok(),
            "lines without a key are passed over"
        );
    }
}
