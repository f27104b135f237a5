//! The recipes in the box.

use std::collections::BTreeMap;
use std::path::Path;

use flatbake::flatcar::sysext::recipe::{built_in, names};
use flatbake::sysext::{Build, Means};
use flatbake::{Cancel, NoProgress};

use super::{Place, content};
use crate::common::judges::{erofs_clean, squashfs_clean};
use crate::common::reading::text;
use crate::common::recipes;
use crate::common::tree::squashfs_tree;

/// A recipe with archives of its layout, and what comes of them.
struct Case {
    recipe: &'static str,
    /// Flags besides the files.
    flags: &'static [&'static str],
    /// The downloads, each with the name of its file and the content.
    files: Vec<(&'static str, &'static str, Vec<u8>)>,
    /// Programs, and other files, links and folders that have nothing else in them.
    programs: &'static [&'static str],
    others: &'static [&'static str],
    /// Words in files.
    says: &'static [(&'static str, &'static str)],
    /// Words that are not.
    says_not: &'static [(&'static str, &'static str)],
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            recipe: "tailscale",
            flags: &["--version", "v1.76.6"],
            files: vec![(
                "tailscale",
                "tailscale_1.76.6_amd64.tgz",
                recipes::tailscale(),
            )],
            programs: &["usr/bin/tailscale", "usr/bin/tailscaled"],
            others: &[
                "usr/lib/systemd/system/tailscaled.service",
                "usr/lib/systemd/system/multi-user.target.d/10-tailscaled-service.conf",
                "usr/lib/systemd/network/50-tailscale.network",
                "usr/lib/tmpfiles.d/tailscale.conf",
                "usr/share/factory/etc/default/tailscaled",
            ],
            says: &[
                (
                    "/usr/lib/systemd/system/tailscaled.service",
                    "ExecStart=/usr/bin/tailscaled",
                ),
                (
                    "/usr/lib/tmpfiles.d/tailscale.conf",
                    "C /etc/default/tailscaled - - - - /usr/share/factory",
                ),
                (
                    "/usr/lib/systemd/network/50-tailscale.network",
                    "Unmanaged=yes",
                ),
                (
                    "/usr/lib/extension-release.d/extension-release.tailscale",
                    "SYSEXT_VERSION_ID=1.76.6\n",
                ),
                (
                    "/usr/lib/extension-release.d/extension-release.tailscale",
                    "EXTENSION_RELOAD_MANAGER=1\n",
                ),
            ],
            says_not: &[("/usr/lib/systemd/system/tailscaled.service", "/usr/sbin")],
        },
        Case {
            recipe: "docker",
            flags: &["--version", "28.0.4"],
            files: vec![("docker", "docker-28.0.4.tgz", recipes::docker())],
            programs: &[
                "usr/bin/containerd",
                "usr/bin/containerd-shim-runc-v2",
                "usr/bin/ctr",
                "usr/bin/docker",
                "usr/bin/docker-init",
                "usr/bin/docker-proxy",
                "usr/bin/dockerd",
                "usr/bin/runc",
            ],
            others: &[
                "usr/lib/systemd/system/containerd.service",
                "usr/lib/systemd/system/docker.service",
                "usr/lib/systemd/system/docker.socket",
                "usr/lib/systemd/system/multi-user.target.d/10-containerd-service.conf",
                "usr/lib/systemd/system/sockets.target.d/10-docker-socket.conf",
                "usr/share/containerd/config-cgroupfs.toml",
                "usr/share/containerd/config.toml",
            ],
            says: &[
                ("/usr/share/containerd/config.toml", "SystemdCgroup = true"),
                (
                    "/usr/lib/systemd/system/sockets.target.d/10-docker-socket.conf",
                    "Upholds=docker.socket",
                ),
            ],
            says_not: &[(
                "/usr/share/containerd/config-cgroupfs.toml",
                "SystemdCgroup = true",
            )],
        },
        Case {
            recipe: "docker",
            flags: &["--only", "docker"],
            files: vec![("docker", "docker-28.0.4.tgz", recipes::docker())],
            programs: &[
                "usr/bin/docker",
                "usr/bin/docker-init",
                "usr/bin/docker-proxy",
                "usr/bin/dockerd",
            ],
            others: &[
                "usr/lib/systemd/system/docker.service",
                "usr/lib/systemd/system/docker.socket",
                "usr/lib/systemd/system/sockets.target.d/10-docker-socket.conf",
            ],
            says: &[],
            says_not: &[(
                "/usr/lib/extension-release.d/extension-release.docker",
                "SYSEXT_VERSION_ID",
            )],
        },
        Case {
            recipe: "docker",
            flags: &["--only", "containerd"],
            files: vec![("docker", "docker-28.0.4.tgz", recipes::docker())],
            programs: &[
                "usr/bin/containerd",
                "usr/bin/containerd-shim-runc-v2",
                "usr/bin/ctr",
                "usr/bin/runc",
            ],
            others: &[
                "usr/lib/systemd/system/containerd.service",
                "usr/lib/systemd/system/multi-user.target.d/10-containerd-service.conf",
                "usr/share/containerd/config-cgroupfs.toml",
                "usr/share/containerd/config.toml",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "docker_compose",
            flags: &["--version", "2.29.7"],
            files: vec![(
                "compose",
                "docker-compose-linux-x86_64",
                recipes::program(1),
            )],
            programs: &["usr/local/lib/docker/cli-plugins/docker-compose"],
            others: &[],
            says: &[],
            says_not: &[(
                "/usr/lib/extension-release.d/extension-release.docker_compose",
                "RELOAD",
            )],
        },
        Case {
            recipe: "kubernetes",
            flags: &["--version", "1.31.1", "--version", "cni=1.5.1"],
            files: vec![
                ("kubeadm", "kubeadm", recipes::program(1)),
                ("kubectl", "kubectl", recipes::program(2)),
                ("kubelet", "kubelet", recipes::program(3)),
                ("cni", "cni-plugins-linux-amd64-v1.5.1.tgz", recipes::cni()),
            ],
            programs: &[
                "usr/bin/kubeadm",
                "usr/bin/kubectl",
                "usr/bin/kubelet",
                "usr/local/bin/cni/bridge",
                "usr/local/bin/cni/host-local",
                "usr/local/bin/cni/loopback",
            ],
            others: &[
                "usr/lib/systemd/system/kubelet.service",
                "usr/lib/systemd/system/multi-user.target.d/10-kubelet-service.conf",
                "usr/libexec/kubernetes/kubelet-plugins/volume/exec",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "k3s",
            flags: &["--version", "v1.31.1+k3s1", "--enable", "k3s.service"],
            files: vec![("k3s", "k3s", recipes::program(1))],
            programs: &["usr/local/bin/k3s"],
            others: &[
                "usr/lib/systemd/system/k3s-agent.service",
                "usr/lib/systemd/system/k3s.service",
                "usr/lib/systemd/system/multi-user.target.d/10-k3s-service.conf",
                "usr/local/bin/crictl",
                "usr/local/bin/ctr",
                "usr/local/bin/kubectl",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "rke2",
            flags: &[],
            files: vec![("rke2", "rke2.linux-amd64.tar.gz", recipes::rke2())],
            programs: &["usr/local/bin/rke2", "usr/local/bin/rke2-killall.sh"],
            others: &[
                "usr/lib/systemd/system/rke2-agent.service",
                "usr/lib/systemd/system/rke2-server.env",
                "usr/lib/systemd/system/rke2-server.service",
                "usr/local/share/rke2/LICENSE.txt",
                "usr/local/share/rke2/rke2-cis-sysctl.conf",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "crio",
            flags: &["--version", "1.31.0"],
            files: vec![("crio", "cri-o.amd64.v1.31.0.tar.gz", recipes::crio())],
            programs: &[
                "usr/bin/crictl",
                "usr/bin/crio",
                "usr/bin/pinns",
                "usr/libexec/cni/bridge",
                "usr/libexec/cni/loopback",
                "usr/libexec/crio/conmon",
                "usr/libexec/crio/conmonrs",
                "usr/libexec/crio/crun",
                "usr/libexec/crio/runc",
            ],
            others: &[
                "usr/lib/systemd/system/crio.service",
                "usr/lib/systemd/system/multi-user.target.d/10-crio-service.conf",
                "usr/lib/tmpfiles.d/crio.conf",
                "usr/share/factory/etc/crictl.yaml",
                "usr/share/factory/etc/crio/crio.conf.d/10-crio.conf",
                "usr/share/factory/etc/crio/crio.conf.d/20-plugins.conf",
                "usr/share/factory/etc/crio/policy.json",
            ],
            says: &[(
                "/usr/lib/systemd/system/crio.service",
                "ExecStart=/usr/bin/crio",
            )],
            says_not: &[("/usr/lib/systemd/system/crio.service", "/usr/local")],
        },
        Case {
            recipe: "wasmtime",
            flags: &["--version", "24.0.0"],
            files: vec![(
                "wasmtime",
                "wasmtime-v24.0.0-x86_64-linux.tar.xz",
                recipes::wasmtime(),
            )],
            programs: &["usr/bin/wasmtime"],
            others: &[],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "wasmcloud",
            flags: &["--version", "1.3.1", "--version", "nats=2.10.20"],
            files: vec![
                (
                    "wasmcloud",
                    "wasmcloud-x86_64-unknown-linux-musl",
                    recipes::program(1),
                ),
                (
                    "nats",
                    "nats-server-v2.10.20-linux-amd64.tar.gz",
                    recipes::nats(),
                ),
            ],
            programs: &["usr/bin/nats-server", "usr/bin/wasmcloud"],
            others: &[
                "usr/lib/systemd/system/multi-user.target.d/10-nats-service.conf",
                "usr/lib/systemd/system/multi-user.target.d/10-wasmcloud-service.conf",
                "usr/lib/systemd/system/nats.service",
                "usr/lib/systemd/system/wasmcloud.service",
                "usr/lib/tmpfiles.d/wasmcloud.conf",
                "usr/share/factory/etc/nats/nats.conf",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "nebula",
            flags: &["--version", "1.9.4"],
            files: vec![("nebula", "nebula-linux-amd64.tar.gz", recipes::nebula())],
            programs: &["usr/bin/nebula", "usr/bin/nebula-cert"],
            others: &[
                "usr/lib/systemd/system/multi-user.target.d/10-nebula-service.conf",
                "usr/lib/systemd/system/nebula.service",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "ollama",
            flags: &["--version", "0.13.5"],
            files: vec![("ollama", "ollama-linux-amd64.tgz", recipes::ollama())],
            programs: &[
                "usr/local/bin/ollama",
                "usr/local/lib/ollama/libggml-base.so",
            ],
            others: &[
                "usr/lib/systemd/system/multi-user.target.d/10-ollama-service.conf",
                "usr/lib/systemd/system/ollama.service",
            ],
            says: &[],
            says_not: &[],
        },
        Case {
            recipe: "falco",
            flags: &["--version", "0.39.2"],
            files: vec![("falco", "falco-0.39.2-x86_64.tar.gz", recipes::falco())],
            programs: &["usr/bin/falco", "usr/bin/falcoctl"],
            others: &[
                "usr/lib/systemd/system/falco.service",
                "usr/lib/systemd/system/multi-user.target.d/10-falco-service.conf",
                "usr/lib/tmpfiles.d/falco.conf",
                "usr/share/factory/etc/falco/falco.yaml",
                "usr/share/factory/etc/falco/falco_rules.yaml",
                "usr/share/factory/etc/falcoctl/falcoctl.yaml",
                "usr/share/falco/plugins/README",
            ],
            says: &[("/usr/lib/tmpfiles.d/falco.conf", "C /etc/falcoctl - - - -")],
            says_not: &[],
        },
    ]
}

/// All paths of files and links in the squashfs, with their modes where they are files.
fn paths(image: &Path) -> Option<BTreeMap<String, Option<u32>>> {
    let tree = squashfs_tree(image)?;
    let files = tree
        .into_iter()
        .filter(|(_, entry)| format!("{:?}", entry.kind) != "Directory");
    Some(files.map(|(path, entry)| (path, entry.mode)).collect())
}

#[test]
fn each_recipe_makes_the_tree_it_says_of_archives_laid_out_like_those_of_its_makers() {
    let mut seen: Vec<&str> = Vec::new();
    for case in cases() {
        let place = Place::new();
        let recipe = built_in(case.recipe).unwrap();
        assert!(!recipe.facts().is_empty(), "{}", case.recipe);
        let mut arguments = vec!["sysext", "recipe", case.recipe, "-o", "made.raw"];
        arguments.extend(case.flags);
        let mut given = Vec::new();
        for (download, name, bytes) in &case.files {
            place.put(name, bytes);
            // Alone, or by its own name, a file needs no other.
            given.push(match given.len() % 2 {
                0 if !case.flags.contains(&"--version") => format!("{download}={name}"),
                _ => (*name).to_owned(),
            });
        }
        given
            .iter()
            .for_each(|file| arguments.extend(["--from", file]));
        place.succeeds(&arguments);
        let image = place.path("made.raw");
        seen.push(case.recipe);

        let release = format!(
            "usr/lib/extension-release.d/extension-release.{}",
            case.recipe
        );
        let mut wanted: Vec<&str> = case.programs.iter().chain(case.others).copied().collect();
        wanted.push(&release);
        wanted.sort_unstable();
        if let Some(found) = paths(&image) {
            let names: Vec<&str> = found.keys().map(String::as_str).collect();
            assert_eq!(names, wanted, "{}", case.recipe);
            for program in case.programs {
                assert_eq!(found[*program], Some(0o755), "{program}");
            }
        }
        assert_eq!(squashfs_clean(&image), Ok(()));
        for (path, words) in case.says {
            assert!(
                content(&image, path).contains(words),
                "{path} says no {words}"
            );
        }
        for (path, words) in case.says_not {
            assert!(
                !content(&image, path).contains(words),
                "{path} says {words}"
            );
        }
        let text_of = content(&image, &format!("/{release}"));
        let fields = ["ID=_any\n", "ARCHITECTURE=x86-64\n"];
        assert!(
            fields.iter().all(|field| text_of.contains(field)),
            "{text_of}"
        );
        // Nothing is found: neither a note nor worse.
        let named = format!("{}=made.raw", case.recipe);
        let output = place.flatbake(&[
            "sysext",
            "check",
            &named,
            "--flatcar",
            "4757.2.1",
            "--arch",
            "amd64",
            "--json",
        ]);
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{answer}");
        assert!(
            answer.replace(' ', "").contains("\"findings\":[]"),
            "{answer}"
        );
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        names().collect::<Vec<_>>(),
        "every recipe has its case"
    );
}

#[test]
fn the_same_archives_give_the_same_bytes_also_by_the_library_and_in_other_formats() {
    let place = Place::new();
    let archive = place.put("tailscale_1.76.6_amd64.tgz", &recipes::tailscale());
    let make = |output: &str, more: &[&str]| {
        let from = ["--from", text(&archive), "-o", output];
        place.succeeds(&[&["sysext", "recipe", "tailscale"][..], &from, more].concat());
    };
    make("one.raw", &["--version", "1.76.6", "--threads", "1"]);
    make(".", &["--version", "1.76.6"]);
    let one = std::fs::read(place.path("one.raw")).unwrap();
    let named = place.path("tailscale-1.76.6-x86-64.raw");
    assert!(one == std::fs::read(named).unwrap());

    let recipe = built_in("tailscale").unwrap();
    let choice = flatbake::sysext::Choice {
        version: Some("1.76.6".to_owned()),
        architecture: "x86-64".to_owned(),
        ..flatbake::sysext::Choice::default()
    };
    let chosen = recipe.choose(&choice).unwrap();
    let files = BTreeMap::from([("tailscale".to_owned(), archive.clone())]);
    let means = Means::new(&NoProgress, place.dir.path(), Cancel::new());
    let prepared = chosen
        .prepare(&files, Build::new("", "tailscale"), None, &means)
        .unwrap();
    let own = place.path("own.raw");
    prepared.write(&own, false, &means).unwrap();
    assert!(one == std::fs::read(own).unwrap());

    make("erofs.raw", &["--format", "erofs"]);
    assert_eq!(erofs_clean(&place.path("erofs.raw")), Ok(()));
    make("other.raw", &["--name", "vpn", "--format", "ddi"]);
    let shown = super::listing(&place.path("other.raw"));
    assert!(shown.contains("tailscaled.service"), "{shown}");
}
