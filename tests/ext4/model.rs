//! What the filesystem should hold, and its comparison with our reader and with debugfs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flatbake::fs::ext4::Ext4;
use flatbake::fs::{
    Attributes, ByPath, FileType, FsPath, Metadata, Timestamp, Xattr, read_file, walk,
};

use crate::ext4::support::{ImageFile, debugfs};

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    File(Vec<u8>),
    Directory,
    Symlink(Vec<u8>),
    Node(FileType, (u32, u32)),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub body: Body,
    pub attributes: Attributes,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Paths name nodes by number: hard links share one.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub paths: BTreeMap<FsPath, usize>,
    pub nodes: Vec<Node>,
}

pub fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

pub fn attributes(mode: u32, secs: i64) -> Attributes {
    Attributes {
        mode,
        uid: 70_000 + mode,
        gid: 80_000,
        mtime: Timestamp {
            secs,
            nanos: 123_456_789,
        },
    }
}

impl Model {
    /// What a filesystem holds now.
    pub fn of(fs: &Ext4<ImageFile>) -> Self {
        let mut model = Self::default();
        let mut inodes = BTreeMap::new();
        walk(fs, &FsPath::root(), &mut |entry| {
            if !entry.path.is_root() && entry.path != path("/lost+found") {
                let next = model.nodes.len();
                let number = *inodes.entry(entry.metadata.inode).or_insert(next);
                if number == next {
                    model.nodes.push(node(fs, &entry.path, &entry.metadata));
                }
                model.paths.insert(entry.path, number);
            }
            Ok(())
        })
        .unwrap();
        model
    }

    pub fn add(&mut self, path: &FsPath, body: Body, attributes: &Attributes) {
        self.nodes.push(Node {
            body,
            attributes: attributes.clone(),
            xattrs: BTreeMap::new(),
        });
        self.paths.insert(path.clone(), self.nodes.len() - 1);
    }

    pub fn node(&mut self, path: &FsPath) -> &mut Node {
        &mut self.nodes[self.paths[path]]
    }

    pub fn is_dir(&self, path: &FsPath) -> bool {
        path.is_root() || self.nodes[self.paths[path]].body == Body::Directory
    }

    pub fn has_children(&self, path: &FsPath) -> bool {
        self.paths
            .keys()
            .any(|other| other != path && other.starts_with(path))
    }

    /// Moves an entry with all below it.
    pub fn rename(&mut self, from: &FsPath, to: &FsPath) {
        let moved: Vec<_> = self
            .paths
            .keys()
            .filter(|path| path.starts_with(from))
            .cloned()
            .collect();
        for old in moved {
            let number = self.paths.remove(&old).unwrap();
            let rest = &old.as_bytes()[from.as_bytes().len()..];
            self.paths
                .insert(FsPath::new([to.as_bytes(), rest].concat()).unwrap(), number);
        }
    }

    pub fn links(&self, path: &FsPath) -> usize {
        if self.is_dir(path) {
            let inside =
                |other: &&FsPath| other.parent().as_ref() == Some(path) && self.is_dir(other);
            return 2 + self.paths.keys().filter(inside).count();
        }
        let number = self.paths[path];
        self.paths
            .values()
            .filter(|other| **other == number)
            .count()
    }

