//! The SHA-256 of what was written, computed while the file is synced.

use std::fs::File;
use std::path::Path;
use std::thread;

use sha2::{Digest, Sha256};

use super::output::ArtifactFile;
use super::schedule::Desk;
use crate::block::{BlockDevice, FileDevice, sha256};
use crate::bytes::hex;
use crate::error::{Error, Result};
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

/// Makes all bytes of `file` durable, which will be `path`, and says what it is.
///
/// Where `digest` asks for a digest, the file is read meanwhile (or after that, where other jobs go on), which is still in
/// the host's memory: formats whose header is written last cannot be hashed as they are written.
pub(super) fn seal(
    desk: &Desk<'_>,
    file: &File,
    path: &Path,
    digest: bool,
    progress: &dyn Progress,
) -> Result<ArtifactFile> {
    let bytes = file.metadata().map_err(|error| Error::io("reading its size", error))?.len();
    if !digest {
        return Ok(ArtifactFile { path: path.to_owned(), bytes, sha256: None });
    }
    let not_durable = |error| Error::io("making its bytes durable", error);
    let sum = if desk.is_alone() {
        thread::scope(|scope| {
            let synced = scope.spawn(|| file.sync_all());
            let sum = hash(desk, file, path, progress);
            let synced = synced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            synced.map_err(not_durable)?;
            sum
        })?
    } else {
        // Others work while this one waits.
        file.sync_all().map_err(not_durable)?;
        hash(desk, file, path, progress)?
    };
    Ok(ArtifactFile { path: path.to_owned(), bytes, sha256: Some(sum) })
}

fn hash(desk: &Desk<'_>, file: &File, path: &Path, progress: &dyn Progress) -> Result<String> {
    let file = file.try_clone().map_err(|error| Error::io("opening it once more", error))?;
    let device = desk.watch(FileDevice::from_file(file, path)?);
    progress.start(&format!("hashing {}", path.display()), device.size());
    let sum = sha256(&device, &mut |bytes| progress.advance(bytes));
    progress.finish();
    sum
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::schedule::{Oversight, alone};
    use super::*;
    use crate::progress::{Cancel, NoProgress};

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
        let sealed = |file: &File, digest: bool| {
            let seal = |desk: &Desk<'_>| seal(desk, file, Path::new("out"), digest, desk.progress());
            alone("hashing", 0, &Oversight::new(&NoProgress, &cancel), seal).unwrap()
        };
        let one = sealed(&file, true);
        assert_eq!((one.bytes, one.sha256), (3_000_001, Some(whole.finish())));
        assert_eq!(sealed(&file, false).sha256, None);
        let empty = sealed(&tempfile::tempfile().unwrap(), true);
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(empty.sha256.as_deref(), Some(of_nothing));
    }
}
