//! Damaged and hostile images: every reader gives a result or an error, and never reads far more than there is.
//!
//! Each image of `testdata/images` is changed in its header and tables, thousands of times, its checksums made good
//! again where there are some, and then read. What is wanted is no panic, no endless loop and no huge allocation.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::detect::Format;
use super::open::open_disk;
use super::references::References;
use crate::block::{BlockDevice, Extent, ExtentKind, check_range};
use crate::bytes::{to_u64, to_usize};
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
                if let Some(target) = (at + n).checked_sub(start).and_then(|index| buf.get_mut(index)) {
                    *target = *byte;
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size())?;
        Ok(Extent { kind: ExtentKind::Data, len: self.size() - offset })
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/images").join(format!("{name}.zst"));
    let file = std::fs::File::open(path).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(file).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn open(image: Changed, format: Format) -> Result<Arc<dyn BlockDevice>> {
    open_disk(Arc::new(image), format, &References::new(Path::new("/nowhere/image"), false, &NoProgress))
}

/// Walks the extents and reads some of what they hold: a hostile disk may be far too large to read in full.
fn read(device: &dyn BlockDevice) -> Result<()> {
    let mut buf = vec![0; 300_000];
    let (mut at, mut budget) = (0, 2 << 20);
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
    let qcow2 = |name, areas| Case { name, format: Format::Qcow2, areas, repair: |_| {} };
    let vhdx = |name, areas: &[(usize, usize)]| {
        let areas = areas.iter().map(|&(start, len)| start..start + len).collect();
        Case { name, format: Format::Vhdx, areas, repair: repair_vhdx }
    };
    let vmdk = |name, areas| Case { name, format: Format::Vmdk, areas, repair: |_| {} };
    vec![
        qcow2("plain.qcow2", vec![0..80, 0..80, 0x1000..0x7000]),
        qcow2("zlib.qcow2", vec![0..512, 0..112, 0x1000..0x7000, 0x3000..0x20000]),
        qcow2("zstd.qcow2", vec![0..512, 0..112, 0x30000..0x30008, 0x40000..0x40100, 0x40000..0x60000]),
        vmdk("sparse.vmdk", vec![0..80, 0..80, 0x200..0x400, 0x2a00..0x3600, 0x3400..0x3480]),
        vmdk("stream.vmdk", vec![0..80, 0..80, 0x200..0x400, 0x2a00..0x3600, 0x3400..0x3480, 0x10000..0x18000]),
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
        vhdx("dynamic.vhdx", &[(0x10000, 80), (0x30000, 80), (0x20_0000, 16), (0x30_0000, 512)]),
        vhdx("log.vhdx", &[(0x10000, 80), (0x10_0000, 4096 * 5), (0x10_0000, 128), (0x10_3000, 128)]),
        Case { name: "disk.vdi", format: Format::Vdi, areas: vec![64..512, 340..400, 512..516], repair: |_| {} },
        Case { name: "disk.parallels", format: Format::Parallels, areas: vec![0..64, 16..64, 64..112], repair: |_| {} },
        qcow2("extended.qcow2", vec![0..512, 0..112, 0xc000..0xc010, 0x10000..0x10400]),
    ]
}

/// Footer, its copy, and the header behind that.
fn repair_vhd(changed: &mut Changed) {
    let end = changed.image.len() - 512;
    for (range, at) in [(0..512, 64), (end..end + 512, 64), (512..1536, 36)] {
        let bytes = changed.bytes(range.clone());
        let sum = super::vhd::checksum(&bytes, at).to_be_bytes();
        if bytes.starts_with(b"c") {
            changed.patch(range.start + at, &sum);
        }
    }
}

/// Headers, region tables and what looks like an entry of the log.
fn repair_vhdx(changed: &mut Changed) {
    let mut places: Vec<_> = [(1, 4096), (2, 4096), (3, 65_536), (4, 65_536)].map(|(at, len)| (at << 16, len)).into();
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
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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
        let device = open(Changed { image: Arc::new(fixture(case.name)), patches: Vec::new() }, case.format).unwrap();
        let mut bytes = vec![1; to_usize(device.size()).unwrap()];
        device.read_at(0, &mut bytes).unwrap();
        bytes[400 << 10..464 << 10].fill(0);
        let mut wanted = disk.clone();
        wanted[400 << 10..464 << 10].fill(0);
        assert!(bytes.len() >= wanted.len() && bytes[..wanted.len()] == wanted, "{}", case.name);
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
        let (mut refused, mut failed, mut read_well) = (0, 0, 0);
        for _ in 0..ROUNDS {
            let mut changed = Changed { image: Arc::clone(&image), patches: Vec::new() };
            for _ in 0..=dice.roll(3) {
                let area = case.areas[dice.roll(case.areas.len())].clone();
                let width = 1 << dice.roll(4);
                // Tables hold aligned numbers; shorter changes hit single bytes of them.
                let at = area.start + dice.roll(area.len().saturating_sub(width).max(1)) / width * width;
                let number = dice.number(size);
                let bytes = if dice.roll(2) == 0 { number.to_be_bytes() } else { number.to_le_bytes() };
                let cut = if dice.roll(2) == 0 { 8 - width..8 } else { 0..width };
                changed.patch(at, &bytes[cut]);
            }
            (case.repair)(&mut changed);
            match open(changed, case.format) {
                Err(error) => {
                    assert_ne!(error.kind(), crate::ErrorKind::Internal, "{}: {error:?}", case.name);
                    refused += 1;
                }
                Ok(device) => match read(&*device) {
                    Err(error) => {
                        assert_ne!(error.kind(), crate::ErrorKind::Internal, "{}: {error:?}", case.name);
                        failed += 1;
                    }
                    Ok(()) => read_well += 1,
                },
            }
        }
        eprintln!("{}: {refused} refused, {failed} failed to read, {read_well} read", case.name);
        assert!(refused > ROUNDS / 100 && read_well > ROUNDS / 100, "{}: changes reach both", case.name);
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
            if let Ok(device) = open(Changed { image: Arc::new(cut), patches: Vec::new() }, case.format) {
                let _ = read(&*device);
            }
        }
        let _ = Changed { image: Arc::new(image), patches: Vec::new() }.bytes(0..1);
    }
}
