//! Start scripts: read by shells, and run with a QEMU that writes down what it was asked for.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use flatbake::machine::{Arch, ConfFormat, Firmware, Machine, conf_files};

use super::{HOSTILE, file, hostile, machine};
use crate::common;
use crate::common::programs::{ask, command, judge, said};

const FORMATS: [ConfFormat; 5] = [
    ConfFormat::Qemu,
    ConfFormat::QemuUefi,
    ConfFormat::QemuUefiSecure,
    ConfFormat::Pxe,
    ConfFormat::Iso,
];

/// Writes its arguments into `arguments`, one per line, and copies the user data of the config drive.
const FAKE_QEMU: &str = r#"#!/bin/sh
printf '%s\n' "$@" >arguments
drive=$(printf '%s\n' "$@" | sed -n 's/^local,id=conf,.*path=//p')
[ -z "$drive" ] || cp "$drive/openstack/latest/user_data" user_data
"#;

#[test]
fn shells_can_read_them() {
    for machine in [machine(), hostile()] {
        for format in FORMATS {
            let script = file(&conf_files(format, &machine).unwrap(), ".sh").content;
            for (shell, arguments) in [
                ("sh", &["-n"][..]),
                ("dash", &["-n"]),
                ("bash", &["--posix", "-n"]),
            ] {
                let Some(output) = ask(shell, arguments, script.as_bytes()) else {
                    continue;
                };
                assert!(
                    output.status.success() && output.stderr.is_empty(),
                    "{format}: {}",
                    said(&output)
                );
            }
        }
    }
    let output = ask("sh", ["-n"], b"if true; then\n").unwrap();
    assert!(!output.status.success());
}

/// A folder with a script, what it refers to, and a fake QEMU.
struct Stage {
    dir: tempfile::TempDir,
    script: String,
}

impl Stage {
    fn new(format: ConfFormat, machine: &Machine) -> Self {
        let dir = common::scratch_dir();
        let script = file(&conf_files(format, machine).unwrap(), ".sh");
        let executable = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        };
        executable(&script.name, &script.content);
        fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["qemu-system-x86_64", "qemu-system-aarch64"] {
            executable(&format!("bin/{name}"), FAKE_QEMU);
        }
        fs::write(dir.path().join(&machine.disk_name), b"QFI\xfb\0\0").unwrap();
        fs::write(
            dir.path().join("flatcar_production_test.vmlinuz"),
            b"kernel",
        )
        .unwrap();
        fs::write(dir.path().join("code.fd"), [0; 9]).unwrap();
        fs::write(dir.path().join("vars.fd"), b"QFI\xfb").unwrap();
        fs::write(dir.path().join("a,b.ign"), "{}").unwrap();
        fs::write(
            dir.path().join("keys"),
            "# mine\n\nssh-ed25519 AAAA it's: me\nssh-rsa BBBB\n",
        )
        .unwrap();
        Self {
            dir,
            script: format!("./{}", script.name),
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let path = format!(
            "{}/bin:{}",
            self.dir.path().display(),
            std::env::var("PATH").unwrap()
        );
        let mut command = command(Path::new("/bin/sh"));
        command
            .current_dir(self.dir.path())
            .env("PATH", path)
            .env("HOME", self.dir.path())
            .env_remove("SSH_AUTH_SOCK");
        command
            .env("TMPDIR", self.dir.path())
            .arg(&self.script)
            .args(arguments)
            .output()
            .unwrap()
    }

    /// The arguments of QEMU, pairs of an option and its value joined by a blank.
    fn asked(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            said(&output)
        );
        let lines = fs::read_to_string(self.dir.path().join("arguments")).unwrap();
        let mut asked: Vec<String> = Vec::new();
        for line in lines.lines() {
            match asked.last_mut() {
                Some(last)
                    if !line.starts_with('-') && last.starts_with('-') && !last.contains(' ') =>
                {
                    last.push(' ');
                    last.push_str(line);
                }
                _ => asked.push(line.to_owned()),
            }
        }
        asked
    }

    fn path(&self, name: &str) -> String {
        self.dir
            .path()
            .join(name)
            .display()
            .to_string()
            .replace(',', ",,")
    }
}

fn uefi() -> Machine {
    Machine {
        firmware: Some(Firmware {
            code: "code.fd".into(),
            vars: "vars.fd".into(),
        }),
        ..machine()
    }
}

fn has(asked: &[String], wanted: &str) {
    assert!(
        asked.iter().any(|asked| asked == wanted),
        "no '{wanted}' in {asked:#?}"
    );
}

#[test]
fn options_reach_qemu() {
    if judge("sh").is_none() {
        return;
    }
    let stage = Stage::new(ConfFormat::Qemu, &machine());
    let disk = format!(
        "-drive if=none,id=disk,format=qcow2,file={}",
        stage.path(&machine().disk_name)
    );
    let asked = stage.asked(&[
        "-i",
        "a,b.ign",
        "-a",
        "keys",
        "-p",
        "2223",
        "-f",
        "8080:80",
        "-f",
        "9:10",
        "-M",
        "512",
        "--",
        "-nographic",
    ]);
    for wanted in [
        "-fw_cfg name=opt/org.flatcar-linux/config,file=a,,b.ign",
        "-m 512",
        "-name guest=flatcar_production_test-4593-2-5",
        "-netdev user,id=eth0,hostname=flatcar_production_test-4593-2-5,hostfwd=tcp:127.0.0.1:2223-:22,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:9-:10",
        "-device virtio-blk-pci,drive=disk,bootindex=1",
        &disk,
        "-nographic",
    ] {
        has(&asked, wanted);
    }
    assert_eq!(
        asked.last().unwrap(),
        "-nographic",
        "what is handed on comes last"
    );
    assert!(
        !asked
            .iter()
            .any(|asked| asked.contains("pflash") || asked.contains("smm"))
    );
    let keys = fs::read_to_string(stage.dir.path().join("user_data")).unwrap();
    assert_eq!(
        keys,
        "#cloud-config\nssh_authorized_keys:\n - 'ssh-ed25519 AAAA it''s: me'\n - 'ssh-rsa BBBB'\n"
    );
    let left = fs::read_dir(stage.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(
        !left
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("tmp.")),
        "the config drive is removed"
    );
}

