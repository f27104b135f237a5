//! Text that is signed where it stands.

use flatbake::Reason;
use flatbake::fetch::digests::Digests;
use flatbake::fetch::openpgp::is_clearsigned;

use super::gpg::Gpg;
use super::{keyring, time};

const NOW: &str = "2026-06-01";
const SIGNED: &str = "2020-06-01";

/// A key for signing, and a text with lines that must be protected.
fn made() -> Option<(Gpg, String, Vec<u8>)> {
    let gpg = Gpg::new()?;
    let primary = gpg.primary("2020-01-01", "Builds <builds@example.org>");
    let subkey = gpg.subkey("2020-01-01", &primary, "rsa2048", "never");
    let digest = "5a".repeat(64);
    let text =
        format!("# SHA512 HASH\n{digest}  a.bin\n- a dash\n-----BEGIN X-----\nFrom me\n\nend\n");
    Some((gpg, subkey, text.into_bytes()))
}

#[test]
fn all_that_is_signed_is_returned_and_nothing_around_it() {
    let Some((gpg, subkey, text)) = made() else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    let signed = gpg.sign(SIGNED, &subkey, &["--clearsign"], &text);
    let around = [b"before\n", &signed[..], b"behind\n"].concat();
    for bytes in [&signed, &around] {
        assert!(is_clearsigned(bytes));
        assert!(gpg.verify(SIGNED, bytes, None).says("GOODSIG"));
        let (ours, by) = keys.verify_clearsigned(bytes, time(NOW)).unwrap();
        assert_eq!(by.key.to_string(), subkey);
        // The end of the last line is no part of what is signed.
        assert_eq!([&ours[..], b"\n"].concat(), text);
        assert_eq!(gpg.signed_text(SIGNED, bytes), text);
    }
}

#[test]
fn the_digests_of_a_signed_list_are_those_of_its_files() {
    let Some((gpg, subkey, _)) = made() else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    let digest = "ab".repeat(64);
    let list = format!(
        "# MD5 HASH\n{}  a.bin\n# SHA1 HASH\n{}  a.bin\n# SHA512 HASH\n{digest}  a.bin\n",
        "1".repeat(32),
        "2".repeat(40)
    );
    let signed = gpg.sign(SIGNED, &subkey, &["--clearsign"], list.as_bytes());
    // Somebody puts a list of his own around it.
    let other = list.replace("ab", "cd");
    let around = [other.as_bytes(), &signed[..], other.as_bytes()].concat();
    let (text, _) = keys.verify_clearsigned(&around, time(NOW)).unwrap();
    assert_eq!(
        Digests::parse(&text).unwrap().sha512("a.bin").unwrap(),
        digest
    );
}

#[test]
fn a_changed_text_is_refused() {
    let Some((gpg, subkey, text)) = made() else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    let signed = gpg.sign(SIGNED, &subkey, &["--clearsign"], &text);
    let signed = String::from_utf8(signed).unwrap();
    for (from, to) in [
        ("a.bin", "b.bin"),
        ("\nend\n", "\nend\nmore\n"),
        ("- - a dash", "- a dash"),
        ("From", "from"),
        ("Hash: SHA512\n\n", "Hash: SHA512\n\nmore\n"),
    ] {
        let changed = signed.replacen(from, to, 1);
        if changed == signed {
            continue;
        }
        let verdict = gpg.verify(SIGNED, changed.as_bytes(), None);
        let ours = keys.verify_clearsigned(changed.as_bytes(), time(NOW));
        match ours {
            // What is no change: an unprotected dash.
            Ok((ours, _)) => {
                assert_eq!([&ours[..], b"\n"].concat(), text);
                assert!(verdict.says("GOODSIG"), "{from}: {verdict:?}");
            }
            Err(error) => {
                assert_eq!(
                    error.reason(),
                    Some(Reason::BadSignature),
                    "{from}: {error:?}"
                );
                assert!(!verdict.says("GOODSIG"), "{from}: {verdict:?}");
            }
        }
    }
    assert_ne!(signed.replacen("a.bin", "b.bin", 1), signed);
}

#[test]
fn of_two_signed_texts_the_first_counts_and_others_hide_nothing() {
    let (Some((gpg, subkey, text)), Some((other, stranger, _))) = (made(), made()) else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    let good = gpg.sign(SIGNED, &subkey, &["--clearsign"], &text);
    let foreign = other.sign(SIGNED, &stranger, &["--clearsign"], b"foreign\n");
    let (ours, _) = keys
        .verify_clearsigned(&[&good[..], &foreign].concat(), time(NOW))
        .unwrap();
    assert_eq!([&ours[..], b"\n"].concat(), text);
    let error = keys
        .verify_clearsigned(&[&foreign[..], &good].concat(), time(NOW))
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownKey));
}

#[test]
fn what_is_not_clearsigned_is_not_taken_for_it() {
    let Some((gpg, subkey, text)) = made() else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    let inline = gpg.sign(SIGNED, &subkey, &["--armor", "--sign"], &text);
    let detached = gpg.sign(SIGNED, &subkey, &["--armor", "--detach-sign"], &text);
    let hidden = [b"x -----BEGIN PGP SIGNED MESSAGE-----\n", &inline[..]].concat();
    for bytes in [&inline, &detached, &text, &hidden, &Vec::new()] {
        let error = keys.verify_clearsigned(bytes, time(NOW)).unwrap_err();
        assert_eq!(error.reason(), Some(Reason::NoSignature), "{error:?}");
    }
    let begun = [b"-----BEGIN PGP SIGNED MESSAGE-----\n\n", &text[..]].concat();
    let error = keys.verify_clearsigned(&begun, time(NOW)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BadSignature), "{error:?}");
    let large = vec![b'\n'; (1 << 20) + 1];
    let error = keys.verify_clearsigned(&large, time(NOW)).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::Limit));
}

#[test]
fn signed_texts_with_other_line_ends_and_no_last_line_end_are_good() {
    let Some((gpg, subkey, _)) = made() else {
        return;
    };
    let keys = keyring(&gpg.export(&[], &[]));
    for text in [&b"a\r\nb\r\n"[..], b"a", b"", b"a  \nb\t\n", b"\n\n"] {
        let signed = gpg.sign(SIGNED, &subkey, &["--clearsign"], text);
        assert!(
            gpg.verify(SIGNED, &signed, None).says("GOODSIG"),
            "{text:?}"
        );
        let (ours, _) = keys.verify_clearsigned(&signed, time(NOW)).unwrap();
        let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let lines = bytes.split(|&byte| byte == b'\n');
            let lines: Vec<Vec<u8>> = lines.map(|line| line.trim_ascii_end().to_vec()).collect();
            lines
        };
        let ours = [&ours[..], b"\n"].concat();
        let theirs = gpg.signed_text(SIGNED, &signed);
        assert_eq!(lines(&ours), lines(&theirs), "{text:?}");
    }
}
