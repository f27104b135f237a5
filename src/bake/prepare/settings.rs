//! Settings of a machine, carried out: consoles and logins in OEM's `grub.cfg`, updates on ROOT.

use super::super::edits::Edits;
use super::super::settings::{Console, Settings, UpdateMode};
use super::bench::Bench;
use crate::error::{Error, Result};
use crate::flatcar::{Designator, grub, unit};

/// What update-engine reads besides the file of its name on USR.
const UPDATE_CONF: &str = "/etc/flatcar/update.conf";
/// Largest such file that is edited; real ones have three lines.
const UPDATE_CONF_MAX: u64 = 64 << 10;
/// The units of updates, and what masks a unit.
const UNITS: [&str; 2] = ["update-engine.service", "locksmithd.service"];
const NOWHERE: &str = "/dev/null";

impl Bench<'_> {
    /// Updates, as far as they are set.
    pub(super) fn set_updates(&mut self, settings: &Settings) -> Result<()> {
        const WHY: &str = "updates of Flatcar";
        let lines = settings.updates.lines();
        if !lines.is_empty() {
            let edit = |text: &str| Ok(with_lines(text, &lines));
            self.rewrite(Designator::Root, UPDATE_CONF, UPDATE_CONF_MAX, WHY, edit)?;
        }
        if settings.updates.mode == Some(UpdateMode::Masked) {
            for name in UNITS {
                let path = self.locate(Designator::Root, &unit::path(name)?)?;
                self.make_symlink(Designator::Root, &path, NOWHERE, WHY)?;
            }
        }
        Ok(())
    }

    /// What of the boot is set in `grub.cfg`, behind all that changes its kernel arguments.
    pub(super) fn set_boot(&mut self, edits: &Edits) -> Result<()> {
        let settings = &edits.settings;
        if settings.no_autologin {
            self.edit_grub_cfg("no autologin", grub::remove_autologin)?;
        }
        if !settings.consoles.is_empty() {
            let consoles: Vec<String> = settings.consoles.iter().map(Console::argument).collect();
            self.edit_grub_cfg("consoles", |text| grub::set_consoles(text, &consoles))?;
        }
        Ok(())
    }
}

/// A file of lines `KEY=VALUE` with these keys set once, behind all else.
fn with_lines(text: &str, lines: &[(&str, &str)]) -> String {
    let is_set = |line: &&str| {
        let key = line.trim_start().split('=').next().unwrap_or_default();
        lines.iter().any(|(set, _)| *set == key.trim_end())
    };
    let mut result: String = text
        .lines()
        .filter(|line| !is_set(line))
        .map(|line| format!("{line}\n"))
        .collect();
    for (key, value) in lines {
        result.push_str(&format!("{key}={value}\n"));
    }
    result
}

/// Text of a file of the image.
pub(super) fn text_of(content: Vec<u8>) -> Result<String> {
    String::from_utf8(content)
        .map_err(|error| Error::invalid("this is not UTF-8 text").with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_set_once_and_the_rest_stays() {
        let set = [("GROUP", "beta"), ("SERVER", "disabled")];
        assert_eq!(with_lines("", &set), "GROUP=beta\nSERVER=disabled\n");
        let before = "# ours\nGROUP=stable\nREBOOT_STRATEGY=off\n SERVER = x";
        assert_eq!(
            with_lines(before, &set),
            "# ours\nREBOOT_STRATEGY=off\nGROUP=beta\nSERVER=disabled\n"
        );
        assert_eq!(
            with_lines(&with_lines(before, &set), &set),
            with_lines(before, &set)
        );
    }
}
