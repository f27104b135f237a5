//! Manifests that name a release and extensions: baked, locked, and carried to a machine without a network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::programs::{flatbake, said};
use crate::common::reading::text;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::tree::sha256;
use crate::fetch_release::{IMAGE, Site, VERSION};

/// What is baked, with what is fetched.
const FETCHED: &str = "variables: {CHANNEL: stable, ARCH: amd64}\n\
    release: ${CHANNEL}\narch: ${ARCH}\n\
    sysexts: [hello@latest, {name: greeter, file: greeter.raw}]\n";
/// The same from files.
const LOCAL: &str = "image: flatcar_sample.bin.bz2\noem_sysexts: [oem-azure.raw]\n\
    sysexts: [{name: hello, file: hello-1.10-x86-64.raw}, {name: greeter, file: greeter.raw}]\n";
/// What both have.
const COMMON: &str = "hostname: node1\nvendors: [azure]\noutputs: [node.img]\noutput: images\n";
/// What is written.
const OUTPUTS: [&str; 2] = ["node.img", "flatcar_production_azure_image.vhd"];

const EXTENSION: &str = "hello-1.10-x86-64.raw";

/// A site with a release, its OEM sysext and an extension, and a folder with manifests.
struct Scene {
    site: Site,
}

impl Scene {
    fn new() -> Option<Self> {
        let site = Site::over_tls()?;
        let fields = [
            ("ID", "flatcar"),
            ("VERSION_ID", VERSION),
            ("ARCHITECTURE", "x86-64"),
        ];
        let made = Sysext::new("oem-azure", "x86-64", Format::Squashfs).with_fields(&fields);
        let work = site.path("work");
        fs::create_dir(&work).unwrap();
        let oem = sysext(&work, "oem-azure.raw", &made)?;
        site.release("oem-azure.raw", &fs::read(oem).unwrap());
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample");
        let copy = |from: &str, to: &str| fs::copy(sample.join(from), work.join(to)).unwrap();
        copy("flatcar_sample.bin.bz2", "flatcar_sample.bin.bz2");
        copy("hello.raw", EXTENSION);
        copy("greeter.raw", "greeter.raw");
        fs::write(work.join("flatbake.yaml"), format!("{FETCHED}{COMMON}")).unwrap();
        fs::write(work.join("local.yaml"), format!("{LOCAL}{COMMON}")).unwrap();
        let scene = Self { site };
        let hello = fs::read(work.join(EXTENSION)).unwrap();
        scene.offer(&[
            ("hello-1.9-x86-64.raw", b"an older one"),
            (EXTENSION, &hello),
        ]);
        Some(scene)
    }

    /// Has the Bakery offer these files of the extension.
    fn offer(&self, files: &[(&str, &[u8])]) {
        let mut sums = String::new();
        for (name, bytes) in files {
            sums.push_str(&format!("{}  {name}\n", sha256(*bytes)));
            self.site.put(&format!("bakery/extensions/{name}"), bytes);
        }
        let list = "bakery/extensions/hello/SHA256SUMS";
        self.site.put(list, sums.as_bytes());
    }

    /// A newer release and a newer extension come out.
    fn move_on(&self) {
        let current = "stable/amd64-usr/current/version.txt";
        self.site.publish(current, b"FLATCAR_VERSION=4593.2.9\n");
        let hello = fs::read(self.work(EXTENSION)).unwrap();
        let newer = ("hello-1.11-x86-64.raw", &b"a newer one"[..]);
        self.offer(&[(EXTENSION, &hello), newer]);
    }

    fn work(&self, name: &str) -> PathBuf {
        self.site.path("work").join(name)
    }

    /// What a bake of the manifest with the files comes to.
    fn local(&self) -> Vec<Vec<u8>> {
        let images = self.site.path("local");
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", self.site.path("cache"));
        let manifest = self.work("local.yaml");
        command.args(["bake", "-f", text(&manifest)]);
        let output = command.arg("--output-dir").arg(&images).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        outputs(&images)
    }

