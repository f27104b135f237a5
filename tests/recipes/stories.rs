//! The stories of docs/tailscale.md and docs/docker.md, whose commands `examples` runs, with what comes of them.

use super::Place;
use crate::common::programs::raw_sample;
use crate::common::reading::text;
use crate::common::recipes;

#[test]
fn tailscale_from_its_archive_to_an_image_that_updates_it() {
    let place = Place::new();
    let image = raw_sample();
    let sysext = "tailscale-1.76.6-x86-64.raw";
    place.put("tailscale_1.76.6_amd64.tgz", &recipes::tailscale());
    place.succeeds(&[
        "sysext",
        "recipe",
        "tailscale",
        "--version",
        "1.76.6",
        "--from",
        "tailscale_1.76.6_amd64.tgz",
        "-o",
        ".",
    ]);
    let named = format!("tailscale={sysext}");
    let order = place.succeeds(&["sysext", "check", &named, "--image", text(&image)]);
    assert!(order.contains("tailscale"), "{order}");
    let url = "https://sysexts.example/";
    place.succeeds(&[
        "sysext",
        "sysupdate",
        "tailscale",
        "--url",
        url,
        "-o",
        "tailscale.conf",
    ]);
    let baked = format!("tailscale:{sysext}");
    place.succeeds(&[
        "bake",
        "--image",
        text(&image),
        "-o",
        "node.qcow2",
        &baked,
        "--sysupdate",
    ]);

    let inspected = place.succeeds(&["inspect", "node.qcow2"]);
    let link = format!("/etc/extensions/tailscale.raw -> /opt/extensions/tailscale/{sysext}");
    assert!(inspected.contains(&link), "{inspected}");
    let dropin = "root:/etc/systemd/system/systemd-sysupdate.service.d/tailscale.conf";
    let dropin = place.succeeds(&["cat", "node.qcow2", dropin]);
    assert!(
        dropin.contains("systemd-sysupdate -C tailscale update"),
        "{dropin}"
    );
}

#[test]
fn a_docker_of_ones_own_takes_the_place_of_that_of_the_image() {
    let place = Place::new();
    let image = raw_sample();
    place.put("docker-28.0.4.tgz", &recipes::docker());
    place.succeeds(&[
        "sysext",
        "recipe",
        "docker",
        "--from",
        "docker-28.0.4.tgz",
        "--name",
        "mydocker",
        "-o",
        "mydocker.raw",
    ]);
    let check = ["sysext", "check", "mydocker.raw", "--image", text(&image)];
    let beside = place.succeeds(&check);
    assert!(beside.contains("docker-flatcar"), "{beside}");
    let masked = ["--mask", "docker-flatcar,containerd-flatcar"];
    let alone = place.succeeds(&[&check[..], &masked].concat());
    assert!(
        !alone.contains("docker-flatcar") && alone.contains("mydocker"),
        "{alone}"
    );
    place.succeeds(&[
        "bake",
        "--image",
        text(&image),
        "-o",
        "node.qcow2",
        "--root-link",
        "/dev/null:/etc/extensions/docker-flatcar.raw",
        "--root-link",
        "/dev/null:/etc/extensions/containerd-flatcar.raw",
        "mydocker:mydocker.raw",
    ]);
    let inspected = place.succeeds(&["inspect", "node.qcow2"]);
    for line in [
        "/etc/extensions/docker-flatcar.raw -> /dev/null",
        "/etc/extensions/containerd-flatcar.raw -> /dev/null",
        "/etc/extensions/mydocker.raw -> /opt/extensions/mydocker/mydocker.raw",
    ] {
        assert!(inspected.contains(line), "{line}: {inspected}");
    }
}
