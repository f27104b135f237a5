//! Where a program finds its dynamic linker and its libraries, rewritten.
//!
//! ```text
//!   before    │ header │ … │ .interp │ .dynstr │ … │ .dynamic │ … │ sections │
//!   after     │ header │ … │ (old)   │ (old)   │ … │ .dynamic │ … │ sections │ hole │ program headers, path, names, tags │
//!                 └── e_phoff ──────────────────────────────────────────────────────▶└──── one more PT_LOAD ────────────┘
//! ```
//!
//! Nothing of the file moves, so all addresses in it stay true. What must grow is put behind it into a segment of its own:
//! the program headers, of which there is one more, the path of the linker, and a copy of all names with new ones at its
//! end. The tags stay where they are as long as there is room, which linkers leave; else they go along, and the segment can be
//! written. The segment's address and offset differ by as much as those of the first one do, since kernels before 5.18 tell
//! programs where their headers are by that.
//!
//! Only files of 64 bits for x86-64 and arm64 are rewritten. Names and numbers are those of the System V ABI, chapters 4 and
//! 5, and of the gABI's Linux extensions.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{
    DYNAMIC, DYNAMIC_MAX, EXECUTABLE, Elf, HEADER_BYTES, INTERP, LOAD, MAGIC, NEEDED, NULL_TAG,
    RPATH, RUNPATH, SEGMENTS_MAX, SHARED, STRSZ, STRTAB, Segment, bytes, offset_of, read, too_far,
};
use crate::bytes::{align_up, structure, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::{FileRead, Stretch};

/// `PT_PHDR`
const HEADERS: u32 = 6;
/// `PF_R`, `PF_W`
const READABLE: u32 = 4;
const WRITABLE: u32 = 2;
/// `DT_FLAGS_1`, and `DF_1_NODEFLIB` of its bits.
const FLAGS_1: u64 = 0x6fff_fffb;
const NO_DEFAULT_LIBRARIES: u64 = 0x800;
/// `SHT_PROGBITS`, `SHT_STRTAB`, `SHT_DYNAMIC`
const CONTENT_SECTION: u32 = 1;
const NAMES_SECTION: u32 = 3;
const TAGS_SECTION: u32 = 6;
/// `EM_X86_64` and `EM_AARCH64`, each with the largest page of its machines.
const PAGES: [(u16, u64); 2] = [(62, 4096), (183, 65_536)];
/// Bytes of all names of one file; those of large C++ libraries have some MiB.
const STRINGS_MAX: u64 = 64 << 20;
/// Bytes of memory behind the last that is stored, which become a hole; real programs have some MiB.
const HOLE_MAX: u64 = 1 << 30;
/// Bytes of a program header, a section header and a tag.
const SEGMENT_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
const TAG_BYTES: usize = 16;

structure! {
    /// `Elf64_Ehdr`.
    struct FileHeader: "ELF header", Little, 64 {
        16 => e_type: u16,
        18 => e_machine: u16,
        32 => e_phoff / set_e_phoff: u64,
        40 => e_shoff: u64,
        54 => e_phentsize: u16,
        56 => e_phnum / set_e_phnum: u16,
        58 => e_shentsize: u16,
        60 => e_shnum: u16,
    }
}

structure! {
    /// `Elf64_Phdr`.
    struct ProgramHeader: "ELF program header", Little, 56 {
        0 => p_type / set_p_type: u32,
        4 => p_flags / set_p_flags: u32,
        8 => p_offset / set_p_offset: u64,
        16 => p_vaddr / set_p_vaddr: u64,
        24 => p_paddr / set_p_paddr: u64,
        32 => p_filesz / set_p_filesz: u64,
        40 => p_memsz / set_p_memsz: u64,
        48 => p_align / set_p_align: u64,
    }
}

structure! {
    /// `Elf64_Shdr`.
    struct SectionHeader: "ELF section header", Little, 64 {
        4 => sh_type: u32,
        16 => sh_addr / set_sh_addr: u64,
        24 => sh_offset / set_sh_offset: u64,
        32 => sh_size / set_sh_size: u64,
    }
}

structure! {
    /// `Elf64_Dyn`.
    struct Tag: "ELF tag", Little, 16 {
        0 => d_tag / set_d_tag: u64,
        8 => d_val / set_d_val: u64,
    }
}

/// What becomes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The path of the dynamic linker, for files that name one.
    pub interpreter: String,
    /// Folders where libraries are looked for (`DT_RUNPATH`), and nowhere else (`DF_1_NODEFLIB`).
    pub search: Vec<String>,
    /// Libraries that are needed under another name.
    pub needed: BTreeMap<String, String>,
}