    /// What a bake of the manifest comes to, with more flags.
    fn bake(&self, name: &str, flags: &[&str]) -> Vec<Vec<u8>> {
        let images = self.site.path(name);
        let manifest = self.work("flatbake.yaml");
        let arguments = ["bake", "-f", text(&manifest), "--output-dir", text(&images)];
        self.site.succeeds(&[&arguments[..], flags].concat());
        outputs(&images)
    }

    fn plan<'a>(&self, manifest: &'a Path, flags: &[&'a str]) -> Vec<&'a str> {
        [&["plan", "-f", text(manifest)], flags].concat()
    }

    fn lock(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.work("flatbake.lock")).unwrap()).unwrap()
    }

    /// Has nothing in the cache.
    fn forget(&self) {
        fs::remove_dir_all(self.site.path("cache")).unwrap();
    }

    /// How many requests of a path that ends so there were.
    fn asked(&self, end: &str) -> usize {
        let requests = self.site.server.requests();
        let fits = requests
            .iter()
            .filter(|request| request.path().ends_with(end));
        fits.count()
    }
}

fn outputs(folder: &Path) -> Vec<Vec<u8>> {
    OUTPUTS
        .map(|name| fs::read(folder.join(name)).unwrap())
        .into()
}

/// All files below a folder with their contents and times of change.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            found.insert(name, (fs::read(path).unwrap(), changed));
        }
    }
    found
}

/// Names and contents below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let with_times = tree(folder).into_iter();
    with_times.map(|(name, (bytes, _))| (name, bytes)).collect()
}

