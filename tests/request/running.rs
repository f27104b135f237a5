//! What the running system would do to what is baked: paths of its own, configs that it does not read, updates of sysexts.

use std::fs;
use std::path::{Path, PathBuf};

use flatbake::Finding;
use flatbake::bake::{
    ArchiveSpec, ConfigSpec, Context, Edits, FileSource, FileSpec, LinkSpec, Output, Place, Policy,
    Request, UnitSpec,
};
use flatbake::block::FileDevice;
use flatbake::flatcar::Designator;
use flatbake::fs::{ByPath, FsPath, read_file};

use super::{raw_sample, sample};
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::programs::must_run;
use crate::common::scratch_dir;
use crate::common::sysext::{Format, Sysext, sysext};

fn path(path: &str) -> FsPath {
    FsPath::new(path).unwrap()
}

/// The words of all findings of a bake, whether it goes on or stops; other errors as they are.
fn told(dir: &Path, edits: Edits) -> Result<Vec<&'static str>, String> {
    told_of(&raw_sample(), dir, edits)
}

fn told_of(image: &Path, dir: &Path, edits: Edits) -> Result<Vec<&'static str>, String> {
    let outputs = vec![Output::named(dir.join("out.bin")).unwrap()];
    let request = Request {
        edits,
        outputs,
        ..Request::new(image)
    };
    let words = |findings: &[Finding]| findings.iter().map(|finding| finding.code().word).collect();
    match request.prepare(&Context::new("/tmp")) {
        Ok(prepared) => Ok(words(&prepared.findings())),
        Err(error) if !error.findings().is_empty() => Ok(words(error.findings())),
        Err(error) => Err(error.to_string()),
    }
}

/// What a dry run tells of a request.
fn planned(request: &Request) -> String {
    let context = Context::new("/tmp");
    let report = request.prepare(&context).unwrap().report(&context).unwrap();
    serde_json::to_string(&report).unwrap()
}

fn file(at: &str) -> Edits {
    Edits::new().file(FileSpec::inline(b"x".to_vec(), Designator::Root, path(at)))
}

fn link(at: &str, target: &str) -> Edits {
    Edits {
        links: vec![LinkSpec {
            target: target.to_owned(),
            path: path(at),
            origin: None,
        }],
        ..Edits::new()
    }
}

#[test]
fn paths_of_the_system_are_told_for_files_links_and_archives() {
    let dir = scratch_dir();
    for (at, expected) in [
        ("/bin/tool", vec!["path-replaced"]),
        ("/lib64", vec!["path-replaced"]),
        ("/sbin/deep/er/tool", vec!["path-replaced"]),
        ("/var/run/app.pid", vec!["path-split"]),
        ("/var/lock/app", vec!["path-split"]),
        ("/var/runner", vec![]),
        ("/opt/bin/tool", vec![]),
    ] {
        assert_eq!(told(dir.path(), file(at)).unwrap(), expected, "{at}");
        let inside = dir.path().join("tree").join(at.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().unwrap()).unwrap();
        fs::write(&inside, "x").unwrap();
        let archive = dir.path().join("tree.tar");
        let tree = dir.path().join("tree");
        must_run(
            "tar",
            [
                "-C",
                tree.to_str().unwrap(),
                "--owner=0",
                "--group=0",
                "-cf",
                archive.to_str().unwrap(),
                &at[1..],
            ],
        );
        let archive = ArchiveSpec::parse(
            archive.to_str().unwrap(),
            Designator::Root,
            Default::default(),
        )
        .unwrap();
        let edits = Edits {
            archives: vec![archive],
            ..Edits::new()
        };
        assert_eq!(
            told(dir.path(), edits).unwrap(),
            expected,
            "{at} of an archive"
        );
        fs::remove_dir_all(&tree).unwrap();
    }
    assert_eq!(
        told(dir.path(), link("/lib/modules/x", "y")).unwrap(),
        ["path-replaced"]
    );
    // The link that the system itself would make.
    assert_eq!(told(dir.path(), link("/bin", "usr/bin")).unwrap(), [""; 0]);
}

