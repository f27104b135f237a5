//! Damaged configs give a translation or findings, soon.

use std::time::{Duration, Instant};

use super::{cases, translated};
use crate::common::longer;
use crate::common::random::Random;

/// Far more than one of these small configs takes.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn mutated_configs_are_translated_or_refused() {
    let mut random = Random::new(11);
    let cases = cases();
    let marks = b"[]{}:-?&*!|>'\"%@`#,\n \t$=\\\0\xff0/.";
    for round in 0..longer(2500) {
        let noise = random.bytes(8);
        let number = |at: usize| usize::from(noise[at]) << 8 | usize::from(noise[at + 1]);
        let mut bytes = cases[number(6) % cases.len()].text.clone().into_bytes();
        bytes.push(b'\n');
        for step in 0..=usize::try_from(round % 3).unwrap() {
            let at = number(step) % bytes.len();
            let mark = marks[number(step + 2) % marks.len()];
            match noise[4 + step] % 4 {
                0 => bytes[at] = mark,
                1 => bytes.insert(at, mark),
                2 => drop(bytes.drain(at..(at + usize::from(noise[5]) % 40).min(bytes.len()))),
                _ => bytes[at] ^= 1 << (noise[5] % 8),
            }
            if bytes.is_empty() {
                bytes.push(b'\n');
            }
        }
        let begin = Instant::now();
        let translated = translated(&bytes);
        assert!(begin.elapsed() < SOON, "round {round}");
        let has_errors = translated.findings.iter().any(|finding| finding.stops());
        assert_eq!(
            translated.json(false).is_none(),
            has_errors,
            "round {round}: {:?}",
            translated.findings
        );
        if let Some(json) = translated.json(false) {
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
        for finding in &translated.findings {
            let place = finding.place().next().unwrap();
            assert!(place.contains("case:"), "round {round}: {finding}");
        }
    }
}

#[test]
fn hostile_shapes_end_soon() {
    let head = "variant: flatcar\nversion: 1.1.0\n";
    let many = |text: &str| text.repeat(400_000 / text.len());
    let mut texts: Vec<Vec<u8>> = [
        "[", "{", "{a: ", "- ", "? ", "a:\n ", "&a ", "*a ", "!a ", "'", "\"\\", "| \n", "%",
        "[a, ", "--- ",
    ]
    .iter()
    .map(|text| format!("{head}storage: {}", many(text)).into_bytes())
    .collect();
    let mut bomb = format!("{head}a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    texts.push(bomb.into_bytes());
    // Many entries that are all wrong, of which a bounded number is told.
    let wrong = "    - {path: x, mode: 99999, foo: 1}\n";
    texts.push(format!("{head}storage:\n  files:\n{}", many(wrong)).into_bytes());
    let key = format!("{head}{}: 1\n", "k".repeat(100_000));
    texts.push(key.into_bytes());
    texts.push(b"variant: flatcar\nversion: 1.1.0\nstorage: \xff\xfe\n".to_vec());
    texts.push(b"variant: flatcar\0\n".to_vec());
    texts.push(vec![0; 100_000]);
    for text in texts {
        let shown = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        let begin = Instant::now();
        let translated = translated(&text);
        assert!(begin.elapsed() < SOON, "{shown} took {:?}", begin.elapsed());
        assert!(!translated.findings.is_empty(), "{shown}");
        assert!(translated.findings.len() <= 201, "{shown}");
        let longest = translated
            .findings
            .iter()
            .map(|f| f.to_string().len())
            .max();
        assert!(longest < Some(100_400), "{shown}");
    }
}
