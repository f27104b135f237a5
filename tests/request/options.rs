//! Every option with every kind of target is honoured or refused; none is ignored.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{raw_sample, sample};
use crate::common::programs::{flatbake, said};
use crate::common::scratch_dir;
use crate::common::tree::sha256;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Raw,
    RawGz,
    Qcow2,
    Stream,
    Flat,
    Vhd,
    Stdout,
    Vendor,
    Bundle,
    Live,
    Manifest,
    ManifestVariants,
}

use Target::*;

const TARGETS: [Target; 12] = [
    Raw,
    RawGz,
    Qcow2,
    Stream,
    Flat,
    Vhd,
    Stdout,
    Vendor,
    Bundle,
    Live,
    Manifest,
    ManifestVariants,
];

/// How an option shows in what a run gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    /// The files that are written, or their names, differ.
    Files,
    /// What is printed differs.
    Report,
    /// The run goes on where it would not, or the other way round: tests of their own show that.
    Elsewhere,
}

/// An option with the targets that honour it; the others refuse it.
struct Row {
    option: &'static [&'static str],
    honoured: &'static [Target],
    shows: Shows,
}

const fn row(option: &'static [&'static str], honoured: &'static [Target], shows: Shows) -> Row {
    Row {
        option,
        honoured,
        shows,
    }
}

const QCOW2: &[Target] = &[Qcow2];
const VENDORS: &[Target] = &[Vendor, Bundle, Live];
const ALL: &[Target] = &TARGETS;
/// What has a ROOT partition.
const DISKS: &[Target] = &[
    Raw,
    RawGz,
    Qcow2,
    Stream,
    Flat,
    Vhd,
    Stdout,
    Vendor,
    Bundle,
    Manifest,
    ManifestVariants,
];

const ROWS: &[Row] = &[
    row(
        &["--compress", "xz"],
        &[Raw, Stdout, Vendor, Bundle],
        Shows::Files,
    ),
    row(
        &["--compress", "gz:1"],
        &[Raw, RawGz, Stdout, Vendor, Bundle],
        Shows::Files,
    ),
    row(&["--qcow2-version", "3"], QCOW2, Shows::Files),
    row(&["--compression-type", "zstd"], QCOW2, Shows::Files),
    row(&["--cluster-size", "4096"], QCOW2, Shows::Files),
    row(&["--uncompressed"], QCOW2, Shows::Files),
    row(&["--level", "1"], &[Qcow2, Stream], Shows::Files),
    row(&["--no-oem"], VENDORS, Shows::Elsewhere),
    row(&["--sha256"], ALL, Shows::Elsewhere),
    row(
        &["--kernel-arg", "quiet"],
        &[
            Raw,
            RawGz,
            Qcow2,
            Stream,
            Flat,
            Vhd,
            Stdout,
            Vendor,
            Bundle,
            Live,
            Manifest,
            ManifestVariants,
        ],
        Shows::Report,
    ),
    row(&["--console", "ttyS1,9600"], ALL, Shows::Report),
    // The sample logs nobody in.
    row(&["--no-autologin"], ALL, Shows::Elsewhere),
    row(&["--updates", "masked"], DISKS, Shows::Report),
    row(
        &["--update-server", "https://nebraska.example.org/v1/update/"],
        DISKS,
        Shows::Report,
    ),
    row(&["--update-group", "lts-2024"], DISKS, Shows::Report),
    // There is no sysext that could outlive a reset.
    row(&["--survive-reset"], &[], Shows::Files),
    row(&["--hostname", "node7"], DISKS, Shows::Report),
    row(
        &["--remove", "boot:/flatcar/first_boot"],
        ALL,
        Shows::Report,
    ),
    row(&["--timestamp", "1700000001"], ALL, Shows::Report),
    row(&["--force"], ALL, Shows::Elsewhere),
    row(&["--generalize"], ALL, Shows::Elsewhere),
    row(
        &["--generalize", "--remove-accounts"],
        ALL,
        Shows::Elsewhere,
    ),
    row(&["--overwrite"], ALL, Shows::Elsewhere),
    row(&["--no-replay"], ALL, Shows::Elsewhere),
    row(&["--trust-cert", "builder.crt"], DISKS, Shows::Report),
    row(&["--require-signed"], ALL, Shows::Elsewhere),
    // There is no sysext whose updates could be fetched.
    row(&["--sysupdate"], &[], Shows::Files),
    row(&["--owner", "1:2"], &[], Shows::Files),
    row(&["--strip-components", "1"], &[], Shows::Files),
    row(&["--exclude", "x"], &[], Shows::Files),
    row(&["--oci-layer"], &[], Shows::Files),
    row(&["--keep-docker-identity"], &[], Shows::Files),
    row(&["--locked"], &[], Shows::Files),
    row(
        &["--set", "A=b"],
        &[Manifest, ManifestVariants],
        Shows::Elsewhere,
    ),
    row(
        &["--allow-outside"],
        &[Manifest, ManifestVariants],
        Shows::Elsewhere,
    ),
    row(
        &["--seed", "twin"],
        &[
            Stream,
            Flat,
            Vhd,
            Bundle,
            Vendor,
            Live,
            Raw,
            RawGz,
            Qcow2,
            Stdout,
            Manifest,
            ManifestVariants,
        ],
        Shows::Report,
    ),
    row(&["--format", "vdi"], &[Raw, RawGz, Stdout], Shows::Files),
    row(
        &["--format", "qcow2"],
        &[Qcow2, Raw, RawGz, Stdout],
        Shows::Elsewhere,
    ),
    row(
        &["--also", "second.vhdx"],
        &[Raw, RawGz, Qcow2, Stream, Flat, Vhd],
        Shows::Files,
    ),
    row(&["--isolinux", "isolinux"], &[Live], Shows::Files),
    row(&["--firmware", "code.fd:vars.fd"], &[Vendor], Shows::Files),
];

