//! What comes out of a bake: vendors, plain images, and the names that keep them apart.

use std::path::{Path, PathBuf};

use super::document::{self, Text};
use super::inputs::{Inputs, Want};
use super::spanned::{Spanned, TextOr};
use super::{OutputRequest, VendorRequest};
use crate::bake::emit::Output;
use crate::error::{Error, Result, ResultExt};
use crate::fs::FsPath;

/// The vendors asked for, each once; `known` are those that there are, or none for any.
pub(super) fn vendors(
    asked: &[Spanned<TextOr<document::Vendor>>],
    known: &[String],
    inputs: &mut Inputs,
) -> Result<Vec<VendorRequest>> {
    let mut vendors: Vec<VendorRequest> = Vec::new();
    for vendor in asked {
        let (id, oem_sysext) = match &vendor.value {
            TextOr::Text(id) => (Text { position: vendor.position, value: id.clone() }, None),
            TextOr::Table(table) => (table.id.clone(), table.oem_sysext.as_ref()),
        };
        let position = inputs.place(id.position);
        if id.value.is_empty() || !(known.is_empty() || known.contains(&id.value)) {
            let error = Error::invalid(format!("there is no vendor '{}'", id.value.escape_debug()));
            return Err(error.with_hint(format!("vendors are {}", known.join(", "))).at(position));
        }
        if let Some(earlier) = vendors.iter().find(|earlier| earlier.id == id.value) {
            return Err(written_twice(&format!("the vendor {}", id.value), &earlier.position).at(position));
        }
        let oem_sysext = oem_sysext.map(|file| inputs.add(file, Want::File, None)).transpose()?;
        vendors.push(VendorRequest { id: id.value, oem_sysext, position });
    }
    Ok(vendors)
}

/// The plain images asked for, no two of which write one file.
pub(super) fn outputs(
    asked: &[Spanned<TextOr<document::Output>>],
    compress: Option<&Text>,
    inputs: &Inputs,
) -> Result<Vec<OutputRequest>> {
    let default = compress.map(|text| text.value.parse().at(|| inputs.place(text.position))).transpose()?;
    let mut outputs: Vec<OutputRequest> = Vec::new();
    for output in asked {
        let (file, format, compress) = match &output.value {
            TextOr::Text(file) => (Text { position: output.position, value: file.clone() }, None, None),
            TextOr::Table(table) => (table.file.clone(), table.format.as_ref(), table.compress.as_ref()),
        };
        let position = inputs.place(file.position);
        FsPath::root()
            .join(&file.value)
            .at(|| position.clone())
            .map_err(|error| error.with_hint("give a file name without folders; the folder is that of output:"))?;
        let usual = Output::new(&file.value);
        let format = format.map(|text| text.value.parse().at(|| inputs.place(text.position))).transpose()?;
        let compress = compress.map(|text| text.value.parse().at(|| inputs.place(text.position))).transpose()?;
        let request = OutputRequest {
            format: format.unwrap_or(usual.format),
            compress: compress.or(usual.compress).or(default),
            file: file.value,
            position,
        };
        let shares = |earlier: &&OutputRequest| files(earlier).iter().any(|file| files(&request).contains(file));
        if let Some(earlier) = outputs.iter().find(shares) {
            return Err(written_twice(&request.file, &earlier.position).at(request.position));
        }
        outputs.push(request);
    }
    Ok(outputs)
}

/// The names of all files that an output consists of.
fn files(request: &OutputRequest) -> Vec<PathBuf> {
    Output { format: request.format, ..Output::new(&request.file) }.files()
}

/// Refuses outputs in `folder` that are inputs.
pub(super) fn refuse_over_inputs(folder: &Path, outputs: &[OutputRequest], inputs: &Inputs) -> Result<()> {
    for request in outputs {
        for file in files(request) {
            inputs.refuse_over_input(&folder.join(file)).at(|| request.position.clone())?;
        }
    }
    Ok(())
}

fn written_twice(what: &str, earlier: &str) -> Error {
    Error::invalid(format!("{what} is already asked for at {earlier}, and would be written twice"))
        .with_hint("leave one of them out, or give them different names")
}
