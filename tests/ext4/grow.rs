//! Growing: what resize2fs makes of the same filesystem is made here, too.

use std::path::Path;

use flatbake::ErrorKind;
use flatbake::fs::ext4::Ext4;
use flatbake::fs::{FileSystem, FileSystemMut};

use crate::common::longer;
use crate::common::region::copy_file;
use crate::ext4::images::{debugfs_write, mke2fs, tree};
use crate::ext4::model::{Model, attributes, path};
use crate::ext4::support::{
    ImageFile, Numbers, assert_clean, debugfs, e2fsck, edit, file_in, have_judges, judge,
};

/// What dumpe2fs says, without times, checksums and counts of writes.
fn geometry(image: &Path) -> String {
    let output = judge("dumpe2fs").unwrap().arg(image).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let changing = [
        "Last write time",
        "Last checked",
        "Lifetime writes",
        "Checksum:",
        "Journal",
        "Max transaction",
    ];
    let lines = text
        .lines()
        .filter(|line| !changing.iter().any(|words| line.starts_with(words)));
    let plain = |line: &str| {
        line.split(" csum 0x")
            .next()
            .unwrap_or_default()
            .trim_end_matches(',')
            .to_owned()
    };
    let flags = |line: &str| {
        line.split_once('[')
            .map_or(String::new(), |(_, flags)| format!(" [{flags}"))
    };
    lines
        .map(|line| plain(line) + &flags(line) + "\n")
        .collect()
}

fn set_len(image: &Path, bytes: u64) {
    std::fs::File::options()
        .write(true)
        .open(image)
        .unwrap()
        .set_len(bytes)
        .unwrap();
}

/// Compares the last copy of superblock and descriptors with the first, as dumpe2fs shows where tables lie.
fn backup_is_right(image: &Path) {
    let dump = |options: &[String]| {
        let output = judge("dumpe2fs")
            .unwrap()
            .args(options)
            .arg(image)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{options:?}: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    let first = dump(&[]);
    let word = |line: &str, words: &str| {
        line.split_once(words)
            .and_then(|(_, rest)| rest.split([',', ' ']).next().map(str::to_owned))
    };
    let block = first
        .lines()
        .rev()
        .find_map(|line| word(line, "Backup superblock at "))
        .unwrap();
    let size = first
        .lines()
        .find_map(|line| line.strip_prefix("Block size:"))
        .unwrap()
        .trim();
    // Groups as machines read them: no bitmaps, which cannot be read from a copy where some were never written.
    let copy = dump(&[
        format!("-osuperblock={block}"),
        format!("-oblocksize={size}"),
        "-g".to_owned(),
    ]);
    assert_eq!(copy, dump(&["-g".to_owned()]), "the copy at block {block}");
}

/// Grows copies of an image both ways and compares.
fn compare(image: &Path, bytes: u64, what: &str) {
    let other = image.with_extension("other");
    copy_file(image, &other);
    set_len(image, bytes);
    set_len(&other, bytes);
    edit(image).grow(bytes).unwrap();
    assert_clean(image);
    backup_is_right(image);
    let blocks = (bytes / 1024).to_string() + "k";
    let resized = judge("resize2fs")
        .unwrap()
        .env("RESIZE2FS_FORCE_LAZY_ITABLE_INIT", "1")
        .arg("-f")
        .arg(&other)
        .arg(blocks)
        .output()
        .unwrap();
    assert!(
        resized.status.success(),
        "{}",
        String::from_utf8_lossy(&resized.stderr)
    );
    let ours = geometry(image);
    let theirs = geometry(&other);
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{what}");
}

#[test]
fn as_resize2fs_does() {
    if !have_judges() || judge("resize2fs").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    // Features, block size, blocks of a group, MiB before, KiB after.
    let small = ["1024", "256"];
    let cases = [
        ("", small, 3, 3500),
        ("", small, 3, 3 * 1024 + 20),
        ("", small, 4, 4 * 1024 + 256 + 300),
        ("", small, 4, 5 * 1024),
        ("", small, 4, 40 * 1024 + 7),
        ("", small, 15, 100 * 1024),
        ("^metadata_csum", small, 4, 30 * 1024),
        ("^metadata_csum,uninit_bg", small, 4, 30 * 1024),
        ("^64bit", small, 5, 33 * 1024),
        ("^flex_bg", small, 5, 33 * 1024),
        ("meta_bg,^resize_inode", small, 5, 37 * 1024),
        ("", ["4096", "1024"], 10, 500 * 1024),
        (
            "metadata_csum_seed,orphan_file",
            ["4096", "512"],
            10,
            300 * 1024 + 12,
        ),
    ];
    for (features, [block, group], before, after) in cases {
        let what = format!("-O '{features}' -b {block} -g {group}: {before} MiB to {after} KiB");
        mke2fs(
            &image,
            before,
            features,
            None,
            &["-b", block, "-g", group, "-i", "16384"],
        );
        compare(&image, after * 1024, &what);
    }
}

#[test]
fn a_flatcar_root_to_its_sizes() {
    if !have_judges() || judge("resize2fs").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    tree(&file_in(&folder, "tree"));
    let image = file_in(&folder, "a.img");
    for mib in [6320, 24842] {
        mke2fs(&image, 1784, "", Some(&file_in(&folder, "tree")), &[]);
        compare(&image, mib << 20, &format!("{mib} MiB"));
    }
}

#[test]
fn growing_keeps_how_names_are_hashed() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 8, "", None, &[]);
    debugfs_write(&image, "ssv flags 0\n");
    set_len(&image, 16 << 20);
    let mut fs = edit(&image);
    // Too many for one block: growing commits them, and the first hash tree says how names are hashed.
    for number in 0..300 {
        let at = path(&format!("/a-name-of-some-length-{number}"));
        fs.symlink(&at, b"target", &attributes(0o777, 1)).unwrap();
    }
    fs.grow(16 << 20).unwrap();
    assert_clean(&image);
    let said = debugfs(&image, "show_super_stats -h\n");
    assert!(said.contains("signed_directory_hash"), "{said}");
}

