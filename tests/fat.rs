//! FAT volumes made and judged by dosfstools and mtools: the parameters of Flatcar's ESP, long random edits, full volumes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU64, Ordering};

use common::judges::{Verdict, fat_clean, grub_cmp};
use common::programs::{command, judge, judges, success};
use common::random::Random;
use common::region::Region;
use common::{longer, scratch_dir};
use flatbake::block::{BlockDevice, BlockDeviceMut, Extent, ExtentKind};
use flatbake::fs::fat::{Editable, Fat, probe};
use flatbake::fs::{
    Attributes, ByPath, ExtractOptions, FileSystem, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp,
    extract, walk,
};
use flatbake::{ErrorKind, Result};
use tempfile::TempDir;

/// A sparse file on which the judges look while it is edited; counts what is written.
#[derive(Debug)]
struct Disk {
    file: File,
    size: u64,
    writes: AtomicU64,
    largest: AtomicU64,
}

impl BlockDevice for Disk {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|error| flatbake::Error::io("reading the test disk", error))
    }
    fn extent_at(&self, offset: u64) -> Result<Extent> {
        Ok(Extent { kind: ExtentKind::Data, len: self.size - offset })
    }
}

impl BlockDeviceMut for Disk {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let len = u64::try_from(buf.len()).unwrap();
        assert!(offset + len <= self.size, "a write beyond the volume");
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(len, Ordering::Relaxed);
        self.file.write_all_at(buf, offset).map_err(|error| flatbake::Error::io("writing the test disk", error))
    }
    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &vec![0; usize::try_from(len).unwrap()])
    }
}

struct Image {
    folder: TempDir,
}

impl Image {
    /// A volume by mkfs.vfat; `None` where a program is missing.
    fn make(size: u64, arguments: &[&str]) -> Option<Self> {
        let mkfs = judge("mkfs.vfat")?;
        if !judges(&["fsck.vfat", "mdir", "mtype", "mcopy", "mmd"]) {
            return None;
        }
        let image = Self { folder: scratch_dir() };
        File::create(image.path()).unwrap().set_len(size).unwrap();
        success(command(&mkfs).args(["-i", "2E241F3A"]).args(arguments).arg(image.path()));
        Some(image)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn disk(&self) -> Disk {
        let file = File::options().read(true).write(true).open(self.path()).unwrap();
        let size = file.metadata().unwrap().len();
        Disk { file, size, writes: AtomicU64::new(0), largest: AtomicU64::new(0) }
    }

    fn mtool(&self, name: &str, arguments: &[&str]) -> Output {
        let mut mtool = command(&judge(name).unwrap());
        success(mtool.env("MTOOLS_SKIP_CHECK", "0").arg("-i").arg(self.path()).args(arguments))
    }

    fn mtype(&self, path: &str) -> Vec<u8> {
        self.mtool("mtype", &[&format!("::{path}")]).stdout
    }

    fn fsck(&self) -> Verdict {
        fat_clean(&Region::whole(&self.path()))
    }

    fn bytes_at(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.disk().read_at(offset, &mut bytes).unwrap();
        bytes
    }
}

fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

fn at(secs: i64) -> Attributes {
    Attributes { mode: 0o640, uid: 7, gid: 8, mtime: Timestamp { secs, nanos: 5 } }
}

fn write(fat: &mut dyn FileSystemMut, name: &str, content: &[u8]) -> Result<()> {
    fat.write_file(&path(name), &at(1_700_000_000), u64::try_from(content.len()).unwrap(), &mut &content[..])
}

fn read(fat: &dyn FileSystem, name: &str) -> Vec<u8> {
    flatbake::fs::read_file(fat, &path(name), 1 << 30).unwrap()
}

/// Content of a length that tells files apart.
fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|index| u8::try_from((index * 31 + seed * 7 + index / 251) % 251).unwrap()).collect()
}

