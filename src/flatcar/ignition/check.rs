//! A config of specification 3 is checked as Ignition checks it, and against what Flatcar is.

use std::collections::HashMap;

use crate::document::{Node, Position};
use crate::finding::{Finding, code};

use super::at::At;
use super::findings::{Findings, because};
use super::release::{Reads, Version};
use super::schema::CONFIG;
use super::{CheckOptions, shape};

/// How deep configs in configs are looked into.
const NESTED_MAX: usize = 4;

/// Checks one config.
pub(super) struct Checker<'a, 'o> {
    pub(super) options: &'a CheckOptions<'o>,
    /// What the image's Ignition reads.
    pub(super) reads: Option<Reads>,
    /// The minor version of the config's specification.
    pub(super) spec: u8,
    pub(super) is_butane: bool,
    pub(super) findings: &'a mut Findings,
    nested: usize,
}

/// Checks the config `node`; `is_butane` says that its places are those of a Butane config that it was translated from.
/// It lies `nested` deep in other configs. Returns the version of the specification, where it is one of 3.
pub(in crate::flatcar) fn check_tree(
    node: &Node,
    is_butane: bool,
    nested: usize,
    options: &CheckOptions<'_>,
    findings: &mut Findings,
) -> Option<String> {
    let reads = match options.release {
        Some(major) => Reads::of_release(major),
        None => Some(Reads::all()),
    };
    let checker = Checker {
        options,
        reads,
        spec: 0,
        is_butane,
        findings,
        nested,
    };
    checker.config(node)
}

impl Checker<'_, '_> {
    fn config(mut self, node: &Node) -> Option<String> {
        let root = At::root(node, self.is_butane);
        let version = self.version(&root)?;
        self.spec = version.minor;
        // What comes from Butane has only known keys.
        if !self.is_butane {
            shape::check(node, &CONFIG, self.spec, self.findings);
        }
        self.ignition(&root);
        self.kernel_arguments(&root);
        self.nodes(&root);
        self.disks(&root);
        self.filesystems(&root);
        self.raid(&root);
        self.luks(&root);
        self.units(&root);
        self.passwd(&root);
        Some(version.to_string())
    }

    /// The version of a config of specification 3, which need not be one that the image reads.
    fn version(&mut self, root: &At<'_>) -> Option<Version> {
        let place = root
            .below(&["ignition", "version"])
            .unwrap_or_else(|| root.clone());
        let Some(text) = root
            .field("ignition")
            .and_then(|ignition| ignition.text("version"))
        else {
            self.without_version(root);
            return None;
        };
        if text.starts_with("2.") || text.starts_with("1.") {
            self.old(text, &place);
            return None;
        }
        let Some(version) = Version::parse(text) else {
            let finding = Finding::new(code::IGNITION_VERSION).with("version", text.escape_debug());
            self.add(finding, &place);
            return None;
        };
        if !self.reads.is_some_and(|reads| reads.takes(version)) {
            let ignition = self.reads.map_or("0.x", |reads| reads.ignition);
            let reads = self.reads.map(|reads| reads.to_string());
            let finding = Finding::new(code::IGNITION_VERSION_UNREAD)
                .with("version", version)
                .with("ignition", ignition)
                .with("release", self.of_release())
                .with("reads", reads.as_deref().unwrap_or("1 and 2 only"));
            self.add(finding, &place);
        }
        (version.minor <= super::release::NEWEST + 1).then_some(version)
    }

    fn without_version(&mut self, root: &At<'_>) {
        if root.node.get("ignitionVersion").is_some() {
            return self.old("1", root);
        }
        let why = "has no ignition.version, so Ignition refuses it";
        self.add(because(code::IGNITION_INVALID, why), root);
    }

    /// A config of specification 1 or 2; a release that reads it as it is has nothing to tell.
    fn old(&mut self, version: &str, place: &At<'_>) {
        if self.reads.is_none() {
            return;
        }
        let finding = Finding::new(code::IGNITION_OLD).with("version", version.escape_debug());
        self.add(finding, place);
    }

