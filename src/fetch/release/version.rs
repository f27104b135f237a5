//! `version.txt`: lines of `KEY=VALUE` for shells.

use crate::error::{Error, Result};

/// Its name.
pub const VERSION_FILE: &str = "version.txt";
/// It has some 200 bytes.
pub const VERSION_MAX: u64 = 64 << 10;

/// Keys that hold the version, the better ones first. Releases before 2021 have the old ones only.
const KEYS: [&str; 4] = [
    "FLATCAR_VERSION",
    "FLATCAR_VERSION_ID",
    "COREOS_VERSION",
    "COREOS_VERSION_ID",
];

/// The version that a `version.txt` names.
///
/// # Errors
/// It is not text, or names none.
pub fn version_of(text: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(text)
        .map_err(|error| Error::corrupt("version.txt is not text").with_source(error))?;
    let value = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(key, _)| key.trim() == wanted)?;
        let value = value.trim().trim_matches(['"', '\'']);
        Some(value.to_owned()).filter(|value| !value.is_empty())
    };
    KEYS.iter().find_map(|key| value(key)).ok_or_else(|| {
        Error::corrupt("version.txt names no version")
            .with_hint(format!("it has a line {}=", KEYS[0]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_and_old_files_name_their_version() {
        let new = b"FLATCAR_BUILD=4757\nFLATCAR_BRANCH=2\nFLATCAR_PATCH=1\nFLATCAR_VERSION=4757.2.1\n\
                    FLATCAR_VERSION_ID=4757.2.1\nFLATCAR_BUILD_ID=\"\"\nFLATCAR_SDK_VERSION=4757.0.0\n";
        assert_eq!(version_of(new).unwrap(), "4757.2.1");
        let nightly = b"FLATCAR_VERSION=\"4790.0.0+nightly-1\"\r\nFLATCAR_VERSION_ID=4790.0.0\r\n";
        assert_eq!(version_of(nightly).unwrap(), "4790.0.0+nightly-1");
        let old = b"COREOS_BUILD=2605\nCOREOS_VERSION_ID=2605.5.0\nCOREOS_VERSION=2605.5.0\n";
        assert_eq!(version_of(old).unwrap(), "2605.5.0");
        for bad in [&b""[..], b"FLATCAR_VERSION=\n", b"\xff", b"<html>"] {
            assert!(version_of(bad).is_err());
        }
    }
}