#[test]
fn further_disks_come_behind_the_first() {
    if judge("sh").is_none() {
        return;
    }
    let stage = Stage::new(ConfFormat::Qemu, &machine());
    for name in ["one disk", "two,disk"] {
        fs::write(stage.dir.path().join(name), "raw").unwrap();
    }
    let asked = stage.asked(&[
        "-d",
        "one disk",
        "-D",
        "serial=x,logical_block_size=4096",
        "-d",
        "two,disk",
    ]);
    for wanted in [
        "-drive if=none,id=disk1,format=raw,file=one disk",
        "-drive if=none,id=disk2,format=raw,file=two,,disk",
        "-device virtio-blk-pci,drive=disk1",
        "-device virtio-blk-pci,drive=disk,bootindex=1,serial=x,logical_block_size=4096",
    ] {
        has(&asked, wanted);
    }
    assert!(!stage.run(&["-d", "no such disk"]).status.success());
}

#[test]
fn names_are_nothing_but_names() {
    if judge("sh").is_none() {
        return;
    }
    let stage = Stage::new(ConfFormat::Qemu, &hostile());
    has(
        &stage.asked(&[]),
        &format!("-name guest={}", HOSTILE.replace(',', ",,")),
    );
    assert!(
        !stage.dir.path().join("p").exists(),
        "a command within the name was run"
    );
    let help = stage.run(&["-h"]);
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains(HOSTILE));
}

#[test]
fn firmware_and_architectures() {
    if judge("sh").is_none() {
        return;
    }
    for (format, arch) in [
        (ConfFormat::QemuUefi, Arch::Amd64),
        (ConfFormat::QemuUefi, Arch::Arm64),
        (ConfFormat::QemuUefiSecure, Arch::Amd64),
        (ConfFormat::QemuUefiSecure, Arch::Arm64),
    ] {
        let stage = Stage::new(format, &Machine { arch, ..uefi() });
        let asked = stage.asked(&["-s"]);
        has(
            &asked,
            &format!(
                "-drive if=pflash,unit=0,readonly=on,format=raw,file={}",
                stage.path("code.fd")
            ),
        );
        has(
            &asked,
            &format!(
                "-drive if=pflash,unit=1,format=qcow2,file={}",
                stage.path("vars.fd")
            ),
        );
        has(&asked, "-smp 1");
        let secure = format == ConfFormat::QemuUefiSecure && arch == Arch::Amd64;
        has(
            &asked,
            match (arch, secure) {
                (Arch::Amd64, true) => "-machine q35,smm=on,accel=tcg",
                (Arch::Amd64, false) => "-machine q35,accel=tcg",
                (Arch::Arm64, _) => "-machine virt,gic-version=max,accel=tcg",
            },
        );
        let flash = "-global driver=cfi.pflash01,property=secure,value=on";
        assert_eq!(asked.iter().any(|asked| asked == flash), secure);
        assert_eq!(
            asked.iter().any(|asked| asked == "-nographic"),
            arch == Arch::Arm64
        );
    }
}

#[test]
fn kernels_and_compact_discs() {
    if judge("sh").is_none() {
        return;
    }
    let stage = Stage::new(ConfFormat::Pxe, &machine());
    let asked = stage.asked(&["-append", "flatcar.first_boot=1"]);
    has(
        &asked,
        &format!("-kernel {}", stage.path("flatcar_production_test.vmlinuz")),
    );
    has(
        &asked,
        &format!("-initrd {}", stage.path(&machine().disk_name)),
    );
    has(&asked, "-append flatcar.first_boot=1");
    assert!(!asked.iter().any(|asked| asked.contains("virtio-blk")));
    let stage = Stage::new(ConfFormat::Iso, &machine());
    let drive = format!(
        "-drive media=cdrom,readonly=on,format=qcow2,file={}",
        stage.path(&machine().disk_name)
    );
    has(&stage.asked(&[]), &drive);
}

#[test]
fn mistakes_are_named() {
    if judge("sh").is_none() {
        return;
    }
    let stage = Stage::new(ConfFormat::QemuUefiSecure, &uefi());
    for (arguments, said_so) in [
        (&["-p"][..], "-p needs a value"),
        (&["-p", "22x"], "'22x' is not a port"),
        (&["-f", "1:"], "'' is not a port"),
        (&["-a", "keys", "-u", "keys"], "only one of"),
        (&["-i", "missing"], "cannot read missing"),
        (&["-I", "missing"], "cannot read missing"),
        (&["-R", "missing"], "missing is missing"),
    ] {
        let output = stage.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(said_so),
            "{arguments:?}: {}",
            said(&output)
        );
        assert!(
            !stage.dir.path().join("arguments").exists(),
            "{arguments:?} reached QEMU"
        );
    }
    let output = Stage::new(ConfFormat::Qemu, &machine()).run(&["-R", "code.fd"]);
    assert!(
        output.status.code() == Some(1) && said(&output).contains("belong together"),
        "{}",
        said(&output)
    );
}
