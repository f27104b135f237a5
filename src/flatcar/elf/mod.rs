//! What the header of an ELF file says: for which machine it is, and what the dynamic linker must find for it.
//!
//! ```text
//!   ELF header ─▶ program headers ─▶ PT_INTERP             the dynamic linker's path
//!                       │         └▶ PT_DYNAMIC ─▶ tags    DT_NEEDED, DT_RUNPATH … are places in
//!                       └▶ PT_LOAD: addresses ─▶ offsets ─▶ DT_STRTAB
//! ```
//!
//! Numbers and names are those of the System V ABI, chapters 4 and 5. Sections are not looked at: the kernel and the dynamic
//! linker do not, either.

mod edit;

pub use edit::{Change, Edited, edit};

use crate::bytes::{Fields, to_u64, to_usize};
use crate::error::{Error, Reason, Result};
use crate::fs::FileRead;

const MAGIC: &[u8] = b"\x7fELF";
/// Bytes of the longer of the two headers.
const HEADER_BYTES: usize = 64;
/// Program headers; real files have some ten.
const SEGMENTS_MAX: u16 = 512;
/// Bytes of the table of tags; real ones have below 2 KiB.
const DYNAMIC_MAX: u64 = 256 << 10;
/// Names of one file that are read, and bytes of one name; Linux has no longer paths.
const NAMES_MAX: usize = 4096;
const NAME_MAX: u64 = 4096;

/// `PT_*`
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERP: u32 = 3;
/// `DT_*`
const NULL_TAG: u64 = 0;
const NEEDED: u64 = 1;
const STRTAB: u64 = 5;
const STRSZ: u64 = 10;
const SONAME: u64 = 14;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;
/// `ET_EXEC`, `ET_DYN`
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;

/// What is known of an ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// Whether addresses have 64 bits.
    pub is_64: bool,
    /// Whether it can be loaded: a program or a shared object, not one for the linker or the kernel's modules.
    pub is_loadable: bool,
    /// The dynamic linker that starts it (`PT_INTERP`); none in static programs and in libraries.
    pub interpreter: Option<String>,
    /// The libraries it needs (`DT_NEEDED`), in its order.
    pub needed: Vec<String>,
    /// The name it has as a library (`DT_SONAME`).
    pub soname: Option<String>,
    /// Folders where libraries are looked for first (`DT_RUNPATH`, else `DT_RPATH`), with `$ORIGIN` as it is written.
    pub search: Vec<String>,
}

impl Elf {
    /// The machine in systemd's words (`x86-64`, `arm64`), or with its number.
    pub fn architecture(&self) -> String {
        architecture(self.machine)
    }
}