/// A file as it is after a [`Change`]: the old bytes with some of them replaced, and more behind them.
pub struct Edited<'a> {
    file: Box<dyn FileRead + 'a>,
    /// Offsets with what stands there now.
    patches: Vec<(u64, Vec<u8>)>,
    /// Where the new segment begins, behind a hole.
    start: u64,
    tail: Vec<u8>,
}

/// Rewrites a dynamic program or library.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for files that are not rewritten: static ones, those for other machines or of more of
/// something than is read; [`crate::ErrorKind::Corrupt`] for headers that contradict one another; those of reading.
pub fn edit<'a>(file: Box<dyn FileRead + 'a>, change: &Change) -> Result<Edited<'a>> {
    let old = Parts::read(&*file)?;
    let mut strings = old.strings.clone();
    if strings.last() != Some(&0) {
        strings.push(0);
    }
    let mut add = |name: &str| {
        let at = to_u64(strings.len());
        strings.extend_from_slice(name.as_bytes());
        strings.push(0);
        at
    };
    let search = add(&change.search.join(":"));
    let mut names = BTreeMap::new();
    for (name, new) in &change.needed {
        names.insert(name.as_bytes(), add(new));
    }
    let mut tags = old.tags_with(search, &names);

    let interpreter = [change.interpreter.as_bytes(), &[0]].concat();
    let headers_bytes = to_u64((old.headers.len() + 1) * SEGMENT_BYTES);
    let tags_bytes = to_u64((tags.len() + 1) * TAG_BYTES);
    let tags_stay = tags_bytes <= old.dynamic.file_bytes;
    let room = old.room(file.size())?;
    let place = |into: u64, bytes: u64| Range {
        offset: room.offset + into,
        address: room.address + into,
        bytes,
    };
    let interpreter_at = headers_bytes;
    let strings_at = interpreter_at + to_u64(interpreter.len());
    let strings_end = strings_at + to_u64(strings.len());
    let tags_at = align_up(strings_end, 8).ok_or_else(too_far)?;
    let segment_bytes = if tags_stay {
        strings_end
    } else {
        tags_at + tags_bytes
    };
    let moved = Moved {
        headers: place(0, headers_bytes),
        interpreter: place(interpreter_at, to_u64(interpreter.len())),
        strings: place(strings_at, to_u64(strings.len())),
        tags: (!tags_stay).then(|| place(tags_at, tags_bytes)),
    };
    for (tag, value) in &mut tags {
        match *tag {
            STRTAB => *value = moved.strings.address,
            STRSZ => *value = moved.strings.bytes,
            _ => {}
        }
    }

    let segment = NewSegment {
        place: place(0, segment_bytes),
        page: room.page,
        flags: if tags_stay {
            READABLE
        } else {
            READABLE | WRITABLE
        },
    };
    let mut tail = old.new_headers(&moved, &segment);
    tail.extend_from_slice(&interpreter);
    tail.extend_from_slice(&strings);
    let mut patches = vec![(0, old.new_file_header(&moved)?)];
    let tags = stored_tags(&tags, old.dynamic.file_bytes.max(tags_bytes))?;
    if tags_stay {
        patches.push((old.dynamic.offset, tags));
    } else {
        tail.resize(to_usize(tags_at)?, 0);
        tail.extend_from_slice(&tags[..to_usize(tags_bytes)?]);
    }
    patches.extend(old.new_sections(&*file, &moved)?);
    let edited = Edited {
        file,
        patches,
        start: room.offset,
        tail,
    };
    edited.check(change)?;
    Ok(edited)
}

/// Where something lies in the file and in memory.
#[derive(Debug, Clone, Copy)]
struct Range {
    offset: u64,
    address: u64,
    bytes: u64,
}

/// Where the new segment begins.
struct Room {
    offset: u64,
    address: u64,
    page: u64,
}

