//! `flatbake bake`

use std::path::{Path, PathBuf};

use clap::Args;
use flatbake::archive::{Glob, TarOptions};
use flatbake::bake::manifest::LockMode;
use flatbake::bake::{
    self, ArchiveSpec, BakeOptions, FileSpec, LinkSpec, Place, Plan, RootSize, Scratch, SysextSpec, WriteOptions,
};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::Timestamp;
use flatbake::{Error, Progress, Result};
use serde::Serialize;

use super::image::{ReadArgs, temp_dir};
use super::manifest::{LockArgs, ReadingArgs};
use super::output::{OutputArgs, describe, refuse_output_over_input, timestamp};
use super::progress::Reporter;
use super::results::{self, Job, VendorArgs};
use super::show::show;
use super::vendors;

/// Changes kept in memory before they go to a temporary file.
const MEMORY_BUDGET: u64 = 32 << 20;

/// What a manifest says itself.
const MANIFEST_SAYS: [&str; 23] = [
    "image",
    "output",
    "sysexts",
    "install_to",
    "boot_file",
    "oem_file",
    "root_file",
    "root_tar",
    "oem_tar",
    "boot_tar",
    "root_link",
    "remove",
    "grub_cfg",
    "base_ign",
    "config_ign",
    "kernel_arg",
    "remove_kernel_arg",
    "root_size",
    "timestamp",
    "vendor",
    "format",
    "compress",
    "seed",
];

/// Bake sysexts and files into an image and write it out anew
///
/// The input is never changed. The output appears under its name only when it is whole.
#[derive(Debug, Args)]
#[command(after_help = "\
SRC may be a file or a folder, which is copied with all it holds. New entries belong to root; folders and files \
that their owner may execute get mode 0755, other files 0644, unless MODE says otherwise.

Examples:
  flatbake bake --image flatcar_sample.bin.bz2 --output node.qcow2 hello:hello.raw greeter:greeter.raw
  flatbake bake --image flatcar_sample.bin.bz2 --output node.img --root-file motd.txt:/etc/motd:0644 \
--root-link /dev/null:/etc/extensions/docker-flatcar.raw
  flatbake bake --image flatcar_sample.bin.bz2 --vendor xen,parallels --output-dir images hello:hello.raw
  flatbake bake --image flatcar_sample.bin.bz2 --vendor all --no-oem --output-dir all --dry-run
  flatbake bake -f flatbake.yaml --output-dir nodes
  flatbake bake --image flatcar_sample.bin.bz2 --output node.img --boot-file motd.txt:/notes/ --remove boot:/flatcar/grub \
