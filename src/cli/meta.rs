//! `flatbake schema`, `flatbake completions` and `flatbake man`

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use flatbake::{Error, Result};

/// Print the JSON schema of manifests, for editors
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake schema")]
pub struct Schema {}

impl Schema {
    pub fn run(&self) -> Result<()> {
        super::print_json(&flatbake::bake::manifest::schema())
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
        clap_complete::generate(self.shell, &mut super::Cli::command(), "flatbake", &mut script);
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
    dir: PathBuf,
}

impl Man {
    pub fn run(&self) -> Result<()> {
        let error = |error| Error::io(format!("writing man pages to {}", self.dir.display()), error);
        // What it would make of a missing folder is a folder of that name.
        if !self.dir.is_dir() {
            return Err(Error::not_found(format!("{} is not a folder", self.dir.display()))
                .with_hint("name an existing folder for the man pages"));
        }
        clap_mangen::generate_to(super::Cli::command(), &self.dir).map_err(error)
    }
}
