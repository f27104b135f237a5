//! Trees packed into read-only filesystems, compared with what is read back.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use flatbake::block::MemoryDevice;
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath, read_file, walk};

use super::programs::{command, judge, success};
use super::random::Random;

/// Runs a maker of images that must succeed and keep the times of files, and returns its standard output;
/// `None` where it is missing.
pub fn succeed(name: &str, arguments: &[&str]) -> Option<String> {
    let output = success(
        command(&judge(name)?)
            .args(arguments)
            .env_remove("SOURCE_DATE_EPOCH"),
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Checks that a filesystem holds exactly the tree at `root`: types, modes, times, sizes, targets, content, hard links.
pub fn assert_same_tree(fs: &dyn FileSystem, root: &Path) {
    let mut seen = 0;
    let mut links: BTreeMap<u64, u64> = BTreeMap::new();
    walk(fs, &FsPath::root(), &mut |entry| {
        seen += 1;
        let host = root.join(std::str::from_utf8(&entry.path.as_bytes()[1..]).unwrap());
        let wanted = fs::symlink_metadata(&host)
            .unwrap_or_else(|_| panic!("{} is not in the source", entry.path));
        let found = &entry.metadata;
        assert_eq!(
            found.file_type.mode_bits() | found.mode,
            wanted.mode(),
            "{}",
            entry.path
        );
        assert_eq!(found.mtime.secs, wanted.mtime(), "{}", entry.path);
        assert_eq!((found.uid, found.gid), (0, 0), "{}", entry.path);
        match found.file_type {
            FileType::File => {
                assert_eq!(found.size, wanted.size(), "{}", entry.path);
                assert_eq!(u64::from(found.nlink), wanted.nlink(), "{}", entry.path);
                assert_eq!(
                    *links.entry(wanted.ino()).or_insert(found.inode),
                    found.inode,
                    "{}",
                    entry.path
                );
                let content = read_file(fs, &entry.path, 1 << 25)?;
                assert!(
                    content == fs::read(&host).unwrap(),
                    "content of {}",
                    entry.path
                );
                check_pieces(fs, &entry.path, &content);
            }
            FileType::Symlink => {
                let target = fs::read_link(&host).unwrap();
                assert_eq!(
                    fs.read_link(entry.node)?,
                    target.as_os_str().as_encoded_bytes()
                );
            }
            _ => assert_eq!(u64::from(found.nlink), wanted.nlink(), "{}", entry.path),
        }
        Ok(())
    })
    .unwrap();
    let inodes: std::collections::BTreeSet<u64> = links.values().copied().collect();
    assert_eq!(inodes.len(), links.len(), "two files share an inode number");
    assert_eq!(seen, count(root));
}

/// Reads in the middle, across blocks, at the end and beyond.
fn check_pieces(fs: &dyn FileSystem, path: &FsPath, content: &[u8]) {
    let file = fs.open_at(path).unwrap();
    let mut random = Random::new(content.len() as u64);
    for _ in 0..if content.len() > 10_000 { 8 } else { 1 } {
        let start = random.below(content.len() + 1);
        let len = random.below(content.len() - start + 1);
        let mut piece = vec![0; len];
        file.read_at(start as u64, &mut piece).unwrap();
        assert!(
            piece == content[start..start + len],
            "{path} from {start}, {len} bytes"
        );
    }
    assert!(file.read_at(content.len() as u64, &mut [0]).is_err());
    assert!(file.read_at(u64::MAX, &mut [0; 2]).is_err());
}

fn count(dir: &Path) -> usize {
    let below = fs::read_dir(dir).unwrap().map(|entry| {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            count(&entry.path())
        } else {
            1
        }
    });
    1 + below.sum::<usize>()
}

/// Reads all there is, at most `budget` bytes of content; whatever the bytes are, this must end without a panic.
pub fn read_everything(fs: &dyn FileSystem, mut budget: u64) -> usize {
    let mut entries = 0;
    let mut buffer = vec![0; 1 << 20];
    // Any error may end the walk: only panics, endless loops and huge allocations are failures here.
    let _ = walk(fs, &FsPath::root(), &mut |entry| {
        entries += 1;
        let _ = fs.xattrs(entry.node);
        let _ = fs.read_link(entry.node);
        if let Ok(file) = fs.open(entry.node) {
            let step = file.size().min(1 << 20).min(budget);
            let buffer = &mut buffer[..usize::try_from(step).unwrap()];
            let _ = file.read_at(0, buffer);
            let _ = file.read_at(file.size() - step, buffer);
            let _ = file.read_at(
                file.size() / 2,
                &mut buffer[..usize::try_from(step.min(1)).unwrap()],
            );
            budget -= step;
        }
        if entries > 20_000 {
            Err(flatbake::Error::invalid("enough"))
        } else {
            Ok(())
        }
    });
    entries
}

pub fn device(bytes: Vec<u8>) -> Arc<MemoryDevice> {
    Arc::new(MemoryDevice::new(bytes))
}

pub fn path(path: &str) -> FsPath {
    FsPath::new(path).unwrap()
}
