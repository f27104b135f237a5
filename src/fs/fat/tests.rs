//! Mutated volumes: whatever the bytes, there is a result or an error, and nothing outside the window changes.

use super::*;
use crate::block::{MemoryDevice, Window};
use crate::bytes::random::Random;
use crate::bytes::to_u64;
use crate::fs::{Attributes, FileSystem, FileSystemMut, FileType, FsPath, walk};

/// Bytes before and behind the volume that nothing may change.
const GUARD: usize = 4096;
/// Largest file that is read; sizes in mutated entries reach 4 GiB.
const READ_MAX: u64 = 1 << 20;

/// A FAT32 volume far below the official smallest size, as `mkfs.vfat -F 32` makes it too: 250 clusters of 512 bytes.
fn small_fat32() -> Vec<u8> {
    let mut image = vec![0; 512 * (32 + 4 + 250)];
    image[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
    let total = u32::try_from(image.len() / 512).unwrap();
    let fields: [(usize, &[u8]); 13] = [
        (11, &512u16.to_le_bytes()),
        (13, &[1]),
        (14, &32u16.to_le_bytes()),
        (16, &[2]),
        (21, &[0xF8]),
        (32, &total.to_le_bytes()),
        (36, &2u32.to_le_bytes()),
        (44, &2u32.to_le_bytes()),
        (48, &1u16.to_le_bytes()),
        (66, &[0x29]),
        (510, &[0x55, 0xAA]),
        (512, b"RRaA"),
        (512 + 484, b"rrAa\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (at, bytes) in fields {
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    image[1022..1024].copy_from_slice(&[0x55, 0xAA]);
    for copy in [32, 34] {
        let table = [0x0FFF_FFF8u32, 0x0FFF_FFFF, 0x0FFF_FFFF];
        for (entry, value) in table.iter().enumerate() {
            let at = copy * 512 + entry * 4;
            image[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
    }
    image
}

/// An empty volume.
fn formatted(layout: &FatLayout) -> Vec<u8> {
    let identity = FatIdentity {
        label: "TEST",
        serial: 7,
        time: 0,
    };
    let volume = build(&identity, layout, Vec::new()).unwrap();
    let mut image = vec![0; usize::try_from(volume.image.size()).unwrap()];
    volume.image.read_at(0, &mut image).unwrap();
    image
}

/// FAT12 and FAT16 with two tables and clusters of 512 bytes.
fn layout(kind: FatKind, clusters: u32) -> FatLayout {
    FatLayout {
        kind,
        tables: 2,
        sector_bytes: 512,
        cluster_bytes: 512,
        clusters,
    }
}

fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

/// A volume with directories, long names, files of several clusters and deleted entries.
fn populated(image: Vec<u8>) -> Vec<u8> {
    let disk = MemoryDevice::new(image);
    let mut fat = Fat::open(&disk).unwrap();
    let attributes = Attributes::default();
    for directory in ["/EFI", "/EFI/BOOT", "/EFI/A long directory name", "/empty"] {
        fat.create_dir(&path(directory), &attributes).unwrap();
    }
    for index in 0..20u8 {
        let name = match index % 3 {
            0 => format!("/EFI/BOOT/FILE{index}.BIN"),
            1 => format!("/EFI/A long directory name/a file with a long name {index}.txt"),
            _ => format!("/short{index}"),
        };
        let content = vec![index; usize::from(index) * 150];
        let size = to_u64(content.len());
        fat.write_file(&path(&name), &attributes, size, &mut content.as_slice())
            .unwrap();
    }
    fat.remove(&path("/short2")).unwrap();
    fat.commit().unwrap();
    drop(fat);
    disk.into_bytes()
}

fn read_everything(fat: &dyn FileSystem) -> Result<usize> {
    let mut entries = 0;
    let mut files = Vec::new();
    walk(fat, &FsPath::root(), &mut |entry| {
        entries += 1;
        if entry.metadata.file_type == FileType::File {
            files.push(entry.path);
        }
        Ok(())
    })?;
    for file in files {
        crate::fs::read_file(fat, &file, READ_MAX)?;
    }
    fat.label()?;
    fat.capacity()?;
    Ok(entries)
}

fn edit_everything(fat: &mut dyn FileSystemMut) -> Result<()> {
    let attributes = Attributes::default();
    let new = path("/EFI/BOOT/a new file.conf");
    fat.write_file(&new, &attributes, 3000, &mut [7; 3000].as_slice())?;
    fat.write_file(
        &path("/EFI/BOOT/FILE9.BIN"),
        &attributes,
        1,
        &mut [1].as_slice(),
    )?;
    fat.create_dir(&path("/EFI/new"), &attributes)?;
    fat.rename(&path("/EFI/A long directory name"), &path("/EFI/new/moved"))?;
    fat.rename(&new, &path("/short5"))?;
    fat.remove(&path("/empty"))?;
    fat.remove(&path("/short11"))?;
    fat.commit()
}

/// Mutates `image` with `mutate`, uses it, and returns how many of `rounds` volumes could be read and edited.
fn mutate(image: &[u8], rounds: usize, mutate: &mut dyn FnMut(&mut [u8])) -> (usize, usize) {
    let mut read = 0;
    let mut edited = 0;
    let mut padded = vec![0xA5; GUARD];
    for _ in 0..rounds {
        padded.truncate(GUARD);
        padded.extend_from_slice(image);
        mutate(&mut padded[GUARD..]);
        padded.extend_from_slice(&[0x5A; GUARD]);
        let disk = MemoryDevice::new(std::mem::take(&mut padded));
        let window = Window::new(&disk, to_u64(GUARD), to_u64(image.len())).unwrap();
        let readable = Fat::open_read_only(&window).is_ok_and(|fat| read_everything(&fat).is_ok());
        read += usize::from(readable);
        if let Ok(mut fat) = Fat::open(&window)
            && edit_everything(&mut fat).is_ok()
        {
            drop(fat);
            edited += 1;
            let fat = Fat::open(&window).expect("a volume that could be edited stays sound");
            assert!(!readable || read_everything(&fat).is_ok(), "and readable");
        }
        padded = disk.into_bytes();
        assert!(
            padded[..GUARD].iter().all(|&byte| byte == 0xA5),
            "written before the volume"
        );
        assert!(
            padded[GUARD + image.len()..]
                .iter()
                .all(|&byte| byte == 0x5A),
            "written behind the volume"
        );
    }
    (read, edited)
}

/// One mutation: a byte, a bit, or a field made extreme.
fn damage(random: &mut Random, bytes: &mut [u8]) {
    let at = random.below(bytes.len());
    match random.below(4) {
        0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xFF),
        _ => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0),
    }
}

/// Some mutations get past the door and some do not, else a test shows nothing.
fn reached(read: usize, edited: usize, rounds: usize) {
    eprintln!("{rounds} mutations: {read} readable, {edited} editable");
    assert!(
        read > rounds / 20 && edited > rounds / 20 && edited < rounds,
        "{read}, {edited} of {rounds}"
    );
}

fn images() -> [(Vec<u8>, usize, usize); 3] {
    // The image, the end of its allocation tables, rounds.
    [
        (populated(small_fat32()), 36 * 512, 3000),
        (
            populated(formatted(&layout(FatKind::Fat12, 380))),
            5 * 512,
            1500,
        ),
        (
            populated(formatted(&layout(FatKind::Fat16, 5000))),
            41 * 512,
            150,
        ),
    ]
}

#[test]
fn unharmed_volumes_can_be_used() {
    for (image, _, _) in images() {
        assert!(probe(&image));
        assert_eq!(mutate(&image, 1, &mut |_| ()), (1, 1));
    }
}

#[test]
fn mutated_boot_sectors() {
    let mut random = Random::new(1);
    for (image, _, rounds) in images() {
        let (read, edited) = mutate(&image, rounds, &mut |volume| {
            for _ in 0..=random.below(2) {
                damage(&mut random, &mut volume[3..90]);
            }
        });
        reached(read, edited, rounds);
    }
}

/// Where the first allocation table lies and how long it is.
fn table(image: &[u8]) -> (usize, usize) {
    let word = |at| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let sectors = if word(22) == 0 { word(36) } else { word(22) };
    (word(14) * 512, sectors * 512)
}

#[test]
fn mutated_tables_and_free_counts() {
    let mut random = Random::new(2);
    for (image, _, rounds) in images() {
        let (start, len) = table(&image);
        let (read, edited) = mutate(&image, rounds, &mut |volume| match random.below(8) {
            0 => damage(&mut random, &mut volume[512..1024]),
            1 => damage(&mut random, &mut volume[start..start + 2 * len]),
            _ => {
                // The entries in use, in both copies: otherwise the copies differ and nothing else is looked at.
                damage(&mut random, &mut volume[start..start + len.min(300)]);
                volume.copy_within(start..start + len, start + len);
            }
        });
        reached(read, edited, rounds);
    }
}

#[test]
fn mutated_directories() {
    let mut random = Random::new(3);
    for (image, end, rounds) in images() {
        // Directory slots in use: those that hold a name and a plausible attribute byte.
        let slots: Vec<usize> = (end..image.len())
            .step_by(32)
            .filter(|&at| image[at + 11] != 0 && image[at] > 1)
            .collect();
        let (read, edited) = mutate(&image, rounds, &mut |volume| {
            for _ in 0..=random.below(3) {
                let slot = slots[random.below(slots.len())];
                damage(&mut random, &mut volume[slot..slot + 32]);
            }
        });
        reached(read, edited, rounds);
    }
}

/// Whether these 32 bytes look like a slot of a directory rather than content.
fn is_slot(bytes: &[u8]) -> bool {
    bytes[11] == 0x0F || bytes[..11].iter().all(|byte| (0x20..0x7F).contains(byte))
}

/// Every byte that is looked at, one after the other: boot sector, free space's numbers, table, directories.
#[test]
fn every_byte_can_be_another() {
    let mut random = Random::new(4);
    for (image, end, _) in images().into_iter().take(2) {
        let (start, _) = table(&image);
        let slots = (end..image.len())
            .step_by(32)
            .filter(|at| is_slot(&image[*at..at + 32]))
            .flat_map(|at| at..at + 32);
        let places: Vec<usize> = (0..90)
            .chain(500..1024)
            .chain(start..start + 130)
            .chain(slots)
            .collect();
        let mut next = places.iter().copied();
        let (read, edited) = mutate(&image, places.len(), &mut |volume| {
            let at = next.next().unwrap();
            volume[at] ^= u8::try_from(1 + random.below(255)).unwrap();
        });
        reached(read, edited, places.len());
    }
}

/// The offset of the entry with this short name.
fn entry_of(image: &[u8], name: &[u8; 11]) -> usize {
    (0..image.len())
        .step_by(32)
        .find(|&at| &image[at..at + 11] == name)
        .unwrap()
}

/// Sets the table entry of `cluster` in both copies.
fn link(image: &mut [u8], cluster: usize, next: u32) {
    for copy in [32, 34] {
        let at = copy * 512 + cluster * 4;
        image[at..at + 4].copy_from_slice(&next.to_le_bytes());
    }
}

/// What opening for reading and for editing says.
fn verdicts(image: &[u8]) -> (Option<String>, Option<String>) {
    let disk = MemoryDevice::new(image.to_vec());
    let corrupt = |error: Error| {
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
        error.to_string()
    };
    (
        Fat::open_read_only(&disk).err().map(corrupt),
        Fat::open(&disk).err().map(corrupt),
    )
}

#[test]
fn cyclic_and_crossed_chains_are_named() {
    let image = populated(small_fat32());
    let first = |name| {
        usize::from(u16::from_le_bytes(
            image[entry_of(&image, name) + 26..][..2]
                .try_into()
                .unwrap(),
        ))
    };
    let efi = first(b"EFI        ");
    let file = first(b"FILE18  BIN");
    let other = first(b"FILE15  BIN");

    let mut cyclic = image.clone();
    link(&mut cyclic, efi, u32::try_from(efi).unwrap());
    let (read, edit) = verdicts(&cyclic);
    assert!(read.unwrap().contains("in use twice") && edit.unwrap().contains("in use twice"));

    let mut below_itself = image.clone();
    let boot = entry_of(&image, b"BOOT       ");
    below_itself[boot + 26..boot + 28].copy_from_slice(&u16::try_from(efi).unwrap().to_le_bytes());
    assert!(verdicts(&below_itself).0.unwrap().contains("in use twice"));

    let mut crossed = image.clone();
    link(&mut crossed, file, u32::try_from(other).unwrap());
    let (read, edit) = verdicts(&crossed);
    assert!(read.is_none() && edit.unwrap().contains("FILE1"));

    let mut apart = image.clone();
    apart[32 * 512 + 4 * 200] ^= 1;
    assert!(verdicts(&apart).1.unwrap().contains("tables differ"));
    assert_eq!(verdicts(&image), (None, None));
}

#[test]
fn a_wrong_free_count_is_not_believed() {
    let mut image = populated(small_fat32());
    let right = image[512 + 488..512 + 492].to_vec();
    image[512 + 488..512 + 492].copy_from_slice(&1u32.to_le_bytes());
    let disk = MemoryDevice::new(image);
    let mut fat = Fat::open(&disk).unwrap();
    assert_eq!(
        fat.capacity().unwrap().free_bytes / 512,
        u64::from(u32::from_le_bytes(right.try_into().unwrap()))
    );
    fat.write_file(
        &path("/x"),
        &Attributes::default(),
        600,
        &mut [1; 600].as_slice(),
    )
    .unwrap();
    let free = fat.capacity().unwrap().free_bytes / 512;
    fat.commit().unwrap();
    drop(fat);
    assert_eq!(
        disk.into_bytes()[512 + 488..512 + 492],
        u32::try_from(free).unwrap().to_le_bytes()
    );
}

#[test]
fn other_filesystems_are_not_claimed() {
    let good = small_fat32();
    assert!(probe(&good) && !probe(&good[..511]) && !probe(&[]) && !probe(&[0; 512]));
    let mut ntfs = good.clone();
    ntfs[14..17].fill(0);
    let mut exfat = good.clone();
    exfat[11..64].fill(0);
    let mut boot_code = good.clone();
    boot_code[11..90].fill(0);
    for sector in [ntfs, exfat, boot_code] {
        assert!(!probe(&sector[..512]));
        assert_eq!(verdicts(&sector).0.map(|text| text.is_empty()), Some(false));
    }
}

/// A volume of 300 clusters in a device.
fn small(kind: FatKind, tables: u8) -> MemoryDevice {
    let clusters = if kind == FatKind::Fat16 { 5000 } else { 300 };
    MemoryDevice::new(formatted(&FatLayout {
        tables,
        ..layout(kind, clusters)
    }))
}

fn write(fat: &mut dyn FileSystemMut, name: &str, content: &[u8]) -> Result<()> {
    fat.write_file(
        &path(name),
        &Attributes::default(),
        to_u64(content.len()),
        &mut &content[..],
    )
}

fn names(fat: &dyn FileSystem) -> Vec<String> {
    let entries = fat.entries(fat.root()).unwrap();
    entries
        .into_iter()
        .map(|entry| String::from_utf8(entry.name).unwrap())
        .collect()
}

/// Changes bytes of a device between two uses.
fn changed(disk: MemoryDevice, change: impl FnOnce(&mut [u8])) -> MemoryDevice {
    let mut bytes = disk.into_bytes();
    change(&mut bytes);
    MemoryDevice::new(bytes)
}

#[test]
fn only_the_active_table_is_read_and_written_where_it_says_so() {
    let disk = small(FatKind::Fat32, 3);
    let mut fat = Fat::open(&disk).unwrap();
    write(&mut fat, "/before", &[1; 3000]).unwrap();
    fat.commit().unwrap();
    drop(fat);
    // The third table is the active one, and the others hold nothing.
    let mut start = 0;
    let mut len = 0;
    let disk = changed(disk, |bytes| {
        bytes[40..42].copy_from_slice(&0x82u16.to_le_bytes());
        (start, len) = table(bytes);
        bytes[start..start + 2 * len].fill(0xAA);
    });
    let mut fat = Fat::open(&disk).unwrap();
    assert_eq!(
        crate::fs::read_file(&fat, &path("/before"), 4000).unwrap(),
        [1; 3000]
    );
    write(&mut fat, "/after", &[2; 3000]).unwrap();
    fat.commit().unwrap();
    drop(fat);
    let fat = Fat::open(&disk).unwrap();
    assert_eq!(
        crate::fs::read_file(&fat, &path("/after"), 4000).unwrap(),
        [2; 3000]
    );
    drop(fat);
    let disk = changed(disk, |bytes| {
        assert!(
            bytes[start..start + 2 * len]
                .iter()
                .all(|byte| *byte == 0xAA)
        )
    });
    let disk = changed(disk, |bytes| bytes[40] = 0x83);
    assert!(
        Fat::open(&disk)
            .unwrap_err()
            .to_string()
            .contains("table 3 is active, there are 3")
    );
}

#[test]
fn tables_are_kept_alike() {
    for kind in [FatKind::Fat12, FatKind::Fat16, FatKind::Fat32] {
        for tables in 1..=4u8 {
            let disk = small(kind, tables);
            let mut fat = Fat::open(&disk).unwrap();
            for index in 0..10u8 {
                write(
                    &mut fat,
                    &format!("/file {index}"),
                    &vec![index; usize::from(index) * 700],
                )
                .unwrap();
            }
            fat.remove(&path("/file 5")).unwrap();
            fat.commit().unwrap();
            drop(fat);
            let bytes = disk.into_bytes();
            let (start, len) = table(&bytes);
            for other in 1..usize::from(tables) {
                assert!(
                    bytes[start..start + len]
                        == bytes[start + other * len..start + (other + 1) * len],
                    "{kind} {other}"
                );
            }
        }
    }
}

#[test]
fn what_lies_behind_the_end_of_a_directory_stays_there() {
    let disk = changed(small(FatKind::Fat12, 2), |bytes| {
        let (start, len) = table(bytes);
        // The label is the first entry. Behind the end mark there is what looks like files.
        for slot in 2..60 {
            bytes[start + 2 * len + slot * 32..][..12].copy_from_slice(b"GARBAGE TXT ");
        }
    });
    let mut fat = Fat::open(&disk).unwrap();
    assert!(names(&fat).is_empty());
    for name in ["/A", "/a name that takes some slots", "/B"] {
        write(&mut fat, name, b"").unwrap();
    }
    fat.commit().unwrap();
    drop(fat);
    let fat = Fat::open(&disk).unwrap();
    assert_eq!(names(&fat), ["A", "B", "a name that takes some slots"]);
}

#[test]
fn a_long_name_with_a_wrong_checksum_gives_way_to_the_short_one() {
    let disk = small(FatKind::Fat32, 2);
    let mut fat = Fat::open(&disk).unwrap();
    write(&mut fat, "/a long name.txt", b"content").unwrap();
    fat.commit().unwrap();
    drop(fat);
    let disk = changed(disk, |bytes| {
        let entry = entry_of(bytes, b"ALONGN~1TXT");
        bytes[entry - 32 + 13] ^= 1;
    });
    let mut fat = Fat::open(&disk).unwrap();
    assert_eq!(names(&fat), ["ALONGN~1.TXT"]);
    assert!(!crate::fs::exists(&fat, &path("/a long name.txt")).unwrap());
    write(&mut fat, "/alongn~1.txt", b"other").unwrap();
    assert_eq!(names(&fat), ["ALONGN~1.TXT"]);
}

#[test]
fn short_names_are_those_of_code_page_437() {
    let disk = small(FatKind::Fat16, 2);
    let mut fat = Fat::open(&disk).unwrap();
    write(&mut fat, "/PLAIN.TXT", b"").unwrap();
    fat.commit().unwrap();
    drop(fat);
    let disk = changed(disk, |bytes| {
        let entry = entry_of(bytes, b"PLAIN   TXT");
        bytes[entry..entry + 5].copy_from_slice(b"\x05\x99\xE1\x80\x9B");
    });
    let fat = Fat::open(&disk).unwrap();
    assert_eq!(names(&fat), ["σÖßÇ¢.TXT"]);
    assert!(crate::fs::exists(&fat, &path("/σößç¢.txt")).unwrap());
}

#[test]
fn a_fixed_root_directory_that_is_full_is_told() {
    let disk = small(FatKind::Fat16, 2);
    let mut fat = Fat::open(&disk).unwrap();
    // 512 slots, one of which is the label's.
    for index in 0..511 {
        write(&mut fat, &format!("/F{index}"), b"").unwrap();
    }
    let error = write(&mut fat, "/F511", b"").unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NoSpace);
    assert!(
        error
            .to_string()
            .contains("a directory of 512 entries is full"),
        "{error}"
    );
    fat.remove(&path("/F7")).unwrap();
    write(&mut fat, "/F511", b"").unwrap();
    assert_eq!(
        write(&mut fat, "/long name", b"").unwrap_err().kind(),
        crate::ErrorKind::NoSpace
    );
    // The name that goes makes room for the one that comes.
    fat.rename(&path("/F1"), &path("/F2")).unwrap();
    fat.commit().unwrap();
    drop(fat);
    assert_eq!(names(&Fat::open(&disk).unwrap()).len(), 510);
}

#[test]
fn marks_of_an_unclean_end_go_in_the_copy_too() {
    let disk = changed(small(FatKind::Fat32, 2), |bytes| {
        bytes[65] = 1;
        bytes[6 * 512 + 65] = 1;
    });
    let mut fat = Fat::open(&disk).unwrap();
    fat.commit().unwrap();
    assert_eq!(disk_byte(&disk, 65), 1, "nothing was edited");
    write(&mut fat, "/x", b"").unwrap();
    fat.commit().unwrap();
    assert_eq!(
        (disk_byte(&disk, 65), disk_byte(&disk, 6 * 512 + 65)),
        (0, 0)
    );
}

fn disk_byte(disk: &MemoryDevice, at: u64) -> u8 {
    let mut byte = [0];
    disk.read_at(at, &mut byte).unwrap();
    byte[0]
}

#[test]
fn holes_become_zeroes_where_something_else_was() {
    use crate::fs::{FileContent, Stretch};
    let disk = changed(small(FatKind::Fat32, 2), |bytes| {
        let (start, len) = table(bytes);
        // Behind the root's cluster, which is the first.
        bytes[start + 2 * len + 512..].fill(0xEE);
    });
    let mut fat = Fat::open(&disk).unwrap();
    let stored = [
        Stretch {
            offset: 5000,
            len: 3,
        },
        Stretch {
            offset: 20_000,
            len: 1,
        },
    ];
    let mut bytes = &b"abcd"[..];
    let content = FileContent::sparse(30_001, &stored, &mut bytes).unwrap();
    fat.write_content(&path("/sparse"), &Attributes::default(), content)
        .unwrap();
    let mut wanted = vec![0; 30_001];
    wanted[5000..5003].copy_from_slice(b"abc");
    wanted[20_000] = b'd';
    assert!(crate::fs::read_file(&fat, &path("/sparse"), 1 << 20).unwrap() == wanted);
    fat.commit().unwrap();
    drop(fat);
    let bytes = disk.into_bytes();
    let (start, len) = table(&bytes);
    let content = start + 2 * len + 512;
    assert!(
        bytes[content + 30_001..content + 59 * 512]
            .iter()
            .all(|byte| *byte == 0),
        "the last cluster's rest"
    );
}

#[test]
fn a_name_is_kept_as_it_is_asked_for_when_only_its_case_changes() {
    let disk = small(FatKind::Fat12, 2);
    let mut fat = Fat::open(&disk).unwrap();
    write(&mut fat, "/Mixed Case.txt", b"1").unwrap();
    fat.rename(&path("/MIXED CASE.TXT"), &path("/mixed case.txt"))
        .unwrap();
    assert_eq!(names(&fat), ["mixed case.txt"]);
    fat.rename(&path("/mixed case.txt"), &path("/mixed case.txt"))
        .unwrap();
    fat.rename(&path("/mixedc~1.txt"), &path("/SHORT.TXT"))
        .unwrap();
    fat.rename(&path("/short.txt"), &path("/short.txt"))
        .unwrap();
    assert_eq!(names(&fat), ["short.txt"]);
}

#[test]
fn a_volume_that_is_only_read_is_not_written() {
    let disk = small(FatKind::Fat32, 2);
    let mut fat = Fat::open_read_only(&disk).unwrap();
    assert_eq!(
        write(&mut fat, "/x", b"x").unwrap_err().kind(),
        crate::ErrorKind::Internal
    );
    assert_eq!(fat.capacity().unwrap().free_bytes, 299 * 512);
    assert_eq!(fat.label().unwrap(), b"TEST");
}

#[test]
fn layouts_that_no_volume_has_are_refused() {
    let identity = FatIdentity {
        label: "TEST",
        serial: 7,
        time: 0,
    };
    let good = layout(FatKind::Fat12, 300);
    let bad = [
        FatLayout { tables: 0, ..good },
        FatLayout { tables: 5, ..good },
        FatLayout {
            sector_bytes: 256,
            ..good
        },
        FatLayout {
            sector_bytes: 4096,
            ..good
        },
        FatLayout {
            cluster_bytes: 129 << 9,
            ..good
        },
        FatLayout {
            cluster_bytes: 128 << 10,
            ..good
        },
    ];
    for layout in bad {
        let error = build(&identity, &layout, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{layout:?}");
    }
    for layout in [
        layout(FatKind::Fat12, 4085),
        layout(FatKind::Fat16, 4084),
        layout(FatKind::Fat16, 65_525),
    ] {
        let error = build(&identity, &layout, Vec::new()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unsupported, "{layout:?}");
    }
}
