//! A folder that stands in for servers, a config that names it, and the words of the Bakery's script.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::programs::{flatbake, said, success};
use crate::common::reading::text;
use crate::common::server::{Reply, Server};
use crate::fetch_release::{Site, VERSION};

const HELLO: &str = "hello-1.10-x86-64.raw";
const IMAGE: &str = "flatcar_production_image.bin.bz2";

fn sample(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample");
    fs::read(folder.join(name)).unwrap()
}

/// A site whose Bakery has two versions of an extension.
fn site() -> Option<Site> {
    let site = Site::new()?;
    let files = [
        ("hello-1.9-x86-64.raw", b"an older one".to_vec()),
        (HELLO, sample("hello.raw")),
        ("hello.conf", sample("hello.conf")),
    ];
    let mut sums = String::new();
    for (name, bytes) in files {
        let path = site.path(name);
        fs::write(&path, &bytes).unwrap();
        let sum = crate::common::tree::sha256(fs::File::open(&path).unwrap());
        sums.push_str(&format!("{sum}  {name}\n"));
        site.put(&format!("bakery/extensions/{name}"), &bytes);
    }
    site.put("bakery/extensions/hello/SHA256SUMS", sums.as_bytes());
    Some(site)
}

/// What is below a folder, by its path: content, or where a symlink leads.
fn tree(top: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = text(path.strip_prefix(top).unwrap()).to_owned();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(name, text(&target).as_bytes().to_vec());
            } else if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// Serves a folder.
fn serve(folder: PathBuf) -> Server {
    Server::http(move |request| {
        match fs::read(folder.join(request.path().trim_start_matches('/'))) {
            Ok(bytes) => Reply::file(request, &bytes, "\"1\""),
            Err(_) => Reply::new(404, ""),
        }
    })
}

/// The program on a machine that knows the site's key, and no server.
fn alone(site: &Site, cache: &str) -> Command {
    let mut command = flatbake();
    command.env("XDG_CACHE_HOME", site.path(cache));
    command
}

