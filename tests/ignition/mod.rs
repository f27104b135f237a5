//! Ignition configs: what is found in each agrees with Ignition's own validator, or differs for a reason.

mod applied;
mod no_boot;
mod rehearsal;
mod rehearsal_random;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use flatbake::Severity;
use flatbake::flatcar::ignition::{CheckOptions, Checked, ConfigKind, check};
use flatbake::flatcar::unit_file;

use crate::common::longer;
use crate::common::programs::{ask, said};
use crate::common::random::Random;

/// Far more than one of these small configs takes.
const SOON: Duration = Duration::from_secs(20);

/// One config of `testdata/ignition/cases.txt`.
struct Case {
    name: String,
    verdict: String,
    differs: Option<String>,
    config: String,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ignition/cases.txt");
    let text = fs::read_to_string(path).unwrap();
    text.split("\n=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (head, config) = text.split_once('\n').unwrap();
    let (head, differs) = match head.split_once(" differs: ") {
        Some((head, reason)) => (head, Some(reason.to_owned())),
        None => (head, None),
    };
    let (name, verdict) = head.rsplit_once(": ").unwrap();
    Case {
        name: name.to_owned(),
        verdict: verdict.to_owned(),
        differs,
        config: config.trim_end().to_owned(),
    }
}

fn checked(config: &[u8]) -> Checked {
    let options = CheckOptions {
        name: "case",
        ..CheckOptions::default()
    };
    check(config, &options)
}

/// The severity of the worst finding, and the codes of all.
fn verdict(checked: &Checked) -> String {
    let worst = checked
        .findings
        .iter()
        .map(|finding| finding.severity())
        .max();
    let mut words = vec![worst.map_or("ok".to_owned(), |severity| severity.to_string())];
    let mut codes: Vec<&str> = checked
        .findings
        .iter()
        .map(|finding| finding.code().word)
        .collect();
    codes.sort_unstable();
    codes.dedup();
    words.extend(codes.into_iter().map(str::to_owned));
    words.join(" ")
}

#[test]
fn configs_have_the_findings_they_should() {
    let cases = cases();
    assert!(cases.len() >= 280, "{}", cases.len());
    for case in cases {
        let checked = checked(case.config.as_bytes());
        assert_eq!(
            verdict(&checked),
            case.verdict,
            "{}: {:?}",
            case.name,
            checked.findings
        );
        for finding in &checked.findings {
            assert!(
                finding.place().next().unwrap().contains("case"),
                "{}: {finding}",
                case.name
            );
        }
    }
}

#[test]
fn findings_agree_with_the_validator_of_ignition() {
    let (mut agreed, mut differed) = (0, 0);
    for case in cases() {
        let is_later = ["3.4.0\"", "3.5.0\"", "3.6.0\""]
            .iter()
            .any(|version| case.config.contains(version));
        if is_later {
            continue;
        }
        let Some(output) = ask("ignition-validate", ["-"], case.config.as_bytes()) else {
            return;
        };
        let is_refused = case.verdict.starts_with("error");
        let agrees = is_refused != output.status.success();
        assert_eq!(
            agrees,
            case.differs.is_none(),
            "{}: {}",
            case.name,
            said(&output)
        );
        if agrees { agreed += 1 } else { differed += 1 }
    }
    assert!(
        agreed >= 250 && differed <= 25,
        "{agreed} agree, {differed} differ"
    );
}

#[test]
fn what_is_no_config_is_told_for_what_it_is() {
    for (content, kind, word) in [
        (
            &b"#cloud-config\nusers: []\n"[..],
            ConfigKind::CloudConfig,
            "ignition-ignored",
        ),
        (b"#!/bin/sh\n", ConfigKind::Script, "ignition-ignored"),
        (
            b"Content-Type: multipart/mixed; boundary=x\n",
            ConfigKind::Multipart,
            "ignition-ignored",
        ),
        (
            b"variant: flatcar\nversion: 1.0.0\n",
            ConfigKind::Butane,
            "ignition-is-butane",
        ),
        (b"", ConfigKind::Unknown, "ignition-invalid"),
        (
            b"{\"a\": \"\xff\"}",
            ConfigKind::Unknown,
            "ignition-invalid",
        ),
        (b"\0\0\0\0", ConfigKind::Unknown, "ignition-invalid"),
    ] {
        let checked = checked(content);
        assert_eq!(checked.kind, kind);
        assert_eq!(
            checked.findings[0].code().word,
            word,
            "{:?}",
            checked.findings
        );
    }
}

#[test]
fn configs_in_configs_are_looked_into_so_deep() {
    let mut config =
        r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"x"}]}}"#.to_owned();
    for depth in 0..8 {
        let checked = checked(config.as_bytes());
        let has_errors = checked
            .findings
            .iter()
            .any(|finding| finding.severity() == Severity::Error);
        assert_eq!(
            has_errors,
            depth <= 4,
            "depth {depth}: {:?}",
            checked.findings
        );
        let escaped: String = config.bytes().map(|byte| format!("%{byte:02x}")).collect();
        config = format!(
            r#"{{"ignition":{{"version":"3.3.0","config":{{"merge":[{{"source":"data:,{escaped}"}}]}}}}}}"#
        );
        if config.len() > 12 << 20 {
            break;
        }
    }
}

