//! Extensions packed by mksquashfs and mkfs.erofs with right and wrong metadata, checked by systemd's rules.

mod merged;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::content::{Machine, elf};
use crate::common::programs::ask;
use crate::common::reading::{device, path, read_everything, succeed, text};
use crate::common::scratch_dir;
use flatbake::block::{BlockDevice, FileDevice};
use flatbake::finding::{Code, code};
use flatbake::flatcar::OsRelease;
use flatbake::flatcar::sysext::{
    Activation, HostRelease, SysextInfo, check, inspect, open_extension,
};
use flatbake::fs::{ByPath, FileSystem, FsKind};
use flatbake::{ErrorKind, Finding, Severity};

const GOOD: &str =
    "ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\n";

fn host() -> HostRelease {
    let release = "ID=flatcar\nID_LIKE=coreos\nVERSION_ID=4593.2.5\nSYSEXT_LEVEL=1.0\nFLATCAR_BOARD=amd64-usr\n";
    HostRelease::from(&OsRelease::parse(release.as_bytes()).unwrap())
}

/// A tree that becomes an extension.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { dir: scratch_dir() };
        fs::create_dir(tree.root()).unwrap();
        tree
    }

    /// One release file named `name`.
    fn with_release(name: &str, content: &str) -> Self {
        Self::new().file(
            &format!("usr/lib/extension-release.d/extension-release.{name}"),
            content.as_bytes(),
        )
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        let file = self.root().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
        self
    }

    fn link(self, path: &str, target: &str) -> Self {
        let link = self.root().join(path);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
        self
    }

    /// Sets `user.extension-release.strict` of a release file.
    fn strict(self, name: &str, value: &str) -> Self {
        let file = self.root().join(format!(
            "usr/lib/extension-release.d/extension-release.{name}"
        ));
        succeed(
            "setfattr",
            &[
                "-n",
                "user.extension-release.strict",
                "-v",
                value,
                text(&file),
            ],
        );
        self
    }

    fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.raw"))
    }

    fn squashfs(&self, name: &str) -> Option<PathBuf> {
        let image = self.image(name);
        let root = self.root();
        let args = [
            text(&root),
            text(&image),
            "-noappend",
            "-all-root",
            "-quiet",
            "-no-progress",
        ];
        succeed("mksquashfs", &args).map(|_| image.clone())
    }

    fn erofs(&self, name: &str) -> Option<PathBuf> {
        let image = self.image(name);
        let args = [
            "-zlz4hc,12",
            "-C65536",
            "-Efragments,ztailpacking",
            "--all-root",
            "--quiet",
        ];
        succeed(
            "mkfs.erofs",
            &[&args[..], &[text(&image), text(&self.root())]].concat(),
        )
        .map(|_| image.clone())
    }

    fn info(&self) -> Option<SysextInfo> {
        Some(inspect(&*open(&self.squashfs("info")?)).unwrap())
    }
}

fn open(image: &Path) -> Box<dyn FileSystem> {
    open_extension(Arc::new(FileDevice::open(image).unwrap())).unwrap()
}

fn codes(info: &SysextInfo, name: &str, host: &HostRelease) -> Vec<&'static Code> {
    check(info, name, host).iter().map(Finding::code).collect()
}

