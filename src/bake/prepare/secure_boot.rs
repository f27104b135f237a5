//! Secure Boot of machines that are to have it.

use super::super::request::Request;
use super::bench::Run;
use crate::block::{BlockDevice, shown};
use crate::bytes::to_usize;
use crate::error::{Error, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::vendor::Settings;
use crate::image::{self, OpenOptions};
use crate::machine::{ConfFormat, NVRAM_MAX, missing_keys};

/// What keeps Secure Boot off where a vendor's machine is to have it.
pub(super) fn secure_boot(
    request: &Request,
    settings: &Settings,
    run: &Run<'_>,
) -> Result<Option<Finding>> {
    if settings.conf_format != Some(ConfFormat::QemuUefiSecure) {
        return Ok(None);
    }
    let told = |why: String| Some(Finding::new(code::SECURE_BOOT_OFF).with("why", why));
    let Some(files) = &request.vendors.firmware else {
        return Ok(told("no firmware is given".to_owned()));
    };
    let name = shown(&files.vars);
    // The variables may be a qcow2, as Flatcar publishes them.
    let options = OpenOptions {
        inputs: run.inputs.clone(),
        ..OpenOptions::new(&run.context.temp_dir)
    };
    let device = image::open(&files.vars, &options, run.context.progress)?.device;
    if device.size() > NVRAM_MAX {
        return Err(Error::invalid(format!(
            "{} bytes are too many for UEFI variables: at most {NVRAM_MAX}",
            device.size()
        )))
        .at(|| name);
    }
    let mut nvram = vec![0; to_usize(device.size())?];
    device.read_at(0, &mut nvram)?;
    let missing = missing_keys(&nvram).at(|| name.clone())?;
    Ok(if missing.is_empty() {
        None
    } else {
        told(format!("{name} lacks {}", missing.join(" and ")))
    })
}
