//! The sound volumes that inputs damage or edit: the fixtures of the tests, and what the project's own builders make.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flatbake::block::{BlockDevice, BlockDeviceMut, Piece};
use flatbake::codec::decoder;
use flatbake::fs::fat::{FatFile, FatIdentity, FatKind, FatLayout, build};
use flatbake::fs::{Attributes, EditOptions, FileSystemMut, FileType, FsPath, Timestamp, edit};

use crate::device::{Base, Layer};

/// A file of `testdata/`.
pub fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}

/// A file of `testdata/`, unpacked.
pub fn fixture(name: &str) -> Base {
    let path = fixture_path(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Base::read(decoder(file).expect("fixtures are whole"))
}

/// A volume and what is worth changing in it.
pub struct Volume {
    pub base: Arc<Base>,
    /// Where structures begin.
    pub places: Vec<u64>,
    /// Bytes of each.
    pub reach: u64,
    /// Makes checksums good again behind changes at these places.
    pub repair: Box<dyn Fn(&Layer, &[u64]) + Send + Sync>,
}

impl Volume {
    fn without_checksums(base: Base) -> Self {
        let places = base.places();
        Self {
            base: Arc::new(base),
            places,
            reach: crate::device::PAGE,
            repair: Box::new(|_, _| {}),
        }
    }

    /// The volume with the changes of an input.
    pub fn changed(&self, input: &[u8]) -> Arc<Layer> {
        let layer = Layer::new(&self.base);
        let changed = crate::patches::apply(&layer, &self.places, self.reach, input);
        (self.repair)(&layer, &changed);
        layer
    }
}

/// Splits off the byte that selects one of `all`.
pub fn select<'a, 'b, T>(all: &'a [T], input: &'b [u8]) -> Option<(&'a T, &'b [u8])> {
    let (first, rest) = input.split_first()?;
    Some((&all[usize::from(*first) % all.len()], rest))
}

pub fn path(text: &str) -> FsPath {
    FsPath::new(text).expect("a path")
}

pub fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        uid: 0,
        gid: 0,
        mtime: Timestamp {
            secs: 1_700_000_000,
            nanos: 0,
        },
    }
}

/// Opens a volume for editing.
pub fn editor(base: &Arc<Base>, target: &Arc<Layer>) -> flatbake::Result<Box<dyn FileSystemMut>> {
    edit(
        Layer::new(base),
        target.clone(),
        &EditOptions::new(std::env::temp_dir()),
    )
}

/// The FAT volumes: each kind, with files and folders.
pub fn fat() -> Vec<Volume> {
    [
        (FatKind::Fat12, 400, 512),
        (FatKind::Fat16, 5000, 512),
        (FatKind::Fat32, 65_600, 512),
    ]
    .map(|(kind, clusters, cluster_bytes)| {
        let layout = FatLayout {
            kind,
            tables: 2,
            sector_bytes: 512,
            cluster_bytes,
            clusters,
        };
        Volume::without_checksums(fat_base(&layout))
    })
    .into()
}

fn fat_base(layout: &FatLayout) -> Base {
    let file = |path: &str, len| FatFile {
        path: path.to_owned(),
        content: Piece::Bytes(vec![b'x'; len]),
    };
    let files = vec![
        file("EFI/boot/grubx64.efi", 3000),
        file("flatcar/vmlinuz", 9000),
        file("empty.txt", 0),
    ];
    let identity = FatIdentity {
        label: "SEED",
        serial: 1,
        time: 1_700_000_000,
    };
    let volume = build(&identity, layout, files).expect("a volume");
    let base = Arc::new(Base::read(Reader {
        device: &volume.image,
        at: 0,
    }));
    let target = Layer::new(&base);
    let mut fs = editor(&base, &target).expect("our own volume");
    fs.create_dir(&path("/A folder with a long name"), &attributes(0o755))
        .expect("room");
    for number in 0..20 {
        let name = path(&format!(
            "/A folder with a long name/Another long name {number}"
        ));
        fs.write_file(&name, &attributes(0o644), 5, &mut &b"12345"[..])
            .expect("room");
    }
    fs.commit().expect("room");
    drop(fs);
    target.into_base()
}

struct Reader<'a> {
    device: &'a dyn BlockDevice,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = buf
            .len()
            .min(usize::try_from(self.device.size() - self.at).expect("small"));
        self.device
            .read_at(self.at, &mut buf[..len])
            .expect("in memory");
        self.at += len as u64;
        Ok(len)
    }
}

/// `s_feature_ro_compat` of the superblock, and its bit for checksums (`metadata_csum`).
const RO_COMPAT: u64 = 1024 + 0x64;
const METADATA_CSUM: u32 = 0x400;

/// The ext4 volumes without checksums: one that our editor filled, and two with a journal to replay.
pub fn ext4() -> Vec<Volume> {
    let dirty = [
        "ext4/ext4-dirty.img.zst",
        "ext4/ext4-dirty-orphan-file.img.zst",
    ]
    .map(fixture);
    std::iter::once(ext4_filled())
        .chain(dirty)
        .map(|base| Volume::without_checksums(plain_ext4(base)))
        .collect()
}

fn plain_ext4(base: Base) -> Base {
    let base = Arc::new(base);
    let features: [u8; 4] = base.bytes(RO_COMPAT, 4).try_into().expect("four bytes");
    let features = u32::from_le_bytes(features) & !METADATA_CSUM;
    let layer = Layer::new(&base);
    layer
        .write_at(RO_COMPAT, &features.to_le_bytes())
        .expect("within the volume");
    layer.into_base()
}

