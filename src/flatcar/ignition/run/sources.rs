//! The configs that a machine takes, in Ignition's order, and the contents that they name.

use std::io::Read;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;

use crate::bytes::to_u64;
use crate::document::{Node, Position, parse_json};
use crate::finding::{Finding, code};
use crate::flatcar::butane;
use crate::fs::{self, FileSystem, FsPath};

use super::super::at::At;
use super::super::findings::{Findings, because};
use super::super::release::{NEWEST, Version};
use super::super::resource::Hash;
use super::super::url::{self, Source};
use super::super::{CheckOptions, ConfigKind, check_tree};
use super::Config;
use super::merge::{merge, nothing, shift};

/// How deep configs in configs are followed.
const NESTED_MAX: usize = 8;
/// Most configs in all.
const CONFIGS_MAX: usize = 256;
/// Largest file of OEM that is taken as a content.
const OEM_FILE_MAX: u64 = 64 << 20;
/// Most bytes that a content is decompressed to.
const CONTENT_MAX: u64 = 256 << 20;

/// A content that a config names.
pub(super) enum Fetched {
    Bytes(Vec<u8>),
    /// Only a machine with a network gets it; its URL.
    Remote(String),
}

/// A config that was read.
struct Taken {
    name: String,
    /// How many lines of others are before it.
    lines: usize,
    /// The minor version of its specification.
    spec: u8,
}

/// Reads configs and contents, and knows where each line is from.
pub(super) struct Sources<'a> {
    pub oem: Option<Arc<dyn FileSystem>>,
    pub check: CheckOptions<'a>,
    taken: Vec<Taken>,
    lines: usize,
    pub findings: Vec<Finding>,
}

impl<'a> Sources<'a> {
    pub fn new(check: CheckOptions<'a>, oem: Option<Arc<dyn FileSystem>>) -> Self {
        Self {
            oem,
            check,
            taken: Vec::new(),
            lines: 0,
            findings: Vec::new(),
        }
    }

    /// `base.ign:3:7` for a position in a merged config.
    pub fn place(&self, position: Position) -> String {
        match self.config_at(position) {
            Some(taken) => {
                let position = Position {
                    line: position.line - taken.lines,
                    column: position.column,
                };
                format!("{}:{position}", taken.name)
            }
            None => position.to_string(),
        }
    }

    fn config_at(&self, position: Position) -> Option<&Taken> {
        let mut known = self.taken.iter().rev();
        known.find(|taken| position.line > taken.lines)
    }

    /// The minor version of the specification of what is at a position in a merged config.
    pub fn spec_at(&self, position: Position) -> u8 {
        self.config_at(position).map_or(NEWEST, |taken| taken.spec)
    }

    /// The names of all configs that were taken, in their order.
    pub fn taken(&self) -> Vec<String> {
        self.taken.iter().map(|taken| taken.name.clone()).collect()
    }

    /// Records what stops Ignition at a position.
    pub fn stops(&mut self, why: impl Into<String>, position: Position) {
        let finding = because(code::IGNITION_STOPS, why).at(self.place(position));
        self.findings.push(finding);
    }

    /// Whether something was found that stops Ignition.
    pub fn has_stopped(&self) -> bool {
        self.findings.iter().any(Finding::stops)
    }

    /// Base configs merged in their order; what they name with `ignition.config` is not followed there.
    pub fn base(&mut self, configs: &[Config]) -> Node {
        let mut merged = nothing();
        for config in configs {
            if let Some(node) = self.parse(config, 0) {
                merged = merge(&merged, &node);
            }
        }
        merged
    }

    /// The user's config with all that it names.
    pub fn user(&mut self, config: &Config) -> Node {
        match self.parse(config, 0) {
            Some(node) => self.rendered(node, 0),
            None => nothing(),
        }
    }

