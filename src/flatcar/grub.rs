//! The OEM partition's `grub.cfg`: what is wrong with one, and its kernel arguments.
//!
//! Flatcar's GRUB sources this file before it builds the kernel's command line from `$linux_append`. At first boot
//! Ignition's kernel-argument editor rewrites it and understands only lines that begin exactly `set linux_append="`
//! in the first column: it takes their arguments, deletes the lines and appends one that holds them all. Edits made
//! here leave a file of just that form (fact book, section B).

use crate::error::{Error, Result};
use crate::finding::{Code, Finding, code};

/// How a line begins that Ignition's editor understands.
const UNDERSTOOD: &str = "set linux_append=\"";
/// The idiom that keeps what was set before.
const BEFORE: &str = "$linux_append";
/// Arguments that freeze the identity or the config of one machine in the image.
const LEFT_OVER: [(&str, &Code); 4] = [
    ("systemd.machine_id=", code::GRUB_MACHINE_ID),
    ("ignition.config.url=", code::GRUB_CONFIG_URL),
    ("flatcar.config.url=", code::GRUB_CONFIG_URL),
    ("coreos.config.url=", code::GRUB_CONFIG_URL),
];

/// What a person should know of a `grub.cfg` before it is baked in, with the value `line` where it is about one. Nothing
/// here stops a boot.
pub fn check(config: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut depth = 0usize;
    let mut has_oem_id = false;
    for (number, line) in (1..).zip(config.lines()) {
        let command = line.trim_start();
        if command.starts_with('#') {
            continue;
        }
        match command.split([' ', ';', '\t']).next() {
            Some("if") => depth += 1,
            Some("fi") => depth = depth.saturating_sub(1),
            _ => {}
        }
        has_oem_id |= command.starts_with("set oem_id=");
        if assigns(command) && arguments(line).is_none() {
            findings.push(Finding::new(code::GRUB_LINE_FORM).with("line", number));
        } else if assigns(command) && depth > 0 {
            findings.push(Finding::new(code::GRUB_CONDITION).with("line", number));
        }
        for (argument, code) in LEFT_OVER {
            if command.contains(argument) {
                findings.push(Finding::new(code).with("line", number).with("argument", argument));
            }
        }
    }
    if !has_oem_id {
        findings.push(Finding::new(code::GRUB_NO_OEM_ID));
    }
    findings
}

/// Whether a line without its indentation sets `linux_append`.
fn assigns(command: &str) -> bool {
    command.strip_prefix("set").is_some_and(|rest| rest.trim_start().starts_with("linux_append="))
}

/// The arguments of a line that Ignition's editor understands.
fn arguments(line: &str) -> Option<impl Iterator<Item = &str>> {
    let value = line.strip_prefix(UNDERSTOOD)?.trim_end().strip_suffix('"')?;
    (!value.contains('"')).then(|| value.split_ascii_whitespace())
}

/// The kernel arguments that a `grub.cfg` adds in lines that Ignition's editor understands.
pub fn kernel_args(config: &str) -> impl Iterator<Item = &str> {
    config.lines().filter_map(arguments).flatten().filter(|argument| !is_before(argument))
}

/// `config` with kernel arguments added (unless they are there) and removed (wherever they are), in one last line
/// `set linux_append="…"`. All other lines stay as they are.
///
/// # Errors
/// An argument that GRUB would not take literally, or one to remove that is in no line that can be edited.
pub fn edit_kernel_args(config: &str, add: &[String], remove: &[String]) -> Result<String> {
    for argument in add.iter().chain(remove) {
        check_argument(argument)?;
    }
    let mut result = String::with_capacity(config.len());
    let mut arguments_now: Vec<&str> = Vec::new();
    let mut others_assign = false;
    for line in config.split_inclusive('\n') {
        match arguments(line) {
            Some(arguments) => arguments_now.extend(arguments),
            None => {
                others_assign |= assigns(line.trim_start());
                result.push_str(line);
            }
        }
    }
    for argument in remove {
        if !arguments_now.contains(&argument.as_str()) {
            return Err(Error::not_found(format!("grub.cfg has no kernel argument '{argument}' to remove")).with_hint(
                "only lines that begin with set linux_append=\" in the first column are edited, and arguments must match whole",
            ));
        }
    }
    let keeps_before = others_assign || arguments_now.iter().any(|argument| is_before(argument));
    arguments_now.retain(|argument| !is_before(argument) && !remove.iter().any(|gone| gone == argument));
    for argument in add {
        if !arguments_now.contains(&argument.as_str()) {
            arguments_now.push(argument);
        }
    }
    if keeps_before {
        arguments_now.insert(0, BEFORE);
    }
    if !arguments_now.is_empty() {
        if !result.is_empty() && !result.ends_with('\n') {
            result.push('\n');
        }
        result.push_str(&format!("{UNDERSTOOD}{}\"\n", arguments_now.join(" ")));
    }
    Ok(result)
}

