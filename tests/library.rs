//! The programs of `examples/`, which use the library as others do, run and judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;

use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::judges::qemu_check;
use crate::common::programs::{command, flatbake, said, success};
use crate::common::scratch_dir;

/// An example, as it is now.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        success(
            cargo
                .args(["build", "--locked", "--examples"])
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        );
    });
    command(
        &std::env::current_exe()
            .unwrap()
            .parent()
            .unwrap()
            .join("../examples")
            .join(name),
    )
}

fn run(name: &str, arguments: &[&str]) -> Output {
    example(name).args(arguments).output().unwrap()
}

fn ok(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    assert!(
        output.status.success(),
        "{name} {arguments:?}: {}",
        said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn sample(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata/sample", name]
        .iter()
        .collect();
    path.display().to_string()
}

fn cat(image: &str, place: &str) -> String {
    String::from_utf8(success(flatbake().args(["cat", image, place])).stdout).unwrap()
}

#[test]
fn a_file_is_put_into_any_partition_listed_and_copied_out() {
    let dir = scratch_dir();
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(at("grub.cfg"), "set linux_append=\"quiet\"\n").unwrap();
    let mut image = sample("flatcar_sample.bin.bz2");
    for (round, place) in [
        "oem:/grub.cfg",
        "root:/srv/deep/grub.cfg",
        "boot:/EFI/grub.cfg",
    ]
    .into_iter()
    .enumerate()
    {
        let output = at(&format!("{round}.qcow2"));
        let text = ok("edit", &[&image, &at("grub.cfg"), place, &output]);
        assert!(text.contains(place.split_once(':').unwrap().1), "{text}");
        assert_eq!(cat(&output, place), "set linux_append=\"quiet\"\n");
        qemu_check(Path::new(&output)).unwrap();
        image = output;
    }
    let text = ok("list", &[&image, "root:/srv"]);
    assert!(text.contains(" /srv/deep/\n"), "{text}");
    ok("list", &[&image, "root:/srv", "deep", &at("copied")]);
    assert_eq!(
        fs::read_to_string(at("copied/grub.cfg")).unwrap(),
        "set linux_append=\"quiet\"\n"
    );
    assert!(said(&run("list", &[&image, "nowhere:/"])).contains("nowhere"));
}

#[test]
fn an_image_becomes_several_in_one_pass() {
    let dir = scratch_dir();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let outputs = ["disk.qcow2", "disk.vhdx", "disk.bin.zst"].map(at);
    let arguments: Vec<&str> = std::iter::once(sample("flatcar_sample.bin.bz2"))
        .chain(outputs.clone())
        .map(|text| &*text.leak())
        .collect();
    let sums = dir.path().join("sums");
    fs::write(&sums, ok("convert", &arguments)).unwrap();
    success(command(Path::new("sha256sum")).arg("-c").arg(&sums));
    qemu_check(Path::new(&outputs[0])).unwrap();
    assert!(
        !run(
            "convert",
            &[&sample("flatcar_sample.bin.bz2"), &at("disk.unknown")]
        )
        .status
        .success()
    );
}

#[test]
fn a_fleet_has_an_image_for_each_node() {
    let dir = scratch_dir();
    let folder = dir.path().join("fleet");
    let text = ok(
        "fleet",
        &[
            &sample("flatcar_sample.bin.bz2"),
            folder.to_str().unwrap(),
            "one",
            "two",
        ],
    );
    assert_eq!(text.lines().count(), 2, "{text}");
    for node in ["one", "two"] {
        let image = folder.join(node).join("disk.qcow2").display().to_string();
        assert_eq!(cat(&image, "root:/etc/hostname"), format!("{node}\n"));
        assert_eq!(cat(&image, "root:/etc/motd"), "one of many\n");
    }
}

#[test]
fn a_provisioning_tool_has_its_own_progress_and_limit() {
    let dir = scratch_dir();
    let Some(image) =
        flatcar_image(&Recipe::small().with_file(6, "grub.cfg", b"set oem_id=\"qemu\"\n"))
    else {
        return;
    };
    let image = image.to_str().unwrap();
    let sysext = format!("hello:{}", sample("hello.raw"));
    let folder = |name: &str| dir.path().join(name).display().to_string();
    let text = ok("provision", &[image, &sysext, &folder("in-time"), "600"]);
    for words in [
        "oem: grub.cfg",
        "wrote node.qcow2",
        "wrote flatcar_production_openstack_image.img",
        " bytes went by",
    ] {
        assert!(text.contains(words), "{words} is missing in {text}");
    }
    assert_eq!(
        cat(
            &format!("{}/node.qcow2", folder("in-time")),
            "root:/etc/motd"
        ),
        "provisioned\n"
    );
    let output = run("provision", &[image, &sysext, &folder("late"), "0"]);
    assert!(
        !output.status.success() && said(&output).to_lowercase().contains("cancel"),
        "{}",
        said(&output)
    );
    let left = fs::read_dir(folder("late")).map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "nothing is left of what was cancelled");
}