fn copy_tree(from: &Path, to: &Path) {
    for (name, bytes) in contents(from) {
        let to = to.join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

#[test]
fn a_manifest_with_a_release_bakes_what_its_files_bake() {
    let Some(scene) = Scene::new() else { return };
    let local = scene.local();
    assert!(scene.bake("fetched", &[]) == local);
    let written = fs::read_to_string(scene.work("flatbake.lock")).unwrap();
    assert!(!written.contains("cache"), "{written}");
    let lock = scene.lock();
    let base = format!("https://stable.release.flatcar-linux.net/amd64-usr/{VERSION}");
    let release = serde_json::json!({"asked": "stable", "arch": "amd64", "version": VERSION,
        "url": format!("{base}/{IMAGE}")});
    assert_eq!(lock["release"], release);
    let extension = format!("https://extensions.flatcar.org/extensions/{EXTENSION}");
    assert_eq!(lock["extensions"][0]["version"], "1.10");
    assert_eq!(lock["extensions"][0]["url"], *extension);
    let sum = |name: &str| sha256(fs::File::open(scene.work(name)).unwrap());
    let fetched = &lock["fetched"];
    let sample = sum("flatcar_sample.bin.bz2");
    assert_eq!(fetched[format!("{base}/{IMAGE}")]["sha256"], *sample);
    let oem = sum("oem-azure.raw");
    assert_eq!(fetched[format!("{base}/oem-azure.raw")]["sha256"], *oem);
    assert_eq!(fetched[&extension]["sha256"], *sum(EXTENSION));
    let inputs: Vec<_> = lock["inputs"].as_object().unwrap().keys().collect();
    assert_eq!(inputs, ["greeter.raw"]);

    let asked = scene.site.server.requests().len();
    assert!(scene.bake("offline", &["--offline"]) == local);
    assert_eq!(
        scene.site.server.requests().len(),
        asked,
        "nothing was asked"
    );
    let again = fs::read_to_string(scene.work("flatbake.lock")).unwrap();
    assert_eq!(again, written);

    // Flags come on top of it, and are the same as keys.
    let manifest = scene.work("less.yaml");
    let less = "image: {file: gone.bin}\nsysexts: []\noutput: images\n";
    fs::write(
        &manifest,
        format!("{less}{COMMON}").replace("output: images\n", ""),
    )
    .unwrap();
    let images = scene.site.path("flags");
    let greeter = format!("greeter:{}", text(&scene.work("greeter.raw")));
    let flags = [
        "--release",
        "stable",
        "--output-dir",
        text(&images),
        "hello@1.10",
        &greeter,
    ];
    let bake = [&["bake", "-f", text(&manifest)][..], &flags].concat();
    scene.site.succeeds(&bake);
    assert!(outputs(&images) == local);
}

#[test]
fn flags_that_fetch_bake_what_files_bake_and_again_without_a_network() {
    let Some(scene) = Scene::new() else { return };
    let vhd = |name: &str, command: &mut std::process::Command| {
        let images = scene.site.path(name);
        command.arg("--output-dir").arg(&images);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", said(&output));
        fs::read(images.join(OUTPUTS[1])).unwrap()
    };
    let sysext = format!("hello:{}", text(&scene.work(EXTENSION)));
    let mut command = flatbake();
    command.env("XDG_CACHE_HOME", scene.site.path("other"));
    command.args(["bake", "--vendor", "azure", &sysext, "--image"]);
    command.arg(scene.work("flatcar_sample.bin.bz2"));
    command.arg("--oem-sysext").arg(scene.work("oem-azure.raw"));
    let local = vhd("by-files", &mut command);

    let sysext = format!("hello:{EXTENSION}");
    let bake = ["bake", "--release", "stable", "--arch", "x86-64"];
    let bake = [&bake[..], &["--vendor", "azure", "--fetch", &sysext]].concat();
    assert!(vhd("by-name", &mut scene.site.command(&bake)) == local);
    let asked = scene.site.server.requests().len();
    let bake = [&bake[..], &["--offline"]].concat();
    assert!(vhd("without", &mut scene.site.command(&bake)) == local);
    let again = scene.site.server.requests().len();
    assert_eq!(again, asked, "nothing was asked");
}

#[test]
fn a_lock_holds_after_the_channel_has_moved_on() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    scene.site.fails(
        &scene.plan(&manifest, &["--locked"]),
        7,
        &["no lock", "hint"],
    );
    scene.site.succeeds(&scene.plan(&manifest, &["--lock"]));
    let locked = fs::read(scene.work("flatbake.lock")).unwrap();
    let local = scene.local();

    scene.move_on();
    let (lists, versions) = (scene.asked("SHA256SUMS"), scene.asked("version.txt"));
    scene.forget();
    scene.site.succeeds(&scene.plan(&manifest, &["--locked"]));
    assert!(scene.bake("locked", &["--locked"]) == local);
    assert_eq!(scene.asked("SHA256SUMS"), lists);
    assert_eq!(scene.asked("version.txt"), versions);
    assert_eq!(fs::read(scene.work("flatbake.lock")).unwrap(), locked);
    // Not held to it, the run wants what is the newest now.
    scene
        .site
        .fails(&scene.plan(&manifest, &[]), 7, &["4593.2.9"]);

    // What the lock does not hold is not looked for.
    let held = |flags: &[&str], says: &str| {
        let plan = [&scene.plan(&manifest, &["--locked"])[..], flags].concat();
        scene
            .site
            .fails(&plan, 7, &["flatbake.lock", says, "does not hold", "hint"]);
    };
    held(&["--release", "lts"], "lts for amd64");
    held(&["--arch", "arm64"], "stable for arm64");
    held(&["other@2"], "other@2 for amd64");
    held(&["--vendor", "gce"], "oem-gce.raw");
    let less = scene.work("less.yaml");
    let text = format!("{FETCHED}{COMMON}").replace("hello@latest, ", "");
    fs::write(&less, text).unwrap();
    fs::copy(scene.work("flatbake.lock"), scene.work("less.lock")).unwrap();
    let plan = scene.plan(&less, &["--locked"]);
    scene
        .site
        .fails(&plan, 7, &["less.lock", EXTENSION, "is gone"]);
}

#[test]
fn another_file_under_a_locked_url_is_refused() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    scene.site.succeeds(&scene.plan(&manifest, &["--lock"]));
    let images = scene.site.path("never");
    let refused = |name: &str| {
        scene.forget();
        let bake = [
            "bake",
            "-f",
            text(&manifest),
            "--locked",
            "--output-dir",
            text(&images),
        ];
        scene
            .site
            .fails(&bake, 7, &[name, "SHA-256", "flatbake.lock", "hint"]);
        assert!(!images.exists());
    };
    let oem = fs::read(scene.work("oem-azure.raw")).unwrap();
    scene
        .site
        .release("oem-azure.raw", b"another one, with a good signature");
    refused("oem-azure.raw");
    scene.site.release("oem-azure.raw", &oem);
    scene
        .site
        .put(&format!("bakery/extensions/{EXTENSION}"), b"another one");
    refused(EXTENSION);
}