#[test]
fn an_esp_with_the_parameters_of_flatcar() {
    for (megabytes, cluster) in [(128, 512), (1024, 4096)] {
        let Some(image) = Image::make(megabytes << 20, &["-I", "-F", "32", "-n", "EFI-SYSTEM"]) else { return };
        let host = image.folder.path().join("grub with a long name.cfg");
        std::fs::write(&host, content(1, 100_000)).unwrap();
        image.mtool("mmd", &["::/EFI", "::/EFI/boot", "::/flatcar"]);
        image.mtool("mcopy", &["-m", host.to_str().unwrap(), "::/EFI/boot/grub with a long name.cfg"]);
        image.mtool("mcopy", &[host.to_str().unwrap(), "::/flatcar/VMLINUZ.A"]);
        let serial = image.bytes_at(67, 15);
        assert!(probe(&image.bytes_at(0, 512)));

        let mut fat = Fat::open(image.disk()).unwrap();
        assert_eq!(fat.label().unwrap(), b"EFI-SYSTEM");
        assert_eq!(fat.capacity().unwrap().block_bytes, cluster);
        assert_eq!(read(&fat, "/efi/BOOT/GRUB with a long NAME.cfg"), content(1, 100_000));
        assert_eq!(read(&fat, "/EFI/BOOT/GRUBWI~1.CFG"), content(1, 100_000));

        write(&mut fat, "/efi/BOOT/first_boot", b"").unwrap();
        write(&mut fat, "/Efi/Boot/grub with a long name.cfg", &content(2, 5000)).unwrap();
        fat.create_dir(&path("/EFI/A new folder with a long name"), &at(0)).unwrap();
        write(&mut fat, "/EFI/A new folder with a long name/ünïcode 😀.txt", b"smile").unwrap();
        fat.rename(&path("/flatcar/vmlinuz.a"), &path("/flatcar/vmlinuz-a")).unwrap();
        let free = fat.capacity().unwrap().free_bytes / cluster;
        fat.commit().unwrap();
        drop(fat);

        image.fsck().unwrap();
        assert_eq!(image.bytes_at(67, 15), serial, "serial and label");
        assert_eq!(image.bytes_at(512 + 488, 4), u32::try_from(free).unwrap().to_le_bytes(), "free count");
        let listing = String::from_utf8(image.mtool("mdir", &["-b", "-/", "::/"]).stdout).unwrap();
        for name in ["::/EFI/boot/first_boot", "::/flatcar/vmlinuz-a", "::/EFI/A new folder with a long name/"] {
            assert!(listing.contains(name), "{name} in {listing}");
        }
        assert!(!listing.contains("VMLINUZ"));
        assert_eq!(image.mtype("/EFI/boot/grub with a long name.cfg"), content(2, 5000));
        assert_eq!(image.mtype("/flatcar/vmlinuz-a"), content(1, 100_000));
    }
}

#[test]
fn what_grub_reads() {
    let Some(image) = Image::make(64 << 20, &["-F", "32", "-s", "1"]) else { return };
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/flatcar"), &at(0)).unwrap();
    write(&mut fat, "/flatcar/a long name for grub.cfg", &content(3, 70_000)).unwrap();
    fat.commit().unwrap();
    let host = image.folder.path().join("host");
    std::fs::write(&host, content(3, 70_000)).unwrap();
    grub_cmp(&Region::whole(&image.path()), "/flatcar/a long name for grub.cfg", &host).unwrap();
}

#[test]
fn the_judge_can_say_no() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else { return };
    let mut fat = Fat::open(image.disk()).unwrap();
    write(&mut fat, "/file", &content(0, 3000)).unwrap();
    fat.commit().unwrap();
    image.fsck().unwrap();
    let table = u64::from(u16::from_le_bytes(image.bytes_at(14, 2).try_into().unwrap())) * 512;
    let byte = image.bytes_at(table + 12, 1);
    image.disk().write_at(table + 12, &[byte[0] ^ 1]).unwrap();
    image.fsck().unwrap_err();
}

