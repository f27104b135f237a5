//! Which extensions are merged: a table of cases, held against systemd-sysext itself where this machine lets it merge folders
//! into a scratch root.

use std::path::Path;

use flatbake::block::Inputs;
use flatbake::finding::code;
use flatbake::flatcar::OsRelease;
use flatbake::flatcar::sysext::{Class, HostRelease, check, inspect_as};
use flatbake::fs::{FolderOptions, FsPath, StagedTree, Timestamp};

use crate::common::programs::{ask, judge};
use crate::common::reading::text;
use crate::common::scratch_dir;
use crate::common::sysext::write_file;

const FLATCAR: &str =
    "ID=flatcar\nID_LIKE=coreos\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=1.0\nFLATCAR_BOARD=amd64-usr\n";
const NO_LEVEL: &str = "ID=flatcar\nVERSION_ID=4757.2.1\nFLATCAR_BOARD=amd64-usr\n";
const NO_VERSION: &str = "ID=flatcar\nSYSEXT_LEVEL=1.0\nFLATCAR_BOARD=amd64-usr\n";
const ROLLING: &str = "ID=flatcar\nFLATCAR_BOARD=amd64-usr\n";
const LIKE_TWO: &str =
    "ID=flatcar\nID_LIKE=\"coreos  gentoo\"\nVERSION_ID=4757.2.1\nFLATCAR_BOARD=amd64-usr\n";
const CONFEXT_LEVEL: &str =
    "ID=flatcar\nVERSION_ID=4757.2.1\nCONFEXT_LEVEL=3\nFLATCAR_BOARD=amd64-usr\n";

/// A host, a release file for the name `x`, and whether the extension is merged.
type Row = (&'static str, &'static str, bool);

/// What is decided by the fields alone.
const FIELDS: &[Row] = &[
    (FLATCAR, "ID=_any\n", true),
    (FLATCAR, "ID=\"_any\"\n", true),
    (FLATCAR, "ID='_any'\n", true),
    (FLATCAR, "ID=_any", true),
    (FLATCAR, "# words\n\nID=_any\n", true),
    (FLATCAR, "ID=_any\r\n", true),
    (FLATCAR, "ID=other\nID=_any\n", true),
    (FLATCAR, "ID=_any\nID=other\n", false),
    (FLATCAR, "ID=_any\nVERSION_ID=1\nSYSEXT_LEVEL=9\n", true),
    (FLATCAR, "ID=_Any\n", false),
    (FLATCAR, "ID=\n", false),
    (FLATCAR, "", false),
    (FLATCAR, "NAME=x\n", false),
    (FLATCAR, "SYSEXT_LEVEL=1.0\n", false),
    (FLATCAR, "VERSION_ID=4757.2.1\n", false),
    (FLATCAR, "id=_any\n", false),
    (FLATCAR, "ID=flatcar\n", false),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=1.0\n", true),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=\"1.0\"\n", true),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=1\n", false),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=2.0\n", false),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=\n", false),
    (FLATCAR, "ID=flatcar\nVERSION_ID=4757.2.1\n", true),
    (FLATCAR, "ID=flatcar\nVERSION_ID=4757.2.0\n", false),
    (FLATCAR, "ID=flatcar\nVERSION_ID=4757\n", false),
    (FLATCAR, "ID=flatcar\nVERSION_ID=\n", false),
    (
        FLATCAR,
        "ID=flatcar\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=1.0\n",
        true,
    ),
    (
        FLATCAR,
        "ID=flatcar\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=9\n",
        false,
    ),
    (
        FLATCAR,
        "ID=flatcar\nVERSION_ID=1\nSYSEXT_LEVEL=1.0\n",
        true,
    ),
    (
        FLATCAR,
        "ID=flatcar\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=\n",
        true,
    ),
    (
        FLATCAR,
        "ID=fedora\nVERSION_ID=4757.2.1\nSYSEXT_LEVEL=1.0\n",
        false,
    ),
    (FLATCAR, "ID=_any\nARCHITECTURE=x86-64\n", true),
    (FLATCAR, "ID=_any\nARCHITECTURE=_any\n", true),
    (FLATCAR, "ID=_any\nARCHITECTURE=\n", true),
    (FLATCAR, "ID=_any\nARCHITECTURE=arm64\n", false),
    (FLATCAR, "ID=_any\nARCHITECTURE=amd64\n", false),
    (FLATCAR, "ID=_any\nARCHITECTURE=x86_64\n", false),
    (FLATCAR, "ID=_any\nARCHITECTURE=X86-64\n", false),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=system\n", true),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=\"initrd system\"\n", true),
    (
        FLATCAR,
        "ID=_any\nSYSEXT_SCOPE=\"portable\tsystem\"\n",
        true,
    ),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=initrd\n", false),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=portable\n", false),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=\n", false),
    (FLATCAR, "ID=_any\nSYSEXT_SCOPE=systems\n", false),
    (FLATCAR, "ID=_any\nCONFEXT_SCOPE=initrd\n", true),
    (
        FLATCAR,
        "ID=_any\nSYSEXT_SCOPE=initrd\nARCHITECTURE=arm64\n",
        false,
    ),
    (NO_LEVEL, "ID=flatcar\nSYSEXT_LEVEL=1.0\n", false),
    (
        NO_LEVEL,
        "ID=flatcar\nSYSEXT_LEVEL=1.0\nVERSION_ID=4757.2.1\n",
        true,
    ),
    (NO_LEVEL, "ID=flatcar\nVERSION_ID=4757.2.1\n", true),
    (NO_LEVEL, "ID=_any\n", true),
    (NO_VERSION, "ID=flatcar\nSYSEXT_LEVEL=1.0\n", true),
    (NO_VERSION, "ID=flatcar\nSYSEXT_LEVEL=2.0\n", false),
    (ROLLING, "ID=flatcar\n", true),
    (ROLLING, "ID=flatcar\nVERSION_ID=1\n", true),
    (ROLLING, "ID=flatcar\nSYSEXT_LEVEL=7\n", true),
    (ROLLING, "ID=other\n", false),
];

