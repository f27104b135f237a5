//! What FAT can store of names, and the short names that go with long ones.

use super::SLOT_LEN;
use super::codepage;
use super::entry::DELETED;
use super::long::{UNITS_MAX, UNITS_PER_SLOT};
use crate::error::{Error, Result};
use crate::fs::FsPath;

/// Characters of a short name beside letters and digits.
const SYMBOLS: &[u8] = b"$%'-_@~`!(){}^#&";
/// What stands for 0xE5 at the start of a short name, as that means a deleted one.
const ESCAPED_E5: u8 = 0x05;
/// Bits of `DIR_NTRes`: the name, or its extension, is shown in lower case.
pub(super) const LOWER_NAME: u8 = 0x08;
pub(super) const LOWER_EXTENSION: u8 = 0x10;
/// Tails `~1` to `~4`; further ones have digits made from the name before them.
const PLAIN_TAILS: u16 = 4;
/// Tails `~1` to `~9` behind the same digits.
const TAILS_PER_HASH: u16 = 9;

/// The last name of `path`, checked against the rules for names in FAT directories.
pub(super) fn storable(path: &FsPath) -> Result<&str> {
    let refuse = |rule: &str| {
        Err(Error::invalid(format!("FAT cannot hold this name: it {rule}")).at(path.to_string()))
    };
    let Some(name) = path.name() else {
        return Err(Error::invalid(
            "the root directory cannot be created, replaced, moved or removed",
        ));
    };
    let Ok(name) = std::str::from_utf8(name) else {
        return refuse("is not UTF-8");
    };
    let forbidden = |c: &char| c.is_ascii_control() || "\"*:<>?\\|".contains(*c);
    if let Some(character) = name.chars().find(forbidden) {
        return refuse(&format!(
            "contains {character:?} (forbidden are control characters and \" * : < > ? \\ |)"
        ));
    }
    if name.ends_with(['.', ' ']) {
        return refuse("ends with a dot or a space");
    }
    let units = name.encode_utf16().count();
    if units > UNITS_MAX {
        return refuse(&format!(
            "has {units} UTF-16 units, at most {UNITS_MAX} are allowed"
        ));
    }
    Ok(name)
}

/// Checks the last name of `path` against the rules for names in FAT directories, without looking at a volume.
pub fn check_name(path: &FsPath) -> Result<()> {
    storable(path).map(|_| ())
}

/// A name in the form in which names are compared: every UTF-16 unit in upper case where it is one character there.
pub(super) fn folded(name: &str) -> Vec<u16> {
    name.encode_utf16().map(fold).collect()
}

fn fold(unit: u16) -> u16 {
    if let Ok(byte) = u8::try_from(unit)
        && byte.is_ascii()
    {
        return u16::from(byte.to_ascii_uppercase());
    }
    let Some(character) = char::from_u32(u32::from(unit)) else {
        return unit;
    };
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => u16::try_from(u32::from(single)).unwrap_or(unit),
        _ => unit,
    }
}

/// A stored short name as it is shown.
pub(super) fn shown(stored: &[u8; 11], nt_res: u8) -> String {
    let mut name = *stored;
    if name[0] == ESCAPED_E5 {
        name[0] = DELETED;
    }
    let (stem, extension) = name.split_at(8);
    let mut shown = part(stem, nt_res & LOWER_NAME != 0);
    let extension = part(extension, nt_res & LOWER_EXTENSION != 0);
    if !extension.is_empty() {
        shown.push('.');
        shown.push_str(&extension);
    }
    shown
}

/// One of a short name's two parts, without the spaces that fill it up.
fn part(bytes: &[u8], lower: bool) -> String {
    let len = bytes
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(0, |last| last + 1);
    let case = |byte: &u8| {
        if lower {
            byte.to_ascii_lowercase()
        } else {
            *byte
        }
    };
    bytes[..len]
        .iter()
        .map(|byte| codepage::decode(case(byte)))
        .collect()
}

/// A stored label as it is shown: in one part, with its spaces.
pub(super) fn label(stored: &[u8; 11]) -> String {
    let mut label = *stored;
    if label[0] == ESCAPED_E5 {
        label[0] = DELETED;
    }
    part(&label, false)
}

/// A name that is to be written.
#[derive(Debug)]
pub(super) struct NewName {
    /// As it is asked for.
    pub text: String,
    /// The short name without a tail, where it says all of the name but its case.
    pub lossless: Option<[u8; 11]>,
    /// The bits for lower case with which the short name says all, so that no long one is needed.
    pub short_only: Option<u8>,
}

