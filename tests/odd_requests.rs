//! Odd requests and odd surroundings on the bundled sample image. Nothing here needs more than the Rust toolchain.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use crate::common::programs::{self, said};
use crate::common::scratch_dir;
use flatbake::NoProgress;
use flatbake::bake::{Context, Edits, FileSpec, Output as Image, Request, emit};
use flatbake::block::{BlockDevice, Overlay, OverlayOptions, Window};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::{self as inner, Attributes, ByPath, FileSystemMut, FsPath};
use flatbake::image::{CacheMode, OpenOptions, open};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2")
}

fn cache() -> PathBuf {
    crate::common::scratch_root().join("cache")
}

/// A folder with host files, from which flatbake is run.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = scratch_dir();
        fs::write(dir.path().join("a"), "content of a").unwrap();
        fs::write(dir.path().join("b"), "content of b").unwrap();
        Self { dir }
    }

    /// Adds a host file and the folders above it.
    fn with(self, name: &[u8]) -> Self {
        let file = self.dir.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, name).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = programs::flatbake();
        command.args(arguments).current_dir(self.dir.path());
        command
    }

    fn bake(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&["bake", "--output", "out.img", "--overwrite", "--image"]);
        command.arg(sample()).args(arguments).output().unwrap()
    }

    fn accepted(&self, arguments: &[&str]) -> String {
        let output = self.bake(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    fn refused(&self, arguments: &[&str], says: &[&str]) {
        let output = self.bake(arguments);
        let message = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        for words in says {
            assert!(
                message.contains(words),
                "'{words}' is missing in: {message}"
            );
        }
        assert!(!self.dir.path().join("out.img").exists());
    }

    /// A file of the output.
    fn cat(&self, place: &str) -> String {
        let output = self.command(&["cat", "out.img", place]).output().unwrap();
        assert!(output.status.success(), "{place}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn names_on_the_esp_that_differ_only_in_case() {
    let place = Place::new()
        .with(b"both/Name")
        .with(b"both/name")
        .with(b"more/x")
        .with(b"less/y");
    place.refused(
        &["--boot-file", "both:/both"],
        &["boot", "/both/Name", "/both/name", "case", "hint:"],
    );
    place.refused(
        &["--boot-file", "a:/Note", "--boot-file", "b:/nOTE"],
        &["/Note", "/nOTE"],
    );
    place.refused(
        &["--remove", "boot:/EFI", "--remove", "boot:/efi"],
        &["/efi", "no such entry"],
    );
    // Folders become one; what is there already is replaced, whatever its case.
    let said = place.accepted(&[
        "--boot-file",
        "more:/Notes",
        "--boot-file",
        "less:/notes",
        "--root-file",
        "both:/both",
    ]);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(
        (
            place.cat("boot:/NOTES/x").as_str(),
            place.cat("boot:/Notes/y").as_str()
        ),
        ("more/x", "less/y")
    );
    assert_eq!(place.cat("root:/both/Name"), "both/Name");
    let said = place.accepted(&["--boot-file", "a:/FLATCAR/FIRST_BOOT", "--dry-run"]);
    assert!(said.contains("replace /FLATCAR/FIRST_BOOT"), "{said}");
}

#[test]
fn what_the_esp_cannot_hold_is_refused_by_the_plan() {
    let place = Place::new().with(b"tree/file");
    place.refused(
        &["--dry-run", "--boot-file", "a:/what?"],
        &["boot", "/what?", "contains '?'"],
    );
    std::os::unix::fs::symlink("file", place.dir.path().join("tree/link")).unwrap();
    let output = place.bake(&["--dry-run", "--boot-file", "tree:/tree"]);
    assert!(
        output.status.code() == Some(3)
            && said(&output).contains("/tree/link: FAT has no symlinks"),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_written_twice_is_told() {
    let place = Place::new();
    let said = place.accepted(&["--root-file", "a:/x", "--root-file", "b:/x"]);
    assert!(
        said.contains("warning: root: /x is written more than once"),
        "{said}"
    );
    assert_eq!(place.cat("root:/x"), "content of b");
    fs::remove_file(place.dir.path().join("out.img")).unwrap();
    for folder in ["one", "two"] {
        fs::create_dir(place.dir.path().join(folder)).unwrap();
        let sysext = sample().with_file_name("greeter.raw");
        fs::copy(sysext, place.dir.path().join(folder).join("same.raw")).unwrap();
    }
    let sysexts = [
        "--force",
        "--install-to",
        "root:/opt/all/",
        "one:one/same.raw",
        "two:two/same.raw",
    ];
    place.refused(
        &sysexts,
        &["sysext two", "/opt/all/same.raw", "another sysext", "hint:"],
    );
}

#[test]
fn folders_copied_over_a_mount_point_are_seen() {
    let place = Place::new()
        .with(b"tree/etc/conf")
        .with(b"tree/usr/bin/tool")
        .with(b"tree/usr/bin/other");
    place.refused(
        &["--root-file", "tree:/."],
        &["root: /usr/bin", "never be seen", "sysext"],
    );
    let said = place.accepted(&["--root-file", "tree:/.", "--force"]);
    assert_eq!(
        said.matches("never be seen").count(),
        1,
        "once for each mount point: {said}"
    );
}

#[test]
fn host_names_that_are_not_utf8_or_hold_control_characters() {
    let place = Place::new()
        .with(b"odd/not \xff utf8")
        .with(b"odd/line\nfeed");
    let output = place.bake(&["--root-file", "odd:/odd", "--json", "--quiet"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["shared"]["changes"].as_array().unwrap().len(), 3);
    fs::remove_file(place.dir.path().join("out.img")).unwrap();
    let output = place.bake(&["--boot-file", "odd:/odd"]);
    let message = said(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        message.contains("line\\nfeed") && message.trim_end().lines().count() == 1,
        "{message}"
    );
}

#[test]
fn a_hard_link_is_replaced_and_its_other_name_keeps_the_content() {
    let place = Place::new();
    let temp = place.dir.path();
    let options = OpenOptions {
        cache: CacheMode::Dir(cache().join("flatbake")),
        ..OpenOptions::new(temp)
    };
    let base: Arc<dyn BlockDevice> = open(&sample(), &options, &NoProgress).unwrap().device;
    let path = |text: &str| FsPath::new(text).unwrap();

    let disk = Disk::open("sample", Arc::clone(&base)).unwrap();
    let root = disk.partition(Designator::Root.into()).unwrap();
    let overlay = Arc::new(Overlay::new(Arc::clone(&base), OverlayOptions::new(temp)).unwrap());
    let source: Arc<dyn BlockDevice> =
        Arc::new(Window::new(base, root.offset(), root.size()).unwrap());
    let target = Arc::new(Window::new(Arc::clone(&overlay), root.offset(), root.size()).unwrap());
    let mut fs: Box<dyn FileSystemMut> =
        inner::edit(source, target, &inner::EditOptions::new(temp)).unwrap();
    fs.write_file(&path("/one"), &Attributes::default(), 3, &mut &b"old"[..])
        .unwrap();
    fs.hard_link(&path("/one"), &path("/two")).unwrap();
    fs.commit().unwrap();
    drop(fs);

    let linked = temp.join("linked.img");
    emit(&overlay, &Image::at(&linked), &NoProgress).unwrap();
    let request = Request {
        edits: Edits::new().file(FileSpec::new(
            temp.join("a"),
            Designator::Root,
            path("/one"),
        )),
        outputs: vec![Image::at(temp.join("out.img"))],
        ..Request::new(&linked)
    };
    let context = Context::new(temp);
    let prepared = request.prepare(&context).unwrap();
    assert!(prepared.report(&context).unwrap().shared.changes[0].replaces);
    assert!(prepared.write(&context).unwrap().failure.is_none());
    let baked = open(&temp.join("out.img"), &options, &NoProgress)
        .unwrap()
        .device;
    let baked = Disk::open("baked", baked).unwrap();
    let fs = baked.filesystem(Designator::Root.into()).unwrap();
    let read = |name: &str| inner::read_file(&*fs, &path(name), 100).unwrap();
    assert_eq!(
        (read("/one"), read("/two")),
        (b"content of a".to_vec(), b"old".to_vec())
    );
    assert_eq!(fs.metadata_at(&path("/two")).unwrap().nlink, 1);
}

#[test]
fn removals_below_each_other_free_their_room_once() {
    let place = Place::new();
    let free = |arguments: &[&str]| {
        let mut all = vec!["--dry-run", "--json"];
        all.extend(arguments);
        let report: serde_json::Value = serde_json::from_slice(&place.bake(&all).stdout).unwrap();
        report["shared"]["space"][0]["free_bytes"].as_u64().unwrap()
    };
    let whole = free(&["--remove", "boot:/flatcar"]);
    assert!(whole > free(&["--remove", "boot:/flatcar/first_boot"]));
    assert_eq!(
        free(&[
            "--remove",
            "boot:/flatcar/vmlinuz-a",
            "--remove",
            "boot:/flatcar"
        ]),
        whole
    );
}

#[test]
fn full_and_closed_outputs_give_an_exit_code_and_no_panic() {
    let place = Place::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |command: &mut Command| command.status().unwrap().code();
    let sample = sample();
    let sample = sample.to_str().unwrap();
    assert_eq!(
        code(place.command(&["inspect", "missing"]).stderr(full())),
        Some(2)
    );
    let bake = [
        "bake",
        "--image",
        sample,
        "--output",
        "out.img",
        "--overwrite",
        "--progress",
        "plain",
    ];
    assert_eq!(code(place.command(&bake).stderr(full())), Some(0));
    let inspect = ["inspect", sample];
    assert_eq!(
        code(place.command(&inspect).stdout(full()).stderr(full())),
        Some(4)
    );
    // An empty variable counts as one that is not set.
    let output = place.command(&bake).env("TMPDIR", "").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn messages_name_the_partition_and_keep_their_hint() {
    let place = Place::new();
    let sample = sample();
    let sample = sample.to_str().unwrap();
    for (arguments, says) in [
        (
            &["cat", sample, "root:/none"][..],
            &[sample, "root: /none: no such file"][..],
        ),
        (
            &["ls", sample, "nine:/"],
            &["'nine'", "hint:", "boot, oem, root"],
        ),
        (
            &["bake", "--image", sample, "-o", "x", "--format", "floppy"],
            &["'floppy'", "hint: write one of raw, qcow2, vmdk_ide"],
        ),
        (&["man", "no/such/folder"], &["no/such/folder", "hint:"]),
    ] {
        let output = place.command(arguments).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            said(&output)
        );
        for words in says {
            assert!(
                said(&output).contains(words),
                "'{words}' is missing in: {}",
                said(&output)
            );
        }
    }
    assert!(!place.dir.path().join("no").exists());
}

#[test]
fn a_system_with_other_rules_is_looked_into_but_not_baked() {
    let place = Place::new();
    let disk = place.dir.path().join("disk.raw");
    let converted = place
        .command(&["convert"])
        .arg(sample())
        .arg(&disk)
        .output()
        .unwrap();
    assert!(converted.status.success(), "{}", said(&converted));
    let Some(named) =
        crate::common::programs::run("sgdisk", ["-c", "7:HASH-A", disk.to_str().unwrap()])
    else {
        return;
    };
    assert!(named.status.success());
    let run = |arguments: &[&str]| place.command(arguments).output().unwrap();
    for more in [&[][..], &["--dry-run"], &["--force"]] {
        let request = [
            "bake",
            "--image",
            "disk.raw",
            "-o",
            "out.img",
            "--kernel-arg",
            "quiet",
        ];
        let output = run(&[&request, more].concat());
        assert_eq!(output.status.code(), Some(3), "{more:?}: {}", said(&output));
        assert!(
            said(&output).contains("this is Azure Container Linux"),
            "{}",
            said(&output)
        );
    }
    for arguments in [
        &["ls", "disk.raw", "9"][..],
        &["info", "disk.raw"],
        &["convert", "disk.raw", "out.qcow2"],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }
}