#[test]
fn what_is_not_verified_is_not_locked() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    let plan = scene.plan(&manifest, &["--lock", "--insecure-skip-verify"]);
    scene.site.fails(&plan, 2, &["--insecure-skip-verify"]);
    scene.bake("loud", &["--insecure-skip-verify"]);
    assert!(!scene.work("flatbake.lock").exists());
}

/// The manifest and its local files on another machine, whose cache is empty, with a bundle.
struct Elsewhere {
    dir: tempfile::TempDir,
}

impl Elsewhere {
    fn new(scene: &Scene, bundle: &Path) -> Self {
        let dir = crate::common::scratch_dir();
        for name in ["flatbake.yaml", "greeter.raw"] {
            fs::copy(scene.work(name), dir.path().join(name)).unwrap();
        }
        fs::copy(scene.site.path("keys"), dir.path().join("keys")).unwrap();
        copy_tree(bundle, &dir.path().join("bundle"));
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = flatbake();
        command.current_dir(self.dir.path());
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
            .args(arguments)
            .args(["--offline", "--bundle", "bundle"]);
        command.output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) {
        let arguments = [arguments, &["--keyring", "keys"]].concat();
        let output = self.run(&arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    fn fails(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let output = self.run(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for word in says {
            assert!(text.contains(word), "{arguments:?} says {text}, not {word}");
        }
    }
}

#[test]
fn a_bundle_bakes_where_there_is_no_network() {
    let Some(scene) = Scene::new() else { return };
    let local = scene.local();
    let manifest = scene.work("flatbake.yaml");
    let bundle = scene.site.path("bundle");
    let fetch = |bundle: &Path, flags: &[&str]| {
        let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(bundle)];
        scene.site.succeeds(&[&fetch[..], flags].concat());
        contents(bundle)
    };
    let whole = fetch(&bundle, &[]);
    assert!(!scene.work("flatbake.lock").exists());
    let names: Vec<&str> = whole.keys().map(|name| text(name)).collect();
    let release = format!("stable.release.flatcar-linux.net/amd64-usr/{VERSION}");
    let image = format!("{release}/{IMAGE}");
    let oem = format!("{release}/oem-azure.raw");
    let current = "stable.release.flatcar-linux.net/amd64-usr/current/version.txt";
    let extension = format!("extensions.flatcar.org/extensions/{EXTENSION}");
    let wanted = [
        "SHA256SUMS",
        "extensions.flatcar.org/extensions/hello/SHA256SUMS",
        &extension,
        "flatbake.lock",
        "keys/flatcar.asc",
        "keys/keyring-1",
        &image,
        &format!("{image}.sig"),
        &oem,
        &format!("{oem}.sig"),
        current,
        &format!("{current}.sig"),
    ];
    assert_eq!(names, wanted);
    for line in std::str::from_utf8(&whole[Path::new("SHA256SUMS")])
        .unwrap()
        .lines()
    {
        let (sum, name) = line.split_once("  ").unwrap();
        assert_eq!(sha256(&whole[Path::new(name)][..]), sum, "{name}");
    }
    // The same again, from the cache, from the server, and by the lock that was made.
    let again = |name: &str, flags: &[&str]| fetch(&scene.site.path(name), flags);
    assert!(again("offline", &["--offline"]) == whole);
    scene.forget();
    assert!(again("anew", &[]) == whole);
    fs::copy(bundle.join("flatbake.lock"), scene.work("flatbake.lock")).unwrap();
    let locked = again("locked", &["--locked"]);
    assert_eq!(
        locked[Path::new("flatbake.lock")],
        whole[Path::new("flatbake.lock")]
    );
    fs::remove_file(scene.work("flatbake.lock")).unwrap();
    let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(&bundle)];
    scene.site.fails(&fetch, 2, &["exists"]);

    let other = Elsewhere::new(&scene, &bundle);
    drop(scene);
    let before = tree(&other.path("bundle"));
    let bake = ["bake", "-f", "flatbake.yaml", "--output-dir", "images"];
    other.succeeds(&[&bake[..], &["--locked"]].concat());
    assert!(outputs(&other.path("images")) == local);
    assert!(
        !other.path("flatbake.lock").exists(),
        "held to that of the bundle"
    );
    other.succeeds(&[&bake[..], &["--overwrite"]].concat());
    assert!(outputs(&other.path("images")) == local);
    let lock = fs::read(other.path("flatbake.lock")).unwrap();
    assert!(lock == whole[Path::new("flatbake.lock")]);
    let flags = [
        "--release",
        "stable",
        "--vendor",
        "azure",
        "hello@latest",
        "greeter:greeter.raw",
    ];
    let outputs = ["bake", "-o", "node.img", "--output-dir", "flags"];
    other.succeeds(&[&outputs[..], &flags, &["--root-file", "keys:/etc/keys"]].concat());
    assert!(tree(&other.path("bundle")) == before);
    // A bundle makes nobody trusted.
    other.fails(&["plan", "-f", "flatbake.yaml"], 7, &["version.txt", "key"]);
    let inside = [
        "plan",
        "-f",
        "flatbake.yaml",
        "--keyring",
        "keys",
        "--output-dir",
    ];
    let inside = [&inside[..], &["bundle/images"]].concat();
    other.fails(&inside, 2, &["bundle/images lies in the bundle"]);
}

#[test]
fn a_bundle_is_believed_no_more_than_a_server() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    let bundle = scene.site.path("bundle");
    let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(&bundle)];
    scene.site.succeeds(&fetch);
    let other = Elsewhere::new(&scene, &bundle);
    let release = format!("bundle/stable.release.flatcar-linux.net/amd64-usr/{VERSION}");
    let oem = other.path(&format!("{release}/oem-azure.raw"));
    let signature = other.path(&format!("{release}/oem-azure.raw.sig"));
    let extension = other.path(&format!(
        "bundle/extensions.flatcar.org/extensions/{EXTENSION}"
    ));
    let list = other.path("bundle/extensions.flatcar.org/extensions/hello/SHA256SUMS");
    let plan = ["plan", "-f", "flatbake.yaml", "--keyring", "keys"];
    let with = |path: &Path, bytes: Option<&[u8]>, code: i32, says: &[&str], flags: &[&str]| {
        let good = fs::read(path).unwrap();
        match bytes {
            Some(bytes) => fs::write(path, bytes).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        other.fails(&[&plan[..], flags].concat(), code, says);
        fs::write(path, good).unwrap();
    };
    with(
        &oem,
        Some(b"tampered with"),
        7,
        &["oem-azure.raw", "signature"],
        &[],
    );
    with(&signature, None, 7, &["oem-azure.raw", "no signature"], &[]);
    with(
        &extension,
        Some(b"tampered with"),
        7,
        &[EXTENSION, "SHA-256"],
        &[],
    );
    // Where list and file were changed, the lock knows better.
    let forged = b"tampered with, too";
    fs::write(&extension, forged).unwrap();
    let sums = format!("{}  {EXTENSION}\n", sha256(&forged[..]));
    let says = [EXTENSION, "SHA-256", "flatbake.lock"];
    with(&list, Some(sums.as_bytes()), 7, &says, &["--locked"]);
}