#[test]
fn growing_goes_on_and_edits_too() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = file_in(&folder, "tree");
    tree(&source);
    let image = file_in(&folder, "a.img");
    for features in [
        "",
        "^resize_inode",
        "^metadata_csum",
        "^sparse_super,^resize_inode",
        "sparse_super2,^resize_inode",
    ] {
        // So few descriptors fit that the reserve ends; with 32 MiB reserved for, meta_bg follows.
        let more = ["-b", "1024", "-g", "256", "-i", "16384"];
        let reserve = if features.is_empty() {
            &["-E", "resize=32768"][..]
        } else {
            &[]
        };
        mke2fs(
            &image,
            6,
            features,
            Some(&source),
            &[&more[..], reserve].concat(),
        );
        let model = Model::of(&edit(&image));
        for (step, kib) in [9000, 20_000, 40_001, 80_000, 200_000]
            .into_iter()
            .enumerate()
        {
            set_len(&image, kib * 1024);
            let mut fs = edit(&image);
            fs.create_dir(&path(&format!("/step{step}")), &attributes(0o755, 1))
                .unwrap();
            fs.grow(kib * 1024).unwrap();
            assert_clean(&image);
            let free = fs.capacity().unwrap().free_bytes / 2;
            let at = path(&format!("/step{step}/half"));
            fs.write_file(
                &at,
                &attributes(0o600, 1),
                free,
                &mut std::io::repeat(5).take(free),
            )
            .unwrap();
            fs.commit().unwrap();
            assert_clean(&image);
            fs.remove(&at).unwrap();
            fs.remove(&path(&format!("/step{step}"))).unwrap();
            fs.commit().unwrap();
            assert_clean(&image);
            model.compare(&fs);
            model.compare(&Ext4::open_read_only(ImageFile::open(&image)).unwrap());
        }
    }
}

