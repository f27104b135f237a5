//! Files that end before what they say they hold: refused before anything is made of them, or whole all the same.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use crate::common::content::disk;
use crate::common::longer;
use crate::common::programs::{command, judge, success};
use crate::common::random::Random;
use crate::common::reading::{read_everything, text};
use flatbake::bake::{Output, emit};
use flatbake::block::{BlockDevice, FileDevice, MemoryDevice};
use flatbake::fs::{read_file, walk};
use flatbake::image::{self, CacheMode, OpenOptions, OutputFormat, check_whole};
use flatbake::{Cancel, ErrorKind, NoProgress};

/// Lengths that a file of `len` bytes is cut to: near the end, and anywhere.
fn cuts(len: u64, random: &mut Random) -> Vec<u64> {
    let near = [1, 511, 512, 513, 4096, 65536].map(|missing| len.saturating_sub(missing));
    near.into_iter()
        .chain((0..longer(20)).map(|_| random.below_u64(len)))
        .collect()
}

fn everything(device: &dyn BlockDevice) -> flatbake::Result<Vec<u8>> {
    let mut bytes = vec![0; device.size().try_into().unwrap()];
    device.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// A prefix of each format's file either says that something is missing, before any data are read, or has all of the disk.
#[test]
fn disk_images() {
    let dir = tempfile::tempdir().unwrap();
    let source = MemoryDevice::new(disk(5 << 20, 7));
    let original = everything(&source).unwrap();
    let mut random = Random::new(11);
    let mut refused = 0;
    for format in OutputFormat::all() {
        if matches!(
            format,
            OutputFormat::Raw | OutputFormat::VhdFixed | OutputFormat::Hdd | OutputFormat::VmdkFlat
        ) {
            continue;
        }
        let file = dir.path().join("image");
        emit(
            &source,
            &Output {
                format,
                ..Output::at(&file)
            },
            &NoProgress,
        )
        .unwrap();
        let options = OpenOptions {
            cache: CacheMode::None,
            ..OpenOptions::new(dir.path())
        };
        let len = fs::metadata(&file).unwrap().len();
        let bytes = fs::read(&file).unwrap();
        let mut expected = original.clone();
        let opened = image::open(&file, &options, &NoProgress).unwrap().device;
        expected.resize(opened.size().try_into().unwrap(), 0);
        check_whole(&*opened, &Cancel::new()).unwrap();
        assert!(everything(&*opened).unwrap() == expected, "{format}");
        for cut in cuts(len, &mut random) {
            fs::write(&file, &bytes[..usize::try_from(cut).unwrap()]).unwrap();
            let checked = image::open(&file, &options, &NoProgress)
                .map(|image| image.device)
                .and_then(|device| check_whole(&*device, &Cancel::new()).map(|()| device));
            match checked {
                Err(error) => {
                    let kinds = [
                        ErrorKind::Corrupt,
                        ErrorKind::InvalidInput,
                        ErrorKind::Unsupported,
                    ];
                    assert!(
                        kinds.contains(&error.kind()),
                        "{format} cut to {cut}: {error}"
                    );
                    refused += 1;
                }
                // A beginning that shows no format any more is a raw disk.
                Ok(device) if device.size() != opened.size() => {
                    assert!(cut < 512, "{format} cut to {cut}")
                }
                // The last packed cluster of a qcow2 ends where its stream does.
                Ok(device) => match everything(&*device) {
                    Ok(found) => assert!(found == expected, "{format} cut to {cut} of {len}"),
                    Err(error) => assert!(
                        format == OutputFormat::Qcow2,
                        "{format} cut to {cut}: {error}"
                    ),
                },
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// All that is in a filesystem, as text.
fn contents(image: &Path) -> flatbake::Result<Vec<String>> {
    let fs = flatbake::fs::open(Arc::new(FileDevice::open(image)?))?;
    let mut lines = Vec::new();
    walk(&*fs, &flatbake::fs::FsPath::root(), &mut |entry| {
        lines.push(format!("{} {:?}", entry.path, entry.metadata.file_type));
        Ok(())
    })?;
    let noise = read_file(&*fs, &crate::common::reading::path("/noise"), 1 << 24)?;
    lines.push(flatbake::block::sha256(
        &MemoryDevice::new(noise),
        &mut |_| (),
    )?);
    Ok(lines)
}

#[test]
fn filesystems() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let image = dir.path().join("image");
    fs::create_dir_all(tree.join("usr/share")).unwrap();
    fs::write(tree.join("noise"), crate::common::noise(5, 700_000)).unwrap();
    (0..50).for_each(|n| {
        fs::write(
            tree.join(format!("usr/share/file{n}")),
            format!("{n}\n").repeat(n),
        )
        .unwrap()
    });
    let mut random = Random::new(12);
    let tree = text(&tree);
    let file = text(&image);
    for (program, arguments, bytes) in [
        (
            "mksquashfs",
            vec![tree, file, "-quiet", "-no-progress", "-noappend"],
            0,
        ),
        (
            "mksquashfs",
            vec![tree, file, "-quiet", "-no-progress", "-noappend", "-nopad"],
            0,
        ),
        ("mkfs.erofs", vec!["--quiet", file, tree], 0),
        ("mkfs.erofs", vec!["--quiet", "-zlz4hc", file, tree], 0),
        ("mkfs.ext4", vec!["-q", "-d", tree, file], 8 << 20),
        (
            "mkfs.btrfs",
            vec!["-q", "--mixed", "-r", tree, file],
            64 << 20,
        ),
        ("mkfs.vfat", vec![file], 8 << 20),
    ] {
        let Some(mkfs) = judge(program) else { continue };
        File::create(&image).unwrap().set_len(bytes).unwrap();
        success(command(&mkfs).args(&arguments));
        let len = fs::metadata(&image).unwrap().len();
        let expected = contents(&image).ok();
        assert_eq!(expected.is_some(), program != "mkfs.vfat", "{program}");
        let whole = fs::read(&image).unwrap();
        for cut in cuts(len, &mut random) {
            fs::write(&image, &whole[..usize::try_from(cut).unwrap()]).unwrap();
            let opened = flatbake::fs::open(Arc::new(FileDevice::open(&image).unwrap()));
            let Ok(opened) = opened else { continue };
            // Behind what squashfs uses there is only padding.
            assert!(
                program == "mksquashfs" && len - cut < 4096,
                "{arguments:?} cut to {cut} of {len}"
            );
            read_everything(&*opened, 1 << 24);
            assert_eq!(
                contents(&image).ok(),
                expected,
                "{arguments:?} cut to {cut} of {len}"
            );
        }
    }
}