/// What lies in the new segment.
struct Moved {
    headers: Range,
    interpreter: Range,
    strings: Range,
    tags: Option<Range>,
}

struct NewSegment {
    place: Range,
    page: u64,
    flags: u32,
}

/// What a file has of what is rewritten.
struct Parts {
    file_header: FileHeader<Vec<u8>>,
    headers: Vec<ProgramHeader<Vec<u8>>>,
    segments: Vec<Segment>,
    dynamic: Segment,
    tags: Vec<(u64, u64)>,
    strings: Vec<u8>,
    strings_address: u64,
    page: u64,
}

impl Parts {
    fn read(file: &dyn FileRead) -> Result<Self> {
        let head = bytes(file, 0, to_u64(HEADER_BYTES))?;
        let is_wide_and_little = head.starts_with(MAGIC) && head[4..6] == [2, 1];
        if !is_wide_and_little {
            return Err(not_rewritten(
                "no ELF file of 64 bits in little-endian order",
            ));
        }
        let file_header = FileHeader::over(head)?;
        let machine = file_header.e_machine();
        let page = PAGES.iter().find(|(known, _)| *known == machine);
        let Some((_, page)) = page else {
            let machine = super::architecture(machine);
            return Err(not_rewritten(&format!("a file for {machine}")));
        };
        if !matches!(file_header.e_type(), EXECUTABLE | SHARED) {
            return Err(not_rewritten("a file that is not loaded"));
        }
        let count = file_header.e_phnum();
        if count > SEGMENTS_MAX || usize::from(file_header.e_phentsize()) != SEGMENT_BYTES {
            return Err(not_rewritten(&format!(
                "a file with {count} program headers of {} bytes",
                file_header.e_phentsize()
            )));
        }
        let len = u64::from(count) * to_u64(SEGMENT_BYTES);
        let table = bytes(file, file_header.e_phoff(), len)?;
        let headers: Result<Vec<_>> = table
            .chunks_exact(SEGMENT_BYTES)
            .map(|header| ProgramHeader::over(header.to_vec()))
            .collect();
        let headers = headers?;
        let segments: Vec<Segment> = headers
            .iter()
            .map(|header| Segment {
                kind: header.p_type(),
                offset: header.p_offset(),
                address: header.p_vaddr(),
                file_bytes: header.p_filesz(),
            })
            .collect();
        let dynamic = segments.iter().find(|segment| segment.kind == DYNAMIC);
        let Some(&dynamic) = dynamic else {
            return Err(not_rewritten("a static file"));
        };
        if dynamic.file_bytes > DYNAMIC_MAX {
            return Err(not_rewritten(&format!(
                "a file with {} bytes of tags",
                dynamic.file_bytes
            )));
        }
        let table = bytes(file, dynamic.offset, dynamic.file_bytes)?;
        let mut tags = Vec::new();
        for entry in table.chunks_exact(TAG_BYTES) {
            let tag = Tag::over(entry)?;
            if tag.d_tag() == NULL_TAG {
                break;
            }
            tags.push((tag.d_tag(), tag.d_val()));
        }
        let last = |wanted: u64| {
            let found = tags.iter().rev().find(|(tag, _)| *tag == wanted);
            found.map(|(_, value)| *value)
        };
        let (Some(strings_address), Some(strings_bytes)) = (last(STRTAB), last(STRSZ)) else {
            return Err(Error::corrupt(
                "an ELF file with tags, but without names for them",
            ));
        };
        if strings_bytes > STRINGS_MAX {
            return Err(not_rewritten(&format!(
                "a file with {strings_bytes} bytes of names"
            )));
        }
        let strings_offset = offset_of(&segments, strings_address)?;
        let strings = bytes(file, strings_offset, strings_bytes)?;
        Ok(Self {
            file_header,
            headers,
            segments,
            dynamic,
            tags,
            strings,
            strings_address,
            page: *page,
        })
    }

    /// The name at a place of the table.
    fn name(&self, at: u64) -> Option<&[u8]> {
        let from = self.strings.get(usize::try_from(at).ok()?..)?;
        from.split(|&byte| byte == 0).next()
    }

