//! OCI layers and trees of Docker.

use flatbake::Finding;
use flatbake::archive::TarOptions;
use flatbake::finding::code;

use super::maker::Maker;
use super::model::Model;
use super::{listing, path, unpack_to};

fn layer() -> TarOptions {
    TarOptions { oci_layer: true, ..TarOptions::default() }
}

fn base() -> Model {
    let mut fs = Model::new();
    let archive = Maker::new().file("a/one", "1").file("a/two", "2").file("a/sub/x", "x").file("b/y", "y").end();
    unpack_to(&mut fs, &archive, "/", &layer()).unwrap();
    fs
}

fn after(archive: Maker) -> Vec<String> {
    let mut fs = base();
    unpack_to(&mut fs, &archive.end(), "/", &layer()).unwrap();
    listing(&fs).into_iter().filter(|line| line.starts_with("/a")).collect()
}

#[test]
fn whiteouts_delete_what_lower_layers_have() {
    assert_eq!(
        after(Maker::new().file("a/.wh.one", "").file("a/.wh.sub", "").file("a/.wh.missing", "")),
        ["/a/", "/a/two = 2"]
    );
    assert_eq!(after(Maker::new().file("./.wh.a", "").file("none/.wh.x", "")), [""; 0]);
    assert_eq!(after(Maker::new().file("a/.wh..wh.plnk", "").file(".wh..wh.aufs", "")).len(), 5);
    for bad in ["a/.wh.", "a/.wh...", "a/.wh.."] {
        assert!(unpack_to(&mut base(), &Maker::new().file(bad, "").end(), "/", &layer()).is_err(), "{bad}");
    }
}

/// The order in the archive does not count: only lower layers are hidden.
#[test]
fn whiteouts_spare_their_own_layer() {
    let expected = ["/a/", "/a/new = n", "/a/sub/", "/a/sub/y = y"];
    assert_eq!(after(Maker::new().file("a/.wh..wh..opq", "").file("a/new", "n").file("a/sub/y", "y")), expected);
    assert_eq!(after(Maker::new().file("a/new", "n").file("a/sub/y", "y").file("a/.wh..wh..opq", "")), expected);
    let expected = ["/a/", "/a/one = 1", "/a/sub/", "/a/sub/y = y", "/a/two = 2"];
    assert_eq!(after(Maker::new().file("a/sub/y", "y").file("a/.wh.sub", "")), expected);
    assert_eq!(after(Maker::new().file("a/.wh.sub", "").file("a/sub/y", "y")), expected);
    assert_eq!(after(Maker::new().file("a", "a file in place of a tree")), ["/a = a file in place of a tree"]);
}

/// The directory would be gone before the link is made.
#[test]
fn a_link_cannot_replace_the_directory_of_its_target() {
    let error = unpack_to(&mut base(), &Maker::new().hard_link("a", "a/one").end(), "/", &layer()).unwrap_err();
    assert!(error.to_string().contains("in place of the directory"), "{error:?}");
    assert_eq!(after(Maker::new().hard_link("a", "b/y")), ["/a = y"]);
}

/// Without the option `.wh.` is a name like any other.
#[test]
fn whiteouts_are_asked_for() {
    let mut fs = base();
    unpack_to(&mut fs, &Maker::new().file("a/.wh.one", "").end(), "/", &TarOptions::default()).unwrap();
    assert!(listing(&fs).contains(&"/a/.wh.one = ".to_owned()));
}

