//! Bytes at two places of the same data, compared eight at a time.

/// 4 bytes at `at`, which must lie inside.
#[inline(always)]
pub(super) fn load32(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*data[at..].first_chunk().expect("the caller leaves 4 bytes"))
}

/// How many bytes at `a` and `b` (`a` < `b`) are equal, up to `max`.
#[inline(always)]
pub(super) fn equal_bytes(data: &[u8], a: usize, b: usize, max: usize) -> usize {
    let left = &data[a..a + max];
    let right = &data[b..b + max];
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    let mut len = 0;
    for (left, right) in left_words.iter().zip(right_words) {
        let different = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        if different != 0 {
            return len + different.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + left_rest
        .iter()
        .zip(right_rest)
        .take_while(|(left, right)| left == right)
        .count()
}
