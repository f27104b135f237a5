//! What is written, judged by the programs of each format.

use std::io::Write;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::bytes::judge::judge;
use crate::bytes::{to_u64, to_usize};
use crate::error::ErrorKind;

pub(super) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes whose zero pages are known where `holes` is set.
struct Bytes {
    bytes: Vec<u8>,
    holes: bool,
    read: AtomicU64,
}

impl Bytes {
    fn new(bytes: &[u8], holes: bool) -> Self {
        Self {
            bytes: bytes.to_vec(),
            holes,
            read: AtomicU64::new(0),
        }
    }
}

impl Source for Bytes {
    fn size(&self) -> u64 {
        to_u64(self.bytes.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(to_u64(buf.len()), Ordering::Relaxed);
        let start = to_usize(offset)?;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn zeroes_at(&self, offset: u64) -> Result<u64> {
        let rest = &self.bytes[to_usize(offset)?..];
        let page = &rest[..rest.len().min(4096)];
        Ok(if self.holes && page.iter().all(|&byte| byte == 0) {
            to_u64(page.len())
        } else {
            0
        })
    }
}

type Encode = fn(&dyn Source, u8, &mut dyn Sink) -> Result<()>;

/// Program, encoder, lowest, usual and highest level.
const FORMATS: [(&str, Encode, [u8; 3]); 4] = [
    ("gzip", encode_gzip, [1, 6, 9]),
    ("bzip2", encode_bzip2, [1, 5, 9]),
    ("xz", encode_xz, [0, 2, 6]),
    ("zstd", encode_zstd, [1, 3, 19]),
];

fn encoded(encode: Encode, source: &dyn Source, level: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut total = 0;
    let mut sink = |bytes: &[u8], done: u64| {
        out.extend_from_slice(bytes);
        total += done;
        Ok(())
    };
    encode(source, level, &mut sink).unwrap();
    assert_eq!(total, source.size(), "progress ends at the size");
    out
}

/// What `program -dc` makes of `input`, or `None` where it refuses; skipped where it is not installed.
fn judged(program: &str, input: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut command = judge(program)?;
    command
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // The program may leave before it has read everything.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output().unwrap()
    });
    Some(output.status.success().then_some(output.stdout))
}

/// Text, zeroes, noise, runs; boundaries everywhere.
fn mixed(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, choice) in noise(len, 5).into_iter().enumerate() {
        let piece = 5000 * usize::from(choice) + n;
        match choice % 5 {
            0 | 1 => bytes.resize(bytes.len() + piece, 0),
            2 => bytes.extend(noise(piece, u64::from(choice))),
            3 => bytes.resize(bytes.len() + piece, choice),
            _ => bytes
                .extend((0..piece / 6).flat_map(|n| format!("{:x}, ", n * n % 9973).into_bytes())),
        }
        if bytes.len() >= len {
            break;
        }
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn every_format_and_size_is_decoded_by_its_own_program() {
    let content = mixed(9_500_001);
    for (program, encode, levels) in FORMATS {
        for (size, level) in [(0, 1), (1, 0), (511, 2), (300_000, 2), (9_500_001, 1)] {
            let out = encoded(encode, &Bytes::new(&content[..size], true), levels[level]);
            let Some(back) = judged(program, &out) else {
                break;
            };
            assert!(back.unwrap() == content[..size], "{program}, {size} bytes");
        }
        for bytes in [
            vec![0; 9_000_000],
            noise(2_500_000, 1),
            b"aaaab".repeat(300_000),
        ] {
            let out = encoded(encode, &Bytes::new(&bytes, true), levels[1]);
            let Some(back) = judged(program, &out) else {
                break;
            };
            assert!(back.unwrap() == bytes, "{program}");
        }
    }
}

#[test]
fn one_broken_byte_is_seen_by_the_judge() {
    for (program, encode, levels) in FORMATS {
        let mut out = encoded(encode, &Bytes::new(&mixed(2_000_000), true), levels[0]);
        let middle = out.len() / 2;
        out[middle] ^= 0x10;
        let Some(back) = judged(program, &out) else {
            continue;
        };
        assert!(back.is_none(), "{program}");
    }
}

#[test]
fn neither_threads_nor_known_holes_change_a_byte() {
    let content = mixed(9_000_000);
    for (program, encode, levels) in FORMATS {
        let wanted = encoded(encode, &Bytes::new(&content, true), levels[0]);
        assert!(
            encoded(encode, &Bytes::new(&content, false), levels[0]) == wanted,
            "{program}, no holes known"
        );
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let again = pool.install(|| encoded(encode, &Bytes::new(&content, true), levels[0]));
            assert!(again == wanted, "{program}, {threads} threads");
        }
    }
}

