//! The [`Edit`] of a staged tree.

use std::collections::BTreeMap;

use super::content::Content;
use super::{Inode, Part, StagedTree, exists};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::edit::{Edit, LINUX_DEVICE_MAX, LINUX_FILE_MAX, LINUX_TARGET_MAX, Limits};
use crate::fs::path::LINUX_NAME_MAX;
use crate::fs::{Attributes, FileContent, FileType, FsPath, MetadataChange};

impl StagedTree {
    fn create(&mut self, path: &FsPath, attributes: &Attributes, part: Part) -> Result<()> {
        let (parent, name) = self.place(path)?;
        let inode = Inode {
            attributes: attributes.clone(),
            names: 1,
            xattrs: BTreeMap::new(),
            part,
        };
        self.add(parent, name, inode).map(drop)
    }

    /// Puts content in the place of a file's; its other names have it too.
    fn replace(&mut self, number: usize, attributes: &Attributes, content: Content) -> Result<()> {
        let inode = self.inode_mut(number)?;
        if inode.part.file_type() != FileType::File {
            return Err(
                Error::invalid("exists already and is not a regular file").because(Reason::Exists)
            );
        }
        inode.attributes = attributes.clone();
        inode.xattrs.clear();
        inode.part = Part::File(content);
        Ok(())
    }

    fn link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        let number = self.number(existing)?;
        if self.inode(number)?.part.file_type() == FileType::Directory {
            return Err(Error::invalid("a directory cannot have a second name"));
        }
        let (parent, name) = self.place(path)?;
        if self.children(parent)?.contains_key(name) {
            return Err(exists().at(path.to_string()));
        }
        self.take(name.len())?;
        self.children_mut(parent)?.insert(name.to_vec(), number);
        self.inode_mut(number)?.names += 1;
        Ok(())
    }

    fn move_entry(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        let (old_parent, old_name) = self.place(from)?;
        let number = self.number(from)?;
        let (new_parent, new_name) = self.place(to).at(|| to.to_string())?;
        if let Some(&there) = self.children(new_parent)?.get(new_name) {
            // Two names of one file: nothing to do, as rename(2) has it.
            if there == number {
                return Ok(());
            }
            for either in [number, there] {
                if self.inode(either)?.part.file_type() == FileType::Directory {
                    return Err(Error::invalid(format!(
                        "{to} exists, and one of the two is a directory"
                    ))
                    .because(Reason::Exists));
                }
            }
            self.unlink(new_parent, new_name)?;
        }
        self.children_mut(old_parent)?.remove(old_name);
        self.take(new_name.len())?;
        let children = self.children_mut(new_parent)?;
        children.insert(new_name.to_vec(), number);
        Ok(())
    }

    fn remove_entry(&mut self, path: &FsPath) -> Result<()> {
        let (parent, name) = self.place(path)?;
        let number = self.number(path)?;
        if let Part::Directory(children) = &self.inode(number)?.part
            && !children.is_empty()
        {
            return Err(Error::invalid("the directory is not empty").because(Reason::NotEmpty));
        }
        self.unlink(parent, name)
    }

    fn change(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        let number = self.number(path)?;
        let attributes = &mut self.inode_mut(number)?.attributes;
        attributes.mode = change.mode.unwrap_or(attributes.mode);
        attributes.uid = change.uid.unwrap_or(attributes.uid);
        attributes.gid = change.gid.unwrap_or(attributes.gid);
        attributes.mtime = change.mtime.unwrap_or(attributes.mtime);
        Ok(())
    }
}

impl Edit for StagedTree {
    fn limits(&self) -> Limits {
        Limits {
            name_bytes: LINUX_NAME_MAX,
            file_bytes: LINUX_FILE_MAX,
            target_bytes: Some(LINUX_TARGET_MAX - 1),
            hard_links: true,
            device: Some(LINUX_DEVICE_MAX),
            xattrs: true,
        }
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        let part = Part::Directory(BTreeMap::new());
        self.create(path, attributes, part).at(|| path.to_string())
    }

    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        let write = |tree: &mut Self| {
            let (parent, name) = tree.place(path)?;
            let there = tree.children(parent)?.get(name).copied();
            let content = tree.spool.add(content)?;
            tree.take(content.memory())?;
            match there {
                Some(number) => tree.replace(number, attributes, content),
                None => tree.create(path, attributes, Part::File(content)),
            }
        };
        write(self).at(|| path.to_string())
    }

    /// Links have mode 0777 whatever `attributes` say, as on Linux.
    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        let attributes = Attributes {
            mode: 0o777,
            ..attributes.clone()
        };
        let made = self.take(target.len());
        made.and_then(|()| self.create(path, &attributes, Part::Symlink(target.to_vec())))
            .at(|| path.to_string())
    }

    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        self.link(existing, path).at(|| existing.to_string())
    }

    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        let part = Part::Special(file_type, device);
        self.create(path, attributes, part).at(|| path.to_string())
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        self.change(path, change).at(|| path.to_string())
    }

    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        let set = |tree: &mut Self| {
            let number = tree.number(path)?;
            tree.take(name.len() + value.len())?;
            let xattrs = &mut tree.inode_mut(number)?.xattrs;
            xattrs.insert(name.to_vec(), value.to_vec());
            Ok(())
        };
        set(self).at(|| path.to_string())
    }

    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        let remove = |tree: &mut Self| {
            let number = tree.number(path)?;
            let removed = tree.inode_mut(number)?.xattrs.remove(name);
            let missing = || Error::not_found(format!("no attribute '{}'", name.escape_ascii()));
            removed.map(drop).ok_or_else(missing)
        };
        remove(self).at(|| path.to_string())
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        self.move_entry(from, to).at(|| from.to_string())
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        self.remove_entry(path).at(|| path.to_string())
    }

    /// Nothing is held back.
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }
}
