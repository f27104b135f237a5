//! btrfs: sequences of edits beside a model.
#![no_main]

use std::sync::LazyLock;

use flatbake_fuzz::edits::Subject;
use flatbake_fuzz::volumes::btrfs;
use libfuzzer_sys::fuzz_target;

static SUBJECT: LazyLock<Subject> = LazyLock::new(|| Subject::new(btrfs()[0].base.clone()));

fuzz_target!(|input: &[u8]| SUBJECT.run(input));
