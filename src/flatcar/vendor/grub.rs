//! The text of OEM's `grub.cfg`, from data.
//!
//! Assignments stand in the first column outside conditions, where Ignition's editor of kernel arguments understands
//! them; what depends on the machine follows under `if … fi`, so that it replaces what was set before.

use std::fmt::Write;

use super::file::{Grub, GrubWhen};
use super::words::{GrubValue, Id};

/// How files that are rendered here begin.
const HEADER: &str = "# Flatcar's GRUB settings for this platform\n\n";

impl Grub {
    /// The text of the OEM partition's `grub.cfg`.
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}set oem_id=\"{}\"\n", self.oem_id);
        assign(&mut text, "", "linux_append", self.linux_append.as_ref());
        assign(&mut text, "", "linux_console", self.linux_console.as_ref());
        add_lines(&mut text, "", &self.lines);
        for when in &self.when {
            when.render(&mut text);
        }
        text
    }
}

impl GrubWhen {
    /// Whether nothing limits it.
    pub(super) fn is_always(&self) -> bool {
        self.grub_platform.is_empty() && self.grub_cpu.is_empty()
    }

    fn render(&self, text: &mut String) {
        // GRUB has no parentheses in [ … ], so each variable gets a condition of its own.
        let variables = [
            ("grub_platform", &self.grub_platform),
            ("grub_cpu", &self.grub_cpu),
        ];
        let tests: Vec<String> = variables
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| test(name, values))
            .collect();
        text.push('\n');
        let mut indent = String::new();
        for test in &tests {
            add(text, &indent, &format!("if {test}; then"));
            indent.push_str("  ");
        }
        assign(text, &indent, "linux_console", self.linux_console.as_ref());
        add_lines(text, &indent, &self.lines);
        for _ in &tests {
            indent.truncate(indent.len().saturating_sub(2));
            add(text, &indent, "fi");
        }
    }
}

/// `[ "$grub_cpu" = i386 -o "$grub_cpu" = x86_64 ]`
fn test(variable: &str, values: &[Id]) -> String {
    let tests: Vec<String> = values
        .iter()
        .map(|value| format!("\"${variable}\" = {value}"))
        .collect();
    format!("[ {} ]", tests.join(" -o "))
}

fn assign(text: &mut String, indent: &str, variable: &str, value: Option<&GrubValue>) {
    if let Some(value) = value {
        add(text, indent, &format!("set {variable}=\"{value}\""));
    }
}

fn add_lines(text: &mut String, indent: &str, lines: &[GrubValue]) {
    for line in lines {
        add(text, indent, line.as_str());
    }
}

fn add(text: &mut String, indent: &str, line: &str) {
    // Writing to a String never fails.
    let _ = writeln!(text, "{indent}{line}");
}
