//! Sysexts that a boot fetches where their files are not there, and those that are kept up to date.

use crate::error::Result;
use crate::finding::{Finding, code};
use crate::flatcar::ignition::run::Booted;
use crate::flatcar::official;

const MARKER: &str = "/sysext/active-oem-";
const TIMER: &str = "systemd-sysupdate.timer";

/// Records what the network is needed for; `version` is that of the image.
pub(super) fn see(
    booted: &mut Booted,
    version: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    if let Some(version) = version {
        see_official(booted, version, findings)?;
        see_vendor(booted, version, findings)?;
    }
    see_updates(booted, findings)
}

/// Flatcar's own optional ones.
fn see_official(booted: &mut Booted, version: &str, findings: &mut Vec<Finding>) -> Result<()> {
    let mut names: Vec<String> = Vec::new();
    for path in ["/usr/share/flatcar/enabled-sysext.conf", official::CONF] {
        let text = booted.text(path)?.unwrap_or_default();
        for line in text.lines() {
            let name = line.split('#').next().unwrap_or_default().trim();
            match name.strip_prefix('-') {
                Some(off) => names.retain(|name| name != off),
                None if name.is_empty() || names.iter().any(|known| known == name) => {}
                None => names.push(name.to_owned()),
            }
        }
    }
    for name in names {
        let file = format!("{}/flatcar-{name}-{version}.raw", official::FOLDER);
        if !booted.exists(&file)? {
            let finding = Finding::new(code::AIRGAP_SYSEXT)
                .with("name", name.escape_debug())
                .with("file", file.escape_debug());
            findings.push(finding);
        }
    }
    Ok(())
}

/// The sysext of the platform.
fn see_vendor(booted: &mut Booted, version: &str, findings: &mut Vec<Finding>) -> Result<()> {
    let oem = booted.oem.clone();
    let release = booted
        .text(&format!("{oem}/oem-release"))?
        .unwrap_or_default();
    let id = release.lines().find_map(|line| line.strip_prefix("ID="));
    let Some(id) = id.map(|id| id.trim_matches('"').to_owned()) else {
        return Ok(());
    };
    if !booted.exists(&format!("{oem}{MARKER}{id}"))? {
        return Ok(());
    }
    let wanted = format!("oem-{id}-{version}.raw");
    for path in [
        format!("{oem}/sysext/{wanted}"),
        format!("/etc/flatcar/oem-sysext/{wanted}"),
        format!("{oem}/sysext/oem-{id}-initial.raw"),
    ] {
        if booted.exists(&path)? {
            return Ok(());
        }
    }
    let found: Vec<String> = booted
        .names(&format!("{oem}/sysext"))?
        .into_iter()
        .filter(|name| name.ends_with(".raw"))
        .collect();
    let found = match found.as_slice() {
        [] => "there is none at all".to_owned(),
        found => format!("there is {}", found.join(", ")),
    };
    let finding = Finding::new(code::AIRGAP_OEM_SYSEXT)
        .with("file", wanted.escape_debug())
        .with("found", found.escape_debug());
    findings.push(finding);
    Ok(())
}

/// What systemd-sysupdate fetches.
fn see_updates(booted: &mut Booted, findings: &mut Vec<Finding>) -> Result<()> {
    if !super::units::active(booted)?.contains(TIMER) {
        return Ok(());
    }
    let mut components = Vec::new();
    for folder in booted.names("/etc")? {
        let name = folder
            .strip_prefix("sysupdate.")
            .and_then(|rest| rest.strip_suffix(".d"));
        if let Some(name) = name
            && !booted.names(&format!("/etc/{folder}"))?.is_empty()
        {
            components.push(name.to_owned());
        }
    }
    if !components.is_empty() {
        let finding = Finding::new(code::AIRGAP_SYSUPDATE)
            .with("unit", TIMER)
            .with("names", components.join(", ").escape_debug());
        findings.push(finding);
    }
    Ok(())
}
