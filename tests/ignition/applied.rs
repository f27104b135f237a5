//! What `bake --apply-ignition` makes in an image is what Ignition would make at boot.

use std::fs;
use std::path::Path;
use std::process::Output;

use flatbake::flatcar::ignition::run::{Config, Rehearsed, RunOptions, run};
use flatbake::flatcar::{Designator, Disk};
use flatbake::fs::{ByPath, FileSystem, FileType, FsPath, read_file};
use flatbake::{NoProgress, OpenOptions};

use super::no_boot::recipe;
use crate::common::flatcar::flatcar_image;
use crate::common::programs::{flatbake, said};
use crate::common::{scratch_dir, scratch_root};

const CONFIG: &str = r#"{"ignition":{"version":"3.3.0"},
"passwd":{"users":[{"name":"core","sshAuthorizedKeys":["ssh-ed25519 AAAA me"]},{"name":"bob","groups":["docker"],"passwordHash":"$6$x"}]},
"storage":{"directories":[{"path":"/opt/bob","mode":488,"user":{"name":"bob"},"group":{"name":"bob"}},{"path":"/opt/baked","mode":448}],
"files":[{"path":"/opt/bob/x","mode":384,"user":{"name":"bob"},"contents":{"source":"oem:///app.conf"}},{"path":"/etc/hosts","mode":416,"append":[{"source":"data:,more%0A"}]},{"path":"/oem/note","contents":{"source":"data:,oem"}}],
"links":[{"path":"/opt/l","target":"bob/x"},{"path":"/a","hard":true,"target":"/opt/bob/x"}]},
"systemd":{"units":[{"name":"docker.service","mask":true},{"name":"web.service","enabled":true,"contents":"[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n"}]}}"#;

fn disk(image: &Path) -> Disk {
    Disk::open_image(image, &OpenOptions::new(scratch_root()), &NoProgress).unwrap()
}

fn rehearse(image: &Path, config: Option<&str>) -> Rehearsed {
    let config = config.map(|config| Config {
        name: "node.ign".to_owned(),
        content: config.as_bytes().to_vec(),
        folder: None,
    });
    let options = RunOptions {
        config,
        day: 20_000,
        ..RunOptions::default()
    };
    run(&disk(image), &options).unwrap()
}

fn bake(image: &Path, dir: &Path, config: &str) -> Output {
    fs::write(dir.join("node.ign"), config).unwrap();
    flatbake()
        .current_dir(dir)
        .args(["bake", "--apply-ignition", "node.ign", "-o", "out.img"])
        .args(["--timestamp", "1728000000", "--image"])
        .arg(image)
        .output()
        .unwrap()
}

fn file_type(kind: &str) -> FileType {
    match kind {
        "directory" => FileType::Directory,
        "symlink" => FileType::Symlink,
        _ => FileType::File,
    }
}

#[test]
fn what_is_baked_is_what_ignition_would_make() {
    let Some(image) = flatcar_image(&recipe()) else {
        return;
    };
    let dir = scratch_dir();
    let output = bake(&image, dir.path(), CONFIG);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("hashes of passwords") && said(&output).contains("bob"));
    let baked = disk(&dir.path().join("out.img"));
    let root = baked.filesystem(Designator::Root.into()).unwrap();
    let oem = baked.filesystem(Designator::Oem.into()).unwrap();
    let mut compared = 0;
    for change in rehearse(&image, Some(CONFIG)).changes {
        // What base.ign makes it makes at boot.
        if ["/etc/.ignition-result.json", "/etc/from-base"].contains(&change.path.as_str()) {
            continue;
        }
        let (fs, path): (&dyn FileSystem, &str) = match change.path.strip_prefix("/oem") {
            Some(path) => (&*oem, path),
            None => (&*root, &change.path),
        };
        let path = FsPath::new(path).unwrap();
        let found = fs.metadata_at(&path).unwrap();
        assert_eq!(found.file_type, file_type(change.kind), "{path}");
        assert_eq!(
            (found.mode, found.uid, found.gid),
            (change.mode, change.uid, change.gid),
            "{path}"
        );
        if let Some(content) = &change.content {
            let found = read_file(fs, &path, 1 << 20).unwrap();
            let [found, wanted] = [&found, &**content].map(|text| String::from_utf8_lossy(text));
            assert_eq!(found, wanted, "{path}");
        }
        if let Some(target) = &change.target {
            assert_eq!(fs.read_link_at(&path).unwrap(), target.as_bytes());
        }
        compared += 1;
    }
    assert!(compared > 25, "{compared}");
    let nlink = root.metadata_at(&FsPath::new("/a").unwrap()).unwrap().nlink;
    assert_eq!(nlink, 2, "a hard link is one in the image, too");
    let again = rehearse(&dir.path().join("out.img"), None);
    assert!(
        !again.findings.iter().any(|finding| finding.stops()),
        "{:?}",
        again.findings
    );
    let paths: Vec<&str> = again
        .changes
        .iter()
        .map(|change| change.path.as_str())
        .collect();
    assert_eq!(paths, ["/etc/.ignition-result.json", "/etc/from-base"]);
}

#[test]
fn what_cannot_be_baked_is_refused_before_anything_is_written() {
    let Some(image) = flatcar_image(&recipe()) else {
        return;
    };
    for (config, words) in [
        (
            r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/hosts","contents":{"source":"data:,x"}}]}}"#,
            "overwrite",
        ),
        (
            r#"{"ignition":{"version":"3.3.0"},"kernelArguments":{"shouldExist":["quiet"]}}"#,
            "kernel argument",
        ),
        (
            r#"{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/opt/x","contents":{"source":"https://a.example/x"}}]}}"#,
            "not known before a machine runs",
        ),
    ] {
        let dir = scratch_dir();
        let output = bake(&image, dir.path(), config);
        assert!(!output.status.success(), "{config}");
        assert!(said(&output).contains(words), "{config}: {}", said(&output));
        assert!(!dir.path().join("out.img").exists(), "{config}");
    }
}
