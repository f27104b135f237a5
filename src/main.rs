//! The command line of flatbake: parse, run, print what went wrong with a hint, exit with its code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
