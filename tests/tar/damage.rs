//! Changed archives, their checksums repaired: always a result or a clear error, and quickly.

use flatbake::archive::tar::{TarEnd, TarKind, TarReader};
use flatbake::archive::{TarOptions, inject};
use flatbake::finding::code;
use flatbake::{ErrorKind, Finding, NoProgress, Result};

use super::maker::{BLOCK, Maker, header, record, repair};
use super::model::Model;
use super::{listing, path, unpack, unpack_to};
use crate::common::longer;

/// Numbers without any pattern, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit
    }
}

/// A GNU header of a sparse file with 25 segments of a byte each: four in the header, 21 behind it.
fn gnu_sparse() -> Maker {
    let segment = |at: u64| {
        [
            format!("{:011o}\0", at * 1000).into_bytes(),
            b"00000000001\0".to_vec(),
        ]
        .concat()
    };
    let block = header("sparse", b'S', 25, "");
    let mut more = [0; BLOCK];
    for at in 0..21 {
        more[usize::try_from(at).unwrap() * 24..][..24].copy_from_slice(&segment(at + 4));
    }
    let mut maker = Maker::new().block(block, |block| {
        block[257..265].copy_from_slice(b"ustar  \0");
        block[345..500].fill(0);
        for at in 0..4 {
            block[386 + usize::try_from(at).unwrap() * 24..][..24].copy_from_slice(&segment(at));
        }
        block[482] = 1;
        block[483..495].copy_from_slice(b"00000100000\0");
    });
    maker.0.extend(more);
    maker.data(b"abcdefghijklmnopqrstuvwxy")
}

/// Everything the reader knows, in one archive.
fn everything() -> Vec<u8> {
    let mut maker = gnu_sparse()
        .global(&[("comment", b"an id"), ("mtime", b"1000000000.5")])
        .dir("d/")
        .file("d/f", "content")
        .hard_link("d/h", "d/f")
        .symlink("l", "d")
        .file("l/through", "link")
        .node("n", b'3', 1, 3)
        .node("b", b'4', 8, 0)
        .node("p", b'6', 0, 0)
        .entry(
            "././@LongLink",
            b'L',
            format!("{}\0", "d/".repeat(80)).as_bytes(),
            "",
        )
        .entry("././@LongLink", b'K', b"target\0", "")
        .symlink("short", "short")
        .pax(&[
            ("path", b"d/pax"),
            ("uid", b"70000"),
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.user.a", b"\0\n="),
            ("LIBARCHIVE.xattr.user.b", b"AAEC"),
            (
                "SCHILY.acl.access",
                b"user::rwx,user:joe:r--,group::r--,mask::r--,other::---",
            ),
        ])
        .file("x", "pax")
        .pax(&[
            ("GNU.sparse.size", b"5000"),
            ("GNU.sparse.numblocks", b"1"),
            ("GNU.sparse.map", b"4000,3"),
        ])
        .file("sparse01", "abc");
    let old = [
        ("GNU.sparse.offset", "0"),
        ("GNU.sparse.numbytes", "1"),
        ("GNU.sparse.offset", "9"),
        ("GNU.sparse.numbytes", "2"),
    ];
    let old: Vec<(&str, &[u8])> = old
        .iter()
        .map(|(key, value)| (*key, value.as_bytes()))
        .collect();
    maker = maker
        .pax(&[&[("GNU.sparse.size", &b"20"[..])], &old[..]].concat())
        .file("sparse00", "abc");
    let mut body = b"2\n0\n3\n700\n3\n".to_vec();
    body.resize(BLOCK, 0);
    body.extend(b"abcdef");
    maker
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"sparse10"),
            ("GNU.sparse.realsize", b"800"),
        ])
        .entry("GNUSparseFile.0/sparse10", b'0', &body, "")
        .end()
}

#[test]
fn everything_is_read() {
    let fs = unpack(&everything(), &TarOptions::default()).unwrap();
    let node = |name: &str| fs.node(&path(name)).unwrap();
    assert_eq!(node("/sparse").bytes.len(), 0o100_000);
    for (at, letter) in (b'a'..=b'y').enumerate() {
        assert_eq!(node("/sparse").bytes[at * 1000], letter);
    }
    assert_eq!(node("/sparse01").bytes[3999..4004], *b"\0abc\0");
    assert_eq!(
        node("/sparse00").bytes,
        *b"a\0\0\0\0\0\0\0\0bc\0\0\0\0\0\0\0\0\0"
    );
    assert_eq!(
        (
            &node("/sparse10").bytes[..4],
            &node("/sparse10").bytes[699..]
        ),
        (&b"abc\0"[..], &[&b"\0def"[..], &[0; 97]].concat()[..])
    );
    assert_eq!(node("/d/through").bytes, b"link");
    assert_eq!(
        (
            node("/d/f").metadata.mtime.secs,
            node("/d/f").metadata.mtime.nanos
        ),
        (1_000_000_000, 500_000_000)
    );
    assert_eq!(
        (
            node("/d/pax").metadata.mtime.secs,
            node("/d/pax").metadata.mtime.nanos
        ),
        (-2, 750_000_000)
    );
    assert_eq!(
        (node("/d/pax").metadata.uid, node("/d/pax").xattrs.len()),
        (70_000, 2)
    );
    assert!(
        listing(&fs)
            .iter()
            .any(|line| line.ends_with("/d/d -> target"))
    );
}

