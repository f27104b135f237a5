//! What is amiss in a copy of `/var/lib/docker` (and `/var/lib/containerd`) that comes from another machine.

use std::collections::BTreeSet;

use super::tar::{TarEntry, TarKind, shown};
use crate::fs::FsPath;

/// Names of storage drivers kept for a warning: one is usual.
const DRIVERS_MAX: usize = 8;
/// The only storage driver that a container started from the copied tree will find its images with.
const OVERLAY2: &[u8] = b"overlay2";

/// What an entry means for the machine that is booted from the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It belongs to one machine: two with the same would be taken for one another.
    Identity,
    /// Anything else.
    Data,
}

/// Collects what is seen of all entries.
#[derive(Debug, Default)]
pub(super) struct Findings {
    identity: BTreeSet<&'static str>,
    state: BTreeSet<&'static str>,
    drivers: BTreeSet<Vec<u8>>,
    /// A layer that lies on another, or the marks of files deleted by a layer.
    has_layers: bool,
    has_overlay_xattrs: bool,
    containerd: bool,
}

impl Findings {
    /// Takes in an entry that goes to `path`.
    pub(super) fn see(&mut self, path: &FsPath, entry: &TarEntry) -> Role {
        let names: Vec<&[u8]> = path.components().skip(2).collect();
        let below = |directory: &[u8]| {
            path.components().take(2).eq([&b"var"[..], b"lib"])
                && names.first().is_some_and(|first| *first == directory)
        };
        if below(b"docker") {
            return self.see_docker(&names[1..], entry);
        }
        self.containerd |= below(b"containerd") && names[1..] == [&b"io.containerd.metadata.v1.bolt"[..], b"meta.db"];
        Role::Data
    }

    fn see_docker(&mut self, names: &[&[u8]], entry: &TarEntry) -> Role {
        match names {
            [b"engine-id", ..] => {
                self.identity.insert("engine-id");
                return Role::Identity;
            }
            [b"swarm", ..] => {
                self.identity.insert("swarm");
                return Role::Identity;
            }
            [b"network", b"files", b"local-kv.db"] => drop(self.state.insert("network/files/local-kv.db")),
            // Empty directories of these names are in every tree.
            [b"containers", _, ..] => drop(self.state.insert("containers")),
            [b"buildkit", _, ..] => drop(self.state.insert("buildkit")),
            [b"runtimes", _, ..] => drop(self.state.insert("runtimes")),
            [b"tmp", _, ..] => drop(self.state.insert("tmp")),
            [b"plugins", _, ..] => drop(self.state.insert("plugins")),
            [b"image", driver, _, ..] => self.driver(driver),
            [driver @ (b"vfs" | b"aufs" | b"btrfs" | b"devicemapper" | b"fuse-overlayfs" | b"zfs"), _, ..] => {
                self.driver(driver);
            }
            [OVERLAY2, _, rest @ ..] => {
                self.has_layers |= rest == [&b"lower"[..]] || entry.kind == TarKind::CharDevice(0, 0);
                self.has_overlay_xattrs |= entry.xattrs.iter().any(|xattr| xattr.name.starts_with(b"trusted.overlay."));
            }
            _ => {}
        }
        Role::Data
    }

    fn driver(&mut self, driver: &[u8]) {
        if driver != OVERLAY2 && self.drivers.len() < DRIVERS_MAX {
            self.drivers.insert(driver.to_vec());
        }
    }

    /// What a person should know, a sentence each.
    pub(super) fn warnings(&self, identity_kept: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        for name in &self.identity {
            warnings.push(match identity_kept {
                true => format!("/var/lib/docker/{name}: every machine from this image gets the same identity"),
                false => format!("/var/lib/docker/{name}: left out, it would give every machine the same identity"),
            });
        }
        for name in &self.state {
            warnings.push(format!(
                "/var/lib/docker/{name}: state of a daemon on another machine, containers may start from it; \
                 keep only image, overlay2 and volumes"
            ));
        }
        for driver in &self.drivers {
            warnings.push(format!(
                "/var/lib/docker: images of the storage driver {}, Docker on Flatcar uses overlay2 and will not see them",
                shown(driver)
            ));
        }
        if self.has_layers && !self.has_overlay_xattrs {
            warnings.push(
                "/var/lib/docker/overlay2: layers, but no trusted.overlay attributes: files deleted by a layer may come \
                 back; make the archive as root with tar --xattrs --xattrs-include='*'"
                    .to_owned(),
            );
        }
        if self.containerd {
            warnings.push(
                "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db: containers and leases of another machine"
                    .to_owned(),
            );
        }
        warnings
    }
}
