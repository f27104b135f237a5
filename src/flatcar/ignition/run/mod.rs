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
mod text_diff;
mod tree;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::document::{Node, Position};
use crate::error::{Error, Result};
use crate::finding::{Finding, code};
use crate::flatcar::Disk;
use crate::fs::{FileSystem, FsPath, exists, read_file};

use super::at::At;
use super::{CONFIG_MAX, CheckOptions};
use changes::Collector;
pub use changes::{Change, What};
use halt::{Halt, Outcome};
use image::Image;
use merge::merge;
pub use plan::Planned;
use sources::Sources;
use stage::{Stage, is_partition};
use tree::Tree;

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
    let oem = Arc::clone(&image.oem);
    let base = from_oem(&*oem, BASE)?;
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
    let is_given = user.is_some();
    let config = merged(&mut sources, base.as_slice(), user.as_ref());
    if !is_given {
        let platform = options.platform.as_deref().unwrap_or("the platform");
        let finding = Finding::new(code::IGNITION_NO_CONFIG).with("platform", platform);
        sources.findings.push(finding);
    }
    let is_root_new = wipes_root(&config, &mut sources);
    let tree = known(image.tree(is_root_new))?;
    finish(tree, config, sources, options)
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
    finish(tree, config, sources, options)
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

fn finish(
    tree: Tree,
    config: Node,
    mut sources: Sources<'_>,
    options: &RunOptions,
) -> Result<Rehearsed> {
    let planned = plan::planned(&config, &sources);
    let mut changes = Vec::new();
    if !sources.has_stopped() {
        let today = match options.day {
            0 => String::new(),
            day => day.to_string(),
        };
        let mut stage = Stage {
            tree,
            sources: &mut sources,
            today,
            backups: Default::default(),
        };
        let ended = stage.mounts(&config).and_then(|()| stage.run(&config));
        let mut tree = stage.tree;
        if let Err((halt, position)) = ended {
            stopped(&mut sources, halt, position)?;
        }
        changes = known(Collector::new(&mut tree, options.has_diffs).collect())?;
    }
    Ok(Rehearsed {
        configs: sources.taken(),
        planned,
        changes,
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
