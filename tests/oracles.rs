//! The judges are judged: each one passes a fresh image made by real tools, and says no once after a byte was broken.

use crate::common::flatcar::{FULL, Recipe, flatcar_copy, flatcar_image};
use crate::common::judges::*;
use crate::common::listing::{btrfs_tree, ext4_tree, partition_tree};
use crate::common::programs::{ask, judge, judges, missing, must_run};
use crate::common::region::Region;
use crate::common::sound::assert_sound;
use crate::common::sysext::{Format, Sysext, sysext};
use crate::common::tree::{Kind, Tree, compare, host_tree, sha256, squashfs_tree};
use crate::common::trees::make_odd_tree;
use crate::common::{noise, scratch_dir};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const GRUB_CFG: &[u8] = b"# oracle: a menu for the test\nset oem_id=\"qemu\"\n";

/// A writable small image with an OEM `grub.cfg`; `None` when a tool to make it is missing.
fn small() -> Option<(TempDir, PathBuf)> {
    let dir = scratch_dir();
    let recipe = Recipe::small()
        .with_file(6, "grub.cfg", GRUB_CFG)
        .with_file(9, "etc/note", b"a note\n");
    let image = flatcar_copy(&recipe, dir.path())?;
    Some((dir, image))
}

/// The judge said yes before; now it must say no. Not asked when it is not installed.
fn says_no(program: &str, verdict: impl FnOnce() -> Verdict) {
    if judge(program).is_some() {
        assert!(verdict().is_err(), "{program} does not see the broken byte");
    }
}

#[test]
fn a_missing_judge_is_reported_and_does_not_fail() {
    missing("e2fsck", false);
    assert!(judge("sh").is_some());
}

#[test]
#[should_panic(
    expected = "e2fsck is not installed (Debian package e2fsprogs), and FLATBAKE_REQUIRE_ORACLES=1 is set"
)]
fn a_missing_judge_fails_where_judges_are_required() {
    missing("e2fsck", true);
}

#[test]
fn gpt() {
    let Some((_dir, image)) = small() else { return };
    gpt_clean(&image).unwrap();
    let table = partitions(&image);
    let shown = cgpt_show(&image);
    if let Some(table) = &table {
        assert_eq!(
            table
                .iter()
                .map(|partition| partition.number)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4, 6, 7, 9]
        );
    }
    // A byte of the first entry's name: the checksum of the primary table no longer fits.
    Region::whole(&image).break_byte(2 * 512 + 56);
    says_no("sgdisk", || gpt_clean(&image));
    if shown.is_some() {
        assert_ne!(cgpt_show(&image), shown, "cgpt shows the damage");
    }
    Region::whole(&image).break_byte(2 * 512 + 56);
    gpt_clean(&image).unwrap();
    // The primary header: sgdisk takes the backup and says that there is no problem.
    Region::whole(&image).break_byte(512 + 60);
    says_no("sgdisk", || gpt_clean(&image));
}

#[test]
fn fat() {
    let Some((_dir, image)) = small() else { return };
    let Some(esp) = Region::partition(&image, 1) else {
        return;
    };
    fat_clean(&esp).unwrap();
    // The entry of cluster 10 in the first file allocation table.
    esp.break_byte(32 * 512 + 10 * 4);
    says_no("fsck.vfat", || fat_clean(&esp));
}

#[test]
fn ext4() {
    let Some((_dir, image)) = small() else { return };
    let Some(root) = Region::partition(&image, 9) else {
        return;
    };
    ext4_clean(&root).unwrap();
    // The first letter of a directory entry: length 3, type directory.
    root.break_byte(root.find(b"\x03\x02oem").unwrap() + 2);
    says_no("e2fsck", || ext4_clean(&root));
}

#[test]
fn ext4_with_a_dirty_journal_is_not_clean() {
    if !judges(&["e2fsck"]) {
        return;
    }
    let dir = scratch_dir();
    for (name, status) in [("ext4-dirty", 0), ("ext4-dirty-orphan-file", 4)] {
        let packed = File::open(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/ext4/{name}.img.zst")),
        );
        let image = dir.path().join(name);
        let mut unpacked = ruzstd::decoding::StreamingDecoder::new(packed.unwrap()).unwrap();
        std::io::copy(&mut unpacked, &mut File::create(&image).unwrap()).unwrap();
        // Wrong counts alone do not change the exit status as long as the journal is to be replayed.
        let words = ext4_clean(&Region::whole(&image)).unwrap_err();
        assert!(
            words.contains(&format!("exit status: {status}")) && words.contains("count wrong"),
            "{name}: {words}"
        );
        assert_eq!(
            ask("e2fsck", [OsStr::new("-fy"), image.as_os_str()], b"")
                .unwrap()
                .status
                .code(),
            Some(1)
        );
        ext4_clean(&Region::whole(&image)).unwrap();
    }
}

