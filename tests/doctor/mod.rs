//! The doctor: nothing is found on fresh images, every trace alone is, and repairing leaves the fresh image.

mod alone;
mod boot;
mod configs;
mod fitting;
mod repair;

use std::sync::Arc;

use flatbake::block::{BlockDevice, FileDevice, Overlay, OverlayOptions, Window};
use flatbake::flatcar::doctor::{self, Diagnosis};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::{self, Attributes, ByPath, EditOptions, FileSystemMut, FsPath};
use flatbake::{Cancel, Severity};

use crate::common::flatcar::{Recipe, flatcar_image};
use crate::common::programs::raw_sample;

fn base() -> Arc<dyn BlockDevice> {
    Arc::new(FileDevice::open(&raw_sample()).unwrap())
}

fn examined(device: Arc<dyn BlockDevice>) -> Diagnosis {
    let disk = Disk::open("planted", device).unwrap();
    doctor::examine(&disk, &Cancel::new()).unwrap()
}

/// What was found, as `CODE PATH`, notes as well.
fn told(diagnosis: &Diagnosis) -> Vec<String> {
    diagnosis
        .symptoms
        .iter()
        .map(|symptom| {
            let finding = &symptom.finding;
            let path = finding.value("path").unwrap_or_default();
            format!("{} {path}", finding.code().word).trim().to_owned()
        })
        .collect()
}

/// The sample with one partition edited.
fn planted(
    partition: Designator,
    plant: impl FnOnce(&mut dyn FileSystemMut),
) -> Arc<dyn BlockDevice> {
    let base = base();
    let overlay = Arc::new(Overlay::new(base.clone(), OverlayOptions::new("/tmp")).unwrap());
    let entry = Disk::open("sample", base.clone())
        .unwrap()
        .partition(partition.into())
        .unwrap();
    let source = Window::new(base, entry.offset(), entry.size()).unwrap();
    let target = Window::new(Arc::clone(&overlay), entry.offset(), entry.size()).unwrap();
    let options = EditOptions::new("/tmp");
    let mut edited = fs::edit(Arc::new(source), Arc::new(target), &options).unwrap();
    plant(&mut *edited);
    edited.commit().unwrap();
    drop(edited);
    overlay
}

fn path(text: &str) -> FsPath {
    FsPath::new(text).unwrap()
}

fn folders(fs: &mut dyn FileSystemMut, of: &FsPath) {
    let mut way = Vec::new();
    let mut next = of.parent();
    while let Some(folder) = next {
        next = folder.parent();
        way.push(folder);
    }
    for folder in way.iter().rev() {
        if fs.as_read().find(folder).unwrap().is_none() {
            let attributes = Attributes {
                mode: 0o755,
                ..Attributes::default()
            };
            fs.create_dir(folder, &attributes).unwrap();
        }
    }
}

fn write(fs: &mut dyn FileSystemMut, at: &str, content: &str) {
    let at = path(at);
    folders(fs, &at);
    let attributes = Attributes {
        mode: 0o644,
        ..Attributes::default()
    };
    let mut bytes = content.as_bytes();
    let len = u64::try_from(content.len()).unwrap();
    fs.write_file(&at, &attributes, len, &mut bytes).unwrap();
}

fn link(fs: &mut dyn FileSystemMut, at: &str, target: &str) {
    let at = path(at);
    folders(fs, &at);
    fs.symlink(&at, target.as_bytes(), &Attributes::default())
        .unwrap();
}

#[test]
fn fresh_images_of_three_release_lines_show_nothing() {
    assert_eq!(told(&examined(base())), [""; 0]);
    for recipe in [Recipe::small(), Recipe::small_4757(), Recipe::old()] {
        let Some(image) = flatcar_image(&recipe) else {
            return;
        };
        let found = examined(Arc::new(FileDevice::open(&image).unwrap()));
        assert_eq!(told(&found), [""; 0], "{}", recipe.version);
    }
}

