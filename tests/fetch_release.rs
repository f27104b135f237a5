//! Releases from a server that is laid out like Flatcar's: found, verified, kept, baked.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use crate::common::programs::{flatbake, said};
use crate::common::reading::text;
use crate::common::server::{Authority, Reply, Server};
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::{longer, scratch_dir};
use crate::fetch_openpgp::gpg::Gpg;

/// The release of the sample.
pub const VERSION: &str = "4593.2.0";
pub const IMAGE: &str = "flatcar_production_image.bin.bz2";
const DAY: &str = "2026-01-31";

/// What a server has, by the path of its URL.
pub type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A place like Flatcar's servers, with keys of its own, and a machine that fetches from it.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub gpg: Gpg,
    pub key: String,
    pub files: Files,
    pub server: Server,
    /// The authority of the server, where it speaks TLS.
    ca: Option<PathBuf>,
}

impl Site {
    /// A site with the sample as the newest stable release.
    pub fn new() -> Option<Self> {
        Self::served(|files| {
            Some(Server::http(move |request| {
                answer(&files, request.path(), |bytes| {
                    Reply::file(request, bytes, "\"1\"")
                })
            }))
        })
    }

    /// The same over TLS.
    pub fn over_tls() -> Option<Self> {
        let authority = Authority::usual()?;
        let site = Self::served(|files| {
            Some(Server::https(authority.localhost(), move |request| {
                answer(&files, request.path(), |bytes| {
                    Reply::file(request, bytes, "\"1\"")
                })
            }))
        });
        Some(Self {
            ca: Some(authority.file()),
            ..site?
        })
    }

