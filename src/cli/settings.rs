//! The flags that set up a machine.

use clap::Args;

use crate::bake::{Console, Settings, UpdateMode};

/// Settings of the machine, each of which stands for a few files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings of the machine")]
pub struct SettingsArgs {
    /// Let the kernel write to this console, such as ttyS0,115200n8, in place of its usual ones; can be repeated, the last
    /// one is the system's console
    #[arg(long, value_name = "NAME[,OPTIONS]", value_parser = super::argument::<Console>)]
    console: Vec<Console>,
    /// Log nobody in on consoles without a password, as some vendors' images do
    #[arg(long)]
    no_autologin: bool,
    /// Get no updates of Flatcar: off asks no server, masked lets neither update-engine nor locksmithd run
    #[arg(long, value_name = "off|masked", value_parser = super::argument::<UpdateMode>)]
    updates: Option<UpdateMode>,
    /// Get updates of Flatcar from this server
    #[arg(long, value_name = "URL")]
    update_server: Option<String>,
    /// Get updates of this channel, or of a group of the server's own
    #[arg(long, value_name = "NAME")]
    update_group: Option<String>,
    /// Have sysexts and their updates outlive flatcar-reset: files go to OEM, and Ignition makes the rest by base.ign
    #[arg(long)]
    survive_reset: bool,
}

impl SettingsArgs {
    /// Puts what is given over what is set.
    pub fn add(&self, settings: &mut Settings) {
        if !self.console.is_empty() {
            settings.consoles.clone_from(&self.console);
        }
        settings.no_autologin |= self.no_autologin;
        settings.survive_reset |= self.survive_reset;
        let updates = &mut settings.updates;
        updates.mode = self.updates.or(updates.mode);
        for (given, set) in [
            (&self.update_server, &mut updates.server),
            (&self.update_group, &mut updates.group),
        ] {
            if given.is_some() {
                set.clone_from(given);
            }
        }
    }
}
