use super::super::{TarKind, TarReader};
use super::*;
use crate::block::MemoryDevice;
use crate::fs::FileContent;

fn bytes(sections: &Sections<'_>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(sections.size()).unwrap()];
    sections.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Path, mode, and content (of files) of every entry.
fn read(archive: &[u8]) -> Vec<(String, u32, Option<Vec<u8>>)> {
    let mut reader = TarReader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let content = match &entry.kind {
            TarKind::File {
                size,
                sparse: Some(map),
            } => Some(
                FileContent::sparse(*size, map.segments(), &mut reader.content())
                    .unwrap()
                    .rest()
                    .unwrap(),
            ),
            TarKind::File { size, sparse: None } => Some(
                FileContent::whole(*size, &mut reader.content())
                    .rest()
                    .unwrap(),
            ),
            _ => None,
        };
        assert_eq!(
            (entry.uid, entry.gid, entry.mtime.secs),
            (0, 0, 1_700_000_000)
        );
        entries.push((String::from_utf8(entry.path).unwrap(), entry.mode, content));
    }
    assert_eq!(reader.end(), Some(super::super::TarEnd::Marked));
    entries
}

#[test]
fn entries_come_back_as_they_were_laid_out() {
    let disk = MemoryDevice::new((0..1300).map(|n: usize| n.to_le_bytes()[0]).collect());
    let long = format!("{}/{}", "d".repeat(150), "n".repeat(100));
    let longer = format!("{}/{}", "d".repeat(200), "n".repeat(101));
    let mut layout = TarLayout::new(1_700_000_000);
    layout.directory("dir", 0o755).unwrap();
    layout
        .file("dir/script.sh", 0o755, b"#!/bin/sh\n".to_vec())
        .unwrap();
    layout.file("empty", 0o644, Vec::new()).unwrap();
    layout.piece("disk", 0o600, Piece::whole(&disk)).unwrap();
    layout.file(&long, 0o644, vec![1; 512]).unwrap();
    layout.file(&longer, 0o644, vec![2; 513]).unwrap();
    let archive = bytes(&layout.finish().unwrap());
    assert_eq!(archive.len() % 10_240, 0);
    let mut content = vec![0; 1300];
    disk.read_at(0, &mut content).unwrap();
    assert_eq!(
        read(&archive),
        [
            ("dir/".to_owned(), 0o755, None),
            (
                "dir/script.sh".to_owned(),
                0o755,
                Some(b"#!/bin/sh\n".to_vec())
            ),
            ("empty".to_owned(), 0o644, Some(Vec::new())),
            ("disk".to_owned(), 0o600, Some(content)),
            (long, 0o644, Some(vec![1; 512])),
            (longer, 0o644, Some(vec![2; 513])),
        ]
    );
}

#[test]
fn sparse_files_of_any_number_of_stretches() {
    for (count, tail) in [
        (0, 700),
        (1, 0),
        (3, 0),
        (3, 1),
        (4, 0),
        (4, 5000),
        (25, 0),
        (26, 9),
        (60, 100),
        (200, 1),
    ] {
        let size: usize = 2048 * count + tail;
        let mut content = vec![0; size];
        let mut data = Vec::new();
        for index in 0..count {
            let start = 2048 * index + 1024;
            content[start..start + 1024].fill(u8::try_from(index + 1).unwrap());
            data.push(to_u64(start)..to_u64(start + 1024));
        }
        let disk = MemoryDevice::new(content.clone());
        let mut layout = TarLayout::new(1_700_000_000);
        layout.sparse("disk.raw", 0o644, &disk, &data).unwrap();
        layout.file("next", 0o644, b"x".to_vec()).unwrap();
        let archive = layout.finish().unwrap();
        let blocks = count + usize::from(tail > 0);
        let expected =
            512 * (1 + blocks.saturating_sub(4).div_ceil(21)) + 1024 * count + 1024 + 1024;
        assert_eq!(
            archive.size(),
            to_u64(expected.next_multiple_of(10_240)),
            "{count} stretches"
        );
        let entries = read(&bytes(&archive));
        assert_eq!(entries.len(), 2);
        assert!(
            entries[0].2.as_ref() == Some(&content),
            "{count} stretches and {tail} bytes"
        );
    }
}

#[test]
fn stretches_must_be_in_order_and_aligned() {
    let disk = MemoryDevice::new(vec![1; 5000]);
    let mut layout = TarLayout::new(0);
    let mut refused = |data: &[(u64, u64)]| {
        let data: Vec<Range<u64>> = data.iter().map(|&(start, end)| start..end).collect();
        layout.sparse("disk", 0o644, &disk, &data).is_err()
    };
    for data in [
        &[(0, 100)][..],
        &[(100, 512)],
        &[(0, 5001)],
        &[(512, 512)],
        &[(1024, 512)],
        &[(512, 1024), (0, 512)],
        &[(0, 512), (512, 1024)],
        &[(4608, 5120)],
    ] {
        assert!(refused(data), "{data:?}");
    }
    assert!(!refused(&[(0, 512), (1024, 5000)]));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    let mut layout = TarLayout::new(0);
    let long = "x/".repeat(2049);
    for path in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "a/../b",
        "./a",
        "a//b",
        "a\nb",
        "a\0",
        long.as_str(),
    ] {
        assert!(
            layout.file(path, 0o644, Vec::new()).is_err(),
            "{}",
            path.escape_debug()
        );
        assert!(
            layout.directory(path, 0o755).is_err(),
            "{}",
            path.escape_debug()
        );
    }
    assert_eq!(layout.finish().unwrap().size(), 10_240);
}

#[test]
fn numbers_beyond_octal_digits_are_told_in_base_256() {
    for (value, expected) in [
        (0, b"00000000000\0"),
        (MAX_OCTAL, b"77777777777\0"),
        (MAX_OCTAL + 1, b"\x80\0\0\0\0\0\0\x02\0\0\0\0"),
        (u64::MAX, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
    ] {
        let mut field = [9; 12];
        number(&mut field, value).unwrap();
        assert_eq!(&field, expected, "{value}");
    }
    assert!(number(&mut [0; 8], 1 << 21).is_err());
}

#[test]
fn names_are_split_where_both_parts_fit() {
    let name = |len| "n".repeat(len);
    assert_eq!(split(&name(100)), Some(("", name(100).as_str())));
    assert_eq!(split(&name(101)), None);
    let path = format!("{}/{}", name(155), name(100));
    assert_eq!(split(&path), Some((name(155).as_str(), name(100).as_str())));
    assert_eq!(split(&format!("{}/{}", name(156), name(100))), None);
    assert_eq!(split(&format!("a/{}/", name(100))), None);
}
