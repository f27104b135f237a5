//! Manifests: what they say is what is baked, and what is wrong with one is told with its place.
mod cli;
mod configs;
mod examples;
mod faults;
mod hostile;
mod lock;
mod scale;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::common::{scratch_dir, scratch_root};
use flatbake::bake::{Context, Edits, FileSource, Request, Settings};
use flatbake::image::CacheMode;
use flatbake::manifest::{self, LoadOptions, Manifest};

/// A folder with all that `full.yaml` and `full.toml` name, and both of them.
pub fn folder() -> tempfile::TempDir {
    let dir = scratch_dir();
    let path = dir.path();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in [
        "flatcar_sample.bin.bz2",
        "hello.raw",
        "hello.conf",
        "greeter.raw",
    ] {
        fs::copy(root.join("testdata/sample").join(name), path.join(name)).unwrap();
    }
    for name in ["full.yaml", "full.toml", "plan.yaml"] {
        fs::copy(root.join("tests/manifest").join(name), path.join(name)).unwrap();
    }
    fs::copy(
        root.join("testdata/manifests/our_cloud.toml"),
        path.join("our_cloud.toml"),
    )
    .unwrap();
    fs::create_dir_all(path.join("tree/sub")).unwrap();
    fs::write(path.join("tree/a"), "x\n").unwrap();
    fs::write(path.join("tree/sub/b"), "y\n").unwrap();
    fs::write(path.join("note.txt"), "note\n").unwrap();
    fs::write(
        path.join("base.ign"),
        "{\"ignition\": {\"version\": \"3.3.0\"}}",
    )
    .unwrap();
    fs::write(path.join("grub.cfg"), "set oem_id=\"qemu\"\n").unwrap();
    // An archive without entries: two blocks of zeroes.
    fs::write(path.join("tree.tar"), [0; 1024]).unwrap();
    dir
}

/// The manifest `name` of a folder, which is written there first.
pub fn load_text(dir: &Path, name: &str, text: &str) -> flatbake::Result<Manifest> {
    fs::write(dir.join(name), text).unwrap();
    manifest::load(&dir.join(name), &LoadOptions::default())
}

/// What runs of these tests are given: the sample is decompressed once for all of them.
pub fn context() -> Context<'static> {
    Context {
        cache: CacheMode::Dir(scratch_root().join("cache/flatbake")),
        ..Context::new(scratch_root())
    }
}