#[test]
fn btrfs() {
    let Some((_dir, image)) = small() else { return };
    let Some(oem) = Region::partition(&image, 6) else {
        return;
    };
    btrfs_clean(&oem).unwrap();
    // The text of an inline file: in a tree block with a checksum. Older copies of the block are not looked at, so all
    // of them are broken.
    while let Some(at) = oem.find(GRUB_CFG) {
        oem.break_byte(at);
    }
    says_no("btrfs", || btrfs_clean(&oem));

    let Some(usr) = Region::partition(&image, 3) else {
        return;
    };
    btrfs_clean(&usr).unwrap();
    // The content of a file with its own extent: found by its checksum in the checksum tree.
    usr.break_byte(usr.find(b"hsqs").unwrap());
    says_no("btrfs", || btrfs_clean(&usr));
}

#[test]
fn qcow2_and_comparison() {
    let Some((dir, image)) = small() else { return };
    if !judges(&["qemu-img"]) {
        return;
    }
    let qcow2 = dir.path().join("disk.qcow2");
    let words = ["convert", "-f", "raw", "-c", "-O", "qcow2"].map(OsStr::new);
    must_run(
        "qemu-img",
        words.iter().chain(&[image.as_os_str(), qcow2.as_os_str()]),
    );
    qcow2_clean(&qcow2).unwrap();
    qemu_check(&qcow2).unwrap();
    qemu_compare(&image, &qcow2).unwrap();
    assert_eq!(qemu_info(&qcow2).unwrap()["virtual-size"], 774_144 * 512);

    // In the unused space before the first partition: only a comparison can see it.
    Region::whole(&image).break_byte(1 << 20);
    says_no("qemu-img", || qemu_compare(&image, &qcow2));
    // The address in the first L1 entry.
    let header = Region::whole(&qcow2);
    let l1 = u64::from_be_bytes(header.read(40, 8).try_into().unwrap());
    header.break_byte(l1 + 4);
    says_no("qemu-img", || qcow2_clean(&qcow2));
}

#[test]
fn comparison_sees_a_longer_image() {
    let dir = scratch_dir();
    let files = ["short", "long"].map(|name| dir.path().join(name));
    for (file, len) in files.iter().zip([1 << 20, 2 << 20]) {
        File::create(file).unwrap().set_len(len).unwrap();
    }
    says_no("qemu-img", || qemu_compare(&files[0], &files[1]));
}

#[test]
fn what_grub_sees() {
    let Some((dir, image)) = small() else { return };
    let disk = Region::whole(&image);
    let host = dir.path().join("host");
    let Some(esp) = Region::partition(&image, 1) else {
        return;
    };
    for (path, content) in [
        ("(loop0,gpt6)/grub.cfg", GRUB_CFG),
        ("(loop0,gpt9)/etc/note", b"a note\n"),
        (
            "(loop0,gpt1)/flatcar/first_boot",
            b"The first boot is still to come.\n",
        ),
    ] {
        fs::write(&host, content).unwrap();
        grub_cmp(&disk, path, &host).unwrap();
        if let Some(crc) = grub_crc(&disk, path) {
            assert_eq!(
                crc.unwrap(),
                format!("{:08x}", crc32fast::hash(content)),
                "{path}"
            );
        }
    }
    grub_cmp(&esp, "/flatcar/first_boot", &host).unwrap();
    esp.break_byte(esp.find(b"The first boot").unwrap());
    says_no("grub-fstest", || {
        grub_cmp(&esp, "/flatcar/first_boot", &host)
    });
    if let Some(answer) = grub_crc(&disk, "(loop0,gpt6)/nothing-here") {
        answer.unwrap_err();
    }
}

