//! Keyrings, signatures, signed texts and lists of digests: any bytes, which verify nothing but what the sample's key signed.
#![no_main]

use std::sync::OnceLock;

use flatbake::fetch::digests::Digests;
use flatbake::fetch::openpgp::{Keyring, Time};
use flatbake_fuzz::blames_the_input;
use flatbake_fuzz::volumes::fixture_path;
use libfuzzer_sys::fuzz_target;

/// A time at which the sample's key is valid.
const NOW: u64 = 1_800_000_000;

/// The sample's key.
fn sample() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| {
        let key = std::fs::read(fixture_path("sample/sample-key.asc")).expect("a fixture");
        let mut keyring = Keyring::new();
        keyring.add(&key).expect("a key");
        keyring
    })
}

fuzz_target!(|input: &[u8]| {
    let now = Time::from_seconds(NOW);
    let mut keyring = Keyring::new();
    let added = keyring.add(input);
    blames_the_input(&added);
    keyring.keys(now);
    keyring.findings(now);
    let content: &[u8] = b"not what was signed";
    let forged = sample().verify(input, content, now);
    assert!(forged.is_err(), "{forged:?}");
    blames_the_input(&forged);
    let forged = sample().verify_clearsigned(input, now);
    assert!(forged.is_err(), "{forged:?}");
    blames_the_input(&forged);
    blames_the_input(&keyring.verify_published(input, "a.bin", content, now));
    if let Ok(digests) = Digests::parse(input) {
        assert!(digests.names().all(|name| digests.sha512(name).is_ok()));
    }
});
