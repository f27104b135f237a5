//! What an image shows of a machine that it ran on, and what in it does not fit together.
//!
//! ```text
//!   rows.rs      what an image that was never booted does not have, as data
//!   traces.rs    carries the rows out; the partition table, the flag of the first boot, kernel arguments
//!   accounts.rs  passwords and keys
//!   configs.rs   what Ignition wrote by the configs on OEM, and whether it would stop
//!   fitting.rs   OEM, links, sysexts, units, what flatcar-reset deletes
//!        └──▶ Diagnosis: symptoms, each a finding, what it shows, and what takes it away
//! ```
//!
//! A trace is told from baked content by what it is and not by its place alone: a link that the initrd makes leads to where
//! the initrd keeps its files, and a machine ID that stands for none is none. Where both could have made the same thing,
//! as with files of accounts and keys, nothing is taken away unless that is asked for.

mod accounts;
mod configs;
mod fitting;
mod rows;
mod traces;

use serde::Serialize;

use super::{Designator, Disk};
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::fs::FsPath;
use crate::progress::Cancel;

pub use fitting::after_update;
pub use rows::FIRST_BOOT;

/// What a symptom shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Sign {
    /// A machine ran from this disk.
    Booted,
    /// Something that every machine has for itself, and all machines of this image would share.
    Identity,
    /// Something that whoever has the image can read.
    Secret,
    /// An account, or a key that opens one: baked, or left by a machine.
    Account,
    /// Parts of the image do not fit together.
    Unfit,
    /// Something that is good to know.
    Note,
}

/// What takes a symptom away.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing that can be done to this image, or only a person can tell.
    None,
    /// The entry goes, a folder with all it holds.
    Remove(Designator, FsPath),
    /// The entry goes, where it is asked for that accounts go.
    RemoveAccount(Designator, FsPath),
    /// The flag by which Ignition runs at the next boot is written.
    WriteFirstBoot,
    /// A kernel argument goes from the OEM partition's `grub.cfg`.
    RemoveKernelArg(String),
    /// The disk gets the GUID, and USR the attributes, of an image that was never booted.
    ResetTable,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symptom {
    /// What it is, where, and why it matters.
    pub finding: Finding,
    /// What it shows.
    pub sign: Sign,
    /// Whether it alone proves that a machine ran from this disk.
    pub is_proof: bool,
    /// What takes it away.
    pub remedy: Remedy,
}

impl Symptom {
    fn new(sign: Sign, finding: Finding) -> Self {
        Self {
            finding,
            sign,
            is_proof: false,
            remedy: Remedy::None,
        }
    }

    fn with(self, remedy: Remedy) -> Self {
        Self { remedy, ..self }
    }

    fn proof(self) -> Self {
        Self {
            is_proof: true,
            ..self
        }
    }

    /// Whether it is worth more than a note.
    pub fn counts(&self) -> bool {
        self.finding.severity() > Severity::Note
    }

    /// What taking it away does, in words; none where nothing can be done.
    pub fn what_fixing_does(&self) -> Option<String> {
        match &self.remedy {
            Remedy::None => None,
            Remedy::Remove(partition, path) => Some(format!("removes {partition}:{path}")),
            Remedy::RemoveAccount(partition, path) => Some(format!(
                "removes {partition}:{path}, where that is asked for"
            )),
            Remedy::WriteFirstBoot => Some(format!("writes {}:{FIRST_BOOT}", Designator::Boot)),
            Remedy::RemoveKernelArg(argument) => {
                Some(format!("removes {argument} from grub.cfg on OEM"))
            }
            Remedy::ResetTable => Some("resets the disk GUID and the attributes of USR".to_owned()),
        }
    }
}

/// All that was found, partitions in the order of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was found.
    pub symptoms: Vec<Symptom>,
}

impl Diagnosis {
    /// Whether a machine ran from this disk.
    pub fn is_booted(&self) -> bool {
        self.symptoms.iter().any(|symptom| symptom.is_proof)
    }

    /// Whether nothing was found that is worth more than a note.
    pub fn is_clean(&self) -> bool {
        !self.symptoms.iter().any(Symptom::counts)
    }
}

/// Looks for what a machine left on the disk. Partitions that cannot be read have nothing.
///
/// # Errors
/// Those of reading partitions that can be opened.
pub fn traces(disk: &Disk) -> Result<Diagnosis> {
    let mut symptoms = traces::of_table(disk)?;
    symptoms.extend(traces::of_partitions(disk)?);
    symptoms.extend(accounts::look(disk)?);
    let written = configs::written(disk, &symptoms)?;
    symptoms.extend(written);
    Ok(Diagnosis { symptoms })
}

/// Looks for traces, for what does not fit together, and for what the configs on OEM come to.
///
/// # Errors
/// Those of reading partitions that can be opened, and that it was cancelled.
pub fn examine(disk: &Disk, cancel: &Cancel) -> Result<Diagnosis> {
    let mut diagnosis = traces(disk)?;
    diagnosis.symptoms.extend(fitting::look(disk, cancel)?);
    diagnosis.symptoms.extend(configs::rehearsed(disk)?);
    Ok(diagnosis)
}
