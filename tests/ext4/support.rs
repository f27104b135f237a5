//! Devices for tests and the programs that judge.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use flatbake::Result;
use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind};
use flatbake::fs::ext4::Ext4;

use crate::common::judges::{Verdict, ext4_clean};
use crate::common::programs;
use crate::common::region::Region;

/// An image file that is edited in place, so that the judges see each step.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    size: u64,
}

impl ImageFile {
    pub fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self {
            size: file.metadata().unwrap().len(),
            file,
        }
    }
}

impl BlockDevice for ImageFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|error| flatbake::Error::io("reading", error))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size - offset,
        })
    }
}

impl BlockDeviceMut for ImageFile {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        assert!(
            offset + buf.len() as u64 <= self.size,
            "a write beyond the end"
        );
        self.file
            .write_all_at(buf, offset)
            .map_err(|error| flatbake::Error::io("writing", error))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }
}

/// Edits in memory over shared bytes: cheap to make for each of thousands of runs.
#[derive(Debug)]
pub struct Scratch {
    base: Arc<Vec<u8>>,
    changed: Mutex<std::collections::HashMap<usize, Vec<u8>>>,
    written: AtomicBool,
}

const PAGE: usize = 4096;

impl Scratch {
    pub fn new(base: Arc<Vec<u8>>) -> Self {
        Self {
            base,
            changed: Mutex::default(),
            written: AtomicBool::new(false),
        }
    }

    /// The same with other bytes in one page.
    pub fn with_page(base: Arc<Vec<u8>>, number: usize, page: Vec<u8>) -> Self {
        let scratch = Self::new(base);
        scratch.changed.lock().unwrap().insert(number, page);
        scratch
    }

    /// Whether nothing was ever written.
    pub fn is_unchanged(&self) -> bool {
        !self.written.load(Relaxed)
    }

    /// Runs `step` over the pieces (page, offset within it, range of the caller's bytes) of a range.
    fn pieces(offset: u64, len: usize, mut step: impl FnMut(usize, usize, std::ops::Range<usize>)) {
        let offset = usize::try_from(offset).unwrap();
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let take = (PAGE - at % PAGE).min(len - done);
            step(at / PAGE, at % PAGE, done..done + take);
            done += take;
        }
    }

    fn check(&self, offset: u64, len: usize) -> Result<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(flatbake::Error::corrupt("beyond the end")),
        }
    }
}

impl BlockDevice for Scratch {
    fn size(&self) -> u64 {
        self.base.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        let changed = self.changed.lock().unwrap();
        Self::pieces(offset, buf.len(), |page, at, range| {
            let bytes = changed
                .get(&page)
                .map_or(&self.base[page * PAGE..(page + 1) * PAGE], |page| page);
            let len = range.len();
            buf[range].copy_from_slice(&bytes[at..at + len]);
        });
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size() - offset,
        })
    }
}

impl BlockDeviceMut for Scratch {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check(offset, buf.len())?;
        self.written.store(true, Relaxed);
        let mut changed = self.changed.lock().unwrap();
        Self::pieces(offset, buf.len(), |page, at, range| {
            let bytes = changed
                .entry(page)
                .or_insert_with(|| self.base[page * PAGE..(page + 1) * PAGE].to_vec());
            let len = range.len();
            bytes[at..at + len].copy_from_slice(&buf[range]);
        });
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }
}

/// A command for the program; without it the test is skipped, or fails where judges are required.
pub fn judge(name: &str) -> Option<Command> {
    programs::judge(name).map(|program| programs::command(&program))
}

/// Whether all programs for these tests are there.
pub fn have_judges() -> bool {
    programs::judges(&["mke2fs", "e2fsck", "debugfs"])
}

/// Whether `e2fsck -fn` is content, or else what it says.
pub fn e2fsck(image: &Path) -> Verdict {
    ext4_clean(&Region::whole(image))
}

pub fn assert_clean(image: &Path) {
    e2fsck(image).unwrap_or_else(|words| panic!("{words}"));
}

/// The output of one debugfs run of several commands.
pub fn debugfs(image: &Path, commands: &str) -> String {
    let script = image.with_extension("debugfs");
    std::fs::write(&script, commands).unwrap();
    let output = judge("debugfs")
        .unwrap()
        .arg("-f")
        .arg(&script)
        .arg(image)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The bytes of the journal.
pub fn journal(image: &Path) -> Vec<u8> {
    let out = image.with_extension("journal");
    debugfs(image, &format!("dump <8> {}\n", out.display()));
    std::fs::read(out).unwrap()
}

pub fn edit(image: &Path) -> Ext4<ImageFile> {
    Ext4::open(ImageFile::open(image)).unwrap()
}

/// A file below `folder`.
pub fn file_in(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

/// Numbers that look random and are the same each time.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % limit
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(len)
            .collect()
    }
}
