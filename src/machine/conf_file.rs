//! A config file, and where it belongs.

/// Where a config file belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the folder of the disk, as a file of its own.
    Beside,
    /// Only inside the bundle.
    Inside,
    /// Both.
    Both,
}

/// A config file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfFile {
    /// Its name; inside of a bundle, its path there.
    pub name: String,
    /// Permission bits: 0o755 for scripts, else 0o644.
    pub mode: u32,
    /// What it holds: UTF-8 with a line feed at the end of each line.
    pub content: String,
    /// Where it belongs.
    pub place: Place,
}

impl ConfFile {
    pub(super) fn beside(name: String, content: String) -> Self {
        Self {
            name,
            mode: 0o644,
            content,
            place: Place::Beside,
        }
    }

    pub(super) fn inside(name: &str, content: String) -> Self {
        Self {
            name: name.to_owned(),
            mode: 0o644,
            content,
            place: Place::Inside,
        }
    }
}
