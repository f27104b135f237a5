//! The disks of a manifest that are no vendor's: names, formats and their details.

use std::path::Path;
use std::str::FromStr;

use super::document::{self, Document, Text};
use super::inputs::Inputs;
use crate::bake::{Output, OutputDetails};
use crate::document::{Raw, Spanned, TextOr};
use crate::error::{Error, Result, ResultExt};
use crate::fs::FsPath;
use crate::image::{CompressOptions, OutputFormat};

/// What is written.
pub(super) struct Outputs {
    pub(super) outputs: Vec<Output>,
    /// The compression of outputs whose names leave it open, which is also that of vendors' disks.
    pub(super) compress: Option<CompressOptions>,
}

/// The outputs asked for, in `folder`.
pub(super) fn outputs(
    document: &Document,
    folder: Option<&Path>,
    has_vendors: bool,
    inputs: &Inputs,
) -> Result<Outputs> {
    let compress: Option<CompressOptions> = text_of(document.compress.as_ref(), inputs)?;
    let folder = folder.unwrap_or(inputs.folder());
    let mut is_used = has_vendors;
    let mut outputs = Vec::with_capacity(document.outputs.len());
    for asked in &document.outputs {
        let output = match &asked.value {
            TextOr::Text(file) => {
                let file = Text {
                    position: asked.position,
                    value: file.clone(),
                };
                output(
                    &Asked {
                        file: &file,
                        table: None,
                        folder,
                        usual: compress,
                    },
                    inputs,
                )?
            }
            TextOr::Table(table) => output(
                &Asked {
                    file: &table.file,
                    table: Some(table),
                    folder,
                    usual: compress,
                },
                inputs,
            )?,
        };
        is_used |= output.compress == compress;
        outputs.push(output);
    }
    match &document.compress {
        Some(text) if !is_used => Err(Error::invalid(
            "the compression is given, but nothing that is written uses it",
        )
        .with_hint(
            "it is for outputs whose names leave it open, such as node.img, and for vendors' disks",
        )
        .at(inputs.place(text.position))),
        _ => Ok(Outputs { outputs, compress }),
    }
}

/// An output that is asked for by its name, or by a table.
struct Asked<'a> {
    file: &'a Text,
    table: Option<&'a document::Output>,
    folder: &'a Path,
    /// The compression of outputs whose names leave it open.
    usual: Option<CompressOptions>,
}

fn output(asked: &Asked<'_>, inputs: &Inputs) -> Result<Output> {
    let place = inputs.place(asked.file.position);
    let name = &asked.file.value;
    let is_name = FsPath::root().join(name).at(|| place.clone());
    is_name.map_err(|error| {
        error.with_hint("give a file name without folders; the folder is that of output:")
    })?;
    let path = asked.folder.join(name);
    let format = text_of(asked.table.and_then(|table| table.format.as_ref()), inputs)?;
    let given = text_of(
        asked.table.and_then(|table| table.compress.as_ref()),
        inputs,
    )?;
    let decided = match given {
        Some(_) => OutputFormat::decide(&path, format, given),
        // What is usual does not go against a name.
        None => OutputFormat::decide(&path, format, asked.usual)
            .or_else(|_| OutputFormat::decide(&path, format, None)),
    };
    let (format, compress) = decided.at(|| place.clone())?;
    let output = Output {
        format,
        compress,
        origin: Some(place.clone()),
        ..Output::at(path)
    };
    match asked.table {
        Some(table) => details(table, inputs)?.apply(output).at(|| place),
        None => Ok(output),
    }
}

fn details(table: &document::Output, inputs: &Inputs) -> Result<OutputDetails> {
    Ok(OutputDetails {
        qcow2_version: parsed(table.qcow2_version.as_ref(), inputs)?,
        compression_type: parsed(table.compression_type.as_ref(), inputs)?,
        cluster_size: parsed(table.cluster_size.as_ref(), inputs)?,
        level: parsed(table.level.as_ref(), inputs)?,
        uncompressed: table.uncompressed,
    })
}

fn text_of<T: FromStr<Err = Error>>(text: Option<&Text>, inputs: &Inputs) -> Result<Option<T>> {
    text.map(|text| text.value.parse().at(|| inputs.place(text.position)))
        .transpose()
}

fn parsed<T: FromStr<Err = Error>>(
    text: Option<&Spanned<Raw>>,
    inputs: &Inputs,
) -> Result<Option<T>> {
    text.map(|text| text.value.0.parse().at(|| inputs.place(text.position)))
        .transpose()
}
