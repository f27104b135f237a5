//! Many entries, and archives far larger than memory should be.

use std::io::{Cursor, Read};
use std::time::Instant;

use flatbake::NoProgress;
use flatbake::archive::tar::{TarKind, TarReader};
use flatbake::archive::{TarOptions, inject};

use crate::common::programs::{command, said};

use super::maker::{Maker, header};
use super::model::Model;
use super::path;
use super::unpack;

/// `count` files in directories of 100, most of which come without an entry of their own.
fn many(count: usize) -> Vec<u8> {
    let mut maker = Maker::new();
    for at in 0..count {
        maker = maker.file(
            &format!(
                "usr/share/tree/{:03}/{:02}/file-{at}",
                at / 10_000,
                at / 100 % 100
            ),
            "content of a file",
        );
    }
    maker.end()
}

#[test]
fn the_cost_per_entry_stays_the_same() {
    let options = TarOptions {
        excludes: vec!["*.cache".parse().unwrap()],
        ..TarOptions::default()
    };
    let measure = |count: usize| {
        let archive = many(count);
        let mut fs = Model::new();
        let start = Instant::now();
        let summary = inject(&mut fs, &archive[..], &path("/"), &options, &NoProgress).unwrap();
        let injected = start.elapsed();
        assert_eq!(summary.files, count as u64);
        eprintln!("{count} entries: injection into memory {injected:?}");
        injected.as_secs_f64() / count as f64
    };
    // Others may use the machine meanwhile: it is enough to be fast once.
    let is_linear = (0..3).any(|_| {
        let few = measure(5_000).max(1e-6);
        measure(50_000) < few * 4.0
    });
    assert!(
        is_linear,
        "an entry among 50,000 costs much more than one among 5,000"
    );
}

/// Symlinks that are replaced again and again, so that nothing can be remembered.
#[test]
fn replaced_symlinks_do_not_make_it_quadratic() {
    let mut maker = Maker::new().dir("a").dir("b");
    for at in 0..5_000 {
        maker = maker
            .symlink("l", if at % 2 == 0 { "a" } else { "b" })
            .file(&format!("l/{at}"), "");
    }
    let mut fs = Model::new();
    inject(
        &mut fs,
        &maker.end()[..],
        &path("/"),
        &TarOptions::default(),
        &NoProgress,
    )
    .unwrap();
    assert_eq!(fs.all().len(), 5_003);
}

/// The largest amount of memory this process had, in KiB; `None` where the kernel does not say.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Headers that announce far more than there is, and a file of 1 GiB that really is there.
#[test]
fn memory_does_not_follow_what_is_announced() {
    // Other tests of this program have memory of their own, so it is measured in a process for itself.
    let program = std::env::current_exe().unwrap();
    let output = command(&program)
        .args(["--exact", "tar::scale::announced_child", "--ignored"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "run by memory_does_not_follow_what_is_announced"]
fn announced_child() {
    let before = peak();
    for (typeflag, size) in [
        (b'x', 8 << 20),
        (b'x', 1 << 40),
        (b'g', 8 << 20),
        (b'L', 1 << 16),
        (b'L', 1 << 40),
        (b'K', 1 << 16),
    ] {
        let block = header("x", typeflag, 0, "");
        let archive = Maker::new().block(block, |block| {
            block[124..136]
                .copy_from_slice(&[&[0x80, 0, 0, 0][..], &u64::to_be_bytes(size)].concat());
        });
        assert!(unpack(&archive.end(), &TarOptions::default()).is_err());
    }
    let header = Maker::new()
        .block(header("big", b'0', 1 << 30, ""), |_| {})
        .0;
    let archive = Cursor::new(header)
        .chain(std::io::repeat(7).take(1 << 30))
        .chain(std::io::repeat(0).take(1024));
    let mut reader = TarReader::new(archive);
    let entry = reader.next_entry().unwrap().unwrap();
    assert!(matches!(entry.kind, TarKind::File { size, .. } if size == 1 << 30));
    assert_eq!(
        std::io::copy(&mut reader.content(), &mut std::io::sink()).unwrap(),
        1 << 30
    );
    // Other tests of this program run at the same time and take some 200 MiB.
    if let Some((before, after)) = before.zip(peak()) {
        assert!(
            after - before < 512 << 10,
            "{before} KiB became {after} KiB"
        );
    }
}
