//! Damaged images: any of them gives a result or an error, in bounded time.
//!
//! Half of the images have no checksums, so that the damage reaches the code behind; those of the others are repaired.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flatbake::block::{BlockDevice, BlockDeviceMut};
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{ByPath, FileSystem, FileSystemMut, FileType, FsPath, MetadataChange, walk};
use flatbake::{Error, Result};

use crate::common::longer;
use crate::ext4::images::{debugfs_write, index_directories, mke2fs};
use crate::ext4::model::{attributes, path};
use crate::ext4::seal::Seals;
use crate::ext4::support::{Numbers, Scratch, debugfs, edit, file_in, have_judges};

const RUNS: u64 = 4000;
/// A run takes about a millisecond; this allows for a busy machine.
const RUN_TIME_MAX: Duration = Duration::from_secs(10);
const PAGE: usize = 4096;
/// Bytes of the device of 12 MiB filesystems, so that they can grow.
const DEVICE: u64 = 20 << 20;

/// Every structure there is, within 12 MiB.
fn sample(image: &Path, features: &str, source: &Path) {
    std::fs::create_dir_all(source.join("indexed")).unwrap();
    for number in 0..150 {
        std::fs::write(
            source.join(format!("indexed/a-name-that-takes-some-room-{number}")),
            "",
        )
        .unwrap();
    }
    std::fs::write(source.join("file"), vec![1; 50_000]).unwrap();
    mke2fs(image, 12, features, Some(source), &["-m", "0"]);
    index_directories(image);
    let mut fs = edit(image);
    fs.create_dir(&path("/dir"), &attributes(0o755, 1)).unwrap();
    fs.symlink(&path("/dir/slow"), &[b's'; 100], &attributes(0o777, 1))
        .unwrap();
    fs.symlink(&path("/dir/fast"), b"target", &attributes(0o777, 1))
        .unwrap();
    fs.mknod(
        &path("/dir/node"),
        FileType::CharDevice,
        (5, 1),
        &attributes(0o600, 1),
    )
    .unwrap();
    for number in 0..40 {
        let at = path(&format!("/dir/piece{number}"));
        fs.write_file(&at, &attributes(0o600, 1), 4096, &mut &[2; PAGE][..])
            .unwrap();
    }
    for number in (0..40).step_by(2) {
        fs.remove(&path(&format!("/dir/piece{number}"))).unwrap();
    }
    let free = fs.capacity().unwrap().free_bytes - 22 * 4096;
    fs.write_file(
        &path("/dir/tree"),
        &attributes(0o600, 1),
        free,
        &mut std::io::repeat(3).take(free),
    )
    .unwrap();
    fs.write_file(
        &path("/dir/scattered"),
        &attributes(0o600, 1),
        18 * 4096,
        &mut std::io::repeat(4).take(18 * 4096),
    )
    .unwrap();
    fs.remove(&path("/dir/tree")).unwrap();
    fs.set_xattr(&path("/dir/scattered"), b"user.small", b"value")
        .unwrap();
    fs.set_xattr(&path("/dir/scattered"), b"trusted.large", &[5; 1000])
        .unwrap();
    fs.commit().unwrap();
    let stat = debugfs(image, "stat /dir/scattered\n");
    assert!(
        stat.contains("(ETB0)") || stat.contains("(IND)"),
        "a tree with a block: {stat}"
    );
}

