//! Long names: UTF-16 in slots before the entry, the last part first.
//!
//! ```text
//!   43 'e.conf' │ 02 'third of a nam' │ 01 'the first third' │ entry THEFIR~1.CON
//!   40 + number                          each with the checksum of the entry's short name
//! ```

use super::SLOT_LEN;
use crate::bytes::{Field, Order, structure};
use crate::error::Result;

/// `DIR_Attr` of a part: all of read-only, hidden, system and volume label, which no entry has.
pub(super) const ATTR_LONG_NAME: u8 = 0x0F;

/// UTF-16 units in the longest name.
pub(super) const UNITS_MAX: usize = 255;
/// UTF-16 units in one slot.
pub(super) const UNITS_PER_SLOT: usize = 13;
/// Slots of the longest name.
pub(super) const SLOTS_MAX: u8 = 20;
/// Bit of `LDIR_Ord`: the name's last part, which comes first.
const LAST: u8 = 0x40;
/// What fills a part up behind the name's end.
const FILLING: u16 = 0xFFFF;

structure! {
    /// A part of a long name.
    pub(super) struct LongPart: "FAT long name", Little, 32 {
        /// `LDIR_Ord`: its number from 1 on, and whether it is the last one.
        0 => ord / set_ord: u8,
        /// `LDIR_Name1`
        1 => name1 / set_name1: [u8; 10],
        /// `LDIR_Attr`: says that it is no entry.
        11 => attr / set_attr: u8,
        /// `LDIR_Chksum` of the entry's short name.
        13 => chksum / set_chksum: u8,
        /// `LDIR_Name2`
        14 => name2 / set_name2: [u8; 12],
        /// `LDIR_Name3`
        28 => name3 / set_name3: [u8; 4],
    }
}

impl<B: AsRef<[u8]>> LongPart<B> {
    /// Its units, up to the name's end.
    fn units(&self) -> Vec<u16> {
        let bytes = [&self.name1()[..], &self.name2(), &self.name3()].concat();
        let units = bytes
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        units.take_while(|unit| *unit != 0).collect()
    }
}

/// The checksum of a short name, as it is stored.
pub(super) fn checksum(name: &[u8; 11]) -> u8 {
    name.iter()
        .fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The slots of a long name before the entry with this short name.
pub(super) fn parts(name: &[u16], short: &[u8; 11]) -> Result<Vec<u8>> {
    let count = name.len().div_ceil(UNITS_PER_SLOT);
    let mut slots = Vec::with_capacity(count * SLOT_LEN);
    for (number, units) in (1u8..)
        .zip(name.chunks(UNITS_PER_SLOT))
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let last = usize::from(number) == count;
        let mut bytes = [0; 2 * UNITS_PER_SLOT];
        // A name that ends within its part has an end mark, and filling behind it.
        let ended = units
            .iter()
            .copied()
            .chain([0])
            .chain(std::iter::repeat(FILLING));
        for (place, unit) in bytes.chunks_exact_mut(2).zip(ended) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        let mut part = LongPart::over([0; SLOT_LEN])?;
        part.set_ord(if last { number | LAST } else { number });
        part.set_attr(ATTR_LONG_NAME);
        part.set_chksum(checksum(short));
        part.set_name1(Field::get(&bytes[..10], Order::Little));
        part.set_name2(Field::get(&bytes[10..22], Order::Little));
        part.set_name3(Field::get(&bytes[22..], Order::Little));
        slots.extend_from_slice(part.bytes());
    }
    Ok(slots)
}

/// Puts a long name together from its parts; one with a fault is dropped, and the short name remains.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    /// Parts so far, from the name's end on.
    parts: Vec<Vec<u16>>,
    /// The number of the part before this one, 1 where it is complete, 0 where there is none.
    number: u8,
    checksum: u8,
}

impl Assembler {
    /// Forgets what came so far.
    pub(super) fn reset(&mut self) {
        self.parts.clear();
        self.number = 0;
    }

