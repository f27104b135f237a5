//! Transfers against servers of the tests on loopback, which do what servers should and what they should not.

mod answers;
mod files;
mod proxies;
mod refused;
mod resume;
mod secure;
mod waits;

use std::io::{Read, Seek};
use std::sync::Mutex;
use std::time::Duration;

use flatbake::fetch::transfer::{Client, Received, Retries, Settings, Source};
use flatbake::{Cancel, Error, Finding, Progress, Result};
use sha2::{Digest, Sha256};

/// Enough for every file of these tests.
const PLENTY: u64 = 64 << 20;

/// Settings for tests: short waits, and three tries more.
fn quick() -> Settings {
    Settings {
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_secs(5),
        retries: Retries {
            count: 3,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(300),
            seed: 1,
        },
        ..Settings::default()
    }
}

fn client(settings: &Settings) -> Client {
    Client::new(settings, &Cancel::new()).unwrap()
}

fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

/// Fetches into a file without a name, and returns what is in it.
fn download(client: &Client, url: &str, progress: &dyn Progress) -> Result<Vec<u8>> {
    let mut file = tempfile::tempfile().unwrap();
    let received = client.download(&source(url), &mut file, PLENTY, progress)?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    let sum: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let len = bytes.len().try_into().unwrap();
    assert_eq!(received, Received { len, sha256: sum });
    Ok(bytes)
}

/// Fetches with settings for tests.
fn get(url: &str) -> Result<Vec<u8>> {
    download(&client(&quick()), url, &flatbake::NoProgress)
}

/// Everything that an error tells.
fn told(error: &Error) -> String {
    format!("{error:?}")
}

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn sum(&self) -> u64 {
        let lines = self.lines();
        let advances = lines.iter().filter_map(|line| line.strip_prefix('+'));
        advances.map(|bytes| bytes.parse::<u64>().unwrap()).sum()
    }

    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Progress for Told {
    fn start(&self, step: &str, total_bytes: u64) {
        self.add(format!("{step}: {total_bytes}"));
    }

    fn advance(&self, bytes: u64) {
        self.add(format!("+{bytes}"));
    }

    fn finish(&self) {
        self.add("end".to_owned());
    }

    fn found(&self, finding: &Finding) {
        self.add(finding.to_string());
    }
}
