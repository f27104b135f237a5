//! Config files and bundles: XML by libxml2 and an XML parser, archives by GNU tar and Python, scripts by shells.

mod archives;
mod large;
mod script;
mod texts;
mod xml;

use flatbake::ErrorKind;
use flatbake::machine::{Arch, ConfFile, ConfFormat, Machine, MachineDisk, conf_files};

/// What every language that config files are written in could trip over.
const HOSTILE: &str = r#"a'b"c<d>&e\f|g#{h}`touch p`$(touch p),%i;j=k é"#;

const STEM: &str = "flatcar_production_test";

const DISK: &str = "flatcar_production_test_image.vmdk";

/// A machine with plain names.
fn machine() -> Machine {
    let disk = MachineDisk {
        name: DISK,
        bytes: 13_212_057_600,
        version: "4593.2.5",
        group: "stable",
        arch: Arch::Amd64,
    };
    let mut machine = Machine::new(STEM, &disk);
    machine.disk_file_bytes = Some(123_456_789);
    machine.identity.time = 1_700_000_000;
    machine
}

/// A machine whose free texts are as bad as they are allowed to be.
fn hostile() -> Machine {
    Machine {
        vm_name: HOSTILE.into(),
        version: format!("1.2.3+{HOSTILE}"),
        group: HOSTILE.into(),
        ..machine()
    }
}

/// The file whose name ends with `end`.
fn file(files: &[ConfFile], end: &str) -> ConfFile {
    let found = files.iter().find(|file| file.name.ends_with(end));
    found
        .unwrap_or_else(|| panic!("no {end} in {:?}", names(files)))
        .clone()
}

fn names(files: &[ConfFile]) -> Vec<&str> {
    files.iter().map(|file| file.name.as_str()).collect()
}

#[test]
fn every_format_has_its_files() {
    for (format, expected) in [
        (ConfFormat::Vmx, vec!["STEM.vmx"]),
        (ConfFormat::OvfVmware, vec!["STEM.ovf"]),
        (ConfFormat::OvfVirtualbox, vec!["STEM.ovf", "STEM.README"]),
        (
            ConfFormat::Vagrant,
            vec![
                "metadata.json",
                "box.ovf",
                "Vagrantfile",
                "configure_networks.rb",
                "base_mac.rb",
            ],
        ),
        (
            ConfFormat::VagrantParallels,
            vec![
                "metadata.json",
                "box.pvm/config.pvs",
                "Vagrantfile",
                "configure_networks.rb",
                "base_mac.rb",
            ],
        ),
        (
            ConfFormat::VagrantVmwareFusion,
            vec![
                "metadata.json",
                "STEM.vmx",
                "Vagrantfile",
                "configure_networks.rb",
            ],
        ),
        (ConfFormat::Pvs, vec!["config.pvs"]),
        (
            ConfFormat::Xl,
            vec!["STEM_pygrub.cfg", "STEM_pvgrub.cfg", "STEM.README"],
        ),
        (ConfFormat::Qemu, vec!["STEM.sh", "STEM.README"]),
        (ConfFormat::QemuUefi, vec!["STEM.sh", "STEM.README"]),
        (ConfFormat::QemuUefiSecure, vec!["STEM.sh", "STEM.README"]),
        (ConfFormat::Pxe, vec!["STEM.sh", "STEM.README"]),
        (ConfFormat::Iso, vec!["STEM.sh", "STEM.README"]),
        (ConfFormat::Gce, vec![]),
    ] {
        let files = conf_files(format, &machine()).unwrap();
        let expected: Vec<String> = expected
            .iter()
            .map(|name| name.replace("STEM", STEM))
            .collect();
        assert_eq!(names(&files), expected, "{format}");
        assert_eq!(
            files,
            conf_files(format, &machine()).unwrap(),
            "{format} is the same each time"
        );
        for file in &files {
            assert!(file.content.ends_with('\n'), "{}", file.name);
            assert_eq!(
                file.mode,
                if file.name.ends_with(".sh") {
                    0o755
                } else {
                    0o644
                },
                "{}",
                file.name
            );
        }
    }
}

#[test]
fn another_seed_gives_other_identifiers() {
    let mut other = machine();
    other.identity.seed = "other".to_owned();
    for (format, end) in [
        (ConfFormat::Vagrant, ".ovf"),
        (ConfFormat::Vagrant, "mac.rb"),
        (ConfFormat::Pvs, ".pvs"),
    ] {
        let [one, other] = [machine(), other.clone()]
            .map(|machine| file(&conf_files(format, &machine).unwrap(), end));
        assert_ne!(one, other, "{format} {end}");
    }
}

#[test]
fn machines_that_cannot_be_are_refused() {
    let refused: [fn(&mut Machine); 15] = [
        |machine| machine.stem = String::new(),
        |machine| machine.stem = "../x".into(),
        |machine| machine.stem = "-x".into(),
        |machine| machine.disk_name = ".hidden".into(),
        |machine| machine.disk_name = "a b".into(),
        |machine| machine.disk_name = "x".repeat(256),
        |machine| machine.vm_name = " ".into(),
        |machine| machine.vm_name = "x".repeat(81),
        |machine| machine.vm_name = "a\nb".into(),
        |machine| machine.version = "a\u{0}".into(),
        |machine| machine.group = "\u{ffff}".into(),
        |machine| machine.memory_mib = 0,
        |machine| machine.cpus = u32::MAX,
        |machine| machine.disk_bytes = 0,
        |machine| machine.disk_bytes = 1000,
    ];
    for (index, spoil) in refused.iter().enumerate() {
        let mut machine = machine();
        spoil(&mut machine);
        for format in ConfFormat::ALL {
            let error = conf_files(format, &machine).unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::InvalidInput,
                "case {index}: {error}"
            );
        }
    }
}

#[test]
fn arm_machines_are_for_qemu_and_google() {
    let machine = Machine {
        arch: Arch::Arm64,
        ..machine()
    };
    for format in ConfFormat::ALL {
        let serves = matches!(
            format,
            ConfFormat::QemuUefi | ConfFormat::QemuUefiSecure | ConfFormat::Pxe | ConfFormat::Gce
        );
        match conf_files(format, &machine) {
            Ok(_) => assert!(serves, "{format}"),
            Err(error) => {
                assert!(
                    !serves && error.kind() == ErrorKind::Unsupported && error.hint().is_some(),
                    "{error}"
                );
            }
        }
    }
}