#[test]
fn all_that_is_missing_is_named_at_once() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    let plan = scene.plan(&manifest, &["--offline"]);
    let release = format!("amd64-usr/{VERSION}");
    scene.site.fails(
        &plan,
        2,
        &["2 files", "current/version.txt", "hello/SHA256SUMS", "hint"],
    );
    let all = [
        format!("{release}/{IMAGE}"),
        format!("{release}/oem-azure.raw"),
        format!("extensions/{EXTENSION}"),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    scene.site.succeeds(&scene.plan(&manifest, &["--lock"]));
    scene.forget();
    let plan = scene.plan(&manifest, &["--offline", "--locked"]);
    scene
        .site
        .fails(&plan, 2, &[&["3 files"][..], &all].concat());
    let vendors = [&plan[..], &["--release", "lts", "--vendor", "gce"]].concat();
    scene.site.fails(&vendors, 7, &["lts", "does not hold"]);

    // Of a bundle, too, which is not whole or not for this manifest.
    let bundle = scene.site.path("bundle");
    let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(&bundle)];
    scene.site.succeeds(&fetch);
    let other = Elsewhere::new(&scene, &bundle);
    for name in &all[..2] {
        let name = format!("bundle/stable.release.flatcar-linux.net/{name}");
        fs::remove_file(other.path(&name)).unwrap();
    }
    let plan = [
        "plan",
        "-f",
        "flatbake.yaml",
        "--keyring",
        "keys",
        "other@2",
    ];
    let says = [all[0], all[1], "other/SHA256SUMS", "3 files"];
    other.fails(&plan, 2, &says);
    let no_bundle = [
        "plan",
        "-f",
        "flatbake.yaml",
        "--offline",
        "--bundle",
        text(&scene.site.path("work")),
    ]
    .map(str::to_owned);
    let mut command = flatbake();
    let output = command
        .args(no_bundle)
        .current_dir(other.dir.path())
        .output()
        .unwrap();
    assert!(said(&output).contains("is no bundle"), "{}", said(&output));
}