#[test]
fn metadata_names_and_what_fat_lacks() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else { return };
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/d"), &at(1_600_000_001)).unwrap();
    write(&mut fat, "/d/File", b"one").unwrap();
    let file = fat.metadata_at(&path("/D/fILE")).unwrap();
    assert_eq!((file.file_type, file.mode, file.uid, file.size, file.nlink), (FileType::File, 0o644, 0, 3, 1));
    assert_eq!(file.mtime, Timestamp { secs: 1_700_000_000, nanos: 0 });
    let folder = fat.metadata_at(&path("/d")).unwrap();
    assert_eq!((folder.file_type, folder.mode, folder.mtime.secs), (FileType::Directory, 0o755, 1_600_000_000));
    let listed = fat.entries_at(&path("/d")).unwrap();
    assert_eq!((listed[0].name.as_slice(), fat.metadata(listed[0].node).unwrap()), (&b"File"[..], file.clone()));
    assert_ne!(file.inode, folder.inode);

    let change = MetadataChange { mtime: Some(Timestamp::default()), mode: Some(0o777), ..Default::default() };
    fat.set_metadata(&path("/d/file"), &change).unwrap();
    fat.set_metadata(&FsPath::root(), &change).unwrap();
    assert_eq!(fat.metadata_at(&path("/d/file")).unwrap().mtime.secs, 315_532_800);

    let kind = |result: Result<()>| result.unwrap_err().kind();
    let link = path("/link");
    assert_eq!(kind(fat.symlink(&link, b"x", &at(0))), ErrorKind::Unsupported);
    assert_eq!(kind(fat.hard_link(&path("/d/file"), &link)), ErrorKind::Unsupported);
    assert_eq!(kind(fat.mknod(&link, FileType::Fifo, (0, 0), &at(0))), ErrorKind::Unsupported);
    assert_eq!(kind(fat.set_xattr(&path("/d"), b"user.a", b"")), ErrorKind::Unsupported);
    assert_eq!(kind(fat.create_dir(&path("/D"), &at(0))), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.create_dir(&path("/no/such"), &at(0))), ErrorKind::NotFound);
    assert_eq!(kind(fat.remove(&path("/d"))), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.remove(&FsPath::root())), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.remove(&path("/none"))), ErrorKind::NotFound);
    assert_eq!(kind(fat.rename(&path("/d/file"), &path("/d"))), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.rename(&path("/d"), &path("/d/below"))), ErrorKind::InvalidInput);
    assert_eq!(kind(write(&mut fat, "/d", b"")), ErrorKind::InvalidInput);
    assert_eq!(kind(write(&mut fat, "/what?", b"")), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.write_file(&link, &at(0), 5, &mut &b"four"[..])), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.write_file(&link, &at(0), 3, &mut &b"four"[..])), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.write_file(&link, &at(0), 1 << 32, &mut &b""[..])), ErrorKind::Unsupported);
    assert!(fat.metadata_at(&path("/d/file/x")).is_err_and(|error| error.kind() == ErrorKind::NotFound));
}

#[test]
fn names_have_as_many_units_as_fat_has_room_for() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else { return };
    let mut fat = Fat::open(image.disk()).unwrap();
    // 255 units are up to 765 bytes.
    for name in [format!("/{}", "\u{6f22}".repeat(255)), format!("/{}", "\u{1f427}".repeat(127))] {
        write(&mut fat, &name, b"content").unwrap();
        assert_eq!(read(&fat, &name), b"content");
        assert!(fat.entries_at(&FsPath::root()).unwrap().iter().any(|entry| entry.name == name.as_bytes()[1..]));
    }
    assert!(write(&mut fat, &format!("/{}", "a".repeat(256)), b"").is_err());
    assert!(FsPath::new(format!("/{}", "\u{6f22}".repeat(256))).is_err());
}

#[test]
fn a_volume_filled_to_the_last_cluster() {
    for arguments in [&["-F", "32", "-s", "1"][..], &["-F", "16"], &["-F", "12"]] {
        let size = if arguments[1] == "12" { 1 << 20 } else { 36 << 20 };
        let Some(image) = Image::make(size, arguments) else { return };
        let mut fat = Fat::open(image.disk()).unwrap();
        fat.create_dir(&path("/d"), &at(0)).unwrap();
        let cluster = fat.capacity().unwrap().block_bytes;
        let left = 4 * cluster;
        let big = fat.capacity().unwrap().free_bytes - left;
        write(&mut fat, "/big", &vec![1; usize::try_from(big).unwrap()]).unwrap();
        fat.commit().unwrap();
        let before = std::fs::read(image.path()).unwrap();
        let too_much = usize::try_from(left + 1).unwrap();
        let error = write(&mut fat, "/d/small", &vec![2; too_much]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.to_string().contains(&format!("needs 5 clusters of {cluster} bytes")), "{error}");
        assert!(error.to_string().contains("4 are free"), "{error}");
        assert_eq!(
            write(&mut fat, "/big", &vec![1; usize::try_from(big).unwrap() + too_much]).unwrap_err().kind(),
            ErrorKind::NoSpace
        );
        assert!(before == std::fs::read(image.path()).unwrap(), "nothing is written when it does not fit");

        write(&mut fat, "/d/small", &vec![2; usize::try_from(left).unwrap()]).unwrap();
        assert_eq!(fat.capacity().unwrap().free_bytes, 0);
        assert_eq!(fat.create_dir(&path("/d/e"), &at(0)).unwrap_err().kind(), ErrorKind::NoSpace);
        // Entries without content go into the folder until it would have to grow.
        let full = (0..1000)
            .map(|index| write(&mut fat, &format!("/d/an entry that takes slots {index}"), b""))
            .find_map(Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::NoSpace);
        write(&mut fat, "/big", &vec![3; usize::try_from(big).unwrap()]).unwrap();
        fat.commit().unwrap();
        image.fsck().unwrap();
        fat.remove(&path("/big")).unwrap();
        fat.commit().unwrap();
        image.fsck().unwrap();
        assert_eq!(fat.capacity().unwrap().free_bytes, big);
    }
}

