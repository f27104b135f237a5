//! Licences of all crates that the program and the tests are built of are among those that `deny.toml` allows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use crate::common::programs::success;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Whether `expression` (SPDX: names, AND, OR, brackets) can be met with the licences in `allowed`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.trim().replace('/', " OR ");
    if let Some((left, right)) = divide(&expression, " AND ") {
        return is_met(left, allowed) && is_met(right, allowed);
    }
    if let Some((left, right)) = divide(&expression, " OR ") {
        return is_met(left, allowed) || is_met(right, allowed);
    }
    match expression
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(inner) => is_met(inner, allowed),
        None => allowed.contains(&expression),
    }
}

/// The two sides of the first `operator` that is in no brackets.
fn divide<'a>(expression: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0;
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[at..].starts_with(operator) => {
                return Some((&expression[..at], &expression[at + operator.len()..]));
            }
            _ => {}
        }
    }
    None
}

/// The strings of a list.
fn names(list: &toml::Value) -> BTreeSet<String> {
    let names = list.as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let deny: toml::Table = std::fs::read_to_string(Path::new(ROOT).join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let allowed = names(&deny["licenses"]["allow"]);
    let exceptions: BTreeMap<&str, BTreeSet<String>> = deny["licenses"]["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exception| {
            let allowed = &allowed | &names(&exception["allow"]);
            (exception["crate"].as_str().unwrap(), allowed)
        })
        .collect();

    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "metadata",
        "--locked",
        "--offline",
        "--format-version",
        "1",
        "--filter-platform",
        &host,
    ]);
    let output = success(cargo.current_dir(ROOT));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| {
            let allowed = exceptions
                .get(package["name"].as_str().unwrap())
                .unwrap_or(&allowed);
            !package["license"]
                .as_str()
                .is_some_and(|licence| is_met(licence, allowed))
        })
        .map(|package| format!("{} ({})", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed in deny.toml: {refused:?}");
}

#[test]
fn expressions_are_read_as_they_are_meant() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Zlib".to_owned()]);
    for (expression, met) in [
        ("MIT", true),
        ("GPL-2.0", false),
        ("MIT/Apache-2.0", true),
        ("Apache-2.0 OR MIT", true),
        ("Apache-2.0 AND MIT", false),
        ("(MIT OR Apache-2.0) AND Zlib", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("GPL-2.0 OR (MIT AND Zlib)", true),
    ] {
        assert_eq!(is_met(expression, &allowed), met, "{expression}");
    }
}
