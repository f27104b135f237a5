//! Images for every vendor of the table from one bake, judged by programs that nobody here wrote.
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::judges::{btrfs_clean, ext4_clean, fat_clean, gpt_clean, qemu_check, qemu_info};
use crate::common::listing::partition_tree;
use crate::common::programs::{self, command, judges, must_run, success};
use crate::common::region::Region;
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::tree::{Kind, sha256};
use flatbake::bake::{Context, Request, VendorChoice, VendorTargets};
use flatbake::flatcar::vendor::{Settings, Status, Vendor, Vendors};
use flatbake::image::OutputFormat;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A release in which all present settings hold.
const RELEASE: &str = "4757.1.0";
const MAJOR: Option<u64> = Some(4757);
const MIB: u64 = 1 << 20;
/// The OEM ID of vendors with an alias' OEM, each once.
type Ids = BTreeSet<String>;

fn flatbake(arguments: &[&str]) -> Command {
    let mut command = programs::flatbake();
    command.args(arguments);
    command
}

/// The vendors of `--vendor all` with their settings.
fn all() -> Vec<(String, Settings)> {
    let own = Vendors::builtin()
        .iter()
        .filter(|vendor| matches!(vendor.status, Status::Current | Status::Removed));
    let made = own.filter(|vendor| vendor.is_made_in(MAJOR));
    made.map(|vendor| (vendor.id.to_string(), vendor.for_release(MAJOR).unwrap()))
        .collect()
}

/// The sysexts of all of them as `DIR/oem-ID.raw`.
fn make_sysexts(dir: &Path) -> Option<()> {
    let ids: Ids = all()
        .into_iter()
        .filter_map(|(_, settings)| Some(settings.oem_sysext?.to_string()))
        .collect();
    let fields = [
        ("ID", "flatcar"),
        ("VERSION_ID", RELEASE),
        ("ARCHITECTURE", "x86-64"),
    ];
    for id in ids {
        let name = format!("oem-{id}");
        let made = Sysext::new(&name, "x86-64", Format::Squashfs).with_fields(&fields);
        sysext(dir, &format!("{name}.raw"), &made)?;
    }
    Some(())
}

fn small_image() -> Option<PathBuf> {
    let recipe = Recipe {
        version: RELEASE.to_owned(),
        ..Recipe::small()
    };
    flatcar_image(&recipe.with_file(6, "config.ign", br#"{"ignition":{"version":"3.4.0"}}"#))
}

/// Bakes for `vendors` into `out`.
fn bake(image: &Path, vendors: &str, sysexts: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = flatbake(&["bake", "--vendor", vendors, "--kernel-arg", "quiet"]);
    command
        .arg("--image")
        .arg(image)
        .arg("--oem-sysext")
        .arg(sysexts)
        .arg("--output-dir")
        .arg(out)
        .args(more);
    command
}

/// Where the file of a vendor's disk is, taken out of its bundle where it is in one.
fn disk_file(out: &Path, work: &Path, settings: &Settings) -> PathBuf {
    let loose = out.join(settings.disk_file_name());
    if loose.exists() {
        return loose;
    }
    let bundle = out.join(settings.bundle_file_name().unwrap());
    let place = work.join(settings.stem());
    fs::create_dir_all(&place).unwrap();
    must_run("tar", [Path::new("-xf"), &bundle, Path::new("-C"), &place]);
    let mut folders = vec![place];
    let mut best: Option<(u64, PathBuf)> = None;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let len = path.metadata().unwrap().len();
            if path.is_dir() {
                folders.push(path);
            } else if best.as_ref().is_none_or(|(most, _)| len > *most) {
                best = Some((len, path));
            }
        }
    }
    best.unwrap().1
}

/// QEMU's word for the format.
fn driver(format: OutputFormat) -> &'static str {
    match format {
        OutputFormat::Raw => "raw",
        OutputFormat::Qcow2 => "qcow2",
        OutputFormat::Vhd | OutputFormat::VhdFixed => "vpc",
        OutputFormat::Vhdx => "vhdx",
        OutputFormat::Hdd => "parallels",
        OutputFormat::Vdi => "vdi",
        OutputFormat::VmdkIde
        | OutputFormat::VmdkScsi
        | OutputFormat::VmdkStream
        | OutputFormat::VmdkFlat => "vmdk",
        other => panic!("no word of QEMU for {other:?}"),
    }
}

