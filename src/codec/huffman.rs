//! Huffman codes of limited length, and their canonical form in RFC 1951.

/// The longest code of deflate, in bits; other formats have shorter ones.
pub(super) const MAX_BITS: usize = 15;

/// Code lengths in bits for symbols with these frequencies, none longer than `max_bits`; 0: not used.
///
/// At least two symbols get a code: readers refuse incomplete codes here and there.
pub(super) fn code_lengths<const N: usize>(frequencies: &[u32; N], max_bits: usize) -> [u8; N] {
    let with_symbol = frequencies.iter().zip(0..);
    let (mut leaves, unused): (Vec<(u32, usize)>, Vec<_>) = with_symbol
        .map(|(&frequency, symbol)| (frequency, symbol))
        .partition(|leaf| leaf.0 > 0);
    leaves.extend(unused.iter().take(2usize.saturating_sub(leaves.len())));
    leaves.sort_unstable();
    let mut counts = limit(depth_counts(&leaves), max_bits);
    // The rarest symbols get the longest codes.
    let mut lengths = [0; N];
    let mut bits = max_bits;
    for (_, symbol) in leaves {
        while counts[bits] == 0 {
            bits -= 1;
        }
        counts[bits] -= 1;
        lengths[symbol] = u8::try_from(bits).expect("at most 15");
    }
    lengths
}

/// How many leaves of the Huffman tree lie at each depth; deeper ones than [`MAX_BITS`] are counted there.
fn depth_counts(leaves: &[(u32, usize)]) -> [u32; MAX_BITS + 1] {
    let count = leaves.len();
    // Nodes in the order of their weight: leaves and inner nodes are each sorted, the two lightest are joined.
    let mut weights: Vec<u32> = Vec::with_capacity(count);
    let mut parents = vec![0; 2 * count];
    let mut leaf = 0;
    let mut inner = 0;
    for node in 0..count - 1 {
        let mut weight = 0;
        for _ in 0..2 {
            if leaf < count && (inner == weights.len() || leaves[leaf].0 <= weights[inner]) {
                weight += leaves[leaf].0;
                parents[leaf] = node;
                leaf += 1;
            } else {
                weight += weights[inner];
                parents[count + inner] = node;
                inner += 1;
            }
        }
        weights.push(weight);
    }
    let mut depths = vec![0; count - 1];
    for node in (0..count - 2).rev() {
        depths[node] = depths[parents[count + node]] + 1;
    }
    let mut counts = [0; MAX_BITS + 1];
    for leaf in 0..count {
        counts[(depths[parents[leaf]] + 1).min(MAX_BITS)] += 1;
    }
    counts
}

/// Moves leaves up to `max_bits` and others down until the code is complete again.
fn limit(mut counts: [u32; MAX_BITS + 1], max_bits: usize) -> [u32; MAX_BITS + 1] {
    for bits in max_bits + 1..=MAX_BITS {
        counts[max_bits] += std::mem::take(&mut counts[bits]);
    }
    let mut used: u32 = (1..=max_bits)
        .map(|bits| counts[bits] << (max_bits - bits))
        .sum();
    while used > 1 << max_bits {
        // A leaf above becomes an inner node with two leaves, one of them taken from the bottom.
        let bits = (1..max_bits)
            .rev()
            .find(|&bits| counts[bits] > 0)
            .expect("some leaf lies above the bottom");
        counts[bits] -= 1;
        counts[bits + 1] += 2;
        counts[max_bits] -= 1;
        used -= 1;
    }
    counts
}

/// A code as it is written, first bit lowest, and its length in bits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Code {
    pub code: u32,
    pub bits: u32,
}

/// The canonical code for `lengths`.
pub(super) fn codes<const N: usize>(lengths: &[u8; N]) -> [Code; N] {
    let mut counts = [0u32; MAX_BITS + 1];
    for &bits in lengths {
        counts[usize::from(bits)] += 1;
    }
    counts[0] = 0;
    let mut next = [0u32; MAX_BITS + 2];
    for bits in 1..=MAX_BITS {
        next[bits + 1] = (next[bits] + counts[bits]) << 1;
    }
    std::array::from_fn(|symbol| {
        let bits = u32::from(lengths[symbol]);
        if bits == 0 {
            return Code::default();
        }
        let next = &mut next[bits as usize];
        let code = next.reverse_bits() >> (32 - bits);
        *next += 1;
        Code { code, bits }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kraft(lengths: &[u8]) -> u64 {
        lengths
            .iter()
            .filter(|&&bits| bits > 0)
            .map(|&bits| 1 << (MAX_BITS - usize::from(bits)))
            .sum()
    }

    #[test]
    fn the_example_of_the_specification() {
        let codes = codes(&[3, 3, 3, 3, 3, 2, 4, 4]);
        let written: Vec<String> = codes
            .iter()
            .map(|code| {
                format!(
                    "{:0w$b}",
                    code.code.reverse_bits() >> (32 - code.bits),
                    w = code.bits as usize
                )
            })
            .collect();
        assert_eq!(
            written,
            ["010", "011", "100", "101", "110", "00", "1110", "1111"]
        );
    }

    #[test]
    fn fibonacci_weights_are_limited() {
        let mut frequencies = [1u32; 30];
        for n in 2..30 {
            frequencies[n] = frequencies[n - 1] + frequencies[n - 2];
        }
        for max_bits in [7, 15] {
            let lengths = code_lengths(&frequencies, max_bits);
            assert_eq!(usize::from(*lengths.iter().max().unwrap()), max_bits);
            assert_eq!(kraft(&lengths), 1 << MAX_BITS);
        }
        assert_eq!(code_lengths(&[5, 1, 1, 2], 15), [1, 3, 3, 2]);
    }

    proptest! {
        #[test]
        fn codes_are_complete(pairs in prop::collection::vec((0..19usize, 0..100_000u32), 0..40), max_bits in 5..=15usize) {
            let mut frequencies = [0; 19];
            for (symbol, frequency) in pairs {
                frequencies[symbol] = frequency;
            }
            let lengths = code_lengths(&frequencies, max_bits);
            prop_assert_eq!(kraft(&lengths), 1 << MAX_BITS);
            prop_assert!(lengths.iter().all(|&bits| usize::from(bits) <= max_bits));
            prop_assert!((0..19).all(|symbol| frequencies[symbol] == 0 || lengths[symbol] > 0));
        }
    }
}
