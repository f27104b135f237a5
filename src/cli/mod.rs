//! The command line: one file per command. Only this layer prints, reads the environment and exits.

mod bake;
mod cat;
mod convert;
mod get;
mod image;
mod info;
mod inspect;
mod ls;
mod manifest;
mod map;
mod meta;
mod output;
mod paths;
mod plan;
mod progress;
mod results;
mod show;
mod table;
mod vendors;

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use flatbake::{Error, ErrorKind, Result};

use progress::Reporter;

/// Bakes Flatcar Container Linux disk images offline: no root, no loop devices, no helper programs
#[derive(Debug, Parser)]
#[command(name = "flatbake", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    ui: Ui,
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 internal error, 2 usage or invalid input, 3 unsupported, \
4 no space or environment, 5 network, 6 I/O, 7 verification failed, 8 image damaged, 9 findings";

/// How flatbake speaks to its user.
#[derive(Debug, Args)]
struct Ui {
    /// How progress is shown: bars on a terminal and lines elsewhere (auto), lines (plain), or not at all
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "HOW")]
    progress: ProgressMode,
    /// Print errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Threads to work with [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProgressMode {
    Auto,
    Plain,
    None,
}

#[derive(Debug, Subcommand)]
enum Command {
    Bake(Box<bake::Bake>),
    Plan(plan::Plan),
    Convert(Box<convert::Convert>),
    Info(info::Info),
    Inspect(inspect::Inspect),
    Ls(ls::Ls),
    Cat(cat::Cat),
    Get(get::Get),
    Vendors(vendors::VendorsCommand),
    Schema(meta::Schema),
    Completions(meta::Completions),
    Man(meta::Man),
}

/// Parses the arguments, runs the command and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let reporter = Reporter::new(cli.ui.progress, cli.ui.quiet);
    match run(&cli, &reporter) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reporter.error(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn run(cli: &Cli, reporter: &Reporter) -> Result<()> {
    if let Some(threads) = cli.ui.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global();
        pool.map_err(|error| Error::new(ErrorKind::Environment, "starting the threads").with_source(error))?;
    }
    match &cli.command {
        Command::Bake(command) => command.run(reporter),
        Command::Plan(command) => command.run(reporter),
        Command::Convert(command) => command.run(reporter),
        Command::Info(command) => command.run(reporter),
        Command::Inspect(command) => command.run(reporter),
        Command::Ls(command) => command.run(reporter),
        Command::Cat(command) => command.run(reporter),
        Command::Get(command) => command.run(reporter),
        Command::Vendors(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    }
}

/// Reads an argument; the hint of an error goes into clap's message, which has no place of its own for it.
fn argument<T: FromStr<Err = Error>>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|error: Error| match error.hint() {
        Some(hint) => format!("{error}\n  hint: {hint}"),
        None => error.to_string(),
    })
}

/// Writes to standard output. A reader that went away (`flatbake ls … | head`) ends the program quietly.
fn print(bytes: impl AsRef<[u8]>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.map_err(|error| Error::io("writing to standard output", error)),
    }
}

/// Prints `value` as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Error::internal("making JSON").with_source(error))?;
    print(text + "\n")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
