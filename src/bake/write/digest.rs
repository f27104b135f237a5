//! The SHA-256 of what was written, computed while the file is synced.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use super::output::ArtifactFile;
use super::schedule::Desk;
use crate::block::{BlockDevice, FileDevice, make_durable, sha256, sync_while};
use crate::bytes::hex;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::progress::Progress;

/// A SHA-256 of the bytes passed to it so far.
#[derive(Debug, Default)]
pub(super) struct Sha256Sum(Sha256);

impl Sha256Sum {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The digest of bytes that several outputs have: whoever is first computes it, the others wait for that.
#[derive(Debug, Default)]
pub(super) struct SharedSum(Mutex<Option<String>>);

impl SharedSum {
    /// The digest, which `compute` gives where nobody has had it yet.
    fn get_or(&self, compute: impl FnOnce() -> Result<String>) -> Result<String> {
        let mut known = lock(&self.0);
        let sum = known.take().map_or_else(compute, Ok)?;
        *known = Some(sum.clone());
        Ok(sum)
    }
}

/// What digest of a file is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum<'a> {
    Unwanted,
    Own,
    /// That of other files, too, which have the same bytes.
    Shared(&'a SharedSum),
}

/// Makes all bytes of `file` durable, which will be `path`, and says what it is.
///
/// Where `sum` asks for a digest, the file is read meanwhile (or after that, where other jobs go on), which is still in
/// the host's memory: formats whose header is written last cannot be hashed as they are written.
pub(super) fn seal(
    desk: &Desk<'_>,
    file: &File,
    path: &Path,
    sum: Sum<'_>,
    progress: &dyn Progress,
) -> Result<ArtifactFile> {
    let bytes = file
        .metadata()
        .map_err(|error| Error::io("reading its size", error))?
        .len();
    let shared = match sum {
        Sum::Unwanted => {
            return Ok(ArtifactFile {
                path: path.to_owned(),
                bytes,
                sha256: None,
            });
        }
        Sum::Own => None,
        Sum::Shared(shared) => Some(shared),
    };
    let hash = || hash(desk, file, path, progress);
    let digest = || shared.map_or_else(hash, |shared| shared.get_or(hash));
    let sha256 = if desk.is_alone() {
        sync_while(file, digest)?
    } else {
        // Others work while this one waits.
        make_durable(file)?;
        digest()?
    };
    Ok(ArtifactFile {
        path: path.to_owned(),
        bytes,
        sha256: Some(sha256),
    })
}

fn hash(desk: &Desk<'_>, file: &File, path: &Path, progress: &dyn Progress) -> Result<String> {
    let file = file
        .try_clone()
        .map_err(|error| Error::io("opening it once more", error))?;
    let device = desk.watch(FileDevice::from_file(file, path)?);
    progress.start(&format!("hashing {}", path.display()), device.size());
    let sum = sha256(&device, &mut |bytes| progress.advance(bytes));
    progress.finish();
    sum
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::thread;

    use super::super::schedule::{Oversight, alone};
    use super::*;
    use crate::progress::{Cancel, NoProgress};

    #[test]
    fn whoever_shares_a_digest_hashes_once_and_a_failure_is_nobody_elses() {
        let sum = SharedSum::default();
        let computed = std::sync::atomic::AtomicUsize::new(0);
        let failed = sum.get_or(|| Err(Error::not_found("the first one")));
        assert_eq!(failed.unwrap_err().to_string(), "the first one");
        let compute = || {
            computed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(5));
            Ok("abc".to_owned())
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(sum.get_or(compute).unwrap(), "abc"));
            }
        });
        assert_eq!(computed.into_inner(), 1);
    }

    #[test]
    fn holes_count_as_zeroes() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3_000_001).unwrap();
        file.write_all_at(&[7; 70_000], 1_234_567).unwrap();
        let mut bytes = vec![0; 3_000_001];
        bytes[1_234_567..1_304_567].fill(7);
        let mut whole = Sha256Sum::default();
        whole.update(&bytes);
        let cancel = Cancel::new();
        let sealed = |file: &File, sum: Sum<'_>| {
            let seal = |desk: &Desk<'_>| seal(desk, file, Path::new("out"), sum, desk.progress());
            alone("hashing", 0, &Oversight::new(&NoProgress, &cancel), seal).unwrap()
        };
        let one = sealed(&file, Sum::Own);
        assert_eq!((one.bytes, one.sha256), (3_000_001, Some(whole.finish())));
        assert_eq!(sealed(&file, Sum::Unwanted).sha256, None);
        let empty = sealed(&tempfile::tempfile().unwrap(), Sum::Own);
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.sha256.as_deref(), Some(of_nothing));
    }
}
