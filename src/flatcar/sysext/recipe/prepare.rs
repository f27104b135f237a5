//! A recipe is built.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::choose::Chosen;
use super::stage::stage;
use crate::error::{Error, Result};
use crate::flatcar::sysext::build::{Build, Means, Prepared};
use crate::flatcar::sysext::{Class, Host};
use crate::fs::Timestamp;

impl Chosen {
    /// Puts the extension together and checks it, as [`Build::prepare`] does. `files` are by the names of the downloads;
    /// `build` says how it is built, and its source is passed over.
    ///
    /// # Errors
    /// A file is missing, or is not the archive that the recipe knows; those of [`Build::prepare`].
    pub fn prepare(
        &self,
        files: &BTreeMap<String, PathBuf>,
        mut build: Build,
        host: Option<&Host>,
        means: &Means<'_>,
    ) -> Result<Prepared> {
        if build.class != Class::Sysext {
            return Err(Error::invalid("recipes make sysexts, and no confexts"));
        }
        build.check()?;
        let time = Timestamp {
            secs: build.time,
            nanos: 0,
        };
        let enabled = self.recipe.document.enable.iter();
        let enabled = enabled.filter(|unit| self.has(unit.value.part.as_ref()));
        let mut units: Vec<String> = enabled.map(|unit| unit.value.name.clone()).collect();
        let more = build.enable.iter().filter(|unit| !units.contains(unit));
        let more: Vec<String> = more.cloned().collect();
        units.extend(more);
        build.enable = units;
        build
            .architecture
            .get_or_insert_with(|| self.architecture.clone());
        let staged = stage(self, files, &build.name, time, means)?;
        build.prepare_tree(staged, host, means)
    }
}
