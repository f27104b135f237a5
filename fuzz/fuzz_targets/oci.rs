//! Container images: a tar of an OCI layout or of `docker save`, any bytes.
#![no_main]

use std::path::Path;

use flatbake::archive::{TarOptions, inject};
use flatbake::fs::{FsPath, StagedTree, Timestamp};
use flatbake::oci::{ContainerImage, Over};
use flatbake::{Cancel, NoProgress};
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let time = Timestamp { secs: 0, nanos: 0 };
    let temp_dir = std::env::temp_dir();
    let tree = |folder: &Path| StagedTree::new(folder, time);
    let mut files = tree(&temp_dir);
    let options = TarOptions::default();
    if inject(&mut files, input, &FsPath::root(), &options, &NoProgress).is_err() {
        return;
    }
    let image = ContainerImage::find(&files, Some("amd64"));
    blames_the_input(&image);
    if let Ok(Some(image)) = image {
        let cancel = Cancel::new();
        let mut root = tree(&temp_dir);
        let mut over = Over {
            tree: &mut root,
            owner: Some((0, 0)),
            progress: &NoProgress,
            cancel: &cancel,
        };
        blames_the_input(&image.unpack(&files, &mut over));
    }
});
