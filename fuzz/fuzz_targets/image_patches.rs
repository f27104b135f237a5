//! Disk images: damage of sound ones of every format, with good checksums.
#![no_main]

use std::sync::LazyLock;

use flatbake_fuzz::images::{Sample, open_image, samples};
use flatbake_fuzz::volumes::select;
use libfuzzer_sys::fuzz_target;

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(samples);

fuzz_target!(|input: &[u8]| {
    let Some((sample, patches)) = select(&SAMPLES, input) else {
        return;
    };
    open_image(&sample.changed(patches));
});
