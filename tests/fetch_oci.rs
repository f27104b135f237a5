//! Sysexts and images from registries, by the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::common::programs::{self, flatbake, said};
use crate::common::reading::text;
use crate::common::registry::{Door, LOGIN, OCI_INDEX, OCI_MANIFEST, Registry, Shelf, sha256};
use crate::common::scratch_dir;
use crate::common::server::Authority;

const RAW: &str = "application/vnd.systemd.sysext.image.v1+raw";

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/sample")
        .join(name)
}

fn hello() -> Vec<u8> {
    fs::read(sample("hello.raw")).unwrap()
}

/// `bytes` as a program packs them.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let done = programs::ask(program, ["-c"], bytes).unwrap();
    assert!(done.status.success());
    done.stdout
}

/// Puts a file on a shelf as `oras push` does.
fn push(
    shelf: &mut Shelf,
    what: &str,
    media_type: &str,
    title: Option<&str>,
    bytes: &[u8],
) -> Value {
    let (repository, tag) = what.split_once(':').unwrap();
    let empty = shelf.blob("application/vnd.oci.empty.v1+json", b"{}");
    let mut layer = shelf.blob(media_type, bytes);
    if let Some(title) = title {
        layer["annotations"] = json!({"org.opencontainers.image.title": title});
    }
    let content = json!({
        "artifactType": "application/vnd.systemd.sysext.v1", "config": empty, "layers": [layer]
    });
    shelf.manifest(repository, Some(tag), OCI_MANIFEST, content)
}

