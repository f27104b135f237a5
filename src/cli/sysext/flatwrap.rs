use clap::{Args, ValueEnum};

use crate::Result;
use crate::flatcar::sysext::flatwrap::{Flatwrap, Side};

use super::super::progress::Reporter;
use super::flix::{WantedArgs, build};
use super::pack::PackArgs;
use super::source::SourceArgs;

/// Put a whole root filesystem into a sysext, with wrappers that run programs of it in a chroot
///
/// Programs see their own /usr and the machine's /dev, /proc, /sys, /run and /tmp. They run as root, and as any user where the
/// machine allows user namespaces. --etc, --var and --home say whose folders they see; ETCMAP, VARMAP and HOMEMAP (host or
/// chroot) change it when they are started.
#[derive(Debug, Args)]
#[command(
    name = "flatwrap",
    after_help = "\
Examples:
  flatbake sysext flatwrap hello-image mybox /opt/tool.sh:/usr/bin/tool -o mybox.raw
  flatbake sysext flatwrap hello-image mybox /usr/bin/hello -o mybox-etc.raw --etc chroot"
)]
pub struct FlatwrapCommand {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    wanted: WantedArgs,
    /// Whose /etc the programs see
    #[arg(long, value_name = "SIDE", value_enum, default_value = "host")]
    etc: SideWord,
    /// Whose /var the programs see
    #[arg(long, value_name = "SIDE", value_enum, default_value = "host")]
    var: SideWord,
    /// Whose /home and /root the programs see
    #[arg(long, value_name = "SIDE", value_enum, default_value = "host")]
    home: SideWord,
    #[command(flatten)]
    pack: PackArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideWord {
    /// The machine's
    Host,
    /// That of the root filesystem, which can only be read
    Chroot,
}

impl SideWord {
    fn side(self) -> Side {
        match self {
            Self::Host => Side::Host,
            Self::Chroot => Side::Chroot,
        }
    }
}

impl FlatwrapCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let host = self.pack.host(reporter)?;
        let parts = (&self.source, &self.wanted, &self.pack);
        build(parts, reporter, |source, build, means| {
            let flatwrap = Flatwrap {
                source,
                wanted: self.wanted.paths.clone(),
                etc: self.etc.side(),
                var: self.var.side(),
                home: self.home.side(),
            };
            flatwrap.prepare(build, host.as_ref(), means)
        })
    }
}
