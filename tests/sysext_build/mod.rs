//! Extensions built by flatbake: held against their sources, by our own readers and by others.

mod disk_images;
mod images;
mod look;
mod matching;
mod trees;

pub use images::dynamic;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flatbake::block::FileDevice;
use flatbake::flatcar::sysext::build::{
    Build, Built, Compressor, Conf, Effort, Format, Means, architecture,
};
use flatbake::flatcar::sysext::{Class, Host, open_extension};
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath, read_file};
use flatbake::{Cancel, Disk, ErrorKind, Finding, NoProgress, Result};

use crate::common::content::{Machine, elf};
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::scratch_dir;
use crate::common::sysext::{write_file, write_link};

/// A folder with a source in it, and room for images.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: scratch_dir() };
        std::fs::create_dir(place.source()).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn source(&self) -> PathBuf {
        self.path("source")
    }

    fn with(self, path: &str, content: &[u8]) -> Self {
        write_file(&self.source(), path, content);
        self
    }

    fn linked(self, path: &str, target: &str) -> Self {
        write_link(&self.source(), path, target);
        self
    }

    fn build(&self) -> Build {
        Build::new(self.source(), "tool")
    }

    fn write(&self, build: Build) -> Result<Built> {
        write(build, &self.path("tool.raw"), None)
    }

    /// Findings by their words, of a build that is not written.
    fn codes(&self, build: Build, host: Option<&Host>) -> Vec<&'static str> {
        let found = findings(build, host);
        found.iter().map(|finding| finding.code().word).collect()
    }
}

fn write(build: Build, output: &Path, host: Option<&Host>) -> Result<Built> {
    let means = Means::new(&NoProgress, output.parent().unwrap(), Cancel::new());
    build.prepare(host, &means)?.write(output, false, &means)
}

fn findings(build: Build, host: Option<&Host>) -> Vec<Finding> {
    let means = Means::new(&NoProgress, crate::common::scratch_root(), Cancel::new());
    build.prepare(host, &means).unwrap().findings().to_vec()
}

fn open(image: &Path) -> Box<dyn FileSystem> {
    open_extension(Arc::new(FileDevice::open(image).unwrap())).unwrap()
}

fn content(fs: &dyn FileSystem, path: &str) -> String {
    let bytes = read_file(fs, &FsPath::new(path).unwrap(), 1 << 20).unwrap();
    String::from_utf8(bytes).unwrap()
}

const RELEASE: &str = "usr/lib/extension-release.d/extension-release.tool";

