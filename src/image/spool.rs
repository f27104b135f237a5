//! What cannot be read at any place, such as a pipe, as a file without a name.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::scratch::{MAX_DISK, SparseWriter};
use crate::bytes::to_u64;
use crate::error::{Error, Result, ResultExt, from_io};
use crate::progress::{Cancel, Progress};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Copies all of `from`, which messages call `name`, into a file without a name in `folder`; blocks of zeroes become
/// holes. What it is for is [`open_file`](super::open_file).
///
/// # Errors
/// Those of reading; [`crate::ErrorKind::Environment`] for a folder that is full or cannot be written to;
/// [`crate::ErrorKind::Unsupported`] for more than 1 TiB; [`crate::ErrorKind::Cancelled`].
pub fn spool(
    from: &mut dyn Read,
    name: &str,
    folder: &Path,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<File> {
    let file = tempfile::tempfile_in(folder).map_err(|error| {
        Error::io(
            format!("creating a temporary file in {}", folder.display()),
            error,
        )
        .with_hint("choose another temporary folder")
    })?;
    progress.start(&format!("reading {name}"), 0);
    let mut writer = SparseWriter::new(&file, folder, "copy of the image", MAX_DISK);
    let copied = copy(from, &mut writer, cancel, progress).at(|| name);
    progress.finish();
    copied?;
    Ok(file)
}

fn copy(
    from: &mut dyn Read,
    to: &mut SparseWriter<'_>,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        cancel.check()?;
        match from.read(&mut chunk) {
            Ok(0) => return to.finish(),
            Ok(len) => {
                to.write(&chunk[..len])?;
                progress.advance(to_u64(len));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(from_io("reading it", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;
    use crate::progress::NoProgress;

    #[test]
    fn a_stream_becomes_a_sparse_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = vec![0; (3 << 20) + 100];
        disk[1_500_000..1_600_000].fill(7);
        let spooled = |from: &mut dyn Read, cancel: &Cancel| {
            spool(from, "a stream", dir.path(), cancel, &NoProgress)
        };
        let file = spooled(&mut &disk[..], &Cancel::new()).unwrap();
        let mut bytes = vec![1; disk.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let metadata = file.metadata().unwrap();
        assert!(bytes == disk && metadata.len() == to_u64(disk.len()));
        assert!(
            metadata.blocks() * 512 < 1 << 20,
            "{} blocks",
            metadata.blocks()
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

        let cancel = Cancel::new();
        cancel.cancel();
        let error = spooled(&mut std::io::repeat(1), &cancel).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Cancelled);
    }
}
