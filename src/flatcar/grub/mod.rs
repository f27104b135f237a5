//! The OEM partition's `grub.cfg`: what is wrong with one, and its kernel arguments.
//!
//! Flatcar's GRUB sources this file before it builds the kernel's command line from `$linux_append`. At first boot
//! Ignition's kernel-argument editor rewrites it and understands only lines that begin exactly `set linux_append="`
//! in the first column: it takes their arguments, deletes the lines and appends one that holds them all. What is added here
//! stands in a line of just that form (fact book, section B), behind which every argument that was set before is still set,
//! in whatever words of GRUB's language.

mod run;
mod script;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::run::Value;
use self::script::{Chunk, Statement};
use crate::error::{Error, Result};
use crate::finding::{Code, Finding, code};

/// How a line begins that Ignition's editor understands.
const UNDERSTOOD: &str = "set linux_append=\"";
/// The idiom that keeps what was set before.
const BEFORE: &str = "$linux_append";
const VARIABLE: &str = "linux_append";
/// What GRUB takes the kernel's consoles from.
const CONSOLES: &str = "linux_console";
/// Names of the kernel arguments by which a console logs in without a password (bootengine's `autologin` generator).
const AUTOLOGIN: [&str; 2] = ["flatcar.autologin", "coreos.autologin"];
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
    let chunks = script::parse(config);
    let lines: Vec<&str> = config.lines().collect();
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    for chunk in &chunks {
        match &chunk.statements {
            Some(statements) => statements
                .iter()
                .for_each(|statement| see(statement, &lines, 0, &mut findings)),
            None => {
                let line = chunk.lines.start + 1;
                findings.push((line, Finding::new(code::GRUB_SYNTAX).with("line", line)));
            }
        }
    }
    let state = run::run(&chunks);
    let opaque = |line: &usize| (*line, Finding::new(code::GRUB_OPAQUE).with("line", line));
    findings.extend(state.opaque_lines.iter().map(opaque));
    for (number, line) in (1..)
        .zip(&lines)
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
    {
        for (argument, code) in LEFT_OVER
            .iter()
            .filter(|(argument, _)| line.contains(argument))
        {
            findings.push((
                number,
                Finding::new(code)
                    .with("line", number)
                    .with("argument", argument),
            ));
        }
    }
    findings.sort_by_key(|(line, _)| *line);
    let mut findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    if state.value("oem_id") == Value::Known(String::new()) {
        findings.push(Finding::new(code::GRUB_NO_OEM_ID));
    }
    findings
}

/// What is to be said of a statement, inside of as many blocks as `depth` says.
fn see(statement: &Statement, lines: &[&str], depth: usize, findings: &mut Vec<(usize, Finding)>) {
    let mut see_all = |inner: &[Statement]| {
        inner
            .iter()
            .for_each(|inner| see(inner, lines, depth + 1, findings))
    };
    match statement {
        Statement::If(branches, otherwise) => {
            for (condition, then) in branches {
                see_all(condition);
                see_all(then);
            }
            see_all(otherwise.as_deref().unwrap_or_default());
        }
        Statement::Loop(body) | Statement::Function(_, body) => see_all(body),
        Statement::Command(line, words) => {
            let is_editable = lines
                .get(line - 1)
                .is_some_and(|line| arguments(line).is_some());
            let code = match script::names_variable(words, VARIABLE) {
                Some(script::Naming::Exported) => code::GRUB_EXPORT,
                Some(script::Naming::Assigned) if !is_editable => code::GRUB_LINE_FORM,
                Some(script::Naming::Assigned) if depth > 0 => code::GRUB_CONDITION,
                _ => return,
            };
            findings.push((*line, Finding::new(code).with("line", line)));
        }
    }
}

/// The arguments of a line that Ignition's editor understands.
fn arguments(line: &str) -> Option<impl Iterator<Item = &str>> {
    let value = line
        .strip_prefix(UNDERSTOOD)?
        .trim_end()
        .strip_suffix('"')?;
    (!value.contains('"')).then(|| value.split_ascii_whitespace())
}

/// The kernel arguments that a `grub.cfg` adds, or may add where that depends on the machine.
pub fn kernel_args(config: &str) -> Vec<String> {
    run::run(&script::parse(config)).value(VARIABLE).may()
}

/// The kernel arguments that a `grub.cfg` adds in any case.
pub fn certain_kernel_args(config: &str) -> Vec<String> {
    run::run(&script::parse(config)).value(VARIABLE).must()
}

