//! The syntax of systemd's unit files (systemd.syntax(7)): sections, assignments, comments, lines that go on.

/// A line that goes nowhere: what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxFault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
    /// Whether the reader that Ignition has stops here; systemd itself passes over such a line.
    pub stops: bool,
}

/// An assignment in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The name of the section.
    pub section: String,
    /// The name in front of the equals sign.
    pub name: String,
    /// What is behind it; lines that go on are joined with a space.
    pub value: String,
    /// The line it begins in, counted from 1.
    pub line: usize,
}

/// What a unit file says.
#[derive(Debug, Default)]
pub struct UnitFile {
    /// All assignments, in their order.
    pub assignments: Vec<Assignment>,
    /// What is wrong with it; a bounded number.
    pub faults: Vec<SyntaxFault>,
}

/// Longest line that the reader of Ignition takes; systemd's takes 1 MiB.
const LINE_MAX: usize = 2048;
/// Most faults that are told of one file.
const FAULTS_MAX: usize = 8;

/// Reads a unit file.
pub fn parse(text: &str) -> UnitFile {
    let mut file = UnitFile::default();
    file.read_as_ignition(text);
    let mut section: Option<String> = None;
    for logical in logical_lines(text) {
        let line = logical.text.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            section = file.section(rest, logical.number).or(section);
            continue;
        }
        file.assignment(line, section.as_deref(), logical.number);
    }
    file
}

impl UnitFile {
    /// Whether it has an assignment in `section`, by that name where one is given.
    pub fn has(&self, section: &str, names: &[&str]) -> bool {
        let mut all = self.assignments.iter();
        all.any(|one| {
            one.section == section && !one.value.is_empty() && names.contains(&one.name.as_str())
        })
    }

    fn fault(&mut self, line: usize, stops: bool, why: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            let why = why.into();
            self.faults.push(SyntaxFault { line, why, stops });
        }
    }

    /// Finds what the reader that Ignition has stops at. Unlike systemd's, it takes a comment between the parts of a line for
    /// one of the parts.
    fn read_as_ignition(&mut self, text: &str) {
        let mut goes_on = false;
        let mut is_inside = false;
        for (number, line) in (1..).zip(text.lines()) {
            if line.len() > LINE_MAX {
                let why = format!("the line is longer than {LINE_MAX} bytes");
                self.fault(number, true, why);
            }
            let begun = line.trim();
            let is_other = begun.is_empty() || begun.starts_with(['#', ';', '[']);
            if !goes_on && begun.starts_with('[') {
                is_inside = true;
            }
            if !goes_on && is_inside && !is_other && !begun.contains('=') {
                self.fault(number, true, "the line has no '='");
            }
            goes_on = line.ends_with('\\') && (goes_on || !is_other);
        }
    }

    fn section(&mut self, rest: &str, line: usize) -> Option<String> {
        let Some((name, behind)) = rest.split_once(']') else {
            self.fault(line, true, "the name of a section has no ']' behind it");
            return None;
        };
        if !behind.is_empty() {
            self.fault(line, true, "something stands behind the name of a section");
        }
        if name.is_empty() {
            self.fault(line, false, "a section has no name");
        }
        Some(name.to_owned())
    }

    fn assignment(&mut self, line: &str, section: Option<&str>, number: usize) {
        if line.contains('\0') {
            self.fault(
                number,
                false,
                "the line has a zero byte, and systemd reads no further",
            );
            return;
        }
        let Some((name, value)) = line.split_once('=') else {
            if self.faults.iter().all(|fault| fault.line != number) {
                self.fault(number, false, "the line has no '='");
            }
            return;
        };
        let Some(section) = section else {
            self.fault(number, false, "the line stands before the first section");
            return;
        };
        let name = name.trim();
        if name.is_empty() {
            self.fault(number, false, "the line has nothing in front of '='");
            return;
        }
        self.assignments.push(Assignment {
            section: section.to_owned(),
            name: name.to_owned(),
            value: value.trim().to_owned(),
            line: number,
        });
    }
}

/// A line with those that it goes on in.
pub(super) struct Logical {
    /// Where it begins, counted from 1.
    number: usize,
    pub(super) text: String,
}

/// Lines without comments, those that end in a backslash joined with the next.
pub(super) fn logical_lines(text: &str) -> Vec<Logical> {
    let mut lines = Vec::new();
    let mut open: Option<Logical> = None;
    for (number, line) in (1..).zip(text.lines()) {
        // A comment between the parts of a line is left out, as elsewhere.
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let mut logical = open.take().unwrap_or_else(|| Logical {
            number,
            text: String::new(),
        });
        match line.strip_suffix('\\') {
            Some(part) => {
                logical.text.push_str(part);
                logical.text.push(' ');
                open = Some(logical);
            }
            None => {
                logical.text.push_str(line);
                lines.push(logical);
            }
        }
    }
    lines.extend(open);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<(usize, bool)> {
        let faults = parse(text).faults;
        faults
            .iter()
            .map(|fault| (fault.line, fault.stops))
            .collect()
    }

    #[test]
    fn assignments_are_read_over_lines_and_comments() {
        let file =
            parse("# c\n; d\n[Unit]\nA = b \\\n # e \\\n  c\r\n\n[Install]\nWantedBy=\nAlias=x\n");
        let all: Vec<(&str, &str, &str, usize)> = file
            .assignments
            .iter()
            .map(|one| {
                (
                    one.section.as_str(),
                    one.name.as_str(),
                    one.value.as_str(),
                    one.line,
                )
            })
            .collect();
        assert_eq!(
            all,
            [
                ("Unit", "A", "b    c", 4),
                ("Install", "WantedBy", "", 9),
                ("Install", "Alias", "x", 10)
            ]
        );
        assert!(file.faults.is_empty(), "{:?}", file.faults);
        assert!(file.has("Install", &["Alias"]) && !file.has("Install", &["WantedBy"]));
    }

    #[test]
    fn what_goes_nowhere_is_told_with_its_line() {
        assert_eq!(faults("[Unit"), [(1, true)]);
        assert_eq!(faults("[Unit]x\nA=b"), [(1, true)]);
        assert_eq!(faults("[Unit]\nA\nB=c"), [(2, true)]);
        assert_eq!(faults("\nA=b\n[Unit]\n=c"), [(2, false), (4, false)]);
        assert_eq!(faults("garbage"), [(1, false)]);
        // A comment between parts of a line ends it for Ignition.
        assert_eq!(faults("[Unit]\nA=b \\\n# c\nd"), [(4, true)]);
        assert_eq!(faults("[Unit]\nA=\0"), [(2, false)]);
        assert_eq!(
            faults(&format!("[Unit]\nA={}", "x".repeat(2 << 20))),
            [(2, true)]
        );
        assert_eq!(faults(&"x\n".repeat(100_000)).len(), FAULTS_MAX);
        for sound in [
            "",
            "\n\n",
            "[Unit]\nA=b\\",
            "[]\r\n".trim_end_matches("[]\r\n"),
        ] {
            assert!(faults(sound).is_empty(), "{sound:?}");
        }
    }
}
