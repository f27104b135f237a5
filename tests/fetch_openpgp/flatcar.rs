//! The key that is built in.

use flatbake::fetch::openpgp::{Keyring, Time};
use flatbake::finding::code;

use super::gpg::Gpg;
use super::time;

const PRIMARY: &str = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A";

/// The subkeys: fingerprint, creation, end or revocation.
const SUBKEYS: [(&str, &str, &str); 9] = [
    (
        "1E100DD7A677A6F9A532C9F9B51DE377064D542D",
        "2018-02-26",
        "revoked 2018-03-14",
    ),
    (
        "A621F1DA96C93C639506832D603443A1D0FC498C",
        "2018-03-14",
        "revoked 2018-09-26",
    ),
    (
        "628CC212938065DAB4E3B949A8ABF005896E394F",
        "2018-09-26",
        "2019-09-26",
    ),
    (
        "C8FE85310122E626753DB0CF3BC20FF8AF9CF1AF",
        "2019-09-30",
        "2020-09-29",
    ),
    (
        "782B3BC9F10CF638A5DCF5105B2910CBFCBEAB91",
        "2020-08-28",
        "2021-08-28",
    ),
    (
        "858A560F97C9AEB22EC1C732961DDDD5250D4A42",
        "2021-08-10",
        "2022-08-10",
    ),
    (
        "8D6DA7853CFE1B1ED346ED0DEDBDF411267EC954",
        "2022-08-11",
        "2023-08-11",
    ),
    (
        "E9426D8B67E35DF476BD048185F7C8868837E271",
        "2023-03-07",
        "2025-03-06",
    ),
    (
        "52F145DFD00BBDCD928CBB5A32DA80F91EF52974",
        "2025-03-07",
        "2027-03-08",
    ),
];

#[test]
fn the_built_in_key_has_nine_subkeys_with_their_lives() {
    let keys = Keyring::flatcar().unwrap().keys(time("2026-11-28"));
    assert_eq!(keys.len(), 1);
    let key = &keys[0];
    assert_eq!(key.primary.to_string(), PRIMARY);
    assert_eq!(
        key.user_ids,
        ["Flatcar Buildbot (Official Builds) <buildbot@flatcar-linux.org>"]
    );
    let primary = &key.keys[0];
    assert!(!primary.is_subkey && primary.can_sign && primary.expires.is_none());
    assert_eq!(primary.created.date(), "2018-02-26");
    let subkeys = &key.keys[1..];
    let told: Vec<(String, String, String)> = subkeys
        .iter()
        .map(|subkey| {
            assert!(subkey.is_subkey && subkey.can_sign);
            assert_eq!(subkey.algorithm, "rsa4096");
            let end = match (&subkey.revoked, subkey.expires) {
                (Some(revoked), _) => format!("revoked {}", revoked.at.date()),
                (None, Some(end)) => end.date(),
                (None, None) => "never".to_owned(),
            };
            (subkey.fingerprint.to_string(), subkey.created.date(), end)
        })
        .collect();
    let known =
        SUBKEYS.map(|(key, created, end)| (key.to_owned(), created.to_owned(), end.to_owned()));
    assert_eq!(told, known);
    for revoked in subkeys.iter().filter_map(|key| key.revoked.as_ref()) {
        assert_eq!((revoked.reason, revoked.is_hard), ("compromised", true));
    }
}

#[test]
fn gnupg_lists_the_same_keys() {
    let Some(gpg) = Gpg::new() else { return };
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/fetch/openpgp/Flatcar_Image_Signing_Key.asc"
    );
    gpg.import(&std::fs::read(key).unwrap());
    let mut theirs = gpg.fingerprints();
    let keys = Keyring::flatcar().unwrap().keys(time("2026-11-28"));
    let ours = keys[0].keys.iter().map(|key| key.fingerprint.to_string());
    let mut ours: Vec<String> = ours.collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn the_end_of_the_newest_subkey_is_told_ninety_days_before() {
    let keyring = Keyring::flatcar().unwrap();
    let words = |date: &str| -> Vec<&str> {
        let findings = keyring.findings(time(date));
        findings.iter().map(|finding| finding.code().word).collect()
    };
    assert!(words("2026-12-07").is_empty());
    assert_eq!(words("2026-12-09"), [code::SIGNING_KEY_ENDS.word]);
    assert_eq!(words("2027-03-07"), [code::SIGNING_KEY_ENDS.word]);
    assert_eq!(words("2027-03-09"), [code::SIGNING_KEY_ENDED.word]);
    let finding = &keyring.findings(time("2027-01-01"))[0];
    assert_eq!(finding.value("date"), Some("2027-03-08"));
    assert_eq!(finding.value("key"), Some(SUBKEYS[8].0));
}

#[test]
fn keys_can_be_listed_at_any_time() {
    let keyring = Keyring::flatcar().unwrap();
    for seconds in [0, 1_519_654_000, 1_600_000_000, u64::MAX] {
        let now = Time::from_seconds(seconds);
        keyring.keys(now);
        keyring.findings(now);
    }
}
