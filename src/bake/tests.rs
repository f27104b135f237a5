//! The whole way from a request to files, on the sample image.

use std::path::{Path, PathBuf};

use super::{Context, Edits, FileSpec, Output, Request};
use crate::ErrorKind;
use crate::bytes::random::Random;
use crate::flatcar::{Designator, Disk};
use crate::fs::FsPath;
use crate::image::{OpenOptions, open};
use crate::progress::NoProgress;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/sample")
        .join(name)
}

fn request(output: PathBuf) -> Request {
    Request {
        edits: Edits::new().sysext("hello", sample("hello.raw")),
        outputs: vec![Output::at(output)],
        ..Request::new(sample("flatcar_sample.bin.bz2"))
    }
}

fn read(disk: &Path, partition: Designator, path: &str) -> Vec<u8> {
    let image = open(disk, &OpenOptions::new("/tmp"), &NoProgress).unwrap();
    let disk = Disk::open("out", image.device).unwrap();
    let fs = disk.filesystem(partition.into()).unwrap();
    crate::fs::read_file(&*fs, &FsPath::new(path).unwrap(), 1 << 20).unwrap()
}

#[test]
fn what_is_asked_for_is_in_the_image_and_in_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let context = Context::new(dir.path());
    let out = dir.path().join("node.img");
    let mut asked = request(out.clone());
    let motd = FileSpec::inline(
        *b"hello\n",
        Designator::Root,
        FsPath::new("/etc/motd").unwrap(),
    );
    asked.edits.files.push(motd);
    let prepared = asked.prepare(&context).unwrap();
    assert!(!out.exists());
    let planned = prepared.report(&context).unwrap();
    let written = prepared.write(&context).unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
    assert_eq!(read(&out, Designator::Root, "/etc/motd"), b"hello\n");
    assert_eq!(
        (&written.report.shared, &written.report.variants),
        (&planned.shared, &planned.variants)
    );
    assert_eq!(
        written.report.outputs[0].files[0].bytes,
        Some(out.metadata().unwrap().len())
    );
    let json = serde_json::to_string(&written.report).unwrap();
    assert!(!json.contains("hello\\n"), "content is told by its digest");
    let error = asked.prepare(&context).unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
}

#[test]
fn what_does_not_fit_is_an_error_with_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let context = Context::new(dir.path());
    let big = dir.path().join("big");
    std::fs::write(&big, Random::new(1).bytes(200 << 20)).unwrap();
    for partition in [Designator::Root, Designator::Oem, Designator::Boot] {
        let mut asked = request(dir.path().join("node.img"));
        asked
            .edits
            .files
            .push(FileSpec::new(&big, partition, FsPath::new("/big").unwrap()));
        let error = asked.prepare(&context).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{partition}: {error:?}");
        assert!(
            error.to_string().contains("200 MiB"),
            "{partition}: {error:?}"
        );
    }
    let mut asked = request(dir.path().join("node.img"));
    asked.edits.files.push(FileSpec::new(
        &big,
        Designator::Root,
        FsPath::new("/big").unwrap(),
    ));
    asked.root_size = Some(super::RootSize::Auto);
    let prepared = asked.prepare(&context).unwrap();
    let space = prepared
        .shared
        .space
        .iter()
        .find(|space| space.partition == Designator::Root)
        .unwrap();
    let left = space.free_bytes.1;
    assert!(
        (64 << 20..100 << 20).contains(&left),
        "{left} bytes are left: {:?}",
        prepared.shared.resize
    );
}
