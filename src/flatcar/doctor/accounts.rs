//! Passwords and keys that open accounts.

use super::{Remedy, Sign, Symptom};
use crate::error::{Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::{Designator, Disk};
use crate::fs::{self, FileSystem, FsPath};

const SHADOW: &str = "/etc/shadow";
const KEYS: &str = "/home/core/.ssh/authorized_keys";
/// Largest file of accounts or keys that is read.
const TEXT_MAX: u64 = 1 << 20;
/// Accounts that are told at most.
const TOLD_MAX: usize = 100;
/// The start of the RSA key that every Vagrant box has at first; its private half is published.
const VAGRANT_RSA: &str =
    "AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzI";

/// What there is to say of the accounts on ROOT.
pub(super) fn look(disk: &Disk) -> Result<Vec<Symptom>> {
    let Ok(root) = disk.filesystem(Designator::Root.into()) else {
        return Ok(Vec::new());
    };
    let place = || disk.describe(Designator::Root.into());
    let mut symptoms = passwords(&*root).at(place)?;
    symptoms.extend(keys(&*root).at(place)?);
    Ok(symptoms)
}

fn text(root: &dyn FileSystem, path: &FsPath) -> Result<Option<String>> {
    if !fs::exists(root, path)? {
        return Ok(None);
    }
    // What is no file, or none of a person's, has nothing to tell.
    let content = fs::read_file(root, path, TEXT_MAX).ok();
    Ok(content.map(|content| String::from_utf8_lossy(&content).into_owned()))
}

fn passwords(root: &dyn FileSystem) -> Result<Vec<Symptom>> {
    let path = FsPath::new(SHADOW)?;
    let mut symptoms = Vec::new();
    for line in text(root, &path)?.unwrap_or_default().lines() {
        let mut fields = line.split(':');
        let user = fields.next().unwrap_or_default();
        let Some(why) = fields.next().and_then(weakness) else {
            continue;
        };
        if symptoms.len() == TOLD_MAX {
            break;
        }
        let finding = Finding::new(code::ACCOUNT_WEAK)
            .with("path", &path)
            .with("user", user.escape_debug())
            .with("why", why)
            .at(Designator::Root.to_string());
        let symptom = Symptom::new(Sign::Account, finding);
        symptoms.push(symptom.with(Remedy::RemoveAccount(Designator::Root, path.clone())));
    }
    Ok(symptoms)
}

/// What is weak about the hash of a password; nothing of an account that has none that fits.
fn weakness(hash: &str) -> Option<&'static str> {
    match hash {
        "" => Some("needs no password"),
        locked if locked.starts_with(['!', '*', 'x']) => None,
        old if old.starts_with("$1$") || !old.starts_with('$') => {
            Some("has a password of a kind that is guessed quickly")
        }
        _ => Some("has a password, which all machines of this image share"),
    }
}

fn keys(root: &dyn FileSystem) -> Result<Vec<Symptom>> {
    let path = FsPath::new(KEYS)?;
    let Some(text) = text(root, &path)? else {
        return Ok(Vec::new());
    };
    let is_known = text
        .lines()
        .any(|line| line.contains(VAGRANT_RSA) || line.ends_with("vagrant insecure public key"));
    let code = if is_known {
        code::KEY_WELL_KNOWN
    } else {
        code::KEYS_INSIDE
    };
    let finding = Finding::new(code)
        .with("path", &path)
        .at(Designator::Root.to_string());
    let symptom = Symptom::new(Sign::Account, finding);
    Ok(vec![
        symptom.with(Remedy::RemoveAccount(Designator::Root, path)),
    ])
}

#[cfg(test)]
mod tests {
    use super::weakness;

    #[test]
    fn locked_accounts_are_not_weak() {
        for locked in ["*", "!", "!!", "!*", "!$6$x$y", "x"] {
            assert_eq!(weakness(locked), None, "{locked}");
        }
        for weak in [
            "",
            "$1$salt$hash",
            "ab1cdefghijkl",
            "$6$salt$hash",
            "$y$j9T$x",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
    }
}
