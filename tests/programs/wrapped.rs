//! Whole root filesystems with wrappers, and torcx images.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use flatbake::flatcar::sysext::build::Build;
use flatbake::flatcar::sysext::flatwrap::{Flatwrap, Side};
use flatbake::flatcar::sysext::flix::Wanted;
use flatbake::flatcar::sysext::torcx;
use flatbake::fs::ExtractOptions;
use flatbake::{ErrorKind, FsPath, extract};

use super::means;
use crate::common::programs::{command, judge, judges, said};
use crate::common::reading::text;
use crate::common::scratch_dir;
use crate::common::sysext::write_file;
use crate::tar::maker::Maker;

/// A root filesystem with the shell of this machine and a script that tells what it sees.
fn root(folder: &Path) {
    let script = "#!/bin/sh\nread own </etc/own || own=none\nread mark </usr/share/mark\n\
                  echo \"$mark $own $(/usr/bin/id -u) $*\"\n";
    write_file(folder, "usr/bin/tell", script.as_bytes());
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("usr/bin/tell"), mode).unwrap();
    write_file(folder, "usr/share/mark", b"inside\n");
    write_file(folder, "etc/own", b"chroot\n");
    write_file(folder, "dev/left", b"out\n");
    for (link, target) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        symlink(target, folder.join(link)).unwrap();
    }
    for (program, name) in [("/bin/dash", "sh"), ("/usr/bin/id", "id")] {
        let target = folder.join("usr/bin").join(name);
        fs::copy(fs::canonicalize(program).unwrap(), target).unwrap();
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for path in listed
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            let target = folder
                .join("usr")
                .join(path.trim_start_matches("/usr").trim_start_matches('/'));
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(path, target).unwrap();
        }
    }
}

#[test]
fn wrapped_programs_run_as_root_and_as_a_user() {
    if !judges(&["unshare", "setpriv", "ldd"]) || !Path::new("/bin/dash").exists() {
        return;
    }
    let dir = scratch_dir();
    root(&dir.path().join("root"));
    let flatwrap = Flatwrap {
        source: dir.path().join("root"),
        wanted: [
            "/bin/tell",
            "/usr/share/mark",
            "/usr/bin/tell:/usr/bin/it's",
        ]
        .iter()
        .map(|path| Wanted::parse(path).unwrap())
        .collect(),
        etc: Side::Chroot,
        var: Side::Host,
        home: Side::Host,
    };
    let means = means(dir.path());
    let prepared = flatwrap
        .prepare(Build::new("", "box"), None, &means)
        .unwrap();
    let merged = dir.path().join("merged");
    extract(
        prepared.tree(),
        &FsPath::root(),
        &merged,
        &ExtractOptions::default(),
    )
    .unwrap();
    let link = fs::read_link(merged.join("usr/share/mark")).unwrap();
    assert_eq!(link, Path::new("/usr/local/box/rootfs/usr/share/mark"));
    let inside = merged.join("usr/local/box/rootfs");
    assert!(inside.join("dev").is_dir() && !inside.join("dev/left").exists());

    let is_root = rustix::process::geteuid().is_root();
    let unshare = judge("unshare").unwrap();
    let allowed = |arguments: &[&str]| {
        command(&unshare)
            .args(arguments)
            .status()
            .unwrap()
            .success()
    };
    // Who runs it, by what in front; whether that is possible here; with bwrap or without.
    let user = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"];
    let mut ways: Vec<(&[&str], &str, &str)> = Vec::new();
    if is_root && allowed(&["--mount", "true"]) {
        ways.push((&[], "0", ""));
        if allowed(&["--mount", "--user", "--map-root-user", "true"]) {
            ways.push((&user, "1234", "1"));
            if judge("bwrap").is_some() {
                ways.push((&user, "1234", ""));
            }
        }
    }
    if ways.is_empty() {
        eprintln!("skipped: this machine lets us have no namespaces");
    }
    // Others have to get at the folder.
    for folder in dir
        .path()
        .ancestors()
        .take_while(|folder| *folder != Path::new("/"))
    {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        if mode & 0o5 != 0o5 && folder.starts_with(crate::common::scratch_root()) {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o5)).unwrap();
        } else if mode & 0o1 == 0 {
            ways.retain(|(front, ..)| front.is_empty());
        }
    }
    for (front, uid, no_bwrap) in ways {
        for (map, own) in [("", "chroot"), ("host", "none")] {
            for program in ["tell", "it's"] {
                let path = merged.join("usr/bin").join(program);
                let words: Vec<&str> = front.iter().copied().chain([text(&path)]).collect();
                let mut command = command(&judge(words[0]).unwrap_or_else(|| path.clone()));
                command
                    .args(&words[1..])
                    .args(["a b", "c"])
                    .current_dir("/");
                command
                    .env("FLATWRAP_ROOT", &merged)
                    .env("ETCMAP", map)
                    .env("NOBWRAP", no_bwrap);
                let output = command.output().unwrap();
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let expected = format!("inside {own} {uid} a b c\n");
                assert_eq!(told, expected, "{front:?} {no_bwrap}: {}", said(&output));
            }
        }
    }
}

