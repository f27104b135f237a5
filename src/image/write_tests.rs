//! What the writers of all formats write, judged by `qemu-img`: `check` where it has one, `compare` with the raw disk.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::vmdk::Adapter;
use super::{Identity, parallels, vdi, vhd, vhdx, vmdk};
use crate::block::{BlockDevice, Extent, ExtentKind, FileDevice};
use crate::bytes::judge::judge;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::NoProgress;

/// A format: its name here, QEMU's name for it, whether QEMU checks it, and its writer.
struct Format {
    name: &'static str,
    qemu: &'static str,
    checked: bool,
    write: fn(&dyn BlockDevice, &File, &Identity) -> Result<()>,
}

const EXTENT: &str = "extent-flat.vmdk";

fn told<'a>(name: &'a str, adapter: Adapter, identity: &'a Identity) -> vmdk::VmdkTold<'a> {
    vmdk::VmdkTold {
        name,
        adapter,
        identity,
    }
}

const FORMATS: [Format; 9] = [
    Format {
        name: "vmdk_ide",
        qemu: "vmdk",
        checked: true,
        write: |device, out, identity| {
            let told = told("disk.vmdk", Adapter::Ide, identity);
            vmdk::write_sparse(device, out, &told, &NoProgress)
        },
    },
    Format {
        name: "vmdk_scsi",
        qemu: "vmdk",
        checked: true,
        write: |device, out, identity| {
            let told = told("disk.vmdk", Adapter::Lsilogic, identity);
            vmdk::write_sparse(device, out, &told, &NoProgress)
        },
    },
    Format {
        name: "vmdk_stream",
        qemu: "vmdk",
        checked: true,
        write: |device, out, identity| {
            let told = told("disk.vmdk", Adapter::Lsilogic, identity);
            vmdk::write_stream(device, out, &told, 6, &NoProgress)
        },
    },
    Format {
        name: "vhd",
        qemu: "vpc",
        checked: false,
        write: |device, out, identity| vhd::write_dynamic(device, out, identity, &NoProgress),
    },
    Format {
        name: "vhd_fixed",
        qemu: "vpc",
        checked: false,
        write: |device, out, identity| vhd::write_fixed(device, out, identity, &NoProgress),
    },
    Format {
        name: "vhdx",
        qemu: "vhdx",
        checked: true,
        write: |device, out, identity| vhdx::write(device, out, 512, identity, &NoProgress),
    },
    Format {
        name: "vdi",
        qemu: "vdi",
        checked: true,
        write: |device, out, identity| vdi::write(device, out, identity, &NoProgress),
    },
    Format {
        name: "hds",
        qemu: "parallels",
        checked: true,
        write: |device, out, identity| {
            parallels::write(device, out, "disk.hdd", identity, &NoProgress).map(drop)
        },
    },
    Format {
        name: "vmdk_flat",
        qemu: "raw",
        checked: false,
        write: |device, out, identity| {
            let told = told(EXTENT, Adapter::Ide, identity);
            vmdk::write_flat(device, out, &told, &NoProgress).map(drop)
        },
    },
];

