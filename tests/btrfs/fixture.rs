//! Images to test on: unpacked fixtures and freshly made filesystems, all in sparse temporary files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind, FileDevice};
use rustix::fs::{FallocateFlags, fallocate};
use ruzstd::decoding::StreamingDecoder;
use tempfile::NamedTempFile;

use crate::common::programs;

fn unpack(name: &str) -> impl Read + use<> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/btrfs")
        .join(name);
    StreamingDecoder::new(File::open(path).unwrap()).unwrap()
}

/// `testdata/btrfs/NAME.img.zst` as a sparse file.
pub fn image(name: &str) -> NamedTempFile {
    let mut packed = unpack(&format!("{name}.img.zst"));
    let mut file = NamedTempFile::new().unwrap();
    let mut block = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let mut len = 0;
        while len < block.len() {
            match packed.read(&mut block[len..]).unwrap() {
                0 => break,
                count => len += count,
            }
        }
        if len == 0 {
            break;
        }
        if block[..len].iter().any(|&byte| byte != 0) {
            file.as_file_mut().seek(SeekFrom::Start(size)).unwrap();
            file.write_all(&block[..len]).unwrap();
        }
        size += len as u64;
    }
    file.as_file().set_len(size).unwrap();
    file
}

/// The tree of a fixture as the kernel showed it.
pub fn tree(name: &str) -> String {
    let mut text = String::new();
    unpack(&format!("{name}.tree.zst"))
        .read_to_string(&mut text)
        .unwrap();
    text
}

pub fn device(path: &Path) -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(path).unwrap())
}

/// A program of the judges, `None` (with a line on stderr) where it is not installed.
pub fn tool(name: &str) -> Option<Command> {
    programs::judge(name).map(|program| programs::command(&program))
}

/// Runs a judge and returns whether it was satisfied, with all it printed.
pub fn run(command: &mut Command) -> (bool, String) {
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A file as a target; what is cleared becomes a hole.
#[derive(Debug)]
pub struct Target {
    file: File,
    size: u64,
}

impl Target {
    pub fn open(path: &Path) -> Arc<Self> {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let size = file.metadata().unwrap().len();
        Arc::new(Self { file, size })
    }
}

impl BlockDevice for Target {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> flatbake::Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| flatbake::Error::io("reading", error))
    }
    fn extent_at(&self, offset: u64) -> flatbake::Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

impl BlockDeviceMut for Target {
    fn write_at(&self, offset: u64, buf: &[u8]) -> flatbake::Result<()> {
        assert!(offset + buf.len() as u64 <= self.size);
        self.file
            .write_all_at(buf, offset)
            .map_err(|error| flatbake::Error::io("writing", error))
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> flatbake::Result<()> {
        assert!(offset + len <= self.size);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, offset, len)
            .map_err(|error| flatbake::Error::io("clearing", error.into()))
    }
}

/// A sparse file of the same size filled with ones where it matters that nothing old stays.
pub fn blank(size: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

/// Whether `btrfs check` finds nothing wrong, data checksums included, with all it printed.
pub fn check(path: &Path) -> Option<(bool, String)> {
    let (ok, text) = run(tool("btrfs")?
        .args(["check", "--readonly", "--check-data-csum"])
        .arg(path));
    let clean = ok
        && !["ERROR", "WARNING", "mismatch"]
            .iter()
            .any(|word| text.contains(word));
    Some((clean, text))
}

pub fn assert_clean(path: &Path, what: &str) {
    if let Some((clean, text)) = check(path) {
        assert!(clean, "{what}: {text}");
    }
}

/// Two sparse files hold the same bytes.
pub fn same_bytes(one: &Path, other: &Path) {
    let devices = [device(one), device(other)];
    let size = devices[0].size();
    assert_eq!(size, devices[1].size());
    let mut bufs = [vec![0; 1 << 20], vec![0; 1 << 20]];
    let mut at = 0;
    while at < size {
        let extents = [0, 1].map(|i| devices[i].extent_at(at).unwrap());
        let mut len = extents[0].len.min(extents[1].len);
        if extents.iter().any(|extent| extent.kind == ExtentKind::Data) {
            len = len.min(1 << 20);
            let part = usize::try_from(len).unwrap();
            (0..2).for_each(|i| devices[i].read_at(at, &mut bufs[i][..part]).unwrap());
            assert!(
                bufs[0][..part] == bufs[1][..part],
                "{} and {} differ after {at}",
                one.display(),
                other.display()
            );
        }
        at += len;
    }
}
