//! Lays a new FAT32 volume out, with files that lie in one piece: the boot image of a CD.
//!
//! ```text
//!  │boot sector, info, their copies│FAT│FAT│root│folders…│file│file│…
//!       32 sectors                            clusters of 2 KiB, files one behind the other
//! ```
//!
//! Content is not copied: the volume is a device that reads from where the content is. As every file lies in one piece at
//! a multiple of 2 KiB, a CD's own directory can name the same bytes. Names are short ones (`GRUBX64.EFI`), shown in
//! lower case as Windows NT marks them.

use std::time::{Duration, UNIX_EPOCH};

use crate::block::{BlockDevice, Sections};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Result, ResultExt};

/// Bytes of a sector.
const SECTOR: u64 = 512;
/// Bytes of a cluster: a block of a CD.
const CLUSTER: u64 = 2048;
/// Sectors before the first FAT, as `mkfs.vfat` has them.
const RESERVED: u64 = 32;
/// Fewer clusters would be FAT16; some drivers are wrong by a few.
const CLUSTERS_MIN: u64 = 65_525 + 16;
/// More clusters cannot be numbered.
const CLUSTERS_MAX: u64 = 0x0fff_fff0;
/// The FATs, root and data begin at a multiple of so many sectors: a block of a CD.
const SECTORS_PER_BLOCK: u64 = CLUSTER / SECTOR;
/// Ends a chain.
const END: u32 = 0x0fff_ffff;
/// Bytes of a directory entry.
const ENTRY: usize = 32;

/// A file of the volume.
#[derive(Debug)]
pub struct FatFile<'a> {
    /// Its path of short names: `EFI/boot/grubx64.efi`. Folders come into being by themselves.
    pub path: String,
    /// Its content.
    pub content: FatContent<'a>,
}

/// The content of a file.
#[derive(Debug)]
pub enum FatContent<'a> {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A whole device.
    Device(&'a dyn BlockDevice),
}

impl FatContent<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => to_u64(bytes.len()),
            Self::Device(device) => device.size(),
        }
    }
}

/// A volume that is laid out.
#[derive(Debug)]
pub struct FatVolume<'a> {
    /// The volume, byte by byte.
    pub image: Sections<'a>,
    /// Where each file begins in it, a multiple of 2048, and its length; in the order they were given.
    pub files: Vec<(u64, u64)>,
}

/// What a volume is called.
#[derive(Debug, Clone, Copy)]
pub struct FatIdentity<'a> {
    /// Up to 11 capital letters, digits and hyphens.
    pub label: &'a str,
    /// The serial number, which GRUB looks for.
    pub serial: u32,
    /// All times, in seconds since 1970; clamped to 1980 to 2107.
    pub time: i64,
}

/// A folder; the root is number 0.
struct Folder {
    name: [u8; 11],
    parent: usize,
    entries: Vec<Entry>,
    cluster: u32,
}

struct Entry {
    name: [u8; 11],
    /// NT's marks for lower case: 8 for the name, 16 for the extension.
    case: u8,
    target: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Folder(usize),
    File(usize),
}

/// Lays a volume with `files` out.
///
/// # Errors
///
/// [`crate::ErrorKind::InvalidInput`] for names that are not short ones or double, [`crate::ErrorKind::Unsupported`] for
/// files of 4 GiB and more and for more than FAT32 can hold.
pub fn build<'a>(identity: &FatIdentity<'_>, files: Vec<FatFile<'a>>) -> Result<FatVolume<'a>> {
    let label = label(identity.label)?;
    let mut folders = folders(&files)?;
    let mut next = 2u64;
    let mut chains = Vec::new();
    let mut take = |bytes: u64| -> Result<u32> {
        let (first, count) = (next, bytes.div_ceil(CLUSTER));
        next += count;
        chains.push((first, count));
        u32::try_from(first).map_err(|_| Error::unsupported("more than FAT32 can hold"))
    };
    for folder in &mut folders {
        // Beside the entries there are the label, or `.` and `..`, and an empty one at the end.
        folder.cluster = take(to_u64((folder.entries.len() + 3) * ENTRY))?;
    }
    let mut starts = Vec::new();
    for file in &files {
        let len = file.content.len();
        if u32::try_from(len).is_err() {
            let message = format!("a file of {len} bytes: FAT holds files below 4 GiB");
            return Err(Error::unsupported(message).at(file.path.clone()));
        }
        starts.push(if len == 0 { 0 } else { take(len)? });
    }
    let used = next - 2;
    let clusters = used.max(CLUSTERS_MIN);
    if clusters > CLUSTERS_MAX {
        return Err(Error::unsupported(format!("{used} clusters of 2 KiB are more than FAT32 can hold")));
    }
    let fat_sectors = ((clusters + 2) * 4).div_ceil(SECTOR).next_multiple_of(SECTORS_PER_BLOCK);
    let data_start = (RESERVED + 2 * fat_sectors) * SECTOR;
    let total = data_start + clusters * CLUSTER;

    let mut image = Sections::new();
    let head = head(&label, identity.serial, fat_sectors, total / SECTOR, [clusters - used, next])?;
    image.push_bytes(head)?;
    for _ in 0..2 {
        let fat = fat(&chains)?;
        let rest = fat_sectors * SECTOR - to_u64(fat.len());
        image.push_bytes(fat)?;
        image.push_zeroes(rest)?;
    }
    let sizes: Vec<u64> = files.iter().map(|file| file.content.len()).collect();
    for number in 0..folders.len() {
        let bytes = directory(&folders, number, &label, &starts, &sizes, identity.time)?;
        image.push_bytes(bytes)?;
        fill(&mut image)?;
    }
    let mut places = Vec::new();
    for file in files {
        places.push((image.size(), file.content.len()));
        match file.content {
            FatContent::Bytes(bytes) => image.push_bytes(bytes)?,
            FatContent::Device(device) => image.push_device(device, 0, device.size())?,
        }
        fill(&mut image)?;
    }
    image.push_zeroes(total - image.size())?;
    Ok(FatVolume { image, files: places })
}

