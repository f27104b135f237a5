use std::path::PathBuf;

use crate::Result;
use crate::flatcar::sysext::Class;
use crate::flatcar::sysext::build::{Build, Means, architecture};
use clap::{Args, ValueHint};

use super::super::image::temp_dir;
use super::super::progress::Reporter;
use super::name_of;
use super::pack::{PackArgs, explained};

/// Build an extension image from a folder, an archive, a container image or another extension
///
/// The same files give the same bytes: everything is sorted, belongs to root and has no time later than --timestamp. The
/// release file that systemd matches is written, or completed where there is one; units get EXTENSION_RELOAD_MANAGER=1. The
/// image appears only when it is whole.
#[derive(Debug, Args)]
#[command(
    name = "build",
    after_help = "\
Examples:
  flatbake sysext build tailscale -o tailscale.raw --arch amd64 --enable tailscaled.service \
--conf default/tailscaled=tailscaled.default
  flatbake sysext build hello.raw -o hello-erofs.raw --name hello --format erofs
  flatbake sysext build hello.raw -o hello-xz.raw --name hello --comp xz --image flatcar_sample.bin.bz2
  flatbake sysext keygen --cn builder --type p256
  flatbake sysext build hello.raw -o hello-ddi.raw --name hello --format ddi --key sysext.key --cert sysext.crt"
)]
pub struct BuildCommand {
    /// A folder, a tar (packed or not), an OCI layout, an archive of docker save, or an extension image
    #[arg(value_name = "SOURCE", value_hint = ValueHint::AnyPath)]
    source: PathBuf,
    /// The image to write
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// The name it is merged by [default: the output's name without .raw]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The machines it is for: amd64, arm64 or _any [default: that of its programs]
    #[arg(long, value_name = "ARCH", value_parser = word)]
    arch: Option<String>,
    /// Build a confext, which is merged into /etc, instead of a sysext
    #[arg(long)]
    confext: bool,
    /// Leave out what lies outside of /usr and /opt (of /etc for a confext), which would not be merged
    #[arg(long)]
    drop_outside: bool,
    /// Keep owners and groups instead of giving everything to root
    #[arg(long)]
    keep_owner: bool,
    #[command(flatten)]
    pack: PackArgs,
}

/// An architecture in systemd's words; its hint goes into clap's message.
pub(super) fn word(text: &str) -> std::result::Result<String, String> {
    architecture(text).map_err(|error| explained(&error))
}

impl BuildCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        self.pack.refuse_existing(&self.output)?;
        let build = self.build(reporter)?;
        let host = self.pack.host(reporter)?;
        let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
        let prepared = build.prepare(host.as_ref(), &means)?;
        let built = self.pack.write(&prepared, &self.output, &means, reporter)?;
        self.pack.tell(&built, reporter)
    }

    fn build(&self, reporter: &Reporter) -> Result<Build> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => name_of(&self.output)?,
        };
        let build = Build {
            class: if self.confext {
                Class::Confext
            } else {
                Class::Sysext
            },
            architecture: self.arch.clone(),
            drop_outside: self.drop_outside,
            keep_owner: self.keep_owner,
            ..Build::new(&self.source, name)
        };
        self.pack.fill(build, reporter)
    }
}
