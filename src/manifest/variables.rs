//! `${NAME}` in the values of a manifest.
//!
//! Values come from `variables:` in the manifest, whose own values may refer to each other, and from the caller, who
//! wins. `$$` stands for `$`; a `$` before anything else stays. Names of keys are never changed, nor is the content of
//! files. Nothing is taken from the environment.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Fault, Kind, Node, Position, Scalar, Value, WEIGHT_MAX};
use crate::error::Error;

/// The key of a manifest that holds variables.
const VARIABLES: &str = "variables";
/// Most variables of a manifest.
const COUNT_MAX: usize = 1000;
/// Longest value in bytes, with all variables in it replaced.
const VALUE_MAX: usize = 4 << 20;

/// Whether `name` can be a variable: a letter or `_`, then letters, digits and `_`.
fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads `NAME=VALUE` of a command line.
///
/// # Errors
/// [`crate::ErrorKind::InvalidInput`] for what has no `=`, or no name of a variable in front of it.
pub fn parse_set(text: &str) -> crate::Result<(String, String)> {
    match text.split_once('=') {
        Some((name, value)) if is_name(name) => Ok((name.to_owned(), value.to_owned())),
        _ => Err(
            Error::invalid(format!("'{}' is not NAME=VALUE", text.escape_debug()))
                .with_hint("NAME has letters, digits and _, no digit in front"),
        ),
    }
}

/// Replaces the variables in all values of `root` but those of `variables:` itself.
///
/// `given` are names and values of the caller, which are taken as they are.
pub(super) fn substitute(root: &mut Node, given: &[(String, String)]) -> Result<(), Fault> {
    let Value::Table(entries) = &mut root.value else {
        return Ok(());
    };
    let mut variables = Variables::default();
    for (key, node) in entries.iter().filter(|(key, _)| key.name == VARIABLES) {
        variables.declare(key.position, node)?;
    }
    for (name, value) in given {
        variables.resolved.insert(name.clone(), value.clone());
    }
    for name in variables.declared.keys().cloned().collect::<Vec<_>>() {
        variables.resolve(&name, Position::START, &mut Vec::new())?;
    }
    for (key, node) in entries {
        if key.name != VARIABLES {
            variables.replace(node)?;
        }
    }
    let is_known =
        |name: &String| variables.declared.contains_key(name) || variables.used.contains(name);
    match given.iter().find(|(name, _)| !is_known(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Fault::without_place(format!(
            "the variable '{name}' is set, but nothing uses it"
        ))
        .with_hint(format!(
            "write ${{{name}}} where its value belongs, or give no value to {name}"
        ))),
    }
}

#[derive(Default)]
struct Variables {
    /// Values of the manifest as they are written.
    declared: BTreeMap<String, (Position, String)>,
    resolved: BTreeMap<String, String>,
    used: BTreeSet<String>,
    /// Bytes that replacements have made so far.
    made: usize,
}

