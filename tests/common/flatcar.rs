//! Disk images with Flatcar's layout, made by the tools that Flatcar's own build uses, without root.
//!
//! ```text
//!  MBR, GPT │ 1 EFI-SYSTEM │ 2 BIOS-BOOT │ 3 USR-A │ 4 USR-B │ 6 OEM │ 7 OEM-CONFIG │ 9 ROOT │ GPT
//!   sgdisk  │  mkfs.vfat   │    noise    │  mkfs.  │  holes  │ mkfs. │    holes     │ mke2fs │
//!           │    mcopy     │             │  btrfs  │         │ btrfs │              │        │
//! ```
//!
//! Every partition is a sparse file first and then copied, data only, to its place on the disk. Images are cached below
//! `target/tmp` under a hash of the recipe and of this source file, so only the first test that wants one pays for it.
//!
//! Nothing in them comes from the machine: [`write_tree`] makes the same trees everywhere, and how much there is in them is
//! a share of the partition that takes them.
//!
//! Known differences from a released image: the kernel, GRUB and the dm-verity tree are pseudo-random bytes; `/usr` is a
//! handful of files (unless more are asked for) and not compressed; `mkfs.btrfs` chooses its own device and chunk tree
//! UUIDs.

use super::btrfs_property::{STAND_IN, set_compression};
use super::content::Content;
use super::ext::make_ext;
use super::layout::{DISK_GUID, Layout, NEW, OLD, SECTOR, SMALL, Slot};
use super::programs::{judges, must_run};
use super::region::{Region, copy_file, copy_sparse};
use super::sysext::{Format, Sysext, make_dir, set_times, sysext, write_file, write_link};
use super::{noise, scratch_dir, scratch_root};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The volume serial of the ESP, which every GRUB core image searches for.
pub const ESP_SERIAL: &str = "F1A7BA4E";
pub const OEM_UUID: &str = "0e300000-f1a7-4ba4-8e00-000000000006";
pub const ROOT_UUID: &str = "90070000-f1a7-4ba4-8e00-000000000009";
const USR_UUID: &str = "05300000-f1a7-4ba4-8e00-000000000003";

/// A filesystem of `/usr` or OEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    Btrfs,
    /// ext2 for USR (before 3794), ext4 for OEM (before 2983).
    Ext,
}

/// Which image to make.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub layout: Layout,
    pub usr: Filesystem,
    pub oem: Filesystem,
    /// `amd64` or `arm64`.
    pub arch: &'static str,
    pub version: String,
    /// Bytes of the stand-in for the kernel.
    pub kernel_bytes: usize,
    /// How much of USR's filesystem is filled with a tree like that of an operating system (`share/fill`), and of ROOT's
    /// with one like that of a container store (`var/lib/docker`). In percent, up to [`FULL`].
    pub usr_fill_percent: u64,
    pub root_fill_percent: u64,
    /// Built-in sysexts are disk images with EROFS, and /etc is a confext, as since 4628.
    pub ddis: bool,
    /// More files: partition number, path, content.
    pub files: Vec<(u32, String, Vec<u8>)>,
}

impl Recipe {
    /// The present generation: stable 4593.2.
    pub fn new() -> Self {
        Self {
            layout: NEW,
            usr: Filesystem::Btrfs,
            oem: Filesystem::Btrfs,
            arch: "amd64",
            version: "4593.2.0".to_owned(),
            kernel_bytes: 4 << 20,
            usr_fill_percent: 0,
            root_fill_percent: 0,
            ddis: false,
            files: Vec::new(),
        }
    }

    /// The generation before, as lts 4081: small partitions, hybrid MBR.
    pub fn old() -> Self {
        Self {
            layout: OLD,
            version: "4081.3.0".to_owned(),
            ..Self::new()
        }
    }

    /// As before 2983: OEM is ext4 and USR is ext2.
    pub fn oldest() -> Self {
        let version = "2905.2.0".to_owned();
        Self {
            usr: Filesystem::Ext,
            oem: Filesystem::Ext,
            version,
            ..Self::old()
        }
    }

    /// The present generation at the size of a fixture, for tests that look at every byte.
    pub fn small() -> Self {
        Self {
            layout: SMALL,
            kernel_bytes: 64 << 10,
            ..Self::new()
        }
    }