/// Files of ROOT: where they are planted, and what is told.
const ON_ROOT: &[(&str, &str)] = &[
    ("/etc/machine-id", "shared-identity /etc/machine-id"),
    (
        "/etc/.ignition-result.json",
        "boot-trace /etc/.ignition-result.json",
    ),
    (
        "/etc/ssh/ssh_host_ed25519_key",
        "secret-inside /etc/ssh/ssh_host_ed25519_key",
    ),
    (
        "/etc/ssh/ssh_host_ed25519_key.pub",
        "shared-identity /etc/ssh/ssh_host_ed25519_key.pub",
    ),
    ("/etc/passwd", "account-left /etc/passwd"),
    ("/etc/shadow", "account-left /etc/shadow"),
    ("/etc/group", "account-left /etc/group"),
    ("/etc/gshadow", "account-left /etc/gshadow"),
    ("/etc/passwd-", "account-left /etc/passwd-"),
    ("/etc/shadow-", "account-left /etc/shadow-"),
    ("/etc/group-", "account-left /etc/group-"),
    ("/etc/gshadow-", "account-left /etc/gshadow-"),
    ("/etc/subuid", "account-left /etc/subuid"),
    ("/etc/subuid-", "account-left /etc/subuid-"),
    ("/etc/subgid", "account-left /etc/subgid"),
    ("/etc/subgid-", "account-left /etc/subgid-"),
    ("/etc/.pwd.lock", "boot-trace /etc/.pwd.lock"),
    ("/etc/.updated", "boot-trace /etc/.updated"),
    ("/var/.updated", "boot-trace /var/.updated"),
    ("/.etc-work/work/x", "boot-trace /.etc-work"),
    (
        "/var/lib/extensions.mutable/usr/x",
        "boot-trace /var/lib/extensions.mutable",
    ),
    (
        "/var/log/journal/0123456789abcdef0123456789abcdef/system.journal",
        "secret-inside /var/log/journal/0123456789abcdef0123456789abcdef",
    ),
    ("/var/log/wtmp", "boot-trace /var/log/wtmp"),
    (
        "/var/lib/update_engine/prefs/aleph-version",
        "shared-identity /var/lib/update_engine",
    ),
    ("/selective-os-reset", "boot-trace /selective-os-reset"),
    ("/flatcar-backup/etc/x", "boot-trace /flatcar-backup"),
    (
        "/home/core/.ssh/authorized_keys.d/ignition",
        "account-left /home/core/.ssh/authorized_keys.d/ignition",
    ),
    (
        "/home/other/.ssh/authorized_keys.d/ignition",
        "account-left /home/other/.ssh/authorized_keys.d/ignition",
    ),
    (
        "/root/.ssh/authorized_keys.d/ignition",
        "account-left /root/.ssh/authorized_keys.d/ignition",
    ),
    (
        "/home/core/.bash_history",
        "secret-inside /home/core/.bash_history",
    ),
    ("/root/.bash_history", "secret-inside /root/.bash_history"),
    (
        "/root/.ssh/known_hosts",
        "boot-trace /root/.ssh/known_hosts",
    ),
    (
        "/root/.ssh/id_ed25519",
        "secret-inside /root/.ssh/id_ed25519",
    ),
    (
        "/var/lib/flatcar-install/user_data",
        "secret-inside /var/lib/flatcar-install/user_data",
    ),
    (
        "/var/lib/systemd/random-seed",
        "shared-identity /var/lib/systemd/random-seed",
    ),
    (
        "/var/lib/systemd/credential.secret",
        "secret-inside /var/lib/systemd/credential.secret",
    ),
    (
        "/var/lib/systemd/timers/x",
        "boot-trace /var/lib/systemd/timers",
    ),
    (
        "/var/lib/systemd/coredump/x",
        "secret-inside /var/lib/systemd/coredump",
    ),
    ("/var/lib/private/x", "boot-trace /var/lib/private"),
    ("/run/x", "boot-trace /run/x"),
    ("/tmp/x", "boot-trace /tmp/x"),
    ("/run/.x", "boot-trace /run/.x"),
    ("/tmp/.X11-unix/x", "boot-trace /tmp/.X11-unix"),
    (
        "/var/lib/systemd/pstore/x",
        "secret-inside /var/lib/systemd/pstore",
    ),
    (
        "/var/tmp/systemd-private-0123-a.service-x/tmp/y",
        "boot-trace /var/tmp/systemd-private-0123-a.service-x",
    ),
    (
        "/var/lib/dbus/machine-id",
        "shared-identity /var/lib/dbus/machine-id",
    ),
    (
        "/var/lib/NetworkManager/x",
        "shared-identity /var/lib/NetworkManager",
    ),
    (
        "/var/lib/systemd/network/x",
        "shared-identity /var/lib/systemd/network",
    ),
    (
        "/var/lib/docker/engine-id",
        "shared-identity /var/lib/docker/engine-id",
    ),
    (
        "/var/lib/docker/swarm/x",
        "secret-inside /var/lib/docker/swarm",
    ),
    (
        "/var/lib/docker/buildkit/x",
        "left-over /var/lib/docker/buildkit",
    ),
    (
        "/etc/docker/key.json",
        "shared-identity /etc/docker/key.json",
    ),
    (
        "/root/.docker/config.json",
        "secret-inside /root/.docker/config.json",
    ),
    ("/var/lib/kubelet/x", "shared-identity /var/lib/kubelet"),
    (
        "/etc/kubernetes/admin.conf",
        "secret-inside /etc/kubernetes/admin.conf",
    ),
    (
        "/etc/kubernetes/pki/ca.key",
        "secret-inside /etc/kubernetes/pki",
    ),
    ("/var/lib/etcd/x", "secret-inside /var/lib/etcd"),
    ("/var/lib/tailscale/x", "shared-identity /var/lib/tailscale"),
    ("/etc/wireguard/wg0.conf", "secret-inside /etc/wireguard"),
    (
        "/etc/iscsi/initiatorname.iscsi",
        "shared-identity /etc/iscsi/initiatorname.iscsi",
    ),
];