#[test]
fn mutated_configs_and_units_are_checked_soon() {
    let cases = cases();
    let mut random = Random::new(3);
    let marks = b"{}[]\",:\\0-e/%\n\x00\xff=#;";
    for round in 0..longer(4000) {
        let noise = random.bytes(8);
        let number = |at: usize| usize::from(noise[at]) << 8 | usize::from(noise[at + 1]);
        let mut bytes = cases[number(6) % cases.len()].config.clone().into_bytes();
        for step in 0..=usize::try_from(round % 3).unwrap() {
            let at = number(step) % bytes.len().max(1);
            let mark = marks[number(step + 2) % marks.len()];
            match noise[4 + step] % 4 {
                0 => bytes.insert(at.min(bytes.len()), mark),
                1 if !bytes.is_empty() => bytes[at] = mark,
                2 => drop(bytes.drain(
                    at.min(bytes.len())..(at + usize::from(noise[5]) % 40).min(bytes.len()),
                )),
                _ if !bytes.is_empty() => bytes[at] ^= 1 << (noise[5] % 8),
                _ => bytes.push(mark),
            }
        }
        let begin = Instant::now();
        let checked = checked(&bytes);
        assert!(begin.elapsed() < SOON, "round {round}");
        // What another reader does not take for JSON is refused.
        let text = String::from_utf8_lossy(&bytes);
        // Half of a surrogate pair is taken as Ignition takes it.
        let is_json =
            serde_json::from_slice::<serde_json::Value>(&bytes).is_ok() || text.contains("\\ud");
        let is_refused = checked.findings.iter().any(|finding| finding.stops());
        assert!(
            is_json || is_refused,
            "round {round}: {}",
            String::from_utf8_lossy(&bytes)
        );
        unit_file::parse(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn hostile_configs_end_soon() {
    let head = r#"{"ignition":{"version":"3.3.0"},"storage":{"files":["#;
    let many = |text: &str| text.repeat(1_000_000 / text.len());
    for text in [
        many("["),
        many("{\"a\":"),
        many("\"\\ud800"),
        many("9"),
        format!("{head}{}", many("{\"path\":\"x\",\"y\":1},")),
        format!("{head}{}{{}}]}}}}", many("{\"path\":\"x\",\"y\":1},")),
        format!("{head}{{\"path\":\"{}\"}}]}}}}", many("/a")),
        format!(
            "{head}{{\"path\":\"/a\",\"contents\":{{\"source\":\"data:,{}\"}}}}]}}}}",
            many("%41")
        ),
    ] {
        let begin = Instant::now();
        let checked = checked(text.as_bytes());
        assert!(
            begin.elapsed() < SOON,
            "{} took {:?}",
            &text[..60],
            begin.elapsed()
        );
        assert!(checked.findings.len() <= 201, "{}", &text[..60]);
    }
    // What is compressed to little is not decompressed to all of it.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(0), 200 << 20),
        &mut encoder,
    )
    .unwrap();
    use base64::Engine;
    let data = base64::engine::general_purpose::STANDARD.encode(encoder.finish().unwrap());
    let hash = "0".repeat(64);
    let config = format!(
        r#"{head}{{"path":"/a","contents":{{"compression":"gzip","source":"data:;base64,{data}","verification":{{"hash":"sha256-{hash}"}}}}}}]}}}}"#
    );
    let checked = checked(config.as_bytes());
    assert!(
        checked.findings[0].to_string().contains("longer than"),
        "{:?}",
        checked.findings
    );
    for unit in [
        many("[\n"),
        many("a\\\n"),
        many("[a]\n"),
        many("=\n"),
        "[a]\nb=".to_owned() + &many("c"),
    ] {
        let begin = Instant::now();
        assert!(unit_file::parse(&unit).faults.len() <= 8);
        assert!(begin.elapsed() < SOON);
    }
}
