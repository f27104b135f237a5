//! The tree of an image as Ignition finds it in the initrd, before it writes anything.
//!
//! The initrd has put the users root and core and their groups into /etc, made the folders of tmpfiles, and merged /etc
//! with the image's own.

use std::sync::Arc;

use crate::error::{ErrorKind, Result};
use crate::flatcar::sysext::open_extension;
use crate::flatcar::{Designator, Disk, tmpfiles};
use crate::fs::{ByPath, FileSystem, FsPath, InnerFile};

use super::accounts;
use super::halt::{Halt, Outcome};
use super::tree::{Attributes, Content, Part, Tree, folder};

/// The image's own /etc, on USR: until 4593 as a folder, since 4628 as an extension image.
const ETC_FOLDER: &str = "/share/flatcar/etc";
const ETC_IMAGE: &str = "/lib/confexts/00-flatcar-default.raw";
/// First major version that mounts OEM at /oem.
const OEM_MOVED: u64 = 3637;
/// What the initrd runs of systemd-tmpfiles.
const TMPFILES: [&str; 4] = [
    "/usr/lib/tmpfiles.d/baselayout.conf",
    "/usr/lib/tmpfiles.d/baselayout-usr.conf",
    "/usr/lib/tmpfiles.d/baselayout-home.conf",
    "/usr/lib/tmpfiles.d/base_image_var.conf",
];
const BASELAYOUT: &str = "/usr/share/baselayout";
/// The accounts that the initrd copies into /etc.
const COPIED_USERS: [&str; 2] = ["root", "core"];
const COPIED_GROUPS: [&str; 5] = ["root", "core", "docker", "sudo", "wheel"];
/// The files of accounts: their modes, and their lines in all releases, for images that do not tell.
const DATABASES: [(&str, u32, &[&str]); 4] = [
    (
        "passwd",
        0o644,
        &[
            "root:x:0:0:root:/root:/bin/bash",
            "core:x:500:500:CoreOS Admin:/home/core:/bin/bash",
        ],
    ),
    (
        "group",
        0o644,
        &[
            "root:x:0:root",
            "wheel:x:10:root,core",
            "sudo:x:150:core",
            "docker:x:233:core",
            "core:x:500:",
        ],
    ),
    (
        "shadow",
        0o640,
        &["root:*:15887:0:::::", "core:*:15887:0:::::"],
    ),
    (
        "gshadow",
        0o640,
        &[
            "root:*::root",
            "wheel:*::root,core",
            "sudo:*::core",
            "docker:*::core",
            "core:*::",
        ],
    ),
];

/// The filesystems of an image.
pub(super) struct Image {
    root: Arc<dyn FileSystem>,
    usr: Arc<dyn FileSystem>,
    pub oem: Arc<dyn FileSystem>,
    major: Option<u64>,
}

impl Image {
    pub fn open(disk: &Disk) -> Result<Self> {
        let open = |designator: Designator| disk.filesystem(designator.into());
        Ok(Self {
            root: Arc::from(open(Designator::Root)?),
            usr: Arc::from(open(Designator::Usr)?),
            oem: Arc::from(open(Designator::Oem)?),
            major: disk.os_release()?.and_then(|release| release.major()),
        })
    }

    /// The release's major version.
    pub fn major(&self) -> Option<u64> {
        self.major
    }

    /// Where OEM is mounted.
    pub fn oem_place(&self) -> String {
        match self.major {
            Some(major) if major < OEM_MOVED => "/usr/share/oem".to_owned(),
            _ => "/oem".to_owned(),
        }
    }

    /// The tree; where ROOT is made anew, nothing of the image's is on it.
    pub fn tree(&self, is_root_new: bool) -> Outcome<Tree> {
        let mut tree = match is_root_new {
            true => Tree::empty(),
            false => Tree::new(Arc::clone(&self.root))?,
        };
        tree.mount("/usr", Arc::clone(&self.usr), true)?;
        tree.mount(&self.oem_place(), Arc::clone(&self.oem), false)?;
        for (name, mode, known) in DATABASES {
            database(&mut tree, name, mode, known)?;
        }
        for path in TMPFILES {
            if let Some(text) = tree.read(path)? {
                run_tmpfiles(&mut tree, &text)?;
            }
        }
        home_of_core(&mut tree)?;
        self.own_etc(&mut tree)?;
        tree.settle();
        Ok(tree)
    }

