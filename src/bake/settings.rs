//! Settings of a machine, each of which stands for a few files.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::flatcar::grub;

/// Settings of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Where the kernel writes, in the OEM partition's `grub.cfg`; the last one is the system's console. None: as it is.
    pub consoles: Vec<Console>,
    /// Nobody is logged in on consoles without a password: `flatcar.autologin` goes from the OEM partition's `grub.cfg`.
    pub no_autologin: bool,
    /// How the machine gets updates of Flatcar.
    pub updates: Updates,
    /// Sysexts and what updates them outlive `flatcar-reset`: the files are put on OEM, and Ignition makes the rest by
    /// `base.ign` whenever it runs.
    pub survive_reset: bool,
}

impl Settings {
    /// What can be told to be wrong from the settings alone, next to kernel arguments that are added.
    pub(super) fn check(&self, kernel_args: &[String]) -> Result<()> {
        let autologin = kernel_args.iter().find(|arg| grub::is_autologin(arg));
        if let Some(argument) = autologin.filter(|_| self.no_autologin) {
            return Err(Error::invalid(format!(
                "the kernel argument '{argument}' is added, and nobody shall be logged in without a password"
            ))
            .with_hint("ask for one of the two"));
        }
        self.updates.check()
    }
}

/// A console of the kernel, as its argument `console=` has it: `ttyS0,115200n8`, `tty0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console(String);

impl Console {
    /// The kernel argument.
    pub(super) fn argument(&self) -> String {
        format!("console={}", self.0)
    }
}

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Console {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || ",:._-@/".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
        if begins && text.len() <= 64 && text.chars().all(is_allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(
            Error::invalid(format!("'{}' is not a console", text.escape_debug())).with_hint(
                "write what the kernel's argument console= takes, such as ttyS0,115200n8 or tty0",
            ),
        )
    }
}

/// How a machine gets updates of Flatcar: what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Updates {
    /// Whether it gets none.
    pub mode: Option<UpdateMode>,
    /// The update server's URL, for a server of one's own.
    pub server: Option<String>,
    /// The channel, or a group of a server of one's own.
    pub group: Option<String>,
}

/// A machine without updates of Flatcar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateMode {
    /// update-engine runs and asks no server (`SERVER=disabled`); an update can still be started by hand.
    Off,
    /// Neither update-engine nor locksmithd runs: their units are masked.
    Masked,
}

impl FromStr for UpdateMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "off" => Ok(Self::Off),
            "masked" => Ok(Self::Masked),
            _ => Err(
                Error::invalid(format!("'{}' is no mode of updates", text.escape_debug()))
                    .with_hint(
                        "off asks no server, masked lets neither update-engine nor locksmithd run",
                    ),
            ),
        }
    }
}

impl Updates {
    /// Lines of `update.conf`: keys and values.
    pub(super) fn lines(&self) -> Vec<(&'static str, &str)> {
        let server = match self.mode {
            Some(UpdateMode::Off) => Some("disabled"),
            _ => self.server.as_deref(),
        };
        let lines = [("GROUP", self.group.as_deref()), ("SERVER", server)];
        lines
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    fn check(&self) -> Result<()> {
        if let Some(group) = &self.group {
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if group.is_empty() || group.len() > 128 || !group.chars().all(is_allowed) {
                return Err(Error::invalid(format!(
                    "'{}' is no update group",
                    group.escape_debug()
                ))
                .with_hint("letters, digits, dots, - and _, such as stable or lts-2024"));
            }
        }
        let Some(server) = &self.server else {
            return Ok(());
        };
        if self.mode == Some(UpdateMode::Off) {
            return Err(Error::invalid(format!(
                "updates are off, and come from {}",
                server.escape_debug()
            ))
            .with_hint("ask for one of the two"));
        }
        let address = ["https://", "http://"]
            .into_iter()
            .find_map(|scheme| server.strip_prefix(scheme));
        let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\`$".contains(c);
        if address.is_some_and(|address| !address.is_empty()) && server.chars().all(is_plain) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "'{}' is no URL of an update server",
            server.escape_debug()
        ))
        .with_hint(
            "it begins with https:// or http://, such as https://nebraska.example.org/v1/update/",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles_are_one_word_of_a_kernel_argument() {
        for text in ["ttyS0,115200n8", "tty0", "ttyAMA0", "hvc0"] {
            assert_eq!(text.parse::<Console>().unwrap().to_string(), text);
        }
        for text in ["", "ttyS0 tty0", "0tty", "tty\"0", "tty$x", "console=tty0"] {
            assert!(text.parse::<Console>().is_err(), "{text}");
        }
    }

    #[test]
    fn updates_that_contradict_themselves_or_are_no_values_are_refused() {
        let updates = |mode, server: Option<&str>, group: Option<&str>| Updates {
            mode,
            server: server.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let server = Some("https://nebraska.example.org/v1/update/");
        assert!(updates(None, server, Some("stable")).check().is_ok());
        assert!(
            updates(Some(UpdateMode::Masked), server, None)
                .check()
                .is_ok()
        );
        for wrong in [
            updates(Some(UpdateMode::Off), server, None),
            updates(None, Some("nebraska.example.org"), None),
            updates(None, Some("https://"), None),
            updates(None, Some("https://a\nGROUP=b"), None),
            updates(None, None, Some("a b")),
            updates(None, None, Some("")),
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