#[test]
fn torcx_images_become_sysexts() {
    let dir = scratch_dir();
    let units = "lib/systemd/system";
    let manifest = r#"{"kind":"image-manifest-v0","value":{"bin":["/bin/dockerd"]}}"#;
    let archive = Maker::new()
        .dir(".torcx/")
        .file(".torcx/manifest.json", manifest)
        .dir("bin/")
        .file("bin/dockerd", "#!/bin/sh\n")
        .file("sbin/iptool", "#!/bin/sh\n")
        .file(
            &format!("{units}/docker.service"),
            "[Unit]\nRequires=torcx.target\n[Service]\nEnvironmentFile=/run/metadata/torcx\nExecStart=${TORCX_BINDIR}/dockerd\n",
        )
        .file(&format!("{units}/docker.socket"), "[Socket]\nListenStream=/run/docker.sock\n")
        .symlink(&format!("{units}/sockets.target.wants/docker.socket"), "../docker.socket")
        .end();
    let image = dir.path().join("docker.torcx.tar");
    fs::write(&image, archive).unwrap();
    let means = means(dir.path());
    let prepared = torcx::prepare(&image, Build::new("", "docker"), None, &means).unwrap();
    let tree = dir.path().join("tree");
    extract(
        prepared.tree(),
        &FsPath::root(),
        &tree,
        &ExtractOptions::default(),
    )
    .unwrap();
    let read = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    assert!(tree.join("usr/bin/dockerd").is_file() && tree.join("usr/bin/iptool").is_file());
    assert!(!tree.join(".torcx").exists() && !tree.join("bin").exists());
    let service = read("usr/lib/systemd/system/docker.service");
    assert!(
        service.contains("Environment=TORCX_BINDIR=/usr/bin\n"),
        "{service}"
    );
    assert!(
        !service.contains("torcx.target") && !service.contains("metadata"),
        "{service}"
    );
    let drop_in = read("usr/lib/systemd/system/sockets.target.d/10-docker-socket.conf");
    assert_eq!(drop_in, "[Unit]\nUpholds=docker.socket\n");
    assert!(
        !tree
            .join("usr/lib/systemd/system/sockets.target.wants")
            .exists()
    );
    let release = read("usr/lib/extension-release.d/extension-release.docker");
    assert!(release.contains("EXTENSION_RELOAD_MANAGER=1"), "{release}");

    for (name, manifest) in [
        ("none", None),
        ("other", Some(r#"{"kind":"x"}"#)),
        ("bad", Some("{")),
    ] {
        let mut maker = Maker::new().file("bin/x", "x");
        if let Some(manifest) = manifest {
            maker = maker.file(".torcx/manifest.json", manifest);
        }
        let image = dir.path().join(name);
        fs::write(&image, maker.end()).unwrap();
        let error = torcx::prepare(&image, Build::new("", "docker"), None, &means).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        assert!(
            error.to_string().contains("no torcx image"),
            "{name}: {error}"
        );
    }
}