/// Unpacks a damaged archive below `/in` of an image, with a chance for everything but a panic.
fn try_out(archive: &[u8], options: &TarOptions) -> Result<()> {
    let mut fs = Model::new();
    fs.largest_file = 1 << 20;
    unpack_to(
        &mut fs,
        &Maker::new()
            .file("in/lower/x", "")
            .symlink("in/out", "/etc")
            .end(),
        "/",
        options,
    )
    .unwrap();
    let done = inject(&mut fs, archive, &path("/in"), options, &NoProgress).map(drop);
    if let Err(error) = &done {
        use ErrorKind as K;
        assert!(
            matches!(
                error.kind(),
                K::Corrupt | K::Unsupported | K::InvalidInput | K::NoSpace
            ),
            "{error:?}"
        );
        assert!(!error.to_string().contains("fatal") && error.to_string().len() < 10_000);
    }
    done
}

#[test]
fn thousands_of_changes() {
    let archive = everything();
    let headers: Vec<usize> = (0..archive.len())
        .step_by(BLOCK)
        .filter(|&at| archive[at + 257..at + 262] == *b"ustar")
        .collect();
    let mut random = Random(0x5eed);
    let mut read = 0;
    let mut refused = 0;
    for round in 0..usize::try_from(longer(4000)).unwrap() {
        let mut damaged = archive.clone();
        for _ in 0..=random.below(3) {
            let at = match random.below(4) {
                0 => random.below(damaged.len()),
                _ => {
                    headers[random.below(headers.len())]
                        + [random.below(BLOCK), 124 + random.below(33)][random.below(2)]
                }
            };
            damaged[at] = match random.below(4) {
                0 => damaged[at] ^ (1 << random.below(8)),
                1 => b"0123456789SLKxgVDM57\0\x80\xff/.= \n"[random.below(28)],
                2 => u8::try_from(random.below(256)).unwrap(),
                _ => damaged[random.below(archive.len())],
            };
        }
        if round % 5 == 0 {
            damaged.truncate(random.below(damaged.len()));
        }
        for &at in &headers {
            damaged.get_mut(at..at + BLOCK).map(repair);
        }
        let options = TarOptions {
            oci_layer: round % 3 == 0,
            strip_components: round % 2,
            ..TarOptions::default()
        };
        if damaged.is_empty() {
            continue;
        }
        *(if try_out(&damaged, &options).is_ok() {
            &mut read
        } else {
            &mut refused
        }) += 1;
    }
    assert!(
        read > 200 && refused > 200,
        "{read} were read, {refused} refused"
    );
}

/// Pax records and sparse maps made of pieces that mean something.
#[test]
fn thousands_of_records() {
    let keys = [
        "path",
        "linkpath",
        "size",
        "uid",
        "gid",
        "mtime",
        "GNU.sparse.major",
        "GNU.sparse.minor",
        "GNU.sparse.name",
        "GNU.sparse.size",
        "GNU.sparse.realsize",
        "GNU.sparse.numblocks",
        "GNU.sparse.offset",
        "GNU.sparse.numbytes",
        "GNU.sparse.map",
        "SCHILY.xattr.user.x",
        "LIBARCHIVE.xattr.user.%41",
        "SCHILY.devmajor",
        "hdrcharset",
    ];
    let values: &[&str] = &[
        "",
        "0",
        "1",
        "2",
        "3",
        "10",
        "512",
        "1024",
        "-1",
        "1.5",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "4294967296",
        "1099511627776",
        "a/b",
        "../x",
        "/",
        "0,1",
        "0,1,5,2",
        "9,1,0,1",
        "1,",
        "9223372036854775807,2",
        "x",
        "AA==",
    ];
    let mut random = Random(0xfeed);
    let mut read = 0;
    let mut refused = 0;
    for _ in 0..longer(4000) {
        let mut body = Vec::new();
        for _ in 0..=random.below(6) {
            body.extend(record(
                keys[random.below(keys.len())],
                values[random.below(values.len())].as_bytes(),
            ));
        }
        if random.below(5) == 0 {
            let at = random.below(body.len());
            body[at] = b"0129 =\n,"[random.below(8)];
        }
        let map = ["1\n0\n3\n", "2\n0\n1\n9\n1\n", "99999999\n", "0\n", "x\n"][random.below(5)];
        let typeflag = [b'0', b'0', b'0', b'S', b'1', b'2', b'3', b'5', b'7'][random.below(9)];
        let archive = Maker::new().entry(
            "x",
            [b'x', b'g'][usize::from(random.below(8) == 0)],
            &body,
            "",
        );
        let archive = archive
            .entry("file", typeflag, map.as_bytes(), "link")
            .file("next", "file")
            .end();
        *(if try_out(&archive, &TarOptions::default()).is_ok() {
            &mut read
        } else {
            &mut refused
        }) += 1;
    }
    assert!(
        read > 200 && refused > 200,
        "{read} were read, {refused} refused"
    );
}

