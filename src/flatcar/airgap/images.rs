//! Images of containers that units run, and whether the image of the disk holds them.

use crate::error::Result;
use crate::flatcar::ignition::run::Booted;

/// Where Docker, and containerd, keep the names of their images.
const DOCKER: &str = "/var/lib/docker/image/overlay2/repositories.json";
const CONTAINERD: &str = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
/// Pods that kubelet starts without asking anybody.
const PODS: &str = "/etc/kubernetes/manifests";
/// What every pod needs besides its own images.
const SANDBOX: &str = "/pause:";
/// Programs that run containers.
const PROGRAMS: [&str; 5] = ["docker", "podman", "nerdctl", "ctr", "crictl"];
/// Options without a value of their own, in the short form or the long one.
const FLAGS: [&str; 16] = [
    "-d",
    "-i",
    "-t",
    "-it",
    "-ti",
    "-dit",
    "-P",
    "--rm",
    "--detach",
    "--init",
    "--interactive",
    "--privileged",
    "--quiet",
    "--read-only",
    "--tty",
    "-q",
];

/// The image that a command runs or fetches.
pub(super) fn of_command(command: &str) -> Option<String> {
    let words: Vec<&str> = command
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'']))
        .collect();
    let at = words.iter().position(|word| {
        let name = word.trim_start_matches(['-', '@', '+', '!', ':']);
        let name = name.rsplit('/').next().unwrap_or_default();
        PROGRAMS.contains(&name)
    })?;
    let rest = &words[at + 1..];
    let verb = rest
        .iter()
        .position(|word| matches!(*word, "run" | "pull" | "create"))?;
    let mut words = rest[verb + 1..].iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            let is_image = !word.is_empty() && !word.contains(['$', '%', '\\']);
            return is_image.then(|| (*word).to_owned());
        }
        if !word.contains('=') && !FLAGS.contains(word) {
            words.next();
        }
    }
    None
}

/// The whole name of an image: registry, folder, name, tag.
fn whole(image: &str) -> String {
    let has_registry = image
        .split_once('/')
        .is_some_and(|(first, _)| first.contains(['.', ':']) || first == "localhost");
    let mut name = match (has_registry, image.contains('/')) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    if !last.contains([':', '@']) {
        name.push_str(":latest");
    }
    name
}

/// Whether a store of the disk has an image.
pub(super) fn has(booted: &mut Booted, image: &str) -> Result<bool> {
    let whole = whole(image);
    let short = whole
        .strip_prefix("docker.io/library/")
        .or_else(|| whole.strip_prefix("docker.io/"))
        .unwrap_or(&whole);
    let docker = booted.text(DOCKER)?.unwrap_or_default();
    if docker.contains(&format!("\"{short}\"")) {
        return Ok(true);
    }
    // Names are keys of this database as they are.
    let containerd = booted.bytes(CONTAINERD)?;
    Ok(contains(&containerd, whole.as_bytes()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The images that kubelet needs at once and that no store has.
pub(super) fn of_kubelet(booted: &mut Booted) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    let containerd = booted.bytes(CONTAINERD)?;
    if !contains(&containerd, SANDBOX.as_bytes()) {
        missing.push("registry.k8s.io/pause".to_owned());
    }
    for file in booted.names(PODS)? {
        let text = booted.text(&format!("{PODS}/{file}"))?.unwrap_or_default();
        for line in text.lines() {
            let line = line.trim().trim_start_matches("- ");
            let Some(image) = line.strip_prefix("image:") else {
                continue;
            };
            let image = image.trim().trim_matches(['"', '\'']).to_owned();
            if !image.is_empty() && !missing.contains(&image) && !has(booted, &image)? {
                missing.push(image);
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_behind_the_options_of_commands() {
        for (command, expected) in [
            (
                "/usr/bin/docker run --rm -p 80:80 --name web nginx:1.27",
                Some("nginx:1.27"),
            ),
            ("-/usr/bin/docker pull ghcr.io/a/b:c", Some("ghcr.io/a/b:c")),
            ("/bin/sh -c \"docker run -d --net=host a/b\"", Some("a/b")),
            (
                "/usr/bin/ctr -n k8s.io images pull docker.io/library/x:1",
                Some("docker.io/library/x:1"),
            ),
            ("/usr/bin/docker run $IMAGE", None),
            ("/usr/bin/docker stop web", None),
            ("/usr/bin/dockerd run x", None),
        ] {
            assert_eq!(of_command(command).as_deref(), expected, "{command}");
        }
    }

    #[test]
    fn names_of_images_are_made_whole() {
        for (image, expected) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost/x", "localhost/x:latest"),
            ("r.example:5000/x", "r.example:5000/x:latest"),
        ] {
            assert_eq!(whole(image), expected);
        }
    }
}
