//! Conversions that end before their time: by a signal at any moment, or for want of room. What lay in the folder stays
//! as it was, and nothing new is there.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flatbake::bake::OutputFormat;
use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::common::programs::{command, flatbake, judge, said};
use crate::common::random::Random;
use crate::common::{longer, noise, scratch_dir};
use crate::matrix::outputs::{OUTPUTS, Wanted};

const OLD: &[u8] = b"an older output";

/// A folder that holds an older output, beside one with a disk that takes some time to be written.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(wanted: &Wanted) -> Self {
        let dir = scratch_dir();
        let mut disk = noise(9, 5 << 20);
        disk[1 << 20..3 << 20]
            .iter_mut()
            .enumerate()
            .for_each(|(n, byte)| *byte = b"flatbake "[n % 9]);
        fs::write(dir.path().join("disk.raw"), disk).unwrap();
        let folder = dir.path().join("to");
        fs::create_dir(&folder).unwrap();
        put_old(wanted, &folder);
        Self { dir }
    }

    fn convert(&self, wanted: &Wanted) -> Child {
        let mut command = flatbake();
        command.current_dir(self.dir.path()).args([
            "convert",
            "--quiet",
            "--overwrite",
            "disk.raw",
            "to/out",
        ]);
        command
            .args(wanted.arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn content(&self) -> Vec<(String, Vec<u8>)> {
        listing(&self.dir.path().join("to"))
    }
}

/// What there may be before: a folder is never replaced.
fn put_old(wanted: &Wanted, folder: &Path) {
    if wanted.format != OutputFormat::Hdd {
        wanted
            .files(folder)
            .iter()
            .for_each(|file| fs::write(file, OLD).unwrap());
    }
}

/// Names and bytes of everything in a folder; of folders in it, only names.
fn listing(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut listed: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                bytes,
            )
        })
        .collect();
    listed.sort();
    listed
}

/// All moments of a run, by lot: before the first byte is written, while they are, and when the output gets its name.
#[test]
fn signals_leave_what_was_there() {
    let mut random = Random::new(11);
    let signals = [Signal::KILL, Signal::INT, Signal::TERM];
    for (number, wanted) in OUTPUTS.iter().enumerate() {
        let place = Place::new(wanted);
        let before = place.content();
        let start = Instant::now();
        let output = place.convert(wanted).wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            wanted.name,
            said(&output)
        );
        let whole = start.elapsed().min(Duration::from_millis(500));
        let after = place.content();
        for round in 0..3 * longer(1) {
            fs::remove_dir_all(place.dir.path().join("to")).unwrap();
            fs::create_dir(place.dir.path().join("to")).unwrap();
            put_old(wanted, &place.dir.path().join("to"));
            let mut child = place.convert(wanted);
            sleep(Duration::from_micros(
                random.below_u64(u64::try_from(whole.as_micros()).unwrap()),
            ));
            let signal = signals[(number + usize::try_from(round).unwrap()) % signals.len()];
            // A child that has ended is still there to get it.
            kill_process(Pid::from_child(&child), signal).unwrap();
            let status = child.wait().unwrap();
            let what = format!("{} and {signal:?}: {status}", wanted.name);
            if status.success() {
                assert!(place.content() == after, "{what}");
                continue;
            }
            // What can be caught ends the run in good order, once the program has begun to.
            let is_caught = signal != Signal::KILL && status.code() == Some(130);
            assert!(
                is_caught || status.signal() == Some(signal.as_raw()),
                "{what}"
            );
            let left = place.content();
            if left != before {
                // In the instant in which it gets its name an output may be there already, and a hidden name, too.
                let rest: Vec<_> = left
                    .into_iter()
                    .filter(|(name, _)| !name.starts_with(".flatbake-"))
                    .collect();
                let known =
                    |file: &(String, Vec<u8>)| before.contains(file) || after.contains(file);
                assert!(
                    rest.iter().all(known),
                    "{what}: {:?}",
                    rest.iter().map(|(name, _)| name).collect::<Vec<_>>()
                );
                eprintln!("{what}: in the instant of the end");
            }
        }
        // Whatever a kill has left, the next run removes.
        if wanted.format == OutputFormat::Hdd {
            fs::remove_dir_all(place.dir.path().join("to/out")).ok();
        }
        assert!(place.convert(wanted).wait().unwrap().success());
        assert!(place.content() == after, "{}", wanted.name);
    }
}

/// A file may not become that large: the write fails, whatever the caller has made of the signal.
#[test]
fn a_limit_of_file_sizes_leaves_what_was_there() {
    for wanted in &OUTPUTS {
        let place = Place::new(wanted);
        let before = place.content();
        for script in [
            "trap '' XFSZ; ulimit -f 2000; exec \"$@\"",
            "ulimit -f 2000; exec \"$@\"",
        ] {
            let mut command = command(&judge("sh").unwrap());
            command.current_dir(place.dir.path()).args([
                "-c",
                script,
                "sh",
                env!("CARGO_BIN_EXE_flatbake"),
            ]);
            let output = command
                .args(["convert", "--overwrite", "disk.raw", "to/out"])
                .args(wanted.arguments)
                .output()
                .unwrap();
            // Told as any other lack of room.
            assert_eq!(output.status.code(), Some(4), "{}", wanted.name);
            assert!(said(&output).contains("to/out"), "{}", said(&output));
            assert!(
                place.content() == before,
                "{}: {}",
                wanted.name,
                said(&output)
            );
        }
    }
}

/// A filesystem without room, where one can be made: a small tmpfs in a mount namespace.
#[test]
fn a_full_filesystem_leaves_what_was_there() {
    let Some(unshare) = judge("unshare") else {
        return;
    };
    let flags = if getuid().is_root() { "-m" } else { "-rm" };
    let probe = command(&unshare)
        .args([
            flags, "mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", "/mnt",
        ])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no mount namespaces here");
        return;
    }
    const SCRIPT: &str = "set -e; mount -t tmpfs -o size=2m tmpfs to; [ $OLD = no ] || echo old > to/out; \
        code=0; \"$@\" || code=$?; echo code $code; ls -A to; [ $OLD = no ] || cat to/out";
    for wanted in &OUTPUTS {
        let place = Place::new(wanted);
        let old = if wanted.format == OutputFormat::Hdd {
            "no"
        } else {
            "yes"
        };
        let mut command = command(&unshare);
        command.current_dir(place.dir.path()).env("OLD", old);
        command.args([
            flags,
            "sh",
            "-c",
            SCRIPT,
            "sh",
            env!("CARGO_BIN_EXE_flatbake"),
            "convert",
            "--overwrite",
            "disk.raw",
            "to/out",
        ]);
        let output = command.args(wanted.arguments).output().unwrap();
        let left = if old == "no" {
            "code 4\n"
        } else {
            "code 4\nout\nold\n"
        };
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            left,
            "{}: {}",
            wanted.name,
            said(&output)
        );
        assert!(
            said(&output).contains("free space"),
            "{}: {}",
            wanted.name,
            said(&output)
        );
    }
}
