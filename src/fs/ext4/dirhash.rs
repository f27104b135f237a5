//! Hashes of names that order a directory's hash tree (kernel documentation, "Hash Tree Directories").
//!
//! Names are cut into pieces, packed into words (bytes signed or not, as the superblock says) and mixed by half of MD4,
//! by TEA, or by the multiplication of the first ext3 with indexes.

use super::superblock::{Superblock, UNSIGNED_HASH};

/// `DX_HASH_LEGACY`
const LEGACY: u8 = 0;
/// `DX_HASH_HALF_MD4`
const HALF_MD4: u8 = 1;
/// `DX_HASH_TEA`
const TEA: u8 = 2;
/// Initial state, where the superblock has no seed: that of MD4.
const START: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];

/// How names are hashed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher {
    /// `hash_version` of a tree's root.
    pub version: u8,
    unsigned: bool,
    seed: [u32; 4],
}

impl Hasher {
    /// The default one of a filesystem.
    pub(super) fn new(superblock: &Superblock) -> Self {
        let version = superblock.hash_version;
        Self {
            version: if version <= TEA { version } else { HALF_MD4 },
            unsigned: superblock.flags & UNSIGNED_HASH != 0,
            seed: if superblock.hash_seed == [0; 4] {
                START
            } else {
                superblock.hash_seed
            },
        }
    }

    /// That of a tree of `version`; `None` where it is not known.
    pub(super) fn of_version(superblock: &Superblock, version: u8) -> Option<Self> {
        (version <= TEA).then(|| Self {
            version,
            ..Self::new(superblock)
        })
    }

    /// Hash and minor hash of a name. The lowest bit of the hash is 0.
    pub(super) fn hash(&self, name: &[u8]) -> (u32, u32) {
        let mut state = self.seed;
        let (hash, minor) = match self.version {
            LEGACY => (self.legacy(name), 0),
            TEA => {
                for at in (0..name.len()).step_by(16) {
                    tea(&mut state, &self.words(&name[at..]));
                }
                (state[0], state[1])
            }
            _ => {
                for at in (0..name.len()).step_by(32) {
                    half_md4(&mut state, &self.words(&name[at..]));
                }
                (state[1], state[2])
            }
        };
        let hash = hash & !1;
        // The largest value marks the end for readdir.
        (
            if hash == 0xFFFF_FFFE {
                0xFFFF_FFFC
            } else {
                hash
            },
            minor,
        )
    }

    /// A byte as C's `char` of either sign would widen it.
    fn byte(&self, byte: u8) -> u32 {
        if self.unsigned {
            u32::from(byte)
        } else {
            i32::from(byte.cast_signed()).cast_unsigned()
        }
    }

    /// The next `N` words of what is left of a name, filled up with its length.
    fn words<const N: usize>(&self, left: &[u8]) -> [u32; N] {
        let length = u32::try_from(left.len()).unwrap_or(0);
        let half = length | length << 8;
        let padding = half | half << 16;
        let mut words = [padding; N];
        for (word, bytes) in words.iter_mut().zip(left.chunks(4)) {
            *word = bytes.iter().fold(padding, |word, &byte| {
                (word << 8).wrapping_add(self.byte(byte))
            });
        }
        words
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let mut now = 0x12A3_FE2D_u32;
        let mut before = 0x37AB_E8F9_u32;
        for &byte in name {
            let mut next = before.wrapping_add(now ^ self.byte(byte).wrapping_mul(7_152_373));
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7FFF_FFFF);
            }
            (before, now) = (now, next);
        }
        now << 1
    }
}

/// Three rounds of eight steps: (order of the words, what is added, how far each of four steps turns).
const MD4_ROUNDS: [([usize; 8], u32, [u32; 4]); 3] = [
    ([0, 1, 2, 3, 4, 5, 6, 7], 0, [3, 7, 11, 19]),
    ([1, 3, 5, 7, 0, 2, 4, 6], 0x5A82_7999, [3, 5, 9, 13]),
    ([3, 7, 2, 6, 1, 5, 0, 4], 0x6ED9_EBA1, [3, 9, 11, 15]),
];

fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (round, (order, add, turns)) in MD4_ROUNDS.iter().enumerate() {
        for (step, word) in order.iter().enumerate() {
            let mixed = match round {
                0 => d ^ (b & (c ^ d)),
                1 => (b & c).wrapping_add((b ^ c) & d),
                _ => b ^ c ^ d,
            };
            let sum = a
                .wrapping_add(mixed)
                .wrapping_add(words[*word])
                .wrapping_add(*add);
            (a, b, c, d) = (d, sum.rotate_left(turns[step % 4]), b, c);
        }
    }
    for (word, value) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(value);
    }
}

fn tea(state: &mut [u32; 4], words: &[u32; 4]) {
    let [a, b, c, d] = *words;
    let mut x = state[0];
    let mut y = state[1];
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9E37_79B9);
        let mix = |value: u32, k: u32, l: u32| {
            (value << 4).wrapping_add(k) ^ value.wrapping_add(sum) ^ (value >> 5).wrapping_add(l)
        };
        x = x.wrapping_add(mix(y, a, b));
        y = y.wrapping_add(mix(x, c, d));
    }
    state[0] = state[0].wrapping_add(x);
    state[1] = state[1].wrapping_add(y);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `debugfs -R "dx_hash -h VERSION [-s SEED] NAME"` prints.
    #[test]
    fn hashes_are_those_of_debugfs() {
        let long = "a-longer-name-of-more-than-32-bytes-in-all";
        let seed = [0x2143_6587, 0x2143_2143, 0xA9CB_2143, 0x2143_6587];
        let all = [
            (LEGACY, START, "abc", 0x75AF_D992, 0),
            (LEGACY, START, long, 0x7FE6_301A, 0),
            (LEGACY, START, "naïve-ÿ-name", 0x389F_D4A6, 0),
            (HALF_MD4, START, "abc", 0xD196_A868, 0xC420_EB28),
            (HALF_MD4, START, long, 0xF9B9_FC14, 0x23BC_E917),
            (HALF_MD4, START, "naïve-ÿ-name", 0x7EA2_A3F8, 0xFBC2_6DD0),
            (HALF_MD4, seed, "abc", 0x4742_15E6, 0xA45F_6C19),
            (TEA, START, "abc", 0xB143_5EC4, 0x3F7E_AA0E),
            (TEA, START, long, 0x2677_D5EA, 0xB6B6_8BFD),
            (TEA, START, "naïve-ÿ-name", 0x6368_C5E6, 0x220E_EAA9),
            (TEA, seed, "abc", 0x7A0E_FDB6, 0x9D81_4CE6),
        ];
        for (version, seed, name, hash, minor) in all {
            let hasher = Hasher {
                version,
                unsigned: false,
                seed,
            };
            assert_eq!(
                hasher.hash(name.as_bytes()),
                (hash, minor),
                "{version} {name}"
            );
        }
        let unsigned = Hasher {
            version: HALF_MD4,
            unsigned: true,
            seed: START,
        };
        assert_eq!(unsigned.hash(b"abc"), (0xD196_A868, 0xC420_EB28));
        assert_ne!(unsigned.hash("naïve-ÿ-name".as_bytes()).0, 0x7EA2_A3F8);
    }
}