/// What an image says of its own, beyond what all of Flatcar's do, and what ROOT says against it.
#[test]
fn rules_of_the_image_are_read() {
    let rules = "L+ /etc/mtab - - - - ../proc/self/mounts\nR! /var/lib/app-*/lock?\nD /srv/spool 0755\n\
                 L /srv/state - - - - /run/state\nf+ /etc/issue - - - - hello\n";
    let recipe = Recipe::small()
        .with_file(3, "lib/tmpfiles.d/app.conf", rules.as_bytes())
        .with_file(3, "lib/tmpfiles.d/masked.conf", b"R /srv/masked\n")
        .with_file(9, "etc/tmpfiles.d/masked.conf", b"R /srv/own\n");
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let dir = scratch_dir();
    for (at, expected) in [
        ("/etc/mtab", vec!["path-replaced"]),
        ("/etc/issue", vec!["path-replaced"]),
        ("/var/lib/app-one/lock1", vec!["path-removed"]),
        ("/var/lib/app-one/lock10", vec![]),
        ("/var/lib/app-one/deep/lock1", vec![]),
        ("/srv/spool/job", vec!["path-removed"]),
        ("/srv/spooler", vec![]),
        ("/srv/state/file", vec!["path-split"]),
        ("/srv/masked", vec![]),
        ("/srv/own", vec!["path-removed"]),
        ("/bin/tool", vec!["path-replaced"]),
    ] {
        assert_eq!(
            told_of(&image, dir.path(), file(at)).unwrap(),
            expected,
            "{at}"
        );
    }
    assert_eq!(
        told_of(&image, dir.path(), link("/etc/mtab", "../proc/self/mounts")).unwrap(),
        [""; 0]
    );
    assert_eq!(
        told_of(&image, dir.path(), link("/etc/mtab", "elsewhere")).unwrap(),
        ["path-replaced"]
    );
}

