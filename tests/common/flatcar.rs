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
//! Known differences from a released image: the kernel, GRUB and the dm-verity tree are pseudo-random bytes; `/usr` is a
//! handful of files and not compressed (unless filled from this machine); `mkfs.btrfs` chooses its own device and chunk
//! tree UUIDs.

use super::btrfs_property::{STAND_IN, set_compression};
use super::programs::{judges, must_run};
use super::region::{Region, copy_file, copy_sparse};
use super::sysext::{Format, Sysext, make_dir, set_times, sysext, write_file, write_link};
use super::{noise, scratch_dir, scratch_root};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

const SECTOR: u64 = 512;

/// One row of the partition table. Sectors of 512 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub number: u32,
    pub label: &'static str,
    pub type_guid: &'static str,
    pub unique_guid: &'static str,
    pub start: u64,
    pub sectors: u64,
}

/// Sizes and places, and what depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub disk_sectors: u64,
    pub slots: [Slot; 7],
    /// Bytes of the USR filesystem; the hash tree of dm-verity follows.
    pub usr_fs_bytes: u64,
    /// Legacy-boot bit on the ESP and a hybrid MBR, as until 4459.
    pub hybrid: bool,
}

const EFI: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const BIOS: &str = "21686148-6449-6e6f-744e-656564454649";
const FLATCAR_ROOTFS: &str = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6";
const DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const RESERVED: &str = "c95dc21a-df0e-4340-8d7b-26cbfa9a03e0";
const RESIZE: &str = "3884dd41-8582-4404-b9a8-e9b84f2df50e";
pub const USR_A_GUID: &str = "7130c94a-213a-4e5a-8e26-6cce9662f132";
pub const USR_B_GUID: &str = "e03dd35c-7c2d-4a47-b3fe-27f15780a57c";
pub const DISK_GUID: &str = "00000000-0000-0000-0000-000000000001";
/// The volume serial of the ESP, which every GRUB core image searches for.
pub const ESP_SERIAL: &str = "F1A7BA4E";
pub const OEM_UUID: &str = "0e300000-f1a7-4ba4-8e00-000000000006";
pub const ROOT_UUID: &str = "90070000-f1a7-4ba4-8e00-000000000009";
const USR_UUID: &str = "05300000-f1a7-4ba4-8e00-000000000003";

const fn layout(places: [(u64, u64); 7], disk_sectors: u64, usr_fs_bytes: u64, hybrid: bool) -> Layout {
    const fn slot(number: u32, label: &'static str, guids: [&'static str; 2], place: (u64, u64)) -> Slot {
        Slot { number, label, type_guid: guids[0], unique_guid: guids[1], start: place.0, sectors: place.1 }
    }
    let slots = [
        slot(1, "EFI-SYSTEM", [EFI, "f1a7ba4e-0000-4000-8000-000000000001"], places[0]),
        slot(2, "BIOS-BOOT", [BIOS, "f1a7ba4e-0000-4000-8000-000000000002"], places[1]),
        slot(3, "USR-A", [FLATCAR_ROOTFS, USR_A_GUID], places[2]),
        slot(4, "USR-B", [FLATCAR_ROOTFS, USR_B_GUID], places[3]),
        slot(6, "OEM", [DATA, "f1a7ba4e-0000-4000-8000-000000000006"], places[4]),
        slot(7, "OEM-CONFIG", [RESERVED, "f1a7ba4e-0000-4000-8000-000000000007"], places[5]),
        slot(9, "ROOT", [RESIZE, "f1a7ba4e-0000-4000-8000-000000000009"], places[6]),
    ];
    Layout { disk_sectors, slots, usr_fs_bytes, hybrid }
}

/// Since 4487 (alpha) and 4593.2 (stable): 8,455,716,864 bytes.
pub const NEW: Layout = layout(
    [
        (4096, 2_097_152),
        (2_101_248, 4096),
        (2_105_344, 4_194_304),
        (6_299_648, 4_194_304),
        (10_493_952, 2_097_152),
        (12_591_104, 131_072),
        (12_722_176, 3_653_632),
    ],
    16_515_072,
    1_065_345_024,
    false,
);