    /// Checks what came of merging, as Ignition does.
    pub fn check_merged(&mut self, node: &Node) {
        if self.taken.len() < 2 || self.has_stopped() {
            return;
        }
        let mut findings = Findings::new("the merged config");
        check_tree(node, true, NESTED_MAX, &self.check, &mut findings);
        let stops = findings.finish().into_iter().filter(Finding::stops);
        for finding in stops {
            let why = format!(
                "merging configs makes an invalid one: {}",
                finding.message()
            );
            let position = finding.place().find_map(position_in);
            self.stops(why, position.unwrap_or(Position::START));
        }
    }

    /// Records what a config fetches besides the contents of files: certificates, and keys of volumes.
    pub fn note_remote(&mut self, config: &Node) {
        let root = At::root(config, false);
        let tls = root.below(&["ignition", "security", "tls"]);
        let mut resources: Vec<(At<'_>, &str)> = Vec::new();
        for at in tls
            .iter()
            .flat_map(|tls| tls.items("certificateAuthorities"))
        {
            resources.push((at, "a certificate"));
        }
        for volume in root.items_below("storage", "luks") {
            if let Some(at) = volume.field("keyFile") {
                resources.push((at, "the key of a volume"));
            }
        }
        for (at, what) in resources {
            let source = at.filled("source").unwrap_or_default();
            let spec = self.spec_at(at.position());
            if matches!(url::source(source, spec), Ok(Source::Network(_))) {
                self.remote(what, source, at.position());
            }
        }
    }

    /// Records that only a machine with a network gets something.
    pub fn remote(&mut self, what: &str, url: &str, position: Position) {
        let finding = Finding::new(code::IGNITION_REMOTE)
            .with("what", what)
            .with("url", url.escape_debug());
        self.findings.push(finding.at(self.place(position)));
    }

    /// Reads and checks one config.
    fn parse(&mut self, config: &Config, nested: usize) -> Option<Node> {
        if self.taken.len() >= CONFIGS_MAX {
            let why = format!("more than {CONFIGS_MAX} configs name each other");
            self.stops(why, Position::START);
            return None;
        }
        let content = config.content.as_slice();
        let options = CheckOptions {
            name: &config.name,
            ..self.check
        };
        let (node, findings) = match ConfigKind::of(content) {
            ConfigKind::Butane => self.butane(config, options),
            kind if kind.ignored().is_some() => {
                // Ignition takes it for an empty config.
                let finding = Finding::new(code::IGNITION_IGNORED)
                    .with("what", kind.ignored().unwrap_or_default());
                (Some(nothing()), vec![finding.at(config.name.clone())])
            }
            _ => {
                let mut findings = Findings::new(&config.name);
                super::super::check_content(content, &options, nested, &mut findings);
                let text = std::str::from_utf8(content).unwrap_or_default();
                (parse_json(text).ok(), findings.finish())
            }
        };
        self.findings.extend(findings);
        let mut node = node?;
        let lines = content.split(|byte| *byte == b'\n').count();
        self.taken.push(Taken {
            name: config.name.clone(),
            lines: self.lines,
            spec: spec_of(&node),
        });
        shift(&mut node, self.lines);
        self.lines += lines;
        Some(node)
    }

    fn butane(&self, config: &Config, options: CheckOptions<'_>) -> (Option<Node>, Vec<Finding>) {
        let mut translate = butane::TranslateOptions::new(&config.name);
        translate.check = options;
        translate.folder = config.folder.as_deref();
        let translated = butane::translate(&config.content, &translate);
        let findings = translated.findings.clone();
        (translated.into_config(), findings)
    }

    /// A config with the configs that it names: one that takes its place, or those that are merged into it.
    fn rendered(&mut self, node: Node, depth: usize) -> Node {
        if depth > NESTED_MAX {
            self.stops("configs name each other without an end", node.position);
            return nothing();
        }
        let root = At::root(&node, false);
        let replace = root.below(&["ignition", "config", "replace"]);
        if let Some(at) = replace.filter(|at| at.text("source").is_some()) {
            return match self.referenced(&at, &node) {
                Some(other) => self.rendered(other, depth + 1),
                None => nothing(),
            };
        }
        let referenced: Vec<At<'_>> = root
            .below(&["ignition", "config"])
            .map(|config| config.items("merge"))
            .unwrap_or_default();
        let mut merged = node.clone();
        for at in &referenced {
            if let Some(other) = self.referenced(at, &node) {
                let other = self.rendered(other, depth + 1);
                merged = merge(&merged, &other);
            }
        }
        merged
    }

    fn referenced(&mut self, at: &At<'_>, config: &Node) -> Option<Node> {
        let spec = spec_of(config);
        match self.fetch(at, spec) {
            Err(why) => {
                self.stops(why, at.position());
                None
            }
            Ok(Fetched::Remote(url)) => {
                self.remote("the config", &url, at.position());
                None
            }
            Ok(Fetched::Bytes(content)) => {
                let source = at.text("source").unwrap_or_default();
                let place = self.place(at.position());
                let name = match source.strip_prefix("oem:") {
                    Some(_) => source.to_owned(),
                    None => format!("{} in {place}", at.path),
                };
                let config = Config {
                    name,
                    content,
                    folder: None,
                };
                self.parse(&config, 1)
            }
        }
    }

    /// What a resource is; a missing source is an empty content.
    ///
    /// # Errors
    /// Why Ignition would stop.
    pub fn fetch(&self, at: &At<'_>, spec: u8) -> Result<Fetched, String> {
        let Some(source) = at.filled("source") else {
            return Ok(Fetched::Bytes(Vec::new()));
        };
        let raw = match url::source(source, spec)? {
            Source::Data(bytes) => bytes,
            Source::Oem(path) => self.oem_file(&path)?,
            Source::Network(_) => return Ok(Fetched::Remote(source.to_owned())),
        };
        let content = match at.filled("compression") {
            Some("gzip") => gunzipped(&raw)?,
            _ => raw,
        };
        verify(at, &content, spec)?;
        Ok(Fetched::Bytes(content))
    }

    fn oem_file(&self, path: &str) -> Result<Vec<u8>, String> {
        let missing = || format!("there is no {path} on OEM");
        let oem = self.oem.as_deref().ok_or_else(missing)?;
        let at = FsPath::new(path).map_err(|error| error.to_string())?;
        let at = fs::resolve(oem, &at).map_err(|_| missing())?;
        fs::read_file(oem, &at, OEM_FILE_MAX).map_err(|error| match error.kind() {
            crate::ErrorKind::NotFound => missing(),
            _ => format!("{path} of OEM cannot be read: {error}"),
        })
    }
}

/// The position at the end of a place such as `a config:3:7`.
fn position_in(place: &str) -> Option<Position> {
    let mut parts = place.rsplitn(3, ':');
    let column = parts.next()?.parse().ok()?;
    let line = parts.next()?.parse().ok()?;
    Some(Position { line, column })
}

fn gunzipped(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let mut reader = MultiGzDecoder::new(data).take(CONTENT_MAX + 1);
    reader
        .read_to_end(&mut content)
        .map_err(|error| format!("the content cannot be decompressed: {error}"))?;
    if to_u64(content.len()) > CONTENT_MAX {
        return Err(format!("the content is longer than {CONTENT_MAX} bytes"));
    }
    Ok(content)
}

fn verify(at: &At<'_>, content: &[u8], spec: u8) -> Result<(), String> {
    let verification = at.field("verification");
    let Some(hash) = verification.as_ref().and_then(|at| at.filled("hash")) else {
        return Ok(());
    };
    let hash = Hash::parse(hash, spec)?;
    match hash.fits(content) {
        true => Ok(()),
        false => Err("the content has another hash than the one that is given".to_owned()),
    }
}

/// The minor version of a config's specification.
fn spec_of(config: &Node) -> u8 {
    let root = At::root(config, false);
    let ignition = root.field("ignition");
    let version = ignition.as_ref().and_then(|at| at.text("version"));
    let version = version.and_then(Version::parse);
    version.map_or(NEWEST, |version| version.minor)
}
