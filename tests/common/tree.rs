//! What a filesystem holds, in a form that can be compared whichever program told it.

use super::programs::judge;
use flatbake::fs::{FileSystem, FileType, FsPath, read_file, walk};
use rustix::fs::{lgetxattr, llistxattr};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Path from the root of the filesystem, without a leading slash (the root itself is `""`), through [`path_text`].
pub type Tree = BTreeMap<String, TreeEntry>;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    File,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl Kind {
    /// From the type bits of a Unix mode.
    pub fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharDevice,
            0o060_000 => Self::BlockDevice,
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => Self::File,
        }
    }
}

/// One file. `None` means that the teller does not know it; such a field is not compared.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TreeEntry {
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`07777`).
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// In bytes, of regular files.
    pub size: Option<u64>,
    /// In hexadecimal, of regular files.
    pub sha256: Option<String>,
    /// Of symbolic links.
    pub target: Option<String>,
    /// Major and minor number of devices.
    pub device: Option<(u32, u32)>,
    pub xattrs: Option<BTreeMap<String, Vec<u8>>>,
    /// Seconds since 1970 and nanoseconds.
    pub mtime: Option<(i64, u32)>,
    /// Number of names, of everything but directories.
    pub nlink: Option<u32>,
    /// The first path of the hard-link group, where there are several.
    pub linked_to: Option<String>,
}

/// Bytes of a path as text: what is not UTF-8, control characters and backslashes are written `\xNN`.
pub fn path_text(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                text.extend(c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The SHA-256 of everything a reader gives, in hexadecimal.
pub fn sha256(mut reader: impl Read) -> String {
    let mut hash = Sha256::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = reader.read(&mut buffer).unwrap();
        if count == 0 {
            return hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
        }
        hash.update(&buffer[..count]);
    }
}

/// The tree below a directory of this machine, with everything the kernel tells about it.
pub fn host_tree(dir: &Path) -> Tree {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    visit(dir, "", &mut inodes, &mut found);
    group_links(&mut found, &inodes);
    found
}

/// One number for the tree below a directory of this machine: the same wherever it was written, by whomever, in whatever
/// order. Over paths, types, modes, times, contents, targets, links and the attributes of users.
pub fn digest(dir: &Path) -> String {
    let mut hash = Sha256::new();
    for (path, entry) in host_tree(dir) {
        let TreeEntry {
            kind,
            mode,
            size,
            sha256,
            target,
            mtime,
            linked_to,
            xattrs,
            ..
        } = entry;
        // A machine may add attributes of its own, as SELinux does.
        let xattrs: Vec<_> = xattrs
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("user."))
            .collect();
        let line = (
            path, kind, mode, size, sha256, target, mtime, linked_to, xattrs,
        );
        hash.update(format!("{line:?}\n"));
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Fills in [`TreeEntry::linked_to`] from the inode number of every path.
pub fn group_links(tree: &mut Tree, inodes: &BTreeMap<String, u64>) {
    let mut first = BTreeMap::new();
    for (path, entry) in tree {
        if entry.nlink.is_some_and(|nlink| nlink > 1) {
            entry.linked_to = Some(
                first
                    .entry(inodes[path])
                    .or_insert_with(|| path.clone())
                    .clone(),
            );
        }
    }
}

fn visit(path: &Path, name: &str, inodes: &mut BTreeMap<String, u64>, found: &mut Tree) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = Kind::of_mode(metadata.mode());
    let mut entry = TreeEntry {
        kind,
        mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        xattrs: Some(host_xattrs(path)),
        mtime: Some((
            metadata.mtime(),
            u32::try_from(metadata.mtime_nsec()).unwrap(),
        )),
        ..TreeEntry::default()
    };
    add_content(&mut entry, path);
    let file_type = metadata.file_type();
    if file_type.is_char_device() || file_type.is_block_device() {
        entry.device = Some((
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        ));
    }
    if kind != Kind::Directory {
        entry.nlink = Some(u32::try_from(metadata.nlink()).unwrap());
    }
    inodes.insert(name.to_owned(), metadata.ino());
    found.insert(name.to_owned(), entry);
    if kind == Kind::Directory {
        for child in fs::read_dir(path).unwrap() {
            let child = child.unwrap().file_name();
            visit(
                &path.join(&child),
                &join(name, &path_text(child.as_bytes())),
                inodes,
                found,
            );
        }
    }
}

/// `parent/name`, or `name` in the root.
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}/{name}")
    }
}

/// Fills in what is inside: size and hash, or the link's target, from a copy on this machine.
pub fn add_content(entry: &mut TreeEntry, path: &Path) {
    match entry.kind {
        Kind::File => {
            let file =
                File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            entry.size = Some(file.metadata().unwrap().len());
            entry.sha256 = Some(sha256(file));
        }
        Kind::Symlink => {
            entry.target = Some(path_text(
                fs::read_link(path).unwrap().as_os_str().as_bytes(),
            ))
        }
        _ => {}
    }
}

fn host_xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    // XATTR_LIST_MAX of the kernel.
    let mut names = vec![0u8; 1 << 16];
    // Not every filesystem has xattrs.
    let len = llistxattr(path, names.as_mut_slice()).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0u8; 1 << 16];
        let len = lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
        value.truncate(len);
        found.insert(path_text(name), value);
    }
    found
}

