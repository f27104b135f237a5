//! Outputs of all formats: together and alone, in files and streams, their progress, and what is left when one is broken
//! off.

use std::fs;
use std::path::{Path, PathBuf};

use super::schedule::Oversight;
use super::testing::{Told, disk};
use super::*;
use crate::block::{BlockDeviceMut, MemoryDevice};
use crate::progress::{Cancel, NoProgress};

/// All formats by their words.
const FORMATS: [&str; 11] = [
    "raw",
    "qcow2",
    "vmdk_ide",
    "vmdk_scsi",
    "vmdk_stream",
    "vmdk_flat",
    "vhd",
    "vhd_fixed",
    "vhdx",
    "vdi",
    "hdd",
];

/// Every format, and some of them compressed.
fn outputs(dir: &Path) -> Vec<Output> {
    let formats = FORMATS.iter().map(|word| Output {
        format: word.parse().unwrap(),
        ..at(dir, word)
    });
    let compressed =
        ["a.gz", "a.bz2", "a.xz", "a.zst", "a.vdi.zst", "a.qcow2.gz"].map(|name| at(dir, name));
    formats.chain(compressed).collect()
}

fn at(dir: &Path, name: &str) -> Output {
    let path = dir.join(name);
    // What is named by the word of its format gets that besides.
    Output::named(&path).unwrap_or_else(|_| Output::at(&path))
}

fn with_digest(output: Output) -> Output {
    Output {
        digest: true,
        ..output
    }
}

/// Digests of all files, and what failed.
fn said(results: &[Result<Artifact>]) -> Vec<Result<Vec<String>, ErrorKind>> {
    let digests = |artifact: &Artifact| {
        artifact
            .files
            .iter()
            .map(|file| file.sha256.clone().unwrap())
            .collect()
    };
    results
        .iter()
        .map(|result| result.as_ref().map(digests).map_err(Error::kind))
        .collect()
}

fn names(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn together_as_one_by_one_in_any_pool_and_a_failure_stays_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = disk(dir.path());
    let fork = disk(dir.path()).fork();
    fork.write_at(5 << 20, b"changed").unwrap();
    let disk_of = |index: usize| -> &dyn BlockDevice {
        if index.is_multiple_of(2) {
            &base
        } else {
            &fork
        }
    };
    let in_folder = |name: &str| {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        (
            outputs(&folder)
                .into_iter()
                .map(with_digest)
                .collect::<Vec<_>>(),
            folder,
        )
    };
    let (alone, _) = in_folder("alone");
    let alone: Vec<_> = alone
        .iter()
        .enumerate()
        .map(|(n, output)| emit(disk_of(n), output, &NoProgress))
        .collect();
    let mut wanted = said(&alone);
    assert!(wanted.iter().all(Result::is_ok), "{wanted:?}");
    wanted.insert(1, Err(ErrorKind::NotFound));
    wanted.push(Err(ErrorKind::InvalidInput));
    for threads in [0, 1, 3] {
        let (outputs, folder) = in_folder(&format!("together{threads}"));
        let count = outputs
            .iter()
            .map(|output| output.files().len())
            .sum::<usize>();
        let mut jobs: Vec<_> = outputs
            .into_iter()
            .enumerate()
            .map(|(n, output)| (disk_of(n), output))
            .collect();
        jobs.insert(1, (&base, at(&folder, "missing/a.img")));
        jobs.push((&base, at(&folder, "a.gz")));
        let cancel = Cancel::new();
        let all = || emit_all(&jobs, &Oversight::new(&NoProgress, &cancel));
        let results = match threads {
            0 => all(),
            _ => rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(all),
        };
        assert_eq!(said(&results), wanted, "{threads} threads");
        assert_eq!(names(&folder).len(), count);
    }
    assert!(emit_all(&[], &Oversight::new(&NoProgress, &Cancel::new())).is_empty());
}

#[test]
fn progress_is_exact_for_every_format_alone_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    for digest in [false, true] {
        let folder = dir.path().join(digest.to_string());
        fs::create_dir(&folder).unwrap();
        let outputs: Vec<_> = outputs(&folder)
            .into_iter()
            .map(|output| Output { digest, ..output })
            .collect();
        let mut work = 0;
        for output in &outputs {
            let told = Told::default();
            let output = Output {
                path: output.path.with_file_name("alone"),
                ..output.clone()
            };
            emit(&disk, &output, &told).unwrap();
            assert!(told.is_exact(), "{output:?}");
            assert_eq!(told.total() % disk.size(), 0, "whole passes");
            work += told.total();
            output
                .files()
                .iter()
                .for_each(|file| drop(fs::remove_file(file).or_else(|_| fs::remove_dir_all(file))));
        }
        let told = Told::default();
        let jobs: Vec<_> = outputs
            .into_iter()
            .map(|output| (&disk as &dyn BlockDevice, output))
            .collect();
        assert!(
            emit_all(&jobs, &Oversight::new(&told, &Cancel::new()))
                .iter()
                .all(Result::is_ok)
        );
        assert!(told.is_exact());
        assert_eq!(told.total(), work);
    }
}

