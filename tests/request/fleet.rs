//! Many results: few threads, bounded memory, exact progress.

use std::fs;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use flatbake::bake::{
    Context, Edits, FileSpec, Hostname, Output, Request, Variant, VendorChoice, VendorTargets,
};
use flatbake::flatcar::Designator;
use flatbake::flatcar::vendor::Vendors;
use flatbake::fs::FsPath;
use flatbake::{Cancel, ErrorKind, Finding, Progress};

use super::raw_sample;
use crate::common::programs::flatbake;
use crate::common::scratch_dir;

/// Threads of the process, and the most memory it had, in bytes.
fn status(child: &Child) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let field = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
    };
    Some((
        field("Threads:")?,
        field("VmHWM:").map(|kib: u64| kib * 1024)?,
    ))
}

#[test]
fn three_hundred_variants_for_three_vendors_take_few_threads_and_little_memory() {
    let dir = scratch_dir();
    let variants: String = (0..300)
        .map(|number| format!("- {{name: n{number}, hostname: n{number}}}\n"))
        .collect();
    let manifest = format!(
        "image: {}\nno_oem: true\nvendors: [akamai, hyperv, xen]\noutput: out\nvariants:\n{variants}",
        raw_sample().display()
    );
    fs::write(dir.path().join("fleet.yaml"), manifest).unwrap();
    let mut command = flatbake();
    command.current_dir(dir.path()).args([
        "bake",
        "-q",
        "--allow-outside",
        "--threads",
        "2",
        "-f",
        "fleet.yaml",
    ]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut threads = 0;
    let mut memory = 0;
    while child.try_wait().unwrap().is_none() {
        if let Some((now, most)) = status(&child) {
            threads = threads.max(now);
            memory = memory.max(most);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Rayon's two, and eight others: the main thread, the one that waits for signals, and workers.
    assert!(threads <= 2 + 8, "{threads} threads");
    assert!(memory <= 256 << 20, "{} MiB", memory >> 20);
    let sums = fs::read_to_string(dir.path().join("out/SHA256SUMS")).unwrap();
    assert!(
        sums.lines().count() >= 900,
        "{} files",
        sums.lines().count()
    );
    eprintln!("{threads} threads, {} MiB", memory >> 20);
}

/// Adds up what is told of the last step.
#[derive(Default)]
struct Sums(Mutex<(u64, u64)>);

impl Progress for Sums {
    fn start(&self, _step: &str, total_bytes: u64) {
        *self.0.lock().unwrap() = (total_bytes, 0);
    }
    fn advance(&self, bytes: u64) {
        let mut sums = self.0.lock().unwrap();
        sums.1 += bytes;
        assert!(sums.0 == 0 || sums.1 <= sums.0, "{} of {}", sums.1, sums.0);
    }
    fn finish(&self) {
        let sums = self.0.lock().unwrap();
        assert!(
            sums.0 == 0 || sums.0 == sums.1,
            "a step ended at {} of {}",
            sums.1,
            sums.0
        );
    }
    fn found(&self, _finding: &Finding) {}
}

fn vendors(ids: &[&str]) -> VendorTargets {
    let choice = |id: &&str| {
        let vendor = Vendors::builtin().find(id).unwrap().clone();
        VendorChoice {
            vendor,
            oem_sysext: None,
            origin: None,
        }
    };
    VendorTargets {
        chosen: ids.iter().map(choice).collect(),
        no_oem: true,
        ..VendorTargets::default()
    }
}

#[test]
fn progress_of_every_kind_of_target_ends_at_all_of_it() {
    let dir = scratch_dir();
    let sums = Sums::default();
    let context = Context {
        progress: &sums,
        ..Context::new(dir.path())
    };
    let request = Request {
        outputs: ["a.img", "a.qcow2", "a.vmdk", "a.vdi.zst", "a.gz"]
            .map(|name| Output::named(dir.path().join("out").join(name)).unwrap())
            .into(),
        vendors: vendors(&[
            "gce",
            "pxe",
            "iso",
            "vmware_ova",
            "vagrant",
            "parallels",
            "xen",
            "qemu_uefi",
        ]),
        folder: Some(dir.path().join("out")),
        ..Request::new(raw_sample())
    };
    let written = request.prepare(&context).unwrap().write(&context).unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
}

#[test]
fn results_that_are_made_again_are_the_same() {
    // More results than are kept from the moment they are prepared.
    let dir = scratch_dir();
    let context = Context::new(dir.path());
    let variant = |number: usize| Variant {
        name: format!("n{number}"),
        edits: Edits {
            hostname: Some(format!("n{number}").parse::<Hostname>().unwrap()),
            ..Edits::new()
        },
        origin: None,
    };
    let out = dir.path().join("out");
    let request = Request {
        variants: (0..40).map(variant).collect(),
        outputs: vec![Output::named(out.join("node.img.zst")).unwrap()],
        folder: Some(out.clone()),
        ..Request::new(raw_sample())
    };
    let written = request.prepare(&context).unwrap().write(&context).unwrap();
    assert!(written.failure.is_none(), "{:?}", written.failure);
    for number in [0, 31, 32, 39] {
        let alone = dir.path().join(format!("alone{number}"));
        let one = Request {
            variants: vec![variant(number)],
            outputs: vec![Output::named(alone.join("node.img.zst")).unwrap()],
            folder: Some(alone.clone()),
            ..request.clone()
        };
        one.prepare(&context).unwrap().write(&context).unwrap();
        let read = |folder: &std::path::Path| {
            fs::read(folder.join(format!("n{number}/node.img.zst"))).unwrap()
        };
        assert!(read(&out) == read(&alone), "variant {number}");
    }
}

#[test]
fn a_run_that_is_cancelled_leaves_nothing() {
    struct CancelAt(Cancel, Mutex<u64>);
    impl Progress for CancelAt {
        fn start(&self, _step: &str, _total_bytes: u64) {}
        fn advance(&self, _bytes: u64) {
            let mut left = self.1.lock().unwrap();
            if *left == 0 {
                self.0.cancel();
            }
            *left = left.saturating_sub(1);
        }
        fn finish(&self) {}
        fn found(&self, _finding: &Finding) {}
    }
    for after in [0, 1, 2, 5, 20] {
        let dir = scratch_dir();
        let cancel = Cancel::new();
        let progress = CancelAt(cancel.clone(), Mutex::new(after));
        let context = Context {
            progress: &progress,
            cancel,
            ..Context::new(dir.path())
        };
        let motd = FileSpec::inline(
            vec![b'x'; 100],
            Designator::Root,
            FsPath::new("/etc/motd").unwrap(),
        );
        let out = dir.path().join("out.qcow2");
        let request = Request {
            edits: Edits::new().file(motd),
            outputs: vec![Output::named(&out).unwrap()],
            ..Request::new(raw_sample())
        };
        let ended = request.prepare(&context).and_then(|prepared| {
            let written = prepared.write(&context)?;
            written.failure.map_or(Ok(()), Err)
        });
        if let Err(error) = ended {
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
            assert_eq!(
                fs::read_dir(dir.path()).unwrap().count(),
                0,
                "after {after}"
            );
        } else {
            assert!(out.exists() && after > 0);
        }
    }
}
