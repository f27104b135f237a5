//! A whole tree as an archive: names in order, each entry with all that it has.
//!
//! ```text
//!   [x header: long names, large numbers, parts of seconds, attributes] [ustar header] [content, filled up] …
//! ```
//!
//! Headers are ustar; what they have no room for stands in a pax header in front ("pax Interchange Format" in POSIX), extended
//! attributes under the names that GNU tar and libarchive read (`SCHILY.xattr.`). Holes are written out. Sockets are left out,
//! as tar has none.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::header::{BLOCK, Block};
use crate::bytes::to_u64;
use crate::error::{Error, Result, ResultExt, from_io};
use crate::fs::{Entry, FileReader, FileSystem, FileType, FsPath, Node, Timestamp, Xattr, walk};
use crate::progress::{Cancel, Progress};

/// GNU tar fills archives up to whole records of this size.
const RECORD: usize = 10_240;
/// Bytes of the fields for names.
const NAME_BYTES: usize = 100;
/// The largest numbers in eleven and in seven octal digits.
const LONG_MAX: u64 = (1 << 33) - 1;
const SHORT_MAX: u32 = (1 << 21) - 1;
/// Read at once.
const CHUNK: usize = 256 << 10;
/// The name of the header in front, for programs that do not know it.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeSummary {
    /// Entries.
    pub entries: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// Sockets, left out.
    pub skipped: Vec<FsPath>,
}

/// Writes all that is below the root of `fs` to `out`.
///
/// # Errors
/// Those of reading and of writing; [`crate::ErrorKind::Cancelled`].
pub fn write_tree(
    fs: &dyn FileSystem,
    out: &mut dyn Write,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<TreeSummary> {
    let mut job = Job {
        fs,
        out,
        progress,
        cancel,
        names: HashMap::new(),
        summary: TreeSummary::default(),
    };
    walk(fs, &FsPath::root(), &mut |entry| {
        cancel.check()?;
        if entry.path.is_root() {
            return Ok(());
        }
        let place = entry.path.to_string();
        job.entry(&entry).at(|| place)
    })?;
    job.end()?;
    Ok(job.summary)
}

struct Job<'a> {
    fs: &'a dyn FileSystem,
    out: &'a mut dyn Write,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// The first names of what has several.
    names: HashMap<Node, Vec<u8>>,
    summary: TreeSummary,
}

impl Job<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let metadata = &entry.metadata;
        let path = entry.path.as_bytes();
        let mut name = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let mut target = Vec::new();
        let is_dir = metadata.file_type == FileType::Directory;
        let first = match self.names.get(&entry.node) {
            Some(first) if !is_dir => Some(first.clone()),
            _ => None,
        };
        let typeflag = match (&first, metadata.file_type) {
            (Some(first), _) => {
                target.clone_from(first);
                b'1'
            }
            (None, FileType::File) => b'0',
            (None, FileType::Symlink) => {
                target = self.fs.read_link(entry.node)?;
                b'2'
            }
            (None, FileType::CharDevice) => b'3',
            (None, FileType::BlockDevice) => b'4',
            (None, FileType::Directory) => {
                name.push(b'/');
                b'5'
            }
            (None, FileType::Fifo) => b'6',
            (None, FileType::Socket) => {
                self.summary.skipped.push(entry.path.clone());
                return Ok(());
            }
        };
        if first.is_none() && metadata.nlink > 1 && !is_dir {
            self.names.insert(entry.node, name.clone());
        }
        let xattrs = match first {
            Some(_) => Vec::new(),
            None => self.fs.xattrs(entry.node)?,
        };
        let size = if typeflag == b'0' { metadata.size } else { 0 };
        let header = Header {
            name: &name,
            target: &target,
            typeflag,
            mode: metadata.mode,
            owner: (metadata.uid, metadata.gid),
            size,
            mtime: metadata.mtime,
            device: metadata.device,
        };
        let records = header.records(&xattrs);
        if !records.is_empty() {
            let front = Header {
                name: PAX_NAME,
                target: b"",
                typeflag: b'x',
                mode: 0o644,
                owner: (0, 0),
                size: to_u64(records.len()),
                mtime: Timestamp { secs: 0, nanos: 0 },
                device: (0, 0),
            };
            self.write(&front.block())?;
            self.write(&records)?;
            self.fill(BLOCK)?;
        }
        self.write(&header.block())?;
        if typeflag == b'0' {
            self.content(entry.node, size)?;
        }
        self.summary.entries += 1;
        Ok(())
    }

    fn content(&mut self, node: Node, size: u64) -> Result<()> {
        let mut reader = FileReader::new(self.fs.open(node)?).take(size);
        let mut piece = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            self.cancel.check()?;
            let len = match reader.read(&mut piece) {
                Ok(0) => return Err(Error::corrupt("it ends before its size")),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(from_io("reading the content", error)),
            };
            self.write(&piece[..len])?;
            left = left.saturating_sub(to_u64(len));
            self.progress.advance(to_u64(len));
        }
        self.fill(BLOCK)
    }

    fn end(&mut self) -> Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        self.fill(RECORD)?;
        let flushed = self.out.flush();
        flushed.map_err(|error| Error::io("writing the archive", error))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|error| Error::io("writing the archive", error))?;
        self.summary.bytes += to_u64(bytes.len());
        Ok(())
    }

    /// Zeroes up to a multiple of `unit`, at most a record.
    fn fill(&mut self, unit: usize) -> Result<()> {
        let unit_bytes = to_u64(unit);
        let missing = self.summary.bytes.next_multiple_of(unit_bytes) - self.summary.bytes;
        let zeroes = [0; RECORD];
        let len = crate::bytes::to_usize(missing)?;
        self.write(&zeroes[..len])
    }
}