fn fill(image: &mut Sections<'_>) -> Result<()> {
    image.push_zeroes(image.size().next_multiple_of(CLUSTER) - image.size())
}

/// Takes the paths apart.
fn folders(files: &[FatFile<'_>]) -> Result<Vec<Folder>> {
    let mut folders = vec![Folder { name: [b' '; 11], parent: 0, entries: Vec::new(), cluster: 0 }];
    for (number, file) in files.iter().enumerate() {
        let mut steps: Vec<&str> = file.path.split('/').collect();
        let last = steps.pop().unwrap_or_default();
        let mut parent = 0;
        for step in steps {
            let (name, case) = short_name(step).at(|| file.path.clone())?;
            let known = folders.iter().skip(1).position(|folder| folder.parent == parent && folder.name == name);
            parent = match known {
                Some(at) => at + 1,
                None => {
                    let own = folders.len();
                    enter(&mut folders[parent], Entry { name, case, target: Target::Folder(own) }, &file.path)?;
                    folders.push(Folder { name, parent, entries: Vec::new(), cluster: 0 });
                    own
                }
            };
        }
        let (name, case) = short_name(last).at(|| file.path.clone())?;
        enter(&mut folders[parent], Entry { name, case, target: Target::File(number) }, &file.path)?;
    }
    Ok(folders)
}

fn enter(folder: &mut Folder, entry: Entry, path: &str) -> Result<()> {
    if folder.entries.iter().any(|other| other.name == entry.name) {
        return Err(Error::invalid(format!("'{path}' is there twice")));
    }
    folder.entries.push(entry);
    Ok(())
}

/// A name as 8 and 3 characters, and its marks for lower case. Names in mixed case come out in upper case.
fn short_name(name: &str) -> Result<([u8; 11], u8)> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte));
    if stem.is_empty() || stem.len() > 8 || extension.len() > 3 || !fits(stem) || !fits(extension) {
        return Err(Error::invalid(format!("'{}' is not a short name (8.3) of FAT", name.escape_debug())));
    }
    let lower = |text: &str| text.bytes().any(|byte| byte.is_ascii_lowercase()) && text == text.to_ascii_lowercase();
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.to_ascii_uppercase().as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.to_ascii_uppercase().as_bytes());
    Ok((short, if lower(stem) { 8 } else { 0 } | if lower(extension) { 16 } else { 0 }))
}

