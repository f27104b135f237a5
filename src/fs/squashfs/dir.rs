//! Directory listings: runs of up to 256 entries whose inodes lie in one metadata block.
//!
//! ```text
//!  squashfs_dir_header                       squashfs_dir_entry, count + 1 times
//!  │count │start_block │inode_number │       │offset │Δ number │type │size │name: size + 1 bytes│
//! ```

use super::inode::{DirPart, InodeRef, file_type};
use super::on_disk::{DirEntryHead, DirHeader};
use super::volume::{Place, Volume};
use crate::block::BlockDevice;
use crate::bytes::to_usize;
use crate::error::{Error, Reason, Result};
use crate::fs::FileType;

/// Entries behind one header (`SQUASHFS_DIR_COUNT`).
const RUN_MAX: u32 = 256;
/// Longest name that Linux can open.
const NAME_MAX: usize = 255;
/// Largest listing that is read; two million files in one directory take about this much.
const LISTING_MAX: u32 = 64 << 20;

/// An entry, its name within the listing's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    name_start: usize,
    name_len: usize,
    pub inode: InodeRef,
    pub file_type: FileType,
}

/// A whole directory, sorted by name.
#[derive(Debug)]
pub(super) struct Listing {
    names: Vec<u8>,
    records: Vec<Record>,
}

impl Listing {
    pub fn read<D: BlockDevice>(volume: &Volume<D>, part: &DirPart) -> Result<Self> {
        if part.listing_bytes > LISTING_MAX {
            return Err(Error::unsupported(format!(
                "directory listing of {} bytes, at most {LISTING_MAX} are read",
                part.listing_bytes
            ))
            .because(Reason::Limit));
        }
        let superblock = &volume.superblock;
        let block = superblock.directory_table_start + u64::from(part.start_block);
        let mut meta = volume.meta(
            Place {
                block,
                offset: part.offset.into(),
            },
            superblock.bytes_used,
        );
        let mut listing = Self {
            names: Vec::new(),
            records: Vec::new(),
        };
        let mut rest = to_usize(part.listing_bytes.into())?;
        let mut take = |bytes: usize| {
            rest = rest
                .checked_sub(bytes)
                .ok_or_else(|| Error::corrupt("directory entries reach beyond the listing"))?;
            Ok::<_, Error>(rest)
        };
        while take(0)? > 0 {
            take(DirHeader::<&[u8]>::SIZE)?;
            let mut header = DirHeader::blank();
            meta.fill(header.bytes_mut())?;
            let count = header.count();
            if count >= RUN_MAX {
                return Err(Error::corrupt(format!(
                    "directory header for {count} + 1 entries, at most {RUN_MAX}"
                )));
            }
            for _ in 0..=count {
                let mut entry = DirEntryHead::blank();
                meta.fill(entry.bytes_mut())?;
                let name_len = usize::from(entry.size()) + 1;
                take(DirEntryHead::<&[u8]>::SIZE + name_len)?;
                let inode = InodeRef::new(header.start_block(), entry.offset());
                let name = meta.bytes(name_len)?;
                listing.push(&name, inode, file_type(entry.entry_type())?)?;
            }
        }
        listing.sort()?;
        Ok(listing)
    }

    fn push(&mut self, name: &[u8], inode: InodeRef, file_type: FileType) -> Result<()> {
        if name.len() > NAME_MAX
            || name == b"."
            || name == b".."
            || name.contains(&b'/')
            || name.contains(&0)
        {
            return Err(Error::corrupt(format!(
                "'{}' cannot be a name",
                name.escape_ascii()
            )));
        }
        self.records.push(Record {
            name_start: self.names.len(),
            name_len: name.len(),
            inode,
            file_type,
        });
        self.names.extend_from_slice(name);
        Ok(())
    }

    /// Writers sort by bytes already; then this only looks for doubled names.
    fn sort(&mut self) -> Result<()> {
        let names = &self.names;
        let name = |record: &Record| &names[record.name_start..record.name_start + record.name_len];
        self.records.sort_by(|a, b| name(a).cmp(name(b)));
        match self
            .records
            .windows(2)
            .find(|pair| name(&pair[0]) == name(&pair[1]))
        {
            Some(pair) => Err(Error::corrupt(format!(
                "two entries named '{}'",
                name(&pair[0]).escape_ascii()
            ))),
            None => Ok(()),
        }
    }

    pub fn name(&self, record: &Record) -> &[u8] {
        &self.names[record.name_start..record.name_start + record.name_len]
    }

    /// The entry `name`.
    pub fn find(&self, name: &[u8]) -> Option<&Record> {
        let at = self
            .records
            .binary_search_by(|record| self.name(record).cmp(name))
            .ok()?;
        Some(&self.records[at])
    }

    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Bytes of memory it takes.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + self.names.len() + self.records.len() * size_of::<Record>()
    }
}
