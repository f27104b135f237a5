//! Paths inside a filesystem.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Longest name of one entry in any filesystem here, in bytes: FAT's 255 UTF-16 units of three bytes each in UTF-8.
pub(super) const NAME_MAX: usize = 3 * 255;
/// Longest name on Linux' own filesystems (ext4, btrfs), in bytes.
pub(super) const LINUX_NAME_MAX: usize = 255;
/// Longest path, in bytes (`PATH_MAX` of Linux).
const PATH_MAX: usize = 4096;

/// An absolute, normalised path inside a filesystem: `/` or `/a/b`, any bytes but NUL, never `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FsPath(Vec<u8>);

impl FsPath {
    /// The root directory.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Checks and normalises a path: doubled slashes and `.` vanish, `..` and relative paths are refused.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self> {
        let path = path.as_ref();
        let shown = || String::from_utf8_lossy(path).into_owned();
        if path.first() != Some(&b'/') {
            return Err(
                Error::invalid(format!("'{}' is not an absolute path", shown()))
                    .with_hint("paths inside an image begin with /"),
            );
        }
        let mut normal = Self::root();
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
        {
            normal = normal.join(name)?;
        }
        Ok(normal)
    }

    /// The path of the entry `name` in this directory.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self> {
        let name = name.as_ref();
        let fault = match name {
            b"" | b"." | b".." => "is not a name of an entry",
            _ if name.contains(&b'/') => "contains a slash",
            _ if name.contains(&0) => "contains a NUL byte",
            _ if name.len() > NAME_MAX => "is longer than 765 bytes",
            _ if self.0.len() + 1 + name.len() > PATH_MAX => "makes a path longer than 4096 bytes",
            _ => {
                let mut path = self.0.clone();
                if !self.is_root() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                return Ok(Self(path));
            }
        };
        Err(
            Error::invalid(format!("'{}' {fault}", String::from_utf8_lossy(name)))
                .at(self.to_string()),
        )
    }

    /// An error where the name of the entry has more than `max` bytes.
    pub(super) fn check_name(&self, max: usize) -> Result<()> {
        match self.name().map_or(0, <[u8]>::len) {
            len if len <= max => Ok(()),
            len => Err(Error::invalid(format!(
                "a name of {len} bytes: at most {max} are possible here"
            ))),
        }
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The bytes, beginning with a slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names from the root down; none for `/`.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The directory it lies in; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        match (self.is_root(), slash) {
            (true, _) => None,
            (false, 0) => Some(Self::root()),
            (false, _) => Some(Self(self.0[..slash].to_vec())),
        }
    }

    /// The last name; `None` for `/`.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// Whether it is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(ancestor.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }
}

impl fmt::Display for FsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    write!(f, "{}", character.escape_default())?
                } else {
                    write!(f, "{character}")?
                }
            }
            chunk
                .invalid()
                .iter()
                .try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
        }
        Ok(())
    }
}

impl FromStr for FsPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_and_refuses() {
        assert_eq!(FsPath::new("//a/./b/").unwrap().as_bytes(), b"/a/b");
        assert_eq!(FsPath::new("/").unwrap(), FsPath::root());
        for bad in ["", "a", "/a/../b", "/..", "/a\0b"] {
            assert!(FsPath::new(bad).is_err(), "{bad:?}");
        }
        for (bytes, on_linux, anywhere) in [
            (255, true, true),
            (256, false, true),
            (765, false, true),
            (766, false, false),
        ] {
            let path = FsPath::new(format!("/{}", "n".repeat(bytes)));
            assert_eq!(path.is_ok(), anywhere, "{bytes}");
            assert_eq!(
                path.is_ok_and(|path| path.check_name(LINUX_NAME_MAX).is_ok()),
                on_linux,
                "{bytes}"
            );
        }
        assert!(FsPath::new("/nnnn".repeat(1000)).is_err());
    }

    #[test]
    fn takes_paths_apart() {
        let path = FsPath::new("/a/b").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"/a");
        assert_eq!(path.parent().unwrap().parent(), Some(FsPath::root()));
        assert_eq!(FsPath::root().parent(), None);
        assert_eq!(
            (path.name(), FsPath::root().name()),
            (Some(&b"b"[..]), None)
        );
        assert!(path.starts_with(&FsPath::new("/a").unwrap()) && path.starts_with(&FsPath::root()));
        assert!(
            !FsPath::new("/ab")
                .unwrap()
                .starts_with(&FsPath::new("/a").unwrap())
        );
    }

    #[test]
    fn shows_what_a_terminal_can_bear() {
        assert_eq!(
            FsPath::new(b"/a\xff\x1b[1m").unwrap().to_string(),
            "/a\\xff\\u{1b}[1m"
        );
    }
}