/// A random geometry: features for `mke2fs -O` and further options.
fn random_geometry(random: &mut Numbers) -> (String, Vec<String>) {
    let mut pick = |words: &[&'static str]| words[random.below(words.len())];
    let kind = pick(&["ext2", "ext3", "ext4"]);
    let mut features: Vec<&str> = [
        ["", "", "^sparse_super", "sparse_super2", "none"],
        ["", "^resize_inode", "^resize_inode", "", ""],
        ["", "", "meta_bg,^resize_inode", "", ""],
        [
            "",
            "^64bit",
            "^flex_bg",
            "^metadata_csum",
            "^metadata_csum,uninit_bg",
        ],
        [
            "",
            "",
            "^extent,^64bit",
            "metadata_csum_seed",
            "^has_journal",
        ],
    ]
    .iter()
    .map(|words| pick(words))
    .filter(|word| !word.is_empty())
    .collect();
    if features.contains(&"none") {
        features = vec!["none"];
    }
    // Reserved descriptors need sparse_super, or its second form.
    if features.contains(&"^sparse_super") {
        features.push("^resize_inode");
    }
    let block = pick(&["1024", "1024", "2048", "4096"]);
    let group = pick(&["256", "512", "1024", "2048"]);
    let ratio = pick(&["4096", "16384", "65536"]);
    let inode = if features == ["none"] || kind != "ext4" {
        "128"
    } else {
        pick(&["128", "256"])
    };
    let mut more = [
        "-t", kind, "-b", block, "-g", group, "-i", ratio, "-I", inode,
    ]
    .map(str::to_owned)
    .to_vec();
    if pick(&["", "", "resize=65536"]) == "resize=65536" && block == "1024" {
        more.extend(["-E".to_owned(), "resize=65536".to_owned()]);
    }
    (features.join(","), more)
}

/// The features that dumpe2fs names.
fn features_of(image: &Path) -> String {
    let text = geometry(image);
    text.lines()
        .find(|line| line.starts_with("Filesystem features:"))
        .unwrap()
        .to_owned()
}

/// Whether `resize2fs` brings the filesystem to a size, and leaves it clean.
fn resized(image: &Path, kib: u64) -> bool {
    if kib * 1024 > image.metadata().unwrap().len() {
        set_len(image, kib * 1024);
    }
    let output = judge("resize2fs")
        .unwrap()
        .arg("-f")
        .arg(image)
        .arg(format!("{kib}K"))
        .output()
        .unwrap();
    output.status.success() && e2fsck(image).is_ok()
}

/// Random geometries, grown by random amounts: clean, and other programs grow and shrink them further.
#[test]
fn any_geometry_grows() {
    if !have_judges() || judge("resize2fs").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    let other = file_in(&folder, "b.img");
    let mut random = Numbers::new(2026);
    let mut made = 0;
    let mut grown = 0;
    let mut judged = 0;
    for round in 0..longer(120) {
        let (features, more) = random_geometry(&mut random);
        let before = 1 + random.below(24);
        let what = format!(
            "round {round}: mke2fs -O '{features}' {} {before}M",
            more.join(" ")
        );
        let _ = std::fs::remove_file(&image);
        std::fs::File::create(&image)
            .unwrap()
            .set_len((before as u64) << 20)
            .unwrap();
        let mut command = judge("mke2fs").unwrap();
        command.args(["-q", "-F"]).args(&more);
        if !features.is_empty() {
            command.args(["-O", &features]);
        }
        // Not all options go together.
        if !command.arg(&image).output().unwrap().status.success() || e2fsck(&image).is_err() {
            continue;
        }
        made += 1;
        copy_file(&image, &other);
        let kib = (before as u64) * 1024 + 1 + random.below(100 * 1024) as u64;
        set_len(&image, kib * 1024);
        let Ok(mut fs) = Ext4::open(ImageFile::open(&image)) else {
            continue;
        };
        let capacity = fs.capacity().unwrap().total_bytes;
        if let Err(error) = fs.grow(kib * 1024) {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{what}: {error}");
            continue;
        }
        assert!(fs.capacity().unwrap().total_bytes >= capacity);
        drop(fs);
        if let Err(error) = e2fsck(&image) {
            panic!("{what}, to {kib} KiB: {error}");
        }
        grown += 1;
        // The same steps by resize2fs alone: what it spoils itself is no word on ours. Where it makes room for more
        // descriptors by moving what is in their way, ours go on in meta groups: these two cannot be compared.
        if !resized(&other, kib) || features_of(&image) != features_of(&other) {
            continue;
        }
        for kib in [kib + 1 + random.below(40 * 1024) as u64, kib * 3 / 4] {
            if !resized(&other, kib) {
                break;
            }
            assert!(
                resized(&image, kib),
                "{what}, grown and then by resize2fs to {kib} KiB"
            );
            judged += 1;
        }
    }
    eprintln!("{made} made, {grown} grown, {judged} steps of resize2fs");
    assert!(
        made * 2 > longer(120) && grown * 4 > made * 3 && judged > made,
        "{made} made, {grown}, {judged}"
    );
}

#[test]
fn what_cannot_be_grown() {
    if !have_judges() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = file_in(&folder, "a.img");
    mke2fs(&image, 16, "", None, &[]);
    let before = std::fs::read(&image).unwrap();
    let mut fs = edit(&image);
    for bytes in [0, (16 << 20) - 4096, (16 << 20) + 4096, u64::MAX] {
        assert_eq!(
            fs.grow(bytes).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{bytes}"
        );
    }
    fs.grow(16 << 20).unwrap();
    assert!(std::fs::read(&image).unwrap() == before);
}

use std::io::Read;