/// What systemd 252 does not know yet: systems that the host is like.
const LIKE: &[Row] = &[
    (FLATCAR, "ID=coreos\nSYSEXT_LEVEL=1.0\n", true),
    (FLATCAR, "ID=coreos\nVERSION_ID=4757.2.1\n", true),
    (FLATCAR, "ID=coreos\nVERSION_ID=1\n", false),
    (FLATCAR, "ID=coreos\n", false),
    (LIKE_TWO, "ID=gentoo\nVERSION_ID=4757.2.1\n", true),
    (LIKE_TWO, "ID=coreos\nVERSION_ID=4757.2.1\n", true),
    (LIKE_TWO, "ID=core\nVERSION_ID=4757.2.1\n", false),
];

/// The same rules for confexts, which systemd 252 does not know, as the manual has them (systemd-sysext(8)).
const CONFEXTS: &[Row] = &[
    (FLATCAR, "ID=_any\n", true),
    (FLATCAR, "ID=flatcar\nVERSION_ID=4757.2.1\n", true),
    (FLATCAR, "ID=flatcar\nVERSION_ID=1\n", false),
    (FLATCAR, "ID=flatcar\nSYSEXT_LEVEL=1.0\n", false),
    (FLATCAR, "ID=flatcar\nCONFEXT_LEVEL=1.0\n", false),
    (CONFEXT_LEVEL, "ID=flatcar\nCONFEXT_LEVEL=3\n", true),
    (
        CONFEXT_LEVEL,
        "ID=flatcar\nCONFEXT_LEVEL=4\nVERSION_ID=4757.2.1\n",
        false,
    ),
    (CONFEXT_LEVEL, "ID=flatcar\nVERSION_ID=4757.2.1\n", true),
    (CONFEXT_LEVEL, "ID=_any\nCONFEXT_SCOPE=portable\n", false),
    (CONFEXT_LEVEL, "ID=_any\nSYSEXT_SCOPE=portable\n", true),
    (CONFEXT_LEVEL, "ID=_any\nARCHITECTURE=arm64\n", false),
];

