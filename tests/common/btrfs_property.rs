//! The property `compression=zlib` of Flatcar's OEM filesystem, without root and without a mount.
//!
//! Flatcar sets it through a mount. `mkfs.btrfs --rootdir` copies xattrs of files but not those of the top directory, and
//! no filesystem other than btrfs accepts the name `btrfs.compression` in the first place. So:
//!
//! - Files below: they get an xattr [`STAND_IN`], which `mkfs.btrfs` copies; then that name is overwritten in the image.
//!   The stand-in has the length *and the CRC-32C* of the real name. CRC is linear: exchanging two such strings changes
//!   neither the name hash in the key nor the checksum of the leaf around it.
//! - The top directory: an item is inserted into its leaf, as the kernel would lay it out. `btrfs check` is the judge.

use super::programs::must_run;
use super::region::Region;
use std::ffi::OsStr;
use std::path::Path;

const NAME: &[u8; 17] = b"btrfs.compression";
/// Same length and same CRC-32C as [`NAME`].
pub const STAND_IN: &[u8; 17] = b"user.lmgokdnaldaa";

const NODE: usize = 4096;
/// Bytes of `btrfs_header` and of `btrfs_item`.
const HEADER: usize = 101;
const ITEM: usize = 25;
const ROOT_INODE: u64 = 256;
const XATTR_ITEM_KEY: u8 = 24;
/// `BTRFS_INODE_COMPRESS`, and where `flags` stands in `btrfs_inode_item`.
const INODE_COMPRESS: u64 = 1 << 11;
const INODE_FLAGS: usize = 64;
const FT_XATTR: u8 = 8;

/// Gives every stand-in below its real name and the top directory the property with `value`, for example `zlib`.
pub fn set_compression(image: &Path, value: &str) {
    let region = Region::whole(image);
    while let Some(at) = region.find(STAND_IN) {
        region.write(at, NAME);
    }
    let (at, mut leaf) = top_leaf(&region, image);
    insert(&mut leaf, value.as_bytes());
    region.write(at, &leaf);
}

/// The leaf that begins with the top directory's inode, and its offset. The image also holds outdated copies: the tree
/// dump tells the right one's address, and mkfs places the first chunks where address and offset are the same.
fn top_leaf(region: &Region, image: &Path) -> (u64, Vec<u8>) {
    let arguments = ["inspect-internal", "dump-tree", "-t", "fs"].map(OsStr::new);
    let dump = must_run("btrfs", arguments.iter().chain(&[image.as_os_str()])).stdout;
    let dump = String::from_utf8_lossy(&dump);
    let line = dump
        .lines()
        .find(|line| line.starts_with("leaf "))
        .expect("a filesystem tree has a leaf");
    let address: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
    let leaf = region.read(address, NODE);
    assert_eq!(
        leaf[48..56],
        address.to_le_bytes(),
        "{}: address and offset of a leaf differ",
        image.display()
    );
    assert_eq!(
        leaf[HEADER..HEADER + 9],
        key(ROOT_INODE, 1, 0)[..9],
        "the first leaf begins with the top directory"
    );
    (address, leaf)
}

fn key(objectid: u64, kind: u8, offset: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&objectid.to_le_bytes());
    key[8] = kind;
    key[9..].copy_from_slice(&offset.to_le_bytes());
    key
}

fn u32_at(leaf: &[u8], at: usize) -> usize {
    u32::from_le_bytes(leaf[at..at + 4].try_into().unwrap()) as usize
}

fn put_u32(leaf: &mut [u8], at: usize, value: usize) {
    leaf[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
}

/// Inserts the xattr behind the items of the top directory's inode:
///
/// ```text
///  header | item 0 | item 1 | NEW | item 2 … | free … | … data 2 | NEW | data 1 | data 0 |
/// ```
fn insert(leaf: &mut [u8], value: &[u8]) {
    const AT: usize = 2;
    // btrfs_dir_item: an empty location key, transid, data_len, name_len, type; then name and value.
    let mut data = vec![0; 25];
    data.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
    data.extend_from_slice(&17u16.to_le_bytes());
    data.push(FT_XATTR);
    data.extend_from_slice(NAME);
    data.extend_from_slice(value);

    let items = u32_at(leaf, 96);
    let lowest = u32_at(leaf, HEADER + (items - 1) * ITEM + 17);
    let border = u32_at(leaf, HEADER + (AT - 1) * ITEM + 17);
    assert!(
        lowest - items * ITEM >= ITEM + data.len(),
        "no room in the top directory's leaf: put fewer files into OEM"
    );
    let inode_data = HEADER + u32_at(leaf, HEADER + 17);

    leaf.copy_within(
        HEADER + lowest..HEADER + border,
        HEADER + lowest - data.len(),
    );
    for item in AT..items {
        let field = HEADER + item * ITEM + 17;
        let offset = u32_at(leaf, field);
        put_u32(leaf, field, offset - data.len());
    }
    leaf.copy_within(
        HEADER + AT * ITEM..HEADER + items * ITEM,
        HEADER + (AT + 1) * ITEM,
    );
    let item = HEADER + AT * ITEM;
    leaf[item..item + 17].copy_from_slice(&key(ROOT_INODE, XATTR_ITEM_KEY, name_hash()));
    put_u32(leaf, item + 17, border - data.len());
    put_u32(leaf, item + 21, data.len());
    leaf[HEADER + border - data.len()..HEADER + border].copy_from_slice(&data);
    put_u32(leaf, 96, items + 1);
    let flags = inode_data + INODE_FLAGS;
    leaf[flags..flags + 8].copy_from_slice(&INODE_COMPRESS.to_le_bytes());
    leaf[..32].fill(0);
    let checksum = crc32c::crc32c(&leaf[32..]);
    put_u32(leaf, 0, checksum as usize);
}

/// `btrfs_name_hash`: CRC-32C begun with `~1` and not inverted at the end.
fn name_hash() -> u64 {
    u64::from(!crc32c::crc32c_append(1, NAME))
}
