//! The shell is the judge of os-release files: whatever is quoted as os-release(5) says, both read the same.

use std::fmt::Write;
use std::path::Path;

use crate::common::programs::command;
use flatbake::flatcar::OsRelease;

#[test]
fn the_shell_reads_the_same() {
    let mut state = 11u64;
    let mut next = |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let signs = [
        'a', 'Z', '0', ' ', '\t', '\'', '"', '\\', '$', '`', '#', ';', '=', '\n', 'ü', '(', '*',
        '~', '&',
    ];
    let mut file = String::new();
    let mut values = Vec::new();
    for number in 0..500 {
        let value: String = (0..next(12)).map(|_| signs[next(signs.len())]).collect();
        let escaped = |special: &str| {
            value.chars().fold(String::new(), |text, c| {
                text + if special.contains(c) { "\\" } else { "" } + &c.to_string()
            })
        };
        let quoted = match next(3) {
            0 if !value.contains('\'') => format!("'{value}'"),
            1 if value.chars().all(char::is_alphanumeric) => value.clone(),
            // A newline cannot be escaped outside of quotes.
            2 if !value.contains('\n') => escaped(" \t'\"\\$`#;=(*~&"),
            _ => format!("\"{}\"", escaped("\"\\$`")),
        };
        writeln!(file, "V{number}={quoted}\n# comment with ' and \" {number}").unwrap();
        values.push(value);
    }
    let ours = OsRelease::parse(file.as_bytes()).unwrap();
    for (number, value) in values.iter().enumerate() {
        assert_eq!(ours.get(&format!("V{number}")), Some(value.as_str()));
    }

    let mut asked = file.clone();
    (0..values.len()).for_each(|number| writeln!(asked, "printf '%s\\0' \"$V{number}\"").unwrap());
    let shell = command(Path::new("sh"))
        .args(["-c", &asked])
        .output()
        .unwrap();
    assert!(shell.status.success(), "{shell:?}");
    let theirs = String::from_utf8(shell.stdout).unwrap();
    assert_eq!(theirs.split_terminator('\0').collect::<Vec<_>>(), values);
}
