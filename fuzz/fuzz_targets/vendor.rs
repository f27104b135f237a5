//! Files that describe vendors: read, and settled for releases.
#![no_main]

use flatbake::Vendor;
use flatbake_fuzz::blames_the_input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Vendor::from_toml(text, "vendor.toml") {
        Ok(vendor) => {
            for major in [None, Some(2303), Some(4459), Some(u64::MAX)] {
                vendor.findings(major);
                vendor.is_made_in(major);
                if let Ok(settings) = vendor.for_release(major) {
                    settings.bundle_member_names();
                    settings.conf_file_names();
                    settings.disk_file_name();
                    settings.grub.iter().for_each(|grub| drop(grub.render()));
                }
            }
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
});
