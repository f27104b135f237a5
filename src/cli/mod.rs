//! The command line: one file per command. Only this layer prints, reads the environment and exits.

mod airgap;
mod bake;
mod butane;
#[cfg(feature = "fetch")]
mod cache;
mod cat;
mod check;
#[cfg(feature = "fetch")]
mod config;
mod convert;
mod diff;
mod du;
mod failure;
#[cfg(feature = "fetch")]
mod fetch;
#[cfg(feature = "fetch")]
mod fetch_args;
#[cfg(feature = "fetch")]
mod fetching;
mod get;
mod hints;
mod ignition;
mod image;
mod info;
mod inspect;
#[cfg(feature = "fetch")]
mod keys;
mod ls;
mod map;
mod meta;
#[cfg(feature = "fetch")]
mod mirror;
mod output;
mod paths;
mod progress;
mod rehearse;
#[cfg(feature = "fetch")]
mod releases;
mod report;
mod request;
mod settings;
mod show;
mod sides;
mod signals;
mod stdio;
mod sysext;
mod table;
mod vendors;
mod verified;
#[cfg(feature = "fetch")]
mod verify;
mod words;

use std::io::Write;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Cancel, Error, ErrorKind, Result};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

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
4 no space or environment, 5 network, 6 I/O, 7 verification failed, 8 image damaged, 9 findings, \
130 ended by Ctrl-C or SIGTERM";

/// How flatbake speaks to its user.
#[derive(Debug, Args)]
struct Ui {
    /// How progress is shown: bars on a terminal and lines elsewhere (auto), lines (plain), or not at all
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "HOW"
    )]
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
    Plan(Box<bake::Plan>),
    Convert(Box<convert::Convert>),
    Info(info::Info),
    Inspect(inspect::Inspect),
    Check(check::Check),
    Diff(diff::Diff),
    Ls(ls::Ls),
    Du(du::Du),
    Report(report::ReportCommand),
    Cat(cat::Cat),
    Get(get::Get),
    Butane(butane::Butane),
    Ignition(ignition::IgnitionCommand),
    Sysext(sysext::SysextCommand),
    Vendors(vendors::VendorsCommand),
    #[cfg(feature = "fetch")]
    Releases(releases::Releases),
    #[cfg(feature = "fetch")]
    Fetch(fetch::Fetch),
    #[cfg(feature = "fetch")]
    Mirror(mirror::Mirror),
    #[cfg(feature = "fetch")]
    Verify(verify::Verify),
    #[cfg(feature = "fetch")]
    Cache(cache::CacheCommand),
    Schema(meta::Schema),
    Completions(meta::Completions),
    Man(meta::Man),
}

/// Parses the arguments, runs the command and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    let (cli, json) = match parse() {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    let cancel = Cancel::new();
    let reporter = Reporter::new(cli.ui.progress, cli.ui.quiet, cancel.clone());
    match signals::watch(cancel.clone()).and_then(|()| run(&cli, &reporter)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whatever it was that failed when the work was ended: that it was ended is the reason.
            let error = if cancel.is_cancelled() {
                error.with_kind(ErrorKind::Cancelled)
            } else {
                error
            };
            reporter.error(&error);
            if json {
                print_failure(&error);
            }
            ExitCode::from(error.kind().exit_code())
        }
    }
}

/// The arguments, and whether JSON is asked for.
fn parse() -> std::result::Result<(Cli, bool), clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    let json = asks_for_json(&matches);
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((cli, json))
}

/// Whether the command, or one within it, is asked for JSON.
fn asks_for_json(matches: &clap::ArgMatches) -> bool {
    matches.subcommand().is_some_and(|(_, command)| {
        matches!(command.try_get_one("json"), Ok(Some(true))) || asks_for_json(command)
    })
}

/// Prints what is wrong with the arguments, or the help that they ask for.
fn refuse(error: &clap::Error) -> ExitCode {
    // As with all that goes to standard error: a closed one changes nothing.
    let _ = error.print();
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        print_failure(&failure::of_arguments(error));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn run(cli: &Cli, reporter: &Reporter) -> Result<()> {
    if let Some(threads) = cli.ui.threads {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global();
        pool.map_err(|error| {
            Error::new(ErrorKind::Environment, "starting the threads").with_source(error)
        })?;
    }
    match &cli.command {
        Command::Bake(command) => command.run(reporter),
        Command::Plan(command) => command.run(reporter),
        Command::Convert(command) => command.run(reporter),
        Command::Info(command) => command.run(reporter),
        Command::Inspect(command) => command.run(reporter),
        Command::Check(command) => command.run(reporter),
        Command::Diff(command) => command.run(reporter),
        Command::Ls(command) => command.run(reporter),
        Command::Du(command) => command.run(reporter),
        Command::Report(command) => command.run(reporter),
        Command::Cat(command) => command.run(reporter),
        Command::Get(command) => command.run(reporter),
        Command::Butane(command) => command.run(reporter),
        Command::Ignition(command) => command.run(reporter),
        Command::Sysext(command) => command.run(reporter),
        Command::Vendors(command) => command.run(),
        #[cfg(feature = "fetch")]
        Command::Releases(command) => command.run(reporter),
        #[cfg(feature = "fetch")]
        Command::Fetch(command) => command.run(reporter),
        #[cfg(feature = "fetch")]
        Command::Mirror(command) => command.run(reporter),
        #[cfg(feature = "fetch")]
        Command::Verify(command) => command.run(reporter),
        #[cfg(feature = "fetch")]
        Command::Cache(command) => command.run(reporter),
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

/// Whether standard output has its document already.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Prints `value` as JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| Error::internal("making JSON").with_source(error))?;
    TOLD.store(true, Ordering::Relaxed);
    print(text + "\n")
}

/// Prints a failure as JSON on standard output, unless a document that tells of it is there already.
fn print_failure(error: &Error) {
    if TOLD.load(Ordering::Relaxed) {
        return;
    }
    let text = serde_json::to_string_pretty(&failure::Document::from(error)).unwrap_or_default();
    // There is no other place to tell what went wrong; the exit code says that something did.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::manifest::FLAGS;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }

    /// The flags of a command, and its argument by the name of its value.
    fn flags(command: &str) -> BTreeSet<String> {
        let cli = super::Cli::command();
        let all = cli
            .find_subcommand(command)
            .unwrap()
            .get_arguments()
            .chain(cli.get_arguments());
        let name = |argument: &clap::Arg| match argument.get_long() {
            Some(long) => long.to_owned(),
            None => argument.get_value_names().unwrap()[0].to_string(),
        };
        all.filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
            .map(name)
            .collect()
    }

    #[test]
    fn every_flag_of_a_bake_has_a_key_or_a_reason() {
        let known: BTreeSet<String> = FLAGS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let bake = flags("bake");
        let plan = flags("plan");
        let both: BTreeSet<String> = bake.union(&plan).cloned().collect();
        assert_eq!(both, known);
        // plan takes what bake takes, but for what says which of the two it is.
        let differ: Vec<&String> = bake.symmetric_difference(&plan).collect();
        assert_eq!(differ, ["dry-run", "lock"]);
    }
}
