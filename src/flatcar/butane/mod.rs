//! Butane configs, variant flatcar: what people write, translated to what Ignition reads (fact book, section I).
//!
//! ```text
//!  YAML ─▶ Node ─▶ keys and types ─▶ Ignition's keys ─▶ units for mounts, trees of files ─▶ Ignition's rules ─▶ JSON
//!                     └ local files, data URLs
//! ```
//!
//! Every value of the translation has the place of what it came from, so that what Ignition would refuse is told with the
//! line of the Butane config.

mod convert;
mod dialect;
mod integer;
mod local;
mod mounts;
mod output;
mod resource;
mod trees;

use std::path::Path;

use crate::block::Inputs;
use crate::document::{Fault, Node, Position, json_text, parse_yaml};
use crate::finding::{Finding, code};

use super::ignition::findings::{Findings, because};
use super::ignition::{CheckOptions, check_tree};
use convert::Translator;
use dialect::Dialect;
use local::Files;

/// What a translation needs besides the config.
#[derive(Debug, Clone, Copy, Default)]
pub struct TranslateOptions<'a> {
    /// Against what the translation is checked; its name is what messages call the Butane config.
    pub check: CheckOptions<'a>,
    /// The folder of the files that the config names; `None` where it may name none. Nothing outside of it is read.
    pub folder: Option<&'a Path>,
    inputs: Option<&'a Inputs>,
}

impl<'a> TranslateOptions<'a> {
    /// Options for a config that messages call `name`.
    pub fn new(name: &'a str) -> Self {
        let check = CheckOptions {
            name,
            ..CheckOptions::default()
        };
        Self {
            check,
            ..Self::default()
        }
    }

    /// The same with a place where the files that are read are registered.
    #[must_use]
    pub(crate) fn registering(self, inputs: &'a Inputs) -> Self {
        Self {
            inputs: Some(inputs),
            ..self
        }
    }
}

/// A Butane config that was read.
#[derive(Debug)]
pub struct Translated {
    config: Option<Node>,
    /// The version of Ignition's specification that it was translated to.
    pub version: Option<String>,
    /// What was found. Where one is an error, there is no translation.
    pub findings: Vec<Finding>,
}

impl Translated {
    /// The Ignition config as JSON, in one line or with indents; `None` where a finding is an error.
    pub fn json(&self, is_pretty: bool) -> Option<String> {
        Some(json_text(self.config.as_ref()?, is_pretty))
    }

    /// The Ignition config, whose positions are those of the Butane config.
    pub(in crate::flatcar) fn into_config(self) -> Option<Node> {
        self.config
    }

    fn failed(findings: Findings) -> Self {
        Self {
            config: None,
            version: None,
            findings: findings.finish(),
        }
    }
}

/// Translates the Butane config `source`. All that is wrong with it is in the findings of what is returned.
///
/// Aliases are expanded within bounds; merge keys, tags and a second document are refused.
pub fn translate(source: &[u8], options: &TranslateOptions<'_>) -> Translated {
    let mut findings = Findings::new(options.check.name);
    let root = match parse(source) {
        Ok(root) => root,
        Err(fault) => {
            let why = match fault.hint {
                Some(hint) => format!("{}: {hint}", fault.message),
                None => fault.message,
            };
            let position = fault.position.unwrap_or(Position::START);
            findings.add(because(code::CONFIG_SYNTAX, why), "", position);
            return Translated::failed(findings);
        }
    };
    let Some(dialect) = Dialect::of(&root, &mut findings) else {
        return Translated::failed(findings);
    };
    let registry = Inputs::default();
    let files = Files::new(options.folder, options.inputs.unwrap_or(&registry));
    let config = Translator::new(dialect, files, &mut findings).config(&root);
    let version = check_tree(&config, true, 0, &options.check, &mut findings);
    if findings.has_errors() {
        return Translated::failed(findings);
    }
    Translated {
        config: Some(config),
        version,
        findings: findings.finish(),
    }
}

fn parse(source: &[u8]) -> Result<Node, Fault> {
    let text = std::str::from_utf8(source).map_err(|error| {
        let valid = String::from_utf8_lossy(&source[..error.valid_up_to()]);
        Fault::new(
            Position::of_offset(&valid, valid.len()),
            "the text is not UTF-8",
        )
    })?;
    parse_yaml(text.strip_prefix('\u{feff}').unwrap_or(text))
}
