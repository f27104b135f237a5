//! `flatbake butane`

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::block::OutputFile;
use crate::flatcar::butane::{self, TranslateOptions, Translated};
use crate::flatcar::ignition::CONFIG_MAX;
use crate::{Error, ErrorKind, Finding, Progress, Result, Severity};
use clap::{Args, ValueHint};

use super::output::Destination;
use super::progress::Reporter;
use super::stdio;

/// Translate a Butane config, variant flatcar, to an Ignition config
///
/// Local files are only read below one folder. What Ignition would refuse is told with the line of the Butane config.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake butane node.bu
  flatbake butane node.bu --strict --pretty -o node.ign
  flatbake butane - -d . --check <node.bu")]
pub struct Butane {
    /// The Butane config; - is standard input
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Folder of the local files that the config names [default: that of FILE]
    #[arg(long, short = 'd', value_name = "DIR", value_hint = ValueHint::DirPath)]
    files_dir: Option<PathBuf>,
    /// Take warnings for errors
    #[arg(long, short)]
    strict: bool,
    /// Write JSON with indents
    #[arg(long, short)]
    pretty: bool,
    /// Write nothing, only tell what is wrong
    #[arg(long, short, conflicts_with_all = ["output", "pretty"])]
    check: bool,
    /// The Ignition config to write [default: standard output]
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<Destination>,
    /// Replace an existing file
    #[arg(long, requires = "output")]
    overwrite: bool,
}

impl Butane {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let translated = self.translate(reporter)?;
        for finding in &translated.findings {
            reporter.found(finding);
        }
        refuse(&translated.findings, self.strict, self.check, &self.file)?;
        if self.check {
            return Ok(());
        }
        let json = translated.json(self.pretty).map(|json| json + "\n");
        let json =
            json.ok_or_else(|| Error::internal("a translation without errors has no JSON"))?;
        match &self.output {
            None | Some(Destination::Stdout) => super::print(json),
            Some(Destination::Path(path)) => self.write(path, &json, reporter),
        }
    }

    fn translate(&self, reporter: &Reporter) -> Result<Translated> {
        let content = read(&self.file, reporter)?;
        let name = name(&self.file);
        let folder = match &self.files_dir {
            Some(folder) => Some(folder.as_path()),
            None if self.file == Path::new(stdio::DASH) => None,
            None => Some(self.file.parent().unwrap_or(Path::new(""))),
        };
        let mut options = TranslateOptions::new(&name).registering(reporter.inputs());
        options.folder = folder;
        Ok(butane::translate(&content, &options))
    }

    fn write(&self, path: &Path, json: &str, reporter: &Reporter) -> Result<()> {
        super::output::refuse_existing(path, self.overwrite)?;
        reporter.inputs().refuse(path)?;
        let output = OutputFile::create(path)?;
        let written = output.file().write_all(json.as_bytes());
        written.map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
        output.commit()
    }
}

/// What messages call a config.
pub(super) fn name(file: &Path) -> String {
    if file == Path::new(stdio::DASH) {
        stdio::INPUT.to_owned()
    } else {
        file.display().to_string()
    }
}

/// The content of a config, which may come from standard input.
pub(super) fn read(file: &Path, reporter: &Reporter) -> Result<Vec<u8>> {
    if file != Path::new(stdio::DASH) {
        return reporter.inputs().read("config", file, CONFIG_MAX);
    }
    let mut content = Vec::new();
    let mut input = std::io::stdin().lock().take(CONFIG_MAX + 1);
    input
        .read_to_end(&mut content)
        .map_err(|error| Error::io("reading standard input", error))?;
    if crate::bytes::to_u64(content.len()) > CONFIG_MAX {
        return Err(Error::invalid(format!(
            "standard input is longer than {CONFIG_MAX} bytes"
        )));
    }
    Ok(content)
}

/// An error where findings are errors, or warnings that count as such; that they were found is what a check is for.
pub(super) fn refuse(
    findings: &[Finding],
    is_strict: bool,
    is_check: bool,
    file: &Path,
) -> Result<()> {
    let least = if is_strict {
        Severity::Warning
    } else {
        Severity::Error
    };
    let stops = |finding: &&Finding| finding.severity() >= least;
    let count = findings.iter().filter(stops).count();
    if count == 0 {
        return Ok(());
    }
    let kind = if is_check {
        ErrorKind::Findings
    } else {
        ErrorKind::InvalidInput
    };
    let count = match count {
        1 => "one finding".to_owned(),
        count => format!("{count} findings"),
    };
    let verb = if is_check {
        "is not sound"
    } else {
        "is not translated"
    };
    // What was found is told already.
    let what = name(file);
    Err(Error::new(kind, format!("{what} {verb}: {count}")))
}
