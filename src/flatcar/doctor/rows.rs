//! What an image that was never booted does not have, as data.
//!
//! A path may have `*` within its names. Sources: Flatcar's documentation of images for several machines; what
//! flatcar/init, flatcar/bootengine, systemd and Docker write at run time.

use super::Sign;
use crate::flatcar::Designator;

/// The flag on the ESP by which Ignition runs at the next boot.
pub const FIRST_BOOT: &str = "/flatcar/first_boot";

/// What Ignition says of its run.
pub(super) const IGNITION_RESULT: &str = "/etc/.ignition-result.json";

/// What else must be true of an entry for it to be a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// It is there.
    Exists,
    /// It is a regular file.
    IsFile,
    /// It is a folder that is not empty. Many are made at boot for what may come.
    HoldsSomething,
    /// It is a link that leads below one of these folders.
    LeadsTo(&'static [&'static str]),
    /// Its name has 32 hexadecimal digits and no more, as machine IDs have.
    NamedByMachine,
    /// It holds the ID of a machine, and no stand-in for one.
    HoldsMachineId,
}

/// What is done about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// It goes.
    Remove,
    /// It goes where accounts are to go.
    WithAccounts,
    /// It is only told.
    Report,
}

/// An entry that an image which was never booted does not have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub partition: Designator,
    pub path: &'static str,
    pub condition: Condition,
    pub sign: Sign,
    /// Whether it alone proves that a machine ran from the disk.
    pub is_proof: bool,
    /// What it is.
    pub what: &'static str,
    pub cure: Cure,
}

const fn root(path: &'static str, sign: Sign, cure: Cure, what: &'static str) -> Row {
    Row {
        partition: Designator::Root,
        path,
        condition: Condition::Exists,
        sign,
        is_proof: false,
        what,
        cure,
    }
}

const fn proof(path: &'static str, sign: Sign, what: &'static str) -> Row {
    Row {
        is_proof: true,
        ..root(path, sign, Cure::Remove, what)
    }
}

const fn oem(path: &'static str, what: &'static str) -> Row {
    Row {
        partition: Designator::Oem,
        ..root(path, Sign::Note, Cure::Report, what)
    }
}

const fn boot(path: &'static str, sign: Sign, is_proof: bool, what: &'static str) -> Row {
    Row {
        partition: Designator::Boot,
        is_proof,
        ..root(path, sign, Cure::Report, what)
    }
}

const fn only(condition: Condition, row: Row) -> Row {
    Row { condition, ..row }
}

use Cure::{Remove, Report, WithAccounts};
use Sign::{Account, Booted, Identity, Note, Secret};

/// Where the initrd finds the sysexts that it links.
const OEM_SYSEXTS: &[&str] = &[
    "/oem/sysext/",
    "/usr/share/oem/sysext/",
    "/etc/flatcar/oem-sysext/",
];
const OFFICIAL_SYSEXTS: &[&str] = &["/etc/flatcar/sysext/"];