/// `e_machine` in systemd's words, or with its number.
pub fn architecture(machine: u16) -> String {
    match machine {
        62 => "x86-64".to_owned(),
        183 => "arm64".to_owned(),
        3 => "x86".to_owned(),
        40 => "arm".to_owned(),
        243 => "riscv".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

/// Reads the headers of `file`; `None` where it is no ELF file.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] for headers that contradict one another, [`crate::ErrorKind::Unsupported`] for more of
/// something than is read; those of reading.
pub fn read(file: &dyn FileRead) -> Result<Option<Elf>> {
    let len = to_usize(file.size().min(to_u64(HEADER_BYTES)))?;
    let mut head = vec![0; len];
    file.read_at(0, &mut head)?;
    if !head.starts_with(MAGIC) {
        return Ok(None);
    }
    let order = Order::of(&head)?;
    let header = order.numbers("ELF header", &head);
    let mut elf = Elf {
        machine: header.u16(18)?,
        is_64: order.is_64,
        is_loadable: matches!(header.u16(16)?, EXECUTABLE | SHARED),
        interpreter: None,
        needed: Vec::new(),
        soname: None,
        search: Vec::new(),
    };
    if !elf.is_loadable {
        return Ok(Some(elf));
    }
    let segments = segments(file, order, &header)?;
    if let Some(segment) = segments.iter().find(|segment| segment.kind == INTERP) {
        elf.interpreter = Some(string(file, segment.offset, segment.file_bytes)?);
    }
    if let Some(dynamic) = segments.iter().find(|segment| segment.kind == DYNAMIC) {
        read_dynamic(file, order, &segments, dynamic, &mut elf)?;
    }
    Ok(Some(elf))
}

/// How numbers are stored.
#[derive(Debug, Clone, Copy)]
struct Order {
    is_64: bool,
    is_big: bool,
}

impl Order {
    fn of(head: &[u8]) -> Result<Self> {
        let fields = Fields::new("ELF header", head);
        let class = fields.u8(4)?;
        let data = fields.u8(5)?;
        if !matches!((class, data), (1 | 2, 1 | 2)) {
            return Err(Error::corrupt(format!(
                "ELF class {class} with byte order {data}: both must be 1 or 2"
            )));
        }
        Ok(Self {
            is_64: class == 2,
            is_big: data == 2,
        })
    }

    fn numbers<'a>(self, what: &'static str, bytes: &'a [u8]) -> Numbers<'a> {
        Numbers {
            fields: Fields::new(what, bytes),
            order: self,
        }
    }

    /// `narrow` in files of 32 bits, else `wide`.
    fn place(self, narrow: usize, wide: usize) -> usize {
        if self.is_64 { wide } else { narrow }
    }
}

/// Reads numbers of either order.
struct Numbers<'a> {
    fields: Fields<'a>,
    order: Order,
}

impl Numbers<'_> {
    fn u16(&self, offset: usize) -> Result<u16> {
        let bytes = self.fields.array(offset)?;
        Ok(if self.order.is_big {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        })
    }

    fn u32(&self, offset: usize) -> Result<u32> {
        if self.order.is_big {
            self.fields.be32(offset)
        } else {
            self.fields.le32(offset)
        }
    }

    /// An address, offset or size: of 32 bits in files of 32 bits.
    fn word(&self, offset: usize) -> Result<u64> {
        match (self.order.is_64, self.order.is_big) {
            (false, _) => self.u32(offset).map(u64::from),
            (true, true) => self.fields.be64(offset),
            (true, false) => self.fields.le64(offset),
        }
    }
}

/// What a program header says.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_bytes: u64,
}

fn segments(file: &dyn FileRead, order: Order, header: &Numbers<'_>) -> Result<Vec<Segment>> {
    let start = header.word(order.place(28, 32))?;
    let entry_bytes = header.u16(order.place(42, 54))?;
    let count = header.u16(order.place(44, 56))?;
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > SEGMENTS_MAX {
        return Err(Error::unsupported(format!(
            "an ELF file with {count} program headers: at most {SEGMENTS_MAX} are read"
        ))
        .because(Reason::Limit));
    }
    let least = order.place(32, 56);
    if usize::from(entry_bytes) < least {
        return Err(Error::corrupt(format!(
            "ELF program headers of {entry_bytes} bytes: must be at least {least}"
        )));
    }
    let len = u64::from(entry_bytes) * u64::from(count);
    let table = bytes(file, start, len)?;
    let segment = |entry: &[u8]| {
        let fields = order.numbers("ELF program header", entry);
        Ok(Segment {
            kind: fields.u32(0)?,
            offset: fields.word(order.place(4, 8))?,
            address: fields.word(order.place(8, 16))?,
            file_bytes: fields.word(order.place(16, 32))?,
        })
    };
    table
        .chunks(usize::from(entry_bytes))
        .map(segment)
        .collect()
}

/// Where the names that tags refer to lie.
#[derive(Debug, Clone, Copy)]
struct Strings {
    offset: u64,
    len: u64,
}

impl Strings {
    fn get(self, file: &dyn FileRead, at: u64) -> Result<String> {
        let left = self.len.checked_sub(at).filter(|&left| left > 0);
        let left = left.ok_or_else(|| {
            Error::corrupt(format!(
                "an ELF name at {at} of a table of {} bytes",
                self.len
            ))
        })?;
        let offset = self.offset.checked_add(at).ok_or_else(too_far)?;
        string(file, offset, left)
    }
}

