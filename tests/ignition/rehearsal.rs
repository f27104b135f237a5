//! Boots that are rehearsed: the tree is the one that Debian's real Ignition writes, and it stops where that stops.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatbake::block::Inputs;
use flatbake::flatcar::ignition::run::{Change, Config, Rehearsed, RunOptions, What, run_on};
use flatbake::fs::{FolderOptions, FsPath, StagedTree, Timestamp};

use super::rehearsal_random::random_config;
use crate::common::longer;
use crate::common::programs::{command, missing, said};
use crate::common::random::Random;
use crate::common::scratch_dir;
use crate::common::tree::{Kind, Tree, TreeEntry, compare, host_tree, sha256};

/// The program of Debian's package `ignition`.
const IGNITION: &str = "/usr/lib/dracut/modules.d/30ignition/ignition";
/// The day of the boot, since 1970.
const DAY: u64 = 20_000;
/// What has the machine's own boot ID and date in it.
const RESULT: &str = "etc/.ignition-result.json";
/// The file whose lines Ignition writes in any order.
const PRESETS: &str = "etc/systemd/system-preset/20-ignition.preset";

struct Case {
    name: String,
    stops: bool,
    config: String,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ignition/rehearsal.txt");
    let text = fs::read_to_string(path).unwrap();
    text.split("\n=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (head, body) = text.split_once('\n').unwrap();
    let (name, verdict) = head.rsplit_once(": ").unwrap();
    let mut lines = body.lines();
    let mut config = with_version(lines.next().unwrap());
    let merged: Vec<String> = lines
        .map(|line| with_version(line.strip_prefix("+ ").unwrap()))
        .map(|line| format!(r#"{{"source":"data:;base64,{}"}}"#, STANDARD.encode(line)))
        .collect();
    if !merged.is_empty() {
        let more = format!(r#","config":{{"merge":[{}]}}}},"#, merged.join(","));
        config = config.replacen("},", &more, 1);
    }
    Case {
        name: name.to_owned(),
        stops: verdict == "stops",
        config,
    }
}

fn with_version(config: &str) -> String {
    match config.starts_with(r#"{"ignition""#) {
        true => config.to_owned(),
        false => config.replacen('{', r#"{"ignition":{"version":"3.3.0"},"#, 1),
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether the real Ignition runs here: it changes owners and roots.
fn has_ignition() -> bool {
    if !Path::new(IGNITION).exists() {
        let required =
            std::env::var_os("FLATBAKE_REQUIRE_ORACLES").is_some_and(|value| value == "1");
        missing("ignition", required);
        return false;
    }
    if !is_root() {
        eprintln!("skipped: Ignition needs root");
        return false;
    }
    let chroot = std::process::Command::new("chroot")
        .args(["/", "true"])
        .status();
    if !chroot.is_ok_and(|status| status.success()) {
        eprintln!("skipped: Ignition changes roots, which is not allowed here");
        return false;
    }
    true
}

fn put(root: &Path, path: &str, mode: u32, owner: u32, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
}

fn folder(root: &Path, path: &str, mode: u32, owner: u32) {
    let path = root.join(path);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chown(&path, Some(owner), Some(owner)).unwrap();
}

/// A tree such as Ignition finds on Flatcar.
fn make_root(root: &Path) {
    folder(root, "", 0o755, 0);
    put(
        root,
        "etc/passwd",
        0o644,
        0,
        "root:x:0:0:root:/root:/bin/bash\n\
         core:x:500:500:CoreOS Admin:/home/core:/bin/bash\n\
         svc:x:800:800::/home/svc:/bin/false\n\
         odd:x:801:802::/home/ready:/bin/false\n",
    );
    put(
        root,
        "etc/group",
        0o644,
        0,
        "root:x:0:root\nwheel:x:10:root,core\ndocker:x:233:core,svc\ncore:x:500:\nsvc:x:800:\nlone:x:850:odd\nodd:x:802:\n",
    );
    put(
        root,
        "etc/shadow",
        0o640,
        0,
        "root:*:15887:0:::::\ncore:*:15887:0:::::\nsvc:!:15887:0:::::\nodd:!:15887:0:::::\n",
    );
    put(
        root,
        "etc/gshadow",
        0o640,
        0,
        "root:*::root\nwheel:!::root,core\ndocker:!::core,svc\ncore:!::\nsvc:!::\nlone:!::odd\nodd:!::\n",
    );
    put(
        root,
        "etc/login.defs",
        0o644,
        0,
        "# settings\nUID_MIN\t1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nSYS_UID_MIN 101\nSYS_UID_MAX 999\n\
         SYS_GID_MIN 101\nSYS_GID_MAX 999\nUSERGROUPS_ENAB yes\nCREATE_HOME yes\nUMASK 022\nHOME_MODE 0700\n\
         PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\n",
    );
    put(
        root,
        "etc/default/useradd",
        0o600,
        0,
        "GROUP=100\nHOME=/home\nINACTIVE=-1\nEXPIRE=\nSHELL=/bin/bash\nSKEL=/etc/skel\nCREATE_MAIL_SPOOL=no\n",
    );
    put(root, "etc/skel/.bashrc", 0o644, 0, "# bash\n");
    put(root, "etc/skel/.profile", 0o600, 0, "x\n");
    symlink(".bashrc", root.join("etc/skel/.bash_profile")).unwrap();
    put(root, "etc/subuid", 0o644, 0, "svc:100000:65536\n");
    put(root, "etc/subgid", 0o644, 0, "");
    put(root, "etc/hosts", 0o644, 0, "127.0.0.1 localhost\n");
    put(root, "etc/app/a.conf", 0o640, 0, "a\n");
    folder(root, "etc/app", 0o750, 0);
    put(
        root,
        "etc/selinux/config",
        0o644,
        0,
        "SELINUX=disabled\nSELINUXTYPE=targeted\n",
    );
    put(root, "etc/systemd/system/old.service", 0o600, 0, "[Unit]\n");
    folder(root, "etc/systemd/system/folder.service", 0o755, 0);
    symlink("/dev/null", root.join("etc/systemd/system/masked.service")).unwrap();
    symlink("../run/motd", root.join("etc/motd")).unwrap();
    folder(root, "home/core", 0o755, 500);
    folder(root, "home/svc", 0o700, 800);
    put(root, "home/svc/notes", 0o600, 800, "notes\n");
    folder(root, "home/svc/.ssh", 0o700, 800);
    folder(root, "home/svc/.ssh/authorized_keys.d", 0o700, 800);
    put(
        root,
        "home/svc/.ssh/authorized_keys.d/ignition",
        0o644,
        800,
        "old\n",
    );
    folder(root, "home/ready", 0o755, 0);
    folder(root, "opt/data", 0o755, 0);
    symlink("opt/data", root.join("data")).unwrap();
    symlink("somewhere/else", root.join("gone")).unwrap();
    folder(root, "run", 0o755, 0);
    folder(root, "var", 0o755, 0);
    symlink("/run", root.join("var/run")).unwrap();
}

/// Runs the real Ignition over `root`: whether it went to its end, and what it said.
fn real(dir: &Path, root: &Path, config: &str) -> (bool, String) {
    let tools = dir.join("tools");
    fs::create_dir_all(&tools).unwrap();
    let setfiles = tools.join("setfiles");
    fs::write(&setfiles, "#!/bin/sh\ncat >/dev/null\n").unwrap();
    fs::set_permissions(&setfiles, fs::Permissions::from_mode(0o755)).unwrap();
    let config_file = dir.join("config.ign");
    fs::write(&config_file, config).unwrap();
    let mut text = String::new();
    for stage in ["fetch-offline", "files"] {
        let mut ignition = command(Path::new(IGNITION));
        ignition
            .args(["-platform", "file", "-stage", stage, "-log-to-stdout"])
            .arg("-root")
            .arg(root)
            .arg("-config-cache")
            .arg(dir.join("cache.json"))
            .arg("-neednet")
            .arg(dir.join("neednet"))
            .arg("-state-file")
            .arg(dir.join("state"))
            .env("IGNITION_CONFIG_FILE", &config_file)
            .env("SOURCE_DATE_EPOCH", (DAY * 86_400).to_string())
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()),
            );
        let output = ignition.output().unwrap();
        text.push_str(&said(&output));
        // With units of templates it asks the running systemd for its version, after it has written all.
        if text.contains("/run/systemd/private") {
            fs::write(root.join(RESULT), "").unwrap();
            fs::set_permissions(root.join(RESULT), fs::Permissions::from_mode(0o600)).unwrap();
            return (true, text);
        }
        if !output.status.success() {
            return (false, text);
        }
    }
    (true, text)
}

fn rehearse(root: &Path, dir: &Path, config: &str) -> Rehearsed {
    let mut tree = StagedTree::new(dir, Timestamp::default());
    let options = FolderOptions {
        role: "root",
        owner: None,
    };
    tree.add_folder(root, &FsPath::root(), &options, &Inputs::default())
        .unwrap();
    let options = RunOptions {
        config: Some(Config {
            name: "case".to_owned(),
            content: config.as_bytes().to_vec(),
            folder: None,
        }),
        day: DAY,
        ..RunOptions::default()
    };
    run_on(Arc::new(tree), &[], None, &options).unwrap()
}

/// `before` with what was rehearsed.
fn applied(before: &Tree, rehearsed: &Rehearsed) -> Tree {
    let mut tree = before.clone();
    for change in &rehearsed.changes {
        let path = change.path.trim_start_matches('/').to_owned();
        let below = format!("{path}/");
        if change.what == What::Removed || change.kind != "directory" {
            tree.retain(|known, _| !known.starts_with(&below));
        }
        if change.what == What::Removed {
            tree.remove(&path);
            continue;
        }
        let entry = entry_of(change, &tree, &path);
        tree.insert(path, entry);
    }
    tree
}

fn entry_of(change: &Change, tree: &Tree, path: &str) -> TreeEntry {
    let kind = match change.kind {
        "file" => Kind::File,
        "directory" => Kind::Directory,
        "symlink" => Kind::Symlink,
        other => panic!("{other}"),
    };
    let same = change.same_as.as_deref();
    let known = tree.get(same.map_or(path, |same| same.trim_start_matches('/')));
    let sha256 = match &change.content {
        Some(content) => Some(sha256(content.as_slice())),
        None => known.and_then(|entry| entry.sha256.clone()),
    };
    TreeEntry {
        kind,
        mode: Some(change.mode),
        uid: Some(change.uid),
        gid: Some(change.gid),
        size: change.size,
        sha256: sha256.filter(|_| kind == Kind::File),
        target: change.target.clone(),
        ..TreeEntry::default()
    }
}

/// The tree of a folder without what differs from run to run, and without times.
fn seen(root: &Path) -> Tree {
    let mut tree = host_tree(root);
    for (path, entry) in &mut tree {
        entry.mtime = None;
        entry.nlink = None;
        entry.linked_to = None;
        entry.xattrs = None;
        if path == RESULT {
            entry.size = None;
            entry.sha256 = None;
        }
    }
    tree
}

fn presets(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Carries a config out twice; `None` where both agree, and whether they stopped.
fn differs(config: &str) -> Result<bool, String> {
    let dir = scratch_dir();
    // Users other than root walk through it.
    let mut open: PathBuf = dir.path().to_owned();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    open.push("root");
    make_root(&open);
    let rehearsed = rehearse(&open, dir.path(), config);
    let stop = rehearsed.findings.iter().find(|finding| finding.stops());
    let before = seen(&open);
    let (ran, said) = real(dir.path(), &open, config);
    match (ran, stop) {
        (true, Some(stop)) => return Err(format!("Ignition does it, but: {stop}")),
        (false, None) => return Err(format!("Ignition stops: {said}")),
        (false, Some(_)) => return Ok(true),
        (true, None) => {}
    }
    let mut expected = seen(&open);
    let mut found = applied(&before, &rehearsed);
    same_presets(&open, &rehearsed)?;
    for tree in [&mut expected, &mut found] {
        for path in [PRESETS, RESULT] {
            if let Some(entry) = tree.get_mut(path) {
                entry.sha256 = None;
            }
        }
    }
    compare(&expected, &found).map_err(|text| {
        let shown: BTreeMap<&str, Option<String>> = rehearsed
            .changes
            .iter()
            .filter(|change| change.path.starts_with("/etc/"))
            .map(|change| {
                let content = change.content.as_ref();
                let text = content.map(|content| String::from_utf8_lossy(content).into_owned());
                (change.path.as_str(), text)
            })
            .collect();
        let mut all = text;
        for (path, ours) in shown {
            let theirs = fs::read_to_string(open.join(path.trim_start_matches('/')));
            if theirs.as_ref().ok() != ours.as_ref() {
                all.push_str(&format!("\n{path}:\nours {ours:?}\nreal {theirs:?}"));
            }
        }
        all
    })?;
    Ok(false)
}

fn same_presets(root: &Path, rehearsed: &Rehearsed) -> Result<(), String> {
    let path = format!("/{PRESETS}");
    let ours = rehearsed.changes.iter().find(|change| change.path == path);
    let ours = ours
        .and_then(|change| change.content.clone())
        .unwrap_or_default();
    let mut theirs = String::new();
    if let Ok(mut file) = fs::File::open(root.join(PRESETS)) {
        file.read_to_string(&mut theirs).unwrap();
    }
    let ours = String::from_utf8(ours.to_vec()).unwrap();
    match presets(&ours) == presets(&theirs) {
        true => Ok(()),
        false => Err(format!("presets: {ours:?}, not {theirs:?}")),
    }
}

#[test]
fn trees_are_those_that_ignition_writes() {
    let cases = cases();
    let written = cases.iter().filter(|case| !case.stops).count();
    assert!(written >= 60, "{written}");
    if !has_ignition() {
        return;
    }
    let mut faults = Vec::new();
    for case in &cases {
        match differs(&case.config) {
            Ok(stopped) if stopped == case.stops => {}
            Ok(stopped) => faults.push(format!("{}: stopped: {stopped}", case.name)),
            Err(why) => faults.push(format!("{}: {why}", case.name)),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn trees_of_random_configs_are_those_that_ignition_writes() {
    if !has_ignition() {
        return;
    }
    let mut faults = Vec::new();
    let mut written = 0;
    let count = longer(40);
    for seed in 0..count {
        let config = random_config(&mut Random::new(seed));
        match differs(&config) {
            Ok(stopped) => written += u64::from(!stopped),
            Err(why) => faults.push(format!("{seed}: {config}\n{why}")),
        }
    }
    let all = faults.join("\n\n");
    assert!(faults.is_empty(), "{} differ: {all}", faults.len());
    assert!(written >= count / 8, "{written} went to their end");
}

/// Without the judge, too: what stops is found, with the place in the config, and nothing else is.
#[test]
fn a_rehearsal_stops_where_it_should_and_says_where() {
    if !is_root() {
        eprintln!("skipped: the tree needs files of several owners");
        return;
    }
    let dir = scratch_dir();
    let root = dir.path().join("root");
    make_root(&root);
    for case in cases() {
        let rehearsed = rehearse(&root, dir.path(), &case.config);
        let stops: Vec<_> = rehearsed
            .findings
            .iter()
            .filter(|finding| finding.stops())
            .collect();
        assert_eq!(
            !stops.is_empty(),
            case.stops,
            "{}: {:?}",
            case.name,
            rehearsed.findings
        );
        for stop in stops {
            let place: Vec<&str> = stop.place().collect();
            assert!(place.join(" ").contains("case"), "{}: {stop}", case.name);
        }
    }
}