#[test]
fn sysexts_of_all_formats() {
    let dir = scratch_dir();
    let make = |format, file: &str| {
        let mut description = Sysext::new("greeter", "x86-64", format);
        description.ballast = 100_000;
        sysext(dir.path(), file, &description)
    };
    if let Some(image) = make(Format::Squashfs, "greeter-squashfs.raw") {
        squashfs_clean(&image).unwrap();
        if let Some(tree) = squashfs_tree(&image) {
            let release = &tree["usr/lib/extension-release.d/extension-release.greeter"];
            assert_eq!(
                release.sha256.as_deref().unwrap(),
                sha256(&b"ID=_any\nARCHITECTURE=x86-64\n"[..])
            );
            assert_eq!(tree["usr/bin/greeter"].mode, Some(0o755));
        }
        // The compressed inode table, whose place is at byte 64 of the superblock.
        let region = Region::whole(&image);
        region.break_byte(u64::from_le_bytes(region.read(64, 8).try_into().unwrap()) + 8);
        says_no("unsquashfs", || squashfs_clean(&image));
    }
    if let Some(image) = make(Format::Erofs, "greeter-erofs.raw") {
        erofs_clean(&image).unwrap();
        // The mode of the root directory's inode, which is found through root_nid and meta_blkaddr of the superblock.
        let region = Region::whole(&image);
        let root_nid = u16::from_le_bytes(region.read(1024 + 14, 2).try_into().unwrap());
        let meta_blkaddr = u32::from_le_bytes(region.read(1024 + 40, 4).try_into().unwrap());
        region.break_byte(u64::from(meta_blkaddr) * 4096 + u64::from(root_nid) * 32 + 4);
        says_no("fsck.erofs", || erofs_clean(&image));
    }
    if let Some(image) = make(Format::Ext4, "greeter-ext4.raw") {
        ext4_clean(&Region::whole(&image)).unwrap();
    }
    if let Some(image) = make(Format::Btrfs, "greeter-btrfs.raw") {
        btrfs_clean(&Region::whole(&image)).unwrap();
    }
}

#[test]
fn compressed_streams() {
    let dir = scratch_dir();
    for (program, ending) in [
        ("gzip", "gz"),
        ("bzip2", "bz2"),
        ("xz", "xz"),
        ("zstd", "zst"),
    ] {
        if judge(program).is_none() {
            continue;
        }
        let plain = dir.path().join(program);
        fs::write(&plain, noise(9, 50_000)).unwrap();
        let words = if program == "zstd" {
            vec!["-q", "-k"]
        } else {
            vec!["-k"]
        };
        must_run(
            program,
            words.iter().map(OsStr::new).chain([plain.as_os_str()]),
        );
        let packed = dir.path().join(format!("{program}.{ending}"));
        stream_clean(&packed).unwrap();
        Region::whole(&packed).break_byte(25_000);
        says_no(program, || stream_clean(&packed));
    }
}

/// A tree with what listers easily get wrong.
fn odd_tree(dir: &Path) -> PathBuf {
    let root = dir.join("odd");
    make_odd_tree(&root);
    root
}

/// The tools give the top directory a time and a mode of their own.
fn below_the_root(mut tree: Tree) -> Tree {
    tree.remove("");
    tree.remove("lost+found");
    tree
}

#[test]
fn ext4_listing_tells_everything() {
    if !judges(&["mke2fs", "debugfs"]) {
        return;
    }
    let dir = scratch_dir();
    let source = odd_tree(dir.path());
    let image = dir.path().join("ext4");
    let words = ["-q", "-t", "ext4", "-I", "256", "-d"].map(OsStr::new);
    must_run(
        "mke2fs",
        words
            .iter()
            .chain(&[source.as_os_str(), image.as_os_str(), OsStr::new("64M")]),
    );
    let expected = below_the_root(host_tree(&source));
    let found = below_the_root(ext4_tree(&Region::whole(&image)).unwrap());
    compare(&expected, &found).unwrap();
    assert_eq!(found["hard"].linked_to.as_deref(), Some("hard"));
    assert_eq!(found["sub/file"].linked_to.as_deref(), Some("hard"));

    let commands = dir.path().join("commands");
    // debugfs makes devices with small numbers only: 259:1048575 is put in as the kernel encodes it.
    let device = [
        "mknod disk b 25 1",
        "sif disk block[0] 0",
        "sif disk block[1] 0xfff103ff",
        "sif disk mtime @0x1ffffffff",
    ];
    fs::write(&commands, device.map(|line| format!("{line}\n")).concat()).unwrap();
    must_run(
        "debugfs",
        [
            OsStr::new("-w"),
            OsStr::new("-f"),
            commands.as_os_str(),
            image.as_os_str(),
        ],
    );
    let disk = &ext4_tree(&Region::whole(&image)).unwrap()["disk"];
    assert_eq!(
        (disk.kind, disk.device),
        (Kind::BlockDevice, Some((259, 1_048_575)))
    );
    assert_eq!(disk.mtime, Some((0x1_ffff_ffff, 0)), "a time after 2106");
}

