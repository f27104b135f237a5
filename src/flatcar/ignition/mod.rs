//! Ignition configs: what a machine would do with one, known before it boots (fact book, section C).
//!
//! ```text
//!  bytes ─▶ what is it? ─┬─▶ cloud-config, script, Butane, 1 or 2.x: told
//!                        └─▶ JSON ─▶ known keys? types? ─▶ Ignition's own rules ─▶ Flatcar's ─▶ findings
//! ```
//!
//! The rules are those of specifications 3.0 to 3.6. What the release's Ignition does not read is an error, as Ignition would
//! refuse it; so is what would stop Ignition later, such as a file on `/usr`.

mod at;
mod check;
pub(super) mod data_url;
mod disks;
pub(super) mod findings;
mod kind;
pub(super) mod mode;
mod nodes;
mod release;
mod resource;
pub mod run;
pub(super) mod schema;
pub(super) mod shape;
mod units;
mod url;

use std::fmt;

use serde::Serialize;

use crate::document::parse_json;
use crate::finding::{Finding, code};

pub(super) use check::check_tree;
pub use kind::{ConfigKind, is_butane_text};
pub use release::Reads;

use findings::{Findings, because};

/// Largest config in bytes that is looked into; Ignition itself reads it into memory at boot.
pub const CONFIG_MAX: u64 = 16 << 20;

/// Against what a config is checked.
#[derive(Clone, Copy, Default)]
pub struct CheckOptions<'a> {
    /// What messages call the config, such as its path.
    pub name: &'a str,
    /// The major version of the release that is to read it: 4757. `None` checks against all that is known.
    pub release: Option<u64>,
    /// Tells whether the OEM partition has a file of this path; `None` leaves `oem:///` sources alone.
    pub oem_has: Option<&'a dyn Fn(&str) -> bool>,
}

impl fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions")
            .field("name", &self.name)
            .field("release", &self.release)
            .field("oem_has", &self.oem_has.is_some())
            .finish()
    }
}

/// What a config is, and what is wrong with it.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// What it is.
    pub kind: ConfigKind,
    /// The version of its specification, where it is one of 3.
    pub version: Option<String>,
    /// What was found: an error is what a machine would not come up with. A bounded number.
    pub findings: Vec<Finding>,
}

/// Checks the config `source`.
pub fn check(source: &[u8], options: &CheckOptions<'_>) -> Checked {
    let mut findings = Findings::new(options.name);
    let (kind, version) = check_content(source, options, 0, &mut findings);
    Checked {
        kind,
        version,
        findings: findings.finish(),
    }
}

/// Checks a config that lies `nested` deep in others.
fn check_content(
    source: &[u8],
    options: &CheckOptions<'_>,
    nested: usize,
    findings: &mut Findings,
) -> (ConfigKind, Option<String>) {
    let kind = ConfigKind::of(source);
    if let Some(what) = kind.ignored() {
        let finding = Finding::new(code::IGNITION_IGNORED);
        findings.add_whole(finding.with("what", what));
        return (kind, None);
    }
    if kind == ConfigKind::Butane {
        findings.add_whole(Finding::new(code::IGNITION_IS_BUTANE));
        return (kind, None);
    }
    let Ok(text) = std::str::from_utf8(source) else {
        let why = "is not JSON: it is not UTF-8 text";
        findings.add_whole(because(code::IGNITION_INVALID, why));
        return (ConfigKind::Unknown, None);
    };
    match parse_json(text) {
        Ok(node) => {
            let version = check_tree(&node, false, nested, options, findings);
            (kind, version)
        }
        Err(fault) => {
            let finding = because(code::IGNITION_INVALID, format!("is not JSON: {fault}"));
            match fault.position {
                Some(position) => findings.add(finding, "", position),
                None => findings.add_whole(finding),
            }
            (ConfigKind::Unknown, None)
        }
    }
}
