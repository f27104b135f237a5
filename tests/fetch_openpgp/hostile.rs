//! Thousands of changed files: never a panic, and never a signature of what was not signed.

use flatbake::fetch::openpgp::{Keyring, Time};

use super::gpg::Gpg;
use super::{keyring, time};
use crate::common::longer;
use crate::common::random::Random;

const CONTENT: &[u8] = b"content of a release\n";
const ROUNDS: u64 = 1_500;

/// `bytes` with a few of them changed, dropped, doubled or added.
fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.bytes(1)[0]),
            _ => {
                let copy = bytes[at..].to_vec();
                bytes.extend_from_slice(&copy[..copy.len().min(64)]);
            }
        }
    }
    bytes
}

#[test]
fn changed_signatures_keys_and_contents_are_never_wrongly_good() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.primary("2020-01-01", "One <one@example.org>");
    let subkey = gpg.subkey("2020-01-01", &primary, "ed25519", "1y");
    let sign = |options: &[&str], content: &[u8]| gpg.sign("2020-06-01", &subkey, options, content);
    let signatures = [
        sign(&["--detach-sign"], CONTENT),
        sign(&["--armor", "--detach-sign"], CONTENT),
    ];
    let keys = [gpg.export(&[], &[]), gpg.export(&["--armor"], &[])];
    let text = sign(&["--clearsign"], CONTENT);
    let sound = keyring(&keys[0]);
    let now = time("2026-06-01");
    let mut good = 0;
    for seed in 0..longer(ROUNDS) {
        let mut random = Random::new(seed);
        let which = usize::try_from(seed % 2).unwrap();
        let signature = changed(&signatures[which], &mut random);
        // Some changes do not matter: of a header, of a part that is not signed.
        good += u64::from(sound.verify(&signature, CONTENT, now).is_ok());
        let other = changed(CONTENT, &mut random);
        let verdict = sound.verify(&signature, &other[..], now);
        assert!(verdict.is_err() || other == CONTENT, "seed {seed}");
        if let Ok((text, _)) = sound.verify_clearsigned(&changed(&text, &mut random), now) {
            assert_eq!([&text[..], b"\n"].concat(), CONTENT, "seed {seed}");
        }
        keys_and_all(
            &changed(&keys[which], &mut random),
            &signatures[which],
            seed,
        );
    }
    assert!(
        good < longer(ROUNDS) / 2,
        "{good} changed signatures are good"
    );
}

/// A changed keyring verifies nothing but what was signed, and only as of the one key that signed it.
fn keys_and_all(keys: &[u8], signature: &[u8], seed: u64) {
    let mut changed = Keyring::new();
    if changed.add(keys).is_err() {
        return;
    }
    changed.keys(Time::from_seconds(seed * 1_000_000));
    changed.findings(time("2026-06-01"));
    let forged = changed.verify(signature, &b"forged"[..], time("2026-06-01"));
    assert!(forged.is_err(), "seed {seed}");
}
