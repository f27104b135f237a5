//! The part of `flatbake bake` that makes a folder of results: images for vendors, variants of a manifest.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use flatbake::bake::manifest::{OutputRequest, Resolved, Variant};
use flatbake::bake::{
    self, Fanout, FileSource, FirmwareFiles, Key, OemSysexts, Outcome, PlainOutput, Prepared, PreparedImage, Report,
    Scratch, VariantOptions, VendorChoice, WriteOptions,
};
use flatbake::bytes::ByteSize;
use flatbake::flatcar::Disk;
use flatbake::flatcar::live::iso::Isolinux;
use flatbake::flatcar::vendor::{Status, Vendors};
use flatbake::{Error, Progress, Result};

use super::progress::Reporter;
use super::show::show;

/// Which vendors images are made for, and with what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Vendors")]
pub struct VendorArgs {
    /// Make images for these vendors (see flatbake vendors), or for all that Flatcar makes images for
    #[arg(long, value_name = "ID,…|all", value_delimiter = ',', requires = "output_dir")]
    vendor: Vec<String>,
    /// Know the vendor that this file describes, in addition or in place of the one with its id
    #[arg(long, value_name = "FILE")]
    vendor_file: Vec<PathBuf>,
    /// OEM sysexts of the image's release: files, or folders that hold oem-ID.raw
    #[arg(long, value_name = "PATH")]
    oem_sysext: Vec<PathBuf>,
    /// Make sizes and formats only, and leave the vendor's files on the OEM partition as they are
    #[arg(long, conflicts_with = "oem_sysext")]
    no_oem: bool,
    /// The folder with isolinux.bin and ldlinux.c32 (and isohdpfx.bin) of syslinux, by which CD images start on a BIOS
    #[arg(long, value_name = "DIR")]
    isolinux: Option<PathBuf>,
    /// UEFI firmware to put beside the start scripts of QEMU [default: scripts look for the host's]
    #[arg(long, value_name = "CODE:VARS", value_parser = firmware)]
    firmware: Option<FirmwareFiles>,
    /// The folder for images of vendors and variants, config files, SHA256SUMS and a report
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
}

impl VendorArgs {
    /// All vendors that are known: built in, and of files.
    pub fn known(&self) -> Result<Vendors> {
        super::vendors::known(&self.vendor_file)
    }

    /// The files of syslinux for CD images.
    fn isolinux(&self) -> Result<Option<Isolinux>> {
        let Some(folder) = &self.isolinux else { return Ok(None) };
        Ok(Some(Isolinux {
            isolinux_bin: read(&folder.join("isolinux.bin"))?,
            ldlinux_c32: read(&folder.join("ldlinux.c32"))?,
            isohdpfx_bin: match folder.join("isohdpfx.bin") {
                path if path.exists() => Some(read(&path)?),
                _ => None,
            },
        }))
    }

    /// Where results go, and how.
    pub fn options(&self, folder: PathBuf, inputs: Vec<PathBuf>, seed: String) -> Result<WriteOptions> {
        let (isolinux, firmware) = (self.isolinux()?, self.firmware.clone());
        Ok(WriteOptions { folder, outputs: Vec::new(), compress: None, seed, inputs, isolinux, firmware })
    }

    /// The vendors asked for, none twice.
    fn chosen(&self, known: &Vendors) -> Result<Vec<VendorChoice>> {
        let mut chosen: Vec<VendorChoice> = Vec::new();
        for id in &self.vendor {
            let vendors: Vec<_> = match id.as_str() {
                "all" => known.iter().filter(|vendor| vendor.status == Status::Current).collect(),
                id => vec![known.find(id)?],
            };
            for vendor in vendors {
                if chosen.iter().all(|other| other.vendor.id != vendor.id) {
                    chosen.push(VendorChoice { vendor: vendor.clone(), oem_sysext: None });
                }
            }
        }
        Ok(chosen)
    }

    /// What the command line asks for.
    pub fn fanout(&self, shared: bake::BakeOptions) -> Result<Fanout> {
        let (vendors, oem_sysexts) = (self.chosen(&self.known()?)?, OemSysexts::new(&self.oem_sysext)?);
        Ok(Fanout { shared, vendors, oem_sysexts, no_oem: self.no_oem, ..Fanout::default() })
    }

    /// What a manifest asks for, with the sysexts that the command line gives.
    pub fn fanout_of(&self, manifest: &Resolved) -> Result<Fanout> {
        let known = self.known()?;
        let mut vendors = Vec::new();
        for request in &manifest.vendors {
            let vendor = known.find(&request.id).map_err(|error| error.at(request.position.clone()))?.clone();
            vendors.push(VendorChoice { vendor, oem_sysext: request.oem_sysext.clone() });
        }
        let variant =
            |variant: &Variant| VariantOptions { name: variant.name.clone(), options: variant.options.clone() };
        Ok(Fanout {
            shared: manifest.options.clone(),
            variants: manifest.variants.iter().map(variant).collect(),
            vendors,
            oem_sysexts: OemSysexts::new(&self.oem_sysext)?,
            no_oem: self.no_oem,
            plain: !manifest.outputs.is_empty(),
        })
    }
}

fn firmware(text: &str) -> std::result::Result<FirmwareFiles, String> {
    match text.split_once(':') {
        Some((code, vars)) if !code.is_empty() && !vars.is_empty() => {
            Ok(FirmwareFiles { code: code.into(), vars: vars.into() })
        }
        _ => Err(format!("'{text}' is not CODE:VARS, for example OVMF_CODE.qcow2:OVMF_VARS.qcow2")),
    }
}

