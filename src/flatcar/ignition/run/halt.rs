//! Why a rehearsal does not go on.

use crate::error::Error;

/// What ends a step.
#[derive(Debug)]
pub(super) enum Halt {
    /// Ignition would stop here; why.
    Stop(String),
    /// A path leads nowhere, which some steps take well.
    Missing(String),
    /// The image cannot be read.
    Fault(Error),
}

pub(super) type Outcome<T> = std::result::Result<T, Halt>;

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

impl Halt {
    /// The same with a path in front.
    pub fn at(self, path: &str) -> Self {
        match self {
            Self::Stop(why) if !why.starts_with('/') => Self::Stop(format!("{path}: {why}")),
            other => other,
        }
    }
}

/// Ignition would stop because of `why`.
pub(super) fn stop<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Halt::Stop(why.into()))
}