/// Reads everything there is.
fn read_all(fs: &Ext4<Arc<Scratch>>) -> Result<()> {
    fs.capacity()?;
    walk(fs, &FsPath::root(), &mut |entry| {
        // One damaged entry does not keep the others from being read.
        let _ = fs.xattrs_at(&entry.path);
        match entry.metadata.file_type {
            FileType::Symlink => {
                let _ = fs.read_link_at(&entry.path);
            }
            FileType::File => {
                if let Ok(file) = fs.open_at(&entry.path) {
                    let mut buf = [0; 8192];
                    for offset in [0, file.size().saturating_sub(8192), file.size() / 2] {
                        let len = usize::try_from((file.size() - offset).min(8192)).unwrap();
                        let _ = file.read_at(offset, &mut buf[..len]);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    })
}

/// Edits until something fails; `which` picks where to begin.
fn edit_some(device: &Arc<Scratch>, which: usize) -> Result<()> {
    let good = attributes(0o644, 77);
    type Edit = fn(&mut Ext4<Arc<Scratch>>, &flatbake::fs::Attributes) -> Result<()>;
    let edits: [Edit; 13] = [
        |fs, _| fs.grow(DEVICE),
        |fs, a| {
            fs.hard_link(&path("/dir/node"), &path("/indexed/another"))
                .and_then(|()| fs.create_dir(&path("/new"), a))
        },
        |fs, a| {
            fs.write_file(
                &path("/dir/scattered"),
                a,
                200_000,
                &mut std::io::repeat(6).take(200_000),
            )
        },
        |fs, _| fs.remove(&path("/dir/scattered")),
        |fs, a| {
            fs.write_file(
                &path("/indexed/new-name-that-is-quite-long-and-new"),
                a,
                5,
                &mut &b"12345"[..],
            )
        },
        |fs, _| fs.remove(&path("/indexed/a-name-that-takes-some-room-7")),
        |fs, a| fs.create_dir(&path("/dir/made"), a),
        |fs, _| fs.set_xattr(&path("/dir/scattered"), b"user.other", &[1; 500]),
        |fs, _| fs.remove_xattr(&path("/dir/scattered"), b"trusted.large"),
        |fs, _| fs.rename(&path("/dir"), &path("/indexed/dir")),
        |fs, _| fs.rename(&path("/file"), &path("/dir/scattered")),
        |fs, a| fs.symlink(&path("/link"), &[b'x'; 300], a),
        |fs, _| {
            fs.set_metadata(
                &path("/dir/slow"),
                &MetadataChange {
                    uid: Some(9),
                    ..Default::default()
                },
            )
        },
    ];
    let mut fs = Ext4::open(device.clone())?;
    for step in 0..3 {
        edits[(which + step * 4) % edits.len()](&mut fs, &good)?;
    }
    fs.commit()
}

/// Overwrites one to three numbers.
fn mutate(numbers: &mut Numbers, bytes: &mut [u8]) {
    for _ in 0..1 + numbers.below(3) {
        let at = numbers.below(bytes.len() - 4);
        let limits = [
            0u32,
            1,
            2,
            0xFF,
            0xFFFF,
            0x7FFF_FFFF,
            0x8000_0000,
            0xFFFF_FFFF,
        ];
        let any = u32::try_from(numbers.next() & 0xFFFF_FFFF).unwrap();
        let value = [
            limits[numbers.below(limits.len())],
            any,
            any & 0xFF,
            any & 0xFFFF,
        ][numbers.below(4)];
        let width = [1, 2, 4][numbers.below(3)];
        // Fields are aligned; a third of the mutations are not.
        let at = if numbers.below(3) == 0 {
            at
        } else {
            at / width * width
        };
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
}

/// One run on a damaged image; the outcomes of reading and editing.
fn run(device: Scratch, number: u64) -> (Result<()>, Result<()>) {
    let begin = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let device = Arc::new(device);
        let read = Ext4::open_read_only(device.clone()).and_then(|fs| read_all(&fs));
        assert!(device.is_unchanged(), "reading wrote");
        (read, edit_some(&device, usize::try_from(number).unwrap()))
    }));
    assert!(
        begin.elapsed() < RUN_TIME_MAX,
        "run {number} took {:?}",
        begin.elapsed()
    );
    outcome.unwrap_or_else(|_| panic!("run {number} panicked"))
}

/// Blocks that hold metadata: not zero, not file content, not the journal.
fn metadata_blocks(image: &[u8], journal: &[usize]) -> Vec<usize> {
    let holds_metadata = |block: &usize| {
        let bytes = &image[block * PAGE..(block + 1) * PAGE];
        bytes.iter().any(|byte| *byte != bytes[0]) && !journal.contains(block)
    };
    (0..image.len() / PAGE).filter(holds_metadata).collect()
}

fn journal_blocks(image: &Path) -> Vec<usize> {
    debugfs(image, "blocks <8>\n")
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Damages an image in `runs` ways, whole pages at a time; counts what refuses to be read and to be edited.
fn damage(file: &Path, blocks: &[usize], runs: u64) -> [u32; 2] {
    let mut bytes = std::fs::read(file).unwrap();
    bytes.resize(usize::try_from(DEVICE).unwrap(), 0);
    let image = Arc::new(bytes);
    let runs = longer(runs);
    let (read, edited) = run(Scratch::new(image.clone()), 0);
    read.and(edited).unwrap();
    let mut refused = [0, 0];
    for number in 0..runs {
        let mut numbers = Numbers::new(number + 1);
        let block = blocks[numbers.below(blocks.len())];
        let mut page = image[block * PAGE..(block + 1) * PAGE].to_vec();
        mutate(&mut numbers, &mut page);
        let (read, edited) = run(Scratch::with_page(image.clone(), block, page), number);
        refused[0] += u32::from(read.is_err());
        refused[1] += u32::from(edited.is_err());
    }
    eprintln!(
        "{runs} runs on {} blocks: {} refused reading, {} editing",
        blocks.len(),
        refused[0],
        refused[1]
    );
    refused
}

#[test]
fn thousands_of_damaged_images() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    let ext3 = "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize";
    for (number, features) in [
        "^metadata_csum",
        ext3,
        "inline_data,ea_inode,^metadata_csum,meta_bg,^resize_inode",
    ]
    .iter()
    .enumerate()
    {
        sample(&file, features, &file_in(&folder, &format!("tree{number}")));
        let image = std::fs::read(&file).unwrap();
        let blocks = metadata_blocks(&image, &journal_blocks(&file));
        assert!(blocks.len() > 20);
        let refused = damage(&file, &blocks, RUNS / 2);
        assert!(refused.iter().all(|count| *count > 50), "{features}");
    }
}

#[test]
fn damaged_journals() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    sample(&file, "^metadata_csum", &file_in(&folder, "tree"));
    let data = file_in(&folder, "data");
    let image = std::fs::read(&file).unwrap();
    let table = usize::from(u16::from_le_bytes(
        image[PAGE + 8..PAGE + 10].try_into().unwrap(),
    ));
    std::fs::write(&data, &image[table * PAGE..(table + 3) * PAGE]).unwrap();
    let at = data.display();
    let log = format!(
        "jw -b {table},{},{} {at}\njw -r 900,901\n",
        table + 1,
        table + 2
    );
    debugfs_write(&file, &format!("jo\n{log}{log}jc\n"));
    let image = std::fs::read(&file).unwrap();
    let journal: Vec<usize> = journal_blocks(&file).into_iter().take(16).collect();
    assert!(
        journal.len() == 16 && image[journal[1] * PAGE..].starts_with(&[0xC0, 0x3B, 0x39, 0x98])
    );
    let refused = damage(&file, &journal, RUNS / 2);
    assert!(refused.iter().all(|count| *count > 20), "{refused:?}");
}

#[test]
fn damage_with_repaired_checksums() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    sample(&file, "", &file_in(&folder, "tree"));
    let image = Arc::new(std::fs::read(&file).unwrap());
    let seals = Seals::of(&file, &image);
    let blocks: Vec<usize> = seals.roles.keys().copied().collect();
    for block in &blocks {
        let page = image[block * PAGE..(block + 1) * PAGE].to_vec();
        let mut sealed = page.clone();
        seals.repair(*block, &mut sealed);
        let used = page
            .chunks(256)
            .zip(sealed.chunks(256))
            .filter(|(page, _)| page.iter().any(|byte| *byte != 0));
        assert!(
            used.into_iter().all(|(page, sealed)| page == sealed),
            "the repair differs: {:?}",
            seals.roles[block]
        );
    }
    let mut unsealed = 0;
    let mut refused = 0;
    let runs = longer(RUNS);
    for number in 0..runs {
        let mut numbers = Numbers::new(number + 1);
        let block = blocks[numbers.below(blocks.len())];
        let mut page = image[block * PAGE..(block + 1) * PAGE].to_vec();
        // The superblock is block 0's only content, and its first 400 bytes those that matter.
        mutate(
            &mut numbers,
            if block == 0 {
                &mut page[1024..1424]
            } else {
                &mut page
            },
        );
        if number % 8 != 0 {
            seals.repair(block, &mut page);
        }
        let (read, edited) = run(Scratch::with_page(image.clone(), block, page), number);
        let errors: Vec<String> = [read, edited]
            .into_iter()
            .filter_map(Result::err)
            .map(|e| e.to_string())
            .collect();
        unsealed += u32::from(errors.iter().any(|error| error.contains("checksum")));
        refused += u32::from(!errors.is_empty());
    }
    eprintln!(
        "{runs} runs on {} blocks: {refused} refused, {unsealed} for a checksum",
        blocks.len()
    );
    assert!(refused > 500 && unsealed > 100 && unsealed < refused / 2);
}