    /// Adds the next part.
    pub(super) fn push<B: AsRef<[u8]>>(&mut self, part: &LongPart<B>) {
        let number = part.ord() & !LAST;
        let begins = part.ord() & LAST != 0;
        if begins {
            self.reset();
            self.checksum = part.chksum();
        }
        let follows = if begins {
            (1..=SLOTS_MAX).contains(&number)
        } else {
            number != 0 && number + 1 == self.number
        };
        if !follows || part.chksum() != self.checksum {
            self.reset();
            return;
        }
        self.number = number;
        self.parts.push(part.units());
    }

    /// The name of the entry with this short name, where all parts were there, and the slots it takes.
    pub(super) fn finish(&mut self, short: &[u8; 11]) -> Option<(Vec<u16>, usize)> {
        let complete = self.number == 1 && self.checksum == checksum(short);
        let slots = self.parts.len();
        let units: Vec<u16> = self.parts.iter().rev().flatten().copied().collect();
        self.reset();
        (complete && units.len() <= UNITS_MAX).then_some((units, slots))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: [u8; 11] = *b"LONGNA~1TXT";

    fn assemble(slots: &[u8], short: &[u8; 11]) -> Option<String> {
        let mut assembler = Assembler::default();
        for slot in slots.chunks_exact(SLOT_LEN) {
            assembler.push(&LongPart::over(slot).unwrap());
        }
        assembler
            .finish(short)
            .map(|(units, _)| String::from_utf16_lossy(&units))
    }

    #[test]
    fn names_come_back_at_every_length() {
        for len in 1..=UNITS_MAX {
            let name: Vec<u16> = (0..len)
                .map(|at| 0x4e00 + u16::try_from(at).unwrap())
                .collect();
            let slots = parts(&name, &SHORT).unwrap();
            assert_eq!(slots.len(), len.div_ceil(13) * 32);
            assert_eq!(
                assemble(&slots, &SHORT).unwrap(),
                String::from_utf16(&name).unwrap()
            );
        }
    }

    #[test]
    fn a_part_is_laid_out_as_specified() {
        let name: Vec<u16> = "abc".encode_utf16().collect();
        let slot = parts(&name, &SHORT).unwrap();
        assert_eq!(
            slot[..14],
            [
                0x41,
                b'a',
                0,
                b'b',
                0,
                b'c',
                0,
                0,
                0,
                0xFF,
                0xFF,
                0x0F,
                0,
                checksum(&SHORT)
            ]
        );
        assert_eq!(
            (&slot[14..26], &slot[26..]),
            (&[0xFF; 12][..], &[0, 0, 0xFF, 0xFF, 0xFF, 0xFF][..])
        );
        for name in [b"FILENAMETXT", &SHORT, b"           "] {
            assert_eq!(u32::from(checksum(name)), specified(name));
        }
    }

    /// The algorithm in the words of the specification: the sum is rotated to the right by one bit, and a byte is added.
    fn specified(name: &[u8; 11]) -> u32 {
        name.iter().fold(0, |sum: u32, byte| {
            ((sum & 1) * 0x80 + (sum >> 1) + u32::from(*byte)) & 0xFF
        })
    }

    #[test]
    fn a_name_with_a_fault_is_dropped() {
        let name: Vec<u16> = "a name of three parts, with a fault"
            .encode_utf16()
            .collect();
        let good = parts(&name, &SHORT).unwrap();
        assert!(assemble(&good, &SHORT).is_some());
        assert!(
            assemble(&good, b"OTHER   TXT").is_none(),
            "of another entry"
        );
        assert!(
            assemble(&good[32..], &SHORT).is_none(),
            "without its last part"
        );
        assert!(
            assemble(&good[..64], &SHORT).is_none(),
            "without its first part"
        );
        for (at, value) in [(0, 0x55), (32, 0x03), (32, 0x00), (45, 0x00)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(assemble(&bad, &SHORT).is_none(), "byte {at} is {value:#x}");
        }
    }
}
