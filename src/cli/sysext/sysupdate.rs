use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::archive::tar::TarLayout;
use crate::block::{BlockDevice, OutputFile};
use crate::flatcar::sysupdate::{Updates, updating};
use crate::fs::FsPath;
use crate::{Error, Result, from_io};
use clap::{Args, ValueHint};

use super::super::output::{refuse_existing, timestamp};
use super::super::progress::Reporter;

/// Write what has a machine update a sysext: a transfer file, the timer, and what merges new versions
///
/// Named NAME.conf, the output is the transfer file alone, which bake takes where it lies beside the sysext. A folder, or a
/// tar for bake --root-tar, gets all that a machine needs below /etc.
#[derive(Debug, Args)]
#[command(
    name = "sysupdate",
    after_help = "\
Examples:
  flatbake sysext sysupdate tailscale --url https://extensions.flatcar.org/extensions/tailscale/ -o tailscale.conf
  flatbake sysext sysupdate tailscale --url https://sysexts.example/ --pattern tailscale-1.@v-%a.raw -o updates.tar
  flatbake bake --image flatcar_sample.bin.bz2 -o updating.img --root-tar updates.tar"
)]
pub struct SysupdateCommand {
    /// The name that the sysext is merged by
    #[arg(value_name = "NAME")]
    name: String,
    /// The folder on a server that has SHA256SUMS and the images
    #[arg(long, value_name = "URL")]
    url: String,
    /// How the images are named, with @v for the version and %a for the architecture [default: NAME-@v-%a.raw]
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// How many versions a machine keeps
    #[arg(long, value_name = "N", default_value_t = 3)]
    instances: u32,
    /// Have the machine verify the signature of SHA256SUMS by OpenPGP keys that it has
    #[arg(long)]
    verify: bool,
    /// NAME.conf (or NAME.transfer) for the transfer file alone, FILE.tar, or a folder
    #[arg(long, short, value_name = "FILE|DIR", value_hint = ValueHint::AnyPath)]
    output: PathBuf,
    /// Replace files that exist already
    #[arg(long)]
    overwrite: bool,
}

/// An entry below `/etc`.
enum Entry {
    File(String),
    Link(String),
}

impl SysupdateCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let mut updates = Updates::new(&self.name, &self.url);
        if let Some(pattern) = &self.pattern {
            updates.pattern.clone_from(pattern);
        }
        updates.instances = self.instances;
        updates.verify = self.verify;
        let text = updates.text()?;
        let ending = self.output.extension().and_then(|ending| ending.to_str());
        match ending {
            Some("conf" | "transfer") => self.write(&self.output, text.as_bytes())?,
            Some("tar") => self.archive(&entries(&updates, text)?)?,
            _ => self.folder(&entries(&updates, text)?)?,
        }
        reporter.info(&format!("wrote {}", self.output.display()));
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        refuse_existing(path, self.overwrite)?;
        let output = OutputFile::create(path)?;
        let written = output.file().write_all(bytes);
        written.map_err(|error| from_io(format!("writing {}", path.display()), error))?;
        output.commit()
    }

    fn archive(&self, entries: &[(FsPath, Entry)]) -> Result<()> {
        let time = timestamp(None)?.unwrap_or(0);
        let mut layout = TarLayout::new(u64::try_from(time).unwrap_or(0));
        for (path, entry) in entries {
            let path = below_root(path)?;
            match entry {
                Entry::File(text) => layout.file(path, 0o644, text.clone().into_bytes())?,
                Entry::Link(target) => layout.symlink(path, target)?,
            }
        }
        let archive = layout.finish()?;
        let mut bytes = vec![0; crate::bytes::to_usize(archive.size())?];
        archive.read_at(0, &mut bytes)?;
        self.write(&self.output, &bytes)
    }

    fn folder(&self, entries: &[(FsPath, Entry)]) -> Result<()> {
        for (path, entry) in entries {
            let path = self.output.join(below_root(path)?);
            let folder = path.parent().unwrap_or(&self.output);
            std::fs::create_dir_all(folder)
                .map_err(|error| from_io(format!("making {}", folder.display()), error))?;
            match entry {
                Entry::File(text) => self.write(&path, text.as_bytes())?,
                Entry::Link(target) => self.link(&path, target)?,
            }
        }
        Ok(())
    }

    fn link(&self, path: &Path, target: &str) -> Result<()> {
        if std::fs::read_link(path).is_ok_and(|found| found == Path::new(target)) {
            return Ok(());
        }
        symlink(target, path).map_err(|error| from_io(format!("making {}", path.display()), error))
    }
}

/// All that a machine needs, the transfer file first.
fn entries(updates: &Updates, text: String) -> Result<Vec<(FsPath, Entry)>> {
    let mut entries = vec![(updates.path()?, Entry::File(text))];
    let all = updating([&*updates.name])?;
    let files = all.files.into_iter();
    entries.extend(files.map(|(path, text)| (path, Entry::File(text))));
    let links = all.links.into_iter();
    entries.extend(links.map(|(path, target)| (path, Entry::Link(target))));
    Ok(entries)
}

fn below_root(path: &FsPath) -> Result<&str> {
    let text = std::str::from_utf8(path.as_bytes()).ok();
    text.and_then(|text| text.strip_prefix('/'))
        .ok_or_else(|| Error::internal("a path below /etc is no text"))
}