/// The bake of a target in the folder `dir`, without any option.
fn bake(target: Target, dir: &Path) -> Command {
    let mut command = flatbake();
    command.current_dir(dir).args(["bake", "--json"]);
    let image = raw_sample();
    if !matches!(target, Manifest | ManifestVariants) {
        command.arg("--image").arg(&image);
    }
    let arguments: &[&str] = match target {
        Raw => &["-o", "out.bin"],
        RawGz => &["-o", "out.bin.gz"],
        Qcow2 => &["-o", "out.qcow2"],
        Stream => &["-o", "out.vmdk", "--format", "vmdk_stream"],
        Flat => &["-o", "out.vmdk", "--format", "vmdk_flat"],
        Vhd => &["-o", "out.vhd"],
        // A dry run: what goes to standard output cannot be mixed with the report.
        Stdout => &["-o", "-", "--dry-run"],
        Vendor => &["--vendor", "qemu_uefi", "--output-dir", "out", "--no-oem"],
        Bundle => &["--vendor", "vmware_ova", "--output-dir", "out", "--no-oem"],
        Live => &["--vendor", "iso", "--output-dir", "out", "--no-oem"],
        Manifest => &["-f", "plain.yaml", "--output-dir", "out"],
        ManifestVariants => &["-f", "fleet.yaml", "--output-dir", "out"],
    };
    command.args(arguments);
    command
}

fn prepare(dir: &Path) {
    let image = raw_sample();
    let head = format!(
        "image: {}\nvariables: {{A: a}}\noutputs: [node.bin]\n",
        image.display()
    );
    fs::write(dir.join("plain.yaml"), &head).unwrap();
    fs::write(
        dir.join("fleet.yaml"),
        format!("{head}variants: [{{name: one}}, {{name: two}}]\n"),
    )
    .unwrap();
    fs::create_dir(dir.join("isolinux")).unwrap();
    fs::write(dir.join("isolinux/isolinux.bin"), vec![1; 4096]).unwrap();
    fs::write(dir.join("isolinux/ldlinux.c32"), vec![2; 4096]).unwrap();
    let certificate = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ddi/sysexts.crt");
    fs::copy(certificate, dir.join("builder.crt")).unwrap();
    fs::write(dir.join("code.fd"), "code").unwrap();
    fs::write(dir.join("vars.fd"), "vars").unwrap();
}

