//! The manifests of `testdata/manifests` are examples that people start from: each of them is baked.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use flatbake::bake::{Prepared, Written};
use flatbake::manifest::{self, LoadOptions, Manifest};

use crate::common::scratch_dir;
use crate::manifest::context;

/// A folder with all examples and the sample.
fn folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    for from in ["testdata/manifests", "testdata/sample"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(from)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    dir
}

fn load(dir: &Path, name: &str) -> Manifest {
    manifest::load(&dir.join(name), &LoadOptions::default()).unwrap()
}

fn write(prepared: &Prepared) -> Written {
    let written = prepared.write(&context()).unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
    written
}

/// All files that were written, as the report names them.
fn files(written: &Written) -> BTreeSet<String> {
    written
        .report
        .outputs
        .iter()
        .flat_map(|output| &output.files)
        .map(|file| file.path.clone())
        .collect()
}

#[test]
fn one_node() {
    let dir = folder();
    let prepared = load(dir.path(), "one-node.yaml")
        .request
        .prepare(&context())
        .unwrap();
    let paths: Vec<String> = prepared
        .report(&context())
        .unwrap()
        .shared
        .changes
        .iter()
        .map(|change| change.path.clone())
        .collect();
    for path in [
        "/etc/hostname",
        "/etc/ssh/sshd_config.d/10-local.conf",
        "/etc/systemd/system/hello-once.service",
        "/etc/systemd/system/multi-user.target.wants/hello-once.service",
        "/etc/systemd/system/sshd.service.d/10-limits.conf",
        "/config.ign",
        "/grub.cfg",
    ] {
        assert!(paths.iter().any(|known| known == path), "{path}: {paths:?}");
    }
    assert_eq!(
        files(&write(&prepared)),
        BTreeSet::from(["node1.qcow2".to_owned()])
    );
    assert!(dir.path().join("one-node/node1.qcow2").is_file());
}

#[test]
fn a_fleet() {
    let dir = folder();
    let prepared = load(dir.path(), "fleet.yaml")
        .request
        .prepare(&context())
        .unwrap();
    let names = ["control", "worker1", "worker2"].map(|name| format!("{name}/node.img.gz"));
    assert_eq!(files(&write(&prepared)), BTreeSet::from(names.clone()));
    let content = |name: &String| fs::read(dir.path().join("fleet").join(name)).unwrap();
    assert!(content(&names[0]) != content(&names[1]) && content(&names[1]) != content(&names[2]));
}

#[test]
fn all_vendors() {
    let dir = folder();
    let prepared = load(dir.path(), "all-vendors.yaml")
        .request
        .prepare(&context())
        .unwrap();
    let report = prepared.report(&context()).unwrap();
    let vendors: BTreeSet<_> = report
        .outputs
        .iter()
        .filter_map(|output| output.vendor.as_deref())
        .collect();
    assert!(
        vendors.len() > 20 && vendors.contains("our_cloud") && vendors.contains("azure"),
        "{vendors:?}"
    );
}

#[test]
fn air_gapped() {
    let dir = folder();
    let manifest = load(dir.path(), "air-gapped.yaml");
    let mut request = manifest.request.clone();
    request.expected.locked = Some(manifest.locked(manifest.lock().unwrap()));
    let prepared = request.prepare(&context()).unwrap();
    assert_eq!(
        files(&write(&prepared)),
        BTreeSet::from(["node.img".to_owned()])
    );
    assert!(
        !manifest
            .write_lock(&prepared.inputs(&context()).unwrap())
            .unwrap(),
        "the lock says all already"
    );
    let sums = fs::read_to_string(dir.path().join("air-gapped/SHA256SUMS")).unwrap();
    assert!(sums.ends_with("  node.img\n"), "{sums}");

    // A byte more in any of the inputs is told.
    fs::write(
        dir.path().join("base.ign"),
        "{\"ignition\": {\"version\": \"3.4.0\"}}\n",
    )
    .unwrap();
    request.policy.overwrite = true;
    let error = request.prepare(&context()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("air-gapped.lock: 1 inputs are not as they were locked"),
        "{error:?}"
    );
}