#[test]
fn a_base_that_was_booted_is_told_where_ignition_is_to_run() {
    let dir = scratch_dir();
    let config = || FileSource::Inline(br#"{"ignition": {"version": "3.3.0"}}"#.to_vec());
    let config = || Edits {
        config_ign: Some(ConfigSpec {
            source: config(),
            origin: None,
        }),
        ..Edits::new()
    };
    let first_boot = Place {
        partition: Designator::Boot,
        path: path("/flatcar/first_boot"),
    };
    assert_eq!(told(dir.path(), config()).unwrap(), [""; 0]);
    let booted = Edits {
        removals: vec![first_boot.clone()],
        ..config()
    };
    assert_eq!(
        told(dir.path(), booted.clone()).unwrap(),
        ["ignition-not-run"]
    );
    // What makes Ignition run again is not held against it.
    let again = FileSpec::inline(b"again".to_vec(), Designator::Boot, first_boot.path.clone());
    assert_eq!(told(dir.path(), booted.file(again)).unwrap(), [""; 0]);
    assert_eq!(
        told(
            dir.path(),
            Edits {
                removals: vec![first_boot],
                ..Edits::new()
            }
        )
        .unwrap(),
        [""; 0]
    );
    for (id, expected) in [
        (
            "0123456789abcdef0123456789abcdef\n",
            vec!["machine-id-left"],
        ),
        ("uninitialized\n", vec![]),
        ("42000000000000000000000000000042\n", vec![]),
    ] {
        let id = FileSpec::inline(
            id.as_bytes().to_vec(),
            Designator::Root,
            path("/etc/machine-id"),
        );
        assert_eq!(told(dir.path(), config().file(id)).unwrap(), expected);
    }
}

/// Whatever is baked into a base that a machine has used, and nothing where nothing is.
#[test]
fn a_base_that_was_booted_is_told_whatever_is_baked() {
    let dir = scratch_dir();
    let used = dir.path().join("used.bin");
    let config = br#"{"ignition": {"version": "3.3.0"}}"#.to_vec();
    let edits = Edits {
        removals: vec![Place {
            partition: Designator::Boot,
            path: path("/flatcar/first_boot"),
        }],
        ..Edits::new()
            .file(FileSpec::inline(
                b"0123456789abcdef0123456789abcdef\n".to_vec(),
                Designator::Root,
                path("/etc/machine-id"),
            ))
            .file(FileSpec::inline(
                config,
                Designator::Oem,
                path("/config.ign"),
            ))
    };
    let request = Request {
        edits,
        outputs: vec![Output::named(&used).unwrap()],
        ..Request::new(raw_sample())
    };
    let context = Context::new("/tmp");
    assert!(
        request
            .prepare(&context)
            .unwrap()
            .write(&context)
            .unwrap()
            .failure
            .is_none()
    );
    let told = |edits| told_of(&used, dir.path(), edits).unwrap();
    assert_eq!(told(Edits::new()), [""; 0]);
    assert_eq!(told(file("/srv/x")), ["base-booted"]);
    let removals = [
        "boot:/flatcar/none",
        "root:/etc/machine-id",
        "oem:/config.ign",
    ]
    .map(|place| place.parse().unwrap());
    let mended = Edits {
        removals: removals[1..].to_vec(),
        ..Edits::new()
    };
    assert_eq!(told(mended.clone()), ["base-booted"]);
    let again = FileSpec::inline(
        b"again".to_vec(),
        Designator::Boot,
        path("/flatcar/first_boot"),
    );
    assert_eq!(told(mended.file(again)), [""; 0]);
    let config = ConfigSpec {
        source: FileSource::Inline(br#"{"ignition": {"version": "3.3.0"}}"#.to_vec()),
        origin: None,
    };
    let config = Edits {
        config_ign: Some(config),
        ..Edits::new()
    };
    assert_eq!(told(config), ["base-booted"]);
}

/// The sample's sysext under a name of its own in a folder.
fn hello(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(name);
    fs::copy(sample("hello.raw"), &file).unwrap();
    file
}

/// A sysext beside those that come with the image, and beside one that was put on ROOT before.
#[test]
fn sysexts_are_compared_with_those_of_the_image() {
    let dir = scratch_dir();
    let mut mine = Sysext::new("mine", "x86-64", Format::Squashfs);
    mine.files
        .push(("usr/bin/docker-flatcar".to_owned(), b"another one".to_vec()));
    let Some(file) = sysext(dir.path(), "mine.raw", &mine) else {
        return;
    };
    let other = Sysext {
        name: "other".to_owned(),
        ..mine.clone()
    };
    let other = sysext(
        dir.path(),
        "other.raw",
        &Sysext {
            files: vec![mine.files[0].clone()],
            ..other
        },
    )
    .unwrap();
    for recipe in [Recipe::small(), Recipe::small_4757()] {
        let Some(image) = flatcar_image(&recipe) else {
            return;
        };
        let told = |edits| told_of(&image, dir.path(), edits).unwrap();
        let edits = || Edits::new().sysext("mine", &file);
        assert_eq!(told(edits()), ["sysext-shared-paths"]);
        let off = Edits {
            links: link("/etc/extensions/docker-flatcar.raw", "/dev/null").links,
            ..edits()
        };
        assert_eq!(told(off), [""; 0]);
        // One that was put there by an earlier bake; its own name is that of the one in its place.
        let with_other = dir.path().join("with-other.bin");
        let request = Request {
            edits: Edits::new().sysext("other", &other),
            outputs: vec![Output::named(&with_other).unwrap()],
            policy: Policy {
                overwrite: true,
                ..Policy::default()
            },
            ..Request::new(&image)
        };
        let context = Context::new("/tmp");
        assert!(
            request
                .prepare(&context)
                .unwrap()
                .write(&context)
                .unwrap()
                .failure
                .is_none()
        );
        let changed = Sysext {
            files: vec![(mine.files[0].0.clone(), b"changed".to_vec())],
            ..mine.clone()
        };
        let changed = sysext(dir.path(), "changed.raw", &changed).unwrap();
        let told = told_of(
            &with_other,
            dir.path(),
            Edits::new().sysext("mine", &changed),
        )
        .unwrap();
        assert_eq!(told, ["sysext-shared-paths"]);
        let removals = vec!["root:/etc/extensions/other.raw".parse().unwrap()];
        let removed = Edits {
            removals,
            ..Edits::new().sysext("mine", &changed)
        };
        assert_eq!(told_of(&with_other, dir.path(), removed).unwrap(), [""; 0]);
    }
}

#[test]
fn a_folder_where_systemd_looks_needs_no_link_and_takes_no_second_name() {
    let dir = scratch_dir();
    let edits = |name: &str, folder: &str| Edits {
        install_to: Some(format!("root:{folder}").parse().unwrap()),
        ..Edits::new().sysext("hello", hello(dir.path(), name))
    };
    for folder in ["/etc/extensions", "/var/lib/extensions"] {
        let outputs = vec![Output::named(dir.path().join("out.bin")).unwrap()];
        let request = Request {
            edits: edits("hello.raw", folder),
            outputs,
            ..Request::new(raw_sample())
        };
        let plan = planned(&request);
        assert!(plan.contains(&format!("{folder}/hello.raw")), "{plan}");
        let is_linked = plan.contains("\"symlink\"");
        assert_eq!(is_linked, folder != "/etc/extensions", "{plan}");
        let error = told(dir.path(), edits("hello-1.2.raw", folder)).unwrap_err();
        assert!(error.contains("under that name too"), "{error}");
        assert_eq!(
            told(dir.path(), edits("hello.img", folder)).unwrap(),
            [""; 0]
        );
    }
    assert_eq!(
        told(dir.path(), edits("hello.raw", "/run/extensions")).unwrap(),
        ["hidden-by-mount"]
    );
}

#[test]
fn files_for_updates_are_taken_along_and_read() {
    let good = "[Source]\nPath=https://example.org/\nMatchPattern=hello-@v.raw\n[Target]\nPath=/opt/extensions/hello\n\
                CurrentSymlink=/etc/extensions/hello.raw\n";
    for ending in ["conf", "transfer"] {
        for (text, expected) in [
            (good.to_owned(), vec![]),
            (
                "[Transfer]\nVerify=false\n".to_owned(),
                vec!["sysupdate-invalid"],
            ),
            (good.replace("@v", "@v-%a"), vec!["sysupdate-pattern"]),
            (
                good.replace("/opt/extensions/hello", "/opt/extensions"),
                vec!["sysupdate-path"],
            ),
        ] {
            let dir = scratch_dir();
            let file = hello(dir.path(), "hello-1.2.raw");
            fs::write(dir.path().join(format!("hello.{ending}")), &text).unwrap();
            let all = [&expected[..], &["sysupdate-not-run"]].concat();
            assert_eq!(
                told(dir.path(), Edits::new().sysext("hello", &file)).unwrap(),
                all,
                "{ending}: {text}"
            );
            let outputs = vec![Output::named(dir.path().join("out.bin")).unwrap()];
            let edits = Edits::new().sysext("hello", &file);
            let request = Request {
                edits,
                outputs,
                ..Request::new(raw_sample())
            };
            let plan = planned(&request);
            assert!(
                plan.contains(&format!("/etc/sysupdate.hello.d/hello.{ending}")),
                "{plan}"
            );
        }
    }
}

const TRANSFER: &str = "[Source]\nType=url-file\nPath=https://example.org/\nMatchPattern=hello-@v.raw\n[Target]\n\
                        Type=regular-file\nPath=/opt/extensions/hello\nCurrentSymlink=/etc/extensions/hello.raw\n";

#[test]
fn updates_are_run_where_that_is_asked_for() {
    let dir = scratch_dir();
    let file = hello(dir.path(), "hello-1.2.raw");
    let edits = |sysupdate| Edits {
        sysupdate,
        ..Edits::new().sysext("hello", &file)
    };
    let error = told(dir.path(), edits(true)).unwrap_err();
    assert!(error.contains("no sysext has a file"), "{error}");
    fs::write(dir.path().join("hello.conf"), TRANSFER).unwrap();
    assert_eq!(
        told(dir.path(), edits(false)).unwrap(),
        ["sysupdate-not-run"]
    );
    assert_eq!(told(dir.path(), edits(true)).unwrap(), [""; 0]);
    // Whoever makes the machine do it in his own words is not told.
    let mut own = edits(false);
    let dropin =
        b"[Service]\nExecStartPre=-/usr/lib/systemd/systemd-sysupdate -C hello update\n".to_vec();
    let at = path("/etc/systemd/system/systemd-sysupdate.service.d/mine.conf");
    own.files
        .push(FileSpec::inline(dropin, Designator::Root, at));
    assert_eq!(
        told(dir.path(), own.clone()).unwrap(),
        ["sysupdate-not-run"]
    );
    own.units.push(UnitSpec {
        enabled: true,
        ..UnitSpec::new("systemd-sysupdate.timer")
    });
    assert_eq!(told(dir.path(), own).unwrap(), [""; 0]);

    let out = dir.path().join("out.bin");
    let request = Request {
        edits: edits(true),
        outputs: vec![Output::named(&out).unwrap()],
        ..Request::new(raw_sample())
    };
    let context = Context::new("/tmp");
    assert!(
        request
            .prepare(&context)
            .unwrap()
            .write(&context)
            .unwrap()
            .failure
            .is_none()
    );
    let disk =
        flatbake::flatcar::Disk::open("out", std::sync::Arc::new(FileDevice::open(&out).unwrap()))
            .unwrap();
    let root = disk.filesystem(Designator::Root.into()).unwrap();
    let text = |at: &str| String::from_utf8(read_file(&*root, &path(at), 4096).unwrap()).unwrap();
    let dropins = "/etc/systemd/system/systemd-sysupdate.service.d";
    let update = "[Service]\nExecStartPre=/usr/lib/systemd/systemd-sysupdate -C hello update\n";
    assert_eq!(text(&format!("{dropins}/hello.conf")), update);
    assert!(text(&format!("{dropins}/zz-merge.conf")).contains("restart systemd-sysext.service"));
    assert!(text("/etc/sysupdate.d/noop.conf").contains("MatchPattern=invalid@v.raw"));
    assert_eq!(text("/etc/sysupdate.hello.d/hello.conf"), TRANSFER);
    let timer = path("/etc/systemd/system/timers.target.wants/systemd-sysupdate.timer");
    assert_eq!(
        root.read_link_at(&timer).unwrap(),
        b"/usr/lib/systemd/system/systemd-sysupdate.timer"
    );
}

/// Files for the login user are the user's, with the folders that are made for them, unless somebody says whose they are.
#[test]
fn what_lies_in_the_home_of_core_belongs_to_core() {
    let dir = scratch_dir();
    let keys = "/home/core/.ssh/authorized_keys";
    assert_eq!(told(dir.path(), file(keys)).unwrap(), ["owner-core"]);
    assert_eq!(told(dir.path(), file("/home/other/x")).unwrap(), [""; 0]);
    let owned = |owner| {
        let file = FileSpec::inline(b"x".to_vec(), Designator::Root, path(keys));
        Edits::new().file(FileSpec { owner, ..file })
    };
    let out = dir.path().join("out.bin");
    let owners = |edits: Edits| {
        let outputs = vec![Output::named(&out).unwrap()];
        let request = Request {
            edits,
            outputs,
            ..Request::new(raw_sample())
        };
        let request = Request {
            policy: Policy {
                overwrite: true,
                ..Policy::default()
            },
            ..request
        };
        let context = Context::new("/tmp");
        assert!(
            request
                .prepare(&context)
                .unwrap()
                .write(&context)
                .unwrap()
                .failure
                .is_none()
        );
        let disk = flatbake::flatcar::Disk::open(
            "out",
            std::sync::Arc::new(FileDevice::open(&out).unwrap()),
        )
        .unwrap();
        let root = disk.filesystem(Designator::Root.into()).unwrap();
        ["/home/core", "/home/core/.ssh", keys]
            .map(|at| root.metadata_at(&path(at)).unwrap())
            .map(|found| (found.uid, found.gid))
    };
    assert_eq!(owners(owned(None)), [(500, 500); 3]);
    assert_eq!(owners(owned(Some((0, 0))))[2], (0, 0));
    assert_eq!(owners(owned(Some((1000, 7))))[2], (1000, 7));
    let linked = owners(Edits {
        links: link("/home/core/bin", "/opt/bin").links,
        ..owned(None)
    });
    assert_eq!(linked, [(500, 500); 3]);
}