#[test]
fn a_mirror_stands_in_for_the_servers() {
    let Some(site) = site() else { return };
    site.release("oem-azure.raw", b"the sysext");
    let folder = site.path("mirror");
    let releases = "stable.release.flatcar-linux.net";
    let mirror = |more: &[&str]| {
        let usual = [
            "mirror",
            "--release",
            "stable",
            "--artifact",
            "generic",
            "--artifact",
        ];
        let usual = [
            &usual[..],
            &["oem-sysext:azure", "--output-dir", text(&folder)],
        ]
        .concat();
        site.succeeds(&[&usual[..], more].concat())
    };
    let told = mirror(&["--extension", "hello@1.10"]);
    assert_eq!(told.lines().count(), 5, "{told}");
    let found = tree(&folder);
    let release = format!("{releases}/amd64-usr/{VERSION}");
    let bakery = "extensions.flatcar.org/extensions";
    let wanted = [
        format!("{bakery}/hello-1.10-x86-64.raw"),
        format!("{bakery}/hello.conf"),
        format!("{bakery}/hello/SHA256SUMS"),
        format!("{bakery}/hello/hello-1.10-x86-64.raw"),
        format!("{release}/{IMAGE}"),
        format!("{release}/{IMAGE}.sig"),
        format!("{release}/oem-azure.raw"),
        format!("{release}/oem-azure.raw.sig"),
        format!("{release}/version.txt"),
        format!("{release}/version.txt.sig"),
        format!("{releases}/amd64-usr/current"),
    ];
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), wanted);
    assert_eq!(found[&wanted[10]], VERSION.as_bytes());
    assert_eq!(found[&wanted[3]], b"../hello-1.10-x86-64.raw");
    let sums = String::from_utf8(found[&wanted[2]].clone()).unwrap();
    assert_eq!(
        sums.lines().count(),
        2,
        "only what is there is listed: {sums}"
    );

    // What is there and right stays; what is wrong is mended; the rest is left alone.
    let strange = folder.join(releases).join("strange");
    fs::write(&strange, b"not of the mirror").unwrap();
    let damaged = folder.join(&wanted[6]);
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, b"damaged").unwrap();
    let image = format!("/stable/amd64-usr/{VERSION}/{IMAGE}");
    let asked = site.server.count(&image);
    let empty = site.path("empty");
    mirror(&["--extension", "hello@1.9", "--cache-dir", text(&empty)]);
    assert_eq!(site.server.count(&image), asked);
    assert_eq!(fs::read(&damaged).unwrap(), b"the sysext");
    assert_eq!(fs::read(&strange).unwrap(), b"not of the mirror");
    let sums = fs::read_to_string(folder.join(&wanted[2])).unwrap();
    assert_eq!(sums.lines().count(), 3, "{sums}");

    // What is not signed as it should be does not get there.
    site.release("oem-gce.raw", b"good");
    site.put(&format!("stable/amd64-usr/{VERSION}/oem-gce.raw"), b"bad");
    let before = tree(&folder);
    let bad = [
        "mirror",
        "--release",
        VERSION,
        "--artifact",
        "oem-sysext:gce",
        "-o",
        text(&folder),
    ];
    site.fails(&bad, 7, &["oem-gce.raw"]);
    assert_eq!(tree(&folder), before);
    site.fails(
        &[&bad[..], &["--insecure-skip-verify"]].concat(),
        2,
        &["verified"],
    );

    // Served, it bakes what the servers bake, by a config that names it.
    let server = serve(folder.clone());
    let config = site.path("config.toml");
    let content = format!(
        "keyring = [\"keys\"]\n[mirrors]\n\"https://{releases}/\" = \"{}\"\n\"https://extensions.flatcar.org/\" = \"{}\"\n",
        server.url(&format!("/{releases}/")),
        server.url("/extensions.flatcar.org/")
    );
    fs::write(&config, content).unwrap();
    let (own, by_mirror) = (site.path("own.qcow2"), site.path("mirror.qcow2"));
    site.succeeds(&[
        "bake",
        "--release",
        "stable",
        "hello@latest",
        "-o",
        text(&own),
    ]);
    let bake = [
        "bake",
        "--release",
        "stable",
        "hello@latest",
        "-o",
        text(&by_mirror),
    ];
    success(
        alone(&site, "third")
            .env("FLATBAKE_CONFIG", &config)
            .args(bake),
    );
    assert!(fs::read(own).unwrap() == fs::read(by_mirror).unwrap());
}

#[test]
fn all_that_a_mirror_lacks_without_a_network_is_named_at_once() {
    let Some(site) = site() else { return };
    site.release("oem-azure.raw", b"the sysext");
    let folder = site.path("mirror");
    let usual = ["mirror", "--release", "stable", "--artifact", "generic"];
    let more = [
        "--artifact",
        "oem-sysext:azure",
        "--extension",
        "hello@1.10",
    ];
    let usual = [&usual[..], &more, &["--output-dir"]].concat();
    let offline = [&usual[..], &[text(&folder), "--offline"]].concat();
    let list = "extensions.flatcar.org/extensions/hello/SHA256SUMS";
    site.fails(
        &offline,
        2,
        &["2 files", "current/version.txt", list, "hint"],
    );
    assert!(!folder.exists());

    // With one file of the release, the others are known.
    site.succeeds(&["fetch", "--artifact", "oem-sysext:azure"]);
    let release = format!("amd64-usr/{VERSION}/");
    let version = format!("{release}version.txt");
    let image = format!("{release}{IMAGE}");
    site.fails(&offline, 2, &["3 files", &version, &image, list]);
    let release = folder.join("stable.release.flatcar-linux.net/amd64-usr");
    assert!(release.join(VERSION).join("oem-azure.raw").is_file());
    assert!(
        !release.join("current").exists(),
        "it leads to what is whole"
    );

    site.succeeds(&[&usual[..], &[text(&folder)]].concat());
    assert!(release.join("current").exists());
    let other = site.path("other");
    site.succeeds(&[&usual[..], &[text(&other), "--offline"]].concat());
    assert_eq!(tree(&other), tree(&folder));
}

