//! Text within the languages of config files.

use std::borrow::Cow;

/// A word of a POSIX shell: between single quotes, in which only those have a meaning.
pub(super) fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A word of a shell as people would type it: quoted only where it must be.
pub(super) fn typed(text: &str) -> Cow<'_, str> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | '/');
    if text.is_empty() || text.starts_with('-') || !text.chars().all(plain) {
        return Cow::Owned(shell(text));
    }
    Cow::Borrowed(text)
}

/// A string of Ruby between single quotes, in which nothing is replaced but `\\` and `\'`.
pub(super) fn ruby(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A value of a `.vmx` file: between double quotes, with `|` and two hexadecimal digits for what would be misread.
pub(super) fn vmx(text: &str) -> String {
    let escaped = text
        .replace('|', "|7C")
        .replace('"', "|22")
        .replace('#', "|23");
    format!("\"{escaped}\"")
}

/// A string of an `xl` config file: between double quotes, with backslashes as in C.
pub(super) fn xl(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_its_quotes() {
        let hostile = r#"a'b"c\d|e#{f}`g`$(h)"#;
        assert_eq!(shell(hostile), r#"'a'\''b"c\d|e#{f}`g`$(h)'"#);
        assert_eq!(ruby(hostile), r#"'a\'b"c\\d|e#{f}`g`$(h)'"#);
        assert_eq!(vmx(hostile), r#""a'b|22c\d|7Ce|23{f}`g`$(h)""#);
        assert_eq!(xl(hostile), r#""a'b\"c\\d|e#{f}`g`$(h)""#);
        assert_eq!(
            (typed("a.b-c"), typed("-a"), typed("a b")),
            ("a.b-c".into(), "'-a'".into(), "'a b'".into())
        );
    }
}
