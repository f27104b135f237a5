//! Files of the system that are read as text: os-release, units, rules of tmpfiles, transfers of sysupdate.
#![no_main]

use flatbake::OsRelease;
use flatbake::flatcar::sysupdate::{Baked, Transfer, check, is_read};
use flatbake::flatcar::{tmpfiles, unit};
use flatbake_fuzz::blames_the_input;
use flatbake_fuzz::volumes::path;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match OsRelease::parse(input) {
        Ok(release) => {
            let _ = (
                release.id(),
                release.major(),
                release.channel(),
                release.architecture(),
            );
            release.published_at("image.bin.bz2");
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    for rule in tmpfiles::rules(text) {
        assert!(rule.path.starts_with('/'));
        tmpfiles::name_fits(rule.path.as_bytes(), input);
    }
    blames_the_input(&unit::enabling_links("a@b.service", Some(text), None));
    blames_the_input(&unit::enabling_links("a.timer", None, Some(text)));
    match Transfer::parse(text) {
        Ok(transfer) => {
            let (folder, link) = (path("/opt/extensions"), path("/etc/extensions/a.raw"));
            let baked = Baked {
                folder: &folder,
                file: "a-1.raw",
                link: &link,
                architecture: Some("x86-64"),
            };
            check(&transfer, baked);
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
    is_read(text, Some(4459));
});
