//! flatbake beside what a user would otherwise run, on the same image, in one run.
//!
//! ```text
//! cargo bench --bench versus                      # 1 GiB of allocated data, 3 rounds
//! FLATBAKE_BENCH_MIB=2006 FLATBAKE_BENCH_ROUNDS=5 cargo bench --bench versus
//! ```
//!
//! The image has Flatcar's size of 8,064 MiB and ROOT holds real programs and documents of this machine. Both sides
//! alternate (A B A B …); the table gives medians of CPU seconds (user + system) and wall seconds, the ratio of
//! flatbake to the usual tool, the peak memory of the largest process, and the size of the output.
//! Needs lbzip2, qemu-img, debugfs, mke2fs, mkfs.btrfs, sgdisk, openssl and GNU time (`/usr/bin/time`).
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flatbake::NoProgress;
use flatbake::archive::{TarOptions, inject};
use flatbake::block::{BlockDevice, FileDevice, Overlay, OverlayOptions};
use flatbake::fs::{self as image_fs, Attributes, EditOptions, FileSystemMut, FsPath};

/// Size of Flatcar's base disk and where ROOT lies on it, in MiB.
const DISK_MIB: u64 = 8064;
const ROOT_START_MIB: u64 = 6212;
const ROOT_MIB: u64 = 1784;

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    cpu: f64,
    wall: f64,
    peak_kib: u64,
}

struct Comparison {
    name: &'static str,
    /// What is done before each run of the usual tool, and not measured.
    prepare: String,
    /// Commands, and the output whose size is told.
    usual: (String, PathBuf),
    flatbake: (String, PathBuf),
}

/// Steps of flatbake alone, without the writing of an output: this program runs itself for each of them.
///
/// ```text
/// versus STEP IMAGE SOURCE      insert-file, insert-tar, rebuild-oem
/// versus zlib - FOLDER          compresses all files below FOLDER, as a measure for rebuild-oem
/// ```
fn step(name: &str, image: &Path, source: &Path) {
    if name == "zlib" {
        return compress(source);
    }
    let temp = source.parent().unwrap();
    let base: Arc<dyn BlockDevice> = Arc::new(FileDevice::open(image).unwrap());
    let overlay = Arc::new(Overlay::new(Arc::clone(&base), OverlayOptions::new(temp)).unwrap());
    let mut fs = image_fs::edit(base, Arc::clone(&overlay) as Arc<_>, &EditOptions::new(temp)).unwrap();
    match name {
        "insert-file" => put(&mut *fs, source, &FsPath::new("/sysext.raw").unwrap()),
        "insert-tar" => {
            inject(&mut *fs, File::open(source).unwrap(), &FsPath::root(), &TarOptions::default(), &NoProgress)
                .unwrap();
        }
        "rebuild-oem" => {
            // Flatcar's build sets this on the top folder; new files inherit it.
            fs.set_xattr(&FsPath::root(), b"btrfs.compression", b"zlib").unwrap();
            for entry in fs::read_dir(source).unwrap() {
                let path = entry.unwrap().path();
                put(&mut *fs, &path, &FsPath::root().join(path.file_name().unwrap().as_encoded_bytes()).unwrap());
            }
        }
        other => panic!("{other} is no step"),
    }
    fs.commit().unwrap();
    let changed: u64 = overlay.changed_ranges().iter().map(|(_, len)| len).sum();
    println!("    {name}: {} MiB changed", changed >> 20);
}

fn put(fs: &mut dyn FileSystemMut, source: &Path, path: &FsPath) {
    let attributes = Attributes { mode: 0o644, ..Attributes::default() };
    let size = source.metadata().unwrap().len();
    fs.write_file(path, &attributes, size, &mut File::open(source).unwrap()).unwrap();
}

