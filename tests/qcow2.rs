//! What is written, judged by `qemu-img`: `check` for the structure, `compare` and `convert` for the content.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::judges::{Verdict, qcow2_clean, qemu_compare};
use crate::common::noise;
use crate::common::programs::{judge, run, said};
use crate::common::tree::sha256;
use flatbake::block::{BlockDevice, Extent, ExtentKind, FileDevice, MemoryDevice};
use flatbake::image::qcow2::{Qcow2Compression, Qcow2Options, Qcow2Summary, Qcow2Version, write};
use flatbake::{Error, ErrorKind, Finding, NoProgress, Progress, Result};

const CLUSTER: usize = 65_536;

/// A raw disk in a temporary folder and the images made from it.
struct Disk {
    folder: tempfile::TempDir,
    raw: PathBuf,
}

impl Disk {
    /// A sparse disk of `size` bytes that holds `pieces` at their offsets.
    fn new(size: u64, pieces: &[(u64, &[u8])]) -> Self {
        let folder = crate::common::scratch_dir();
        let raw = folder.path().join("disk.raw");
        let file = File::create(&raw).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        Self { folder, raw }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, options: &Qcow2Options) -> Qcow2Summary {
        let out = File::create(self.path(name)).unwrap();
        let summary = write(
            &FileDevice::open(&self.raw).unwrap(),
            &out,
            options,
            &NoProgress,
        )
        .unwrap();
        assert_eq!(out.metadata().unwrap().len(), summary.file_size);
        summary
    }

    /// Writes the disk and has it judged.
    fn judge(&self, options: &Qcow2Options) -> Qcow2Summary {
        let summary = self.write("disk.qcow2", options);
        let image = self.path("disk.qcow2");
        qcow2_clean(&image).unwrap_or_else(|said| panic!("{options:?}: {said}"));
        self.compare(&image).unwrap();
        summary
    }

    fn compare(&self, image: &Path) -> Verdict {
        qemu_compare(&self.raw, image)
    }
}

