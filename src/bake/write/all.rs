//! One output, or several at a time, as callers of the library write them.

use std::path::PathBuf;

use super::output::{Artifact, Output};
use super::schedule::{Job, Limits, Oversight, alone, run};
use super::write_output;
use crate::block::BlockDevice;
use crate::error::{Error, Result};
use crate::progress::{Cancel, Progress};

/// Writes `disk` to `output`. On failure nothing is left under its name but what was there before.
///
/// # Errors
///
/// The disk's read errors, those of the host's filesystem, and [`crate::ErrorKind::InvalidInput`] for details that do
/// not go together, such as compressing a folder.
pub fn emit(disk: &dyn BlockDevice, output: &Output, progress: &dyn Progress) -> Result<Artifact> {
    let step = format!("writing {}", output.path.display());
    let cancel = Cancel::new();
    let oversight = Oversight::new(progress, &cancel);
    alone(&step, output.work(disk.size()), &oversight, |desk| {
        write_output(desk, &desk.read(disk), output, None)
    })
}

/// Writes several outputs, up to eight at a time, each of its disk: one that they share, forks of one, or others. Every
/// output has the bytes that [`emit`] gives it; what it gives comes in the order of `jobs`. A failure spoils no other
/// output.
///
/// All work is done on rayon's global pool. Where the calling thread belongs to a pool already, the outputs are written
/// one after the other on that one. On few cores memory stays below some 256 MiB whatever the number of outputs, except
/// for the highest levels of zstd.
///
/// # Errors
///
/// Those of [`emit`], for each output; [`crate::ErrorKind::InvalidInput`] for one that would replace another's file.
pub fn emit_all(
    outputs: &[(&dyn BlockDevice, Output)],
    oversight: &Oversight<'_>,
) -> Vec<Result<Artifact>> {
    let jobs = outputs.iter().enumerate().map(|(index, (disk, output))| {
        Job::new(output.work(disk.size()), output.memory(), move |desk| {
            refuse_twice(&outputs[..index], output)?;
            write_output(desk, &desk.read(*disk), output, None)
        })
    });
    run(
        &format!("writing {} outputs", outputs.len()),
        jobs.collect(),
        &Limits::default(),
        oversight,
    )
}

fn refuse_twice(before: &[(&dyn BlockDevice, Output)], output: &Output) -> Result<()> {
    let taken: Vec<PathBuf> = before
        .iter()
        .flat_map(|(_, output)| output.files())
        .collect();
    match output.files().into_iter().find(|file| taken.contains(file)) {
        None => Ok(()),
        Some(file) => Err(
            Error::invalid(format!("{} is the name of two outputs", file.display()))
                .with_hint("give every output a name of its own"),
        ),
    }
}