fn read_dynamic(
    file: &dyn FileRead,
    order: Order,
    segments: &[Segment],
    dynamic: &Segment,
    elf: &mut Elf,
) -> Result<()> {
    if dynamic.file_bytes > DYNAMIC_MAX {
        return Err(Error::unsupported(format!(
            "an ELF table of {} bytes of tags: at most {DYNAMIC_MAX} are read",
            dynamic.file_bytes
        ))
        .because(Reason::Limit));
    }
    let table = bytes(file, dynamic.offset, dynamic.file_bytes)?;
    let tags = tags(order, &table)?;
    let last = |wanted: u64| {
        let found = tags.iter().rev().find(|(tag, _)| *tag == wanted);
        found.map(|(_, value)| *value)
    };
    let Some(address) = last(STRTAB) else {
        return Ok(());
    };
    let strings = Strings {
        offset: offset_of(segments, address)?,
        len: last(STRSZ).unwrap_or(0),
    };
    let needed: Vec<u64> = tags
        .iter()
        .filter(|(tag, _)| *tag == NEEDED)
        .map(|(_, value)| *value)
        .collect();
    if needed.len() > NAMES_MAX {
        return Err(Error::unsupported(format!(
            "an ELF file that needs {} libraries: at most {NAMES_MAX} are read",
            needed.len()
        ))
        .because(Reason::Limit));
    }
    for at in needed {
        elf.needed.push(strings.get(file, at)?);
    }
    if let Some(at) = last(SONAME) {
        elf.soname = Some(strings.get(file, at)?);
    }
    if let Some(at) = last(RUNPATH).or_else(|| last(RPATH)) {
        let folders = strings.get(file, at)?;
        let folders = folders.split(':').filter(|folder| !folder.is_empty());
        elf.search = folders.take(NAMES_MAX).map(str::to_owned).collect();
    }
    Ok(())
}

/// Tags with their values, up to the one that ends them.
fn tags(order: Order, table: &[u8]) -> Result<Vec<(u64, u64)>> {
    let width = order.place(4, 8);
    let mut tags = Vec::new();
    for entry in table.chunks_exact(2 * width) {
        let fields = order.numbers("ELF dynamic table", entry);
        let tag = fields.word(0)?;
        if tag == NULL_TAG {
            break;
        }
        tags.push((tag, fields.word(width)?));
    }
    Ok(tags)
}

/// The offset in the file of what is loaded to `address`.
fn offset_of(segments: &[Segment], address: u64) -> Result<u64> {
    let within = |segment: &&Segment| {
        let into = address.checked_sub(segment.address);
        segment.kind == LOAD && into.is_some_and(|into| into < segment.file_bytes)
    };
    let segment = segments.iter().find(within).ok_or_else(|| {
        Error::corrupt(format!(
            "the ELF address {address:#x} is in nothing that is loaded"
        ))
    })?;
    let into = address - segment.address;
    segment.offset.checked_add(into).ok_or_else(too_far)
}

