//! Sparse members put into filesystems: holes stay holes, and take neither room nor time.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use flatbake::archive::{TarOptions, inject};
use flatbake::block::{BlockDevice, FileDevice, Overlay, OverlayOptions};
use flatbake::fs::{ByPath, EditOptions, edit, read_file};
use flatbake::{ErrorKind, NoProgress};

use super::maker::{Maker, record};
use super::path;
use crate::common::judges::{btrfs_clean, ext4_clean, fat_clean};
use crate::common::programs::{command, judge, success};
use crate::common::region::Region;

const MIB: u64 = 1 << 20;

/// A member of `size` bytes of which only `stored`, (offset, content), is in the archive (GNU's format 1.0).
fn sparse(name: &str, size: u64, stored: &[(u64, &[u8])]) -> Maker {
    let records = [
        record("GNU.sparse.major", b"1"),
        record("GNU.sparse.minor", b"0"),
        record("GNU.sparse.name", name.as_bytes()),
        record("GNU.sparse.realsize", size.to_string().as_bytes()),
    ];
    let mut map = format!("{}\n", stored.len());
    stored
        .iter()
        .for_each(|(offset, content)| map.push_str(&format!("{offset}\n{}\n", content.len())));
    let mut body = map.into_bytes();
    body.resize(body.len().next_multiple_of(512), 0);
    stored
        .iter()
        .for_each(|(_, content)| body.extend_from_slice(content));
    Maker::new()
        .entry("x", b'x', &records.concat(), "")
        .entry("GNUSparseFile/x", b'0', &body, "")
}

/// Puts `archive` into the filesystem of `image`, and returns the bytes that it took.
fn put(image: &Path, archive: &[u8]) -> flatbake::Result<u64> {
    let base: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(image)?);
    let temp = std::env::temp_dir();
    let overlay = Arc::new(Overlay::new(Arc::clone(&base), OverlayOptions::new(&temp))?);
    let mut editor = edit(base, Arc::clone(&overlay) as _, &EditOptions::new(&temp))?;
    let before = editor.capacity()?.free_bytes;
    inject(
        &mut *editor,
        archive,
        &path("/"),
        &TarOptions::default(),
        &NoProgress,
    )?;
    editor.commit()?;
    let taken = before.saturating_sub(editor.capacity()?.free_bytes);
    drop(editor);
    let mut bytes = vec![0; overlay.size().try_into().unwrap()];
    overlay.read_at(0, &mut bytes)?;
    fs::write(image, bytes).unwrap();
    Ok(taken)
}

fn made(image: &Path, mkfs: &str, arguments: &[&str]) -> bool {
    let Some(program) = judge(mkfs) else {
        return false;
    };
    File::create(image).unwrap().set_len(128 << 20).unwrap();
    success(command(&program).args(arguments).arg(image));
    true
}

/// If holes were read, even as zeroes from memory, this would take longer than anybody waits.
#[test]
fn a_terabyte_of_hole_takes_no_room_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let size = 1 << 40;
    let stored: [(u64, &[u8]); 4] = [
        (0, b"front"),
        (70 * MIB + 1000, b"middle"),
        (70 * MIB + 3000, b"more"),
        (size - 3, b"end"),
    ];
    let archive = sparse("big", size, &stored).file("plain", "p").end();
    for (mkfs, arguments) in [
        ("mkfs.ext4", &["-q", "-b", "4096"][..]),
        ("mkfs.ext4", &["-q", "-b", "1024", "-O", "^metadata_csum"]),
        ("mkfs.btrfs", &["-q", "--mixed"]),
        ("mkfs.btrfs", &["-q", "--mixed", "-O", "^no-holes"]),
    ] {
        if !made(&image, mkfs, arguments) {
            continue;
        }
        let taken = put(&image, &archive).unwrap();
        assert!(taken < MIB, "{arguments:?} {taken}");
        let judged = if mkfs == "mkfs.btrfs" {
            btrfs_clean
        } else {
            ext4_clean
        };
        judged(&Region::whole(&image)).unwrap();
        let fs = flatbake::fs::open(Arc::new(FileDevice::open(&image).unwrap())).unwrap();
        let file = fs.open_at(&path("/big")).unwrap();
        assert_eq!(file.size(), size);
        for (offset, content) in stored {
            let from = offset.saturating_sub(5);
            let mut found = vec![1; content.len() + usize::try_from(offset - from).unwrap()];
            file.read_at(from, &mut found).unwrap();
            let (hole, held) = found.split_at(found.len() - content.len());
            assert!(
                held == content && hole.iter().all(|&byte| byte == 0),
                "{arguments:?} {offset}"
            );
        }
        assert!(file.read_at(size - 2, &mut [0; 3]).is_err());
    }
}

/// A hole that begins and ends at every distance from a block's edge, on filesystems with maps of blocks, too.
#[test]
fn holes_of_every_shape_read_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let letters = b"abcdefghijklmnopqrstuvwxyz".repeat(400);
    let mut archive = Maker::new();
    let mut models = Vec::new();
    for n in 0..40u64 {
        let first = n * 137 % 5000;
        let gap = n * n * 911 % 400_000;
        let second = 1 + n * 313 % 9000;
        let at = first + gap;
        let end = first + gap + second + n % 3 * 5000;
        let len = |bytes: u64| usize::try_from(bytes).unwrap();
        let head = &letters[..len(first)];
        let tail = &letters[..len(second)];
        archive
            .0
            .extend(sparse(&format!("f{n}"), end, &[(0, head), (at, tail)]).0);
        let mut model = vec![0; len(end)];
        model[..head.len()].copy_from_slice(head);
        model[len(at)..][..tail.len()].copy_from_slice(tail);
        models.push(model);
    }
    let archive = archive.end();
    for (mkfs, arguments) in [
        ("mkfs.ext4", &["-q", "-b", "4096"][..]),
        ("mkfs.ext4", &["-q", "-b", "1024", "-t", "ext2"]),
        ("mkfs.btrfs", &["-q", "--mixed"]),
        ("mkfs.vfat", &[]),
    ] {
        if !made(&image, mkfs, arguments) {
            continue;
        }
        put(&image, &archive).unwrap();
        let judged = match mkfs {
            "mkfs.btrfs" => btrfs_clean,
            "mkfs.vfat" => fat_clean,
            _ => ext4_clean,
        };
        judged(&Region::whole(&image)).unwrap();
        let fs = flatbake::fs::open(Arc::new(FileDevice::open(&image).unwrap())).unwrap();
        for (n, model) in models.iter().enumerate() {
            let found = read_file(&*fs, &path(&format!("/f{n}")), 1 << 20).unwrap();
            assert!(found == *model, "{mkfs} {arguments:?} f{n}");
        }
    }
}

#[test]
fn what_has_no_holes_refuses_a_hole_that_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    if !made(&image, "mkfs.vfat", &[]) {
        return;
    }
    for (size, kind) in [
        (1 << 32, ErrorKind::Unsupported),
        (200 * MIB, ErrorKind::NoSpace),
    ] {
        let error = put(&image, &sparse("big", size, &[(0, b"x")]).end()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}