/// To 4459.2 and in lts-4081: 4,756,340,736 bytes.
pub const OLD: Layout = layout(
    [
        (4096, 262_144),
        (266_240, 4096),
        (270_336, 2_097_152),
        (2_367_488, 2_097_152),
        (4_464_640, 262_144),
        (4_726_784, 131_072),
        (4_857_856, 4_427_776),
    ],
    9_289_728,
    1_065_345_024,
    true,
);

/// Flatcar's rules at the size of a fixture: 396,361,728 bytes (378 MiB), almost all of them holes.
pub const SMALL: Layout = layout(
    [
        (4096, 73_728),
        (77_824, 4096),
        (81_920, 131_072),
        (212_992, 131_072),
        (344_064, 131_072),
        (475_136, 4096),
        (479_232, 290_816),
    ],
    774_144,
    60 << 20,
    false,
);

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
    /// MiB of files of this machine copied into USR (`share/fill`) and ROOT (`fill`), for benchmarks.
    pub usr_fill_mib: u64,
    pub root_fill_mib: u64,
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
            usr_fill_mib: 0,
            root_fill_mib: 0,
            files: Vec::new(),
        }
    }

    /// The generation before, as lts 4081: small partitions, hybrid MBR.
    pub fn old() -> Self {
        Self { layout: OLD, version: "4081.3.0".to_owned(), ..Self::new() }
    }

    /// As before 2983: OEM is ext4 and USR is ext2.
    pub fn oldest() -> Self {
        let version = "2905.2.0".to_owned();
        Self { usr: Filesystem::Ext, oem: Filesystem::Ext, version, ..Self::old() }
    }

    /// The present generation at the size of a fixture, for tests that look at every byte.
    pub fn small() -> Self {
        Self { layout: SMALL, kernel_bytes: 64 << 10, ..Self::new() }
    }

    /// The same with one more file in partition 1, 3, 6 or 9.
    pub fn with_file(mut self, partition: u32, path: &str, content: &[u8]) -> Self {
        self.files.push((partition, path.to_owned(), content.to_vec()));
        self
    }

    fn slot(&self, number: u32) -> &Slot {
        self.layout.slots.iter().find(|slot| slot.number == number).expect("the layout has the partition")
    }

    /// The cache's name for it: a hash over every ingredient.
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for source in [include_str!("flatcar.rs"), include_str!("btrfs_property.rs"), include_str!("sysext.rs")] {
            hash.update(source);
        }
        hash.update(format!("{self:?}"));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
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
    let disk = File::options().read(true).write(true).create_new(true).open(image).unwrap();
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
        make_dir(&source, "");
        for (_, path, content) in recipe.files.iter().filter(|(partition, ..)| *partition == number) {
            write_file(&source, path, content);
        }
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
        copy_sparse(&partition, 0, slot.sectors * SECTOR, &disk, slot.start * SECTOR).unwrap();
    }
}

/// Words of a command line; `paths` follow.
fn run(program: &str, words: &str, paths: &[&Path]) {
    let words = words.split(' ').filter(|word| !word.is_empty()).map(OsStr::new);
    must_run(program, words.chain(paths.iter().map(|path| path.as_os_str())));
}

fn write_table(recipe: &Recipe, image: &Path) {
    let mut words = format!("-a 1 -U {DISK_GUID}");
    for Slot { number, label, type_guid, unique_guid, start, sectors } in recipe.layout.slots {
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
        table[..16].copy_from_slice(&mbr_entry(0x80, 0x0c, chs(esp.start), chs(end), esp.start, esp.sectors));
        table[16..32].copy_from_slice(&mbr_entry(0, 0xee, [0, 2, 0], [0xff; 3], 1, esp.start - 1));
        disk.write_all_at(&table, 446).unwrap();
    }
}