/// A name that ends with a zero, within `room` bytes.
fn string(file: &dyn FileRead, offset: u64, room: u64) -> Result<String> {
    let left = file.size().saturating_sub(offset);
    let len = room.min(NAME_MAX).min(left);
    let bytes = bytes(file, offset, len)?;
    let end = bytes.iter().position(|&byte| byte == 0).ok_or_else(|| {
        Error::corrupt(format!(
            "an ELF name at {offset} does not end within {len} bytes"
        ))
    })?;
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn bytes(file: &dyn FileRead, offset: u64, len: u64) -> Result<Vec<u8>> {
    let end = offset.checked_add(len).ok_or_else(too_far)?;
    if end > file.size() {
        return Err(Error::corrupt(format!(
            "ELF headers name bytes {offset} to {end} of a file of {} bytes",
            file.size()
        ))
        .because(Reason::CutShort));
    }
    let mut bytes = vec![0; to_usize(len)?];
    file.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

fn too_far() -> Error {
    Error::corrupt("an ELF offset beyond 2^64").because(Reason::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::random::Random;

    /// A file in memory.
    struct Bytes(Vec<u8>);

    impl FileRead for Bytes {
        fn size(&self) -> u64 {
            to_u64(self.0.len())
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            let start = to_usize(offset)?;
            buf.copy_from_slice(&self.0[start..start + buf.len()]);
            Ok(())
        }
    }

    fn number(bytes: &mut Vec<u8>, value: u64, width: usize, is_big: bool) {
        if is_big {
            bytes.extend_from_slice(&value.to_be_bytes()[8 - width..]);
        } else {
            bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        }
    }

    /// A dynamic program: header, three program headers, names, tags.
    fn program(is_64: bool, is_big: bool) -> Vec<u8> {
        let word = if is_64 { 8 } else { 4 };
        let header: u64 = if is_64 { 64 } else { 52 };
        let entry: u64 = if is_64 { 56 } else { 32 };
        let strings = b"\0/lib64/ld.so\0libc.so.6\0libm.so.6\0$ORIGIN/../lib:/opt/x\0me.so\0";
        let names = header + 3 * entry;
        let dynamic = names + to_u64(strings.len());
        let tags = [
            (1, 14),
            (1, 24),
            (29, 34),
            (14, 56),
            (5, 0x1000 + names),
            (10, to_u64(strings.len())),
            (0, 0),
        ];
        let dynamic_bytes = to_u64(tags.len() * 2 * word);

        let mut file = b"\x7fELF".to_vec();
        file.extend_from_slice(&[if is_64 { 2 } else { 1 }, if is_big { 2 } else { 1 }, 1]);
        file.resize(16, 0);
        for value in [3, if is_64 { 62 } else { 40 }] {
            number(&mut file, value, 2, is_big);
        }
        number(&mut file, 1, 4, is_big);
        for value in [0, header, 0] {
            number(&mut file, value, word, is_big);
        }
        number(&mut file, 0, 4, is_big);
        for value in [header, entry, 3, 0, 0, 0] {
            number(&mut file, value, 2, is_big);
        }
        for (kind, offset, len) in [
            (1, 0, dynamic + dynamic_bytes),
            (3, names + 1, 13),
            (2, dynamic, dynamic_bytes),
        ] {
            number(&mut file, kind, 4, is_big);
            if is_64 {
                number(&mut file, 4, 4, is_big);
            }
            for value in [offset, 0x1000 + offset, 0, len, len] {
                number(&mut file, value, word, is_big);
            }
            if !is_64 {
                number(&mut file, 4, 4, is_big);
            }
            number(&mut file, 0x1000, word, is_big);
        }
        file.extend_from_slice(strings);
        for (tag, value) in tags {
            number(&mut file, tag, word, is_big);
            number(&mut file, value, word, is_big);
        }
        file
    }

    #[test]
    fn both_widths_and_orders_are_read() {
        for (is_64, is_big) in [(true, false), (true, true), (false, false), (false, true)] {
            let elf = read(&Bytes(program(is_64, is_big))).unwrap().unwrap();
            assert_eq!(elf.interpreter.as_deref(), Some("/lib64/ld.so"));
            assert_eq!(elf.needed, ["libc.so.6", "libm.so.6"]);
            assert_eq!(elf.search, ["$ORIGIN/../lib", "/opt/x"]);
            assert_eq!(elf.soname.as_deref(), Some("me.so"));
            assert_eq!(elf.architecture(), if is_64 { "x86-64" } else { "arm" });
            assert_eq!((elf.is_64, elf.is_loadable), (is_64, true));
        }
    }

    #[test]
    fn machines_have_names() {
        assert_eq!(architecture(62), "x86-64");
        assert_eq!(architecture(183), "arm64");
        assert_eq!(architecture(22), "ELF machine 22");
    }

    #[test]
    fn what_is_no_elf_file_is_none_and_what_is_cut_short_an_error() {
        for text in [&b""[..], b"#!/bin/sh\n", b"\x7fEL"] {
            assert_eq!(read(&Bytes(text.to_vec())).unwrap(), None);
        }
        let whole = program(true, false);
        for len in 4..whole.len() {
            // Without its last tag, the one that ends them, everything is there.
            let read = read(&Bytes(whole[..len].to_vec()));
            assert!(read.is_err(), "{len}");
        }
    }

    #[test]
    fn any_bytes_give_a_result_or_an_error_that_blames_them() {
        let whole = [program(true, false), program(false, true)];
        let mut random = Random::new(14);
        for round in 0..40_000 {
            let mut bytes = whole[round % 2].clone();
            for _ in 0..1 + random.below(6) {
                let at = random.below(bytes.len());
                let noise = random.bytes(2);
                bytes[at] = if noise[0] & 1 == 0 { noise[1] } else { 0xff };
            }
            if let Err(error) = read(&Bytes(bytes)) {
                let kind = error.kind();
                assert!(
                    matches!(
                        kind,
                        crate::ErrorKind::Corrupt | crate::ErrorKind::Unsupported
                    ),
                    "{error}"
                );
            }
        }
    }
}
