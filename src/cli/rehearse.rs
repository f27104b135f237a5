//! `flatbake ignition run`

use std::path::{Path, PathBuf};

use crate::flatcar::Disk;
use crate::flatcar::ignition::run::{self, Change, Config, Rehearsed, RunOptions, What};
use crate::{Error, Progress, Result};
use clap::{Args, ValueHint};
use serde::Serialize;

use super::butane::{name, read, refuse};
use super::image::ReadArgs;
use super::progress::Reporter;
use super::stdio;

/// Rehearse the first boot of an image: the files that Ignition would make, or where it would stop
///
/// Merges base.ign of OEM and the config as Ignition does, and carries them out on ROOT with the image's own /etc beneath, in
/// memory. What needs the machine, such as disks, is shown and not done. Ends with 9 where Ignition would stop.
#[derive(Debug, Args)]
pub struct Run {
    /// The image
    #[arg(long, value_name = "IMG", value_hint = ValueHint::FilePath)]
    image: PathBuf,
    /// The config, Ignition's or Butane's; - is standard input [default: config.ign of OEM]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// The platform, which gives user data where there is no config
    #[arg(long, value_name = "ID")]
    platform: Option<String>,
    /// Show how texts change
    #[arg(long)]
    diff: bool,
    #[command(flatten)]
    read: ReadArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    image: String,
    #[serde(flatten)]
    rehearsed: &'a Rehearsed,
}

impl Run {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let config = config_of(self.config.as_deref(), &self.image, reporter)?;
        let image = self.read.open(&self.image, reporter)?;
        let shown = self.image.display().to_string();
        let disk = Disk::open(shown.clone(), image.device)?;
        let options = RunOptions {
            config,
            platform: self.platform.clone(),
            has_diffs: self.diff,
            day: 0,
        };
        let rehearsed = run::run(&disk, &options)?;
        if self.json {
            super::print_json(&Document {
                image: shown,
                rehearsed: &rehearsed,
            })?;
        } else {
            for finding in &rehearsed.findings {
                reporter.found(finding);
            }
            super::print(text(&rehearsed))?;
        }
        let file = self.config.as_deref().unwrap_or(&self.image);
        refuse(&rehearsed.findings, false, true, file)
    }
}

/// The config in a file, beside which its local files are.
pub(super) fn config_of(
    path: Option<&Path>,
    image: &Path,
    reporter: &Reporter,
) -> Result<Option<Config>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let is_stdin = path == Path::new(stdio::DASH);
    if is_stdin && image == Path::new(stdio::DASH) {
        return Err(Error::invalid(
            "the config and the image cannot both be on standard input",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(Some(Config {
        name: name(path),
        content: read(path, reporter)?,
        folder: (!is_stdin).then_some(folder),
    }))
}

/// The parts of a rehearsal, each with its rows.
fn text(rehearsed: &Rehearsed) -> String {
    let mut text = String::new();
    for config in &rehearsed.configs {
        text.push_str(&format!("config   {}\n", visible(config)));
    }
    for planned in &rehearsed.planned {
        let what = visible(&planned.what);
        text.push_str(&format!("machine  {what} ({})\n", visible(&planned.place)));
    }
    for change in &rehearsed.changes {
        text.push_str(&row(change));
    }
    if rehearsed.changes.is_empty() {
        text.push_str("no file is made, changed or removed\n");
    }
    text
}

fn row(change: &Change) -> String {
    let word = match change.what {
        What::Added => "added",
        What::Changed => "changed",
        What::Removed => "removed",
    };
    let owner = format!("{}:{}", change.uid, change.gid);
    let size = match (change.kind, change.size) {
        ("file", Some(size)) => size.to_string(),
        ("file", None) if change.what != What::Removed => "?".to_owned(),
        _ => "-".to_owned(),
    };
    let mut row = format!(
        "{word:<8} {:<9} {:04o} {owner:<9} {size:>8}  {}",
        change.kind,
        change.mode,
        visible(&change.path)
    );
    if let Some(target) = &change.target {
        row.push_str(&format!(" -> {}", visible(target)));
    }
    if let Some(same) = &change.same_as {
        row.push_str(&format!(" = {}", visible(same)));
    }
    if let Some(unknown) = &change.unknown {
        row.push_str(&format!(" (only the machine knows: {})", visible(unknown)));
    }
    row.push('\n');
    for line in change.diff.iter().flat_map(|diff| diff.lines()) {
        row.push_str(&format!("    {}\n", visible(line)));
    }
    row
}

/// A text that a terminal can bear.
fn visible(text: &str) -> String {
    let mut visible = String::new();
    for c in text.chars() {
        match c.is_control() && c != '\t' {
            true => visible.extend(c.escape_default()),
            false => visible.push(c),
        }
    }
    visible
}
