//! Manifests, in YAML and TOML.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use flatbake::manifest::{LoadOptions, load};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

/// A folder for this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("flatbake-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
});

fuzz_target!(|input: &[u8]| {
    let Some((language, text)) = input.split_first() else {
        return;
    };
    let path = FOLDER.join(if language % 2 == 0 {
        "manifest.yaml"
    } else {
        "manifest.toml"
    });
    std::fs::write(&path, text).expect("room");
    let mut options = LoadOptions {
        allow_outside: language & 2 != 0,
        ..LoadOptions::default()
    };
    if language & 4 != 0 {
        options.set.push(("name".to_owned(), "value".to_owned()));
    }
    blames_the_input(&load(&path, &options));
});