    /// Stable since 4757.2 at the size of a fixture.
    pub fn small_4757() -> Self {
        Self {
            version: "4757.2.1".to_owned(),
            ddis: true,
            ..Self::small()
        }
    }

    /// The same with one more file in partition 1, 3, 6 or 9.
    pub fn with_file(mut self, partition: u32, path: &str, content: &[u8]) -> Self {
        self.files
            .push((partition, path.to_owned(), content.to_vec()));
        self
    }

    fn slot(&self, number: u32) -> &Slot {
        self.layout
            .slots
            .iter()
            .find(|slot| slot.number == number)
            .expect("the layout has the partition")
    }

    /// The cache's name for it: a hash over every ingredient.
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for source in [
            include_str!("flatcar.rs"),
            include_str!("layout.rs"),
            include_str!("btrfs_property.rs"),
            include_str!("sysext.rs"),
            include_str!("content.rs"),
            include_str!("ext.rs"),
            include_str!("programs.rs"),
            include_str!("mke2fs.conf"),
            include_str!("../../src/bytes/random.rs"),
        ] {
            hash.update(source);
        }
        hash.update(format!("{self:?}"));
        hash.finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl Default for Recipe {
    fn default() -> Self {
        Self::new()
    }
}

/// The image of the recipe: read-only, sparse, shared between tests. `None` when a tool is missing.
pub fn flatcar_image(recipe: &Recipe) -> Option<PathBuf> {
    let tools = [
        "sgdisk",
        "mkfs.vfat",
        "mcopy",
        "mmd",
        "mke2fs",
        "tune2fs",
        "debugfs",
        "mkfs.btrfs",
        "btrfs",
        "mksquashfs",
        "setfattr",
    ];
    if !judges(&tools) {
        return None;
    }
    let cache = scratch_root().join("flatcar");
    fs::create_dir_all(&cache).unwrap();
    let image = cache.join(format!("{}.bin", recipe.key()));
    // Several test processes may want the same image at the same time: the first makes it, the others wait.
    let lock = File::create(image.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !image.exists() {
        let partial = image.with_extension("partial");
        let _ = fs::remove_file(&partial);
        make(recipe, &partial);
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o444)).unwrap();
        fs::rename(&partial, &image).unwrap();
    }
    Some(image)
}

/// A sparse, writable copy of [`flatcar_image`] as `DIR/disk.bin`.
pub fn flatcar_copy(recipe: &Recipe, dir: &Path) -> Option<PathBuf> {
    let copy = dir.join("disk.bin");
    copy_file(&flatcar_image(recipe)?, &copy);
    Some(copy)
}

fn make(recipe: &Recipe, image: &Path) {
    let disk = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(image)
        .unwrap();
    disk.set_len(recipe.layout.disk_sectors * SECTOR).unwrap();
    write_table(recipe, image);
    write_mbr(recipe, &disk);
    let bios = recipe.slot(2).start * SECTOR;
    disk.write_all_at(&noise(2, 120 << 10), bios).unwrap();

    let dir = scratch_dir();
    let work = dir.path();
    for number in [1, 3, 6, 9] {
        let slot = recipe.slot(number);
        let source = work.join(format!("tree-{number}"));
        write_tree(recipe, number, &source);
        let file = work.join(format!("partition-{number}"));
        let partition = File::create_new(&file).unwrap();
        partition.set_len(slot.sectors * SECTOR).unwrap();
        match number {
            1 => make_esp(recipe, &source, &file),
            3 => make_usr(recipe, &source, &file),
            6 => make_oem(recipe, &source, &file),
            _ => make_root(recipe, &source, &file),
        }
        let partition = File::open(&file).unwrap();
        // mkfs.btrfs makes a file longer rather than say that the tree is too large for it.
        let bytes = partition.metadata().unwrap().len();
        assert_eq!(
            bytes,
            slot.sectors * SECTOR,
            "what is asked for does not fit into partition {number}"
        );
        copy_sparse(
            &partition,
            0,
            slot.sectors * SECTOR,
            &disk,
            slot.start * SECTOR,
        )
        .unwrap();
    }
}