#[test]
fn btrfs_listing_tells_everything() {
    if !judges(&["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let dir = scratch_dir();
    let source = odd_tree(dir.path());
    let image = dir.path().join("btrfs");
    File::create(&image).unwrap().set_len(128 << 20).unwrap();
    let words = ["-q", "--mixed", "-m", "single", "-d", "single", "--rootdir"].map(OsStr::new);
    must_run(
        "mkfs.btrfs",
        words.iter().chain(&[source.as_os_str(), image.as_os_str()]),
    );
    let found = below_the_root(btrfs_tree(&Region::whole(&image)).unwrap());
    compare(&below_the_root(host_tree(&source)), &found).unwrap();
}

#[test]
fn comparison_of_trees_names_the_field() {
    let dir = scratch_dir();
    let expected = host_tree(&odd_tree(dir.path()));
    let mut found = expected.clone();
    found.get_mut("big").unwrap().mode = Some(0o644);
    found
        .get_mut("sub/file")
        .unwrap()
        .xattrs
        .as_mut()
        .unwrap()
        .remove("user.text");
    found.get_mut("sparse").unwrap().sha256 = Some("0".to_owned());
    found.remove("fifo");
    found.insert("more".to_owned(), expected["big"].clone());
    let text = compare(&expected, &found).unwrap_err();
    for part in [
        "5 differences",
        "/big: mode should be 4751 but is 0644",
        "/sub/file: xattrs",
        "/sparse: sha256",
        "missing: /fifo",
        "not expected: /more",
    ] {
        assert!(text.contains(part), "'{part}' is missing in\n{text}");
    }
}

/// Makes the image (or takes it from the cache) and has all judges look at it.
fn sound(recipe: &Recipe, disk_bytes: u64) {
    if let Some(image) = flatcar_image(recipe) {
        assert_eq!(image.metadata().unwrap().len(), disk_bytes);
        assert_sound(recipe, &image);
    }
}

#[test]
fn an_image_of_the_new_generation_is_sound() {
    sound(&Recipe::new(), 8_455_716_864);
}

#[test]
fn an_image_of_the_old_generation_is_sound() {
    sound(&Recipe::old(), 4_756_340_736);
    let Some(image) = flatcar_image(&Recipe::old()) else {
        return;
    };
    // The hybrid table: an active FAT partition where the ESP is, a protective one before it, nothing else.
    let table = Region::whole(&image).read(446, 66);
    assert_eq!(
        table[..16],
        [0x80, 65, 2, 0, 0x0c, 146, 2, 16, 0, 16, 0, 0, 0, 0, 4, 0]
    );
    assert_eq!(
        table[16..32],
        [
            0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 15, 0, 0
        ]
    );
    assert_eq!(table[32..], [&[0; 32][..], &[0x55, 0xaa]].concat());
    assert_eq!(
        partitions(&image).unwrap()[0].attributes,
        "LegacyBIOSBootable"
    );
}

#[test]
fn an_image_of_the_oldest_generation_is_sound() {
    sound(&Recipe::oldest(), 4_756_340_736);
}

#[test]
fn an_image_for_arm64_is_sound() {
    sound(
        &Recipe {
            arch: "arm64",
            ..Recipe::small()
        },
        774_144 * 512,
    );
}

#[test]
fn a_filled_image_is_sound() {
    sound(
        &Recipe {
            usr_fill_percent: FULL,
            root_fill_percent: FULL,
            ..Recipe::small()
        },
        774_144 * 512,
    );
}

#[test]
fn oem_files_carry_the_compression_property() {
    let recipe = Recipe::small()
        .with_file(6, "grub.cfg", GRUB_CFG)
        .with_file(6, "base/base.ign", b"{}");
    let Some(image) = flatcar_image(&recipe) else {
        return;
    };
    let Some(tree) = partition_tree(&image, 6, "btrfs") else {
        return;
    };
    assert_eq!(
        tree.keys().collect::<Vec<_>>(),
        ["", "base", "base/base.ign", "grub.cfg"]
    );
    for (path, entry) in &tree {
        assert_eq!(
            entry.xattrs.as_ref().unwrap()["btrfs.compression"],
            b"zlib",
            "/{path}"
        );
    }
    btrfs_clean(&Region::partition(&image, 6).unwrap()).unwrap();
}