    /// Puts the image's own /etc below that of ROOT.
    fn own_etc(&self, tree: &mut Tree) -> Outcome<()> {
        let folder = FsPath::new(ETC_FOLDER)?;
        if let Some(node) = self.usr.find(&folder)? {
            tree.overlay("/etc", Arc::clone(&self.usr), node)?;
        }
        let path = FsPath::new(ETC_IMAGE)?;
        let file = match InnerFile::open(Arc::clone(&self.usr), path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let confext: Arc<dyn FileSystem> = Arc::from(open_extension(Arc::new(file))?);
        match confext.find(&FsPath::new("/etc")?)? {
            Some(node) => tree.overlay("/etc", confext, node),
            None => Ok(()),
        }
    }
}

/// Adds the lines of one file of accounts that /etc does not have.
fn database(tree: &mut Tree, name: &str, mode: u32, known: &[&str]) -> Outcome<()> {
    let path = format!("/etc/{name}");
    let before = tree.read(&path)?.unwrap_or_default();
    let own = tree.read(&format!("{BASELAYOUT}/{name}"))?;
    let own = own.unwrap_or_else(|| known.join("\n"));
    let copied: &[&str] = match name {
        "passwd" | "shadow" => &COPIED_USERS,
        _ => &COPIED_GROUPS,
    };
    let named = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let has = |name: &str| before.lines().any(|line| named(line) == name);
    let mut text = before.clone();
    for line in own.lines() {
        let name = named(line);
        if copied.contains(&name.as_str()) && !has(&name) {
            text.push_str(line);
            text.push('\n');
        }
    }
    if text == before {
        return Ok(());
    }
    let attributes = match tree.follow(&path)? {
        Some(id) => tree.inode(id).attributes,
        None => Attributes::of_root(mode),
    };
    tree.make_dirs("/etc", 0o755)?;
    tree.write(&path, attributes, &text)
}

/// Makes the directories, symlinks and files that tmpfiles ask for.
fn run_tmpfiles(tree: &mut Tree, text: &str) -> Outcome<()> {
    for line in text.lines() {
        let words = tmpfiles::words(line.trim());
        let word = |number: usize| {
            words
                .get(number)
                .map(String::as_str)
                .filter(|word| *word != "-")
        };
        let (Some(kind), Some(path)) = (word(0), word(1)) else {
            continue;
        };
        if kind.starts_with('#') || path.contains(['%', '*', '?', '[']) {
            continue;
        }
        let path = super::tree::clean(path);
        // What cannot be made, such as below /usr, is not; the boot goes on.
        match tmpfiles_line(tree, kind, &path, &word) {
            Ok(()) | Err(Halt::Stop(_) | Halt::Missing(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

fn tmpfiles_line<'w>(
    tree: &mut Tree,
    kind: &str,
    path: &str,
    word: &dyn Fn(usize) -> Option<&'w str>,
) -> Outcome<()> {
    let is_forced = kind.contains('+');
    let letter = kind.chars().next().unwrap_or_default();
    if !matches!(letter, 'd' | 'D' | 'v' | 'q' | 'Q' | 'L' | 'f') {
        return Ok(());
    }
    if letter == 'L' && is_forced {
        tree.remove(path)?;
    }
    if tree.lookup(path)?.is_some() {
        return Ok(());
    }
    tree.make_dirs(folder(path), 0o755)?;
    let mode =
        word(2).and_then(|mode| u32::from_str_radix(mode.trim_start_matches(['~', ':']), 8).ok());
    let uid = match word(3) {
        Some(name) => accounts::user(tree, name)?.map(|user| user.uid),
        None => None,
    };
    let gid = match word(4) {
        Some(name) => accounts::group(tree, name)?.map(|(gid, _)| gid),
        None => None,
    };
    let attributes = |default: u32| Attributes {
        mode: mode.unwrap_or(default),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
    };
    match letter {
        'L' => {
            let target = word(6).unwrap_or_default();
            let part = Part::Symlink(target.as_bytes().to_vec());
            tree.create(path, Attributes::of_root(0o777), part)?;
        }
        'f' => {
            let content = word(6).unwrap_or_default().as_bytes().to_vec();
            let part = Part::File(Content::Bytes(Arc::new(content)));
            tree.create(path, attributes(0o644), part)?;
        }
        _ => {
            tree.create(path, attributes(0o755), super::tree::new_directory())?;
        }
    }
    Ok(())
}

/// The home folder of core, which tmpfiles of all releases make.
fn home_of_core(tree: &mut Tree) -> Outcome<()> {
    let Some(core) = accounts::user(tree, "core")? else {
        return Ok(());
    };
    if tree.lookup(&core.home)?.is_some() {
        return Ok(());
    }
    tree.make_dirs(folder(&core.home), 0o755)?;
    let attributes = Attributes {
        mode: 0o755,
        uid: core.uid,
        gid: core.gid,
    };
    tree.create(&core.home, attributes, super::tree::new_directory())?;
    Ok(())
}
