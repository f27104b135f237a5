//! Inputs that are a list of small changes to a sound volume, so that a mutation of the input is a damage to a structure.
//!
//! ```text
//!   │place 2 (which of the places worth changing)│offset there 2│length 1│bytes 1 to 8│…
//! ```

use flatbake::block::BlockDeviceMut;

use crate::device::Layer;

/// Most changes of an input.
const PATCHES_MAX: usize = 64;

/// Applies the changes of `input` to stretches of `reach` bytes that begin at `places`, and returns where they are.
pub fn apply(layer: &Layer, places: &[u64], reach: u64, input: &[u8]) -> Vec<u64> {
    let mut rest = input;
    let mut changed = Vec::new();
    while let [place, place_high, at, at_high, len, bytes @ ..] = rest {
        if changed.len() == PATCHES_MAX || places.is_empty() {
            break;
        }
        let place = places[usize::from(u16::from_le_bytes([*place, *place_high])) % places.len()];
        let offset = place + u64::from(u16::from_le_bytes([*at, *at_high])) % reach;
        let (bytes, behind) = bytes.split_at((usize::from(*len) % 8 + 1).min(bytes.len()));
        if layer.write_at(offset, bytes).is_ok() {
            changed.push(offset);
        }
        rest = behind;
    }
    changed
}

/// An input with one change.
pub fn record(place: usize, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let place = u16::try_from(place % 0x1_0000).expect("the rest of a division");
    let offset = u16::try_from(offset % 0x1_0000).expect("the rest of a division");
    let len = u8::try_from(bytes.len() - 1).expect("eight bytes at most");
    [
        &place.to_le_bytes()[..],
        &offset.to_le_bytes(),
        &[len],
        bytes,
    ]
    .concat()
}
