//! Lays a new volume out, with files that lie in one piece: the boot image of a CD.
//!
//! ```text
//!  │boot sector, info, their copies│table│table│root│folders…│file│file│…
//!       reserved sectors                         clusters, files one behind the other
//! ```
//!
//! Content is not copied: the volume is a device that reads from where the content is. As every file lies in one piece at
//! a multiple of 2 KiB in the layout for CDs, a CD's own directory can name the same bytes. Names are short ones
//! (`GRUBX64.EFI`), shown in lower case as Windows NT marks them.

use super::SLOT_LEN;
use super::boot::{BOOT_SECTOR, BootSector, EXTENDED, SEC_PER_CLUS_MAX, SIGNATURE, TABLES_MAX};
use super::entry::{ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_ID, DOT, DOT_DOT, Entry};
use super::geometry::{FIRST_CLUSTER, Geometry, Root, SLOT};
use super::info::Info;
use super::kind::Kind;
use super::names::{LOWER_EXTENSION, LOWER_NAME};
use super::table::Extent;
use super::time::FatTime;
use crate::block::{BlockDevice, Piece, Sections};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};

/// Sectors before the first table of FAT32, as `mkfs.vfat` has them.
const RESERVED_32: u16 = 32;
/// Entries of the fixed root directory of FAT12 and FAT16.
const ROOT_ENTRIES: u16 = 512;
/// Sector of the free space's numbers.
const INFO_SECTOR: u16 = 1;
/// Sector of the boot sector's copy, behind which that of the free space's numbers lies.
const BACKUP_SECTOR: u16 = 6;
/// `BPB_Media` of disks that stay where they are.
const MEDIA: u8 = 0xF8;

/// A file of the volume.
#[derive(Debug)]
pub struct FatFile<'a> {
    /// Its path of short names: `EFI/boot/grubx64.efi`. Folders come into being by themselves.
    pub path: String,
    /// Its content.
    pub content: Piece<'a>,
}

/// A volume that is laid out.
#[derive(Debug)]
pub struct FatVolume<'a> {
    /// The volume, byte by byte.
    pub image: Sections<'a>,
    /// Where each file begins in it and its length, in bytes; in the order they were given.
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

/// How a volume is laid out.
#[derive(Debug, Clone, Copy)]
pub struct FatLayout {
    /// FAT12, FAT16 or FAT32, as the number of clusters demands.
    pub kind: Kind,
    /// Tables: 1 to 4.
    pub tables: u8,
    /// Bytes of a sector: 512, 1024, 2048 or 4096.
    pub sector_bytes: u16,
    /// Bytes of a cluster: 1, 2, 4 or up to 128 sectors.
    pub cluster_bytes: u32,
    /// Clusters it has at least.
    pub clusters: u32,
}

impl FatLayout {
    /// FAT32 whose files begin where blocks of a CD do, as small as all drivers can bear: some are wrong by a few clusters
    /// about where FAT32 begins.
    pub const CD: Self = Self {
        kind: Kind::Fat32,
        tables: 2,
        sector_bytes: 512,
        cluster_bytes: 2048,
        clusters: super::kind::FAT16_MAX + 1 + 16,
    };

    fn check(&self) -> Result<()> {
        let sector = u32::from(self.sector_bytes);
        let sectors = self.sector_bytes.is_power_of_two() && (512..=4096).contains(&sector);
        let most = sector.saturating_mul(u32::from(SEC_PER_CLUS_MAX));
        let clusters =
            self.cluster_bytes.is_power_of_two() && (sector..=most).contains(&self.cluster_bytes);
        if !sectors || !clusters || !(1..=TABLES_MAX).contains(&self.tables) {
            return Err(Error::invalid(format!(
                "no FAT volume has {} tables, sectors of {sector} bytes and clusters of {}: 1 to {TABLES_MAX} tables, \
                 512, 1024, 2048 or 4096 bytes, and 1 to {SEC_PER_CLUS_MAX} sectors are possible",
                self.tables, self.cluster_bytes
            )));
        }
        Ok(())
    }

    fn sectors_per_cluster(&self) -> u32 {
        self.cluster_bytes / u32::from(self.sector_bytes)
    }
}