#[test]
fn a_config_says_how_things_are_fetched_and_flags_win() {
    let Some(site) = site() else { return };
    site.release("oem-azure.raw", b"the sysext");
    let config = site.path("config.toml");
    let url = site.server.url("/stable/");
    let prefix = "https://stable.release.flatcar-linux.net/";
    let write = |more: &str| {
        let content =
            format!("{more}\nkeyring = [\"keys\"]\nmirrors = {{\"{prefix}\" = \"{url}\"}}\n");
        fs::write(&config, content).unwrap();
    };
    let run = |cache: &str, flags: &[&str]| {
        let fetch = [
            "fetch",
            "--release",
            VERSION,
            "--artifact",
            "oem-sysext:azure",
        ];
        let mut command = alone(&site, cache);
        command.env("FLATBAKE_CONFIG", &config);
        command.args(fetch).args(flags).output().unwrap()
    };
    write("");
    let first = run("shared", &[]);
    assert!(first.status.success(), "{}", said(&first));

    let elsewhere = Server::http(|_| Reply::new(404, ""));
    let mirror = format!("{prefix}={}", elsewhere.url("/"));
    let output = run("new", &["--mirror", &mirror]);
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert!(!elsewhere.requests().is_empty());

    let shared = site.path("shared/flatbake");
    write(&format!("shared_cache = \"{}\"", text(&shared)));
    let output = run("new", &["--offline"]);
    assert!(output.status.success(), "{}", said(&output));
    write("trust = [\"F88CFEDEFF29A5B4D9523864E25D9AED0593B34A\"]");
    let output = run("new", &[]);
    assert_eq!(
        output.status.code(),
        Some(7),
        "only that key is trusted: {}",
        said(&output)
    );

    // What the document shows is a config.
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fetching.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, shown) = document.split_once("```toml\n").unwrap();
    fs::write(&config, shown.split("```").next().unwrap()).unwrap();
    fs::copy(site.path("keys"), site.path("site.asc")).unwrap();
    let mut command = alone(&site, "new");
    command.env("FLATBAKE_CONFIG", &config);
    let listed = said(&success(command.args(["verify", "--list-keys"])));
    assert!(listed.contains("Builder of the tests"), "{listed}");

    write("mirror = 1");
    let output = run("new", &[]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let place = format!("{}:1:1", config.display());
    assert!(
        told.contains(&place) && told.contains("unknown field"),
        "{told}"
    );
    fs::remove_file(&config).unwrap();
    assert_eq!(
        run("new", &[]).status.code(),
        Some(2),
        "what is named must be there"
    );
}

#[test]
fn the_words_of_the_script_work_as_its_users_know_them() {
    let Some(site) = site() else { return };
    let folder = site.path("out");
    fs::create_dir(&folder).unwrap();
    let sysext = format!("hello:{HELLO}");
    let script = [
        "--fetch",
        "--arch",
        "x86-64",
        "--vendor",
        "generic",
        "--install_to",
        "oem:extensions",
    ];
    let mut command = site.command(&["bake"]);
    let output = command
        .args(script)
        .arg(&sysext)
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let image = folder.join("flatcar_production_image.bin");
    let cat = |path: &str| success(flatbake().args(["cat", text(&image), path])).stdout;
    assert!(cat(&format!("oem:/extensions/{HELLO}")) == sample("hello.raw"));
    assert_eq!(
        cat("root:/etc/sysupdate.hello.d/hello.conf"),
        sample("hello.conf")
    );
    let listed = success(flatbake().args(["ls", text(&image), "root:/etc/extensions"]));
    assert!(said(&listed).contains("hello.raw"), "{}", said(&listed));

    // A file that is here is taken as it is; one that is nowhere is an error that says what there is.
    fs::write(folder.join(HELLO), sample("greeter.raw")).unwrap();
    let plan = |sysext: &str| {
        let mut command = site.command(&["plan", "--fetch", "--vendor", "generic", sysext]);
        command
            .current_dir(&folder)
            .arg("--overwrite")
            .output()
            .unwrap()
    };
    assert!(
        said(&plan(&sysext)).contains("greeter"),
        "{}",
        said(&plan(&sysext))
    );
    let missing = plan("hello:hello-2-x86-64.raw");
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    assert!(
        said(&missing).contains("hello-1.9-x86-64.raw"),
        "{}",
        said(&missing)
    );
}