/// A volume with checksums and every kind of entry, whose journal is empty.
pub fn ext4_filled() -> Base {
    let base = Arc::new(fixture("ext4/ext4-dirty.img.zst"));
    let target = Layer::new(&base);
    let mut fs = editor(&base, &target).expect("a fixture");
    fill(&mut *fs).expect("room");
    drop(fs);
    target.into_base()
}

fn fill(fs: &mut dyn FileSystemMut) -> flatbake::Result<()> {
    fs.create_dir(&path("/kinds"), &attributes(0o755))?;
    fs.symlink(&path("/kinds/fast"), b"target", &attributes(0o777))?;
    fs.symlink(&path("/kinds/slow"), &[b's'; 100], &attributes(0o777))?;
    fs.mknod(
        &path("/kinds/node"),
        FileType::CharDevice,
        (5, 1),
        &attributes(0o600),
    )?;
    fs.mknod(
        &path("/kinds/fifo"),
        FileType::Fifo,
        (0, 0),
        &attributes(0o600),
    )?;
    fs.write_file(
        &path("/kinds/file"),
        &attributes(0o644),
        9000,
        &mut std::io::repeat(7).take(9000),
    )?;
    fs.hard_link(&path("/kinds/file"), &path("/kinds/link"))?;
    fs.set_xattr(&path("/kinds/file"), b"user.small", b"value")?;
    fs.set_xattr(&path("/kinds/file"), b"trusted.large", &[5; 600])?;
    fs.create_dir(&path("/many"), &attributes(0o755))?;
    for number in 0..120 {
        let name = path(&format!("/many/a-name-that-takes-some-room-{number}"));
        fs.write_file(&name, &attributes(0o600), 0, &mut std::io::empty())?;
    }
    fs.commit()
}

/// Where the superblock of btrfs is, and its length.
const SUPER: u64 = 64 << 10;
const SUPER_LEN: usize = 4096;

/// A btrfs volume, as the kernel wrote it; larger ones take too long for each input.
pub fn btrfs() -> Vec<Volume> {
    vec![btrfs_volume(fixture("btrfs/kernel-small.img.zst"))]
}

/// Changes are made to the superblock and to the blocks of trees, whose checksums are then made good.
fn btrfs_volume(base: Base) -> Volume {
    let field: [u8; 4] = base.bytes(SUPER + 0x94, 4).try_into().expect("four bytes");
    let node_len = u32::from_le_bytes(field) as usize;
    let is_node = |&start: &u64| {
        let bytes = base.bytes(start, node_len);
        start > SUPER && bytes[..4] == crc32c::crc32c(&bytes[32..]).to_le_bytes()
    };
    let nodes: Vec<u64> = base.places().into_iter().filter(is_node).collect();
    // The superblock as often as all the rest would be too much, once in eight is not.
    let mut places = nodes.clone();
    places.extend(std::iter::repeat_n(SUPER, nodes.len() / 8 + 1));
    let repair = move |layer: &Layer, changed: &[u64]| {
        for &offset in changed {
            let before = nodes.partition_point(|&start| start <= offset);
            let node = nodes[..before]
                .last()
                .filter(|&&start| offset < start + node_len as u64);
            match node {
                Some(&start) => seal(layer, start, node_len),
                None => seal(layer, SUPER, SUPER_LEN),
            }
        }
    };
    Volume {
        base: Arc::new(base),
        places,
        reach: node_len as u64,
        repair: Box::new(repair),
    }
}

/// Computes a block's checksum anew.
fn seal(layer: &Layer, start: u64, len: usize) {
    let mut bytes = vec![0; len];
    layer.read_at(start, &mut bytes).expect("within the volume");
    layer
        .write_at(start, &crc32c::crc32c(&bytes[32..]).to_le_bytes())
        .expect("within the volume");
}

/// Disks with partition tables, whose checksums are made good.
pub fn partitioned() -> Vec<Volume> {
    [
        "ddi/oem-qemu-4757.2.1.raw.zst",
        "sample/flatcar_sample_4757.bin.bz2",
    ]
    .map(|name| gpt_volume(fixture(name)))
    .into()
}

fn gpt_volume(base: Base) -> Volume {
    let last = base.size - 512;
    // Headers more often than what belongs to them.
    let mut places = vec![0, 512, 512, last, last];
    places.extend([2, 3, 4, 5].map(|sector| sector * 512));
    places.extend([32, 31, 30, 29].map(|sector| last - sector * 512));
    let repair = move |layer: &Layer, _: &[u64]| {
        for header in [512, last] {
            seal_gpt(layer, header);
        }
    };
    Volume {
        base: Arc::new(base),
        places,
        reach: 512,
        repair: Box::new(repair),
    }
}

/// Computes the checksums of a header and its entries anew, as far as its fields allow.
fn seal_gpt(layer: &Layer, at: u64) {
    let mut header = [0; 512];
    layer.read_at(at, &mut header).expect("within the disk");
    let number = |from: usize, len: usize| {
        header[from..from + len]
            .iter()
            .rev()
            .fold(0, |all, &byte| all << 8 | u64::from(byte))
    };
    let start = number(72, 8).checked_mul(512);
    let len = number(80, 4)
        .checked_mul(number(84, 4))
        .filter(|&len| len <= 1 << 20);
    let size = usize::try_from(number(12, 4)).expect("four bytes");
    if let Some((start, len)) = start.zip(len) {
        let mut entries = vec![0; len as usize];
        if layer.read_at(start, &mut entries).is_ok() {
            header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        }
    }
    if (92..=512).contains(&size) {
        header[16..20].fill(0);
        let crc = crc32fast::hash(&header[..size]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    layer.write_at(at, &header).expect("within the disk");
}
