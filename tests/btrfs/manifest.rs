//! A filesystem as text, one entry a line: what `testdata/btrfs/manifest.py` prints for a mounted one.

use std::collections::HashMap;

use flatbake::fs::{ByPath, Entry, FileSystem, FileType, FsPath, walk};
use sha2::{Digest, Sha256};

/// Printable ASCII as it is, all else as `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    let one = |&byte: &u8| match byte {
        b'\\' => "\\x5c".to_owned(),
        0x21..0x7f => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(one).collect()
}

/// The SHA-256 of a file's content, read in pieces.
pub fn hash(fs: &dyn FileSystem, path: &FsPath) -> String {
    let file = fs.open_at(path).unwrap();
    let mut digest = Sha256::new();
    let mut at = 0;
    let mut buf = vec![0; 1 << 20];
    while at < file.size() {
        let len = usize::try_from(file.size() - at)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        file.read_at(at, &mut buf[..len]).unwrap();
        digest.update(&buf[..len]);
        at += len as u64;
    }
    hex(&digest.finalize())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The whole tree.
pub fn manifest(fs: &dyn FileSystem) -> String {
    let mut first = HashMap::new();
    let mut out = String::new();
    walk(
        fs,
        &FsPath::root(),
        &mut |Entry {
                  path, metadata: m, ..
              }| {
            let directory = m.file_type == FileType::Directory;
            let number = |value: String| if directory { "-".to_owned() } else { value };
            let name = shown(path.as_bytes());
            let mut fields = vec![
                name.clone(),
                format!("{:o}", m.file_type.mode_bits() | m.mode),
                format!("{}:{}", m.uid, m.gid),
                number(m.size.to_string()),
                number(m.nlink.to_string()),
                format!("{}.{:09}", m.mtime.secs, m.mtime.nanos),
                first.entry(m.inode).or_insert(name).clone(),
                match m.file_type {
                    FileType::File => hash(fs, &path),
                    FileType::Symlink => shown(&fs.read_link_at(&path)?),
                    FileType::CharDevice | FileType::BlockDevice => {
                        format!("{}:{}", m.device.0, m.device.1)
                    }
                    _ => "-".to_owned(),
                },
            ];
            fields.extend(
                fs.xattrs_at(&path)?
                    .iter()
                    .map(|x| format!("{}={}", shown(&x.name), shown(&x.value))),
            );
            out.push_str(&fields.join(" "));
            out.push('\n');
            Ok(())
        },
    )
    .unwrap();
    out
}
