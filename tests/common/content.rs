//! Content for fixtures: made from a seed alone, so that a fixture is the same on every machine.
//!
//! ```text
//!  seed, length ──▶ text, program, elf                bytes of one file
//!  seed, bytes  ──▶ Content::usr, ::docker_store ──▶ write(folder)
//! ```
//!
//! The trees have the shape of what Flatcar ships and Docker stores: many small texts, programs, some large files, symbolic
//! and hard links. The sizes of the files of a tree add up to exactly what the caller asks for.

use super::noise;
use super::random::Random;
use super::sysext::{make_dir, set_times};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Syllables of the words of texts.
const SYLLABLES: [&str; 24] = [
    "ba", "con", "de", "er", "fil", "ga", "hol", "in", "ker", "la", "mo", "net", "or", "pa", "qui",
    "re", "ser", "ta", "un", "ver", "wi", "xo", "ya", "zen",
];
/// Words that one text draws from.
const VOCABULARY: usize = 1500;
/// Columns of texts.
const WIDTH: usize = 78;

/// `len` bytes of lines of words, which pack about as well as documents do.
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let words: Vec<String> = (0..VOCABULARY).map(|_| word(&mut random)).collect();
    let mut bytes = Vec::with_capacity(len + WIDTH);
    let mut column = 0;
    while bytes.len() < len {
        let word = &words[common_first(&mut random, VOCABULARY)];
        if column + word.len() > WIDTH {
            bytes.push(b'\n');
            column = 0;
        } else if column > 0 {
            bytes.push(b' ');
        }
        bytes.extend_from_slice(word.as_bytes());
        column += word.len() + 1;
    }
    bytes.truncate(len);
    if let Some(last) = bytes.last_mut() {
        *last = b'\n';
    }
    bytes
}

fn word(random: &mut Random) -> String {
    let syllables = 1 + random.below(4);
    (0..syllables)
        .map(|_| SYLLABLES[random.below(SYLLABLES.len())])
        .collect()
}

/// A number below `limit`; low ones come far more often, as some words and instructions do.
fn common_first(random: &mut Random, limit: usize) -> usize {
    let range = 1 + random.below(limit);
    random.below(range)
}

/// Instructions that one program draws from, and bytes of its sections of code.
const INSTRUCTIONS: usize = 400;
const CODE: usize = 12 << 10;
/// Bytes of its tables of addresses, of names, and of its padding.
const TABLE: usize = 2 << 10;
const NAMES: usize = 3 << 10;
const PADDING: usize = 512;

/// `len` bytes as of a program: instructions that repeat, tables of addresses, names, padding.
pub fn program(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let instructions: Vec<Vec<u8>> = (0..INSTRUCTIONS)
        .map(|_| {
            let width = 2 + random.below(6);
            random.bytes(width)
        })
        .collect();
    let mut bytes = Vec::with_capacity(len + CODE + TABLE + NAMES + PADDING);
    while bytes.len() < len {
        let end_of_code = bytes.len() + CODE;
        while bytes.len() < end_of_code {
            bytes.extend_from_slice(&instructions[common_first(&mut random, INSTRUCTIONS)]);
            // The operand of some, which never comes again.
            if random.below(4) == 0 {
                bytes.extend_from_slice(&random.bytes(3));
            }
        }
        let mut address = random.below_u64(1 << 32);
        let end_of_table = bytes.len() + TABLE;
        while bytes.len() < end_of_table {
            address += 16 * random.below_u64(40);
            bytes.extend_from_slice(&address.to_le_bytes());
        }
        bytes.extend(
            text(random.number(), NAMES)
                .into_iter()
                .map(|byte| if byte == b' ' { 0 } else { byte }),
        );
        bytes.resize(bytes.len() + PADDING, 0);
    }
    bytes.truncate(len);
    bytes
}