/// Entries that lie nowhere are missing: a folder with a hole, or with a block that was never written, is not an empty one.
#[test]
fn a_directory_whose_blocks_are_missing_is_an_error() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    for features in ["^metadata_csum", "^metadata_csum,^extent,^64bit"] {
        mke2fs(&file, 16, features, None, &["-b", "1024"]);
        let mut fs = edit(&file);
        fs.create_dir(&path("/dir"), &attributes(0o755, 1)).unwrap();
        (0..60).for_each(|n| {
            fs.create_dir(
                &path(&format!("/dir/sub-with-a-long-name-{n}")),
                &attributes(0o755, 1),
            )
            .unwrap()
        });
        fs.commit().unwrap();
        let whole = std::fs::read(&file).unwrap();
        let words = debugfs(&file, "imap /dir\n");
        let place = words.split("located at block ").nth(1).unwrap();
        let (block, offset) = place.split_once(", offset 0x").unwrap();
        let offset = usize::from_str_radix(offset.split_whitespace().next().unwrap(), 16).unwrap();
        let i_block = block.parse::<usize>().unwrap() * 1024 + offset + 40;
        let damages: &[(usize, u8)] = match features.contains("extent") {
            // The first pointer, and the second.
            true => &[(0, 0), (4, 0)],
            // The first extent's length says "unwritten"; it begins one block further on; it is one block shorter.
            false => &[
                (12 + 5, 0x80),
                (12, 1),
                (12 + 4, whole[i_block + 12 + 4] - 1),
            ],
        };
        for &(at, value) in damages {
            let mut damaged = whole.clone();
            assert_ne!(damaged[i_block + at], value);
            damaged[i_block + at] = value;
            if features.contains("extent") {
                damaged[i_block + at + 1..i_block + at + 4].fill(0);
            }
            let fs = Ext4::open_read_only(Scratch::new(Arc::new(damaged))).unwrap();
            let error = fs.entries_at(&path("/dir")).unwrap_err();
            assert_eq!(
                error.kind(),
                flatbake::ErrorKind::Corrupt,
                "{features} {at}: {error}"
            );
        }
    }
}

