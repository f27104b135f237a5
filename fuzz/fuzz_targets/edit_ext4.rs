//! ext4: sequences of edits beside a model.
#![no_main]

use std::sync::LazyLock;

use flatbake_fuzz::edits::Subject;
use libfuzzer_sys::fuzz_target;

static SUBJECT: LazyLock<Subject> =
    LazyLock::new(|| Subject::new(std::sync::Arc::new(flatbake_fuzz::volumes::ext4_filled())));

fuzz_target!(|input: &[u8]| SUBJECT.run(input));