/// Cut anywhere, it is an error that names the place, except between entries.
#[test]
fn every_early_end() {
    let archive = everything();
    let mut silent = 0;
    for len in (0..archive.len())
        .step_by(61)
        .chain((0..archive.len()).step_by(BLOCK))
    {
        let mut fs = Model::new();
        match unpack_to(&mut fs, &archive[..len], "/", &TarOptions::default()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{len}: {error:?}");
                let message = error.to_string();
                assert!(
                    message.contains("byte") || message.contains("empty"),
                    "{len}: {error:?}"
                );
            }
            Ok(summary) => {
                assert!(len % BLOCK == 0, "cut at {len}");
                let is_end = |finding: &Finding| {
                    [code::ARCHIVE_END_MISSING, code::ARCHIVE_END_SHORT].contains(&finding.code())
                };
                assert!(
                    summary.findings.iter().any(is_end),
                    "{:?}",
                    summary.findings
                );
                silent += 1;
            }
        }
    }
    assert!(silent > 10);
}

#[test]
fn ends_and_what_follows() {
    let file = Maker::new().file("x", "1");
    let end = |archive: &[u8]| {
        let mut reader = TarReader::new(archive);
        while reader.next_entry()?.is_some() {}
        assert!(reader.next_entry()?.is_none());
        Ok::<_, flatbake::Error>(reader.end().unwrap())
    };
    let zeroes = |blocks: usize| vec![0; blocks * BLOCK];
    let after = |bytes: Vec<u8>| [file.0.clone(), bytes].concat();
    assert_eq!(end(&after(vec![])).unwrap(), TarEnd::Unmarked);
    assert_eq!(end(&after(zeroes(1))).unwrap(), TarEnd::HalfMarked);
    assert_eq!(end(&after(zeroes(2))).unwrap(), TarEnd::Marked);
    assert_eq!(end(&after(zeroes(20_000))).unwrap(), TarEnd::Marked);
    assert_eq!(end(&zeroes(2)).unwrap(), TarEnd::Marked);
    assert!(end(&[]).unwrap_err().to_string().contains("empty"));
    for bad in [
        [zeroes(2), file.0.clone()].concat(),
        [zeroes(1), file.0.clone()].concat(),
        [zeroes(500), b"junk".to_vec()].concat(),
        [zeroes(1), vec![0; 100]].concat(),
        zeroes((64 << 20) / BLOCK + 1000),
    ] {
        assert_eq!(end(&after(bad)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    let error = end(&[b"#!/bin/sh\n".to_vec(), vec![b'x'; 600]].concat()).unwrap_err();
    assert!(error.hint().unwrap().contains("tar archive"), "{error:?}");
    assert!(
        end(&Maker::new().pax(&[("path", b"x")]).end())
            .unwrap_err()
            .to_string()
            .contains("missing")
    );
}

#[test]
fn headers_that_lie_are_refused() {
    let with = |typeflag, change: fn(&mut [u8; BLOCK])| {
        Maker::new()
            .block(header("x", typeflag, 0, "t"), change)
            .end()
    };
    for (archive, words) in [
        (with(b'Z', |_| {}), "'Z'"),
        (with(b'M', |_| {}), "another volume"),
        (with(b'0', |block| block[0] = 0), "no name"),
        (with(b'2', |block| block[157] = 0), "without a target"),
        (with(b'0', |block| block[124..136].fill(0xff)), "negative"),
        (
            with(b'0', |block| {
                block[124..136].copy_from_slice(b"0000000009x\0")
            }),
            "size of the header",
        ),
        (
            with(b'0', |block| {
                block[108..116].copy_from_slice(b"\x80\0\0\x01\0\0\0\0")
            }),
            "uid",
        ),
        (
            with(b'0', |block| {
                block[124..136].copy_from_slice(b"00000004000\0")
            }),
            "1024 bytes of this entry are missing",
        ),
    ] {
        let error = unpack(&archive, &TarOptions::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(words), "{words}: {error:?}");
    }
    let mut changed = with(b'0', |_| {});
    changed[3] ^= 1;
    let error = unpack(&changed, &TarOptions::default()).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error:?}");
    // Files may be larger than 8 GiB; this one is not all there.
    let large = with(b'0', |block| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x04\0\0\0\0")
    });
    let mut reader = TarReader::new(&large[..]);
    let entry = reader.next_entry().unwrap().unwrap();
    assert_eq!(
        entry.kind,
        TarKind::File {
            size: 1 << 34,
            sparse: None
        }
    );
    assert!(
        reader
            .next_entry()
            .unwrap_err()
            .to_string()
            .contains("entry 'x' at byte 0")
    );
}