--dry-run")]
pub struct Bake {
    /// The image to start from: raw, qcow2, vmdk, vhd, vhdx, vdi or parallels, as it is or compressed (bz2, gz, xz, zst)
    #[arg(long, value_name = "IMG", required_unless_present = "file")]
    image: Option<PathBuf>,
    /// Bake what this manifest says, in YAML or TOML (see flatbake schema), in place of what the flags below say
    #[arg(long, short, value_name = "FILE", conflicts_with_all = MANIFEST_SAYS)]
    file: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    locked: LockArgs,
    /// Folder for sysext files [default: root:/opt/extensions/NAME/]
    #[arg(long, value_name = "PART:/DIR/", value_parser = super::argument::<Place>)]
    install_to: Option<Place>,
    /// Copy a file or folder to the boot partition (ESP)
    #[arg(long, value_name = "SRC:/DEST[:MODE]")]
    boot_file: Vec<String>,
    /// Copy a file or folder to the OEM partition
    #[arg(long, value_name = "SRC:/DEST[:MODE[:UID:GID]]")]
    oem_file: Vec<String>,
    /// Copy a file or folder to the ROOT partition
    #[arg(long, value_name = "SRC:/DEST[:MODE[:UID:GID]]")]
    root_file: Vec<String>,
    /// Unpack a tar archive, plain or compressed (.gz .bz2 .xz .zst), on the ROOT partition
    #[arg(long, value_name = "FILE[:/DEST]")]
    root_tar: Vec<String>,
    /// Unpack a tar archive on the OEM partition
    #[arg(long, value_name = "FILE[:/DEST]")]
    oem_tar: Vec<String>,
    /// Unpack a tar archive on the boot partition (ESP)
    #[arg(long, value_name = "FILE[:/DEST]")]
    boot_tar: Vec<String>,
    #[command(flatten)]
    tar: TarArgs,
    /// Make a symlink on the ROOT partition
    #[arg(long, value_name = "TARGET:/PATH", value_parser = super::argument::<LinkSpec>)]
    root_link: Vec<LinkSpec>,
    /// Remove an entry, a folder with all it holds, before anything is added
    #[arg(long, value_name = "PART:/PATH", value_parser = super::argument::<Place>)]
    remove: Vec<Place>,
    /// Use this grub.cfg on the OEM partition
    #[arg(long, value_name = "FILE")]
    grub_cfg: Option<PathBuf>,
    /// Use this Ignition config as the OEM partition's base.ign, which is merged below every user config
    #[arg(long, value_name = "FILE")]
    base_ign: Option<PathBuf>,
    /// Use this Ignition config as the image's own user config
    #[arg(long, value_name = "FILE")]
    config_ign: Option<PathBuf>,
    /// Add a kernel argument to the OEM partition's grub.cfg, in the form that Ignition's editor understands
    #[arg(long, value_name = "ARG")]
    kernel_arg: Vec<String>,
    /// Remove a kernel argument from the OEM partition's grub.cfg
    #[arg(long, value_name = "ARG")]
    remove_kernel_arg: Vec<String>,
    /// Make ROOT this large, and the disk with it: a size such as 6G, or auto for just enough
    #[arg(long, value_name = "SIZE|auto")]
    root_size: Option<RootSize>,
    /// Refuse a filesystem that was in use when it was copied, instead of replaying its journal
    #[arg(long)]
    no_replay: bool,
    #[command(flatten)]
    output_args: OutputArgs,
    /// Time of everything new: seconds since 1970, or 2026-01-31T12:00:00Z
    /// [default: SOURCE_DATE_EPOCH, else the newest time in the image]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Show what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the plan and what was written as JSON
    #[arg(long)]
    json: bool,
    /// Turn findings into warnings
    #[arg(long)]
    force: bool,
    /// The image to write
    #[arg(long, short, value_name = "PATH", required_unless_present_any = ["file", "output_dir"])]
    #[arg(conflicts_with_all = ["vendor", "output_dir"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    vendors: VendorArgs,
    /// Sysexts to install, each with the name that it is merged by
    #[arg(value_name = "NAME:FILE", value_parser = super::argument::<SysextSpec>)]
    sysexts: Vec<SysextSpec>,
    #[command(flatten)]
    read: ReadArgs,
}

/// What is taken of archives, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Archives")]
struct TarArgs {
    /// Leave N names off the front of every path in archives
    #[arg(long, value_name = "N", default_value = "0")]
    strip_components: usize,
    /// Give all that archives bring to this owner
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    owner: Option<(u32, u32)>,
    /// Leave out what matches in archives, folders with all they hold (as tar --exclude)
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<Glob>,
    /// Archives are layers of an OCI image: .wh. names delete
    #[arg(long)]
    oci_layer: bool,
    /// Keep the engine-id and swarm of a /var/lib/docker in archives, which clones should not share
    #[arg(long)]
    keep_docker_identity: bool,
}

impl TarArgs {
    fn options(&self) -> TarOptions {
        TarOptions {
            strip_components: self.strip_components,
            owner: self.owner,
            excludes: self.exclude.clone(),
            oci_layer: self.oci_layer,
            keep_docker_identity: self.keep_docker_identity,
        }
    }
}

fn owner(text: &str) -> Result<(u32, u32)> {
    let numbers = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    numbers.ok_or_else(|| Error::invalid(format!("'{text}' is not UID:GID, two numbers up to 4294967295")))
}

#[derive(Serialize)]
struct Report<'a> {
    plan: &'a Plan,
    dry_run: bool,
    outputs: Vec<bake::Artifact>,
}

