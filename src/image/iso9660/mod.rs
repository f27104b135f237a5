//! CD images: ISO 9660 with Rock Ridge and Joliet, made to start by El Torito and, on a USB stick, by partition tables.
//!
//! ```text
//!  │MBR, GPT│primary│boot record│Joliet│end│path tables│directories│catalog│files…│FAT image for UEFI│backup GPT│
//!      0       16        17        18   19
//! ```
//!
//! ECMA-119 (level 2 names), IEEE P1282 (Rock Ridge), the Joliet and El Torito specifications; UEFI's GPT. An image is laid
//! out before it is written, and its bytes depend on what was added alone. A file may lie within the FAT image, so that
//! what both need is there once.
//!
//! Files come as a list and not as a tree, which could say none of what counts here: their order is that of the medium, two
//! of them lie within the FAT image, and one is changed when its own place is known.

mod boot;
mod descriptor;
mod on_disk;
mod record;
#[cfg(test)]
mod tests;
mod tree;

use super::identity::Fingerprint;
use crate::block::{BlockDevice, Piece, Sections};
use crate::bytes::{to_u64, to_usize};
use crate::error::{Error, Reason, Result, ResultExt};
use boot::{BACKUP_BYTES, Hybrid, catalog, pad_isolinux, patch_isolinux};
use descriptor::{Directories, Volume, boot_record, terminator, volume};
use record::BLOCK;
use tree::{Names, Tree};

/// The block of the first descriptor.
const FIRST_DESCRIPTOR: u32 = 16;
/// Longest volume identifier.
const VOLUME_ID_MAX: usize = 32;

/// The content of a file.
#[derive(Debug)]
pub enum IsoContent<'a> {
    /// What the image stores.
    Stored(Piece<'a>),
    /// Bytes of the FAT image for UEFI, from a multiple of 2048 on.
    Efi {
        /// Where in the FAT image they begin.
        start: u64,
        /// How many there are.
        len: u64,
    },
}

/// A file of the image. Folders on the way come into being by themselves.
#[derive(Debug)]
pub struct IsoFile<'a> {
    /// Its path: `flatcar/vmlinuz`.
    pub path: String,
    /// Its content.
    pub content: IsoContent<'a>,
}

/// How BIOSes start the image.
#[derive(Debug, Clone)]
pub struct BiosBoot {
    /// The path of isolinux.bin, a file in memory; a table in it is filled in.
    pub isolinux: String,
    /// isohybrid's boot code for USB sticks (isohdpfx.bin).
    pub stick: Option<Vec<u8>>,
}

/// How UEFI machines start the image: a FAT image, which is also a partition on a USB stick.
#[derive(Debug)]
pub struct EfiPartition<'a> {
    /// The FAT image.
    pub image: &'a dyn BlockDevice,
    /// The partition's name.
    pub name: String,
}

/// An image to be.
#[derive(Debug)]
pub struct IsoLayout<'a> {
    /// The volume identifier: 1 to 32 capital letters, digits and underscores.
    pub volume_id: String,
    /// All times, in seconds since 1970; clamped to 1970 to 2155.
    pub time: i64,
    /// Whether Windows and others find names with Joliet.
    pub joliet: bool,
    /// The files.
    pub files: Vec<IsoFile<'a>>,
    /// For BIOSes.
    pub bios: Option<BiosBoot>,
    /// For UEFI machines.
    pub efi: Option<EfiPartition<'a>>,
}

/// Where something lies: the first block of 2 KiB, and a length in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    block: u32,
    bytes: u32,
}

/// Hands out blocks from front to back.
struct Space {
    next: u64,
}

impl Space {
    fn take(&mut self, bytes: u64) -> Result<Place> {
        let block = u32::try_from(self.next).map_err(|_| {
            Error::unsupported("a CD image of more than 8 TiB").because(Reason::Limit)
        })?;
        let bytes32 = u32::try_from(bytes).map_err(|_| {
            Error::unsupported(format!(
                "a file of {bytes} bytes: a CD image holds files below 4 GiB"
            ))
        })?;
        self.next += bytes.div_ceil(BLOCK);
        Ok(Place {
            block,
            bytes: bytes32,
        })
    }
}

