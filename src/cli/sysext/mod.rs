//! `flatbake sysext`

mod build;
mod check;
mod download;
mod flatwrap;
mod flix;
mod given;
mod inspect;
mod keygen;
mod pack;
mod publish;
mod recipe;
mod rootfs;
mod sign;
pub(super) mod signer;
mod source;
mod sysupdate;
mod torcx;
mod verify;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::block::shown;
use crate::{Error, Result};

use super::progress::Reporter;

/// Build, look into, check, sign, verify and publish extension images: sysexts and confexts
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake sysext build tailscale -o ts.raw --name tailscale --arch amd64 --enable tailscaled.service
  flatbake sysext recipe --list
  flatbake sysext flix hello-image mytools /usr/bin/hello -o mytools.raw
  flatbake sysext inspect hello.raw
  flatbake sysext check hello.raw --image flatcar_sample.bin.bz2
  flatbake sysext keygen --cn 'Example builds' --type p256
  flatbake sysext sign hello.raw --key sysext.key --cert sysext.crt -o hello-signed.raw
  flatbake sysext verify hello-signed.raw --cert sysext.crt")]
pub struct SysextCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Build(Box<build::BuildCommand>),
    Recipe(Box<recipe::RecipeCommand>),
    Flix(Box<flix::FlixCommand>),
    Flatwrap(Box<flatwrap::FlatwrapCommand>),
    Torcx(Box<torcx::TorcxCommand>),
    Rootfs(Box<rootfs::RootfsCommand>),
    Inspect(inspect::InspectCommand),
    Check(Box<check::CheckCommand>),
    Keygen(keygen::KeygenCommand),
    Sign(sign::SignCommand),
    Verify(verify::VerifyCommand),
    Sysupdate(sysupdate::SysupdateCommand),
    Publish(Box<publish::PublishCommand>),
}

impl SysextCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        match &self.action {
            Action::Build(command) => command.run(reporter),
            Action::Recipe(command) => command.run(reporter),
            Action::Flix(command) => command.run(reporter),
            Action::Flatwrap(command) => command.run(reporter),
            Action::Torcx(command) => command.run(reporter),
            Action::Rootfs(command) => command.run(reporter),
            Action::Inspect(command) => command.run(reporter),
            Action::Check(command) => command.run(reporter),
            Action::Keygen(command) => command.run(reporter),
            Action::Sign(command) => command.run(reporter),
            Action::Verify(command) => command.run(reporter),
            Action::Sysupdate(command) => command.run(reporter),
            Action::Publish(command) => command.run(reporter),
        }
    }
}

/// The name that the name of a file stands for.
fn name_of(file: &Path) -> Result<String> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.map(|name| name.strip_suffix(".raw").unwrap_or(name));
    name.filter(|name| !name.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| {
            Error::invalid(format!(
                "no extension can be named after {}",
                file.display()
            ))
            .with_hint("give its name, too")
        })
}

/// The text of a small file, which is registered as an input in the role of `what`.
fn text_of(path: &Path, what: &'static str, most: u64, reporter: &Reporter) -> Result<String> {
    let bytes = reporter.inputs().read(what, path, most)?;
    String::from_utf8(bytes).map_err(|error| {
        Error::invalid(format!("the {what} is not UTF-8"))
            .with_source(error)
            .at(shown(path))
    })
}
