//! Cases of detached signatures.
//!
//! GnuPG judges with its clock at the moment of signing, as its word for a key that has expired since and for one that had
//! expired before is the same, `EXPKEYSIG`. It has one word for all revoked keys, `REVKEYSIG`, whatever the reason and the
//! time: there the reason decides here.

use flatbake::Reason;
use flatbake::fetch::openpgp::Signed;

use super::gpg::Gpg;
use super::{keyring, time};

const CONTENT: &[u8] = b"content of a release\n";
const NOW: &str = "2026-06-01";
const MADE: &str = "2020-01-01";
const USER: &str = "Builds <builds@example.org>";

/// What is verified, and when it was signed.
struct Case<'a> {
    keys: &'a [u8],
    signature: &'a [u8],
    content: &'a [u8],
    signed: &'a str,
}

impl Case<'_> {
    /// What we say, and that GnuPG says `word` of it.
    fn judged(&self, word: &str) -> Result<Signed, Reason> {
        let judge = Gpg::new().unwrap();
        judge.import(self.keys);
        let verdict = judge.verify(self.signed, self.signature, Some(self.content));
        assert!(verdict.says(word), "{verdict:?}");
        let ours = keyring(self.keys).verify(self.signature, self.content, time(NOW));
        let is_good = verdict.words.iter().any(|word| word == "GOODSIG");
        if !verdict.says("REVKEYSIG") && verdict.words.len() == 1 {
            assert_eq!(ours.is_ok(), is_good, "{ours:?}, but {verdict:?}");
        }
        ours.map_err(|error| {
            assert_eq!(error.kind(), flatbake::ErrorKind::Untrusted, "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
            error.reason().unwrap()
        })
    }
}

/// A primary key with one subkey for signing of so long a life.
fn signer(gpg: &Gpg, life: &str) -> (String, String) {
    let primary = gpg.primary(MADE, USER);
    let subkey = gpg.subkey(MADE, &primary, "ed25519", life);
    (primary, subkey)
}

#[test]
fn good_signatures_are_good_armored_and_binary_by_all_kinds_of_keys() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.primary(MADE, USER);
    for algorithm in ["ed25519", "rsa2048", "nistp256/ecdsa", "nistp384/ecdsa"] {
        let subkey = gpg.subkey(MADE, &primary, algorithm, "never");
        let keys = gpg.export(&[], &[]);
        for options in [&["--detach-sign"][..], &["--armor", "--detach-sign"]] {
            let signature = gpg.sign("2020-06-01", &subkey, options, CONTENT);
            let case = Case {
                keys: &keys,
                signature: &signature,
                content: CONTENT,
                signed: "2020-06-01",
            };
            let signed = case.judged("GOODSIG").unwrap();
            assert_eq!(signed.primary.to_string(), primary);
            assert_eq!(signed.key.to_string(), subkey);
            assert_eq!(signed.made, time("2020-06-01"));
            assert_eq!(signed.user_id.as_deref(), Some(USER));
        }
    }
}

#[test]
fn what_was_changed_appended_or_belongs_elsewhere_is_bad() {
    let Some(gpg) = Gpg::new() else { return };
    let (_, subkey) = signer(&gpg, "never");
    let keys = gpg.export(&[], &[]);
    let signature = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    let mut changed = CONTENT.to_vec();
    changed[3] ^= 1;
    let appended = [CONTENT, b"x"].concat();
    let cut = &CONTENT[..CONTENT.len() - 1];
    for content in [&changed[..], &appended, cut, b"", b"another file\n"] {
        let case = Case {
            keys: &keys,
            signature: &signature,
            content,
            signed: "2020-06-01",
        };
        assert_eq!(case.judged("BADSIG"), Err(Reason::BadSignature));
    }
}

#[test]
fn signatures_that_were_cut_short_are_damaged_and_other_files_are_none() {
    let Some(gpg) = Gpg::new() else { return };
    let (_, subkey) = signer(&gpg, "never");
    let keys = keyring(&gpg.export(&[], &[]));
    let refused = |signature: &[u8]| {
        let verdict = gpg.verify("2020-06-01", signature, Some(CONTENT));
        assert!(
            !verdict.is_accepted && !verdict.says("GOODSIG"),
            "{verdict:?}"
        );
        let error = keys.verify(signature, CONTENT, time(NOW)).unwrap_err();
        assert_eq!(error.kind(), flatbake::ErrorKind::Untrusted);
        error.reason().unwrap()
    };
    let binary = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    for len in 1..binary.len() {
        assert_eq!(refused(&binary[..len]), Reason::BadSignature, "{len}");
    }
    let armored = gpg.sign(
        "2020-06-01",
        &subkey,
        &["--armor", "--detach-sign"],
        CONTENT,
    );
    for len in [40, 100, armored.len() / 2] {
        assert_eq!(refused(&armored[..len]), Reason::BadSignature, "{len}");
    }
    for other in [&b""[..], b"\n", b"<html>404 Not Found</html>\n", CONTENT] {
        assert_eq!(refused(other), Reason::NoSignature);
    }
    let large = vec![b'x'; 100_000];
    assert_eq!(refused(&large), Reason::NoSignature);
}

