//! Butane configs: what becomes of each, judged by Ignition's own validator, and what people are told.

mod bake;
mod cli;
mod hostile;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flatbake::Finding;
use flatbake::flatcar::butane::{TranslateOptions, Translated, translate};
use flate2::read::GzDecoder;
use serde_json::Value;

use crate::common::longer;
use crate::common::programs::{ask, said};
use crate::common::random::Random;

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/butane")
        .join(path)
}

/// One config of `testdata/butane/cases.txt`.
struct Case {
    name: String,
    text: String,
    found: Vec<String>,
    becomes: Option<String>,
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(testdata("cases.txt")).unwrap();
    text.split("\n=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (name, text) = text.split_once('\n').unwrap();
    let (text, becomes) = match text.split_once("--- becomes\n") {
        Some((text, becomes)) => (text, Some(becomes.trim_end().to_owned())),
        None => (text, None),
    };
    let (text, found) = text.split_once("--- found\n").unwrap_or((text, ""));
    Case {
        name: name.to_owned(),
        text: text.to_owned(),
        found: found.lines().map(str::to_owned).collect(),
        becomes,
    }
}

fn translated(text: &[u8]) -> Translated {
    let folder = testdata("files");
    let mut options = TranslateOptions::new("case");
    options.folder = Some(&folder);
    translate(text, &options)
}

/// A finding as the file of cases has it.
fn line(finding: &Finding) -> String {
    let place: Vec<&str> = finding.place().collect();
    format!(
        "{} {} {}",
        finding.severity(),
        finding.code().word,
        place.join(" ")
    )
}

#[test]
fn configs_become_what_they_should_and_faults_are_told_with_their_places() {
    let cases = cases();
    assert!(cases.len() >= 70, "{}", cases.len());
    for case in cases {
        let translated = translated(case.text.as_bytes());
        let found: Vec<String> = translated.findings.iter().map(line).collect();
        assert_eq!(
            found, case.found,
            "{}: {:?}",
            case.name, translated.findings
        );
        assert_eq!(translated.json(false), case.becomes, "{}", case.name);
        let pretty = translated.json(true);
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(
            pretty.as_deref().map(value),
            case.becomes.as_deref().map(value),
            "{}",
            case.name
        );
    }
}

/// Whether Debian's validator takes a config; none where it is not installed.
fn is_valid(json: &str) -> Option<Result<(), String>> {
    let output = ask("ignition-validate", ["-"], json.as_bytes())?;
    Some(if output.status.success() {
        Ok(())
    } else {
        Err(said(&output))
    })
}

#[test]
fn translations_pass_the_validator_of_ignition() {
    let mut count = 0;
    for case in cases() {
        let Some(json) = case.becomes else { continue };
        // It does not know Flatcar's own scheme, and of 3.4 only what is as it was in 3.3.
        let json = json.replace("\"version\":\"3.4.0\"", "\"version\":\"3.3.0\"");
        if json.contains("oem://") || json.contains("experimental") {
            continue;
        }
        match is_valid(&json) {
            None => return,
            Some(verdict) => assert_eq!(verdict, Ok(()), "{}: {json}", case.name),
        }
        count += 1;
    }
    assert!(count >= 40, "{count}");
    let broken = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"x"}]}}"#;
    assert!(is_valid(broken).unwrap().is_err(), "the judge says no, too");
}

#[test]
fn examples_translate_without_a_finding() {
    let mut count = 0;
    for entry in fs::read_dir(testdata("examples")).unwrap() {
        let path = entry.unwrap().path();
        let translated = translated(&fs::read(&path).unwrap());
        assert!(
            translated.findings.is_empty(),
            "{}: {:?}",
            path.display(),
            translated.findings
        );
        let json = translated.json(false).unwrap();
        let json = json.replace("\"version\":\"3.4.0\"", "\"version\":\"3.3.0\"");
        // The validator does not know Flatcar's own scheme.
        let json = json.replace("oem:///", "https://oem/");
        if let Some(verdict) = is_valid(&json) {
            assert_eq!(verdict, Ok(()), "{}", path.display());
        }
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

/// The content of a resource, decoded without flatbake.
fn decoded(resource: &Value) -> Vec<u8> {
    let source = resource["source"].as_str().unwrap();
    let data = match source.strip_prefix("data:;base64,") {
        Some(text) => STANDARD.decode(text).unwrap(),
        None => {
            let text = source.strip_prefix("data:,").unwrap();
            let mut bytes = Vec::new();
            let mut rest = text.as_bytes();
            while let Some((&first, behind)) = rest.split_first() {
                if first == b'%' {
                    let digits = std::str::from_utf8(&behind[..2]).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &behind[2..];
                } else {
                    bytes.push(first);
                    rest = behind;
                }
            }
            bytes
        }
    };
    if resource["compression"] != "gzip" {
        return data;
    }
    let mut content = Vec::new();
    GzDecoder::new(data.as_slice())
        .read_to_end(&mut content)
        .unwrap();
    content
}

#[test]
fn content_comes_out_as_it_was_written() {
    let mut random = Random::new(5);
    for round in 0..longer(300) {
        let seed = random.bytes(80);
        let len = usize::from(seed[0]) % 70;
        // Long runs of few letters are compressed, bytes of all kinds are not.
        let letters: Vec<char> = if round % 3 == 0 {
            "ab \n".chars().collect()
        } else {
            " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~äé€😀\n\tabcXYZ019"
                .chars()
                .collect()
        };
        let mut text = String::new();
        for byte in &seed[1..=len] {
            text.push(letters[usize::from(*byte) % letters.len()]);
        }
        if round % 5 == 0 {
            text = text.repeat(20);
        }
        let quoted = serde_json::to_string(&text).unwrap();
        let config = format!(
            "variant: flatcar\nversion: 1.1.0\nstorage: {{files: [{{path: /a, contents: {{inline: {quoted}}}}}]}}\n"
        );
        let translated = translated(config.as_bytes());
        let json = translated.json(false);
        let json = json.unwrap_or_else(|| panic!("{config}: {:?}", translated.findings));
        let value: Value = serde_json::from_str(&json).unwrap();
        let contents = &value["storage"]["files"][0]["contents"];
        assert_eq!(decoded(contents), text.as_bytes(), "{config}: {json}");
    }
}

#[test]
fn without_a_folder_no_local_file_is_read() {
    let text = "variant: flatcar\nversion: 1.1.0\nstorage: {trees: [{local: tree}], files: [{path: /a, contents: {local: hello.txt}}]}\n";
    let translated = translate(text.as_bytes(), &TranslateOptions::new("case"));
    let words: Vec<&str> = translated
        .findings
        .iter()
        .map(|finding| finding.code().word)
        .collect();
    assert_eq!(words, ["butane-local", "butane-tree"]);
    assert_eq!(translated.json(false), None);
}