/// The release file of what is built.
fn release(place: &Place, build: Build) -> String {
    let _ = std::fs::remove_file(place.path("tool.raw"));
    let class = build.class;
    place.write(build).unwrap();
    let path = class.release_path("tool").unwrap();
    content(&*open(&place.path("tool.raw")), &path.to_string())
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn the_release_file_says_what_is_asked_for_and_what_can_be_told() {
    let place = Place::new().with("usr/share/tool", b"x");
    let build = || place.build();
    let flatcar = || Build {
        os: some("flatcar"),
        ..build()
    };
    assert_eq!(release(&place, build()), "ID=_any\n");
    assert_eq!(release(&place, flatcar()), "ID=flatcar\nSYSEXT_LEVEL=1.0\n");
    let pinned = Build {
        version_id: some("4757.2.1"),
        architecture: some("arm64"),
        ..flatcar()
    };
    assert_eq!(
        release(&place, pinned),
        "ID=flatcar\nVERSION_ID=4757.2.1\nARCHITECTURE=arm64\n"
    );
    let place = place
        .with("usr/bin/tool", &elf(Machine::X86_64, 1, 4096))
        .with("usr/lib/systemd/system/tool.service", b"[Service]\n");
    assert_eq!(
        release(&place, place.build()),
        "ID=_any\nARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\n"
    );
    let place = place.with(
        RELEASE,
        b"SYSEXT_ID=tool\nID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=arm64\nSYSEXT_NAME=\"A tool's $5 \\\"x\\\"\"\n",
    );
    assert_eq!(
        release(&place, place.build()),
        "ID=flatcar\nVERSION_ID=1.2.3\nARCHITECTURE=arm64\nEXTENSION_RELOAD_MANAGER=1\nSYSEXT_ID=tool\n\
         SYSEXT_NAME=\"A tool's \\$5 \\\"x\\\"\"\n"
    );
    let any = Build {
        os: some("_any"),
        architecture: some("x86-64"),
        ..place.build()
    };
    let said = release(&place, any);
    assert!(
        said.starts_with("ID=_any\nARCHITECTURE=x86-64\nEXTENSION"),
        "{said}"
    );
}

#[test]
fn a_confext_lies_in_etc_and_names_its_version() {
    let place = Place::new()
        .with("etc/motd", b"hi\n")
        .with("etc/systemd/system/a.service", b"[Service]\n");
    let confext = Build {
        class: Class::Confext,
        ..place.build()
    };
    assert_eq!(
        release(&place, confext.clone()),
        "ID=_any\nEXTENSION_RELOAD_MANAGER=1\n"
    );
    let flatcar = Build {
        os: some("flatcar"),
        ..confext
    };
    let error = place.write(flatcar.clone()).unwrap_err();
    assert!(error.to_string().contains("one version"), "{error}");
    let pinned = Build {
        version_id: some("4757.2.1"),
        ..flatcar
    };
    assert_eq!(
        release(&place, pinned.clone()),
        "ID=flatcar\nVERSION_ID=4757.2.1\nEXTENSION_RELOAD_MANAGER=1\n"
    );
    let enabling = Build {
        enable: vec!["a.service".to_owned()],
        ..pinned
    };
    assert_eq!(
        place.write(enabling).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn units_are_enabled_by_the_target_of_their_kind() {
    let units = ["a.service", "b.socket", "c.timer", "d@.service"];
    let mut place = Place::new();
    for unit in units {
        place = place.with(&format!("usr/lib/systemd/system/{unit}"), b"[Unit]\n");
    }
    let build = Build {
        enable: ["a.service", "b.socket", "c.timer", "d@x.service"]
            .map(str::to_owned)
            .to_vec(),
        ..place.build()
    };
    place.write(build).unwrap();
    let fs = open(&place.path("tool.raw"));
    for (path, unit) in [
        ("multi-user.target.d/10-a-service.conf", "a.service"),
        ("sockets.target.d/10-b-socket.conf", "b.socket"),
        ("timers.target.d/10-c-timer.conf", "c.timer"),
        ("multi-user.target.d/10-d@x-service.conf", "d@x.service"),
    ] {
        let path = format!("/usr/lib/systemd/system/{path}");
        assert_eq!(content(&*fs, &path), format!("[Unit]\nUpholds={unit}\n"));
    }
    for odd in ["missing.service", "nothing", "../a.service", "a.service/b"] {
        let build = Build {
            enable: vec![odd.to_owned()],
            ..place.build()
        };
        let error = write(build, &place.path("other.raw"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd}");
    }
}

#[test]
fn files_for_etc_come_by_tmpfiles() {
    let place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
    write_file(&place.path("conf"), "d/one", b"1");
    write_file(&place.path("conf"), "d/bin/two", b"2");
    write_file(&place.path("conf"), "defaults", b"A=1\n");
    let conf = |name: &str, source: &str| Conf {
        name: name.to_owned(),
        source: place.path("conf").join(source),
    };
    let build = Build {
        confs: vec![conf("default/tool", "defaults"), conf("/etc/tool.d", "d")],
        ..place.build()
    };
    place.write(build).unwrap();
    let fs = open(&place.path("tool.raw"));
    assert_eq!(
        content(&*fs, "/usr/lib/tmpfiles.d/10-tool.conf"),
        "C /etc/default/tool - - - - /usr/share/factory/etc/default/tool\n\
         C /etc/tool.d - - - - /usr/share/factory/etc/tool.d\n"
    );
    assert_eq!(
        content(&*fs, "/usr/share/factory/etc/default/tool"),
        "A=1\n"
    );
    assert_eq!(content(&*fs, "/usr/share/factory/etc/tool.d/bin/two"), "2");
    for odd in ["", "..", "a/../b", "with space", "per%cent", "a//b"] {
        let build = Build {
            confs: vec![conf(odd, "defaults")],
            ..place.build()
        };
        let error = write(build, &place.path("other.raw"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{odd}");
    }
}

#[test]
fn architectures_have_many_names() {
    for (word, systemd) in [
        ("amd64", "x86-64"),
        ("x86_64", "x86-64"),
        ("x86-64", "x86-64"),
        ("aarch64", "arm64"),
        ("arm64", "arm64"),
        ("_any", "_any"),
    ] {
        assert_eq!(architecture(word).unwrap(), systemd);
    }
    assert_eq!(
        architecture("i686").unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn what_would_not_be_merged_stops_unless_it_is_dropped() {
    let place = Place::new()
        .with("usr/bin/tool", b"#!/bin/sh\n")
        .with("etc/tool", b"x")
        .with("var/lib/tool", b"x")
        .linked("bin", "usr/bin");
    assert_eq!(place.codes(place.build(), None), ["sysext-not-merged"]);
    let error = place.write(place.build()).unwrap_err();
    assert!(error.to_string().contains("/bin, /etc, /var"), "{error}");
    assert!(!place.path("tool.raw").exists());
    let dropped = Build {
        drop_outside: true,
        ..place.build()
    };
    assert_eq!(place.codes(dropped.clone(), None), ["sysext-left-out"]);
    place.write(dropped).unwrap();
    let fs = open(&place.path("tool.raw"));
    let top: Vec<Vec<u8>> = fs
        .entries_at(&FsPath::root())
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(top, [b"usr"]);
    let forced = Build {
        force: true,
        ..place.build()
    };
    let built = write(forced, &place.path("forced.raw"), None).unwrap();
    assert_eq!(built.findings.len(), 1);
    let excluded = Build {
        exclude: ["/etc", "/var", "/bin"]
            .map(|pattern| flatbake::archive::Glob::new(pattern).unwrap())
            .to_vec(),
        ..place.build()
    };
    assert_eq!(place.codes(excluded, None), [""; 0]);
}

#[test]
fn faults_of_the_tree_are_told() {
    let mode = |place: &Place, path: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.source().join(path), permissions).unwrap();
    };
    let good = || Place::new().with("usr/bin/tool", &elf(Machine::X86_64, 1, 4096));
    let place = good();
    assert_eq!(place.codes(place.build(), None), [""; 0]);
    let place = good().with("usr/lib/os-release", b"ID=x\n");
    assert_eq!(place.codes(place.build(), None), ["sysext-os-release"]);
    let place = good().with("usr/sbin/tool", b"x");
    assert_eq!(place.codes(place.build(), None), ["sysext-sbin"]);
    let place = good();
    mode(&place, "usr/bin", 0o750);
    assert_eq!(place.codes(place.build(), None), ["sysext-closed"]);
    let place = good();
    mode(&place, "usr/bin/tool", 0o777);
    assert_eq!(place.codes(place.build(), None), ["sysext-writable"]);
    let place = good().with("usr/bin/other", &elf(Machine::Aarch64, 1, 4096));
    assert_eq!(place.codes(place.build(), None), [""; 0], "for no machine");
    let declared = Build {
        architecture: some("arm64"),
        ..place.build()
    };
    let found = findings(declared, None);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].message(),
        "the sysext is for arm64, but these are for other machines: /usr/bin/tool (x86-64)"
    );
    let place = good().with("usr/lib/firmware/blob", &elf(Machine::Aarch64, 1, 4096));
    assert_eq!(
        place.codes(place.build(), None),
        [""; 0],
        "firmware is data"
    );
    let mut damaged = elf(Machine::X86_64, 1, 4096);
    damaged[4] = 9;
    let place = good().with("usr/bin/damaged", &damaged);
    assert_eq!(place.codes(place.build(), None), ["sysext-elf-damaged"]);
}

#[test]
fn an_image_tells_what_it_would_make_of_the_extension() {
    let Some(image) = flatcar_image(&Recipe::small()) else {
        return;
    };
    let disk = Disk::open("image", Arc::new(FileDevice::open(&image).unwrap())).unwrap();
    let host = Host::of_disk(&disk).unwrap();
    let place = Place::new()
        .with(
            "usr/bin/tool",
            &images::dynamic("/lib64/ld-own.so.2", &["libown.so.1", "libnone.so.7"]),
        )
        .with("usr/lib64/libown.so.1", &elf(Machine::X86_64, 1, 4096))
        .with("usr/lib/ld-own.so.2", &elf(Machine::X86_64, 1, 4096));
    let build = Build {
        os: some("flatcar"),
        version_id: some("1.2.3"),
        ..place.build()
    };
    let found = findings(build, Some(&host));
    let words: Vec<&str> = found.iter().map(|found| found.code().word).collect();
    assert_eq!(
        words,
        ["sysext-real-dir", "sysext-version", "sysext-libraries"]
    );
    assert_eq!(found[2].value("path"), Some("/usr/bin/tool"));
    // /lib64 leads to /usr/lib64, where the dynamic linker is not.
    assert_eq!(
        found[2].value("names"),
        Some("/lib64/ld-own.so.2, libnone.so.7")
    );
}

#[test]
fn nothing_is_written_over_inputs_or_what_is_there() {
    let place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
    let inside = place.source().join("usr/tool.raw");
    let error = write(place.build(), &inside, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(!inside.exists());
    place.write(place.build()).unwrap();
    let before = std::fs::read(place.path("tool.raw")).unwrap();
    assert_eq!(
        place.write(place.build()).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    let of_itself = Build::new(place.path("tool.raw"), "tool");
    let means = Means::new(&NoProgress, place.dir.path(), Cancel::new());
    let prepared = of_itself.prepare(None, &means).unwrap();
    assert!(
        prepared
            .write(&place.path("tool.raw"), true, &means)
            .is_err()
    );
    assert_eq!(std::fs::read(place.path("tool.raw")).unwrap(), before);
}

#[test]
fn words_that_fit_nothing_are_refused() {
    let place = Place::new().with("usr/bin/tool", b"#!/bin/sh\n");
    let odd_name = Build::new(place.source(), ".#x");
    let odd_os = Build {
        os: some("Flat car"),
        ..place.build()
    };
    let early = Build {
        time: -1,
        ..place.build()
    };
    let any_version = Build {
        version_id: some("1"),
        ..place.build()
    };
    for build in [odd_name, odd_os, early, any_version] {
        assert_eq!(
            place.write(build).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    let level = Effort {
        level: Some(3),
        block_bytes: None,
    };
    for compressor in [Compressor::Lz4, Compressor::None] {
        assert!(Format::squashfs(Some(compressor), level).is_err());
        assert!(Format::erofs(Some(compressor), level).is_err());
        assert!(Format::ext4(Some(compressor), level).is_err());
    }
    assert!(Format::ext4(Some(Compressor::Zstd), Effort::default()).is_err());
    assert!(Format::btrfs(Some(Compressor::Zstd), Effort::default()).is_err());
    assert!(Format::btrfs(Some(Compressor::Gzip), level).is_err());
    for compressor in [Compressor::Zstd, Compressor::Xz, Compressor::Gzip] {
        let error = Format::erofs(Some(compressor), Effort::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    let deep = Format::squashfs(
        Some(Compressor::Zstd),
        Effort {
            level: Some(40),
            block_bytes: Some(5000),
        },
    )
    .unwrap();
    let build = Build {
        format: deep,
        ..place.build()
    };
    assert_eq!(
        place.write(build).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert!(!place.path("tool.raw").exists());
}

/// The type of what is at a path, where there is something.
fn type_at(fs: &dyn FileSystem, path: &str) -> Option<FileType> {
    let found = fs.find_metadata(&FsPath::new(path).unwrap()).unwrap();
    found.map(|metadata| metadata.file_type)
}