#[test]
fn a_signature_by_an_unknown_key_names_the_key() {
    let (Some(gpg), Some(other)) = (Gpg::new(), Gpg::new()) else {
        return;
    };
    let (_, subkey) = signer(&gpg, "never");
    // The same name, and another key.
    let (_, others_subkey) = signer(&other, "never");
    let keys = gpg.export(&[], &[]);
    let signature = other.sign("2020-06-01", &others_subkey, &["--detach-sign"], CONTENT);
    let case = Case {
        keys: &keys,
        signature: &signature,
        content: CONTENT,
        signed: "2020-06-01",
    };
    assert_eq!(case.judged("ERRSIG"), Err(Reason::UnknownKey));
    let error = keyring(&keys)
        .verify(&signature, CONTENT, time(NOW))
        .unwrap_err();
    assert!(error.to_string().contains(&others_subkey), "{error}");
    assert_ne!(subkey, others_subkey);
}

#[test]
fn a_subkey_may_expire_after_it_signed_but_not_before() {
    let Some(gpg) = Gpg::new() else { return };
    let (primary, subkey) = signer(&gpg, "1y");
    let keys = gpg.export(&[], &[]);
    let within = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    let case = Case {
        keys: &keys,
        signature: &within,
        content: CONTENT,
        signed: "2020-06-01",
    };
    assert_eq!(case.judged("GOODSIG").unwrap().key.to_string(), subkey);
    // Its owner gives it a longer life and signs on: who has the older copy of the key cannot take that.
    gpg.extend("2022-01-01", &primary, &subkey, "10y");
    let beyond = gpg.sign("2022-06-01", &subkey, &["--detach-sign"], CONTENT);
    let case = Case {
        keys: &keys,
        signature: &beyond,
        content: CONTENT,
        signed: "2022-06-01",
    };
    assert_eq!(case.judged("EXPKEYSIG"), Err(Reason::KeyNotValid));
    let error = keyring(&keys)
        .verify(&beyond, CONTENT, time(NOW))
        .unwrap_err();
    assert!(
        error.to_string().contains("expired on 2020-12-31"),
        "{error}"
    );
    // Both are good with the newer one, alone or added to the older one.
    let newer = gpg.export(&[], &[]);
    for keys in [vec![&newer], vec![&keys, &newer], vec![&newer, &keys]] {
        let mut keyring = flatbake::fetch::openpgp::Keyring::new();
        keys.iter().for_each(|keys| keyring.add(keys).unwrap());
        for signature in [&within, &beyond] {
            keyring.verify(signature, CONTENT, time(NOW)).unwrap();
        }
    }
}

#[test]
fn revocations_count_by_their_reason_and_time() {
    // Reason as GnuPG asks for it, and whether what was signed before stays good.
    for (reason, word, stays) in [
        (0, "unspecified", false),
        (1, "compromised", false),
        (2, "superseded", true),
        (3, "retired", true),
    ] {
        let Some(gpg) = Gpg::new() else { return };
        let (primary, subkey) = signer(&gpg, "never");
        let before = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
        let after = gpg.sign("2021-06-01", &subkey, &["--detach-sign"], CONTENT);
        gpg.revoke_subkey("2021-01-01", &primary, reason);
        let keys = gpg.export(&[], &[]);
        for (signature, signed, is_good) in
            [(before, "2020-06-01", stays), (after, "2021-06-01", false)]
        {
            let case = Case {
                keys: &keys,
                signature: &signature,
                content: CONTENT,
                signed,
            };
            let judged = case.judged("REVKEYSIG");
            assert_eq!(judged.is_ok(), is_good, "{word} {signed}: {judged:?}");
            if let Err(reason) = judged {
                assert_eq!(reason, Reason::KeyNotValid);
                let error = keyring(&keys)
                    .verify(&signature, CONTENT, time(NOW))
                    .unwrap_err();
                let revoked = format!("revoked: {word} on 2021-01-01");
                assert!(error.to_string().contains(&revoked), "{error}");
            }
        }
    }
}

