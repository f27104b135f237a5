//! Damaged manifests give a result or an error, soon.

use std::fs;
use std::time::{Duration, Instant};

use flatbake::manifest::{self, LoadOptions};

use crate::common::{longer, random::Random};
use crate::manifest::folder;

/// Far more than one of these small manifests takes.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn mutated_manifests_are_read_or_refused() {
    let dir = folder();
    for name in ["full.yaml", "full.toml"] {
        let original = fs::read(dir.path().join(name)).unwrap();
        let mut random = Random::new(7);
        let path = dir.path().join(format!("mutated-{name}"));
        let marks = b"[]{}:-?&*!|>'\"%@`#,\n \t$=\\\0\xff";
        for round in 0..longer(1500) {
            let mut bytes = original.clone();
            for _ in 0..=round % 4 {
                let noise = random.bytes(8);
                let number = |at: usize| usize::from(noise[at]) << 8 | usize::from(noise[at + 1]);
                let at = number(0) % bytes.len();
                let mark = marks[number(2) % marks.len()];
                match noise[4] % 4 {
                    0 => bytes[at] = mark,
                    1 => bytes.insert(at, mark),
                    2 => drop(bytes.drain(at..(at + number(5) % 40).min(bytes.len()))),
                    _ => bytes[at] ^= 1 << (noise[5] % 8),
                }
            }
            fs::write(&path, &bytes).unwrap();
            let begin = Instant::now();
            let result = manifest::load(&path, &LoadOptions::default());
            assert!(begin.elapsed() < SOON, "round {round} of {name}");
            if let Err(error) = result {
                let named = error.to_string().contains(&format!("mutated-{name}:"));
                assert!(named, "round {round} of {name}: {error:?}");
            }
        }
    }
}

#[test]
fn hostile_shapes_end_soon() {
    let dir = folder();
    let path = dir.path().join("hostile.yaml");
    let toml = dir.path().join("hostile.toml");
    let many = |text: &str| text.repeat(400_000 / text.len());
    for text in [
        "[", "{", "{a: ", "- ", "? ", "a:\n ", "&a ", "*a ", "!a ", "'", "\"\\", "| \n", "# \n",
        "a: b\n", "%", "[a, ", "--- ", "[[a]]\n", "a.", "a = [",
    ] {
        for path in [&path, &toml] {
            let begin = Instant::now();
            fs::write(path, many(text)).unwrap();
            assert!(
                manifest::load(path, &LoadOptions::default()).is_err(),
                "{text}"
            );
            assert!(
                begin.elapsed() < SOON,
                "{text:?} took {:?}",
                begin.elapsed()
            );
        }
    }
    fs::write(&path, vec![b'#'; 5 << 20]).unwrap();
    let error = manifest::load(&path, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("at most"), "{error:?}");
}