pub(super) const ROWS: &[Row] = &[
    boot(
        "/coreos/first_boot",
        Note,
        false,
        "the flag of CoreOS, by which Ignition runs, too",
    ),
    boot(
        "/flatcar/vmlinuz-b",
        Booted,
        true,
        "the kernel of an update beside the release",
    ),
    oem(
        "/config.ign",
        "the image's own config, which beats the platform's user data and can be read by whoever has the image",
    ),
    oem(
        "/base/default.ign",
        "a config that nothing reads since 3185",
    ),
    only(
        Condition::HoldsMachineId,
        proof(
            "/etc/machine-id",
            Identity,
            "the ID of a machine; units that Ignition enables stay disabled",
        ),
    ),
    proof(IGNITION_RESULT, Booted, "what Ignition says of its run"),
    proof("/etc/ssh/ssh_host_*_key", Secret, "a private host key"),
    root(
        "/etc/ssh/ssh_host_*_key.pub",
        Identity,
        Remove,
        "a host key",
    ),
    root(
        "/etc/passwd",
        Account,
        WithAccounts,
        "the accounts, which are written at every boot",
    ),
    root(
        "/etc/shadow",
        Account,
        WithAccounts,
        "the passwords, which are written at every boot",
    ),
    root(
        "/etc/group",
        Account,
        WithAccounts,
        "the groups, which are written at every boot",
    ),
    root(
        "/etc/gshadow",
        Account,
        WithAccounts,
        "the passwords of groups, which are written at every boot",
    ),
    root(
        "/etc/passwd-",
        Account,
        WithAccounts,
        "the accounts before the last change",
    ),
    root(
        "/etc/shadow-",
        Account,
        WithAccounts,
        "the passwords before the last change",
    ),
    root(
        "/etc/group-",
        Account,
        WithAccounts,
        "the groups before the last change",
    ),
    root(
        "/etc/gshadow-",
        Account,
        WithAccounts,
        "the passwords of groups before the last change",
    ),
    root(
        "/etc/subuid",
        Account,
        WithAccounts,
        "the user IDs that accounts have for containers",
    ),
    root(
        "/etc/subuid-",
        Account,
        WithAccounts,
        "the same before the last change",
    ),
    root(
        "/etc/subgid",
        Account,
        WithAccounts,
        "the group IDs that accounts have for containers",
    ),
    root(
        "/etc/subgid-",
        Account,
        WithAccounts,
        "the same before the last change",
    ),
    root(
        "/etc/.pwd.lock",
        Booted,
        Remove,
        "the lock of programs that change accounts",
    ),
    root(
        "/etc/.updated",
        Booted,
        Remove,
        "the mark by which systemd knows that /etc fits the release",
    ),
    root(
        "/var/.updated",
        Booted,
        Remove,
        "the mark by which systemd knows that /var fits the release",
    ),
    proof(
        "/.etc-work",
        Booted,
        "the working folder of the overlay over /etc",
    ),
    proof(
        "/var/lib/extensions.mutable",
        Booted,
        "the folder of what was changed in merged extensions",
    ),
    only(
        Condition::LeadsTo(OEM_SYSEXTS),
        proof(
            "/etc/extensions/oem-*.raw",
            Booted,
            "the link that the initrd makes to the vendor's sysext",
        ),
    ),
    only(
        Condition::LeadsTo(OFFICIAL_SYSEXTS),
        root(
            "/etc/extensions/flatcar-*.raw",
            Booted,
            Remove,
            "a link that the initrd makes at every boot",
        ),
    ),
    only(
        Condition::NamedByMachine,
        proof("/var/log/journal/*", Secret, "the journal of a machine"),
    ),
    only(
        Condition::IsFile,
        root("/var/log/*", Booted, Remove, "a log"),
    ),
    proof(
        "/var/lib/update_engine",
        Identity,
        "the state of updates, by which a machine is counted",
    ),
    proof("/selective-os-reset", Booted, "a reset that was asked for"),
    proof("/flatcar-backup", Booted, "what a reset kept"),
    root(
        "/home/*/.ssh/authorized_keys.d/ignition",
        Account,
        WithAccounts,
        "keys that Ignition wrote",
    ),
    root(
        "/home/*/.ssh/authorized_keys.d/coreos-metadata",
        Account,
        WithAccounts,
        "keys that the platform gave to a machine",
    ),
    root(
        "/root/.ssh/authorized_keys.d/ignition",
        Account,
        WithAccounts,
        "keys that Ignition wrote",
    ),
    root(
        "/home/*/.bash_history",
        Secret,
        Remove,
        "what somebody typed",
    ),
    root("/root/.bash_history", Secret, Remove, "what somebody typed"),
    root("/root/.ssh/id_*", Secret, Report, "a key of root"),
    root(
        "/root/.ssh/known_hosts",
        Booted,
        Remove,
        "the hosts that root connected to",
    ),
    root(
        "/var/lib/flatcar-install/user_data",
        Secret,
        Report,
        "a cloud-config, which is run at every boot",
    ),
    root(
        "/var/lib/systemd/random-seed",
        Identity,
        Remove,
        "the seed of random numbers",
    ),
    root(
        "/var/lib/systemd/credential.secret",
        Secret,
        Remove,
        "the key of the machine's credentials",
    ),
    root("/var/lib/systemd/timers", Booted, Remove, "when timers ran"),
    root(
        "/var/lib/systemd/timesync",
        Booted,
        Remove,
        "the time that the machine had",
    ),
    root(
        "/var/lib/systemd/catalog",
        Booted,
        Remove,
        "the catalogue of messages, made at boot",
    ),
    only(
        Condition::HoldsSomething,
        root(
            "/var/lib/systemd/coredump",
            Secret,
            Remove,
            "memory of programs that crashed",
        ),
    ),
    only(
        Condition::HoldsSomething,
        root(
            "/var/lib/systemd/pstore",
            Secret,
            Remove,
            "what the kernel said when it crashed",
        ),
    ),
    root(
        "/var/lib/systemd/network",
        Identity,
        Remove,
        "addresses that the machine had",
    ),
    root(
        "/var/lib/private",
        Booted,
        Remove,
        "state of services with users of their own",
    ),
    root(
        "/run/*",
        Booted,
        Remove,
        "state of a running system, which is hidden at boot",
    ),
    root(
        "/tmp/*",
        Booted,
        Remove,
        "a temporary file, which is hidden at boot",
    ),
    root(
        "/run/.*",
        Booted,
        Remove,
        "state of a running system, which is hidden at boot",
    ),
    root(
        "/tmp/.*",
        Booted,
        Remove,
        "a temporary file, which is hidden at boot",
    ),
    root(
        "/var/tmp/systemd-private-*",
        Booted,
        Remove,
        "temporary files of a service that was cut off",
    ),
    root(
        "/var/lib/dbus/machine-id",
        Identity,
        Remove,
        "the ID of a machine",
    ),
    root(
        "/var/lib/NetworkManager",
        Identity,
        Remove,
        "addresses that the machine had",
    ),
    root(
        "/var/lib/docker/engine-id",
        Identity,
        Remove,
        "the ID of a Docker engine",
    ),
    root(
        "/var/lib/docker/swarm",
        Secret,
        Report,
        "keys of a Docker swarm",
    ),
    root(
        "/var/lib/docker/containers/*",
        Note,
        Report,
        "a container of a daemon that ran elsewhere, which may start again",
    ),
    root(
        "/var/lib/docker/network/files/local-kv.db",
        Note,
        Report,
        "networks of a daemon that ran elsewhere",
    ),
    root(
        "/var/lib/docker/buildkit",
        Note,
        Report,
        "the cache of a daemon that built elsewhere",
    ),
    root(
        "/var/lib/docker/tmp",
        Note,
        Report,
        "temporary files of a daemon that ran elsewhere",
    ),
    root(
        "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
        Note,
        Report,
        "what containerd knows of its images, and of containers that ran elsewhere",
    ),
    root(
        "/etc/docker/key.json",
        Identity,
        Report,
        "the key of a Docker engine",
    ),
    root(
        "/root/.docker/config.json",
        Secret,
        Report,
        "logins of registries",
    ),
    root(
        "/var/lib/kubelet",
        Identity,
        Report,
        "the state of a Kubernetes node",
    ),
    root(
        "/etc/kubernetes/*.conf",
        Secret,
        Report,
        "access to a Kubernetes cluster",
    ),
    root(
        "/etc/kubernetes/pki",
        Secret,
        Report,
        "keys of a Kubernetes cluster",
    ),
    root(
        "/var/lib/etcd",
        Secret,
        Report,
        "the data of an etcd member",
    ),
    root(
        "/var/lib/tailscale",
        Identity,
        Report,
        "the identity of a Tailscale node",
    ),
    root(
        "/var/lib/waagent",
        Identity,
        Report,
        "the state of Azure's agent",
    ),
    root(
        "/var/lib/amazon",
        Identity,
        Report,
        "the state of Amazon's agent",
    ),
    root("/etc/amazon", Note, Report, "settings of Amazon's agent"),
    root(
        "/etc/iscsi/initiatorname.iscsi",
        Identity,
        Report,
        "the name of an iSCSI initiator",
    ),
    root("/etc/wireguard", Secret, Report, "keys of WireGuard"),
    root(
        "/etc/NetworkManager",
        Note,
        Report,
        "connections, which may hold passwords",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::FsPath;

    #[test]
    fn every_row_is_a_path_that_is_named_once() {
        let mut paths = std::collections::BTreeSet::new();
        for row in ROWS {
            assert!(FsPath::new(row.path).is_ok(), "{}", row.path);
            assert!(paths.insert((row.partition, row.path)), "{}", row.path);
            assert!(!row.what.is_empty() && !row.what.ends_with('.'));
        }
    }
}
