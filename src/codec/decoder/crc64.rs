//! CRC-64 as the .xz format uses it (section 6): polynomial of ECMA-182, bits reversed.

/// The polynomial with its bits reversed.
const POLYNOMIAL: u64 = 0xc96c_5795_d787_0f42;
/// `TABLES[n][byte]`: what `byte` followed by `n` zero bytes does to the remainder; eight bytes are done at once.
const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[table - 1][byte];
            tables[table][byte] = crc >> 8 ^ tables[0][(crc & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A checksum of the bytes passed to it so far.
#[derive(Debug, Clone)]
pub(super) struct Crc64(u64);

impl Crc64 {
    pub(super) fn new() -> Self {
        Self(!0)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let mut mixed = self.0.to_le_bytes();
            mixed.iter_mut().zip(word).for_each(|(byte, with)| *byte ^= with);
            self.0 =
                mixed.iter().zip(TABLES.iter().rev()).fold(0, |crc, (&byte, table)| crc ^ table[usize::from(byte)]);
        }
        for byte in words.remainder() {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = self.0 >> 8 ^ TABLES[0][usize::from(low ^ byte)];
        }
    }

    pub(super) fn value(&self) -> u64 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_published_check_value() {
        let mut crc = Crc64::new();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0x995d_c9bb_df19_39fa);
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut whole = Crc64::new();
        whole.update(&bytes);
        let mut pieces = Crc64::new();
        bytes.chunks(7).for_each(|piece| pieces.update(piece));
        assert_eq!(whole.value(), pieces.value());
    }
}