/// Lines that shrink to about a third.
fn text(len: usize) -> Vec<u8> {
    let lines = (0u64..).flat_map(|n| {
        format!("{n}: {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).into_bytes()
    });
    lines.take(len).collect()
}

/// All kinds of clusters in changing order, with boundaries inside of clusters.
fn mixed(len: usize, seed: u64) -> Vec<u8> {
    let words = text(200_000);
    let mut bytes = Vec::new();
    for (piece, choice) in noise(seed, len / 1000).into_iter().enumerate() {
        let piece_len = 37 * usize::from(choice) * (piece % 11 + 1);
        match choice % 4 {
            0 => bytes.resize(bytes.len() + piece_len, 0),
            1 => bytes.extend(noise(u64::from(choice), piece_len)),
            2 => bytes.resize(bytes.len() + piece_len, choice),
            _ => bytes.extend(&words[..piece_len]),
        }
    }
    assert!(bytes.len() >= len);
    bytes.truncate(len);
    bytes
}

fn options(version: Qcow2Version, cluster_size: u32, level: Option<u8>) -> Qcow2Options {
    let compression = level.map_or(Qcow2Compression::None, Qcow2Compression::Deflate);
    Qcow2Options {
        version,
        cluster_size,
        compression,
    }
}

fn zstd(cluster_size: u32, level: u8) -> Qcow2Options {
    Qcow2Options {
        version: Qcow2Version::V3,
        cluster_size,
        compression: Qcow2Compression::Zstd(level),
    }
}

#[test]
fn every_size_is_judged_clean() {
    let content = mixed(9 * CLUSTER, 1);
    for version in [Qcow2Version::V2, Qcow2Version::V3] {
        for size in [
            0,
            512,
            1,
            511,
            513,
            CLUSTER - 512,
            CLUSTER,
            CLUSTER + 512,
            5 * CLUSTER + 1000,
            9 * CLUSTER - 1,
        ] {
            let disk = Disk::new(size as u64, &[(0, &content[..size])]);
            let summary = disk.judge(&options(version, 65_536, Some(6)));
            assert_eq!(summary.virtual_size, (size as u64).next_multiple_of(512));
        }
    }
}

#[test]
fn every_cluster_size_is_judged_clean() {
    let content = mixed(5_000_000, 2);
    let disk = Disk::new(
        40_000_000,
        &[(0, &content[..1_000_000]), (33_333_333, &content)],
    );
    for bits in 9..=21usize {
        let version = if bits % 2 == 0 {
            Qcow2Version::V2
        } else {
            Qcow2Version::V3
        };
        let level = [None, Some(1), Some(9)][bits % 3];
        disk.judge(&options(version, 1 << bits, level));
    }
}

#[test]
fn zstd_clusters_are_judged_clean() {
    let content = mixed(3_000_001, 9);
    let disk = Disk::new(
        20_000_000,
        &[(0, &content[..1_000_000]), (16_666_666, &content)],
    );
    for (cluster_size, level) in [(512, 1), (4096, 3), (65_536, 3), (65_536, 9), (2 << 20, 3)] {
        let summary = disk.judge(&zstd(cluster_size, level));
        assert!(summary.compressed_clusters > 0, "{summary:?}");
    }
    let image = disk.path("disk.qcow2");
    let bytes = std::fs::read(&image).unwrap();
    assert_eq!(bytes[104], 1, "compression_type");
    if let Some(info) = run("qemu-img", ["info".as_ref(), image.as_os_str()]) {
        let text = said(&info);
        assert!(text.contains("compression type: zstd"), "{text}");
    }
    // The number of threads does not change a byte here either: compressors go from cluster to cluster.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(3)
        .build()
        .unwrap();
    pool.install(|| disk.write("again", &zstd(2 << 20, 3)));
    assert!(std::fs::read(disk.path("again")).unwrap() == bytes);
    let device = MemoryDevice::new(text(CLUSTER));
    for wrong in [
        zstd(65_536, 0),
        zstd(65_536, 20),
        Qcow2Options {
            version: Qcow2Version::V2,
            ..zstd(65_536, 3)
        },
    ] {
        let error =
            write(&device, &tempfile::tempfile().unwrap(), &wrong, &NoProgress).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong:?}");
    }
}

#[test]
fn many_refcount_blocks_and_table_clusters_are_judged_clean() {
    // 256 counts fit into a block of 512 bytes, and 64 blocks into a cluster of the table.
    let content = mixed(16_000_000, 3);
    let disk = Disk::new(20_000_000, &[(1_000_000, &content)]);
    let normal = disk.judge(&options(Qcow2Version::V3, 512, None));
    assert!(
        normal.file_size > 64 * 256 * 512,
        "one cluster of the refcount table does not do"
    );
    let compressed = disk.judge(&options(Qcow2Version::V3, 512, Some(3)));
    assert!(
        compressed.file_size > 20 * 256 * 512 && compressed.compressed_clusters > 1000,
        "{compressed:?}"
    );
}

#[test]
fn a_huge_sparse_disk_costs_what_it_holds() {
    let content = mixed(300_000, 4);
    let disk = Disk::new(
        8 << 30,
        &[
            (0, &content),
            ((5 << 30) + 777, &content),
            ((8 << 30) - 300_000, &content),
        ],
    );
    let summary = disk.judge(&Qcow2Options::default());
    assert!(summary.file_size < 1_500_000, "{summary:?}");
}

