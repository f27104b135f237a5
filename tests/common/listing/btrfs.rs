//! btrfs through btrfs-progs: metadata from `btrfs inspect-internal dump-tree -t fs`, which prints what is on disk whoever
//! asks, and contents from `btrfs restore`. Values of xattrs are printed up to their first zero byte only: the dump tells
//! where they are, and they are read there.

use crate::common::programs::{command, judge, must_run, said};
use crate::common::region::Region;
use crate::common::tree::{
    Kind, Tree, TreeEntry, add_content, group_links, make_readable, path_text,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const ROOT_INODE: u64 = 256;

/// The tree of the top-level subvolume.
pub fn btrfs_tree(region: &Region) -> Option<Tree> {
    judge("btrfs")?;
    Some(region.with_file(list))
}

fn list(image: &Path) -> Tree {
    let dump = Dump::parse(
        &dump_tree(image, "fs"),
        &Chunks::of(image),
        &Region::whole(image),
    );

    let dir = crate::common::scratch_dir();
    let target = dir.path().join("tree");
    fs::create_dir(&target).unwrap();
    let mut restore = command(&judge("btrfs").unwrap());
    let output = restore
        .args(["restore", "-S"])
        .args([image, &target])
        .output()
        .unwrap();
    assert!(output.status.success(), "btrfs restore: {}", said(&output));
    make_readable(&target);

    let mut tree = Tree::new();
    let mut inode_of = BTreeMap::new();
    let mut open = vec![(Vec::new(), ROOT_INODE)];
    while let Some((path, inode)) = open.pop() {
        for (name, child) in dump.children.get(&inode).into_iter().flatten() {
            let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
            open.push(([&path, separator, name].concat(), *child));
        }
        let mut entry = dump.entries[&inode].clone();
        add_content(&mut entry, &target.join(OsStr::from_bytes(&path)));
        tree.insert(path_text(&path), entry);
        inode_of.insert(path_text(&path), inode);
    }
    group_links(&mut tree, &inode_of);
    tree
}

fn dump_tree(image: &Path, tree: &str) -> Vec<u8> {
    let words = ["inspect-internal", "dump-tree", "-t", tree].map(OsStr::new);
    must_run("btrfs", words.iter().chain(&[image.as_os_str()])).stdout
}

/// Where the logical addresses of a filesystem on one device are: logical start, length, place.
struct Chunks(Vec<(u64, u64, u64)>);

impl Chunks {
    fn of(image: &Path) -> Self {
        let mut chunks: Vec<(u64, u64, u64)> = Vec::new();
        for line in String::from_utf8_lossy(&dump_tree(image, "chunk")).lines() {
            if let Some((_, rest)) = line.split_once(" CHUNK_ITEM ") {
                chunks.push((rest.split_once(')').unwrap().0.parse().unwrap(), 0, 0));
            } else if let (Some(chunk), true) = (chunks.last_mut(), line.starts_with("\t\tlength "))
            {
                chunk.1 = number(line, "length").unwrap();
            } else if let (Some(chunk), true) =
                (chunks.last_mut(), line.starts_with("\t\t\tstripe 0 "))
            {
                chunk.2 = number(line, "offset").unwrap();
            }
        }
        Self(chunks)
    }

    fn place(&self, logical: u64) -> u64 {
        let chunk = self
            .0
            .iter()
            .find(|(start, len, _)| (*start..start + len).contains(&logical));
        let (start, _, place) = chunk.unwrap_or_else(|| panic!("no chunk holds {logical}"));
        place + (logical - start)
    }
}

#[derive(Default)]
struct Dump {
    entries: BTreeMap<u64, TreeEntry>,
    /// Names and inodes in each directory.
    children: BTreeMap<u64, Vec<(Vec<u8>, u64)>>,
}

/// The text of a dump. Names and values stand in it as raw bytes, so their printed lengths are obeyed, not line ends.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next line, with bytes that are not UTF-8 replaced: those are in names only, which are taken by [`Self::raw`].
    fn line(&mut self) -> Option<Cow<'a, str>> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')? + 1;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(String::from_utf8_lossy(line))
    }

    /// Goes back behind `prefix` of a line that was read, to take raw bytes from there.
    fn raw(&mut self, before: &'a [u8], prefix: usize, len: usize) -> &'a [u8] {
        let bytes = &before[prefix..prefix + len];
        self.rest = before.get(prefix + len + 1..).unwrap_or_default();
        bytes
    }
}

