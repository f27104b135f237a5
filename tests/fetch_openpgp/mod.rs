//! Signatures, each judged by `gpg --verify` as well: keys and signatures are made by GnuPG, at whatever time is needed.

mod cases;
mod clearsigned;
mod cli;
mod flatcar;
pub mod gpg;
mod hostile;
mod keyrings;

use flatbake::fetch::openpgp::{Keyring, Time};

/// Midnight of a day such as 2020-01-31.
pub fn time(date: &str) -> Time {
    let text = format!("{date}T00:00:00Z");
    Time::from(humantime_of(&text))
}

fn humantime_of(text: &str) -> std::time::SystemTime {
    let timestamp: flatbake::Timestamp = text.parse().unwrap();
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(timestamp.secs.unsigned_abs())
}

/// A keyring of these keys, all of which are trusted.
pub fn keyring(keys: &[u8]) -> Keyring {
    let mut keyring = Keyring::new();
    keyring.add(keys).unwrap();
    keyring
}
