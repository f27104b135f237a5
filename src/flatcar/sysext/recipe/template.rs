//! URLs with words in braces.

use std::collections::BTreeMap;

/// Puts values in the place of `{word}`.
///
/// # Errors
/// What is wrong, in words: a brace without its other one, a word that is not known.
pub(super) fn fill(text: &str, values: &BTreeMap<&str, &str>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (word, after) = behind
            .split_once('}')
            .ok_or("a brace is opened and not closed")?;
        let Some(value) = values.get(word) else {
            let known: Vec<String> = values.keys().map(|word| format!("{{{word}}}")).collect();
            return Err(format!(
                "'{{{}}}' is not one of {}",
                word.escape_debug(),
                known.join(", ")
            ));
        };
        filled.push_str(plain(before)?);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(plain(rest)?);
    Ok(filled)
}

/// A text between words.
fn plain(text: &str) -> Result<&str, String> {
    match text.contains('}') {
        true => Err("a brace is closed and was not opened".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_braces_are_filled_in_and_others_refused() {
        let values = BTreeMap::from([("arch", "amd64"), ("version", "1.2")]);
        let filled = |text: &str| fill(text, &values);
        assert_eq!(filled("a/{version}/b-{arch}").unwrap(), "a/1.2/b-amd64");
        assert_eq!(filled("plain").unwrap(), "plain");
        for bad in ["{version", "version}", "}{version}", "{other}", "{}"] {
            assert!(filled(bad).is_err(), "{bad}");
        }
        assert!(filled("{os}").unwrap_err().contains("{arch}, {version}"));
    }
}
