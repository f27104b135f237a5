//! `flatbake verify`

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::gpg::Gpg;
use crate::common::programs::{self, said};

const CONTENT: &[u8] = b"content of a release\n";

/// A folder with a file, and a signer whose keyring is `key.asc`.
struct Signer {
    gpg: Gpg,
    primary: String,
    subkey: String,
}

impl Signer {
    fn new() -> Option<Self> {
        let gpg = Gpg::new()?;
        let primary = gpg.primary("2020-01-01", "Builds <builds@example.org>");
        let subkey = gpg.subkey("2020-01-01", &primary, "ed25519", "1y");
        let signer = Self {
            gpg,
            primary,
            subkey,
        };
        signer.put("key.asc", &signer.gpg.export(&["--armor"], &[]));
        signer.put("a.bin", CONTENT);
        Some(signer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.gpg.home().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn sign(&self, options: &[&str], content: &[u8]) -> Vec<u8> {
        self.gpg.sign("2020-06-01", &self.subkey, options, content)
    }

    /// What `flatbake verify` says: its exit code, and all its words.
    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = programs::flatbake();
        command.arg("verify").args(arguments);
        let output = command.current_dir(self.gpg.home()).output().unwrap();
        (output.status.code().unwrap(), said(&output))
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let mut command = programs::flatbake();
        command.arg("verify").args(arguments).arg("--json");
        let output = command.current_dir(self.gpg.home()).output().unwrap();
        let document = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), document)
    }
}

#[test]
fn a_file_is_verified_by_what_stands_beside_it() {
    let Some(signer) = Signer::new() else { return };
    let digest = "0".repeat(128);
    let list = format!("# SHA512 HASH\n{digest}  a.bin\n");
    let wrong_list = signer.sign(&["--clearsign"], list.as_bytes());
    let sum = programs::must_run("sha512sum", [signer.path("a.bin")]);
    let digest = String::from_utf8(sum.stdout).unwrap()[..128].to_owned();
    let list = format!("# SHA512 HASH\n{digest}  a.bin\n");
    let right_list = signer.sign(&["--clearsign"], list.as_bytes());
    for (name, proof) in [
        ("a.bin.DIGESTS.asc", right_list),
        (
            "a.bin.asc",
            signer.sign(&["--armor", "--detach-sign"], CONTENT),
        ),
        ("a.bin.sig", signer.sign(&["--detach-sign"], CONTENT)),
    ] {
        signer.put(name, &proof);
        let (code, document) = signer.json(&["a.bin", "--keyring", "key.asc"]);
        assert_eq!(code, 0, "{document}");
        assert_eq!(document["signature"], name);
        assert_eq!(document["signed"]["primary"], signer.primary.as_str());
        assert_eq!(document["signed"]["key"], signer.subkey.as_str());
        assert_eq!(document["signed"]["made"], "2020-06-01T00:00:00Z");
        // The subkey has ended.
        assert_eq!(document["findings"][0]["code"], "signing-key-ended");
    }
    let (code, words) = signer.verify(&["a.bin", "--keyring", "key.asc"]);
    assert_eq!(code, 0, "{words}");
    assert!(words.contains("Builds <builds@example.org>"), "{words}");
    signer.put("wrong", &wrong_list);
    let (code, words) = signer.verify(&["a.bin", "--keyring", "key.asc", "--sig", "wrong"]);
    assert_eq!(code, 7, "{words}");
    assert!(words.contains("the signed list says 000"), "{words}");
}

#[test]
fn a_missing_signature_is_told_apart_from_a_bad_one() {
    let Some(signer) = Signer::new() else { return };
    let reason = |arguments: &[&str]| {
        let (code, document) = signer.json(arguments);
        let reason = document["error"]["reason"].as_str();
        (code, reason.unwrap_or_default().to_owned())
    };
    let trusting = ["a.bin", "--keyring", "key.asc"];
    assert_eq!(reason(&trusting), (2, "no-signature".to_owned()));
    signer.put("a.bin.sig", b"");
    assert_eq!(reason(&trusting), (7, "no-signature".to_owned()));
    signer.put("a.bin.sig", &signer.sign(&["--detach-sign"], b"another\n"));
    assert_eq!(reason(&trusting), (7, "bad-signature".to_owned()));
    signer.put("a.bin.sig", &signer.sign(&["--detach-sign"], CONTENT));
    assert_eq!(reason(&["a.bin"]), (7, "unknown-key".to_owned()));
    assert_eq!(signer.verify(&trusting).0, 0);
    let flatcar = "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A";
    let pinned = [&trusting[..], &["--trust", flatcar]].concat();
    assert_eq!(reason(&pinned), (7, "unknown-key".to_owned()));
    let pinned = [&trusting[..], &["--trust", &signer.primary]].concat();
    assert_eq!(signer.verify(&pinned).0, 0);
    assert_eq!(
        signer.verify(&["a.bin", "--trust", "E25D9AED0593B34A"]).0,
        2
    );
}

#[test]
fn trusted_keys_are_listed() {
    let Some(signer) = Signer::new() else { return };
    let (code, words) = signer.verify(&["--list-keys", "--keyring", "key.asc"]);
    assert_eq!(code, 0, "{words}");
    for text in [
        "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A",
        "revoked: compromised on 2018-03-14",
        "52F145DFD00BBDCD928CBB5A32DA80F91EF52974  subkey   rsa4096",
        "ended 2020-12-31",
        &signer.subkey,
    ] {
        assert!(words.contains(text), "{text}: {words}");
    }
    let (_, document) = signer.json(&[
        "--list-keys",
        "--keyring",
        "key.asc",
        "--trust",
        &signer.primary,
    ]);
    let keys = document["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["keys"][1]["algorithm"], "ed25519");
    assert_eq!(keys[0]["keys"][1]["expires"], "2020-12-31T00:00:00Z");
}
