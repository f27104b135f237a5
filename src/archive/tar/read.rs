//! The reader: one header after another, and the content behind it.

use std::collections::BTreeMap;
use std::io::Read;

use super::content::{Content, Data};
use super::header::{BLOCK, Header, more_sparse, until_nul};
use super::input::{Input, TarEnd, cut_short, padded};
use super::pax::{PAX_MAX, Pax};
use super::sparse::{self, SparseMap};
use super::{TarEntry, TarKind};
use crate::bytes::{is_zero, to_u64};
use crate::error::{Error, Reason, Result, ResultExt};
use crate::fs::Xattr;

/// Longest name or link target: far above the 4096 bytes of a path on Linux, since parts of it may be stripped.
const NAME_MAX: u64 = 1 << 16;

/// Reads an archive from the start to the end; memory is bounded whatever it holds.
///
/// Every error of the format is [`crate::ErrorKind::Corrupt`] (or `Unsupported`) and names the entry and the byte of the
/// unpacked archive. After an error the reader is of no further use.
pub struct TarReader<R> {
    input: Input<R>,
    globals: Pax,
    use_globals: bool,
    data: Data,
    seen_header: bool,
    end: Option<TarEnd>,
}

impl<R> std::fmt::Debug for TarReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarReader")
            .field("offset", &self.input.offset)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Extensions met on the way to the entry they belong to.
#[derive(Default)]
struct Pending {
    /// Where the first of them, or else the entry, begins.
    start: Option<u64>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
    /// Bytes of all extended headers of the entry.
    pax_bytes: u64,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
    }
}

impl<R: Read> TarReader<R> {
    /// Reads `reader`, which is not packed (see [`crate::codec::decoder`]).
    pub fn new(reader: R) -> Self {
        Self {
            input: Input::new(reader),
            globals: Pax::default(),
            use_globals: true,
            data: Data::default(),
            seen_header: false,
            end: None,
        }
    }

    /// Passes over headers for all entries that follow, as Go's reader does, and with it all that read container images.
    pub fn without_globals(self) -> Self {
        Self {
            use_globals: false,
            ..self
        }
    }

    /// The next entry, `None` at the end. What was not read of the content before is passed over.
    pub fn next_entry(&mut self) -> Result<Option<TarEntry>> {
        if self.end.is_some() {
            return Ok(None);
        }
        let data = std::mem::take(&mut self.data);
        self.input.skip(data.left()).at(|| data.place)?;
        let mut pending = Pending::default();
        loop {
            let start = self.input.offset;
            let place = || format!("header at byte {start}");
            let Some(block) = self.input.block()? else {
                self.finish(&pending, TarEnd::Unmarked).at(place)?;
                return Ok(None);
            };
            if is_zero(&block) {
                self.seen_header = true;
                let end = self.input.rest().at(place)?;
                self.finish(&pending, end).at(place)?;
                return Ok(None);
            }
            let header = Header::new(block)
                .map_err(|error| self.not_tar(error))
                .at(place)?;
            self.seen_header = true;
            pending.start.get_or_insert(start);
            if !self.extension(&header, &mut pending).at(place)? {
                return self.entry(&header, pending).map(Some);
            }
        }
    }

