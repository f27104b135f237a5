//! Images that a machine really booted: what stays of that is found, and the repaired image boots as if for the first time.
//!
//! The machine is QEMU with parts of Debian (`.ci/boot-root`), in a folder that `FLATBAKE_BOOT` names; without it, these tests
//! do nothing. A boot takes one to three minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flatbake::block::FileDevice;
use flatbake::flatcar::doctor::Diagnosis;

use super::repair::{assert_judged, check, differing, text};
use super::{examined, told};
use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::programs::{flatbake, judges, must_run, said, success};
use crate::common::region::{Region, copy_file};
use crate::common::scratch_dir;

/// The longest that a boot may take.
const BOOT_MAX: Duration = Duration::from_secs(600);
/// What the machine says when all has started.
const UP: &str = "boot-done: ";

/// The config in the image: keys of core and of a user that is made, a file at which Ignition stops where it is there
/// already, and a unit that leaves a state.
const CONFIG: &str = r#"{
  "ignition": {"version": "3.3.0"},
  "passwd": {"users": [
    {"name": "core", "uid": 500, "sshAuthorizedKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN core"]},
    {"name": "second", "sshAuthorizedKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN second"]}
  ]},
  "storage": {"files": [
    {"path": "/etc/app.conf", "contents": {"source": "data:,of%20Ignition%0A"}}
  ]},
  "systemd": {"units": [{
    "name": "app.service",
    "enabled": true,
    "contents": "[Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\nExecStart=/bin/sh -c 'mkdir -p /var/lib/app && echo x >/var/lib/app/state && echo app: started >/dev/ttyS0'\n[Install]\nWantedBy=multi-user.target\n"
  }]}
}"#;

/// The folder of `.ci/boot-root`; `None` where there is none, and where a program is missing that makes the image.
fn place() -> Option<PathBuf> {
    let place = std::env::var_os("FLATBAKE_BOOT").map(PathBuf::from);
    if place.is_none() {
        eprintln!("skipped: FLATBAKE_BOOT names no folder that .ci/boot-root made");
    }
    place
}

/// An image with Flatcar's shape and the config, which no machine has booted.
fn unbooted(dir: &Path) -> Option<PathBuf> {
    let base = flatcar_image(&Recipe::small())?;
    let config = dir.join("config.ign");
    fs::write(&config, CONFIG).unwrap();
    let image = dir.join("unbooted.img");
    let file = format!("{}:/config.ign", text(&config));
    let mut bake = flatbake();
    bake.args(["bake", "--image", &text(&base), "-o", &text(&image)]);
    success(bake.args(["--oem-file", &file]));
    Some(image)
}

/// A machine that runs from an image; it is off when this goes.
struct Machine {
    child: Child,
    serial: PathBuf,
    since: Instant,
}