fn mbr_entry(status: u8, kind: u8, first: [u8; 3], last: [u8; 3], start: u64, sectors: u64) -> [u8; 16] {
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
    let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
    let high = cylinder >> 8 << 6;
    [head, sector | high, cylinder & 0xff].map(|value| u8::try_from(value).unwrap())
}

fn make_esp(recipe: &Recipe, source: &Path, file: &Path) {
    let mut kernel = noise(3, recipe.kernel_bytes);
    kernel[..2].copy_from_slice(b"MZ");
    let hash_at = if recipe.arch == "amd64" { 64 } else { 512 };
    kernel[hash_at..hash_at + 64].copy_from_slice(VERITY_HASH.as_bytes());
    write_file(source, "flatcar/vmlinuz-a", &kernel);
    write_file(source, "flatcar/first_boot", b"The first boot is still to come.\n");
    let efi = if recipe.arch == "amd64" { ("x86_64-efi", "x64") } else { ("arm64-efi", "aa64") };
    let load = format!("search.fs_uuid {ESP_SERIAL} root hd0,gpt1\nset prefix=(memdisk)\n");
    write_file(source, &format!("flatcar/grub/{}/load.cfg", efi.0), load.as_bytes());
    write_file(source, "flatcar/grub/grub.cfg.tar", &noise(4, 10 << 10));
    for (seed, name) in [(5, "boot"), (6, "grub"), (7, "mm")] {
        write_file(source, &format!("EFI/boot/{name}{}.efi", efi.1), &noise(seed, 24 << 10));
    }
    set_times(source);
    let options = format!("-I -F 32 -n EFI-SYSTEM -i {ESP_SERIAL} --invariant");
    let kib = (recipe.slot(1).sectors / 2).to_string();
    run("mkfs.vfat", &options, &[file, Path::new(&kib)]);
    let mut children: Vec<PathBuf> = fs::read_dir(source).unwrap().map(|child| child.unwrap().path()).collect();
    children.sort();
    let mut arguments = ["-s", "-m", "-i"].map(OsString::from).to_vec();
    arguments.push(file.into());
    arguments.extend(children.into_iter().map(PathBuf::into_os_string));
    arguments.push("::/".into());
    must_run("mcopy", arguments);
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
fn make_usr(recipe: &Recipe, source: &Path, file: &Path) {
    write_file(source, "lib/os-release", os_release(recipe).as_bytes());
    write_file(source, "share/flatcar/release", format!("FLATCAR_RELEASE_VERSION={}\n", recipe.version).as_bytes());
    write_file(source, "share/flatcar/update.conf", b"SERVER=https://update.example/\nGROUP=stable\n");
    write_file(source, "share/flatcar/enabled-sysext.conf", b"# none\n");
    write_file(source, "bin/greet", b"#!/bin/sh\necho greetings\n");
    write_link(source, "sbin", "bin");
    let arch = if recipe.arch == "amd64" { "x86-64" } else { "arm64" };
    for name in ["docker-flatcar", "containerd-flatcar"] {
        let built_in = Sysext::new(name, arch, Format::Squashfs);
        let fields = [("ID", "flatcar"), ("VERSION_ID", recipe.version.as_str()), ("ARCHITECTURE", arch)];
        let dir = source.join("share/flatcar/sysext");
        make_dir(source, "share/flatcar/sysext");
        sysext(&dir, &format!("{name}.raw"), &built_in.with_fields(&fields)).unwrap();
        let link = format!("share/flatcar/etc/extensions/{name}.raw");
        write_link(source, &link, &format!("/usr/share/flatcar/sysext/{name}.raw"));
    }
    fill(source, "share/fill", recipe.usr_fill_mib);
    set_times(source);
    let bytes = recipe.layout.usr_fs_bytes;
    match recipe.usr {
        Filesystem::Btrfs => make_btrfs(source, file, &format!("--byte-count {bytes} -U {USR_UUID}")),
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
    set_times(source);
    let bytes = recipe.slot(6).sectors * SECTOR;
    match recipe.oem {
        Filesystem::Ext => make_ext(source, file, "ext4", OEM_UUID, "-L OEM", bytes),
        Filesystem::Btrfs => {
            set_stand_in(source);
            make_btrfs(source, file, &format!("--byte-count {bytes} --label OEM -U {OEM_UUID}"));
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
    run("mkfs.btrfs", &format!("-q --mixed -m single -d single {options} --rootdir"), &[source, file]);
}

fn make_root(recipe: &Recipe, source: &Path, file: &Path) {
    // Mount points; the rest of ROOT comes into being at the first boot.
    for name in ["boot", "usr", "oem"] {
        make_dir(source, name);
    }
    fill(source, "fill", recipe.root_fill_mib);
    set_times(source);
    make_ext(source, file, "ext4", ROOT_UUID, "-b 4096 -i 4096 -I 256", recipe.slot(9).sectors * SECTOR);
    run("tune2fs", "-e remount-ro -L ROOT", &[file]);
}

/// `mke2fs -d`, then everything belongs to root: `-d` takes over the owner, who is whoever runs the tests.
fn make_ext(source: &Path, file: &Path, kind: &str, uuid: &str, options: &str, bytes: u64) {
    let fixed = format!("-q -t {kind} {options} -U {uuid} -E root_owner=0:0,hash_seed={uuid} -d");
    let kib = format!("{}k", bytes / 1024);
    run("mke2fs", &fixed, &[source, file, Path::new(&kib)]);
    let mut commands = String::new();
    own_by_root(source, "", &mut commands);
    let script = file.with_extension("debugfs");
    fs::write(&script, commands).unwrap();
    let output = must_run("debugfs", [OsStr::new("-w"), OsStr::new("-f"), script.as_os_str(), file.as_os_str()]);
    // debugfs ends with 0 whatever happened; besides its version, stderr has nothing when all went well.
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(complaints.lines().all(|line| line.starts_with("debugfs 1.")), "debugfs -w: {complaints}");
}

fn own_by_root(dir: &Path, path: &str, commands: &mut String) {
    for child in fs::read_dir(dir).unwrap() {
        let child = child.unwrap();
        let name = format!("{path}/{}", child.file_name().to_str().unwrap());
        for field in ["uid", "gid"] {
            commands.push_str(&format!("set_inode_field \"{name}\" {field} 0\n"));
        }
        if child.file_type().unwrap().is_dir() {
            own_by_root(&child.path(), &name, commands);
        }
    }
}

/// Copies regular files of this machine below `ROOT/PATH` until there are `mib` MiB: programs, libraries and texts, as
/// the content of an operating system is.
fn fill(root: &Path, path: &str, mib: u64) {
    let mut left = mib << 20;
    for top in ["/usr/bin", "/usr/share/doc", "/usr/lib", "/usr/share"] {
        if left > 0 {
            copy_some(Path::new(top), &root.join(path).join(top.trim_start_matches('/')), &mut left);
        }
    }
}

fn copy_some(source: &Path, target: &Path, left: &mut u64) {
    let Ok(children) = fs::read_dir(source) else { return };
    let mut children: Vec<_> = children.map(|child| child.unwrap()).collect();
    children.sort_by_key(fs::DirEntry::file_name);
    fs::create_dir_all(target).unwrap();
    for child in children {
        let (kind, to) = (child.file_type().unwrap(), target.join(child.file_name()));
        let plain = child.file_name().to_str().is_some_and(|name| !name.contains(['"', '\n', '\\']));
        if kind.is_dir() && plain {
            copy_some(&child.path(), &to, left);
        } else if kind.is_file() && plain {
            let len = child.metadata().unwrap().len();
            if len <= *left && fs::copy(child.path(), to).is_ok() {
                *left -= len;
            }
        }
    }
}
