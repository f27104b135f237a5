//! A filesystem in memory that does just what the trait says: parents must exist, nothing is followed or replaced.

use std::collections::BTreeMap;

use flatbake::fs::{
    self, Attributes, Capacity, DirEntry, FileContent, FileRead, FileSystem, FileSystemMut,
    FileType, FsKind, FsPath, Metadata, MetadataChange, Xattr,
};
use flatbake::{Error, Result};

#[derive(Debug, Clone)]
pub struct Node {
    pub metadata: Metadata,
    /// Content, or the target of a symlink.
    pub bytes: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    children: BTreeMap<Vec<u8>, u64>,
}

#[derive(Debug, Clone)]
pub struct Model {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Files larger than this are refused, as a small filesystem does before it reads their content.
    pub largest_file: u64,
    pub commits: u32,
}

impl Model {
    pub fn new() -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            next: 1,
            largest_file: 64 << 20,
            commits: 0,
        };
        let attributes = Attributes {
            mode: 0o755,
            ..Attributes::default()
        };
        model.insert(FileType::Directory, &attributes);
        model
    }

    fn insert(&mut self, file_type: FileType, attributes: &Attributes) -> u64 {
        let &Attributes {
            mode,
            uid,
            gid,
            mtime,
        } = attributes;
        assert!(mode <= 0o7777, "mode {mode:o}");
        let inode = self.next;
        let metadata = Metadata {
            file_type,
            mode,
            uid,
            gid,
            size: 0,
            nlink: 1,
            mtime,
            device: (0, 0),
            inode,
        };
        self.nodes.insert(
            inode,
            Node {
                metadata,
                bytes: Vec::new(),
                xattrs: BTreeMap::new(),
                children: BTreeMap::new(),
            },
        );
        self.next += 1;
        inode
    }

    fn find(&self, path: &FsPath) -> Result<u64> {
        let mut at = 1;
        for name in path.components() {
            let node = &self.nodes[&at];
            at = *node
                .children
                .get(name)
                .ok_or_else(|| Error::not_found("no such entry").at(path.to_string()))?;
        }
        Ok(at)
    }

    pub fn node(&self, path: &FsPath) -> Result<&Node> {
        Ok(&self.nodes[&self.find(path)?])
    }

    fn node_mut(&mut self, path: &FsPath) -> Result<&mut Node> {
        let inode = self.find(path)?;
        Ok(self.nodes.get_mut(&inode).unwrap())
    }

    /// Puts `inode` into its directory, whose time changes as on any Unix.
    fn link(&mut self, path: &FsPath, inode: u64) -> Result<()> {
        let parent = self.node_mut(
            &path
                .parent()
                .ok_or_else(|| Error::invalid("the root exists"))?,
        )?;
        if parent.metadata.file_type != FileType::Directory {
            return Err(Error::not_found("the parent is no directory").at(path.to_string()));
        }
        if parent
            .children
            .insert(path.name().unwrap().to_vec(), inode)
            .is_some()
        {
            return Err(Error::invalid("the entry exists").at(path.to_string()));
        }
        parent.metadata.mtime.secs = 1_999_999_999;
        Ok(())
    }

    fn create(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        attributes: &Attributes,
    ) -> Result<&mut Node> {
        if self.find(path).is_ok() {
            return Err(Error::invalid("the entry exists").at(path.to_string()));
        }
        let inode = self.insert(file_type, attributes);
        self.link(path, inode)?;
        Ok(self.nodes.get_mut(&inode).unwrap())
    }

    /// Every path but the root with its node, sorted.
    pub fn all(&self) -> Vec<(Vec<u8>, &Node)> {
        let mut found = Vec::new();
        let mut todo = vec![(Vec::new(), 1)];
        while let Some((path, inode)) = todo.pop() {
            let node = &self.nodes[&inode];
            for (name, child) in &node.children {
                todo.push(([&path[..], b"/", name].concat(), *child));
            }
            if inode != 1 {
                found.push((path, node));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

struct Bytes<'a>(&'a [u8]);

impl FileRead for Bytes<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
        Ok(())
    }
}