/// Compresses every 128 KiB of every file by itself, with the level that btrfs extents get.
fn compress(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        for chunk in fs::read(entry.unwrap().path()).unwrap().chunks(128 << 10) {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
            encoder.write_all(chunk).unwrap();
            std::hint::black_box(encoder.finish().unwrap());
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, name, image, source] = arguments.as_slice()
        && !name.starts_with('-')
    {
        return step(name, Path::new(image), Path::new(source));
    }
    // `cargo test --benches` and the like only ask whether this builds and starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let missing: Vec<_> =
        ["lbzip2", "qemu-img", "debugfs", "mke2fs", "mkfs.btrfs", "sgdisk", "openssl", "/usr/bin/time"]
            .into_iter()
            .filter(|tool| !shell_ok(&format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool} >/dev/null")))
            .collect();
    if !missing.is_empty() {
        println!("skipped: {} not installed", missing.join(", "));
        return;
    }
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (mib, rounds) = (number("FLATBAKE_BENCH_MIB", 1024), number("FLATBAKE_BENCH_ROUNDS", 3));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let image = make_image(dir.path(), mib);
    let allocated = shell(&format!("du -m {} | cut -f1", image.display()));
    println!("disk of {DISK_MIB} MiB, {} MiB allocated, {rounds} rounds, medians", allocated.trim());
    println!(
        "{:<38} {:>8} {:>8} {:>6} {:>8} {:>8} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "step",
        "cpu s",
        "flatbake",
        "ratio",
        "wall s",
        "flatbake",
        "ratio",
        "peak MiB",
        "flatbake",
        "out MB",
        "flatbake"
    );
    for comparison in comparisons(dir.path(), &image).into_iter().chain(edits(dir.path())) {
        compare(&comparison, rounds, dir.path());
    }
}

/// Edits alone: one file and an archive of 100,000 files into ROOT, 300 MB of files into OEM.
fn edits(dir: &Path) -> Vec<Comparison> {
    let at = |name: &str| dir.join(name).display().to_string();
    let ours = |step: &str, image: &str, source: &str| {
        let program = std::env::current_exe().unwrap();
        (format!("{} {step} {} {}", program.display(), at(image), at(source)), dir.join(source))
    };
    shell(&format!(
        "cd {}; truncate -s {ROOT_MIB}M root.raw; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -L ROOT root.raw; \
         truncate -s 1G oem.raw; mkfs.btrfs -q --mixed -m single -d single --label OEM oem.raw; mkdir mnt many files",
        dir.display()
    ));
    fs::create_dir(dir.join("flat")).unwrap();
    for number in 0..100_000 {
        let folder = dir.join(format!("many/layer{}/diff/{}", number % 40, number % 1000));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file{number}")), vec![b'x'; number % 3000]).unwrap();
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
    let copy = |image: &str| format!("cp --sparse=always {} {}", at(image), at("copy.raw"));
    let mut edits = vec![
        Comparison {
            name: "edit: 60 MB file into ROOT",
            prepare: copy("root.raw"),
            usual: (
                format!("debugfs -w -R 'write {} x' {} 2>/dev/null >&2", at("sysext.raw"), at("copy.raw")),
                dir.join("sysext.raw"),
            ),
            flatbake: ours("insert-file", "root.raw", "sysext.raw"),
        },
        Comparison {
            name: "edit: 300 MB into OEM (zlib alone)",
            prepare: String::new(),
            usual: ours("zlib", "-", "files"),
            flatbake: ours("rebuild-oem", "oem.raw", "files"),
        },
    ];
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the kernel's loop mount needs root");
        return edits;
    }
    for (name, tar, root) in [
        ("edit: 100,000 files into ROOT (kernel)", "many.tar", "root.raw"),
        ("edit: 100,000 in one folder (kernel)", "flat.tar", "root.raw"),
        ("edit: one 2.5 GiB file (kernel)", "big.tar", "large.raw"),
    ] {
        let (copied, mnt) = (at("copy.raw"), at("mnt"));
        let kernel = format!("mount -o loop {copied} {mnt}; tar -C {mnt} -xf {}; sync -f {mnt}; umount {mnt}", at(tar));
        edits.push(Comparison {
            name,
            prepare: copy(root),
            usual: (kernel, dir.join(tar)),
            flatbake: ours("insert-tar", root, tar),
        });
    }
    edits
}

fn comparisons(dir: &Path, image: &Path) -> Vec<Comparison> {
    let flatbake = env!("CARGO_BIN_EXE_flatbake");
    let at = |name: &str| dir.join(name);
    let (raw, bz2, sysext) = (image.display(), at("disk.raw.bz2"), at("sysext.raw"));
    let (bz2, sysext_shown) = (bz2.display(), sysext.display());
    let (scratch, usual_qcow2, our_qcow2) = (at("scratch.raw"), at("usual.qcow2"), at("our.qcow2"));
    let (scratch, usual, ours) = (scratch.display(), usual_qcow2.display(), our_qcow2.display());
    // The usual route without root: decompress, cut ROOT out, write into it, put it back, convert.
    let root = format!("{scratch}.root");
    let cut = format!("dd if={scratch} of={root} bs=1M skip={ROOT_START_MIB} count={ROOT_MIB} conv=sparse status=none");
    let write = format!("debugfs -w -R 'write {sysext_shown} sysext.raw' {root} 2>/dev/null >&2");
    let back = format!("dd if={root} of={scratch} bs=1M seek={ROOT_START_MIB} conv=notrunc,sparse status=none");
    let decompress =
        format!("lbzip2 -d -n2 -k -c {bz2} | dd of={scratch} bs=1M conv=sparse iflag=fullblock status=none");
    let convert = |input: String| format!("qemu-img convert -f raw -c -m 16 -W -O qcow2 {input} {usual}");
    let bake = format!("{flatbake} bake --quiet --format qcow2 --output {ours}");
    vec![
        Comparison {
            name: "bz2 + 60 MB sysext -> qcow2",
            prepare: String::new(),
            usual: (
                format!("{decompress}; {cut}; {write}; {back}; {}", convert(scratch.to_string())),
                usual_qcow2.clone(),
            ),
            flatbake: (
                format!("{bake} --image {bz2} --no-cache --root-file {sysext_shown}:/sysext.raw"),
                our_qcow2.clone(),
            ),
        },
        Comparison {
            name: "raw -> qcow2",
            prepare: String::new(),
            usual: (convert(raw.to_string()), usual_qcow2),
            flatbake: (format!("{bake} --image {raw}"), our_qcow2),
        },
        Comparison {
            name: "bz2 -> raw",
            prepare: String::new(),
            usual: (decompress, at("scratch.raw")),
            flatbake: (
                format!(
                    "{flatbake} bake --quiet --format raw --image {bz2} --no-cache --output {}",
                    at("our.raw").display()
                ),
                at("our.raw"),
            ),
        },
    ]
}

fn compare(comparison: &Comparison, rounds: u64, dir: &Path) {
    let sides = [&comparison.usual, &comparison.flatbake];
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (side, (command, _)) in sides.iter().enumerate() {
            if side == 0 {
                shell(&comparison.prepare);
            }
            costs[side].push(measure(command, dir));
        }
    }
    let [usual, ours] = costs.map(|costs| Cost {
        cpu: median(costs.iter().map(|cost| cost.cpu)),
        wall: median(costs.iter().map(|cost| cost.wall)),
        peak_kib: costs.iter().map(|cost| cost.peak_kib).max().unwrap(),
    });
    let megabytes = |path: &Path| fs::metadata(path).unwrap().len() / 1_000_000;
    println!(
        "{:<38} {:>8.2} {:>8.2} {:>6.2} {:>8.2} {:>8.2} {:>6.2} {:>9} {:>9} {:>9} {:>9}",
        comparison.name,
        usual.cpu,
        ours.cpu,
        ours.cpu / usual.cpu,
        usual.wall,
        ours.wall,
        ours.wall / usual.wall,
        usual.peak_kib / 1024,
        ours.peak_kib / 1024,
        megabytes(&comparison.usual.1),
        megabytes(&comparison.flatbake.1)
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a shell command under GNU time.
fn measure(command: &str, dir: &Path) -> Cost {
    let report = dir.join("time");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let status = Command::new("/usr/bin/time")
        .args(["-f", "%U %S %e %M", "-o", report.to_str().unwrap(), "sh", "-ec", command])
        .env("PATH", path)
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
    let text = fs::read_to_string(report).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    Cost { cpu: numbers[0] + numbers[1], wall: numbers[2], peak_kib: numbers[3].to_string().parse().unwrap() }
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", &format!("PATH=$PATH:/usr/sbin:/sbin; {command}")]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn shell_ok(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().is_ok_and(|status| status.success())
}

/// A disk with Flatcar's partitions: `mib` of real files, half in ROOT as files, half as bare bytes in USR-A.
fn make_image(dir: &Path, mib: u64) -> PathBuf {
    let (disk, root, tree) = (dir.join("disk.raw"), dir.join("root.raw"), dir.join("tree"));
    File::create(&disk).unwrap().set_len(DISK_MIB << 20).unwrap();
    let shown = disk.display();
    shell(&format!(
        "sgdisk -a 4096 -n 1:4096:+1024M -t 1:ef00 -c 1:EFI-SYSTEM -n 2:0:+2M -t 2:ef02 -c 2:BIOS-BOOT \
         -n 3:0:+2048M -t 3:5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6 -c 3:USR-A -n 4:0:+2048M -c 4:USR-B \
         -t 4:5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6 -n 6:0:+1024M -t 6:8300 -c 6:OEM -n 7:0:+64M -c 7:OEM-CONFIG \
         -n 9:{}:+{ROOT_MIB}M -t 9:3884dd41-8582-4404-b9a8-e9b84f2df50e -c 9:ROOT {shown}",
        ROOT_START_MIB * 2048
    ));
    let half = mib / 2;
    let files = "find /usr/bin /usr/lib /usr/share -xdev -type f -size -20M -print0 2>/dev/null | sort -z";
    fs::create_dir(&tree).unwrap();
    // Cut off by size: head closes the pipe, and tar's complaint about it is not a failure here.
    shell(&format!(
        "({files} | tar -c --null -T - 2>/dev/null | head -c {half}M | tar -x -C {} --no-same-owner 2>/dev/null) || true",
        tree.display()
    ));
    shell(&format!(
        "truncate -s {ROOT_MIB}M {0}; mke2fs -q -t ext4 -b 4096 -i 4096 -I 256 -L ROOT -d {1} {0}; \
         dd if={0} of={shown} bs=1M seek={ROOT_START_MIB} conv=notrunc,sparse status=none; rm -r {0} {1}",
        root.display(),
        tree.display()
    ));
    shell(&format!(
        "({files} -r | tar -c --null -T - 2>/dev/null | head -c {half}M | \
         dd of={shown} bs=1M seek=1028 conv=notrunc iflag=fullblock status=none) || true"
    ));
    shell(&format!(
        "cd {}; lbzip2 -n2 -k -c disk.raw > disk.raw.bz2; \
         ({files} | tar -c --null -T - 2>/dev/null | head -c 60000000 > sysext.raw) || true",
        dir.display()
    ));
    disk
}
