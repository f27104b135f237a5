//! The order of names that systemd merges extensions in: that of versions (UAPI.10, "Version Format").

use std::cmp::Ordering;

/// Compares two names; the greater one comes on top.
pub fn compare_names(a: &str, b: &str) -> Ordering {
    compare(a.as_bytes(), b.as_bytes()).then_with(|| a.cmp(b))
}

/// What a version consists of; other characters only part these from one another.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"~-^.".contains(&byte)
}

fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        a = behind(a, |byte| !is_part(byte));
        b = behind(b, |byte| !is_part(byte));
        if let Some(order) = mark(b'~', &mut a, &mut b) {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        for parting in [b'-', b'^', b'.'] {
            if let Some(order) = mark(parting, &mut a, &mut b) {
                return order;
            }
        }
        let digits = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let order = if digits(a) || digits(b) {
            let (number_a, rest_a) = split(a, |byte| byte.is_ascii_digit());
            let (number_b, rest_b) = split(b, |byte| byte.is_ascii_digit());
            (a, b) = (rest_a, rest_b);
            let has_a = !number_a.is_empty();
            let has_b = !number_b.is_empty();
            let number_a = behind(number_a, |byte| byte == b'0');
            let number_b = behind(number_b, |byte| byte == b'0');
            has_a
                .cmp(&has_b)
                .then_with(|| number_a.len().cmp(&number_b.len()))
                .then_with(|| number_a.cmp(number_b))
        } else {
            let (word_a, rest_a) = split(a, |byte| byte.is_ascii_alphabetic());
            let (word_b, rest_b) = split(b, |byte| byte.is_ascii_alphabetic());
            (a, b) = (rest_a, rest_b);
            word_a.cmp(word_b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Passes a character that both texts go on with; where only one does, that one comes first.
fn mark(wanted: u8, a: &mut &[u8], b: &mut &[u8]) -> Option<Ordering> {
    let rest_a = a.strip_prefix(&[wanted]);
    let rest_b = b.strip_prefix(&[wanted]);
    match (rest_a, rest_b) {
        (Some(rest_a), Some(rest_b)) => {
            *a = rest_a;
            *b = rest_b;
            None
        }
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

/// The text behind the bytes in front that fit.
fn behind(text: &[u8], fits: impl Fn(u8) -> bool) -> &[u8] {
    split(text, fits).1
}

/// The bytes in front that fit, and what is behind them.
fn split(text: &[u8], fits: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| !fits(byte));
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name comes before the next.
    #[test]
    fn names_are_in_the_order_of_versions() {
        // A dash comes before what goes on otherwise, the end before both.
        let rows: [&[&str]; 4] = [
            &["1.0~rc1", "1.0", "1.0.1", "1.1", "1.10", "2"],
            &["a", "a-1", "a.1", "a1", "aa", "b"],
            &["docker", "docker-compose", "docker2"],
            &["k3s", "k10s", "k10s2"],
        ];
        for row in rows {
            for pair in row.windows(2) {
                assert_eq!(compare_names(pair[0], pair[1]), Ordering::Less, "{pair:?}");
                assert_eq!(
                    compare_names(pair[1], pair[0]),
                    Ordering::Greater,
                    "{pair:?}"
                );
            }
        }
        assert_eq!(compare_names("x", "x"), Ordering::Equal);
        assert_eq!(
            compare("1.02".as_bytes(), "1.2".as_bytes()),
            Ordering::Equal
        );
    }
}
