//! cpio archives of the "new ASCII" format (`newc`), which Linux unpacks as its initramfs.
//!
//! ```text
//!   │070701│13 numbers of 8 hexadecimal digits│name, NUL│filling to 4│content│filling to 4│ … │TRAILER!!!│
//! ```
//!
//! The format is that of the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`. Archives are laid out
//! before they are written: content stays where it is until somebody reads the archive. Inode numbers count from 1 on and
//! everything belongs to root, so the bytes depend on what was added alone: single entries, and whole trees.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::block::{BlockDevice, Piece, Sections};
use crate::bytes::to_u64;
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::{Entry, FileSystem, FileType, FsPath, InnerFile, walk};

/// Magic number of the format without checksums.
const MAGIC: &str = "070701";
/// Bytes of a header.
const HEADER_BYTES: u64 = 110;
/// Names and content are filled up to a multiple of this.
const ALIGN: u64 = 4;
/// The archive is filled up to a multiple of this, the block of the `cpio` program.
const BLOCK: u64 = 512;
/// Longest name with its NUL that the kernel unpacks (`PATH_MAX`).
const NAME_MAX: usize = 4096;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Lays an archive out.
#[derive(Debug, Default)]
pub struct CpioLayout<'a> {
    sections: Sections<'a>,
    names: BTreeSet<String>,
    /// The last inode number used.
    inode: u32,
}

/// The fields of a header that differ.
struct Header<'a> {
    name: &'a str,
    inode: u32,
    mode: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
}

impl<'a> CpioLayout<'a> {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with these permission bits. `mtime` is in seconds since 1970, clamped to what 32 bits hold.
    ///
    /// # Errors
    ///
    /// Here and below: a name that is empty, absolute, too long, has `..` or a NUL byte, or is there already.
    pub fn directory(&mut self, name: &str, mode: u32, mtime: i64) -> Result<()> {
        self.entry(
            &[name],
            FileType::Directory,
            mode,
            mtime,
            Piece::Bytes(Vec::new()),
        )
    }

