//! The one error type of the library: what went wrong, where, and what a person can do about it.

use std::fmt;

use crate::finding::Finding;

/// The result of every fallible operation in flatbake.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// What sort of failure it is; decides the exit code of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A defect in flatbake itself.
    Internal,
    /// The caller asked for something that makes no sense, or gave an unusable input file.
    InvalidInput,
    /// A named thing (file, partition, path in an image) does not exist.
    NotFound,
    /// A valid input that flatbake cannot handle.
    Unsupported,
    /// A filesystem or disk has too few bytes or inodes.
    NoSpace,
    /// The machine refuses: no permission, read-only folder, too few resources.
    Environment,
    /// The network failed.
    Network,
    /// Reading or writing a file of the host failed.
    Io,
    /// A digest or signature does not match.
    Untrusted,
    /// An image, archive or compressed file is damaged.
    Corrupt,
    /// A check or a comparison ran to its end and found something.
    Findings,
    /// Whoever asked for the work wants it no more.
    Cancelled,
}

impl ErrorKind {
    /// The kind's word, for programs: `no-space`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::InvalidInput => "invalid-input",
            Self::NotFound => "not-found",
            Self::Unsupported => "unsupported",
            Self::NoSpace => "no-space",
            Self::Environment => "environment",
            Self::Network => "network",
            Self::Io => "io",
            Self::Untrusted => "untrusted",
            Self::Corrupt => "corrupt",
            Self::Findings => "findings",
            Self::Cancelled => "cancelled",
        }
    }

    /// The process exit code for this kind (see docs/codes.md).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::InvalidInput | Self::NotFound => 2,
            Self::Unsupported => 3,
            Self::NoSpace | Self::Environment => 4,
            Self::Network => 5,
            Self::Io => 6,
            Self::Untrusted => 7,
            Self::Corrupt => 8,
            Self::Findings => 9,
            // What shells say of a program that Ctrl-C ended: 128 and the number of SIGINT.
            Self::Cancelled => 130,
        }
    }
}

/// Why exactly, where a program may want to go on in another way; one kind has several of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Something of this name is there already.
    Exists,
    /// A part of a path, or the thing itself, is not a directory.
    NotADirectory,
    /// A directory, where something else is wanted.
    IsADirectory,
    /// A directory with entries cannot go.
    NotEmpty,
    /// A read or write beyond the end of a file or device.
    OutOfRange,
    /// The end is missing: what is there says that it is longer.
    CutShort,
    /// A checksum does not match what it stands for.
    Checksum,
    /// A version of a format that is not known.
    Version,
    /// A feature of a format that is not known, or not handled.
    Feature,
    /// Larger or more than is handled, so that memory and time stay bounded.
    Limit,
    /// No filesystem that is known begins there.
    Unformatted,
    /// There is no signature.
    NoSignature,
    /// A signature is damaged, or is not over what it should be over.
    BadSignature,
    /// A signature by a key that is not known, or not trusted.
    UnknownKey,
    /// A signature by a key that was revoked, or not valid when it was made; or a signature outside of its own life.
    KeyNotValid,
    /// A signature by methods that can be forged.
    WeakAlgorithm,
    /// It was not fetched before, and may not be fetched now.
    NotFetched,
}

impl Reason {
    /// The reason's word, for programs: `not-a-directory`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NotADirectory => "not-a-directory",
            Self::IsADirectory => "is-a-directory",
            Self::NotEmpty => "not-empty",
            Self::OutOfRange => "out-of-range",
            Self::CutShort => "cut-short",
            Self::Checksum => "checksum",
            Self::Version => "version",
            Self::Feature => "feature",
            Self::Limit => "limit",
            Self::Unformatted => "unformatted",
            Self::NoSignature => "no-signature",
            Self::BadSignature => "bad-signature",
            Self::UnknownKey => "unknown-key",
            Self::KeyNotValid => "key-not-valid",
            Self::WeakAlgorithm => "weak-algorithm",
            Self::NotFetched => "not-fetched",
        }
    }
}

/// An error with its kind, the places it passed through, a message, a hint and a cause.
///
/// `Display` prints the location from the outside in, then the message:
/// `disk.img: OEM partition (6): /grub.cfg: checksum mismatch in block 4096`.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    reason: Option<Reason>,
    /// Innermost first; printed in reverse.
    location: Vec<String>,
    message: String,
    hint: Option<String>,
    setting: Option<&'static str>,
    /// What stopped the work, where it was findings.
    findings: Vec<Finding>,
    source: Option<Source>,
}