impl Machine {
    fn start(place: &Path, image: &Path, arguments: &[&str]) -> Self {
        let serial = image.with_extension("serial");
        let _ = fs::remove_file(&serial);
        let child = Command::new(place.join("boot"))
            .args([image, &*serial])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            serial,
            since: Instant::now(),
        }
    }

    fn log(&self) -> String {
        let log = fs::read(&self.serial).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until `is_reached`, or until the machine is off.
    fn wait(&mut self, is_reached: impl Fn(&str) -> bool) -> String {
        loop {
            let is_off = self.child.try_wait().unwrap().is_some();
            let log = self.log();
            if is_off || is_reached(&log) {
                return log;
            }
            assert!(self.since.elapsed() < BOOT_MAX, "{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a boot said.
struct Boot {
    log: String,
    /// Release, machine ID, and owner of core's home.
    up: String,
}

impl Boot {
    fn new(log: String) -> Self {
        let up = log.lines().find_map(|line| line.split_once(UP));
        let Some((_, up)) = up else {
            panic!("it did not come up: {log}");
        };
        Self {
            up: up.trim().to_owned(),
            log,
        }
    }

    fn machine_id(&self) -> &str {
        let mut words = self.up.split(' ').skip_while(|word| *word != "machine");
        words.nth(1).unwrap()
    }

    /// Ignition ran, and its unit was started.
    fn assert_first(&self) {
        for said in [
            "boot-init: first boot",
            "boot-init: Ignition is done",
            "app: started",
        ] {
            assert!(self.log.contains(said), "{said}: {}", self.log);
        }
    }
}

/// Boots until the machine is off by itself.
fn boot(place: &Path, image: &Path) -> Boot {
    Boot::new(Machine::start(place, image, &[]).wait(|_| false))
}

/// Boots, and cuts the machine off when it has said a whole line with `word`.
fn cut_off(place: &Path, image: &Path, word: &str) -> String {
    let mut machine = Machine::start(place, image, &["flatbake.stay"]);
    let is_said = |log: &str| {
        log.split_once(word)
            .is_some_and(|(_, rest)| rest.contains('\n'))
    };
    let log = machine.wait(is_said);
    assert!(is_said(&log), "{log}");
    log
}

fn diagnosed(image: &Path) -> Diagnosis {
    examined(Arc::new(FileDevice::open(image).unwrap()))
}

/// What a boot leaves, but for what a reset deletes.
const LEFT: &[&str] = &[
    "table-booted",
    "boot-flag-missing /flatcar/first_boot",
    "left-over /config.ign",
    "root-mounted",
    "shared-identity /etc/machine-id",
    "boot-trace /etc/.ignition-result.json",
    "secret-inside /etc/ssh/ssh_host_ecdsa_key",
    "secret-inside /etc/ssh/ssh_host_ed25519_key",
    "shared-identity /etc/ssh/ssh_host_ecdsa_key.pub",
    "shared-identity /etc/ssh/ssh_host_ed25519_key.pub",
    "account-left /etc/passwd",
    "account-left /etc/shadow",
    "account-left /etc/group",
    "account-left /etc/gshadow",
    "account-left /etc/passwd-",
    "account-left /etc/shadow-",
    "account-left /etc/group-",
    "account-left /etc/gshadow-",
    "account-left /etc/subuid",
    "account-left /etc/subuid-",
    "account-left /etc/subgid",
    "account-left /etc/subgid-",
    "boot-trace /etc/.pwd.lock",
    "boot-trace /.etc-work",
    "secret-inside /var/log/journal/MACHINE",
    "boot-trace /var/log/btmp",
    "boot-trace /var/log/lastlog",
    "boot-trace /var/log/wtmp",
    "account-left /home/core/.ssh/authorized_keys.d/ignition",
    "account-left /home/second/.ssh/authorized_keys.d/ignition",
    "shared-identity /var/lib/systemd/random-seed",
    "boot-trace /var/lib/systemd/timesync",
    "boot-trace /var/lib/private",
    "shared-identity /var/lib/dbus/machine-id",
    "ignition-wrote /etc/app.conf",
    "reset-deletes",
];

/// What stays on ROOT of a repaired image: the folders and links that every boot makes, files of the config, of the unit and
/// of the machine that no row knows.
const KEPT: &[&str] = &[
    "/bin",
    "/dev",
    "/home",
    "/lib",
    "/lib64",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/etc/mtab",
    // Units, which Ignition writes over, and what systemd made of its preset.
    "/etc/systemd",
    "/var/cache",
    "/var/lib/app",
    "/var/lib/systemd",
    "/var/lib/written-last",
    "/var/lock",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];
/// What stays there unless accounts go.
const ACCOUNTS: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
];

/// The repaired image is sound and differs from the unbooted one in no more than what is to stay.
fn assert_repaired(unbooted: &Path, repaired: &Path, kept: &[&str]) {
    assert_judged(repaired);
    // Nothing reads the text of the flag.
    let folders = ["/etc", "/var", "/var/lib"];
    let unexpected: Vec<String> = differing(unbooted, repaired)
        .into_iter()
        .filter(|found| !["1 null", "9 null", "1:/flatcar/first_boot"].contains(&found.as_str()))
        .filter(|found| {
            let Some(path) = found.strip_prefix("9:") else {
                return true;
            };
            let is_below = |kept: &&str| {
                let rest = path.strip_prefix(kept);
                rest.is_some_and(|rest| matches!(rest, "" | "-") || rest.starts_with('/'))
            };
            !folders.contains(&path) && !kept.iter().any(is_below)
        })
        .collect();
    assert_eq!(unexpected, [""; 0]);
}

#[test]
fn an_image_that_was_booted_is_found_and_repaired_and_boots_as_if_for_the_first_time() {
    let Some(place) = place() else { return };
    let dir = scratch_dir();
    let Some(unbooted) = unbooted(dir.path()) else {
        return;
    };
    let fresh = diagnosed(&unbooted);
    assert_eq!(told(&fresh), ["left-over /config.ign"]);
    assert!(fresh.is_clean() && !fresh.is_booted());

    let booted = dir.path().join("booted.img");
    copy_file(&unbooted, &booted);
    let first = boot(&place, &booted);
    first.assert_first();
    assert!(first.up.starts_with("flatcar 4593.2.0 "), "{}", first.up);
    let found = diagnosed(&booted);
    let left: Vec<String> = told(&found)
        .iter()
        .map(|told| told.replace(first.machine_id(), "MACHINE"))
        .collect();
    assert_eq!(left, LEFT);
    assert!(found.is_booted());

    // A second boot is none of Ignition's.
    let again = dir.path().join("again.img");
    copy_file(&booted, &again);
    let second = boot(&place, &again);
    assert!(!second.log.contains("first boot"), "{}", second.log);
    assert_eq!(second.machine_id(), first.machine_id());

    let out = text(&dir.path().join("baked.img"));
    let bake = |more: &[&str]| {
        let mut bake = flatbake();
        bake.args(["bake", "--image", &text(&booted), "-o", &out]);
        bake.args([
            "--oem-file",
            &format!("{}:/note", text(&dir.path().join("config.ign"))),
        ]);
        bake.args(more).output().unwrap()
    };
    let refused = bake(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let made = bake(&["--generalize"]);
    assert!(made.status.success(), "{}", said(&made));
    assert!(!diagnosed(Path::new(&out)).is_booted());

    // Accounts stay unless it is asked for that they go.
    let repaired = dir.path().join("repaired.img");
    let fix = ["--fix", "--overwrite", "-o", &text(&repaired)];
    let (code, document) = check(&booted, &fix);
    assert_eq!(code, Some(9), "{document}");
    let found = diagnosed(&repaired);
    assert!(!found.is_booted());
    let counted = found.symptoms.iter().filter(|symptom| symptom.counts());
    for symptom in counted {
        assert_eq!(symptom.finding.code().word, "account-left");
    }
    let kept = [KEPT, ACCOUNTS].concat();
    assert_repaired(&unbooted, &repaired, &kept);
    let next = boot(&place, &repaired);
    next.assert_first();
    assert_ne!(next.machine_id(), first.machine_id());

    let (code, document) = check(&booted, &[&fix[..], &["--remove-accounts"]].concat());
    assert_eq!(code, Some(0), "{document}");
    assert_repaired(&unbooted, &repaired, KEPT);
    let next = boot(&place, &repaired);
    next.assert_first();
    assert!(next.up.ends_with(" home 500:core"), "{}", next.up);
}

#[test]
fn an_image_whose_machine_was_cut_off_is_found_and_repaired() {
    let Some(place) = place() else { return };
    if !judges(&["dumpe2fs"]) {
        return;
    }
    let dir = scratch_dir();
    let Some(unbooted) = unbooted(dir.path()) else {
        return;
    };
    let booted = dir.path().join("booted.img");
    copy_file(&unbooted, &booted);
    let first = Boot::new(cut_off(&place, &booted, UP));
    first.assert_first();
    let root = Region::partition(&booted, 9).unwrap();
    let features = root.with_file(|file| must_run("dumpe2fs", ["-h", &text(file)]));
    assert!(said(&features).contains("needs_recovery"));

    // What is only in the journal counts as well.
    let written = success(flatbake().args(["cat", &text(&booted), "root:/var/lib/written-last"]));
    assert_eq!(written.stdout, b"written last\n");
    let found = diagnosed(&booted);
    let left: Vec<String> = told(&found)
        .iter()
        .map(|told| told.replace(first.machine_id(), "MACHINE"))
        .filter(|told| !told.starts_with("boot-trace /var/tmp/systemd-private-"))
        .collect();
    assert_eq!(left, LEFT);
    assert!(left.len() < found.symptoms.len(), "{:?}", told(&found));

    let repaired = dir.path().join("repaired.img");
    let all = ["--fix", "--remove-accounts", "-o", &text(&repaired)];
    let (code, document) = check(&booted, &all);
    assert_eq!(code, Some(0), "{document}");
    assert_repaired(&unbooted, &repaired, KEPT);
    let next = boot(&place, &repaired);
    next.assert_first();
    assert_ne!(next.machine_id(), first.machine_id());
}

#[test]
fn an_image_whose_machine_was_cut_off_while_it_came_up_is_found_and_repaired() {
    let Some(place) = place() else { return };
    let dir = scratch_dir();
    let Some(unbooted) = unbooted(dir.path()) else {
        return;
    };
    let booted = dir.path().join("booted.img");
    copy_file(&unbooted, &booted);
    cut_off(&place, &booted, "Generate the host keys");
    assert!(diagnosed(&booted).is_booted());
    let repaired = dir.path().join("repaired.img");
    let all = ["--fix", "--remove-accounts", "-o", &text(&repaired)];
    let (code, document) = check(&booted, &all);
    assert_eq!(code, Some(0), "{document}");
    assert_judged(&repaired);
    boot(&place, &repaired).assert_first();
}