#[test]
fn every_trace_on_root_is_found_alone() {
    for (at, wanted) in ON_ROOT {
        let device = planted(Designator::Root, |fs| write(fs, at, "planted\n"));
        let found = examined(device);
        let told: Vec<String> = told(&found)
            .into_iter()
            .filter(|told| told != "reset-deletes")
            .collect();
        let weak = "account-weak /etc/shadow";
        let told: Vec<&String> = told.iter().filter(|told| *told != weak).collect();
        assert_eq!(told, [wanted], "{at}");
    }
}

#[test]
fn what_is_baked_is_no_trace() {
    let baked = |plant: &dyn Fn(&mut dyn FileSystemMut)| {
        let found = examined(planted(Designator::Root, plant));
        let counted: Vec<String> = told(&Diagnosis {
            symptoms: found
                .symptoms
                .into_iter()
                .filter(|symptom| symptom.finding.severity() > Severity::Note)
                .collect(),
        });
        assert_eq!(counted, [""; 0]);
    };
    baked(&|fs| write(fs, "/etc/machine-id", "uninitialized\n"));
    baked(&|fs| write(fs, "/etc/machine-id", "42000000000000000000000000000042\n"));
    baked(&|fs| write(fs, "/var/log/journal/note", "no machine's\n"));
    baked(&|fs| write(fs, "/var/log/app/empty", ""));
    baked(&|fs| folders(fs, &path("/var/lib/systemd/coredump/none")));
    baked(&|fs| folders(fs, &path("/var/lib/systemd/pstore/none")));
    baked(&|fs| write(fs, "/var/tmp/mine", "x\n"));
    baked(&|fs| link(fs, "/etc/extensions/docker-flatcar.raw", "/dev/null"));
    baked(&|fs| write(fs, "/etc/ssh/sshd_config.d/own.conf", "X11Forwarding no\n"));
    baked(&|fs| {
        write(
            fs,
            "/home/core/.ssh/authorized_keys",
            "ssh-ed25519 AAAA me\n",
        )
    });
}

const EMPTY_CONFIG: &str = r#"{"ignition": {"version": "3.3.0"}}"#;

#[test]
fn the_boot_partition_and_oem_are_looked_at() {
    let device = planted(Designator::Boot, |fs| {
        fs.remove(&path("/flatcar/first_boot")).unwrap();
    });
    let found = examined(device);
    assert_eq!(told(&found), ["boot-flag-missing /flatcar/first_boot"]);
    assert!(found.is_booted());
    let device = planted(Designator::Boot, |fs| {
        write(fs, "/flatcar/vmlinuz-b", "kernel")
    });
    assert_eq!(told(&examined(device)), ["boot-trace /flatcar/vmlinuz-b"]);
    let device = planted(Designator::Oem, |fs| {
        let text =
            "set linux_append=\"quiet systemd.machine_id=0123456789abcdef0123456789abcdef\"\n";
        write(fs, "/grub.cfg", text);
    });
    assert_eq!(told(&examined(device)), ["argument-shared /grub.cfg"]);
    let device = planted(Designator::Oem, |fs| write(fs, "/config.ign", EMPTY_CONFIG));
    let found = examined(device);
    assert_eq!(told(&found), ["left-over /config.ign"]);
    assert!(found.is_clean() && !found.is_booted());
}

#[test]
fn accounts_and_keys_are_told_apart() {
    let found = |at: &'static str, text: &'static str| {
        told(&examined(planted(Designator::Root, |fs| {
            write(fs, at, text)
        })))
    };
    let shadow = found(
        "/etc/shadow",
        "root:*:1::::::\ncore::1::::::\nme:$6$a$b:1::::::\n",
    );
    let weak = shadow
        .iter()
        .filter(|told| *told == "account-weak /etc/shadow");
    assert_eq!(weak.count(), 2, "{shadow:?}");
    let keys = "/home/core/.ssh/authorized_keys";
    let vagrant = found(keys, "ssh-rsa AAAAB3Nza vagrant insecure public key\n");
    assert!(
        vagrant.contains(&format!("key-well-known {keys}")),
        "{vagrant:?}"
    );
    let own = found(keys, "ssh-ed25519 AAAA me\n");
    assert!(own.contains(&format!("keys-inside {keys}")), "{own:?}");
}
