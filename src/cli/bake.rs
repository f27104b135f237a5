//! `flatbake bake` and `flatbake plan`

use std::io;

use crate::bake::{Context, Prepared, Written};
use crate::bytes::ByteSize;
use crate::manifest::Manifest;
use crate::{Error, Progress, Result};
use clap::Args;

use super::progress::Reporter;
use super::request::{Made, RequestArgs};
use super::show::show;
use super::stdio;

/// Bake sysexts and files into an image and write it out anew
///
/// No file that is read is ever written. An output appears under its name only when it is whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake bake --image flatcar_sample.bin.bz2 -o node.qcow2 hello:hello.raw
  flatbake bake --image flatcar_sample.bin.bz2 -o node.img --root-file motd.txt:/etc/motd:0644 \
--root-link /dev/null:/etc/extensions/docker-flatcar.raw
  flatbake bake --image flatcar_sample.bin.bz2 --vendor xen,parallels --output-dir images hello:hello.raw
  flatbake bake --image flatcar_sample.bin.bz2 --vendor all --no-oem --output-dir all --dry-run
  flatbake bake -f flatbake.yaml --output-dir nodes
  flatbake bake --image flatcar_sample.bin.bz2 -o other.img --boot-file motd.txt:/notes/ \
--remove boot:/flatcar/grub --dry-run

SRC may be a file or a folder, which is copied with all it holds. New entries belong to root; folders and files \
that their owner may execute get mode 0755, other files 0644, unless MODE says otherwise.")]
pub struct Bake {
    #[command(flatten)]
    request: RequestArgs,
    /// Show what would change and be written, and write nothing
    #[arg(long, help_heading = "Run")]
    dry_run: bool,
    /// Print the report as JSON (see flatbake schema report)
    #[arg(long, help_heading = "Run")]
    pub json: bool,
}

/// Show what a bake would do, and write nothing
///
/// Takes what bake takes. Everything is read, decided and carried out in memory, so the numbers are those of the bake.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flatbake plan --image flatcar_sample.bin.bz2 -o node.qcow2 hello:hello.raw
  flatbake plan -f flatbake.yaml
  flatbake plan -f flatbake.yaml --set HOSTNAME=node7 --json
  flatbake plan -f flatbake.yaml --lock
  flatbake plan -f flatbake.yaml --locked")]
pub struct Plan {
    #[command(flatten)]
    request: RequestArgs,
    /// Write the lock: digests of all inputs, in MANIFEST with the extension .lock
    #[arg(
        long,
        conflicts_with = "locked",
        requires = "file",
        help_heading = "Run"
    )]
    lock: bool,
    /// Print the report as JSON (see flatbake schema report)
    #[arg(long, help_heading = "Run")]
    pub json: bool,
}

impl Bake {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        if self.request.is_streamed() && !self.dry_run {
            refuse_json_on_stdout(self.json)?;
        }
        let context = self.request.read.context(reporter);
        let (made, prepared) = prepare(&self.request, &context, reporter)?;
        if self.dry_run {
            return tell_plan(&prepared, &context, self.json);
        }
        let written = match self.request.is_streamed() {
            true => prepared.stream(&context, &mut io::stdout().lock())?,
            false => prepared.write(&context)?,
        };
        tell_written(&written, reporter);
        if written.failure.is_none()
            && made.can_be_locked()
            && let Some(manifest) = made.manifest.as_ref().filter(|_| !self.request.is_locked())
        {
            write_lock(manifest, &prepared, &context, reporter)?;
        }
        if self.json {
            super::print_json(&written.report)?;
        }
        written.failure.map_or(Ok(()), Err)
    }
}

impl Plan {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let context = self.request.read.context(reporter);
        let (made, prepared) = prepare(&self.request, &context, reporter)?;
        if let Some(manifest) = made.manifest.as_ref().filter(|_| self.lock) {
            if !made.can_be_locked() {
                return Err(Error::invalid("what nobody has verified is not locked")
                    .with_hint("leave --lock or --insecure-skip-verify out"));
            }
            write_lock(manifest, &prepared, &context, reporter)?;
        }
        tell_plan(&prepared, &context, self.json)
    }
}

/// Standard output holds one thing.
fn refuse_json_on_stdout(json: bool) -> Result<()> {
    if json {
        return Err(
            Error::invalid("standard output cannot hold both the image and JSON")
                .with_hint("leave --json out, or give the output a name"),
        );
    }
    stdio::refuse_terminal()
}

fn prepare(
    args: &RequestArgs,
    context: &Context<'_>,
    reporter: &Reporter,
) -> Result<(Made, Prepared)> {
    let made = args.make(reporter)?;
    let prepared = made.request.prepare(context)?;
    prepared
        .findings()
        .iter()
        .for_each(|finding| reporter.found(finding));
    Ok((made, prepared))
}

fn tell_plan(prepared: &Prepared, context: &Context<'_>, json: bool) -> Result<()> {
    let report = prepared.report(context)?;
    if json {
        super::print_json(&report)
    } else {
        super::print(show(&report))
    }
}

fn write_lock(
    manifest: &Manifest,
    prepared: &Prepared,
    context: &Context<'_>,
    reporter: &Reporter,
) -> Result<()> {
    if manifest.write_lock(&prepared.inputs(context)?)? {
        reporter.info(&format!("wrote {}", manifest.lock_path().display()));
    }
    Ok(())
}

/// What was written, a line a file.
fn tell_written(written: &Written, reporter: &Reporter) {
    for output in &written.report.outputs {
        let name = [output.variant.as_deref(), output.vendor.as_deref()];
        let name: Vec<&str> = name.into_iter().flatten().collect();
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{}: ", name.join("/"))
        };
        for file in &output.files {
            let details = [
                file.format.clone(),
                file.compression.clone(),
                file.bytes.map(|bytes| ByteSize(bytes).to_string()),
            ];
            let details: Vec<String> = details.into_iter().flatten().collect();
            reporter.info(&format!(
                "{name}wrote {} ({})",
                file.path,
                details.join(", ")
            ));
        }
    }
}
