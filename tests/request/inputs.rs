//! No file that a run reads is ever written, whatever it is to the run and by whatever name an output would take it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{ok, raw_sample, sample};
use crate::common::programs::{flatbake, judge, must_run, said};
use crate::common::region::copy_file;
use crate::common::scratch_dir;

/// A folder with one input of every kind, and the arguments by which a bake reads each.
struct Inputs {
    dir: tempfile::TempDir,
}

const TAR: &str = "docker.tar";

impl Inputs {
    fn new() -> Self {
        let inputs = Self { dir: scratch_dir() };
        let folder = inputs.path("in.hdd");
        fs::create_dir_all(folder.join("tree/deep")).unwrap();
        fs::create_dir_all(folder.join("isolinux")).unwrap();
        let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).unwrap();
        write("config.ign", br#"{"ignition":{"version":"3.3.0"}}"#);
        write("base.ign", br#"{"ignition":{"version":"3.3.0"}}"#);
        write("grub.cfg", b"set oem_id=\"qemu\"\n");
        write("motd", b"hello\n");
        write("tree/deep/file", b"deep\n");
        write(
            "web.service",
            b"[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        );
        write("10-more.conf", b"[Unit]\nDescription=more\n");
        write("code.fd", b"code");
        write("vars.fd", b"vars");
        write("isolinux/isolinux.bin", &[0; 4096]);
        write("isolinux/ldlinux.c32", &[0; 4096]);
        fs::copy(sample("hello.raw"), folder.join("hello.raw")).unwrap();
        fs::copy(sample("hello.conf"), folder.join("hello.conf")).unwrap();
        copy_file(&raw_sample(), &folder.join("base.bin"));
        must_run(
            "tar",
            [
                "-C",
                folder.to_str().unwrap(),
                "-cf",
                folder.join(TAR).to_str().unwrap(),
                "motd",
            ],
        );
        let manifest =
            "image: base.bin\nfiles:\n- {path: root:/etc/motd, source: motd}\noutputs: [out.img]\n";
        write("flatbake.yaml", manifest.as_bytes());
        let vendor = success_text(flatbake().args(["vendors", "xen", "--toml"]));
        write(
            "vendor.toml",
            vendor.replace("\"xen\"", "\"mine\"").as_bytes(),
        );
        inputs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A bake that reads every input that goes with a plain output.
    fn bake(&self) -> Command {
        let at = |name: &str| self.path("in.hdd").join(name).display().to_string();
        let mut command = flatbake();
        command.args([
            "bake",
            "--overwrite",
            "--image",
            &at("base.bin"),
            &format!("hello:{}", at("hello.raw")),
        ]);
        command.args([
            "--config-ign",
            &at("config.ign"),
            "--base-ign",
            &at("base.ign"),
            "--grub-cfg",
            &at("grub.cfg"),
        ]);
        command.args(["--root-file", &format!("{}:/etc/motd", at("motd"))]);
        command.args(["--oem-file", &format!("{}:/tree", at("tree"))]);
        command.args(["--root-tar", &format!("{}:/srv", at(TAR))]);
        command.args([
            "--unit",
            &at("web.service"),
            "--dropin",
            &format!("web.service:{}", at("10-more.conf")),
        ]);
        command
    }
}

fn success_text(command: &mut Command) -> String {
    String::from_utf8(ok(command).stdout).unwrap()
}

/// Every name by which `input` could be taken for an output; those that are folders are of a format that is one.
fn names(dir: &Path, input: &Path) -> Vec<PathBuf> {
    let name = input.file_name().unwrap().to_str().unwrap();
    let link = dir.join(format!("link-{name}"));
    let hard = dir.join(format!("hard-{name}"));
    let _ = fs::remove_file(&link);
    let _ = fs::remove_file(&hard);
    symlink(input, &link).unwrap();
    fs::hard_link(input, &hard).unwrap();
    let folder = input.parent().unwrap();
    let around = folder
        .join("..")
        .join(folder.file_name().unwrap())
        .join(".")
        .join(name);
    vec![input.to_owned(), link, hard, around]
}

/// The command fails since it would write an input, and the input is what it was.
fn refused(command: &mut Command, input: &Path, before: &[u8]) {
    let output: Output = command.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}: {text}");
    assert!(text.contains("read by this run"), "{command:?}: {text}");
    assert!(
        fs::read(input).unwrap() == before,
        "{} was changed",
        input.display()
    );
}

#[test]
fn no_input_of_any_kind_is_taken_for_an_output_by_any_name() {
    let inputs = Inputs::new();
    let folder = inputs.path("in.hdd");
    let kinds = [
        "base.bin",
        "hello.raw",
        "hello.conf",
        "config.ign",
        "base.ign",
        "grub.cfg",
        "motd",
        "tree/deep/file",
        TAR,
        "web.service",
        "10-more.conf",
    ];
    for kind in kinds {
        let input = folder.join(kind);
        let before = fs::read(&input).unwrap();
        for name in names(inputs.dir.path(), &input) {
            refused(
                inputs.bake().args(["--format", "raw", "-o"]).arg(&name),
                &input,
                &before,
            );
            refused(
                inputs
                    .bake()
                    .arg("--dry-run")
                    .args(["--format", "raw", "-o"])
                    .arg(&name),
                &input,
                &before,
            );
        }
    }
    // A folder above them all, in a format that is a folder; and a place in a folder that is read.
    let motd = folder.join("motd");
    let before = fs::read(&motd).unwrap();
    refused(inputs.bake().arg("-o").arg(&folder), &motd, &before);
    refused(
        inputs.bake().arg("-o").arg(folder.join("tree/new.img")),
        &motd,
        &before,
    );
    refused(
        inputs
            .bake()
            .arg("-o")
            .arg(folder.join("tree/deep/new.qcow2")),
        &motd,
        &before,
    );
    assert!(!folder.join("tree/new.img").exists());
    // An output beside them is fine, and only that appears.
    let count = fs::read_dir(&folder).unwrap().count();
    ok(inputs.bake().arg("-o").arg(folder.join("out.img")));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), count + 1);
}

