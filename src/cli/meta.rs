//! `flatbake schema`, `flatbake completions` and `flatbake man`

use std::io::Write;
use std::path::PathBuf;

use crate::block::OutputFile;
use crate::flatcar::sysext::{publish, recipe};
use crate::flatcar::vendor;
use crate::{Error, Result, bake, manifest};
use clap::{Args, Command, CommandFactory, ValueEnum, ValueHint};

use super::output::refuse_existing;

/// The page of the manifest's keys.
const MANIFEST_PAGE: &str = "flatbake-manifest.5";

/// Print a JSON schema, for editors and programs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake schema
  flatbake schema report
  flatbake schema vendor
  flatbake schema recipe")]
pub struct Schema {
    /// Of what
    #[arg(value_enum, default_value = "manifest")]
    what: SchemaOf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaOf {
    /// Manifests (bake -f)
    Manifest,
    /// Reports (bake --json, flatbake-report.json)
    Report,
    /// Vendor files (--vendor-file)
    Vendor,
    /// Recipes of sysexts (sysext recipe)
    Recipe,
    /// Lists of extensions (sysext publish --list)
    Extensions,
}

impl Schema {
    pub fn run(&self) -> Result<()> {
        super::print_json(&match self.what {
            SchemaOf::Manifest => manifest::schema(),
            SchemaOf::Report => bake::schema(),
            SchemaOf::Vendor => vendor::schema(),
            SchemaOf::Recipe => recipe::schema(),
            SchemaOf::Extensions => publish::schema(),
        })
    }
}

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake completions bash")]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::Cli::command(),
            "flatbake",
            &mut script,
        );
        super::print(script)
    }
}

/// Write the man pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake man .")]
pub struct Man {
    /// An existing folder
    #[arg(value_hint = ValueHint::DirPath)]
    dir: PathBuf,
    /// Replace pages that exist already
    #[arg(long)]
    overwrite: bool,
}

impl Man {
    pub fn run(&self) -> Result<()> {
        if !self.dir.is_dir() {
            return Err(
                Error::not_found(format!("{} is not a folder", self.dir.display()))
                    .with_hint("name an existing folder for the man pages"),
            );
        }
        let mut command = super::Cli::command().disable_help_subcommand(true);
        command.build();
        let mut pages = Vec::new();
        add_pages(&command, &mut pages)?;
        pages.push((MANIFEST_PAGE.to_owned(), manifest::man_page().into_bytes()));
        for (name, _) in &pages {
            refuse_existing(&self.dir.join(name), self.overwrite)?;
        }
        let mut outputs = Vec::new();
        for (name, text) in pages {
            let output = OutputFile::create(&self.dir.join(&name))?;
            output
                .file()
                .write_all(&text)
                .map_err(|error| Error::io(format!("writing {name}"), error))?;
            outputs.push(output);
        }
        OutputFile::commit_all(outputs)
    }
}

/// The names and texts of the pages of a command and those below it.
fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        add_pages(below, pages)?;
    }
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)
        .map_err(|error| Error::internal("making a man page").with_source(error))?;
    pages.push((page.get_filename(), text));
    Ok(())
}