#[test]
fn incompressible_clusters_are_stored_as_they_are() {
    let mut content = noise(5, 20 * CLUSTER);
    let disk = Disk::new(to_u64_len(&content), &[(0, &content)]);
    let summary = disk.judge(&Qcow2Options::default());
    assert_eq!(
        (summary.compressed_clusters, summary.normal_clusters),
        (0, 20)
    );

    content[3 * CLUSTER..4 * CLUSTER].fill(9);
    content[5 * CLUSTER..7 * CLUSTER].fill(0);
    content[7 * CLUSTER..9 * CLUSTER].copy_from_slice(&text(2 * CLUSTER));
    let disk = Disk::new(to_u64_len(&content), &[(0, &content)]);
    let summary = disk.judge(&Qcow2Options::default());
    assert_eq!(
        (summary.compressed_clusters, summary.normal_clusters),
        (3, 15)
    );
    let summary = disk.judge(&options(Qcow2Version::V2, 65_536, None));
    assert_eq!(
        (summary.compressed_clusters, summary.normal_clusters),
        (0, 18)
    );
}

fn to_u64_len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

#[test]
fn conversion_back_gives_the_same_digest() {
    let content = mixed(3_000_000, 6);
    let disk = Disk::new(7_000_064, &[(4_000_064, &content)]);
    disk.write("disk.qcow2", &Qcow2Options::default());
    let image = disk.path("disk.qcow2");
    let back = disk.path("back.raw");
    let words = ["convert", "-f", "qcow2", "-O", "raw"].map(OsStr::new);
    if run(
        "qemu-img",
        words
            .into_iter()
            .chain([image.as_os_str(), back.as_os_str()]),
    )
    .is_none()
    {
        return;
    }
    let mut wanted = std::fs::read(&disk.raw).unwrap();
    wanted.resize(wanted.len().next_multiple_of(512), 0);
    assert_eq!(sha256(File::open(back).unwrap()), sha256(wanted.as_slice()));
}

#[test]
fn the_size_is_close_to_that_of_qemu_img() {
    let content = mixed(8_000_000, 7);
    let disk = Disk::new(to_u64_len(&content), &[(0, &content)]);
    let summary = disk.write("disk.qcow2", &Qcow2Options::default());
    let theirs = disk.path("theirs.qcow2");
    let words = ["convert", "-c", "-O", "qcow2"].map(OsStr::new);
    if run(
        "qemu-img",
        words
            .into_iter()
            .chain([disk.raw.as_os_str(), theirs.as_os_str()]),
    )
    .is_none()
    {
        return;
    }
    let theirs = std::fs::metadata(theirs).unwrap().len();
    assert!(
        summary.file_size * 100 <= theirs * 103,
        "{} bytes against {theirs}",
        summary.file_size
    );
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let content = mixed(6_000_000, 8);
    let disk = Disk::new(10_000_000, &[(100_000, &content)]);
    disk.write("global", &Qcow2Options::default());
    let wanted = std::fs::read(disk.path("global")).unwrap();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| disk.write("pool", &Qcow2Options::default()));
        assert!(
            std::fs::read(disk.path("pool")).unwrap() == wanted,
            "{threads} threads"
        );
    }
}

#[test]
fn the_judges_see_one_broken_byte() {
    if judge("qemu-img").is_none() {
        return;
    }
    let disk = Disk::new(20 * 65_536, &[(0, &text(20 * CLUSTER))]);
    disk.write("disk.qcow2", &Qcow2Options::default());
    let image = disk.path("disk.qcow2");
    let bytes = std::fs::read(&image).unwrap();
    let be64 = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let flip = |at: u64, mask: u8| {
        let file = File::options().write(true).open(&image).unwrap();
        file.write_all_at(&[bytes[usize::try_from(at).unwrap()] ^ mask], at)
            .unwrap();
        file
    };
    // The count of host cluster 1, which compressed clusters share.
    let refcount_block = be64(usize::try_from(be64(48)).unwrap());
    drop(flip(refcount_block + 3, 1));
    qcow2_clean(&image).unwrap_err();
    std::fs::write(&image, &bytes).unwrap();
    disk.compare(&image).unwrap();
    // A byte inside the first compressed cluster: either it does not inflate or it inflates to something else.
    drop(flip(65_536 + 2000, 0x55));
    disk.compare(&image).unwrap_err();
}