#[test]
fn trees_of_docker_lose_their_identity() {
    let archive = Maker::new()
        .file("docker/engine-id", "id")
        .dir("docker/swarm/")
        .file("docker/swarm/certificates/key", "secret")
        .file("docker/containers/c0ffee/config.v2.json", "{}")
        .dir("docker/buildkit/")
        .file("docker/vfs/dir/x/y", "")
        .file("docker/overlay2/l1/diff/x", "")
        .file("docker/overlay2/l2/lower", "l/ABC")
        .file("docker/image/overlay2/repositories.json", "{}")
        .file("containerd/io.containerd.metadata.v1.bolt/meta.db", "")
        .end();
    let mut fs = Model::new();
    let summary = unpack_to(&mut fs, &archive, "/var/lib", &TarOptions::default()).unwrap();
    assert!(!listing(&fs).iter().any(|line| line.contains("engine-id") || line.contains("swarm")));
    assert_eq!(summary.skipped, 3);
    let identity = "/var/lib/docker/engine-id, /var/lib/docker/swarm";
    assert_eq!(
        summary.findings,
        [
            Finding::new(code::DOCKER_IDENTITY_DROPPED).with("paths", identity),
            Finding::new(code::DOCKER_STATE).with("paths", "/var/lib/docker/containers"),
            Finding::new(code::DOCKER_DRIVER).with("drivers", "vfs"),
            Finding::new(code::DOCKER_LAYERS),
            Finding::new(code::CONTAINERD_STATE)
                .with("path", "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db"),
        ]
    );
    let keep = TarOptions { keep_docker_identity: true, ..TarOptions::default() };
    let kept = unpack_to(&mut fs, &archive, "/var/lib", &keep).unwrap();
    assert_eq!(kept.findings[0], Finding::new(code::DOCKER_IDENTITY_KEPT).with("paths", identity));
    assert!(listing(&fs).contains(&"/var/lib/docker/swarm/certificates/key = secret".to_owned()));
    // The same tree elsewhere means nothing.
    let elsewhere = unpack_to(&mut Model::new(), &archive, "/srv", &TarOptions::default()).unwrap();
    assert!(elsewhere.findings.is_empty());
}

#[test]
fn a_good_tree_of_docker_gives_no_findings() {
    let archive = Maker::new()
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .dir("var/lib/docker/overlay2/l2/diff/etc/")
        .file("var/lib/docker/overlay2/l2/lower", "l/ABC")
        .node("var/lib/docker/overlay2/l2/diff/gone", b'3', 0, 0)
        .file("var/lib/docker/image/overlay2/repositories.json", "{}")
        .dir("var/lib/docker/containers/")
        .end();
    let summary = unpack_to(&mut Model::new(), &archive, "/", &TarOptions::default()).unwrap();
    assert_eq!(summary.findings, []);
    assert_eq!((summary.files, summary.nodes), (2, 1));
    assert!(summary.top_level.iter().eq([&path("/var")]));
}

#[test]
fn what_was_meant_otherwise_is_told() {
    let findings = |maker: Maker, dest: &str| {
        let summary = unpack_to(&mut Model::new(), &maker.end(), dest, &TarOptions::default()).unwrap();
        summary.findings.iter().map(Finding::code).collect::<Vec<_>>()
    };
    let saved = || Maker::new().file("manifest.json", "[]").file("repositories", "{}").file("abc/layer.tar", "");
    let layout = || Maker::new().file("oci-layout", "{}").file("index.json", "{}").file("blobs/sha256/1", "");
    assert_eq!(findings(saved(), "/srv"), [code::ARCHIVE_IS_IMAGE]);
    assert_eq!(findings(layout(), "/"), [code::ARCHIVE_IS_IMAGE]);
    assert!(findings(Maker::new().file("index.json", "{}").file("x/oci-layout", ""), "/srv").is_empty());
    let docker = |prefix: &str| {
        let name = |rest: &str| format!("{prefix}{rest}");
        Maker::new().dir(&name("overlay2/")).file(&name("image/overlay2/repositories.json"), "{}")
    };
    for (prefix, dest, nested) in [
        ("var/lib/docker/", "/var/lib/docker", true),
        ("docker/", "/var/lib/docker", true),
        ("var/lib/docker/", "/", false),
        ("", "/var/lib/docker", false),
    ] {
        let wanted: &[_] = if nested { &[code::DOCKER_NESTED] } else { &[] };
        assert_eq!(findings(docker(prefix), dest), wanted, "{prefix} to {dest}");
    }
}