/// Noise, text, zeroes and runs of one byte in turn, with boundaries at odd places; most of it is zero.
pub fn disk(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    let dice = noise(seed, 4096);
    let mut at = 0;
    let mut turn = 0;
    while at < size {
        let len = (usize::from(dice[turn % 4096]) * 777 + 1).min(size - at);
        let piece = &mut bytes[at..at + len];
        match dice[(turn + 1) % 4096] % 5 {
            0 => piece.copy_from_slice(&noise(seed + turn as u64, len)),
            1 => piece.fill(dice[turn % 4096]),
            2 => piece
                .iter_mut()
                .enumerate()
                .for_each(|(n, byte)| *byte = b"flatbake reads 0123456789\n"[n % 26]),
            _ => {}
        }
        at += len;
        turn += 2;
    }
    bytes
}

/// A machine, as `e_machine` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64 = 62,
    Aarch64 = 183,
}

/// Bytes of `Elf64_Ehdr`.
pub const ELF_HEADER: usize = 64;

/// [`program`] behind the header of a 64-bit, little-endian ELF executable without segments; `len` is at least
/// [`ELF_HEADER`].
pub fn elf(machine: Machine, seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; ELF_HEADER];
    // EI_CLASS: 64 bits, EI_DATA: little-endian, EI_VERSION.
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // e_type: ET_DYN, as position-independent executables are.
    bytes[16..18].copy_from_slice(&3u16.to_le_bytes());
    bytes[18..20].copy_from_slice(&(machine as u16).to_le_bytes());
    // e_version, e_ehsize.
    bytes[20..24].copy_from_slice(&1u32.to_le_bytes());
    bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
    bytes.extend(program(
        seed,
        len.checked_sub(ELF_HEADER)
            .expect("an ELF file has a header"),
    ));
    bytes
}

/// What an entry of a tree is. The bytes of files are made when they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Text {
        seed: u64,
        len: usize,
    },
    Program {
        seed: u64,
        len: usize,
    },
    Symlink {
        target: String,
    },
    /// A further name of the file at this path.
    HardLink {
        of: String,
    },
}

impl Entry {
    fn len(&self) -> usize {
        match self {
            Self::Text { len, .. } | Self::Program { len, .. } => *len,
            Self::Symlink { .. } | Self::HardLink { .. } => 0,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::Program { seed, len } if len >= ELF_HEADER => elf(Machine::X86_64, seed, len),
            Self::Text { seed, len } | Self::Program { seed, len } => text(seed, len),
            Self::Symlink { .. } | Self::HardLink { .. } => Vec::new(),
        }
    }
}

/// A tree to be written: paths, and what is there, in the order of writing. Folders are made where they are needed.
#[derive(Clone, Debug, Default)]
pub struct Content {
    entries: Vec<(String, Entry)>,
    bytes: u64,
}

impl Content {
    /// A tree like that of `/usr`, whose files have `bytes` bytes together.
    pub fn usr(seed: u64, bytes: u64) -> Self {
        let mut content = Self::default();
        content.add_system(&mut Random::new(seed), "", bytes);
        content
    }