fn is_before(argument: &str) -> bool {
    matches!(argument, BEFORE | "${linux_append}")
}

/// An argument must stand in GRUB's double quotes as it is, and be one word.
fn check_argument(argument: &str) -> Result<()> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '$' | '\\' | '`');
    if argument.is_empty() || argument.contains(bad) {
        return Err(Error::invalid(format!("'{}' cannot be a kernel argument in grub.cfg", argument.escape_debug()))
            .with_hint("an argument is one word without quotes, $ and backslashes; repeat the flag for several"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(config: &str, add: &[&str], remove: &[&str]) -> Result<String> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        edit_kernel_args(config, &owned(add), &owned(remove))
    }

    #[test]
    fn arguments_end_up_in_one_line_that_ignition_understands() {
        assert_eq!(edit("", &["quiet"], &[]).unwrap(), "set linux_append=\"quiet\"\n");
        let config =
            "set oem_id=\"qemu\"\nset linux_append=\"a b\"\nset timeout=0\nset linux_append=\"$linux_append c\"";
        let edited = edit(config, &["b", "d=1"], &["a"]).unwrap();
        assert_eq!(edited, "set oem_id=\"qemu\"\nset timeout=0\nset linux_append=\"$linux_append b c d=1\"\n");
        assert_eq!(edit(&edited, &["b"], &[]).unwrap(), edited, "a second edit changes nothing");
    }

    #[test]
    fn other_assignments_stay_and_still_count() {
        let config = "if [ x = y ]; then\n  set linux_append=\"inner\"\nfi";
        assert_eq!(edit(config, &["new"], &[]).unwrap(), format!("{config}\nset linux_append=\"$linux_append new\"\n"));
    }

    #[test]
    fn the_last_argument_takes_its_line_along() {
        assert_eq!(edit("set linux_append=\"a\"\nset oem_id=\"x\"\n", &[], &["a"]).unwrap(), "set oem_id=\"x\"\n");
        assert_eq!(edit("# nothing\n", &[], &["a"]).unwrap_err().kind(), crate::ErrorKind::NotFound);
    }

    #[test]
    fn arguments_that_grub_would_not_take_literally_are_refused() {
        for bad in ["", "a b", "a\"b", "$x", "a\\", "a\nb"] {
            assert!(edit("", &[bad], &[]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn traps_are_named() {
        assert!(check("set oem_id=\"qemu\"\nset linux_append=\"quiet\"\n").is_empty());
        let findings = check(
            "# set linux_append=x\nset linux_append=quiet\n  set linux_append=\"x\"\nif [ a ]; then\nset linux_append=\"y\"\nfi\n\
             set linux_append=\"systemd.machine_id=0 ignition.config.url=http://x\"\n",
        );
        let found: Vec<_> = findings.iter().map(|finding| (finding.code(), finding.value("line"))).collect();
        assert_eq!(
            found,
            [
                (code::GRUB_LINE_FORM, Some("2")),
                (code::GRUB_LINE_FORM, Some("3")),
                (code::GRUB_CONDITION, Some("5")),
                (code::GRUB_MACHINE_ID, Some("7")),
                (code::GRUB_CONFIG_URL, Some("7")),
                (code::GRUB_NO_OEM_ID, None),
            ]
        );
    }
}