/// The OEM partition holds what the vendor's data say, and the user's config.
fn assert_oem(disk: &Path, settings: &Settings) {
    let tree = partition_tree(disk, 6, "btrfs").unwrap();
    let files: Vec<&str> = tree
        .iter()
        .filter(|(_, entry)| entry.kind == Kind::File)
        .map(|(path, _)| path.as_str())
        .collect();
    let mut expected = vec!["config.ign".to_owned(), "grub.cfg".to_owned()];
    if settings.oem.is_some() {
        expected.push("oem-release".to_owned());
    }
    if let Some(id) = &settings.oem_sysext {
        expected.push(format!("sysext/active-oem-{id}"));
        expected.push(format!("sysext/oem-{id}-{RELEASE}.raw"));
    }
    assert_eq!(files, expected, "{}", settings.id);
    // The user's kernel argument comes on top of the vendor's own.
    let rendered = settings
        .grub
        .as_ref()
        .map(|grub| grub.render())
        .unwrap_or_default();
    let grub =
        flatbake::flatcar::grub::edit_kernel_args(&rendered, &["quiet".to_owned()], &[]).unwrap();
    assert_eq!(
        tree["grub.cfg"].sha256.as_ref().unwrap(),
        &sha256(grub.as_bytes()),
        "{}",
        settings.id
    );
}

/// Every file of a report, by vendor.
fn files(report: &[u8]) -> BTreeSet<String> {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap();
    let outputs = report["outputs"].as_array().unwrap();
    let of = |output: &serde_json::Value| {
        let vendor = output["vendor"].as_str().unwrap().to_owned();
        let files = output["files"].as_array().unwrap().clone();
        files
            .into_iter()
            .map(move |file| format!("{vendor} {}", file["path"].as_str().unwrap()))
    };
    outputs.iter().flat_map(of).collect()
}

#[test]
fn every_vendor_of_the_table() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    if !judges(&["qemu-img", "btrfs", "debugfs", "e2fsck", "sfdisk"])
        || make_sysexts(dir.path()).is_none()
    {
        return;
    }
    let one = dir.path().join("one");
    let two = dir.path().join("two");
    let planned = success(&mut bake(
        &image,
        "all",
        dir.path(),
        &one,
        &["--dry-run", "--json"],
    ))
    .stdout;
    let baked = success(&mut bake(&image, "all", dir.path(), &one, &["--json"])).stdout;
    assert_eq!(
        files(&planned),
        files(&baked),
        "a dry run names the files that the run writes"
    );
    success(&mut bake(
        &image,
        "all",
        dir.path(),
        &two,
        &["--threads", "1"],
    ));
    for file in ["SHA256SUMS", "flatbake-report.json"] {
        assert_eq!(
            fs::read(one.join(file)).unwrap(),
            fs::read(two.join(file)).unwrap(),
            "{file} of two runs"
        );
    }
    success(
        command(Path::new("sha256sum"))
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(&two),
    );

    let disk_bytes = fs::metadata(&image).unwrap().len();
    for (id, settings) in all() {
        for name in settings.conf_file_names() {
            // Firmware is the host's, unless it is given.
            assert!(
                one.join(&name).exists() || name.contains("_efi_"),
                "{id} has {name}"
            );
        }
        let Some(format) = settings.disk_format.output() else {
            assert!(one.join(settings.disk_file_name()).exists(), "{id}");
            continue;
        };
        let file = disk_file(&one, dir.path(), &settings);
        let in_archive = settings.bundle_format.is_some() && file.ends_with("disk.raw");
        let driver = if in_archive { "raw" } else { driver(format) };
        if !matches!(driver, "raw" | "vpc") {
            qemu_check(&file).unwrap_or_else(|error| panic!("{id}: {error}"));
        }
        let raw = dir.path().join("raw");
        let _ = fs::remove_file(&raw);
        must_run(
            "qemu-img",
            [
                Path::new("convert"),
                "-f".as_ref(),
                driver.as_ref(),
                "-O".as_ref(),
                "raw".as_ref(),
                &file,
                &raw,
            ],
        );
        let size = settings.disk_size.map_or(disk_bytes, |size| size.bytes());
        let size = size.next_multiple_of(settings.disk_size_step.bytes());
        assert_eq!(fs::metadata(&raw).unwrap().len(), size, "{id}");
        gpt_clean(&raw).unwrap_or_else(|error| panic!("{id}: {error}"));
        let at = |number| Region::partition(&raw, number).unwrap();
        ext4_clean(&at(9)).unwrap_or_else(|error| panic!("{id}: {error}"));
        btrfs_clean(&at(6)).unwrap_or_else(|error| panic!("{id}: {error}"));
        fat_clean(&at(1)).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_oem(&raw, &settings);
    }
    let exoscale = qemu_info(&one.join("flatcar_production_exoscale_image.qcow2")).unwrap();
    assert_eq!(exoscale["virtual-size"], 10_737_418_240u64);
    assert_eq!(exoscale["format-specific"]["data"]["compat"], "0.10");
}