    /// A tree like that of `/var/lib/docker` with the driver overlay2, whose files have `bytes` bytes together: images of
    /// several layers, each of which holds part of a system.
    pub fn docker_store(seed: u64, bytes: u64) -> Self {
        let mut random = Random::new(seed);
        let mut content = Self::default();
        while content.bytes < bytes {
            let id = hex(&mut random);
            content.add(
                format!("image/overlay2/imagedb/content/sha256/{id}"),
                text_of(&mut random, 3000),
                bytes,
            );
            for layer in 0..1 + random.below(4) {
                let left = bytes - content.bytes;
                let share = if layer == 0 {
                    left.div_ceil(2)
                } else {
                    left / 3
                };
                content.add_layer(&mut random, share, bytes);
            }
        }
        content
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of files, links included.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Writes the tree below `root`: mode 0755 for folders and programs, 0644 for texts, all at [`EPOCH`].
    ///
    /// [`EPOCH`]: super::programs::EPOCH
    pub fn write(&self, root: &Path) {
        make_dir(root, "");
        for (path, entry) in &self.entries {
            make_dir(root, path.rsplit_once('/').map_or("", |(folder, _)| folder));
            let place = root.join(path);
            match entry {
                Entry::Symlink { target } => symlink(target, place).unwrap(),
                Entry::HardLink { of } => fs::hard_link(root.join(of), place).unwrap(),
                Entry::Text { .. } | Entry::Program { .. } => {
                    fs::write(&place, entry.bytes()).unwrap();
                    let mode = if matches!(entry, Entry::Program { .. }) {
                        0o755
                    } else {
                        0o644
                    };
                    fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
        set_times(root);
    }

    /// Adds an entry; a file is cut off where the tree would get more than `limit` bytes.
    fn add(&mut self, path: String, mut entry: Entry, limit: u64) {
        if let Entry::Text { len, .. } | Entry::Program { len, .. } = &mut entry {
            let room = usize::try_from(limit - self.bytes).unwrap_or(usize::MAX);
            *len = room.min(*len);
        }
        self.bytes += entry.len() as u64;
        self.entries.push((path, entry));
    }

    /// Adds part of a system below `prefix` (empty, or with a slash at its end) until there are `bytes` bytes more.
    fn add_system(&mut self, random: &mut Random, prefix: &str, bytes: u64) {
        let limit = self.bytes + bytes;
        // One file has a fifth of it all, as the largest library of a system is.
        let largest = usize::try_from(bytes / 5).unwrap();
        let library = format!("{prefix}lib64/libcontent.so.1");
        self.add(
            library.clone(),
            Entry::Program {
                seed: random.number(),
                len: largest,
            },
            limit,
        );
        self.add(
            format!("{prefix}lib64/libcontent.so"),
            Entry::Symlink {
                target: "libcontent.so.1".to_owned(),
            },
            limit,
        );
        self.add(
            format!("{prefix}lib64/libcontent.alias"),
            Entry::HardLink { of: library },
            limit,
        );
        let mut number = 0;
        while self.bytes < limit {
            number += 1;
            let name = format!("{}-{number}", word(random));
            let path = match random.below(100) {
                0..55 => {
                    let path = format!(
                        "{prefix}share/doc/{}/{name}.txt",
                        SYLLABLES[number % SYLLABLES.len()]
                    );
                    let entry = text_of(random, 8000);
                    self.add(path.clone(), entry, limit);
                    path
                }
                55..70 => {
                    let path = format!("{prefix}lib/systemd/system/{name}.service");
                    let entry = text_of(random, 900);
                    self.add(path.clone(), entry, limit);
                    path
                }
                70..88 => {
                    let path = format!("{prefix}bin/{name}");
                    let entry = program_of(random, 160 << 10);
                    self.add(path.clone(), entry, limit);
                    path
                }
                _ => {
                    let path = format!("{prefix}lib64/lib{name}.so.0");
                    let entry = program_of(random, 400 << 10);
                    self.add(path.clone(), entry, limit);
                    path
                }
            };
            let link = format!("{prefix}share/links/{name}");
            match random.below(12) {
                0 => self.add(link, Entry::HardLink { of: path }, limit),
                1 => {
                    let target = format!("../../{}", &path[prefix.len()..]);
                    self.add(link, Entry::Symlink { target }, limit);
                }
                _ => {}
            }
        }
    }

    /// Adds a layer of overlay2 with `bytes` bytes of files, and what Docker notes beside it.
    fn add_layer(&mut self, random: &mut Random, bytes: u64, limit: u64) {
        let id = hex(random);
        let short = hex(random)[..26].to_uppercase();
        self.add_system(random, &format!("overlay2/{id}/diff/"), bytes);
        self.add(format!("overlay2/{id}/link"), text_of(random, 26), limit);
        self.add(
            format!("overlay2/l/{short}"),
            Entry::Symlink {
                target: format!("../{id}/diff"),
            },
            limit,
        );
        self.add(
            format!("image/overlay2/layerdb/sha256/{id}/cache-id"),
            text_of(random, 64),
            limit,
        );
    }
}

/// A text of at most `most` bytes, and at least one.
fn text_of(random: &mut Random, most: usize) -> Entry {
    Entry::Text {
        seed: random.number(),
        len: 1 + random.below(most),
    }
}

/// A program of at most `most` bytes; small ones come more often.
fn program_of(random: &mut Random, most: usize) -> Entry {
    Entry::Program {
        seed: random.number(),
        len: 1 + common_first(random, most),
    }
}

/// 64 digits, as of a SHA-256.
fn hex(random: &mut Random) -> String {
    (0..4)
        .map(|_| format!("{:016x}", random.number()))
        .collect()
}
