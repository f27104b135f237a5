//! Flatcar's own optional sysexts: which there are, and what makes an image use one from its first boot.
//!
//! ```text
//!   ROOT  /etc/flatcar/enabled-sysext.conf                    a name a line; -NAME switches one off that /usr switches on
//!         /etc/flatcar/sysext/flatcar-NAME-VERSION.raw        what every boot looks for, before it asks the network
//!         /etc/extensions/flatcar-NAME.raw                    a link, made by that boot
//! ```
//!
//! VERSION is that of the running system: an update brings files of its own.

use crate::error::{Error, Result};
use crate::machine::Arch;

/// The list of those that are switched on, on ROOT.
pub const CONF: &str = "/etc/flatcar/enabled-sysext.conf";
/// What stands in its place until ROOT has one: a path on USR.
pub const CONF_ON_USR: &str = "/share/flatcar/etc/flatcar/enabled-sysext.conf";
/// The folder on ROOT where every boot looks for the files.
pub const FOLDER: &str = "/etc/flatcar/sysext";

/// Longest name that is taken.
const NAME_MAX: usize = 64;

/// What is known of one: its name, the first release that has it, and whether it is for amd64 only.
const KNOWN: [(&str, u64, bool); 11] = [
    ("incus", 4285, false),
    ("nvidia-drivers-535", 4344, true),
    ("nvidia-drivers-535-open", 4344, true),
    ("nvidia-drivers-550", 4344, true),
    ("nvidia-drivers-550-open", 4344, true),
    ("nvidia-drivers-570", 4344, true),
    ("nvidia-drivers-570-open", 4344, true),
    ("overlaybd", 4426, false),
    ("podman", 3941, false),
    ("python", 4012, false),
    ("zfs", 3913, false),
];

/// Those that a release is known to have, by its first number; newer releases may have more.
pub fn known(major: u64, arch: Arch) -> Vec<&'static str> {
    let fits = |(_, since, amd64_only): &&(&str, u64, bool)| {
        major >= *since && (arch == Arch::Amd64 || !amd64_only)
    };
    KNOWN.iter().filter(fits).map(|(name, ..)| *name).collect()
}

/// Whether a name is that of one in some release.
pub fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, ..)| *known == name)
}

/// Refuses what cannot be the name of one: it becomes a part of paths, and a line of the list.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`].
pub fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(plain)
        && !name.starts_with(['.', '-']);
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{}' cannot be the name of one of Flatcar's sysexts",
        name.escape_debug()
    ))
    .with_hint("write it without flatcar- and .raw: podman"))
}

/// The name that it is merged by.
pub fn merged_name(name: &str) -> String {
    format!("flatcar-{name}")
}

/// The list `text` with `names` switched on: lines that are there stay, and so does their order unless it is that of the
/// alphabet, which the whole list has then.
pub fn enable(text: &str, names: &[&str]) -> String {
    let off = |line: &&str| {
        let line = line.trim();
        !names
            .iter()
            .any(|name| line.strip_prefix('-') == Some(name))
    };
    let mut lines: Vec<&str> = text.lines().filter(off).collect();
    let is_sorted = lines.is_sorted();
    let mut added: Vec<&str> = names.to_vec();
    added.sort_unstable();
    added.dedup();
    added.retain(|name| !lines.iter().any(|line| line.trim() == *name));
    lines.extend(added);
    if is_sorted {
        lines.sort_unstable();
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_those_that_came_before_it() {
        assert_eq!(known(3900, Arch::Amd64), [""; 0]);
        assert_eq!(known(4081, Arch::Amd64), ["podman", "python", "zfs"]);
        assert!(known(4593, Arch::Amd64).contains(&"nvidia-drivers-570-open"));
        assert!(!known(4593, Arch::Arm64).contains(&"nvidia-drivers-570-open"));
        assert!(is_known("overlaybd") && !is_known("flatcar-zfs"));
    }

    #[test]
    fn names_are_added_to_the_list_and_what_is_there_stays() {
        for (text, names, wanted) in [
            ("", &["zfs", "podman", "zfs"][..], "podman\nzfs\n"),
            ("python", &["podman"], "podman\npython\n"),
            ("zfs\nincus\n", &["podman"], "zfs\nincus\npodman\n"),
            ("# mine\nzfs\n", &["zfs"], "# mine\nzfs\n"),
            (
                "# theirs\n-podman\n-zfs\n",
                &["podman"],
                "# theirs\n-zfs\npodman\n",
            ),
            ("zfs # with a word\n", &["zfs"], "zfs\nzfs # with a word\n"),
        ] {
            assert_eq!(enable(text, names), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for name in ["podman", "nvidia-drivers-550-open", "a.b_c"] {
            check_name(name).unwrap();
        }
        for name in ["", "-podman", ".", "a/b", "a b", "a\n", &"a".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
