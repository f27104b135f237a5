//! Arguments whose usual values are known to the completions of shells.

use std::ffi::OsStr;
use std::str::FromStr;

use crate::Error;
use crate::bake::Place;
use crate::flatcar::Designator;
use crate::flatcar::vendor::Vendors;
use crate::image::{CompressOptions, Compression, OutputFormat};
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

/// Reads a `T`, and knows words that are usual for it. Others may be good, too.
#[derive(Clone)]
pub struct Words<T> {
    words: Vec<String>,
    read: fn(&str) -> Result<T, String>,
}

impl<T: FromStr<Err = Error>> Words<T> {
    fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self {
            words: words.into_iter().collect(),
            read: super::argument,
        }
    }
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Words<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        self.read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.words.iter().map(PossibleValue::new)))
    }
}

/// Formats of outputs.
pub fn formats() -> Words<OutputFormat> {
    Words::new(OutputFormat::all().map(|format| format.to_string()))
}

/// The help of an argument that takes one.
pub fn format_help() -> String {
    let words: Vec<_> = OutputFormat::all()
        .map(|format| format.to_string())
        .collect();
    format!(
        "Format of the output: {} [default: by the name's extension; raw for a pipe]",
        words.join(", ")
    )
}

/// Compressions of whole files, without levels.
pub fn compressions() -> Words<CompressOptions> {
    let all = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Xz,
        Compression::Zstd,
        Compression::Zip,
    ];
    Words::new(all.map(|compression| compression.extension().to_owned()))
}

/// Partitions of Flatcar by word and by label, then a filesystem without any, each with its colon.
pub fn partitions<T: FromStr<Err = Error>>() -> Words<T> {
    let names = Designator::ALL.into_iter().flat_map(names).chain(["whole"]);
    Words::new(names.map(|name| format!("{name}:")))
}

/// Partitions that can be edited, by word and by label, each with its colon.
pub fn editable<T: FromStr<Err = Error>>() -> Words<T> {
    let editable = Designator::ALL
        .into_iter()
        .filter(|designator| *designator != Designator::Usr);
    Words::new(editable.flat_map(names).map(|name| format!("{name}:")))
}

/// A folder of a partition that can be edited; the slash in front of it may be left out.
pub fn folder() -> Words<Place> {
    Words {
        read: |text| {
            let with_slash = match text.split_once(':') {
                Some((partition, path)) if !path.starts_with('/') => format!("{partition}:/{path}"),
                _ => text.to_owned(),
            };
            super::argument(&with_slash)
        },
        ..editable()
    }
}

/// The word of a partition and its labels.
fn names(designator: Designator) -> impl Iterator<Item = &'static str> {
    std::iter::once(designator.word()).chain(designator.labels())
}

/// Vendors that are built in, and `more` words.
pub fn vendors(more: &[&str]) -> Words<String> {
    let ids = Vendors::builtin()
        .iter()
        .map(|vendor| vendor.id.to_string());
    let words = ids.chain(more.iter().map(ToString::to_string)).collect();
    Words {
        words,
        read: |text| Ok(text.to_owned()),
    }
}