/// Writes the tree that partition 1, 3, 6 or 9 is made of: the same for the same recipe on every machine. USR lacks the
/// built-in sysexts, which are images themselves ([`built_in_sysexts`]).
pub fn write_tree(recipe: &Recipe, partition: u32, root: &Path) {
    make_dir(root, "");
    for (_, path, content) in recipe
        .files
        .iter()
        .filter(|(number, ..)| *number == partition)
    {
        write_file(root, path, content);
    }
    match partition {
        1 => write_esp(recipe, root),
        3 => write_usr(recipe, root),
        9 => write_root(recipe, root),
        _ => {}
    }
    set_times(root);
}

/// The most that [`Recipe::usr_fill_percent`] and [`Recipe::root_fill_percent`] may ask for, in percent: `mkfs.btrfs`
/// wants 20 KiB for every file besides its content, and room for itself.
pub const FULL: u64 = 25;

fn share(bytes: u64, percent: u64) -> u64 {
    assert!(
        percent <= FULL,
        "{percent} % are too much: at most {FULL} %"
    );
    bytes / 100 * percent
}

/// Words of a command line; `paths` follow.
fn run(program: &str, words: &str, paths: &[&Path]) {
    let words = words
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(OsStr::new);
    must_run(
        program,
        words.chain(paths.iter().map(|path| path.as_os_str())),
    );
}

fn write_table(recipe: &Recipe, image: &Path) {
    let mut words = format!("-a 1 -U {DISK_GUID}");
    for Slot {
        number,
        label,
        type_guid,
        unique_guid,
        start,
        sectors,
    } in recipe.layout.slots
    {
        let last = start + sectors - 1;
        words += &format!(
            " -n {number}:{start}:{last} -t {number}:{type_guid} -u {number}:{unique_guid} -c {number}:{label}"
        );
    }
    // priority=1 and successful=1 of USR-A.
    words += " -A 3:=:0101000000000000";
    if recipe.layout.hybrid {
        words += " -A 1:set:2";
    }
    run("sgdisk", &words, &[image]);
}

/// GRUB's place in the first sector (amd64 only), and the hybrid table of the old generation: the ESP for BIOSes that want
/// an active partition, and a protective entry over what lies before it.
fn write_mbr(recipe: &Recipe, disk: &File) {
    if recipe.arch == "amd64" {
        disk.write_all_at(&noise(1, 440), 0).unwrap();
    }
    if recipe.layout.hybrid {
        let esp = recipe.slot(1);
        let mut table = [0; 64];
        let end = esp.start + esp.sectors - 1;
        table[..16].copy_from_slice(&mbr_entry(
            0x80,
            0x0c,
            chs(esp.start),
            chs(end),
            esp.start,
            esp.sectors,
        ));
        table[16..32].copy_from_slice(&mbr_entry(0, 0xee, [0, 2, 0], [0xff; 3], 1, esp.start - 1));
        disk.write_all_at(&table, 446).unwrap();
    }
}

fn mbr_entry(
    status: u8,
    kind: u8,
    first: [u8; 3],
    last: [u8; 3],
    start: u64,
    sectors: u64,
) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[0] = status;
    entry[1..4].copy_from_slice(&first);
    entry[4] = kind;
    entry[5..8].copy_from_slice(&last);
    entry[8..12].copy_from_slice(&u32::try_from(start).unwrap().to_le_bytes());
    entry[12..].copy_from_slice(&u32::try_from(sectors).unwrap().to_le_bytes());
    entry
}

/// Head, sector with the high bits of the cylinder, cylinder, for 255 heads and 63 sectors.
fn chs(lba: u64) -> [u8; 3] {
    let cylinder = lba / (255 * 63);
    let head = lba / 63 % 255;
    let sector = lba % 63 + 1;
    let high = cylinder >> 8 << 6;
    [head, sector | high, cylinder & 0xff].map(|value| u8::try_from(value).unwrap())
}