/// A set of directories with its path tables, ready to be written.
struct Set {
    directories: Directories,
    folders: Vec<Place>,
}

impl<'a> IsoLayout<'a> {
    /// Lays the image out.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::InvalidInput`] for names, identifiers and boot images that make no sense,
    /// [`crate::ErrorKind::Unsupported`] for files of 4 GiB and more.
    pub fn finish(mut self) -> Result<Sections<'a>> {
        check_volume_id(&self.volume_id)?;
        let tree = Tree::new(&self.files)?;
        let isolinux = self
            .bios
            .as_ref()
            .map(|bios| tree.file(&self.files, &bios.isolinux))
            .transpose()?;
        if let Some(number) = isolinux {
            pad_isolinux(self.memory(number)?);
        }
        let all: &[Names] = if self.joliet {
            &[Names::Primary, Names::Joliet]
        } else {
            &[Names::Primary]
        };
        let boots = self.bios.is_some() || self.efi.is_some();

        let descriptors = 1 + to_u64(all.len()) + u64::from(boots);
        let mut space = Space {
            next: u64::from(FIRST_DESCRIPTOR) + descriptors,
        };
        let sets = all
            .iter()
            .map(|&names| self.place_set(&tree, names, &mut space))
            .collect::<Result<Vec<Set>>>()?;
        let catalog_place = if boots {
            Some(space.take(BLOCK)?)
        } else {
            None
        };
        let mut files = Vec::new();
        for file in &self.files {
            let len = file.content.len();
            let bytes = if matches!(file.content, IsoContent::Efi { .. }) {
                0
            } else {
                len
            };
            let place = space.take(bytes).at(|| file.path.clone())?;
            files.push(Place {
                bytes: u32::try_from(len).map_err(|_| too_large(&file.path, len))?,
                ..place
            });
        }
        // The FAT image may be larger than a file can be; nothing but its first block is named.
        let efi_block = u32::try_from(space.next).map_err(|_| {
            Error::unsupported("a CD image of more than 8 TiB").because(Reason::Limit)
        })?;
        if let Some(efi) = &self.efi {
            space.next += efi.image.size().div_ceil(BLOCK);
        }
        for (file, place) in self.files.iter().zip(&mut files) {
            if let IsoContent::Efi { start, len } = file.content {
                place.block = efi_block + self.within_efi(start, len).at(|| file.path.clone())?;
            }
        }
        let end = space.next * BLOCK;
        let total = if self.efi.is_some() {
            (end + BACKUP_BYTES).next_multiple_of(BLOCK)
        } else {
            end
        };
        if let Some(number) = isolinux {
            patch_isolinux(self.memory(number)?, files[number])?;
        }

        let blocks = u32::try_from(total / BLOCK).map_err(|_| {
            Error::unsupported("a CD image of more than 8 TiB").because(Reason::Limit)
        })?;
        let about = Volume {
            id: &self.volume_id,
            time: self.time,
            blocks,
        };
        let mut body = self.head(&tree, &about, &sets, &files, catalog_place)?;
        let efi_place = self.efi.as_ref().map(|_| Place {
            block: efi_block,
            bytes: 0,
        });
        if boots {
            body.extend(catalog(isolinux.map(|number| files[number]), efi_place));
        }