    /// Compares everything with our reader.
    pub fn compare(&self, fs: &Ext4<ImageFile>) {
        let found = Self::of(fs);
        let names = |model: &Self| model.paths.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(self), names(&found));
        for (path, number) in &self.paths {
            assert_eq!(
                self.nodes[*number], found.nodes[found.paths[path]],
                "{path}"
            );
            let metadata = fs.metadata_at(path).unwrap();
            assert_eq!(
                usize::try_from(metadata.nlink).unwrap(),
                self.links(path),
                "links of {path}"
            );
        }
    }

    /// Compares everything with what debugfs says.
    pub fn compare_debugfs(&self, image: &Path, scratch: &Path) {
        let named: Vec<_> = self
            .paths
            .keys()
            .filter(|path| std::str::from_utf8(path.as_bytes()).is_ok())
            .collect();
        let mut commands = String::new();
        for (index, path) in named.iter().enumerate() {
            commands += &format!("stat \"{path}\"\n");
            if let Body::File(_) = self.nodes[self.paths[*path]].body {
                commands += &format!(
                    "dump \"{path}\" {}\n",
                    scratch.join(format!("f{index}")).display()
                );
            }
        }
        let output = debugfs(image, &commands);
        let stats: Vec<&str> = output.split("debugfs: stat ").skip(1).collect();
        assert_eq!(stats.len(), named.len());
        for (index, (path, stat)) in named.iter().zip(stats).enumerate() {
            let node = &self.nodes[self.paths[*path]];
            let lines = expected(node, self.links(path));
            for line in lines {
                let squeezed = stat.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(
                    squeezed.contains(&line),
                    "{path}: '{line}' is not in {stat}"
                );
            }
            if let Body::File(content) = &node.body {
                let file = scratch.join(format!("f{index}"));
                let mut dumped = std::fs::read(&file).unwrap();
                // Of inline data, debugfs dumps all the room there is.
                if stat.contains("Size of inline data") {
                    dumped.truncate(content.len());
                }
                assert!(dumped == *content, "content of {path}");
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

/// What debugfs prints for a node, white space squeezed.
fn expected(node: &Node, links: usize) -> Vec<String> {
    let a = &node.attributes;
    let low = u32::try_from(a.mtime.secs & 0xFFFF_FFFF).unwrap();
    let epoch = u32::try_from((a.mtime.secs - i64::from(low.cast_signed())) >> 32).unwrap();
    let mut lines = vec![
        format!("Mode: 0{:03o} ", a.mode),
        format!(
            "User: {} Group: {}",
            a.uid.cast_signed(),
            a.gid.cast_signed()
        ),
        format!("Links: {links} "),
        format!("mtime: 0x{low:08x}:{:08x}", a.mtime.nanos << 2 | epoch),
    ];
    match &node.body {
        Body::File(content) => lines.extend([
            "Type: regular".to_owned(),
            format!("Size: {} ", content.len()),
        ]),
        Body::Directory => lines.push("Type: directory".to_owned()),
        Body::Symlink(target) if target.len() < 60 => {
            lines.push(format!(
                "Fast link dest: \"{}\"",
                String::from_utf8_lossy(target)
            ));
        }
        Body::Symlink(target) => lines.extend([
            "Type: symlink".to_owned(),
            format!("Size: {} ", target.len()),
        ]),
        Body::Node(file_type, (major, minor)) => match file_type {
            FileType::Fifo => lines.push("Type: FIFO".to_owned()),
            FileType::Socket => lines.push("Type: socket".to_owned()),
            _ => lines.push(format!("Device major/minor number: {major:02}:{minor:02}")),
        },
    }
    lines.extend(
        node.xattrs
            .iter()
            .filter(|(name, _)| !name.starts_with(b"system."))
            .map(|(name, value)| format!("{} ({})", String::from_utf8_lossy(name), value.len())),
    );
    lines
}

fn node(fs: &Ext4<ImageFile>, path: &FsPath, metadata: &Metadata) -> Node {
    let body = match metadata.file_type {
        FileType::File => Body::File(read_file(fs, path, 1 << 30).unwrap()),
        FileType::Directory => Body::Directory,
        FileType::Symlink => Body::Symlink(fs.read_link_at(path).unwrap()),
        other => Body::Node(other, metadata.device),
    };
    let attributes = Attributes {
        mode: metadata.mode,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
    };
    let xattrs = fs
        .xattrs_at(path)
        .unwrap()
        .into_iter()
        .map(|Xattr { name, value }| (name, value))
        .collect();
    Node {
        body,
        attributes,
        xattrs,
    }
}
