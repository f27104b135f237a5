//! FAT volumes made and judged by dosfstools and mtools: the parameters of Flatcar's ESP, long random edits, full volumes.

mod image;
mod model;
mod scale;
mod shapes;

use std::sync::atomic::Ordering;

use crate::common::judges::grub_cmp;
use crate::common::region::Region;
use flatbake::block::BlockDeviceMut;
use flatbake::fs::fat::{Fat, probe};
use flatbake::fs::{
    ByPath, FileSystem, FileSystemMut, FileType, FsPath, MetadataChange, Timestamp,
};
use flatbake::{ErrorKind, Reason, Result};
use image::{Image, at, content, path, read, write};

#[test]
fn an_esp_with_the_parameters_of_flatcar() {
    for (megabytes, cluster) in [(128, 512), (1024, 4096)] {
        let Some(image) = Image::make(megabytes << 20, &["-I", "-F", "32", "-n", "EFI-SYSTEM"])
        else {
            return;
        };
        let host = image.folder.path().join("grub with a long name.cfg");
        std::fs::write(&host, content(1, 100_000)).unwrap();
        image.mtool("mmd", &["::/EFI", "::/EFI/boot", "::/flatcar"]);
        image.mtool(
            "mcopy",
            &[
                "-m",
                host.to_str().unwrap(),
                "::/EFI/boot/grub with a long name.cfg",
            ],
        );
        image.mtool("mcopy", &[host.to_str().unwrap(), "::/flatcar/VMLINUZ.A"]);
        let serial = image.bytes_at(67, 15);
        assert!(probe(&image.bytes_at(0, 512)));

        let mut fat = Fat::open(image.disk()).unwrap();
        assert_eq!(fat.label().unwrap(), b"EFI-SYSTEM");
        assert_eq!(fat.capacity().unwrap().block_bytes, cluster);
        assert_eq!(
            read(&fat, "/efi/BOOT/GRUB with a long NAME.cfg"),
            content(1, 100_000)
        );
        assert_eq!(read(&fat, "/EFI/BOOT/GRUBWI~1.CFG"), content(1, 100_000));

        write(&mut fat, "/efi/BOOT/first_boot", b"").unwrap();
        write(
            &mut fat,
            "/Efi/Boot/grub with a long name.cfg",
            &content(2, 5000),
        )
        .unwrap();
        fat.create_dir(&path("/EFI/A new folder with a long name"), &at(0))
            .unwrap();
        write(
            &mut fat,
            "/EFI/A new folder with a long name/ünïcode 😀.txt",
            b"smile",
        )
        .unwrap();
        fat.rename(&path("/flatcar/vmlinuz.a"), &path("/flatcar/vmlinuz-a"))
            .unwrap();
        let free = fat.capacity().unwrap().free_bytes / cluster;
        fat.commit().unwrap();
        drop(fat);

        image.fsck().unwrap();
        assert_eq!(image.bytes_at(67, 15), serial, "serial and label");
        assert_eq!(
            image.bytes_at(512 + 488, 4),
            u32::try_from(free).unwrap().to_le_bytes(),
            "free count"
        );
        let listing = String::from_utf8(image.mtool("mdir", &["-b", "-/", "::/"]).stdout).unwrap();
        for name in [
            "::/EFI/boot/first_boot",
            "::/flatcar/vmlinuz-a",
            "::/EFI/A new folder with a long name/",
        ] {
            assert!(listing.contains(name), "{name} in {listing}");
        }
        assert!(!listing.contains("VMLINUZ"));
        assert_eq!(
            image.mtype("/EFI/boot/grub with a long name.cfg"),
            content(2, 5000)
        );
        assert_eq!(image.mtype("/flatcar/vmlinuz-a"), content(1, 100_000));
    }
}