/// `config` with kernel arguments added (unless they are there) and removed (wherever they are). Whatever is set without
/// them stays set, in whichever words; where that does not depend on the machine, all top-level lines that Ignition's editor
/// understands become one last line.
///
/// # Errors
/// An argument that GRUB would not take literally; one to remove that is not there, or in a line that cannot be edited; a
/// file with a syntax error, or one that GRUB may leave before its end.
pub fn edit_kernel_args(config: &str, add: &[String], remove: &[String]) -> Result<String> {
    for argument in add.iter().chain(remove) {
        check_argument(argument)?;
    }
    let chunks = sound(config)?;
    let now = run::run(&chunks).value(VARIABLE);
    let edited = match now
        .known()
        .map(|_| rewritten(config, &chunks, &now, add, remove))
        .transpose()?
        .flatten()
    {
        Some(edited) => edited,
        None => extended(config, &now, add, remove)?,
    };
    let kept = now
        .must()
        .into_iter()
        .filter(|argument| !remove.contains(argument));
    let found = run::run(&script::parse(&edited)).value(VARIABLE);
    let stays = found.may();
    let is_left = |argument: &&String| stays.contains(argument) && !add.contains(argument);
    if let Some(argument) = remove.iter().find(is_left) {
        return Err(Error::unsupported(format!(
            "grub.cfg: the kernel argument '{argument}' would still reach the kernel"
        ))
        .with_hint("take it out of the file by hand"));
    }
    let found = found.must();
    match kept
        .chain(add.iter().cloned())
        .find(|argument| !found.contains(argument))
    {
        None => Ok(edited),
        Some(lost) => Err(Error::invalid(format!(
            "grub.cfg: the kernel argument '{lost}' would not reach the kernel"
        ))
        .with_hint("GRUB does not get to the end of the file, or cannot read it: mend the file")),
    }
}

/// The kernel arguments by which a `grub.cfg` sets consoles in any case.
pub fn certain_consoles(config: &str) -> Vec<String> {
    run::run(&script::parse(config)).value(CONSOLES).must()
}

/// Whether a kernel argument logs somebody in on a console without a password: `flatcar.autologin`, perhaps for one console.
pub fn is_autologin(argument: &str) -> bool {
    let name = argument.split('=').next().unwrap_or_default();
    AUTOLOGIN.contains(&name)
}

/// A `grub.cfg` without the kernel arguments that log somebody in without a password; as it is where there are none.
///
/// # Errors
/// As those of [`edit_kernel_args`].
pub fn remove_autologin(config: &str) -> Result<String> {
    let mut gone = kernel_args(config);
    gone.retain(|argument| is_autologin(argument));
    if gone.is_empty() {
        return Ok(config.to_owned());
    }
    edit_kernel_args(config, &[], &gone)
}

/// A `grub.cfg` that sets these consoles, kernel arguments `console=…` all of them, in place of those that it set.
///
/// # Errors
/// An argument that GRUB would not take literally; a file with a syntax error, or one that GRUB may leave before its end.
pub fn set_consoles(config: &str, consoles: &[String]) -> Result<String> {
    for argument in consoles {
        check_argument(argument)?;
    }
    let wanted = consoles.join(" ");
    let chunks = sound(config)?;
    if run::run(&chunks).value(CONSOLES).known() == Some(wanted.as_str()) {
        return Ok(config.to_owned());
    }
    let alone = lines_alone(&chunks);
    let is_replaced =
        |at: usize, line: &str| alone.contains(&at) && line.starts_with("set linux_console=");
    let mut result: String = config
        .split_inclusive('\n')
        .enumerate()
        .filter(|(at, line)| !is_replaced(*at, line))
        .map(|(_, line)| line)
        .collect();
    push_line(&mut result, &format!("set {CONSOLES}=\"{wanted}\"\n"));
    let found = run::run(&script::parse(&result)).value(CONSOLES);
    if found.known() == Some(wanted.as_str()) {
        return Ok(result);
    }
    Err(Error::invalid(format!(
        "grub.cfg: the consoles '{wanted}' would not reach the kernel"
    ))
    .with_hint("GRUB does not get to the end of the file, or cannot read it: mend the file"))
}

/// The parts of a file that GRUB can read as a whole.
fn sound(config: &str) -> Result<Vec<Chunk>> {
    let chunks = script::parse(config);
    if let Some(broken) = chunks.iter().find(|chunk| chunk.statements.is_none()) {
        let line = broken.lines.start + 1;
        return Err(Error::invalid(format!(
            "grub.cfg, line {line}: GRUB finds a syntax error here, and what it skips is not known"
        ))
        .with_hint("mend the file before it is edited"));
    }
    Ok(chunks)
}