/// Gives the owner read access to all below `dir`: tools restore modes such as 0000, and tests do not run as root.
pub fn make_readable(dir: &Path) {
    let metadata = fs::symlink_metadata(dir).unwrap();
    if metadata.is_symlink() {
        return;
    }
    fs::set_permissions(
        dir,
        fs::Permissions::from_mode(metadata.mode() & 0o7777 | 0o700),
    )
    .unwrap();
    if metadata.is_dir() {
        fs::read_dir(dir)
            .unwrap()
            .for_each(|child| make_readable(&child.unwrap().path()));
    }
}

/// The tree of a filesystem as our own reader tells it.
pub fn fs_tree(fs: &dyn FileSystem) -> Tree {
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    walk(fs, &FsPath::root(), &mut |at| {
        let name = path_text(&at.path.as_bytes()[1..]);
        let metadata = &at.metadata;
        let mut entry = TreeEntry {
            kind: Kind::of_mode(metadata.file_type.mode_bits()),
            mode: Some(metadata.mode),
            uid: Some(metadata.uid),
            gid: Some(metadata.gid),
            mtime: Some((metadata.mtime.secs, metadata.mtime.nanos)),
            xattrs: Some(
                fs.xattrs(at.node)?
                    .into_iter()
                    .map(|xattr| (path_text(&xattr.name), xattr.value))
                    .collect(),
            ),
            ..TreeEntry::default()
        };
        match metadata.file_type {
            FileType::File => {
                let content = read_file(fs, &at.path, 1 << 26)?;
                entry.size = Some(metadata.size);
                entry.sha256 = Some(sha256(&content[..]));
            }
            FileType::Symlink => entry.target = Some(path_text(&fs.read_link(at.node)?)),
            FileType::CharDevice | FileType::BlockDevice => entry.device = Some(metadata.device),
            _ => {}
        }
        if metadata.file_type != FileType::Directory {
            entry.nlink = Some(metadata.nlink);
        }
        inodes.insert(name.clone(), metadata.inode);
        found.insert(name, entry);
        Ok(())
    })
    .unwrap();
    group_links(&mut found, &inodes);
    found
}

/// The tree of a squashfs as `unsquashfs` unpacks it; without owners and devices, which only root can restore.
pub fn squashfs_tree(image: &Path) -> Option<Tree> {
    judge("unsquashfs")?;
    let dir = super::scratch_dir();
    let target = dir.path().join("tree");
    let options = ["-no-progress", "-user-xattrs", "-d"].map(OsStr::new);
    super::programs::must_run(
        "unsquashfs",
        options
            .iter()
            .chain(&[target.as_os_str(), image.as_os_str()]),
    );
    let mut tree = host_tree(&target);
    for entry in tree.values_mut() {
        (entry.uid, entry.gid) = (None, None);
    }
    Some(tree)
}

/// The most differences that [`compare`] shows.
const SHOWN: usize = 20;

/// Every field that both trees know is equal; `Err` has a line per difference.
pub fn compare(expected: &Tree, found: &Tree) -> Result<(), String> {
    let mut lines = Vec::new();
    for (path, entry) in expected {
        match found.get(path) {
            None => lines.push(format!("missing: /{path} ({:?})", entry.kind)),
            Some(other) => differences(entry, other)
                .iter()
                .for_each(|line| lines.push(format!("/{path}: {line}"))),
        }
    }
    let extra = found
        .iter()
        .filter(|(path, _)| !expected.contains_key(*path));
    lines.extend(extra.map(|(path, entry)| format!("not expected: /{path} ({:?})", entry.kind)));
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len();
    lines.truncate(SHOWN);
    Err(format!("{count} differences:\n{}", lines.join("\n")))
}

fn differences(expected: &TreeEntry, found: &TreeEntry) -> Vec<String> {
    fn field<T: Debug + PartialEq>(
        name: &str,
        expected: &Option<T>,
        found: &Option<T>,
        lines: &mut Vec<String>,
    ) {
        if let (Some(expected), Some(found)) = (expected, found)
            && expected != found
        {
            lines.push(format!("{name} should be {expected:?} but is {found:?}"));
        }
    }
    struct Octal(u32);
    impl Debug for Octal {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:04o}", self.0)
        }
    }
    impl PartialEq for Octal {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    let mut lines = Vec::new();
    field("type", &Some(expected.kind), &Some(found.kind), &mut lines);
    field(
        "mode",
        &expected.mode.map(Octal),
        &found.mode.map(Octal),
        &mut lines,
    );
    field("uid", &expected.uid, &found.uid, &mut lines);
    field("gid", &expected.gid, &found.gid, &mut lines);
    field("size", &expected.size, &found.size, &mut lines);
    field("sha256", &expected.sha256, &found.sha256, &mut lines);
    field("target", &expected.target, &found.target, &mut lines);
    field("device", &expected.device, &found.device, &mut lines);
    field("xattrs", &expected.xattrs, &found.xattrs, &mut lines);
    field("mtime", &expected.mtime, &found.mtime, &mut lines);
    field("nlink", &expected.nlink, &found.nlink, &mut lines);
    if expected.nlink.is_some() && found.nlink.is_some() {
        let group = |entry: &TreeEntry| Some(entry.linked_to.clone());
        field(
            "hard-link group",
            &group(expected),
            &group(found),
            &mut lines,
        );
    }
    lines
}