/// What systemd-dissect says of an image; `None` where it is missing or may not set up a loop device.
fn judged_mergeable(image: &Path) -> Option<bool> {
    let output = ask("systemd-dissect", ["--no-pager", text(image)], b"")?;
    if !output.status.success() {
        eprintln!(
            "skipped: systemd-dissect: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said
        .lines()
        .find(|line| line.ends_with("extension for system"))
        .unwrap();
    Some(line.contains('✓'))
}

#[test]
fn a_good_extension_has_no_findings() {
    let tree = Tree::with_release("docker", GOOD)
        .file("usr/bin/docker", &elf(Machine::X86_64, 1, 4096))
        .file("usr/bin/script", b"#!/bin/sh\n")
        .file("usr/lib/systemd/system/docker.service", b"[Service]\n")
        .file("usr/lib/systemd/system/docker.socket", b"[Socket]\n")
        .file(
            "usr/lib/systemd/system/sockets.target.d/10-docker.conf",
            b"[Unit]\n Upholds = docker.socket\n",
        )
        .link(
            "usr/lib/systemd/system/multi-user.target.wants/docker.service",
            "../docker.service",
        )
        .link(
            "usr/lib/systemd/system/multi-user.target.upholds/docker.service",
            "../docker.service",
        )
        .file("opt/docker/readme", b"hello");
    let images = [tree.squashfs("docker"), tree.erofs("docker-erofs")];
    for (image, kind) in images.into_iter().zip([FsKind::Squashfs, FsKind::Erofs]) {
        let Some(image) = image else { continue };
        let fs = open(&image);
        assert_eq!(fs.kind(), kind);
        let info = inspect(&*fs).unwrap();
        assert_eq!(info.units, ["docker.service", "docker.socket"]);
        let activation = |by: &str, how, unit: &str| Activation {
            by: by.into(),
            how,
            unit: unit.into(),
        };
        assert_eq!(
            info.activations,
            [
                activation("multi-user.target", "Upholds", "docker.service"),
                activation("multi-user.target", "Wants", "docker.service"),
                activation("sockets.target", "Upholds", "docker.socket"),
            ]
        );
        assert_eq!(
            (info.releases.len(), info.releases[0].strict.as_deref()),
            (1, None)
        );
        assert_eq!(info.releases[0].fields.get("SYSEXT_LEVEL"), Some("1.0"));
        assert_eq!(
            info.content_bytes,
            4096 + 10 + 10 + 9 + 32 + 5 + GOOD.len() as u64
        );
        assert_eq!(info.architectures["x86-64"], path("/usr/bin/docker"));
        let host = HostRelease {
            architecture: Some("x86-64".into()),
            ..host()
        };
        let wrong = codes(&info, "docker", &host)
            .into_iter()
            .filter(|&code| code != code::SYSEXT_ARCH);
        assert_eq!(wrong.count(), 0);
    }
}

/// Every rule about metadata: release content, and what is found when it is linked under its own name.
#[test]
fn metadata_rules_are_systemds() {
    for (content, expected) in [
        (GOOD, None),
        ("ID=_any\n", None),
        ("ID=_any\nVERSION_ID=1\nSYSEXT_LEVEL=9\n", None),
        ("ID=coreos\nSYSEXT_LEVEL=1.0\n", None),
        ("ID=flatcar\nVERSION_ID=4593.2.5\n", None),
        (
            "ID=\"flatcar\"\nVERSION_ID='4593.2.5'\nARCHITECTURE=_any\n",
            None,
        ),
        (
            "ID=flatcar\nVERSION_ID=4593.2.5\nSYSEXT_SCOPE=system\n",
            None,
        ),
        (
            "ID=flatcar\nVERSION_ID=4593.2.5\nSYSEXT_SCOPE=\"initrd system\"\n",
            None,
        ),
        ("ID=_any\nARCHITECTURE=arm64\n", Some(code::SYSEXT_ARCH)),
        ("ID=_any\nSYSEXT_SCOPE=initrd\n", Some(code::SYSEXT_SCOPE)),
        ("ID=_any\nSYSEXT_SCOPE=portable\n", Some(code::SYSEXT_SCOPE)),
        ("ID=_any\nSYSEXT_SCOPE=\n", Some(code::SYSEXT_SCOPE)),
        ("SYSEXT_LEVEL=1.0\n", Some(code::SYSEXT_NO_ID)),
        ("ID=\nSYSEXT_LEVEL=1.0\n", Some(code::SYSEXT_NO_ID)),
        ("", Some(code::SYSEXT_NO_ID)),
        ("ID=ubuntu\nSYSEXT_LEVEL=1.0\n", Some(code::SYSEXT_ID)),
        ("ID=flatcar\nSYSEXT_LEVEL=2.0\n", Some(code::SYSEXT_LEVEL)),
        // A level decides alone, even where the version is right.
        (
            "ID=flatcar\nSYSEXT_LEVEL=2.0\nVERSION_ID=4593.2.5\n",
            Some(code::SYSEXT_LEVEL),
        ),
        (
            "ID=flatcar\nVERSION_ID=4593.2.4\n",
            Some(code::SYSEXT_VERSION),
        ),
        ("ID=flatcar\n", Some(code::SYSEXT_NO_VERSION)),
    ] {
        let Some(info) = Tree::with_release("x", content).info() else {
            return;
        };
        let found = check(&info, "x", &host());
        assert_eq!(
            found.iter().map(Finding::code).collect::<Vec<_>>(),
            Vec::from_iter(expected),
            "{content:?}"
        );
        for finding in found {
            assert!(
                finding.stops() && !finding.message().contains(['{', '}']),
                "{finding}"
            );
        }
    }
}

#[test]
fn hosts_without_level_or_version() {
    let Some(level_only) = Tree::with_release("x", "ID=flatcar\nSYSEXT_LEVEL=1.0\n").info() else {
        return;
    };
    let version_only = Tree::with_release("x", "ID=flatcar\nVERSION_ID=4593.2.5\n")
        .info()
        .unwrap();
    let no_level = HostRelease {
        sysext_level: None,
        ..host()
    };
    let no_version = HostRelease {
        version_id: None,
        ..host()
    };
    let rolling = HostRelease {
        version_id: None,
        ..no_level.clone()
    };
    assert_eq!(
        codes(&level_only, "x", &no_level),
        [code::SYSEXT_NO_VERSION]
    );
    assert_eq!(check(&version_only, "x", &no_level), []);
    assert_eq!(check(&level_only, "x", &no_version), []);
    assert_eq!(check(&version_only, "x", &no_version), []);
    assert_eq!(check(&level_only, "x", &rolling), []);
    let unknown = HostRelease {
        architecture: None,
        ..host()
    };
    let arm = Tree::with_release("x", "ID=_any\nARCHITECTURE=arm64\n")
        .info()
        .unwrap();
    assert_eq!(check(&arm, "x", &unknown), []);
}

#[test]
fn names_and_the_strict_attribute() {
    let Some(info) = Tree::with_release("kubernetes", GOOD).info() else {
        return;
    };
    assert_eq!(check(&info, "kubernetes", &host()), []);
    assert_eq!(
        codes(&info, "kubernetes-v1.32.2-x86-64", &host()),
        [code::SYSEXT_OTHER_NAME]
    );
    let other = Finding::new(code::SYSEXT_OTHER_NAME)
        .with("name", "k8s")
        .with("folder", "usr/lib/extension-release.d")
        .with("names", "kubernetes");
    assert_eq!(check(&info, "k8s", &host()), [other]);
    for bad in ["", "a/b", ".#x", "a\u{7}"] {
        assert_eq!(codes(&info, bad, &host()), [code::SYSEXT_NAME], "{bad:?}");
    }
    assert_eq!(
        codes(&Tree::new().info().unwrap(), "x", &host()),
        [code::SYSEXT_NO_RELEASE]
    );
    for (value, expected) in [
        ("0", vec![]),
        ("false", vec![]),
        ("No", vec![]),
        ("off", vec![]),
        ("1", vec![code::SYSEXT_OTHER_NAME]),
        ("true", vec![code::SYSEXT_OTHER_NAME]),
        ("maybe", vec![code::SYSEXT_OTHER_NAME]),
    ] {
        let tree = Tree::with_release("internal", GOOD).strict("internal", value);
        for image in [tree.squashfs("other"), tree.erofs("other-erofs")]
            .into_iter()
            .flatten()
        {
            let info = inspect(&*open(&image)).unwrap();
            assert_eq!(info.releases[0].strict.as_deref(), Some(value));
            assert_eq!(codes(&info, "other", &host()), expected, "{value}");
            assert_eq!(check(&info, "internal", &host()), []);
        }
    }
    let two = Tree::with_release("a", GOOD).file(
        "usr/lib/extension-release.d/extension-release.b",
        GOOD.as_bytes(),
    );
    let two = two.strict("a", "0").strict("b", "0");
    let info = two.info().unwrap();
    assert_eq!(codes(&info, "c", &host()), [code::SYSEXT_AMBIGUOUS]);
    assert_eq!(check(&info, "b", &host()), []);
    // A symlink counts under its own name only.
    let linked = Tree::with_release("a", GOOD)
        .strict("a", "1")
        .link(
            "usr/lib/extension-release.d/extension-release.b",
            "extension-release.a",
        )
        .link("usr/lib/extension-release.d/extension-release.c", "nowhere")
        .file("usr/lib/extension-release.d/extension-release..#tmp", b"")
        .file("usr/lib/extension-release.d/readme", b"");
    let info = linked.info().unwrap();
    assert_eq!(
        info.releases
            .iter()
            .map(|release| release.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(check(&info, "b", &host()), []);
    assert_eq!(codes(&info, "c", &host()), [code::SYSEXT_OTHER_NAME]);
}

#[test]
fn content_that_does_harm() {
    let elf = |machine: u8| {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = machine;
        head
    };
    let good = || Tree::with_release("x", GOOD);
    let no_reload = "ID=_any\nEXTENSION_RELOAD_MANAGER=0\n";
    for (tree, expected) in [
        (
            good().file("usr/lib/os-release", b"ID=x\n"),
            code::SYSEXT_OS_RELEASE,
        ),
        (
            good()
                .link("usr/lib/os-release", "../share/x")
                .file("usr/share/x", b""),
            code::SYSEXT_OS_RELEASE,
        ),
        (good().file("usr/sbin/tool", b""), code::SYSEXT_SBIN),
        (good().file("usr/lib64/lib.so", b""), code::SYSEXT_REAL_DIR),
        (good().file("etc/os-release", b""), code::SYSEXT_OUTSIDE),
        (good().file("var/x", b""), code::SYSEXT_OUTSIDE),
        (good().file("usr/bin/arm", &elf(183)), code::SYSEXT_PROGRAM),
        (
            Tree::with_release("x", no_reload).file("usr/lib/systemd/system/a.timer", b""),
            code::SYSEXT_NO_RELOAD,
        ),
    ] {
        let Some(info) = tree.info() else { return };
        assert_eq!(codes(&info, "x", &host()), [expected]);
    }
    let fine = good()
        .link("usr/sbin", "bin")
        .link("usr/lib64", "lib")
        .file("usr/bin/x", &elf(62));
    assert_eq!(check(&fine.info().unwrap(), "x", &host()), []);
    let both = Tree::with_release("x", "ID=no\n")
        .file("etc/x", b"")
        .file("usr/sbin/x", b"");
    let severities: Vec<Severity> = check(&both.info().unwrap(), "x", &host())
        .iter()
        .map(Finding::severity)
        .collect();
    assert_eq!(
        severities,
        [Severity::Error, Severity::Error, Severity::Warning]
    );
}

#[test]
fn systemd_dissect_agrees() {
    for (tree, name) in [
        (Tree::with_release("good", GOOD), "good"),
        (Tree::with_release("internal", GOOD), "other"),
        (
            Tree::with_release("internal", GOOD).strict("internal", "false"),
            "lenient",
        ),
        (
            Tree::with_release("internal", GOOD).strict("internal", "true"),
            "strict",
        ),
        (
            Tree::with_release("initrd", "ID=_any\nSYSEXT_SCOPE=initrd\n"),
            "initrd",
        ),
        (
            Tree::with_release("both", "ID=_any\nSYSEXT_SCOPE=initrd system\n"),
            "both",
        ),
        (Tree::new().file("usr/bin/x", b""), "nothing"),
    ] {
        // The name of the file is the name of the extension, so the two are packed one after the other.
        for pack in [Tree::squashfs, Tree::erofs] {
            let Some(image) = pack(&tree, name) else {
                continue;
            };
            let found = check(&inspect(&*open(&image)).unwrap(), name, &host());
            if let Some(mergeable) = judged_mergeable(&image) {
                assert_eq!(
                    mergeable,
                    !found.iter().any(Finding::stops),
                    "{name}: {found:?}"
                );
            }
            fs::remove_file(image).unwrap();
        }
    }
}

/// A disk image by systemd-repart: (partition type, file to copy in).
fn disk_image(dir: &Path, partitions: &[(&str, Option<&Path>)]) -> Option<PathBuf> {
    let definitions = dir.join("definitions");
    let _ = fs::remove_dir_all(&definitions);
    fs::create_dir(&definitions).unwrap();
    for (number, (partition_type, content)) in partitions.iter().enumerate() {
        let content = match content {
            Some(file) => format!("CopyBlocks={}", text(file)),
            None => "SizeMinBytes=64K\nSizeMaxBytes=64K".to_owned(),
        };
        let definition = format!("[Partition]\nType={partition_type}\n{content}\n");
        fs::write(definitions.join(format!("{number}0-x.conf")), definition).unwrap();
    }
    let image = dir.join("disk.raw");
    let _ = fs::remove_file(&image);
    let folder = format!("--definitions={}", text(&definitions));
    let seed = "--seed=00000000-0000-0000-0000-000000000001";
    succeed(
        "systemd-repart",
        &[
            "--empty=create",
            "--size=auto",
            "--dry-run=no",
            seed,
            &folder,
            text(&image),
        ],
    )?;
    Some(image)
}

#[test]
fn disk_images_hold_the_extension_in_a_partition() {
    let tree = Tree::with_release("x", GOOD).file("usr/bin/tool", b"tool");
    let (Some(erofs), Some(squashfs)) = (tree.erofs("erofs"), tree.squashfs("squashfs")) else {
        return;
    };
    let dir = tree.dir.path();
    let open_disk = |partitions: &[(&str, Option<&Path>)]| {
        let device: Arc<dyn BlockDevice> =
            Arc::new(FileDevice::open(&disk_image(dir, partitions)?).unwrap());
        Some(open_extension(device))
    };
    for arch in ["x86-64", "arm64"] {
        let types = ["", "-verity", "-verity-sig"].map(|suffix| format!("root-{arch}{suffix}"));
        let partitions = [
            (types[2].as_str(), None),
            (&types[0], Some(&*erofs)),
            (&types[1], None),
        ];
        let Some(opened) = open_disk(&partitions) else {
            return;
        };
        let fs = opened.unwrap();
        assert_eq!(fs.kind(), FsKind::Erofs);
        assert_eq!(check(&inspect(&*fs).unwrap(), "x", &host()), []);
    }
    // A usr partition holds what lies below /usr.
    let below = dir.join("usr.img");
    let usr = tree.root().join("usr");
    succeed(
        "mksquashfs",
        &[
            text(&usr),
            text(&below),
            "-noappend",
            "-all-root",
            "-quiet",
            "-no-progress",
        ],
    )
    .unwrap();
    let fs = open_disk(&[("usr-x86-64", Some(&below)), ("usr-x86-64-verity", None)])
        .unwrap()
        .unwrap();
    let info = inspect(&*fs).unwrap();
    assert_eq!((check(&info, "x", &host()), info.entries), (vec![], 6));
    assert_eq!(
        fs.metadata_at(&path("/opt")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(read_everything(&*fs, 1 << 20) == 7);
    for partitions in [
        &[("home", None), ("root-x86-64-verity", None)][..],
        &[
            ("root-x86-64", Some(&*squashfs)),
            ("root-arm64", Some(&*erofs)),
        ],
        &[("root-x86-64", None)],
    ] {
        let error = open_disk(partitions).unwrap().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn hostile_files_are_refused() {
    for bytes in [vec![], vec![0; 100], b"not an image".repeat(1000)] {
        assert_eq!(
            open_extension(device(bytes)).err().unwrap().kind(),
            ErrorKind::Unsupported
        );
    }
    let mut gpt_only = vec![0; 100_000];
    gpt_only[512..520].copy_from_slice(b"EFI PART");
    assert!(open_extension(device(gpt_only)).is_err());
    let huge = "ID=x\n".repeat(100_000);
    for content in [&huge[..], "ID=\"x", "ID=\u{0}\n"] {
        let tree = Tree::with_release("x", content);
        let Some(image) = tree.squashfs("x") else {
            return;
        };
        // A result or an error, never a panic.
        if let Ok(info) = inspect(&*open(&image)) {
            assert!(!codes(&info, "x", &host()).is_empty());
        }
    }
}
