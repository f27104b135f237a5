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