    /// The tags with the new search path at `search` and with new names.
    fn tags_with(&self, search: u64, names: &BTreeMap<&[u8], u64>) -> Vec<(u64, u64)> {
        let mut tags = Vec::new();
        let mut has_flags = false;
        for &(tag, value) in &self.tags {
            match tag {
                RPATH | RUNPATH => {}
                FLAGS_1 => {
                    has_flags = true;
                    tags.push((tag, value | NO_DEFAULT_LIBRARIES));
                }
                NEEDED => {
                    let new = self.name(value).and_then(|name| names.get(name));
                    tags.push((tag, new.copied().unwrap_or(value)));
                }
                _ => tags.push((tag, value)),
            }
        }
        tags.push((RUNPATH, search));
        if !has_flags {
            tags.push((FLAGS_1, NO_DEFAULT_LIBRARIES));
        }
        tags
    }

    /// Where there is room behind everything, in a file of `len` bytes and in memory.
    fn room(&self, len: u64) -> Result<Room> {
        let loaded = self.headers.iter().filter(|header| header.p_type() == LOAD);
        let mut memory_end = 0;
        let mut base = None;
        for header in loaded {
            let end = header.p_vaddr().checked_add(header.p_memsz());
            memory_end = end.ok_or_else(too_far)?.max(memory_end);
            let own = header.p_vaddr().checked_sub(header.p_offset());
            base.get_or_insert(own);
        }
        let base = base.flatten().filter(|base| base.is_multiple_of(self.page));
        let base = base.ok_or_else(|| {
            not_rewritten("a file whose first segment has no address that fits its offset")
        })?;
        let least = memory_end.saturating_sub(base).max(len);
        let offset = align_up(least, self.page).ok_or_else(too_far)?;
        if offset - len > HOLE_MAX {
            return Err(not_rewritten(&format!(
                "a file with {} bytes of memory behind it",
                offset - len
            )));
        }
        let address = offset.checked_add(base).ok_or_else(too_far)?;
        // The new segment itself has to fit, too.
        address
            .checked_add(2 * STRINGS_MAX)
            .map(|_| Room {
                offset,
                address,
                page: self.page,
            })
            .ok_or_else(too_far)
    }

    fn new_file_header(&self, moved: &Moved) -> Result<Vec<u8>> {
        let mut header = self.file_header.clone();
        header.set_e_phoff(moved.headers.offset);
        let count = u16::try_from(self.headers.len() + 1);
        let count = count.map_err(|_| Error::internal("the number of headers is bounded"))?;
        header.set_e_phnum(count);
        Ok(header.0)
    }

    fn new_headers(&self, moved: &Moved, segment: &NewSegment) -> Vec<u8> {
        let mut all = Vec::new();
        for header in &self.headers {
            let mut header = header.clone();
            match header.p_type() {
                HEADERS => header.put(moved.headers),
                INTERP => header.put(moved.interpreter),
                DYNAMIC => {
                    if let Some(tags) = moved.tags {
                        header.put(tags);
                    }
                }
                _ => {}
            }
            all.extend_from_slice(&header.0);
        }
        let mut header = ProgramHeader::zeroed();
        header.set_p_type(LOAD);
        header.set_p_flags(segment.flags);
        header.set_p_align(segment.page);
        header.put(segment.place);
        all.extend_from_slice(&header.0);
        all
    }

    /// The section headers with the new places, for the programs that look at those; nothing where there are none.
    fn new_sections(&self, file: &dyn FileRead, moved: &Moved) -> Result<Option<(u64, Vec<u8>)>> {
        let header = &self.file_header;
        let len = u64::from(header.e_shnum()) * to_u64(SECTION_BYTES);
        let end = header.e_shoff().checked_add(len);
        let is_there = header.e_shoff() > 0
            && usize::from(header.e_shentsize()) == SECTION_BYTES
            && end.is_some_and(|end| end <= file.size());
        if !is_there {
            return Ok(None);
        }
        let interpreter = self.segments.iter().find(|segment| segment.kind == INTERP);
        let mut all = Vec::new();
        for section in bytes(file, header.e_shoff(), len)?.chunks_exact(SECTION_BYTES) {
            let mut section = SectionHeader::over(section.to_vec())?;
            let address = section.sh_addr();
            let new = match section.sh_type() {
                NAMES_SECTION if address == self.strings_address => Some(moved.strings),
                TAGS_SECTION => moved.tags,
                CONTENT_SECTION => interpreter
                    .filter(|old| old.address == address && old.file_bytes == section.sh_size())
                    .map(|_| moved.interpreter),
                _ => None,
            };
            if let Some(new) = new {
                section.set_sh_addr(new.address);
                section.set_sh_offset(new.offset);
                section.set_sh_size(new.bytes);
            }
            all.extend_from_slice(&section.0);
        }
        Ok(Some((header.e_shoff(), all)))
    }
}

