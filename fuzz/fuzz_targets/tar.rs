//! Archives: read entry by entry, then unpacked into volumes, which open again.
#![no_main]

use std::io::Read;
use std::sync::{Arc, LazyLock};

use flatbake::NoProgress;
use flatbake::archive::tar::TarReader;
use flatbake::archive::{TarOptions, inject};
use flatbake_fuzz::device::{Base, Layer};
use flatbake_fuzz::volumes::{editor, ext4_filled, fat, path, select};
use flatbake_fuzz::{blames_the_input, reading};
use libfuzzer_sys::fuzz_target;

static VOLUMES: LazyLock<Vec<Arc<Base>>> =
    LazyLock::new(|| vec![Arc::new(ext4_filled()), fat().swap_remove(1).base]);

fuzz_target!(|input: &[u8]| {
    let Some((volume, input)) = select(&VOLUMES, input) else {
        return;
    };
    let Some((flags, archive)) = input.split_first() else {
        return;
    };
    list(archive);
    let options = TarOptions {
        strip_components: usize::from(flags >> 6),
        oci_layer: flags & 1 != 0,
        keep_docker_identity: flags & 2 != 0,
        ..TarOptions::default()
    };
    let target = Layer::new(volume);
    let mut fs = editor(volume, &target).expect("a sound volume");
    match inject(&mut *fs, archive, &path("/opt"), &options, &NoProgress) {
        Ok(_) => {
            fs.commit().expect("what was unpacked is committed");
            drop(fs);
            let read = flatbake::fs::open(target).expect("what was committed can be read");
            reading::read_everything(&*read, 1 << 20);
        }
        Err(error) => blames_the_input::<()>(&Err(error)),
    }
});

fn list(archive: &[u8]) {
    let mut reader = TarReader::new(archive);
    for _ in 0..1000 {
        match reader.next_entry() {
            Ok(Some(_)) => {
                let mut content = Vec::new();
                let _ = reader.content().take(1 << 20).read_to_end(&mut content);
                assert!(
                    content.len() <= archive.len(),
                    "more content than there is archive"
                );
            }
            Ok(None) => return,
            Err(error) => return blames_the_input::<()>(&Err(error)),
        }
    }
}