impl Error {
    /// Creates an error of `kind` with a message that names the thing, the value and the allowed range.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            reason: None,
            location: Vec::new(),
            message: message.into(),
            hint: None,
            setting: None,
            findings: Vec::new(),
            source: None,
        }))
    }

    /// A defect in flatbake itself.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Unusable input or a request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Something named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Valid, but beyond what flatbake handles.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Too few bytes or inodes.
    pub fn no_space(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoSpace, message)
    }

    /// A damaged image, archive or compressed file.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An error of the host's operating system while doing `what` ("opening /a/b.img").
    ///
    /// A missing file is [`ErrorKind::NotFound`]; a refused or read-only path, a full disk and exhausted
    /// limits are [`ErrorKind::Environment`]; all else is [`ErrorKind::Io`].
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let kind = match source.kind() {
            K::NotFound | K::IsADirectory | K::NotADirectory => ErrorKind::NotFound,
            K::PermissionDenied
            | K::ReadOnlyFilesystem
            | K::StorageFull
            | K::QuotaExceeded
            | K::FileTooLarge
            | K::OutOfMemory => ErrorKind::Environment,
            _ => ErrorKind::Io,
        };
        Self::new(kind, what).with_source(source)
    }

    /// What was begun is given up, as it was asked for.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Adds the findings that stopped the work.
    #[must_use]
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        self.0.findings = findings;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Adds one hint that can be acted on. An inner hint wins over one added later.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Names the setting of a request that the hint is about, by its key in manifests (`tarballs[].exclude`) or, for what
    /// concerns only how a run is done, by the name of the command line's option.
    #[must_use]
    pub fn with_setting(mut self, setting: &'static str) -> Self {
        self.0.setting.get_or_insert(setting);
        self
    }

    /// Adds where it happened, from the inside out: a path, a partition, an image. A place that is named already is
    /// not named again.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        let place = place.into();
        if !self.0.location.contains(&place) {
            self.0.location.push(place);
        }
        self
    }

    /// Says why exactly.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.0.reason = Some(reason);
        self
    }

    /// Changes the kind, where a caller knows better what a failure means.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The kind to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Why exactly, where that is more than the kind says.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// The places it passed through, outermost first.
    pub fn location(&self) -> impl Iterator<Item = &str> {
        self.0.location.iter().rev().map(String::as_str)
    }

    /// The message without location and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The findings that stopped the work, where it was them.
    pub fn findings(&self) -> &[Finding] {
        &self.0.findings
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The setting that the hint is about, see [`with_setting`](Self::with_setting).
    pub fn setting(&self) -> Option<&'static str> {
        self.0.setting
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.location() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// Lets an [`Error`] travel through `std::io` interfaces; [`from_io`] takes it out again.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// Turns an I/O error back into the flatbake [`Error`] it carries, or wraps it as [`Error::io`] while doing `what`.
pub fn from_io(what: impl Into<String>, error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(inner) => inner,
        Err(error) => Error::io(what, error),
    }
}

/// An error with all of `findings` that stop the run, where there are some.
pub fn refuse_findings(findings: &[Finding]) -> Result<()> {
    let stops: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.stops())
        .cloned()
        .collect();
    let message = match stops.as_slice() {
        [] => return Ok(()),
        [finding] => finding.to_string(),
        findings => {
            let each = findings.iter().map(|finding| format!("\n  - {finding}"));
            format!("{} findings:{}", findings.len(), each.collect::<String>())
        }
    };
    Err(Error::invalid(message).with_findings(stops))
}

/// Adds a place to an error on its way out.
pub trait ResultExt<T> {
    /// Adds where it happened; the closure runs only on failure.
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T>;
}

impl<T> ResultExt<T> for Result<T> {
    fn at<S: Into<String>>(self, place: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.at(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_from_the_outside_in_and_keeps_the_inner_hint() {
        let error = Error::corrupt("checksum mismatch")
            .with_hint("inner")
            .at("/grub.cfg")
            .at("/grub.cfg")
            .at("OEM partition (6)")
            .with_hint("outer");
        assert_eq!(
            error.to_string(),
            "OEM partition (6): /grub.cfg: checksum mismatch"
        );
        assert_eq!(error.hint(), Some("inner"));
        assert_eq!(error.kind().exit_code(), 8);
    }

    #[test]
    fn survives_a_trip_through_std_io() {
        let io: std::io::Error = Error::no_space("full").into();
        assert_eq!(from_io("writing", io).kind(), ErrorKind::NoSpace);
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert_eq!(from_io("writing", io).kind(), ErrorKind::Environment);
    }
}
