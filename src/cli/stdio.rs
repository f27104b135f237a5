//! Standard input and standard output as places of images.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use crate::{Cancel, Error, Result, image};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::progress::Reporter;

/// The name of both on the command line.
pub const DASH: &str = "-";

/// What messages call standard input.
pub const INPUT: &str = "standard input";

/// Nanoseconds between two looks at whether the work is to end.
const PATIENCE: i64 = 100_000_000;

/// The image on standard input as a file that can be read at any place. What comes through a pipe is copied to an
/// unnamed one in `temp_dir`.
pub fn input(temp_dir: &Path, reporter: &Reporter) -> Result<File> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(Error::invalid("standard input is a terminal, not an image")
            .with_hint("pipe the image in, or name its file"));
    }
    let fails = |error| Error::io("looking at standard input", error);
    let file = File::from(stdin.as_fd().try_clone_to_owned().map_err(fails)?);
    if file.metadata().map_err(fails)?.is_file() {
        reporter
            .inputs()
            .register("base image", Path::new("/dev/stdin"), &file)?;
        if rustix::fs::tell(&file).is_ok_and(|position| position == 0) {
            return Ok(file);
        }
    }
    let mut pipe = Pipe {
        file,
        cancel: reporter.cancel().clone(),
    };
    image::spool(&mut pipe, INPUT, temp_dir, reporter.cancel(), reporter)
}

/// Reads from a pipe, and stops waiting for its writer once the work is to end.
struct Pipe {
    file: File,
    cancel: Cancel,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: PATIENCE,
        };
        loop {
            self.cancel.check()?;
            let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut waiting, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return self.file.read(buf),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// An error where standard output would show an image on a terminal.
pub fn refuse_terminal() -> Result<()> {
    if io::stdout().is_terminal() {
        return Err(Error::invalid(
            "standard output is a terminal: an image would be of no use there",
        )
        .with_hint(
            "pipe it into a program (| PROGRAM) or a file (> FILE), or give the output a name",
        ));
    }
    Ok(())
}
