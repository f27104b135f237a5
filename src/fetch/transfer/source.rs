//! Where something is: on a server, or on this machine.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::url::{Url, decoded, masked};
use crate::error::{Error, Result};

/// A URL, or a path of this machine, which can stand wherever a URL can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On a server.
    Web(Url),
    /// A file or folder of this machine.
    File(PathBuf),
}

impl Source {
    /// Reads `https://…`, `http://…`, `file:///…` or a path.
    ///
    /// URLs of other kinds, and `file:` of another machine, are [`crate::ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(rest) = strip_file_scheme(text) {
            return path_of(rest).map(Self::File).ok_or_else(|| {
                Error::invalid(format!("'{}' names no file of this machine", masked(text)))
                    .with_hint("write file:///PATH, with three slashes")
            });
        }
        if text.is_empty() {
            return Err(Error::invalid(
                "a URL or a path is wanted, and there is none",
            ));
        }
        if text.contains("://") {
            Ok(Self::Web(Url::parse(text)?))
        } else {
            Ok(Self::File(PathBuf::from(text)))
        }
    }

    /// What is called `name` in the folder that this is; `name` may be a path of several names.
    ///
    /// A name that leads out of the folder is [`crate::ErrorKind::InvalidInput`].
    pub fn join(&self, name: &str) -> Result<Self> {
        let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
        if !name.split('/').all(plain) {
            return Err(Error::invalid(format!(
                "'{name}' is no name of a file in {self}"
            )));
        }
        match self {
            Self::Web(url) => url.child(name).map(Self::Web),
            Self::File(folder) => Ok(Self::File(folder.join(name))),
        }
    }

    /// Whole, with all that is secret: what prefixes of mirrors are compared with.
    pub(super) fn full(&self) -> String {
        match self {
            Self::Web(url) => url.full(),
            Self::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}

impl From<Url> for Source {
    fn from(url: Url) -> Self {
        Self::Web(url)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

/// As it may be printed, see [`Url`].
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

fn strip_file_scheme(text: &str) -> Option<&str> {
    let scheme = text.get(..5)?;
    if scheme.eq_ignore_ascii_case("file:") {
        Some(&text[5..])
    } else {
        None
    }
}

/// The path of `//HOST/PATH` or `/PATH`, decoded; `None` where it is of another machine or not from the root.
fn path_of(rest: &str) -> Option<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, _) = rest.split_at(rest.find('/')?);
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return None;
            }
            &rest[host.len()..]
        }
        None => rest,
    };
    let bytes = decoded(path);
    let whole = bytes.starts_with(b"/") && !bytes.contains(&0);
    whole.then(|| PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_file_urls_are_files() {
        for (text, path) in [
            ("/a/b", "/a/b"),
            ("a b?c#d", "a b?c#d"),
            ("a:b", "a:b"),
            ("file:///a%20b/c", "/a b/c"),
            ("FILE://localhost/a", "/a"),
            ("file:/a", "/a"),
        ] {
            assert_eq!(
                Source::parse(text).unwrap(),
                Source::File(path.into()),
                "{text}"
            );
        }
        let bytes = Source::parse("file:///%ff").unwrap();
        assert_eq!(
            bytes,
            Source::File(OsString::from_vec(b"/\xff".to_vec()).into())
        );
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in [
            "",
            "file://",
            "file:a",
            "file://host/a",
            "file:///a%00b",
            "oci://a/b",
        ] {
            assert!(Source::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_do_not_lead_out_of_their_folder() {
        let web = Source::parse("https://host/a").unwrap();
        let file = Source::parse("/a").unwrap();
        assert_eq!(web.join("b/c").unwrap().to_string(), "https://host/a/b/c");
        assert_eq!(file.join("b/c").unwrap().to_string(), "/a/b/c");
        for wrong in ["", "/etc/passwd", "..", "b/../../c", "b//c", "./b", "b\0"] {
            assert!(
                web.join(wrong).is_err() && file.join(wrong).is_err(),
                "{wrong}"
            );
        }
    }
}