/// The release file of a case of names, with its attribute `user.extension-release.strict`.
type File = (&'static str, &'static str, Option<&'static str>);

/// Files of an extension that is merged as `x`, and whether it is.
const NAMES: &[(&[File], bool)] = &[
    (&[("x", "ID=_any\n", None)], true),
    (&[("y", "ID=_any\n", None)], false),
    (&[("y", "ID=_any\n", Some("0"))], true),
    (&[("y", "ID=_any\n", Some("false"))], true),
    (&[("y", "ID=_any\n", Some("no"))], true),
    (&[("y", "ID=_any\n", Some("1"))], false),
    (&[("y", "ID=_any\n", Some("yes"))], false),
    (&[("x", "ID=_any\n", Some("1"))], true),
    (
        &[("x", "ID=other\n", None), ("y", "ID=_any\n", Some("0"))],
        false,
    ),
    (
        &[("y", "ID=_any\n", None), ("z", "ID=_any\n", Some("0"))],
        true,
    ),
    (&[], false),
];

/// A case as a folder that is an extension.
struct Case {
    host: &'static str,
    files: Vec<File>,
    merged: bool,
    /// More of the tree.
    more: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = FIELDS
        .iter()
        .map(|&(host, release, merged)| Case {
            host,
            files: vec![("x", release, None)],
            merged,
            more: None,
        })
        .collect();
    cases.extend(NAMES.iter().map(|&(files, merged)| Case {
        host: FLATCAR,
        files: files.to_vec(),
        merged,
        more: None,
    }));
    cases.push(Case {
        host: FLATCAR,
        files: vec![("x", "ID=_any\n", None)],
        merged: false,
        more: Some("usr/lib/os-release"),
    });
    cases
}

/// Writes the extension of a case; whether all attributes could be set.
fn write(case: &Case, class: Class, folder: &Path) -> bool {
    let mut is_whole = true;
    write_file(folder, "usr/share/doc/x", b"x");
    for (name, release, strict) in &case.files {
        let path = class.release_path(name).unwrap().to_string();
        write_file(folder, &path[1..], release.as_bytes());
        if let Some(strict) = strict {
            let attribute = ["-n", "user.extension-release.strict", "-v", strict];
            let file = folder.join(&path[1..]);
            let set = ask("setfattr", [&attribute[..], &[text(&file)]].concat(), b"");
            is_whole &= set.is_some_and(|output| output.status.success());
        }
    }
    if let Some(more) = case.more {
        write_file(folder, more, b"ID=x\n");
    }
    is_whole
}

/// Whether flatbake says that the extension in `folder` is merged as `x`.
fn is_merged(host: &str, class: Class, folder: &Path) -> bool {
    let mut tree = StagedTree::new(folder, Timestamp::default());
    let options = FolderOptions {
        role: "extension",
        owner: None,
    };
    tree.add_folder(folder, &FsPath::root(), &options, &Inputs::default())
        .unwrap();
    let info = inspect_as(class, &tree).unwrap();
    let host = HostRelease::from(&OsRelease::parse(host.as_bytes()).unwrap());
    !check(&info, "x", &host)
        .iter()
        .any(|finding| finding.stops())
}

#[test]
fn the_table_of_fields_names_and_content() {
    let dir = scratch_dir();
    let mut count = 0;
    for (number, case) in cases().iter().enumerate() {
        let folder = dir.path().join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        if !write(case, Class::Sysext, &folder) {
            eprintln!("skipped: no attributes of users on this filesystem");
            continue;
        }
        let found = is_merged(case.host, Class::Sysext, &folder);
        assert_eq!(found, case.merged, "{:?} on {:?}", case.files, case.host);
        count += 1;
    }
    assert!(count >= 60, "{count}");
    for (class, rows) in [(Class::Sysext, LIKE), (Class::Confext, CONFEXTS)] {
        for (number, &(host, release, merged)) in rows.iter().enumerate() {
            let folder = dir.path().join(format!("{class}{number}"));
            std::fs::create_dir(&folder).unwrap();
            let case = Case {
                host,
                files: vec![("x", release, None)],
                merged,
                more: None,
            };
            write(&case, class, &folder);
            assert_eq!(
                is_merged(host, class, &folder),
                merged,
                "{class}: {release:?} on {host:?}"
            );
        }
    }
}

/// Merges every case in a mount namespace of its own, and prints what systemd says behind the number of the case.
const SCRIPT: &str = "
mount --make-rprivate / 2>/dev/null
mount -t tmpfs tmpfs /run || exit 77
for root in \"$1\"/*; do
  echo \"case ${root##*/}\"
  SYSTEMD_LOG_LEVEL=info SYSTEMD_LOG_TARGET=console systemd-sysext --root=\"$root\" merge 2>&1
  systemd-sysext --root=\"$root\" unmerge >/dev/null 2>&1
done
exit 0
";

/// For every case whether systemd-sysext merges it; `None` where it cannot run here.
fn judged(cases: &[Case], dir: &Path) -> Option<Vec<bool>> {
    judge("systemd-sysext")?;
    if std::env::consts::ARCH != "x86_64" {
        eprintln!("skipped: systemd-sysext compares with this machine, which is no x86-64");
        return None;
    }
    for (number, case) in cases.iter().enumerate() {
        let root = dir.join(format!("{number:03}"));
        write_file(&root, "usr/lib/os-release", case.host.as_bytes());
        write_file(&root, "etc/os-release", case.host.as_bytes());
        if !write(case, Class::Sysext, &root.join("var/lib/extensions/x")) {
            return None;
        }
    }
    let output = ask("unshare", ["-m", "sh", "-c", SCRIPT, "sh", text(dir)], b"")?;
    if !output.status.success() {
        eprintln!("skipped: no mount namespace may be made here");
        return None;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut verdicts = Vec::new();
    for part in said.split("case ").skip(1) {
        let is_merged = part.contains("Using extensions 'x'") && part.contains("Merged extensions");
        let is_refused = part.contains("No suitable extensions") || part.contains("refusing");
        if is_merged == is_refused {
            eprintln!("skipped: systemd-sysext says {part:?}");
            return None;
        }
        verdicts.push(is_merged);
    }
    Some(verdicts)
}

#[test]
fn systemd_sysext_merges_what_the_table_says() {
    let dir = scratch_dir();
    let cases = cases();
    let Some(verdicts) = judged(&cases, dir.path()) else {
        return;
    };
    assert_eq!(verdicts.len(), cases.len());
    for (case, verdict) in cases.iter().zip(verdicts) {
        assert_eq!(verdict, case.merged, "{:?} on {:?}", case.files, case.host);
    }
}

#[test]
fn names_are_ordered_as_systemd_orders_versions() {
    let names = [
        "a",
        "a-1",
        "a.1",
        "a1",
        "a01",
        "a2",
        "a10",
        "aa",
        "b",
        "1.0~rc1",
        "1.0",
        "1.0.1",
        "docker",
        "docker-compose",
        "docker2",
        "k3s",
        "k10s",
        "x^1",
        "x",
        "x.0",
        "x_y",
        "xy",
        "0",
        "00",
        "",
    ];
    for a in names {
        for b in names {
            // Exit status 11 is greater, 12 less; an empty name is none for it.
            if a.is_empty() || b.is_empty() {
                continue;
            }
            let Some(output) = ask("systemd-analyze", ["compare-versions", a, b], b"") else {
                return;
            };
            let order = flatbake::flatcar::sysext::together::compare_names(a, b);
            let wanted = match output.status.code() {
                Some(11) => std::cmp::Ordering::Greater,
                Some(12) => std::cmp::Ordering::Less,
                // What it calls equal is in the order of its letters.
                _ => a.cmp(b),
            };
            assert_eq!(order, wanted, "{a} {b}");
        }
    }
}

#[test]
fn each_rule_has_a_finding_of_its_own() {
    let dir = scratch_dir();
    for (number, (release, expected)) in [
        ("ID=_any\nSYSEXT_SCOPE=initrd\n", code::SYSEXT_SCOPE),
        ("ID=_any\nARCHITECTURE=arm64\n", code::SYSEXT_ARCH),
        ("NAME=x\n", code::SYSEXT_NO_ID),
        ("ID=x\n", code::SYSEXT_ID),
        ("ID=flatcar\nSYSEXT_LEVEL=2\n", code::SYSEXT_LEVEL),
        ("ID=flatcar\nVERSION_ID=2\n", code::SYSEXT_VERSION),
        ("ID=flatcar\n", code::SYSEXT_NO_VERSION),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = dir.path().join(number.to_string());
        let case = Case {
            host: FLATCAR,
            files: vec![("x", release, None)],
            merged: false,
            more: None,
        };
        write(&case, Class::Sysext, &folder);
        let mut tree = StagedTree::new(dir.path(), Timestamp::default());
        let options = FolderOptions {
            role: "extension",
            owner: None,
        };
        tree.add_folder(&folder, &FsPath::root(), &options, &Inputs::default())
            .unwrap();
        let info = inspect_as(Class::Sysext, &tree).unwrap();
        let host = HostRelease::from(&OsRelease::parse(FLATCAR.as_bytes()).unwrap());
        let codes: Vec<_> = check(&info, "x", &host)
            .iter()
            .map(|finding| finding.code())
            .collect();
        assert_eq!(codes, [expected], "{release:?}");
    }
}
