//! What is there already.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::shown;
use crate::error::{Error, Reason, Result};

/// An error where something has the name `path` already, unless it may be replaced.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`], also for a folder and for a symlink that leads nowhere.
pub fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    if overwrite {
        return Ok(());
    }
    match fs::symlink_metadata(path) {
        Ok(_) => {
            Err(Error::invalid(format!("{} exists already", shown(path))).because(Reason::Exists))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(())
        }
        Err(error) => Err(Error::io(
            format!("looking whether {} exists", shown(path)),
            error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn whatever_has_the_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), b"mine").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        for name in ["file", "link", "."] {
            let error = refuse_existing(&path(name), false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
            refuse_existing(&path(name), true).unwrap();
        }
        for name in ["nowhere", "missing/file", "file/file"] {
            refuse_existing(&path(name), false).unwrap();
        }
    }
}