/// A folder; the root is number 0.
struct Folder {
    name: [u8; 11],
    parent: usize,
    entries: Vec<NamedEntry>,
    cluster: u32,
}

struct NamedEntry {
    name: [u8; 11],
    /// NT's marks for lower case.
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
/// [`crate::ErrorKind::InvalidInput`] for names that are not short ones or double and for a layout that no volume has,
/// [`crate::ErrorKind::Unsupported`] for files of 4 GiB and more and for more than the kind can hold.
pub fn build<'a>(
    identity: &FatIdentity<'_>,
    layout: &FatLayout,
    files: Vec<FatFile<'a>>,
) -> Result<FatVolume<'a>> {
    layout.check()?;
    let label = label(identity.label)?;
    let folders = folders(&files)?;
    let mut plan = Plan::new(label, FatTime::nearest(identity.time), layout, folders);
    plan.place(&files)?;
    let boot = plan.boot_sector(identity.serial)?;
    let geometry = Geometry::new(&boot, u64::MAX)?;

    let mut image = Sections::new();
    image.push_bytes(plan.reserved(boot, geometry.tables_start)?)?;
    let table = plan.table(&geometry)?;
    for _ in 0..layout.tables {
        image.push_bytes(table.clone())?;
        image.push_zeroes(geometry.table_stride - to_u64(table.len()))?;
    }
    plan.push_folders(&mut image, &geometry)?;
    let mut places = Vec::new();
    for file in files {
        places.push((image.size(), file.content.size()));
        image.push_piece(file.content)?;
        fill(&mut image, &geometry)?;
    }
    let end = geometry.cluster_start(geometry.cluster_max) + u64::from(geometry.cluster_bytes);
    image.push_zeroes(end - image.size())?;
    Ok(FatVolume {
        image,
        files: places,
    })
}

/// Fills the cluster that was begun up.
fn fill(image: &mut Sections<'_>, geometry: &Geometry) -> Result<()> {
    let begun = (image.size() - geometry.data_start) % u64::from(geometry.cluster_bytes);
    if begun == 0 {
        Ok(())
    } else {
        image.push_zeroes(u64::from(geometry.cluster_bytes) - begun)
    }
}

fn too_much(kind: Kind) -> Error {
    Error::unsupported(format!("more than {kind} can hold")).because(Reason::Limit)
}

/// What lies where.
struct Plan<'a> {
    label: [u8; 11],
    time: FatTime,
    layout: &'a FatLayout,
    folders: Vec<Folder>,
    /// First cluster and size of each file.
    files: Vec<(u32, u32)>,
    chains: Vec<Extent>,
    /// The first cluster that is free.
    next: u32,
}

impl<'a> Plan<'a> {
    fn new(label: [u8; 11], time: FatTime, layout: &'a FatLayout, folders: Vec<Folder>) -> Self {
        Self {
            label,
            time,
            layout,
            folders,
            files: Vec::new(),
            chains: Vec::new(),
            next: FIRST_CLUSTER,
        }
    }

