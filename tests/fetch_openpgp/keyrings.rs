//! Keyrings: many keys, copies, pins.

use flatbake::fetch::openpgp::{Fingerprint, Keyring};
use flatbake::{ErrorKind, Reason};

use super::gpg::Gpg;
use super::{keyring, time};

const NOW: &str = "2026-06-01";
const CONTENT: &[u8] = b"content\n";

/// Two signers: primary key and subkey of each.
fn two(gpg: &Gpg) -> [(String, String); 2] {
    ["One <one@example.org>", "Two <two@example.org>"].map(|name| {
        let primary = gpg.primary("2020-01-01", name);
        let subkey = gpg.subkey("2020-01-01", &primary, "ed25519", "never");
        (primary, subkey)
    })
}

fn primaries(keyring: &Keyring) -> Vec<String> {
    let keys = keyring.keys(time(NOW));
    keys.iter().map(|key| key.primary.to_string()).collect()
}

#[test]
fn keyrings_of_several_keys_are_read_armored_binary_and_joined() {
    let Some(gpg) = Gpg::new() else { return };
    let [(one, _), (two, _)] = two(&gpg);
    let mut all = vec![one.clone(), two.clone()];
    all.sort();
    let armored = |keys: &[&str]| gpg.export(&["--armor"], keys);
    let joined = [
        armored(&[&one]),
        b"\na comment\n".to_vec(),
        armored(&[&two]),
    ]
    .concat();
    let binary = [gpg.export(&[], &[&one]), gpg.export(&[], &[&two])].concat();
    for keys in [gpg.export(&[], &[]), armored(&[]), joined, binary] {
        assert_eq!(primaries(&keyring(&keys)), all);
    }
    let secret = gpg.export_secret(&one);
    assert_eq!(primaries(&keyring(&secret)), [one]);
}

#[test]
fn a_key_is_added_to_the_built_in_one() {
    let Some(gpg) = Gpg::new() else { return };
    let [(one, subkey), _] = two(&gpg);
    let mut keyring = Keyring::flatcar().unwrap();
    keyring.add(&gpg.export(&[], &[&one])).unwrap();
    assert_eq!(primaries(&keyring).len(), 2);
    let signature = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    keyring.verify(&signature, CONTENT, time(NOW)).unwrap();
}

#[test]
fn a_newer_copy_renews_a_key_and_makes_no_other_trusted() {
    let Some(gpg) = Gpg::new() else { return };
    let [(one, _), (_, stranger)] = two(&gpg);
    let mut keyring = keyring(&gpg.export(&[], &[&one]));
    let newer = gpg.subkey("2021-01-01", &one, "ed25519", "never");
    let sign = |key: &str| gpg.sign("2021-06-01", key, &["--detach-sign"], CONTENT);
    let verify = |keyring: &Keyring, key: &str| {
        let signed = keyring.verify(&sign(key), CONTENT, time(NOW));
        signed.map_err(|error| error.reason())
    };
    assert_eq!(
        verify(&keyring, &newer).unwrap_err(),
        Some(Reason::UnknownKey)
    );
    keyring.renew(&gpg.export(&[], &[])).unwrap();
    assert_eq!(primaries(&keyring), [one]);
    verify(&keyring, &newer).unwrap();
    let refused = verify(&keyring, &stranger).unwrap_err();
    assert_eq!(refused, Some(Reason::UnknownKey));
    assert!(keyring.renew(b"no keys").is_err());
}

#[test]
fn only_pinned_primary_keys_count() {
    let Some(gpg) = Gpg::new() else { return };
    let [(one, ones), (_, twos)] = two(&gpg);
    let keys = gpg.export(&[], &[]);
    let sign = |key: &str| gpg.sign("2020-06-01", key, &["--detach-sign"], CONTENT);
    let (by_one, by_two) = (sign(&ones), sign(&twos));
    let mut keyring = keyring(&keys);
    let pin = |text: &str| text.parse::<Fingerprint>().unwrap();
    keyring.trust_only(&[pin(&one)]).unwrap();
    keyring.verify(&by_one, CONTENT, time(NOW)).unwrap();
    assert_eq!(primaries(&keyring), std::slice::from_ref(&one));
    let error = keyring.verify(&by_two, CONTENT, time(NOW)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownKey));
    assert!(error.to_string().contains("not trusted"), "{error}");
    // Pins that lead to nothing.
    let error = keyring.trust_only(&[pin(&ones)]).unwrap_err();
    assert!(error.hint().unwrap().contains(&one), "{error:?}");
    let error = keyring.trust_only(&[pin(&"0".repeat(40))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_revocation_that_is_known_is_not_undone_by_an_older_copy() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.primary("2020-01-01", "One <one@example.org>");
    let subkey = gpg.subkey("2020-01-01", &primary, "ed25519", "never");
    let signature = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    let older = gpg.export(&[], &[]);
    gpg.revoke_subkey("2021-01-01", &primary, 1);
    let newer = gpg.export(&[], &[]);
    for order in [[&older, &newer], [&newer, &older]] {
        let mut keyring = Keyring::new();
        order.iter().for_each(|keys| keyring.add(keys).unwrap());
        let error = keyring.verify(&signature, CONTENT, time(NOW)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::KeyNotValid));
    }
}

#[test]
fn what_is_no_keyring_is_refused() {
    let mut keyring = Keyring::new();
    let page = b"<html>404</html>";
    let cut = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBFqUFawBEADdlHYJ";
    for bytes in [&b""[..], page, cut, &[0x99, 1, 2, 3], &[0xff; 64]] {
        let error = keyring.add(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
    let error = keyring.add(&vec![0x99; (4 << 20) + 1]).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Limit));
}

#[test]
fn fingerprints_have_all_their_digits() {
    let full = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A";
    for text in [
        full,
        "0xF88CFEDEFF29A5B4D9523864E25D9AED0593B34A",
        "F88C FEDE FF29 A5B4 D952  3864 E25D 9AED 0593 B34A",
        "f88cfedeff29a5b4d9523864e25d9aed0593b34a",
    ] {
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), full);
    }
    for text in ["", "E25D9AED0593B34A", "0593B34A", &full[1..], "F88Z"] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text}");
    }
}
