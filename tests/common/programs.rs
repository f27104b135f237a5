//! Finding and running the programs that nobody here wrote.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Debian packages of the programs that tests call; a program that is not listed is in a package of its own name.
const PACKAGES: &[(&str, &[&str])] = &[
    ("e2fsprogs", &["e2fsck", "debugfs", "mke2fs", "tune2fs", "resize2fs"]),
    ("btrfs-progs", &["btrfs", "mkfs.btrfs"]),
    ("dosfstools", &["fsck.vfat", "mkfs.vfat"]),
    ("mtools", &["mcopy", "mdir", "mmd", "mtype"]),
    ("gdisk", &["sgdisk"]),
    ("fdisk", &["fdisk", "sfdisk"]),
    ("qemu-utils", &["qemu-img"]),
    ("squashfs-tools", &["mksquashfs", "sqfstar", "unsquashfs"]),
    ("erofs-utils", &["mkfs.erofs", "fsck.erofs"]),
    ("grub-common", &["grub-fstest"]),
    ("genisoimage", &["isoinfo"]),
    ("xz-utils", &["xz"]),
    ("attr", &["setfattr", "getfattr"]),
];

fn package_of(program: &str) -> &str {
    PACKAGES.iter().find(|(_, programs)| programs.contains(&program)).map_or(program, |(package, _)| package)
}

/// Where `program` is: in `PATH`, or where Debian keeps what ordinary users do not have in theirs.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let administration = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(administration).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// What a missing program leads to: the line for stderr, or a panic where judges are required.
pub fn missing(program: &str, required: bool) {
    let line = format!("skipped: {program} is not installed (Debian package {})", package_of(program));
    assert!(!required, "{line}, and FLATBAKE_REQUIRE_ORACLES=1 is set");
    eprintln!("{line}");
}

/// The path of the judge (or tool) `program`. When it is missing: `None` and one line on stderr, or a panic when
/// `FLATBAKE_REQUIRE_ORACLES=1`.
pub fn judge(program: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        missing(program, env::var_os("FLATBAKE_REQUIRE_ORACLES").is_some_and(|value| value == "1"));
    }
    found
}

/// Whether all of `programs` are there; reports each one that is not.
pub fn judges(programs: &[&str]) -> bool {
    programs.iter().filter(|program| judge(program).is_none()).count() == 0
}

/// A command for `program` with an environment that does not depend on the caller: C locale in UTF-8, UTC, no stdin,
/// mtools without its limits on geometry, and one clock for the programs that allow it.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1");
    command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).env("E2FSPROGS_FAKE_TIME", EPOCH.to_string());
    command.stdin(Stdio::null());
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
pub fn ask<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Option<Output> {
    Some(feed(command(&judge(program)?).args(arguments), input))
}

/// Runs a command over `input`.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
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
    command.args(["--exact", name, "--ignored"]).env(variable, value);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until `done`; after half a minute it panics with what did not happen.
pub fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program that must succeed if it is installed, or panics with what it said.
pub fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Option<Output> {
    Some(success(command(&judge(program)?).args(arguments)))
}

/// Runs a tool that must be there and succeed, or panics with what it said.
pub fn must_run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    run(program, arguments).unwrap_or_else(|| panic!("{program} is gone"))
}

/// Runs a command that must succeed, or panics with what it said.
pub fn success(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said(&output));
    output
}
