//! System extension images as Flatcar's sysext-bakery makes them, by the real tools.

use super::ext::make_ext;
use super::noise;
use super::programs::{EPOCH, judges, must_run};
use super::scratch_dir;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The filesystem of a sysext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Squashfs,
    Erofs,
    Ext4,
    Btrfs,
    /// A GPT with EROFS in its root partition, as releases since 4628 have theirs, but without a hash tree and signature.
    Ddi,
}

/// A system extension to be made.
#[derive(Clone, Debug)]
pub struct Sysext {
    /// The name in `extension-release.NAME`.
    pub name: String,
    pub format: Format,
    /// The lines of the release file.
    pub fields: Vec<(String, String)>,
    /// Paths (from the root: `usr/…`) and contents; those below a `bin` directory become executable.
    pub files: Vec<(String, Vec<u8>)>,
    /// Bytes of incompressible ballast in `usr/share/NAME/ballast`.
    pub ballast: usize,
}

impl Sysext {
    /// `ID=_any`, the given architecture (`x86-64` or `arm64`), and one program that says its name.
    pub fn new(name: &str, arch: &str, format: Format) -> Self {
        let script = format!("#!/bin/sh\necho 'This is {name}.'\n");
        Self {
            name: name.to_owned(),
            format,
            fields: fields(&[("ID", "_any"), ("ARCHITECTURE", arch)]),
            files: vec![(format!("usr/bin/{name}"), script.into_bytes())],
            ballast: 0,
        }
    }

    /// The same with other release fields.
    pub fn with_fields(mut self, new: &[(&str, &str)]) -> Self {
        self.fields = fields(new);
        self
    }
}

fn fields(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// Makes `DIR/FILE` from the description. `None` when the tool is missing.
pub fn sysext(dir: &Path, file: &str, sysext: &Sysext) -> Option<PathBuf> {
    let tools: &[&str] = match sysext.format {
        Format::Squashfs => &["mksquashfs"],
        Format::Erofs => &["mkfs.erofs"],
        Format::Ext4 => &["mke2fs", "debugfs", "resize2fs", "e2fsck"],
        Format::Btrfs => &["mkfs.btrfs"],
        Format::Ddi => &["mkfs.erofs", "sgdisk"],
    };
    if !judges(tools) {
        return None;
    }
    let source = scratch_dir();
    let tree = source.path().join("tree");
    write_tree(sysext, &tree);
    let image = dir.join(file);
    pack(&tree, &image, sysext.format);
    Some(image)
}

/// Writes the tree that a sysext is made of: the same on every machine.
pub fn write_tree(sysext: &Sysext, tree: &Path) {
    let release: String = sysext
        .fields
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    let release_path = format!(
        "usr/lib/extension-release.d/extension-release.{}",
        sysext.name
    );
    write_file(tree, &release_path, release.as_bytes());
    for (path, content) in &sysext.files {
        write_file(tree, path, content);
    }
    if sysext.ballast > 0 {
        write_file(
            tree,
            &format!("usr/share/{}/ballast", sysext.name),
            &noise(1, sysext.ballast),
        );
    }
    set_times(tree);
}

/// The first sector of a DDI's partition, and the type of a root partition of x86-64.
const DDI_START: u64 = 2048;
const ROOT_X86_64: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const EXT4_UUID: &str = "575e7400-f1a7-4ba4-8e00-000000000004";

fn pack(tree: &Path, image: &Path, format: Format) {
    let run = |program: &str, before: &[&str], paths: &[&Path], after: &[&str]| {
        let paths = paths.iter().map(|path| path.as_os_str());
        must_run(
            program,
            before
                .iter()
                .map(OsStr::new)
                .chain(paths)
                .chain(after.iter().map(OsStr::new)),
        );
    };
    match format {
        Format::Squashfs => run(
            "mksquashfs",
            &[],
            &[tree, image],
            &["-all-root", "-noappend", "-no-progress", "-quiet"],
        ),
        Format::Erofs => {
            let options = [
                "--quiet",
                "-zlz4hc,12",
                "-C65536",
                "-Efragments,ztailpacking",
                "-T0",
                "--all-root",
            ];
            run(
                "mkfs.erofs",
                &[&options[..], &["-U00000000-0000-0000-0000-000000000000"]].concat(),
                &[image, tree],
                &[],
            );
        }
        Format::Ext4 => {
            make_ext(tree, image, "ext4", EXT4_UUID, "", 1 << 30);
            run("resize2fs", &["-M"], &[image], &[]);
        }
        Format::Btrfs => {
            let options = [
                "-q",
                "--mixed",
                "-m",
                "single",
                "-d",
                "single",
                "--shrink",
                "--rootdir",
            ];
            fs::File::create(image).unwrap().set_len(1 << 30).unwrap();
            run("mkfs.btrfs", &options, &[tree, image], &[]);
        }
        Format::Ddi => {
            let content = image.with_extension("erofs");
            pack(tree, &content, Format::Erofs);
            let bytes = fs::read(&content).unwrap();
            fs::remove_file(&content).unwrap();
            let sectors = bytes.len().div_ceil(512);
            let file = fs::File::create(image).unwrap();
            file.set_len((DDI_START + sectors.next_multiple_of(2048) as u64 + 2048) * 512)
                .unwrap();
            file.write_all_at(&bytes, DDI_START * 512).unwrap();
            let partition = format!("--new=1:{DDI_START}:+{sectors}");
            let kind = format!("--typecode=1:{ROOT_X86_64}");
            let guids = [
                "--partition-guid=1:575e7400-f1a7-4ba4-8e00-000000000005",
                "--disk-guid=575e7400-f1a7-4ba4-8e00-000000000006",
            ];
            run(
                "sgdisk",
                &[&partition, &kind, guids[0], guids[1]],
                &[image],
                &[],
            );
        }
    }
}

/// Writes `ROOT/PATH` with its parents, mode 0755 for directories and programs, 0644 for other files.
pub fn write_file(root: &Path, path: &str, content: &[u8]) {
    let target = root.join(path);
    make_dir(root, path.rsplit_once('/').map_or("", |(parent, _)| parent));
    fs::write(&target, content).unwrap();
    let mode = if path.contains("bin/") { 0o755 } else { 0o644 };
    fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
}

/// Makes `ROOT/PATH` and what is above it, mode 0755 whatever the umask.
pub fn make_dir(root: &Path, path: &str) {
    let mut dir = root.to_owned();
    for part in [""]
        .into_iter()
        .chain(path.split('/').filter(|part| !part.is_empty()))
    {
        if !part.is_empty() {
            dir.push(part);
        }
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Makes the symbolic link `ROOT/PATH`.
pub fn write_link(root: &Path, path: &str, target: &str) {
    make_dir(root, path.rsplit_once('/').map_or("", |(parent, _)| parent));
    symlink(target, root.join(path)).unwrap();
}

/// Gives everything below `path`, and itself, the time [`EPOCH`].
pub fn set_times(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path)
            .unwrap()
            .for_each(|child| set_times(&child.unwrap().path()));
    }
    set_time(path, EPOCH);
}

/// Gives `path` itself a time, in seconds since 1970.
pub fn set_time(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}
