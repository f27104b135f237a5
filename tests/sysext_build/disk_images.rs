//! Extensions that are built as disk images.

use std::time::SystemTime;

use flatbake::block::MemoryDevice;
use flatbake::flatcar::ddi::{Certificate, KeyKind, PrivateKey, Signer, verify};
use flatbake::flatcar::sysext::build::DiskImage;
use flatbake::{ErrorKind, Reason};

use super::*;

/// Where the filesystem begins in a disk image, in bytes.
const FILES_START: usize = 20 << 10;

fn place() -> Place {
    Place::new().with(
        "usr/share/tool/data",
        &[b"a line of data\n".repeat(5000), vec![7; 9]].concat(),
    )
}

#[test]
fn a_signed_disk_image_holds_the_tree_and_verifies() {
    let key = PrivateKey::generate(KeyKind::P256).unwrap();
    let certificate = Certificate::self_signed(&key, "tests", SystemTime::now(), 30).unwrap();
    let signer = Arc::new(Signer::new(key, certificate.clone()).unwrap());
    let place = place();
    let formats = [
        Format::erofs(None, Effort::default()).unwrap(),
        Format::default(),
    ];
    for format in formats {
        let build = |name: &str| {
            let build = Build {
                architecture: some("x86-64"),
                format,
                disk_image: Some(DiskImage {
                    signer: Some(Arc::clone(&signer)),
                    seed: None,
                }),
                ..place.build()
            };
            let path = place.path(name);
            let built = write(build, &path, None).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            (built, bytes)
        };
        let (built, bytes) = build("one.raw");
        assert!(
            built.format.starts_with("signed disk image of "),
            "{}",
            built.format
        );
        assert_eq!(bytes, build("other.raw").1);

        let device = || Arc::new(MemoryDevice::new(bytes.clone()));
        let verdict = verify(device(), std::slice::from_ref(&certificate)).unwrap();
        let disk_image = built.disk_image.unwrap();
        assert_eq!(disk_image.root_hash, Some(verdict.root_hash));
        assert_eq!(disk_image.subject.as_deref(), Some("CN=tests"));
        let fs = open_extension(device()).unwrap();
        assert!(content(&*fs, "/usr/share/tool/data").starts_with("a line of data\n"));

        // A bit of the data is changed, where nothing is read first.
        let mut damaged = bytes.clone();
        damaged[FILES_START + usize::try_from(verdict.data_bytes).unwrap() - 1] ^= 1;
        let damaged = Arc::new(MemoryDevice::new(damaged));
        assert!(verify(damaged, std::slice::from_ref(&certificate)).is_err());
    }
}

#[test]
fn without_a_key_a_disk_image_has_a_tree_alone() {
    let place = place();
    let build = Build {
        architecture: some("arm64"),
        disk_image: Some(DiskImage::default()),
        ..place.build()
    };
    let built = place.write(build).unwrap();
    assert!(built.disk_image.unwrap().root_hash.is_some());
    let device = Arc::new(FileDevice::open(&place.path("tool.raw")).unwrap());
    let error = verify(device, &[]).unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NoSignature));
}

#[test]
fn a_disk_image_for_any_architecture_is_refused() {
    let place = place();
    let build = Build {
        architecture: some("_any"),
        disk_image: Some(DiskImage::default()),
        ..place.build()
    };
    let error = place.write(build).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!place.path("tool.raw").exists());
}
