//! The code page of short names: IBM's 437, which FAT has where nothing else is said.

/// Characters of the bytes from 0x80 on.
#[rustfmt::skip]
const HIGH: [char; 128] = [
    'Ç', 'ü', 'é', 'â', 'ä', 'à', 'å', 'ç', 'ê', 'ë', 'è', 'ï', 'î', 'ì', 'Ä', 'Å',
    'É', 'æ', 'Æ', 'ô', 'ö', 'ò', 'û', 'ù', 'ÿ', 'Ö', 'Ü', '¢', '£', '¥', '₧', 'ƒ',
    'á', 'í', 'ó', 'ú', 'ñ', 'Ñ', 'ª', 'º', '¿', '⌐', '¬', '½', '¼', '¡', '«', '»',
    '░', '▒', '▓', '│', '┤', '╡', '╢', '╖', '╕', '╣', '║', '╗', '╝', '╜', '╛', '┐',
    '└', '┴', '┬', '├', '─', '┼', '╞', '╟', '╚', '╔', '╩', '╦', '╠', '═', '╬', '╧',
    '╨', '╤', '╥', '╙', '╘', '╒', '╓', '╫', '╪', '┘', '┌', '█', '▄', '▌', '▐', '▀',
    'α', 'ß', 'Γ', 'π', 'Σ', 'σ', 'µ', 'τ', 'Φ', 'Θ', 'Ω', 'δ', '∞', 'φ', 'ε', '∩',
    '≡', '±', '≥', '≤', '⌠', '⌡', '÷', '≈', '°', '∙', '·', '√', 'ⁿ', '²', '■', '\u{a0}',
];

/// The character of a byte.
pub(super) fn decode(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        Some(index) => HIGH[usize::from(index)],
        None => char::from(byte),
    }
}

/// The byte of a character that is not ASCII; `None` where the code page lacks it.
pub(super) fn encode(character: char) -> Option<u8> {
    let index = HIGH.iter().position(|known| *known == character)?;
    u8::try_from(index + 0x80).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0x80..=0xFF {
            assert_eq!(encode(decode(byte)), Some(byte));
        }
        assert_eq!(
            (decode(b'A'), decode(0x82), decode(0x9B), decode(0xFF)),
            ('A', 'é', '¢', '\u{a0}')
        );
        assert_eq!((encode('😀'), encode('A')), (None, None));
    }
}