/// Every file that a run wrote, with its digest, and what it printed.
fn result(mut command: Command, dir: &Path) -> (Option<i32>, Vec<String>, String, String) {
    let output = command.output().unwrap();
    let mut files = Vec::new();
    collect(dir, dir, &mut files);
    files.sort();
    let json = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), files, json, said(&output))
}

/// What [`prepare`] puts there.
const INPUTS: [&str; 6] = [
    "plain.yaml",
    "fleet.yaml",
    "isolinux",
    "code.fd",
    "vars.fd",
    "builder.crt",
];

fn collect(top: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        let is_input = INPUTS.contains(&name.as_str());
        if path.is_dir() && !is_input {
            collect(top, &path, files);
        } else if !is_input && !name.ends_with(".json") && !name.ends_with(".lock") {
            files.push(format!("{name} {}", sha256(fs::File::open(&path).unwrap())));
        }
    }
}

#[test]
fn every_option_is_honoured_or_refused_with_every_target() {
    assert!(sample("hello.raw").exists());
    for target in TARGETS {
        let dir = scratch_dir();
        prepare(dir.path());
        let usual = result(bake_allowing_external(target, dir.path()), dir.path());
        assert_eq!(usual.0, Some(0), "{target:?}: {}", usual.3);
        for row in ROWS {
            // What the target is named by already is no second option.
            let named = bake_allowing_external(target, dir.path());
            if named.get_args().any(|argument| argument == row.option[0]) {
                continue;
            }
            let dir = scratch_dir();
            prepare(dir.path());
            let mut command = bake_allowing_external(target, dir.path());
            command.args(row.option);
            let (code, files, json, text) = result(command, dir.path());
            let what = format!("{} with {target:?}", row.option.join(" "));
            if !row.honoured.contains(&target) {
                // A manifest is refused for want of the lock that it is to hold to.
                let lacks_lock =
                    row.option == ["--locked"] && matches!(target, Manifest | ManifestVariants);
                let wanted = if lacks_lock { 7 } else { 2 };
                assert_eq!(code, Some(wanted), "{what} should be refused: {text}");
                assert!(files.is_empty(), "{what} is refused, but wrote {files:?}");
                continue;
            }
            assert_eq!(code, Some(0), "{what} should be honoured: {text}");
            match row.shows {
                Shows::Files if target == Stdout => {
                    assert_ne!(json, usual.2, "{what} changes nothing")
                }
                Shows::Files => assert_ne!(files, usual.1, "{what} changes nothing"),
                Shows::Report => assert_ne!(json, usual.2, "{what} changes nothing"),
                Shows::Elsewhere => {}
            }
        }
    }
}

/// The sample lies outside of the folder of manifests.
fn bake_allowing_external(target: Target, dir: &Path) -> Command {
    let mut command = bake(target, dir);
    if matches!(target, Manifest | ManifestVariants) {
        command.arg("--allow-outside");
    }
    command
}

#[test]
fn names_that_lie_are_refused_and_point_to_what_was_meant() {
    let dir = scratch_dir();
    for (name, vendor) in [
        ("node.ova", "vmware_ova"),
        ("node.ovf", "virtualbox"),
        ("node.box", "vagrant"),
        ("node.iso", "iso"),
        ("disk.tar.gz", "gce"),
        ("x.zip", "hyperv"),
    ] {
        let mut command = flatbake();
        command
            .args(["bake", "--image"])
            .arg(raw_sample())
            .arg("-o")
            .arg(dir.path().join(name));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", said(&output));
        assert!(said(&output).contains(vendor), "{name}: {}", said(&output));
        assert!(!dir.path().join(name).exists());
    }
}