fn source(source: &FileSource) -> String {
    match source {
        FileSource::Host(path) => path.display().to_string(),
        FileSource::Inline(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        other => panic!("{other:?}"),
    }
}

/// Edits as lines, without the places in the manifest.
fn told(edits: &Edits) -> String {
    let mut text = String::new();
    let removals: Vec<_> = edits
        .removals
        .iter()
        .map(|place| format!("{}:{}", place.partition, place.path))
        .collect();
    writeln!(text, "remove {removals:?}").unwrap();
    for archive in &edits.archives {
        let tar = &archive.options;
        let excludes: Vec<_> = tar
            .excludes
            .iter()
            .map(|glob| String::from_utf8_lossy(glob.pattern()))
            .collect();
        let strip = tar.strip_components;
        let owner = tar.owner;
        let oci = tar.oci_layer;
        let keep = tar.keep_docker_identity;
        let file = archive.source.display();
        let partition = archive.partition;
        let dest = &archive.dest;
        writeln!(
            text,
            "tar {file} {partition}:{dest} {strip} {owner:?} {excludes:?} {oci} {keep}"
        )
        .unwrap();
    }
    let sysexts: Vec<_> = edits
        .sysexts
        .iter()
        .map(|sysext| (&sysext.name, sysext.file.display()))
        .collect();
    let trusted: Vec<_> = edits
        .trusted
        .iter()
        .map(|trusted| trusted.file.display())
        .collect();
    writeln!(text, "trust {trusted:?}").unwrap();
    let enabled: Vec<_> = edits
        .enabled_sysexts
        .iter()
        .map(|sysext| &sysext.name)
        .collect();
    writeln!(text, "enable {enabled:?}").unwrap();
    let install_to = edits
        .install_to
        .as_ref()
        .map(|place| format!("{}:{}", place.partition, place.path));
    writeln!(text, "sysexts {sysexts:?} to {install_to:?}").unwrap();
    writeln!(text, "sysupdate {}", edits.sysupdate).unwrap();
    writeln!(
        text,
        "hostname {:?}",
        edits.hostname.as_ref().map(|hostname| &hostname.name)
    )
    .unwrap();
    for file in &edits.files {
        let mode = file
            .mode
            .map_or("-".to_owned(), |mode| format!("{mode:04o}"));
        let (partition, path, (uid, gid)) =
            (file.partition, &file.path, file.owner.unwrap_or_default());
        writeln!(
            text,
            "file {partition}:{path} {mode} {uid}:{gid} {}",
            source(&file.source)
        )
        .unwrap();
    }
    for unit in &edits.units {
        let contents = unit.contents.as_ref().map(source);
        writeln!(
            text,
            "unit {} enabled {} {contents:?}",
            unit.name, unit.enabled
        )
        .unwrap();
        for (name, dropin) in &unit.dropins {
            writeln!(text, "  {name} {}", source(dropin)).unwrap();
        }
    }
    let configs = [
        ("grub.cfg", &edits.grub_cfg),
        ("base.ign", &edits.base_ign),
        ("config.ign", &edits.config_ign),
        ("applied", &edits.apply_ignition),
    ];
    for (name, config) in configs {
        if let Some(config) = config {
            writeln!(text, "{name} {}", source(&config.source)).unwrap();
        }
    }
    writeln!(
        text,
        "kernel {:?} less {:?}",
        edits.kernel_args, edits.removed_kernel_args
    )
    .unwrap();
    if edits.settings != Settings::default() {
        writeln!(text, "{:?}", edits.settings).unwrap();
    }
    for link in &edits.links {
        writeln!(text, "link {} -> {}", link.path, link.target).unwrap();
    }
    text
}

/// All that a manifest asks for, as text.
fn dump(request: &Request, folder: &Path) -> String {
    let mut text = format!("image {}\n", request.base.name().display());
    text.push_str(&told(&request.edits));
    for variant in &request.variants {
        write!(text, "== {}\n{}", variant.name, told(&variant.edits)).unwrap();
    }
    writeln!(text, "==\nroot size {:?}", request.root_size).unwrap();
    let vendors = &request.vendors;
    for choice in &vendors.chosen {
        writeln!(text, "vendor {} {:?}", choice.vendor.id, choice.oem_sysext).unwrap();
    }
    let all = vendors
        .all_of
        .as_ref()
        .map(|all| all.find("our_cloud").is_ok());
    writeln!(
        text,
        "all of ours: {all:?}, OEM sysexts {:?}, none {}",
        vendors.oem_sysexts, vendors.no_oem
    )
    .unwrap();
    let isolinux = &vendors.isolinux;
    let compress = vendors.compress.map(|compress| compress.to_string());
    writeln!(
        text,
        "isolinux {isolinux:?}, {:?}, compress {compress:?}",
        vendors.firmware
    )
    .unwrap();
    for output in &request.outputs {
        let compress = output.compress.map(|compress| compress.to_string());
        let path = output.path.display();
        let format = output.format;
        let qcow2 = &output.qcow2;
        writeln!(text, "output {path} {format} {compress:?} {qcow2:?}").unwrap();
    }
    writeln!(text, "generalize {:?}", request.generalize).unwrap();
    let time = request.timestamp.map(|time| time.secs);
    writeln!(
        text,
        "in {:?}, time {time:?}, seed {:?}",
        request.folder, request.seed
    )
    .unwrap();
    writeln!(text, "{:?}", request.policy).unwrap();
    for digest in &request.expected.digests {
        writeln!(text, "digest {} {}", digest.path.display(), digest.sha256).unwrap();
    }
    writeln!(text, "reads {:?}", request.also_read).unwrap();
    writeln!(text, "writes {:?}", request.also_written).unwrap();
    text.replace(&format!("{}/", folder.display()), "")
        .replace("full.toml", "full.yaml")
}

#[test]
fn yaml_and_toml_say_the_same() {
    let dir = folder();
    let load = |name| {
        manifest::load(&dir.path().join(name), &LoadOptions::default())
            .unwrap()
            .request
    };
    let yaml = dump(&load("full.yaml"), dir.path());
    assert_eq!(yaml, include_str!("full.golden"), "{yaml}");
    assert_eq!(dump(&load("full.toml"), dir.path()), yaml);
}

#[test]
fn the_full_manifest_has_every_key() {
    let schema = manifest::schema();
    let text = include_str!("full.yaml");
    let tables = std::iter::once(&schema).chain(schema["$defs"].as_object().unwrap().values());
    let mut seen = 0;
    for (key, _) in tables
        .filter_map(|table| table["properties"].as_object())
        .flatten()
    {
        let is_there = [" ", "\n", "{"]
            .iter()
            .any(|before| text.contains(&format!("{before}{key}:")));
        assert!(
            is_there || ["release", "arch"].contains(&key.as_str()),
            "{key}"
        );
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
}

#[test]
fn what_the_caller_gives_wins() {
    let dir = folder();
    let set = vec![manifest::parse_set("HOST=other").unwrap()];
    let vendor = dir.path().join("mine.toml");
    let ours = fs::read_to_string(dir.path().join("our_cloud.toml")).unwrap();
    fs::write(&vendor, ours.replace("Our own", "My")).unwrap();
    let options = LoadOptions {
        set,
        folder: Some("elsewhere".into()),
        base: Some(flatbake::bake::Base::Path("other.img".into())),
        vendor_files: vec![vendor.clone()],
        ..LoadOptions::default()
    };
    let loaded = manifest::load(&dir.path().join("full.yaml"), &options).unwrap();
    let request = &loaded.request;
    assert_eq!(request.edits.hostname.as_ref().unwrap().name, "other");
    assert_eq!(request.folder.as_deref(), Some(Path::new("elsewhere")));
    assert_eq!(request.outputs[0].path, Path::new("elsewhere/node.qcow2"));
    assert_eq!(request.base.name(), Path::new("other.img"));
    let digests: Vec<_> = request
        .expected
        .digests
        .iter()
        .map(|digest| digest.path.file_name().unwrap())
        .collect();
    assert_eq!(
        digests,
        ["hello.raw", "tree.tar"],
        "the digest of the manifest's image is not that of the caller's"
    );
    assert_eq!(
        loaded.vendors.find("our_cloud").unwrap().name.as_str(),
        "My cloud"
    );
    assert_eq!(request.also_read.last().unwrap(), &(vendor, "vendor file"));
    for bad in ["", "x", "1=2", "=x", "a-b=c"] {
        assert!(manifest::parse_set(bad).is_err(), "{bad}");
    }
}

#[test]
fn without_a_folder_all_lies_beside_the_manifest() {
    let dir = folder();
    let folder_of = |text: &str| {
        let text = format!("image: flatcar_sample.bin.bz2\n{text}\n");
        load_text(dir.path(), "m.yaml", &text)
            .unwrap()
            .request
            .folder
    };
    for text in [
        "outputs: [a.img]",
        "vendors: qemu",
        "vendors: all",
        "variants: [{name: a}]",
    ] {
        assert_eq!(folder_of(text).as_deref(), Some(dir.path()), "{text}");
    }
    assert_eq!(
        folder_of("output: new/folder"),
        Some(dir.path().join("new/folder"))
    );
    assert_eq!(folder_of("hostname: a"), None, "nothing is written");
}

#[test]
fn a_compression_is_for_what_leaves_it_open() {
    let dir = folder();
    let load = |text: &str| {
        let text = format!("image: flatcar_sample.bin.bz2\ncompress: gz:9\n{text}\n");
        load_text(dir.path(), "m.yaml", &text)
    };
    let request =
        load("outputs: [a.img, a.img.gz, a.img.zst, a.qcow2, {file: b.img, compress: xz}]")
            .unwrap()
            .request;
    let compress = request
        .outputs
        .iter()
        .map(|output| output.compress.map(|compress| compress.to_string()));
    let wanted = [
        Some("gz:9"),
        Some("gz:9"),
        Some("zst:3"),
        None,
        Some("xz:6"),
    ];
    assert_eq!(
        compress.collect::<Vec<_>>(),
        wanted.map(|text| text.map(str::to_owned))
    );
    assert_eq!(request.vendors.compress, None);
    let request = load("vendors: [azure]").unwrap().request;
    assert_eq!(request.vendors.compress.unwrap().to_string(), "gz:9");
    let error = load("outputs: [a.qcow2]").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("m.yaml:2:11: the compression is given, but nothing"),
        "{error:?}"
    );
}
