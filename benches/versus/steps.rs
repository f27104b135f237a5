//! Steps of flatbake alone, without the writing of an output, beside the kernel and debugfs.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use flatbake::NoProgress;
use flatbake::archive::{TarOptions, inject};
use flatbake::block::{BlockDevice, FileDevice, Overlay, OverlayOptions};
use flatbake::fs::{self as image_fs, Attributes, EditOptions, FileSystemMut, FsPath};

use super::disk::ROOT_MIB;
use super::measure::shell;
use super::rows::{Bars, Row};

/// One step: this program runs itself for each of them.
///
/// ```text
/// versus STEP IMAGE SOURCE          step-insert-file, step-insert-tar, step-rebuild-oem
/// versus step-walk-THREADS IMAGE -  reads a whole tree
/// versus step-zlib - FOLDER         compresses all files below FOLDER, as a measure for step-rebuild-oem
/// ```
pub fn step(name: &str, image: &Path, source: &Path) {
    if name == "step-zlib" {
        return compress(source);
    }
    if let Some(threads) = name.strip_prefix("step-walk-") {
        return super::walks::walk(image, threads.parse().unwrap());
    }
    let temp = source.parent().unwrap();
    let base: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(image).unwrap());
    let overlay = Arc::new(Overlay::new(Arc::clone(&base), OverlayOptions::new(temp)).unwrap());
    let mut fs = image_fs::edit(
        base,
        Arc::clone(&overlay) as Arc<_>,
        &EditOptions::new(temp),
    )
    .unwrap();
    match name {
        "step-insert-file" => put(&mut *fs, source, &FsPath::new("/sysext.raw").unwrap()),
        "step-insert-tar" => {
            inject(
                &mut *fs,
                File::open(source).unwrap(),
                &FsPath::root(),
                &TarOptions::default(),
                &NoProgress,
            )
            .unwrap();
        }
        "step-rebuild-oem" => {
            // Flatcar's build sets this on the top folder; new files inherit it.
            fs.set_xattr(&FsPath::root(), b"btrfs.compression", b"zlib")
                .unwrap();
            for entry in fs::read_dir(source).unwrap() {
                let path = entry.unwrap().path();
                put(
                    &mut *fs,
                    &path,
                    &FsPath::root()
                        .join(path.file_name().unwrap().as_encoded_bytes())
                        .unwrap(),
                );
            }
        }
        other => panic!("{other} is no step"),
    }
    fs.commit().unwrap();
    let changed: u64 = overlay.changed_ranges().iter().map(|(_, len)| len).sum();
    println!("    {name}: {} MiB changed", changed >> 20);
}

fn put(fs: &mut dyn FileSystemMut, source: &Path, path: &FsPath) {
    let attributes = Attributes {
        mode: 0o644,
        ..Attributes::default()
    };
    let size = source.metadata().unwrap().len();
    fs.write_file(path, &attributes, size, &mut File::open(source).unwrap())
        .unwrap();
}

/// Compresses every 128 KiB of every file by itself, with the level that btrfs extents get.
fn compress(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        for chunk in fs::read(entry.unwrap().path()).unwrap().chunks(128 << 10) {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(chunk).unwrap();
            std::hint::black_box(encoder.finish().unwrap());
        }
    }
}

/// Makes what the rows of edits need: filesystems, archives and files.
pub fn prepare(dir: &Path) {
    shell(&format!(
        "cd {}; truncate -s {ROOT_MIB}M root.raw; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -L ROOT root.raw; \
         truncate -s 1G oem.raw; mkfs.btrfs -q --mixed -m single -d single --label OEM oem.raw; mkdir mnt many files",
        dir.display()
    ));
    fs::create_dir(dir.join("flat")).unwrap();
    for number in 0..100_000 {
        let folder = dir.join(format!("many/layer{}/diff/{}", number % 40, number % 1000));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file{number}")),
            vec![b'x'; number % 3000],
        )
        .unwrap();
        fs::write(dir.join(format!("flat/file{number}")), b"x").unwrap();
    }
    // Keystream: a large file without a byte of redundancy, the same in every run.
    shell(&format!(
        "cd {}; tar -C many -cf many.tar .; tar -C flat -cf flat.tar .; rm -r many flat; \
         truncate -s 6320M large.raw; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -L ROOT large.raw; \
         openssl enc -aes-128-ctr -pass pass:flatbake -nosalt -in /dev/zero 2>/dev/null | head -c 2560M > big; \
         tar -cf big.tar big; rm big",
        dir.display()
    ));
    shell(&format!(
        "cd {}/files; find /usr/lib /usr/bin -xdev -type f -size +20k -size -4000k -print0 2>/dev/null | sort -z | \
         tar -c --null -T - 2>/dev/null | head -c 300M | split -b 3M - part",
        dir.display()
    ));
}

/// Edits alone: one file and an archive of 100,000 files into ROOT, 300 MB of files into OEM.
pub fn rows(dir: &Path) -> Vec<Row> {
    let at = |name: &str| dir.join(name).display().to_string();
    let ours = |step: &str, image: &str, source: &str| {
        let program = std::env::current_exe().unwrap();
        (
            format!("{} {step} {} {}", program.display(), at(image), at(source)),
            dir.join(source),
        )
    };
    let copy = |image: &str| format!("cp --sparse=always {} {}", at(image), at("copy.raw"));
    let mut edits = vec![
        Row {
            name: "edit: 60 MB file into ROOT",
            tools: &["debugfs"],
            bars: Bars::default(),
            prepare: copy("root.raw"),
            usual: (
                format!(
                    "debugfs -w -R 'write {} x' {} 2>/dev/null >&2",
                    at("sysext.raw"),
                    at("copy.raw")
                ),
                dir.join("sysext.raw"),
            ),
            flatbake: ours("step-insert-file", "root.raw", "sysext.raw"),
        },
        Row {
            name: "edit: 300 MB into OEM (zlib alone)",
            tools: &["mkfs.btrfs"],
            bars: Bars::default(),
            prepare: String::new(),
            usual: ours("step-zlib", "-", "files"),
            flatbake: ours("step-rebuild-oem", "oem.raw", "files"),
        },
    ];
    if !rustix::process::geteuid().is_root() {
        return edits; // the kernel's loop mount is root's alone
    }
    for (name, tar, root) in [
        ("edit: 100,000 files (kernel)", "many.tar", "root.raw"),
        ("edit: 100,000 in a folder (kernel)", "flat.tar", "root.raw"),
        ("edit: one 2.5 GiB file (kernel)", "big.tar", "large.raw"),
    ] {
        let copied = at("copy.raw");
        let mnt = at("mnt");
        let kernel = format!(
            "mount -o loop {copied} {mnt}; tar -C {mnt} -xf {}; sync -f {mnt}; umount {mnt}",
            at(tar)
        );
        edits.push(Row {
            name,
            tools: &["openssl"],
            bars: Bars::default(),
            prepare: copy(root),
            usual: (kernel, dir.join(tar)),
            flatbake: ours("step-insert-tar", root, tar),
        });
    }
    edits
}