/// The file with one last line in place of all that Ignition's editor understands; None where that would change what is
/// set, or cannot be written down.
fn rewritten(
    config: &str,
    chunks: &[Chunk],
    now: &Value,
    add: &[String],
    remove: &[String],
) -> Result<Option<String>> {
    let mut wanted = now.must();
    for argument in remove {
        if !wanted.contains(argument) {
            return Err(not_there(argument));
        }
        wanted.retain(|wanted| wanted != argument);
    }
    for argument in add {
        if !wanted.contains(argument) {
            wanted.push(argument.clone());
        }
    }
    if wanted == now.must() {
        return Ok(Some(config.to_owned()));
    }
    let alone = lines_alone(chunks);
    let is_replaced = |at: usize, line: &str| arguments(line).is_some() && alone.contains(&at);
    let mut result = String::with_capacity(config.len());
    let mut keeps_before = false;
    for (at, line) in config.split_inclusive('\n').enumerate() {
        if is_replaced(at, line) {
            keeps_before |= arguments(line).is_some_and(|mut arguments| arguments.any(is_before));
        } else {
            result.push_str(line);
        }
    }
    let others = run::run(&script::parse(&result)).value(VARIABLE);
    // Where the other lines say different things on different machines, these were overridden: nothing of them stays.
    let others = others.known().is_some().then(|| others.must());
    if others.as_ref() == Some(&wanted) {
        return Ok(Some(result));
    }
    let prefix = others.filter(|others| keeps_before || !others.is_empty());
    let rest = match prefix.and_then(|prefix| wanted.strip_prefix(prefix.as_slice())) {
        Some(rest) => [&[BEFORE.to_owned()], rest].concat(),
        None => wanted,
    };
    if rest
        .iter()
        .any(|argument| argument != BEFORE && check_argument(argument).is_err())
    {
        return Ok(None);
    }
    push_line(&mut result, &understood(&rest));
    Ok(Some(result))
}

/// The file with what is added in one more line, and without what is removed in lines that Ignition's editor understands.
fn extended(config: &str, now: &Value, add: &[String], remove: &[String]) -> Result<String> {
    let mut result = String::with_capacity(config.len());
    for line in config.split_inclusive('\n') {
        match arguments(line).map(Iterator::collect::<Vec<&str>>) {
            Some(arguments)
                if arguments
                    .iter()
                    .any(|argument| remove.iter().any(|gone| gone == argument)) =>
            {
                let kept = arguments
                    .into_iter()
                    .filter(|argument| !remove.iter().any(|gone| gone == argument));
                result.push_str(&understood(&kept.map(str::to_owned).collect::<Vec<_>>()));
            }
            _ => result.push_str(line),
        }
    }
    let left = kernel_args(&result);
    for argument in remove {
        if left.contains(argument) {
            return Err(Error::unsupported(format!(
                "grub.cfg sets the kernel argument '{argument}' in a line that cannot be edited"
            ))
            .with_hint(
                "only lines that begin with set linux_append=\" in the first column are: edit the file by hand",
            ));
        }
        if !now.may().contains(argument) {
            return Err(not_there(argument));
        }
    }
    let there = run::run(&script::parse(&result)).value(VARIABLE).must();
    let missing: Vec<String> = add
        .iter()
        .filter(|argument| !there.contains(argument))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let line = understood(&[&[BEFORE.to_owned()], missing.as_slice()].concat());
        push_line(&mut result, &line);
    }
    Ok(result)
}

fn not_there(argument: &str) -> Error {
    Error::not_found(format!(
        "grub.cfg has no kernel argument '{argument}' to remove"
    ))
    .with_hint("arguments must match whole, as they reach the kernel")
}

/// The lines (from 0) each of which is all that GRUB parses at once: they stand in no block and go on in no further line.
fn lines_alone(chunks: &[Chunk]) -> BTreeSet<usize> {
    let sound = chunks
        .iter()
        .filter(|chunk| chunk.statements.is_some() && chunk.lines.len() == 1);
    sound.map(|chunk| chunk.lines.start).collect()
}

/// A line that Ignition's editor understands.
fn understood(arguments: &[String]) -> String {
    format!("{UNDERSTOOD}{}\"\n", arguments.join(" "))
}

/// Adds a line behind all others, which goes on with none of them: a backslash at the end of the last one would join them.
fn push_line(config: &mut String, line: &str) {
    if !config.is_empty() && !config.ends_with('\n') || config.ends_with("\\\n") {
        config.push('\n');
    }
    config.push_str(line);
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