/// Two tables are usual.
#[test]
fn volumes_of_one_or_two_tables_are_edited_and_those_of_more_are_told() {
    for (size, bits) in [(3 << 20, "12"), (20 << 20, "16"), (80 << 20, "32")] {
        for tables in ["1", "2", "3", "4"] {
            let Some(image) = Image::make(size, &["-F", bits, "-f", tables]) else { return };
            if ["3", "4"].contains(&tables) {
                let error = Fat::open_read_only(image.disk()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                continue;
            }
            let mut fat = Fat::open(image.disk()).unwrap();
            for file in 0..20 {
                write(&mut fat, &format!("/file{file}"), &content(file, file * 3001)).unwrap();
            }
            fat.remove(&path("/file7")).unwrap();
            fat.commit().unwrap();
            drop(fat);
            image.fsck().unwrap();
            let fat = Fat::open_read_only(image.disk()).unwrap();
            for file in (0..20).filter(|file| *file != 7) {
                assert!(read(&fat, &format!("/file{file}")) == content(file, file * 3001), "{bits} {tables} {file}");
            }
        }
    }
}

#[test]
fn removed_content_is_gone_and_a_dirty_mark_is_cleared() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else { return };
    image.disk().write_at(0x41, &[1]).unwrap();
    // The mark of Windows: a bit of the second table entry, in both tables.
    let word = |at, len| image.bytes_at(at, len).iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    for table in [word(14, 2), word(14, 2) + word(36, 4)] {
        image.disk().write_at(table * 512 + 7, &[0x07]).unwrap();
    }
    image.fsck().unwrap_err();
    let secret = b"a very secret sentence".repeat(1000);
    let holds =
        |needle: &[u8]| std::fs::read(image.path()).unwrap().windows(needle.len()).any(|window| window == needle);
    let mut fat = Fat::open(image.disk()).unwrap();
    for name in ["/a", "/b", "/c"] {
        write(&mut fat, name, &secret).unwrap();
    }
    assert!(holds(b"very secret"));
    fat.remove(&path("/a")).unwrap();
    write(&mut fat, "/b", b"short").unwrap();
    write(&mut fat, "/d", b"other").unwrap();
    fat.rename(&path("/d"), &path("/c")).unwrap();
    fat.commit().unwrap();
    assert!(!holds(b"very secret"));
    image.fsck().unwrap();
    assert_eq!(word(word(14, 2) * 512 + 7, 1), 0x0F);
}

#[test]
fn same_edits_give_the_same_bytes() {
    let make = || {
        let image = Image::make(40 << 20, &["-F", "32", "--invariant"])?;
        let mut fat = Fat::open(image.disk()).unwrap();
        fat.create_dir(&path("/Folder name"), &at(1_650_000_000)).unwrap();
        for index in 0..50 {
            write(&mut fat, &format!("/Folder name/file number {index}"), &content(index, index * 100)).unwrap();
        }
        fat.commit().unwrap();
        Some(std::fs::read(image.path()).unwrap())
    };
    assert!(make() == make());
}

