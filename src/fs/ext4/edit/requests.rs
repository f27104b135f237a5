//! The requests of [`FileSystemMut`](crate::fs::FileSystemMut), one by one.

use super::super::directory::Directory;
use super::super::inode::Inode;
use super::super::raw_inode::I_BLOCK_SIZE;
use super::super::time::{self, Time};
use super::super::{Ext4, xattr};
use super::content::BLOCKS_MAX;
use super::{Created, LINKS_MAX};
use crate::block::BlockDeviceMut;
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result};
use crate::fs::acl;
use crate::fs::edit::{Edit, LINUX_DEVICE_MAX, Limits};
use crate::fs::path::LINUX_NAME_MAX;
use crate::fs::{Attributes, FileContent, FileType, FsPath, MetadataChange};

/// Longest symlink target that lies in the inode.
const FAST_SYMLINK_MAX: usize = 59;
/// Longest symlink target at all (`PATH_MAX` of Linux, without its NUL).
const SYMLINK_MAX: usize = 4095;

impl<D: BlockDeviceMut> Edit for Ext4<D> {
    fn limits(&self) -> Limits {
        let block_bytes = self.superblock.block_bytes();
        Limits {
            name_bytes: LINUX_NAME_MAX,
            file_bytes: BLOCKS_MAX * to_u64(block_bytes),
            target_bytes: Some(SYMLINK_MAX.min(block_bytes - 1)),
            hard_links: true,
            device: Some(LINUX_DEVICE_MAX),
            xattrs: true,
        }
    }

    fn create_dir(&mut self, path: &FsPath, attributes: &Attributes) -> Result<()> {
        self.edit(path, |fs| {
            let Created { ino, raw, parent } =
                fs.create(path, FileType::Directory, attributes, 1)?;
            fs.stage(ino, raw)?;
            fs.add_directory(ino, Directory::new(parent, 0))
        })
    }

    fn write_content(
        &mut self,
        path: &FsPath,
        attributes: &Attributes,
        content: FileContent<'_>,
    ) -> Result<()> {
        self.edit(path, |fs| fs.put_file(path, attributes, content))
    }

    fn symlink(&mut self, path: &FsPath, target: &[u8], attributes: &Attributes) -> Result<()> {
        self.edit(path, |fs| {
            let attributes = Attributes {
                mode: 0o777,
                ..attributes.clone()
            };
            let slow = target.len() > FAST_SYMLINK_MAX;
            let Created { ino, mut raw, .. } =
                fs.create(path, FileType::Symlink, &attributes, u64::from(slow))?;
            if slow {
                return fs.fill(
                    ino,
                    raw,
                    FileContent::whole(to_u64(target.len()), &mut &target[..]),
                );
            }
            let mut block = [0; I_BLOCK_SIZE];
            block[..target.len()].copy_from_slice(target);
            raw.set_block(block);
            raw.set_size(to_u64(target.len()));
            fs.stage(ino, raw)
        })
    }

    fn hard_link(&mut self, existing: &FsPath, path: &FsPath) -> Result<()> {
        self.edit(path, |fs| {
            let target = fs.inode_at(existing)?;
            if target.file_type == FileType::Directory {
                return Err(Error::invalid(format!(
                    "{existing} is a directory, which cannot have a second name"
                ))
                .because(Reason::IsADirectory));
            }
            if u32::from(target.links) >= LINKS_MAX {
                return Err(Error::unsupported(format!(
                    "{existing} has {LINKS_MAX} names, the most there can be"
                )));
            }
            let place = fs.new_place(path)?;
            let growth = fs.growth(place.parent, place.name)?;
            fs.check_space(growth, 0, 0)?;
            let mut raw = target.raw;
            raw.set_links_count(target.links + 1);
            fs.stage(target.ino, raw)?;
            fs.add_name(&place, target.ino, target.file_type)
        })
    }