    /// Adds a regular file under all of `names` (hard links of each other).
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Unsupported`] for a file of 4 GiB and more, whose size the format cannot tell.
    pub fn file(
        &mut self,
        names: &[&str],
        mode: u32,
        mtime: i64,
        content: Piece<'a>,
    ) -> Result<()> {
        self.entry(names, FileType::File, mode, mtime, content)
    }

    /// Adds all that is below the root of `tree`, in each of `folders`: a file is stored once, with a name in each of
    /// them; directories and symlinks come once for each. Names of one file in the tree become files of their own.
    ///
    /// # Errors
    ///
    /// Also [`crate::ErrorKind::Unsupported`] for a name that is not UTF-8 and for devices, fifos and sockets.
    pub fn tree(&mut self, tree: &'a dyn FileSystem, folders: &[&str]) -> Result<()> {
        walk(tree, &FsPath::root(), &mut |entry| {
            if entry.path.is_root() {
                return Ok(());
            }
            let path = entry.path.to_string();
            self.tree_entry(tree, entry, folders).at(|| path)
        })
    }

    fn tree_entry(
        &mut self,
        tree: &'a dyn FileSystem,
        entry: Entry,
        folders: &[&str],
    ) -> Result<()> {
        let path = std::str::from_utf8(entry.path.as_bytes())
            .map_err(|_| Error::unsupported("the name is not UTF-8"))?;
        let names: Vec<String> = folders
            .iter()
            .map(|folder| format!("{folder}{path}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mode = entry.metadata.mode;
        let mtime = entry.metadata.mtime.secs;
        match entry.metadata.file_type {
            FileType::Directory => names
                .iter()
                .try_for_each(|name| self.directory(name, mode, mtime)),
            FileType::Symlink => {
                let target = tree.read_link(entry.node)?;
                names.iter().try_for_each(|&name| {
                    let content = Piece::Bytes(target.clone());
                    self.entry(&[name], FileType::Symlink, 0o777, mtime, content)
                })
            }
            FileType::File => {
                let file = InnerFile::of_node(tree, entry.path.clone(), entry.node)?;
                self.file(&names, mode, mtime, Piece::File(Arc::new(file)))
            }
            _ => Err(Error::unsupported(
                "a device, fifo or socket, of which none is put into an initrd",
            )),
        }
    }

    fn entry(
        &mut self,
        names: &[&str],
        file_type: FileType,
        mode: u32,
        mtime: i64,
        content: Piece<'a>,
    ) -> Result<()> {
        let (Some((last, others)), Some(first)) = (names.split_last(), names.first()) else {
            return Err(Error::invalid("an entry of a cpio archive without a name"));
        };
        let size = u32::try_from(content.size()).map_err(|_| {
            let message = format!(
                "a file of {} bytes: a cpio archive holds files below 4 GiB",
                content.size()
            );
            Error::unsupported(message)
                .with_hint("make it smaller: an initrd must fit in memory")
                .at(*first)
        })?;
        names.iter().try_for_each(|name| self.check(name))?;
        self.inode = self
            .inode
            .checked_add(1)
            .ok_or_else(|| Error::unsupported("more than 2^32 entries").because(Reason::Limit))?;
        let nlink = if file_type == FileType::Directory {
            2
        } else {
            u32::try_from(names.len()).unwrap_or(u32::MAX)
        };
        let header = |name, size| Header {
            name,
            inode: self.inode,
            mode: file_type.mode_bits() | mode & 0o7777,
            nlink,
            mtime: u32::try_from(mtime.clamp(0, u32::MAX.into())).unwrap_or(u32::MAX),
            size,
        };
        let headers: Vec<_> = others
            .iter()
            .map(|name| header(*name, 0))
            .chain([header(*last, size)])
            .collect();
        // Where a file has several names, the last one has the content: so the `cpio` program does and expects it.
        headers
            .iter()
            .try_for_each(|header| push_header(&mut self.sections, header))?;
        self.sections.push_piece(content)?;
        fill(&mut self.sections, ALIGN)
    }

    fn check(&mut self, name: &str) -> Result<()> {
        let fault = match name {
            "" => "is empty",
            TRAILER => "would end the archive",
            _ if name.starts_with('/') => "is absolute",
            _ if name.contains('\0') => "contains a NUL byte",
            _ if name.split('/').any(|part| part == "..") => "leads out of the archive",
            _ if name.len() >= NAME_MAX => "is longer than 4095 bytes",
            _ if !self.names.insert(name.to_owned()) => "is in the archive already",
            _ => return Ok(()),
        };
        Err(Error::invalid(format!(
            "the name '{}' {fault}",
            name.escape_debug()
        )))
    }

    /// The whole archive.
    pub fn finish(mut self) -> Result<Sections<'a>> {
        let header = Header {
            name: TRAILER,
            inode: 0,
            mode: 0,
            nlink: 1,
            mtime: 0,
            size: 0,
        };
        push_header(&mut self.sections, &header)?;
        fill(&mut self.sections, BLOCK)?;
        Ok(self.sections)
    }
}

fn push_header(sections: &mut Sections<'_>, header: &Header<'_>) -> Result<()> {
    let Header {
        name,
        inode,
        mode,
        nlink,
        mtime,
        size,
    } = *header;
    let name_bytes =
        u32::try_from(name.len() + 1).map_err(|_| Error::internal("names are checked"))?;
    // Owner and group are root; the files lie on no device and are none; the checksum is only used by another format.
    let fields = [
        inode, mode, 0, 0, nlink, mtime, size, 0, 0, 0, 0, name_bytes, 0,
    ];
    let mut bytes = MAGIC.as_bytes().to_vec();
    fields
        .iter()
        .for_each(|field| bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
    debug_assert_eq!(to_u64(bytes.len()), HEADER_BYTES);
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    sections.push_bytes(bytes)?;
    fill(sections, ALIGN)
}

/// Adds zeroes up to a multiple of `align`, as bytes: they are few.
fn fill(sections: &mut Sections<'_>, align: u64) -> Result<()> {
    let missing = sections.size().next_multiple_of(align) - sections.size();
    sections.push_bytes((0..missing).map(|_| 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::MemoryDevice;
    use crate::error::ErrorKind;
    use crate::fs::{Attributes, FileSystemMut, StagedTree, Timestamp};

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut layout = CpioLayout::new();
        layout.directory("etc", 0o755, 99).unwrap();
        layout
            .file(&["a", "b"], 0o644, -5, Piece::Bytes(b"hello".to_vec()))
            .unwrap();
        let bytes = bytes_of(layout);
        assert_eq!(bytes.len(), 512);
        let text = String::from_utf8(bytes).unwrap();
        let zero = "00000000";
        let etc = format!(
            "07070100000001000041ed{zero}{zero}000000020000006300000000{zero}{zero}{zero}{zero}00000004{zero}etc\0"
        );
        assert!(text.starts_with(&(etc.clone() + "\0\0")), "{text}");
        let file = |size: &str, name: &str| {
            format!(
                "07070100000002000081a4{zero}{zero}00000002{zero}{size}{zero}{zero}{zero}{zero}00000002{zero}{name}\0"
            )
        };
        let rest = &text[etc.len() + 2..];
        assert_eq!(&rest[..112], file(zero, "a"));
        assert_eq!(&rest[112..224], file("00000005", "b"));
        assert_eq!(&rest[224..232], "hello\0\0\0");
    }

    fn bytes_of(layout: CpioLayout<'_>) -> Vec<u8> {
        let archive = layout.finish().unwrap();
        let mut bytes = vec![0; usize::try_from(archive.size()).unwrap()];
        archive.read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn attributes(mode: u32) -> Attributes {
        Attributes {
            mode,
            uid: 5,
            gid: 6,
            mtime: Timestamp { secs: 77, nanos: 8 },
        }
    }

    #[test]
    fn a_tree_comes_as_its_entries_would_one_by_one() {
        let path = |path: &str| FsPath::new(path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut tree = StagedTree::new(dir.path(), Timestamp::default());
        tree.create_dir(&path("/d"), &attributes(0o750)).unwrap();
        let hello = b"hello";
        tree.write_file(&path("/d/f"), &attributes(0o4755), 5, &mut &hello[..])
            .unwrap();
        tree.symlink(&path("/a"), b"d/f", &attributes(0o777))
            .unwrap();
        let mut whole = CpioLayout::new();
        whole.tree(&tree, &["x", "y/z"]).unwrap();

        let mut single = CpioLayout::new();
        for name in ["x/a", "y/z/a"] {
            let target = Piece::Bytes(b"d/f".to_vec());
            single
                .entry(&[name], FileType::Symlink, 0o777, 77, target)
                .unwrap();
        }
        single.directory("x/d", 0o750, 77).unwrap();
        single.directory("y/z/d", 0o750, 77).unwrap();
        let content = Piece::Bytes(hello.to_vec());
        let names = ["x/d/f", "y/z/d/f"];
        single.file(&names, 0o4755, 77, content).unwrap();
        assert_eq!(bytes_of(whole), bytes_of(single));

        tree.mknod(&path("/fifo"), FileType::Fifo, (0, 0), &attributes(0o644))
            .unwrap();
        let error = CpioLayout::new().tree(&tree, &["x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("/fifo"), "{error}");
    }

    #[test]
    fn what_the_format_cannot_hold_is_refused() {
        #[derive(Debug)]
        struct Huge;
        impl BlockDevice for Huge {
            fn size(&self) -> u64 {
                1 << 33
            }
            fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
                Ok(())
            }
            fn extent_at(&self, _: u64) -> Result<crate::block::Extent> {
                Err(Error::internal("not asked"))
            }
        }
        let mut layout = CpioLayout::new();
        let content = |len| Piece::Device {
            device: &Huge,
            start: 0,
            len,
        };
        let error = layout.file(&["large"], 0, 0, content(1 << 32)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("below 4 GiB"));
        layout
            .file(&["large"], 0, 0, content((1 << 32) - 1))
            .unwrap();
        let disk = MemoryDevice::new(vec![0; 4]);
        let beyond = Piece::Device {
            device: &disk,
            start: 1,
            len: 4,
        };
        let mut other = CpioLayout::new();
        assert!(other.file(&["beyond"], 0, 0, beyond).is_err());
        for name in [
            "",
            "/a",
            "a/../b",
            "..",
            "a\0b",
            TRAILER,
            "large",
            &"n".repeat(4096),
        ] {
            assert_eq!(
                layout.directory(name, 0, 0).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{name}"
            );
        }
        assert!(layout.file(&[], 0, 0, Piece::Bytes(Vec::new())).is_err());
    }
}