/// A file of syslinux: real ones have below 200 KiB.
fn read(path: &Path) -> Result<Vec<u8>> {
    const MAX: u64 = 4 << 20;
    let error = |error| Error::io(format!("reading {}", path.display()), error);
    let mut content = Vec::new();
    File::open(path).map_err(error)?.take(MAX + 1).read_to_end(&mut content).map_err(error)?;
    match u64::try_from(content.len()) {
        Ok(0..=MAX) => Ok(content),
        _ => Err(Error::invalid(format!("{} is larger than {MAX} bytes", path.display()))),
    }
}

/// The plain outputs that a manifest asks for.
pub fn outputs(manifest: &Resolved) -> Vec<PlainOutput> {
    let output = |request: &OutputRequest| PlainOutput {
        file: request.file.clone(),
        format: request.format,
        compress: request.compress,
    };
    manifest.outputs.iter().map(output).collect()
}

/// All host files and folders that a bake reads.
pub fn inputs(image: &Path, fanout: &Fanout) -> Vec<PathBuf> {
    let shared = &fanout.shared;
    let files = shared.files.iter().filter_map(|file| match &file.source {
        FileSource::Host(path) => Some(path.clone()),
        FileSource::Inline(_) => None,
    });
    let sysexts = shared.sysexts.iter().map(|sysext| sysext.file.clone());
    let archives = shared.archives.iter().map(|archive| archive.source.clone());
    std::iter::once(image.to_owned()).chain(sysexts).chain(archives).chain(files).collect()
}

/// What is made of an image, and where it goes.
pub struct Job<'a> {
    /// The image.
    pub disk: &'a Disk,
    /// What is made of it.
    pub fanout: Fanout,
    /// Where it goes.
    pub options: WriteOptions,
    /// Only show what would be done.
    pub dry_run: bool,
    /// Print the report as JSON.
    pub json: bool,
}

impl Job<'_> {
    /// Prepares everything, then writes it and tells what became of it.
    pub fn run(self, scratch: &Scratch, reporter: &Reporter) -> Result<()> {
        if self.fanout.vendors.is_empty() && self.options.outputs.is_empty() {
            return Err(Error::invalid("nothing is asked for that could be written")
                .with_hint("give --vendor, or vendors: or outputs: in the manifest; flatbake vendors lists vendors"));
        }
        let prepared = bake::prepare(self.disk, &self.fanout, scratch, reporter)?;
        warn(&prepared, reporter);
        if self.dry_run {
            return self.show(prepared);
        }
        let plan = prepared.plan.clone();
        let outcomes = bake::write_all(prepared, &self.options, reporter);
        let inputs = bake::digests(&self.options.inputs, reporter)?;
        let folder = &self.options.folder;
        let report = Report::new(folder, &inputs, &plan, &outcomes);
        if outcomes.iter().any(|outcome| !outcome.files.is_empty()) {
            report.write(folder)?;
        }
        for outcome in &outcomes {
            tell(outcome, folder, reporter);
        }
        if self.json {
            super::print_json(&report)?;
        }
        failure(outcomes)
    }

    /// What would be done; what cannot be is an error as it would be then.
    fn show(&self, prepared: Prepared) -> Result<()> {
        let mut text = show(&prepared.plan);
        for (key, image) in &prepared.results {
            match image {
                Err(error) => text.push_str(&format!("\n== {key}: {error}\n")),
                Ok(image) => {
                    text.push_str(&format!("\n== {key}: disk of {}\n", ByteSize(image.disk_bytes())));
                    image.plans().for_each(|plan| text.push_str(&show(plan)));
                }
            }
        }
        let unwritten = |(key, image): (Key, Result<PreparedImage>)| match image {
            Ok(image) => Outcome { key, image: Some(image), files: Vec::new(), error: None },
            Err(error) => Outcome { key, image: None, files: Vec::new(), error: Some(error) },
        };
        let outcomes: Vec<Outcome> = prepared.results.into_iter().map(unwritten).collect();
        match self.json {
            true => super::print_json(&Report::new(&self.options.folder, &[], &prepared.plan, &outcomes))?,
            false => super::print(text)?,
        }
        failure(outcomes)
    }
}

fn warn(prepared: &Prepared, reporter: &Reporter) {
    prepared.plan.warnings.iter().for_each(|warning| reporter.warn(warning));
    for (key, image) in &prepared.results {
        let plans = image.iter().flat_map(|image| image.plans());
        plans.flat_map(|plan| &plan.warnings).for_each(|warning| reporter.warn(&format!("{key}: {warning}")));
    }
}

/// What became of one result, for people.
fn tell(outcome: &Outcome, folder: &Path, reporter: &Reporter) {
    for file in &outcome.files {
        let name = file.path.strip_prefix(folder).unwrap_or(&file.path);
        reporter.info(&format!("{}: wrote {} ({})", outcome.key, name.display(), ByteSize(file.bytes)));
    }
}

/// The error of a run of which some results failed: that of the first, with the others told.
fn failure(outcomes: Vec<Outcome>) -> Result<()> {
    let total = outcomes.len();
    let failed: Vec<(Key, Error)> =
        outcomes.into_iter().filter_map(|outcome| Some((outcome.key, outcome.error?))).collect();
    let Some((_, first)) = failed.first() else { return Ok(()) };
    if let [(_, _)] = failed.as_slice()
        && total == 1
    {
        return failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error));
    }
    let kind = first.kind();
    let each = failed.iter().map(|(key, error)| {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("\n  - {key}: {error}{hint}")
    });
    let message = format!("{} of {total} images failed:{}", failed.len(), each.collect::<String>());
    Err(Error::new(kind, message).with_hint("the other images are whole"))
}
