//! Findings about a document: each with the path of the value, the file, line and column.

use crate::document::Position;
use crate::finding::{Code, Finding, Severity, code};

/// Most errors, and most other findings, that are told of one document.
const FINDINGS_MAX: usize = 100;
/// Most bytes that all compressed content of a document is decompressed to, to be looked into.
const DECOMPRESSED_MAX: u64 = 256 << 20;

/// The findings about one document, of which a bounded number is kept.
#[derive(Debug)]
pub(in crate::flatcar) struct Findings {
    /// What messages call the document.
    name: String,
    kept: Vec<Finding>,
    errors: usize,
    others: usize,
    left_out: usize,
    /// Bytes that may still be decompressed.
    pub(super) budget: u64,
}

impl Findings {
    pub(in crate::flatcar) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kept: Vec::new(),
            errors: 0,
            others: 0,
            left_out: 0,
            budget: DECOMPRESSED_MAX,
        }
    }

    /// Adds a finding about the value at `path`, which begins at `position`.
    pub(in crate::flatcar) fn add(&mut self, finding: Finding, path: &str, position: Position) {
        let finding = if path.is_empty() {
            finding
        } else {
            finding.at(path)
        };
        let place = format!("{}:{position}", self.name);
        self.keep(finding.at(place));
    }

    /// Adds a finding about the document.
    pub(in crate::flatcar) fn add_whole(&mut self, finding: Finding) {
        let name = self.name.clone();
        self.keep(finding.at(name));
    }

    fn keep(&mut self, finding: Finding) {
        let count = match finding.severity() {
            Severity::Error => &mut self.errors,
            _ => &mut self.others,
        };
        *count += 1;
        if *count > FINDINGS_MAX {
            self.left_out += 1;
        } else {
            self.kept.push(finding);
        }
    }

    /// Whether findings that are no errors are not kept any more.
    pub(in crate::flatcar) fn is_full(&self) -> bool {
        self.others >= FINDINGS_MAX
    }

    /// Whether there was a finding that stops a run.
    pub(in crate::flatcar) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Takes over what was found elsewhere.
    pub(in crate::flatcar) fn extend(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.keep(finding);
        }
    }

    /// All that is kept, and how many are not.
    pub(in crate::flatcar) fn finish(mut self) -> Vec<Finding> {
        if self.left_out > 0 {
            let finding = Finding::new(code::CONFIG_MORE).with("count", self.left_out);
            self.kept.push(finding.at(self.name));
        }
        self.kept
    }
}

/// A finding with the one value `why`.
pub(in crate::flatcar) fn because(code: &'static Code, why: impl Into<String>) -> Finding {
    Finding::new(code).with("why", why.into())
}