#[test]
fn what_grub_reads() {
    let Some(image) = Image::make(64 << 20, &["-F", "32", "-s", "1"]) else {
        return;
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/flatcar"), &at(0)).unwrap();
    write(
        &mut fat,
        "/flatcar/a long name for grub.cfg",
        &content(3, 70_000),
    )
    .unwrap();
    fat.commit().unwrap();
    let host = image.folder.path().join("host");
    std::fs::write(&host, content(3, 70_000)).unwrap();
    grub_cmp(
        &Region::whole(&image.path()),
        "/flatcar/a long name for grub.cfg",
        &host,
    )
    .unwrap();
}

#[test]
fn the_judge_can_say_no() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else {
        return;
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    write(&mut fat, "/file", &content(0, 3000)).unwrap();
    fat.commit().unwrap();
    image.fsck().unwrap();
    let table = u64::from(u16::from_le_bytes(
        image.bytes_at(14, 2).try_into().unwrap(),
    )) * 512;
    let byte = image.bytes_at(table + 12, 1);
    image.disk().write_at(table + 12, &[byte[0] ^ 1]).unwrap();
    image.fsck().unwrap_err();
}

#[test]
fn metadata_names_and_what_fat_lacks() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else {
        return;
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    fat.create_dir(&path("/d"), &at(1_600_000_001)).unwrap();
    write(&mut fat, "/d/File", b"one").unwrap();
    let file = fat.metadata_at(&path("/D/fILE")).unwrap();
    assert_eq!(
        (file.file_type, file.mode, file.uid, file.size, file.nlink),
        (FileType::File, 0o644, 0, 3, 1)
    );
    assert_eq!(
        file.mtime,
        Timestamp {
            secs: 1_700_000_000,
            nanos: 0
        }
    );
    let folder = fat.metadata_at(&path("/d")).unwrap();
    assert_eq!(
        (folder.file_type, folder.mode, folder.mtime.secs),
        (FileType::Directory, 0o755, 1_600_000_000)
    );
    let listed = fat.entries_at(&path("/d")).unwrap();
    assert_eq!(
        (
            listed[0].name.as_slice(),
            fat.metadata(listed[0].node).unwrap()
        ),
        (&b"File"[..], file.clone())
    );
    assert_ne!(file.inode, folder.inode);

    let change = MetadataChange {
        mtime: Some(Timestamp::default()),
        mode: Some(0o777),
        ..Default::default()
    };
    fat.set_metadata(&path("/d/file"), &change).unwrap();
    fat.set_metadata(&FsPath::root(), &change).unwrap();
    assert_eq!(
        fat.metadata_at(&path("/d/file")).unwrap().mtime.secs,
        315_532_800
    );

    let kind = |result: Result<()>| result.unwrap_err().kind();
    let link = path("/link");
    assert_eq!(
        kind(fat.symlink(&link, b"x", &at(0))),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(fat.hard_link(&path("/d/file"), &link)),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(fat.mknod(&link, FileType::Fifo, (0, 0), &at(0))),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(fat.set_xattr(&path("/d"), b"user.a", b"")),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(fat.create_dir(&path("/D"), &at(0))),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(fat.create_dir(&path("/no/such"), &at(0))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(fat.remove(&path("/d"))), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.remove(&FsPath::root())), ErrorKind::InvalidInput);
    assert_eq!(kind(fat.remove(&path("/none"))), ErrorKind::NotFound);
    assert_eq!(
        kind(fat.rename(&path("/d/file"), &path("/d"))),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(fat.rename(&path("/d"), &path("/d/below"))),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(write(&mut fat, "/d", b"")), ErrorKind::InvalidInput);
    assert_eq!(
        kind(write(&mut fat, "/what?", b"")),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(fat.write_file(&link, &at(0), 5, &mut &b"four"[..])),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(fat.write_file(&link, &at(0), 3, &mut &b"four"[..])),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        kind(fat.write_file(&link, &at(0), 1 << 32, &mut &b""[..])),
        ErrorKind::Unsupported
    );
    let reason = |result: Result<()>| result.unwrap_err().reason();
    assert_eq!(
        reason(fat.create_dir(&path("/D"), &at(0))),
        Some(Reason::Exists)
    );
    assert_eq!(reason(fat.remove(&path("/d"))), Some(Reason::NotEmpty));
    assert_eq!(
        reason(write(&mut fat, "/d", b"")),
        Some(Reason::IsADirectory)
    );
    assert_eq!(
        reason(fat.rename(&path("/d/file"), &path("/d"))),
        Some(Reason::IsADirectory)
    );
    assert_eq!(
        reason(write(&mut fat, "/d/file/x", b"")),
        Some(Reason::NotADirectory)
    );
    assert_eq!(
        reason(fat.write_file(&link, &at(0), 1 << 32, &mut &b""[..])),
        Some(Reason::Limit)
    );
    assert!(
        fat.metadata_at(&path("/d/file/x"))
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    );
}

#[test]
fn names_have_as_many_units_as_fat_has_room_for() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else {
        return;
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    // 255 units are up to 765 bytes.
    for name in [
        format!("/{}", "\u{6f22}".repeat(255)),
        format!("/{}", "\u{1f427}".repeat(127)),
    ] {
        write(&mut fat, &name, b"content").unwrap();
        assert_eq!(read(&fat, &name), b"content");
        assert!(
            fat.entries_at(&FsPath::root())
                .unwrap()
                .iter()
                .any(|entry| entry.name == name.as_bytes()[1..])
        );
    }
    assert!(write(&mut fat, &format!("/{}", "a".repeat(256)), b"").is_err());
    assert!(FsPath::new(format!("/{}", "\u{6f22}".repeat(256))).is_err());
}

#[test]
fn a_volume_filled_to_the_last_cluster() {
    for arguments in [&["-F", "32", "-s", "1"][..], &["-F", "16"], &["-F", "12"]] {
        let size = if arguments[1] == "12" {
            1 << 20
        } else {
            36 << 20
        };
        let Some(image) = Image::make(size, arguments) else {
            return;
        };
        let mut fat = Fat::open(image.disk()).unwrap();
        fat.create_dir(&path("/d"), &at(0)).unwrap();
        let cluster = fat.capacity().unwrap().block_bytes;
        let left = 4 * cluster;
        let big = fat.capacity().unwrap().free_bytes - left;
        write(&mut fat, "/big", &vec![1; usize::try_from(big).unwrap()]).unwrap();
        fat.commit().unwrap();
        let before = std::fs::read(image.path()).unwrap();
        let too_much = usize::try_from(left + 1).unwrap();
        let error = write(&mut fat, "/d/small", &vec![2; too_much]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(
            error
                .to_string()
                .contains(&format!("needs 5 clusters of {cluster} bytes")),
            "{error}"
        );
        assert!(error.to_string().contains("4 are free"), "{error}");
        assert_eq!(
            write(
                &mut fat,
                "/big",
                &vec![1; usize::try_from(big).unwrap() + too_much]
            )
            .unwrap_err()
            .kind(),
            ErrorKind::NoSpace
        );
        assert!(
            before == std::fs::read(image.path()).unwrap(),
            "nothing is written when it does not fit"
        );

        write(
            &mut fat,
            "/d/small",
            &vec![2; usize::try_from(left).unwrap()],
        )
        .unwrap();
        assert_eq!(fat.capacity().unwrap().free_bytes, 0);
        assert_eq!(
            fat.create_dir(&path("/d/e"), &at(0)).unwrap_err().kind(),
            ErrorKind::NoSpace
        );
        // Entries without content go into the folder until it would have to grow.
        let full = (0..1000)
            .map(|index| {
                write(
                    &mut fat,
                    &format!("/d/an entry that takes slots {index}"),
                    b"",
                )
            })
            .find_map(Result::err);
        assert_eq!(full.unwrap().kind(), ErrorKind::NoSpace);
        write(&mut fat, "/big", &vec![3; usize::try_from(big).unwrap()]).unwrap();
        fat.commit().unwrap();
        image.fsck().unwrap();
        fat.remove(&path("/big")).unwrap();
        fat.commit().unwrap();
        image.fsck().unwrap();
        assert_eq!(fat.capacity().unwrap().free_bytes, big);
    }
}

/// Two tables are usual; all are kept alike.
#[test]
fn volumes_of_one_to_four_tables_are_edited() {
    for (size, bits) in [(3 << 20, "12"), (20 << 20, "16"), (80 << 20, "32")] {
        for tables in ["1", "2", "3", "4"] {
            let Some(image) = Image::make(size, &["-F", bits, "-f", tables]) else {
                return;
            };
            let mut fat = Fat::open(image.disk()).unwrap();
            for file in 0..20 {
                write(
                    &mut fat,
                    &format!("/file{file}"),
                    &content(file, file * 3001),
                )
                .unwrap();
            }
            fat.remove(&path("/file7")).unwrap();
            fat.commit().unwrap();
            drop(fat);
            image.fsck().unwrap();
            let fat = Fat::open_read_only(image.disk()).unwrap();
            for file in (0..20).filter(|file| *file != 7) {
                assert!(
                    read(&fat, &format!("/file{file}")) == content(file, file * 3001),
                    "{bits} {tables} {file}"
                );
            }
        }
    }
}

#[test]
fn removed_content_is_gone_and_a_dirty_mark_is_cleared() {
    let Some(image) = Image::make(40 << 20, &["-F", "32"]) else {
        return;
    };
    image.disk().write_at(0x41, &[1]).unwrap();
    // The mark of Windows: a bit of the second table entry, in both tables.
    let word = |at, len| {
        image
            .bytes_at(at, len)
            .iter()
            .rev()
            .fold(0u64, |all, byte| all << 8 | u64::from(*byte))
    };
    for table in [word(14, 2), word(14, 2) + word(36, 4)] {
        image.disk().write_at(table * 512 + 7, &[0x07]).unwrap();
    }
    image.fsck().unwrap_err();
    let secret = b"a very secret sentence".repeat(1000);
    let holds = |needle: &[u8]| {
        std::fs::read(image.path())
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
    };
    let mut fat = Fat::open(image.disk()).unwrap();
    for name in ["/a", "/b", "/c"] {
        write(&mut fat, name, &secret).unwrap();
    }
    assert!(holds(b"very secret"));
    fat.remove(&path("/a")).unwrap();
    write(&mut fat, "/b", b"short").unwrap();
    write(&mut fat, "/d", b"other").unwrap();
    fat.rename(&path("/d"), &path("/c")).unwrap();
    fat.commit().unwrap();
    assert!(!holds(b"very secret"));
    image.fsck().unwrap();
    assert_eq!(word(word(14, 2) * 512 + 7, 1), 0x0F);
}

#[test]
fn same_edits_give_the_same_bytes() {
    let make = || {
        let image = Image::make(40 << 20, &["-F", "32", "--invariant"])?;
        let mut fat = Fat::open(image.disk()).unwrap();
        fat.create_dir(&path("/Folder name"), &at(1_650_000_000))
            .unwrap();
        for index in 0..50 {
            write(
                &mut fat,
                &format!("/Folder name/file number {index}"),
                &content(index, index * 100),
            )
            .unwrap();
        }
        fat.commit().unwrap();
        Some(std::fs::read(image.path()).unwrap())
    };
    assert!(make() == make());
}

#[test]
fn large_files_take_large_writes() {
    let Some(image) = Image::make(1 << 30, &["-I", "-F", "32", "-s", "1"]) else {
        return;
    };
    let mut previous = 0;
    for megabytes in [100u64, 300] {
        let disk = image.disk();
        let mut fat = Fat::open(&disk).unwrap();
        let start = std::time::Instant::now();
        let size = megabytes << 20;
        fat.write_file(
            &path(&format!("/{megabytes}")),
            &at(0),
            size,
            &mut std::io::Read::take(std::io::repeat(5), size),
        )
        .unwrap();
        fat.commit().unwrap();
        let writes = disk.writes.load(Ordering::Relaxed);
        let largest = disk.largest.load(Ordering::Relaxed);
        eprintln!(
            "{megabytes} MiB: {:?}, {writes} writes, largest {largest}",
            start.elapsed()
        );
        assert_eq!(largest, 1 << 20);
        // A write per MiB of content, and for each of two tables one per 3072 clusters, which are 1.5 MiB; all else is a
        // constant.
        assert!(writes < megabytes * 5 / 2 + 100, "{writes} writes");
        assert!(previous == 0 || writes < 4 * previous, "more than linear");
        previous = writes;
    }
    image.fsck().unwrap();
}