/// A machine that knows a registry.
struct Machine {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Machine {
    fn new(registry: Registry) -> Self {
        let dir = scratch_dir();
        Self { dir, registry }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn reference(&self, what: &str) -> String {
        self.registry.reference(what)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = flatbake();
        command
            .env("XDG_CACHE_HOME", self.path("cache"))
            .args(arguments);
        let name = self.registry.name();
        if self.registry.server.url("").starts_with("http:") {
            let mirror = format!("https://{name}/=http://{name}/");
            command.arg("--mirror").arg(mirror);
        }
        command
    }

    /// Bakes what `arguments` say, and tells the bytes that came out, and the report.
    fn bake(&self, arguments: &[&str]) -> (Vec<u8>, Value) {
        let node = self.path("node.qcow2");
        let all = ["bake", "--overwrite", "--json", "-o", text(&node)];
        let output = self
            .command(&[&all[..], arguments].concat())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        let report = serde_json::from_slice(&output.stdout).unwrap();
        (fs::read(node).unwrap(), report)
    }

    fn plan(&self, arguments: &[&str]) -> Output {
        let node = self.path("never.img");
        let all = ["plan", "-o", text(&node)];
        self.command(&[&all[..], arguments].concat())
            .output()
            .unwrap()
    }

    fn fails(&self, arguments: &[&str], code: i32, says: &[&str]) -> String {
        let output = self.plan(arguments);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        for word in says {
            assert!(told.contains(word), "{arguments:?} says {told}, not {word}");
        }
        told
    }
}

/// What a bake of local files comes to.
fn local(image: &str, sysexts: &[&str]) -> Vec<u8> {
    let dir = scratch_dir();
    let node = dir.path().join("node.qcow2");
    let mut command = flatbake();
    command.args(["bake", "--image", image, "-o", text(&node)]);
    programs::success(command.args(sysexts));
    fs::read(node).unwrap()
}

fn source(report: &Value, role: &str) -> String {
    let inputs = report["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|input| input["role"] == role).unwrap();
    input["source"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_sysext_of_a_registry_is_baked_as_its_file_is() {
    if !programs::judges(&["zstd", "gzip", "xz"]) {
        return;
    }
    let bytes = hello();
    let mut shelf = Shelf::default();
    let title = Some("hello.raw");
    push(&mut shelf, "ext/hello:raw", RAW, title, &bytes);
    push(
        &mut shelf,
        "ext/hello:any",
        "application/octet-stream",
        None,
        &bytes,
    );
    for (tag, program, ending) in [
        ("zstd", "zstd", "zst"),
        ("gzip", "gzip", "gz"),
        ("xz", "xz", "xz"),
    ] {
        let layer = packed(program, &bytes);
        let title = format!("hello.raw.{ending}");
        let media_type = format!("application/vnd.example.sysext.layer.v1.raw+{tag}");
        push(
            &mut shelf,
            &format!("ext/hello:{tag}"),
            &media_type,
            Some(&title),
            &layer,
        );
    }
    // One for each architecture.
    let mut other = push(
        &mut shelf,
        "ext/hello:other",
        RAW,
        title,
        b"not for this machine",
    );
    let mut this = push(&mut shelf, "ext/hello:this", RAW, title, &bytes);
    other["platform"] = json!({"os": "linux", "architecture": "arm64"});
    this["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let index = json!({"manifests": [other, this]});
    let index = shelf.manifest("ext/hello", Some("1"), OCI_INDEX, index);

    let machine = Machine::new(shelf.serve(Door::Open, None));
    let image = programs::raw_sample();
    // Not the sample's own, which has a file for updates beside it.
    let file = machine.path("hello.raw");
    fs::write(&file, &bytes).unwrap();
    let wanted = local(text(&image), &[&format!("hello:{}", text(&file))]);
    for tag in ["raw", "any", "zstd", "gzip", "xz", "1"] {
        let sysext = format!("hello:{}", machine.reference(&format!("ext/hello:{tag}")));
        let arguments = ["--image", text(&image), &sysext];
        let (baked, report) = machine.bake(&arguments);
        assert!(baked == wanted, "{tag}");
        let asked = machine.registry.server.requests().len();
        let (again, same) = machine.bake(&[&arguments[..], &["--offline"]].concat());
        assert!(again == wanted && same == report, "{tag}");
        assert_eq!(machine.registry.server.requests().len(), asked, "{tag}");
        let source = source(&report, "sysext");
        let tagged = machine.reference(&format!("ext/hello:{tag}@sha256:"));
        assert!(source.starts_with(&tagged), "{source} is not {tagged}…");
        if tag == "1" {
            assert!(
                source.ends_with(index["digest"].as_str().unwrap()),
                "{source}"
            );
        }
        // What the report says names the same thing for ever.
        let pinned = format!("hello:{source}");
        let plan = machine.plan(&["--image", text(&image), &pinned, "--offline"]);
        assert!(plan.status.success(), "{tag}: {}", said(&plan));
    }
    // The layers of one content are fetched once a file name.
    let blob = format!("/v2/ext/hello/blobs/{}", sha256(&bytes));
    assert_eq!(machine.registry.server.count(&blob), 1);
}

#[test]
fn an_image_of_a_registry_is_a_base_as_its_file_is() {
    let image = sample("flatcar_sample.bin.bz2");
    let mut shelf = Shelf::default();
    let bytes = fs::read(&image).unwrap();
    push(
        &mut shelf,
        "flatcar/base:4593",
        "application/vnd.example.disk",
        None,
        &bytes,
    );
    let machine = Machine::new(shelf.serve(Door::token(true), None));
    let wanted = local(text(&image), &[]);
    let reference = machine.reference("flatcar/base:4593");
    let (baked, report) = machine.bake(&["--image", &reference]);
    assert!(baked == wanted);
    assert!(
        source(&report, "base image").contains(":4593@sha256:"),
        "{report}"
    );

    let manifest = machine.path("flatbake.yaml");
    let sum = sha256(&bytes);
    let digest = sum.trim_start_matches("sha256:");
    let write = |digest: &str| {
        let content =
            format!("image: {{file: \"{reference}\", sha256: {digest}}}\noutputs: [other.qcow2]\n");
        fs::write(&manifest, content).unwrap();
    };
    write(digest);
    let bake = ["bake", "-f", text(&manifest), "--offline"];
    let output = machine.command(&bake).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(fs::read(machine.path("other.qcow2")).unwrap() == wanted);
    write(&"0".repeat(64));
    let output = machine
        .command(&["plan", "-f", text(&manifest), "--output-dir", "never"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
}

#[test]
fn a_tag_that_moves_is_seen_and_a_digest_stays() {
    let image = programs::raw_sample();
    let image = text(&image);
    let mut shelf = Shelf::default();
    let old = push(&mut shelf, "ext/hello:1", RAW, Some("hello.raw"), &hello());
    let greeter = fs::read(sample("greeter.raw")).unwrap();
    push(
        &mut shelf,
        "ext/hello:2",
        RAW,
        Some("greeter.raw"),
        &greeter,
    );
    let first = Machine::new(shelf.clone().serve(Door::Open, None));
    let name = first.registry.name();
    let sysext = format!("hello:oci://{name}/ext/hello:1");
    let (one, _) = first.bake(&["--image", image, &sysext]);
    push(
        &mut shelf,
        "ext/hello:1",
        RAW,
        Some("greeter.raw"),
        &greeter,
    );
    let moved = shelf.serve(Door::Open, None);
    // The same registry, as far as its name goes.
    let mirror = format!("https://{name}/={}", moved.server.url("/"));
    let pinned = format!("{sysext}@{}", old["digest"].as_str().unwrap());
    let (same, _) = first.bake(&["--image", image, &pinned, "--offline"]);
    assert!(same == one);
    let mut command = flatbake();
    command.env("XDG_CACHE_HOME", first.path("cache"));
    let output = command
        .args([
            "plan",
            "--image",
            image,
            "-o",
            text(&first.path("never.img")),
        ])
        .args([&sysext, "--mirror", &mirror])
        .output()
        .unwrap();
    let told = said(&output);
    assert!(told.contains("greeter.raw"), "{told}");
}

#[test]
fn what_is_no_sysext_gets_nowhere() {
    let bytes = hello();
    let mut shelf = Shelf::default();
    let config = shelf.blob("application/vnd.oci.image.config.v1+json", b"{}");
    let tar = shelf.blob("application/vnd.oci.image.layer.v1.tar+gzip", b"layer");
    let content = json!({"config": config, "layers": [tar]});
    shelf.manifest("ext/bad", Some("image"), OCI_MANIFEST, content);
    let layer = shelf.blob(RAW, &bytes);
    let content = json!({"config": config, "layers": [layer, layer]});
    shelf.manifest("ext/bad", Some("two"), OCI_MANIFEST, content);
    push(
        &mut shelf,
        "ext/bad:plain",
        "application/x.raw+zstd",
        None,
        &bytes,
    );
    let wrong = sha256(b"what it should be");
    let mut layer = shelf.blob_as(&wrong, RAW, b"what it is not!!!");
    layer["annotations"] = json!({"org.opencontainers.image.title": "wrong.raw"});
    let content = json!({"config": config, "layers": [layer]});
    shelf.manifest("ext/bad", Some("wrong"), OCI_MANIFEST, content);
    let cut = &packed("gzip", &bytes)[..600];
    push(
        &mut shelf,
        "ext/bad:cut",
        "application/x.raw+gzip",
        Some("cut.raw.gz"),
        cut,
    );

    let machine = Machine::new(shelf.serve(Door::Open, None));
    let image = programs::raw_sample();
    for (tag, code, says) in [
        ("image", 3, "a container image"),
        ("two", 3, "something of 2 layers"),
        ("plain", 8, "media type"),
        ("wrong", 7, &*wrong),
        ("cut", 8, "cut short"),
        ("none", 2, "none"),
    ] {
        let sysext = format!("hello:{}", machine.reference(&format!("ext/bad:{tag}")));
        machine.fails(
            &["--image", text(&image), &sysext],
            code,
            &[says, "ext/bad"],
        );
    }
    let mut ls = flatbake();
    ls.env("XDG_CACHE_HOME", machine.path("cache"));
    let listed = said(&programs::success(ls.args(["cache", "ls"])));
    assert!(
        listed.contains("ext/bad:two"),
        "the documents are kept: {listed}"
    );
    assert!(!listed.contains(".raw"), "no file is: {listed}");
    let sysext = format!("hello:{}", machine.reference("ext/bad:unheard"));
    let told = ["--image", text(&image), &sysext, "--offline"];
    machine.fails(&told, 2, &["not in the cache", "ext/bad:unheard"]);
}

#[test]
fn passwords_come_from_docker_and_are_told_to_nobody() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let image = programs::raw_sample();
    for door in [Door::Basic, Door::token(false)] {
        let mut shelf = Shelf::default();
        push(&mut shelf, "ext/hello:1", RAW, Some("hello.raw"), &hello());
        let registry = shelf.serve(door.clone(), Some(authority.localhost()));
        let machine = Machine::new(registry);
        let sysext = format!("hello:{}", machine.reference("ext/hello:1"));
        let ca = authority.file();
        let arguments = ["--image", text(&image), &sysext, "--ca", text(&ca)];
        machine.fails(&arguments, 5, &["config.json"]);

        let docker = machine.path("docker");
        fs::create_dir(&docker).unwrap();
        let secret = LOGIN.trim_start_matches("Basic ");
        let config = json!({"auths": {machine.registry.name(): {"auth": secret}}});
        fs::write(docker.join("config.json"), config.to_string()).unwrap();
        let node = machine.path("node.qcow2");
        let all = ["bake", "--json", "-o", text(&node)];
        let mut command = machine.command(&[&all[..], &arguments].concat());
        let output = command.env("DOCKER_CONFIG", &docker).output().unwrap();
        let told = said(&output);
        assert!(output.status.success(), "{told}");
        for hidden in [secret, "me:word", "Bearer"] {
            assert!(!told.contains(hidden), "{door:?}: {told}");
        }
        // A password for one registry is not for another, whoever stands in for it.
        let stranger = Shelf::default().serve(Door::Basic, None);
        let mirror = format!(
            "https://{}/={}",
            machine.registry.name(),
            stranger.server.url("/")
        );
        let mut command = machine.command(&["plan", "-o", "never.img"]);
        let output = command
            .args(["--image", text(&image), &sysext, "--mirror", &mirror])
            .env("DOCKER_CONFIG", &docker)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", said(&output));
        let asked = stranger.server.requests();
        assert!(!asked.is_empty());
        assert!(
            asked
                .iter()
                .all(|asked| asked.header("Authorization").is_none())
        );
    }
}

/// A shelf with an image, an index with a packed sysext for two architectures, and a plain sysext under two tags.
fn full_shelf(shelf: &mut Shelf) {
    let image = fs::read(sample("flatcar_sample.bin.bz2")).unwrap();
    let disk = "application/vnd.example.disk";
    push(
        shelf,
        "flatcar/base:4593",
        disk,
        Some("base.bin.bz2"),
        &image,
    );
    let packed = packed("gzip", &hello());
    let kind = "application/vnd.example.sysext.layer.v1.raw+gzip";
    let title = Some("hello.raw.gz");
    let mut other = push(
        shelf,
        "ext/hello:other",
        kind,
        title,
        b"not for this machine",
    );
    let mut this = push(shelf, "ext/hello:this", kind, title, &packed);
    other["platform"] = json!({"os": "linux", "architecture": "arm64"});
    this["platform"] = json!({"os": "linux", "architecture": "amd64"});
    let index = json!({"manifests": [other, this]});
    shelf.manifest("ext/hello", Some("1"), OCI_INDEX, index);
    let greeter = fs::read(sample("greeter.raw")).unwrap();
    let title = Some("greeter.raw");
    push(shelf, "ext/greeter:1", RAW, title, &greeter);
    push(
        shelf,
        "ext/greeter:stable",
        "application/octet-stream",
        title,
        &greeter,
    );
}

impl Machine {
    /// A manifest that names what is on the full shelf.
    fn manifest(&self) -> PathBuf {
        let path = self.path("flatbake.yaml");
        let greeter = |tag: &str| self.reference(&format!("ext/greeter:{tag}"));
        let content = format!(
            "image: \"{}\"\noutputs: [node.qcow2]\n\
             sysexts: [{{name: hello, file: \"{}\"}}]\n\
             variants: [{{name: a, sysexts: [{{name: greeter, file: \"{}\"}}]}}, \
             {{name: b, sysexts: [{{name: greeter, file: \"{}\"}}]}}]\n",
            self.reference("flatcar/base:4593"),
            self.reference("ext/hello:1"),
            greeter("1"),
            greeter("stable"),
        );
        fs::write(&path, content).unwrap();
        path
    }

    /// What a bake of the manifest puts into a folder.
    fn nodes(&self, folder: &str) -> Vec<Vec<u8>> {
        let images = self.path(folder);
        let manifest = self.path("flatbake.yaml");
        let bake = ["bake", "-f", text(&manifest), "--output-dir", text(&images)];
        programs::success(&mut self.command(&bake));
        ["a", "b"]
            .map(|variant| fs::read(images.join(variant).join("node.qcow2")).unwrap())
            .into()
    }

    /// The program with an empty cache and no registry.
    fn alone(&self, cache: &str) -> Command {
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", self.path(cache));
        command
    }
}

/// Names and contents of all files below a folder.
fn contents(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = text(path.strip_prefix(folder).unwrap()).to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_bundle_has_what_registries_have_and_is_held_against_its_digests() {
    if !programs::judges(&["gzip"]) {
        return;
    }
    let mut shelf = Shelf::default();
    full_shelf(&mut shelf);
    let machine = Machine::new(shelf.serve(Door::token(true), None));
    let manifest = machine.manifest();
    let bundle = machine.path("bundle");
    let fetch = |bundle: &Path, more: &[&str]| {
        let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(bundle)];
        programs::success(&mut machine.command(&[&fetch[..], more].concat()));
        contents(bundle)
    };
    let whole = fetch(&bundle, &[]);
    assert!(fetch(&machine.path("again"), &["--offline"]) == whole);
    for (name, bytes) in &whole {
        // What is named by a digest has it.
        if let Some((_, digest)) = name.split_once('@') {
            let digest = digest.split('/').next().unwrap();
            assert_eq!(sha256(bytes), digest, "{name}");
        }
    }
    let ends = |end: &str| whole.keys().filter(|name| name.ends_with(end)).count();
    assert_eq!(ends("/hello.raw.gz"), 1, "as it is in the registry");
    assert_eq!(ends("/greeter.raw"), 1);
    for tag in ["base:4593", "hello:1", "greeter:1", "greeter:stable"] {
        assert_eq!(ends(tag), 1, "{tag}");
    }
    let lock: Value = serde_json::from_slice(&whole["flatbake.lock"]).unwrap();
    assert_eq!(lock["fetched"].as_object().unwrap().len(), 4, "{lock}");

    let wanted = machine.nodes("online");
    fs::remove_file(machine.path("flatbake.lock")).unwrap();
    let asked = machine.registry.server.requests().len();
    for (number, more) in [vec!["--locked"], vec![]].into_iter().enumerate() {
        let mut command = machine.alone(&format!("cache{number}"));
        let images = format!("offline{number}");
        let flags = [&["bake", "--offline", "--bundle", text(&bundle)][..], &more].concat();
        let folder = machine.path(&images);
        command.args(flags);
        command.args(["-f", text(&manifest), "--output-dir", text(&folder)]);
        programs::success(&mut command);
        let nodes = ["a", "b"].map(|name| fs::read(folder.join(name).join("node.qcow2")).unwrap());
        assert!(nodes.to_vec() == wanted, "{more:?}");
    }
    assert_eq!(machine.registry.server.requests().len(), asked);
    assert!(contents(&bundle) == whole, "a bundle is never written");

    // What was changed is refused, wherever it was, and nothing is written.
    let documents = whole.keys().filter(|name| name.contains('@'));
    for (number, name) in documents.enumerate() {
        let mut bytes = whole[name].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let path = bundle.join(name);
        fs::write(&path, bytes).unwrap();
        let never = machine.path("never");
        let mut command = machine.alone(&format!("changed{number}"));
        command.args(["plan", "-f", text(&manifest), "--locked", "--offline"]);
        command.args(["--bundle", text(&bundle), "--output-dir", text(&never)]);
        let output = command.output().unwrap();
        let told = said(&output);
        assert_eq!(output.status.code(), Some(7), "{name}: {told}");
        assert!(told.contains("sha256:"), "{name}: {told}");
        assert!(!never.exists(), "{name}");
        fs::write(&path, &whole[name]).unwrap();
    }
    // What is not there is named.
    let layer = whole.keys().find(|name| name.ends_with("/greeter.raw"));
    fs::remove_file(bundle.join(layer.unwrap())).unwrap();
    let mut command = machine.alone("less");
    command.args(["plan", "-f", text(&manifest), "--offline", "--bundle"]);
    let output = command.arg(&bundle).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("/greeter.raw"), "{told}");
}

#[test]
fn a_lock_holds_the_digests_of_tags_also_of_two_that_name_one_layer() {
    if !programs::judges(&["gzip"]) {
        return;
    }
    let mut shelf = Shelf::default();
    full_shelf(&mut shelf);
    let machine = Machine::new(shelf.clone().serve(Door::Open, None));
    machine.manifest();
    let wanted = machine.nodes("first");
    let lock = fs::read(machine.path("flatbake.lock")).unwrap();
    let held: Value = serde_json::from_slice(&lock).unwrap();
    let urls: Vec<&String> = held["fetched"].as_object().unwrap().keys().collect();
    for tag in ["base:4593@", "hello:1@", "greeter:1@", "greeter:stable@"] {
        let of_it = urls.iter().filter(|url| url.contains(tag));
        assert_eq!(of_it.count(), 1, "{tag}: {urls:?}");
    }

    // All tags move on.
    let disk = "application/vnd.example.disk";
    push(&mut shelf, "flatcar/base:4593", disk, None, b"a newer one");
    for tag in ["ext/hello:1", "ext/greeter:1", "ext/greeter:stable"] {
        push(&mut shelf, tag, RAW, Some("newer.raw"), b"a newer one");
    }
    let name = machine.registry.name();
    let manifest = machine.path("flatbake.yaml");
    let by = |registry: &Registry, cache: &str| {
        let mut command = machine.alone(cache);
        let mirror = format!("https://{name}/={}", registry.server.url("/"));
        let bake = ["bake", "-f", text(&manifest), "--overwrite"];
        command.args(bake).arg("--mirror").arg(mirror);
        command
    };
    let moved = shelf.clone().serve(Door::Open, None);
    let images = machine.path("locked");
    let mut command = by(&moved, "moved");
    command.args(["--locked", "--output-dir", text(&images)]);
    programs::success(&mut command);
    for (variant, wanted) in ["a", "b"].into_iter().zip(&wanted) {
        let node = fs::read(images.join(variant).join("node.qcow2")).unwrap();
        assert!(node == *wanted, "{variant}");
    }
    assert_eq!(fs::read(machine.path("flatbake.lock")).unwrap(), lock);
    let never = machine.path("never");
    let output = by(&moved, "unlocked")
        .args(["--output-dir", text(&never)])
        .output()
        .unwrap();
    assert!(!output.status.success(), "the newer ones are taken");

    // Other bytes under a digest that is locked.
    let greeter = sha256(&fs::read(sample("greeter.raw")).unwrap());
    let forged = vec![b'x'; fs::read(sample("greeter.raw")).unwrap().len()];
    shelf.blob_as(&greeter, RAW, &forged);
    let forger = shelf.serve(Door::Open, None);
    let mut command = by(&forger, "forged");
    command.args(["--locked", "--output-dir", text(&never)]);
    let output = command.output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(7), "{told}");
    assert!(told.contains(&greeter), "{told}");
    assert!(!never.exists());
}

#[test]
fn files_of_registries_are_fetched_by_name() {
    if !programs::judges(&["gzip"]) {
        return;
    }
    let mut shelf = Shelf::default();
    full_shelf(&mut shelf);
    let machine = Machine::new(shelf.serve(Door::Open, None));
    let (hello_1, greeter) = (
        machine.reference("ext/hello:1"),
        machine.reference("ext/greeter:1"),
    );
    let out = machine.path("out");
    let both = ["fetch", "--artifact", &hello_1, "--artifact", &greeter];
    let told = programs::success(&mut machine.command(&[&both[..], &["--dry-run"]].concat()));
    assert_eq!(told.stdout, format!("{hello_1}\n{greeter}\n").as_bytes());
    assert!(machine.registry.server.requests().is_empty());

    let missing = machine
        .command(&[&both[..], &["--offline"]].concat())
        .output()
        .unwrap();
    let told = said(&missing);
    assert_eq!(missing.status.code(), Some(2), "{told}");
    assert!(told.contains(&hello_1) && told.contains(&greeter), "{told}");

    let copy = [&both[..], &["--output-dir", text(&out)]].concat();
    programs::success(&mut machine.command(&copy));
    let found = contents(&out);
    let names: Vec<&String> = found.keys().collect();
    assert_eq!(names, ["greeter.raw", "hello.raw.gz"]);
    assert!(found["hello.raw.gz"] == packed("gzip", &hello()));
    assert!(found["greeter.raw"] == fs::read(sample("greeter.raw")).unwrap());
    let again = machine.command(&copy).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));

    // For another architecture it is another file.
    let arm = ["fetch", "--artifact", &hello_1, "--arch", "arm64", "--json"];
    let told = programs::success(&mut machine.command(&arm));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["release"], Value::Null);
    let file = &told["files"][0];
    assert!(file["url"].as_str().unwrap().starts_with(&hello_1));
    let path = file["path"].as_str().unwrap();
    assert_eq!(fs::read(path).unwrap(), b"not for this machine");

    // A bake takes what is there.
    let asked = machine.registry.server.requests().len();
    let image = programs::raw_sample();
    let sysext = format!("hello:{hello_1}");
    machine.bake(&["--image", text(&image), &sysext, "--offline"]);
    assert_eq!(machine.registry.server.requests().len(), asked);
}