/// A device of zeroes and text that fails from some offset on.
#[derive(Debug)]
struct Broken {
    size: u64,
    reads_fail_from: u64,
    extents_fail_from: u64,
}

impl BlockDevice for Broken {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if offset + to_u64_len(buf) > self.reads_fail_from {
            return Err(Error::corrupt(format!(
                "bad block in the chunk at {offset}"
            )));
        }
        buf.fill(3);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        if offset >= self.extents_fail_from {
            return Err(Error::corrupt(format!("no extent at {offset}")));
        }
        let kind = if (offset >> 20).is_multiple_of(2) {
            ExtentKind::Data
        } else {
            ExtentKind::Zero
        };
        Ok(Extent {
            kind,
            len: (1 << 20) - offset % (1 << 20),
        })
    }
}

#[test]
fn the_devices_errors_come_out() {
    let try_write = |device: &Broken| {
        write(
            device,
            &tempfile::tempfile().unwrap(),
            &Qcow2Options::default(),
            &NoProgress,
        )
        .unwrap_err()
        .to_string()
    };
    let sound = Broken {
        size: 64 << 20,
        reads_fail_from: u64::MAX,
        extents_fail_from: u64::MAX,
    };
    let reads = Broken {
        reads_fail_from: 20 << 20,
        ..sound
    };
    assert_eq!(
        try_write(&reads),
        format!("bad block in the chunk at {}", 20 << 20)
    );
    let extents = Broken {
        extents_fail_from: 30 << 20,
        ..sound
    };
    assert_eq!(try_write(&extents), format!("no extent at {}", 30 << 20));
    let huge = Broken {
        size: u64::MAX - 5,
        ..sound
    };
    assert!(try_write(&huge).contains("too large"));
}

#[test]
fn nonsense_is_refused_and_a_full_disk_is_told() {
    let device = MemoryDevice::new(text(CLUSTER));
    let kind = |out: &File, options: &Qcow2Options| {
        write(&device, out, options, &NoProgress)
            .unwrap_err()
            .kind()
    };
    let empty = tempfile::tempfile().unwrap();
    for cluster_size in [0, 1, 256, 65_535, 4 << 20, 1 << 31] {
        assert_eq!(
            kind(&empty, &options(Qcow2Version::V2, cluster_size, None)),
            ErrorKind::InvalidInput
        );
    }
    for level in [0, 10] {
        assert_eq!(
            kind(&empty, &options(Qcow2Version::V2, 65_536, Some(level))),
            ErrorKind::InvalidInput
        );
    }
    let full = File::options()
        .write(true)
        .open(Path::new("/dev/full"))
        .unwrap();
    assert_eq!(
        kind(&full, &Qcow2Options::default()),
        ErrorKind::Environment
    );
    empty.write_all_at(b"old", 0).unwrap();
    assert_eq!(
        kind(&empty, &Qcow2Options::default()),
        ErrorKind::InvalidInput
    );
}

#[derive(Default)]
struct Count {
    bytes: AtomicU64,
    calls: Mutex<Vec<String>>,
}

impl Progress for Count {
    fn start(&self, step: &str, total_bytes: u64) {
        self.calls
            .lock()
            .unwrap()
            .push(format!("{step}: {total_bytes}"));
    }
    fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finish(&self) {
        self.calls.lock().unwrap().push("over".to_owned());
    }
    fn found(&self, finding: &Finding) {
        panic!("nothing to find: {finding}");
    }
}

#[test]
fn progress_ends_at_the_devices_size() {
    let device = Broken {
        size: (9 << 20) + 100,
        reads_fail_from: u64::MAX,
        extents_fail_from: u64::MAX,
    };
    let count = Count::default();
    write(
        &device,
        &tempfile::tempfile().unwrap(),
        &Qcow2Options::default(),
        &count,
    )
    .unwrap();
    assert_eq!(count.bytes.into_inner(), device.size);
    assert_eq!(
        count.calls.into_inner().unwrap(),
        ["writing the qcow2 image: 9437284", "over"]
    );
}
