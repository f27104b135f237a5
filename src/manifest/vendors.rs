//! The vendors of a manifest: which there are, which are asked for, and what belongs to them.

use std::path::PathBuf;
use std::sync::Arc;

use super::document::{self, Document, Text};
use super::inputs::{Inputs, Want};
use super::options::LoadOptions;
use crate::bake::{FirmwareFiles, VendorChoice, VendorTargets};
use crate::document::{Spanned, TextOr, TextOrList};
use crate::error::{Error, Result, ResultExt};
use crate::flatcar::vendor::Vendors;

/// What a vendor's file is to a run.
pub(super) const ROLE: &str = "vendor file";
/// The word for every vendor that Flatcar makes images of the release for.
const ALL: &str = "all";
/// Most vendors that can be asked for: there are some fifty, and files of one's own.
const VENDORS_MAX: usize = 1000;

/// The vendors that there are.
pub(super) struct Known {
    pub(super) vendors: Arc<Vendors>,
    /// The files that some of them come from.
    pub(super) files: Vec<PathBuf>,
}

/// The vendors that are built in, those of the manifest's files, and then those of the caller's.
pub(super) fn known(document: &Document, options: &LoadOptions, inputs: &Inputs) -> Result<Known> {
    let mut vendors = Vendors::builtin().clone();
    let mut files = Vec::new();
    for text in &document.vendor_files {
        let path = inputs.add(text, Want::File)?;
        vendors.add_file(&path).at(|| inputs.place(text.position))?;
        files.push(path);
    }
    for path in &options.vendor_files {
        vendors.add_file(path)?;
        files.push(path.clone());
    }
    Ok(Known {
        vendors: Arc::new(vendors),
        files,
    })
}

/// What images of vendors are asked for.
pub(super) fn targets(
    document: &Document,
    known: &Arc<Vendors>,
    inputs: &Inputs,
) -> Result<VendorTargets> {
    let mut targets = VendorTargets {
        oem_sysexts: document
            .oem_sysexts
            .iter()
            .map(|text| oem_sysexts(text, inputs))
            .collect::<Result<_>>()?,
        no_oem: document.no_oem,
        isolinux: document
            .isolinux
            .as_ref()
            .map(|text| isolinux(text, inputs))
            .transpose()?,
        firmware: document
            .firmware
            .as_ref()
            .map(|files| firmware(files, inputs))
            .transpose()?,
        ..VendorTargets::default()
    };
    let Some(asked) = &document.vendors else {
        return Ok(targets);
    };
    match &asked.value {
        TextOrList::Text(id) => {
            let id = Text {
                position: asked.position,
                value: id.clone(),
            };
            choose(&id, None, known, &mut targets, inputs)?;
        }
        TextOrList::List(list) if list.len() > VENDORS_MAX => {
            let message = format!("{} vendors are too many: at most {VENDORS_MAX}", list.len());
            return Err(Error::invalid(message).at(inputs.place(asked.position)));
        }
        TextOrList::List(list) => {
            list.iter()
                .try_for_each(|vendor| choose_one(vendor, known, &mut targets, inputs))?;
        }
    }
    Ok(targets)
}

fn choose_one(
    vendor: &Spanned<TextOr<document::Vendor>>,
    known: &Arc<Vendors>,
    targets: &mut VendorTargets,
    inputs: &Inputs,
) -> Result<()> {
    match &vendor.value {
        TextOr::Text(id) => choose(
            &Text {
                position: vendor.position,
                value: id.clone(),
            },
            None,
            known,
            targets,
            inputs,
        ),
        TextOr::Table(table) => {
            choose(&table.id, table.oem_sysext.as_ref(), known, targets, inputs)
        }
    }
}

fn choose(
    id: &Text,
    oem_sysext: Option<&Text>,
    known: &Arc<Vendors>,
    targets: &mut VendorTargets,
    inputs: &Inputs,
) -> Result<()> {
    let place = inputs.place(id.position);
    let oem_sysext = oem_sysext
        .map(|file| inputs.add(file, Want::File))
        .transpose()?;
    if id.value == ALL {
        if oem_sysext.is_some() {
            return Err(
                Error::invalid("one OEM sysext cannot be that of all vendors")
                    .with_hint("give a folder that holds oem-ID.raw of each with oem_sysexts")
                    .at(place),
            );
        }
        targets.all_of = Some(Arc::clone(known));
        return Ok(());
    }
    let vendor = known.find(&id.value).at(|| place.clone())?.clone();
    targets.chosen.push(VendorChoice {
        vendor,
        oem_sysext,
        origin: Some(place),
    });
    Ok(())
}

/// A file, or a folder whose files are found by their names.
fn oem_sysexts(text: &Text, inputs: &Inputs) -> Result<PathBuf> {
    let path = inputs.add(text, Want::FileOrFolder)?;
    if path.is_dir() {
        inputs.check_entries(text, &path)?;
    }
    Ok(path)
}

fn isolinux(text: &Text, inputs: &Inputs) -> Result<PathBuf> {
    let folder = inputs.add(text, Want::Folder)?;
    inputs.check_entries(text, &folder)?;
    Ok(folder)
}

fn firmware(files: &document::Firmware, inputs: &Inputs) -> Result<FirmwareFiles> {
    Ok(FirmwareFiles {
        code: inputs.add(&files.code, Want::File)?,
        vars: inputs.add(&files.vars, Want::File)?,
    })
}
