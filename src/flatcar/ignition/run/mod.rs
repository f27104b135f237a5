//! A boot with a config, rehearsed: which files Ignition would make, or at what it would stop.
//!
//! ```text
//!  base.ign ─┐
//!            ├─ merge ─▶ config ─┬─▶ accounts, directories, files, links, units ─▶ on a tree in memory ─▶ changes
//!  config  ──┘  with what        │                                                  or where it stops
//!               they name        └─▶ disks, RAID, LUKS, filesystems, kernel arguments ─▶ planned
//! ```
//!
//! Order and rules are those of Ignition 2.14 to 2.27 and of the tools of shadow that it runs.

mod accounts;
mod changes;
mod halt;
mod image;
mod merge;
mod passwd;
mod plan;
mod sources;
mod stage;
mod tree;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::document::{Node, Position};
use crate::error::{Error, ErrorKind, Result};
use crate::finding::{Finding, code};
use crate::flatcar::{Designator, Disk};
use crate::fs::{FileSystem, FsPath, exists, read_file};

use super::at::At;
use super::{CONFIG_MAX, CheckOptions};
use accounts::Backups;
use changes::Collector;
pub use changes::{Change, What};
use halt::{Halt, Outcome};
use image::Image;
use merge::merge;
pub use plan::Planned;
use sources::Sources;
use stage::{Stage, is_partition};
use tree::{Part, Tree};

/// The configs on OEM: the first is always merged, the second is the user's.
const BASE: &str = "/base/base.ign";
const USER: &str = "/config.ign";

/// A config, Ignition's or Butane's.
#[derive(Debug, Clone)]
pub struct Config {
    /// What messages call it.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Where local files of a Butane config are; `None` where it may name none.
    pub folder: Option<PathBuf>,
}

/// How a boot is rehearsed.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The user's config, instead of `config.ign` on OEM.
    pub config: Option<Config>,
    /// The platform, whose provider has the user's config where there is no other.
    pub platform: Option<String>,
    /// Tell how texts differ.
    pub has_diffs: bool,
    /// The day of the boot, in days since 1970, as shadow gets it for accounts; 0 leaves it empty.
    pub day: u64,
}

/// What a rehearsal came to.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Rehearsed {
    /// The configs that were taken, in their order.
    pub configs: Vec<String>,
    /// What only the machine can do.
    pub planned: Vec<Planned>,
    /// What Ignition makes, changes and removes, in the order of paths; up to where it stops, if it does.
    pub changes: Vec<Change>,
    /// What was found: errors are what stops Ignition.
    pub findings: Vec<Finding>,
}

/// Rehearses the first boot of an image.
///
/// # Errors
/// The image cannot be read. That Ignition would stop is a finding.
pub fn run(disk: &Disk, options: &RunOptions) -> Result<Rehearsed> {
    let image = Image::open(disk)?;
    let base = from_oem(&*image.oem, BASE)?;
    on_image(&image, base.as_slice(), options)?.rehearsed(options)
}

/// What a config comes to on an image, to be baked into it.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Where OEM is mounted.
    pub oem: String,
    /// What only the machine can do.
    pub planned: Vec<Planned>,
    /// What is made, changed and removed, with all contents.
    pub changes: Vec<Change>,
    pub findings: Vec<Finding>,
}

/// Carries a config out on an image without its base.ign, which Ignition runs at boot all the same.
///
/// # Errors
/// The image cannot be read.
pub(crate) fn applied(disk: &Disk, config: Config, day: u64) -> Result<Applied> {
    let image = Image::open(disk)?;
    let options = RunOptions {
        config: Some(config),
        day,
        ..RunOptions::default()
    };
    let mut done = on_image(&image, &[], &options)?;
    let changes = known(
        Collector::new(&mut done.tree, false)
            .with_contents()
            .collect(),
    )?;
    Ok(Applied {
        oem: image.oem_place(),
        planned: done.planned,
        changes,
        findings: done.findings,
    })
}

/// The system as the first boot of an image leaves it, for those who look for what it needs.
///
/// # Errors
/// The image cannot be read. That Ignition would stop is a finding.
pub(in crate::flatcar) fn booted(disk: &Disk, options: &RunOptions) -> Result<Booted> {
    let image = Image::open(disk)?;
    let base = from_oem(&*image.oem, BASE)?;
    let done = on_image(&image, base.as_slice(), options)?;
    Ok(Booted {
        tree: done.tree,
        oem: image.oem_place(),
        configs: done.configs,
        findings: done.findings,
    })
}

/// What the configs on OEM make, or would make again, at paths that they name.
pub(in crate::flatcar) struct Written {
    /// Files and symlinks, with contents where these are known, as they are on a ROOT that held nothing before.
    pub changes: Vec<Change>,
    /// What messages call the configs.
    pub configs: Vec<String>,
}

