//! What recipes fetch, and by what it is verified.

use super::Place;
use crate::common::recipes;
use crate::common::tree::sha256;

const FILE: &str = "mirror/stable/tailscale_1.76.6_amd64.tgz";

/// A mirror of Tailscale's server with these digests beside the archive.
fn mirror(digests: Option<&str>) -> Place {
    let place = Place::new();
    place.put(FILE, &recipes::tailscale());
    if let Some(digests) = digests {
        place.put(&format!("{FILE}.sha256"), digests.as_bytes());
    }
    place
}

const FETCHES: [&str; 7] = [
    "sysext",
    "recipe",
    "tailscale",
    "--version",
    "1.76.6",
    "--mirror",
    "https://pkgs.tailscale.com/=mirror/",
];

fn flags<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&FETCHES[..], more].concat()
}

#[test]
fn an_archive_with_the_published_digest_is_kept_and_used_again() {
    let digest = sha256(&recipes::tailscale()[..]);
    let place = mirror(Some(&digest));
    place.succeeds(&flags(&["-o", "one.raw"]));
    place.fails(&flags(&["-o", "one.raw"]), 2, &["one.raw"]);
    place.succeeds(&flags(&["-o", "two.raw", "--offline"]));
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(read("one.raw") == read("two.raw"));
    place.put("local.tgz", &recipes::tailscale());
    place.succeeds(&flags(&["-o", "three.raw", "--from", "local.tgz"]));
    assert!(read("one.raw") == read("three.raw"));
}

#[test]
fn without_a_network_what_is_missing_is_named() {
    let place = mirror(None);
    let offline = flags(&["-o", "one.raw", "--offline"]);
    place.fails(
        &offline,
        2,
        &["not in the cache", "tailscale_1.76.6_amd64.tgz"],
    );
}

#[test]
fn another_digest_is_refused_whoever_says_it() {
    let wrong = "0".repeat(64);
    let place = mirror(Some(&wrong));
    place.fails(&flags(&["-o", "one.raw"]), 7, &["SHA-256", &wrong]);
    let right = sha256(&recipes::tailscale()[..]);
    place.succeeds(&flags(&["-o", "one.raw", "--sha256", &right]));
    let upper = format!("tailscale={}", right.to_uppercase());
    place.succeeds(&flags(&["-o", "two.raw", "--sha256", &upper]));
    let other = format!("tailscale={wrong}");
    let cached = flags(&["-o", "three.raw", "--sha256", &other]);
    place.fails(&cached, 7, &["SHA-256"]);
    place.fails(
        &flags(&["-o", "x.raw", "--sha256", "12"]),
        2,
        &["64 hexadecimal"],
    );
}

#[test]
fn what_nobody_vouches_for_needs_a_digest_or_a_loud_word() {
    let place = Place::new();
    place.put(
        "mirror/linux/static/stable/x86_64/docker-28.0.4.tgz",
        &recipes::docker(),
    );
    let fetch = [
        "sysext",
        "recipe",
        "docker",
        "--version",
        "28.0.4",
        "--mirror",
        "https://download.docker.com/=mirror/",
    ];
    let with = |more: &[&'static str]| [&fetch[..], more].concat();
    place.fails(
        &with(&["-o", "one.raw"]),
        7,
        &["nobody publishes a digest", "--sha256 docker="],
    );
    assert!(!place.path("one.raw").exists());
    place.succeeds(&with(&["-o", "one.raw", "--insecure-skip-verify"]));
    // Nothing of that is kept.
    place.fails(
        &with(&["-o", "two.raw", "--offline"]),
        7,
        &["nobody publishes a digest"],
    );
}
