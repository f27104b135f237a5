//! GnuPG as a maker of keys and signatures, at any time, and as the judge of them.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::common::programs::{command, judge, said};

/// A time as `gpg --faked-system-time` reads it, at which the clock stands still.
pub fn day(date: &str) -> String {
    format!("{}T000000!", date.replace('-', ""))
}

/// A home of GnuPG with keys of its own.
pub struct Gpg {
    program: PathBuf,
    agent: PathBuf,
    home: tempfile::TempDir,
}

impl Gpg {
    /// An empty home; `None` where GnuPG is not installed.
    pub fn new() -> Option<Self> {
        // Sockets below it have room for 107 bytes of path, so it cannot lie in the usual folder of tests.
        let home = tempfile::Builder::new()
            .prefix("gpg-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .unwrap();
        Some(Self {
            program: judge("gpg")?,
            agent: judge("gpgconf")?,
            home,
        })
    }

    fn output(&self, date: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut gpg = command(&self.program);
        gpg.env("GNUPGHOME", self.home.path())
            .args(["--no-tty", "--quiet", "--pinentry-mode", "loopback"])
            .args(["--passphrase", "", "--faked-system-time", &day(date)])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = gpg.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn run(&self, date: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.output(date, arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        output.stdout
    }

    /// Fingerprints of all keys: each primary key before its subkeys.
    pub fn fingerprints(&self) -> Vec<String> {
        let list = self.run("2026-01-01", &["--list-keys", "--with-colons"], b"");
        let list = String::from_utf8(list).unwrap();
        let of_keys = list
            .lines()
            .filter_map(|line| line.strip_prefix("fpr:::::::::"));
        of_keys
            .map(|line| line.trim_end_matches(':').to_owned())
            .collect()
    }

    /// Makes a key and returns the fingerprint that was not there before.
    fn added(&self, date: &str, arguments: &[&str]) -> String {
        let before = self.fingerprints();
        self.run(date, &[&["--batch"], arguments].concat(), b"");
        let mut after = self.fingerprints();
        after.retain(|fingerprint| !before.contains(fingerprint));
        assert_eq!(after.len(), 1, "{after:?}");
        after.remove(0)
    }

    /// A primary key that signs only other keys.
    pub fn primary(&self, date: &str, user_id: &str) -> String {
        self.added(
            date,
            &["--quick-gen-key", user_id, "ed25519", "cert", "never"],
        )
    }

    /// A subkey for signing that ends after `life`: `1y`, or `never`.
    pub fn subkey(&self, date: &str, primary: &str, algorithm: &str, life: &str) -> String {
        self.added(date, &["--quick-add-key", primary, algorithm, "sign", life])
    }

    /// Gives a subkey another end.
    pub fn extend(&self, date: &str, primary: &str, subkey: &str, life: &str) {
        let expire = ["--batch", "--quick-set-expire", primary, life, subkey];
        self.run(date, &expire, b"");
    }

    /// Revokes the only subkey: 0 is no reason, 1 compromised, 2 superseded, 3 retired.
    pub fn revoke_subkey(&self, date: &str, primary: &str, reason: u8) {
        let talk = format!("key 1\nrevkey\ny\n{reason}\n\ny\nsave\n");
        self.run(
            date,
            &["--command-fd", "0", "--edit-key", primary],
            talk.as_bytes(),
        );
    }

    /// Revokes a primary key, for one of the reasons above.
    pub fn revoke_primary(&self, date: &str, primary: &str, reason: u8) {
        let talk = format!("revkey\ny\n{reason}\n\ny\nsave\n");
        self.run(
            date,
            &["--command-fd", "0", "--edit-key", primary],
            talk.as_bytes(),
        );
    }

    /// The public parts of keys; all of them where none is named.
    pub fn export(&self, options: &[&str], keys: &[&str]) -> Vec<u8> {
        let arguments = [&["--batch"], options, &["--export"], keys].concat();
        self.run("2026-01-01", &arguments, b"")
    }

    /// The secret parts, too.
    pub fn export_secret(&self, key: &str) -> Vec<u8> {
        let arguments = ["--batch", "--armor", "--export-secret-keys", key];
        self.run("2026-01-01", &arguments, b"")
    }

    pub fn import(&self, keys: &[u8]) {
        self.run("2026-01-01", &["--batch", "--import"], keys);
    }

    /// Signs `content` with exactly this key. `options` say how: `--detach-sign`, `--clearsign`, `--armor`.
    pub fn sign(&self, date: &str, key: &str, options: &[&str], content: &[u8]) -> Vec<u8> {
        let key = format!("{key}!");
        let arguments = [&["--batch", "--local-user", &key], options].concat();
        self.run(date, &arguments, content)
    }

    /// What `gpg --verify` says of a signature, as it was on that day: its words for programs.
    pub fn verify(&self, date: &str, signature: &[u8], content: Option<&[u8]>) -> Verdict {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let mut files = vec![put("content.sig", signature)];
        files.extend(content.map(|content| put("content", content)));
        let options = [
            "--batch",
            "--status-fd",
            "1",
            "--weak-digest",
            "SHA1",
            "--verify",
        ];
        let mut arguments = options.to_vec();
        arguments.extend(files.iter().map(String::as_str));
        Verdict::of(&self.output(date, &arguments, b""))
    }

    /// The text that `gpg --decrypt` takes out of a clearsigned one.
    pub fn signed_text(&self, date: &str, signed: &[u8]) -> Vec<u8> {
        self.run(date, &["--batch", "--decrypt"], signed)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Gpg {
    /// Ends the agent that GnuPG left running for this home.
    fn drop(&mut self) {
        let mut end = command(&self.agent);
        end.env("GNUPGHOME", self.home.path());
        let _ = end.args(["--kill", "gpg-agent"]).output();
    }
}

/// What GnuPG says of a file of signatures.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The words of the status lines that tell of signatures, one for each signature.
    pub words: Vec<String>,
    pub is_accepted: bool,
}

/// The words by which each signature is told once.
const WORDS: [&str; 6] = [
    "GOODSIG",
    "BADSIG",
    "EXPKEYSIG",
    "REVKEYSIG",
    "ERRSIG",
    "NODATA",
];

impl Verdict {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let words = text
            .lines()
            .filter_map(|line| line.strip_prefix("[GNUPG:] ")?.split(' ').next());
        let words = words.filter(|word| WORDS.contains(word));
        Self {
            words: words.map(str::to_owned).collect(),
            is_accepted: output.status.success(),
        }
    }

    pub fn says(&self, word: &str) -> bool {
        self.words.iter().any(|said| said == word)
    }
}