    /// Finds a place for folders and files.
    fn place(&mut self, files: &[FatFile<'_>]) -> Result<()> {
        let fixed_root = self.layout.kind != Kind::Fat32;
        for number in 0..self.folders.len() {
            // Beside the entries there are the label, or `.` and `..`, and an empty one at the end.
            let slots = to_u64(self.folders[number].entries.len()) + 3;
            if number == 0 && fixed_root {
                if slots > u64::from(ROOT_ENTRIES) {
                    return Err(too_much(self.layout.kind));
                }
                continue;
            }
            self.folders[number].cluster = self.take(slots * SLOT)?;
        }
        for file in files {
            let len = file.content.size();
            let size = u32::try_from(len).map_err(|_| {
                let message = format!("a file of {len} bytes: FAT holds files below 4 GiB");
                Error::unsupported(message).at(file.path.clone())
            })?;
            let first = if len == 0 { 0 } else { self.take(len)? };
            self.files.push((first, size));
        }
        Ok(())
    }

    /// The next clusters for so many bytes.
    fn take(&mut self, bytes: u64) -> Result<u32> {
        let first = self.next;
        let count = u32::try_from(bytes.div_ceil(u64::from(self.layout.cluster_bytes)));
        let count = count.map_err(|_| too_much(self.layout.kind))?;
        self.next = first
            .checked_add(count)
            .ok_or_else(|| too_much(self.layout.kind))?;
        self.chains.push(Extent { first, count });
        Ok(first)
    }

    fn used(&self) -> u32 {
        self.next - FIRST_CLUSTER
    }

    fn clusters(&self) -> u32 {
        self.used().max(self.layout.clusters)
    }

    fn reserved_sectors(&self) -> u16 {
        if self.layout.kind == Kind::Fat32 {
            RESERVED_32
        } else {
            1
        }
    }

    fn table_sectors(&self) -> u32 {
        let kind = self.layout.kind;
        let len = kind.entry_offset(self.clusters() + 1) + kind.entry_len();
        let sectors =
            u32::try_from(len.div_ceil(u64::from(self.layout.sector_bytes))).unwrap_or(u32::MAX);
        // Tables take whole clusters, so that what begins at one before them does behind them.
        sectors.next_multiple_of(self.layout.sectors_per_cluster())
    }

    fn boot_sector(&self, serial: u32) -> Result<BootSector<Vec<u8>>> {
        let FatLayout {
            kind,
            tables,
            sector_bytes,
            ..
        } = *self.layout;
        if Kind::of(kind == Kind::Fat32, u64::from(self.clusters())) != Some(kind) {
            return Err(Error::unsupported(format!(
                "{} clusters are not what {kind} has",
                self.clusters()
            )));
        }
        let cluster_sectors = self.layout.sectors_per_cluster();
        let root_sectors = match kind {
            Kind::Fat32 => 0,
            _ => (u32::from(ROOT_ENTRIES) * 32).div_ceil(u32::from(sector_bytes)),
        };
        let before = u64::from(self.reserved_sectors())
            + u64::from(tables) * u64::from(self.table_sectors())
            + u64::from(root_sectors);
        let sectors = before + u64::from(self.clusters()) * u64::from(cluster_sectors);
        let sectors = u32::try_from(sectors).map_err(|_| too_much(kind))?;

        let mut boot = BootSector::zeroed();
        boot.set_oem_name(*b"mkfs.fat");
        boot.set_byts_per_sec(sector_bytes);
        boot.set_sec_per_clus(
            u8::try_from(cluster_sectors).map_err(|_| Error::internal("layouts are checked"))?,
        );
        boot.set_rsvd_sec_cnt(self.reserved_sectors());
        boot.set_num_fats(tables);
        boot.set_media(MEDIA);
        boot.set_sec_per_trk(63);
        boot.set_num_heads(255);
        boot.set_signature(SIGNATURE);
        match kind {
            Kind::Fat32 => self.finish_32(&mut boot, serial, sectors),
            _ => self.finish_16(&mut boot, serial, sectors)?,
        }
        Ok(boot)
    }

    /// What only FAT32 has: the root begins at the first cluster.
    fn finish_32(&self, boot: &mut BootSector<Vec<u8>>, serial: u32, sectors: u32) {
        boot.set_jmp_boot([0xEB, 0x58, 0x90]);
        boot.set_tot_sec32(sectors);
        boot.set_fat_sz32(self.table_sectors());
        boot.set_root_clus(FIRST_CLUSTER);
        boot.set_fs_info(INFO_SECTOR);
        boot.set_bk_boot_sec(BACKUP_SECTOR);
        boot.set_drv_num_32(0x80);
        boot.set_boot_sig_32(EXTENDED);
        boot.set_vol_id_32(serial);
        boot.set_vol_lab_32(self.label);
        boot.set_fil_sys_type_32(*b"FAT32   ");
    }

    /// What only FAT12 and FAT16 have.
    fn finish_16(&self, boot: &mut BootSector<Vec<u8>>, serial: u32, sectors: u32) -> Result<()> {
        boot.set_jmp_boot([0xEB, 0x3C, 0x90]);
        match u16::try_from(sectors) {
            Ok(sectors) => boot.set_tot_sec16(sectors),
            Err(_) => boot.set_tot_sec32(sectors),
        }
        let table_sectors =
            u16::try_from(self.table_sectors()).map_err(|_| too_much(self.layout.kind))?;
        boot.set_fat_sz16(table_sectors);
        boot.set_root_ent_cnt(ROOT_ENTRIES);
        boot.set_drv_num_16(0x80);
        boot.set_boot_sig_16(EXTENDED);
        boot.set_vol_id_16(serial);
        boot.set_vol_lab_16(self.label);
        boot.set_fil_sys_type_16(if self.layout.kind == Kind::Fat12 {
            *b"FAT12   "
        } else {
            *b"FAT16   "
        });
        Ok(())
    }

    /// The reserved sectors: boot sector and, on FAT32, the free space's numbers, each twice.
    fn reserved(&self, boot: BootSector<Vec<u8>>, len: u64) -> Result<Vec<u8>> {
        let sector = usize::from(self.layout.sector_bytes);
        let boot = boot.into_inner();
        let mut bytes = vec![0; to_usize(len)?];
        bytes[..BOOT_SECTOR].copy_from_slice(&boot);
        if self.layout.kind == Kind::Fat32 {
            let info = Info::new(self.clusters() - self.used(), self.next).into_inner();
            let backup = usize::from(BACKUP_SECTOR) * sector;
            let info_start = usize::from(INFO_SECTOR) * sector;
            bytes[info_start..info_start + info.len()].copy_from_slice(&info);
            bytes.copy_within(..info_start + sector, backup);
        }
        Ok(bytes)
    }

    /// The used part of a table: chains of neighbours.
    fn table(&self, geometry: &Geometry) -> Result<Vec<u8>> {
        let kind = geometry.kind;
        let len = kind.entry_offset(self.next - 1) + kind.entry_len();
        let mut table = vec![0; to_usize(len)?];
        let mut set = |cluster: u32, value: u32| -> Result<()> {
            let at = to_usize(kind.entry_offset(cluster))?;
            kind.encode(
                cluster,
                value,
                &mut table[at..at + to_usize(kind.entry_len())?],
            );
            Ok(())
        };
        set(0, kind.mask() & !0xFF | u32::from(MEDIA))?;
        set(1, kind.mask())?;
        for chain in &self.chains {
            let last = chain.first + chain.count - 1;
            for cluster in chain.first..last {
                set(cluster, cluster + 1)?;
            }
            set(last, kind.mask())?;
        }
        Ok(table)
    }

    fn push_folders(&self, image: &mut Sections<'_>, geometry: &Geometry) -> Result<()> {
        for number in 0..self.folders.len() {
            let bytes = self.folder(number)?;
            match geometry.root {
                Root::Fixed { len, .. } if number == 0 => {
                    let rest = geometry.data_start - image.size() - to_u64(bytes.len());
                    debug_assert!(to_u64(bytes.len()) <= len);
                    image.push_bytes(bytes)?;
                    image.push_zeroes(rest)?;
                }
                _ => {
                    image.push_bytes(bytes)?;
                    fill(image, geometry)?;
                }
            }
        }
        Ok(())
    }

    fn entry(&self, name: &[u8; 11], attributes: u8, cluster: u32) -> Result<Entry> {
        let mut entry = Entry::new(*name, attributes, self.time)?;
        entry.set_first_cluster(self.layout.kind, cluster);
        Ok(entry)
    }

    /// The slots of a folder.
    fn folder(&self, number: usize) -> Result<Vec<u8>> {
        let folder = &self.folders[number];
        let mut entries = Vec::new();
        if number == 0 {
            entries.push(self.entry(&self.label, ATTR_VOLUME_ID, 0)?);
        } else {
            // A parent that is the root is called cluster 0.
            let parent = if folder.parent == 0 {
                0
            } else {
                self.folders[folder.parent].cluster
            };
            entries.push(self.entry(&DOT, ATTR_DIRECTORY, folder.cluster)?);
            entries.push(self.entry(&DOT_DOT, ATTR_DIRECTORY, parent)?);
        }
        for NamedEntry { name, case, target } in &folder.entries {
            let mut entry = match *target {
                Target::Folder(number) => {
                    self.entry(name, ATTR_DIRECTORY, self.folders[number].cluster)?
                }
                Target::File(number) => {
                    let (first, size) = self.files[number];
                    let mut entry = self.entry(name, ATTR_ARCHIVE, first)?;
                    entry.set_file_size(size);
                    entry
                }
            };
            entry.set_nt_res(*case);
            entries.push(entry);
        }
        let slots: Vec<[u8; SLOT_LEN]> = entries.into_iter().map(Entry::into_inner).collect();
        Ok(slots.concat())
    }
}

/// Takes the paths apart.
fn folders(files: &[FatFile<'_>]) -> Result<Vec<Folder>> {
    let mut folders = vec![Folder {
        name: [b' '; 11],
        parent: 0,
        entries: Vec::new(),
        cluster: 0,
    }];
    for (number, file) in files.iter().enumerate() {
        let mut steps: Vec<&str> = file.path.split('/').collect();
        let last = steps.pop().unwrap_or_default();
        let mut parent = 0;
        for step in steps {
            let (name, case) = short_name(step).at(|| file.path.clone())?;
            let known = folders
                .iter()
                .skip(1)
                .position(|folder| folder.parent == parent && folder.name == name);
            parent = match known {
                Some(at) => at + 1,
                None => {
                    let own = folders.len();
                    enter(
                        &mut folders[parent],
                        NamedEntry {
                            name,
                            case,
                            target: Target::Folder(own),
                        },
                        &file.path,
                    )?;
                    folders.push(Folder {
                        name,
                        parent,
                        entries: Vec::new(),
                        cluster: 0,
                    });
                    own
                }
            };
        }
        let (name, case) = short_name(last).at(|| file.path.clone())?;
        enter(
            &mut folders[parent],
            NamedEntry {
                name,
                case,
                target: Target::File(number),
            },
            &file.path,
        )?;
    }
    Ok(folders)
}

fn enter(folder: &mut Folder, entry: NamedEntry, path: &str) -> Result<()> {
    if folder.entries.iter().any(|other| other.name == entry.name) {
        return Err(Error::invalid(format!("'{path}' is there twice")));
    }
    folder.entries.push(entry);
    Ok(())
}

/// A name as 8 and 3 characters, and its marks for lower case. Names in mixed case come out in upper case.
fn short_name(name: &str) -> Result<([u8; 11], u8)> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte))
    };
    if stem.is_empty() || stem.len() > 8 || extension.len() > 3 || !fits(stem) || !fits(extension) {
        return Err(Error::invalid(format!(
            "'{}' is not a short name (8.3) of FAT",
            name.escape_debug()
        )));
    }
    let lower = |text: &str| {
        text.bytes().any(|byte| byte.is_ascii_lowercase()) && text == text.to_ascii_lowercase()
    };
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(stem.to_ascii_uppercase().as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.to_ascii_uppercase().as_bytes());
    Ok((
        short,
        if lower(stem) { LOWER_NAME } else { 0 }
            | if lower(extension) { LOWER_EXTENSION } else { 0 },
    ))
}