impl NewName {
    /// A name that is [`storable`].
    pub(super) fn new(name: &str) -> Self {
        let lossless = short_name(name, 0)
            .filter(|short| name.is_ascii() && shown(short, 0) == name.to_ascii_uppercase());
        Self {
            text: name.to_owned(),
            short_only: lossless.and_then(|_| lower_case(name)),
            lossless,
        }
    }

    /// Slots that its entry takes: its long name's and its own.
    pub(super) fn slots(&self) -> u32 {
        let long = match self.short_only {
            Some(_) => 0,
            None => self.text.encode_utf16().count().div_ceil(UNITS_PER_SLOT),
        };
        u32::try_from(long + 1).unwrap_or(u32::MAX)
    }

    /// The slots with an entry, whose name this becomes.
    pub(super) fn encode(&self, entry: &[u8; SLOT_LEN], short: &[u8; 11]) -> Result<Vec<u8>> {
        let mut slots = Vec::new();
        if self.short_only.is_none() {
            let units: Vec<u16> = self.text.encode_utf16().collect();
            slots = super::long::parts(&units, short)?;
        }
        slots.extend_from_slice(entry);
        Ok(slots)
    }

    /// Short names for the long one, best first. All differ in what they end with.
    pub(super) fn tailed(&self) -> impl Iterator<Item = [u8; 11]> {
        (1..=u16::MAX).filter_map(|tail| short_name(&self.text, tail))
    }
}

/// The bits for lower case of a name that is a short one: each part in one case.
fn lower_case(name: &str) -> Option<u8> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let lower = |part: &str| {
        let lower = part.bytes().any(|byte| byte.is_ascii_lowercase());
        let upper = part.bytes().any(|byte| byte.is_ascii_uppercase());
        (!lower || !upper).then_some(lower)
    };
    let stem = if lower(stem)? { LOWER_NAME } else { 0 };
    let extension = if lower(extension)? {
        LOWER_EXTENSION
    } else {
        0
    };
    Some(stem | extension)
}

/// The character as a short name has it: `None` for those that are left out.
fn short_byte(character: char) -> Option<u8> {
    let upper = char::from_u32(folded_character(character)).unwrap_or(character);
    match u8::try_from(upper) {
        Ok(b' ' | b'.') => None,
        Ok(byte) if byte.is_ascii_alphanumeric() || SYMBOLS.contains(&byte) => Some(byte),
        Ok(byte) if byte.is_ascii() => Some(b'_'),
        _ => Some(codepage::encode(upper).unwrap_or(b'_')),
    }
}

fn folded_character(character: char) -> u32 {
    let code = u32::from(character);
    u16::try_from(code).map_or(code, |unit| u32::from(fold(unit)))
}

/// The short name of `name` with a numbered tail, 0 for none: the first characters and the extension's first three. `None`
/// where nothing is left of the name.
///
/// Tails are those of Windows: `~1` to `~4` behind six characters, then four digits made from the whole name and `~1` to
/// `~9` behind two, so that thousands of names that begin alike are told apart at once.
fn short_name(name: &str, tail: u16) -> Option<[u8; 11]> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let only_filling = stem.chars().all(|character| matches!(character, '.' | ' '));
    let (stem, extension) = if only_filling && !extension.is_empty() {
        (extension, "")
    } else {
        (stem, extension)
    };

    let tail = tail_text(name, tail);
    let mut stem: Vec<u8> = stem
        .chars()
        .filter_map(short_byte)
        .take(8 - tail.len())
        .collect();
    stem.extend_from_slice(tail.as_bytes());
    let extension: Vec<u8> = extension.chars().filter_map(short_byte).take(3).collect();
    if stem.is_empty() && extension.is_empty() {
        return None;
    }
    let mut short = [b' '; 11];
    short[..stem.len()].copy_from_slice(&stem);
    short[8..8 + extension.len()].copy_from_slice(&extension);
    if short[0] == DELETED {
        short[0] = ESCAPED_E5;
    }
    Some(short)
}

fn tail_text(name: &str, tail: u16) -> String {
    match tail {
        0 => String::new(),
        1..=PLAIN_TAILS => format!("~{tail}"),
        _ => {
            let further = tail - PLAIN_TAILS - 1;
            let hash = hash(name, further / TAILS_PER_HASH);
            format!("{hash:04X}~{}", further % TAILS_PER_HASH + 1)
        }
    }
}

