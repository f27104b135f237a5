//! Extensions of the Bakery with what belongs to them, Flatcar's own sysexts, and a cache that a site shares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::common::programs::{self, flatbake, said, success};
use crate::common::reading::text;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::fetch_release::{Site, VERSION};

const HELLO: &str = "hello-1.10-x86-64.raw";

fn sample(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample");
    fs::read(folder.join(name)).unwrap()
}

/// A line of SHA256SUMS.
fn listed(site: &Site, name: &str, bytes: &[u8]) -> String {
    let path = site.path(name);
    fs::write(&path, bytes).unwrap();
    let sum = crate::common::tree::sha256(fs::File::open(&path).unwrap());
    format!("{sum}  {name}\n")
}

/// Bakes a sample with `flags`; what came out.
fn bake(site: &Site, name: &str, flags: &[&str]) -> PathBuf {
    let (image, node) = (programs::raw_sample(), site.path(name));
    let arguments = ["bake", "--image", text(&image), "-o", text(&node)];
    site.succeeds(&[&arguments[..], flags].concat());
    node
}

fn cat(image: &Path, path: &str) -> String {
    let output = success(flatbake().args(["cat", text(image), path]));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn files_for_updates_come_with_an_extension() {
    let Some(site) = Site::new() else { return };
    let (hello, conf) = (sample("hello.raw"), sample("hello.conf"));
    let sums = [
        listed(&site, HELLO, &hello),
        listed(&site, "hello.conf", &conf),
    ];
    site.put(&format!("bakery/extensions/{HELLO}"), &hello);
    site.put("bakery/extensions/hello.conf", &conf);
    let list = "bakery/extensions/hello/SHA256SUMS";
    site.put(list, sums.concat().as_bytes());

    let image = programs::raw_sample();
    let local = site.path("local.qcow2");
    let named = format!("hello:{}", text(&site.path(HELLO)));
    let arguments = ["bake", "--image", text(&image), "-o", text(&local)];
    success(flatbake().args(arguments).args([&*named, "--sysupdate"]));
    let wanted = fs::read(local).unwrap();
    let fetched = bake(&site, "fetched.qcow2", &["hello@latest", "--sysupdate"]);
    assert!(fs::read(&fetched).unwrap() == wanted);
    let baked = cat(&fetched, "root:/etc/sysupdate.hello.d/hello.conf");
    assert_eq!(baked.as_bytes(), conf);

    // The list has another one: that of the server is not it.
    site.put(
        "bakery/extensions/hello.conf",
        b"[Source]\nPath=/elsewhere\n",
    );
    let node = site.path("never.img");
    let plan = [
        "plan",
        "--image",
        text(&image),
        "-o",
        text(&node),
        "hello@1.10",
    ];
    site.fails(
        &[&plan[..], &["--cache-dir", text(&site.path("new"))]].concat(),
        7,
        &["hello.conf", "SHA-256"],
    );
    // What is in the cache is what the list has.
    let again = bake(&site, "again.qcow2", &["hello@1.10", "--sysupdate"]);
    assert!(fs::read(again).unwrap() == wanted);

    // No list has it, and still it comes; also without a network.
    site.put("bakery/extensions/hello.conf", &conf);
    site.put(list, sums[0].as_bytes());
    for flags in [
        &["hello@1.10", "--sysupdate"][..],
        &["hello@1.10", "--sysupdate", "--offline"],
    ] {
        let name = format!("unlisted{}.qcow2", flags.len());
        assert!(
            fs::read(bake(&site, &name, flags)).unwrap() == wanted,
            "{flags:?}"
        );
    }
}

/// Publishes one of Flatcar's own sysexts in the site's release.
fn publish(site: &Site, name: &str, version: &str) -> Option<()> {
    let fields = [
        ("ID", "flatcar"),
        ("VERSION_ID", version),
        ("ARCHITECTURE", "x86-64"),
    ];
    let merged = format!("flatcar-{name}");
    let made = Sysext::new(&merged, "x86-64", Format::Squashfs).with_fields(&fields);
    let file = sysext(site.dir.path(), &format!("{merged}.raw"), &made)?;
    site.release(&format!("{merged}.raw"), &fs::read(file).unwrap());
    Some(())
}

#[test]
fn sysexts_of_flatcar_are_there_at_the_first_boot() {
    let Some(site) = Site::new() else { return };
    if publish(&site, "podman", VERSION).is_none() || publish(&site, "zfs", VERSION).is_none() {
        return;
    }
    publish(&site, "python", "4593.1.0").unwrap();
    let conf = "root:/etc/flatcar/enabled-sysext.conf";
    let file = |name: &str| format!("root:/etc/flatcar/sysext/flatcar-{name}-{VERSION}.raw");

    let both = ["--enable-sysext", "zfs", "--enable-sysext", "podman"];
    let node = bake(&site, "both.qcow2", &both);
    assert_eq!(cat(&node, conf), "podman\nzfs\n");
    for name in ["podman", "zfs"] {
        let output = success(flatbake().args(["cat", text(&node), &file(name)]));
        let published = format!("/stable/amd64-usr/{VERSION}/flatcar-{name}.raw");
        assert!(output.stdout == site.files.lock().unwrap()[&published]);
        assert_eq!(site.server.count(&published), 1);
    }
    let offline = bake(
        &site,
        "offline.qcow2",
        &[&both[..], &["--offline"]].concat(),
    );
    assert!(fs::read(offline).unwrap() == fs::read(&node).unwrap());

    // Another edit brings the list, and variants add to it.
    fs::write(site.path("mine.conf"), "# ours\nincus\n-podman\n").unwrap();
    let manifest = site.path("flatbake.yaml");
    let image = programs::raw_sample();
    let content = format!(
        "image: {}\nenable_sysexts: [podman]\nfiles: [{{source: mine.conf, path: \"{conf}\"}}]\noutputs: [node.qcow2]\n\
         variants: [{{name: a}}, {{name: b, enable_sysexts: [zfs]}}]\n",
        text(&image)
    );
    fs::write(&manifest, content).unwrap();
    let folder = site.path("nodes");
    let arguments = [
        "bake",
        "-f",
        text(&manifest),
        "--allow-outside",
        "--output-dir",
        text(&folder),
    ];
    let said = said(&site.flatbake(&arguments));
    assert!(!said.contains("twice"), "{said}");
    assert_eq!(
        cat(&folder.join("a/node.qcow2"), conf),
        "# ours\nincus\npodman\n"
    );
    assert_eq!(
        cat(&folder.join("b/node.qcow2"), conf),
        "# ours\nincus\npodman\nzfs\n"
    );

    let never = site.path("never.img");
    let plan = [
        "plan",
        "--image",
        text(&image),
        "-o",
        text(&never),
        "--enable-sysext",
    ];
    let plan = |more: &[&'static str]| [&plan[..], more].concat();
    site.fails(
        &plan(&["nonesuch"]),
        2,
        &[
            "no sysext nonesuch",
            VERSION,
            "podman, python, zfs",
            "overlaybd",
        ],
    );
    site.fails(
        &plan(&["overlaybd", "--offline"]),
        2,
        &["not in the cache", "flatcar-overlaybd.raw"],
    );
    site.fails(&plan(&["flatcar/zfs"]), 2, &["podman"]);
    // One of another release is never merged.
    site.fails(&plan(&["python"]), 2, &["flatcar-python.raw", "4593.1.0"]);
}

/// Names, lengths and times of all that is below a folder.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            found.insert(path.clone(), (metadata.len(), metadata.modified().unwrap()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn a_shared_cache_is_read_and_never_written() {
    let Some(site) = Site::new() else { return };
    site.release("oem-azure.raw", b"the sysext");
    let shared = site.path("shared");
    let fetch = [
        "fetch",
        "--release",
        "stable",
        "--artifact",
        "oem-sysext:azure",
    ];
    site.succeeds(&[&fetch[..], &["--cache-dir", text(&shared)]].concat());
    let before = snapshot(&shared);
    let asked = site.server.requests().len();
    let with_shared = [&fetch[..], &["--shared-cache", text(&shared)]].concat();
    let path = site.succeeds(&[&with_shared[..], &["--offline"]].concat());
    assert!(path.starts_with(text(&shared)), "{path}");
    assert_eq!(site.server.requests().len(), asked);
    assert!(site.cached().is_empty());
    assert_eq!(snapshot(&shared), before);

    let cache = |arguments: &[&str]| {
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", site.path("cache"));
        command
            .arg("cache")
            .args(arguments)
            .args(["--shared-cache", text(&shared)]);
        command.output().unwrap()
    };
    let listed = said(&cache(&["ls"]));
    assert!(
        listed.contains("shared") && listed.contains("oem-azure.raw"),
        "{listed}"
    );
    assert!(cache(&["verify"]).status.success());

    // What is damaged there is fetched into the own cache.
    let path = PathBuf::from(path.trim());
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"something else").unwrap();
    let before = snapshot(&shared);
    assert_eq!(cache(&["verify"]).status.code(), Some(9));
    let path = site.succeeds(&with_shared);
    assert!(path.starts_with(text(&site.path("cache"))), "{path}");
    assert_eq!(snapshot(&shared), before);

    let missing = [&fetch[..], &["--shared-cache", "nowhere"]].concat();
    site.fails(&missing, 2, &["nowhere", "no folder"]);
}