/// What a header tells.
struct Header<'a> {
    name: &'a [u8],
    target: &'a [u8],
    typeflag: u8,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    mtime: Timestamp,
    device: (u32, u32),
}

impl Header<'_> {
    /// The records of the pax header in front; none where ustar tells all.
    fn records(&self, xattrs: &[Xattr]) -> Vec<u8> {
        let mut records = Vec::new();
        if self.name.len() > NAME_BYTES {
            record(&mut records, b"path", self.name);
        }
        if self.target.len() > NAME_BYTES {
            record(&mut records, b"linkpath", self.target);
        }
        if self.size > LONG_MAX {
            record(&mut records, b"size", self.size.to_string().as_bytes());
        }
        for (key, number) in [("uid", self.owner.0), ("gid", self.owner.1)] {
            if number > SHORT_MAX {
                record(&mut records, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        for (key, number) in [("devmajor", self.device.0), ("devminor", self.device.1)] {
            if number > SHORT_MAX {
                let key = format!("SCHILY.{key}");
                record(&mut records, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        if self.seconds().is_none() || self.mtime.nanos > 0 {
            record(&mut records, b"mtime", time(self.mtime).as_bytes());
        }
        for xattr in xattrs {
            let key = [b"SCHILY.xattr.", &xattr.name[..]].concat();
            record(&mut records, &key, &xattr.value);
        }
        records
    }

    /// The time where the header has room for it.
    fn seconds(&self) -> Option<u64> {
        u64::try_from(self.mtime.secs)
            .ok()
            .filter(|&secs| secs <= LONG_MAX)
    }

    fn block(&self) -> Block {
        let mut block = [0; BLOCK];
        put(&mut block[..NAME_BYTES], self.name);
        octal(&mut block[100..108], u64::from(self.mode & 0o7777));
        octal(&mut block[108..116], short(self.owner.0));
        octal(&mut block[116..124], short(self.owner.1));
        let size = if self.size > LONG_MAX { 0 } else { self.size };
        octal(&mut block[124..136], size);
        octal(&mut block[136..148], self.seconds().unwrap_or(0));
        block[156] = self.typeflag;
        put(&mut block[157..257], self.target);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], short(self.device.0));
        octal(&mut block[337..345], short(self.device.1));
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

/// A number that the header has room for, or what stands there while a record in front tells it.
fn short(number: u32) -> u64 {
    if number > SHORT_MAX {
        0
    } else {
        u64::from(number)
    }
}

/// As much of a name as there is room for.
fn put(field: &mut [u8], name: &[u8]) {
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

/// Octal digits with a NUL behind them; the number has no more of them than there is room for.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let text = format!("{number:0digits$o}");
    put(&mut field[..digits], text.as_bytes());
}

/// Appends `LENGTH KEY=VALUE`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len.to_string().len() + rest != len {
        len = len.to_string().len() + rest;
    }
    records.extend_from_slice(len.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Seconds since 1970 as a decimal fraction. Parts of a second count forward from it, also before 1970.
fn time(time: Timestamp) -> String {
    let nanos = time.nanos.min(999_999_999);
    if time.secs >= 0 || nanos == 0 {
        return format!("{}.{nanos:09}", time.secs);
    }
    let whole = time.secs.saturating_add(1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000 - nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [0, 1, 88, 89, 90, 91, 985, 986, 987, 9_983, 9_984] {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; value]);
            let end = records.iter().position(|&byte| byte == b' ').unwrap();
            let len: usize = str::from_utf8(&records[..end]).unwrap().parse().unwrap();
            assert_eq!(len, records.len(), "{value}");
        }
    }

    #[test]
    fn times_before_1970_count_forward() {
        let at = |secs, nanos| time(Timestamp { secs, nanos });
        assert_eq!(at(7, 5), "7.000000005");
        assert_eq!(at(-1, 250_000_000), "-0.750000000");
        assert_eq!(at(-2, 0), "-2.000000000");
        assert_eq!(at(-3, 500_000_000), "-2.500000000");
    }
}