#[test]
fn disks_have_the_sizes_of_flatcars_own() {
    let dir = scratch_dir();
    // Layouts base, vm, azure and vagrant: MiB of the fact book's section A.
    for (recipe, sizes) in [
        (Recipe::new(), [8064, 12_600, 31_122, 22_806]),
        (Recipe::old(), [4536, 8694, 31_122, 18_900]),
    ] {
        let Some(image) = flatcar_image(&recipe) else {
            return;
        };
        let context = Context::new(dir.path());
        let choose = |vendor| VendorChoice {
            vendor,
            oem_sysext: None,
            origin: None,
        };
        let chosen = ["vmware_raw", "hetzner", "azure", "vagrant"];
        let chosen = chosen
            .map(|id| choose(Vendors::builtin().find(id).unwrap().clone()))
            .to_vec();
        let folder = dir.path().join(format!("{}", sizes[0]));
        let vendors = VendorTargets {
            chosen,
            no_oem: true,
            ..VendorTargets::default()
        };
        let request = Request {
            vendors,
            folder: Some(folder.clone()),
            ..Request::new(&image)
        };
        let report = request.prepare(&context).unwrap().report(&context).unwrap();
        let planned: Vec<u64> = report
            .outputs
            .iter()
            .map(|output| output.disk_bytes / MIB)
            .collect();
        assert_eq!(planned, sizes);
        // The same layouts as raw disks, for judges.
        let raw = |layout: &str| {
            let text = format!(
                "id = \"{layout}\"\nname = \"{layout}\"\nstatus = \"current\"\ndisk_format = \"raw\"\n\
                 disk_layout = \"{layout}\"\n"
            );
            choose(Vendor::from_toml(&text, "vendor.toml").unwrap())
        };
        let layouts = ["base", "vm", "azure", "vagrant"];
        let vendors = VendorTargets {
            chosen: layouts.map(raw).to_vec(),
            no_oem: true,
            ..VendorTargets::default()
        };
        let request = Request { vendors, ..request };
        let written = request.prepare(&context).unwrap().write(&context).unwrap();
        assert!(written.failure.is_none(), "{:?}", written.failure);
        for (layout, size) in layouts.into_iter().zip(sizes) {
            let raw = folder.join(format!("flatcar_production_{layout}_image.bin"));
            assert_eq!(fs::metadata(&raw).unwrap().len(), size * MIB, "{layout}");
            gpt_clean(&raw).unwrap();
            ext4_clean(&Region::partition(&raw, 9).unwrap()).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_made_is_told_before_anything_is_written() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    let fields = [("ID", "flatcar"), ("VERSION_ID", RELEASE)];
    let made = Sysext::new("oem-azure", "x86-64", Format::Squashfs).with_fields(&fields);
    let Some(azure) = sysext(dir.path(), "any-name.raw", &made) else {
        return;
    };
    let out = dir.path().join("out");
    for more in [&[][..], &["--dry-run"]] {
        let output = bake(&image, "hyperv,azure,xen", &azure, &out, more)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        let url = "https://beta.release.flatcar-linux.net/amd64-usr/4757.1.0/oem-hyperv.raw";
        for words in ["oem-hyperv.raw of release 4757.1.0", "for hyperv", url] {
            assert!(said.contains(words), "'{words}' is missing in: {said}");
        }
        assert!(!out.exists());
    }
    // Unknown and refused vendors stop the run before anything is written.
    let nothing = dir.path().join("nothing");
    for (vendor, says) in [
        ("azur", "did you mean azure"),
        ("vmware_insecure", "private SSH key"),
    ] {
        let output = bake(&image, vendor, &azure, &nothing, &[])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(says), "{said}");
        assert!(!nothing.join("SHA256SUMS").exists());
    }
}

#[test]
fn inputs_and_other_files_of_a_run_are_not_replaced() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    let base = dir.path().join("flatcar_production_xen_image.bin");
    fs::copy(&image, &base).unwrap();
    let before = sha256(File::open(&base).unwrap());
    fs::copy(&image, dir.path().join("base.bin")).unwrap();
    let run = |arguments: &[&str]| {
        flatbake(arguments)
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let bake = [
        "bake",
        "--image",
        "flatcar_production_xen_image.bin",
        "--vendor",
        "xen",
        "--output-dir",
        ".",
    ];
    let output = run(&bake);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("read by this run"),
        "{said}"
    );
    assert_eq!(sha256(File::open(&base).unwrap()), before);
    for name in ["flatcar_production_xen_pygrub.cfg", "SHA256SUMS"] {
        let text = format!(
            "image: base.bin\noutput: out\nvendors: [xen]\noutputs: [{{file: {name}, format: raw}}]\n"
        );
        fs::write(dir.path().join("m.yaml"), text).unwrap();
        let output = run(&["bake", "-f", "m.yaml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        let says = said.contains("cannot be called") || said.contains("is the name of two outputs");
        assert!(output.status.code() == Some(2) && says, "{said}");
    }
}

#[test]
fn a_manifest_gives_variants_for_vendors() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    fs::hard_link(&image, dir.path().join("base.bin"))
        .or_else(|_| fs::copy(&image, dir.path().join("base.bin")).map(drop))
        .unwrap();
    let manifest = dir.path().join("flatbake.yaml");
    fs::write(
        &manifest,
        "image: base.bin\noutput: results\nvendors: [xen]\noutputs: [disk.qcow2]\nroot_size: auto\n\
         files:\n  - {path: 'root:/etc/motd', content: 'shared'}\nkernel_args: {add: [quiet]}\n\
         variants:\n  - {name: node1, hostname: one}\n  - {name: node2, hostname: two}\n",
    )
    .unwrap();
    let run = |more: &[&str]| {
        let mut command = flatbake(&["bake", "-f"]);
        command.arg(&manifest).args(more);
        command
    };
    success(&mut run(&[]));
    let results = dir.path().join("results");
    success(
        command(Path::new("sha256sum"))
            .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
            .current_dir(&results),
    );
    for (node, hostname) in [("node1", "one"), ("node2", "two")] {
        let raw = results.join(node).join("flatcar_production_xen_image.bin");
        let tree = partition_tree(&raw, 9, "ext4").unwrap();
        assert_eq!(
            tree["etc/motd"].sha256.as_ref().unwrap(),
            &sha256(&b"shared"[..])
        );
        assert_eq!(
            tree["etc/hostname"].sha256.as_ref().unwrap(),
            &sha256(format!("{hostname}\n").as_bytes())
        );
        assert!(
            partition_tree(&raw, 6, "btrfs")
                .unwrap()
                .contains_key("grub.cfg")
        );
        qemu_check(&results.join(node).join("disk.qcow2")).unwrap();
    }
    let report: serde_json::Value =
        serde_json::from_reader(File::open(results.join("flatbake-report.json")).unwrap()).unwrap();
    assert_eq!(report["outputs"].as_array().unwrap().len(), 4);
    // The lock holds, until an input changes.
    success(&mut run(&["--locked", "--overwrite"]));
    fs::write(dir.path().join("motd.txt"), "more").unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("content: 'shared'", "source: motd.txt"),
    )
    .unwrap();
    let output = run(&["--locked", "--overwrite"]).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(7),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn what_runs_from_memory_gets_the_kernel_arguments() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    let out = dir.path().join("out");
    let arguments = ["--no-oem", "--kernel-arg", "flatbake.test=1"];
    success(&mut bake_alone(
        &image,
        "iso,pxe,qemu_uefi",
        &out,
        &arguments,
    ));
    let iso = fs::read(out.join("flatcar_production_iso_image.iso")).unwrap();
    let menu = b" 'flatcar.autologin' 'flatcar.first_boot=1' 'flatbake.test=1'\n";
    assert!(
        iso.windows(menu.len()).any(|window| window == menu),
        "the menu has the argument"
    );
    let script =
        |name: &str| fs::read_to_string(out.join(format!("flatcar_production_{name}.sh"))).unwrap();
    assert!(
        script("pxe").contains("VM_APPEND='flatbake.test=1'\n"),
        "{}",
        script("pxe")
    );
    assert!(
        script("qemu_uefi").contains("VM_APPEND=''\n"),
        "GRUB reads OEM's grub.cfg itself"
    );
    // Without isolinux only UEFI starts the CD.
    assert!(
        script("iso").contains("VM_PFLASH_RO='flatcar_production_iso_efi_code.qcow2'\n"),
        "{}",
        script("iso")
    );
}