fn write_esp(recipe: &Recipe, source: &Path) {
    let mut kernel = noise(3, recipe.kernel_bytes);
    kernel[..2].copy_from_slice(b"MZ");
    let hash_at = if recipe.arch == "amd64" { 64 } else { 512 };
    kernel[hash_at..hash_at + 64].copy_from_slice(VERITY_HASH.as_bytes());
    write_file(source, "flatcar/vmlinuz-a", &kernel);
    write_file(
        source,
        "flatcar/first_boot",
        b"The first boot is still to come.\n",
    );
    let efi = if recipe.arch == "amd64" {
        ("x86_64-efi", "x64")
    } else {
        ("arm64-efi", "aa64")
    };
    let load = format!("search.fs_uuid {ESP_SERIAL} root hd0,gpt1\nset prefix=(memdisk)\n");
    write_file(
        source,
        &format!("flatcar/grub/{}/load.cfg", efi.0),
        load.as_bytes(),
    );
    write_file(source, "flatcar/grub/grub.cfg.tar", &noise(4, 10 << 10));
    for (seed, name) in [(5, "boot"), (6, "grub"), (7, "mm")] {
        write_file(
            source,
            &format!("EFI/boot/{name}{}.efi", efi.1),
            &noise(seed, 24 << 10),
        );
    }
}

fn make_esp(recipe: &Recipe, source: &Path, file: &Path) {
    let options = format!("-I -F 32 -n EFI-SYSTEM -i {ESP_SERIAL} --invariant");
    let kib = (recipe.slot(1).sectors / 2).to_string();
    run("mkfs.vfat", &options, &[file, Path::new(&kib)]);
    copy_to_esp(source, file, "::");
}

/// Copies what is in `source` to `target` of a volume, in the order of names: left to itself, `mcopy` takes files as they
/// come, which is another order on every machine.
fn copy_to_esp(source: &Path, volume: &Path, target: &str) {
    let mut children: Vec<PathBuf> = fs::read_dir(source)
        .unwrap()
        .map(|child| child.unwrap().path())
        .collect();
    children.sort();
    for child in children {
        let place = format!("{target}/{}", child.file_name().unwrap().to_str().unwrap());
        if child.is_dir() {
            run("mmd", "-i", &[volume, Path::new(&place)]);
            copy_to_esp(&child, volume, &place);
        } else {
            run("mcopy", "-m -i", &[volume, &child, Path::new(&place)]);
        }
    }
}

/// The stand-in for the root hash of dm-verity that Flatcar's build writes into the kernel.
pub const VERITY_HASH: &str = "f1a7ba4ef1a7ba4ef1a7ba4ef1a7ba4ef1a7ba4ef1a7ba4ef1a7ba4ef1a7ba4e";

/// The text of `/usr/lib/os-release`.
pub fn os_release(recipe: &Recipe) -> String {
    let Recipe { version, arch, .. } = recipe;
    format!(
        "NAME=\"Flatcar-like test image\"\nID=flatcar\nID_LIKE=coreos\nVERSION={version}\nVERSION_ID={version}\n\
         BUILD_ID=2024-01-01-0000\nSYSEXT_LEVEL=1.0\nPRETTY_NAME=\"flatbake test image {version}\"\n\
         FLATCAR_BOARD=\"{arch}-usr\"\n"
    )
}

/// The partition's root is `/usr`.
fn write_usr(recipe: &Recipe, source: &Path) {
    write_file(source, "lib/os-release", os_release(recipe).as_bytes());
    write_file(
        source,
        "share/flatcar/release",
        format!("FLATCAR_RELEASE_VERSION={}\n", recipe.version).as_bytes(),
    );
    write_file(
        source,
        "share/flatcar/update.conf",
        b"SERVER=https://update.example/\nGROUP=stable\n",
    );
    write_file(source, "share/flatcar/enabled-sysext.conf", b"# none\n");
    write_file(source, "bin/greet", b"#!/bin/sh\necho greetings\n");
    write_link(source, "sbin", "bin");
    make_dir(source, "share/flatcar/sysext");
    if recipe.ddis {
        write_file(
            source,
            "lib/confexts/00-flatcar-default.raw",
            &ddi("00-flatcar-default"),
        );
        write_file(
            source,
            "lib/verity.d/sysexts.crt",
            include_bytes!("../../testdata/ddi/sysexts.crt"),
        );
    } else {
        for built_in in built_in_sysexts(recipe) {
            let link = format!("share/flatcar/etc/extensions/{}.raw", built_in.name);
            write_link(
                source,
                &link,
                &format!("/usr/share/flatcar/sysext/{}.raw", built_in.name),
            );
        }
    }
    let fill = share(recipe.layout.usr_fs_bytes, recipe.usr_fill_percent);
    if fill > 0 {
        Content::usr(USR_SEED, fill).write(&source.join("share/fill"));
    }
}

