//! Damaged and hostile images: every reader gives a result or an error, and never reads far more than there is.
//!
//! Each image of `testdata/images` is changed in its header and tables, thousands of times, its checksums made good
//! again where there are some, and then read. What is wanted is no panic, no endless loop and no huge allocation.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::format::Format;
use super::open::open_disk;
use super::references::References;
use crate::block::{BlockDevice, Extent, ExtentKind, Inputs, check_range};
use crate::bytes::{is_zero, to_u64, to_usize};
use crate::error::Result;
use crate::progress::NoProgress;

/// An image in memory, some bytes of which are changed.
#[derive(Debug, Clone)]
struct Changed {
    image: Arc<Vec<u8>>,
    patches: Vec<(usize, Vec<u8>)>,
}

impl Changed {
    fn patch(&mut self, offset: usize, bytes: &[u8]) {
        self.patches.push((offset, bytes.to_vec()));
    }

    fn bytes(&self, range: Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; range.len()];
        self.read_at(to_u64(range.start), &mut bytes).unwrap();
        bytes
    }
}

impl BlockDevice for Changed {
    fn size(&self) -> u64 {
        to_u64(self.image.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(offset, to_u64(buf.len()), self.size())?;
        let start = to_usize(offset)?;
        buf.copy_from_slice(&self.image[start..start + buf.len()]);
        for (at, bytes) in &self.patches {
            for (n, byte) in bytes.iter().enumerate() {
                if let Some(target) = (at + n)
                    .checked_sub(start)
                    .and_then(|index| buf.get_mut(index))
                {
                    *target = *byte;
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size())?;
        Ok(Extent {
            kind: ExtentKind::Data,
            len: self.size() - offset,
        })
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/images")
        .join(format!("{name}.zst"));
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

fn open(image: Changed, format: Format) -> Result<Arc<dyn BlockDevice>> {
    let inputs = Inputs::default();
    let references = References::new(Path::new("/nowhere/image"), false, &inputs, &NoProgress);
    open_disk(Arc::new(image), format, &references)
}

/// Walks the extents and reads some of what they hold: a hostile disk may be far too large to read in full.
fn read(device: &dyn BlockDevice) -> Result<()> {
    let mut buf = vec![0; 300_000];
    let mut at = 0;
    let mut budget = 2 << 20;
    for _ in 0..2000 {
        if at >= device.size() {
            break;
        }
        let extent = device.extent_at(at)?;
        assert!(extent.len > 0 && extent.len <= device.size() - at);
        if budget > 0 {
            let len = to_usize(extent.len.min(300_000))?;
            device.read_at(at, &mut buf[..len])?;
            assert!(extent.kind == ExtentKind::Data || buf[..len].iter().all(|&byte| byte == 0));
            budget -= len.min(budget);
        }
        at += extent.len;
    }
    let tail = device.size().min(5000);
    device.read_at(device.size() - tail, &mut buf[..to_usize(tail)?])
}

/// An image and where its header and tables lie.
struct Case {
    name: &'static str,
    format: Format,
    areas: Vec<Range<usize>>,
    /// Makes checksums good again.
    repair: fn(&mut Changed),
}

fn cases() -> Vec<Case> {
    let qcow2 = |name, areas| Case {
        name,
        format: Format::Qcow2,
        areas,
        repair: |_| {},
    };
    let vhdx = |name, areas: &[(usize, usize)]| {
        let areas = areas
            .iter()
            .map(|&(start, len)| start..start + len)
            .collect();
        Case {
            name,
            format: Format::Vhdx,
            areas,
            repair: repair_vhdx,
        }
    };
    let vmdk = |name, areas| Case {
        name,
        format: Format::Vmdk,
        areas,
        repair: |_| {},
    };
    vec![
        qcow2("plain.qcow2", vec![0..80, 0..80, 0x1000..0x7000]),
        qcow2(
            "zlib.qcow2",
            vec![0..512, 0..112, 0x1000..0x7000, 0x3000..0x20000],
        ),
        qcow2(
            "zstd.qcow2",
            vec![
                0..512,
                0..112,
                0x30000..0x30008,
                0x40000..0x40100,
                0x40000..0x60000,
            ],
        ),
        vmdk(
            "sparse.vmdk",
            vec![0..80, 0..80, 0x200..0x400, 0x2a00..0x3600, 0x3400..0x3480],
        ),
        vmdk(
            "stream.vmdk",
            vec![
                0..80,
                0..80,
                0x200..0x400,
                0x2a00..0x3600,
                0x3400..0x3480,
                0x10000..0x18000,
            ],
        ),
        Case {
            name: "fixed.vhd",
            format: Format::Vhd,
            areas: vec![716_800..717_312, 716_800..716_900],
            repair: repair_vhd,
        },
        Case {
            name: "dynamic.vhd",
            format: Format::Vhd,
            areas: vec![0..100, 512..600, 1536..1540],
            repair: repair_vhd,
        },
        vhdx(
            "dynamic.vhdx",
            &[
                (0x10000, 80),
                (0x30000, 80),
                (0x20_0000, 16),
                (0x30_0000, 512),
            ],
        ),
        vhdx(
            "log.vhdx",
            &[
                (0x10000, 80),
                (0x10_0000, 4096 * 5),
                (0x10_0000, 128),
                (0x10_3000, 128),
            ],
        ),
        Case {
            name: "disk.vdi",
            format: Format::Vdi,
            areas: vec![64..512, 340..400, 512..516],
            repair: |_| {},
        },
        Case {
            name: "disk.parallels",
            format: Format::Parallels,
            areas: vec![0..64, 16..64, 64..112],
            repair: |_| {},
        },
        qcow2(
            "extended.qcow2",
            vec![0..512, 0..112, 0xc000..0xc010, 0x10000..0x10400],
        ),
    ]
}

/// Footer, its copy, and the header behind that.
fn repair_vhd(changed: &mut Changed) {
    let end = changed.image.len() - 512;
    for (range, at) in [(0..512, 64), (end..end + 512, 64), (512..1536, 36)] {
        let bytes = changed.bytes(range.clone());
        let stored = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let sum = super::vhd::checksum(&bytes, stored).to_be_bytes();
        if bytes.starts_with(b"c") {
            changed.patch(range.start + at, &sum);
        }
    }
}

/// Headers, region tables and what looks like an entry of the log.
fn repair_vhdx(changed: &mut Changed) {
    let mut places: Vec<_> = [(1, 4096), (2, 4096), (3, 65_536), (4, 65_536)]
        .map(|(at, len)| (at << 16, len))
        .into();
    for at in (0x10_0000..0x10_8000).step_by(4096) {
        let head = changed.bytes(at..at + 12);
        let len = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if head.starts_with(b"loge") && len <= 65_536 {
            places.push((at, to_usize(len.into()).unwrap()));
        }
    }
    for (at, len) in places {
        let mut bytes = changed.bytes(at..at + len);
        if let Some(field) = bytes.get_mut(4..8) {
            field.fill(0);
            changed.patch(at + 4, &crc32c::crc32c(&bytes).to_le_bytes());
        }
    }
}

/// A small generator: the same numbers on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        to_usize(self.0 >> 33).unwrap() % below
    }

    /// A number as a table might hold it: at limits, near sizes, or anything.
    fn number(&mut self, size: u64) -> u64 {
        let power = 1 << self.roll(64);
        match self.roll(8) {
            0 => 0,
            1 => u64::MAX,
            2 => power,
            3 => power - 1,
            4 => size / 512 * to_u64(self.roll(4)),
            5 => size + to_u64(self.roll(3)),
            6 => to_u64(self.roll(64)),
            _ => self.0,
        }
    }
}

#[test]
fn every_image_reads_as_the_disk() {
    let disk = fixture("disk.raw");
    for case in cases() {
        let device = open(
            Changed {
                image: Arc::new(fixture(case.name)),
                patches: Vec::new(),
            },
            case.format,
        )
        .unwrap();
        let mut bytes = vec![1; to_usize(device.size()).unwrap()];
        device.read_at(0, &mut bytes).unwrap();
        bytes[400 << 10..464 << 10].fill(0);
        let mut wanted = disk.clone();
        wanted[400 << 10..464 << 10].fill(0);
        assert!(
            bytes.len() >= wanted.len() && bytes[..wanted.len()] == wanted,
            "{}",
            case.name
        );
        read(&*device).unwrap();
    }
}

#[test]
fn changed_images_give_a_result_or_an_error() {
    const ROUNDS: usize = 1500;
    for case in cases() {
        let image = Arc::new(fixture(case.name));
        let size = to_u64(image.len());
        let mut dice = Dice(7);
        let mut refused = 0;
        let mut failed = 0;
        let mut read_well = 0;
        for _ in 0..ROUNDS {
            let mut changed = Changed {
                image: Arc::clone(&image),
                patches: Vec::new(),
            };
            for _ in 0..=dice.roll(3) {
                let area = case.areas[dice.roll(case.areas.len())].clone();
                let width = 1 << dice.roll(4);
                // Tables hold aligned numbers; shorter changes hit single bytes of them.
                let at =
                    area.start + dice.roll(area.len().saturating_sub(width).max(1)) / width * width;
                let number = dice.number(size);
                let bytes = if dice.roll(2) == 0 {
                    number.to_be_bytes()
                } else {
                    number.to_le_bytes()
                };
                let cut = if dice.roll(2) == 0 {
                    8 - width..8
                } else {
                    0..width
                };
                changed.patch(at, &bytes[cut]);
            }
            (case.repair)(&mut changed);
            match open(changed, case.format) {
                Err(error) => {
                    assert_ne!(
                        error.kind(),
                        crate::ErrorKind::Internal,
                        "{}: {error:?}",
                        case.name
                    );
                    refused += 1;
                }
                Ok(device) => match read(&*device) {
                    Err(error) => {
                        assert_ne!(
                            error.kind(),
                            crate::ErrorKind::Internal,
                            "{}: {error:?}",
                            case.name
                        );
                        failed += 1;
                    }
                    Ok(()) => read_well += 1,
                },
            }
        }
        eprintln!(
            "{}: {refused} refused, {failed} failed to read, {read_well} read",
            case.name
        );
        assert!(
            refused > ROUNDS / 100 && read_well > ROUNDS / 100,
            "{}: changes reach both",
            case.name
        );
    }
}

/// Numbers in a row that are all the same: tables whose entries overlap, lie on the header, beyond the end, or nowhere.
#[test]
fn tables_filled_with_one_number_give_a_result_or_an_error() {
    for case in cases() {
        let image = Arc::new(fixture(case.name));
        let size = to_u64(image.len());
        for area in &case.areas {
            // The areas of headers begin with a signature; what is behind it is worth a look.
            for start in [area.start, area.start + 8, area.start + 16] {
                let number = |bytes: &[u8]| {
                    let mut changed = Changed {
                        image: Arc::clone(&image),
                        patches: Vec::new(),
                    };
                    let len = area.end.saturating_sub(start).min(4096);
                    let filling: Vec<u8> = bytes.iter().copied().cycle().take(len).collect();
                    changed.patch(start, &filling);
                    (case.repair)(&mut changed);
                    let result = open(changed, case.format).and_then(|device| read(&*device));
                    assert!(allowed(&result), "{}: {start}", case.name);
                };
                for value in [
                    0,
                    1,
                    2,
                    512,
                    size / 512,
                    size / 1024,
                    size / 2,
                    size - 512,
                    size,
                    u64::MAX >> 9,
                    u64::MAX,
                ] {
                    number(&value.to_be_bytes());
                    number(&value.to_le_bytes());
                    number(&value.to_be_bytes()[4..]);
                    number(&value.to_le_bytes()[..4]);
                }
                number(&image[start..start + 4]);
                number(&image[start..start + 8]);
            }
        }
    }
}

/// Whether this may come of damage: a result, or an error that blames the image.
fn allowed(result: &Result<()>) -> bool {
    result
        .as_ref()
        .err()
        .is_none_or(|error| error.kind() != crate::ErrorKind::Internal)
}

/// An image with one compressed unit, or a file, that would unpack to far more than there is room for.
#[test]
fn bombs_unpack_to_one_unit_only() {
    let bomb = |len: usize| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &vec![0; len]).unwrap();
        encoder.finish().unwrap()
    };
    // The first compressed grain of the stream is where its marker says; its data become 32 MiB of zeroes.
    let stream = fixture("stream.vmdk");
    let at = 0x10000;
    let packed = bomb(32 << 20);
    assert!(
        packed.len() < 128 << 10 && stream[at..at + 8] == [0; 8],
        "the grain at the start of the disk"
    );
    let mut changed = Changed {
        image: Arc::new(stream),
        patches: Vec::new(),
    };
    changed.patch(at + 8, &u32::try_from(packed.len()).unwrap().to_le_bytes());
    changed.patch(at + 12, &packed);
    let device = open(changed, Format::Vmdk).unwrap();
    let mut grain = vec![1; 64 << 10];
    match device.read_at(0, &mut grain) {
        Ok(()) => assert!(is_zero(&grain), "cut to a grain"),
        Err(error) => assert_eq!(error.kind(), crate::ErrorKind::Corrupt),
    }

    // A cluster of 4 KiB, of which the table says how many sectors it may touch: the whole file.
    let image = fixture("zlib.qcow2");
    let mut changed = Changed {
        image: Arc::new(image),
        patches: Vec::new(),
    };
    let raw = &bomb(8 << 20)[2..];
    let table = |changed: &Changed, at: u64| {
        let at = to_usize(at).unwrap();
        u64::from_be_bytes(changed.bytes(at..at + 8).try_into().unwrap())
    };
    let l1 = table(&changed, 40);
    let l2 = table(&changed, l1) & 0x00ff_ffff_ffff_fe00;
    let entry = to_usize(l2).unwrap();
    let place = 0x4000;
    let compressed = 1 << 62 | 15 << 58 | to_u64(place);
    changed.patch(entry, &u64::to_be_bytes(compressed));
    changed.patch(place, &raw[..8192.min(raw.len())]);
    let device = open(changed, Format::Qcow2).unwrap();
    let mut cluster = vec![1; 4096];
    match device.read_at(0, &mut cluster) {
        Ok(()) => assert!(is_zero(&cluster), "cut to a cluster"),
        Err(error) => assert_eq!(error.kind(), crate::ErrorKind::Corrupt),
    }
}

/// Kinds that no program here makes: extents of ESX, and older Parallels disks.
#[test]
fn changed_images_of_old_kinds_give_a_result_or_an_error() {
    let mut esx = vec![0; 64 << 10];
    esx[..4].copy_from_slice(b"COWD");
    for (at, value) in [
        (4, 1u32),
        (8, 3),
        (12, 1400),
        (16, 8),
        (20, 4),
        (24, 1),
        (2048, 8),
        (4096, 100),
        (4100, 40),
    ] {
        esx[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let mut parallels = fixture("disk.parallels");
    parallels[..16].copy_from_slice(b"WithoutFreeSpace");
    for (image, format, areas) in [
        (
            esx,
            Format::Vmdk,
            vec![0..64, 4..28, 2048..2056, 4096..4200],
        ),
        (parallels, Format::Parallels, vec![16..64, 28..48, 64..112]),
    ] {
        let image = Arc::new(image);
        let plain = Changed {
            image: Arc::clone(&image),
            patches: Vec::new(),
        };
        read(&*open(plain, format).unwrap()).unwrap();
        let mut dice = Dice(3);
        for _ in 0..1500 {
            let mut changed = Changed {
                image: Arc::clone(&image),
                patches: Vec::new(),
            };
            for _ in 0..=dice.roll(3) {
                let area = areas[dice.roll(areas.len())].clone();
                let at = area.start + dice.roll(area.len() / 4) * 4;
                let number = dice.number(to_u64(image.len())).to_le_bytes();
                changed.patch(at, &number[..4]);
            }
            let result = open(changed, format).and_then(|device| read(&*device));
            assert!(allowed(&result));
        }
    }
}

/// Cut at any place: an error, or the same disk where only padding is gone.
#[test]
fn cut_images_are_errors() {
    for case in cases() {
        let image = fixture(case.name);
        for part in 0..64 {
            let mut cut = image.clone();
            cut.truncate(image.len() * part / 64);
            if let Ok(device) = open(
                Changed {
                    image: Arc::new(cut),
                    patches: Vec::new(),
                },
                case.format,
            ) {
                let _ = read(&*device);
            }
        }
        let _ = Changed {
            image: Arc::new(image),
            patches: Vec::new(),
        }
        .bytes(0..1);
    }
}