impl ProgramHeader<Vec<u8>> {
    fn put(&mut self, range: Range) {
        self.set_p_offset(range.offset);
        self.set_p_vaddr(range.address);
        self.set_p_paddr(range.address);
        self.set_p_filesz(range.bytes);
        self.set_p_memsz(range.bytes);
    }
}

/// Tags as they are stored, filled up with empty ones.
fn stored_tags(tags: &[(u64, u64)], len: u64) -> Result<Vec<u8>> {
    let mut stored = Vec::new();
    for &(tag, value) in tags {
        let mut entry = Tag::zeroed();
        entry.set_d_tag(tag);
        entry.set_d_val(value);
        stored.extend_from_slice(&entry.0);
    }
    stored.resize(to_usize(len)?, 0);
    Ok(stored)
}

fn not_rewritten(what: &str) -> Error {
    Error::unsupported(format!(
        "{what}: rewritten are dynamic programs and libraries for x86-64 and arm64"
    ))
    .because(Reason::Feature)
}

impl Edited<'_> {
    /// Bytes that are stored; between them lies a hole.
    pub fn stored(&self) -> [Stretch; 2] {
        [
            Stretch {
                offset: 0,
                len: self.file.size(),
            },
            Stretch {
                offset: self.start,
                len: to_u64(self.tail.len()),
            },
        ]
    }

    /// What is stored, one stretch after the other.
    pub fn content(&self) -> impl Read + '_ {
        let old = Old {
            edited: self,
            position: 0,
        };
        old.chain(&self.tail[..])
    }

    /// Reads it again: whoever loads the file must find what was asked for.
    fn check(&self, change: &Change) -> Result<()> {
        let contradicts = || Error::corrupt("ELF headers that do not say the same when rewritten");
        let new = read(self)?.ok_or_else(contradicts)?;
        let old = read(&*self.file)?.ok_or_else(contradicts)?;
        let renamed = |name: &String| change.needed.get(name).unwrap_or(name).clone();
        let expected = Elf {
            interpreter: old.interpreter.as_ref().map(|_| change.interpreter.clone()),
            needed: old.needed.iter().map(renamed).collect(),
            search: change.search.clone(),
            ..old
        };
        if new == expected {
            return Ok(());
        }
        Err(contradicts())
    }
}

/// The part that there was before.
struct Old<'a> {
    edited: &'a Edited<'a>,
    position: u64,
}

impl Read for Old<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.edited.file.size() - self.position;
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.edited.read_at(self.position, &mut buf[..len])?;
        self.position += to_u64(len);
        Ok(len)
    }
}

impl FileRead for Edited<'_> {
    fn size(&self) -> u64 {
        self.start + to_u64(self.tail.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        crate::fs::check_within(self.size(), offset, buf)?;
        let old_len = self.file.size();
        let kept = to_usize(old_len.saturating_sub(offset).min(to_u64(buf.len())))?;
        self.file.read_at(offset.min(old_len), &mut buf[..kept])?;
        buf[kept..].fill(0);
        let mut put = |at: u64, bytes: &[u8]| {
            // What of `bytes` lies before the buffer, and what of the buffer before them.
            let skipped = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
            let before = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
            let (Some(bytes), Some(room)) = (bytes.get(skipped..), buf.get_mut(before..)) else {
                return;
            };
            let len = bytes.len().min(room.len());
            room[..len].copy_from_slice(&bytes[..len]);
        };
        for (at, bytes) in &self.patches {
            put(*at, bytes);
        }
        put(self.start, &self.tail);
        Ok(())
    }
}

impl std::fmt::Debug for Edited<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edited")
            .field("start", &self.start)
            .field("tail", &self.tail.len())
            .finish_non_exhaustive()
    }
}