/// Carries the configs on OEM out on an empty ROOT, and tells the files and links that they name; nothing of accounts and
/// units, which Ignition writes over, and `None` where OEM has no config.
///
/// # Errors
/// The image cannot be read.
pub(in crate::flatcar) fn written(disk: &Disk) -> Result<Option<Written>> {
    let Some((image, base)) = configured(disk)? else {
        return Ok(None);
    };
    let mut done = rehearse(&image, base.as_slice(), &RunOptions::default(), true)?;
    let collector = Collector::new(&mut done.tree, false).with_contents();
    let mut changes = known(collector.collect())?;
    changes.retain(|change| done.named.contains(&change.path));
    Ok(Some(Written {
        changes,
        configs: done.configs,
    }))
}

/// Rehearses the first boot of an image with the configs on OEM; `None` where OEM has none.
///
/// # Errors
/// The image cannot be read. That Ignition would stop is a finding.
pub(in crate::flatcar) fn findings_of_own(disk: &Disk) -> Result<Vec<Finding>> {
    let Some((image, base)) = configured(disk)? else {
        return Ok(Vec::new());
    };
    let done = on_image(&image, base.as_slice(), &RunOptions::default())?;
    let of_platform = |finding: &Finding| finding.code() == code::IGNITION_NO_CONFIG;
    let findings = done.findings.into_iter();
    Ok(findings.filter(|finding| !of_platform(finding)).collect())
}

/// An image that has all that is rehearsed and a config on OEM, with the one that is always merged.
fn configured(disk: &Disk) -> Result<Option<(Image, Option<Config>)>> {
    let parts = [Designator::Root, Designator::Usr, Designator::Oem];
    let has_all = parts
        .iter()
        .all(|part| disk.filesystem((*part).into()).is_ok());
    if !has_all {
        return Ok(None);
    }
    let image = Image::open(disk)?;
    let base = from_oem(&*image.oem, BASE)?;
    let has_own = exists(&*image.oem, &FsPath::new(USER)?)?;
    Ok((base.is_some() || has_own).then_some((image, base)))
}

fn on_image(image: &Image, base: &[Config], options: &RunOptions) -> Result<Done> {
    rehearse(image, base, options, false)
}

fn rehearse(image: &Image, base: &[Config], options: &RunOptions, anew: bool) -> Result<Done> {
    let oem = Arc::clone(&image.oem);
    let user = match &options.config {
        Some(config) => Some(config.clone()),
        None => from_oem(&*oem, USER)?,
    };
    let has = |path: &str| on_oem(&*oem, path);
    let check = CheckOptions {
        name: "",
        release: image.major(),
        oem_has: Some(&has),
    };
    let mut sources = Sources::new(check, Some(Arc::clone(&oem)));
    let config = merged(&mut sources, base, user.as_ref());
    if user.is_none() {
        let platform = options.platform.as_deref().unwrap_or("the platform");
        let finding = Finding::new(code::IGNITION_NO_CONFIG).with("platform", platform);
        sources.findings.push(finding);
    }
    let is_root_new = wipes_root(&config, &mut sources);
    let tree = known(image.tree(is_root_new || anew))?;
    carry_out(tree, &config, sources, options)
}