    pub fn served(serve: impl FnOnce(Files) -> Option<Server>) -> Option<Self> {
        let gpg = Gpg::new()?;
        let key = gpg.primary("2025-01-01", "Builder of the tests");
        let key = gpg.subkey("2025-01-01", &key, "ed25519", "never");
        let files = Files::default();
        let site = Self {
            dir: scratch_dir(),
            gpg,
            key,
            server: serve(Arc::clone(&files))?,
            files,
            ca: None,
        };
        fs::write(site.path("keys"), site.gpg.export(&[], &[])).unwrap();
        let sample =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2");
        let version = format!("FLATCAR_BUILD=4593\nFLATCAR_VERSION={VERSION}\n");
        site.publish("stable/amd64-usr/current/version.txt", version.as_bytes());
        site.release("version.txt", version.as_bytes());
        site.release(IMAGE, &fs::read(sample).unwrap());
        Some(site)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes a file of the release with its signature.
    pub fn release(&self, name: &str, bytes: &[u8]) {
        self.publish(&format!("stable/amd64-usr/{VERSION}/{name}"), bytes);
    }

    pub fn publish(&self, path: &str, bytes: &[u8]) {
        let signature = self.gpg.sign(DAY, &self.key, &["--detach-sign"], bytes);
        self.put(path, bytes);
        self.put(&format!("{path}.sig"), &signature);
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut files = self.files.lock().unwrap();
        files.insert(format!("/{path}"), bytes.to_vec());
    }

    pub fn take(&self, path: &str) {
        self.files.lock().unwrap().remove(&format!("/{path}"));
    }

    /// The program on a machine that trusts the site's key, and has Flatcar's servers here.
    pub fn flatbake(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", self.path("cache"));
        command
            .args(arguments)
            .arg("--keyring")
            .arg(self.path("keys"));
        if let Some(ca) = &self.ca {
            command.arg("--ca").arg(ca);
        }
        for channel in ["stable", "lts"] {
            let place = self.server.url(&format!("/{channel}/"));
            let mirror = format!("https://{channel}.release.flatcar-linux.net/={place}");
            command.arg("--mirror").arg(mirror);
        }
        let place = self.server.url("/bakery/");
        let mirror = format!("https://extensions.flatcar.org/={place}");
        command.arg("--mirror").arg(mirror);
        command
    }

    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.flatbake(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails with `code`, saying all of `says`.
    pub fn fails(&self, arguments: &[&str], code: i32, says: &[&str]) {
        let output = self.flatbake(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
        for word in says {
            assert!(text.contains(word), "{arguments:?} says {text}, not {word}");
        }
    }

    /// Names and contents of all files below the cache but locks and disks.
    pub fn cached(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("cache").join("flatbake").join("objects")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    found.push((name, fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn answer(files: &Files, path: &str, reply: impl FnOnce(&[u8]) -> Reply) -> Reply {
    match files.lock().unwrap().get(path) {
        Some(bytes) => reply(bytes),
        None => Reply::new(404, "nothing here"),
    }
}

#[test]
fn a_fetched_release_bakes_what_its_files_bake() {
    let Some(site) = Site::new() else { return };
    let fields = [
        ("ID", "flatcar"),
        ("VERSION_ID", VERSION),
        ("ARCHITECTURE", "x86-64"),
    ];
    let made = Sysext::new("oem-azure", "x86-64", Format::Squashfs).with_fields(&fields);
    let Some(oem) = sysext(site.dir.path(), "oem-azure.raw", &made) else {
        return;
    };
    site.release("oem-azure.raw", &fs::read(&oem).unwrap());
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/sample/flatcar_sample.bin.bz2"
    );
    let bake = |name: &str, from: &[&str]| {
        let folder = site.path(name);
        let mut arguments = vec!["bake", "--vendor", "azure", "--output-dir", text(&folder)];
        arguments.extend(from);
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", site.path("cache"));
        if from.contains(&"--release") {
            command = site.command(&arguments);
        } else {
            command.args(&arguments);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", said(&output));
        fs::read(folder.join("flatcar_production_azure_image.vhd")).unwrap()
    };
    let local = bake("local", &["--image", sample, "--oem-sysext", text(&oem)]);
    assert!(bake("fetched", &["--release", "stable"]) == local);
    let image = format!("/stable/amd64-usr/{VERSION}/{IMAGE}");
    assert_eq!(site.server.count(&image), 1);
    assert!(bake("again", &["--release", VERSION]) == local);
    assert_eq!(site.server.count(&image), 1, "it was in the cache");
    let asked = site.server.requests().len();
    assert!(bake("offline", &["--release", "stable", "--offline"]) == local);
    assert_eq!(site.server.requests().len(), asked, "nothing was asked for");
    site.fails(
        &["plan", "--release", VERSION, "--offline", "--vendor", "gce"],
        2,
        &["oem-gce.raw", "hint"],
    );
}

#[test]
fn files_come_with_their_signatures() {
    let Some(site) = Site::new() else { return };
    site.release("oem-azure.raw", b"not looked into here");
    let folder = site.path("out");
    let arguments = [
        "fetch",
        "--artifact",
        "oem-sysext:azure",
        "--artifact",
        "generic",
        "--output-dir",
        text(&folder),
    ];
    let out = site.succeeds(&arguments);
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [
            text(&folder.join("oem-azure.raw")),
            text(&folder.join(IMAGE))
        ]
    );
    for name in ["oem-azure.raw", IMAGE] {
        let signature = fs::read(folder.join(format!("{name}.sig"))).unwrap();
        let content = fs::read(folder.join(name)).unwrap();
        let gpg = site.gpg.verify(DAY, &signature, Some(&content));
        assert!(gpg.is_accepted, "{name}: {gpg:?}");
    }
    site.fails(&arguments, 2, &["exists"]);
    site.succeeds(&[&arguments[..], &["--overwrite"]].concat());
    let json = site.succeeds(&["fetch", "--release", VERSION, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["release"], VERSION);
    assert!(json["files"][0]["signed"]["primary"].is_string());
}

#[test]
fn what_is_not_signed_as_it_should_be_gets_nowhere() {
    let Some(site) = Site::new() else { return };
    let place = format!("stable/amd64-usr/{VERSION}/oem-azure.raw");
    let stranger = Gpg::new().unwrap();
    let strange = stranger.primary("2025-01-01", "Builder of the tests");
    let strange = stranger.subkey("2025-01-01", &strange, "ed25519", "never");
    let good = b"the sysext as it should be";
    let by_a_stranger = stranger.sign(DAY, &strange, &["--detach-sign"], good);
    let by_us = site.gpg.sign(DAY, &site.key, &["--detach-sign"], good);
    let arguments = ["fetch", "--artifact", "oem-sysext:azure", "--output-dir"];
    let folder = site.path("out");
    let arguments = [&arguments[..], &[text(&folder)]].concat();

    for (content, signature, says) in [
        (
            &b"the sysext as it should not be"[..],
            Some(&by_us),
            "signature",
        ),
        (good, Some(&by_a_stranger), "key"),
        (good, None, "no signature"),
    ] {
        site.put(&place, content);
        match signature {
            Some(signature) => site.put(&format!("{place}.sig"), signature),
            None => site.take(&format!("{place}.sig")),
        }
        site.fails(&arguments, 7, &["oem-azure.raw", says, "hint"]);
        assert!(!folder.join("oem-azure.raw").exists());
        let kept = site.cached();
        assert!(
            kept.iter()
                .all(|(name, bytes)| !name.starts_with("oem") && bytes != content),
            "{says}"
        );
    }
    // It is what was asked for, and nothing of it is kept.
    let mut loud = site.command(&arguments);
    let output = loud.arg("--insecure-skip-verify").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("not verified"), "{}", said(&output));
    assert_eq!(fs::read(folder.join("oem-azure.raw")).unwrap(), good);
    assert!(
        site.cached()
            .iter()
            .all(|(name, _)| !name.starts_with("oem"))
    );

    let node = site.path("node.img");
    let plan = ["plan", "--release", VERSION, "--json", "-o", text(&node)];
    let mut plan = site.command(&plan);
    let report = plan.arg("--insecure-skip-verify").output().unwrap();
    assert!(report.status.success(), "{}", said(&report));
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert!(
        report["findings"].to_string().contains("not-verified"),
        "{report}"
    );
}

#[test]
fn nothing_of_a_file_whose_signature_fails_reaches_the_disk() {
    let Some(site) = Site::new() else { return };
    let good = b"the sysext as it should be";
    let detached = ["--detach-sign"];
    let signer = |algorithm: &str, life: &str| {
        let gpg = Gpg::new().unwrap();
        let primary = gpg.primary("2020-01-01", "Builder of the tests");
        let subkey = gpg.subkey("2020-01-01", &primary, algorithm, life);
        (gpg, primary, subkey)
    };
    let (aged, primary, subkey) = signer("ed25519", "1y");
    let mut keys = [site.gpg.export(&[], &[]), aged.export(&[], &[])].concat();
    aged.extend("2022-01-01", &primary, &subkey, "10y");
    let expired = aged.sign("2022-06-01", &subkey, &detached, good);
    let (lost, primary, subkey) = signer("ed25519", "never");
    let compromised = lost.sign("2020-06-01", &subkey, &detached, good);
    lost.revoke_subkey("2021-01-01", &primary, 1);
    keys.extend(lost.export(&[], &[]));
    let (weak, _, subkey) = signer("rsa2048", "never");
    let sha1 = ["--digest-algo", "SHA1", "--detach-sign"];
    let sha1 = weak.sign("2020-06-01", &subkey, &sha1, good);
    keys.extend(weak.export(&[], &[]));
    fs::write(site.path("keys"), keys).unwrap();

    let by_us = |content: &[u8]| site.gpg.sign(DAY, &site.key, &detached, content);
    let whole = by_us(good);
    let truncated = whole[..whole.len() - 10].to_vec();
    let appended = [&good[..], b", and more"].concat();
    let cases = [
        ("truncated", &good[..], truncated),
        ("of another file", good, by_us(b"another file")),
        ("data appended", &appended, whole.clone()),
        ("expired before", good, expired),
        ("compromised", good, compromised),
        ("SHA-1", good, sha1),
        ("none at all", good, b"<html>sign in</html>".to_vec()),
    ];
    let place = format!("stable/amd64-usr/{VERSION}/oem-azure.raw");
    let folder = site.path("out");
    let fetch = ["fetch", "--artifact", "oem-sysext:azure", "--output-dir"];
    let fetch = [&fetch[..], &[text(&folder)]].concat();
    for (what, content, signature) in cases {
        site.put(&place, content);
        site.put(&format!("{place}.sig"), &signature);
        let output = site.flatbake(&fetch);
        let told = said(&output);
        let code = output.status.code();
        assert!(matches!(code, Some(7 | 8)), "{what}: {code:?} {told}");
        assert!(told.contains("oem-azure.raw"), "{what}: {told}");
        assert!(!folder.join("oem-azure.raw").exists(), "{what}");
        for (name, bytes) in site.cached() {
            assert!(!name.starts_with("oem"), "{what}: {name}");
            assert!(!bytes.starts_with(good), "{what}: {name}");
        }
    }
    site.put(&place, good);
    site.put(&format!("{place}.sig"), &whole);
    site.succeeds(&fetch);
}

#[test]
fn flags_of_fetching_are_refused_where_nothing_is_fetched() {
    let sample = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/sample/flatcar_sample.bin.bz2"
    );
    for flags in [
        &["--arch", "arm64"][..],
        &["--offline"],
        &["--keyring", sample],
        &["--insecure-skip-verify"],
    ] {
        let mut command = flatbake();
        command
            .args(["plan", "--image", sample, "-o", "never.img"])
            .args(flags);
        let output = command.output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{flags:?}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains(flags[0]),
            "{flags:?}: {}",
            said(&output)
        );
    }
}

#[test]
fn a_server_cannot_pass_one_release_off_as_another() {
    let Some(site) = Site::new() else { return };
    // An old image under a new version, whose signature is good.
    let place = format!("/stable/amd64-usr/{VERSION}/{IMAGE}");
    let image = site.files.lock().unwrap()[&place].clone();
    site.publish(&format!("stable/amd64-usr/4593.2.9/{IMAGE}"), &image);
    site.fails(
        &[
            "plan",
            "--release",
            "4593.2.9",
            "-o",
            text(&site.path("node.img")),
        ],
        7,
        &["4593.2.9", VERSION],
    );
    // A version.txt of another channel.
    site.publish(
        "lts/amd64-usr/current-2024/version.txt",
        b"FLATCAR_VERSION=4593.2.0\n",
    );
    site.fails(
        &["fetch", "--release", "lts-2024"],
        7,
        &["lts-2024", VERSION],
    );
    site.publish("lts/amd64-usr/current/version.txt", b"<html>sign in</html>");
    site.fails(&["fetch", "--release", "lts"], 8, &["version.txt"]);
    site.fails(
        &["fetch", "--release", "4081.3.9"],
        7,
        &["4081.3.9", "no signature"],
    );
}

#[test]
fn a_damaged_cache_is_fetched_again() {
    let Some(site) = Site::new() else { return };
    site.release("oem-azure.raw", b"the sysext");
    let fetch = [
        "fetch",
        "--release",
        VERSION,
        "--artifact",
        "oem-sysext:azure",
    ];
    let path = PathBuf::from(site.succeeds(&fetch).trim());
    assert_eq!(fs::read(&path).unwrap(), b"the sysext");
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"something else").unwrap();
    let cache = |arguments: &[&str]| {
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", site.path("cache"));
        command.arg("cache").args(arguments).output().unwrap()
    };
    assert_eq!(cache(&["verify"]).status.code(), Some(9));
    assert_eq!(site.succeeds(&fetch).trim(), text(&path));
    assert_eq!(fs::read(&path).unwrap(), b"the sysext");
    assert!(cache(&["verify"]).status.success());
    let listed = String::from_utf8(cache(&["ls"]).stdout).unwrap();
    assert!(listed.contains("oem-azure.raw.sig"), "{listed}");
    assert!(cache(&["gc", "--max-size", "1G"]).status.success());
    assert!(path.exists());
    assert!(cache(&["clear"]).status.success());
    assert!(!path.exists());
}

#[test]
fn runs_at_the_same_time_fetch_once() {
    let Some(site) = Site::new() else { return };
    let fetch = ["fetch", "--release", VERSION];
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let mut command = site.command(&fetch);
            command
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for run in runs {
        assert!(run.wait_with_output().unwrap().status.success());
    }
    let image = format!("/stable/amd64-usr/{VERSION}/{IMAGE}");
    assert_eq!(site.server.count(&image), 1);
    assert!(site.cached().iter().all(|(name, _)| !name.starts_with('.')));
}

#[test]
fn a_run_that_is_killed_leaves_nothing_under_a_name() {
    let site = Site::served(|files| {
        Some(Server::http(move |request| {
            answer(&files, request.path(), |bytes| {
                let reply = Reply::file(request, bytes, "\"1\"");
                // The image stops half-way until it is asked for again.
                match request.path().ends_with(".bz2") && request.before == 0 {
                    true => reply.stall_after(bytes.len() / 2),
                    false => reply,
                }
            })
        }))
    });
    let Some(site) = site else { return };
    let image = format!("/stable/amd64-usr/{VERSION}/{IMAGE}");
    let mut run = site
        .command(&["fetch", "--release", VERSION])
        .spawn()
        .unwrap();
    crate::common::programs::wait_until("the image is asked for", || {
        site.server.count(&image) == 1
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(site.cached().is_empty());
    site.succeeds(&["fetch", "--release", VERSION]);
    assert_eq!(site.cached().len(), 2);
}

#[test]
fn runs_that_are_killed_at_any_moment_leave_only_whole_files() {
    let Some(site) = Site::new() else { return };
    let bytes: Vec<u8> = (0..2_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect();
    site.release("oem-azure.raw", &bytes);
    let out = site.path("out");
    let fetch = [
        "fetch",
        "--release",
        VERSION,
        "--artifact",
        "oem-sysext:azure",
        "-o",
        text(&out),
    ];
    let start = std::time::Instant::now();
    site.succeeds(&fetch);
    let whole_run = start.elapsed();
    fs::remove_dir_all(site.path("cache")).unwrap();
    fs::remove_dir_all(&out).unwrap();

    let runs = longer(15);
    for n in 0..runs {
        let mut run = site.command(&fetch).spawn().unwrap();
        std::thread::sleep(whole_run * u32::try_from(n).unwrap() / u32::try_from(runs).unwrap());
        run.kill().unwrap();
        run.wait().unwrap();
        let objects = site.path("cache").join("flatbake").join("objects");
        for object in fs::read_dir(objects).into_iter().flatten() {
            let object = object.unwrap();
            for file in fs::read_dir(object.path()).unwrap() {
                let content = fs::File::open(file.unwrap().path()).unwrap();
                let digest = crate::common::tree::sha256(content);
                assert_eq!(object.file_name().to_str(), Some(&*digest), "run {n}");
            }
        }
        let image = out.join("oem-azure.raw");
        if let Ok(content) = fs::read(&image) {
            assert!(content == bytes, "run {n} left a part under its name");
            fs::remove_file(&image).unwrap();
        }
        // An early end leaves no cache at all.
        let cache = site.path("cache");
        if n % 3 == 2 && cache.exists() {
            fs::remove_dir_all(cache).unwrap();
        }
    }
    site.succeeds(&fetch);
    assert!(fs::read(out.join("oem-azure.raw")).unwrap() == bytes);
}

#[test]
fn the_list_of_releases_comes_over_tls() {
    let Some(authority) = Authority::usual() else {
        return;
    };
    let list = r#"{"4593.2.5": {"channel": "stable", "architectures": ["amd64", "arm64"],
        "release_date": "2026-08-01 10:00:00 +0000", "major_software": {"kernel": ["6.12.1"], "systemd": ["257.9"]}},
        "4790.0.0": {"channel": "alpha"}, "current": {"channel": "stable"}}"#;
    let server = Server::https(authority.localhost(), move |request| match request.path() {
        "/releases.json" => Reply::ok(list),
        _ => Reply::new(404, ""),
    });
    let url = server.url("/releases.json");
    let run = |arguments: &[&str]| {
        let mut command = flatbake();
        command.arg("releases").args(arguments);
        let mirror = format!("https://www.flatcar.org/releases-json/releases.json={url}");
        command.arg("--mirror").arg(mirror).output().unwrap()
    };
    let refused = run(&[]);
    assert_eq!(refused.status.code(), Some(7), "{}", said(&refused));
    let ca = authority.file();
    let output = run(&["--ca", text(&ca), "--channel", "stable"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = told.lines().nth(1).unwrap().split_whitespace().collect();
    let wanted = [
        "4593.2.5",
        "stable",
        "2026-08-01",
        "amd64,arm64",
        "6.12.1",
        "257.9",
    ];
    assert_eq!(words, wanted);
    let output = run(&["--ca", text(&ca), "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json[0]["version"], "4790.0.0");
}

#[test]
fn extensions_of_the_bakery_are_held_against_their_list() {
    let Some(site) = Site::new() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample");
    let hello = fs::read(root.join("hello.raw")).unwrap();
    let listed = |name: &str, bytes: &[u8]| {
        let path = site.path(name);
        fs::write(&path, bytes).unwrap();
        let sum = crate::common::tree::sha256(fs::File::open(&path).unwrap());
        format!("{sum}  {name}\n")
    };
    let sums = [
        listed("hello-1.9-x86-64.raw", b"an older one"),
        listed("hello-1.10-x86-64.raw", &hello),
    ];
    site.put(
        "bakery/extensions/hello/SHA256SUMS",
        sums.concat().as_bytes(),
    );
    site.put("bakery/extensions/hello-1.10-x86-64.raw", &hello);
    site.put("bakery/extensions/hello-1.9-x86-64.raw", b"another one");

    let local = format!("hello:{}", text(&site.path("hello-1.10-x86-64.raw")));
    let sample = root.join("flatcar_sample.bin.bz2");
    let bake = |name: &str, sysext: &str, flags: &[&str]| {
        let output = site.path(name);
        let arguments = [
            "bake",
            "--image",
            text(&sample),
            "-o",
            text(&output),
            sysext,
        ];
        let arguments = [&arguments[..], flags].concat();
        let mut command = flatbake();
        command.env("XDG_CACHE_HOME", site.path("cache"));
        if sysext.contains('@') {
            command = site.command(&arguments);
        } else {
            command.args(&arguments);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "{name}: {}", said(&done));
        fs::read(output).unwrap()
    };
    let wanted = bake("local.img", &local, &[]);
    assert!(bake("newest.img", "hello@latest", &[]) == wanted);
    assert!(bake("offline.img", "hello@1.10", &["--offline"]) == wanted);

    let node = site.path("never.img");
    let plan = |sysext: &'static str| ["plan", "--image", text(&sample), "-o", text(&node), sysext];
    site.fails(
        &plan("hello@1.9"),
        7,
        &["hello-1.9-x86-64.raw", "SHA-256", "hint"],
    );
    let kept = site.cached();
    assert!(kept.iter().all(|(name, _)| !name.starts_with("hello-1.9")));
    site.fails(&plan("hello@2"), 2, &["hello@2", "1.9, 1.10"]);
    site.fails(&plan("tailscale@latest"), 2, &["tailscale/SHA256SUMS"]);
}