fn label(text: &str) -> Result<[u8; 11]> {
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-');
    if text.is_empty() || text.len() > 11 || !fits {
        return Err(Error::invalid(format!(
            "'{}' is not a label for FAT",
            text.escape_debug()
        )));
    }
    let mut label = [b' '; 11];
    label[..text.len()].copy_from_slice(text.as_bytes());
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        assert_eq!(short_name("grubx64.efi").unwrap(), (*b"GRUBX64 EFI", 24));
        assert_eq!(short_name("EFI").unwrap(), (*b"EFI        ", 0));
        assert_eq!(short_name("Mixed.cfg").unwrap(), (*b"MIXED   CFG", 16));
        for name in ["", ".cfg", "nine-long", "a.b.c", "a.long", "a b", "\u{e9}"] {
            assert!(short_name(name).is_err(), "{name}");
        }
        let file = |path: &str| FatFile {
            path: path.to_owned(),
            content: Piece::Bytes(vec![1]),
        };
        let identity = FatIdentity {
            label: "OEM",
            serial: 1,
            time: 0,
        };
        assert!(build(&identity, &FatLayout::CD, vec![file("a/b"), file("A/B")]).is_err());
        assert!(build(&identity, &FatLayout::CD, vec![file("a"), file("a/b")]).is_err());
        assert!(
            build(
                &FatIdentity {
                    label: "low",
                    ..identity
                },
                &FatLayout::CD,
                vec![]
            )
            .is_err()
        );
        build(&identity, &FatLayout::CD, vec![file("a/b"), file("a/c")]).unwrap();
    }
}
