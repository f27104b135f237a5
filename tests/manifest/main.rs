//! Manifests: what they say is what is baked, and what is wrong with one is told with its place.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod cli;
mod faults;
mod hostile;

use std::fs;
use std::path::Path;

use common::scratch_dir;
use flatbake::bake::manifest::{self, LoadOptions, Resolved};
use flatbake::bake::{BakeOptions, FileSource};

/// A folder with all that `full.yaml` and `full.toml` name, and both of them.
pub fn folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    let path = dir.path();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["flatcar_sample.bin.bz2", "hello.raw", "hello.conf", "greeter.raw"] {
        fs::copy(root.join("testdata/sample").join(name), path.join(name)).unwrap();
    }
    for name in ["full.yaml", "full.toml"] {
        fs::copy(root.join("tests/manifest").join(name), path.join(name)).unwrap();
    }
    fs::create_dir_all(path.join("tree/sub")).unwrap();
    fs::write(path.join("tree/a"), "x\n").unwrap();
    fs::write(path.join("tree/sub/b"), "y\n").unwrap();
    fs::write(path.join("note.txt"), "note\n").unwrap();
    fs::write(path.join("base.ign"), "{\"ignition\": {\"version\": \"3.3.0\"}}").unwrap();
    fs::write(path.join("grub.cfg"), "set oem_id=\"qemu\"\n").unwrap();
    // An archive without entries: two blocks of zeroes.
    fs::write(path.join("tree.tar"), [0; 1024]).unwrap();
    dir
}

/// Options as lines, without the places in the manifest.
fn told(options: &BakeOptions, folder: &str) -> String {
    let mut text = String::new();
    for file in &options.files {
        let source = match &file.source {
            FileSource::Host(path) => path.display().to_string(),
            FileSource::Inline(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        };
        let mode = file.mode.map_or("-".to_owned(), |mode| format!("{mode:04o}"));
        let (partition, path, (uid, gid), role) = (file.partition, &file.path, file.owner, file.role);
        text.push_str(&format!("file {partition}:{path} {mode} {uid}:{gid} {role:?} {source}\n"));
    }
    for link in &options.links {
        text.push_str(&format!("link {} -> {}\n", link.path, link.target));
    }
    for archive in &options.archives {
        let tar = &archive.options;
        let excludes: Vec<_> = tar.excludes.iter().map(|glob| String::from_utf8_lossy(glob.pattern())).collect();
        let (strip, owner, oci, keep) = (tar.strip_components, tar.owner, tar.oci_layer, tar.keep_docker_identity);
        let (source, partition, dest) = (archive.source.display(), archive.partition, &archive.dest);
        text.push_str(&format!("tar {source} {partition}:{dest} {strip} {owner:?} {excludes:?} {oci} {keep}\n"));
    }
    let sysexts: Vec<_> = options.sysexts.iter().map(|sysext| (&sysext.name, sysext.file.display())).collect();
    let removals: Vec<_> = options.removals.iter().map(|place| format!("{}:{}", place.partition, place.path)).collect();
    let install_to = options.install_to.as_ref().map(|place| format!("{}:{}", place.partition, place.path));
    text.push_str(&format!("sysexts {sysexts:?} to {install_to:?}; remove {removals:?}\n"));
    text.push_str(&format!("kernel {:?} less {:?}\n", options.kernel_args, options.removed_kernel_args));
    let (size, time, force, no_replay) = (options.root_size, options.timestamp, options.force, options.no_replay);
    text.push_str(&format!("{size:?} {:?} {force} {no_replay}\n", time.map(|time| time.secs)));
    text.replace(folder, "")
}

/// All that a manifest resolves to, as text.
fn dump(resolved: &Resolved, folder: &Path) -> String {
    let prefix = format!("{}/", folder.display());
    let mut text = format!("image {} {:?}\n", resolved.image.display(), resolved.image_sha256).replace(&prefix, "");
    text.push_str(&told(&resolved.options, &prefix));
    for variant in &resolved.variants {
        text.push_str(&format!("== {}\n{}", variant.name, told(&variant.options, &prefix)));
    }
    for vendor in &resolved.vendors {
        text.push_str(&format!("vendor {} {:?}\n", vendor.id, vendor.oem_sysext).replace(&prefix, ""));
    }
    for output in &resolved.outputs {
        let compress = output.compress.map(|compress| compress.to_string());
        text.push_str(&format!("output {} {} {compress:?}\n", output.file, output.format));
    }
    text.push_str(&format!("in {:?}, seed {:?}\n", resolved.folder, resolved.seed).replace(&prefix, ""));
    let mut inputs: Vec<_> = resolved.inputs.iter().map(|input| input.name.as_str()).collect();
    inputs.sort_unstable();
    text + &format!("inputs {}\n", inputs.join(" "))
}

#[test]
fn yaml_and_toml_say_the_same() {
    let dir = folder();
    let load = |name| manifest::load(&dir.path().join(name), &LoadOptions::default()).unwrap();
    let (yaml, toml) = (dump(&load("full.yaml"), dir.path()), dump(&load("full.toml"), dir.path()));
    assert_eq!(yaml, include_str!("full.golden"), "{yaml}");
    assert_eq!(toml, yaml);
}

#[test]
fn a_variant_takes_the_place_of_what_is_shared() {
    let dir = folder();
    let resolved = manifest::load(&dir.path().join("full.yaml"), &LoadOptions::default()).unwrap();
    let merged = resolved.merged(&resolved.variants[0]);
    let motd: Vec<_> = merged.files.iter().filter(|file| file.path.as_bytes() == b"/etc/motd").collect();
    assert_eq!(motd.len(), 1);
    assert_eq!(motd[0].source, FileSource::Inline(b"one\n".to_vec()));
    assert_eq!(merged.kernel_args, ["quiet", "console=ttyS0", "node=1"]);
    assert!(motd[0].origin.as_ref().unwrap().ends_with("full.yaml:67:13"), "{motd:?}");
}

#[test]
fn variables_of_the_caller_win() {
    let dir = folder();
    let set = vec![manifest::parse_set("HOST=other").unwrap()];
    let options = LoadOptions { set, ..LoadOptions::default() };
    let resolved = manifest::load(&dir.path().join("full.yaml"), &options).unwrap();
    let hostname = resolved.options.files.iter().find(|file| file.path.as_bytes() == b"/etc/hostname").unwrap();
    assert_eq!(hostname.source, FileSource::Inline(b"other\n".to_vec()));
    for bad in ["", "x", "1=2", "=x", "a-b=c"] {
        assert!(manifest::parse_set(bad).is_err(), "{bad}");
    }
}
