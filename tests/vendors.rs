//! Vendors on the command line, in docs/vendors.md, and before GRUB's own judge.
use crate::common::programs::{self, ask, success};
use std::path::{Path, PathBuf};
use std::process::Command;

use flatbake::flatcar::vendor::{Status, Vendor, Vendors};

fn flatbake(arguments: &[&str]) -> Command {
    let mut command = programs::flatbake();
    command.arg("vendors").args(arguments);
    command
}

fn text(arguments: &[&str]) -> String {
    String::from_utf8(success(&mut flatbake(arguments)).stdout).unwrap()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_document_has_the_table() {
    let document = std::fs::read_to_string(project("docs/vendors.md")).unwrap();
    let (_, rest) = document
        .split_once("<!-- vendors:begin -->\n")
        .expect("docs/vendors.md has a place for the table");
    let (table, _) = rest
        .split_once("<!-- vendors:end -->")
        .expect("the place for the table ends");
    assert_eq!(
        table,
        text(&["--markdown"]),
        "put the output of `flatbake vendors --markdown` into docs/vendors.md"
    );
}

#[test]
fn json_is_as_it_was() {
    for (golden, arguments) in [
        ("azure.json", &["azure", "--json"][..]),
        (
            "ami-4459.json",
            &["ami", "--json", "--release", "4459.2.0"][..],
        ),
        ("vmware_ova.json", &["vmware_ova", "--json"][..]),
        ("qemu.json", &["qemu", "--json"][..]),
        ("iso.json", &["iso", "--json"][..]),
        ("vmware_insecure.json", &["vmware_insecure", "--json"][..]),
    ] {
        let expected = std::fs::read_to_string(project("testdata/vendors").join(golden)).unwrap();
        assert_eq!(
            text(arguments),
            expected,
            "testdata/vendors/{golden} is flatbake vendors {}",
            arguments.join(" ")
        );
    }
}

#[test]
fn people_see_all_vendors_and_all_of_one() {
    let list = text(&[]);
    assert_eq!(list.lines().count(), 45);
    let azure = list
        .lines()
        .find(|line| line.starts_with("azure "))
        .unwrap();
    for word in ["Microsoft Azure", "vhd_fixed", "31122 MiB", "current"] {
        assert!(azure.contains(word), "{azure}");
    }
    let exoscale = text(&["exoscale", "--release", "4593"]);
    for words in [
        "flatcar_production_exoscale_image.img",
        "oem-exoscale",
        "before 4722:",
        "set oem_id=\"exoscale\"",
    ] {
        assert!(
            exoscale.contains(words),
            "{words} is missing in:\n{exoscale}"
        );
    }
    assert!(text(&["vmware_insecure"]).contains("private SSH key"));
}

#[test]
fn vendor_files_are_read() {
    let dir = crate::common::scratch_dir();
    let path = dir.path().join("mine.toml");
    std::fs::write(
        &path,
        text(&["azure", "--toml"]).replacen("id = \"azure\"\nname", "id = \"mine\"\nname", 1),
    )
    .unwrap();
    let file = path.to_str().unwrap();
    assert!(text(&["mine", "--vendor-file", file]).contains("flatcar_production_mine_image.vhd"));
    std::fs::write(&path, "id = \"mine\"\nnmae = \"Mine\"\n").unwrap();
    let output = flatbake(&["--vendor-file", file]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("mine.toml: line 2, column 1: unknown field `nmae`"),
        "{said}"
    );
    std::fs::write(&path, [0xff]).unwrap();
    assert_eq!(
        flatbake(&["--vendor-file", file])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
    let output = flatbake(&["azrue"]).output().unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("did you mean azure")
    );
}

#[test]
fn grub_understands_all_configs() {
    for vendor in Vendors::builtin()
        .iter()
        .filter(|vendor| vendor.status != Status::Refused)
    {
        let Some(grub) = vendor.for_release(None).unwrap().grub else {
            continue;
        };
        let Some(output) = ask(
            "grub-script-check",
            [] as [&str; 0],
            grub.render().as_bytes(),
        ) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{}: {said}\n{}",
            vendor.id,
            grub.render()
        );
    }
    let broken = ask(
        "grub-script-check",
        [] as [&str; 0],
        b"if [ x = y ]; then\n",
    )
    .unwrap();
    assert!(
        !broken.status.success(),
        "the judge finds nothing wrong with an open condition"
    );
}

/// The ids of the table of flatcar/scripts that are no aliases, by release line, as that table has them at the tags
/// lts-4081.3.10, stable-4459.2.0, stable-4593.2.5 and stable-4757.2.0.
const ALWAYS: &str = "akamai ami ami_vmdk azure cloudsigma cloudstack cloudstack_vhd digitalocean exoscale gce hetzner \
    hyperv hyperv_vhdx iso kubevirt openstack openstack_mini parallels pxe qemu_uefi scaleway vagrant vagrant_parallels \
    virtualbox vmware vmware_ova vmware_raw xen";
const UNTIL_4593: &str =
    "packet rackspace rackspace_onmetal rackspace_vhd vagrant_virtualbox vagrant_vmware_fusion";

#[test]
fn all_vendors_are_those_of_the_release_line() {
    for (major, others) in [
        (4081, vec![UNTIL_4593]),
        (4459, vec![UNTIL_4593, "proxmoxve nutanix stackit"]),
        (4593, vec![UNTIL_4593, "proxmoxve nutanix stackit"]),
        (4757, vec!["proxmoxve nutanix stackit oraclecloud"]),
    ] {
        let mut wanted: Vec<&str> = ALWAYS
            .split_whitespace()
            .chain(others.iter().flat_map(|ids| ids.split(' ')))
            .collect();
        wanted.sort_unstable();
        let own = |vendor: &&Vendor| !matches!(vendor.status, Status::Alias | Status::Refused);
        let made = Vendors::builtin()
            .iter()
            .filter(own)
            .filter(|vendor| vendor.is_made_in(Some(major)));
        let made: Vec<&str> = made.map(|vendor| vendor.id.as_str()).collect();
        assert_eq!(made, wanted, "{major}");
    }
    let newest = Vendors::builtin()
        .iter()
        .filter(|vendor| vendor.is_made_in(None))
        .count();
    assert_eq!(newest, 32);
}

#[test]
fn what_a_tag_shows_lies_within_what_is_said() {
    for vendor in Vendors::builtin().iter() {
        let major = |tag: &flatbake::flatcar::vendor::Text| {
            let version = tag.as_str().split_once('-').unwrap().1;
            flatbake::flatcar::vendor::major_of(version).unwrap()
        };
        assert_eq!(
            vendor.since.is_some(),
            vendor.since_tag.is_some(),
            "{}: a tag that has it",
            vendor.id
        );
        assert_eq!(
            vendor.removed.is_some(),
            vendor.removed_tag.is_some(),
            "{}: a tag without it",
            vendor.id
        );
        if let Some(tag) = &vendor.since_tag {
            assert!(
                vendor.is_made_in(Some(major(tag))) && vendor.since.unwrap() <= major(tag),
                "{}",
                vendor.id
            );
        }
        if let Some(tag) = &vendor.removed_tag {
            assert!(!vendor.is_made_in(Some(major(tag))), "{}", vendor.id);
        }
    }
}
