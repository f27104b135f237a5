//! Repairs the checksums of a damaged page, so that the damage reaches the code behind them.

use std::collections::BTreeMap;
use std::path::Path;

use flatbake::fs::ByPath;

use crate::ext4::model::path;
use crate::ext4::support::{debugfs, edit};

const PAGE: usize = 4096;
const INODE: usize = 256;

/// What a page holds.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    Superblock,
    Descriptors,
    /// The first inode's number.
    Inodes(u32),
    /// The inode's seed; whether it is an inner block of a hash tree, and where its count lies.
    Directory(u32, Option<usize>),
    /// The inode's seed.
    Extents(u32),
    Xattrs(u64),
}

/// Pages with checksums of an image with blocks of 4 KiB, and the filesystem's seed.
pub struct Seals {
    seed: u32,
    pub roles: BTreeMap<usize, Role>,
}

fn crc(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn set_le32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

impl Seals {
    pub fn of(file: &Path, image: &[u8]) -> Self {
        let seed = crc(u32::MAX, &image[1024 + 0x68..1024 + 0x78]);
        let table = usize::try_from(le32(image, PAGE + 8)).unwrap();
        let mut roles = BTreeMap::from([(0, Role::Superblock), (1, Role::Descriptors)]);
        for page in 0..24 {
            roles.insert(
                table + page,
                Role::Inodes(u32::try_from(page * PAGE / INODE).unwrap() + 1),
            );
        }
        let fs = edit(file);
        for name in ["/", "/dir", "/indexed", "/dir/scattered"] {
            let ino = u32::try_from(fs.metadata_at(&path(name)).unwrap().inode).unwrap();
            let inode = table * PAGE + usize::try_from(ino - 1).unwrap() * INODE;
            let own = crc(
                crc(seed, &ino.to_le_bytes()),
                &image[inode + 0x64..inode + 0x68],
            );
            let blocks = debugfs(file, &format!("blocks {name}\n"));
            let blocks: Vec<usize> = blocks
                .split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect();
            if name == "/dir/scattered" {
                let is_tree = |block: &&usize| image[**block * PAGE..].starts_with(&[0x0A, 0xF3]);
                roles.insert(*blocks.iter().find(is_tree).unwrap(), Role::Extents(own));
                let acl = le32(image, inode + 0x68);
                roles.insert(usize::try_from(acl).unwrap(), Role::Xattrs(acl.into()));
            } else {
                for (logical, block) in blocks.into_iter().enumerate() {
                    let count_at = (name == "/indexed" && logical == 0).then_some(0x20);
                    roles.insert(block, Role::Directory(own, count_at));
                }
            }
        }
        Self { seed, roles }
    }

    pub fn repair(&self, number: usize, page: &mut [u8]) {
        match self.roles[&number] {
            Role::Superblock => {
                let sum = crc(u32::MAX, &page[1024..2044]);
                set_le32(page, 2044, sum);
            }
            Role::Descriptors => self.descriptor(page),
            Role::Inodes(first) => {
                for (ino, raw) in (first..).zip(page.chunks_exact_mut(INODE)) {
                    self.inode(ino, raw);
                }
            }
            Role::Directory(seed, Some(at)) => index(seed, at, page),
            Role::Directory(seed, None) => {
                let sum = crc(seed, &page[..PAGE - 12]);
                page[PAGE - 12..PAGE - 4].copy_from_slice(&[0, 0, 0, 0, 12, 0, 0, 0xDE]);
                set_le32(page, PAGE - 4, sum);
            }
            Role::Extents(seed) => {
                let max = usize::from(u16::from_le_bytes([page[4], page[5]]));
                let tail = 12 + 12 * max;
                if tail + 4 <= PAGE {
                    let sum = crc(seed, &page[..tail]);
                    set_le32(page, tail, sum);
                }
            }
            Role::Xattrs(block) => {
                set_le32(page, 0x10, 0);
                let sum = crc(crc(self.seed, &block.to_le_bytes()), page);
                set_le32(page, 0x10, sum);
            }
        }
    }

    /// The only descriptor there is.
    fn descriptor(&self, page: &mut [u8]) {
        page[0x1E..0x20].fill(0);
        let sum = crc(crc(self.seed, &0u32.to_le_bytes()), &page[..64]).to_le_bytes();
        page[0x1E..0x20].copy_from_slice(&sum[..2]);
    }

    fn inode(&self, ino: u32, raw: &mut [u8]) {
        raw[0x7C..0x7E].fill(0);
        let wide = u16::from_le_bytes([raw[0x80], raw[0x81]]) >= 4;
        if wide {
            raw[0x82..0x84].fill(0);
        }
        let seed = crc(crc(self.seed, &ino.to_le_bytes()), &raw[0x64..0x68]);
        let sum = crc(seed, raw).to_le_bytes();
        raw[0x7C..0x7E].copy_from_slice(&sum[..2]);
        if wide {
            raw[0x82..0x84].copy_from_slice(&sum[2..]);
        }
    }
}

/// The root of a hash tree.
fn index(seed: u32, at: usize, page: &mut [u8]) {
    let number = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
    let limit = number(at);
    let count = number(at + 2);
    let tail = at + limit * 8;
    if tail + 8 <= PAGE && count <= limit {
        let sum = crc(
            crc(crc(seed, &page[..at + count * 8]), &page[tail..tail + 4]),
            &[0; 4],
        );
        set_le32(page, tail + 4, sum);
    }
}