fn hash(name: &str, seed: u16) -> u16 {
    name.bytes().fold(seed, |hash, byte| {
        hash.wrapping_mul(37).wrapping_add(u16::from(byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fat_cannot_hold_are_named_with_the_rule() {
        let bad: [(&[u8], &str); 8] = [
            (b"/a/x?", "contains '?'"),
            (b"/a\x01", "contains '\\u{1}'"),
            (b"/a\x7f", "contains '\\u{7f}'"),
            (b"/a\\b", "contains '\\\\'"),
            (b"/a.", "ends with a dot"),
            (b"/a ", "ends with a dot or a space"),
            (b"/a\xff", "not UTF-8"),
            (b"/", "root"),
        ];
        for (path, rule) in bad {
            let error = storable(&FsPath::new(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(rule), "{error}");
        }
        for good in ["/a b.c", "/.hidden", "/+,;=[]", "/ä€😀", "/con"] {
            assert!(storable(&FsPath::new(good).unwrap()).is_ok(), "{good}");
        }
        let slots = |name| NewName::new(name).slots();
        assert_eq!(
            (
                slots("a"),
                slots("Ab"),
                slots("abcdefghijklm"),
                slots("abcdefghijklmn")
            ),
            (1, 2, 2, 3)
        );
    }

    fn short(name: &str, tail: u16) -> String {
        String::from_utf8_lossy(&short_name(name, tail).unwrap()).into_owned()
    }

    #[test]
    fn short_names_are_made_from_long_ones() {
        let names = [
            ("readme.txt", "README  TXT"),
            ("a long name.html", "ALONGNAMHTM"),
            ("a+b=c", "A_B_C      "),
            (".bashrc", "BASHRC     "),
            ("..dots", "DOTS       "),
            ("x.y.z", "XY      Z  "),
        ];
        for (name, wanted) in names {
            assert_eq!(short(name, 0), wanted, "{name}");
        }
        assert_eq!(short_name("...", 0), None);
        assert_eq!(
            short_name("größe", 0).unwrap(),
            *b"GR\x99\xE1E   \x20\x20\x20"
        );
        assert_eq!(
            short_name("α", 1).unwrap(),
            *b"_~1        ",
            "its capital letter is not in the code page"
        );
    }

    #[test]
    fn tails_tell_short_names_apart() {
        assert_eq!(short("long file name.txt", 1), "LONGFI~1TXT");
        assert_eq!(short("ab.txt", 4), "AB~4    TXT");
        let hashed = short("long file name.txt", 5);
        assert!(
            hashed.starts_with("LO") && hashed.ends_with("~1TXT"),
            "{hashed}"
        );
        assert_eq!(
            short("long file name.txt", 13),
            hashed.replace('1', "9"),
            "the last one with these digits"
        );
        let all: std::collections::BTreeSet<_> =
            NewName::new("long file name.txt").tailed().collect();
        assert!(all.len() > 60_000, "{}", all.len());
    }

    #[test]
    fn case_is_kept_in_two_bits_where_it_can_be() {
        let bits = |name| NewName::new(name).short_only;
        assert_eq!(
            (bits("GRUB.CFG"), bits("grub.CFG"), bits("GRUB.cfg")),
            (Some(0), Some(8), Some(16))
        );
        assert_eq!(
            (bits("grub-1.cfg"), bits("1"), bits("noext")),
            (Some(24), Some(0), Some(8))
        );
        for long in [
            "Grub.cfg",
            "grub.config",
            "a b",
            "a.b.c",
            ".a",
            "größe",
            "a+b",
        ] {
            assert_eq!(bits(long), None, "{long}");
        }
        assert_eq!(NewName::new("Grub.cfg").lossless, Some(*b"GRUB    CFG"));
        assert_eq!(NewName::new("a b").lossless, None);
    }

    #[test]
    fn short_names_are_shown_in_their_code_page_and_case() {
        assert_eq!(shown(b"GRUB    CFG", 0), "GRUB.CFG");
        assert_eq!(
            shown(b"GRUB    CFG", LOWER_NAME | LOWER_EXTENSION),
            "grub.cfg"
        );
        assert_eq!(shown(b"\x05\x82      A  ", 0), "σé.A");
        assert_eq!(label(b"MY DISK    "), "MY DISK");
    }

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(folded("größe.TXT"), folded("GRÖßE.txt"));
        assert_ne!(folded("ß"), folded("SS"));
        assert_eq!(folded("😀"), "😀".encode_utf16().collect::<Vec<_>>());
    }
}
