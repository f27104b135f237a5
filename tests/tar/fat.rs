//! Archives unpacked into a FAT volume, judged by dosfstools and mtools.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};

use flatbake::archive::{TarOptions, inject};
use flatbake::block::MemoryDevice;
use flatbake::finding::code;
use flatbake::fs::FileSystemMut;
use flatbake::fs::fat::Fat;
use flatbake::{ErrorKind, Finding, NoProgress};
use tempfile::TempDir;

use super::maker::Maker;
use super::path;
use crate::common::programs::{command, judge};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A volume, and the folder its file is in.
fn volume() -> Option<(TempDir, PathBuf)> {
    let mkfs = judge("mkfs.vfat")?;
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("esp");
    File::create(&image).unwrap().set_len(8 << 20).unwrap();
    run(command(&mkfs).arg(&image));
    Some((folder, image))
}

fn open(image: &PathBuf) -> Fat<MemoryDevice> {
    Fat::open(MemoryDevice::new(fs::read(image).unwrap())).unwrap()
}

#[test]
fn files_arrive_and_modes_are_dropped() {
    let Some((_folder, image)) = volume() else {
        return;
    };
    let archive = Maker::new()
        .dir("./")
        .file("EFI/boot/grub.cfg", "old")
        .pax(&[("SCHILY.xattr.user.a", b"b")])
        .file("efi/BOOT/a long name for grub.cfg", "set timeout=0\n")
        .file("efi/boot/grub.cfg", "new")
        .dir("EFI/")
        .end();
    let device = MemoryDevice::new(fs::read(&image).unwrap());
    let mut fat = Fat::open(&device).unwrap();
    let summary = inject(
        &mut fat,
        &archive[..],
        &path("/"),
        &TarOptions::default(),
        &NoProgress,
    )
    .unwrap();
    fat.commit().unwrap();
    drop(fat);
    assert_eq!((summary.files, summary.parents), (3, 2));
    let lost = Finding::new(code::ARCHIVE_XATTRS).with("count", 1);
    assert!(summary.findings.contains(&lost), "{:?}", summary.findings);
    fs::write(&image, device.into_bytes()).unwrap();
    run(command(&judge("fsck.vfat").unwrap()).arg("-n").arg(&image));
    for (name, content) in [
        ("::/EFI/boot/grub.cfg", "new"),
        ("::/efi/boot/a long name for grub.cfg", "set timeout=0\n"),
    ] {
        let output = run(command(&judge("mtype").unwrap())
            .arg("-i")
            .arg(&image)
            .arg(name));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), content);
    }
}

#[test]
fn what_fat_lacks_is_named() {
    let Some((_folder, image)) = volume() else {
        return;
    };
    for archive in [
        Maker::new().symlink("here", "there"),
        Maker::new().node("here", b'3', 1, 3),
        Maker::new().file("x", "").hard_link("here", "x"),
    ] {
        let error = inject(
            &mut open(&image),
            &archive.end()[..],
            &path("/"),
            &TarOptions::default(),
            &NoProgress,
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(
            error.to_string().contains("entry 'here'") && error.hint().is_some(),
            "{error:?}"
        );
    }
    let large = Maker::new()
        .entry("large", b'0', &vec![1; 9 << 20], "")
        .end();
    let error = inject(
        &mut open(&image),
        &large[..],
        &path("/"),
        &TarOptions::default(),
        &NoProgress,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
}
