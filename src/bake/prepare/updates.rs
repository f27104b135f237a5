//! Updates of sysexts: what makes the machine fetch them, where it is asked for.

use super::super::edits::{Edits, SysextSpec};
use super::super::request::Request;
use super::bench::Bench;
use super::lasting::Lasting;
use super::sysext::transfers;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Few, Finding, code};
use crate::flatcar::{Designator, unit};
use crate::fs::{self, ByPath, FsPath};

const SERVICE: &str = "systemd-sysupdate.service";
const TIMER: &str = "systemd-sysupdate.timer";
/// Targets that start the timer: its own, and the one that everything else is started by.
const TIMER_LINKS: [&str; 2] = ["timers.target.wants", "multi-user.target.wants"];
/// The drop-in that comes last by its name, and merges what was fetched.
const MERGE: (&str, &str) = (
    "zz-merge.conf",
    "[Service]\nExecStartPost=/usr/bin/systemctl restart systemd-sysext.service\n",
);
/// Without any file for the system itself the service would fail after its drop-ins have done their work. This one names
/// what is nowhere.
const NOTHING: (&str, &str) = (
    "/etc/sysupdate.d/noop.conf",
    "[Source]\nType=regular-file\nPath=/\nMatchPattern=invalid@v.raw\n\n[Target]\nType=regular-file\nPath=/\n",
);
/// What plans say of these files.
const WHY: &str = "updates of sysexts";
/// Largest drop-in that is looked into.
const DROPIN_MAX: u64 = 1 << 20;

/// Refuses a request for updates where no sysext has a file that says where they come from.
pub(super) fn check_updates(request: &Request) -> Result<()> {
    let all = || {
        std::iter::once(&request.edits).chain(request.variants.iter().map(|variant| &variant.edits))
    };
    let is_asked = all().any(|edits| edits.sysupdate);
    if !is_asked || all().flat_map(|edits| &edits.sysexts).any(has_transfer) {
        return Ok(());
    }
    Err(Error::invalid(
        "updates are asked for, but no sysext has a file that says where they come from",
    )
    .with_hint("put NAME.conf (sysupdate.d(5)) beside the file of a sysext"))
}

fn has_transfer(spec: &SysextSpec) -> bool {
    !transfers(spec).is_empty()
}

impl Bench<'_> {
    /// Has the machine update what was installed with a file for that.
    pub(super) fn run_updates(&mut self, edits: &Edits) -> Result<()> {
        if !edits.sysupdate || self.updated.is_empty() {
            return Ok(());
        }
        let is_lasting = edits.settings.survive_reset;
        for name in self.updated.clone() {
            let text = format!(
                "[Service]\nExecStartPre=/usr/lib/systemd/systemd-sysupdate -C {} update\n",
                word(&name)?
            );
            let path = unit::dropin_path(SERVICE, &format!("{name}.conf"))?;
            self.put_update_file(&path, &text, is_lasting)?;
        }
        let (name, text) = MERGE;
        self.put_update_file(&unit::dropin_path(SERVICE, name)?, text, is_lasting)?;
        let (path, text) = NOTHING;
        self.put_update_file(&FsPath::new(path)?, text, is_lasting)?;
        for (target, path) in
            unit::enabling_links(TIMER, None, Some("[Install]\nWantedBy=timers.target\n"))?
        {
            if is_lasting {
                self.lasting.push(Lasting::link(&path, &target));
                continue;
            }
            let path = self.locate(Designator::Root, &path)?;
            self.make_symlink(Designator::Root, &path, &target, WHY)?;
        }
        Ok(())
    }

    fn put_update_file(&mut self, path: &FsPath, text: &str, is_lasting: bool) -> Result<()> {
        if is_lasting {
            self.lasting.push(Lasting::file(path, text.as_bytes()));
            return Ok(());
        }
        self.put_text(Designator::Root, &path.to_string(), text.as_bytes(), WHY)
    }

    /// Tells of sysexts with a file for their updates that nothing on the machine will use.
    pub(super) fn see_updates(&mut self, edits: &Edits) -> Result<()> {
        // Ignition makes all that is needed.
        let is_lasting = edits.sysupdate && edits.settings.survive_reset;
        if self.updated.is_empty() || is_lasting {
            return Ok(());
        }
        let dropins = self.dropins()?;
        let idle: Few = match self.is_timer_enabled()? {
            true => self
                .updated
                .iter()
                .filter(|name| !dropins.contains(&format!("-C {name} ")))
                .collect(),
            false => self.updated.iter().collect(),
        };
        if !idle.is_empty() {
            let finding = Finding::new(code::SYSUPDATE_NOT_RUN).with("names", idle);
            self.findings.push(finding.at(Designator::Root.to_string()));
        }
        Ok(())
    }

    fn is_timer_enabled(&mut self) -> Result<bool> {
        for folder in TIMER_LINKS {
            let path = unit::path(TIMER)?
                .parent()
                .unwrap_or_else(FsPath::root)
                .join(folder)?
                .join(TIMER)?;
            if self.type_at(Designator::Root, &path)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The text of all drop-ins of the service.
    fn dropins(&mut self) -> Result<String> {
        let folder = unit::dropin_path(SERVICE, MERGE.0)?
            .parent()
            .unwrap_or_else(FsPath::root);
        let fs = self.filesystem(Designator::Root)?;
        let entries = match fs.entries_at(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            Err(error) => return Err(error),
        };
        let mut all = String::new();
        for entry in entries {
            // What is no file, or too large to be one of these, says nothing.
            if let Ok(content) = fs::read_file(fs, &folder.join(&entry.name)?, DROPIN_MAX) {
                all.push_str(&String::from_utf8_lossy(&content));
            }
        }
        Ok(all)
    }
}

/// A name that systemd takes as one word, as it is.
fn word(name: &str) -> Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.chars().all(is_plain) && !name.starts_with('-') {
        return Ok(name);
    }
    Err(Error::invalid(format!(
        "the sysext '{}' cannot be updated under this name",
        name.escape_debug()
    ))
    .with_hint("use letters, digits, dots, dashes and underscores"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_meaning_to_systemd_are_refused() {
        for name in ["docker", "k3s-1.2_x"] {
            assert_eq!(word(name).unwrap(), name);
        }
        for name in ["a b", "a%i", "-C", "$HOME", "a\"b", "ä"] {
            assert!(word(name).is_err(), "{name}");
        }
    }
}