#[test]
fn a_bundle_appears_whole_or_not_at_all() {
    let Some(scene) = Scene::new() else { return };
    let manifest = scene.work("flatbake.yaml");
    let bundle = scene.site.path("bundle");
    let fetch = ["fetch", "-f", text(&manifest), "--bundle", text(&bundle)];
    let taken = format!("stable/amd64-usr/{VERSION}/oem-azure.raw");
    scene.site.take(&taken);
    scene.site.fails(&fetch, 2, &["oem-azure.raw"]);
    assert!(!bundle.exists());
    scene.site.release("oem-azure.raw", b"this is no sysext");
    // It is what the release has, and cannot be baked: better to know before it is carried off.
    let refused = scene.site.flatbake(&fetch);
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(
        said(&refused).contains("oem-azure.raw"),
        "{}",
        said(&refused)
    );
    assert!(!bundle.exists());
    let left: Vec<_> = fs::read_dir(scene.site.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // Without a manifest, what was named one by one.
    let fetch = ["fetch", "--release", VERSION, "--artifact", "generic"];
    scene
        .site
        .succeeds(&[&fetch[..], &["--bundle", text(&bundle)]].concat());
    assert_eq!(contents(&bundle).len(), 5);
}

#[test]
fn what_a_manifest_says_wrong_of_a_release_has_its_place() {
    let Some(scene) = Scene::new() else { return };
    let path = scene.work("bad.yaml");
    for (text, code, says) in [
        ("release: edge\n", 2, "bad.yaml:1:10"),
        ("release: stable\narch: sparc\n", 2, "bad.yaml:2:7"),
        ("release: stable\nimage: a.bin\n", 2, "bad.yaml:1:10"),
        ("sysexts: [hello]\n", 2, "bad.yaml:1:11"),
        ("sysexts: ['a/b@1']\n", 2, "bad.yaml:1:11"),
        (
            "image: flatcar_sample.bin.bz2\narch: arm64\n",
            2,
            "bad.yaml:2:7",
        ),
        ("sysexts: [hello@1.9]\n", 2, "bad.yaml:1:1"),
    ] {
        fs::write(&path, format!("{text}outputs: [a.img]\n")).unwrap();
        scene
            .site
            .fails(&scene.plan(&path, &[]), code, &[says, "hint"]);
    }
    fs::write(&path, "image: flatcar_sample.bin.bz2\n").unwrap();
    let bundle = scene.site.path("bundle");
    let fetch = ["fetch", "-f", text(&path), "--bundle", text(&bundle)];
    scene.site.fails(&fetch, 2, &["bad.yaml", "nothing"]);
}
