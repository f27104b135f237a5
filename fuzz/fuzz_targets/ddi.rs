//! Signed disk images: any bytes, which are never taken for signed with the certificate of the fixtures unless they say what
//! the fixture says; and any certificates.
#![no_main]

use std::sync::{Arc, OnceLock};

use flatbake::MemoryDevice;
use flatbake::flatcar::ddi::{Certificate, verify};
use flatbake_fuzz::blames_the_input;
use flatbake_fuzz::volumes::{fixture, fixture_path};
use libfuzzer_sys::fuzz_target;

const IMAGE: &str = "ddi/oem-qemu-4757.2.1.raw.zst";

/// The certificates, and a sound image.
fn sound() -> &'static (Vec<Certificate>, Vec<u8>) {
    static SOUND: OnceLock<(Vec<Certificate>, Vec<u8>)> = OnceLock::new();
    SOUND.get_or_init(|| {
        let certificate = std::fs::read(fixture_path("ddi/sysexts.crt")).expect("a fixture");
        let base = fixture(IMAGE);
        let size = usize::try_from(base.size).expect("small");
        let certificates = Certificate::read(&certificate).expect("a certificate");
        (certificates, base.bytes(0, size))
    })
}

fuzz_target!(|input: &[u8]| {
    let (certificates, image) = sound();
    let read = Certificate::read(input);
    blames_the_input(&read);
    blames_the_input(&verify(
        Arc::new(MemoryDevice::new(input.to_vec())),
        certificates,
    ));
    // The input in the place of the signature: its first two bytes say where it begins.
    let [low, high, rest @ ..] = input else {
        return;
    };
    let mut changed = image.clone();
    let tail = usize::from(u16::from_le_bytes([*low, *high])).min(changed.len());
    let start = changed.len() - tail;
    let len = rest.len().min(tail);
    changed[start..start + len].copy_from_slice(&rest[..len]);
    let verdict = verify(Arc::new(MemoryDevice::new(changed)), certificates);
    blames_the_input(&verdict);
    if let Ok(verdict) = verdict {
        assert_eq!(verdict.subject, certificates[0].subject());
    }
});
