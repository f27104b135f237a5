//! Units that run on the booted system, and what of the network they ask for.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::finding::{Finding, code};
use crate::flatcar::ignition::run::Booted;
use crate::flatcar::unit;
use crate::flatcar::unit_file::{self, UnitFile};

use super::images;

const OWN: &str = "/etc/systemd/system";
const SHIPPED: &str = "/usr/lib/systemd/system";
const PRESETS: &str = "/etc/systemd/system-preset/20-ignition.preset";
const ONLINE: &str = "network-online.target";
const KUBELET: &str = "kubelet.service";
/// Settings by which a unit pulls another one in.
const PULLS: [&str; 4] = ["Wants", "Requires", "BindsTo", "Upholds"];
/// Settings whose value is a command.
const COMMANDS: [&str; 3] = ["ExecStartPre", "ExecStart", "ExecStartPost"];

/// The units that are started: by links of /etc, and by the presets that Ignition writes.
pub(super) fn active(booted: &mut Booted) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for folder in booted.names(OWN)? {
        let is_pulling = [".wants", ".requires", ".upholds"]
            .iter()
            .any(|end| folder.ends_with(end));
        if is_pulling {
            names.extend(booted.names(&format!("{OWN}/{folder}"))?);
        }
    }
    let presets = booted.text(PRESETS)?.unwrap_or_default();
    for line in presets.lines() {
        let mut words = line.split_whitespace();
        let word = words.next().unwrap_or_default();
        let Some(template) = words.next() else {
            continue;
        };
        let instances: Vec<&str> = words.collect();
        let mut named: Vec<String> = instances
            .iter()
            .map(|instance| template.replacen('@', &format!("@{instance}"), 1))
            .collect();
        if instances.is_empty() {
            named.push(template.to_owned());
        }
        for name in named {
            match word {
                "enable" => names.insert(name),
                _ => names.remove(&name),
            };
        }
    }
    let mut masked = Vec::new();
    for name in &names {
        if booted.target(&format!("{OWN}/{name}"))?.as_deref() == Some("/dev/null") {
            masked.push(name.clone());
        }
    }
    names.retain(|name| !masked.contains(name));
    Ok(names)
}

/// Records what the units that run need.
pub(super) fn see(booted: &mut Booted, findings: &mut Vec<Finding>) -> Result<()> {
    let active = active(booted)?;
    for name in &active {
        let files = files_of(booted, name)?;
        if files.iter().any(waits) {
            findings.push(Finding::new(code::AIRGAP_ONLINE).with("unit", name.escape_debug()));
        }
        let mut seen = BTreeSet::new();
        for command in files.iter().flat_map(commands) {
            if let Some(url) = url_in(command)
                && seen.insert(url.to_owned())
            {
                let finding = Finding::new(code::AIRGAP_URL)
                    .with("unit", name.escape_debug())
                    .with("url", url.escape_debug());
                findings.push(finding);
            }
            if let Some(image) = images::of_command(command)
                && seen.insert(image.clone())
                && !images::has(booted, &image)?
            {
                findings.push(missing_image(name, &image));
            }
        }
    }
    if active.contains(KUBELET) {
        for image in images::of_kubelet(booted)? {
            findings.push(missing_image(KUBELET, &image));
        }
    }
    Ok(())
}

fn missing_image(unit: &str, image: &str) -> Finding {
    Finding::new(code::AIRGAP_IMAGE)
        .with("unit", unit.escape_debug())
        .with("image", image.escape_debug())
}

/// The file of a unit and its drop-ins of /etc.
fn files_of(booted: &mut Booted, name: &str) -> Result<Vec<UnitFile>> {
    let file = unit::file_of(name);
    let mut texts = Vec::new();
    for path in [
        format!("{OWN}/{name}"),
        format!("{OWN}/{file}"),
        format!("{SHIPPED}/{file}"),
    ] {
        if let Some(text) = booted.text(&path)? {
            texts.push(text);
            break;
        }
    }
    for folder in [format!("{OWN}/{name}.d"), format!("{OWN}/{file}.d")] {
        for dropin in booted.names(&folder)? {
            texts.extend(booted.text(&format!("{folder}/{dropin}"))?);
        }
        if name == file {
            break;
        }
    }
    Ok(texts.iter().map(|text| unit_file::parse(text)).collect())
}

/// Whether a unit has the boot wait for the network.
fn waits(file: &UnitFile) -> bool {
    file.assignments.iter().any(|one| {
        PULLS.contains(&one.name.as_str())
            && one.value.split_whitespace().any(|word| word == ONLINE)
    })
}

fn commands(file: &UnitFile) -> impl Iterator<Item = &str> {
    let commands = file.assignments.iter();
    commands
        .filter(|one| one.section == "Service" && COMMANDS.contains(&one.name.as_str()))
        .map(|one| one.value.as_str())
}

/// An address of another machine in a command.
fn url_in(command: &str) -> Option<&str> {
    command
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '='))
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
        .find(|word| {
            let host = word.split_once("://").map_or("", |(_, rest)| rest);
            !host.starts_with("localhost")
                && !host.starts_with("127.")
                && !host.starts_with("[::1]")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_machines_are_found_in_commands() {
        for (command, expected) in [
            (
                "/usr/bin/curl -o /x https://a.example/y",
                Some("https://a.example/y"),
            ),
            ("/bin/sh -c 'wget http://b/c'", Some("http://b/c")),
            (
                "/opt/x --server=http://127.0.0.1:80 --at=http://localhost/",
                None,
            ),
            ("/opt/x", None),
        ] {
            assert_eq!(url_in(command), expected, "{command}");
        }
    }
}
