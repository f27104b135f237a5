//! Updates of sysexts: what makes the machine fetch them, where it is asked for.

use super::super::edits::{Edits, SysextSpec};
use super::super::request::Request;
use super::bench::Bench;
use super::lasting::Lasting;
use super::sysext::transfers;
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Few, Finding, code};
use crate::flatcar::sysupdate::{SERVICE, TIMER, updating};
use crate::flatcar::{Designator, unit};
use crate::fs::{self, ByPath, FsPath};

/// Targets that start the timer: its own, and the one that everything else is started by.
const TIMER_LINKS: [&str; 2] = ["timers.target.wants", "multi-user.target.wants"];
/// What plans say of these files.
const WHY: &str = "updates of sysexts";
/// Any drop-in of the service.
const ANY_DROPIN: &str = "any.conf";
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
        let updating = updating(self.updated.iter().map(String::as_str))?;
        for (path, text) in &updating.files {
            if is_lasting {
                self.lasting.push(Lasting::file(path, text.as_bytes()));
            } else {
                self.put_text(Designator::Root, &path.to_string(), text.as_bytes(), WHY)?;
            }
        }
        for (path, target) in &updating.links {
            if is_lasting {
                self.lasting.push(Lasting::link(path, target));
            } else {
                let path = self.locate(Designator::Root, path)?;
                self.make_symlink(Designator::Root, &path, target, WHY)?;
            }
        }
        Ok(())
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
        let folder = unit::dropin_path(SERVICE, ANY_DROPIN)?
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