impl Bake {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        match (&self.file, &self.image, &self.output) {
            (Some(manifest), ..) => self.manifest(manifest, reporter),
            (None, Some(image), Some(output)) => self.one(image, output, reporter),
            (None, Some(image), None) => self.vendors(image, reporter),
            (None, None, _) => Err(Error::invalid("no image to start from").with_hint("give --image or --file")),
        }
    }

    /// What a manifest says.
    fn manifest(&self, manifest: &Path, reporter: &Reporter) -> Result<()> {
        let mut resolved = self.reading.load(manifest, vendors::ids(&self.vendors.known()?))?;
        let mode = self.locked.mode(if self.dry_run { LockMode::Ignore } else { LockMode::Write });
        resolved.check_inputs(mode, reporter)?;
        if self.force {
            resolved.options.force = true;
        }
        let folder = self.vendors.output_dir.clone().or(resolved.folder.clone()).ok_or_else(|| {
            Error::invalid("no folder for what is written is named")
                .with_hint("give --output-dir DIR, or output: DIR in the manifest")
                .at(manifest.display().to_string())
        })?;
        let disk = self.disk(&resolved.image, reporter)?;
        let mut inputs: Vec<PathBuf> = resolved.inputs.iter().map(|input| input.path.clone()).collect();
        inputs.push(manifest.to_owned());
        let job = Job {
            disk: &disk,
            fanout: self.vendors.fanout_of(&resolved)?,
            options: WriteOptions {
                outputs: results::outputs(&resolved),
                ..self.vendors.options(folder, inputs, resolved.seed)?
            },
            dry_run: self.dry_run,
            json: self.json,
        };
        job.run(&scratch(), reporter)
    }

    /// Images for vendors.
    fn vendors(&self, image: &Path, reporter: &Reporter) -> Result<()> {
        let folder = self.vendors.output_dir.clone().unwrap_or_default();
        let fanout = self.vendors.fanout(self.options()?)?;
        let disk = self.disk(image, reporter)?;
        let job = Job {
            disk: &disk,
            options: WriteOptions {
                compress: self.output_args.compress,
                ..self.vendors.options(folder, results::inputs(image, &fanout), self.output_args.seed.clone())?
            },
            fanout,
            dry_run: self.dry_run,
            json: self.json,
        };
        job.run(&scratch(), reporter)
    }

    fn disk(&self, image: &Path, reporter: &Reporter) -> Result<Disk> {
        Disk::open(image.display().to_string(), self.read.open(image, reporter)?.device)
    }

    /// One image.
    fn one(&self, image: &Path, output: &Path, reporter: &Reporter) -> Result<()> {
        let options = self.options()?;
        refuse_output_over_input(image, &self.output_args.output(output, 0)?)?;
        let disk = self.disk(image, reporter)?;
        let plan = bake::plan(&disk, &options)?;
        for warning in &plan.warnings {
            reporter.warn(warning);
        }
        if self.dry_run {
            return match self.json {
                true => super::print_json(&Report { plan: &plan, dry_run: true, outputs: Vec::new() }),
                false => super::print(show(&plan)),
            };
        }
        let overlay = bake::apply(&disk, &plan, &scratch(), reporter)?;
        let output = self.output_args.output(output, plan.timestamp.secs)?;
        let artifact = bake::emit(&overlay, &output, reporter)?;
        reporter.info(&format!("{}, {} changes", describe(&artifact), plan.changes.len()));
        if self.json {
            super::print_json(&Report { plan: &plan, dry_run: false, outputs: vec![artifact] })?;
        }
        Ok(())
    }

    fn options(&self) -> Result<BakeOptions> {
        let mut options = BakeOptions {
            sysexts: self.sysexts.clone(),
            install_to: self.install_to.clone(),
            links: self.root_link.clone(),
            removals: self.remove.clone(),
            kernel_args: self.kernel_arg.clone(),
            removed_kernel_args: self.remove_kernel_arg.clone(),
            root_size: self.root_size,
            no_replay: self.no_replay,
            timestamp: timestamp(self.timestamp.as_deref())?.map(|secs| Timestamp { secs, nanos: 0 }),
            force: self.force,
            ..BakeOptions::new()
        };
        let named = [
            (&self.boot_file, Designator::Boot),
            (&self.oem_file, Designator::Oem),
            (&self.root_file, Designator::Root),
        ];
        for (files, partition) in named {
            for text in files {
                options.files.push(FileSpec::parse(text, partition)?);
            }
        }
        let archives =
            [(&self.boot_tar, Designator::Boot), (&self.oem_tar, Designator::Oem), (&self.root_tar, Designator::Root)];
        for (files, partition) in archives {
            for text in files {
                options.archives.push(ArchiveSpec::parse(text, partition, self.tar.options())?);
            }
        }
        if let Some(file) = &self.grub_cfg {
            options = options.grub_cfg(file);
        }
        if let Some(file) = &self.base_ign {
            options = options.base_ign(file);
        }
        if let Some(file) = &self.config_ign {
            options = options.config_ign(file);
        }
        Ok(options)
    }
}

fn scratch() -> Scratch {
    Scratch { temp_dir: temp_dir(), memory_budget: MEMORY_BUDGET }
}
