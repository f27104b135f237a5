//! What the running system would do to what is baked: paths of its own, configs that it does not read, updates of sysexts.

use std::fs;
use std::path::{Path, PathBuf};

use flatbake::Finding;
use flatbake::bake::{ArchiveSpec, ConfigSpec, Context, Edits, FileSource, FileSpec, LinkSpec, Output, Place, Request};
use flatbake::flatcar::Designator;
use flatbake::fs::FsPath;

use super::{raw_sample, sample};
use crate::common::programs::must_run;
use crate::common::scratch_dir;

fn path(path: &str) -> FsPath {
    FsPath::new(path).unwrap()
}

/// The words of all findings of a bake, whether it goes on or stops; other errors as they are.
fn told(dir: &Path, edits: Edits) -> Result<Vec<&'static str>, String> {
    let outputs = vec![Output::named(dir.join("out.bin")).unwrap()];
    let request = Request { edits, outputs, ..Request::new(raw_sample()) };
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
    Edits { links: vec![LinkSpec { target: target.to_owned(), path: path(at), origin: None }], ..Edits::new() }
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
            ["-C", tree.to_str().unwrap(), "--owner=0", "--group=0", "-cf", archive.to_str().unwrap(), &at[1..]],
        );
        let archive = ArchiveSpec::parse(archive.to_str().unwrap(), Designator::Root, Default::default()).unwrap();
        let edits = Edits { archives: vec![archive], ..Edits::new() };
        assert_eq!(told(dir.path(), edits).unwrap(), expected, "{at} of an archive");
        fs::remove_dir_all(&tree).unwrap();
    }
    assert_eq!(told(dir.path(), link("/lib/modules/x", "y")).unwrap(), ["path-replaced"]);
    // The link that the system itself would make.
    assert_eq!(told(dir.path(), link("/bin", "usr/bin")).unwrap(), [""; 0]);
}

#[test]
fn a_base_that_was_booted_is_told_where_ignition_is_to_run() {
    let dir = scratch_dir();
    let config = || FileSource::Inline(br#"{"ignition": {"version": "3.3.0"}}"#.to_vec());
    let config = || Edits { config_ign: Some(ConfigSpec { source: config(), origin: None }), ..Edits::new() };
    let first_boot = Place { partition: Designator::Boot, path: path("/flatcar/first_boot") };
    assert_eq!(told(dir.path(), config()).unwrap(), [""; 0]);
    let booted = Edits { removals: vec![first_boot.clone()], ..config() };
    assert_eq!(told(dir.path(), booted.clone()).unwrap(), ["ignition-not-run"]);
    // What makes Ignition run again is not held against it.
    let again = FileSpec::inline(b"again".to_vec(), Designator::Boot, first_boot.path.clone());
    assert_eq!(told(dir.path(), booted.file(again)).unwrap(), [""; 0]);
    assert_eq!(told(dir.path(), Edits { removals: vec![first_boot], ..Edits::new() }).unwrap(), [""; 0]);
    for (id, expected) in [
        ("0123456789abcdef0123456789abcdef\n", vec!["machine-id-left"]),
        ("uninitialized\n", vec![]),
        ("42000000000000000000000000000042\n", vec![]),
    ] {
        let id = FileSpec::inline(id.as_bytes().to_vec(), Designator::Root, path("/etc/machine-id"));
        assert_eq!(told(dir.path(), config().file(id)).unwrap(), expected);
    }
}

/// The sample's sysext under a name of its own in a folder.
fn hello(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(name);
    fs::copy(sample("hello.raw"), &file).unwrap();
    file
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
        let request = Request { edits: edits("hello.raw", folder), outputs, ..Request::new(raw_sample()) };
        let plan = planned(&request);
        assert!(plan.contains(&format!("{folder}/hello.raw")), "{plan}");
        let is_linked = plan.contains("\"symlink\"");
        assert_eq!(is_linked, folder != "/etc/extensions", "{plan}");
        let error = told(dir.path(), edits("hello-1.2.raw", folder)).unwrap_err();
        assert!(error.contains("under that name too"), "{error}");
        assert_eq!(told(dir.path(), edits("hello.img", folder)).unwrap(), [""; 0]);
    }
    assert_eq!(told(dir.path(), edits("hello.raw", "/run/extensions")).unwrap(), ["hidden-by-mount"]);
}

#[test]
fn files_for_updates_are_taken_along_and_read() {
    let good = "[Source]\nPath=https://example.org/\nMatchPattern=hello-@v.raw\n[Target]\nPath=/opt/extensions/hello\n\
                CurrentSymlink=/etc/extensions/hello.raw\n";
    for ending in ["conf", "transfer"] {
        for (text, expected) in [
            (good.to_owned(), vec![]),
            ("[Transfer]\nVerify=false\n".to_owned(), vec!["sysupdate-invalid"]),
            (good.replace("@v", "@v-%a"), vec!["sysupdate-pattern"]),
            (good.replace("/opt/extensions/hello", "/opt/extensions"), vec!["sysupdate-path"]),
        ] {
            let dir = scratch_dir();
            let file = hello(dir.path(), "hello-1.2.raw");
            fs::write(dir.path().join(format!("hello.{ending}")), &text).unwrap();
            assert_eq!(told(dir.path(), Edits::new().sysext("hello", &file)).unwrap(), expected, "{ending}: {text}");
            let outputs = vec![Output::named(dir.path().join("out.bin")).unwrap()];
            let edits = Edits::new().sysext("hello", &file);
            let request = Request { edits, outputs, ..Request::new(raw_sample()) };
            let plan = planned(&request);
            assert!(plan.contains(&format!("/etc/sysupdate.hello.d/hello.{ending}")), "{plan}");
        }
    }
}
