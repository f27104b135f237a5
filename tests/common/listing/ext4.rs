//! ext2, ext3 and ext4 through `debugfs`: one process with a command file per phase, whatever the number of files.
//!
//! 1. `ls -p <INODE>` of all directories of one depth, depth by depth: names and inode numbers.
//! 2. `stat <INODE>` of every inode: metadata and the names of xattrs.
//! 3. `ea_get -f FILE <INODE> NAME` of every xattr: `stat` does not print long values.
//! 4. `rdump / DIR`: contents and link targets.

use crate::common::programs::{command, judge};
use crate::common::region::Region;
use crate::common::tree::{
    Kind, Tree, TreeEntry, add_content, group_links, make_readable, path_text,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const ROOT_INODE: u64 = 2;

/// The whole tree, `lost+found` included. File names with a newline are not supported by the format of `ls -p`.
pub fn ext4_tree(region: &Region) -> Option<Tree> {
    judge("debugfs")?;
    Some(region.with_file(list))
}

fn list(image: &Path) -> Tree {
    let dir = crate::common::scratch_dir();
    let paths = walk(image, dir.path());
    let mut inodes: Vec<u64> = paths.values().copied().collect();
    inodes.sort_unstable();
    inodes.dedup();
    let stats = stat(image, dir.path(), &inodes);

    let target = dir.path().join("tree");
    fs::create_dir(&target).unwrap();
    // Its complaints are about owners, which only root can restore; what is missing shows when it is opened below.
    debugfs(
        image,
        dir.path(),
        &format!("rdump / \"{}\"\n", target.display()),
    );
    make_readable(&target);
    let mut tree = Tree::new();
    let mut inode_of = BTreeMap::new();
    for (path, inode) in &paths {
        let mut entry = stats[inode].clone();
        add_content(&mut entry, &target.join(OsStr::from_bytes(path)));
        tree.insert(path_text(path), entry);
        inode_of.insert(path_text(path), *inode);
    }
    group_links(&mut tree, &inode_of);
    tree
}

/// Runs all `commands` in one process and returns its stdout, in which every command stands before its answer.
fn debugfs(image: &Path, dir: &Path, commands: &str) -> Vec<u8> {
    let file = dir.join("commands");
    fs::write(&file, commands).unwrap();
    let output = command(&judge("debugfs").unwrap())
        .arg("-f")
        .arg(&file)
        .arg(image)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "debugfs: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Splits the output into the answers to the single commands.
fn answers(output: &[u8]) -> Vec<&[u8]> {
    const PROMPT: &[u8] = b"debugfs: ";
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(PROMPT) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([output.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &output[*start..end])
        .collect()
}

/// The inode number of every path.
fn walk(image: &Path, dir: &Path) -> BTreeMap<Vec<u8>, u64> {
    let mut paths = BTreeMap::from([(Vec::new(), ROOT_INODE)]);
    let mut level = vec![(Vec::new(), ROOT_INODE)];
    while !level.is_empty() {
        let commands = level.iter().fold(String::new(), |text, (_, inode)| {
            text + &format!("ls -p <{inode}>\n")
        });
        let output = debugfs(image, dir, &commands);
        let answers = answers(&output);
        assert_eq!(answers.len(), level.len(), "debugfs answers every ls");
        let mut below = Vec::new();
        for ((parent, _), answer) in level.iter().zip(answers) {
            for line in answer
                .split(|byte| *byte == b'\n')
                .skip(1)
                .filter(|line| !line.is_empty())
            {
                // "/INODE/MODE/UID/GID/NAME/SIZE/"
                let fields: Vec<&[u8]> = line.split(|byte| *byte == b'/').collect();
                assert_eq!(fields.len(), 8, "ls -p: {}", String::from_utf8_lossy(line));
                let name = fields[5];
                let inode = text(fields[1]).parse().unwrap();
                // Inode 0: an unused entry, as the later blocks of lost+found hold.
                if name == b"." || name == b".." || inode == 0 {
                    continue;
                }
                let mut path = parent.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                let mode = u32::from_str_radix(text(fields[2]), 8).unwrap();
                paths.insert(path.clone(), inode);
                if Kind::of_mode(mode) == Kind::Directory {
                    below.push((path, inode));
                }
            }
        }
        level = below;
    }
    paths
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Metadata of every inode, without content.
fn stat(image: &Path, dir: &Path, inodes: &[u64]) -> BTreeMap<u64, TreeEntry> {
    let commands = inodes.iter().fold(String::new(), |text, inode| {
        text + &format!("stat <{inode}>\n")
    });
    let output = debugfs(image, dir, &commands);
    let answers = answers(&output);
    assert_eq!(answers.len(), inodes.len(), "debugfs answers every stat");
    let mut entries: BTreeMap<u64, TreeEntry> = BTreeMap::new();
    let mut commands = String::new();
    let mut values = Vec::new();
    for (inode, answer) in inodes.iter().zip(answers) {
        // Fast link targets and xattr values are printed as they are; only lines of known form are read.
        let answer = String::from_utf8_lossy(answer);
        entries.insert(*inode, parse_stat(&answer));
        for (name, len) in xattr_names(&answer) {
            let file = dir.join(format!("xattr-{}", values.len()));
            if len > 0 {
                writeln!(
                    commands,
                    "ea_get -f \"{}\" <{inode}> \"{name}\"",
                    file.display()
                )
                .unwrap();
            }
            values.push((*inode, name, len, file));
        }
    }
    debugfs(image, dir, &commands);
    for (inode, name, len, file) in values {
        let value = if len > 0 {
            fs::read(&file).unwrap_or_else(|error| panic!("{name}: {error}"))
        } else {
            Vec::new()
        };
        assert_eq!(value.len(), len, "ea_get of {name}");
        entries
            .get_mut(&inode)
            .unwrap()
            .xattrs
            .as_mut()
            .unwrap()
            .insert(name, value);
    }
    entries
}

/// What follows `key` in the answer, up to white space.
fn value<'a>(answer: &'a str, key: &str) -> &'a str {
    let at = answer
        .find(key)
        .unwrap_or_else(|| panic!("stat has no '{key}':\n{answer}"))
        + key.len();
    answer[at..].split_whitespace().next().unwrap()
}

fn parse_stat(answer: &str) -> TreeEntry {
    let kind_word = value(answer, "Type: ");
    let kind = match kind_word {
        "regular" => Kind::File,
        "directory" => Kind::Directory,
        "symlink" => Kind::Symlink,
        "character" => Kind::CharDevice,
        "block" => Kind::BlockDevice,
        "FIFO" => Kind::Fifo,
        "socket" => Kind::Socket,
        _ => panic!("type {kind_word}:\n{answer}"),
    };
    let number = |key: &str| value(answer, key).parse().unwrap();
    let device = answer.find("Device major/minor number: ").map(|_| {
        let (major, minor) = value(answer, "Device major/minor number: ")
            .split_once(':')
            .unwrap();
        (major.parse().unwrap(), minor.parse().unwrap())
    });
    TreeEntry {
        kind,
        mode: Some(u32::from_str_radix(value(answer, "Mode: "), 8).unwrap()),
        uid: Some(number("User: ")),
        gid: Some(number("Group: ")),
        mtime: Some(mtime(answer)),
        nlink: (kind != Kind::Directory).then(|| number("Links: ")),
        xattrs: Some(BTreeMap::new()),
        device,
        ..TreeEntry::default()
    }
}

/// " mtime: 0xSECONDS:EXTRA": the low two bits of `EXTRA` are the epoch above 32 bits, the rest nanoseconds. The date
/// that debugfs prints behind it leaves the epoch out.
fn mtime(answer: &str) -> (i64, u32) {
    let word = value(answer, " mtime: ").trim_start_matches("0x");
    let (seconds, extra) = word.split_once(':').unwrap_or((word, "0"));
    let seconds = i64::from(u32::from_str_radix(seconds, 16).unwrap().cast_signed());
    let extra = u32::from_str_radix(extra, 16).unwrap();
    (seconds + (i64::from(extra & 3) << 32), extra >> 2)
}

/// The lines "  NAME (LENGTH) = …" below "Extended attributes:".
fn xattr_names(answer: &str) -> Vec<(String, usize)> {
    let Some((_, rest)) = answer.split_once("\nExtended attributes:\n") else {
        return Vec::new();
    };
    let lines = rest.lines().take_while(|line| line.starts_with("  "));
    let name_and_len = |line: &str| {
        let (name, rest) = line.trim_start().split_once(" (")?;
        Some((name.to_owned(), rest.split_once(')')?.0.parse().ok()?))
    };
    lines.filter_map(name_and_len).collect()
}
