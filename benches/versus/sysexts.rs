//! Extensions packed from folders, beside `mksquashfs`, and beside `mkfs.erofs` with `veritysetup`.

use std::fs;
use std::path::Path;

use super::measure::shell;
use super::rows::{Bars, Row};

/// Megabytes of programs and libraries, and how many small files there are at most.
const PROGRAMS_MB: u32 = 400;
const SMALL_FILES: u32 = 50_000;
/// What flatbake may take of memory, in MiB: 256 in all, with two threads.
const MEMORY_PER_THREAD: f64 = 96.0;

const SQUASHFS: Bars = Bars {
    cpu: Some(0.8),
    wall: Some(0.8),
    size: Some(1.01),
    peak_per_thread: Some(MEMORY_PER_THREAD),
};
const EROFS: Bars = Bars {
    cpu: Some(1.0),
    wall: Some(1.0),
    size: Some(1.01),
    peak_per_thread: Some(MEMORY_PER_THREAD),
};

/// Makes the folders that are packed, of what this machine has.
pub fn prepare(dir: &Path) {
    for (name, find) in [
        (
            "programs",
            format!(
                "find /usr/bin /usr/lib /usr/libexec -xdev -type f -size +16k -print0 2>/dev/null | sort -z | \
                 tar -c --null -T - 2>/dev/null | head -c {PROGRAMS_MB}M"
            ),
        ),
        (
            "small",
            format!(
                "find /usr/share /usr/include /usr/lib -xdev -type f -size -16k -print0 2>/dev/null | sort -z | \
                 head -z -n {SMALL_FILES} | tar -c --null -T - 2>/dev/null"
            ),
        ),
    ] {
        let tree = dir.join(name);
        fs::create_dir(&tree).unwrap();
        // Cut off by size: head closes the pipe, and tar's complaint about it is not a failure here.
        shell(&format!(
            "({find} | tar -x -C {0} --no-same-owner 2>/dev/null) || true; chmod -R u+rwX {0}",
            tree.display()
        ));
    }
}

/// Folders and how they are packed.
pub fn rows(dir: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, tree, level) in [
        ("sysext: programs, zstd 15", "programs", "zstd 15"),
        ("sysext: programs, gzip 9", "programs", "gzip 9"),
        ("sysext: small files, zstd 15", "small", "zstd 15"),
        ("sysext: small files, gzip 9", "small", "gzip 9"),
    ] {
        let (compressor, level) = level.split_once(' ').unwrap();
        let tree = dir.join(tree).display().to_string();
        let usual = dir.join("usual.squashfs");
        let ours = dir.join("our.squashfs");
        rows.push(Row {
            name,
            tools: &["mksquashfs"],
            prepare: format!("rm -f {} {}", usual.display(), ours.display()),
            usual: (
                format!(
                    "mksquashfs {tree} {} -comp {compressor} -Xcompression-level {level} -b 131072 -all-root \
                     -noappend -no-progress -quiet",
                    usual.display()
                ),
                usual,
            ),
            flatbake: (
                build(&tree, &ours, &format!("--comp {compressor} --comp-level {level}")),
                ours,
            ),
            bars: SQUASHFS,
        });
    }
    let tree = dir.join("programs").display().to_string();
    let usual = dir.join("usual.erofs");
    let hashes = dir.join("usual.verity");
    let ours = dir.join("our.ddi");
    rows.push(Row {
        name: "sysext: programs, EROFS and verity",
        tools: &["mkfs.erofs", "veritysetup"],
        prepare: format!(
            "rm -f {} {} {}",
            usual.display(),
            hashes.display(),
            ours.display()
        ),
        usual: (
            format!(
                "mkfs.erofs --quiet -zlz4 -C65536 -T0 --all-root {0} {tree} >/dev/null 2>&1; \
                 veritysetup format {0} {1} >/dev/null; cat {1} >> {0}",
                usual.display(),
                hashes.display()
            ),
            usual,
        ),
        flatbake: (build(&tree, &ours, "--format ddi"), ours),
        bars: EROFS,
    });
    rows
}

fn build(tree: &str, out: &Path, options: &str) -> String {
    let flatbake = env!("CARGO_BIN_EXE_flatbake");
    format!(
        "{flatbake} sysext build {tree} --name bench --force --quiet --overwrite {options} -o {}",
        out.display()
    )
}
