//! Whole numbers as Butane reads them: `0644` is octal.

use crate::document::{Kind, Scalar};

/// Largest number without a fraction that every reader of JSON keeps.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// The number of a scalar, where it is a whole one.
pub(super) fn integer(scalar: &Scalar) -> Option<i64> {
    match scalar.kind {
        Kind::Integer => parse(&scalar.text),
        Kind::Float => whole(scalar.float()?),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i64> {
    let digits = text.trim_start_matches(['+', '-']);
    let sign = &text[..text.len() - digits.len()];
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

/// `1e3` and `5.0` are whole.
fn whole(number: f64) -> Option<i64> {
    let is_whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    // Printed without an exponent or a fraction.
    is_whole.then(|| format!("{number:.0}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        let number = |text: &str, kind| {
            integer(&Scalar {
                text: text.to_owned(),
                kind,
            })
        };
        for (text, expected) in [
            ("0644", Some(420)),
            ("0o644", Some(420)),
            ("420", Some(420)),
            ("0x1A4", Some(420)),
            ("-5", Some(-5)),
            ("+5", Some(5)),
            ("0", Some(0)),
            ("0888", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(number(text, Kind::Integer), expected, "{text}");
        }
        for (text, expected) in [
            ("1e3", Some(1000)),
            ("-2.0", Some(-2)),
            ("0.5", None),
            ("1e300", None),
        ] {
            assert_eq!(number(text, Kind::Float), expected, "{text}");
        }
        assert_eq!(number("0644", Kind::Text), None);
    }
}