/// Runs `qemu-img` and returns its exit code and output; `None` where it is not installed and not required.
fn qemu_img(arguments: &[&str]) -> Option<(i32, String)> {
    let output = judge("qemu-img")?.args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

/// A raw disk in a temporary folder and the images made from it.
struct Disk {
    folder: tempfile::TempDir,
    raw: PathBuf,
}

impl Disk {
    /// A sparse disk of `size` bytes that holds `pieces` at their offsets.
    fn new(size: u64, pieces: &[(u64, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let raw = folder.path().join("disk.raw");
        let file = File::create(&raw).unwrap();
        file.set_len(size).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        Self { folder, raw }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write_as(&self, format: &Format, name: &str, identity: &Identity) -> String {
        let path = self.path(name);
        let out = File::create(&path).unwrap();
        (format.write)(&FileDevice::open(&self.raw).unwrap(), &out, identity).unwrap();
        path
    }

    fn write(&self, format: &Format) -> String {
        self.write_as(format, format.name, &Identity::default())
    }

    /// What the judges say to an image; `None` for nothing.
    fn verdict(&self, format: &Format, image: &str) -> Option<String> {
        let check = ["check", "-f", format.qemu, image];
        let compare = [
            "compare",
            "-f",
            "raw",
            "-F",
            format.qemu,
            self.raw.to_str().unwrap(),
            image,
        ];
        let mut verdicts = Vec::new();
        if format.checked {
            verdicts.push(qemu_img(&check)?);
        }
        verdicts.push(qemu_img(&compare)?);
        verdicts
            .into_iter()
            .find(|(code, _)| *code != 0)
            .map(|(_, text)| format!("{}: {text}", format.name))
    }

    fn judge(&self) {
        for format in &FORMATS {
            let image = self.write(format);
            assert_eq!(self.verdict(format, &image), None);
            fs::remove_file(image).unwrap();
        }
    }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Zeroes, noise and text in turn, with boundaries anywhere.
fn mixed(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, choice) in noise(len, 7).into_iter().enumerate() {
        let piece = 700 * usize::from(choice) + n;
        match choice % 3 {
            0 => bytes.resize(bytes.len() + piece, 0),
            1 => bytes.extend(noise(piece, u64::from(choice))),
            _ => bytes
                .extend((0..piece / 5).flat_map(|n| format!("{:x}, ", n * n % 9973).into_bytes())),
        }
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn every_size_is_judged_clean() {
    let content = mixed(2_300_000);
    for size in [0, 1, 65_537, 2_300_000] {
        Disk::new(size as u64, &[(0, &content[..size])]).judge();
    }
}

#[test]
fn incompressible_and_scattered_data_are_judged_clean() {
    Disk::new(3_000_000, &[(0, &noise(3_000_000, 1))]).judge();
    let content = mixed(400_000);
    // Blocks and tables of every format in the middle, at the start and at the end of the disk.
    let at = [
        0,
        31 << 20,
        (32 << 20) - 100_000,
        100 << 20,
        (200 << 20) - 400_000,
    ];
    Disk::new(200 << 20, &at.map(|offset| (offset, &content[..]))).judge();
}

#[test]
fn a_huge_sparse_disk_costs_what_it_holds() {
    let content = mixed(300_000);
    let size = (8 << 30) + 512;
    let disk = Disk::new(
        size,
        &[
            (0, &content),
            ((5 << 30) + 777, &content),
            (size - 300_000, &content),
        ],
    );
    for format in &FORMATS {
        let image = disk.write(format);
        // QEMU does not look for holes in vhdx: comparing would read all of them.
        if format.qemu != "vhdx" {
            assert_eq!(disk.verdict(format, &image), None);
        }
        let taken = fs::metadata(&image).unwrap().blocks() * 512;
        assert!(taken < 5 << 20, "{}: {taken} bytes", format.name);
        fs::remove_file(image).unwrap();
    }
    Disk::new(100 << 20, &[]).judge();
}

#[test]
fn the_virtual_size_is_exact() {
    let disk = Disk::new(10_000_384, &[(5, b"x")]);
    for format in &FORMATS {
        let image = disk.write(format);
        let Some((code, text)) = qemu_img(&["info", "--output", "json", "-f", format.qemu, &image])
        else {
            return;
        };
        assert_eq!(code, 0, "{text}");
        let info: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(info["virtual-size"], 10_000_384, "{}", format.name);
    }
}

#[test]
fn flat_descriptors_and_stream_markers_are_read_by_their_name() {
    let disk = Disk::new(3 << 20, &[(1 << 20, &noise(100_000, 3))]);
    let extent = File::create(disk.path(EXTENT)).unwrap();
    let device = FileDevice::open(&disk.raw).unwrap();
    let identity = Identity::default();
    let told = told(EXTENT, Adapter::Lsilogic, &identity);
    let text = vmdk::write_flat(&device, &extent, &told, &NoProgress).unwrap();
    fs::write(disk.path("flat.vmdk"), text).unwrap();
    let arguments = [
        "compare",
        "-f",
        "raw",
        "-F",
        "vmdk",
        disk.raw.to_str().unwrap(),
        &disk.path("flat.vmdk"),
    ];
    if let Some((code, text)) = qemu_img(&arguments) {
        assert_eq!(code, 0, "{text}");
    }
    let stream = disk.write(&FORMATS[2]);
    let bytes = fs::read(&stream).unwrap();
    let footer = &bytes[bytes.len() - 1536..];
    assert_eq!(bytes[4], 3, "version");
    assert!(
        bytes[..512] == footer[512..1024],
        "both headers name the directory"
    );
    assert_eq!(
        (footer[0], footer[12], &footer[512..516]),
        (1, 3, &b"KDMV"[..]),
        "marker and footer"
    );
    assert!(
        footer[1024..].iter().all(|&byte| byte == 0),
        "end of stream"
    );
    if let Some((_, text)) = qemu_img(&["info", &stream]) {
        assert!(
            text.contains("streamOptimized") && text.contains("compressed: true"),
            "{text}"
        );
    }
}

#[test]
fn same_content_gives_same_bytes_and_other_content_or_seed_others() {
    let content = mixed(1_500_000);
    let disk = Disk::new(40_000_000, &[(100_000, &content), (33_000_000, &content)]);
    // The same content, but no hole is known.
    let other = Disk::new(40_000_000, &[(0, &fs::read(&disk.raw).unwrap())]);
    let changed = Disk::new(40_000_000, &[(100_001, &content), (33_000_000, &content)]);
    let seeded = Identity {
        seed: "twin".to_owned(),
        time: 0,
    };
    for format in &FORMATS[..8] {
        let image = fs::read(disk.write(format)).unwrap();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let again = pool.install(|| disk.write_as(format, "again", &Identity::default()));
            assert!(
                fs::read(again).unwrap() == image,
                "{}, {threads} threads",
                format.name
            );
        }
        assert!(
            fs::read(other.write(format)).unwrap() == image,
            "{}, without holes",
            format.name
        );
        assert!(
            fs::read(changed.write(format)).unwrap() != image,
            "{}",
            format.name
        );
        if format.name != "hds" {
            let twin = disk.write_as(format, "twin", &seeded);
            assert!(
                fs::read(&twin).unwrap() != image,
                "{}, another seed",
                format.name
            );
            assert_eq!(disk.verdict(format, &twin), None);
        }
    }
}

#[test]
fn one_broken_byte_is_seen_by_the_judge() {
    let disk = Disk::new(3 << 20, &[(0, &mixed(3 << 20))]);
    for format in &FORMATS {
        let image = disk.write(format);
        let len = fs::metadata(&image).unwrap().len();
        let file = File::options().read(true).write(true).open(&image).unwrap();
        // Here lie data in every format.
        let mut byte = [0];
        file.read_exact_at(&mut byte, len / 10 * 7).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], len / 10 * 7).unwrap();
        if qemu_img(&["--version"]).is_some() {
            assert!(disk.verdict(format, &image).is_some(), "{}", format.name);
        }
    }
}

/// A device whose bytes cannot be read from some offset on.
#[derive(Debug)]
struct Broken(u64);

impl BlockDevice for Broken {
    fn size(&self) -> u64 {
        64 << 20
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if offset + buf.len() as u64 > self.0 {
            return Err(Error::corrupt("bad block"));
        }
        buf.fill(3);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size() - offset,
        })
    }
}

/// A device that claims a size.
#[derive(Debug)]
struct Huge;

impl BlockDevice for Huge {
    fn size(&self) -> u64 {
        u64::MAX - 100
    }

    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<()> {
        Err(Error::internal("nothing is to be read"))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent {
            kind: ExtentKind::Zero,
            len: self.size() - offset,
        })
    }
}

#[test]
fn failures_come_out_and_nonsense_is_refused() {
    let identity = Identity::default();
    for Format { name, write, .. } in &FORMATS {
        let out = tempfile::tempfile().unwrap();
        assert_eq!(
            write(&Broken(20 << 20), &out, &identity)
                .unwrap_err()
                .to_string(),
            "bad block",
            "{name}"
        );
        assert_eq!(
            write(&Broken(0), &out, &identity).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name}: not empty"
        );
        let out = tempfile::tempfile().unwrap();
        assert_eq!(
            write(&Huge, &out, &identity).unwrap_err().kind(),
            ErrorKind::Unsupported,
            "{name}"
        );
        let full = File::options()
            .write(true)
            .open(Path::new("/dev/full"))
            .unwrap();
        let error = write(&Broken(u64::MAX), &full, &identity).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Environment | ErrorKind::Io),
            "{name}: {error:?}"
        );
    }
}
