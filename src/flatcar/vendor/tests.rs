//! The built-in vendors, their settings release by release, and mutated files.

use super::*;
use crate::ErrorKind;
use crate::flatcar::grub::check;

fn settings(id: &str, major: Option<u64>) -> Settings {
    Vendors::builtin().find(id).unwrap().for_release(major).unwrap()
}

#[test]
fn every_file_of_the_folder_is_built_in_under_its_own_id() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("vendors");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().into_string().unwrap().strip_suffix(".toml")?.to_owned()))
        .collect();
    names.sort();
    let built_in: Vec<&str> = table::FILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, built_in, "vendors/ and the list in src/flatcar/vendor/table.rs differ");
    let ids: Vec<String> =
        Vendors::of_files(table::FILES).unwrap().iter().map(|vendor| vendor.id.to_string()).collect();
    assert_eq!(ids, built_in);
}

#[test]
fn names_of_files_are_flatcars() {
    assert_eq!(settings("azure", None).disk_file_name(), "flatcar_production_azure_image.vhd");
    assert_eq!(
        settings("qemu", None).conf_file_names(),
        ["flatcar_production_qemu.sh", "flatcar_production_qemu.README"]
    );
    let ova = settings("vmware_ova", None);
    assert_eq!(ova.bundle_file_name().unwrap(), "flatcar_production_vmware_ova.ova");
    assert_eq!(ova.bundle_member_names()[2], "flatcar_production_vmware_ova_image.vmdk");
    assert_eq!(ova.vm_name("4593.2.5+x"), "flatcar_production_vmware_ova-4593-2-5-x");
}

#[test]
fn grub_configs_have_no_findings() {
    for vendor in Vendors::builtin().iter().filter(|vendor| vendor.status != Status::Refused) {
        for major in [None, Some(4593), Some(4081), Some(3510)] {
            let Some(grub) = vendor.for_release(major).unwrap().grub else { continue };
            assert_eq!(check(&grub.render()), Vec::<String>::new(), "{}", vendor.id);
        }
    }
}

#[test]
fn a_vendor_with_a_published_key_is_refused() {
    let error = Vendors::builtin().find("vmware_insecure").unwrap().for_release(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("private SSH key"), "{error}");
}