#[test]
fn a_directory_within_itself_is_not_endless() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    mke2fs(&file, 16, "^metadata_csum", None, &[]);
    let mut fs = edit(&file);
    fs.create_dir(&path("/loop-loop"), &attributes(0o755, 1))
        .unwrap();
    fs.commit().unwrap();
    let mut image = std::fs::read(&file).unwrap();
    let name = image
        .windows(9)
        .position(|bytes| bytes == b"loop-loop")
        .unwrap();
    image[name - 8] = 2;
    let fs = Ext4::open_read_only(Scratch::new(Arc::new(image))).unwrap();
    let error = walk(&fs, &FsPath::root(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), flatbake::ErrorKind::Corrupt);
}

/// A device that breaks off after some writes: the error comes out and nothing is committed.
#[derive(Debug)]
struct Failing(Scratch, std::sync::atomic::AtomicI64);

impl BlockDevice for Failing {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }
    fn extent_at(&self, offset: u64) -> Result<flatbake::block::Extent> {
        self.0.extent_at(offset)
    }
}

impl BlockDeviceMut for Failing {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        if self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0 {
            return Err(Error::no_space("the overlay is full"));
        }
        self.0.write_at(offset, buf)
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.0.write_zeroes(offset, len)
    }
}

#[test]
fn an_error_of_the_device_comes_out_whole() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a.img");
    mke2fs(&file, 16, "", None, &[]);
    let image = Arc::new(std::fs::read(&file).unwrap());
    let mut committed = false;
    for writes in 0..12 {
        let device = Failing(Scratch::new(image.clone()), writes.into());
        let mut fs = Ext4::open(device).unwrap();
        let outcome = fs
            .write_file(&path("/f"), &attributes(0o644, 1), 5, &mut &b"12345"[..])
            .and_then(|()| fs.commit());
        committed = outcome.is_ok();
        if let Err(error) = outcome {
            assert_eq!(error.kind(), flatbake::ErrorKind::NoSpace);
            assert!(error.to_string().contains("the overlay is full"), "{error}");
            assert!(fs.commit().is_err());
        } else {
            assert!(writes > 4);
        }
    }
    assert!(committed);
}