impl Variables {
    fn declare(&mut self, position: Position, node: &Node) -> Result<(), Fault> {
        let Value::Table(entries) = &node.value else {
            return Err(Fault::new(
                node.position,
                "variables must be a table of names and texts",
            ));
        };
        if entries.len() > COUNT_MAX {
            return Err(Fault::new(
                position,
                format!(
                    "{} variables are too many, at most {COUNT_MAX}",
                    entries.len()
                ),
            ));
        }
        for (key, node) in entries {
            if !is_name(&key.name) {
                let message = format!(
                    "'{}' cannot be the name of a variable",
                    key.name.escape_debug()
                );
                return Err(Fault::new(key.position, message)
                    .with_hint("letters, digits and _, no digit in front"));
            }
            match &node.value {
                Value::Scalar(scalar) if scalar.kind != Kind::Null => {
                    self.declared
                        .insert(key.name.clone(), (node.position, scalar.text.clone()));
                }
                _ => {
                    return Err(Fault::new(
                        node.position,
                        "a variable must be a text or a number",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The value of the variable `name`, which is asked for at `asked`; `above` are those that wait for it.
    fn resolve(
        &mut self,
        name: &str,
        asked: Position,
        above: &mut Vec<String>,
    ) -> Result<String, Fault> {
        if let Some(value) = self.resolved.get(name) {
            return Ok(value.clone());
        }
        let Some((position, text)) = self.declared.get(name).cloned() else {
            let hint = format!(
                "write $${{{name}}} for the text itself, or give it a value under variables:"
            );
            return Err(
                Fault::new(asked, format!("the variable '{name}' is not known")).with_hint(hint),
            );
        };
        if let Some(at) = above.iter().position(|waiting| waiting == name) {
            let circle = above[at..]
                .iter()
                .chain([&above[at]])
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" → ");
            return Err(Fault::new(
                position,
                format!("these variables need each other: {circle}"),
            )
            .with_hint("give one of them a value without the others"));
        }
        above.push(name.to_owned());
        let value = self.expand(&text, position, above)?.0;
        above.pop();
        self.resolved.insert(name.to_owned(), value.clone());
        Ok(value)
    }

    /// `text` with its variables replaced, and whether there were any.
    fn expand(
        &mut self,
        text: &str,
        position: Position,
        above: &mut Vec<String>,
    ) -> Result<(String, bool), Fault> {
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        let mut any = false;
        while let Some(at) = rest.find('$') {
            result.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                let name = after
                    .split_once('}')
                    .map(|(name, _)| name)
                    .filter(|name| is_name(name));
                let name = name.ok_or_else(|| {
                    Fault::new(position, "'${' begins a variable, but no NAME} follows")
                        .with_hint("write ${NAME} for a variable, or $${ for the text itself")
                })?;
                result.push_str(&self.resolve(name, position, above)?);
                self.used.insert(name.to_owned());
                rest = &after[name.len() + 1..];
                any = true;
            } else {
                result.push('$');
                rest = rest.strip_prefix('$').unwrap_or(rest);
            }
            self.check_size(result.len(), position)?;
        }
        result.push_str(rest);
        self.made = self.made.saturating_add(result.len());
        self.check_size(result.len(), position)?;
        Ok((result, any))
    }

    fn check_size(&self, value: usize, position: Position) -> Result<(), Fault> {
        if value > VALUE_MAX || self.made > WEIGHT_MAX {
            let message = format!(
                "variables make a value of over {VALUE_MAX} bytes, or all of them over {WEIGHT_MAX}"
            );
            return Err(
                Fault::new(position, message).with_hint("put long texts into files of their own")
            );
        }
        Ok(())
    }

    fn replace(&mut self, node: &mut Node) -> Result<(), Fault> {
        match &mut node.value {
            Value::Scalar(Scalar {
                text,
                kind: kind @ Kind::Text,
            }) if text.contains('$') => {
                let (replaced, any) = self.expand(text, node.position, &mut Vec::new())?;
                *text = replaced;
                if any {
                    *kind = Kind::Substituted;
                }
                Ok(())
            }
            Value::Scalar(_) => Ok(()),
            Value::List(items) => items.iter_mut().try_for_each(|item| self.replace(item)),
            Value::Table(entries) => entries
                .iter_mut()
                .try_for_each(|(_, node)| self.replace(node)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::parse_yaml;

    fn value(text: &str, given: &[(&str, &str)]) -> Result<String, Fault> {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut node = parse_yaml(text).unwrap();
        substitute(&mut node, &given)?;
        let Value::Table(entries) = node.value else {
            panic!()
        };
        match &entries.last().unwrap().1.value {
            Value::Scalar(scalar) => Ok(scalar.text.clone()),
            _ => panic!(),
        }
    }

    #[test]
    fn variables_come_from_the_manifest_and_from_the_caller() {
        let text = "variables: {A: 'a${B}', B: b, N: 7}\nx: 1${A}2${N}$${A}$B$\n";
        assert_eq!(value(text, &[]).unwrap(), "1ab27${A}$B$");
        assert_eq!(
            value(text, &[("B", "${N}")]).unwrap(),
            "1a${N}27${A}$B$",
            "the caller's values are final"
        );
        assert_eq!(value("x: ${HOME}", &[("HOME", "h")]).unwrap(), "h");
    }

    #[test]
    fn faults_have_their_place() {
        for (text, given, place, says) in [
            (
                "x: 1\ny: ${HOME}",
                vec![],
                Some((2, 4)),
                "'HOME' is not known",
            ),
            ("x: a ${A", vec![], Some((1, 4)), "begins a variable"),
            ("x: ${a-b}", vec![], Some((1, 4)), "begins a variable"),
            (
                "variables:\n  A: ${B}\n  B: ${C}\n  C: ${B}\nx: 1",
                vec![],
                Some((3, 6)),
                "B → C → B",
            ),
            ("variables:\n  A: ${A}\nx: 1", vec![], Some((2, 6)), "A → A"),
            (
                "variables:\n  1A: x\n",
                vec![],
                Some((2, 3)),
                "name of a variable",
            ),
            (
                "variables:\n  A: [x]\n",
                vec![],
                Some((2, 6)),
                "text or a number",
            ),
            ("variables: 1\n", vec![], Some((1, 12)), "table"),
            ("x: 1", vec![("A", "1")], None, "nothing uses it"),
        ] {
            let fault = value(text, &given).unwrap_err();
            assert!(fault.message.contains(says), "{fault:?}");
            assert_eq!(
                fault.position,
                place.map(|(line, column)| Position { line, column }),
                "{fault:?}"
            );
        }
    }

    #[test]
    fn doubling_stays_within_a_budget() {
        let mut text = "variables:\n  V0: xxxxxxxxxxxxxxxx\n".to_owned();
        (1..900).for_each(|n| text.push_str(&format!("  V{n}: ${{V{}}}${{V{}}}\n", n - 1, n - 1)));
        assert!(
            value(&format!("{text}x: 1"), &[])
                .unwrap_err()
                .message
                .contains("over")
        );
        let mut chain = "variables:\n  V999: x\n".to_owned();
        (0..999).for_each(|n| chain.push_str(&format!("  V{n}: ${{V{}}}\n", n + 1)));
        assert_eq!(value(&format!("{chain}x: ${{V0}}"), &[]).unwrap(), "x");
    }
}
