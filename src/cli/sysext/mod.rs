//! `flatbake sysext`

mod keygen;
mod sign;
mod verify;

use clap::{Args, Subcommand};

use crate::Result;

use super::progress::Reporter;

/// Sign extension images, and verify them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake sysext keygen --cn 'Example builds' --type p256
  flatbake sysext sign hello.raw --key sysext.key --cert sysext.crt -o hello-signed.raw
  flatbake sysext verify hello-signed.raw --cert sysext.crt")]
pub struct SysextCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Keygen(keygen::KeygenCommand),
    Sign(sign::SignCommand),
    Verify(verify::VerifyCommand),
}

impl SysextCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        match &self.action {
            Action::Keygen(command) => command.run(reporter),
            Action::Sign(command) => command.run(reporter),
            Action::Verify(command) => command.run(reporter),
        }
    }
}