#[test]
fn a_lock_holds_files_for_updates_and_sysexts_of_flatcar() {
    let Some(site) = Site::new() else { return };
    if publish(&site, "podman", VERSION).is_none() {
        return;
    }
    let (hello, conf) = (sample("hello.raw"), sample("hello.conf"));
    let old = [
        listed(&site, HELLO, &hello),
        listed(&site, "hello.conf", &conf),
    ];
    let list = "bakery/extensions/hello/SHA256SUMS";
    site.put(&format!("bakery/extensions/{HELLO}"), &hello);
    site.put("bakery/extensions/hello.conf", &conf);
    site.put(list, old.concat().as_bytes());
    let manifest = site.path("flatbake.yaml");
    let content = "release: stable\nsysexts: [hello@latest]\nenable_sysexts: [podman]\n\
        sysupdate: true\noutputs: [node.qcow2]\n";
    fs::write(&manifest, content).unwrap();
    let bake = |name: &str, flags: &[&str]| {
        let folder = site.path(name);
        let bake = ["bake", "-f", text(&manifest), "--output-dir", text(&folder)];
        site.succeeds(&[&bake[..], flags].concat());
        fs::read(folder.join("node.qcow2")).unwrap()
    };
    let first = bake("first", &[]);
    let lock = fs::read_to_string(site.path("flatbake.lock")).unwrap();
    for held in [HELLO, "hello.conf", "flatcar-podman.raw"] {
        assert!(lock.contains(&format!("/{held}\"")), "{held}: {lock}");
    }

    // A newer release and a newer version come out; what there was is still there.
    let current = "stable/amd64-usr/current/version.txt";
    site.publish(current, b"FLATCAR_VERSION=4593.2.9\n");
    let newer = listed(&site, "hello-1.11-x86-64.raw", b"a newer one");
    site.put(
        list,
        [&old[0], &newer, &old[1]]
            .map(String::as_str)
            .concat()
            .as_bytes(),
    );
    let forget = || fs::remove_dir_all(site.path("cache")).unwrap();
    forget();
    assert!(bake("locked", &["--locked"]) == first);
    assert_eq!(
        fs::read_to_string(site.path("flatbake.lock")).unwrap(),
        lock
    );

    // Something else under the name of what is locked.
    let never = site.path("never");
    let refused = |name: &str| {
        forget();
        let bake = [
            "bake",
            "-f",
            text(&manifest),
            "--locked",
            "--output-dir",
            text(&never),
        ];
        site.fails(&bake, 7, &[name, "flatbake.lock", "hint"]);
        assert!(!never.exists());
    };
    let other = b"[Source]\nPath=/elsewhere\n";
    site.put("bakery/extensions/hello.conf", other);
    let sums = format!("{}{}", old[0], listed(&site, "hello.conf", other));
    site.put(list, sums.as_bytes());
    refused("hello.conf");
    site.put("bakery/extensions/hello.conf", &conf);
    site.release("flatcar-podman.raw", b"another one, with a good signature");
    refused("flatcar-podman.raw");
}