#[test]
fn large_files_take_large_writes() {
    let Some(image) = Image::make(1 << 30, &["-I", "-F", "32", "-s", "1"]) else { return };
    let mut previous = 0;
    for megabytes in [100u64, 300] {
        let disk = image.disk();
        let mut fat = Fat::open(&disk).unwrap();
        let start = std::time::Instant::now();
        let size = megabytes << 20;
        fat.write_file(
            &path(&format!("/{megabytes}")),
            &at(0),
            size,
            &mut std::io::Read::take(std::io::repeat(5), size),
        )
        .unwrap();
        fat.commit().unwrap();
        let (writes, largest) = (disk.writes.load(Ordering::Relaxed), disk.largest.load(Ordering::Relaxed));
        eprintln!("{megabytes} MiB: {:?}, {writes} writes, largest {largest}", start.elapsed());
        assert_eq!(largest, 1 << 20);
        // Two tables of 512-byte blocks with 128 entries each, and a write per MiB; all else is a constant.
        assert!(writes < megabytes * (2 * 17 + 2) + 100, "{writes} writes");
        assert!(previous == 0 || writes < 4 * previous, "more than linear");
        previous = writes;
    }
    image.fsck().unwrap();
}

/// A file or folder of the model: the name as stored, content (`None`: a folder), even seconds.
type Model = BTreeMap<String, (String, Option<Vec<u8>>, i64)>;

/// A name of one of a few shapes in any case; few enough that edits meet old entries.
fn name(random: &mut Random) -> String {
    let number = random.below(25);
    let name = match random.below(6) {
        0 => format!("F{number}.TXT"),
        1 => format!("f{number}"),
        2 => format!("Mixed Case name {number}.conf"),
        3 => format!("a.name.with.dots.{number}"),
        4 => format!("größe {number} €"),
        _ => format!("{number} {}", "long ".repeat(20 + number)).trim_end().to_owned(),
    };
    if random.below(3) == 0 { name.to_ascii_uppercase() } else { name }
}

/// One random edit of `fat` and `model`; what must fail must fail.
fn edit(random: &mut Random, fat: &mut Fat<Editable<Disk>>, model: &mut Model) {
    let folders: Vec<String> =
        model.iter().filter(|(_, entry)| entry.1.is_none()).map(|(key, _)| key.clone()).collect();
    let parent = match random.below(folders.len() + 1) {
        0 => String::new(),
        index => folders[index - 1].clone(),
    };
    let name = name(random);
    let target = format!("{parent}/{name}");
    let key = target.to_lowercase();
    let secs = 1_500_000_000 + i64::try_from(random.below(1000)).unwrap() * 2;
    let old = model.get(&key).cloned();
    match random.below(10) {
        0..=4 => {
            let sizes = [0, 1, 511, 512, 513, 5000, 40_000];
            let data = content(random.below(100), sizes[random.below(sizes.len())]);
            let size = u64::try_from(data.len()).unwrap();
            let done = fat.write_file(&path(&target), &at(secs), size, &mut data.as_slice());
            match old {
                Some((_, None, _)) => assert!(done.is_err()),
                Some((name, _, _)) => drop((done.unwrap(), model.insert(key, (name, Some(data), secs)))),
                None => drop((done.unwrap(), model.insert(key, (name, Some(data), secs)))),
            }
        }
        5 if parent.matches('/').count() < 4 => {
            let done = fat.create_dir(&path(&target), &at(secs));
            assert_eq!(done.is_ok(), old.is_none());
            model.entry(key).or_insert((name, None, secs));
        }
        6 => {
            let busy = model.keys().any(|other| other.starts_with(&format!("{key}/")));
            assert_eq!(fat.remove(&path(&target)).is_ok(), old.is_some() && !busy);
            if !busy {
                model.remove(&key);
            }
        }
        _ if !model.is_empty() => {
            let from = model.keys().nth(random.below(model.len())).unwrap().clone();
            let below = key.starts_with(&format!("{from}/"));
            let deep = target.len() > 800;
            if deep {
                return;
            }
            let done = fat.rename(&path(&from), &path(&target));
            let source_is_dir = model[&from].1.is_none();
            let blocked = from != key && old.as_ref().is_some_and(|old| old.1.is_none() || source_is_dir);
            assert_eq!(done.is_ok(), !below && !blocked, "{from} to {target}: {done:?}");
            if done.is_ok() {
                let (_, data, secs) = model.remove(&from).unwrap();
                let moved: Vec<String> =
                    model.keys().filter(|key| key.starts_with(&format!("{from}/"))).cloned().collect();
                for child in moved {
                    let entry = model.remove(&child).unwrap();
                    model.insert(format!("{key}{}", &child[from.len()..]), entry);
                }
                model.insert(key, (name, data, secs));
            }
        }
        _ => {}
    }
}

