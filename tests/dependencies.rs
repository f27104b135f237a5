//! What flatbake is built of.

use std::path::Path;
use std::process::Command;

/// Crates that compile or look for what is not Rust.
const BUILDERS: [&str; 6] = ["cc", "cmake", "bindgen", "nasm-rs", "pkg-config", "vcpkg"];
/// Crates that are called after a system's own library, and have only its numbers.
const NUMBERS: [&str; 2] = ["linux-raw-sys", "windows-sys"];

/// Names and licences of all crates that are built for Linux, with more flags of cargo.
fn tree(flags: &[&str]) -> Vec<(String, String)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--prefix", "none"])
        .args(["--edges", "normal,build", "--format", "{p}|{l}"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(manifest)
        .args(flags)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let crates = lines.lines().filter_map(|line| line.split_once('|'));
    crates
        .map(|(package, licence)| {
            let name = package.split(' ').next().unwrap_or_default();
            (name.to_owned(), licence.to_owned())
        })
        .collect()
}

fn compile_no_c(crates: &[(String, String)]) {
    for (name, _) in crates {
        let is_builder = BUILDERS.contains(&name.as_str());
        let is_foreign = name.ends_with("-sys") && !NUMBERS.contains(&name.as_str());
        assert!(!is_builder && !is_foreign, "{name}");
    }
}

#[test]
fn nothing_compiles_c_and_the_library_alone_has_no_lgpl() {
    let all = tree(&[]);
    compile_no_c(&all);
    let lgpl = |crates: &[(String, String)]| {
        let found = crates.iter().filter(|(_, licence)| licence.contains("GPL"));
        found.count()
    };
    assert!(
        lgpl(&all) > 0,
        "the OpenPGP of fetching is told from the rest"
    );
    let library = tree(&["--no-default-features"]);
    assert!(library.iter().any(|(name, _)| name == "flatbake"));
    compile_no_c(&library);
    assert_eq!(lgpl(&library), 0);
}
