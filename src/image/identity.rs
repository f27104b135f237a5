//! Identifiers that formats want (GUIDs, content IDs), without any randomness: made from what the disk holds.

use sha2::{Digest, Sha256};
use twox_hash::XxHash64;

use crate::bytes::{Guid, is_zero, to_u64};

/// What the identifiers and times in an image are made from, besides the disk's content.
///
/// The same disk and identity give the same bytes, other disks other identifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Tells copies of one disk apart that are used side by side; empty for the ordinary one.
    pub seed: String,
    /// Seconds since 1970 for formats that tell a time.
    pub time: i64,
}

impl Identity {
    /// 16 bytes for `purpose` of a disk with this `fingerprint`.
    fn digest(&self, fingerprint: Fingerprint, purpose: &str) -> [u8; 16] {
        let mut hasher = Sha256::new();
        for part in [
            b"flatbake image".as_slice(),
            purpose.as_bytes(),
            self.seed.as_bytes(),
        ] {
            hasher.update(to_u64(part.len()).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(fingerprint.0.to_le_bytes());
        let digest = hasher.finalize();
        std::array::from_fn(|index| digest[index])
    }

    /// A GUID for `purpose`, marked as a random one (version 4 of RFC 9562), which it stands for.
    pub(super) fn guid(&self, fingerprint: Fingerprint, purpose: &str) -> Guid {
        let mut bytes = self.digest(fingerprint, purpose);
        bytes[7] = bytes[7] & 0x0f | 0x40; // the version is in the high byte of a little-endian field
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Guid::from_disk(bytes)
    }

    /// 128 bits for `purpose` as four numbers.
    pub(super) fn words(&self, fingerprint: Fingerprint, purpose: &str) -> [u32; 4] {
        let bytes = self.digest(fingerprint, purpose);
        std::array::from_fn(|index| {
            let word: [u8; 4] = std::array::from_fn(|byte| bytes[4 * index + byte]);
            u32::from_le_bytes(word)
        })
    }
}

/// A digest of what a disk holds: of every unit of 4 KiB that is not zero, with its place, in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fingerprint(u64);

/// A unit of the fingerprint, in bytes.
const UNIT: usize = 4096;

impl Fingerprint {
    /// Of `bytes` that lie at `offset`, a multiple of 4 KiB. Pieces must not share units.
    pub fn of(offset: u64, bytes: &[u8]) -> Self {
        let first = offset / to_u64(UNIT);
        let units = (first..)
            .zip(bytes.chunks(UNIT))
            .filter(|(_, unit)| !is_zero(unit));
        // A last unit counts as if zeroes followed it: the size of a disk may be rounded up.
        Self(units.fold(0, |sum, (index, unit)| {
            let hash = match <[u8; UNIT]>::try_from(unit) {
                Ok(whole) => XxHash64::oneshot(index, &whole),
                Err(_) => {
                    let mut padded = [0; UNIT];
                    padded[..unit.len()].copy_from_slice(unit);
                    XxHash64::oneshot(index, &padded)
                }
            };
            sum.wrapping_add(hash)
        }))
    }

    /// Of two pieces together.
    pub fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_zeroes_and_padding_do_not_matter_but_places_do() {
        let bytes: Vec<u8> = (0..20_000u32)
            .map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes()[0])
            .collect();
        let whole = Fingerprint::of(8192, &bytes);
        assert_eq!(
            Fingerprint::of(8192, &bytes[..8192]).and(Fingerprint::of(16_384, &bytes[8192..])),
            whole
        );
        let mut padded = [&[0; 8192], &bytes[..], &[0; 100]].concat();
        assert_eq!(Fingerprint::of(0, &padded), whole);
        assert_ne!(Fingerprint::of(4096, &bytes), whole);
        padded[9000] ^= 1;
        assert_ne!(Fingerprint::of(0, &padded), whole);
    }

    #[test]
    fn identifiers_depend_on_content_purpose_and_seed() {
        let one = Identity::default();
        let other = Identity {
            seed: "other".to_owned(),
            time: 0,
        };
        let print = Fingerprint::of(0, b"disk");
        let guid = one.guid(print, "disk");
        assert_eq!(guid, one.clone().guid(print, "disk"));
        for different in [
            one.guid(print, "link"),
            other.guid(print, "disk"),
            one.guid(Fingerprint::of(0, b"disc"), "disk"),
        ] {
            assert_ne!(guid, different);
        }
        assert_eq!(guid.to_string().as_bytes()[14], b'4', "{guid}");
        assert!(
            matches!(guid.to_string().as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
            "{guid}"
        );
    }
}