    /// The stored bytes of the entry last returned, those of a sparse file one stretch after the other; none for all but files.
    pub fn content(&mut self) -> Content<'_, R> {
        Content {
            input: &mut self.input,
            data: &mut self.data,
        }
    }

    /// How the archive ended; `None` before [`next_entry`](Self::next_entry) has returned `None`.
    pub fn end(&self) -> Option<TarEnd> {
        self.end
    }

    fn finish(&mut self, pending: &Pending, end: TarEnd) -> Result<()> {
        if !pending.is_empty() {
            return Err(cut_short(
                "the archive ends after an extension header, its entry is missing",
            ));
        }
        if !self.seen_header {
            return Err(Error::corrupt("no tar archive: the input is empty"));
        }
        self.end = Some(end);
        Ok(())
    }

    fn not_tar(&self, error: Error) -> Error {
        match self.seen_header {
            true => error,
            false => error
                .with_hint("is it a tar archive, plain or packed with gzip, bzip2, xz or zstd?"),
        }
    }

    /// Takes in a header that says something of the entries behind it; `false` for the header of an entry.
    fn extension(&mut self, header: &Header, pending: &mut Pending) -> Result<bool> {
        match header.typeflag() {
            b'L' => pending.long_name = Some(self.long_name(header)?),
            b'K' => pending.long_link = Some(self.long_name(header)?),
            b'x' | b'X' => {
                let records = self
                    .input
                    .payload(header.size()?, PAX_MAX - pending.pax_bytes)?;
                pending.pax_bytes += to_u64(records.len());
                // Of several in a row the last one counts, as with other readers.
                let mut pax = self.globals.clone();
                pax.read(&records)?;
                pending.pax = Some(pax);
            }
            b'g' if !self.use_globals => self.input.skip(padded(header.size()?))?,
            b'g' => {
                let records = self.input.payload(header.size()?, PAX_MAX)?;
                self.globals.read_global(&records)?;
            }
            // The label of a volume.
            b'V' => self.input.skip(padded(header.size()?))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>> {
        let name = self.input.payload(header.size()?, NAME_MAX)?;
        Ok(until_nul(&name).to_vec())
    }

    fn entry(&mut self, header: &Header, pending: Pending) -> Result<TarEntry> {
        let offset = pending.start.unwrap_or(self.input.offset);
        let mut pax = pending.pax.unwrap_or_else(|| self.globals.clone());
        let path = pax
            .sparse
            .name
            .take()
            .or(pax.path.take())
            .or(pending.long_name)
            .unwrap_or_else(|| header.path());
        let place = place(&path, offset);
        let target = pax
            .linkpath
            .take()
            .or(pending.long_link)
            .unwrap_or_else(|| header.linkname());
        self.describe(header, path, target, pax, offset)
            .at(|| place.clone())
            .inspect(|_| self.data.place = place)
    }

    fn describe(
        &mut self,
        header: &Header,
        path: Vec<u8>,
        target: Vec<u8>,
        pax: Pax,
        offset: u64,
    ) -> Result<TarEntry> {
        for name in [&path, &target] {
            if to_u64(name.len()) > NAME_MAX {
                return Err(Error::corrupt(format!(
                    "a name of {} bytes, at most {NAME_MAX} are handled",
                    name.len()
                )));
            }
        }
        if path.is_empty() {
            return Err(Error::corrupt("the entry has no name"));
        }
        let kind = self.kind(header, &path, target, &pax)?;
        let xattrs = |xattrs: BTreeMap<Vec<u8>, Vec<u8>>| {
            xattrs
                .into_iter()
                .map(|(name, value)| Xattr { name, value })
                .collect()
        };
        Ok(TarEntry {
            path,
            kind,
            mode: header.mode()?,
            uid: pax.uid.map_or_else(|| header.uid(), Ok)?,
            gid: pax.gid.map_or_else(|| header.gid(), Ok)?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            has_text_acls: pax.acls,
            xattrs: xattrs(pax.xattrs),
            offset,
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        path: &[u8],
        target: Vec<u8>,
        pax: &Pax,
    ) -> Result<TarKind> {
        let size = || pax.size.map_or_else(|| header.size(), Ok);
        let device = || {
            let (major, minor) = header.device()?;
            Ok((pax.device.0.unwrap_or(major), pax.device.1.unwrap_or(minor)))
        };
        let kind = match header.typeflag() {
            // Archives from before ustar have directories as files whose name ends with a slash.
            0 | b'0' | b'7' if path.ends_with(b"/") => {
                self.data = Data::new(size()?, false);
                TarKind::Directory
            }
            0 | b'0' | b'7' => self.file(header, size()?, pax)?,
            b'S' => self.gnu_sparse_file(header, size()?, pax)?,
            b'1' => TarKind::HardLink { target },
            b'2' => TarKind::Symlink { target },
            b'3' => device().map(|(major, minor)| TarKind::CharDevice(major, minor))?,
            b'4' => device().map(|(major, minor)| TarKind::BlockDevice(major, minor))?,
            b'5' => TarKind::Directory,
            b'6' => TarKind::Fifo,
            // A directory of an incremental backup, with the names of its entries.
            b'D' => {
                self.data = Data::new(size()?, false);
                TarKind::Directory
            }
            b'M' => {
                return Err(unknown_type(
                    "the continuation of a file from another volume",
                ));
            }
            other => {
                return Err(unknown_type(&format!(
                    "of the type '{}'",
                    char::from(other).escape_debug()
                )));
            }
        };
        match &kind {
            TarKind::HardLink { target } | TarKind::Symlink { target } if target.is_empty() => {
                Err(Error::corrupt("a link without a target"))
            }
            _ => Ok(kind),
        }
    }

    fn file(&mut self, header: &Header, stored: u64, pax: &Pax) -> Result<TarKind> {
        if !pax.sparse.is_used() {
            self.data = Data::new(stored, true);
            return Ok(TarKind::File {
                size: stored,
                sparse: None,
            });
        }
        let size = pax
            .sparse
            .realsize
            .ok_or_else(|| Error::corrupt("a sparse file without its size"))?;
        let (map, stored) = match (pax.sparse.major, pax.sparse.minor) {
            (None | Some(0), _) => (sparse::from_records(&pax.sparse, size, stored)?, stored),
            (Some(1), None | Some(0)) => {
                // The map is counted in the size that the header gives.
                let mut rest = stored;
                let pairs = sparse::from_data(|| {
                    rest = rest
                        .checked_sub(to_u64(BLOCK))
                        .ok_or_else(|| cut_short("the sparse map has no end"))?;
                    self.input
                        .block()?
                        .ok_or_else(|| cut_short("the archive ends within a sparse map"))
                })?;
                (SparseMap::new(pairs, size, rest)?, rest)
            }
            (major, minor) => {
                let version = format!(
                    "{}.{}",
                    major.unwrap_or_default(),
                    minor.unwrap_or_default()
                );
                return Err(Error::unsupported(format!(
                    "GNU sparse format {version}, 0.0 to 1.0 are known"
                ))
                .because(Reason::Version));
            }
        };
        if header.typeflag() == b'7' {
            return Err(Error::corrupt("a contiguous file that is sparse"));
        }
        self.data = Data::new(stored, true);
        Ok(TarKind::File {
            size,
            sparse: Some(map),
        })
    }

    fn gnu_sparse_file(&mut self, header: &Header, stored: u64, pax: &Pax) -> Result<TarKind> {
        if pax.sparse.is_used() {
            return Err(Error::corrupt("a file with two sparse maps"));
        }
        let (mut pairs, mut more) = header.sparse()?;
        while more {
            let block = self
                .input
                .block()?
                .ok_or_else(|| cut_short("the archive ends within a sparse map"))?;
            let (next, after) = more_sparse(&block)?;
            pairs.extend(next);
            sparse::check_count(to_u64(pairs.len()))?;
            more = after;
        }
        let size = header.realsize()?;
        let map = SparseMap::new(pairs, size, stored)?;
        self.data = Data::new(stored, true);
        Ok(TarKind::File {
            size,
            sparse: Some(map),
        })
    }
}

fn unknown_type(what: &str) -> Error {
    Error::unsupported(format!("an entry that is {what}")).with_hint(
        "make the archive again with GNU tar, bsdtar or any other program that writes ustar or pax",
    )
}

/// How errors name an entry.
pub(super) fn place(path: &[u8], offset: u64) -> String {
    format!("entry '{}' at byte {offset}", shown(path))
}

/// A name for people: at most 200 characters of it, and nothing a terminal would obey.
pub(in crate::archive) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(800)]);
    let mut shown: String = text
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(200).is_some() || name.len() > 800 {
        shown.push('…');
    }
    shown
}