impl FileSystem for Model {
    fn kind(&self) -> FsKind {
        FsKind::Ext4
    }
    fn label(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn capacity(&self) -> Result<Capacity> {
        Ok(Capacity {
            total_bytes: 0,
            free_bytes: 0,
            block_bytes: 4096,
            inodes: None,
        })
    }
    fn root(&self) -> fs::Node {
        fs::Node::new(1)
    }
    fn lookup(&self, directory: fs::Node, name: &[u8]) -> Result<Option<fs::Node>> {
        let child = self.nodes[&directory.get()].children.get(name);
        Ok(child.map(|inode| fs::Node::new(*inode)))
    }
    fn entries(&self, directory: fs::Node) -> Result<Vec<DirEntry>> {
        let entry = |(name, inode): (&Vec<u8>, &u64)| DirEntry {
            name: name.clone(),
            file_type: self.nodes[inode].metadata.file_type,
            node: fs::Node::new(*inode),
        };
        Ok(self.nodes[&directory.get()]
            .children
            .iter()
            .map(entry)
            .collect())
    }
    fn metadata(&self, node: fs::Node) -> Result<Metadata> {
        Ok(self.nodes[&node.get()].metadata.clone())
    }
    fn read_link(&self, node: fs::Node) -> Result<Vec<u8>> {
        let node = &self.nodes[&node.get()];
        assert_eq!(node.metadata.file_type, FileType::Symlink);
        Ok(node.bytes.clone())
    }
    fn open(&self, node: fs::Node) -> Result<Box<dyn FileRead + '_>> {
        Ok(Box::new(Bytes(&self.nodes[&node.get()].bytes)))
    }
    fn xattrs(&self, node: fs::Node) -> Result<Vec<Xattr>> {
        let xattr = |(name, value): (&Vec<u8>, &Vec<u8>)| Xattr {
            name: name.clone(),
            value: value.clone(),
        };
        Ok(self.nodes[&node.get()].xattrs.iter().map(xattr).collect())
    }
}

impl FileSystemMut for Model {
    fn as_read(&self) -> &dyn FileSystem {
        self
    }
    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        self.create(path, FileType::Directory, attributes).map(drop)
    }
    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        mut content: FileContent<'_>,
    ) -> Result<()> {
        let size = content.size();
        if size > self.largest_file {
            return Err(Error::no_space(format!("{size} bytes are too many")));
        }
        let bytes = content.rest()?;
        content.finish()?;
        let node = self.create(path, FileType::File, attributes)?;
        node.metadata.size = size;
        node.bytes = bytes;
        Ok(())
    }
    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        let node = self.create(path, FileType::Symlink, attributes)?;
        node.bytes = target.to_vec();
        Ok(())
    }
    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        let inode = self.find(existing)?;
        assert_ne!(self.nodes[&inode].metadata.file_type, FileType::Directory);
        self.link(path, inode)?;
        self.nodes.get_mut(&inode).unwrap().metadata.nlink += 1;
        Ok(())
    }
    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        self.create(path, file_type, attributes)?.metadata.device = device;
        Ok(())
    }
    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        let metadata = &mut self.node_mut(path)?.metadata;
        metadata.mode = change.mode.unwrap_or(metadata.mode);
        metadata.uid = change.uid.unwrap_or(metadata.uid);
        metadata.gid = change.gid.unwrap_or(metadata.gid);
        metadata.mtime = change.mtime.unwrap_or(metadata.mtime);
        Ok(())
    }
    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        self.node_mut(path)?
            .xattrs
            .insert(name.to_vec(), value.to_vec());
        Ok(())
    }
    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        self.node_mut(path)?
            .xattrs
            .remove(name)
            .map(drop)
            .ok_or_else(|| Error::not_found("no such attribute"))
    }
    fn rename(&mut self, _: &FsPath, _: &FsPath) -> Result<()> {
        panic!("not needed to unpack archives")
    }
    fn remove(&mut self, path: &FsPath) -> Result<()> {
        let inode = self.find(path)?;
        let node = self.nodes.get_mut(&inode).unwrap();
        assert!(node.children.is_empty() && inode != 1, "{path} has entries");
        node.metadata.nlink -= 1;
        if node.metadata.nlink == 0 {
            self.nodes.remove(&inode);
        }
        let parent = self.node_mut(&path.parent().unwrap())?;
        parent.children.remove(path.name().unwrap());
        parent.metadata.mtime.secs = 1_999_999_999;
        Ok(())
    }
    fn commit(&mut self) -> Result<()> {
        self.commits += 1;
        Ok(())
    }
}
