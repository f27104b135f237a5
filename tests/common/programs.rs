//! Finding and running the programs that nobody here wrote.

use super::{scratch_root, usual_umask};
use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Debian packages of the programs that tests call; a program that is not listed is in a package of its own name.
const PACKAGES: &[(&str, &[&str])] = &[
    (
        "e2fsprogs",
        &["e2fsck", "debugfs", "mke2fs", "tune2fs", "resize2fs"],
    ),
    ("btrfs-progs", &["btrfs", "mkfs.btrfs"]),
    ("dosfstools", &["fsck.vfat", "mkfs.vfat"]),
    ("mtools", &["mcopy", "mdir", "mmd", "mtype"]),
    ("gdisk", &["sgdisk"]),
    ("fdisk", &["fdisk", "sfdisk"]),
    ("qemu-utils", &["qemu-img"]),
    ("squashfs-tools", &["mksquashfs", "sqfstar", "unsquashfs"]),
    ("erofs-utils", &["mkfs.erofs", "fsck.erofs"]),
    ("grub-common", &["grub-fstest", "grub-script-check"]),
    ("genisoimage", &["isoinfo"]),
    ("xz-utils", &["xz"]),
    ("python3-jsonschema", &["jsonschema"]),
    ("attr", &["setfattr", "getfattr"]),
    ("libxml2-utils", &["xmllint"]),
    ("coreutils", &["sha256sum", "sha512sum"]),
    ("gnupg", &["gpg"]),
    ("ignition", &["ignition-validate"]),
    ("cryptsetup-bin", &["veritysetup"]),
    ("binutils", &["readelf"]),
    ("util-linux", &["setpriv", "unshare"]),
    ("bubblewrap", &["bwrap"]),
    ("libc-bin", &["ldd"]),
];

fn package_of(program: &str) -> &str {
    PACKAGES
        .iter()
        .find(|(_, programs)| programs.contains(&program))
        .map_or(program, |(package, _)| package)
}

/// Where programs are: in `PATH`, and where Debian keeps what ordinary users do not have in theirs.
fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administration).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    search_path()
        .into_iter()
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// What a missing program leads to: the line for stderr, or a panic where judges are required.
pub fn missing(program: &str, required: bool) {
    let line = format!(
        "skipped: {program} is not installed (Debian package {})",
        package_of(program)
    );
    assert!(!required, "{line}, and FLATBAKE_REQUIRE_ORACLES=1 is set");
    eprintln!("{line}");
}

/// The path of the judge (or tool) `program`. When it is missing: `None` and one line on stderr, or a panic when
/// `FLATBAKE_REQUIRE_ORACLES=1`.
pub fn judge(program: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        missing(
            program,
            env::var_os("FLATBAKE_REQUIRE_ORACLES").is_some_and(|value| value == "1"),
        );
    }
    found
}

/// Whether all of `programs` are there; reports each one that is not.
pub fn judges(programs: &[&str]) -> bool {
    programs
        .iter()
        .filter(|program| judge(program).is_none())
        .count()
        == 0
}

/// What programs see of the environment of the tests, besides [`search_path`]: where coverage goes, and what a program
/// needs that pretends another time.
const INHERITED: [&str; 4] = [
    "LLVM_PROFILE_FILE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "NO_FAKE_STAT",
];
const INHERITED_PREFIX: &[u8] = b"FAKETIME";

fn inherited(name: &OsStr) -> bool {
    INHERITED.iter().any(|known| *known == name)
        || name.as_encoded_bytes().starts_with(INHERITED_PREFIX)
}

/// A command whose environment does not depend on the caller's: no home, no settings of the user, the locale C in UTF-8
/// (which is part of the C library), UTC, the usual umask, no stdin.
fn bare(program: impl AsRef<OsStr>) -> Command {
    usual_umask();
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(env::vars_os().filter(|(name, _)| inherited(name)));
    command.env("PATH", env::join_paths(search_path()).unwrap());
    command
        .env("HOME", scratch_root().join("no-home"))
        .env("TMPDIR", scratch_root());
    // No config of the machine counts.
    command
        .env("FLATBAKE_CONFIG", "")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    command
}

/// A command for `program`, a judge or a maker of images, in an environment that is the same on every machine: mtools
/// without its limits on geometry, one clock for the programs that allow it, and no settings of the machine.
pub fn command(program: &Path) -> Command {
    let mut command = bare(program);
    let e2fsprogs = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/common")
            .join(name)
    };
    command
        .env("MKE2FS_CONFIG", e2fsprogs("mke2fs.conf"))
        .env("E2FSCK_CONFIG", e2fsprogs("e2fsck.conf"));
    command
        .env("MTOOLS_SKIP_CHECK", "1")
        .env("MTOOLSRC", "/dev/null");
    command
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .env("E2FSPROGS_FAKE_TIME", EPOCH.to_string());
    command
}

/// A command for the program under test, in an environment that is the same on every machine: decompressed images are
/// cached below the folder of the build.
pub fn flatbake() -> Command {
    let mut command = bare(env!("CARGO_BIN_EXE_flatbake"));
    command.env("XDG_CACHE_HOME", scratch_root().join("cache"));
    command
}

/// The sample without its compression, which takes a while to undo; made once and kept.
pub fn raw_sample() -> PathBuf {
    let path = scratch_root().join("flatcar_sample.img");
    if path.exists() {
        return path;
    }
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/sample/flatcar_sample.bin.bz2");
    let made = super::scratch_dir();
    let whole = made.path().join("flatcar_sample.img");
    success(flatbake().arg("convert").arg(sample).arg(&whole));
    // Another run may have been faster.
    std::fs::rename(whole, &path).unwrap();
    path
}

/// A shell that finds the program under test as `flatbake`, in the environment of [`flatbake`].
pub fn shell() -> Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_flatbake"))
        .parent()
        .unwrap()
        .to_owned();
    let path = std::iter::once(folder).chain(search_path());
    let mut command = bare("sh");
    command
        .env("PATH", env::join_paths(path).unwrap())
        .env("XDG_CACHE_HOME", scratch_root().join("cache"));
    command
}

/// The time that made images carry, in seconds since 1970: 2024-01-01 00:00:00 UTC.
pub const EPOCH: i64 = 1_704_067_200;

/// Everything a program printed, stdout first.
pub fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}

/// Runs `program` over `input`; `None` when it is not installed.
pub fn ask<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Option<Output> {
    Some(feed(command(&judge(program)?).args(arguments), input))
}

/// Runs a command over `input`.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // Input and output at once: neither pipe may fill up. A program may also end without reading its input.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    })
}

/// Runs the ignored test `name` of this test program in a process of its own, to be killed.
pub fn spawn_test(name: &str, variable: &str, value: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", name, "--ignored"])
        .env(variable, value);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until `done`; after half a minute it panics with what did not happen.
pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waited in vain: {what}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that must succeed if it is installed, or panics with what it said.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Option<Output> {
    Some(success(command(&judge(program)?).args(arguments)))
}

/// Runs a tool that must be there and succeed, or panics with what it said.
pub fn must_run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    run(program, arguments).unwrap_or_else(|| panic!("{program} is gone"))
}

/// Runs a command that must succeed, or panics with what it said.
pub fn success(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        said(&output)
    );
    output
}