#[test]
fn what_runs_from_memory_is_refused_files_on_root() {
    let dir = scratch_dir();
    let Some(image) = small_image() else { return };
    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    let root_file = format!("{}:/srv/file", file.display());
    let run = |vendors: &str, more: &[&str]| {
        let arguments = [
            &["--no-oem", "--dry-run", "--json", "--root-file", &root_file],
            more,
        ]
        .concat();
        bake_alone(&image, vendors, &dir.path().join("out"), &arguments)
            .output()
            .unwrap()
    };
    for vendors in ["pxe", "iso", "xen,iso"] {
        let output = run(vendors, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{vendors}: {said}");
        assert!(
            said.contains("a live system has no ROOT partition"),
            "{said}"
        );
        assert!(run(vendors, &["--force"]).status.success(), "{vendors}");
    }
    assert!(run("xen,gce", &[]).status.success());
    // Nobody named them: the others are made, and the report says which are not.
    let report: serde_json::Value = serde_json::from_slice(
        &success(&mut {
            let arguments = ["--no-oem", "--dry-run", "--json", "--root-file", &root_file];
            bake_alone(&image, "all", &dir.path().join("out"), &arguments)
        })
        .stdout,
    )
    .unwrap();
    let left_out: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"] == "vendor-left-out")
        .map(|finding| finding["values"]["vendor"].as_str().unwrap())
        .collect();
    assert_eq!(left_out, ["iso", "pxe"]);
}

/// Bakes for `vendors` into `out` without OEM sysexts.
fn bake_alone(image: &Path, vendors: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = flatbake(&["bake", "--vendor", vendors]);
    command
        .arg("--image")
        .arg(image)
        .arg("--output-dir")
        .arg(out)
        .args(more);
    command
}

#[test]
fn a_box_that_lets_nobody_in_is_refused() {
    let dir = scratch_dir();
    let recipe = Recipe {
        version: "4593.2.5".to_owned(),
        ..Recipe::small()
    };
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let config = dir.path().join("config.ign");
    fs::write(&config, r#"{"ignition":{"version":"3.3.0"}}"#).unwrap();
    let run = |vendors: &str, more: &[&str]| {
        let sysexts = dir.path().join("none");
        fs::create_dir_all(&sysexts).unwrap();
        let arguments = [
            &[
                "--dry-run",
                "--json",
                "--oem-sysext",
                sysexts.to_str().unwrap(),
            ],
            more,
        ]
        .concat();
        bake_alone(&image, vendors, &dir.path().join("out"), &arguments)
            .output()
            .unwrap()
    };
    for vendor in [
        "vagrant",
        "vagrant_parallels",
        "vagrant_virtualbox",
        "vagrant_vmware_fusion",
    ] {
        let output = run(vendor, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{vendor}: {said}");
        assert!(said.contains("nobody could log in"), "{said}");
        let output = run(vendor, &["--config-ign", config.to_str().unwrap()]);
        assert!(
            output.status.success(),
            "{vendor}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