        let stick = self.bios.as_ref().and_then(|bios| bios.stick.as_deref());
        let hybrid = Hybrid {
            code: stick.zip(isolinux.map(|number| files[number])),
            efi: self.efi.as_ref().zip(efi_place),
            total,
            fingerprint: Fingerprint::of(0, &body),
        };
        let mut image = Sections::new();
        image.push_bytes(hybrid.system_area()?)?;
        let backup = if self.efi.is_some() {
            hybrid.backup()?
        } else {
            Vec::new()
        };
        image.push_bytes(body)?;
        for (file, place) in self.files.into_iter().zip(&files) {
            push_file(&mut image, file.content, *place)?;
        }
        if let Some(efi) = self.efi {
            image.push_device(efi.image, 0, efi.image.size())?;
        }
        image.push_zeroes(total - to_u64(backup.len()) - image.size())?;
        image.push_bytes(backup)?;
        Ok(image)
    }

    /// Descriptors, path tables and directories.
    fn head(
        &self,
        tree: &Tree,
        about: &Volume<'_>,
        sets: &[Set],
        files: &[Place],
        catalog: Option<Place>,
    ) -> Result<Vec<u8>> {
        let (primary, others) = sets
            .split_first()
            .ok_or_else(|| Error::internal("there is a primary set"))?;
        let mut bytes = volume(about, &primary.directories)?;
        if let Some(place) = catalog {
            bytes.extend(boot_record(place.block)?);
        }
        for set in others {
            bytes.extend(volume(about, &set.directories)?);
        }
        bytes.extend(terminator());
        for set in sets {
            bytes.extend(self.set_bytes(tree, set, files)?);
        }
        Ok(bytes)
    }

    /// The bytes of a file in memory.
    fn memory(&mut self, number: usize) -> Result<&mut Vec<u8>> {
        match &mut self.files[number].content {
            IsoContent::Stored(Piece::Bytes(bytes)) => Ok(bytes),
            _ => Err(Error::invalid("isolinux.bin must be given as bytes")),
        }
    }

    /// The block of the FAT image at which a file in it begins.
    fn within_efi(&self, start: u64, len: u64) -> Result<u32> {
        let size = self.efi.as_ref().map_or(0, |efi| efi.image.size());
        let fits =
            start.is_multiple_of(BLOCK) && start.checked_add(len).is_some_and(|end| end <= size);
        let block = u32::try_from(start / BLOCK).ok().filter(|_| fits);
        block.ok_or_else(|| {
            Error::internal(format!(
                "{len} bytes at {start} of a FAT image of {size} bytes"
            ))
        })
    }

    /// Reserves room for path tables and directories.
    fn place_set(&self, tree: &Tree, names: Names, space: &mut Space) -> Result<Set> {
        let nowhere = vec![Place::default(); tree.len().max(self.files.len())];
        let path_table_bytes = tree.path_table(names, &nowhere, false)?.len();
        let little = space.take(to_u64(path_table_bytes))?;
        let big = space.take(to_u64(path_table_bytes))?;
        let mut folders = Vec::new();
        for directory in 0..tree.len() {
            let records = tree.records(directory, names, &nowhere, &nowhere, self.time)?;
            folders.push(space.take(to_u64(records.len()))?);
        }
        let root = folders.first().copied().unwrap_or_default();
        let directories = Directories {
            names,
            root,
            path_table_bytes: little.bytes,
            little: little.block,
            big: big.block,
        };
        Ok(Set {
            directories,
            folders,
        })
    }

    fn set_bytes(&self, tree: &Tree, set: &Set, files: &[Place]) -> Result<Vec<u8>> {
        let names = set.directories.names;
        let mut bytes = Vec::new();
        for big_endian in [false, true] {
            bytes.extend(tree.path_table(names, &set.folders, big_endian)?);
            bytes.resize(bytes.len().next_multiple_of(to_usize(BLOCK)?), 0);
        }
        for directory in 0..tree.len() {
            bytes.extend(tree.records(directory, names, &set.folders, files, self.time)?);
        }
        Ok(bytes)
    }
}

impl IsoContent<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Stored(piece) => piece.size(),
            Self::Efi { len, .. } => *len,
        }
    }
}

fn push_file<'a>(image: &mut Sections<'a>, content: IsoContent<'a>, place: Place) -> Result<()> {
    match content {
        IsoContent::Efi { .. } => return Ok(()),
        _ if image.size() != u64::from(place.block) * BLOCK => {
            return Err(Error::internal(format!(
                "a file at block {} comes at byte {}",
                place.block,
                image.size()
            )));
        }
        IsoContent::Stored(piece) => image.push_piece(piece)?,
    }
    image.push_zeroes(image.size().next_multiple_of(BLOCK) - image.size())
}

fn too_large(path: &str, len: u64) -> Error {
    Error::unsupported(format!(
        "a file of {len} bytes: a CD image holds files below 4 GiB"
    ))
    .at(path.to_owned())
}

fn check_volume_id(id: &str) -> Result<()> {
    let fits = !id.is_empty() && id.len() <= VOLUME_ID_MAX;
    if fits
        && id
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "'{}' is not a volume identifier: 1 to {VOLUME_ID_MAX} capital letters, digits and underscores",
        id.escape_debug()
    )))
}
