//! Versions of the variant flatcar.

use crate::document::Node;
use crate::finding::{Finding, code};
use crate::flatcar::ignition::findings::Findings;

/// A version of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Its name.
    pub(super) version: &'static str,
    /// The minor version of Ignition's specification that it becomes.
    pub(super) spec: u8,
    /// The version as configs for Ignition name it.
    pub(super) ignition: &'static str,
    /// Whether volumes may be opened with Clevis.
    pub(super) clevis: bool,
}

const DIALECTS: [Dialect; 3] = [
    Dialect {
        version: "1.0.0",
        spec: 3,
        ignition: "3.3.0",
        clevis: false,
    },
    Dialect {
        version: "1.1.0",
        spec: 4,
        ignition: "3.4.0",
        clevis: false,
    },
    Dialect {
        version: "1.2.0-experimental",
        spec: 7,
        ignition: "3.7.0-experimental",
        clevis: true,
    },
];

impl Dialect {
    /// That of a config; without one, the findings say why.
    pub(super) fn of(root: &Node, findings: &mut Findings) -> Option<Self> {
        let text = |name: &str| root.get(name).and_then(Node::as_text).unwrap_or_default();
        let position = |name: &str| root.get(name).map_or(root.position, |node| node.position);
        let variant = text("variant");
        if variant != "flatcar" {
            let finding =
                Finding::new(code::BUTANE_VARIANT).with("variant", variant.escape_debug());
            findings.add(finding, "$.variant", position("variant"));
            return None;
        }
        let version = text("version");
        let dialect = DIALECTS.iter().find(|known| known.version == version);
        if dialect.is_none() {
            let known: Vec<&str> = DIALECTS.iter().map(|known| known.version).collect();
            let finding = Finding::new(code::BUTANE_VERSION)
                .with("version", version.escape_debug())
                .with("known", known.join(", "));
            findings.add(finding, "$.version", position("version"));
        }
        dialect.copied()
    }

    /// The version that first has what came with specification 3.`since`, for messages.
    pub(super) fn first_with(since: u8) -> Option<&'static str> {
        let mut dialects = DIALECTS.iter();
        let first = dialects.find(|dialect| dialect.spec >= since);
        first.map(|dialect| dialect.version)
    }
}
