//! What is amiss in a copy of `/var/lib/docker` (and `/var/lib/containerd`) that comes from another machine.

use std::collections::BTreeSet;

use super::tar::{TarEntry, TarKind, shown};
use crate::finding::{Finding, code};
use crate::fs::FsPath;

/// Names of storage drivers kept for a warning: one is usual.
const DRIVERS_MAX: usize = 8;
/// The only storage driver that a container started from the copied tree will find its images with.
const OVERLAY2: &[u8] = b"overlay2";

/// Where containerd keeps what it knows.
const CONTAINERD_DB: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";

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
pub(super) struct DockerTree {
    identity: BTreeSet<&'static str>,
    state: BTreeSet<&'static str>,
    drivers: BTreeSet<Vec<u8>>,
    /// A layer that lies on another, or the marks of files deleted by a layer.
    has_layers: bool,
    has_overlay_xattrs: bool,
    containerd: bool,
    /// Top-level members that a container image in an archive has.
    image_members: BTreeSet<&'static str>,
    /// `/var/lib/docker` within itself.
    is_nested: bool,
}

/// What lies at the top of archives of `docker save` and of OCI layouts.
const IMAGE_MEMBERS: [&str; 4] = ["manifest.json", "index.json", "oci-layout", "repositories"];

impl DockerTree {
    /// Takes in an entry that is called `names` in the archive and goes to `path`.
    pub(super) fn see(&mut self, names: &[&[u8]], path: &FsPath, entry: &TarEntry) -> Role {
        if let [name] = names {
            self.image_members.extend(
                IMAGE_MEMBERS
                    .into_iter()
                    .find(|member| member.as_bytes() == *name),
            );
        }
        let names: Vec<&[u8]> = path.components().skip(2).collect();
        let below = |directory: &[u8]| {
            path.components().take(2).eq([&b"var"[..], b"lib"])
                && names.first().is_some_and(|first| *first == directory)
        };
        if below(b"docker") {
            return self.see_docker(&names[1..], entry);
        }
        self.containerd |= below(b"containerd")
            && names[1..] == [&b"io.containerd.metadata.v1.bolt"[..], b"meta.db"];
        Role::Data
    }

    fn see_docker(&mut self, names: &[&[u8]], entry: &TarEntry) -> Role {
        match names {
            [b"var", b"lib", b"docker", ..] | [b"docker", b"overlay2" | b"image", ..] => {
                self.is_nested = true
            }
            [b"engine-id", ..] => {
                self.identity.insert("engine-id");
                return Role::Identity;
            }
            [b"swarm", ..] => {
                self.identity.insert("swarm");
                return Role::Identity;
            }
            [b"network", b"files", b"local-kv.db"] => {
                self.state.insert("network/files/local-kv.db");
            }
            // Empty directories of these names are in every tree.
            [b"containers", _, ..] => drop(self.state.insert("containers")),
            [b"buildkit", _, ..] => drop(self.state.insert("buildkit")),
            [b"runtimes", _, ..] => drop(self.state.insert("runtimes")),
            [b"tmp", _, ..] => drop(self.state.insert("tmp")),
            [b"plugins", _, ..] => drop(self.state.insert("plugins")),
            [b"image", driver, _, ..] => self.driver(driver),
            [
                driver @ (b"vfs" | b"aufs" | b"btrfs" | b"devicemapper" | b"fuse-overlayfs"
                | b"zfs"),
                _,
                ..,
            ] => {
                self.driver(driver);
            }
            [OVERLAY2, _, rest @ ..] => {
                self.has_layers |=
                    rest == [&b"lower"[..]] || entry.kind == TarKind::CharDevice(0, 0);
                self.has_overlay_xattrs |= entry
                    .xattrs
                    .iter()
                    .any(|xattr| xattr.name.starts_with(b"trusted.overlay."));
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

    /// What a person should know, each kind once.
    pub(super) fn findings(&self, identity_kept: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        // `index.json` alone is a name like any other.
        let is_image = self.image_members.contains("oci-layout")
            || (self.image_members.contains("manifest.json") && self.image_members.len() > 1);
        if is_image {
            let members: Vec<&str> = self.image_members.iter().copied().collect();
            findings.push(Finding::new(code::ARCHIVE_IS_IMAGE).with("members", members.join(", ")));
        }
        if self.is_nested {
            findings.push(Finding::new(code::DOCKER_NESTED));
        }
        if !self.identity.is_empty() {
            let code = if identity_kept {
                code::DOCKER_IDENTITY_KEPT
            } else {
                code::DOCKER_IDENTITY_DROPPED
            };
            findings.push(Finding::new(code).with("paths", in_docker(&self.identity)));
        }
        if !self.state.is_empty() {
            findings.push(Finding::new(code::DOCKER_STATE).with("paths", in_docker(&self.state)));
        }
        if !self.drivers.is_empty() {
            let drivers: Vec<String> = self.drivers.iter().map(|driver| shown(driver)).collect();
            findings.push(Finding::new(code::DOCKER_DRIVER).with("drivers", drivers.join(", ")));
        }
        if self.has_layers && !self.has_overlay_xattrs {
            findings.push(Finding::new(code::DOCKER_LAYERS));
        }
        if self.containerd {
            findings.push(Finding::new(code::CONTAINERD_STATE).with("path", CONTAINERD_DB));
        }
        findings
    }
}

/// The paths of `names` below Docker's folder.
fn in_docker(names: &BTreeSet<&'static str>) -> String {
    let paths: Vec<String> = names
        .iter()
        .map(|name| format!("/var/lib/docker/{name}"))
        .collect();
    paths.join(", ")
}
