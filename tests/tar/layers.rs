//! OCI layers and trees of Docker.

use flatbake::Finding;
use flatbake::archive::TarOptions;
use flatbake::finding::code;
use flatbake::fs::ByPath;

use super::maker::{Maker, record};
use super::model::Model;
use super::{listing, path, unpack_to};

fn layer() -> TarOptions {
    TarOptions {
        oci_layer: true,
        ..TarOptions::default()
    }
}

fn base() -> Model {
    let mut fs = Model::new();
    let archive = Maker::new()
        .file("a/one", "1")
        .file("a/two", "2")
        .file("a/sub/x", "x")
        .file("b/y", "y")
        .end();
    unpack_to(&mut fs, &archive, "/", &layer()).unwrap();
    fs
}

fn after(archive: Maker) -> Vec<String> {
    let mut fs = base();
    unpack_to(&mut fs, &archive.end(), "/", &layer()).unwrap();
    listing(&fs)
        .into_iter()
        .filter(|line| line.starts_with("/a"))
        .collect()
}

#[test]
fn whiteouts_delete_what_lower_layers_have() {
    assert_eq!(
        after(
            Maker::new()
                .file("a/.wh.one", "")
                .file("a/.wh.sub", "")
                .file("a/.wh.missing", "")
        ),
        ["/a/", "/a/two = 2"]
    );
    assert_eq!(
        after(Maker::new().file("./.wh.a", "").file("none/.wh.x", "")),
        [""; 0]
    );
    assert_eq!(
        after(
            Maker::new()
                .file("a/.wh..wh.plnk", "")
                .file(".wh..wh.aufs", "")
        )
        .len(),
        5
    );
    for bad in ["a/.wh.", "a/.wh...", "a/.wh.."] {
        assert!(
            unpack_to(
                &mut base(),
                &Maker::new().file(bad, "").end(),
                "/",
                &layer()
            )
            .is_err(),
            "{bad}"
        );
    }
}

/// The order in the archive does not count: only lower layers are hidden.
#[test]
fn whiteouts_spare_their_own_layer() {
    let expected = ["/a/", "/a/new = n", "/a/sub/", "/a/sub/y = y"];
    assert_eq!(
        after(
            Maker::new()
                .file("a/.wh..wh..opq", "")
                .file("a/new", "n")
                .file("a/sub/y", "y")
        ),
        expected
    );
    assert_eq!(
        after(
            Maker::new()
                .file("a/new", "n")
                .file("a/sub/y", "y")
                .file("a/.wh..wh..opq", "")
        ),
        expected
    );
    let expected = ["/a/", "/a/one = 1", "/a/sub/", "/a/sub/y = y", "/a/two = 2"];
    assert_eq!(
        after(Maker::new().file("a/sub/y", "y").file("a/.wh.sub", "")),
        expected
    );
    assert_eq!(
        after(Maker::new().file("a/.wh.sub", "").file("a/sub/y", "y")),
        expected
    );
    assert_eq!(
        after(Maker::new().file("a", "a file in place of a tree")),
        ["/a = a file in place of a tree"]
    );
}

/// The directory would be gone before the link is made.
#[test]
fn a_link_cannot_replace_the_directory_of_its_target() {
    let error = unpack_to(
        &mut base(),
        &Maker::new().hard_link("a", "a/one").end(),
        "/",
        &layer(),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("in place of the directory"),
        "{error:?}"
    );
    assert_eq!(after(Maker::new().hard_link("a", "b/y")), ["/a = y"]);
}