fn compare(fat: &dyn FileSystem, model: &Model) {
    let mut seen = Vec::new();
    walk(fat, &FsPath::root(), &mut |entry| {
        if !entry.path.is_root() {
            let text = String::from_utf8(entry.path.as_bytes().to_vec()).unwrap();
            let (name, data, secs) = model.get(&text.to_lowercase()).unwrap_or_else(|| panic!("{text} is too much"));
            assert_eq!(entry.path.name().unwrap(), name.as_bytes());
            assert_eq!(entry.metadata.mtime.secs, *secs, "{text}");
            match data {
                Some(data) => assert!(read(fat, &text) == *data, "{text}"),
                None => assert_eq!(entry.metadata.file_type, FileType::Directory),
            }
            seen.push(text.to_lowercase());
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(seen.len(), model.len());
}

fn tree_of(folder: &Path, prefix: &str, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let key = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.insert(key.to_lowercase(), None);
            tree_of(&entry.path(), &key, found);
        } else {
            found.insert(key.to_lowercase(), Some(std::fs::read(entry.path()).unwrap()));
        }
    }
}

#[test]
fn hundreds_of_random_edits() {
    let shapes = [(36 << 20, &["-F", "32", "-s", "1"][..]), (20 << 20, &["-F", "16"]), (8 << 20, &["-F", "12"])];
    let runs = shapes.into_iter().cycle().take(usize::try_from(longer(3)).unwrap());
    for (seed, (size, arguments)) in runs.enumerate() {
        let Some(image) = Image::make(size, arguments) else { return };
        let mut random = Random::new(u64::try_from(seed).unwrap());
        let mut model = Model::new();
        for _round in 0..5 {
            let mut fat = Fat::open(image.disk()).unwrap();
            for _ in 0..120 {
                edit(&mut random, &mut fat, &mut model);
            }
            compare(&fat, &model);
            fat.commit().unwrap();
            drop(fat);
            image.fsck().unwrap();
            compare(&Fat::open_read_only(image.disk()).unwrap(), &model);
        }
        assert!(model.len() > 30, "{}", model.len());
        let out = image.folder.path().join("out");
        std::fs::create_dir(&out).unwrap();
        image.mtool("mcopy", &["-s", "-Q", "::/", out.to_str().unwrap()]);
        let mut found = BTreeMap::new();
        tree_of(&out, "", &mut found);
        let wanted: BTreeMap<_, _> = model.iter().map(|(key, entry)| (key.clone(), entry.1.clone())).collect();
        assert!(found == wanted);

        let mine = image.folder.path().join("mine");
        let fat = Fat::open_read_only(image.disk()).unwrap();
        let done = extract(&fat, &FsPath::root(), &mine, &ExtractOptions::default()).unwrap();
        let mut found = BTreeMap::new();
        tree_of(&mine, "", &mut found);
        assert!(found == wanted);
        assert_eq!(done.files + done.directories, u64::try_from(wanted.len() + 1).unwrap());
    }
}

#[test]
fn many_files_in_one_folder() {
    let Some(image) = Image::make(64 << 20, &["-F", "32", "-s", "1"]) else { return };
    let count = 1000;
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/folder"), &at(0)).unwrap();
    let start = std::time::Instant::now();
    for index in 0..count {
        write(&mut fat, &format!("/folder/A file with a long name {index}"), b"x").unwrap();
    }
    fat.commit().unwrap();
    drop(fat);
    let written = start.elapsed();
    image.fsck().unwrap();
    let start = std::time::Instant::now();
    let mut met = 0;
    let fat = Fat::open_read_only(image.disk()).unwrap();
    walk(&fat, &path("/folder"), &mut |_| {
        met += 1;
        Ok(())
    })
    .unwrap();
    eprintln!("{count} files: written in {written:?}, walked in {:?}", start.elapsed());
    assert_eq!(met, count + 1);
}
