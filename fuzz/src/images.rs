//! Disk images of every format, opened as the program opens them.

use std::fs::File;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::LazyLock;

use flatbake::image::{Content, detect_start, examine_file, open_file};
use flatbake::{NoProgress, OpenOptions};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::blames_the_input;
use crate::reading::read_disk;
use crate::volumes::fixture;

static OPTIONS: LazyLock<OpenOptions> = LazyLock::new(|| {
    let mut options = OpenOptions::new(std::env::temp_dir());
    options.threads = NonZeroUsize::MIN;
    options
});

/// Opens `bytes` as a disk image and reads from it. Compressed ones are for the target of the codecs.
pub fn open_image(bytes: &[u8]) {
    if matches!(detect_start(bytes), Content::Compressed(_)) {
        return;
    }
    let image = in_memory(bytes);
    let again = image.try_clone().expect("a descriptor");
    let name = Path::new("image");
    let opened =
        open_file(image, name, &OPTIONS, &NoProgress).and_then(|image| read_disk(&*image.device));
    blames_the_input(&opened);
    blames_the_input(&examine_file(again, name, &OPTIONS, &NoProgress));
}

/// A file that no disk holds.
pub fn in_memory(bytes: &[u8]) -> File {
    let mut file =
        File::from(memfd_create("image", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(bytes).expect("a file in memory");
    file
}

/// An image, where its header and tables lie, and what makes their checksums good again.
pub struct Sample {
    pub bytes: Vec<u8>,
    pub places: Vec<u64>,
    pub reach: u64,
    repair: fn(&mut [u8]),
}

impl Sample {
    /// The image with the changes of an input.
    pub fn changed(&self, input: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let mut rest = input;
        while let [place, at, at_high, len, new @ ..] = rest {
            let place = self.places[usize::from(*place) % self.places.len()];
            let offset = place + u64::from(u16::from_le_bytes([*at, *at_high])) % self.reach;
            let (new, behind) = new.split_at((usize::from(*len) % 8 + 1).min(new.len()));
            let start = usize::try_from(offset).expect("within memory");
            if let Some(target) = bytes.get_mut(start..start + new.len()) {
                target.copy_from_slice(new);
            }
            rest = behind;
        }
        (self.repair)(&mut bytes);
        bytes
    }
}

/// The images of `testdata/images`, with the stretches of 512 bytes that hold their structures.
pub fn samples() -> Vec<Sample> {
    let sample = |name: &str, places: &[u64], repair| {
        let base = fixture(&format!("images/{name}.zst"));
        let bytes = base.bytes(0, usize::try_from(base.size).expect("small"));
        Sample {
            bytes,
            places: places.to_vec(),
            reach: 512,
            repair,
        }
    };
    let nothing: fn(&mut [u8]) = |_| {};
    vec![
        sample(
            "plain.qcow2",
            &[0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000],
            nothing,
        ),
        sample(
            "zlib.qcow2",
            &[0, 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000],
            nothing,
        ),
        sample(
            "zstd.qcow2",
            &[0, 0, 0x30000, 0x40000, 0x40200, 0x50000],
            nothing,
        ),
        sample("extended.qcow2", &[0, 0, 0xc000, 0x10000, 0x10200], nothing),
        sample(
            "sparse.vmdk",
            &[0, 0, 0x200, 0x2a00, 0x2c00, 0x3400],
            nothing,
        ),
        sample(
            "stream.vmdk",
            &[0, 0, 0x200, 0x2a00, 0x3400, 0x10000],
            nothing,
        ),
        sample("fixed.vhd", &[716_800], repair_vhd),
        sample("dynamic.vhd", &[0, 512, 1024, 1536, 2_099_712], repair_vhd),
        sample(
            "dynamic.vhdx",
            &[0x10000, 0x30000, 0x20_0000, 0x21_0000, 0x30_0000],
            repair_vhdx,
        ),
        sample(
            "log.vhdx",
            &[0x10000, 0x10_0000, 0x10_1000, 0x10_3000, 0x30_0000],
            repair_vhdx,
        ),
        sample("disk.vdi", &[0, 0, 512], nothing),
        sample("disk.parallels", &[0, 0], nothing),
    ]
}

/// Footer, its copy, and the header behind that.
fn repair_vhd(bytes: &mut [u8]) {
    let end = bytes.len() - 512;
    for (range, at) in [(0..512, 64), (end..end + 512, 64), (512..1536, 36)] {
        let part = &mut bytes[range];
        if part.starts_with(b"c") {
            part[at..at + 4].fill(0);
            let sum: u32 = part.iter().map(|&byte| u32::from(byte)).sum();
            part[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
        }
    }
}

/// Headers, region tables and what looks like an entry of the log.
fn repair_vhdx(bytes: &mut [u8]) {
    let mut parts: Vec<(usize, usize)> = [(1, 4096), (2, 4096), (3, 65_536), (4, 65_536)]
        .map(|(at, len)| (at << 16, len))
        .into();
    for at in (0x10_0000..0x10_8000).step_by(4096) {
        let len =
            u32::from_le_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]);
        if bytes[at..].starts_with(b"loge") && (8..=65_536).contains(&len) {
            parts.push((at, len as usize));
        }
    }
    for (at, len) in parts {
        bytes[at + 4..at + 8].fill(0);
        let sum = crc32c::crc32c(&bytes[at..at + len]);
        bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
    }
}
