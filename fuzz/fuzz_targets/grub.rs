//! GRUB's configuration: followed, judged and edited; what was added is set in what comes out.
#![no_main]

use flatbake::flatcar::grub::{certain_kernel_args, check, edit_kernel_args, kernel_args};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|config: &str| {
    check(config);
    let may = kernel_args(config);
    for argument in certain_kernel_args(config) {
        assert!(
            may.contains(&argument),
            "{argument} is certain, but not possible"
        );
    }
    let added = "fuzz.added=1".to_owned();
    if let Ok(edited) = edit_kernel_args(config, &[added.clone()], &[]) {
        assert!(kernel_args(&edited).contains(&added), "{edited}");
        let again = edit_kernel_args(&edited, &[added], &[]).expect("it was edited before");
        assert_eq!(kernel_args(&edited), kernel_args(&again));
    }
    if let Some(first) = may.first() {
        if let Ok(edited) = edit_kernel_args(config, &[], &[first.clone()]) {
            assert!(
                !kernel_args(&edited).contains(first),
                "{first} is still there: {edited}"
            );
        }
    }
});
