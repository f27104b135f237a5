//! Every trace on ROOT, planted alone by debugfs: the repaired copy has it no more, and nothing else has changed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use flatbake::bake::{Context, Generalize, Output, Request};
use flatbake::block::FileDevice;
use flatbake::diff::{Aspect, DiffOptions, compare_disks};
use flatbake::flatcar::Disk;
use flatbake::flatcar::doctor::Remedy;
use rayon::prelude::*;

use super::{ON_ROOT, examined, told};
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::judges::ext4_clean;
use crate::common::programs::{judges, must_run};
use crate::common::region::{Region, copy_file};
use crate::common::scratch_dir;

fn disk(image: &Path) -> Disk {
    Disk::open("image", Arc::new(FileDevice::open(image).unwrap())).unwrap()
}

/// Lets debugfs make a file with its folders on a filesystem at `root`.
fn plant(root: &Region, at: &str, dir: &Path) {
    let content = dir.join("content");
    fs::write(&content, "planted\n").unwrap();
    let mut script = String::new();
    for (end, _) in at.match_indices('/').skip(1) {
        writeln!(script, "mkdir {}", &at[..end]).unwrap();
    }
    writeln!(script, "write {} {at}", content.display()).unwrap();
    let commands = dir.join("commands");
    fs::write(&commands, script).unwrap();
    let filesystem = format!("{}?offset={}", root.path.display(), root.offset);
    must_run(
        "debugfs",
        ["-w", "-f", commands.to_str().unwrap(), &filesystem],
    );
}

fn repair(image: &Path, fixed: &Path, dir: &Path) {
    let mut request = Request::new(image);
    request.generalize = Generalize::TracesAndAccounts;
    request.policy.force = true;
    let output = Output::named(fixed.to_str().unwrap()).unwrap();
    request.outputs.push(output);
    let context = Context::new(dir);
    let prepared = request.prepare(&context).unwrap();
    let written = prepared.write(&context).unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
}

/// The paths on ROOT that differ; nothing else does.
fn differing(fresh: &Disk, fixed: &Path) -> Vec<String> {
    let options = DiffOptions {
        ignored: vec![Aspect::Times],
        ..DiffOptions::default()
    };
    let difference = compare_disks(fresh, &disk(fixed), &options).unwrap();
    assert!(difference.fields.is_empty() && difference.outside.is_none());
    let mut paths = Vec::new();
    for partition in difference.partitions {
        assert_eq!(partition.number, 9, "{partition:?}");
        assert!(partition.bytes.is_none() && partition.fields.is_empty());
        let entries = partition.files.into_iter().flat_map(|tree| tree.entries);
        paths.extend(entries.map(|entry| entry.path));
    }
    paths
}

#[test]
fn every_trace_alone_is_taken_away_and_nothing_else() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    if !judges(&["debugfs", "e2fsck", "sfdisk"]) {
        return;
    }
    let fresh = disk(&image);
    ON_ROOT.par_iter().for_each(|(at, wanted)| {
        let dir = scratch_dir();
        let planted = dir.path().join("planted.img");
        copy_file(&image, &planted);
        let root = Region::partition(&planted, 9).unwrap();
        plant(&root, at, dir.path());
        let found = examined(Arc::new(FileDevice::open(&planted).unwrap()));
        let told = told(&found);
        assert!(told.iter().any(|told| told == wanted), "{at}: {told:?}");
        let can_go = |remedy: &Remedy| !matches!(remedy, Remedy::None);
        let goes = found.symptoms.iter().any(|symptom| can_go(&symptom.remedy));

        let fixed = dir.path().join("fixed.img");
        repair(&planted, &fixed, dir.path());
        ext4_clean(&Region::partition(&fixed, 9).unwrap()).unwrap();
        let stays: Vec<&str> = if goes {
            Vec::new()
        } else {
            let ends = at.match_indices('/').skip(1).map(|(end, _)| end);
            ends.chain([at.len()]).map(|end| &at[..end]).collect()
        };
        assert_eq!(differing(&fresh, &fixed), stays, "{at}");
    });
}
