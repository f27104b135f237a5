//! Hostile images: mutated blocks with repaired checksums must give a result or an error, quickly.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ruzstd::decoding::StreamingDecoder;

use super::Btrfs;
use super::checksum::CSUM_ROOM;
use super::compress::decompress;
use super::extent::Compression;
use super::superblock::{SUPER_LEN, SUPER_OFFSETS};
use crate::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind, MemoryDevice, check_range};
use crate::fs::{Attributes, ByPath, FileSystem, FileSystemMut, FileType, FsPath, walk};
use crate::{ErrorKind, Result};

/// A device with some blocks replaced, which remembers what was read.
#[derive(Debug)]
struct Patched {
    base: Arc<MemoryDevice>,
    patches: Vec<(u64, Vec<u8>)>,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl BlockDevice for Patched {
    fn size(&self) -> u64 {
        self.base.size()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.reads.lock().unwrap().push((offset, buf.len()));
        self.base.read_at(offset, buf)?;
        for (at, patch) in self.patches.iter().filter(|(at, _)| *at == offset) {
            let len = patch.len().min(buf.len());
            assert_eq!(*at, offset);
            buf[..len].copy_from_slice(&patch[..len]);
        }
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.base.extent_at(offset)
    }
}

fn fixture(name: &str) -> Arc<MemoryDevice> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/btrfs")
        .join(format!("{name}.img.zst"));
    let mut image = Vec::new();
    StreamingDecoder::new(File::open(path).unwrap())
        .unwrap()
        .read_to_end(&mut image)
        .unwrap();
    Arc::new(MemoryDevice::new(image))
}

/// Touches everything there is: names, attributes, link targets, the beginning, middle and end of files.
fn visit(fs: &Btrfs) -> Result<u64> {
    let mut seen = 0;
    walk(fs, &FsPath::root(), &mut |entry| {
        seen += 1;
        fs.xattrs_at(&entry.path).map(drop).or_else(tolerable)?;
        match entry.metadata.file_type {
            FileType::Symlink => fs.read_link_at(&entry.path).map(drop).or_else(tolerable),
            FileType::File => fs.open_at(&entry.path).and_then(|file| {
                let len = usize::try_from(file.size().min(10_000)).unwrap();
                let last = file.size() - len as u64;
                [0, last / 2, last]
                    .into_iter()
                    .try_for_each(|at| file.read_at(at, &mut vec![0; len]))
            }),
            _ => Ok(()),
        }
        .or_else(tolerable)
    })?;
    Ok(seen)
}

/// Damage in one entry does not keep the visit from going on.
fn tolerable(error: crate::Error) -> Result<()> {
    match error.kind() {
        ErrorKind::Corrupt
        | ErrorKind::Unsupported
        | ErrorKind::InvalidInput
        | ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// xorshift64*, so that a failure comes again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

fn mutate(random: &mut Random, block: &mut [u8]) {
    for _ in 0..=random.below(3) {
        // Half of the mutations hit the header and the table of items, where structure is.
        let end = if random.below(2) == 0 {
            block.len().min(400)
        } else {
            block.len()
        };
        let at = random.below(end);
        let value = [0, 1, 0x7f, 0x80, 0xff, random.next().to_le_bytes()[0]][random.below(6)];
        let len = [1, 1, 2, 4, 8][random.below(5)];
        match random.below(3) {
            0 => block[at] ^= 1 << random.below(8),
            _ => block[at..end.min(at + len)].fill(value),
        }
    }
}

fn repair(block: &mut [u8]) {
    let csum = crc32c::crc32c(&block[CSUM_ROOM..]).to_le_bytes();
    block[..4].copy_from_slice(&csum);
}

fn open(base: &Arc<MemoryDevice>, patches: Vec<(u64, Vec<u8>)>) -> (Arc<Patched>, Result<Btrfs>) {
    let device = Arc::new(Patched {
        base: base.clone(),
        patches,
        reads: Mutex::default(),
    });
    (device.clone(), Btrfs::open(device))
}

#[test]
fn mutated_blocks_never_panic_or_hang() {
    const ROUNDS: u32 = 20_000;
    let base = fixture("kernel-small");
    let (device, fs) = open(&base, Vec::new());
    assert!(visit(&fs.unwrap()).unwrap() > 20);
    // Superblock, tree blocks, and single sectors of data.
    let mut blocks: Vec<u64> = device
        .reads
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, len)| *len == SUPER_LEN)
        .map(|(at, _)| *at)
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    let mut whole = 0;
    for round in 0..ROUNDS {
        let at = if round % 8 == 0 {
            SUPER_OFFSETS[0]
        } else {
            blocks[random.below(blocks.len())]
        };
        let mut block = vec![0; SUPER_LEN];
        base.read_at(at, &mut block).unwrap();
        mutate(&mut random, &mut block);
        // Now and then the checksum stays wrong.
        if round % 16 != 7 {
            repair(&mut block);
        }
        match open(&base, vec![(at, block)]).1.and_then(|fs| visit(&fs)) {
            Ok(_) => whole += 1,
            Err(error) => {
                tolerable(error).unwrap();
                refused += 1;
            }
        }
    }
    assert!(
        refused > ROUNDS / 10 && whole > ROUNDS / 10,
        "{refused} refused, {whole} read"
    );
}

/// A target that takes everything and keeps nothing, but minds its bounds.
#[derive(Debug)]
struct Nowhere(u64);

impl BlockDevice for Nowhere {
    fn size(&self) -> u64 {
        self.0
    }
    fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Zero,
            len: self.0 - offset,
        })
    }
}

