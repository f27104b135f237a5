//! FAT: sequences of edits beside a model, on each kind of it.
#![no_main]

use std::sync::LazyLock;

use flatbake_fuzz::edits::Subject;
use flatbake_fuzz::volumes::{fat, select};
use libfuzzer_sys::fuzz_target;

static SUBJECTS: LazyLock<Vec<Subject>> = LazyLock::new(|| {
    fat()
        .into_iter()
        .map(|volume| Subject::new(volume.base))
        .collect()
});

fuzz_target!(|input: &[u8]| {
    if let Some((subject, edits)) = select(&SUBJECTS, input) {
        subject.run(edits);
    }
});
