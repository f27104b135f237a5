//! The kernel as a judge: it mounts what was made, finds the same tree, goes on writing, and leaves it clean.
//!
//! Needs root and loop devices; skipped without.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use flatbake::fs::ext4::Ext4;
use flatbake::fs::{ByPath, FileSystemMut, FileType, FsPath};

use crate::common::programs::command;
use crate::ext4::images::{SETS, tree};
use crate::ext4::model::{Body, Model, attributes, path};
use crate::ext4::recipe::{TIMES, recipe};
use crate::ext4::support::{ImageFile, assert_clean, edit, file_in, have_judges};

/// Unmounts when it goes.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let output = command(Path::new("mount"))
            .args(["-o", "loop"])
            .arg(image)
            .arg(at)
            .output()
            .ok()?;
        output.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A child process that another test is just starting can hold the image open for a moment.
        let unmounted = || {
            command(Path::new("umount"))
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        };
        let wait = || std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(
            (0..50).any(|_| unmounted() || {
                wait();
                false
            }),
            "{} stays mounted",
            self.0.display()
        );
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Compares one entry with what the kernel shows.
fn compare(model: &Model, at: &FsPath, root: &Path) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let file = root.join(OsStr::from_bytes(&at.as_bytes()[1..]));
    let found = std::fs::symlink_metadata(&file).unwrap_or_else(|error| panic!("{at}: {error}"));
    let node = &model.nodes[model.paths[at]];
    let a = &node.attributes;
    assert_eq!(found.permissions().mode() & 0o7777, a.mode, "{at}");
    assert_eq!((found.uid(), found.gid()), (a.uid, a.gid), "{at}");
    assert_eq!(
        (found.mtime(), found.mtime_nsec()),
        (a.mtime.secs, a.mtime.nanos.into()),
        "{at}"
    );
    assert_eq!(
        found.nlink(),
        u64::try_from(model.links(at)).unwrap(),
        "{at}"
    );
    for (name, value) in &node.xattrs {
        let mut found = vec![0; value.len() + 1];
        let name = std::str::from_utf8(name).unwrap();
        let len = rustix::fs::lgetxattr(&file, name, &mut found[..])
            .unwrap_or_else(|e| panic!("{at} {name}: {e}"));
        assert!(found[..len] == **value, "{at} {name}");
    }
    match &node.body {
        Body::File(content) => assert!(std::fs::read(&file).unwrap() == *content, "{at}"),
        Body::Directory => assert!(found.is_dir(), "{at}"),
        Body::Symlink(target) => assert_eq!(
            std::fs::read_link(&file)
                .unwrap_or_else(|e| panic!("{at}: {e}"))
                .as_os_str()
                .as_bytes(),
            target,
            "{at}"
        ),
        Body::Node(file_type, (major, minor)) => {
            let kinds = [
                (FileType::CharDevice, found.file_type().is_char_device()),
                (FileType::BlockDevice, found.file_type().is_block_device()),
                (FileType::Fifo, found.file_type().is_fifo()),
                (FileType::Socket, found.file_type().is_socket()),
            ];
            assert!(kinds.contains(&(*file_type, true)), "{at}");
            let major = u64::from(*major);
            let minor = u64::from(*minor);
            assert_eq!(
                found.rdev(),
                minor & 0xFF | major << 8 | (minor & !0xFF) << 12,
                "{at}"
            );
        }
    }
}

/// Goes on as a running system would.
fn use_it(root: &Path) {
    for number in 0..300 {
        std::fs::write(
            root.join(format!("large/kernel-made-this-{number}")),
            vec![9; number],
        )
        .unwrap();
    }
    for number in (0..400).step_by(3) {
        std::fs::remove_file(root.join(format!("large/name-of-some-length-{number}"))).unwrap();
    }
    std::fs::rename(root.join("opt/a"), root.join("large/a")).unwrap();
    std::fs::create_dir_all(root.join("new/deep/deeper")).unwrap();
    std::fs::write(root.join("new/content"), vec![3; 2_000_000]).unwrap();
    let more = std::fs::OpenOptions::new()
        .append(true)
        .open(root.join("opt/more"));
    std::io::Write::write_all(&mut more.unwrap(), &[4; 100_000]).unwrap();
}

#[test]
fn mounts_and_goes_on() {
    if !have_judges() || !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    tree(&source);
    let image = file_in(&folder, "a.img");
    let root = file_in(&folder, "root");
    let mut mounted = 0;
    for set in SETS {
        set.make(&image, 48, Some(&source));
        let mut fs = edit(&image);
        let mut model = Model::of(&fs);
        recipe(&mut fs, &mut model, set.block(), TIMES);
        fs.create_dir(&path("/large"), &attributes(0o755, 1))
            .unwrap();
        model.add(&path("/large"), Body::Directory, &attributes(0o755, 1));
        for number in 0..400 {
            let at = path(&format!("/large/name-of-some-length-{number}"));
            let a = attributes(0o644, 3);
            fs.write_file(&at, &a, 4, &mut &b"1234"[..]).unwrap();
            model.add(&at, Body::File(b"1234".to_vec()), &a);
        }
        fs.commit().unwrap();
        let Some(kernel) = Mounted::new(&image, &root) else {
            eprintln!("not mountable here: {set}");
            continue;
        };
        for at in model.paths.keys() {
            compare(&model, at, &root);
        }
        use_it(&root);
        drop(kernel);
        mounted += 1;
        assert_clean(&image);
        let fs = Ext4::open_read_only(ImageFile::open(&image)).unwrap();
        assert_eq!(
            fs.entries_at(&path("/large")).unwrap().len(),
            400 + 300 - 134 + 1,
            "{set}"
        );
        // And we after it.
        let mut fs = edit(&image);
        fs.remove(&path("/large/kernel-made-this-7")).unwrap();
        fs.rename(&path("/large/a"), &path("/new/deep/a")).unwrap();
        fs.commit().unwrap();
        assert_clean(&image);
    }
    eprintln!("{mounted} of {} kinds were mounted", SETS.len());
}