/// What follows the word `key` in a line.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace();
    words.find(|word| *word == key)?;
    words.next()
}

fn number(line: &str, key: &str) -> Option<u64> {
    word(line, key)?.parse().ok()
}

/// Sizes of `btrfs_header` and `btrfs_dir_item`.
const HEADER: u64 = 101;
const DIR_ITEM: u64 = 30;

impl Dump {
    fn parse(text: &[u8], chunks: &Chunks, image: &Region) -> Self {
        let mut dump = Self::default();
        let mut cursor = Cursor { rest: text };
        let mut objectid = 0;
        let mut kind = String::new();
        let mut offset = 0;
        // Addresses of the leaf and, in the image, of the next part of the item.
        let mut leaf = 0;
        let mut part = 0;
        loop {
            let before = cursor.rest;
            let Some(line) = cursor.line() else {
                return dump;
            };
            if let Some(address) = line
                .strip_prefix("leaf ")
                .and_then(|rest| rest.split(' ').next())
            {
                leaf = address.parse().unwrap();
            } else if let Some(rest) = line.strip_prefix("\titem ") {
                let key = rest
                    .split_once("key (")
                    .unwrap()
                    .1
                    .split_once(')')
                    .unwrap()
                    .0;
                let fields: Vec<&str> = key.split(' ').collect();
                objectid = fields[0].parse().unwrap_or(0);
                kind = fields[1].to_owned();
                offset = fields[2].parse().unwrap_or(0);
                part = chunks.place(leaf) + HEADER + number(&line, "itemoff").unwrap();
            } else if kind == "INODE_ITEM" {
                dump.inode_line(objectid, &line);
            } else if line.starts_with("\t\tindex ") {
                let prefix = find(before, b"name: ") + 6;
                let len = usize::try_from(number(&line, "namelen").unwrap()).unwrap();
                let parent = number(&line, "parent").unwrap_or(offset);
                let name = cursor.raw(before, prefix, len);
                // The root refers to itself as "..".
                if objectid != ROOT_INODE {
                    dump.children
                        .entry(parent)
                        .or_default()
                        .push((name.to_vec(), objectid));
                }
            } else if line.starts_with("\t\ttransid ") && line.contains(" data_len ") {
                let data_len = number(&line, "data_len").unwrap();
                let name_len = number(&line, "name_len").unwrap();
                let after = cursor.rest;
                let name = cursor.raw(
                    after,
                    b"\t\tname: ".len(),
                    usize::try_from(name_len).unwrap(),
                );
                if kind == "XATTR_ITEM" {
                    let value = image.read(
                        part + DIR_ITEM + name_len,
                        usize::try_from(data_len).unwrap(),
                    );
                    let xattrs = dump
                        .entries
                        .get_mut(&objectid)
                        .unwrap()
                        .xattrs
                        .as_mut()
                        .unwrap();
                    xattrs.insert(path_text(name), value);
                }
                part += DIR_ITEM + name_len + data_len;
            }
        }
    }

    fn inode_line(&mut self, inode: u64, line: &str) {
        let entry = self.entries.entry(inode).or_default();
        if let Some(mode) = word(line, "mode") {
            let mode = u32::from_str_radix(mode, 8).unwrap();
            let small = |key| u32::try_from(number(line, key).unwrap()).unwrap();
            entry.kind = Kind::of_mode(mode);
            entry.mode = Some(mode & 0o7777);
            (entry.uid, entry.gid) = (Some(small("uid")), Some(small("gid")));
            entry.nlink = (entry.kind != Kind::Directory).then(|| small("links"));
            entry.xattrs = Some(BTreeMap::new());
            if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
                // The kernel's new_encode_dev: 12 bits of major between the low 8 and the high 12 bits of minor.
                let rdev = small("rdev");
                entry.device = Some((
                    (rdev >> 8) & 0xfff,
                    (rdev & 0xff) | ((rdev >> 12) & 0xfff00),
                ));
            }
        } else if let Some(time) = word(line, "mtime") {
            let (seconds, nanoseconds) = time.split_once('.').unwrap();
            // Times before 1970 are printed as unsigned numbers.
            entry.mtime = Some((
                seconds.parse::<u64>().unwrap().cast_signed(),
                nanoseconds.parse().unwrap(),
            ));
        }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}
