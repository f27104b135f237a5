//! What is said of a disk image whose signature holds.

use serde::Serialize;

use crate::bytes::ByteSize;
use crate::flatcar::ddi::Verdict;

use super::table::table;

/// A disk image that is what its signer signed.
#[derive(Serialize)]
pub struct VerifiedImage {
    /// The file.
    pub file: String,
    /// What was verified.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl VerifiedImage {
    /// As lines of a name and a value.
    pub fn table(&self) -> String {
        let verdict = &self.verdict;
        let size = format!(
            "{} ({} bytes) of its filesystem",
            ByteSize(verdict.data_bytes),
            verdict.data_bytes
        );
        let rows = [
            ("verified:", self.file.clone()),
            ("size:", size),
            ("signer:", verdict.subject.clone()),
            ("certificate:", format!("SHA-256 {}", verdict.fingerprint)),
            ("root hash:", verdict.root_hash.clone()),
        ];
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        table(&rows, &[])
    }
}
