//! vmx, Xen, JSON and Ruby files, read by something else than what wrote them.

use std::collections::BTreeMap;

use flatbake::ErrorKind;
use flatbake::machine::{Arch, CatalogBox, ConfFormat, Machine, conf_files, vagrant_catalog};
use serde_json::{Value, json};

use super::xml::check_mac;
use super::{DISK, HOSTILE, file, hostile, machine};
use crate::common::programs::{ask, said};

/// What Python makes of `program` with `input` as its standard input: the JSON it prints.
pub fn python(program: &str, input: &[u8]) -> Option<Value> {
    let output = ask("python3", ["-c", program], input)?;
    assert!(output.status.success(), "{}", said(&output));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The values of a vmx file, with `|XX` taken back.
fn vmx_values(text: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (key, quoted) = line
            .split_once(" = ")
            .unwrap_or_else(|| panic!("no value: {line}"));
        let inner = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap();
        assert!(!inner.contains('"'), "{line}");
        let mut parts = inner.split('|');
        let mut value = parts.next().unwrap().to_owned();
        for part in parts {
            value.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
            value.push_str(&part[2..]);
        }
        assert!(
            values.insert(key.to_owned(), value).is_none(),
            "{key} twice"
        );
    }
    values
}

#[test]
fn vmx_lines_have_unique_keys_and_whole_values() {
    for format in [ConfFormat::Vmx, ConfFormat::VagrantVmwareFusion] {
        let values = vmx_values(&file(&conf_files(format, &hostile()).unwrap(), ".vmx").content);
        for (key, value) in [
            ("displayName", HOSTILE),
            ("memsize", "1024"),
            ("scsi0:0.fileName", DISK),
            ("scsi0.virtualDev", "pvscsi"),
            ("ethernet0.virtualDev", "vmxnet3"),
            ("virtualHW.version", "11"),
        ] {
            assert_eq!(values[key], value, "{key}");
        }
    }
}

#[test]
fn xen_configs_mean_to_python_what_they_mean_to_xl() {
    // xl's syntax is the part of Python's that xm, its predecessor, was configured with.
    let program = "import json, sys\nvalues = {}\nexec(sys.stdin.read(), values)\n\
                   del values['__builtins__']\nprint(json.dumps(values))";
    let files = conf_files(ConfFormat::Xl, &hostile()).unwrap();
    for loader in ["pygrub", "pvgrub"] {
        let text = file(&files, &format!("_{loader}.cfg")).content;
        let Some(values) = python(program, text.as_bytes()) else {
            return;
        };
        assert_eq!(values["name"], HOSTILE);
        assert_eq!(
            (&values["memory"], &values["vcpus"], &values["vif"]),
            (&json!(1024), &json!(2), &json!([]))
        );
        assert_eq!(
            values["disk"],
            json!([format!("format=raw, vdev=xvda, access=rw, target={DISK}")])
        );
        assert_eq!(values.get("bootloader").is_some(), loader == "pygrub");
        assert_eq!(values.get("kernel").is_some(), loader == "pvgrub");
    }
}

#[test]
fn boxes_say_who_runs_them() {
    let parse = "import json, sys\nprint(json.dumps(json.load(sys.stdin)))";
    for (format, provider) in [
        (ConfFormat::Vagrant, "virtualbox"),
        (ConfFormat::VagrantParallels, "parallels"),
        (ConfFormat::VagrantVmwareFusion, "vmware_fusion"),
    ] {
        let files = conf_files(format, &hostile()).unwrap();
        let metadata = file(&files, "metadata.json").content;
        let Some(values) = python(parse, metadata.as_bytes()) else {
            return;
        };
        assert_eq!(
            values,
            json!({ "provider": provider, "architecture": "amd64" })
        );
        assert!(
            file(&files, "Vagrantfile")
                .content
                .contains("config.ssh.username = 'core'")
        );
    }
}

#[test]
fn the_mac_of_a_box_is_that_of_its_machine() {
    for (format, end, prefix) in [
        (ConfFormat::Vagrant, "box.ovf", "080027"),
        (ConfFormat::VagrantParallels, "config.pvs", "001C42"),
    ] {
        let files = conf_files(format, &machine()).unwrap();
        let ruby = file(&files, "base_mac.rb").content;
        let mac = ruby
            .split('\'')
            .find(|part| part.starts_with(prefix))
            .unwrap();
        check_mac(mac, prefix);
        assert!(file(&files, end).content.contains(mac), "{mac}");
    }
}

fn offered() -> CatalogBox {
    CatalogBox {
        format: ConfFormat::Vagrant,
        arch: Arch::Amd64,
        url: format!("https://example.org/{HOSTILE}.box"),
        sha256: "AB".repeat(32),
    }
}

#[test]
fn a_catalog_offers_boxes() {
    let parallels = CatalogBox {
        format: ConfFormat::VagrantParallels,
        ..offered()
    };
    let machine = Machine {
        version: "4593.2.5+nightly-1".into(),
        group: HOSTILE.into(),
        ..machine()
    };
    let catalog = vagrant_catalog(
        "flatcar_production_test.json",
        &machine,
        &[offered(), parallels],
    )
    .unwrap();
    assert_eq!(catalog.name, "flatcar_production_test.json");
    let parse = "import json, sys\nprint(json.dumps(json.load(sys.stdin)))";
    let Some(values) = python(parse, catalog.content.as_bytes()) else {
        return;
    };
    assert_eq!(values["name"], format!("flatcar-{HOSTILE}"));
    assert_eq!(values["versions"][0]["version"], "4593.2.5");
    let providers = &values["versions"][0]["providers"];
    let virtualbox = json!({
        "name": "virtualbox", "url": offered().url, "checksum_type": "sha256", "checksum": "ab".repeat(32),
        "architecture": "amd64",
    });
    assert_eq!(
        (&providers[0], &providers[1]["name"]),
        (&virtualbox, &json!("parallels"))
    );
}

#[test]
fn a_catalog_refuses_what_vagrant_would_not_take() {
    let wrong: [fn(&mut CatalogBox); 5] = [
        |offered| offered.sha256 = "ab".repeat(31),
        |offered| offered.sha256 = "xy".repeat(32),
        |offered| offered.url = String::new(),
        |offered| offered.url = "a\nb".into(),
        |offered| offered.format = ConfFormat::Qemu,
    ];
    for spoil in wrong {
        let mut offered = offered();
        spoil(&mut offered);
        assert_eq!(
            vagrant_catalog("flatcar_production_test.json", &machine(), &[offered])
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput
        );
    }
    for version in ["x1", "1..2", "1.é", HOSTILE] {
        let machine = Machine {
            version: version.into(),
            ..machine()
        };
        assert_eq!(
            vagrant_catalog("flatcar_production_test.json", &machine, &[])
                .unwrap_err()
                .kind(),
            ErrorKind::InvalidInput,
            "{version}"
        );
    }
}
