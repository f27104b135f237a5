//! What of an image needs a network at its first boot, and after it.
//!
//! ```text
//!  image ─┐
//!         ├─ first boot, rehearsed ─▶ the tree as the booted system has it ─▶ sources, sysexts, updates, units, images
//!  config ┘
//! ```
//!
//! Errors are what the machine does not come up without; warnings what is tried, and fails or waits.

mod extensions;
mod images;
mod units;

use serde::Serialize;

use crate::error::Result;
use crate::finding::{Finding, code};
use crate::flatcar::Disk;
use crate::flatcar::ignition::run::{Booted, RunOptions, booted};

/// What needs the network.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Needs {
    /// The configs that were taken, in their order.
    pub configs: Vec<String>,
    /// Each need; one that stops is an error. Where Ignition would stop for another reason, that is here, too.
    pub findings: Vec<Finding>,
}

/// All needs of the network of an image, with the config that its options have.
///
/// # Errors
/// The image cannot be read.
pub fn needs(disk: &Disk, options: &RunOptions) -> Result<Needs> {
    let mut booted = booted(disk, options)?;
    let mut findings: Vec<Finding> = booted.findings.iter().filter_map(of_ignition).collect();
    let release = disk.os_release()?;
    let version = release.as_ref().and_then(|release| release.version());
    extensions::see(&mut booted, version, &mut findings)?;
    see_update_engine(&mut booted, &mut findings)?;
    units::see(&mut booted, &mut findings)?;
    Ok(Needs {
        configs: booted.configs,
        findings,
    })
}

/// What a finding of the rehearsal means without a network.
fn of_ignition(finding: &Finding) -> Option<Finding> {
    if finding.code() != code::IGNITION_REMOTE {
        return finding.stops().then(|| finding.clone());
    }
    let place: Vec<&str> = finding.place().collect();
    let need = Finding::new(code::AIRGAP_SOURCE)
        .with("what", finding.value("what").unwrap_or_default())
        .with("url", finding.value("url").unwrap_or_default());
    Some(need.at(place.join(": ")))
}

/// The unit that asks for updates of the system, and what it is told.
const UPDATE_ENGINE: &str = "/etc/systemd/system/update-engine.service";
const UPDATE_CONFS: [&str; 2] = ["/etc/flatcar/update.conf", "/usr/share/flatcar/update.conf"];
const UPDATE_SERVER: &str = "https://public.update.flatcar-linux.net/v1/update/";

fn see_update_engine(booted: &mut Booted, findings: &mut Vec<Finding>) -> Result<()> {
    if booted.target(UPDATE_ENGINE)?.as_deref() == Some("/dev/null") {
        return Ok(());
    }
    let mut server = UPDATE_SERVER.to_owned();
    // What /etc says counts more.
    for path in UPDATE_CONFS.iter().rev() {
        let text = booted.text(path)?.unwrap_or_default();
        let own = text
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("SERVER="));
        if let Some(own) = own {
            own.trim_matches('"').clone_into(&mut server);
        }
    }
    if server != "disabled" {
        findings.push(Finding::new(code::AIRGAP_UPDATES).with("server", server.escape_debug()));
    }
    Ok(())
}