/// The tree of a system after Ignition ran.
pub(in crate::flatcar) struct Booted {
    tree: Tree,
    /// Where OEM is mounted.
    pub oem: String,
    pub configs: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Booted {
    /// The text of a file, symlinks followed; `None` where there is none.
    pub fn text(&mut self, path: &str) -> Result<Option<String>> {
        self.inner(path)
            .and_then(|path| known(self.tree.read(&path)))
    }

    /// The bytes of a file; none where there is none, or where it is too large to be looked into.
    pub fn bytes(&mut self, path: &str) -> Result<Vec<u8>> {
        let path = self.inner(path)?;
        let Some(id) = known(self.tree.follow(&path))? else {
            return Ok(Vec::new());
        };
        let Part::File(content) = &self.tree.inode(id).part else {
            return Ok(Vec::new());
        };
        match self.tree.bytes(content) {
            Ok(bytes) => Ok(bytes.map_or_else(Vec::new, |bytes| bytes.to_vec())),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether a path leads to something.
    pub fn exists(&mut self, path: &str) -> Result<bool> {
        let path = self.inner(path)?;
        Ok(known(self.tree.follow(&path))?.is_some())
    }

    /// What a symlink leads to; `None` where there is none.
    pub fn target(&mut self, path: &str) -> Result<Option<String>> {
        let path = self.inner(path)?;
        let found = known(self.tree.lookup(&path))?;
        Ok(found.and_then(|id| match &self.tree.inode(id).part {
            Part::Symlink(target) => Some(String::from_utf8_lossy(target).into_owned()),
            _ => None,
        }))
    }

    /// The names in a folder, in their order; none where there is no folder.
    pub fn names(&mut self, path: &str) -> Result<Vec<String>> {
        let path = self.inner(path)?;
        let Some(id) = known(self.tree.follow(&path))? else {
            return Ok(Vec::new());
        };
        if !matches!(self.tree.inode(id).part, Part::Directory(_)) {
            return Ok(Vec::new());
        }
        let entries = known(self.tree.entries(id))?;
        let names = entries.keys();
        Ok(names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }

    /// A path whose way has no symlinks to absolute targets any more.
    fn inner(&mut self, path: &str) -> Result<String> {
        known(self.tree.joined(path))
    }
}

/// Rehearses a config on any tree, with nothing of Flatcar's beneath or before it.
///
/// # Errors
/// The tree cannot be read.
pub fn run_on(
    root: Arc<dyn FileSystem>,
    base: &[Config],
    oem: Option<Arc<dyn FileSystem>>,
    options: &RunOptions,
) -> Result<Rehearsed> {
    let mut sources = Sources::new(CheckOptions::default(), oem);
    let config = merged(&mut sources, base, options.config.as_ref());
    let tree = Tree::new(root)?;
    carry_out(tree, &config, sources, options)?.rehearsed(options)
}

/// Base and user config in one, as Ignition carries it out.
fn merged(sources: &mut Sources<'_>, base: &[Config], user: Option<&Config>) -> Node {
    let base = sources.base(base);
    let user = match user {
        Some(config) => {
            let config = sources.user(config);
            sources.check_merged(&config);
            config
        }
        None => merge::nothing(),
    };
    merge(&base, &user)
}

/// The paths of the files and links of a config.
fn named(config: &Node) -> BTreeSet<String> {
    let root = At::root(config, false);
    let lists = ["files", "links"].map(|list| root.items_below("storage", list));
    let paths = lists.iter().flatten().filter_map(|at| at.text("path"));
    paths.map(tree::clean).collect()
}

/// What came of a config on a tree.
struct Done {
    /// The paths of its files and links.
    named: BTreeSet<String>,
    tree: Tree,
    configs: Vec<String>,
    planned: Vec<Planned>,
    findings: Vec<Finding>,
}

impl Done {
    fn rehearsed(mut self, options: &RunOptions) -> Result<Rehearsed> {
        let changes = known(Collector::new(&mut self.tree, options.has_diffs).collect())?;
        Ok(Rehearsed {
            configs: self.configs,
            planned: self.planned,
            changes,
            findings: self.findings,
        })
    }
}

fn carry_out(
    tree: Tree,
    config: &Node,
    mut sources: Sources<'_>,
    options: &RunOptions,
) -> Result<Done> {
    let planned = plan::planned(config, &sources);
    sources.note_remote(config);
    let today = match options.day {
        0 => String::new(),
        day => day.to_string(),
    };
    let is_sound = !sources.has_stopped();
    let mut stage = Stage {
        tree,
        sources: &mut sources,
        today,
        backups: Backups::new(),
    };
    let ended = match is_sound {
        true => stage.mounts(config).and_then(|()| stage.run(config)),
        false => Ok(()),
    };
    let tree = stage.tree;
    if let Err((halt, position)) = ended {
        stopped(&mut sources, halt, position)?;
    }
    Ok(Done {
        named: named(config),
        tree,
        configs: sources.taken(),
        planned,
        findings: sources.findings,
    })
}

fn stopped(sources: &mut Sources<'_>, halt: Halt, position: Position) -> Result<()> {
    let why = match halt {
        Halt::Stop(why) => why,
        Halt::Missing(path) => format!("{path}: no such file or directory"),
        Halt::Fault(error) => return Err(error),
    };
    sources.stops(why, position);
    Ok(())
}

/// The result of a step that nothing can stop.
fn known<T>(outcome: Outcome<T>) -> Result<T> {
    outcome.map_err(|halt| match halt {
        Halt::Stop(why) => Error::corrupt(why),
        Halt::Missing(path) => Error::corrupt(format!("{path}: no such file or directory")),
        Halt::Fault(error) => error,
    })
}

fn from_oem(oem: &dyn FileSystem, path: &str) -> Result<Option<Config>> {
    let at = FsPath::new(path)?;
    if !exists(oem, &at)? {
        return Ok(None);
    }
    Ok(Some(Config {
        name: format!("oem:{path}"),
        content: read_file(oem, &at, CONFIG_MAX)?,
        folder: None,
    }))
}

fn on_oem(oem: &dyn FileSystem, path: &str) -> bool {
    let found = FsPath::new(path).and_then(|path| crate::fs::resolve(oem, &path));
    found.and_then(|path| exists(oem, &path)).unwrap_or(false)
}

/// Whether the config makes ROOT anew, which is told: what is baked into it is gone then.
fn wipes_root(config: &Node, sources: &mut Sources<'_>) -> bool {
    let root = At::root(config, false);
    let filesystems = root.items_below("storage", "filesystems");
    let wiping = filesystems.iter().find(|at| {
        is_partition(at.text("device").unwrap_or_default(), "ROOT") && at.is_true("wipeFilesystem")
    });
    if let Some(at) = wiping {
        let place = sources.place(at.position());
        sources
            .findings
            .push(Finding::new(code::IGNITION_ROOT_NEW).at(place));
    }
    wiping.is_some()
}