#[test]
fn what_builders_note_for_themselves_does_not_arrive() {
    let notes = Maker::new()
        .dir(".wh..wh.orph/")
        .file(".wh..wh.orph/123", "lost")
        .file("a/.wh..wh.orph/deep/er", "lost")
        .dir(".wh..wh.plnk/")
        .file(".wh..wh.plnk/55.66", "linked")
        .hard_link("a/new", ".wh..wh.plnk/55.66")
        .hard_link("a/other", ".wh..wh.plnk/55.66")
        .entry(".wh..wh.aufs", b'0', b"", "");
    let mut fs = base();
    let before = listing(&fs);
    unpack_to(&mut fs, &notes.end(), "/", &layer()).unwrap();
    let new: Vec<String> = listing(&fs)
        .into_iter()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(new, ["/a/new = linked", "/a/other = linked"]);
    let inode = |name: &str| fs.metadata_at(&path(name)).unwrap().inode;
    assert_eq!(
        (
            inode("/a/new"),
            fs.metadata_at(&path("/a/new")).unwrap().nlink
        ),
        (inode("/a/other"), 2)
    );
    // What is in the image already is nobody's note.
    let mut fs = Model::new();
    unpack_to(
        &mut fs,
        &Maker::new().file(".wh..wh.plnk/mine", "").end(),
        "/",
        &TarOptions::default(),
    )
    .unwrap();
    let error = unpack_to(
        &mut fs,
        &Maker::new().file(".wh..wh.plnk/1.2", "").end(),
        "/",
        &layer(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
}

/// Builders that pack an upper directory of overlayfs as it is leave its own whiteouts in the layer, and containerd unpacks
/// them to where overlayfs understands them.
#[test]
fn marks_of_overlayfs_do_what_they_do_in_a_mount() {
    let marked =
        |name: &str, value: &[u8]| Maker::new().pax(&[(&format!("SCHILY.xattr.{name}"), value)]);
    let without_two = ["/a/", "/a/one = 1", "/a/sub/", "/a/sub/x = x"];
    assert_eq!(after(Maker::new().node("a/two", b'3', 0, 0)), without_two);
    assert_eq!(
        after(marked("user.overlay.whiteout", b"y").file("a/two", "")),
        without_two
    );
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.fuseoverlayfs.opaque",
    ] {
        let mut fs = base();
        let archive = Maker::new().file("a/new", "n").pax(&[
            (&format!("SCHILY.xattr.{name}"), b"y"),
            ("SCHILY.xattr.trusted.overlay.origin", b"\0\xfb"),
            ("SCHILY.xattr.trusted.overlayer", b"kept"),
        ]);
        unpack_to(&mut fs, &archive.dir("a/").end(), "/", &layer()).unwrap();
        let found: Vec<String> = listing(&fs)
            .into_iter()
            .filter(|line| line.starts_with("/a"))
            .collect();
        assert_eq!(found, ["/a/", "/a/new = n"], "{name}");
        let kept = fs.xattrs_at(&path("/a")).unwrap();
        assert_eq!(
            kept.iter().map(|xattr| &xattr.name[..]).collect::<Vec<_>>(),
            [b"trusted.overlayer"]
        );
    }
    // `x` says that there are whiteouts in the directory, a file with content is none.
    assert_eq!(
        after(marked("user.overlay.opaque", b"x").dir("a/")).len(),
        5
    );
    assert!(
        after(marked("user.overlay.whiteout", b"y").file("a/two", "2"))
            .contains(&"/a/two = 2".to_owned())
    );
    assert!(
        after(Maker::new().node("a/two", b'3', 1, 3))
            .iter()
            .any(|line| line.starts_with("/a/two"))
    );
    for name in ["trusted.overlay.metacopy", "user.overlay.redirect"] {
        let error = unpack_to(
            &mut base(),
            &marked(name, b"").file("a/two", "").end(),
            "/",
            &layer(),
        )
        .unwrap_err();
        assert_eq!(error.kind(), flatbake::ErrorKind::Unsupported, "{error}");
    }
}

/// Go's reader, with which containerd and Docker read layers, applies no global header.
#[test]
fn global_headers_count_for_archives_and_not_for_layers() {
    let archive = || {
        Maker::new()
            .entry("pax_global_header", b'g', &record("uid", b"77"), "")
            .file("a", "")
    };
    let owner = |options: &TarOptions| {
        let mut fs = Model::new();
        unpack_to(&mut fs, &archive().end(), "/", options).unwrap();
        fs.metadata_at(&path("/a")).unwrap().uid
    };
    assert_eq!((owner(&TarOptions::default()), owner(&layer())), (77, 0));
    let same_path = || {
        Maker::new()
            .entry("g", b'g', &record("path", b"all/the/same"), "")
            .file("a", "x")
    };
    assert!(
        unpack_to(
            &mut Model::new(),
            &same_path().end(),
            "/",
            &TarOptions::default()
        )
        .is_err()
    );
    let mut fs = Model::new();
    unpack_to(&mut fs, &same_path().end(), "/", &layer()).unwrap();
    assert_eq!(listing(&fs), ["/a = x"]);
}

/// Without the option `.wh.` is a name like any other.
#[test]
fn whiteouts_are_asked_for() {
    let mut fs = base();
    unpack_to(
        &mut fs,
        &Maker::new().file("a/.wh.one", "").end(),
        "/",
        &TarOptions::default(),
    )
    .unwrap();
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
    assert!(
        !listing(&fs)
            .iter()
            .any(|line| line.contains("engine-id") || line.contains("swarm"))
    );
    assert_eq!(summary.skipped, 3);
    let identity = "/var/lib/docker/engine-id, /var/lib/docker/swarm";
    assert_eq!(
        summary.findings,
        [
            Finding::new(code::DOCKER_IDENTITY_DROPPED).with("paths", identity),
            Finding::new(code::DOCKER_STATE).with("paths", "/var/lib/docker/containers"),
            Finding::new(code::DOCKER_DRIVER).with("drivers", "vfs"),
            Finding::new(code::DOCKER_LAYERS),
            Finding::new(code::CONTAINERD_STATE).with(
                "path",
                "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db"
            ),
        ]
    );
    let keep = TarOptions {
        keep_docker_identity: true,
        ..TarOptions::default()
    };
    let kept = unpack_to(&mut fs, &archive, "/var/lib", &keep).unwrap();
    assert_eq!(
        kept.findings[0],
        Finding::new(code::DOCKER_IDENTITY_KEPT).with("paths", identity)
    );
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
fn files_that_macos_adds_are_told_once() {
    let archive = Maker::new()
        .file("./._.", "attributes")
        .dir("./")
        .file("./._a", "attributes")
        .file("./a", "")
        .file("./b/._sub", "attributes")
        .dir("./b/sub/")
        .file("./._alone", "somebody's name for a file")
        .file("./d", "")
        .file("./._d", "attributes")
        .file("./c", "");
    let summary = unpack_to(
        &mut Model::new(),
        &archive.end(),
        "/srv",
        &TarOptions::default(),
    )
    .unwrap();
    assert!(
        summary
            .findings
            .contains(&Finding::new(code::ARCHIVE_APPLEDOUBLE).with("count", 4)),
        "{summary:?}"
    );
    let excludes = vec![flatbake::archive::Glob::new("._*").unwrap()];
    let options = TarOptions {
        excludes,
        ..TarOptions::default()
    };
    let mut fs = Model::new();
    let summary = unpack_to(
        &mut fs,
        &Maker::new().file("x/._a", "1").file("x/a", "2").end(),
        "/",
        &options,
    )
    .unwrap();
    assert_eq!(
        (summary.findings.len(), listing(&fs)),
        (0, vec!["/x/".to_owned(), "/x/a = 2".to_owned()])
    );
}

#[test]
fn what_was_meant_otherwise_is_told() {
    let findings = |maker: Maker, dest: &str| {
        let summary = unpack_to(
            &mut Model::new(),
            &maker.end(),
            dest,
            &TarOptions::default(),
        )
        .unwrap();
        summary
            .findings
            .iter()
            .map(Finding::code)
            .collect::<Vec<_>>()
    };
    let saved = || {
        Maker::new()
            .file("manifest.json", "[]")
            .file("repositories", "{}")
            .file("abc/layer.tar", "")
    };
    let layout = || {
        Maker::new()
            .file("oci-layout", "{}")
            .file("index.json", "{}")
            .file("blobs/sha256/1", "")
    };
    assert_eq!(findings(saved(), "/srv"), [code::ARCHIVE_IS_IMAGE]);
    assert_eq!(findings(layout(), "/"), [code::ARCHIVE_IS_IMAGE]);
    assert!(
        findings(
            Maker::new()
                .file("index.json", "{}")
                .file("x/oci-layout", ""),
            "/srv"
        )
        .is_empty()
    );
    let docker = |prefix: &str| {
        let name = |rest: &str| format!("{prefix}{rest}");
        Maker::new()
            .dir(&name("overlay2/"))
            .file(&name("image/overlay2/repositories.json"), "{}")
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