#[test]
fn holes_are_not_read() {
    let mut content = vec![0; 20_000_000];
    content[10_000_000..10_004_096].fill(7);
    for (program, encode, levels) in FORMATS {
        let source = Bytes::new(&content, true);
        encoded(encode, &source, levels[0]);
        assert!(source.read.into_inner() <= 8 << 20, "{program}");
    }
}

#[test]
fn errors_of_source_and_sink_come_out_and_levels_are_checked() {
    struct Broken;
    impl Source for Broken {
        fn size(&self) -> u64 {
            30 << 20
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            buf.fill(1);
            if offset > 12 << 20 {
                Err(Error::corrupt("bad block"))
            } else {
                Ok(())
            }
        }
        fn zeroes_at(&self, _offset: u64) -> Result<u64> {
            Ok(0)
        }
    }
    for (program, encode, levels) in FORMATS {
        let mut keep = |_: &[u8], _: u64| Ok(());
        assert_eq!(
            encode(&Broken, levels[0], &mut keep)
                .unwrap_err()
                .to_string(),
            "bad block",
            "{program}"
        );
        assert_eq!(
            encode(&Broken, 77, &mut keep).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{program}"
        );
        let mut full = |_: &[u8], _: u64| Err(Error::no_space("full"));
        assert_eq!(
            encode(&Broken, levels[0], &mut full).unwrap_err().kind(),
            ErrorKind::NoSpace,
            "{program}"
        );
    }
}

/// Zeroes without end.
struct Zeroes(u64);

impl Source for Zeroes {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, buf: &mut [u8]) -> Result<()> {
        buf.fill(0);
        Ok(())
    }

    fn zeroes_at(&self, offset: u64) -> Result<u64> {
        Ok(self.0 - offset)
    }
}

/// Python reads the directory, and checks sizes and checksum of what it unpacks.
#[test]
fn zip_archives_are_those_of_the_format() {
    const LIST: &str = "import sys, zipfile\nfor z in [zipfile.ZipFile(sys.argv[1])]:\n \
        [print(i.filename, i.file_size, i.compress_size, i.date_time[0]) for i in z.infolist()]\n \
        print(z.testzip() if len(sys.argv) > 2 else '')\n \
        sys.argv[2:] and open(sys.argv[2], 'wb').write(z.read(z.infolist()[0]))";
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.zip");
    let content = dir.path().join("content");
    let put = |source: &dyn Source, name: &str| {
        let encode_one = |source: &dyn Source, level: u8, sink: &mut dyn Sink| {
            encode_zip(source, level, name, sink)
        };
        let mut out = Vec::new();
        encode_one(source, 6, &mut |bytes: &[u8], _: u64| {
            out.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        std::fs::write(&archive, &out).unwrap();
        to_u64(out.len())
    };
    for bytes in [
        Vec::new(),
        b"a".to_vec(),
        [noise(2_500_000, 3), vec![0; 3_000_000]].concat(),
    ] {
        put(&Bytes::new(&bytes, true), "größe image.vhdx");
        let Some(mut python) = judge("python3") else {
            return;
        };
        let said = python
            .args(["-c", LIST])
            .arg(&archive)
            .arg(&content)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.status.success() && text.contains("None"),
            "{text} {}",
            String::from_utf8_lossy(&said.stderr)
        );
        assert!(
            text.starts_with(&format!("größe image.vhdx {} ", bytes.len())),
            "{text}"
        );
        assert!(std::fs::read(&content).unwrap() == bytes);
    }
    // The first size that takes 64 bits by our rule, and one that does by the format's.
    for size in [(1 << 32) - (64 << 20), (1 << 32) + 5] {
        let len = put(&Zeroes(size), "disk");
        let said = judge("python3")
            .unwrap()
            .args(["-c", LIST])
            .arg(&archive)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.status.success()
                && text.starts_with(&format!("disk {size} "))
                && text.contains(" 1980"),
            "{text}"
        );
        let packed: u64 = text.split(' ').nth(2).unwrap().parse().unwrap();
        assert!(packed < len && len - packed < 300, "{text} of {len}");
    }
}
