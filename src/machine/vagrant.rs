//! Vagrant boxes: what is packed beside the disk, and the catalog that tells Vagrant where boxes are.
//!
//! ```text
//!   flatcar_production_vagrant.box            box.ovf  metadata.json  Vagrantfile  configure_networks.rb  base_mac.rb  disk
//!   flatcar_production_vagrant_parallels.box  box.pvm/config.pvs  box.pvm/disk.hdd/…  metadata.json  Vagrantfile  …
//! ```

use serde_json::json;

use super::conf_file::ConfFile;
use super::description::{Arch, Machine};
use super::format::ConfFormat;
use super::{ovf, pvs, quote, vmx};
use crate::error::{Error, Result};

/// Settings of every box, as Vagrant merges them into a user's own.
const VAGRANTFILE: &str = include_str!("templates/Vagrantfile");

/// How networks are set up in the guest.
const CONFIGURE_NETWORKS: &str = include_str!("templates/configure_networks.rb");

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// A box that a catalog offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogBox {
    /// Which of the formats for Vagrant it is.
    pub format: ConfFormat,
    /// Its architecture.
    pub arch: Arch,
    /// From where Vagrant fetches it: an address, or a path, which Vagrant takes from the folder that it is run in, wherever
    /// the catalog came from.
    pub url: String,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// The files of a box.
pub(super) fn files(format: ConfFormat, machine: &Machine) -> Result<Vec<ConfFile>> {
    // A machine for Fusion has an address made by Fusion.
    let (name, text, mac) = match format {
        ConfFormat::Vagrant => (
            "box.ovf".to_owned(),
            ovf::virtualbox(machine),
            Some(ovf::virtualbox_mac(machine)),
        ),
        ConfFormat::VagrantParallels => (
            format!("{}config.pvs", format.disk_folder()),
            pvs::text(machine, true),
            Some(pvs::mac(machine)),
        ),
        _ => (format!("{}.vmx", machine.stem), vmx::text(machine), None),
    };
    let metadata =
        json!({ "provider": provider(format)?, "architecture": machine.arch.to_string() });
    let mut files = vec![
        ConfFile::inside("metadata.json", json_text(&metadata)?),
        ConfFile::inside(&name, text),
        ConfFile::inside("Vagrantfile", VAGRANTFILE.to_owned()),
        ConfFile::inside("configure_networks.rb", CONFIGURE_NETWORKS.to_owned()),
    ];
    if let Some(mac) = mac {
        let text = format!(
            "Vagrant.configure('2') do |config|\n  config.vm.base_mac = {}\nend\n",
            quote::ruby(&mac)
        );
        files.push(ConfFile::inside("base_mac.rb", text));
    }
    Ok(files)
}

/// The catalog of the machine's version, called `name`: a user points Vagrant at it to get boxes and their updates.
///
/// # Errors
///
/// [`crate::ErrorKind::InvalidInput`] where [`Machine::check`] finds something, for a version that Vagrant cannot
/// compare, a box of another kind or a checksum that is none.
pub fn vagrant_catalog(name: &str, machine: &Machine, boxes: &[CatalogBox]) -> Result<ConfFile> {
    machine.check()?;
    let providers: Result<Vec<_>> = boxes.iter().map(catalog_entry).collect();
    let catalog = json!({
        "name": format!("flatcar-{}", machine.group),
        "description": format!("Flatcar {}", machine.group),
        "versions": [{ "version": version(&machine.version)?, "providers": providers? }],
    });
    Ok(ConfFile::beside(name.to_owned(), json_text(&catalog)?))
}

fn catalog_entry(offered: &CatalogBox) -> Result<serde_json::Value> {
    let CatalogBox {
        format,
        arch,
        url,
        sha256,
    } = offered;
    if sha256.len() != SHA256_DIGITS || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::invalid(format!(
            "'{}' is not a SHA-256: it has {SHA256_DIGITS} digits",
            sha256.escape_debug()
        )));
    }
    if url.is_empty() || url.contains(char::is_control) {
        return Err(Error::invalid(format!(
            "'{}' cannot be the address of a box",
            url.escape_debug()
        )));
    }
    Ok(json!({
        "name": provider(*format)?,
        "url": url,
        "checksum_type": "sha256",
        "checksum": sha256.to_ascii_lowercase(),
        "architecture": arch.to_string(),
    }))
}

/// The part of a version that Vagrant can compare (it takes those of Ruby's packages): without what follows a plus sign.
fn version(version: &str) -> Result<&str> {
    let plain = version.split_once('+').map_or(version, |(plain, _)| plain);
    let sound =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain.starts_with(|c: char| c.is_ascii_digit()) || !plain.split(['.', '-']).all(sound) {
        return Err(Error::invalid(format!(
            "'{}' cannot be the version of a box",
            version.escape_debug()
        ))
        .with_hint("write numbers with dots: 4593.2.5"));
    }
    Ok(plain)
}

fn provider(format: ConfFormat) -> Result<&'static str> {
    format.provider().ok_or_else(|| {
        Error::invalid(format!("{format} is no format of Vagrant boxes"))
            .with_hint("they are vagrant, vagrant_parallels and vagrant_vmware_fusion")
    })
}

fn json_text(value: &serde_json::Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Error::internal("JSON of plain values").with_source(error))
}