#[test]
fn the_revocation_of_a_primary_key_counts_for_its_subkeys() {
    for (reason, stays) in [(1, false), (2, true)] {
        let Some(gpg) = Gpg::new() else { return };
        let (primary, subkey) = signer(&gpg, "never");
        let signature = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
        gpg.revoke_primary("2021-01-01", &primary, reason);
        let keys = gpg.export(&[], &[]);
        let case = Case {
            keys: &keys,
            signature: &signature,
            content: CONTENT,
            signed: "2020-06-01",
        };
        assert_eq!(case.judged("REVKEYSIG").is_ok(), stays);
    }
}

#[test]
fn sha1_is_refused_whatever_its_date() {
    let Some(gpg) = Gpg::new() else { return };
    let primary = gpg.primary("2010-01-01", USER);
    let subkey = gpg.subkey("2010-01-01", &primary, "rsa2048", "never");
    let keys = gpg.export(&[], &[]);
    for signed in ["2010-06-01", "2020-06-01"] {
        let options = ["--digest-algo", "SHA1", "--detach-sign"];
        let signature = gpg.sign(signed, &subkey, &options, CONTENT);
        let case = Case {
            keys: &keys,
            signature: &signature,
            content: CONTENT,
            signed,
        };
        assert_eq!(case.judged("ERRSIG"), Err(Reason::WeakAlgorithm));
    }
}

#[test]
fn one_good_signature_of_several_is_enough() {
    let (Some(gpg), Some(other)) = (Gpg::new(), Gpg::new()) else {
        return;
    };
    let (_, subkey) = signer(&gpg, "never");
    let (_, stranger) = signer(&other, "never");
    let keys = gpg.export(&[], &[]);
    let sign = |gpg: &Gpg, key: &str, content: &[u8]| {
        gpg.sign("2020-06-01", key, &["--detach-sign"], content)
    };
    let good = sign(&gpg, &subkey, CONTENT);
    let bad = sign(&gpg, &subkey, b"another file\n");
    let unknown = sign(&other, &stranger, CONTENT);
    let judged = |signatures: &[&[u8]], word: &str| {
        let case = Case {
            keys: &keys,
            signature: &signatures.concat(),
            content: CONTENT,
            signed: "2020-06-01",
        };
        case.judged(word).map(|signed| signed.key.to_string())
    };
    assert_eq!(judged(&[&unknown, &good], "GOODSIG"), Ok(subkey.clone()));
    assert_eq!(judged(&[&good, &unknown], "GOODSIG"), Ok(subkey.clone()));
    assert_eq!(judged(&[&good, &good], "GOODSIG"), Ok(subkey));
    // GnuPG says the same of both, whatever stands beside the one that is bad.
    assert_eq!(judged(&[&bad, &good], "BADSIG"), Err(Reason::BadSignature));
    assert_eq!(judged(&[&good, &bad], "BADSIG"), Err(Reason::BadSignature));
    assert_eq!(
        judged(&[&unknown, &bad], "ERRSIG"),
        Err(Reason::BadSignature)
    );
    assert_eq!(
        judged(&[&unknown, &unknown], "ERRSIG"),
        Err(Reason::UnknownKey)
    );
}

#[test]
fn a_signature_from_the_future_is_refused() {
    let Some(gpg) = Gpg::new() else { return };
    let (_, subkey) = signer(&gpg, "never");
    let keys = keyring(&gpg.export(&[], &[]));
    let signature = gpg.sign("2026-06-02", &subkey, &["--detach-sign"], CONTENT);
    let error = keys.verify(&signature, CONTENT, time(NOW)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotValid));
    keys.verify(&signature, CONTENT, time("2026-06-02"))
        .unwrap();
    // One that its maker gave an end.
    let options = ["--default-sig-expire", "1y", "--detach-sign"];
    let signature = gpg.sign("2020-06-01", &subkey, &options, CONTENT);
    keys.verify(&signature, CONTENT, time("2020-07-01"))
        .unwrap();
    let error = keys.verify(&signature, CONTENT, time(NOW)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::KeyNotValid));
    assert!(error.to_string().contains("has expired"), "{error}");
}

#[test]
fn an_error_while_reading_is_told_as_it_is() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(flatbake::Error::cancelled().into())
        }
    }
    let Some(gpg) = Gpg::new() else { return };
    let (_, subkey) = signer(&gpg, "never");
    let signature = gpg.sign("2020-06-01", &subkey, &["--detach-sign"], CONTENT);
    let keys = keyring(&gpg.export(&[], &[]));
    let error = keys.verify(&signature, Broken, time(NOW)).unwrap_err();
    assert_eq!(error.kind(), flatbake::ErrorKind::Cancelled);
}