    /// ` of release 4593`, for messages.
    pub(super) fn of_release(&self) -> String {
        self.options
            .release
            .map(|major| format!(" of release {major}"))
            .unwrap_or_default()
    }

    pub(super) fn add(&mut self, finding: Finding, at: &At<'_>) {
        self.findings.add(finding, &at.path, at.position());
    }

    /// The finding about something that is given twice.
    pub(super) fn duplicate(&mut self, name: &str, first: Position, at: &At<'_>) {
        let shown: String = name.chars().take(80).collect();
        let finding = Finding::new(code::IGNITION_DUPLICATE)
            .with("name", format!("'{}'", shown.escape_debug()))
            .with("first", first);
        self.add(finding, at);
    }

    /// Finds what is given twice among `all`, by the text of each.
    pub(super) fn unique<'n>(&mut self, all: impl Iterator<Item = (&'n str, At<'n>)>) {
        let mut seen: HashMap<&str, Position> = HashMap::new();
        for (name, at) in all {
            match seen.get(name) {
                Some(first) => self.duplicate(name, *first, &at),
                None => {
                    seen.insert(name, at.position());
                }
            }
        }
    }

    /// Finds what is given twice in a list, by a key of its items.
    pub(super) fn unique_by(&mut self, items: &[At<'_>], key: &'static str) {
        let all = items
            .iter()
            .filter_map(|item| Some((item.text(key)?, item.clone())));
        self.unique(all);
    }

    /// Finds texts that are given twice in a list.
    pub(super) fn unique_texts(&mut self, items: &[At<'_>]) {
        let all = items
            .iter()
            .filter_map(|item| Some((item.as_text()?, item.clone())));
        self.unique(all);
    }

    fn ignition(&mut self, root: &At<'_>) {
        let Some(ignition) = root.field("ignition") else {
            return;
        };
        if let Some(config) = ignition.field("config") {
            let merged = config.items("merge");
            self.unique_by(&merged, "source");
            for at in &merged {
                self.needed_resource(at);
                self.nested(at);
            }
            if let Some(at) = config.field("replace") {
                self.resource(&at);
                self.nested(&at);
            }
        }
        if let Some(tls) = ignition.below(&["security", "tls"]) {
            let authorities = tls.items("certificateAuthorities");
            self.unique_by(&authorities, "source");
            for at in &authorities {
                self.needed_resource(at);
            }
        }
        if let Some(proxy) = ignition.field("proxy") {
            self.proxy(&proxy);
        }
    }

    /// Looks into a config that is part of this one.
    fn nested(&mut self, at: &At<'_>) {
        let Some(content) = self.content(at) else {
            return;
        };
        if self.nested >= NESTED_MAX || content.is_empty() {
            return;
        }
        let name = format!("{} in {}", at.path, self.options.name);
        let mut findings = Findings::new(&name);
        findings.budget = self.findings.budget;
        let options = CheckOptions {
            name: &name,
            ..*self.options
        };
        super::check_content(&content, &options, self.nested + 1, &mut findings);
        self.findings.budget = findings.budget;
        self.findings.extend(findings.finish());
    }

    fn proxy(&mut self, proxy: &At<'_>) {
        for name in ["httpProxy", "httpsProxy"] {
            let Some(url) = proxy.text(name) else {
                continue;
            };
            let small = url.to_ascii_lowercase();
            let at = proxy.place_of(name);
            if !small.starts_with("http:") && !small.starts_with("https:") {
                self.add(Finding::new(code::IGNITION_PROXY), &at);
            } else if name == "httpsProxy" && small.starts_with("http:") {
                self.add(Finding::new(code::IGNITION_PROXY_PLAIN), &at);
            }
        }
        self.unique_texts(&proxy.items("noProxy"));
    }

    fn kernel_arguments(&mut self, root: &At<'_>) {
        let mut all = root.items_below("kernelArguments", "shouldExist");
        all.extend(root.items_below("kernelArguments", "shouldNotExist"));
        self.unique_texts(&all);
    }
}