#[test]
fn what_is_cancelled_in_the_middle_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let folder = dir.path().join("out");
    fs::create_dir(&folder).unwrap();
    for digest in [false, true] {
        for output in outputs(&folder)
            .into_iter()
            .map(|output| Output { digest, ..output })
        {
            let work = output.work(disk.size());
            for part in [1, work / 2, work - work / 10] {
                let cancel = Cancel::new();
                let told = Told::cancelling(part, &cancel);
                let job = [(&disk as &dyn BlockDevice, output.clone())];
                let result = emit_all(&job, &Oversight::new(&told, &cancel)).remove(0);
                assert_eq!(
                    result.unwrap_err().kind(),
                    ErrorKind::Cancelled,
                    "{output:?} at {part} of {work}"
                );
                assert!(names(&folder).is_empty(), "{output:?} at {part} of {work}");
                assert!(told.is_exact());
            }
        }
    }
}

#[test]
fn a_check_that_fails_keeps_outputs_from_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let folder = dir.path().join("out");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("raw"), b"from before").unwrap();
    let jobs: Vec<_> = outputs(&folder)
        .into_iter()
        .map(|output| (&disk as &dyn BlockDevice, output))
        .collect();
    let changed = || Err(Error::invalid("the base image has changed"));
    let told = Told::default();
    let cancel = Cancel::new();
    let oversight = Oversight {
        before_naming: &changed,
        ..Oversight::new(&told, &cancel)
    };
    for result in emit_all(&jobs, &oversight) {
        assert_eq!(result.unwrap_err().message(), "the base image has changed");
    }
    assert_eq!(names(&folder), [folder.join("raw")]);
    assert_eq!(fs::read(folder.join("raw")).unwrap(), b"from before");
}

/// Two disks: a sparse one, and one that ends with an odd number of bytes.
fn disks(dir: &Path) -> [Box<dyn BlockDevice>; 2] {
    let bytes = (0..3_000_001u32)
        .map(|n| {
            if n / 100_000 % 2 == 0 {
                0
            } else {
                (n / 7).to_le_bytes()[0]
            }
        })
        .collect();
    [Box::new(disk(dir)), Box::new(MemoryDevice::new(bytes))]
}

#[test]
fn a_stream_has_the_bytes_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for disk in &disks(dir.path()) {
        for output in outputs(dir.path()).into_iter().map(with_digest) {
            let mut out = Vec::new();
            let told = Told::default();
            let cancel = Cancel::new();
            let oversight = Oversight::new(&told, &cancel);
            let streamed = stream(disk, &output, &mut out, dir.path(), &oversight);
            if matches!(output.format, OutputFormat::VmdkFlat | OutputFormat::Hdd) {
                let error = streamed.unwrap_err();
                assert!(
                    error.kind() == ErrorKind::Unsupported && error.hint().is_some(),
                    "{error:?}"
                );
                continue;
            }
            let artifact = emit(disk, &output, &NoProgress).unwrap();
            assert!(fs::read(&output.path).unwrap() == out, "{output:?}");
            let wanted = Streamed {
                bytes: artifact.file_bytes,
                sha256: artifact.files[0].sha256.clone(),
            };
            assert_eq!(streamed.unwrap(), wanted);
            assert!(told.is_exact(), "{output:?}");
            fs::remove_file(&output.path).unwrap();
        }
    }
}

#[test]
fn a_pipe_takes_a_stream_and_one_whose_reader_goes_away_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let output = at(dir.path(), "a.zst");
    let write = |mut pipe: std::io::PipeWriter| {
        let cancel = Cancel::new();
        let oversight = Oversight::new(&NoProgress, &cancel);
        let streamed = stream(&disk, &output, &mut pipe, dir.path(), &oversight);
        drop(pipe);
        streamed
    };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let bytes = std::thread::scope(|scope| {
        let written = scope.spawn(|| write(writer));
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
        assert_eq!(written.join().unwrap().unwrap().bytes, to_u64(bytes.len()));
        bytes
    });
    emit(&disk, &output, &NoProgress).unwrap();
    assert!(fs::read(&output.path).unwrap() == bytes);

    for name in ["a.zst", "a.img", "a.vhdx", "a.qcow2.gz"] {
        let output = at(dir.path(), name);
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        let cancel = Cancel::new();
        let oversight = Oversight::new(&NoProgress, &cancel);
        let error = stream(&disk, &output, &mut writer, dir.path(), &oversight).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Io && error.hint().is_some(),
            "{error:?}"
        );
    }
}

#[test]
fn a_stream_that_is_cancelled_ends() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk(dir.path());
    let folder = dir.path().join("temporary");
    fs::create_dir(&folder).unwrap();
    for output in outputs(dir.path()) {
        if matches!(output.format, OutputFormat::VmdkFlat | OutputFormat::Hdd) {
            continue;
        }
        for part in [1, disk.size() / 2] {
            let cancel = Cancel::new();
            let told = Told::cancelling(part, &cancel);
            let oversight = Oversight::new(&told, &cancel);
            let error = stream(&disk, &output, &mut Vec::new(), &folder, &oversight).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{output:?}");
            assert!(names(&folder).is_empty());
            assert!(told.is_exact());
        }
    }
}
