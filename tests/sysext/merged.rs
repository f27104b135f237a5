//! A table of extensions and images: what is told of each pair, held against what the kernel's own overlay shows of the
//! two where this machine may mount one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flatbake::block::{BlockDevice, FileDevice};
use flatbake::finding::{Code, code};
use flatbake::flatcar::OsRelease;
use flatbake::flatcar::sysext::{
    HostRelease, HostTree, Needs, check, check_kernel, compare, inspect, open_extension,
    shared_paths,
};
use flatbake::fs::FileSystem;

use crate::common::programs::{ask, command};
use crate::common::reading::{succeed, text};
use crate::common::scratch_dir;
use crate::common::sysext::{make_dir, write_file, write_link};

/// One release of each line.
const RELEASES: [&str; 3] = ["4081.3.10", "4593.2.5", "4757.2.1"];

/// What a tree has at a path.
#[derive(Clone, Copy)]
enum Entry {
    Dir(&'static str),
    File(&'static str, &'static str),
    Link(&'static str, &'static str),
    /// A character device with this minor number; 0 makes a whiteout.
    Device(&'static str, u32),
    Pipe(&'static str),
    /// Mode and owner of what is there, octal digits first.
    Is(&'static str, &'static str, u32),
    /// An extended attribute of what is there. Only root sets those that begin with `trusted.`.
    Attribute(&'static str, &'static str),
}

use Entry::{Attribute, Device, Dir, File, Is, Link, Pipe};

/// What every image has.
const IMAGE: &[Entry] = &[
    File("usr/bin/greet", "greetings"),
    File("usr/bin/sudo", "as root"),
    Is("usr/bin/sudo", "4755", 0),
    Link("usr/sbin", "bin"),
    Link("usr/lib64", "lib"),
    File("usr/lib/systemd/system/greet.service", "[Service]\n"),
    File("usr/share/doc/readme", "read me"),
    File("usr/share/doc/more/readme", "read more"),
    Link("usr/share/alias", "doc"),
    File("usr/share/rules/secret", "secret"),
    Is("usr/share/rules", "700", 998),
    File("opt/bin/tool", "tool"),
];

/// What an extension has, and what is told of it.
const EXTENSIONS: &[(&str, &[Entry], &[&Code])] = &[
    (
        "adds",
        &[
            File("usr/bin/new", "new"),
            File("usr/share/new/x", "x"),
            File("opt/new/x", "x"),
        ],
        &[],
    ),
    (
        "has the same file",
        &[File("usr/bin/greet", "greetings")],
        &[],
    ),
    (
        "has the same link",
        &[Link("usr/sbin", "bin"), Link("usr/lib64", "lib")],
        &[],
    ),
    (
        "has the same folders",
        &[Dir("usr/share/doc/more"), Dir("opt/bin")],
        &[],
    ),
    (
        "owns the image's folder",
        &[File("usr/bin/new", "new"), Is("usr/bin", "755", 1000)],
        &[code::SYSEXT_OWNER],
    ),
    (
        "owns all",
        &[
            Dir("usr/bin"),
            Is("usr", "755", 1000),
            Is("usr/bin", "755", 1000),
        ],
        &[code::SYSEXT_OWNER],
    ),
    (
        "owns a folder of its own",
        &[Dir("usr/share/new"), Is("usr/share/new", "700", 1000)],
        &[],
    ),
    (
        "shuts others out",
        &[Dir("usr/bin"), Is("usr/bin", "700", 0)],
        &[code::SYSEXT_CLOSES],
    ),
    (
        "takes reading away",
        &[Is("usr/lib", "711", 0)],
        &[code::SYSEXT_CLOSES],
    ),
    (
        "shuts others out of /opt",
        &[Dir("opt/bin"), Is("opt/bin", "750", 0)],
        &[code::SYSEXT_CLOSES],
    ),
    (
        "lets everybody in",
        &[Dir("usr/bin"), Is("usr/bin", "777", 0)],
        &[code::SYSEXT_WRITABLE],
    ),
    (
        "has a folder like /tmp",
        &[Dir("usr/share/new"), Is("usr/share/new", "1777", 0)],
        &[],
    ),
    (
        "has a file for everybody",
        &[File("opt/new", "x"), Is("opt/new", "666", 0)],
        &[code::SYSEXT_WRITABLE],
    ),
    (
        "opens a secret folder",
        &[Dir("usr/share/rules"), Is("usr/share/rules", "755", 0)],
        &[code::SYSEXT_OWNER],
    ),
    (
        "has a file over a folder",
        &[File("usr/share/doc", "x")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a link over a folder",
        &[Link("usr/share/doc", "/var/doc")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a pipe over a folder",
        &[Pipe("usr/share/doc")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a file over a folder of /opt",
        &[File("opt/bin", "x")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a folder over a file",
        &[File("usr/bin/greet/x", "x")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a folder over a link",
        &[File("usr/share/alias/x", "x")],
        &[code::SYSEXT_HIDES],
    ),
    (
        "has a real /usr/sbin",
        &[File("usr/sbin/new", "new")],
        &[code::SYSEXT_SBIN],
    ),
    (
        "has a real /usr/lib64",
        &[File("usr/lib64/new", "new")],
        &[code::SYSEXT_REAL_DIR],
    ),
    (
        "deletes a file",
        &[Device("usr/bin/greet", 0)],
        &[code::SYSEXT_DELETES],
    ),
    (
        "deletes a folder",
        &[Device("usr/share/doc", 0)],
        &[code::SYSEXT_DELETES],
    ),
    (
        "deletes a link",
        &[Device("usr/share/alias", 0)],
        &[code::SYSEXT_DELETES],
    ),
    (
        "deletes what is not there",
        &[Device("usr/bin/gone", 0)],
        &[code::SYSEXT_OVERLAY_MARKS],
    ),
    (
        "empties a folder",
        &[
            Dir("usr/share/doc"),
            Attribute("usr/share/doc", "trusted.overlay.opaque"),
        ],
        &[code::SYSEXT_DELETES],
    ),
    (
        "empties a folder of its own",
        &[
            Dir("usr/share/new"),
            Attribute("usr/share/new", "trusted.overlay.opaque"),
        ],
        &[code::SYSEXT_OVERLAY_MARKS],
    ),
    (
        "has an attribute of user overlays",
        &[
            Dir("usr/share/doc"),
            Attribute("usr/share/doc", "user.overlay.opaque"),
        ],
        &[code::SYSEXT_OVERLAY_MARKS],
    ),
    (
        "has another file",
        &[File("usr/bin/greet", "farewells")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has a longer file",
        &[File("usr/bin/greet", "greetings to all")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has the file with another mode",
        &[File("usr/bin/sudo", "as root")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has another link",
        &[Link("usr/sbin", "lib")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has a link over a file",
        &[Link("usr/bin/greet", "sudo")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has a device over a file",
        &[Device("usr/bin/greet", 3)],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "has another file in /opt",
        &[File("opt/bin/tool", "another")],
        &[code::SYSEXT_REPLACES],
    ),
    (
        "does much at once",
        &[
            File("usr/bin/greet", "farewells"),
            Is("usr/bin", "750", 7),
            File("usr/share/doc", "x"),
            Device("opt/bin/tool", 0),
        ],
        &[
            code::SYSEXT_HIDES,
            code::SYSEXT_DELETES,
            code::SYSEXT_CLOSES,
            code::SYSEXT_OWNER,
            code::SYSEXT_REPLACES,
        ],
    ),
];

/// How an extension is packed, and the releases that cannot mount that.
const PACKINGS: &[(&str, &[&str])] = &[
    ("gzip", &[]),
    ("lzo", &[]),
    ("xz", &[]),
    ("lz4", &[]),
    ("zstd", &[]),
    ("lzma", &RELEASES),
    ("erofs", &["4081.3.10"]),
    ("erofs -zlz4hc,12", &["4081.3.10"]),
];

/// A tree on the host and the image that is made of it.
struct Packed {
    dir: tempfile::TempDir,
}

impl Packed {
    /// `None` where a tool is missing or the machine does not set such attributes.
    fn new(entries: &[Entry]) -> Option<Self> {
        let packed = Self { dir: scratch_dir() };
        let tree = packed.tree();
        let mut pseudo = BTreeMap::new();
        for entry in entries {
            let mode = |path: &str| if path.contains("bin/") { "755" } else { "644" };
            match *entry {
                Dir(path) => make_dir(&tree, path),
                File(path, content) => {
                    write_file(&tree, path, content.as_bytes());
                    pseudo.insert(path.to_owned(), format!("m {} 0 0", mode(path)));
                }
                Link(path, target) => write_link(&tree, path, target),
                Device(path, minor) => {
                    make_dir(&tree, Path::new(path).parent()?.to_str()?);
                    let major = u32::from(minor > 0);
                    pseudo.insert(path.to_owned(), format!("c 644 0 0 {major} {minor}"));
                }
                Pipe(path) => {
                    make_dir(&tree, Path::new(path).parent()?.to_str()?);
                    pseudo.insert(path.to_owned(), "i 644 0 0 f".to_owned());
                }
                Is(path, mode, owner) => {
                    if !tree.join(path).exists() {
                        make_dir(&tree, path);
                    }
                    pseudo.insert(path.to_owned(), format!("m {mode} {owner} {owner}"));
                }
                Attribute(path, name) => {
                    let set = ask(
                        "setfattr",
                        ["-n", name, "-v", "y", text(&tree.join(path))],
                        b"",
                    )?;
                    if !set.status.success() {
                        eprintln!("skipped: {name} cannot be set here");
                        return None;
                    }
                }
            }
        }
        packed.pack(pseudo)?;
        Some(packed)
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image.raw")
    }

    /// Everything that is not said otherwise belongs to root, whoever makes the tree.
    fn pack(&self, mut pseudo: BTreeMap<String, String>) -> Option<()> {
        let tree = self.tree();
        let mut todo = vec![PathBuf::new()];
        while let Some(path) = todo.pop() {
            for child in fs::read_dir(tree.join(&path)).unwrap() {
                let child = child.unwrap();
                let below = path.join(child.file_name());
                let name = text(&below).to_owned();
                let kind = child.file_type().unwrap();
                let mode = if kind.is_dir() { "755" } else { "777" };
                pseudo.entry(name).or_insert(format!("m {mode} 0 0"));
                if kind.is_dir() {
                    todo.push(below);
                }
            }
        }
        let lines: Vec<String> = pseudo
            .iter()
            .map(|(path, rest)| format!("/{path} {rest}\n"))
            .collect();
        let file = self.dir.path().join("pseudo");
        fs::write(&file, lines.concat()).unwrap();
        let image = self.image();
        let arguments = [
            text(&tree),
            text(&image),
            "-noappend",
            "-quiet",
            "-no-progress",
            "-pf",
            text(&file),
        ];
        succeed("mksquashfs", &arguments).map(|_| ())
    }

    fn open(&self) -> Box<dyn FileSystem> {
        open_extension(device(&self.image())).unwrap()
    }
}

fn device(image: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(image).unwrap())
}

/// The extension with metadata that fits every release.
fn extension(entries: &[Entry]) -> Option<Packed> {
    let release = File(
        "usr/lib/extension-release.d/extension-release.x",
        "ID=flatcar\nSYSEXT_LEVEL=1.0\n",
    );
    Packed::new(&[&[release], entries].concat())
}

fn image_of(version: &str) -> OsRelease {
    let text = format!(
        "ID=flatcar\nID_LIKE=coreos\nVERSION_ID={version}\nSYSEXT_LEVEL=1.0\nFLATCAR_BOARD=amd64-usr\n"
    );
    OsRelease::parse(text.as_bytes()).unwrap()
}

/// USR and ROOT of an image: the one begins at what the other has as /usr.
fn host_of(image: &Packed) -> Option<HostTree> {
    let below = image.dir.path().join("usr.raw");
    if !below.exists() {
        let usr = image.dir.path().join("unpacked");
        let all = image.image();
        succeed(
            "unsquashfs",
            &[
                "-quiet",
                "-no-progress",
                "-d",
                text(&usr),
                text(&all),
                "usr",
            ],
        )?;
        let usr = usr.join("usr");
        succeed(
            "mksquashfs",
            &[
                text(&usr),
                text(&below),
                "-noappend",
                "-quiet",
                "-no-progress",
            ],
        )?;
    }
    Some(HostTree::new(
        Some(open_extension(device(&below)).unwrap()),
        Some(image.open()),
    ))
}

/// What is told of an extension for an image.
fn told(extension: &Path, release: &OsRelease, host: &HostTree) -> Vec<&'static Code> {
    let fs = open_extension(device(extension)).unwrap();
    let info = inspect(&*fs).unwrap();
    let mut findings = check(&info, "x", &HostRelease::from(release));
    findings.extend(check_kernel(
        &Needs::of(device(extension)).unwrap(),
        release,
    ));
    findings.extend(compare(&*fs, host, &info.real_dirs).unwrap());
    for finding in &findings {
        assert!(!finding.message().contains(['{', '}']), "{finding}");
    }
    findings.iter().map(flatbake::Finding::code).collect()
}

#[test]
fn what_is_told_is_what_the_merged_folders_look_like() {
    let is_root = rustix::process::geteuid().is_root();
    let Some(image) = Packed::new(IMAGE).filter(|_| is_root) else {
        eprintln!("skipped: only root unpacks the image with its owners");
        return;
    };
    let Some(host) = host_of(&image) else { return };
    let mut rows = 0;
    for (at, (name, entries, expected)) in EXTENSIONS.iter().enumerate() {
        let Some(extension) = extension(entries) else {
            continue;
        };
        for (number, version) in RELEASES.iter().enumerate() {
            let found = told(&extension.image(), &image_of(version), &host);
            assert_eq!(found, *expected, "{name}, for {version}");
            rows += 1;
            if at % RELEASES.len() != number {
                continue;
            }
            if let Some(seen) = merged(&image, &extension) {
                let said: BTreeSet<&str> = found.iter().filter_map(|code| effect(code)).collect();
                assert_eq!(
                    said, seen,
                    "{name}, for {version}: what the merged folders show"
                );
            }
        }
    }
    assert!(rows >= 60, "{rows} rows");
}

#[test]
fn what_a_releases_kernel_can_mount() {
    let Some(image) = Packed::new(&[File("usr/lib/x", "x")]) else {
        return;
    };
    let host = HostTree::new(None, None);
    let Some(packed) = extension(&[File("usr/share/new/x", "x")]) else {
        return;
    };
    for (packing, cannot) in PACKINGS {
        let file = image.dir.path().join("packed.raw");
        let _ = fs::remove_file(&file);
        let tree = packed.tree();
        let made = match packing.strip_prefix("erofs") {
            Some(options) => {
                let options = options.split_ascii_whitespace();
                let arguments: Vec<&str> = options
                    .chain(["--quiet", text(&file), text(&tree)])
                    .collect();
                succeed("mkfs.erofs", &arguments)
            }
            None => {
                let options = ["-noappend", "-quiet", "-no-progress", "-comp", packing];
                succeed(
                    "mksquashfs",
                    &[&[text(&tree), text(&file)], &options[..]].concat(),
                )
            }
        };
        if made.is_none() {
            continue;
        }
        for version in RELEASES {
            let found = told(&file, &image_of(version), &host);
            let expected = if cannot.contains(&version) {
                vec![code::SYSEXT_KERNEL]
            } else {
                vec![]
            };
            assert_eq!(found, expected, "{packing}, for {version}");
        }
    }
}

#[test]
fn two_extensions_with_one_path() {
    for (one, other, expected) in [
        (
            &[File("usr/bin/a", "a")][..],
            &[File("usr/bin/b", "b")][..],
            "",
        ),
        (&[File("usr/bin/a", "a")], &[File("usr/bin/a", "a")], ""),
        (
            &[File("usr/bin/a", "a")],
            &[File("usr/bin/a", "b")],
            "/usr/bin/a",
        ),
        (
            &[File("usr/bin/a", "a")],
            &[Link("usr/bin/a", "b")],
            "/usr/bin/a",
        ),
        (
            &[File("usr/bin/a/b", "a")],
            &[File("usr/bin/a", "b")],
            "/usr/bin/a",
        ),
        (
            &[File("usr/bin/a", "a")],
            &[File("usr/bin/a/b", "b")],
            "/usr/bin/a",
        ),
        (&[File("opt/a/b", "a")], &[File("opt/a/b", "b")], "/opt/a/b"),
        (&[File("etc/a", "a")], &[File("etc/a", "b")], ""),
        (&[Link("usr/bin/a", "b")], &[Link("usr/bin/a", "b")], ""),
    ] {
        let (Some(one), Some(other)) = (Packed::new(one), Packed::new(other)) else {
            return;
        };
        assert_eq!(
            shared_paths(&*one.open(), &*other.open())
                .unwrap()
                .to_string(),
            expected
        );
    }
}

/// What a finding says of the merged folders.
fn effect(code: &Code) -> Option<&'static str> {
    let effects = [
        (code::SYSEXT_HIDES, "hidden"),
        (code::SYSEXT_SBIN, "hidden"),
        (code::SYSEXT_REAL_DIR, "hidden"),
        (code::SYSEXT_DELETES, "deleted"),
        (code::SYSEXT_CLOSES, "closed"),
        (code::SYSEXT_OWNER, "owner"),
        (code::SYSEXT_REPLACES, "replaced"),
    ];
    effects
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, effect)| *effect)
}

/// Mounts an overlay of two folders over a third one, and lists it.
const MERGE: &str =
    r#"mount -t overlay overlay -o "lowerdir=$1:$2" "$3" && cd "$3" && exec sh -c "$4""#;
/// Lists a folder: type, mode, owner, target and path, and the sums of all files.
const LIST: &str =
    r"find . -printf '%y %m %U:%G %l\t%P\n' && find . -type f -exec sha256sum '{}' +";

/// Every path with all that is seen of it.
type Listing = BTreeMap<String, String>;

/// What merging changes of what the image has, by the kernel's overlay; `None` where it cannot be mounted here.
fn merged(image: &Packed, extension: &Packed) -> Option<BTreeSet<&'static str>> {
    let work = scratch_dir();
    let unpack = |packed: &Packed, name: &str| {
        let target = work.path().join(name);
        let image = packed.image();
        succeed(
            "unsquashfs",
            &["-quiet", "-no-progress", "-d", text(&target), text(&image)],
        )
        .map(|_| target)
    };
    let image = unpack(image, "image")?;
    let extension = unpack(extension, "extension")?;
    let mut seen = BTreeSet::new();
    for folder in ["usr", "opt"] {
        let upper = extension.join(folder);
        let lower = image.join(folder);
        let over = work.path().join("merged");
        if !upper.exists() {
            continue;
        }
        fs::create_dir_all(&over).unwrap();
        let merge = [
            "-m",
            "sh",
            "-c",
            MERGE,
            "sh",
            text(&upper),
            text(&lower),
            text(&over),
            LIST,
        ];
        let output = ask("unshare", merge, b"")?;
        if !output.status.success() {
            eprintln!(
                "skipped: no overlay here: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        let own = command(Path::new("sh"))
            .args(["-c", LIST])
            .current_dir(&lower)
            .output()
            .unwrap();
        differences(&listing(&own.stdout), &listing(&output.stdout), &mut seen);
    }
    Some(seen)
}

fn listing(bytes: &[u8]) -> Listing {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let mut listing = Listing::new();
    for line in text.lines() {
        match line.split_once('\t') {
            Some((seen, path)) => listing.insert(path.to_owned(), seen.to_owned()),
            None => {
                let (sum, path) = line.split_once("  ./").unwrap();
                let before = listing.get(path).unwrap();
                listing.insert(path.to_owned(), format!("{before} {sum}"))
            }
        };
    }
    listing
}

/// What of `image` is not in `merged` as it was.
fn differences(image: &Listing, merged: &Listing, seen: &mut BTreeSet<&'static str>) {
    let is_dir = |seen: &str| seen.starts_with("d ");
    for (path, old) in image {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match merged.get(path) {
            // What lies in a folder that is gone or hidden itself does not count again.
            None if merged.get(parent).is_none_or(|parent| !is_dir(parent))
                || !is_dir(&image[parent]) => {}
            None => {
                seen.insert("deleted");
            }
            Some(new) if is_dir(new) != is_dir(old) => {
                seen.insert("hidden");
            }
            Some(new) if is_dir(new) => folders(old, new, seen),
            Some(new) if new != old => {
                seen.insert("replaced");
            }
            Some(_) => {}
        }
    }
}

fn folders(old: &str, new: &str, seen: &mut BTreeSet<&'static str>) {
    let field = |seen: &str, at: usize| seen.split(' ').nth(at).unwrap().to_owned();
    let mode = |seen: &str| u32::from_str_radix(&field(seen, 1), 8).unwrap() & 0o777;
    if field(old, 2) != field(new, 2) {
        seen.insert("owner");
    }
    if mode(old) & !mode(new) != 0 {
        seen.insert("closed");
    }
}