#[test]
fn what_vendors_and_manifests_read_is_no_output_either() {
    let inputs = Inputs::new();
    let folder = inputs.path("in.hdd");
    let at = |name: &str| folder.join(name);
    let vendors = |also: &Path| {
        let mut command = flatbake();
        command
            .args([
                "bake",
                "--overwrite",
                "--no-oem",
                "--vendor",
                "qemu_uefi,iso,mine",
                "--image",
            ])
            .arg(at("base.bin"));
        command.arg("--vendor-file").arg(at("vendor.toml"));
        command.arg("--firmware").arg(format!(
            "{}:{}",
            at("code.fd").display(),
            at("vars.fd").display()
        ));
        command
            .arg("--isolinux")
            .arg(at("isolinux"))
            .arg("--output-dir")
            .arg(inputs.path("out"));
        command.args(["--format", "raw", "-o"]).arg(also);
        command
    };
    for kind in [
        "code.fd",
        "vars.fd",
        "isolinux/isolinux.bin",
        "isolinux/ldlinux.c32",
        "vendor.toml",
        "base.bin",
    ] {
        let before = fs::read(at(kind)).unwrap();
        for name in names(inputs.dir.path(), &at(kind)) {
            refused(&mut vendors(&name), &at(kind), &before);
        }
    }
    assert!(
        !inputs.path("out").exists(),
        "nothing is made before all names are known to be free"
    );
    let before = fs::read(at("flatbake.yaml")).unwrap();
    for kind in ["flatbake.yaml", "motd", "base.bin"] {
        let before = fs::read(at(kind)).unwrap();
        let mut command = flatbake();
        command
            .args(["bake", "--overwrite", "-f"])
            .arg(at("flatbake.yaml"))
            .args(["--format", "raw", "-o"])
            .arg(at(kind));
        refused(&mut command, &at(kind), &before);
    }
    assert_eq!(fs::read(at("flatbake.yaml")).unwrap(), before);
}

#[test]
fn files_that_the_base_refers_to_are_inputs() {
    if judge("qemu-img").is_none() {
        return;
    }
    let dir = scratch_dir();
    let base = dir.path().join("base.bin");
    let top = dir.path().join("top.qcow2");
    copy_file(&raw_sample(), &base);
    let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.bin"];
    must_run(
        "qemu-img",
        create
            .iter()
            .map(|word| (*word).to_owned())
            .chain([top.display().to_string()]),
    );
    let before = fs::read(&base).unwrap();
    for name in names(dir.path(), &base) {
        let mut command = flatbake();
        command
            .args(["bake", "--overwrite", "--allow-external", "--image"])
            .arg(&top);
        refused(
            command.args(["--format", "raw", "-o"]).arg(&name),
            &base,
            &before,
        );
    }
}
