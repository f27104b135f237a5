//! What a try failed of, and whether another may help.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Why one try failed. It travels through `std::io` and ureq.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    /// Whether the same may work in a moment.
    pub again: bool,
    /// How long the server wants to be left alone.
    pub wait: Option<Duration>,
}

impl Failure {
    /// Something that will be no better in a moment.
    pub fn last(error: Error) -> Self {
        Self {
            error,
            again: false,
            wait: None,
        }
    }

    /// Something that may be better in a moment.
    pub fn passing(error: Error) -> Self {
        Self {
            error,
            again: true,
            wait: None,
        }
    }

    /// Adds where it happened.
    pub fn at(mut self, place: String) -> Self {
        self.error = self.error.at(place);
        self
    }

    /// What reading from a connection failed of.
    pub fn of_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::of_connection(error),
        }
    }

    fn of_connection(error: io::Error) -> Self {
        let what = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the server ended the connection too early",
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                "the connection was cut"
            }
            _ => "the connection failed",
        };
        Self::passing(network(what).with_source(error))
    }

    /// What asking failed of.
    pub fn of_ureq(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Io(error) => Self::of_io(error),
            ureq::Error::LargeResponseHeader(_, most) => Self::last(network(format!(
                "the head of the answer is longer than {most} bytes"
            ))),
            other => Self::last(network("this is no answer of an HTTP server").with_source(other)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::last(error)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        io::Error::other(failure)
    }
}

impl From<Failure> for ureq::Error {
    fn from(failure: Failure) -> Self {
        ureq::Error::Io(failure.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// The network failed.
pub(super) fn network(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Network, message)
}