impl BlockDeviceMut for Nowhere {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(offset, buf.len() as u64, self.0).map(drop)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        check_range(offset, len, self.0).map(drop)
    }
}

/// Whatever is read is either refused or can be written, with an edit in between.
#[test]
fn mutated_filesystems_are_rebuilt_or_refused() {
    const ROUNDS: u32 = 4000;
    let base = fixture("kernel-small");
    let folder = std::env::temp_dir();
    let rebuild = |patches: Vec<(u64, Vec<u8>)>| {
        let source = Arc::new(Patched {
            base: base.clone(),
            patches,
            reads: Mutex::default(),
        });
        let mut editor = Btrfs::edit(source.clone(), Arc::new(Nowhere(base.size())), &folder)?;
        editor.capacity()?;
        editor.create_dir(&FsPath::new("/added").unwrap(), &Attributes::default())?;
        editor.commit().map(|()| source)
    };
    let source = rebuild(Vec::new()).unwrap();
    let mut blocks: Vec<u64> = source
        .reads
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, len)| *len == SUPER_LEN)
        .map(|(at, _)| *at)
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut refused = 0;
    let mut whole = 0;
    for _ in 0..ROUNDS {
        let at = blocks[random.below(blocks.len())];
        let mut block = vec![0; SUPER_LEN];
        base.read_at(at, &mut block).unwrap();
        mutate(&mut random, &mut block);
        repair(&mut block);
        match rebuild(vec![(at, block)]) {
            Ok(_) => whole += 1,
            Err(error) => {
                let full = error.kind() == ErrorKind::NoSpace;
                tolerable(error)
                    .or_else(|error| if full { Ok(()) } else { Err(error) })
                    .unwrap();
                refused += 1;
            }
        }
    }
    assert!(
        refused > ROUNDS / 10 && whole > ROUNDS / 10,
        "{refused} refused, {whole} written"
    );
}

#[test]
fn mutated_compressed_data_never_panics() {
    let text: Vec<u8> = (0..30_000u32)
        .flat_map(|i| (i / 7).to_string().into_bytes())
        .take(100_000)
        .collect();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(3));
    std::io::Write::write_all(&mut zlib, &text).unwrap();
    let zstd =
        ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest);
    // Two segments of literals and blocks, in sectors of 4 KiB.
    let segment = [21, b'a', b'b', b'c', b'd', 0b1110_1100, 0, 17, 0, 0];
    let mut lzo = Vec::new();
    for _ in 0..2 {
        lzo.extend(u32::try_from(segment.len()).unwrap().to_le_bytes());
        lzo.extend(segment);
    }
    lzo.splice(0..0, (u32::try_from(lzo.len()).unwrap() + 4).to_le_bytes());
    let mut random = Random(42);
    for (compression, packed, held) in [
        (Compression::Zlib, zlib.finish().unwrap(), &text[..]),
        (Compression::Zstd, zstd, &text[..]),
        (Compression::Lzo, lzo, b"abcdabcdabcdabcdabcdabcd"),
    ] {
        let out = decompress(compression, &packed, held.len() as u64, 4096).unwrap();
        assert!(out == held);
        for _ in 0..3000 {
            let mut packed = packed.clone();
            mutate(&mut random, &mut packed);
            packed.truncate(packed.len() - random.below(3));
            let _ = decompress(compression, &packed, held.len() as u64, 4096);
        }
        assert!(decompress(compression, &packed, 128 * 1024 + 1, 4096).is_err());
    }
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let base = fixture("kernel-small");
    for (at, value, message) in [
        (0x60, 0x10_0000u64, "log tree that was not replayed"),
        (0x88, 3, "on 3 devices"),
        (0x38, 1 << 32, "a seed device"),
        (0xbc, 1 << 7 | 0x345, "RAID5/6"),
        (0xbc, 1 << 15 | 0x345, "encryption"),
        (
            0xbc,
            1 << 40 | 0x345,
            "unknown incompatible features 0x10000000000",
        ),
    ] {
        let mut block = vec![0; SUPER_LEN];
        base.read_at(SUPER_OFFSETS[0], &mut block).unwrap();
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        repair(&mut block);
        let error = open(&base, vec![(SUPER_OFFSETS[0], block)]).1.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(message), "{error}");
    }
}

/// A directory entry that leads back up would make the tree endless.
#[test]
fn a_directory_inside_itself_is_refused() {
    let base = fixture("kernel-small");
    let (device, fs) = open(&base, Vec::new());
    let fs = fs.unwrap();
    let inner = fs.metadata_at(&FsPath::new("/a/b").unwrap()).unwrap().inode;
    let outer = fs.metadata_at(&FsPath::new("/a").unwrap()).unwrap().inode;
    visit(&fs).unwrap();
    // The entry "b" of /a now leads to /a itself.
    let entry = |inode: u64| [&inode.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut patches = Vec::new();
    for (at, _) in device
        .reads
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, len)| *len == SUPER_LEN)
    {
        let mut block = vec![0; SUPER_LEN];
        base.read_at(*at, &mut block).unwrap();
        let found: Vec<usize> = (0..SUPER_LEN - 31)
            .filter(|&i| {
                block[i..i + 17] == entry(inner) && block[i + 27..i + 31] == [1, 0, 2, b'b']
            })
            .collect();
        found
            .iter()
            .for_each(|&i| block[i..i + 17].copy_from_slice(&entry(outer)));
        repair(&mut block);
        if !found.is_empty() {
            patches.push((*at, block));
        }
    }
    assert!(!patches.is_empty());
    let error = visit(&open(&base, patches).1.unwrap()).unwrap_err();
    assert!(error.to_string().contains("also elsewhere"), "{error}");
}
