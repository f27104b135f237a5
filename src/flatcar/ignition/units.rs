//! Units and their drop-ins; users and groups.

use crate::finding::{Finding, code};
use crate::flatcar::unit::TYPES;
use crate::flatcar::unit_file;

use super::at::At;
use super::check::Checker;
use super::findings::because;

/// A type that Ignition takes, and systemd no longer has.
const FORMER_TYPE: &str = "snapshot";
/// What makes a unit start when it is enabled.
const INSTALL: [&str; 5] = ["WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"];

impl Checker<'_, '_> {
    /// Checks units and their drop-ins.
    pub(super) fn units(&mut self, root: &At<'_>) {
        let units = root.items_below("systemd", "units");
        self.unique_by(&units, "name");
        for at in &units {
            self.unit(at);
            let dropins = at.items("dropins");
            self.unique_by(&dropins, "name");
            for dropin in &dropins {
                let name = dropin.text("name").unwrap_or_default();
                if name.rsplit_once('.').is_none_or(|(_, end)| end != "conf") {
                    self.unit_name(name, "is no drop-in, whose name ends in .conf", dropin);
                } else if name.contains('/') {
                    self.unit_name(name, "has a slash", dropin);
                }
                self.unit_content(dropin);
            }
        }
    }

    fn unit_name(&mut self, name: &str, why: &str, at: &At<'_>) {
        let finding = because(code::IGNITION_UNIT_NAME, why).with("name", name.escape_debug());
        self.add(finding, &at.place_of("name"));
    }

    fn unit(&mut self, at: &At<'_>) {
        let name = at.text("name").unwrap_or_default();
        let kind = name.rsplit_once('.').map(|(_, kind)| kind);
        if !kind.is_some_and(|kind| TYPES.contains(&kind) || kind == FORMER_TYPE) {
            let why = format!("is no unit, whose name ends in .{}", TYPES.join(", ."));
            self.unit_name(name, &why, at);
        } else if name.contains('/') {
            self.unit_name(name, "has a slash", at);
        }
        let file = self.unit_content(at);
        let starts = file.is_none_or(|file| file.has("Install", &INSTALL));
        if at.is_true("enabled") && !starts && !at.is_true("mask") {
            let finding = Finding::new(code::IGNITION_UNIT_INSTALL);
            self.add(
                finding.with("unit", name.escape_debug()),
                &at.place_of("contents"),
            );
        }
    }

    fn unit_content(&mut self, at: &At<'_>) -> Option<unit_file::UnitFile> {
        let contents = at.filled("contents")?;
        let place = at.place_of("contents");
        let file = unit_file::parse(contents);
        for fault in &file.faults {
            let code = if fault.stops {
                code::IGNITION_UNIT_SYNTAX
            } else {
                code::IGNITION_UNIT_LINE
            };
            let finding = because(code, fault.why.as_str()).with("line", fault.line);
            self.add(finding, &place);
        }
        Some(file)
    }

    /// Checks users and groups.
    pub(super) fn passwd(&mut self, root: &At<'_>) {
        let users = root.items_below("passwd", "users");
        self.unique_by(&users, "name");
        for at in &users {
            self.unique_texts(&at.items("sshAuthorizedKeys"));
            self.unique_texts(&at.items("groups"));
            self.account(at);
        }
        let groups = root.items_below("passwd", "groups");
        self.unique_by(&groups, "name");
        for at in &groups {
            self.account(at);
        }
    }

    /// A user or group that has a name.
    fn account(&mut self, at: &At<'_>) {
        if at.filled("name").is_none() {
            let place = at.place_of("name");
            self.add(because(code::IGNITION_ACCOUNT, "name is missing"), &place);
        }
    }
}