/// Seeds of what USR and ROOT are filled with.
const USR_SEED: u64 = 3;
const ROOT_SEED: u64 = 9;

/// A signed disk image of `testdata/ddi`.
pub fn ddi(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/ddi/{name}.raw.zst"));
    let packed = File::open(path).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(packed)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// The sysexts that Flatcar ships within USR.
pub fn built_in_sysexts(recipe: &Recipe) -> [Sysext; 2] {
    let arch = if recipe.arch == "amd64" {
        "x86-64"
    } else {
        "arm64"
    };
    let fields = [
        ("ID", "flatcar"),
        ("VERSION_ID", recipe.version.as_str()),
        ("ARCHITECTURE", arch),
    ];
    let format = if recipe.ddis {
        Format::Ddi
    } else {
        Format::Squashfs
    };
    ["docker-flatcar", "containerd-flatcar"]
        .map(|name| Sysext::new(name, arch, format).with_fields(&fields))
}

fn make_usr(recipe: &Recipe, source: &Path, file: &Path) {
    let dir = source.join("share/flatcar/sysext");
    for built_in in built_in_sysexts(recipe) {
        sysext(&dir, &format!("{}.raw", built_in.name), &built_in).unwrap();
    }
    set_times(source);
    let bytes = recipe.layout.usr_fs_bytes;
    match recipe.usr {
        Filesystem::Btrfs => {
            make_btrfs(source, file, &format!("--byte-count {bytes} -U {USR_UUID}"))
        }
        Filesystem::Ext => {
            make_ext(source, file, "ext2", USR_UUID, "", bytes);
            // The highest byte of the read-only-compatible features: an unknown feature forbids mounting for writing.
            Region::whole(file).write(0x467, &[0xff]);
        }
    }
    // In place of the hash tree of dm-verity.
    Region::whole(file).write(bytes, &noise(8, 256 << 10));
}

fn make_oem(recipe: &Recipe, source: &Path, file: &Path) {
    let bytes = recipe.slot(6).sectors * SECTOR;
    match recipe.oem {
        Filesystem::Ext => make_ext(source, file, "ext4", OEM_UUID, "-L OEM", bytes),
        Filesystem::Btrfs => {
            set_stand_in(source);
            make_btrfs(
                source,
                file,
                &format!("--byte-count {bytes} --label OEM -U {OEM_UUID}"),
            );
            set_compression(file, "zlib");
        }
    }
}

/// Files of the OEM filesystem carry the property as well: the kernel lets them inherit it.
fn set_stand_in(source: &Path) {
    let name = str::from_utf8(STAND_IN).unwrap();
    for child in fs::read_dir(source).unwrap() {
        let child = child.unwrap();
        if child.file_type().unwrap().is_symlink() {
            continue;
        }
        run("setfattr", &format!("-n {name} -v zlib"), &[&child.path()]);
        if child.file_type().unwrap().is_dir() {
            set_stand_in(&child.path());
        }
    }
}

fn make_btrfs(source: &Path, file: &Path, options: &str) {
    run(
        "mkfs.btrfs",
        &format!("-q --mixed -m single -d single {options} --rootdir"),
        &[source, file],
    );
}

fn write_root(recipe: &Recipe, source: &Path) {
    // Mount points; the rest of ROOT comes into being at the first boot.
    for name in ["boot", "usr", "oem"] {
        make_dir(source, name);
    }
    let fill = share(recipe.slot(9).sectors * SECTOR, recipe.root_fill_percent);
    if fill > 0 {
        make_dir(source, "var/lib");
        Content::docker_store(ROOT_SEED, fill).write(&source.join("var/lib/docker"));
    }
}

fn make_root(recipe: &Recipe, source: &Path, file: &Path) {
    make_ext(
        source,
        file,
        "ext4",
        ROOT_UUID,
        "-b 4096 -i 4096 -I 256",
        recipe.slot(9).sectors * SECTOR,
    );
    run("tune2fs", "-e remount-ro -L ROOT", &[file]);
}
