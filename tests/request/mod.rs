//! One request, whatever fills it: inputs are never written, options are honoured or refused, a dry run says what the run
//! does, and flags and manifests give the same bytes.
mod agreement;
mod fleet;
mod inputs;
mod options;
mod running;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::programs::{flatbake, success};
use crate::common::scratch_root;

/// A file of the bundled sample.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/sample")
        .join(name)
}

/// The sample image as a raw disk, made once.
fn raw_sample() -> PathBuf {
    let path = scratch_root().join("flatcar_sample.bin");
    let lock = std::fs::File::create(path.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !path.exists() {
        success(
            flatbake()
                .arg("convert")
                .arg(sample("flatcar_sample.bin.bz2"))
                .arg(&path),
        );
    }
    path
}

fn ok(command: &mut Command) -> Output {
    success(command)
}