    fn mknod(
        &mut self,
        path: &FsPath,
        file_type: FileType,
        device: (u32, u32),
        attributes: &Attributes,
    ) -> Result<()> {
        self.edit(path, |fs| {
            let node = device_words(device);
            let Created { ino, mut raw, .. } = fs.create(path, file_type, attributes, 0)?;
            raw.set_device_words(node);
            fs.stage(ino, raw)
        })
    }

    fn set_metadata(&mut self, path: &FsPath, change: &MetadataChange) -> Result<()> {
        self.edit(path, |fs| {
            change
                .mtime
                .map_or(Ok(()), |mtime| time::check(fs.superblock.inode_size, mtime))?;
            let Inode { ino, mut raw, .. } = fs.inode_at(path)?;
            if let Some(mode) = change.mode {
                raw.set_permissions(mode);
            }
            if let Some(uid) = change.uid {
                raw.set_uid(uid);
            }
            if let Some(gid) = change.gid {
                raw.set_gid(gid);
            }
            if let Some(mtime) = change.mtime {
                time::set(&mut raw, Time::Modification, mtime);
                time::set(&mut raw, Time::Change, mtime);
            }
            fs.stage(ino, raw)
        })
    }

    fn set_xattr(&mut self, path: &FsPath, name: &[u8], value: &[u8]) -> Result<()> {
        self.edit(path, |fs| {
            let (index, rest) = xattr::split_name(name)?;
            let value = if acl::is_acl(name) {
                acl::to_ext4(value)?
            } else {
                value.to_vec()
            };
            let max = fs.superblock.block_bytes();
            if value.len() >= max {
                return Err(Error::unsupported(format!(
                    "an extended attribute of {} bytes, which must fit a block of {max}",
                    value.len()
                )));
            }
            let value = xattr::Value::Bytes(value);
            fs.change_attributes(path, |attributes| {
                attributes.retain(|old| (old.index, &old.name[..]) != (index, rest));
                attributes.push(xattr::Attribute {
                    index,
                    name: rest.to_vec(),
                    value,
                });
                Ok(())
            })
        })
    }

    fn remove_xattr(&mut self, path: &FsPath, name: &[u8]) -> Result<()> {
        self.edit(path, |fs| {
            let (index, rest) = xattr::split_name(name)?;
            fs.change_attributes(path, |attributes| {
                let before = attributes.len();
                attributes.retain(|old| (old.index, &old.name[..]) != (index, rest));
                if attributes.len() < before {
                    return Ok(());
                }
                Err(Error::not_found(format!(
                    "no extended attribute {}",
                    String::from_utf8_lossy(name)
                )))
            })
        })
    }

    fn rename(&mut self, from: &FsPath, to: &FsPath) -> Result<()> {
        self.edit(from, |fs| {
            if from == to {
                fs.inode_at(from).map(drop)
            } else {
                fs.move_entry(from, to)
            }
        })
    }

    fn remove(&mut self, path: &FsPath) -> Result<()> {
        self.edit(path, |fs| {
            let (place, old) = fs.old_place(path)?;
            fs.remove_entry(&place, &old)
        })
    }

    fn commit(&mut self) -> Result<()> {
        if self.editor()?.failed {
            return Err(Error::invalid(
                "an earlier edit failed half-way: nothing can be committed",
            )
            .with_hint("start again from the base image"));
        }
        // A commit that breaks off leaves some of it written.
        self.editor()?.failed = true;
        self.write_everything()?;
        self.editor()?.failed = false;
        Ok(())
    }
}

/// `i_block[0..2]` of a node: the old encoding where it fits, else the new one, as the kernel writes them.
fn device_words((major, minor): (u32, u32)) -> [u32; 2] {
    if major < 256 && minor < 256 {
        [major << 8 | minor, 0]
    } else {
        [0, minor & 0xFF | major << 8 | (minor & !0xFF) << 12]
    }
}