fn label(text: &str) -> Result<[u8; 11]> {
    let fits = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-');
    if text.is_empty() || text.len() > 11 || !fits {
        return Err(Error::invalid(format!("'{}' is not a label for FAT", text.escape_debug())));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

/// The reserved sectors: boot sector and free space, each twice.
fn head(label: &[u8; 11], serial: u32, fat_sectors: u64, sectors: u64, free: [u64; 2]) -> Result<Vec<u8>> {
    let word = |value: u64| u32::try_from(value).map_err(|_| Error::unsupported("more than FAT32 can hold"));
    let mut boot = b"\xeb\x58\x90mkfs.fat".to_vec();
    boot.extend_from_slice(&512u16.to_le_bytes());
    boot.extend_from_slice(&[4, 32, 0, 2, 0, 0, 0, 0, 0xf8, 0, 0, 63, 0, 255, 0, 0, 0, 0, 0]);
    for value in [sectors, fat_sectors] {
        boot.extend_from_slice(&word(value)?.to_le_bytes());
    }
    // Both FATs are equal; the root begins at cluster 2; the free space's sector is 1, the copies lie at 6.
    for value in [0u16, 0, 2, 0, 1, 6] {
        boot.extend_from_slice(&value.to_le_bytes());
    }
    boot.extend_from_slice(&[0; 12]);
    boot.extend_from_slice(&[0x80, 0, 0x29]);
    boot.extend_from_slice(&serial.to_le_bytes());
    boot.extend_from_slice(label);
    boot.extend_from_slice(b"FAT32   ");
    boot.resize(510, 0);
    boot.extend_from_slice(&[0x55, 0xaa]);
    let mut info = b"RRaA".to_vec();
    info.resize(484, 0);
    info.extend_from_slice(b"rrAa");
    for value in free {
        info.extend_from_slice(&word(value)?.to_le_bytes());
    }
    info.resize(508, 0);
    info.extend_from_slice(&[0, 0, 0x55, 0xaa]);
    let mut bytes = [boot, info].concat();
    bytes.resize(6 * 512, 0);
    bytes.extend_from_within(..1024);
    bytes.resize(to_usize(RESERVED * SECTOR)?, 0);
    Ok(bytes)
}

/// The used part of a FAT: chains of neighbours.
fn fat(chains: &[(u64, u64)]) -> Result<Vec<u8>> {
    let mut entries = vec![0x0fff_fff8, END];
    for &(first, count) in chains {
        for at in 1..=count {
            let next = u32::try_from(first + at).map_err(|_| Error::unsupported("more than FAT32 can hold"))?;
            entries.push(if at == count { END } else { next });
        }
    }
    Ok(entries.into_iter().flat_map(u32::to_le_bytes).collect())
}

/// A time as FAT has it: days since 1980 by their parts, and seconds by twos; clamped to 1980 to 2107.
fn date_and_time(time: i64) -> (u16, u16) {
    const FIRST: u64 = 315_532_800;
    const LAST: u64 = 4_354_819_198;
    let secs = u64::try_from(time).unwrap_or(0).clamp(FIRST, LAST);
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(secs)).to_string();
    // 2024-01-31T23:59:59Z
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u16>().unwrap_or(0));
    let [year, month, day, hour, minute, second] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    let two_seconds = second / 2;
    (year.saturating_sub(1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | two_seconds)
}

fn directory(
    folders: &[Folder],
    number: usize,
    label: &[u8; 11],
    starts: &[u32],
    sizes: &[u64],
    time: i64,
) -> Result<Vec<u8>> {
    const FOLDER: u8 = 0x10;
    const FILE: u8 = 0x20;
    const LABEL: u8 = 8;
    let folder = &folders[number];
    let entry = |name: &[u8; 11], attributes: u8, case: u8, cluster: u32, size: u32| {
        let (date, clock) = date_and_time(time);
        let [low0, low1, high0, high1] = cluster.to_le_bytes();
        let mut bytes = name.to_vec();
        bytes.extend_from_slice(&[attributes, case, 0]);
        for half in
            [clock, date, date, u16::from_le_bytes([high0, high1]), clock, date, u16::from_le_bytes([low0, low1])]
        {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes
    };
    let mut bytes = Vec::new();
    if number == 0 {
        bytes.extend(entry(label, LABEL, 0, 0, 0));
    } else {
        // A parent that is the root is called cluster 0.
        let parent = if folder.parent == 0 { 0 } else { folders[folder.parent].cluster };
        bytes.extend(entry(b".          ", FOLDER, 0, folder.cluster, 0));
        bytes.extend(entry(b"..         ", FOLDER, 0, parent, 0));
    }
    for Entry { name, case, target } in &folder.entries {
        bytes.extend(match *target {
            Target::Folder(number) => entry(name, FOLDER, *case, folders[number].cluster, 0),
            Target::File(number) => {
                let size = u32::try_from(sizes[number]).map_err(|_| Error::internal("sizes are checked"))?;
                entry(name, FILE, *case, starts[number], size)
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_clamped() {
        assert_eq!(date_and_time(1_706_745_599), (44 << 9 | 1 << 5 | 31, 23 << 11 | 59 << 5 | 29));
        assert_eq!(date_and_time(-1), (1 << 5 | 1, 0));
        assert_eq!(date_and_time(i64::MAX), (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29));
    }

    #[test]
    fn names_are_short() {
        assert_eq!(short_name("grubx64.efi").unwrap(), (*b"GRUBX64 EFI", 24));
        assert_eq!(short_name("EFI").unwrap(), (*b"EFI        ", 0));
        assert_eq!(short_name("Mixed.cfg").unwrap(), (*b"MIXED   CFG", 16));
        for name in ["", ".cfg", "nine-long", "a.b.c", "a.long", "a b", "\u{e9}"] {
            assert!(short_name(name).is_err(), "{name}");
        }
        let file = |path: &str| FatFile { path: path.to_owned(), content: FatContent::Bytes(vec![1]) };
        let identity = FatIdentity { label: "OEM", serial: 1, time: 0 };
        assert!(build(&identity, vec![file("a/b"), file("A/B")]).is_err());
        assert!(build(&identity, vec![file("a"), file("a/b")]).is_err());
        assert!(build(&FatIdentity { label: "low", ..identity }, vec![]).is_err());
        build(&identity, vec![file("a/b"), file("a/c")]).unwrap();
    }
}
